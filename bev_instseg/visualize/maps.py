"""What the network says of a sweep, drawn: seed, offset and sigma, and what becomes of them.

Matplotlib is imported by the functions that draw with it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bev_instseg.colours import instance_colours
from bev_instseg.grid import BEVGrid
from bev_instseg.ops.cluster import MARGIN_SQUARED
from bev_instseg.ops.voxelize import FEATURES
from bev_instseg.structures import (
    Clusters,
    Float32,
    Instances,
    PillarEmbeddings,
    Pillars,
    Segmentation,
)
from bev_instseg.visualize.bev_map import DPI, PAPER, outlines_of, place_texts, save_png
from bev_instseg.visualize.boxes import box_corners, grey_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.quiver import Quiver

Float = NDArray[np.floating]

WINDOW_M = 24.0  # side of the square that five of the six maps show
SPARE_M = 1.0  # between a box and the edge of the square that is to hold it
COLUMNS, ROWS = 3, 2
MAP_PX, GAP_PX, HEAD_PX = 960, 40, 144  # side of a map, room beside it, room for the words above it
TITLE_PT, CAPTION_PT, TEXT_PT = 17.0, 13.0, 10.5  # readable when the picture is 900 pixels wide
TITLE_LENGTH = 20
MAX_ARROWS = 40  # of a cluster
NEITHER = (0.45, 0.45, 0.45)  # colour of a cluster that became no instance
TALL_M = 3.0  # pillars as tall or taller are darkest
HEIGHT = FEATURES.index("height_max_m")


def draw_maps(points: Float32, segmentation: Segmentation, path: str | Path, *, title: str) -> None:
    """Draw what the network says of a sweep as a PNG of six maps, x forward up and y left.

    The first shows the whole grid, seeds and boxes; the others show a square of `WINDOW_M`
    where most is (`busiest_centre_m`):

    2. pillars, darker where taller;
    3. seed: each pillar in the colour of its likeliest class, the stronger the higher its seed;
    4. offset: arrows from the centres of clustered pillars to their embeddings e_i = x_i + o_i,
       at most `MAX_ARROWS` for each cluster;
    5. sigma: all pillars at their embeddings, and about those of the pillars that opened a cluster
       the margin phi = 0.5 (`margin_ellipses`) with its longer semi-axis;
    6. points, boxes and scores of the instances.

    Instances have one colour from map 4 on, a cluster that became no instance is grey.

    Args:
        points: (N, 4) float32 x, y, z in metres and intensity 0..1.
        segmentation: What was computed for these points.
        path: the file, written whole or not at all.
        title: name of the sweep; its end is shown if it is long.

    Raises:
        OSError: if the file cannot be written.
    """
    pillars, embeddings = segmentation.pillars, segmentation.embeddings
    clusters, instances = segmentation.clusters, segmentation.instances
    grid = pillars.grid
    middle = busiest_centre_m(instances, grid)
    number = instance_of_cluster(pillars, clusters, instances)
    colours = np.vstack([NEITHER, instance_colours(len(instances))])[number]
    shown = title if len(title) <= TITLE_LENGTH else "…" + title[1 - TITLE_LENGTH :]

    figure, maps = _new_maps(grid, middle)
    words = (
        (f"Sweep {shown}", f"{len(points):,} points; 2 to 6 show the square"),
        ("Pillars", f"occupied cells of {grid.cell_m:g} m, darker where taller"),
        ("Seed", "how surely it points at an object's heart"),
        ("Offset", "where that heart is"),
        ("Sigma", "pillars moved there; inside a ring φ > 0.5"),
        ("Instances", "the best seed claims its ring, then the next"),
    )
    for k, (axes, (name, caption)) in enumerate(zip(maps, words, strict=True), 1):
        _write_head(axes, f"{k}  {name}", caption)

    grey = 0.8 - 0.6 * np.clip(pillars.features[:, HEIGHT, None] / TALL_M, 0, 1)
    pale = 0.55 + 0.45 * grey
    seeds = seed_colours(embeddings.seed, pale, instances.class_names)
    seeds_afar = seed_colours(embeddings.seed, grey, instances.class_names)
    tinted = np.where(clusters.labels[:, None] > 0, 1 - 0.3 * (1 - colours[clusters.labels]), pale)
    for axes, rgb in zip(maps[:4], (seeds_afar, grey, seeds, tinted), strict=True):
        _draw_pillars(axes, pillars, rgb)
    _draw_boxes(maps[0], instances, 0.8)
    _draw_square(maps[0], middle)
    _draw_legend(maps[0], instances.class_names)
    _draw_scale(maps[0], 20)
    _draw_scale(maps[1], 5)
    draw_offsets(maps[3], pillars, embeddings, clusters, colours)
    _draw_sigmas(maps[4], embeddings, clusters, colours, middle)
    _draw_instances(maps[5], points, instances, middle)
    save_png(figure, path)


def margin_ellipses(precision: Float32) -> tuple[Float, Float]:
    """The margins phi = 0.5 of pillars: ellipses about their embeddings.

    With the precision W of a pillar phi(e + d) = exp(-1/2 d^T W d), which is 0.5 where
    d^T W d = 2 ln 2: along the eigenvector of W with eigenvalue w, sqrt(2 ln 2 / w) from e.

    Args:
        precision: (K, 3) float32 entries (xx, xy, yy) of W, positive definite, 1/m^2.

    Returns:
        (K, 2) float64 semi-axes in metres, the longer first, and (K,) float64 angles of the longer
        from x towards y in radians.
    """
    matrices = precision[:, [0, 1, 1, 2]].astype(np.float64).reshape(-1, 2, 2)
    eigenvalues, eigenvectors = np.linalg.eigh(matrices)  # the smaller eigenvalue first
    along = eigenvectors[:, :, 0]
    return np.sqrt(MARGIN_SQUARED / eigenvalues), np.arctan2(along[:, 1], along[:, 0])


def instance_of_cluster(
    pillars: Pillars, clusters: Clusters, instances: Instances
) -> NDArray[np.int32]:
    """(K + 1,) int32: the instance that each cluster 0..K became, 0 for none."""
    number = np.zeros(len(clusters.classes) + 1, np.int32)
    inside = instances.labels > 0
    number[clusters.labels[pillars.point_to_pillar[inside]]] = instances.labels[inside]
    return number


def busiest_centre_m(instances: Instances, grid: BEVGrid) -> Float:
    """(2,) middle x, y of the square of `WINDOW_M` with most to show.

    That is the one with most classes, then most instances, counting those whose boxes lie in it
    with `SPARE_M` to spare, then fewest others that reach into it; then those counted near the
    sensor and in the middle of the square. Its middle is a whole number of metres from that of the
    grid, and it stays inside the grid if that is larger.
    """
    corners = box_corners(instances.boxes)[:, :4, :2]
    low, high = corners.min(axis=1), corners.max(axis=1)
    axes_m, held_along, touched_along = [], [], []
    for axis, (first, last) in enumerate((grid.x_range_m, grid.y_range_m)):
        reach = max((last - first - WINDOW_M) / 2, 0) // 1
        at = np.arange(-reach, reach + 1)[:, None] + (first + last) / 2
        inner, outer = WINDOW_M / 2 - SPARE_M, WINDOW_M / 2
        axes_m.append(at[:, 0])
        held_along.append((low[:, axis] >= at - inner) & (high[:, axis] <= at + inner))
        touched_along.append((low[:, axis] < at + outer) & (high[:, axis] > at - outer))
    middles = np.stack(np.meshgrid(*axes_m, indexing="ij"), axis=-1).reshape(-1, 2)
    shape = len(middles), len(instances)
    held = (held_along[0][:, None] & held_along[1]).reshape(shape)
    touched = (touched_along[0][:, None] & touched_along[1]).reshape(shape)
    of_class = instances.classes[:, None] == np.unique(instances.classes)  # (K, classes)
    heart = held @ instances.boxes[:, :2] / np.maximum(held.sum(axis=1, keepdims=True), 1)
    worth = (
        -np.linalg.norm(heart, axis=1) - np.linalg.norm(middles - heart, axis=1),
        -(touched & ~held).sum(axis=1),
        held.sum(axis=1),
        (held @ of_class).sum(axis=1),  # a product of booleans: any instance of the class
    )
    return middles[np.lexsort(worth)[-1]]


def seed_colours(seed: Float32, background: Float, class_names: Sequence[str]) -> Float:
    """From grey at seed 0 to the full colour of the class at seed 1, by the largest seed.

    Args:
        seed: (P, C) float32 seed map per class, 0..1.
        background: (P, 1) greys 0..1.
        class_names: C names.

    Returns:
        (P, 3) RGB 0..1.
    """
    from matplotlib.colors import to_rgb

    full = np.array([to_rgb(colour) for colour in outlines_of(class_names)])[seed.argmax(axis=1)]
    strength = seed.max(axis=1, keepdims=True)
    return (1 - strength) * background + strength * full


def _new_maps(grid: BEVGrid, middle: Float) -> "tuple[Figure, list[Axes]]":
    """The figure and its empty maps, row by row: one of the grid, then five of the square."""
    from matplotlib.figure import Figure

    step = np.array([MAP_PX + GAP_PX, MAP_PX + HEAD_PX])
    size = step * (COLUMNS, ROWS) + GAP_PX
    figure = Figure(tuple(size / DPI), dpi=DPI)
    ranges = np.array([grid.x_range_m, grid.y_range_m])
    low, high = ranges.T
    views = [(ranges.mean(axis=1), (high - low).max() / 2)] + [(middle, WINDOW_M / 2)] * 5
    maps = []
    for k, ((x, y), half) in enumerate(views):
        row, column = divmod(k, COLUMNS)
        corner = GAP_PX + step * (column, ROWS - 1 - row)
        axes = figure.add_axes((*(corner / size), *(MAP_PX / size)))
        axes.set(xlim=(y + half, y - half), ylim=(x - half, x + half), xticks=[], yticks=[])
        axes.set_autoscale_on(False)
        axes.spines[:].set_color("0.7")
        axes.plot(0, 0, marker=(3, 0, 0), markersize=7, color="black", zorder=4)
        maps.append(axes)
    return figure, maps


def _write_head(axes: "Axes", name: str, caption: str) -> None:
    at: dict[str, Any] = {
        "xycoords": "axes fraction",
        "textcoords": "offset pixels",
        "parse_math": False,
    }
    axes.annotate(name, (0, 1), (0, 62), fontsize=TITLE_PT, weight="bold", **at)
    axes.annotate(caption, (0, 1), (0, 18), fontsize=CAPTION_PT, color="0.25", **at)


def _draw_pillars(axes: "Axes", pillars: Pillars, rgb: Float) -> None:
    """Fill the occupied cells with (P, 3) colours or (P, 1) greys."""
    grid = pillars.grid
    nx, ny = grid.shape
    image = np.ones((nx * ny, 3), np.float32)
    image[pillars.cells] = rgb
    axes.imshow(
        image.reshape(nx, ny, 3),
        extent=(*grid.y_range_m, *grid.x_range_m),
        origin="lower",
        interpolation="nearest",
        aspect="auto",
    )


def _draw_boxes(axes: "Axes", instances: Instances, width_pt: float) -> None:
    from matplotlib.collections import PolyCollection

    outlines = outlines_of(instances.class_names)
    corners = list(box_corners(instances.boxes)[:, :4, 1::-1])
    edges = [outlines[c] for c in instances.classes]
    axes.add_collection(PolyCollection(corners, facecolors="none", edgecolors=edges, lw=width_pt))


def _draw_square(axes: "Axes", middle: Float) -> None:
    from matplotlib.patches import Rectangle

    x, y = middle - WINDOW_M / 2
    axes.add_patch(Rectangle((y, x), WINDOW_M, WINDOW_M, fill=False, lw=1.8))


def _draw_legend(axes: "Axes", class_names: Sequence[str]) -> None:
    """A strip of seed 0 to 1 for each class in the lower left, where the sweep is thinnest."""
    one_of = np.eye(len(class_names), dtype=np.float32)
    seed = np.linspace(0, 1, 64, dtype=np.float32)[:, None]
    for c, name in enumerate(class_names):
        bottom = 0.03 + 0.05 * (len(class_names) - 1 - c)
        strip = axes.inset_axes((0.03, bottom, 0.12, 0.035), xticks=[], yticks=[])
        strip.imshow(seed_colours(seed * one_of[c], np.full((64, 1), 0.9), class_names)[None])
        strip.set_aspect("auto")
        strip.spines[:].set_color("0.5")
        axes.text(
            *(0.17, bottom + 0.017, name),
            fontsize=TEXT_PT,
            va="center",
            bbox=PAPER,
            transform=axes.transAxes,
        )


def _draw_scale(axes: "Axes", length_m: float) -> None:
    """A bar of that length in the lower right."""
    side_m = axes.get_ylim()[1] - axes.get_ylim()[0]
    right, bottom = axes.get_xlim()[1] + 0.04 * side_m, axes.get_ylim()[0] + 0.03 * side_m
    axes.plot(
        [right, right + length_m], [bottom, bottom], color="black", lw=2.5, solid_capstyle="butt"
    )
    axes.text(
        right + length_m / 2,
        bottom + 0.01 * side_m,
        f"{length_m:g} m",
        fontsize=TEXT_PT,
        ha="center",
        va="bottom",
        bbox=PAPER,
    )


def draw_offsets(
    axes: "Axes",
    pillars: Pillars,
    embeddings: PillarEmbeddings,
    clusters: Clusters,
    colours: Float,
) -> "Quiver":
    """Draw the offsets of clustered pillars, evenly thinned to `MAX_ARROWS` of a cluster.

    Args:
        axes: a map, x up and y to the left.
        pillars: where the arrows begin.
        embeddings: where they end.
        clusters: the pillars, grouped.
        colours: (K + 1, 3) RGB of cluster 0..K.

    Returns:
        The arrows.
    """
    arrows = [np.zeros(0, np.int64)]
    for k in range(1, len(colours)):
        members = np.flatnonzero(clusters.labels == k)
        arrows.append(members[:: -(-len(members) // MAX_ARROWS)])
    member = np.concatenate(arrows)
    (x, y), (to_x, to_y) = pillars.centres_m[member].T, embeddings.centre_m[member].T
    return axes.quiver(
        *(y, x, to_y - y, to_x - x),
        color=colours[clusters.labels[member]],
        angles="xy",
        scale_units="xy",
        scale=1,
        units="dots",
        width=2.2,
        headwidth=5,
        headlength=6,
        headaxislength=5.5,
    )


def _draw_sigmas(
    axes: "Axes",
    embeddings: PillarEmbeddings,
    clusters: Clusters,
    colours: Float,
    middle: Float,
) -> None:
    """Draw all pillars at their embeddings, members last, and the margins of the openers."""
    from matplotlib.patches import Ellipse

    member = clusters.labels > 0
    _draw_dots(axes, embeddings.centre_m[~member], 6, np.full((1, 3), 0.82))
    _draw_dots(axes, embeddings.centre_m[member], 6, colours[clusters.labels[member]])
    hearts = embeddings.centre_m[clusters.openers]
    semi_axes_m, yaw_rad = margin_ellipses(embeddings.precision[clusters.openers])
    for (x, y), size, yaw, rgb in zip(hearts, 2 * semi_axes_m, yaw_rad, colours[1:], strict=True):
        angle = 90 - np.degrees(yaw)  # from the y axis of the sensor, which is the x of the map
        fill = (*rgb, 0.15)
        axes.add_patch(Ellipse((y, x), *size, angle=angle, facecolor=fill, edgecolor=rgb, lw=1.8))
    longest = semi_axes_m[:, :1]
    texts = [f"{longer:.2f} m" for longer in longest[:, 0]]
    grey = ["0.2"] * len(texts)
    _write_beside(axes, hearts - longest, hearts + longest, texts, grey, middle)


def _draw_dots(axes: "Axes", xy_m: Float, size_pt2: float, rgb: Float) -> None:
    axes.scatter(xy_m[:, 1], xy_m[:, 0], s=size_pt2, c=rgb, marker="s", lw=0)


def _draw_instances(axes: "Axes", points: Float32, instances: Instances, middle: Float) -> None:
    shown = (np.abs(points[:, :2] - middle) < WINDOW_M / 2).all(axis=1)
    shown &= np.isfinite(points[:, 2:]).all(axis=1)
    points, labels = points[shown], instances.labels[shown]
    member = labels > 0
    colours = instance_colours(len(instances))
    grey = np.clip(grey_of(points), 0, 1)[~member, None]
    _draw_dots(axes, points[~member, :2], 2, np.repeat(grey, 3, axis=1))
    _draw_dots(axes, points[member, :2], 4, colours[labels[member] - 1])
    _draw_boxes(axes, instances, 1.8)
    corners = box_corners(instances.boxes)[:, :4, :2]
    low, high = corners.min(axis=1), corners.max(axis=1)
    names, outlines = instances.class_names, outlines_of(instances.class_names)
    texts = [
        f"{names[c]} {s:.2f}" for c, s in zip(instances.classes, instances.scores, strict=True)
    ]
    _write_beside(axes, low, high, texts, [outlines[c] for c in instances.classes], middle)


def _write_beside(
    axes: "Axes", low: Float, high: Float, texts: Sequence[str], colours: Sequence, middle: Float
) -> None:
    """Write a text beside each of the (K, 2) bounds x, y where there is room."""
    places, leaders = place_texts(
        (low - middle)[:, ::-1],
        (high - middle)[:, ::-1],
        texts,
        WINDOW_M / 2,
        WINDOW_M / MAP_PX,
        TEXT_PT,
    )
    for k, place in places.items():
        y, x = place + middle[::-1]
        axes.text(
            y, x, texts[k], color=colours[k], fontsize=TEXT_PT, ha="center", va="center", bbox=PAPER
        )
    for line in leaders:
        axes.plot(*(np.array(line) + middle[::-1]).T, color="0.3", lw=0.6)
