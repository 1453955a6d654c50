"""From pillars back to points, in hand-computed cases."""

import numpy as np
import pytest

from bev_instseg.config import ClassConfig
from bev_instseg.grid import BEVGrid
from bev_instseg.ops.assemble import AssemblyRules, assemble
from bev_instseg.ops.boxes import oriented_boxes
from bev_instseg.ops.voxelize import FEATURES, voxelize
from bev_instseg.structures import Clusters, Pillars

pytestmark = pytest.mark.kernel

NAMES = ("car", "person")
CAR, PERSON = 0, 1
NONE = -1  # the pillar of a point outside the grid
MIN_HEIGHT_M, MAX_HEIGHT_M, MIN_POINTS = 0.125, (4.5, 2.5), (3, 2)
GRID = BEVGrid((0.0, 8.0), (0.0, 8.0), cell_m=1.0)


def assembled(
    points,
    labels,
    instances,
    calibration=(),
    score_threshold=0.0,
    sensor_m=(-50, -50),
    max_height_m=MAX_HEIGHT_M,
):
    """Assemble points (pillar, height_m), each pillar's label and each cluster's (class, score)."""
    pillar, height = np.array(points, np.float64).reshape(-1, 2).T
    pillar = pillar.astype(np.int32)
    cells = np.arange(len(labels), dtype=np.int32)
    pillars = Pillars(
        GRID,
        cells,
        np.zeros((len(cells), len(FEATURES)), np.float32),
        pillar,
        np.where(pillar >= 0, height, np.nan).astype(np.float32),
    )
    xyz = np.zeros((len(pillar), 4), np.float32)
    xyz[:, :2] = np.append(pillars.centres_m, [[99, 99]], axis=0)[pillar]
    xyz[:, :2] -= sensor_m
    xyz[:, 2] = height - 2
    classes, scores = np.array(instances, np.float64).reshape(-1, 2).T
    openers = np.zeros(len(classes), np.int32)
    clusters = Clusters(
        np.array(labels, np.int32), classes.astype(np.int32), scores.astype(np.float32), openers
    )
    rules = AssemblyRules(
        NAMES, MIN_HEIGHT_M, max_height_m, MIN_POINTS, calibration, score_threshold
    )
    result = assemble(xyz, pillars, clusters, rules)
    for name, dtype in (
        ("labels", np.int32),
        ("classes", np.int32),
        ("scores", np.float32),
        ("boxes", np.float32),
    ):
        assert getattr(result, name).dtype == dtype
    assert result.class_names == NAMES
    np.testing.assert_array_equal(result.boxes, oriented_boxes(xyz, result.labels, len(result)))
    return result


def test_ego_vehicle_is_dropped():
    labels = np.zeros(64, int)  # pillar 8 i + j is centred at (i + 0.5, j + 0.5)
    labels[[0, 1, 8, 9]], labels[[36, 37, 38]], labels[[62, 63]] = 2, 1, 3
    points = [(pillar, 1) for pillar in np.flatnonzero(labels)]
    instances = [(CAR, 0.7), (CAR, 0.9), (PERSON, 0.5)]
    for sensor_m, expected in (
        ((3, 3), [1] * 4 + [2] * 3 + [3] * 2),
        ((1, 1), [0] * 4 + [1] * 3 + [2] * 2),
    ):
        result = assembled(points, labels, instances, sensor_m=sensor_m)
        assert result.labels.tolist() == expected
    assert result.classes.tolist() == [CAR, PERSON]
    np.testing.assert_array_equal(result.scores, np.float32([0.7, 0.5]))


