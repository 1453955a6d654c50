"""Maps and sweeps larger than the grid: predicted tile by tile, clustered all at once.

A tile is a rectangle of the grid's size, and the grid itself is one of them. Neighbouring tiles
overlap, and each point belongs to the one tile whose inner part, without the overlaps, contains it.
The network sees the whole tile, as if a sensor stood in its middle, but only the pillars of the
tile's own points are kept. Those of all tiles are then clustered together, so no instances have to
be joined at the seams: the pillars of an object on a seam point to the same centre whichever tile
predicted them, because each of these tiles shows the whole object, or at least half of a very long
one.
"""

import math
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from bev_instseg.grid import MAX_RANGE_M, BEVGrid
from bev_instseg.ops.off_grid import off_grid_notice
from bev_instseg.ops.unknown import MIN_POINTS
from bev_instseg.ops.voxelize import FEATURES, MAX_CELLS
from bev_instseg.segmenter import Segmenter
from bev_instseg.stages import cluster_pillars, make_pillars
from bev_instseg.structures import (
    Float32,
    Int32,
    PillarEmbeddings,
    Pillars,
    Segmentation,
    check_array,
)

# Half of this is visible all around each point: more than half the length of the longest vehicles
# (18.75 m).
MIN_OVERLAP_M = 20.0
# Tiles are a multiple of this many cells apart, so that they share the cells of the network's
# coarser maps and of the ground's estimate.
ALIGNMENT_CELLS = 32
# The network expects fewer points farther from the sensor, but a map is dense everywhere. It is
# therefore given ranges of at most this, except in the grid's own tile, where a sensor may really
# be. Without this limit, objects in the corners of tiles are lost.
MAX_SHOWN_RANGE_M = 25.0
RANGE = FEATURES.index("range_m")
LEVEL_STEP_M = 5.0  # tiles are raised and lowered in such steps,
ON_GRID = 0.99  # unless this share of their points is within the heights of the grid
SHOW_PROGRESS_AFTER_S = 3.0

Place = tuple[int, int]  # of a tile: steps along x and y from the grid's own tile
Numbers = NDArray[np.intp]  # of points, ascending


@dataclass(frozen=True, eq=False)
class _Part:
    """The contribution of a tile: its N own points and their P pillars.

    Attributes:
        points: (N,) numbers of the points.
        point_to_pillar: (N,) int32 pillar of each point, -1 outside the grid.
        point_height_m: (N,) float32, as in `Pillars`.
        cells: (P, 2) int64 ix, iy of each pillar, counted in the grid.
        features: (P, F) float32, as in `Pillars`.
        predicted: (P, 5 + C) float32 centre, precision and seeds, as in `PillarEmbeddings`.
    """

    points: Numbers
    point_to_pillar: Int32
    point_height_m: Float32
    cells: NDArray[np.int64]
    features: Float32
    predicted: Float32


def segment_tiles(segmenter: Segmenter, points: Float32) -> Segmentation:
    """Find the instances of a map, or of a sweep that is larger than the grid.

    In the inner part of the grid's own tile the result is that of `Segmenter.segment`. Each tile is
    raised or lowered so that most of its points are on the grid, so the height of the ground may
    vary. Relative intensities are relative to the ground of the tile. One tile is computed at a
    time; only its pillars and their predictions are kept. On a terminal, a progress bar appears if
    this takes more than `SHOW_PROGRESS_AFTER_S`.

    Args:
        segmenter: The network and its thresholds.
        points: (N, 4) float32, as for `Segmenter.segment`. Points that are not finite or farther
            than `MAX_RANGE_M` from the origin get label 0.

    Returns:
        The segmentation of all points, on a grid that covers all tiles.

    Raises:
        ValueError: The array has the wrong shape or dtype, or the area has over 2^31 - 1 cells.
    """
    segmentation = segment_tile_by_tile(segmenter, points)
    if notice := off_grid_notice(points, segmentation.pillars):
        warnings.warn(notice, stacklevel=2)
    return segmentation


