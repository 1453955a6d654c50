"""The Open3D window, and whether one can be opened at all."""

import functools
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from bev_instseg.structures import Float32, Instances
from bev_instseg.visualize.camera import start_camera
from bev_instseg.visualize.open3d_scene import (
    box_mesh,
    cloud,
    get_camera,
    set_camera,
    show_plainly,
    text_mesh,
)
from bev_instseg.visualize.scene3d import COLOURINGS, Colouring, Scene3d, make_scene

Load = Callable[[int], tuple[Float32, Instances]]

WIDTH_PX, HEIGHT_PX, POINT_PX = 1600, 1000, 3.0
REST_S = 0.01  # between two looks at the camera
PROBE_TIME_S = 30
PROBE = """
import open3d
if not open3d.visualization.Visualizer().create_window(visible=False):
    raise SystemExit("Open3D opened no window")
"""


def view_sweeps(names: Sequence[str], load: Load, *, close_after_s: float | None = None) -> bool:
    """Show sweeps in an Open3D window until it is closed.

    The keys are printed at the start; a line on stdout tells what each sweep holds. A sweep is
    loaded when it is shown; one that cannot be is a line on stderr and an empty window.

    Args:
        names: of the sweeps, at least one.
        load: gives the (N, 4) float32 points and the instances of sweep ``i``; ValueError and
            OSError say why it cannot.
        close_after_s: closes the window by itself.

    Returns:
        True once the window was closed; False, with one line on stderr, if there is no display.
    """
    if reason := _no_window():
        print(f"no display: {reason}; draw pictures instead (--png, draw_3d)", file=sys.stderr)
        return False
    import open3d as o3d

    vis = o3d.visualization.VisualizerWithKeyCallback()
    if not vis.create_window("bev_instseg", WIDTH_PX, HEIGHT_PX):
        print(
            "no display: Open3D could not open a window; draw pictures instead (--png, draw_3d)",
            file=sys.stderr,
        )
        return False
    end = np.inf if close_after_s is None else time.monotonic() + close_after_s
    viewer = Viewer(vis, names, load)

    def between_frames(_: Any) -> bool:
        if time.monotonic() >= end:
            vis.close()
        time.sleep(REST_S)
        return viewer.turn_texts()

    vis.register_animation_callback(between_frames)
    vis.run()
    vis.destroy_window()
    return True


class Viewer:
    """What a visualizer of Open3D shows, and what its keys change.

    Args:
        vis: a ``VisualizerWithKeyCallback`` with an open window.
        names, load: see `view_sweeps`.
    """

    def __init__(self, vis: Any, names: Sequence[str], load: Load) -> None:
        self._vis, self._names = vis, names
        self._load = functools.lru_cache(maxsize=2)(load)
        self._index, self._colouring, self._with_boxes = 0, COLOURINGS[0], True
        self._sweep: tuple[Float32, Instances] | None = None
        self._texts: Any = None  # of this scene, as `_camera` sees them
        self._scene: Scene3d | None = None
        show_plainly(vis, POINT_PX)
        self._camera = start_camera(get_camera(vis).size_px)
        set_camera(vis, self._camera)
        self._bind("N", functools.partial(self._step, 1))
        self._bind("P", functools.partial(self._step, -1))
        self._bind("B", self._toggle_boxes)
        for number, colouring in enumerate(COLOURINGS, 1):
            self._bind(str(number), functools.partial(self._colour, colouring))
        colours = ", ".join(f"{i} {colouring}" for i, colouring in enumerate(COLOURINGS, 1))
        print(f"keys: N next, P previous, B boxes, Q close; colours: {colours}", flush=True)
        self._step(0)

    def turn_texts(self) -> bool:
        """Turn the texts to the camera if it has moved; whether they have changed."""
        camera = get_camera(self._vis)
        if self._scene is None or camera.sees_as(self._camera):
            return False
        self._camera = camera
        self._vis.remove_geometry(self._texts, reset_bounding_box=False)
        self._add_texts(self._scene)
        return True

    def _bind(self, key: str, change: Callable[[], None]) -> None:
        def pressed(_: Any) -> bool:
            change()
            return True  # draw again

        self._vis.register_key_callback(ord(key), pressed)

    def _step(self, by: int) -> None:
        """Go to the sweep this many further, round and round."""
        self._index = (self._index + by) % len(self._names)
        name = self._names[self._index]
        try:
            self._sweep = self._load(self._index)
        except (ValueError, OSError) as error:
            self._sweep = None
            print(f"{name}: {error}", file=sys.stderr, flush=True)
        else:
            print(f"{name}: {self._sweep[1]}", flush=True)
        self._draw()

    def _toggle_boxes(self) -> None:
        self._with_boxes = not self._with_boxes
        self._draw()

    def _colour(self, colouring: Colouring) -> None:
        self._colouring = colouring
        self._draw()

    def _draw(self) -> None:
        self._vis.clear_geometries()
        self._scene = None
        if self._sweep is None:
            return
        scene = make_scene(*self._sweep, self._colouring)
        self._vis.add_geometry(cloud(scene), reset_bounding_box=False)
        if self._with_boxes:
            self._scene = scene
            self._vis.add_geometry(box_mesh(scene), reset_bounding_box=False)
            self._camera = get_camera(self._vis)
            self._add_texts(scene)

    def _add_texts(self, scene: Scene3d) -> None:
        self._texts = text_mesh(scene, self._camera)
        self._vis.add_geometry(self._texts, reset_bounding_box=False)


def _no_window() -> str:
    """Why Open3D cannot open a window, empty if it can.

    It is tried in a process of its own, because Open3D may crash, hang, or report success where it
    renders into memory, without any window that could be closed.
    """
    if sys.platform.startswith("linux") and not (
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    ):
        return "neither DISPLAY nor WAYLAND_DISPLAY is set"
    command = [sys.executable, "-c", PROBE]
    try:
        probe = subprocess.run(command, capture_output=True, text=True, timeout=PROBE_TIME_S)
    except subprocess.TimeoutExpired:
        return f"Open3D opened no window in {PROBE_TIME_S} s"
    if probe.returncode:
        lines = probe.stderr.strip().splitlines() or [f"Open3D ended with {probe.returncode}"]
        return lines[-1]
    if "offscreen" in (probe.stdout + probe.stderr).lower():
        return "Open3D cannot open a window on it"
    return ""
