"""Rasterize a sweep into the occupied pillars of a bird's-eye grid."""

import numpy as np
from numpy.typing import NDArray

from bev_instseg.grid import BEVGrid
from bev_instseg.ops.ground import estimate_ground
from bev_instseg.ops.kernel import at_once, kernel
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
MANY_POINTS = 300_000  # fewer leave the second core to PyTorch, whose threads wait spinning


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
    points = _checked(points)
    pillar_of, cells, ground = _find_ground(points, grid)
    features = np.empty((len(cells), len(FEATURES)), np.float32)
    height = np.empty(len(points), np.float32)
    middle = _middle_pillar(pillar_of) if len(points) >= MANY_POINTS else None
    (x0, _), (y0, _), ny = grid.x_range_m, grid.y_range_m, grid.shape[1]
    what = (points, cells, pillar_of, ground, features, height, x0, y0, grid.cell_m, ny)
    at_once(_describe, _ranges(len(cells), middle), what)
    return Pillars(grid, cells, features, pillar_of, height)


def point_heights(points: NDArray[np.float32], grid: BEVGrid) -> NDArray[np.float32]:
    """Height of each point above the local ground, as `voxelize` finds it, without the features.

    Args:
        points: (N, 4) float32 x, y, z in metres and intensity.
        grid: The grid that the ground is estimated on.

    Returns:
        (N,) float32 metres, NaN outside the grid.

    Raises:
        ValueError: The array has the wrong shape or dtype, or the grid has over 2^31 - 1 cells.
    """
    points = _checked(points)
    pillar_of, _, ground = _find_ground(points, grid)
    below = np.append(ground, np.float32(np.nan))  # the last is for points outside the grid
    return points[:, 2] - below[pillar_of]


def _checked(points: NDArray[np.float32]) -> NDArray[np.float32]:
    if points.ndim != 2 or points.shape[1] != 4 or points.dtype != np.float32:
        raise ValueError(f"points must be float32 (N, 4), got {points.dtype} {points.shape}")
    return np.ascontiguousarray(points)


def _find_ground(
    points: NDArray[np.float32], grid: BEVGrid
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]:
    """(N,) pillar of each point, -1 outside; (P,) cells; (P,) height of the ground in metres."""
    (x0, _), (y0, _), (z0, z1) = grid.x_range_m, grid.y_range_m, grid.z_range_m
    nx, ny = grid.shape
    if nx * ny > MAX_CELLS:
        raise ValueError(f"a grid of {nx} x {ny} cells is too large: at most {MAX_CELLS} in all")
    middle = len(points) // 2 if len(points) >= MANY_POINTS else None
    ends = _ranges(len(points), middle)
    pillar_of = np.empty(len(points), np.int32)
    occupied = np.zeros(nx * ny, np.uint8)
    where = (points, pillar_of, occupied, x0, y0, z0, z1, grid.cell_m, nx, ny)
    at_once(_find_cells, ends, where)
    number, cells = _number(occupied)
    z_min = np.full((len(ends), len(cells)), np.inf, np.float32)
    with_own = [(*share, low) for share, low in zip(ends, z_min, strict=True)]
    at_once(_find_pillars, with_own, (points, pillar_of, number))
    return pillar_of, cells, estimate_ground(cells, z_min.min(axis=0), grid)


def on_grid(points: NDArray[np.float32], grid: BEVGrid) -> NDArray[np.bool_]:
    """(N,) whether each of (N, 4) points lies on the grid: `BEVGrid.cell_of`, ten times as fast."""
    (x0, _), (y0, _), (z0, z1) = grid.x_range_m, grid.y_range_m, grid.z_range_m
    nx, ny = grid.shape
    cell_of, occupied = np.empty(len(points), np.int32), np.empty(nx * ny, np.uint8)
    _find_cells(0, len(points), points, cell_of, occupied, x0, y0, z0, z1, grid.cell_m, nx, ny)
    return cell_of >= 0


def _ranges(count: int, middle: int | None) -> list[tuple[int, int]]:
    """0..count in one range, or in two that meet in the middle."""
    return [(0, count)] if middle is None else [(0, middle), (middle, count)]


