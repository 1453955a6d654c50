"""The ground equals its NumPy reference to the last bit and runs where a road would run."""

import numpy as np
import pytest
import reference

from bev_instseg.grid import BEVGrid
from bev_instseg.ops.ground import OUTLIER_M, SLOPE, TILE_CELLS, estimate_ground

pytestmark = pytest.mark.kernel

GRID = BEVGrid((-12.8, 12.8), (-12.8, 12.8))  # 16 x 16 tiles of 1.6 m
ALL = np.arange(128 * 128, dtype=np.int32)
X, Y = GRID.centres_m(ALL).astype(np.float64).T
ROAD_M = -1.7
STRIP = BEVGrid((0.0, 8.0), (0.0, 1.6))  # 5 tiles in a row
RISE_M = SLOPE * TILE_CELLS * 0.2


def ground_of(height_m, grid=GRID, cells=ALL):
    """Estimate the ground from one height per cell and compare it with the reference."""
    z_min = np.asarray(height_m, np.float32)
    ground = estimate_ground(cells, z_min, grid)
    assert ground.dtype == np.float32
    np.testing.assert_array_equal(ground, reference.estimate_ground(cells, z_min, grid))
    return ground


def strip(*tiles):
    """Return the ground along a row of flat tiles of given heights (None: without pillars)."""
    ix, iy = np.divmod(np.arange(40 * 8), 8)
    height = np.array([np.nan if z is None else z for z in tiles])[ix // 8]
    cells = np.flatnonzero(~np.isnan(height)).astype(np.int32)
    ground = ground_of(height[cells], STRIP, cells)
    return {
        int(i): float(z) for i, j, z in zip(ix[cells], iy[cells], ground, strict=True) if j == 0
    }


@pytest.mark.parametrize(
    "grid",
    [
        BEVGrid((-8.0, 8.0), (-4.8, 4.8)),
        BEVGrid((-8.2, 6.0), (-3.0, 10.4)),  # partial tiles on both axes
        BEVGrid((0.0, 0.2), (-5.0, 5.0)),
        BEVGrid((-5.0, 5.0), (0.0, 0.2)),
        BEVGrid((0.0, 0.4), (0.0, 0.6)),
        BEVGrid((-10.0, 10.0), (0.0, 20.0), cell_m=0.5),
        GRID.window(-3, 90, 61, 45),
    ],
    ids=lambda grid: "{} x {}".format(*grid.shape),
)
@pytest.mark.parametrize("occupied", [1.0, 0.3, 0.01])
def test_equals_reference_on_random_heights(grid, occupied):
    rng = np.random.default_rng(0)
    number = grid.shape[0] * grid.shape[1]
    for spread in (0.0, 0.02, 0.5, 3.0):
        cells = np.flatnonzero(rng.random(number) < occupied).astype(np.int32)
        height = rng.normal(ROAD_M, spread, len(cells))
        steps = rng.choice([0.0, 0.0, 0.0, -3.0, 2.5], len(cells) // 40 + 1)
        ground_of(height + np.repeat(steps, 40)[: len(cells)], grid, cells)


def test_equals_reference_on_extreme_heights():
    rng = np.random.default_rng(1)
    extremes = [1e6, -1e6, 1e30, -1e30, 1e-45, -1e-45, -0.0, 0.0]
    for part in (0.02, 0.5, 1.0):
        height = np.where(rng.random(ALL.size) < part, rng.choice(extremes, ALL.size), ROAD_M)
        assert np.isfinite(ground_of(height)).all()


def test_no_pillars():
    ground_of([], cells=ALL[:0])


@pytest.mark.parametrize("count", range(1, 10))
def test_quartile_of_a_tile(count):
    """A single tile takes number (n - 1) // 4 of its sorted heights."""
    height = np.random.default_rng(count).permutation(count).astype(np.float32)
    ground = ground_of(height, BEVGrid((0.0, 1.6), (0.0, 1.6)), ALL[:count])
    assert ground.tolist() == [(count - 1) // 4] * count


def test_hand_computed_cones_and_interpolation():
    # The third tile is 1 m up: it is lowered to one rise above its neighbours, and the midpoints
    # between the tiles' centres to half of that.
    ground = strip(0, 0, 1, 0, 0)
    between = [ground[k] for k in (11, 12, 15, 16, 19, 20, 23, 24, 27, 28)]
    sixteenth = RISE_M / 16
    parts = [0, 1, 7, 9, 15, 15, 9, 7, 1, 0]
    np.testing.assert_allclose(between, [sixteenth * part for part in parts], atol=1e-6)
    assert [ground[k] for k in (0, 3, 36, 39)] == [0] * 4  # constant beyond the outermost

    # A kerb that rises less steeply than the slope stays.
    ground = strip(0, 0.2, 0.4, 0.4, 0.4)
    np.testing.assert_allclose([ground[k] for k in (0, 39)], [0, 0.4], atol=1e-6)
    assert ground[12] == pytest.approx(0.2 + 0.2 / 16)

    # Tiles without pillars pass heights on, one rise per tile.
    ground = strip(0, None, None, None, 5)
    assert ground[39] == pytest.approx(4 * RISE_M)


@pytest.mark.parametrize(("i", "j"), [(0, 3), (4, 0), (3, 3), (5, 2), (1, 7)])
def test_cones_run_along_the_axes_and_diagonals(i, j):
    """From the first tile to the last, which is far higher; all other tiles are empty."""
    grid = BEVGrid((0.0, 1.6 * (i + 1)), (0.0, 1.6 * (j + 1)))
    ix, iy = np.divmod(np.arange(64 * (i + 1) * (j + 1), dtype=np.int32), 8 * (j + 1))
    first, last = (ix < 8) & (iy < 8), (ix >= 8 * i) & (iy >= 8 * j)
    cells = np.flatnonzero(first | last).astype(np.int32)
    ground = ground_of(np.where(first, 0.0, 100.0)[cells], grid, cells)
    assert ground[0] == 0
    assert ground[-1] == pytest.approx(RISE_M * (abs(i - j) + np.sqrt(2) * min(i, j)))


def test_hand_computed_outliers():
    down = -3.0
    assert set(strip(0, 0, down, 0, 0).values()) == {0.0}
    # Within the tolerance: the ground follows, and the cones extend it to the sides.
    ground = strip(0, 0, -0.375, 0, 0)
    assert ground[20] == pytest.approx(-0.375 + 0.24 / 16)
    # The upper median of two tiles is the upper one; a lone tile is not an outlier.
    assert strip(None, 0, down, None, None)[20] == 0
    assert strip(None, down, None, None, None)[12] == down


def test_tiles_without_pillars_do_not_raise_the_ground_next_to_them():
    rng = np.random.default_rng(6)
    tile = ALL // 128 // 8 * 16 + ALL % 128 // 8
    seen = np.flatnonzero(rng.random(256)[tile] < 0.4).astype(np.int32)
    np.testing.assert_array_equal(
        ground_of(np.full(len(seen), ROAD_M), cells=seen), np.float32(ROAD_M)
    )


@pytest.mark.parametrize(
    ("slope_x", "slope_y"), [(0, 0), (0.02, 0), (0, -0.05), (0.05, 0.05), (-0.1, 0.05), (0, 0.14)]
)
def test_tilted_plane(slope_x, slope_y):
    plane = ROAD_M + slope_x * X + slope_y * Y
    error = ground_of(plane) - plane
    slope = max(abs(slope_x), abs(slope_y))
    inner = (np.abs(X) < 12) & (np.abs(Y) < 12)
    # The lower quartile of a tile is below its middle; the border is not extrapolated.
    assert np.abs(error[inner]).max() <= 0.5 * slope + 1e-5
    assert np.abs(error).max() <= 0.8 * (abs(slope_x) + abs(slope_y)) + 0.5 * slope + 1e-5


@pytest.mark.parametrize("yaw_rad", [0.0, 0.7, np.pi / 2])
@pytest.mark.parametrize("size_m", [(4.5, 1.8), (12.0, 2.5)])
def test_flat_under_a_roof(size_m, yaw_rad):
    """Only the roof of a car or lorry is seen: the ground continues below it."""
    along = X * np.cos(yaw_rad) + Y * np.sin(yaw_rad)
    across = -X * np.sin(yaw_rad) + Y * np.cos(yaw_rad)
    roof = (np.abs(along) < size_m[0] / 2) & (np.abs(across) < size_m[1] / 2)
    ground = ground_of(np.where(roof, ROAD_M + 1.5, ROAD_M))
    assert ground.min() >= np.float32(ROAD_M)
    assert ground.max() <= ROAD_M + RISE_M + 1e-5
    far = (np.abs(along) > size_m[0] / 2 + 3.2) | (np.abs(across) > size_m[1] / 2 + 3.2)
    np.testing.assert_array_equal(ground[far], np.float32(ROAD_M))


def test_flat_under_a_wall_and_a_tree():
    wall = np.abs(Y - 5.0) < 0.3
    tree = np.hypot(X + 4, Y + 4) < 2.0
    ground = ground_of(np.where(wall, 1.0, np.where(tree, 0.5, ROAD_M)))
    assert ground.min() >= np.float32(ROAD_M)
    assert ground.max() <= ROAD_M + RISE_M + 1e-5


def test_ghost_returns_do_not_pull_the_ground_down():
    rng = np.random.default_rng(2)
    scattered = rng.random(ALL.size) < 0.1
    patch = (np.abs(X - 3.2) < 1.6) & (
        np.abs(Y) < 1.6
    )  # four whole tiles: a reflection in a puddle
    height = np.where(scattered | patch, ROAD_M - 3, ROAD_M)
    np.testing.assert_array_equal(ground_of(height), np.full(ALL.size, ROAD_M, np.float32))


def test_sparse_ghost_returns():
    """As at long range: one cell in thirty is occupied, on a road with some noise."""
    rng = np.random.default_rng(3)
    cells = np.flatnonzero(rng.random(ALL.size) < 1 / 30).astype(np.int32)
    height = rng.normal(ROAD_M, 0.02, len(cells))
    height[rng.random(len(cells)) < 0.05] -= 3
    ground = ground_of(height, cells=cells)
    assert np.quantile(np.abs(ground - ROAD_M), 0.99) < 0.15
    assert np.abs(ground - ROAD_M).max() < OUTLIER_M


def test_raising_the_sweep_raises_the_ground():
    rng = np.random.default_rng(4)
    height = rng.normal(ROAD_M, 0.3, ALL.size).astype(np.float32)
    raised = ground_of(height + np.float32(1.25))
    np.testing.assert_allclose(raised, ground_of(height) + 1.25, atol=1e-6)


def test_mirrored_and_rotated():
    """The two passes treat all directions alike."""
    rng = np.random.default_rng(5)
    height = rng.normal(ROAD_M, 1.0, ALL.size).astype(np.float32).reshape(128, 128)
    ground = ground_of(height.ravel()).reshape(128, 128)
    for turn in (np.flipud, np.fliplr, np.transpose, np.rot90):
        turned = ground_of(turn(height).ravel()).reshape(128, 128)
        np.testing.assert_allclose(turned, turn(ground), atol=1e-6)
