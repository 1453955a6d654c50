"""The Open3D window, and whether one can be opened at all."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bev_instseg.structures import Instances
from bev_instseg.visualize.shapes import EDGES, box_corners, grey_of, instance_colours

PROBE_TIME_S = 30
PROBE = """
import open3d
if not open3d.visualization.Visualizer().create_window(visible=False):
    raise SystemExit("Open3D opened no window")
"""


def view(
    sweeps: Sequence[tuple[str, NDArray[np.float32], Instances]],
    *,
    close_after_s: float | None = None,
) -> bool:
    """Show sweeps in an Open3D window until it is closed.

    N and P go to the next and the previous sweep, B hides and shows the boxes, Q closes. A line on
    stdout tells what each sweep holds.

    Args:
        sweeps: at least one of name, (N, 4) float32 points and their instances.
        close_after_s: closes the window by itself.

    Returns:
        True once the window was closed; False, with one line on stderr, if there is no display.
    """
    if reason := _no_window():
        print(f"no display: {reason}; use --png", file=sys.stderr)
        return False
    import open3d as o3d

    vis = o3d.visualization.VisualizerWithKeyCallback()
    if not vis.create_window("bev_instseg", 1600, 1000):
        print("no display: Open3D could not open a window; use --png", file=sys.stderr)
        return False
    index, with_boxes = 0, True

    def show(first: bool = False) -> bool:
        name, points, instances = sweeps[index]
        vis.clear_geometries()
        for geometry in _geometries(points, instances, with_boxes):
            vis.add_geometry(geometry, reset_bounding_box=first)
        print(f"{name}: {instances}  (N next, P previous, B boxes, Q close)", flush=True)
        return True  # draw again

    def step(by: int) -> bool:
        nonlocal index
        index = (index + by) % len(sweeps)
        return show()

    def toggle_boxes() -> bool:
        nonlocal with_boxes
        with_boxes = not with_boxes
        return show()

    show(first=True)
    camera = vis.get_view_control()
    camera.set_lookat((8.0, 0.0, 0.0))
    camera.set_front((-0.7, 0.0, 0.7))
    camera.set_up((0.0, 0.0, 1.0))
    camera.set_zoom(0.25)
    vis.get_render_option().point_size = 2.0
    vis.register_key_callback(ord("N"), lambda _: step(1))
    vis.register_key_callback(ord("P"), lambda _: step(-1))
    vis.register_key_callback(ord("B"), lambda _: toggle_boxes())
    if close_after_s is not None:
        end = time.monotonic() + close_after_s

        def close_in_time(_: object) -> bool:
            if time.monotonic() >= end:
                vis.close()
            return False

        vis.register_animation_callback(close_in_time)
    vis.run()
    vis.destroy_window()
    return True


def _geometries(points: NDArray[np.float32], instances: Instances, with_boxes: bool) -> list[Any]:
    """What Open3D shows of a sweep: the coloured cloud, the sensor's axes, the boxes."""
    from open3d.geometry import LineSet, PointCloud, TriangleMesh
    from open3d.utility import Vector2iVector, Vector3dVector

    finite = np.isfinite(points).all(axis=1)
    points, labels = points[finite], instances.labels[finite]
    colours = instance_colours(len(instances))
    rgb = np.repeat(grey_of(points)[:, None], 3, axis=1)
    rgb[labels > 0] = colours[labels[labels > 0] - 1]
    cloud = PointCloud(Vector3dVector(points[:, :3]))
    cloud.colors = Vector3dVector(rgb)
    geometries = [cloud, TriangleMesh.create_coordinate_frame(1.0)]
    if with_boxes:
        edges = EDGES + 8 * np.arange(len(instances))[:, None, None]
        corners = box_corners(instances.boxes)
        boxes = LineSet(
            Vector3dVector(corners.reshape(-1, 3)), Vector2iVector(edges.reshape(-1, 2))
        )
        boxes.colors = Vector3dVector(np.repeat(colours, len(EDGES), axis=0))
        geometries.append(boxes)
    return geometries


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
