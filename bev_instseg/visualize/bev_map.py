"""The map of a bird's-eye picture: axes in metres, points, boxes, rings and texts.

Matplotlib is imported by the functions that draw with it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bev_instseg.structures import Float32, Instances
from bev_instseg.visualize.appearance import class_colours, point_greys
from bev_instseg.visualize.box_corners import Float, box_corners
from bev_instseg.visualize.figure_png import DPI
from bev_instseg.visualize.place_texts import place_beside_boxes, text_sizes_m

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANEL_PX = 1600  # side of a map with its title and tick labels
MAP_PX = 1440  # side of the map alone
MAP_LEFT_PX, MAP_BOTTOM_PX = 105, 85
TEXT_PT = 6.5
MAX_TITLE_CHARS = 44
MAX_RANGE_WITH_TEXTS_M = 200.0
SPACINGS_M = (10, 20, 50, 100, 200, 500, 1000, 2000, 5000)  # of range rings and ticks
PAPER = {"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 0.6}
TEXT: dict[str, Any] = {
    **{"fontsize": TEXT_PT, "ha": "center", "va": "center", "bbox": PAPER},
    "parse_math": False,  # a class may be named $a_b$
}
VOID_RGB = (0.93, 0.80, 0.55)


@dataclass(frozen=True, eq=False)
class Rings:
    """Circles that point out places on a map.

    Attributes:
        name: What is ringed, for the legend.
        circles_m: (M, 3) x, y and radius in metres.
        colour: Colour of the circles.
        style: Matplotlib line style of the circles.
        box_indices: The M boxes that are ringed, whose texts are placed first; empty where the
            boxes are on a different map.
    """

    name: str
    circles_m: Float
    colour: str
    style: str = "-"
    box_indices: Sequence[int] = ()

    def on_other_map(self) -> "Rings":
        """Return dashed rings for a map without the boxes, wider to show around other ones."""
        circles_m = np.add(self.circles_m, (0, 0, 0.5))
        return replace(self, circles_m=circles_m, style="--", box_indices=())


@dataclass(frozen=True, eq=False)
class MapContent:
    """What one map shows.

    Attributes:
        title: Title of the map; only the end of a long one is shown.
        points: (N, 4) float32 x, y, z in metres and intensity 0..1; NaN points are skipped.
        instances: The objects among these points.
        colours: (K, 3) RGB 0..1 of the instances' points.
        texts: K texts, one for each instance; they may have several lines.
        void: (N,) bool, the points to draw as void.
        rings: The places to point out.
    """

    title: str
    points: Float32
    instances: Instances
    colours: Float
    texts: Sequence[str]
    void: NDArray[np.bool_] | None = None
    rings: Sequence[Rings] = ()


def new_maps(
    num_maps: int, range_m: float, middle_m: tuple[float, float] = (0.0, 0.0)
) -> "tuple[Figure, list[Axes]]":
    """Create a figure with empty maps side by side, `PANEL_PX` x `PANEL_PX` pixels each.

    Args:
        num_maps: Number of maps.
        range_m: Half the side of the square that each map shows.
        middle_m: x, y of the middle of that square; the sensor's place by default.

    Returns:
        The figure and its maps from left to right.
    """
    from matplotlib.figure import Figure

    figure = Figure((num_maps * PANEL_PX / DPI, PANEL_PX / DPI), dpi=DPI)
    return figure, [_new_map(figure, k, num_maps, range_m, middle_m) for k in range(num_maps)]


def _new_map(
    figure: "Figure", index: int, num_maps: int, range_m: float, middle_m: tuple[float, float]
) -> "Axes":
    """Add an empty map of MAP_PX x MAP_PX pixels with ticks, range rings and the sensor."""
    from matplotlib.patches import Circle
    from matplotlib.ticker import MultipleLocator

    width = num_maps * PANEL_PX
    left, bottom = (index * PANEL_PX + MAP_LEFT_PX) / width, MAP_BOTTOM_PX / PANEL_PX
    axes = figure.add_axes((left, bottom, MAP_PX / width, MAP_PX / PANEL_PX))
    x, y = middle_m
    spacing_m = next((step for step in SPACINGS_M if range_m <= 6 * step), SPACINGS_M[-1])
    axes.set(xlim=(y + range_m, y - range_m), ylim=(x - range_m, x + range_m))
    axes.set_xlabel("y, left (m)", fontsize=8, labelpad=1)
    axes.set_ylabel("x, forward (m)", fontsize=8, labelpad=-2)
    axes.tick_params(labelsize=7, length=3, color="0.5", labelcolor="0.3")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MultipleLocator(spacing_m if range_m >= 20 else 5))
    for spine in axes.spines.values():
        spine.set_color("0.7")
    for radius in range(spacing_m, int(range_m + max(abs(x), abs(y))) + 1, spacing_m):
        axes.add_patch(Circle((0, 0), radius, fill=False, color="0.35", alpha=0.35, lw=0.5))
        at = -radius * np.sqrt(0.5)
        axes.text(at, at, f"{radius} m", color="0.4", clip_on=True, **TEXT)
    axes.plot(0, 0, marker=(3, 0, 0), markersize=6, color="black", zorder=4)
    return axes


def fill_map(axes: "Axes", content: MapContent) -> None:
    """Draw points, boxes, rings and texts, with the title and class counts above the map.

    Args:
        axes: A map made by `new_maps`.
        content: What to draw.
    """
    axes.imshow(
        _rasterize(content, *_view(axes)),
        extent=(*axes.get_xlim(), *axes.get_ylim()),
        origin="lower",
        interpolation="nearest",
    )
    fills = np.column_stack([content.colours, np.full(len(content.instances), 0.2)])
    draw_boxes(axes, content.instances, 0.9, fills)
    for rings in content.rings:
        _draw_rings(axes, rings)
    _write_texts(axes, content)
    _write_header(axes, content)


def draw_boxes(
    axes: "Axes", instances: Instances, width_pt: float, fills: Float | str = "none"
) -> None:
    """Outline the boxes of instances in the colours of their classes; draw lines as their courses.

    Args:
        axes: A map, x up and y to the left.
        instances: The objects.
        width_pt: Width of the outlines.
        fills: (K, 4) RGBA 0..1 inside the boxes.
    """
    from matplotlib.collections import LineCollection, PolyCollection

    colours = np.array(class_colours(instances.class_names))[instances.classes]
    courses_m = instances.courses_m or (None,) * len(instances)
    boxed = np.array([course_m is None for course_m in courses_m], bool)
    corners = list(box_corners(instances.boxes[boxed])[:, :4, 1::-1])  # y, x
    inside = fills if isinstance(fills, str) else fills[boxed]
    axes.add_collection(
        PolyCollection(corners, facecolors=inside, edgecolors=colours[boxed], lw=width_pt)
    )
    lines = [course_m[:, 1::-1] for course_m in courses_m if course_m is not None]
    axes.add_collection(LineCollection(lines, colors=colours[~boxed], lw=width_pt))


def _draw_rings(axes: "Axes", rings: Rings) -> None:
    from matplotlib.patches import Circle

    for x, y, radius in rings.circles_m:
        axes.add_patch(
            Circle((y, x), radius, fill=False, color=rings.colour, ls=rings.style, lw=1.4)
        )


def _view(axes: "Axes") -> tuple[float, Float]:
    """Return half the side of the square that a map shows, and its middle x, y."""
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    return (top - bottom) / 2, np.array([(bottom + top) / 2, (left + right) / 2])


def _write_texts(axes: "Axes", content: MapContent) -> None:
    """Write the texts beside the boxes or, if a box is ringed, beside its ring.

    On a map so large that texts would hide it, there are none. Unknown things, which come last and
    are many, get none either.
    """
    from matplotlib.collections import LineCollection

    range_m, middle = _view(axes)
    if range_m > MAX_RANGE_WITH_TEXTS_M:
        return
    instances = content.instances.known()
    texts = content.texts[: len(instances)]
    corners = box_corners(instances.boxes)[:, :4, 1::-1]  # y, x
    low, high = corners.min(1, initial=np.inf), corners.max(1, initial=-np.inf)
    for rings in content.rings:
        for k, (x, y, radius) in zip(rings.box_indices, rings.circles_m, strict=False):
            low[k], high[k] = (y - radius, x - radius), (y + radius, x + radius)
    ringed = [k for rings in content.rings for k in rings.box_indices]
    middle = middle[::-1]  # y, x
    pixel_m = 2 * range_m / MAP_PX
    sizes_m = text_sizes_m(texts, TEXT_PT, pixel_m)
    places, leaders = place_beside_boxes(
        low - middle, high - middle, sizes_m, range_m, pixel_m, ringed
    )
    colours = class_colours(instances.class_names)
    for k, place in places.items():
        y, x = place + middle
        axes.text(y, x, texts[k], color=colours[instances.classes[k]], **TEXT)
    lines = [np.add(ends, middle) for ends in leaders]
    axes.add_collection(LineCollection(lines, colors="0.3", lw=0.5))


def _write_header(axes: "Axes", content: MapContent) -> None:
    """Write the title and the legend with its counts above a map."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    names = content.instances.class_names
    counts = np.bincount(content.instances.classes, minlength=len(names))
    patches = [
        Patch(fill=False, edgecolor=colour, label=f"{count} {name}")
        for colour, count, name in zip(class_colours(names), counts, names, strict=True)
    ]
    if content.void is not None and content.void.any():
        patches.append(Patch(facecolor=VOID_RGB, label="void"))
    lines = [
        Line2D([], [], color=ring.colour, ls=ring.style, label=f"{len(ring.circles_m)} {ring.name}")
        for ring in content.rings
        if len(ring.circles_m)
    ]
    title = shorten(content.title, MAX_TITLE_CHARS)
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