def _middle_pillar(pillar_of: NDArray[np.int32]) -> int:
    """A pillar with about half of the points in those before it."""
    some = pillar_of[::64]
    return int(np.median(some[some >= 0])) if (some >= 0).any() else 0


@kernel
def _find_cells(first, last, points, cell_of, occupied, x0, y0, z0, z1, cell, nx, ny):  # type: ignore[no-untyped-def]
    """Cell of each point, as `BEVGrid.cell_of` has it; 1 in ``occupied`` where there is one."""
    for i in range(first, last):
        fx = np.floor((np.float64(points[i, 0]) - x0) / cell)
        fy = np.floor((np.float64(points[i, 1]) - y0) / cell)
        z = np.float64(points[i, 2])
        if 0 <= fx < nx and 0 <= fy < ny and z0 <= z < z1:  # false for NaN
            cell_of[i] = np.int64(fx) * ny + np.int64(fy)
            occupied[cell_of[i]] = 1
        else:
            cell_of[i] = -1


@kernel
def _number(occupied):  # type: ignore[no-untyped-def]
    """Number of the pillar of each cell (any, where there is none), and the cells of the pillars.

    Without branches: every cell is written where the next pillar's would stand.
    """
    number = np.empty(len(occupied), np.int32)
    cells = np.empty(len(occupied) + 1, np.int32)
    count = 0
    for c in range(len(occupied)):
        number[c] = count
        cells[count] = c
        count += occupied[c]
    return number, cells[:count].copy()


@kernel
def _find_pillars(first, last, z_min, points, pillar_of, number):  # type: ignore[no-untyped-def]
    """Cell -> pillar of each point, in place, and the lowest point of each pillar."""
    for i in range(first, last):
        if pillar_of[i] >= 0:
            p = number[pillar_of[i]]
            pillar_of[i] = p
            z_min[p] = min(z_min[p], points[i, 2])


@kernel
def _describe(  # type: ignore[no-untyped-def]
    first, last, points, cells, pillar_of, ground, out, height, x0, y0, cell, ny
):
    """Features of the pillars first..last-1 and the height of their points above the ground.

    Points outside the grid get NaN from whoever has the last pillars.
    """
    total = np.zeros((last - first, 6))  # height, height^2, intensity, x, y, count
    low, high = 1 + SLICES, 2 + SLICES
    mean_x, mean_intensity, bright = 5 + SLICES, 7 + SLICES, 8 + SLICES
    out[first:last] = 0
    out[first:last, low], out[first:last, high] = np.inf, -np.inf
    out[first:last, bright] = -np.inf
    for i in range(len(points)):
        p = pillar_of[i]
        if not first <= p < last:
            if p < 0 and last == len(cells):
                height[i] = np.nan
            continue
        h = points[i, 2] - ground[p]
        intensity = points[i, 3] if np.isfinite(points[i, 3]) else np.float32(0)
        height[i] = h
        t = p - first
        total[t, 0] += h
        total[t, 1] += np.float64(h) * np.float64(h)
        total[t, 2] += intensity
        total[t, 3] += points[i, 0]
        total[t, 4] += points[i, 1]
        total[t, 5] += 1
        out[p, low] = min(out[p, low], h)
        out[p, high] = max(out[p, high], h)
        out[p, bright] = max(out[p, bright], intensity)
        piece = np.floor((np.float64(h) - SLICE_FLOOR_M) / SLICE_M) + 1
        out[p, 1 + int(min(max(piece, 0), SLICES - 1))] += 1
    for p in range(first, last):
        t = p - first
        n = total[t, 5]
        x = x0 + (cells[p] // ny + 0.5) * cell
        y = y0 + (cells[p] % ny + 0.5) * cell
        mean = total[t, 0] / n
        out[p, 0] = n
        out[p, high + 1] = mean
        out[p, high + 2] = np.sqrt(max(total[t, 1] / n - mean * mean, 0.0))
        out[p, mean_x] = total[t, 3] / n - x
        out[p, mean_x + 1] = total[t, 4] / n - y
        out[p, mean_intensity] = total[t, 2] / n
        out[p, bright + 1] = np.sqrt(x * x + y * y)
