"""Long objects: cut into pieces for training, joined again after clustering."""

from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from bev_instseg.ops.join import MAX_GAP_M, join_pieces
from bev_instseg.structures import Clusters, PillarEmbeddings
from bev_instseg.training.pieces import SHORTEST, cut_into_pieces
from bev_instseg.training.targets import PillarTargets

LONG, ROUND = 0, 1  # classes
Line = tuple[float, float, float, float, int]  # x, y of the middle, heading, length, class


def pieces(*lines: Line) -> tuple[Clusters, PillarEmbeddings, NDArray[np.float32]]:
    """Return a cluster of pillars 0.2 m apart for each straight line."""
    xy, labels, headings = [], [], []
    for number, (x, y, heading, length, _) in enumerate(lines, 1):
        along = np.arange(-length / 2, length / 2, 0.2)
        xy.append(np.column_stack([x + along * np.cos(heading), y + along * np.sin(heading)]))
        labels.append(np.full(len(along), number))
        headings.append(np.full(len(along), heading))
    heading = np.concatenate(headings)
    direction = np.stack([-np.sin(heading), np.cos(heading)])  # across: the precision is high there
    precision = np.stack([direction[0] ** 2, direction[0] * direction[1], direction[1] ** 2], 1)
    centres = np.concatenate(xy).astype(np.float32)
    number = np.concatenate(labels).astype(np.int32)
    first = np.searchsorted(number, np.arange(1, len(lines) + 1)).astype(np.int32)
    classes = np.array([line[4] for line in lines], np.int32)
    scores = np.linspace(0.9, 0.5, len(lines)).astype(np.float32)
    embeddings = PillarEmbeddings(
        centres,
        (30 * precision + [0.02, 0, 0.02]).astype(np.float32),
        np.full((len(centres), 2), 0.9, np.float32),
    )
    return Clusters(number, classes, scores, first), embeddings, centres


def groups(*lines: Line) -> list[int]:
    """Return the number of the object that each line belongs to after joining."""
    clusters, embeddings, xy = pieces(*lines)
    joined = join_pieces(clusters, embeddings, xy, np.array([True, False]))
    return joined.labels[clusters.openers].tolist()


def test_dashes_of_one_line_are_joined_and_lines_beside_are_not() -> None:
    one = [(x, 0.0, 0.0, 3.0, LONG) for x in (-18, -9, 0, 9)]
    other = [(x, 3.3, 0.0, 3.0, LONG) for x in (-15, -6, 3, 12)]
    assert groups(*one, *other) == [1, 1, 1, 1, 2, 2, 2, 2]
    assert groups(*(pair for both in zip(one, other, strict=True) for pair in both)) == [1, 2] * 4


@pytest.mark.parametrize("turn", [0.0, 0.7, np.pi / 2, 2.0, 3.1])
def test_a_curve_is_joined_at_any_heading(turn: float) -> None:
    angles = np.arange(0, 1.2, 0.14)  # on a circle of 50 m, pieces of 6.5 m
    lines = [
        (50 * np.cos(a + turn), 50 * np.sin(a + turn), a + turn + np.pi / 2, 6.5, LONG)
        for a in angles
    ]
    assert groups(*lines) == [1] * len(lines)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ((8.0, 0.0, 0.0, 3.0, LONG), 1),
        ((8.0, 0.0, np.pi, 3.0, LONG), 1),  # an axis has no front
        ((8.0, 0.3, 0.0, 3.0, LONG), 1),
        ((8.0, 1.2, 0.0, 3.0, LONG), 2),  # beside the line
        ((8.0, 0.0, 0.5, 3.0, LONG), 2),  # another direction
        ((3.2 + MAX_GAP_M, 0.0, 0.0, 3.0, LONG), 2),  # too far
        ((2.0 + MAX_GAP_M, 0.0, 0.0, 3.0, LONG), 1),
        ((0.5, 1.2, 0.0, 3.0, LONG), 2),  # parallel
        ((0.5, 0.25, 0.0, 3.0, LONG), 1),  # the other stripe of a double line
        ((8.0, 0.0, 0.0, 3.0, ROUND), 2),  # another class
    ],
)
def test_what_continues_a_piece(line: Line, expected: int) -> None:
    assert groups((0.0, 0.0, 0.0, 3.0, LONG), line) == [1, expected]


