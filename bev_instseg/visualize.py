"""Pictures of instances: a bird's-eye PNG, an Open3D window, the curves of a training run.

Matplotlib and Open3D are imported by the functions that draw with them.
"""

import colorsys
import csv
import io
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bev_instseg.datasets.scan_io import write_atomic
from bev_instseg.structures import Frame, Instances

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Float = NDArray[np.floating]

DPI = 200
PANEL_PX = 1600  # a panel of the picture
MAP_PX = 1440  # its square map; the rest is title and tick labels
MAP_LEFT_PX, MAP_BOTTOM_PX = 105, 85
LABEL_PT = 6.5
PAPER = {"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 0.6}
TEXT: dict[str, Any] = {"fontsize": LABEL_PT, "ha": "center", "va": "center", "bbox": PAPER}
OUTLINES = {"vehicle": "#1d4ed8", "pedestrian": "#c81e3a", "cyclist": "#0f7b3a"}
OTHER_OUTLINES = ("#7e22ce", "#a16207", "#0e7490", "#9d174d")
VOID_RGB = (0.93, 0.80, 0.55)
BOX_EDGES = np.array(
    [(i, (i + 1) % 4) for i in range(4)]
    + [(i + 4, (i + 1) % 4 + 4) for i in range(4)]
    + [(i, i + 4) for i in range(4)]
)
PROBE = (
    "import sys, open3d\n"
    "sys.exit(not open3d.visualization.Visualizer().create_window(visible=False))"
)


def instance_colours(k: int) -> NDArray[np.float64]:
    """(k, 3) RGB 0..1, no two alike: hue by the golden ratio, lightness by the plastic number."""
    i = np.arange(k)
    hue, lightness = (0.58 + 0.6180340 * i) % 1, 0.3 + 0.36 * ((0.5 + 0.7548777 * i) % 1)
    rgb = [colorsys.hls_to_rgb(h, light, 0.95) for h, light in zip(hue, lightness, strict=True)]
    return np.array(rgb).reshape(k, 3)


def box_corners(boxes: Float) -> NDArray[np.float32]:
    """Corners of (K, 7) boxes x, y, z, length, width, height (m), yaw (rad): (K, 8, 3) metres.

    The bottom four come first, counter-clockwise from the front left, then the top four.
    """
    along = np.array([1, -1, -1, 1] * 2) * boxes[:, 3, None] / 2
    across = np.array([1, 1, -1, -1] * 2) * boxes[:, 4, None] / 2
    up = np.array([-1] * 4 + [1] * 4) * boxes[:, 5, None] / 2
    cos, sin = np.cos(boxes[:, 6, None]), np.sin(boxes[:, 6, None])
    offsets = np.stack([along * cos - across * sin, along * sin + across * cos, up], axis=2)
    return (boxes[:, None, :3] + offsets).astype(np.float32)


def draw_bev(
    points: NDArray[np.float32],
    instances: Instances,
    path: str | Path,
    *,
    title: str,
    truth: Frame | None = None,
    range_m: float = 50.0,
) -> None:
    """Draw a sweep from above, x forward up and y left, as a PNG of 1600 x 1600 pixels.

    Background points are grey (darker: taller or brighter), instances coloured, with their box in
    the colour of their class. With ``truth`` a second panel of the same size shows it to the
    right: objects in the colour of the instance that covers them best, void points pale yellow.

    Args:
        points: (N, 4) float32 x, y, z in metres and intensity 0..1; NaN is left out.
        instances: the objects among these points.
        path: the file, written whole or not at all.
        title: what to write above the picture.
        truth: the labelled frame of the sweep.
        range_m: the picture shows this far in the four directions.

    Raises:
        OSError: if the file cannot be written.
    """
    from matplotlib.figure import Figure

    panels = 1 if truth is None else 2
    figure = Figure((panels * PANEL_PX / DPI, PANEL_PX / DPI), dpi=DPI)
    colours = instance_colours(len(instances))
    texts = [f"{_class_name(instances, k)} {s:.2f}" for k, s in enumerate(instances.scores)]
    _draw_panel(_map_axes(figure, 0, panels, range_m), title, points, instances, colours, texts)
    if truth is not None:
        objects = _truth_objects(truth, instances.class_names)
        colours = _truth_colours(objects, instances, colours)
        texts = [_class_name(objects, k) for k in range(len(objects))]
        axes = _map_axes(figure, 1, panels, range_m)
        _draw_panel(axes, "truth", truth.points, objects, colours, texts, truth.instance < 0)
    _save(figure, path)


def _class_name(instances: Instances, k: int) -> str:
    return instances.class_names[instances.classes[k]]


def _map_axes(figure: "Figure", panel: int, panels: int, range_m: float) -> "Axes":
    """An empty map of MAP_PX x MAP_PX pixels with ticks, range rings and the sensor."""
    from matplotlib.patches import Circle
    from matplotlib.ticker import MultipleLocator

    width = panels * PANEL_PX
    left, bottom = (panel * PANEL_PX + MAP_LEFT_PX) / width, MAP_BOTTOM_PX / PANEL_PX
    axes = figure.add_axes((left, bottom, MAP_PX / width, MAP_PX / PANEL_PX))
    axes.set(xlim=(range_m, -range_m), ylim=(-range_m, range_m))
    axes.set_xlabel("y, left (m)", fontsize=8, labelpad=1)
    axes.set_ylabel("x, forward (m)", fontsize=8, labelpad=-2)
    axes.tick_params(labelsize=7, length=3, color="0.5", labelcolor="0.3")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MultipleLocator(10 if range_m >= 20 else 5))
    for spine in axes.spines.values():
        spine.set_color("0.7")
    for radius in range(10, int(range_m) + 1, 10):
        axes.add_patch(Circle((0, 0), radius, fill=False, color="0.35", alpha=0.35, lw=0.5))
        at = -radius * np.sqrt(0.5)
        axes.text(at, at, f"{radius} m", color="0.4", **TEXT)
    axes.plot(0, 0, marker=(3, 0, 0), markersize=6, color="black", zorder=4)
    return axes


