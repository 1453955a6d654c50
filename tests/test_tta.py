"""Test-time augmentation: pillars turned and mirrored, and the network's maps averaged."""

import numpy as np
import pytest
from conftest import ROOT

from bev_instseg import read_scan
from bev_instseg.grid import BEVGrid
from bev_instseg.ops.voxelize import FEATURES, voxelize
from bev_instseg.segmenter import Segmenter
from bev_instseg.structures import PillarEmbeddings, Pillars
from bev_instseg.tta import SYMMETRIES, X_MEAN, Y_MEAN, check_count, infer_averaged, turn, turn_back

SQUARE = BEVGrid((-16.0, 16.0), (-16.0, 16.0), (-4.0, 4.0), 0.5)
FLAT = BEVGrid((-16.0, 16.0), (-8.0, 8.0), (-4.0, 4.0), 0.5)
AHEAD = BEVGrid((0.0, 16.0), (-8.0, 8.0), (-4.0, 4.0), 0.5)  # the sensor is at its edge
STEP_M = 1 / 64


def sweep(grid: BEVGrid, seed: int, size: int = 2000) -> np.ndarray:
    """Points on level ground and above; none is on the edge of a cell."""
    rng = np.random.default_rng(seed)
    low, high = np.transpose([grid.x_range_m, grid.y_range_m])
    xy = np.floor(rng.uniform(low, high, (size, 2)) / STEP_M) * STEP_M + STEP_M / 2
    z = np.where(rng.random(size) < 0.5, -1.75, rng.integers(-112, 64, size) * STEP_M)
    return np.column_stack([xy, z, rng.integers(5, size=size) / 4]).astype(np.float32)


def towards_the_points(pillars: Pillars) -> PillarEmbeddings:
    """Predict what turns with the sweep: the mean position, and a bandwidth along it."""
    offset = pillars.features[:, [X_MEAN, Y_MEAN]]
    x, y = 10 * offset.T
    precision = np.stack([4 + x * x, x * y, 4 + y * y], axis=1)
    seed = pillars.features[:, [FEATURES.index("intensity_mean"), FEATURES.index("range_m")]] / 25
    return PillarEmbeddings(pillars.centres_m + offset, precision, seed)


@pytest.mark.parametrize("symmetry", SYMMETRIES)
@pytest.mark.parametrize("seed", range(3))
def test_turned_pillars_are_those_of_the_turned_sweep(symmetry, seed):
    points = sweep(SQUARE, seed)
    expected = points.copy()
    if symmetry.swap:
        expected[:, [0, 1]] = points[:, [1, 0]]
    expected[:, :2] *= np.float32([symmetry.sign_x, symmetry.sign_y])
    given, expected = voxelize(points, SQUARE), voxelize(expected, SQUARE)
    turned, order = turn(given, symmetry)
    np.testing.assert_array_equal(turned.cells, expected.cells)
    np.testing.assert_array_equal(turned.features, expected.features)
    np.testing.assert_array_equal(order[expected.point_to_pillar], given.point_to_pillar)


def test_the_symmetries_are_the_eight_of_a_square_and_begin_with_none():
    corner = np.array([2.0, 1.0])
    places = {tuple((corner[::-1] if s.swap else corner) * s[1:]) for s in SYMMETRIES}
    assert len(SYMMETRIES) == len(places) == 8
    pillars = voxelize(sweep(SQUARE, 0), SQUARE)
    turned, order = turn(pillars, SYMMETRIES[0])
    np.testing.assert_array_equal(turned.features, pillars.features)
    np.testing.assert_array_equal(order, np.arange(len(order)))


@pytest.mark.parametrize(
    ("grid", "symmetry"),
    [
        *((grid, symmetry) for grid in (SQUARE, AHEAD) for symmetry in SYMMETRIES),
        *((FLAT, symmetry) for symmetry in SYMMETRIES[:4]),
    ],
)
def test_a_prediction_that_turns_with_the_sweep_is_turned_back(grid, symmetry):
    pillars = voxelize(sweep(grid, 1), grid)
    turned, order = turn(pillars, symmetry)
    found = turn_back(towards_the_points(turned), order, symmetry, grid)
    expected = towards_the_points(pillars)
    for part in ("centre_m", "precision", "seed"):
        np.testing.assert_allclose(getattr(found, part), getattr(expected, part), atol=2e-6)


@pytest.mark.parametrize("count", [2, 4, 8])
def test_maps_are_averaged(count):
    pillars = voxelize(sweep(SQUARE, 2), SQUARE)
    calls = []

    def infer(given: Pillars) -> PillarEmbeddings:
        calls.append(given)
        found, n = towards_the_points(given), np.float32(len(calls))
        return PillarEmbeddings(found.centre_m, found.precision * n, found.seed + n)

    found, expected = infer_averaged(infer, pillars, count), towards_the_points(pillars)
    mean = (count + 1) / 2
    assert len(calls) == count
    np.testing.assert_allclose(found.centre_m, expected.centre_m, atol=2e-6)
    np.testing.assert_allclose(found.precision, expected.precision * mean, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found.seed, expected.seed + mean, rtol=1e-6)


def test_an_empty_sweep_can_be_turned():
    pillars = voxelize(np.zeros((0, 4), np.float32), SQUARE)
    assert len(infer_averaged(towards_the_points, pillars, 8).seed) == 0


def test_a_segmenter_with_tta_finds_the_same_objects():
    points = read_scan(ROOT / "demo" / "sequences" / "00" / "velodyne" / "000000.bin")
    segmenter = Segmenter.from_pretrained()
    turned = segmenter.with_tta(2)
    assert segmenter.tta == 1
    assert turned.with_config(turned.config).with_extras(True).tta == 2
    one, other = segmenter.segment(points).labels > 0, turned.segment(points).labels > 0
    assert (one & other).sum() > 0.9 * (one | other).sum() > 0
    assert not np.array_equal(one, other)


def test_other_numbers_and_grids_that_are_not_square_are_refused():
    for count in (0, 3, 16, 2.0):
        with pytest.raises(ValueError, match=rf"^tta must be one of 1, 2, 4, 8, got {count}$"):
            check_count(count, SQUARE)
    check_count(4, FLAT)
    with pytest.raises(ValueError, match="needs a square grid, this one has 64 x 32 cells"):
        check_count(8, FLAT)
