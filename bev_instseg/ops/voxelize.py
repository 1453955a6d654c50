"""From points to pillars: rasterize a sweep into the occupied cells of a bird's-eye grid."""

import numpy as np
from numpy.typing import NDArray

from bev_instseg.grid import BEVGrid
from bev_instseg.ops.ground import estimate_ground
from bev_instseg.ops.kernel import kernel, run_shares
from bev_instseg.structures import Float32, Int32, Pillars

NUM_SLICES = 10  # height slices: one below the first edge, one between each two edges, one above
SLICE_M = 0.3
FIRST_SLICE_EDGE_M = 0.15  # above the ground
# The slice of a height h is floor(h * SLICES_PER_M + SLICE_AT_GROUND). Rounding moves no float32
# height across an edge.
SLICES_PER_M = 1 / SLICE_M
SLICE_AT_GROUND = 1 - FIRST_SLICE_EDGE_M / SLICE_M

FEATURES = (
    "count",
    *(f"slice_{k}" for k in range(NUM_SLICES)),  # number of points by height above the ground
    "height_min_m",
    "height_max_m",
    "height_mean_m",
    "height_std_m",
    "x_mean_m",  # mean position relative to the cell's centre
    "y_mean_m",
    "intensity_mean",
    "intensity_max",
    "range_m",  # from the sensor to the cell's centre
)
MAX_CELLS = 2**31 - 1  # flat cell indices are int32
# Smaller sweeps stay on one core: PyTorch's idle threads spin on the second one.
MIN_POINTS_FOR_TWO_CORES = 300_000


def voxelize(points: Float32, grid: BEVGrid) -> Pillars:
    """Rasterize a sweep into pillars: occupied cells only, with no limit on pillars or points.

    Heights are above `estimate_ground`, so the sensor's mounting height does not matter; they are
    float32 differences. Sums are float64 in the order of the points; the standard deviation is
    that of the population. An intensity that is not finite counts as 0.

    Args:
        points: (N, 4) float32 x, y, z in metres and intensity 0..1; NaN and infinite coordinates
            are outside the grid.
        grid: The grid to rasterize on.

    Returns:
        Pillars with (P, F) features named by `FEATURES`: heights in metres above the ground,
        positions in metres from the cell's centre, numbers of points, and unscaled intensities.

    Raises:
        ValueError: The array has the wrong shape or dtype, or the grid has over 2^31 - 1 cells.
    """
    points = _check_points(points)
    point_to_pillar, cells, z_min, ground = _find_pillars_and_ground(points, grid)
    features = np.empty((len(cells), len(FEATURES)), np.float32)
    height = np.empty(len(points), np.float32)
    two_cores = len(points) >= MIN_POINTS_FOR_TWO_CORES
    middle = _middle_pillar(point_to_pillar) if two_cores else None
    (x0, _), (y0, _), ny = grid.x_range_m, grid.y_range_m, grid.shape[1]
    arrays = (points, cells, point_to_pillar, z_min, ground, features, height)
    shares = _split(len(cells), middle)
    run_shares(_compute_features, shares, (*arrays, x0, y0, grid.cell_m, ny))
    return Pillars(grid, cells, features, point_to_pillar, height)


def point_heights(points: Float32, grid: BEVGrid) -> Float32:
    """Return each point's height above the local ground, as `voxelize` computes it.

    Args:
        points: (N, 4) float32 x, y, z in metres and intensity.
        grid: The grid on which the ground is estimated.

    Returns:
        (N,) float32 metres above the local ground, NaN outside the grid.

    Raises:
        ValueError: The array has the wrong shape or dtype, or the grid has over 2^31 - 1 cells.
    """
    points = _check_points(points)
    point_to_pillar, _, _, ground = _find_pillars_and_ground(points, grid)
    ground = np.append(ground, np.float32(np.nan))  # the last one for points outside the grid
    heights: Float32 = points[:, 2] - ground[point_to_pillar]
    return heights


def on_grid(points: Float32, grid: BEVGrid) -> NDArray[np.bool_]:
    """Return whether each point is on the grid: `BEVGrid.cell_of` >= 0, ten times as fast.

    Args:
        points: (N, >=3) float32 x, y, z in metres.
        grid: The grid.

    Returns:
        (N,) bool.
    """
    (x0, _), (y0, _), (z0, z1) = grid.x_range_m, grid.y_range_m, grid.z_range_m
    nx, ny = grid.shape
    cell_of, occupied = np.empty(len(points), np.int32), np.empty(nx * ny, np.uint8)
    _find_cells(0, len(points), points, cell_of, occupied, x0, y0, z0, z1, grid.cell_m, nx, ny)
    inside: NDArray[np.bool_] = cell_of >= 0
    return inside


def _check_points(points: Float32) -> Float32:
    if points.ndim != 2 or points.shape[1] != 4 or points.dtype != np.float32:
        raise ValueError(f"points must be float32 (N, 4), got {points.dtype} {points.shape}")
    return np.ascontiguousarray(points)


