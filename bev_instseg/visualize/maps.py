"""The six maps that show how the network's predictions for a sweep become instances.

Matplotlib is imported by the functions that draw with it.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bev_instseg.colours import instance_colours
from bev_instseg.file_io import write_atomic
from bev_instseg.grid import BEVGrid
from bev_instseg.ops.cluster import MARGIN_SQUARED
from bev_instseg.ops.voxelize import FEATURES
from bev_instseg.structures import Float32, Instances, Pillars, Segmentation
from bev_instseg.visualize.appearance import (
    class_colours,
    class_rgb,
    instance_texts,
    point_greys,
)
from bev_instseg.visualize.bev_map import PAPER, TEXT, draw_boxes, shorten
from bev_instseg.visualize.box_corners import Float, box_corners
from bev_instseg.visualize.busiest_square import SQUARE_M, busiest_centre_m
from bev_instseg.visualize.figure_png import DPI, encode_png
from bev_instseg.visualize.place_texts import place_beside_boxes, text_sizes_m

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.quiver import Quiver

COLUMNS, ROWS = 3, 2
MAP_PX, GAP_PX, HEADER_PX = 960, 40, 144  # side of a map, gap beside it, room for its header
TITLE_PT, CAPTION_PT, TEXT_PT = 17.0, 13.0, 10.5  # readable when the picture is 900 pixels wide
MAX_NAME_CHARS = 20
MAX_ARROWS = 40  # per cluster
NO_INSTANCE_RGB = (0.45, 0.45, 0.45)  # colour of a cluster that became no instance
DARKEST_HEIGHT_M = 3.0  # taller pillars are no darker
HEIGHT = FEATURES.index("height_max_m")


def draw_maps(points: Float32, segmentation: Segmentation, path: str | Path, *, title: str) -> None:
    """Draw the network's predictions for a sweep as a PNG of six maps, x forward up and y left.

    The first map shows the whole grid with seeds and boxes, the others the square of side
    `SQUARE_M` with the most objects (`busiest_centre_m`):

    2. pillars, darker where taller;
    3. seed: each pillar in the colour of its most likely class, stronger for a higher seed;
    4. offset: arrows from the centres of clustered pillars to their embeddings e_i = x_i + o_i,
       at most `MAX_ARROWS` for each cluster;
    5. sigma: all pillars at their embeddings and, around those that opened a cluster, the margin
       phi = 0.5 (`margin_ellipses`) with its longer semi-axis;
    6. points, boxes and scores of the instances, without unknown objects.

    From map 4 on each instance has one colour; a cluster that became no instance is grey.

    Args:
        points: (N, 4) float32 x, y, z in metres and intensity 0..1.
        segmentation: The segmentation of these points.
        path: The PNG file, replaced atomically.
        title: Name of the sweep; only the end of a long one is shown.

    Raises:
        OSError: The file cannot be written.
    """
    write_atomic(path, maps_png(points, segmentation, title=title))


def maps_png(points: Float32, segmentation: Segmentation, *, title: str) -> bytes:
    """Return the PNG that `draw_maps` writes.

    Args:
        points: See `draw_maps`.
        segmentation: See `draw_maps`.
        title: See `draw_maps`.
    """
    segmentation = replace(segmentation, instances=segmentation.instances.known())
    grid, instances = segmentation.pillars.grid, segmentation.instances
    middle = busiest_centre_m(instances, grid)
    number = instance_of_cluster(segmentation)
    colours = np.vstack([NO_INSTANCE_RGB, instance_colours(len(instances))])[number]
    figure, maps = _new_maps(grid, middle)
    name = shorten(title, MAX_NAME_CHARS)
    headers = (
        (f"Sweep {name}", f"{len(points):,} points; maps 2 to 6 show the square"),
        ("Pillars", f"occupied {grid.cell_m:g} m cells, darker where taller"),
        ("Seed", "confidence that it points at an object's centre"),
        ("Offset", "arrows from the pillars to that centre"),
        ("Sigma", "pillars moved there; φ > 0.5 inside each ring"),
        ("Instances", "seeds, best first, take the pillars in their rings"),
    )
    for k, (axes, (heading, caption)) in enumerate(zip(maps, headers, strict=True), 1):
        _write_header(axes, f"{k}  {heading}", caption)
    _draw_pillar_maps(maps[:4], segmentation, colours)
    draw_boxes(maps[0], instances, 0.8)
    _draw_square(maps[0], middle)
    _draw_legend(maps[0], instances.class_names)
    _draw_scale(maps[0], 20)
    _draw_scale(maps[1], 5)
    draw_offsets(maps[3], segmentation, colours)
    _draw_sigmas(maps[4], segmentation, colours, middle)
    _draw_instances(maps[5], points, instances, middle)
    return encode_png(figure)


def margin_ellipses(precision: Float32) -> tuple[Float, Float]:
    """Compute the margins phi = 0.5 of pillars: ellipses around their embeddings.

    With the precision W of a pillar, phi(e + d) = exp(-1/2 d^T W d). It is 0.5 where
    d^T W d = 2 ln 2, which is sqrt(2 ln 2 / w) from e along the eigenvector of eigenvalue w.

    Args:
        precision: (K, 3) float32 entries (xx, xy, yy) of W, positive definite, 1/m^2.

    Returns:
        (K, 2) float64 semi-axes in metres, the longer first, and (K,) float64 angles of the longer
        one from x towards y in radians.
    """
    matrices = precision[:, [0, 1, 1, 2]].astype(np.float64).reshape(-1, 2, 2)
    eigenvalues, eigenvectors = np.linalg.eigh(matrices)  # the smaller eigenvalue first
    along = eigenvectors[:, :, 0]
    return np.sqrt(MARGIN_SQUARED / eigenvalues), np.arctan2(along[:, 1], along[:, 0])


def instance_of_cluster(segmentation: Segmentation) -> NDArray[np.int32]:
    """Return (K + 1,) int32: the instance that each cluster 0..K became, 0 for none."""
    clusters, labels = segmentation.clusters, segmentation.instances.labels
    number = np.zeros(len(clusters.classes) + 1, np.int32)
    inside = labels > 0
    number[clusters.labels[segmentation.pillars.point_to_pillar[inside]]] = labels[inside]
    return number


def seed_colours(seed: Float32, background: Float, class_names: Sequence[str]) -> Float:
    """Blend each pillar's grey into the colour of its most likely class, by that class's seed.

    Args:
        seed: (P, C) float32 seed map per class, 0..1.
        background: (P, 1) greys 0..1.
        class_names: C names.

    Returns:
        (P, 3) RGB 0..1.
    """
    full = class_rgb(class_names)[seed.argmax(axis=1)]
    strength = seed.max(axis=1, keepdims=True)
    rgb: Float = (1 - strength) * background + strength * full
    return rgb


def _new_maps(grid: BEVGrid, middle: Float) -> "tuple[Figure, list[Axes]]":
    """Create the figure and its empty maps, row by row: one of the grid, five of the square."""
    from matplotlib.figure import Figure

    step = np.array([MAP_PX + GAP_PX, MAP_PX + HEADER_PX])
    size = step * (COLUMNS, ROWS) + GAP_PX
    figure = Figure(tuple(size / DPI), dpi=DPI)
    ranges = np.array([grid.x_range_m, grid.y_range_m])
    low, high = ranges.T
    views = [(ranges.mean(axis=1), (high - low).max() / 2)] + [(middle, SQUARE_M / 2)] * 5
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


def _write_header(axes: "Axes", heading: str, caption: str) -> None:
    style: dict[str, Any] = {
        "xycoords": "axes fraction",
        "textcoords": "offset pixels",
        "parse_math": False,
    }
    axes.annotate(heading, (0, 1), (0, 62), fontsize=TITLE_PT, weight="bold", **style)
    axes.annotate(caption, (0, 1), (0, 18), fontsize=CAPTION_PT, color="0.25", **style)


def _draw_pillar_maps(maps: "Sequence[Axes]", segmentation: Segmentation, colours: Float) -> None:
    """Fill the cells of maps 1 to 4: seeds, heights, seeds on pale grey, tinted clusters."""
    pillars, seed = segmentation.pillars, segmentation.embeddings.seed
    names, labels = segmentation.instances.class_names, segmentation.clusters.labels
    grey = 0.8 - 0.6 * np.clip(pillars.features[:, HEIGHT, None] / DARKEST_HEIGHT_M, 0, 1)
    pale = 0.55 + 0.45 * grey
    tinted = np.where(labels[:, None] > 0, 1 - 0.3 * (1 - colours[labels]), pale)
    cells = seed_colours(seed, grey, names), grey, seed_colours(seed, pale, names), tinted
    for axes, rgb in zip(maps, cells, strict=True):
        _draw_cells(axes, pillars, rgb)


def _draw_cells(axes: "Axes", pillars: Pillars, rgb: Float) -> None:
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


def _draw_square(axes: "Axes", middle: Float) -> None:
    from matplotlib.patches import Rectangle

    x, y = middle - SQUARE_M / 2
    axes.add_patch(Rectangle((y, x), SQUARE_M, SQUARE_M, fill=False, lw=1.8))


def _draw_legend(axes: "Axes", class_names: Sequence[str]) -> None:
    """Draw a strip of seeds 0 to 1 for each class in the lower left corner."""
    one_hot = np.eye(len(class_names), dtype=np.float32)
    seed = np.linspace(0, 1, 64, dtype=np.float32)[:, None]
    for c, name in enumerate(class_names):
        bottom = 0.03 + 0.05 * (len(class_names) - 1 - c)
        strip = axes.inset_axes((0.03, bottom, 0.12, 0.035), xticks=[], yticks=[])
        strip.imshow(seed_colours(seed * one_hot[c], np.full((64, 1), 0.9), class_names)[None])
        strip.set_aspect("auto")
        strip.spines[:].set_color("0.5")
        axes.text(
            *(0.17, bottom + 0.017, name),
            fontsize=TEXT_PT,
            va="center",
            bbox=PAPER,
            parse_math=False,
            transform=axes.transAxes,
        )


def _draw_scale(axes: "Axes", length_m: float) -> None:
    """Draw a scale bar in the lower right corner."""
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


def draw_offsets(axes: "Axes", segmentation: Segmentation, colours: Float) -> "Quiver":
    """Draw the offsets of clustered pillars, evenly thinned to `MAX_ARROWS` per cluster.

    Args:
        axes: A map, x up and y to the left.
        segmentation: The pillars, where arrows begin, their embeddings, where they end, and the
            clusters.
        colours: (K + 1, 3) RGB of clusters 0..K.

    Returns:
        The arrows.
    """
    pillars, labels = segmentation.pillars, segmentation.clusters.labels
    arrows = [np.zeros(0, np.int64)]
    for k in range(1, len(colours)):
        members = np.flatnonzero(labels == k)
        arrows.append(members[:: -(-len(members) // MAX_ARROWS)])
    member = np.concatenate(arrows)
    (x, y), (to_x, to_y) = pillars.centres_m[member].T, segmentation.embeddings.centre_m[member].T
    return axes.quiver(
        *(y, x, to_y - y, to_x - x),
        color=colours[labels[member]],
        angles="xy",
        scale_units="xy",
        scale=1,
        units="dots",
        width=2.2,
        headwidth=5,
        headlength=6,
        headaxislength=5.5,
    )


def _draw_sigmas(axes: "Axes", segmentation: Segmentation, colours: Float, middle: Float) -> None:
    """Draw all pillars at their embeddings, members last, and the margins of the openers."""
    from matplotlib.patches import Ellipse

    embeddings, clusters = segmentation.embeddings, segmentation.clusters
    member = clusters.labels > 0
    _draw_dots(axes, embeddings.centre_m[~member], 6, np.full((1, 3), 0.82))
    _draw_dots(axes, embeddings.centre_m[member], 6, colours[clusters.labels[member]])
    centres = embeddings.centre_m[clusters.openers]
    semi_axes_m, yaw_rad = margin_ellipses(embeddings.precision[clusters.openers])
    for (x, y), size, yaw, rgb in zip(centres, 2 * semi_axes_m, yaw_rad, colours[1:], strict=True):
        angle = 90 - np.degrees(yaw)  # from the y axis of the sensor, which is the x of the map
        fill = (*rgb, 0.15)
        axes.add_patch(Ellipse((y, x), *size, angle=angle, facecolor=fill, edgecolor=rgb, lw=1.8))
    longest = semi_axes_m[:, :1]
    texts = [f"{longer:.2f} m" for longer in longest[:, 0]]
    grey = ["0.2"] * len(texts)
    _write_beside(axes, centres - longest, centres + longest, texts, grey, middle)


def _draw_dots(axes: "Axes", xy_m: Float, size_pt2: float, rgb: Float) -> None:
    axes.scatter(xy_m[:, 1], xy_m[:, 0], s=size_pt2, c=rgb, marker="s", lw=0)


def _draw_instances(axes: "Axes", points: Float32, instances: Instances, middle: Float) -> None:
    """Draw points, boxes and texts of the instances in the square."""
    shown = (np.abs(points[:, :2] - middle) < SQUARE_M / 2).all(axis=1)
    shown &= np.isfinite(points[:, 2])
    points, labels = points[shown], instances.labels[shown]
    member = labels > 0
    colours = instance_colours(len(instances))
    grey = np.clip(point_greys(points), 0, 1)[~member, None]
    _draw_dots(axes, points[~member, :2], 2, np.repeat(grey, 3, axis=1))
    _draw_dots(axes, points[member, :2], 4, colours[labels[member] - 1])
    draw_boxes(axes, instances, 1.8)
    corners = box_corners(instances.boxes)[:, :4, :2]
    low, high = corners.min(axis=1), corners.max(axis=1)
    outlines = class_colours(instances.class_names)
    text_colours = [outlines[c] for c in instances.classes]
    _write_beside(axes, low, high, instance_texts(instances), text_colours, middle)


def _write_beside(
    axes: "Axes",
    low_m: Float,
    high_m: Float,
    texts: Sequence[str],
    colours: Sequence[str],
    middle: Float,
) -> None:
    """Write a text beside each of the (K, 2) bounds x, y where there is room."""
    pixel_m = SQUARE_M / MAP_PX
    places, leaders = place_beside_boxes(
        (low_m - middle)[:, ::-1],
        (high_m - middle)[:, ::-1],
        text_sizes_m(texts, TEXT_PT, pixel_m),
        SQUARE_M / 2,
        pixel_m,
    )
    for k, place in places.items():
        y, x = place + middle[::-1]
        axes.text(y, x, texts[k], color=colours[k], **TEXT)
    for line in leaders:
        axes.plot(*(np.array(line) + middle[::-1]).T, color="0.3", lw=0.6)
