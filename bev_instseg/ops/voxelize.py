"""Rasterize a sweep into the occupied pillars of a bird's-eye grid."""

import numpy as np
from numpy.typing import NDArray

from bev_instseg.grid import BEVGrid
from bev_instseg.ops.compile import kernel
from bev_instseg.ops.ground import estimate_ground
from bev_instseg.structures import Pillars

SLICES = 10  # points are counted in height slices: below the first edge, between edges, above
SLICE_M = 0.3
SLICE_FLOOR_M = 0.15  # upper edge of the lowest slice, metres above the ground

FEATURES = (
    "count",
    *(f"slice_{k}" for k in range(SLICES)),  # points by height above the ground
    "height_min_m",
    "height_max_m",
    "height_mean_m",
    "height_std_m",
    "x_mean_m",  # mean position from the cell's centre
    "y_mean_m",
    "intensity_mean",
    "intensity_max",
    "range_m",  # of the cell's centre from the sensor
)
MAX_CELLS = 2**31 - 1  # flat cell indices are int32


def voxelize(points: NDArray[np.float32], grid: BEVGrid) -> Pillars:
    """Pillars of a sweep: occupied cells only, every point kept, no caps.

    Heights are above `estimate_ground`, so the sensor's mounting height does not matter; they are
    float32 differences. Sums run in float64 in the order of the points; the standard deviation is
    that of the population. An intensity that is not finite counts as 0.

    Args:
        points: (N, 4) float32 x, y, z in metres and intensity 0..1; NaN and infinite coordinates
            are outside the grid.
        grid: the grid to rasterize on.

    Returns:
        Pillars with (P, F) features named by `FEATURES`: metres above the ground, metres from the
        cell's centre, numbers of points, and intensities as they came.

    Raises:
        ValueError: if the points have another shape or type, or the grid has over 2^31 - 1 cells.
    """
    if points.ndim != 2 or points.shape[1] != 4 or points.dtype != np.float32:
        raise ValueError(f"points must be float32 (N, 4), got {points.dtype} {points.shape}")
    points = np.ascontiguousarray(points)
    (x0, _), (y0, _), (z0, z1) = grid.x_range_m, grid.y_range_m, grid.z_range_m
    nx, ny = grid.shape
    if nx * ny > MAX_CELLS:
        raise ValueError(f"a grid of {nx} x {ny} cells is too large: at most {MAX_CELLS} in all")
    cells, pillar_of, z_min = _assign(points, x0, y0, z0, z1, grid.cell_m, nx, ny)
    ground = estimate_ground(cells, z_min, grid)
    features, height = _describe(points, cells, pillar_of, ground, x0, y0, grid.cell_m, ny)
    return Pillars(grid, cells, features, pillar_of, height)


@kernel
def _assign(points, x0, y0, z0, z1, cell, nx, ny):  # type: ignore[no-untyped-def]
    """Occupied cells in rising order, the pillar of each point and the lowest z of each pillar.

    The cell of a point is that of `BEVGrid.cell_of`.
    """
    n = len(points)
    pillar_of = np.empty(n, np.int32)  # at first the cell of each point, or -1
    pillar_at = np.full(nx * ny, -1, np.int32)
    for i in range(n):
        fx = np.floor((np.float64(points[i, 0]) - x0) / cell)
        fy = np.floor((np.float64(points[i, 1]) - y0) / cell)
        z = np.float64(points[i, 2])
        if 0 <= fx < nx and 0 <= fy < ny and z0 <= z < z1:  # false for NaN
            pillar_of[i] = np.int64(fx) * ny + np.int64(fy)
            pillar_at[pillar_of[i]] = 0
        else:
            pillar_of[i] = -1
    num_pillars = 0
    for c in range(nx * ny):
        if pillar_at[c] == 0:
            pillar_at[c] = num_pillars
            num_pillars += 1
    cells = np.empty(num_pillars, np.int32)
    z_min = np.full(num_pillars, np.inf, np.float32)
    for i in range(n):
        c = pillar_of[i]
        if c >= 0:
            p = pillar_at[c]
            cells[p] = c
            pillar_of[i] = p
            z_min[p] = min(z_min[p], points[i, 2])
    return cells, pillar_of, z_min


@kernel
def _describe(points, cells, pillar_of, ground, x0, y0, cell, ny):  # type: ignore[no-untyped-def]
    """Features of each pillar and the height of each point above its pillar's ground."""
    num_pillars = len(cells)
    total = np.zeros((num_pillars, 6))  # height, height^2, intensity, x, y, count
    out = np.zeros((num_pillars, len(FEATURES)), np.float32)
    low, high = 1 + SLICES, 2 + SLICES
    mean_x, mean_intensity, bright = 5 + SLICES, 7 + SLICES, 8 + SLICES
    out[:, low], out[:, high], out[:, bright] = np.inf, -np.inf, -np.inf
    height = np.full(len(points), np.nan, np.float32)
    for i in range(len(points)):
        p = pillar_of[i]
        if p < 0:
            continue
        h = points[i, 2] - ground[p]
        intensity = points[i, 3] if np.isfinite(points[i, 3]) else np.float32(0)
        height[i] = h
        total[p, 0] += h
        total[p, 1] += np.float64(h) * np.float64(h)
        total[p, 2] += intensity
        total[p, 3] += points[i, 0]
        total[p, 4] += points[i, 1]
        total[p, 5] += 1
        out[p, low] = min(out[p, low], h)
        out[p, high] = max(out[p, high], h)
        out[p, bright] = max(out[p, bright], intensity)
        piece = np.floor((np.float64(h) - SLICE_FLOOR_M) / SLICE_M) + 1
        out[p, 1 + int(min(max(piece, 0), SLICES - 1))] += 1
    for p in range(num_pillars):
        n = total[p, 5]
        x = x0 + (cells[p] // ny + 0.5) * cell
        y = y0 + (cells[p] % ny + 0.5) * cell
        mean = total[p, 0] / n
        out[p, 0] = n
        out[p, high + 1] = mean
        out[p, high + 2] = np.sqrt(max(total[p, 1] / n - mean * mean, 0.0))
        out[p, mean_x] = total[p, 3] / n - x
        out[p, mean_x + 1] = total[p, 4] / n - y
        out[p, mean_intensity] = total[p, 2] / n
        out[p, bright + 1] = np.sqrt(x * x + y * y)
    return out, height
