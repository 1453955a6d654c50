"""The map a bird's-eye picture consists of: axes in metres, points, boxes, texts that do not collide.

Matplotlib is imported by the functions that draw with it.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bev_instseg.structures import Instances

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Float = NDArray[np.floating]

DPI = 200
PANEL_PX = 1600  # side of a map with its title and tick labels
MAP_PX = 1440  # side of the map itself
MAP_LEFT_PX, MAP_BOTTOM_PX = 105, 85
TEXT_PT = 6.5
PAPER = {"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 0.6}
TEXT: dict[str, Any] = {"fontsize": TEXT_PT, "ha": "center", "va": "center", "bbox": PAPER}
OUTLINES = {"vehicle": "#1d4ed8", "pedestrian": "#c81e3a", "cyclist": "#0f7b3a"}
OTHER_OUTLINES = ("#7e22ce", "#a16207", "#0e7490", "#9d174d")
VOID_RGB = (0.93, 0.80, 0.55)


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
    line_px = TEXT_PT * DPI / 72
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
