"""The interactive Open3D window, with a check that a window can be opened."""

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
    configure_visualizer,
    get_camera,
    point_cloud,
    set_camera,
    text_mesh,
)
from bev_instseg.visualize.scene3d import COLOURINGS, Colouring, Scene3d, make_scene

LoadSweep = Callable[[int], tuple[Float32, Instances]]

WIDTH_PX, HEIGHT_PX, POINT_PX = 1600, 1000, 3.0
PAUSE_S = 0.01  # between two frames
PROBE_TIME_LIMIT_S = 30
INSTEAD = "write pictures instead (--png or draw_3d)"
PROBE = """
import open3d
if not open3d.visualization.Visualizer().create_window(visible=False):
    raise SystemExit("Open3D could not open a window")
"""


def view_sweeps(
    names: Sequence[str], load: LoadSweep, *, close_after_s: float | None = None
) -> bool:
    """Show sweeps in an Open3D window until it is closed.

    Prints the keys at the start, and the object counts of each sweep when it is shown. A sweep that
    cannot be loaded is reported on stderr and leaves the window empty.

    Args:
        names: Names of the sweeps, at least one.
        load: Returns the (N, 4) float32 points and the instances of sweep ``i``, or raises
            ValueError or OSError.
        close_after_s: Close the window after this time.

    Returns:
        True once the window was closed; False, with one line on stderr, if there is no display.
    """
    if reason := no_window():
        print(f"no display: {reason}; {INSTEAD}", file=sys.stderr)
        return False
    import open3d as o3d

    vis = o3d.visualization.VisualizerWithKeyCallback()
    if not vis.create_window("bev_instseg", WIDTH_PX, HEIGHT_PX):
        print(f"no display: Open3D could not open a window; {INSTEAD}", file=sys.stderr)
        return False
    end = np.inf if close_after_s is None else time.monotonic() + close_after_s
    viewer = Viewer(vis, names, load)

    def between_frames(_: Any) -> bool:
        if time.monotonic() >= end:
            vis.close()
        time.sleep(PAUSE_S)
        return viewer.turn_texts()

    vis.register_animation_callback(between_frames)
    vis.run()
    vis.destroy_window()
    return True


class Viewer:
    """Shows sweeps in an Open3D visualizer and handles its keys."""

    def __init__(self, vis: Any, names: Sequence[str], load: LoadSweep) -> None:
        """Show the first sweep and print the keys.

        Args:
            vis: A ``VisualizerWithKeyCallback`` with an open window.
            names: See `view_sweeps`.
            load: See `view_sweeps`.
        """
        self._vis, self._names = vis, names
        self._load = functools.lru_cache(maxsize=2)(load)
        self._index, self._colouring, self._with_boxes = 0, COLOURINGS[0], True
        self._sweep: tuple[Float32, Instances] | None = None
        self._texts: Any = None  # the mesh of the scene's texts, facing `_camera`
        self._scene: Scene3d | None = None
        configure_visualizer(vis, POINT_PX)
        self._camera = start_camera(get_camera(vis).size_px)
        set_camera(vis, self._camera)
        self._bind("N", functools.partial(self._step, 1))
        self._bind("P", functools.partial(self._step, -1))
        self._bind("B", self._toggle_boxes)
        for number, colouring in enumerate(COLOURINGS, 1):
            self._bind(str(number), functools.partial(self._colour, colouring))
        keys = "N next, P previous, B boxes on/off, Q close"
        colours = ", ".join(f"{i} {colouring}" for i, colouring in enumerate(COLOURINGS, 1))
        print(f"keys: {keys}; colour by: {colours}", flush=True)
        self._step(0)

    def turn_texts(self) -> bool:
        """Turn the texts towards the camera; return whether it has moved."""
        camera = get_camera(self._vis)
        if self._scene is None or camera.same_view(self._camera):
            return False
        self._camera = camera
        self._vis.remove_geometry(self._texts, reset_bounding_box=False)
        self._add_texts(self._scene)
        return True

    def _bind(self, key: str, change: Callable[[], None]) -> None:
        def pressed(_: Any) -> bool:
            change()
            return True  # redraw

        self._vis.register_key_callback(ord(key), pressed)

    def _step(self, by: int) -> None:
        """Go this many sweeps forward, from the last on to the first."""
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
        self._vis.add_geometry(point_cloud(scene), reset_bounding_box=False)
        if self._with_boxes:
            self._scene = scene
            self._vis.add_geometry(box_mesh(scene), reset_bounding_box=False)
            self._camera = get_camera(self._vis)
            self._add_texts(scene)

    def _add_texts(self, scene: Scene3d) -> None:
        self._texts = text_mesh(scene, self._camera)
        self._vis.add_geometry(self._texts, reset_bounding_box=False)


def no_window() -> str:
    """Return why Open3D cannot open a window, or "" if it can.

    A child process tries it, because Open3D may crash, hang, or report success while it renders
    offscreen, without a window that could be closed.
    """
    if sys.platform.startswith("linux") and not (
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    ):
        return "neither DISPLAY nor WAYLAND_DISPLAY is set"
    command = [sys.executable, "-c", PROBE]
    try:
        probe = subprocess.run(command, capture_output=True, text=True, timeout=PROBE_TIME_LIMIT_S)
    except subprocess.TimeoutExpired:
        return f"Open3D opened no window within {PROBE_TIME_LIMIT_S} s"
    if probe.returncode:
        lines = probe.stderr.strip().splitlines() or [f"Open3D exited with code {probe.returncode}"]
        return lines[-1]
    if "offscreen" in (probe.stdout + probe.stderr).lower():
        return "Open3D can only render offscreen"
    return ""