@pytest.mark.parametrize(
    ("distance_m", "top_m", "is_own"),
    [(0.6, 1.2, True), (0.6, 1.6, False), (3, 1.2, False)],
)
def test_low_vehicles_next_to_the_sensor_are_pieces_of_the_ego_vehicle(distance_m, top_m, is_own):
    points = [(0, 1), (1, 1.1), (1, top_m)]  # pillars at (0.5, 0.5) and (0.5, 1.5)
    sensor_m = (0.5, -distance_m)
    result = assembled(points, [1, 1], [(CAR, 0.9)], sensor_m=sensor_m)
    assert len(result) == (not is_own)
    person = assembled(points, [1, 1], [(PERSON, 0.9)], sensor_m=sensor_m)
    assert len(person) == 1
    default_m = ClassConfig("cone", 1).max_height_m
    cone = assembled(points, [1, 1], [(CAR, 0.9)], sensor_m=sensor_m, max_height_m=(default_m, 2))
    assert len(cone) == 1


def just_below(value):
    return np.nextafter(np.float32(value), np.float32(-1))


def just_above(value):
    return np.nextafter(np.float32(value), np.float32(99))


def test_points_take_the_instance_of_their_pillar():
    points = [(1, 1), (0, 1), (NONE, 1), (2, 1), (1, 1), (0, 1), (3, 1), (0, 1), (NONE, 1)]
    result = assembled(points, [1, 2, 0, 2], [(CAR, 0.9), (PERSON, 0.8)])
    assert result.labels.tolist() == [2, 1, 0, 0, 2, 1, 2, 1, 0]
    assert result.classes.tolist() == [CAR, PERSON]
    np.testing.assert_array_equal(result.scores, np.array([0.9, 0.8], np.float32))
    assert result.num_points.tolist() == [3, 3]


def test_hand_computed_heights():
    """The ground under a car and the branch above it are left out; the maximum is per class."""
    car = [0.0, -0.3, just_below(0.125), 0.125, 1.0, 2.6, 4.5, just_above(4.5), 9.0]
    person = [0.0, 0.125, 1.0, 2.5, just_above(2.5), 4.5]
    points = [(0, h) for h in car] + [(1, h) for h in person]
    result = assembled(points, [1, 2], [(CAR, 0.9), (PERSON, 0.8)])
    assert result.labels[: len(car)].tolist() == [0, 0, 0, 1, 1, 1, 1, 0, 0]
    assert result.labels[len(car) :].tolist() == [0, 2, 2, 2, 0, 0]
    # The box encloses the points left: 0.125 .. 4.5 m above a ground at -2 m.
    assert result.boxes[0, 2] == pytest.approx(-2 + (0.125 + 4.5) / 2)
    assert result.boxes[0, 5] == pytest.approx(4.5 - 0.125)


def test_min_points_apply_after_the_heights():
    points = [(0, 1)] * 3 + [(1, 1)] * 2 + [(2, 1)] * 2 + [(3, 1)] + [(1, 0), (1, 9), (3, 0)]
    instances = [(CAR, 0.6), (CAR, 0.9), (PERSON, 0.7), (PERSON, 0.8)]
    result = assembled(points, [1, 2, 3, 4], instances)
    # The car of two points and the person of one are dropped, and the rest renumbered.
    assert result.classes.tolist() == [PERSON, CAR]
    assert result.labels.tolist() == [2, 2, 2, 0, 0, 1, 1, 0, 0, 0, 0]


def test_numbers_follow_falling_score_with_stable_ties():
    scores = [0.5, 0.75, 0.5, 0.875, 0.75, 0.5]
    points = [(k, 1) for k in range(6) for _ in range(3)]
    result = assembled(points, [1, 2, 3, 4, 5, 6], [(CAR, s) for s in scores])
    assert result.labels[::3].tolist() == [4, 2, 5, 1, 3, 6]
    assert result.scores.tolist() == [0.875, 0.75, 0.75, 0.5, 0.5, 0.5]
    # Each box is at its own pillar.
    centres = GRID.centres_m(np.array([3, 1, 4, 0, 2, 5]))
    np.testing.assert_array_equal(result.boxes[:, :2], centres + 50)

    # Enough instances for an unstable sort to mix up.
    points = [(k, 1) for k in range(64) for _ in range(3)]
    result = assembled(points, range(1, 65), [(CAR, (k % 3) / 4) for k in range(64)])
    expected = np.argsort([*range(2, 64, 3), *range(1, 64, 3), *range(0, 64, 3)]) + 1
    assert result.labels[::3].tolist() == expected.tolist()