def test_classes_that_are_whole_are_left_alone() -> None:
    assert groups(*[(x, 0.0, 0.0, 3.0, ROUND) for x in (0, 4, 8)]) == [1, 2, 3]


def test_a_joined_object_has_the_mean_score_and_the_first_opener() -> None:
    clusters, embeddings, xy = pieces(
        (0, 0, 0, 2.0, LONG), (30, 30, 0, 4.0, ROUND), (5, 0, 0, 6.0, LONG)
    )
    joined = join_pieces(clusters, embeddings, xy, np.array([True, False]))
    assert joined.classes.tolist() == [LONG, ROUND]
    assert joined.openers.tolist() == clusters.openers[:2].tolist()
    assert joined.scores == pytest.approx([(10 * 0.9 + 30 * 0.5) / 40, 0.7])
    np.testing.assert_array_equal(joined.labels, np.array([0, 1, 2, 1])[clusters.labels])


def line_targets(length_m: float, heading: float) -> tuple[PillarTargets, NDArray[np.float32]]:
    """Return a line of pillars 0.2 m apart as object 1, and a round object 2 of another class."""
    along = np.arange(0, length_m, 0.2)
    line = np.column_stack([np.cos(heading) * along, np.sin(heading) * along])
    xy = np.concatenate([line, np.random.default_rng(0).normal(40, 1, (30, 2))]).astype(np.float32)
    instance = np.repeat([1, 2], [len(along), 30]).astype(np.int32)
    centres = np.array([[1, 2], [40, 40]], np.float32)
    return PillarTargets(instance, np.array([LONG, ROUND], np.int32), centres), xy


@pytest.mark.parametrize("heading", [0.0, 1.0, 2.5])
@pytest.mark.parametrize("length_m", [3.0, 9.0, 25.0, 60.0])
def test_pieces_are_consecutive_and_about_as_long_as_they_should_be(
    heading: float, length_m: float
) -> None:
    targets, xy = line_targets(length_m, heading)
    for seed in range(10):
        cut = cut_into_pieces(targets, xy, np.array([8.0, 0.0]), np.random.default_rng(seed))
        line = targets.instance == 1
        along = np.hypot(*xy[line].T)
        numbers = np.unique(cut.instance[line])
        lengths = [np.ptp(along[cut.instance[line] == number]) for number in numbers]
        assert len(numbers) == (1 if length_m < 8 * 2 * SHORTEST else len(numbers))
        assert max(lengths) < 8 * (1 + SHORTEST) + 0.4
        if length_m > 8 * (1 + 2 * SHORTEST):
            assert min(lengths) > 8 * SHORTEST - 0.4
            assert len(numbers) >= 2
        spans = sorted(
            (min(own), max(own)) for own in (along[cut.instance[line] == n] for n in numbers)
        )
        assert all(one[1] < other[0] for one, other in pairwise(spans))
        assert cut.classes[numbers - 1].tolist() == [LONG] * len(numbers)
        np.testing.assert_array_equal(cut.instance[~line], 2)
        for number in numbers if len(numbers) > 1 else ():
            middle = xy[cut.instance == number].mean(axis=0)
            np.testing.assert_allclose(cut.centres_m[number - 1], middle, atol=1e-4)


def test_cuts_are_at_random_places() -> None:
    targets, xy = line_targets(30.0, 0.0)
    first = set()
    for seed in range(20):
        cut = cut_into_pieces(targets, xy, np.array([8.0, 0.0]), np.random.default_rng(seed))
        first.add(int(np.flatnonzero(np.diff(cut.instance[targets.instance == 1]))[0]))
    assert len(first) > 10


def test_nothing_is_cut_without_a_length() -> None:
    targets, xy = line_targets(60.0, 0.0)
    cut = cut_into_pieces(targets, xy, np.zeros(2), np.random.default_rng(0))
    np.testing.assert_array_equal(cut.instance, targets.instance)
    np.testing.assert_array_equal(cut.centres_m, targets.centres_m)
