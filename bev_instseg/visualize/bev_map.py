"""The map in a bird's-eye picture: axes in metres, points, boxes, texts that do not collide.

Matplotlib is imported by the functions that draw with it.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bev_instseg.file_io import write_atomic
from bev_instseg.structures import Instances
from bev_instseg.visualize.boxes import grey_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Float = NDArray[np.floating]

DPI = 200
PANEL_PX = 1600  # side of a map with its title and tick labels
MAP_PX = 1440  # side of the map itself
MAP_LEFT_PX, MAP_BOTTOM_PX = 105, 85
TEXT_PT = 6.5
TITLE_LENGTH = 44
PAPER = {"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 0.6}
TEXT: dict[str, Any] = {"fontsize": TEXT_PT, "ha": "center", "va": "center", "bbox": PAPER}
OUTLINES = {"vehicle": "#1d4ed8", "pedestrian": "#c81e3a", "cyclist": "#0f7b3a"}
OTHER_OUTLINES = ("#7e22ce", "#a16207", "#0e7490", "#9d174d")
VOID_RGB = (0.93, 0.80, 0.55)


@dataclass(frozen=True, eq=False)
class Rings:
    """Circles around places that a picture points out.

    Attributes:
        name: what stands there, for the legend.
        circles_m: (M, 3) x, y and radius in metres.
        colour: of the circles.
        style: Matplotlib's line style of the circles.
        boxes: M boxes of the map that they surround, whose texts are then placed first; or none,
            where what they point out stands on another map.
    """

    name: str
    circles_m: Float
    colour: str
    style: str = "-"
    boxes: Sequence[int] = ()

    def dashed(self) -> "Rings":
        """The same for the map beside that of the boxes; wider, to be seen around others."""
        circles_m = np.add(self.circles_m, (0, 0, 0.5))
        return replace(self, circles_m=circles_m, style="--", boxes=())


def new_maps(panels: int, range_m: float) -> "tuple[Figure, list[Axes]]":
    """A figure of PANEL_PX x PANEL_PX pixels a panel, and its empty maps from left to right."""
    from matplotlib.figure import Figure

    figure = Figure((panels * PANEL_PX / DPI, PANEL_PX / DPI), dpi=DPI)
    return figure, [_new_map(figure, panel, panels, range_m) for panel in range(panels)]


def _new_map(figure: "Figure", panel: int, panels: int, range_m: float) -> "Axes":
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


def fill_map(
    axes: "Axes",
    title: str,
    points: NDArray[np.float32],
    instances: Instances,
    *,
    colours: Float,
    corners: Float,
    texts: Sequence[str],
    void: NDArray[np.bool_] | None = None,
    rings: Sequence[Rings] = (),
) -> None:
    """Draw points, boxes and a text beside each box; title and class counts go above the map.

    Args:
        axes: a map of `new_maps`.
        title: its end is shown if it is long.
        points: (N, 4) float32 x, y, z in metres and intensity 0..1; NaN is left out.
        instances: the objects among them.
        colours: (K, 3) RGB 0..1 of their points.
        corners: (K, 8, 3) corners of their boxes, the bottom four first.
        texts: K texts; one of several lines is as wide as its longest.
        void: (N,) bool, points to draw in a colour of their own.
        rings: what to point out.
    """
    from matplotlib.collections import LineCollection, PolyCollection
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    range_m = axes.get_ylim()[1]
    axes.imshow(
        _image(points, instances.labels, colours, range_m, void),
        extent=(range_m, -range_m, -range_m, range_m),
        origin="lower",
        interpolation="nearest",
    )
    outlines = outlines_of(instances.class_names)
    edges = [outlines[c] for c in instances.classes]
    fills = np.column_stack([colours, np.full(len(instances), 0.2)])
    corners = corners[:, :4, 1::-1]  # y, x
    axes.add_collection(PolyCollection(list(corners), facecolors=fills, edgecolors=edges, lw=0.9))

    low, high = corners.min(1, initial=np.inf), corners.max(1, initial=-np.inf)
    ringed = [k for ring in rings for k in ring.boxes]
    for ring in rings:
        _draw_rings(axes, ring)
        for k, (x, y, radius) in zip(ring.boxes, ring.circles_m, strict=False):
            low[k], high[k] = (y - radius, x - radius), (y + radius, x + radius)
    pixel_m = 2 * range_m / MAP_PX
    places, leaders = place_texts(low, high, texts, range_m, pixel_m, TEXT_PT, ringed)
    for k, (y, x) in places.items():
        axes.text(y, x, texts[k], color=edges[k], **TEXT)
    axes.add_collection(LineCollection(leaders, colors="0.3", lw=0.5))

    counts = np.bincount(instances.classes, minlength=len(outlines))
    patches = [
        Patch(fill=False, edgecolor=outline, label=f"{count} {name}")
        for outline, count, name in zip(outlines, counts, instances.class_names, strict=True)
    ]
    if void is not None and void.any():
        patches.append(Patch(facecolor=VOID_RGB, label="void"))
    lines = [
        Line2D([], [], color=ring.colour, ls=ring.style, label=f"{len(ring.circles_m)} {ring.name}")
        for ring in rings
        if len(ring.circles_m)
    ]
    title = title if len(title) <= TITLE_LENGTH else "…" + title[1 - TITLE_LENGTH :]
    axes.set_title(title, loc="left", fontsize=10, parse_math=False)
    axes.legend(
        handles=[*patches, *lines],
        loc="lower right",
        bbox_to_anchor=(1, 1),
        ncols=len(patches) + len(lines),
        fontsize=8,
        frameon=False,
        handlelength=1.2,
        borderaxespad=0,
    )


def outlines_of(class_names: Sequence[str]) -> list[str]:
    """The colour of each class, as Matplotlib takes it."""
    return [
        OUTLINES.get(name, OTHER_OUTLINES[i % len(OTHER_OUTLINES)])
        for i, name in enumerate(class_names)
    ]


def _draw_rings(axes: "Axes", rings: Rings) -> None:
    from matplotlib.patches import Circle

    for x, y, radius in rings.circles_m:
        axes.add_patch(
            Circle((y, x), radius, fill=False, color=rings.colour, ls=rings.style, lw=1.4)
        )


def save_png(figure: "Figure", path: str | Path) -> None:
    """Write a figure at `DPI` as PNG, whole or not at all.

    Raises:
        OSError: if the file cannot be written.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, pil_kwargs={"compress_level": 3})
    write_atomic(path, buffer.getvalue())