def test_scores_become_probabilities():
    # Odds are (s / (1 - s)) n / 9 for cars and 1 / n for persons; n excludes the two on the ground.
    calibration = ((-np.log(9), 1.0, 1.0), (0.0, 0.0, -1.0))
    points = [(0, 1)] * 3 + [(1, 1)] * 9 + [(2, 1)] * 4 + [(0, 0)] * 2
    instances = [(CAR, 0.75), (CAR, 0.5), (PERSON, 0.9)]
    result = assembled(points, [1, 2, 3], instances, calibration)
    # Equal probabilities keep the order of the clusters.
    np.testing.assert_allclose(result.scores, [1 / 2, 1 / 2, 1 / 5], rtol=1e-6)
    assert result.classes.tolist() == [CAR, CAR, PERSON]
    more = assembled([*points, (1, 1)], [1, 2, 3], instances, calibration)
    np.testing.assert_allclose(more.scores, [10 / 19, 1 / 2, 1 / 5], rtol=1e-6)
    assert more.labels.tolist() == [2] * 3 + [1] * 9 + [3] * 4 + [0] * 2 + [1]


def test_instances_below_the_score_threshold_are_dropped_and_the_rest_renumbered():
    points = [(k, 1) for k in range(4) for _ in range(3)]
    instances = [(CAR, 0.25), (CAR, 0.5), (PERSON, just_below(0.5)), (CAR, 0.75)]
    result = assembled(points, [1, 2, 3, 4], instances, score_threshold=0.5)
    assert result.labels[::3].tolist() == [0, 2, 0, 1]
    assert result.scores.tolist() == [0.75, 0.5]
    assert len(assembled(points, [1, 2, 3, 4], instances, score_threshold=1.0)) == 0
    # The threshold is compared in float32, the type of the scores.
    assert len(assembled(points, [1, 0, 0, 0], [(CAR, 0.9)], score_threshold=0.9)) == 1
    # It applies to the probability: 0.25 ** 2 / (0.25 ** 2 + 0.75 ** 2) = 0.1.
    squared = ((0.0, 2.0, 0.0), (0.0, 2.0, 0.0))
    assert len(assembled(points, [1, 2, 3, 4], instances, squared, 0.11)) == 3


def test_an_instance_without_points_is_dropped_even_if_min_points_is_0():
    points = np.full((2, 4), 6, np.float32)
    pillars = voxelize(points, GRID)
    clusters = Clusters(
        np.ones(1, np.int32), np.zeros(1, np.int32), np.ones(1, np.float32), np.zeros(1, np.int32)
    )
    for min_points in (0, 1, 2):  # at height 0 both points are ground
        for min_height_m, expected in ((0.1, 0), (0.0, 1)):
            rules = AssemblyRules(("car",), min_height_m, (4.0,), (min_points,))
            assert len(assemble(points, pillars, clusters, rules)) == expected


def test_empty_sweep():
    result = assembled([], [], [])
    assert len(result) == len(result.labels) == 0
    assert result.boxes.shape == (0, 7)


def test_no_instances():
    result = assembled([(0, 1), (NONE, 1), (1, 1)], [0, 0], [])
    assert result.labels.tolist() == [0, 0, 0]
    assert len(result) == 0


def test_all_points_outside_the_grid():
    result = assembled([(NONE, 1)] * 4, [], [])
    assert result.labels.tolist() == [0] * 4


def test_all_instances_dropped():
    result = assembled([(0, 1), (0, 1), (1, 1)], [1, 2], [(CAR, 0.9), (PERSON, 0.9)])
    assert result.labels.tolist() == [0, 0, 0]
    assert result.boxes.shape == (0, 7)
