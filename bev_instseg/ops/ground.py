"""Local ground height under each pillar, from the pillars' lowest points."""

import numpy as np

from bev_instseg.grid import BEVGrid
from bev_instseg.ops.kernel import kernel
from bev_instseg.structures import Float32, Int32

TILE_CELLS = 8  # a tile is TILE_CELLS x TILE_CELLS cells: 1.6 m at 0.2 m cells
MAX_IN_TILE = TILE_CELLS * TILE_CELLS
OUTLIER_M = 0.4  # a tile this far below the median of its neighbourhood is a ghost return
SLOPE = 0.15  # the ground rises at most this much per metre


def estimate_ground(cells: Int32, z_min_m: Float32, grid: BEVGrid) -> Float32:
    """Estimate the height of the ground under each occupied pillar.

    The cells are pooled into tiles. A tile's height is the lower quartile of its pillars' lowest
    points. A tile more than `OUTLIER_M` below the median of the occupied tiles in the 5 x 5 around
    it is raised to that median. Quartile and median are elements, never a mean of two: number
    (n - 1) // 4 and number n // 2 of the n sorted heights.

    The lower envelope of cones that rise by `SLOPE` from every tile then extends the ground under
    cars and walls. Its distances are along x, y and the diagonals (a two-pass chamfer transform).
    The ground is bilinear between the centres of tiles and constant beyond the outermost ones;
    tiles without pillars pass the cones on but have no weight in the interpolation. Computed in
    float64.

    Args:
        cells: (P,) int32 flat cell indices, ascending.
        z_min_m: (P,) float32 lowest point of each pillar, metres; finite.
        grid: The grid of the cells.

    Returns:
        (P,) float32 ground height at each pillar's centre, metres in the sensor frame.
    """
    nx, ny = grid.shape
    rise_m = SLOPE * TILE_CELLS * grid.cell_m
    ground: Float32 = _estimate_ground(cells, z_min_m, nx, ny, rise_m)
    return ground


@kernel
def _estimate_ground(cells, z_min, nx, ny, rise):  # type: ignore[no-untyped-def]
    tx, ty = (nx + TILE_CELLS - 1) // TILE_CELLS, (ny + TILE_CELLS - 1) // TILE_CELLS
    low = _quartiles(cells, z_min, ny, tx, ty)
    ground = _raise_ghosts(low)
    _lower_envelope(ground, rise)
    return _interpolate(cells, ny, low, ground)