def shorten(text: str, max_chars: int) -> str:
    """Return the end of a text that has more than ``max_chars`` characters, after an ellipsis."""
    return text if len(text) <= max_chars else "…" + text[1 - max_chars :]


def _rasterize(content: MapContent, range_m: float, middle: Float) -> Float32:
    """Return (MAP_PX, MAP_PX, 3) RGB 0..1 on white, rows by x, columns by -y; instances on top."""
    points = content.points
    xy = points[:, :2] - middle.astype(np.float32)
    shown = (np.abs(xy) < range_m).all(axis=1)
    shown &= np.isfinite(points[:, 2])
    points, xy, labels = points[shown], xy[shown], content.instances.labels[shown]
    rgb = np.repeat(point_greys(points)[:, None], 3, axis=1)
    if content.void is not None:
        rgb[content.void[shown]] = VOID_RGB
    member = labels > 0
    rgb[member] = content.colours[labels[member] - 1]

    image = np.ones((MAP_PX, MAP_PX, 3), np.float32)
    pixel = np.stack([xy[:, 0] + range_m, range_m - xy[:, 1]]) * (MAP_PX / (2 * range_m))
    for dots, side_px in ((~member, 2), (member, 3)):
        order = np.flatnonzero(dots)[np.argsort(points[dots, 2])]  # the highest is drawn last
        row, column = pixel[:, order].astype(np.int64) - side_px // 2
        for down, right in np.ndindex(side_px, side_px):
            at = np.clip(row + down, 0, MAP_PX - 1), np.clip(column + right, 0, MAP_PX - 1)
            image[at] = rgb[order]
    return image
