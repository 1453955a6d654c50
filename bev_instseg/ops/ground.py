"""Local ground height under each pillar, from the pillars' lowest points."""

import numpy as np

from bev_instseg.grid import BEVGrid
from bev_instseg.ops.kernel import kernel
from bev_instseg.structures import Float32, Int32

TILE_CELLS = 8  # a tile is TILE_CELLS x TILE_CELLS cells: 1.6 m at 0.2 m cells
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
    """Return (tx, ty) the lower quartile of each tile's heights, infinite without pillars."""
    start = np.zeros(tx * ty + 1, np.int64)
    tile_of = np.empty(len(cells), np.int32)
    row = 0
    for p in range(len(cells)):
        while cells[p] >= (row + 1) * ny:
            row += 1
        tile_of[p] = row // TILE_CELLS * ty + (cells[p] - row * ny) // TILE_CELLS
        start[tile_of[p] + 1] += 1
    for t in range(tx * ty):
        start[t + 1] += start[t]
    fill = start[:-1].copy()
    by_tile = np.empty(len(cells), np.float32)
    for p in range(len(cells)):
        by_tile[fill[tile_of[p]]] = z_min[p]
        fill[tile_of[p]] += 1

    low = np.full((tx, ty), np.inf)
    for t in range(tx * ty):
        n = start[t + 1] - start[t]
        if n > 0:
            low[t // ty, t % ty] = _kth_smallest(by_tile[start[t] : start[t + 1]], (n - 1) // 4)
    return low


@kernel
def _kth_smallest(values, k):  # type: ignore[no-untyped-def]
    """Return number k of the sorted values, by counting for each how many are smaller.

    For up to 64 values this compiles to SIMD and is faster than a selection, which branches.
    """
    for candidate in values:
        smaller, not_larger = np.int32(0), np.int32(0)
        for value in values:
            smaller += value < candidate
            not_larger += value <= candidate
        if smaller <= k < not_larger:
            break
    return candidate


@kernel
def _raise_ghosts(low):  # type: ignore[no-untyped-def]
    """Return the heights with tiles far below the median around them raised to it."""
    tx, ty = low.shape
    ground = low.copy()
    around = np.empty(25)
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
                ground[i, j] = _kth_smallest(around[:n], n // 2)
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
    out = np.empty(len(cells), np.float32)
    row = 0
    for p in range(len(cells)):
        while cells[p] >= (row + 1) * ny:
            row += 1
        column = cells[p] - row * ny
        own = ground[row // TILE_CELLS, column // TILE_CELLS]
        x = min(max((row + 0.5) / TILE_CELLS - 0.5, 0.0), tx - 1.0)
        y = min(max((column + 0.5) / TILE_CELLS - 0.5, 0.0), ty - 1.0)
        i, j = int(x), int(y)
        u, v = x - i, y - j
        i1, j1 = min(i + 1, tx - 1), min(j + 1, ty - 1)
        a, b = (1 - u) * (1 - v) * known[i, j], (1 - u) * v * known[i, j1]
        c, d = u * (1 - v) * known[i1, j], u * v * known[i1, j1]
        total = a * (ground[i, j] - own) + b * (ground[i, j1] - own)
        total += c * (ground[i1, j] - own)
        total += d * (ground[i1, j1] - own)
        out[p] = own + total / (a + b + c + d)
    return out