def segment_tile_by_tile(segmenter: Segmenter, points: Float32) -> Segmentation:
    """Do the same as `segment_tiles`, but leave it to the caller to report points off all tiles.

    Args:
        segmenter: The network and its thresholds.
        points: (N, 4) float32, as for `segment_tiles`.

    Raises:
        ValueError: As for `segment_tiles`.
    """
    check_array("points", points, np.float32, None, 4)
    config = segmenter.config
    own = _own_points(points, config.grid)
    fewest = [kind.min_points for kind in config.classes]
    fewest += [MIN_POINTS] if segmenter.unknown else []
    fewest += [1] if segmenter.ground else []
    places = _occupied_places(own, min(fewest), config.grid)
    first_cell, area = _area(places, config.grid)
    timing_ms = {"voxelize": 0.0, "network": 0.0}
    progress = tqdm(places, unit="tile", leave=False, disable=None, delay=SHOW_PROGRESS_AFTER_S)
    parts = [_predict(segmenter, points, own, place, timing_ms) for place in progress]
    clock = [time.perf_counter()]
    pillars, embeddings = _join(parts, len(points), first_cell, area)
    clusters = cluster_pillars(embeddings, pillars, config)
    clock.append(time.perf_counter())
    instances = segmenter.assemble(points, pillars, clusters)
    clock.append(time.perf_counter())
    timing_ms["cluster"], timing_ms["assemble"] = (1000 * np.diff(clock)).tolist()
    return Segmentation(pillars, embeddings, clusters, instances, timing_ms)


