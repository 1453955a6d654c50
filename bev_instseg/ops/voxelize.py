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
# What is computed over the points of a pillar: sums in float64, maxima in float32.
SUMS = np.dtype(
    [
        *((name, np.float64) for name in ("height", "height_squared", "x", "y", "intensity")),
        *((name, np.float32) for name in ("highest", "brightest")),
        ("slices", np.uint32, NUM_SLICES),
    ]
)
MAX_CELLS = 2**31 - 1  # flat cell indices are int32
# Smaller sweeps stay on one core: PyTorch's idle threads spin on the second one.
MIN_POINTS_FOR_TWO_CORES = 300_000
BLOCK = 512  # points whose cells are computed at once, by SIMD
EMPTY_PAIR = np.full(2, np.inf, np.float32).view(np.uint64)[0]  # two empty cells


def voxelize(points: Float32, grid: BEVGrid) -> Pillars:
    """Rasterize a sweep into pillars: occupied cells only, with no limit on pillars or points.

    Heights are above the ground of `estimate_ground`, so the sensor's mounting height does not
    matter; they are float32 differences. Sums are float64 in the order of the points; the standard
    deviation is that of the population. An intensity that is not finite counts as 0.

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
    cell_of, pillar_of_cell, cells, z_min = _find_pillars(points, grid)
    ground = estimate_ground(cells, z_min, grid)
    features = np.empty((len(cells), len(FEATURES)), np.float32)
    point_to_pillar, height = np.empty(len(points), np.int32), np.empty(len(points), np.float32)
    two_cores = len(points) >= MIN_POINTS_FOR_TWO_CORES
    middle = _middle_pillar(pillar_of_cell, cell_of) if two_cores else None
    (x0, _), (y0, _), ny = grid.x_range_m, grid.y_range_m, grid.shape[1]
    arrays = (points, cell_of, pillar_of_cell, cells, z_min, ground)
    shares = _split(len(cells), middle)
    results = (features, point_to_pillar, height)
    run_shares(_compute_features, shares, (*arrays, *results, x0, y0, grid.cell_m, ny))
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
    cell_of, pillar_of_cell, cells, z_min = _find_pillars(points, grid)
    ground = estimate_ground(cells, z_min, grid)
    inside = cell_of >= 0
    heights = np.full(len(points), np.nan, np.float32)
    heights[inside] = points[inside, 2] - ground[pillar_of_cell[cell_of[inside]]]
    return heights


def on_grid(points: Float32, grid: BEVGrid) -> NDArray[np.bool_]:
    """Return whether each point is on the grid: `BEVGrid.cell_of` >= 0, ten times as fast.

    Args:
        points: (N, 4) float32 x, y, z in metres and intensity.
        grid: The grid.

    Returns:
        (N,) bool.

    Raises:
        ValueError: The array has the wrong shape or dtype.
    """
    cell_of, *_ = _find_pillars(_check_points(points), grid)
    inside: NDArray[np.bool_] = cell_of >= 0
    return inside


def _check_points(points: Float32) -> Float32:
    if not isinstance(points, np.ndarray):
        raise ValueError(f"points must be a NumPy array, got {type(points).__name__}")
    if points.ndim != 2 or points.shape[1] != 4 or points.dtype != np.float32:
        raise ValueError(f"points must be float32 (N, 4), got {points.dtype} {points.shape}")
    return np.ascontiguousarray(points)


def _find_pillars(points: Float32, grid: BEVGrid) -> tuple[Int32, Int32, Int32, Float32]:
    """Return each point's cell, each cell's pillar, each pillar's cell and lowest z in metres.

    Points outside the grid have the cell -1; an empty cell has an arbitrary pillar.
    """
    nx, ny = grid.shape
    if nx * ny > MAX_CELLS:
        raise ValueError(f"a grid of {nx} x {ny} cells is too large: at most {MAX_CELLS} in all")
    middle = len(points) // 2 if len(points) >= MIN_POINTS_FOR_TWO_CORES else None
    ranges = _split(len(points), middle)
    cell_of = np.empty(len(points), np.int32)
    lowest = np.full((len(ranges), -(-nx * ny // 8) * 8), np.inf, np.float32)
    shares = [(*ends, own) for ends, own in zip(ranges, lowest, strict=True)]
    run_shares(_find_cells, shares, (points, cell_of, *_limits(grid)))
    low = lowest[0] if middle is None else np.minimum(*lowest)
    pillar_of_cell = low.view(np.int32)
    max_pillars = min(len(points), nx * ny)
    cells, z_min = _number_pillars(low, low.view(np.uint64), pillar_of_cell, max_pillars)
    return cell_of, pillar_of_cell, cells, z_min


def _limits(grid: BEVGrid) -> tuple[float, float, float, float, float, int, int]:
    """Return the smallest x and y, the smallest and largest z, the cell size, and nx and ny."""
    return grid.x_range_m[0], grid.y_range_m[0], *grid.z_range_m, grid.cell_m, *grid.shape


def _split(count: int, middle: int | None) -> list[tuple[int, int]]:
    """Return 0..count as one range, or as two that meet in the middle."""
    return [(0, count)] if middle is None else [(0, middle), (middle, count)]


def _middle_pillar(pillar_of_cell: Int32, cell_of: Int32) -> int:
    """Return a pillar such that about half of the points are in the pillars before it."""
    sample = cell_of[::64]
    inside = sample >= 0
    return int(np.median(pillar_of_cell[sample[inside]])) if inside.any() else 0


@kernel
def _find_cells(first, last, lowest, points, cell_of, x0, y0, z0, z1, cell, nx, ny):  # type: ignore[no-untyped-def]
    """Find the cell of each point by the formula of `BEVGrid.cell_of`; truncation equals floor.

    Points are taken apart into columns, a block at a time: then the first two loops compile to
    SIMD. The third lowers each cell's height to that of its lowest point.
    """
    flat = points.reshape(-1)
    x, y = np.empty(BLOCK, np.float32), np.empty(BLOCK, np.float32)
    z, rest = np.empty(BLOCK, np.float32), np.empty(BLOCK, np.float32)
    for start in range(first, last, BLOCK):
        block = flat[4 * start : 4 * min(start + BLOCK, last)]
        own = cell_of[start : min(start + BLOCK, last)]
        for k in range(len(own)):
            x[k], y[k], z[k], rest[k] = (
                block[4 * k],
                block[4 * k + 1],
                block[4 * k + 2],
                block[4 * k + 3],
            )
        for k in range(len(own)):
            ix, iy = (np.float64(x[k]) - x0) / cell, (np.float64(y[k]) - y0) / cell
            inside = (ix >= 0) & (ix < nx) & (iy >= 0) & (iy < ny)  # false for NaN
            inside &= (np.float64(z[k]) >= z0) & (np.float64(z[k]) < z1)
            own[k] = np.int32(ix) * np.int32(ny) + np.int32(iy) if inside else -1
        for k in range(len(own)):
            if own[k] >= 0:
                c = np.uint32(own[k])  # an unsigned index cannot count from the end
                lowest[c] = min(lowest[c], z[k])


@kernel
def _number_pillars(lowest, pairs, numbers, max_pillars):  # type: ignore[no-untyped-def]
    """Replace the lowest z of each cell by its pillar; return the pillars' cells and lowest z.

    Most eights of cells are empty. Inside the others there are no branches: each cell overwrites
    the next pillar's entry until an occupied one keeps it. Empty cells get arbitrary pillars.

    Args:
        lowest: (C,) float32 lowest z of each cell, infinite if it is empty.
        pairs: (C / 2,) uint64 the same memory.
        numbers: (C,) int32 the same memory.
        max_pillars: No more than these cells are occupied.
    """
    cells, z_min = np.empty(max_pillars + 1, np.int32), np.empty(max_pillars + 1, np.float32)
    count = 0
    for p in range(0, len(pairs), 4):
        if pairs[p] & pairs[p + 1] & pairs[p + 2] & pairs[p + 3] != EMPTY_PAIR:
            for c in range(2 * p, 2 * p + 8):
                z = lowest[c]
                cells[count], z_min[count] = c, z
                numbers[c] = count
                count += z < np.inf
    return cells[:count].copy(), z_min[:count].copy()


@kernel
def _compute_features(  # type: ignore[no-untyped-def]
    first, last, points, cell_of, pillar_of_cell, cells, z_min, ground, out, *rest
):
    """Compute the features of pillars first..last-1, and the pillars and heights of their points.

    The share with the last pillars gives points outside the grid the pillar -1 and the height NaN.
    """
    point_to_pillar, height, x0, y0, cell, ny = rest
    sums = np.zeros(last - first, SUMS)
    for t in range(last - first):
        sums[t].highest = sums[t].brightest = -np.inf
    for i in range(len(points)):
        p = pillar_of_cell[np.uint32(cell_of[i])] if cell_of[i] >= 0 else np.int32(-1)
        if not first <= p < last:
            if p < 0 and last == len(cells):
                point_to_pillar[i], height[i] = -1, np.nan
            continue
        point_to_pillar[i] = p
        height[i] = points[i, 2] - ground[np.uint32(p)]
        h = np.float64(height[i])
        bright = points[i, 3] if abs(points[i, 3]) < np.inf else np.float32(0)
        own = sums[np.uint32(p - first)]
        own.height += h
        own.height_squared += h * h
        own.x += points[i, 0]
        own.y += points[i, 1]
        own.intensity += bright
        own.highest = height[i] if height[i] > own.highest else own.highest
        own.brightest = bright if bright > own.brightest else own.brightest
        height_slice = min(max(h * SLICES_PER_M + SLICE_AT_GROUND, 0.0), NUM_SLICES - 1.0)
        own.slices[np.uint32(height_slice)] += np.uint32(1)
    row = 0
    for p in range(first, last):
        while cells[p] >= (row + 1) * ny:
            row += 1
        x = x0 + (row + 0.5) * cell
        y = y0 + (cells[p] - row * ny + 0.5) * cell
        own, n = sums[p - first], 0
        for k in range(NUM_SLICES):
            out[p, 1 + k] = own.slices[k]
            n += own.slices[k]
        mean = own.height / n
        out[p, 0] = n
        out[p, 1 + NUM_SLICES] = z_min[p] - ground[p]
        out[p, 2 + NUM_SLICES] = own.highest
        out[p, 3 + NUM_SLICES] = mean
        out[p, 4 + NUM_SLICES] = np.sqrt(max(own.height_squared / n - mean * mean, 0.0))
        out[p, 5 + NUM_SLICES] = own.x / n - x
        out[p, 6 + NUM_SLICES] = own.y / n - y
        out[p, 7 + NUM_SLICES] = own.intensity / n
        out[p, 8 + NUM_SLICES] = own.brightest
        out[p, 9 + NUM_SLICES] = np.sqrt(x * x + y * y)