@kernel
def _quartiles(cells, z_min, ny, tx, ty):  # type: ignore[no-untyped-def]
    """Return (tx, ty) the lower quartile of each tile's heights, infinite without pillars.

    The cells come row by row, so only one row of tiles is being filled at a time.
    """
    low = np.full((tx, ty), np.inf)
    heights = np.full((ty, MAX_IN_TILE), np.inf, np.float32)
    count = np.zeros(ty, np.int32)
    p = 0
    for i in range(tx):
        for row in range(TILE_CELLS * i, TILE_CELLS * (i + 1)):
            while p < len(cells) and cells[p] < (row + 1) * ny:
                tile = np.uint32(cells[p] - row * ny) // np.uint32(TILE_CELLS)
                heights[tile, np.uint32(count[tile])] = z_min[p]
                count[tile] += 1
                p += 1
        for j in range(ty):
            if count[j] > 0:
                low[i, j] = _kth_smallest(heights[j], count[j], (count[j] - 1) // 4)
                heights[j] = np.inf
                count[j] = 0
    return low


@kernel
def _kth_smallest(values, count, k):  # type: ignore[no-untyped-def]
    """Return number k of the sorted values, by counting for each how many are smaller.

    The loop of fixed length compiles to SIMD and is faster than a selection, which branches.

    Args:
        values: (MAX_IN_TILE,) values, and infinity after the first ``count``.
        count: The number of values.
        k: 0 for the smallest.
    """
    for c in range(count):
        smaller, not_larger = np.int32(0), np.int32(0)
        for i in range(MAX_IN_TILE):
            smaller += values[i] < values[c]
            not_larger += values[i] <= values[c]
        if smaller <= k < not_larger:
            break
    return values[c]


@kernel
def _raise_ghosts(low):  # type: ignore[no-untyped-def]
    """Return the heights with tiles far below the median around them raised to it."""
    tx, ty = low.shape
    ground = low.copy()
    around = np.empty(MAX_IN_TILE)
    for i in range(tx):
        for j in range(ty):
            if low[i, j] == np.inf:
                continue
            n, above = 0, 0
            for u in range(max(i - 2, 0), min(i + 3, tx)):
                for v in range(max(j - 2, 0), min(j + 3, ty)):
                    around[n] = low[u, v]  # overwritten by the next tile unless known
                    known = low[u, v] < np.inf
                    above += known & (low[i, j] < low[u, v] - OUTLIER_M)
                    n += known
            if above >= n - n // 2:  # then the median is that far above too
                around[n:] = np.inf
                ground[i, j] = _kth_smallest(around, n, n // 2)
    return ground


@kernel
def _lower_envelope(ground, rise):  # type: ignore[no-untyped-def]
    """Lower each tile in place to at most a neighbour's height plus the rise between them."""
    tx, ty = ground.shape
    diagonal = rise * np.sqrt(2.0)
    for i in range(tx):
        for j in range(ty):
            if i > 0:
                ground[i, j] = min(ground[i, j], ground[i - 1, j] + rise)
                if j > 0:
                    ground[i, j] = min(ground[i, j], ground[i - 1, j - 1] + diagonal)
                if j < ty - 1:
                    ground[i, j] = min(ground[i, j], ground[i - 1, j + 1] + diagonal)
            if j > 0:
                ground[i, j] = min(ground[i, j], ground[i, j - 1] + rise)
    for i in range(tx - 1, -1, -1):
        for j in range(ty - 1, -1, -1):
            if i < tx - 1:
                ground[i, j] = min(ground[i, j], ground[i + 1, j] + rise)
                if j > 0:
                    ground[i, j] = min(ground[i, j], ground[i + 1, j - 1] + diagonal)
                if j < ty - 1:
                    ground[i, j] = min(ground[i, j], ground[i + 1, j + 1] + diagonal)
            if j < ty - 1:
                ground[i, j] = min(ground[i, j], ground[i, j + 1] + rise)


@kernel
def _interpolate(cells, ny, low, ground):  # type: ignore[no-untyped-def]
    """Return the ground at each cell: its own tile's, plus the others' weighted mean difference."""
    tx, ty = ground.shape
    known = (low < np.inf).astype(np.float64)  # weight of a tile: 1 with pillars, 0 without
    first, part = np.empty(ny, np.uint32), np.empty(ny)  # of each column: its tile and weight
    for column in range(ny):
        y = min(max((column + 0.5) / TILE_CELLS - 0.5, 0.0), ty - 1.0)
        first[column] = np.uint32(y)
        part[column] = y - first[column]
    out = np.empty(len(cells), np.float32)
    p = 0
    while p < len(cells):
        row = cells[p] // ny
        x = min(max((row + 0.5) / TILE_CELLS - 0.5, 0.0), tx - 1.0)
        i = int(x)
        i1, u = min(i + 1, tx - 1), x - i
        while p < len(cells) and cells[p] < (row + 1) * ny:
            at = np.uint32(cells[p] - row * ny)
            own = ground[row // TILE_CELLS, at // np.uint32(TILE_CELLS)]
            j, v = first[at], part[at]
            j1 = min(j + np.uint32(1), np.uint32(ty - 1))
            a, b = (1 - u) * (1 - v) * known[i, j], (1 - u) * v * known[i, j1]
            c, d = u * (1 - v) * known[i1, j], u * v * known[i1, j1]
            total = a * (ground[i, j] - own) + b * (ground[i, j1] - own)
            total += c * (ground[i1, j] - own)
            total += d * (ground[i1, j1] - own)
            out[p] = own + total / (a + b + c + d)
            p += 1
    return out