def tile_step_cells(grid: BEVGrid) -> tuple[int, int]:
    """Return how many cells neighbouring tiles are apart along x and y.

    Args:
        grid: The grid that the network sees.
    """
    overlap = math.ceil(MIN_OVERLAP_M / grid.cell_m)
    nx, ny = (max((n - overlap) // ALIGNMENT_CELLS, 1) * ALIGNMENT_CELLS for n in grid.shape)
    return nx, ny


def _own_points(points: Float32, grid: BEVGrid) -> dict[Place, Numbers]:
    """Return the numbers of each tile's own points."""
    step = np.array(tile_step_cells(grid))
    margin = (np.array(grid.shape) - step) / 2
    corner_m = (grid.x_range_m[0], grid.y_range_m[0]) + margin * grid.cell_m
    numbers = np.flatnonzero((np.abs(points[:, :3]) < MAX_RANGE_M).all(axis=1))  # not NaN
    place = np.floor((points[numbers, :2] - corner_m) / (step * grid.cell_m)).astype(np.int64)
    order = np.lexsort(place.T[::-1])
    place = place[order]
    differs = np.append(True, (place[1:] != place[:-1]).any(axis=1))[: len(place)]
    first = np.flatnonzero(differs)
    groups = np.split(numbers[order], first)[1:]
    return {(i, j): group for (i, j), group in zip(place[first].tolist(), groups, strict=True)}


def _occupied_places(own: Mapping[Place, Numbers], fewest: int, grid: BEVGrid) -> list[Place]:
    """Return the grid's own place, and those with ``fewest`` points or more in and around them."""
    return sorted(
        place
        for place in {(0, 0), *own}
        if place == (0, 0) or sum(len(own.get(at, ())) for at in _around(place, grid)) >= fewest
    )


def _around(place: Place, grid: BEVGrid) -> list[Place]:
    """Return a place and those around it that its tile overlaps."""
    margins = np.subtract(grid.shape, tile_step_cells(grid)) / 2
    (i, j), (a, b) = place, np.ceil(margins / tile_step_cells(grid)).astype(int)
    return list(product(range(i - a, i + a + 1), range(j - b, j + b + 1)))


def _area(places: list[Place], grid: BEVGrid) -> tuple[NDArray[np.int64], BEVGrid]:
    """Return ix, iy of the first cell of all tiles, counted in the grid, and a grid of them all."""
    step = np.array(tile_step_cells(grid))
    first, end = np.min(places, axis=0) * step, np.max(places, axis=0) * step + grid.shape
    corner_m = (grid.x_range_m[0], grid.y_range_m[0])
    (x0, y0), (x1, y1) = (np.round(corner_m + at * grid.cell_m, 6).tolist() for at in (first, end))
    if np.prod(end - first) > MAX_CELLS:
        raise ValueError(
            f"the points are spread over {(x1 - x0) / 1000:.1f} x {(y1 - y0) / 1000:.1f} km, too "
            "large an area for one result; cut the map into parts"
        )
    return first, BEVGrid((x0, x1), (y0, y1), grid.z_range_m, grid.cell_m)


def _predict(
    segmenter: Segmenter,
    points: Float32,
    own: Mapping[Place, Numbers],
    place: Place,
    timing_ms: dict[str, float],
) -> _Part:
    """Run the network on a tile and keep what belongs to its own points.

    The times that it took are added to ``timing_ms``.
    """
    clock = [time.perf_counter()]
    grid = segmenter.config.grid
    offset = np.multiply(place, tile_step_cells(grid))
    offset_m = offset * grid.cell_m
    numbers, owned = _visible(points, own, place, grid)
    shown = points[numbers]
    shown[:, :2] -= offset_m.astype(np.float32)
    shown[:, 2] -= _level_m(shown[owned, 2], grid)
    pillars = make_pillars(shown, segmenter.config)
    if place != (0, 0):
        pillars.features[:, RANGE] = np.minimum(pillars.features[:, RANGE], MAX_SHOWN_RANGE_M)
    clock.append(time.perf_counter())
    embeddings = segmenter.infer(pillars)
    if place != (0, 0):
        pillars.features[:, RANGE] = np.hypot(*(pillars.centres_m + offset_m).T)  # from the origin
    clock.append(time.perf_counter())
    timing_ms["voxelize"] += 1000 * (clock[1] - clock[0])
    timing_ms["network"] += 1000 * (clock[2] - clock[1])

    pillar = pillars.point_to_pillar[owned]
    kept = np.zeros(len(pillars.cells), np.bool_)
    kept[pillar[pillar >= 0]] = True
    new_number = np.append(np.cumsum(kept) - 1, -1).astype(np.int32)  # the last for pillar -1
    ix, iy = np.divmod(pillars.cells[kept].astype(np.int64), grid.shape[1])
    centre_m = embeddings.centre_m[kept] + offset_m.astype(np.float32)
    return _Part(
        points=numbers[owned],
        point_to_pillar=new_number[pillar],
        point_height_m=pillars.point_height_m[owned],
        cells=np.stack([ix, iy], axis=1) + offset,
        features=pillars.features[kept],
        predicted=np.hstack([centre_m, embeddings.precision[kept], embeddings.seed[kept]]),
    )


def _visible(
    points: Float32, own: Mapping[Place, Numbers], place: Place, grid: BEVGrid
) -> tuple[Numbers, NDArray[np.bool_]]:
    """Return the numbers of the points on a tile, and which of them are its own."""
    low_m = np.array([grid.x_range_m[0], grid.y_range_m[0]])
    low_m += np.multiply(place, tile_step_cells(grid)) * grid.cell_m
    high_m = low_m + np.multiply(grid.shape, grid.cell_m)
    shown = []
    around = _around(place, grid)
    for at in around:
        group = own.get(at, np.empty(0, np.intp))
        xy = points[group, :2]
        shown.append(group if at == place else group[((xy >= low_m) & (xy < high_m)).all(axis=1)])
    numbers = np.concatenate(shown)
    owned = np.repeat([at == place for at in around], [len(group) for group in shown])
    order = np.argsort(numbers)
    return numbers[order], owned[order]


def _level_m(z_m: Float32, grid: BEVGrid) -> np.float32:
    """Return how far to lower points, in steps: 0 if nearly all of them are on the grid already.

    Otherwise their median gets near the middle of the grid's heights.
    """
    low_m, high_m = grid.z_range_m
    if np.count_nonzero((z_m >= low_m) & (z_m < high_m)) >= ON_GRID * len(z_m):
        return np.float32(0)
    step_m = min(LEVEL_STEP_M, (high_m - low_m) / 2)
    above_m = np.median(z_m) - (low_m + high_m) / 2
    return np.float32(np.round(above_m / step_m) * step_m)


def _join(
    parts: list[_Part], num_points: int, first_cell: NDArray[np.int64], area: BEVGrid
) -> tuple[Pillars, PillarEmbeddings]:
    """Return the pillars of all tiles in ascending order of their cells, and their predictions."""
    ix, iy = (np.concatenate([part.cells for part in parts]) - first_cell).T
    cells = ix * area.shape[1] + iy
    order = np.argsort(cells, kind="stable")
    new_number = np.append(np.empty_like(order), -1).astype(np.int32)
    new_number[order] = np.arange(len(order))
    point_to_pillar = np.full(num_points, -1, np.int32)
    point_height_m = np.full(num_points, np.nan, np.float32)
    num_pillars = 0
    for part in parts:
        on_grid = part.point_to_pillar >= 0
        pillar = np.where(on_grid, part.point_to_pillar + num_pillars, len(order))
        point_to_pillar[part.points] = new_number[pillar]
        point_height_m[part.points] = part.point_height_m
        num_pillars += len(part.cells)
    features = np.concatenate([part.features for part in parts])[order]
    predicted = np.concatenate([part.predicted for part in parts])[order]
    pillars = Pillars(
        area, cells[order].astype(np.int32), features, point_to_pillar, point_height_m
    )
    embeddings = PillarEmbeddings(predicted[:, :2], predicted[:, 2:5], predicted[:, 5:])
    return pillars, embeddings
