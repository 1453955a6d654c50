"""Local ground height under each pillar, from the pillars' lowest points."""

import numpy as np
from numpy.typing import NDArray

from bev_instseg.grid import BEVGrid
from bev_instseg.ops.compile import kernel

TILE_CELLS = 8  # a tile is TILE_CELLS x TILE_CELLS cells: 1.6 m at 0.2 m cells
OUTLIER_M = 0.4  # a tile this far below the median of its neighbourhood is a ghost return
SLOPE = 0.15  # the ground rises at most this much per metre


def estimate_ground(
    cells: NDArray[np.int32], z_min_m: NDArray[np.float32], grid: BEVGrid
) -> NDArray[np.float32]:
    """Height of the ground under each occupied pillar.

    The cells are pooled into tiles. A tile's height is the lower quartile of its pillars' lowest
    points; a tile more than `OUTLIER_M` below the median of the occupied ones among the 5 x 5 tiles
    around it is raised to that median. Both are elements, never means of two: of n sorted heights,
    number (n - 1) // 4 and number n // 2.

    The lower envelope of cones that rise by `SLOPE` from every tile then carries the ground under
    cars and walls. Distances in it are along x, y and the diagonals (a two-pass chamfer transform).
    The tiles are interpolated bilinearly between their centres and constant beyond the outermost.
    Beside tiles without pillars, which lie on the cones, the ground comes out high: by up to 0.18 m
    at 0.2 m cells. Computed in float64.

    Args:
        cells: (P,) int32 flat cell indices, rising.
        z_min_m: (P,) float32 lowest point of each pillar, metres; finite.
        grid: the grid of the cells.

    Returns:
        (P,) float32 ground height at each pillar's centre, metres in the sensor frame.
    """
    nx, ny = grid.shape
    rise_m = SLOPE * TILE_CELLS * grid.cell_m
    return _estimate_ground(cells, z_min_m, nx, ny, TILE_CELLS, rise_m, OUTLIER_M)


@kernel
def _estimate_ground(cells, z_min, nx, ny, tile, rise, outlier):  # type: ignore[no-untyped-def]
    tx, ty = (nx + tile - 1) // tile, (ny + tile - 1) // tile
    start = np.zeros(tx * ty + 1, np.int64)
    tile_of = np.empty(len(cells), np.int64)
    for p in range(len(cells)):
        tile_of[p] = cells[p] // ny // tile * ty + cells[p] % ny // tile
        start[tile_of[p] + 1] += 1
    for t in range(tx * ty):
        start[t + 1] += start[t]
    fill = start[:-1].copy()
    by_tile = np.empty(len(cells), np.float64)
    for p in range(len(cells)):
        by_tile[fill[tile_of[p]]] = z_min[p]
        fill[tile_of[p]] += 1

    low = np.full((tx, ty), np.inf)
    for t in range(tx * ty):
        n = start[t + 1] - start[t]
        if n > 0:
            low[t // ty, t % ty] = np.sort(by_tile[start[t] : start[t + 1]])[(n - 1) // 4]

    ground = low.copy()
    around = np.empty(25)
    for i in range(tx):
        for j in range(ty):
            if low[i, j] == np.inf:
                continue
            n = 0
            for u in range(max(i - 2, 0), min(i + 3, tx)):
                for v in range(max(j - 2, 0), min(j + 3, ty)):
                    if low[u, v] != np.inf:
                        around[n] = low[u, v]
                        n += 1
            median = np.sort(around[:n])[n // 2]
            if low[i, j] < median - outlier:
                ground[i, j] = median

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

    out = np.empty(len(cells), np.float32)
    for p in range(len(cells)):
        x = min(max((cells[p] // ny + 0.5) / tile - 0.5, 0.0), tx - 1.0)
        y = min(max((cells[p] % ny + 0.5) / tile - 0.5, 0.0), ty - 1.0)
        i, j = int(x), int(y)
        i1, j1 = min(i + 1, tx - 1), min(j + 1, ty - 1)
        u, v = x - i, y - j
        near = ground[i, j] + v * (ground[i, j1] - ground[i, j])
        far = ground[i1, j] + v * (ground[i1, j1] - ground[i1, j])
        out[p] = near + u * (far - near)
    return out