def _truth_objects(truth: Frame, class_names: tuple[str, ...]) -> Instances:
    """The objects of a frame that have points, with boxes around them and score 1."""
    from bev_instseg.ops.boxes import oriented_boxes

    present = np.unique(truth.instance[truth.instance > 0])
    labels = np.where(truth.instance > 0, np.searchsorted(present, truth.instance) + 1, 0)
    labels = labels.astype(np.int32)
    boxes = oriented_boxes(truth.points, labels, len(present))
    scores = np.ones(len(present), np.float32)
    return Instances(labels, truth.classes[present - 1], scores, boxes, class_names)


def _truth_colours(truth: Instances, found: Instances, colours: Float) -> Float:
    """(len(truth), 3): the colour of the instance with IoU > 0.5, else one that nothing has."""
    fresh = instance_colours(len(found) + len(truth))[len(found) :]
    if len(truth.labels) != len(found.labels):
        return fresh
    shape = len(truth) + 1, len(found) + 1
    flat = np.ravel_multi_index((truth.labels, found.labels), shape)
    overlap = np.bincount(flat, minlength=shape[0] * shape[1]).reshape(shape)
    union = overlap.sum(1, keepdims=True) + overlap.sum(0, keepdims=True) - overlap
    rows, columns = np.nonzero(overlap[1:, 1:] > 0.5 * union[1:, 1:])
    fresh[rows] = colours[columns]
    return fresh


def _draw_panel(
    axes: "Axes",
    title: str,
    points: NDArray[np.float32],
    instances: Instances,
    colours: Float,
    texts: Sequence[str],
    void: NDArray[np.bool_] | None = None,
) -> None:
    """Fill a map: points, boxes, a text beside each box, title and class counts above."""
    from matplotlib.collections import LineCollection, PolyCollection
    from matplotlib.patches import Patch

    range_m = axes.get_ylim()[1]
    image = _map_image(points, instances.labels, colours, range_m, void)
    axes.imshow(
        image,
        extent=(range_m, -range_m, -range_m, range_m),
        origin="lower",
        interpolation="nearest",
    )
    names = dict.fromkeys([*OUTLINES, *instances.class_names])
    others = [name for name in names if name not in OUTLINES]
    outline = OUTLINES | {
        name: OTHER_OUTLINES[i % len(OTHER_OUTLINES)] for i, name in enumerate(others)
    }
    edges = [outline[_class_name(instances, k)] for k in range(len(instances))]
    corners = box_corners(instances.boxes)[:, :4, 1::-1]  # y, x
    fills = np.column_stack([colours, np.full(len(instances), 0.2)])
    axes.add_collection(PolyCollection(corners, facecolors=fills, edgecolors=edges, lw=0.9))

    low, high = corners.min(1, initial=np.inf), corners.max(1, initial=-np.inf)
    places, leaders = _place_texts(low, high, texts, range_m)
    for k, (y, x) in places.items():
        axes.text(y, x, texts[k], color=edges[k], **TEXT)
    axes.add_collection(LineCollection(leaders, colors="0.3", lw=0.5))

    counts = np.bincount(instances.classes, minlength=len(instances.class_names))
    patches = [
        Patch(fill=False, edgecolor=outline[name], label=f"{count} {name}")
        for name, count in zip(instances.class_names, counts, strict=True)
    ]
    if void is not None and void.any():
        patches.append(Patch(facecolor=VOID_RGB, label="void"))
    axes.set_title(title, loc="left", fontsize=10)
    axes.legend(
        handles=patches,
        loc="lower right",
        bbox_to_anchor=(1, 1),
        ncols=max(len(patches), 1),
        fontsize=8,
        frameon=False,
        handlelength=1.2,
        borderaxespad=0,
    )


