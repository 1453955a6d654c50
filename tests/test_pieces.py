"""Long objects: cut into pieces for training, joined again after clustering."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import reference
import torch
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components

from bev_instseg.config import Config
from bev_instseg.export.read_back import instances_of
from bev_instseg.export.sweep_result import SweepResult
from bev_instseg.models.network import BEVNet
from bev_instseg.ops.boxes import oriented_boxes
from bev_instseg.ops.course import course, with_courses
from bev_instseg.ops.join import MAX_GAP_M, join_pieces
from bev_instseg.ops.voxelize import voxelize
from bev_instseg.segmenter import Segmenter
from bev_instseg.structures import Clusters, Instances, PillarEmbeddings
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
        ((8.0, 0.7, 0.0, 3.0, LONG), 1),  # a little aside
        ((0.5, 1.2, 0.0, 3.0, LONG), 2),  # parallel
        ((0.5, 0.5, 0.0, 3.0, LONG), 2),
        ((0.5, 0.25, 0.0, 3.0, LONG), 1),  # the other stripe of a double line
        ((8.0, 0.0, 0.0, 3.0, ROUND), 2),  # another class
    ],
)
def test_what_continues_a_piece(line: Line, expected: int) -> None:
    assert groups((0.0, 0.0, 0.0, 3.0, LONG), line) == [1, expected]


@pytest.mark.kernel
def test_joining_agrees_with_the_reference() -> None:
    """Random pieces on a small place, many of them in line; every group of linked pieces."""
    joined = 0
    for seed in range(30):
        rng = np.random.default_rng(seed)
        count, headings = rng.integers(2, 40), rng.uniform(0, np.pi, 3)
        lines = [
            (
                *rng.uniform(-15, 15, 2),
                rng.choice(headings) + rng.normal(0, 0.05),
                rng.uniform(0.4, 6),
                rng.integers(2),
            )
            for _ in range(count)
        ]
        clusters, embeddings, xy = pieces(*lines)
        links = reference.piece_links(clusters, embeddings, xy)
        group = connected_components(links, directed=False)[1]
        found = join_pieces(clusters, embeddings, xy, np.array([True, True]))
        np.testing.assert_array_equal(found.labels, np.append(0, group + 1)[clusters.labels])
        joined += count - len(found.classes)
    assert joined > 50


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
    classes, kind = np.array([LONG, ROUND], np.int32), np.arange(len(xy), dtype=np.int32)
    return PillarTargets(instance, classes, centres, kind), xy


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


# ------------------------------------------------------------------------------ courses


def along_curve(angles: NDArray[np.float64], radius_m: float, seed: int) -> NDArray[np.float32]:
    """Return points on a circle about the origin, within 5 cm of it."""
    rng = np.random.default_rng(seed)
    radii = radius_m + rng.uniform(-0.05, 0.05, len(angles))
    xyz = np.column_stack([radii * np.cos(angles), radii * np.sin(angles), 0.1 * angles])
    return xyz.astype(np.float32)[rng.permutation(len(xyz))]


@pytest.mark.parametrize("span", [0.5, 2.0, 3.5])
def test_a_course_follows_a_curve_from_end_to_end(span: float) -> None:
    angles = np.linspace(-span / 2, span / 2, 1500)
    line = course(along_curve(angles, 20.0, 0))
    assert line.dtype == np.float32
    radii = np.hypot(*line[:, :2].T)
    assert np.abs(radii - 20).max() < 0.1
    assert np.hypot(*np.diff(line[:, :2], axis=0).T).sum() == pytest.approx(20 * span, rel=0.05)
    angle = np.arctan2(line[:, 1], line[:, 0])
    forward_m = 20 * np.diff(angle) * np.sign(angle[-1] - angle[0])
    assert forward_m.min() > -0.1
    np.testing.assert_allclose(line[:, 2], 0.1 * angle, atol=0.01)


def test_a_course_bridges_the_gaps_between_dashes_and_leaves_out_branches() -> None:
    x = np.concatenate([np.arange(start, start + 3, 0.05) for start in (0.0, 9.0, 18.0)])
    dashes = np.column_stack([x, np.full(len(x), 2.1), np.zeros(len(x))])
    branch = np.column_stack([np.full(20, 10.1), 2.1 + np.arange(20) * 0.05, np.zeros(20)])
    line = course(np.concatenate([dashes, branch]).astype(np.float32))
    assert line[0, 0] < 0.5
    assert line[-1, 0] > 20.5
    assert (np.diff(line[:, 0]) > 0).all()
    np.testing.assert_allclose(line[:, 1], 2.1, atol=0.35)  # one vertex is shared with the branch


@pytest.mark.kernel
@pytest.mark.parametrize("seed", range(20))
def test_courses_agree_with_the_reference(seed: int) -> None:
    """Crooked lines with gaps and branches."""
    rng = np.random.default_rng(seed)
    steps = rng.normal(0, rng.uniform(0.05, 1.5), (rng.integers(1, 400), 3)).astype(np.float32)
    points = np.cumsum(steps * np.float32([1, 1, 0.01]), axis=0, dtype=np.float32)
    np.testing.assert_allclose(course(points), reference.course(points), rtol=0, atol=1e-5)


def test_a_course_of_a_single_point_is_that_point() -> None:
    point = np.array([[3.0, -2.0, 0.5, 0.9]], np.float32)
    np.testing.assert_array_equal(course(point), point[:, :3])


def test_the_box_of_a_line_lies_along_it() -> None:
    """Two groups of points 10 m apart: an L-shape fits them at opposite corners of a square."""
    rng = np.random.default_rng(0)
    ends = np.array([[0.0, 0.0], [7.0, 7.0]])
    xy = ends[rng.integers(2, size=40)] + rng.normal(0, 0.05, (40, 2))
    points = np.column_stack([xy, np.zeros((40, 2))]).astype(np.float32)
    one, box = np.ones(40, np.int32), np.float32([[3.5, 3.5, 0, 7, 7, 0, 0]])
    line = Instances(one, np.zeros(1, np.int32), np.ones(1, np.float32), box, ("line",))
    ((*_, length, width, _, yaw),) = with_courses(line, points, (True,)).boxes
    assert length == pytest.approx(np.hypot(7, 7), abs=0.4)
    assert width < 0.4
    assert yaw == pytest.approx(np.pi / 4, abs=0.03)
    np.testing.assert_array_equal(with_courses(line, points, (False,)).boxes, box)


def test_courses_are_in_the_json_and_read_back() -> None:
    points = np.zeros((60, 4), np.float32)
    points[:, 0] = np.linspace(0, 12, 60)
    labels = np.repeat([1, 2], 30).astype(np.int32)
    classes = np.array([LONG, ROUND], np.int32)
    boxes = oriented_boxes(points, labels, 2)
    plain = Instances(labels, classes, np.ones(2, np.float32), boxes, ("line", "car"))
    found = with_courses(plain, points, (True, False))
    assert found.courses_m[1] is None
    assert len(found.courses_m[0]) > 10
    assert found.take(np.array([1])).courses_m == (None,)
    result = SweepResult.parse(SweepResult.of(found).to_bytes(), "sweep.json")
    assert result == SweepResult.of(found)
    again = instances_of(result.instances, result.class_names, labels)
    np.testing.assert_allclose(again.courses_m[0], found.courses_m[0], atol=1e-3)
    assert again.courses_m[1] is None
    assert b"course_m" not in SweepResult.of(plain).to_bytes()
    assert instances_of(SweepResult.of(plain).instances, plain.class_names, labels).courses_m == ()


def test_lines_may_pass_under_the_sensor_and_get_courses(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line through the sensor is no ego vehicle; without pieces it would be one."""
    points = np.zeros((400, 4), np.float32)
    points[:, 0] = np.linspace(-8, 8, 400)
    points[:, 1] = np.where(np.arange(400) % 4 < 2, 0.1, -0.1)
    points[:, 2] = np.where(np.arange(400) % 2, 0.3, 0)
    pillars = voxelize(points, config.grid)
    count = len(pillars.cells)
    clusters = Clusters(
        np.ones(count, np.int32), *(np.zeros(1, t) for t in (np.int32, np.float32, np.int32))
    )
    for piece_m, expected in ((0.0, 0), (8.0, 1)):
        kind = replace(config.classes[0], piece_m=piece_m)
        changed = replace(config, classes=(kind, *config.classes[1:]))
        torch.manual_seed(0)
        found = Segmenter(BEVNet(changed), changed, "cpu").assemble(points, pillars, clusters)
        assert len(found) == expected
        assert len(found.courses_m) == expected
