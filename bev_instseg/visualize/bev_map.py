"""The map of a bird's-eye picture: axes in metres, points, boxes, texts that do not overlap.

Matplotlib is imported by the functions that draw with it.
"""

import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bev_instseg.file_io import write_atomic
from bev_instseg.structures import Float32, Instances
from bev_instseg.visualize.appearance import class_colours, point_greys
from bev_instseg.visualize.box_corners import Float, box_corners

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 200
PANEL_PX = 1600  # side of a map with its title and tick labels
MAP_PX = 1440  # side of the map alone
MAP_LEFT_PX, MAP_BOTTOM_PX = 105, 85
TEXT_PT = 6.5
MAX_TITLE_CHARS = 44
MAX_RANGE_WITH_TEXTS_M = 200.0
SPACINGS_M = (10, 20, 50, 100, 200, 500, 1000, 2000, 5000)  # of range rings and ticks
PAPER = {"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 0.6}
TEXT: dict[str, Any] = {"fontsize": TEXT_PT, "ha": "center", "va": "center", "bbox": PAPER}
VOID_RGB = (0.93, 0.80, 0.55)
NEAREST_GAP_PX, LARGER_GAPS_PX = 5, (30, 60, 90)  # between a box and its text


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
        """Return dashed rings for a map without the boxes, wider to be seen around other rings."""
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
    (x, y), spacing_m = middle_m, next(step for step in SPACINGS_M if range_m <= 6 * step)
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
    """Outline the boxes of instances in the colours of their classes.

    Args:
        axes: A map, x up and y to the left.
        instances: The objects.
        width_pt: Width of the outlines.
        fills: (K, 4) RGBA 0..1 inside the boxes.
    """
    from matplotlib.collections import PolyCollection

    colours = class_colours(instances.class_names)
    corners = list(box_corners(instances.boxes)[:, :4, 1::-1])  # y, x
    edges = [colours[c] for c in instances.classes]
    axes.add_collection(PolyCollection(corners, facecolors=fills, edgecolors=edges, lw=width_pt))


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


def save_png(figure: "Figure", path: str | Path) -> None:
    """Write a figure as a PNG at `DPI`, replacing the file atomically.

    Raises:
        OSError: The file cannot be written.
    """
    write_atomic(path, encode_png(figure))


def encode_png(figure: "Figure") -> bytes:
    """Return a figure as a PNG at `DPI`; characters that the font lacks become boxes."""
    # For the whole process, as warnings.catch_warnings does not work in several threads.
    warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from", UserWarning)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, pil_kwargs={"compress_level": 3})
    return buffer.getvalue()


def _rasterize(content: MapContent, range_m: float, middle: Float) -> Float32:
    """Return (MAP_PX, MAP_PX, 3) RGB 0..1 on white, rows by x, columns by -y; instances on top."""
    points = content.points
    xy = points[:, :2] - middle.astype(np.float32)
    shown = (np.abs(xy) < range_m).all(axis=1)
    shown &= np.isfinite(points[:, 2:]).all(axis=1)
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


def text_sizes_m(texts: Sequence[str], size_pt: float, pixel_m: float) -> Float:
    """Estimate the room that texts take on a map.

    Args:
        texts: K texts; one with several lines is as wide as its longest line.
        size_pt: Font size.
        pixel_m: Side of a pixel.

    Returns:
        (K, 2) width and height in metres.
    """
    lines = [text.split("\n") for text in texts]
    sizes = [(0.58 * max(map(len, parts)), 1.2 * len(parts)) for parts in lines]
    return np.array(sizes).reshape(-1, 2) * (size_pt * DPI / 72) * pixel_m


def place_beside_boxes(
    low_m: Float,
    high_m: Float,
    sizes_m: Float,
    range_m: float,
    pixel_m: float,
    first: Sequence[int] = (),
) -> tuple[dict[int, Float], list[tuple[Float, Float]]]:
    """Place each text beside its box so that it covers no other text, no box and no map edge.

    Args:
        low_m: (K, 2) lower bounds y, x of the boxes in metres, relative to the middle of the map.
        high_m: (K, 2) upper bounds.
        sizes_m: (K, 2) sizes of the texts along y and x.
        range_m: Half the side of the map.
        pixel_m: Side of a pixel.
        first: The boxes whose texts are placed before the others.

    Returns:
        The middle (y, x) of each text by the index of its box, without boxes outside the map and
        texts that do not fit; and leader lines from the more distant texts to their boxes.
    """
    directions = np.array([(-1, 0), (1, 0), (0, 1), (0, -1), (-1, 1), (1, 1), (-1, -1), (1, -1)])
    taken = np.concatenate([low_m, high_m], axis=1)
    places, leaders = {}, []
    for k in dict.fromkeys([*first, *range(len(sizes_m))]):
        middle = (low_m[k] + high_m[k]) / 2
        if (np.abs(middle) > range_m).any():
            continue
        half = sizes_m[k] / 2
        reach = (high_m[k] - low_m[k]) / 2 + half
        for gap_px in (NEAREST_GAP_PX, *LARGER_GAPS_PX):
            spots = middle + directions * (reach + gap_px * pixel_m)
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
                if gap_px != NEAREST_GAP_PX:
                    leaders.append((np.clip(middle, spot - half, spot + half), middle))
                break
    return places, leaders