def _map_image(
    points: NDArray[np.float32],
    labels: NDArray[np.int32],
    colours: Float,
    range_m: float,
    void: NDArray[np.bool_] | None,
) -> NDArray[np.float32]:
    """(MAP_PX, MAP_PX, 3) RGB 0..1 on white, rows by x, columns by -y; instances on top."""
    image = np.ones((MAP_PX, MAP_PX, 3), np.float32)
    with np.errstate(invalid="ignore"):
        shown = (np.abs(points[:, :2]) < range_m).all(axis=1) & np.isfinite(points[:, 2])
    points, labels = points[shown], labels[shown]
    if not len(points):
        return image
    height = np.clip((points[:, 2] - np.percentile(points[:, 2], 5)) / 3.5, 0, 1)
    grey = 0.86 - 0.56 * height - 0.2 * (1 - height) * points[:, 3]
    rgb = np.repeat(grey[:, None], 3, axis=1)
    if void is not None:
        rgb[void[shown]] = VOID_RGB
    member = labels > 0
    rgb[member] = colours[labels[member] - 1]
    pixel = np.stack([points[:, 0] + range_m, range_m - points[:, 1]]) * (MAP_PX / (2 * range_m))
    for dots, side_px in ((~member, 2), (member, 3)):
        order = np.flatnonzero(dots)[np.argsort(points[dots, 2])]  # the highest is drawn last
        for step in np.ndindex(side_px, side_px):
            row, column = np.clip(pixel[:, order].astype(int).T + step - side_px // 2, 0, MAP_PX - 1).T
            image[row, column] = rgb[order]
    return image


def _place_texts(
    low: Float, high: Float, texts: Sequence[str], range_m: float
) -> tuple[dict[int, Float], list[tuple[Float, Float]]]:
    """Put each text beside its box so that it covers no other text, no box and no edge.

    Args:
        low, high: (K, 2) bounds y, x of the boxes in metres.
        texts: K texts; that of a box outside the map or without a free place is left out.
        range_m: half the side of the map.

    Returns:
        The middle (y, x) of the texts by instance index, and leader lines for the distant ones.
    """
    pixel = 2 * range_m / MAP_PX
    line_px = LABEL_PT * DPI / 72
    taken = np.concatenate([low, high], axis=1)
    places, leaders = {}, []
    for k, text in enumerate(texts):
        middle = (low[k] + high[k]) / 2
        if (np.abs(middle) > range_m).any():
            continue
        half = np.array([0.29 * line_px * len(text), 0.6 * line_px]) * pixel
        reach = (high[k] - low[k]) / 2 + half
        for gap_px in (5, 30, 60, 90):
            ways = np.array([(-1, 0), (1, 0), (0, 1), (0, -1), (-1, 1), (1, 1), (-1, -1), (1, -1)])
            spots = middle + ways * (reach + gap_px * pixel)
            inside = (np.abs(spots) + half <= range_m).all(axis=1)
            apart = np.abs(spots[:, None] - (taken[:, :2] + taken[:, 2:]) / 2) > half + (
                taken[:, 2:] - taken[:, :2]
            ) / 2
            free = np.flatnonzero(inside & apart.any(axis=2).all(axis=1))
            if len(free):
                spot = spots[free[0]]
                places[k] = spot
                taken = np.vstack([taken, np.concatenate([spot - half, spot + half])])
                if gap_px > 5:
                    leaders.append((np.clip(middle, spot - half, spot + half), middle))
                break
    return places, leaders


def _save(figure: "Figure", path: str | Path) -> None:
    """Write the figure as PNG, whole or not at all."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", pil_kwargs={"compress_level": 3})
    write_atomic(path, buffer.getvalue())


def view(
    sweeps: Sequence[tuple[str, NDArray[np.float32], Instances]],
    *,
    close_after_s: float | None = None,
) -> bool:
    """Show sweeps in an Open3D window until it is closed; N, P step through them, B hides boxes.

    Args:
        sweeps: at least one of name, (N, 4) float32 points in metres, and its instances.
        close_after_s: closes the window by itself.

    Returns:
        True once the window was closed; False, with one line on stderr, if there is no display.

    Raises:
        ValueError: if there are no sweeps.
    """
    if not sweeps:
        raise ValueError("view needs at least one sweep")
    reason = _no_display()
    if reason:
        print(f"no display: {reason}; use --png", file=sys.stderr)
        return False
    import open3d as o3d

    vis = o3d.visualization.VisualizerWithKeyCallback()
    vis.create_window("bev_instseg", 1600, 1000)
    vis.get_render_option().point_size = 2.0
    current, with_boxes = 0, True

    def show(first: bool = False) -> None:
        name, points, instances = sweeps[current]
        vis.clear_geometries()
        colours = instance_colours(len(instances))
        keep = np.isfinite(points[:, :3]).all(axis=1)
        rgb = np.vstack([(0.62, 0.62, 0.62), colours])[instances.labels[keep]]
        cloud = o3d.geometry.PointCloud(o3d.utility.Vector3dVector(points[keep, :3].astype(float)))
        cloud.colors = o3d.utility.Vector3dVector(rgb)
        vis.add_geometry(cloud, reset_bounding_box=first)
        if with_boxes and len(instances):
            ...
