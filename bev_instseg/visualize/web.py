"""A 3D view of a sweep as one HTML page that works offline in any browser, written by viser."""

import html
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from bev_instseg.colours import srgb_to_linear
from bev_instseg.file_io import write_atomic
from bev_instseg.structures import Float32, Instances
from bev_instseg.visualize.camera import EYE_M, FIELD_OF_VIEW_RAD, TARGET_M
from bev_instseg.visualize.scene3d import COLOURINGS, EDGE_WIDTH_M, make_scene

POINT_M = 0.045
CAPTION = (
    '<div style="position:fixed;left:1em;bottom:1em;z-index:1;pointer-events:none;'
    'font:14px sans-serif;color:#333;background:#fffc;padding:.3em"><b>{title}</b>: {counts}<br>'
    "drag to rotate, scroll to zoom; the button at the top right lists what to show or hide</div>"
)


def write_html(points: Float32, instances: Instances, path: str | Path, *, title: str) -> None:
    """Write a sweep as a self-contained HTML page: points, boxes, and class and score of each.

    Points are coloured by instance; the page's scene tree also offers points coloured by class,
    height or score. The page loads nothing from the network.

    Args:
        points: (N, 4) float32 x, y, z in metres and intensity 0..1; NaN points are skipped.
        instances: The objects among these points.
        path: The HTML file, replaced atomically.
        title: Title of the page.

    Raises:
        ImportError: viser is not installed.
        OSError: The file cannot be written.
    """
    write_atomic(path, web_page(points, instances, title=title))


def web_page(points: Float32, instances: Instances, *, title: str) -> bytes:
    """Return the page that `write_html` writes.

    Args:
        points: See `write_html`.
        instances: See `write_html`.
        title: See `write_html`.

    Raises:
        ImportError: viser is not installed.
    """
    with _server() as server:
        server.scene.set_up_direction("+z")
        server.scene.configure_environment_map(None)  # nothing is lit, and the page opens sooner
        camera = server.initial_camera
        camera.position, camera.look_at, camera.fov = EYE_M, TARGET_M, FIELD_OF_VIEW_RAD
        for colouring in COLOURINGS:
            scene = make_scene(points, instances, colouring)
            server.scene.add_point_cloud(
                f"/points by {colouring}",
                scene.xyz_m,
                scene.rgb,
                point_size=POINT_M,
                point_shape="circle",
                point_shading="flat",
                visible=colouring == COLOURINGS[0],
            )
        rgb = np.round(
            255 * srgb_to_linear(scene.edge_rgb / 255)
        )  # viser expects linear RGB for lines
        server.scene.add_line_segments(
            "/boxes",
            scene.edges_m,
            np.repeat(rgb[:, None], 2, axis=1).astype(np.uint8),
            thickness=EDGE_WIDTH_M,
        )
        for k, (top, text) in enumerate(zip(scene.tops_m, scene.texts, strict=True), 1):
            server.scene.add_label(f"/texts/{k}", text, position=top, anchor="bottom-center")
        page = server.get_scene_serializer().as_html()
    title = html.escape(title)
    page = page.replace("<title>Viser</title>", f"<title>{title}</title>", 1)
    caption = CAPTION.format(title=title, counts=html.escape(str(instances)))
    page = page.replace("</body>", f"{caption}</body>", 1)
    data: bytes = page.encode()
    return data


@contextmanager
def _server() -> Iterator[Any]:
    """Run a silent viser server that only collects the contents of the page.

    It listens on a free port of localhost; nobody connects to it.
    """
    try:
        import rich
        import viser
    except ImportError:
        raise ImportError("HTML pages need viser: pip install 'bev-instseg[web]'") from None
    console = rich.get_console()
    quiet, console.quiet = console.quiet, True
    try:
        server = viser.ViserServer(host="127.0.0.1", port=0, verbose=False)
        try:
            yield server
        finally:
            server.stop()
    finally:
        console.quiet = quiet
