"""Unknown things and ground points equal their NumPy references and are what one would expect."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference
from conftest import GROUND_M

from bev_instseg.cli import evaluate, segment
from bev_instseg.colours import UNKNOWN_RGB, colours_of
from bev_instseg.config import CLASSES, UNKNOWN_CLASS, Config
from bev_instseg.evaluation.class_agnostic import GroundCounts, ThingCounts
from bev_instseg.export import Cloud, ResultFiles, SweepResult, read_instances, write_result
from bev_instseg.export.points import point_records
from bev_instseg.grid import BEVGrid
from bev_instseg.jobs.summary import SweepSummary
from bev_instseg.models.network import BEVNet
from bev_instseg.ops.ground_points import find_ground
from bev_instseg.ops.unknown import CLEARANCE_M, MIN_POINTS, add_unknown, connect
from bev_instseg.ops.voxelize import voxelize
from bev_instseg.segmenter import Segmenter
from bev_instseg.structures import UNKNOWN, Instances

GRID = BEVGrid((-25.6, 25.6), (-25.6, 25.6))
NAMES = ("vehicle", "pedestrian", "cyclist")


def road(x: tuple[float, float] = (-20, 20), y: tuple[float, float] = (-20, 20)) -> np.ndarray:
    """(N, 4) points of a flat road, 0.2 m apart."""
    xy = np.stack(np.meshgrid(np.arange(*x, 0.2), np.arange(*y, 0.2)), -1).reshape(-1, 2) + 0.1
    return np.column_stack([xy, np.full(len(xy), GROUND_M), np.zeros(len(xy))]).astype(np.float32)


def block(
    x: float, y: float, size: tuple[float, float, float], bottom: float = 0.0, n: int = 400
) -> np.ndarray:
    """(n, 4) points in a block of this length, width and height, above the road."""
    rng = np.random.default_rng(0)
    xyz = rng.uniform(-0.5, 0.5, (n, 3)) * size
    xyz += (x, y, GROUND_M + bottom + size[2] / 2)
    return np.column_stack([xyz, np.zeros(n)]).astype(np.float32)


def nothing_known(num_points: int) -> Instances:
    none = np.zeros(0, np.int32)
    labels = np.zeros(num_points, np.int32)
    boxes = np.zeros((0, 7), np.float32)
    return Instances(labels, none, none.astype(np.float32), boxes, NAMES)


def found(*parts: np.ndarray) -> tuple[Instances, list[set[int]]]:
    """Group what stands on a road; return the instances and the labels of each part."""
    points = np.concatenate([road(), *parts])
    instances = add_unknown(nothing_known(len(points)), points, voxelize(points, GRID))
    ends = np.cumsum([len(points) - sum(map(len, parts)), *map(len, parts)])
    assert not instances.labels[: ends[0]].any()
    labels = np.split(instances.labels, ends[:-1])[1:]
    return instances, [set(some[some > 0].tolist()) for some in labels]


@pytest.mark.kernel
@pytest.mark.parametrize("share", [0.003, 0.03, 0.3, 1.0])
@pytest.mark.parametrize("metres", [0.0, 30.0, 120.0])
def test_connected_cells_equal_the_reference(share: float, metres: float) -> None:
    rng = np.random.default_rng(0)
    grid = BEVGrid((0.0, 6.4), (0.0, 9.6))
    for _ in range(5):
        cells = np.flatnonzero(rng.random(32 * 48) < share).astype(np.int32)
        range_m = rng.uniform(0, metres, len(cells)) if metres else np.zeros(len(cells))
        expected = reference.connect(cells, range_m, grid)
        np.testing.assert_array_equal(connect(cells, range_m, grid), expected)


@pytest.mark.kernel
@pytest.mark.parametrize("seed", range(4))
def test_unknown_and_ground_equal_the_reference(seed: int) -> None:
    rng = np.random.default_rng(seed)
    clutter = [
        block(*rng.uniform(-24, 24, 2), rng.uniform(0.05, 3, 3), rng.choice([0, 0, 0.25, 2.6]), 60)
        for _ in range(60)
    ]
    points = np.concatenate([road(), *clutter])
    points[rng.random(len(points)) < 0.02, rng.integers(3)] = np.nan
    points[::97, 0] += 30  # outside the grid
    pillars = voxelize(points, GRID)
    inside = pillars.point_to_pillar >= 0
    labels = np.where(inside & (rng.random(len(points)) < 0.05), 1, 0).astype(np.int32)
    box = np.float32([[1, 2, 0, 4, 2, 1, 0.5]])
    known = Instances(labels, np.int32([2]), np.float32([0.7]), box, NAMES)

    instances = add_unknown(known, points, pillars)
    expected = reference.add_unknown(known, points, pillars)
    assert len(expected[1]) > 20  # else the rest tests little
    np.testing.assert_array_equal(instances.labels, expected[0])
    np.testing.assert_array_equal(instances.boxes[1:], expected[1])
    np.testing.assert_array_equal(instances.boxes[:1], box)
    np.testing.assert_array_equal(instances.classes, [2] + [3] * len(expected[1]))
    assert instances.scores.tolist() == [np.float32(0.7)] + [0] * len(expected[1])
    assert instances.class_names == (*NAMES, UNKNOWN)
    assert (instances.labels[labels > 0] == 1).all()
    assert (np.diff(instances.num_points[1:]) <= 0).all()
    np.testing.assert_array_equal(
        find_ground(pillars, labels), reference.find_ground(pillars, labels)
    )


def test_posts_apart_are_two_and_a_wall_is_one() -> None:
    post = (0.15, 0.15, 2.0)
    instances, labels = found(block(8, 3, post), block(8, 5, post), block(-8, 0, (0.2, 14, 2)))
    assert len(instances) == 3
    assert len(set.union(*labels)) == 3
    assert all(len(some) == 1 for some in labels)
    (wall,) = labels[2]
    x, y, z, length, width, height, yaw_rad = instances.boxes[wall - 1]
    assert (x, y) == pytest.approx((-8, 0), abs=0.1)
    assert length == pytest.approx(14, abs=0.3)
    assert width == pytest.approx(0.2, abs=0.1)
    assert (height, z) == pytest.approx((1.7, GROUND_M + 1.15), abs=0.1)  # from 0.3 m up
    assert abs(yaw_rad) == pytest.approx(np.pi / 2, abs=0.02)


def test_a_slanting_wall_has_a_slanting_box() -> None:
    t = np.linspace(-5, 5, 500)
    wall = np.column_stack([t * np.cos(0.5), t * np.sin(0.5), GROUND_M + 1 + t / 10, t * 0])
    instances, _ = found(wall.astype(np.float32))
    assert len(instances) == 1
    assert instances.boxes[0, 3:5] == pytest.approx((10, 0), abs=0.1)
    assert instances.boxes[0, 6] == pytest.approx(0.5, abs=0.01)


def test_what_hangs_kerbs_and_small_clutter_are_left_out() -> None:
    hanging = block(5, 5, (3, 3, 1), bottom=CLEARANCE_M + 0.1)
    kerb = block(-5, 5, (4, 0.4, 0.2))
    few = block(5, -5, (0.3, 0.3, 0.5), bottom=0.35, n=MIN_POINTS - 1)
    enough = block(-5, -5, (0.1, 0.1, 0.5), bottom=0.35, n=MIN_POINTS)
    _, labels = found(hanging, kerb, few, enough)
    assert labels == [set(), set(), set(), {1}]


def test_what_hangs_above_something_belongs_to_it() -> None:
    trunk, crown = block(5, 5, (0.1, 0.1, 2)), block(5, 5, (0.1, 0.1, 1), bottom=4)
    _, labels = found(trunk, crown)
    assert labels == [{1}, {1}]


def test_gaps_grow_with_range() -> None:
    """Two cells apart: two things at 2 m, one at 45 m."""
    grid, side_m = BEVGrid((0.0, 51.2), (0.0, 6.4)), 0.2
    ny = grid.shape[1]
    for x_m, num_groups in ((2.0, 2), (45.0, 1)):
        first = int(x_m / side_m) * ny
        cells = np.array([first, first + 2 * ny], np.int32)
        groups = connect(cells, np.full(2, x_m), grid)
        assert groups.max() + 1 == num_groups


def test_grass_is_ground_and_the_foot_of_a_wall_is_not() -> None:
    grass, wall = block(5, 5, (2, 2, 0.2)), block(-5, 5, (0.1, 3, 2))
    points = np.concatenate([road(), grass, wall])
    ground = find_ground(voxelize(points, GRID), np.zeros(len(points), np.int32))
    assert ground[: -len(wall)].all()
    height = wall[:, 2] - GROUND_M
    np.testing.assert_array_equal(ground[-len(wall) :], height < 0.1)


def test_an_empty_sweep_has_neither() -> None:
    points = np.zeros((0, 4), np.float32)
    pillars = voxelize(points, GRID)
    assert len(add_unknown(nothing_known(0), points, pillars)) == 0
    assert find_ground(pillars, np.zeros(0, np.int32)).shape == (0,)


# Through every output


def sweep_with_both() -> tuple[np.ndarray, Instances]:
    """Four points: a vehicle, an unknown thing, the ground, and none of them."""
    boxes = np.float32([[1, 2, 0, 4, 2, 1, 0.5], [5, 2, 0, 1, 1, 1, 0]])
    instances = Instances(
        np.int32([1, 2, 0, 0]),
        np.int32([0, 3]),
        np.float32([0.9, 0]),
        boxes,
        (*NAMES, UNKNOWN),
        np.array([False, False, True, False]),
    )
    return np.float32([[1, 2, 0], [5, 2, 0], [7, 7, -1.7], [7, 7, 1]]), instances


def test_files_hold_unknown_things_and_ground(tmp_path: Path) -> None:
    xyz, instances = sweep_with_both()
    classes = (*CLASSES, UNKNOWN_CLASS)
    cloud = Cloud(xyz, np.zeros(4, np.float32))
    paths = write_result(tmp_path / "a", cloud, instances, classes, files=ResultFiles(("ply",)))
    words = np.fromfile(paths[0], np.uint32)
    assert words.tolist() == [1 << 16 | 10, 2 << 16 | 99, 40, 0]
    tree = json.loads(paths[-1].read_text())
    assert tree["num_ground_points"] == 1
    assert [one["class"] for one in tree["instances"]] == ["vehicle", UNKNOWN]

    read = read_instances(paths[0], paths[-1])
    assert read.ground is not None
    assert instances.ground is not None
    np.testing.assert_array_equal(read.ground, instances.ground)
    np.testing.assert_array_equal(read.labels, instances.labels)
    np.testing.assert_array_equal(read.classes, instances.classes)
    records = point_records(cloud, instances, classes)
    assert records["class"].tolist() == [10, 99, 40, 0]
    assert records["instance"].tolist() == [1, 2, 0, 0]
    summary = SweepSummary.of("a", SweepResult.read(paths[-1]))
    assert summary.num_instances[UNKNOWN] == 1
    assert summary.doubtful_classes == ()

    words[3] = 40  # one more point on the ground
    words.tofile(paths[0])
    with pytest.raises(ValueError, match="points on the ground"):
        read_instances(paths[0], paths[-1])


def test_unknown_things_have_their_own_colour_and_no_score() -> None:
    _, instances = sweep_with_both()
    colours = colours_of(instances)
    assert tuple(colours[1]) == UNKNOWN_RGB
    np.testing.assert_array_equal(colours[0], colours_of(instances.known())[0])
    assert [one.title for one in instances] == ["vehicle 0.90", UNKNOWN]
    assert instances.known().class_names == NAMES
    assert instances.known().labels.tolist() == [1, 0, 0, 0]


def test_the_command_writes_them(sweeps: Path, weights: str, tmp_path: Path) -> None:
    post = block(6, 6, (0.2, 0.2, 2))
    points = np.concatenate([np.fromfile(sweeps / "a.bin", np.float32).reshape(-1, 4), post])
    points.tofile(sweeps / "a.bin")
    never = tmp_path / "never.yaml"
    never.write_text("cluster: {score_threshold: 1.0}\n")  # nothing is known
    command = [str(sweeps), "--weights", weights, "--config", str(never), "--out"]
    plain, extras, tiles = tmp_path / "plain", tmp_path / "extras", tmp_path / "tiles"
    assert segment.main([*command, str(plain)]) == 0
    assert not np.fromfile(plain / "a.label", np.uint32).any()
    more = ["--unknown", "--ground", "--png", "--maps"]
    assert segment.main([*command, str(extras), *more]) == 0
    words = np.fromfile(extras / "a.label", np.uint32)
    assert set((words & 0xFFFF).tolist()) == {0, 40, 99}
    standing = words[-len(post) :][post[:, 2] > GROUND_M + 0.4]
    assert len(set(standing.tolist())) == 1
    assert standing[0] & 0xFFFF == 99
    assert (words[: -len(post)] == 40).sum() > 1000  # the road
    assert "unknown_instances" in (extras / "summary.csv").read_text().splitlines()[0]
    assert segment.main([*command, str(tiles), *more[:2], "--tiles"]) == 0
    np.testing.assert_array_equal(np.fromfile(tiles / "a.label", np.uint32), words)
    # Results of other settings are not taken for those of these.
    assert segment.main([*command, str(extras), "--ground"]) == 0
    assert set((np.fromfile(extras / "a.label", np.uint32) & 0xFFFF).tolist()) == {0, 40}


@pytest.mark.parametrize(
    ("change", "extra"), [({"label": 99}, "unknown"), ({"label": 40}, "ground")]
)
def test_a_class_that_clashes_is_refused(
    change: dict[str, Any], extra: str, model: BEVNet, config: Config
) -> None:
    segmenter = Segmenter(model, config, "cpu")
    other = replace(config, classes=(replace(config.classes[0], **change), *config.classes[1:]))
    with pytest.raises(ValueError, match=f"leave out {extra}"):
        segmenter.with_config(other).with_extras(**{extra: True})
    with pytest.raises(ValueError, match=f"leave out {extra}"):
        segmenter.with_extras(**{extra: True}).with_config(other)


# Scores without classes


def test_ground_is_scored_with_and_without_vegetation() -> None:
    points = np.zeros((7, 4), np.float32)
    points[6, 0] = 51  # too far
    words = np.uint32([40, 72, 48, 70, 50, 0, 40])
    counts = GroundCounts()
    counts.add(points, words, np.array([1, 1, 0, 1, 1, 1, 1], bool))
    assert counts.precision == 2 / 4
    assert counts.precision_without_plants == 2 / 3
    assert counts.recall == 2 / 3
    nothing = GroundCounts()
    shares = nothing.precision, nothing.precision_without_plants, nothing.recall
    assert np.isnan(shares).all()


def test_things_are_matched_and_covered() -> None:
    """A car in halves, a whole person, a pole of two pieces, one of them lost; a small car."""
    parts = [
        *((10 | 1 << 16, 20, 0, [1, 2]), (30 | 2 << 16, 10, 3, [3]), (80, 12, 6, [4])),
        *((80, 12, 9, [0]), (10 | 3 << 16, 9, 12, [5])),
    ]
    words = np.repeat(*np.transpose([(word, n) for word, n, _, _ in parts])).astype(np.uint32)
    x = np.repeat(*np.transpose([(x, n) for _, n, x, _ in parts]))
    labels = np.concatenate([np.repeat(ls, n // len(ls)) for _, n, _, ls in parts])
    points = np.column_stack([x, x * 0, x * 0, x * 0]).astype(np.float32)
    counts = ThingCounts()
    counts.add(points, words, labels.astype(np.int32))
    of = ("vehicle", "person", "pole")
    assert [counts.there[kind] for kind in of] == [1, 1, 2]
    assert [counts.matched[kind] for kind in of] == [0, 1, 1]
    assert [counts.covered[kind] for kind in of] == [1, 1, 1]


def test_evaluate_prints_both_tables(
    semantickitti_root: Path, weights: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["--data", str(semantickitti_root), "--sequences", "00", "--weights", weights]
    assert evaluate.main([*command, "--unknown"]) == 0
    printed = capsys.readouterr().out
    assert "| ground, % of points |" in printed
    assert "| covered: ours with unknown objects |" in printed
    assert "vehicle (3)" in printed
    for option in ("--sequence", "--errors"):
        more = [] if option == "--sequence" else ["errors"]
        assert evaluate.main([*command, "--unknown", option, *more]) == 2
