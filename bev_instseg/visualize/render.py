"""3D pictures of sweeps, rendered without a display by Open3D.

Open3D may crash or hang, so it runs in a child process.
"""

import io
import os
import pickle
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from bev_instseg.file_io import write_atomic
from bev_instseg.structures import Float32, Instances
from bev_instseg.visualize.box_corners import Float
from bev_instseg.visualize.camera import start_camera
from bev_instseg.visualize.open3d_scene import (
    box_mesh,
    configure_visualizer,
    point_cloud,
    set_camera,
    text_mesh,
)
from bev_instseg.visualize.scene3d import Scene3d, make_scene

WIDTH_PX, HEIGHT_PX = 1600, 1000
SUPERSAMPLING = 2  # rendered this many times larger, then averaged, to keep texts readable
POINT_PX = 2.5
TIME_LIMIT_S = 60  # to start the child, and for each picture
REMEDY = "on Debian and Ubuntu: apt-get install libusb-1.0-0 libegl1 libgl1 libgl1-mesa-dri"
CHILD = """
import sys
sys.path[:] = sys.argv[1:]
from bev_instseg.visualize.render import serve
serve()
"""


def draw_3d(points: Float32, instances: Instances, path: str | Path, *, title: str) -> None:
    """Draw one sweep in 3D; use a `Renderer` to draw several faster.

    Args:
        points: See `Renderer.draw`.
        instances: See `Renderer.draw`.
        path: See `Renderer.draw`.
        title: See `Renderer.draw`.

    Raises:
        RuntimeError: Open3D cannot render on this machine.
        OSError: The file cannot be written.
    """
    with Renderer() as renderer:
        renderer.draw(points, instances, path, title=title)


class Renderer:
    """Draws sweeps in 3D, one at a time, in a child process that it starts when first needed.

    Use it as a context manager, or call `close`, to end the child.
    """

    def __init__(self) -> None:
        """Prepare a renderer; the child starts with the first picture."""
        self._child: subprocess.Popen[bytes] | None = None
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - the child's stderr, closed by `close`
        self._broken = ""  # why the child cannot start

    def draw(self, points: Float32, instances: Instances, path: str | Path, *, title: str) -> None:
        """Draw a sweep from behind and above the sensor as a PNG of 1600 x 1000 pixels.

        Instances are coloured and the other points grey; boxes and their texts, class and score,
        have the colours of the classes.

        Args:
            points: (N, 4) float32 x, y, z in metres and intensity 0..1; NaN points are skipped.
            instances: The objects among these points.
            path: The PNG file, replaced atomically.
            title: Title of the picture; the number of objects of each class is added.

        Raises:
            RuntimeError: Open3D cannot render on this machine.
            OSError: The file cannot be written.
        """
        try:
            png = self.render(points, instances, title=title)
        except RuntimeError as error:
            raise RuntimeError(f"{path}: {error}") from None
        write_atomic(path, png)

    def render(self, points: Float32, instances: Instances, *, title: str) -> bytes:
        """Return the PNG that `draw` writes.

        Args:
            points: See `draw`.
            instances: See `draw`.
            title: See `draw`.

        Raises:
            RuntimeError: Open3D cannot render on this machine.
        """
        return self._ask((make_scene(points, instances), f"{title}: {instances}"))

    def close(self) -> None:
        """End the child process."""
        self._end_child()
        self._log.close()

    def __enter__(self) -> "Renderer":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _ask(self, request: tuple[Scene3d, str]) -> bytes:
        """Return the PNG of a scene and its title, restarting a child that fails once."""
        for last_try in (False, True):
            self._start_child()
            try:
                png: bytes = self._exchange(request)
                return png
            except RuntimeError:
                if last_try:
                    raise
        raise AssertionError

    def _start_child(self) -> None:
        if self._broken:
            raise RuntimeError(self._broken)
        if self._child is not None:
            return
        # With a display Open3D would render into a window, which others may cover.
        hidden = {"DISPLAY", "WAYLAND_DISPLAY"}
        self._log.seek(0)
        self._log.truncate()
        self._child = subprocess.Popen(
            [sys.executable, "-c", CHILD, *sys.path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={name: value for name, value in os.environ.items() if name not in hidden},
        )
        try:
            self._exchange(None)
        except RuntimeError as error:
            self._broken = str(error)
            raise

    def _exchange(self, request: object) -> Any:
        """Send a request to the child and return its answer."""
        child = self._child
        assert child is not None
        assert child.stdin is not None
        assert child.stdout is not None
        end = time.monotonic() + TIME_LIMIT_S
        timer = threading.Timer(TIME_LIMIT_S, child.kill)
        timer.start()
        try:
            pickle.dump(request, child.stdin, protocol=pickle.HIGHEST_PROTOCOL)
            child.stdin.flush()
            return pickle.load(child.stdout)
        except (OSError, EOFError, pickle.UnpicklingError):
            late = time.monotonic() >= end
            self._end_child()
            raise RuntimeError(f"Open3D cannot render here ({self._why(late)}); {REMEDY}") from None
        finally:
            timer.cancel()

    def _why(self, late: bool) -> str:
        """Return why the child failed: the time limit or the last line of its stderr."""
        if late:
            return f"no picture within {TIME_LIMIT_S} s"
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "its process crashed"

    def _end_child(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child.communicate()
            self._child = None


def serve() -> None:
    """Answer each pickled request on stdin with a pickled PNG on stdout; the child runs this."""
    with os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)  # keep what Open3D prints out of the answers
        import open3d as o3d

        vis = o3d.visualization.Visualizer()
        if not vis.create_window(
            "", SUPERSAMPLING * WIDTH_PX, SUPERSAMPLING * HEIGHT_PX, visible=False
        ):
            raise SystemExit("no offscreen window")
        configure_visualizer(vis, SUPERSAMPLING * POINT_PX)
        while True:
            try:
                request = pickle.load(sys.stdin.buffer)
            except EOFError:
                return
            pickle.dump(_png(vis, *request) if request else None, answers)
            answers.flush()


def _png(vis: Any, scene: Scene3d, title: str) -> bytes:
    """Render a scene, average the supersampled picture and encode it."""
    from matplotlib.image import imsave

    camera = start_camera((WIDTH_PX, HEIGHT_PX))
    vis.clear_geometries()
    for geometry in (point_cloud(scene), box_mesh(scene), text_mesh(scene, camera, title)):
        vis.add_geometry(geometry, reset_bounding_box=False)
    set_camera(vis, start_camera((SUPERSAMPLING * WIDTH_PX, SUPERSAMPLING * HEIGHT_PX)))
    fine = np.asarray(vis.capture_screen_float_buffer(do_render=True))
    rows = _average_rows(fine, SUPERSAMPLING)
    rgb = _average_rows(rows.swapaxes(0, 1), SUPERSAMPLING).swapaxes(0, 1)
    buffer = io.BytesIO()
    imsave(
        buffer, (255 * rgb + 0.5).astype(np.uint8), format="png", pil_kwargs={"compress_level": 3}
    )
    return buffer.getvalue()


def _average_rows(image: Float, count: int) -> Float:
    """Return the means of each ``count`` neighbouring rows."""
    means: Float = np.add.reduce([image[i::count] for i in range(count)]) / count
    return means
