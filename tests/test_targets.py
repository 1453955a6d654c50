"""Pillar labels compared with values worked out by hand and with a loop over the pillars."""

import numpy as np
import pytest

from bev_instseg.grid import BEVGrid
from bev_instseg.ops.voxelize import voxelize
from bev_instseg.structures import Frame, Pillars
from bev_instseg.training.targets import PillarTargets, make_targets

GRID = BEVGrid((0.0, 4.0), (0.0, 4.0), (-1.0, 1.0), 1.0)


def frame_of(
    instance: list[int], labelled: list[bool] | None = None, num_objects: int | None = None
) -> Frame:
    k = max([*instance, 0]) if num_objects is None else num_objects
    return Frame(
        "test",
        np.zeros((len(instance), 4), np.float32),
        np.array(instance, np.int32),
        np.ones(len(instance), np.bool_) if labelled is None else np.array(labelled, np.bool_),
        np.arange(k, dtype=np.int32) % 3,
        np.arange(2 * k, dtype=np.float32).reshape(k, 2),
    )


def pillars_of(point_to_pillar: list[int], num_pillars: int | None = None) -> Pillars:
    p = max([*point_to_pillar, -1]) + 1 if num_pillars is None else num_pillars
    return Pillars(
        GRID,
        np.arange(p, dtype=np.int32),
        np.zeros((p, 1), np.float32),
        np.array(point_to_pillar, np.int32),
        np.zeros(len(point_to_pillar), np.float32),
    )


def one_pillar(instance: list[int], labelled: list[bool] | None = None, **options: int) -> int:
    """Return the label of a single pillar that holds all the points."""
    frame = frame_of(instance, labelled, num_objects=9)
    return int(make_targets(frame, pillars_of([0] * len(instance)), **options).instance[0])


@pytest.mark.parametrize(
    ("instance", "expected"),
    [
        ([0, 0], 0),
        ([4], 4),
        ([2, 7, 7], 7),
        ([7, 2, 2], 2),
        ([0, 0, 0, 5], 5),  # objects beat background, however many points it has
        ([-1, -1, -1, 5], 5),  # and void
        ([7, 2, 7, 2], 2),  # a tie: the lower number
        ([3, 9, 9, 3, 1], 3),
        ([0, 0, 0, -1], -1),  # void beats background
        ([-1], -1),
    ],
)
def test_one_pillar(instance: list[int], expected: int) -> None:
    assert one_pillar(instance) == expected


@pytest.mark.parametrize(
    ("instance", "labelled", "expected"),
    [
        ([0, 0], [False, False], -1),  # unlabelled
        ([0, 0], [True, False], 0),
        ([3, 0], [False, True], 0),  # unlabelled points are ignored
        ([3, 3, 2], [False, False, True], 2),
        ([-1, 0], [False, True], 0),
        ([3, -1], [False, False], -1),
    ],
)
def test_unlabelled_points(instance: list[int], labelled: list[bool], expected: int) -> None:
    assert one_pillar(instance, labelled) == expected


def test_objects_with_few_points_are_void() -> None:
    """Object 1 has three points, object 2 two, object 3 one in each of two pillars."""
    frame = frame_of([1, 2, 1, 1, 2, 3, 0, 3])
    pillars = pillars_of([0, 0, 0, 1, 1, 2, 3, 3])
    expected = {1: [1, 1, 3, 3], 2: [1, 1, 3, 3], 3: [1, 1, -1, -1], 4: [-1, -1, -1, -1]}
    for min_points, labels in expected.items():
        assert make_targets(frame, pillars, min_points).instance.tolist() == labels


@pytest.mark.parametrize("outside", ["off the grid", "unlabelled"])
def test_only_labelled_points_on_the_grid_count_for_an_object(outside: str) -> None:
    labelled = [outside != "unlabelled", True, True]
    frame = frame_of([1, 1, 1], labelled)
    pillars = pillars_of([-1 if outside == "off the grid" else 0, 0, 0])
    assert make_targets(frame, pillars, 2).instance.tolist() == [1]
    assert make_targets(frame, pillars, 3).instance.tolist() == [-1]