def _find_pillars_and_ground(
    points: Float32, grid: BEVGrid
) -> tuple[Int32, Int32, Float32, Float32]:
    """Return each point's pillar, -1 outside; each pillar's cell, lowest z and ground, metres."""
    (x0, _), (y0, _), (z0, z1) = grid.x_range_m, grid.y_range_m, grid.z_range_m
    nx, ny = grid.shape
    if nx * ny > MAX_CELLS:
        raise ValueError(f"a grid of {nx} x {ny} cells is too large: at most {MAX_CELLS} in all")
    middle = len(points) // 2 if len(points) >= MIN_POINTS_FOR_TWO_CORES else None
    ranges = _split(len(points), middle)
    point_to_pillar = np.empty(len(points), np.int32)  # cells at first
    occupied = np.zeros(-(-nx * ny // 8) * 8, np.uint8)
    common = (points, point_to_pillar, occupied, x0, y0, z0, z1, grid.cell_m, nx, ny)
    run_shares(_find_cells, ranges, common)
    pillar_of_cell, cells = _number_pillars(occupied, occupied.view(np.uint64))
    z_min = np.full((len(ranges), len(cells)), np.inf, np.float32)
    shares = [(*ends, own) for ends, own in zip(ranges, z_min, strict=True)]
    run_shares(_cells_to_pillars, shares, (points, point_to_pillar, pillar_of_cell))
    lowest = z_min.min(axis=0)
    return point_to_pillar, cells, lowest, estimate_ground(cells, lowest, grid)


def _split(count: int, middle: int | None) -> list[tuple[int, int]]:
    """Return 0..count as one range, or as two that meet in the middle."""
    return [(0, count)] if middle is None else [(0, middle), (middle, count)]


def _middle_pillar(point_to_pillar: Int32) -> int:
    """Return a pillar such that about half of the points are in the pillars before it."""
    sample = point_to_pillar[::64]
    return int(np.median(sample[sample >= 0])) if (sample >= 0).any() else 0


@kernel
def _find_cells(first, last, points, cell_of, occupied, x0, y0, z0, z1, cell, nx, ny):  # type: ignore[no-untyped-def]
    """Find the cell of each point by the formula of `BEVGrid.cell_of`; mark cells as occupied."""
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
def _number_pillars(occupied, eight_occupied):  # type: ignore[no-untyped-def]
    """Return the pillar of each cell (arbitrary for empty cells) and the cell of each pillar.

    Most eights of cells are empty. Inside the others there are no branches: each cell overwrites
    the next pillar's entry until an occupied one keeps it.
    """
    pillar_of_cell = np.empty(len(occupied), np.int32)
    cells = np.empty(len(occupied) + 1, np.int32)
    count = 0
    for eight in range(len(eight_occupied)):
        if eight_occupied[eight]:
            for c in range(8 * eight, 8 * eight + 8):
                pillar_of_cell[c] = count
                cells[count] = c
                count += occupied[c]
    return pillar_of_cell, cells[:count].copy()


@kernel
def _cells_to_pillars(first, last, z_min, points, point_to_pillar, pillar_of_cell):  # type: ignore[no-untyped-def]
    """Replace the cell of each point by its pillar; find the lowest point of each pillar."""
    for i in range(first, last):
        if point_to_pillar[i] >= 0:
            p = pillar_of_cell[point_to_pillar[i]]
            point_to_pillar[i] = p
            z_min[p] = min(z_min[p], points[i, 2])


@kernel
def _compute_features(  # type: ignore[no-untyped-def]
    first, last, points, cells, point_to_pillar, z_min, ground, out, height, x0, y0, cell, ny
):
    """Compute the features of pillars first..last-1 and their points' heights above the ground.

    The share with the last pillars gives points outside the grid the height NaN.
    """
    # Per pillar: sums of height, height^2, x, y, intensity; largest height and intensity; count.
    state = np.zeros((last - first, 8))
    state[:, 5:7] = -np.inf
    out[first:last, 1 : 1 + NUM_SLICES] = 0
    for i in range(len(points)):
        p = point_to_pillar[i]
        if not first <= p < last:
            if p < 0 and last == len(cells):
                height[i] = np.nan
            continue
        u, t = np.uint32(p), np.uint32(p - first)  # an unsigned index cannot count from the end
        height[i] = points[i, 2] - ground[u]
        h = np.float64(height[i])
        x, y, intensity = points[i, 0], points[i, 1], points[i, 3]
        bright = np.float64(intensity) if abs(intensity) < np.inf else 0.0
        state[t, 0] += h
        state[t, 1] += h * h
        state[t, 2] += x
        state[t, 3] += y
        state[t, 4] += bright
        highest, brightest = state[t, 5], state[t, 6]
        state[t, 5] = h if h > highest else highest
        state[t, 6] = bright if bright > brightest else brightest
        state[t, 7] += 1
        height_slice = min(max(h * SLICES_PER_M + SLICE_AT_GROUND, 0.0), NUM_SLICES - 1.0)
        out[u, 1 + np.uint32(height_slice)] += np.float32(1)
    row = 0
    for p in range(first, last):
        while cells[p] >= (row + 1) * ny:
            row += 1
        x = x0 + (row + 0.5) * cell
        y = y0 + (cells[p] - row * ny + 0.5) * cell
        t = p - first
        n = state[t, 7]
        mean = state[t, 0] / n
        out[p, 0] = n
        out[p, 1 + NUM_SLICES] = z_min[p] - ground[p]
        out[p, 2 + NUM_SLICES] = state[t, 5]
        out[p, 3 + NUM_SLICES] = mean
        out[p, 4 + NUM_SLICES] = np.sqrt(max(state[t, 1] / n - mean * mean, 0.0))
        out[p, 5 + NUM_SLICES] = state[t, 2] / n - x
        out[p, 6 + NUM_SLICES] = state[t, 3] / n - y
        out[p, 7 + NUM_SLICES] = state[t, 4] / n
        out[p, 8 + NUM_SLICES] = state[t, 6]
        out[p, 9 + NUM_SLICES] = np.sqrt(x * x + y * y)
