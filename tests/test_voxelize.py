"""The voxelizer equals its NumPy reference to the last bit and satisfies its invariants."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import reference

import bev_instseg.ops.voxelize as voxelize_module
from bev_instseg.grid import BEVGrid
from bev_instseg.ops.voxelize import (
    FEATURES,
    FIRST_SLICE_EDGE_M,
    NUM_SLICES,
    SLICE_M,
    on_grid,
    point_heights,
    voxelize,
)

pytestmark = pytest.mark.kernel

WIDE = BEVGrid((-10.0, 10.0), (-10.0, 10.0))
ONE_TILE = BEVGrid((0.0, 1.6), (-1.6, 0.0), (-10.0, 60.0))  # a single tile has flat ground
GRIDS = {
    "whole tiles": BEVGrid((-6.4, 6.4), (-6.4, 6.4)),
    "cut tiles, not square": BEVGrid((-10.0, 4.2), (-3.0, 6.8)),
    "one cell": BEVGrid((0.0, 0.2), (0.0, 0.2)),
    "one row": BEVGrid((-8.0, 8.0), (0.0, 0.2)),
    "one column": BEVGrid((0.0, 0.2), (-8.0, 8.0)),
    "far from the sensor": BEVGrid((30.1, 42.7), (-25.3, -18.9), (-2.5, 1.5), 0.1),
    "large cells": BEVGrid((-10.0, 10.0), (-9.0, 9.0), (-3.0, 3.0), 1.0),
    "window": WIDE.window(13, 40, 37, 51),
    "window beyond the grid": WIDE.window(-9, 81, 40, 40),
}
EXTREME = [np.nan, np.inf, -np.inf, 1e30, -1e30, 3.4028235e38, -3.4028235e38, 1e-45, -1e-45, -0.0]


def column(pillars, name):
    return pillars.features[:, FEATURES.index(name)]


def random_points(seed, grid, n):
    """Return points in and around a grid: ground, walls, floating things, and duplicates."""
    rng = np.random.default_rng(seed)
    (x0, x1), (y0, y1) = grid.x_range_m, grid.y_range_m
    x = rng.uniform(x0 - 0.1 * (x1 - x0), x1 + 0.1 * (x1 - x0), n)
    y = rng.uniform(y0 - 0.1 * (y1 - y0), y1 + 0.1 * (y1 - y0), n)
    z = np.where(rng.random(n) < 0.6, rng.normal(-1.7, 0.05, n), rng.uniform(-4, 3, n))
    points = np.stack([x, y, z, rng.random(n)], axis=1).astype(np.float32)
    points[: n // 10] = points[rng.integers(0, n, n // 10)]
    return points


def assert_equals_reference(points, grid):
    pillars, expected = voxelize(points, grid), reference.voxelize(points, grid)
    for name in ("cells", "features", "point_to_pillar", "point_height_m"):
        ours, theirs = getattr(pillars, name), getattr(expected, name)
        assert ours.dtype == theirs.dtype, name
        np.testing.assert_array_equal(ours, theirs, err_msg=name)
    heights = point_heights(points, grid)
    assert heights.dtype == np.float32
    np.testing.assert_array_equal(heights, expected.point_height_m)
    return pillars


def assert_invariants(pillars, points):
    """Check what holds for any sweep, without the reference."""
    grid, owner = pillars.grid, pillars.point_to_pillar
    cell = grid.cell_of(points)
    np.testing.assert_array_equal(owner >= 0, cell >= 0)
    np.testing.assert_array_equal(on_grid(points, grid), cell >= 0)
    np.testing.assert_array_equal(pillars.cells[owner[owner >= 0]], cell[cell >= 0])
    assert (np.diff(pillars.cells) > 0).all()
    np.testing.assert_array_equal(np.isnan(pillars.point_height_m), owner < 0)

    assert np.isfinite(pillars.features).all()
    count = column(pillars, "count")
    assert count.sum() == (cell >= 0).sum()
    assert (count >= 1).all()
    np.testing.assert_array_equal(pillars.features[:, 1 : 1 + NUM_SLICES].sum(axis=1), count)
    low, mean, high = (column(pillars, f"height_{name}_m") for name in ("min", "mean", "max"))
    tiny = 1e-5 * (1 + np.abs(mean))
    assert (low <= mean + tiny).all()
    assert (mean <= high + tiny).all()
    assert (column(pillars, "height_std_m") <= (high - low) / 2 + tiny).all()
    half = grid.cell_m / 2 + 1e-5
    assert (np.abs(column(pillars, "x_mean_m")) <= half).all()
    assert (np.abs(column(pillars, "y_mean_m")) <= half).all()
    np.testing.assert_allclose(
        column(pillars, "range_m"), np.linalg.norm(pillars.centres_m, axis=1), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS.keys())
@pytest.mark.parametrize("n", [1, 30, 3000])
def test_equals_reference_on_random_points(grid, n):
    for seed in range(5):
        points = random_points(seed, grid, n)
        assert_invariants(assert_equals_reference(points, grid), points)


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS.keys())
def test_equals_reference_on_the_edges_of_cells(grid):
    """Each edge of a cell along x, y and z and the float32 values next to it, mixed."""
    rng = np.random.default_rng(0)

    def around(values):
        values = np.asarray(values, np.float32)
        towards = (np.nextafter(values, np.float32(side)) for side in (-np.inf, np.inf))
        return np.concatenate([values, *towards])

    nx, ny = grid.shape
    x = around(grid.x_range_m[0] + np.arange(nx + 1) * grid.cell_m)
    y = around(grid.y_range_m[0] + np.arange(ny + 1) * grid.cell_m)
    z = around([*grid.z_range_m, -1.7])
    points = np.stack([rng.choice(axis, 4000) for axis in (x, y, z, z)], axis=1)
    points[:, 3] = rng.random(4000)
    assert_invariants(assert_equals_reference(points, grid), points)


def test_equals_reference_on_extreme_numbers():
    rng = np.random.default_rng(1)
    points = random_points(1, WIDE, 4000)
    at = rng.random((4000, 3)) < 0.15
    points[:, :3][at] = rng.choice(np.array(EXTREME, np.float32), at.sum())
    points[::7, 3] = rng.choice(np.array([np.nan, np.inf, -np.inf, -0.5, 255], np.float32), 572)
    pillars = assert_equals_reference(points, WIDE)
    assert_invariants(pillars, points)
    assert 2000 < (pillars.point_to_pillar >= 0).sum() < 3800


def test_equals_reference_on_large_heights_and_intensities():
    grid = BEVGrid((-10.0, 10.0), (-10.0, 10.0), (-1e6, 1e6), 0.2)
    points = random_points(2, grid, 3000)
    points[:, 2] *= np.float32(2e5)
    points[::2, 3] = np.float32(3.4028235e38)
    points[1::4, 3] *= -1
    pillars = assert_equals_reference(points, grid)
    assert_invariants(pillars, points)
    assert (column(pillars, "intensity_max") < 0).any()


@pytest.mark.parametrize(
    "points",
    [
        np.zeros((0, 4)),
        np.full((9, 4), np.nan),
        [[10.0, 0.0, 0.0, 1.0], [0.0, -10.1, 0.0, 1.0], [0.0, 0.0, 10.0, 1.0]],
    ],
    ids=["empty sweep", "only NaN", "all outside"],
)
def test_no_pillars(points):
    points = np.array(points, np.float32)
    pillars = assert_equals_reference(points, WIDE)
    assert pillars.features.shape == (0, len(FEATURES))
    assert (pillars.point_to_pillar == -1).all()
    assert np.isnan(pillars.point_height_m).all()


def test_one_point():
    pillars = assert_equals_reference(np.array([[1.3, -1.5, 1.0, 0.25]], np.float32), ONE_TILE)
    assert pillars.cells.tolist() == [6 * 8]
    assert pillars.point_to_pillar.tolist() == [0]
    assert pillars.point_height_m.tolist() == [0.0]  # the only point is the ground
    expected = [1, 1, *[0] * (NUM_SLICES - 1), 0, 0, 0, 0, 0, 0, 0.25, 0.25, np.hypot(1.3, 1.5)]
    np.testing.assert_allclose(pillars.features, [expected], atol=1e-6)


def test_hand_computed_sweep():
    """Cells of 0.5 m and ground at z = -2 in each cell, so all heights are exact."""
    grid = BEVGrid((0.0, 2.0), (-1.0, 1.0), (-4.0, 4.0), 0.5)
    points = [
        [0.25, -0.875, -2.0, 0.25],  # cell (0, 0): the ground,
        [0.125, -0.625, -1.0, 0.75],  # 1 m above it
        [1.75, 0.75, -2.0, np.nan],  # cell (3, 3): no intensity,
        [1.75, 0.75, -2.0, 0.5],
        [1.75, 0.5, 1.0, 0.125],  # 3 m above
        [1.75, 1.0, 0.0, 1.0],  # outside: y is half-open
    ]
    pillars = assert_equals_reference(np.array(points, np.float32), grid)
    assert pillars.cells.tolist() == [0, 15]
    assert pillars.point_to_pillar.tolist() == [0, 0, 1, 1, 1, -1]
    np.testing.assert_array_equal(pillars.point_height_m, [0, 1, 0, 0, 3, np.nan])
    first, second = (dict(zip(FEATURES, row, strict=True)) for row in pillars.features.tolist())
    slices = {f"slice_{k}": 0 for k in range(NUM_SLICES)}
    assert first == {
        **slices,
        "count": 2,
        "height_min_m": 0,
        "height_max_m": 1,
        "height_mean_m": 0.5,
        "height_std_m": 0.5,
        "intensity_mean": 0.5,
        "intensity_max": 0.75,
        "x_mean_m": -0.0625,  # 0.1875 in a cell around 0.25
        "y_mean_m": 0.0,
        "range_m": pytest.approx(np.hypot(0.25, 0.75)),
        "slice_0": 1,
        "slice_3": 1,  # 0.75 .. 1.05 m
    }
    assert second == {
        **slices,
        "count": 3,
        "height_min_m": 0,
        "height_max_m": 3,
        "height_mean_m": 1,
        "height_std_m": pytest.approx(np.sqrt(2)),
        "intensity_mean": pytest.approx(0.625 / 3),  # NaN counts as 0
        "intensity_max": 0.5,
        "x_mean_m": 0.0,
        "y_mean_m": pytest.approx(2 / 3 - 0.75),
        "range_m": pytest.approx(np.hypot(1.75, 0.75)),
        "slice_0": 2,
        "slice_9": 1,  # 2.55 m and above
    }


def test_slices_are_half_open():
    """The edges 0.75 and 2.25 are exact in float32; the other heights are just off an edge."""
    height = np.array([0, 0.75, 2.25, 50], np.float32)
    height = np.sort(np.concatenate([height, np.nextafter(height, np.float32(-1))[1:3]]))
    points = np.full((len(height), 4), -0.5, np.float32)
    points[:, 0], points[:, 2] = 0.5, height
    pillars = assert_equals_reference(points, ONE_TILE)
    np.testing.assert_array_equal(pillars.point_height_m, height)
    assert pillars.features[0, 1 : 1 + NUM_SLICES].tolist() == [1, 0, 1, 1, 0, 0, 0, 1, 1, 1]


def test_no_height_is_rounded_into_a_different_slice():
    """The float32 heights next to each edge, on flat ground at 0."""
    edges = np.float32(FIRST_SLICE_EDGE_M) + np.float32(SLICE_M) * np.arange(9, dtype=np.float32)
    steps = np.arange(-300, 301, dtype=np.int32)
    height = (edges.view(np.int32)[:, None] + steps).view(np.float32).ravel()
    points = np.full((len(height) + 1, 4), -0.5, np.float32)
    points[:, 0], points[0, 2], points[1:, 2] = 0.5, 0, height
    pillars = assert_equals_reference(points, ONE_TILE)
    np.testing.assert_array_equal(pillars.point_height_m[1:], height)


def test_points_of_a_pillar_are_not_limited():
    rng = np.random.default_rng(3)
    points = rng.uniform(0.01, 0.19, (12_345, 4)).astype(np.float32)
    points = np.concatenate([points, random_points(3, WIDE, 500)])
    pillars = assert_equals_reference(points, WIDE)
    assert column(pillars, "count").max() >= 12_345
    assert_invariants(pillars, points)


def test_duplicates_of_one_point():
    points = np.tile(np.array([[1.1, -2.3, 0.7, 0.1]], np.float32), (5000, 1))
    pillars = assert_equals_reference(points, WIDE)
    once = voxelize(points[:1], WIDE)
    same = [FEATURES.index(name) for name in FEATURES if name != "count" and "slice" not in name]
    np.testing.assert_allclose(pillars.features[:, same], once.features[:, same], atol=1e-6)
    assert pillars.features[0, 0] == pillars.features[0, 1] == 5000


@pytest.mark.parametrize("part", ["all", "the first pillar", "outside", "half outside"])
def test_equals_reference_on_two_cores(part, monkeypatch):
    monkeypatch.setattr(voxelize_module, "MIN_POINTS_FOR_TWO_CORES", 30_000)
    points = random_points(7, WIDE, 31_001)
    if part == "the first pillar":
        points[:, :2] = -9.95
    if part == "outside":
        points[:, 0] = 99
    if part == "half outside":
        points[: len(points) // 2, 0] = np.nan
    assert_equals_reference(points, WIDE)


def test_several_threads_and_a_forked_process(monkeypatch):
    monkeypatch.setattr(voxelize_module, "MIN_POINTS_FOR_TWO_CORES", 30_000)
    points = random_points(8, WIDE, 30_001)
    expected = voxelize(points, WIDE).features
    with ThreadPoolExecutor(4) as pool:
        for pillars in pool.map(lambda _: voxelize(points, WIDE), range(12)):
            np.testing.assert_array_equal(pillars.features, expected)
    if hasattr(os, "fork"):
        child = os.fork()
        if child == 0:
            signal.alarm(60)  # rather than wait for a thread that the fork did not copy
            equal = False
            try:
                equal = np.array_equal(voxelize(points, WIDE).features, expected)
            finally:
                os._exit(0 if equal else 1)
        assert os.waitpid(child, 0)[1] == 0


def test_mounting_height_does_not_matter():
    points = random_points(4, WIDE, 5000)
    points[:, 2] = points[:, 2].clip(-4, 4)
    raised = points + np.array([0, 0, 1.25, 0], np.float32)
    ours, theirs = voxelize(points, WIDE), voxelize(raised, WIDE)
    np.testing.assert_array_equal(ours.point_to_pillar, theirs.point_to_pillar)
    np.testing.assert_allclose(ours.point_height_m, theirs.point_height_m, atol=1e-5)
    metres = slice(FEATURES.index("height_min_m"), None)
    # A standard deviation near 0 loses half its digits.
    np.testing.assert_allclose(ours.features[:, metres], theirs.features[:, metres], atol=1e-4)


def test_point_order_does_not_matter():
    points = random_points(5, WIDE, 5000)
    order = np.random.default_rng(5).permutation(5000)
    ours, theirs = voxelize(points, WIDE), voxelize(points[order], WIDE)
    np.testing.assert_array_equal(ours.cells, theirs.cells)
    np.testing.assert_array_equal(ours.point_to_pillar[order], theirs.point_to_pillar)
    np.testing.assert_array_equal(ours.point_height_m[order], theirs.point_height_m)
    np.testing.assert_allclose(ours.features, theirs.features, atol=1e-6)


def test_memory_layout_does_not_matter_and_input_is_unchanged():
    points = random_points(6, WIDE, 1000)
    expected = voxelize(points, WIDE)
    wide = np.zeros((2000, 6), np.float32)
    wide[::2, 1:5] = points
    for other in (np.asfortranarray(points), wide[::2, 1:5], points[::-1].copy()[::-1]):
        before = other.copy()
        pillars = voxelize(other, WIDE)
        np.testing.assert_array_equal(pillars.features, expected.features)
        np.testing.assert_array_equal(pillars.point_to_pillar, expected.point_to_pillar)
        np.testing.assert_array_equal(other, before)


@pytest.mark.parametrize(
    "points",
    [
        np.zeros((3, 4)),
        np.zeros((3, 4), np.int32),
        np.zeros((3, 4), ">f4"),
        np.zeros((3, 3), np.float32),
        np.zeros((3, 5), np.float32),
        np.zeros(4, np.float32),
        np.zeros((1, 3, 4), np.float32),
    ],
    ids=lambda points: f"{points.dtype} {points.shape}",
)
def test_wrong_shape_or_dtype_raises(points):
    for function in (voxelize, point_heights):
        with pytest.raises(ValueError, match=r"points must be float32 \(N, 4\), got"):
            function(points, WIDE)


def test_grid_with_too_many_cells_for_int32_raises():
    grid = BEVGrid((-5000.0, 5000.0), (-5000.0, 5000.0))
    with pytest.raises(ValueError, match="50000 x 50000 cells is too large"):
        voxelize(np.zeros((1, 4), np.float32), grid)