def test_a_tie_with_an_object_of_few_points() -> None:
    """Object 1 would win the tie but is void, and void does not beat an object."""
    assert one_pillar([1, 2, 0], min_object_points=2) == -1
    frame, pillars = frame_of([1, 2, 2]), pillars_of([0, 0, 1])
    assert make_targets(frame, pillars, 2).instance.tolist() == [2, 2]


def test_points_outside_the_grid_are_ignored() -> None:
    points = np.array(
        [[0.5, 0.5, 0], [0.5, 0.5, 5], [9, 0, 0], [np.nan, 0, 0], [2.5, 3.5, 0]], np.float32
    )
    frame = Frame(
        "test",
        np.concatenate([points, np.zeros((5, 1), np.float32)], 1),
        np.array([0, 1, 1, 1, 2], np.int32),
        np.ones(5, np.bool_),
        np.zeros(2, np.int32),
        np.zeros((2, 2), np.float32),
    )
    pillars = voxelize(frame.points, GRID)
    assert pillars.cells.tolist() == [0, 2 * 4 + 3]
    assert make_targets(frame, pillars).instance.tolist() == [0, 2]


def test_classes_and_centres_are_those_of_the_frame() -> None:
    """Objects keep their numbers even if one of them has no pillars."""
    frame = frame_of([0, 3], num_objects=4)
    targets = make_targets(frame, pillars_of([0, 1]))
    assert targets.instance.tolist() == [0, 3]
    assert targets.instance.dtype == np.int32
    assert targets.classes.tolist() == [0, 1, 2, 0]
    assert targets.centres_m.tolist() == [[0, 1], [2, 3], [4, 5], [6, 7]]


@pytest.mark.parametrize("points", [0, 3])
def test_no_pillars(points: int) -> None:
    targets = make_targets(frame_of([1] * points), pillars_of([-1] * points), 2)
    assert targets.instance.shape == (0,)


@pytest.mark.parametrize("min_points", [1, 4, 7])
@pytest.mark.parametrize("seed", range(5))
def test_random_frames_match_a_loop(seed: int, min_points: int) -> None:
    rng = np.random.default_rng(seed)
    n, k, p = 200, 12, 40
    instance = rng.integers(-1, k + 1, n)
    instance[rng.random(n) < 0.4] = 0
    labelled, pillar = rng.random(n) < 0.8, rng.integers(-1, p, n)
    frame = frame_of(instance.tolist(), labelled.tolist(), k)

    seen = [(int(i), int(j)) for i, j, on in zip(instance, pillar, labelled, strict=True) if on]
    size = {i: sum(1 for a, b in seen if a == i and b >= 0) for i in range(1, k + 1)}
    expected = []
    for j in range(p):
        inside = [i if size.get(i, min_points) >= min_points else -1 for i, at in seen if at == j]
        objects = sorted(i for i in inside if i > 0)
        if objects:
            expected.append(max(objects, key=objects.count))  # the first, lowest, of the largest
        else:
            expected.append(-1 if -1 in inside or not inside else 0)

    pillars = pillars_of(pillar.tolist(), p)
    assert make_targets(frame, pillars, min_points).instance.tolist() == expected
    assert {-1, 0} < set(expected)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("instance", np.zeros(3, np.int64)),
        ("classes", np.zeros((1, 2), np.int32)),
        ("centres_m", np.zeros((3, 2), np.float32)),
        ("kind", np.zeros(2, np.int32)),
    ],
)
def test_targets_are_checked(field: str, value: np.ndarray) -> None:
    fields = {
        "instance": np.zeros(3, np.int32),
        "classes": np.zeros(2, np.int32),
        "centres_m": np.zeros((2, 2), np.float32),
        "kind": np.zeros(3, np.int32),
    }
    with pytest.raises(ValueError, match=field):
        PillarTargets(**(fields | {field: value}))