def _image(
    points: NDArray[np.float32],
    labels: NDArray[np.int32],
    colours: Float,
    range_m: float,
    void: NDArray[np.bool_] | None,
) -> NDArray[np.float32]:
    """(MAP_PX, MAP_PX, 3) RGB 0..1 on white, rows by x, columns by -y; instances on top."""
    shown = (np.abs(points[:, :2]) < range_m).all(axis=1) & np.isfinite(points[:, 2:]).all(axis=1)
    points, labels = points[shown], labels[shown]
    rgb = np.repeat(grey_of(points)[:, None], 3, axis=1)
    if void is not None:
        rgb[void[shown]] = VOID_RGB
    member = labels > 0
    rgb[member] = colours[labels[member] - 1]

    image = np.ones((MAP_PX, MAP_PX, 3), np.float32)
    pixel = np.stack([points[:, 0] + range_m, range_m - points[:, 1]]) * (MAP_PX / (2 * range_m))
    for dots, side_px in ((~member, 2), (member, 3)):
        order = np.flatnonzero(dots)[np.argsort(points[dots, 2])]  # the highest is drawn last
        row, column = pixel[:, order].astype(np.int64) - side_px // 2
        for down, right in np.ndindex(side_px, side_px):
            at = np.clip(row + down, 0, MAP_PX - 1), np.clip(column + right, 0, MAP_PX - 1)
            image[at] = rgb[order]
    return image


def place_texts(
    low: Float,
    high: Float,
    texts: Sequence[str],
    range_m: float,
    pixel_m: float,
    size_pt: float,
    first: Sequence[int] = (),
) -> tuple[dict[int, Float], list[tuple[Float, Float]]]:
    """Put each text beside its box so that it covers no other text, no box and no edge.

    Args:
        low, high: (K, 2) bounds y, x of the boxes in metres, from the middle of the map.
        texts: K texts; that of a box outside the map or without a free place is left out.
        range_m: half the side of the map.
        pixel_m: side of a pixel.
        size_pt: of the letters.
        first: the instances whose texts choose their places before the others.

    Returns:
        The middle (y, x) of the texts by instance index, and leader lines for the distant ones.
    """
    line_px = size_pt * DPI / 72
    taken = np.concatenate([low, high], axis=1)
    places, leaders = {}, []
    for k in dict.fromkeys([*first, *range(len(texts))]):
        lines = texts[k].split("\n")
        middle = (low[k] + high[k]) / 2
        if (np.abs(middle) > range_m).any():
            continue
        size = 0.58 * max(map(len, lines)), 1.2 * len(lines)
        half = np.array(size) / 2 * line_px * pixel_m
        reach = (high[k] - low[k]) / 2 + half
        for gap_px in (5, 30, 60, 90):
            ways = np.array([(-1, 0), (1, 0), (0, 1), (0, -1), (-1, 1), (1, 1), (-1, -1), (1, -1)])
            spots = middle + ways * (reach + gap_px * pixel_m)
            inside = (np.abs(spots) + half <= range_m).all(axis=1)
            apart = (
                np.abs(spots[:, None] - (taken[:, :2] + taken[:, 2:]) / 2)
                > half + (taken[:, 2:] - taken[:, :2]) / 2
            )
            free = np.flatnonzero(inside & apart.any(axis=2).all(axis=1))
            if len(free):
                spot = spots[free[0]]
                places[k] = spot
                taken = np.vstack([taken, np.concatenate([spot - half, spot + half])])
                if gap_px > 5:
                    leaders.append((np.clip(middle, spot - half, spot + half), middle))
                break
    return places, leaders
