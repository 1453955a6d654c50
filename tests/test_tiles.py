"""Maps larger than the grid: every point is looked at once, and seams leave no trace."""

import dataclasses

import numpy as np
import pytest
import torch
from conftest import ROOT, STREETS, street

from bev_instseg import Segmenter, SweepResult, segment_tiles
from bev_instseg.cli.segment import main
from bev_instseg.config import ClusterConfig
from bev_instseg.evaluation.metrics import Evaluator
from bev_instseg.grid import BEVGrid
from bev_instseg.models.network import BEVNet
from bev_instseg.ops.off_grid import off_grid_notice
from bev_instseg.ops.voxelize import FEATURES, on_grid, voxelize
from bev_instseg.structures import Frame
from bev_instseg.tiles import MIN_OVERLAP_M, _own_points, _visible, tile_step_cells
from bev_instseg.tracking.tracker import Tracker
from bev_instseg.visualize import square_around

DEMO = ROOT / "demo" / "sequences" / "00"
CLASS_OF = {10: 0, 13: 0, 18: 0, 20: 0, 30: 1, 31: 2, 32: 2}  # of SemanticKITTI's numbers
INNER_M = 6.4  # half the side of the inner part of a tile of the tiny grid


@pytest.fixture
def tiny(tiny_config, one_thread):
    """An untrained segmenter of 25.6 m x 25.6 m, with thresholds at which it finds something."""
    torch.manual_seed(0)
    config = dataclasses.replace(tiny_config, cluster=ClusterConfig(0.0, 0.0, 0.0))
    return Segmenter(BEVNet(config), config, "cpu")


def town(*, seed=0):
    """Return points on a plain of 64 m x 38 m, with walls on it."""
    rng = np.random.default_rng(seed)
    ground = rng.uniform((-20, -25, -1.72, 0.2), (44, 13, -1.68, 0.4), (12000, 4))
    walls = rng.uniform((0, 0, -1.7, 0.2), (0.4, 3, 0.3, 0.9), (20, 150, 4))
    walls[:, :, :2] += rng.uniform((-19, -24), (43, 10), (20, 1, 2))
    return np.concatenate([ground, walls.reshape(-1, 4)]).astype(np.float32)


def test_a_tile_shows_more_than_half_a_lorry_around_each_of_its_points():
    grid = Segmenter.from_pretrained(device="cpu").config.grid
    step = np.array(tile_step_cells(grid))
    assert (((np.array(grid.shape) - step) * grid.cell_m) >= MIN_OVERLAP_M).all()
    assert MIN_OVERLAP_M > 18.75  # the longest vehicles on European roads
    assert (step % 32 == 0).all()


@pytest.mark.parametrize("rise_m", [0, 4.5])
def test_inner_part_of_the_grids_own_tile_is_the_usual_result(tiny, rise_m):
    points = town() + np.float32([0, 0, rise_m, 0])
    usual, tiled = tiny.segment_with_maps(points), segment_tiles(tiny, points)
    inner = np.flatnonzero((np.abs(points[:, :2]) < INNER_M - 0.01).all(axis=1))
    assert len(inner) > 500
    ours, theirs = usual.pillars.point_to_pillar[inner], tiled.pillars.point_to_pillar[inner]
    for name in ("centre_m", "precision", "seed"):
        expected = getattr(usual.embeddings, name)[ours]
        np.testing.assert_array_equal(getattr(tiled.embeddings, name)[theirs], expected)
    np.testing.assert_array_equal(
        tiled.pillars.point_height_m[inner], usual.pillars.point_height_m[inner]
    )
    np.testing.assert_array_equal(tiled.pillars.features[theirs], usual.pillars.features[ours])


@pytest.mark.parametrize("place", [(0, 0), (1, -1)])
@pytest.mark.parametrize("cells", [128, 160])
def test_a_tile_of_a_small_grid_shows_all_of_its_points(cells, place):
    side_m = 0.1 * cells
    grid = BEVGrid((-side_m, side_m), (-side_m, side_m), (-5.0, 5.0), 0.2)
    points = town()
    numbers, _ = _visible(points, _own_points(points, grid), place, grid)
    middle_m = 0.2 * np.multiply(place, tile_step_cells(grid))
    inside = (np.abs(points[:, :2] - middle_m) < side_m).all(axis=1)
    np.testing.assert_array_equal(numbers, np.flatnonzero(inside))


def poles(x_m):
    """Return 6 poles in a row, 4 m apart, on a patch of ground, 60 points each."""
    rng = np.random.default_rng(0)
    pole = rng.uniform((0, 0, -1.3, 0.2), (0.1, 0.1, 0.3, 0.4), (6, 30, 4))
    ground = rng.uniform((-0.5, -0.5, -1.72, 0.2), (0.5, 0.5, -1.68, 0.4), (6, 30, 4))
    points = np.concatenate([pole, ground], axis=1)
    points[:, :, 0] += x_m
    points[:, :, 1] += 4 * np.arange(6)[:, None]
    return points.reshape(-1, 4).astype(np.float32)


@pytest.mark.parametrize("x_m", [6.0, 1000.0, 5000.0])
def test_unknown_objects_are_the_same_wherever_the_origin_is(tiny, x_m):
    strict = [dataclasses.replace(kind, min_points=1000) for kind in tiny.config.classes]
    config = dataclasses.replace(tiny.config, classes=tuple(strict))
    segmenter = tiny.with_config(config).with_extras(unknown=True, ground=True)
    instances = segment_tiles(segmenter, poles(x_m)).instances
    assert len(instances) == 6
    assert instances.ground.sum() > 100


def test_points_beyond_any_tile_are_reported(tiny):
    with pytest.warns(UserWarning, match="100% of the points are outside .* get no label"):
        segment_tiles(tiny, town() + np.float32([12_000, 15_000, 0, 0]))


def test_each_point_is_in_the_pillar_of_its_cell(tiny):
    points = town()
    pillars = segment_tiles(tiny, points).pillars
    assert (pillars.point_to_pillar >= 0).all()
    centre_m = pillars.centres_m[pillars.point_to_pillar]
    assert (np.abs(points[:, :2] - centre_m) < pillars.grid.cell_m / 2 + 1e-4).all()
    assert (np.diff(pillars.cells) > 0).all()  # no cell is in two tiles
    count = np.bincount(pillars.point_to_pillar)
    np.testing.assert_array_equal(pillars.features[:, 0], count)  # no point twice


def test_height_of_the_ground_may_vary(tiny):
    low = town()
    high = low.copy()
    high[:, :3] += np.array([100, 0, 40], np.float32)
    both = segment_tiles(tiny, np.concatenate([low, high]))
    alone = segment_tiles(tiny, low)
    assert (both.pillars.point_to_pillar >= 0).all()
    heights = both.pillars.point_height_m.reshape(2, -1)
    np.testing.assert_array_equal(heights[0], alone.pillars.point_height_m)
    np.testing.assert_allclose(np.median(heights[1]), np.median(heights[0]), atol=0.01)


def test_stray_points_get_no_label_and_do_not_enlarge_the_area(tiny):
    points = town()
    strays = np.float32(
        [[np.nan, 0, 0, 0], [0, np.inf, 0, 0], [1e30, 0, 0, 0], [5000, 7000, 0, 0], [0, 0, 9000, 0]]
    )
    alone, together = segment_tiles(tiny, points), segment_tiles(tiny, np.vstack([points, strays]))
    assert together.pillars.grid == alone.pillars.grid
    assert (together.pillars.point_to_pillar[-len(strays) :] == -1).all()
    np.testing.assert_array_equal(together.instances.labels[: len(points)], alone.instances.labels)
    assert not together.instances.labels[len(points) :].any()


def test_no_points(tiny):
    result = segment_tiles(tiny, np.zeros((0, 4), np.float32))
    assert len(result.instances) == 0
    assert result.pillars.grid == tiny.config.grid


def test_too_large_an_area_is_refused_before_anything_is_computed(tiny, monkeypatch):
    monkeypatch.setattr(Segmenter, "infer", None)
    monkeypatch.setattr("bev_instseg.tiles.MAX_CELLS", 10**9)
    corner = np.full((20, 4), 8900, np.float32)
    with pytest.raises(ValueError, match=r"17\.\d x 17\.\d km, too large an area .* cut the map"):
        segment_tiles(tiny, np.concatenate([corner, -corner * np.float32([1, 1, -1, 1])]))


def test_wrong_shape_is_refused(tiny):
    with pytest.raises(ValueError, match="points must be float32"):
        segment_tiles(tiny, np.zeros((5, 3), np.float32))


@pytest.fixture(scope="module")
def trained():
    """The shipped weights in float32, the same on every processor up to the last bits."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bev_instseg.engines.torch_engine.native_dtype", lambda device: torch.float32)
        return Segmenter.from_pretrained(device="cpu")


def bundled_street(shift_m):
    """Return 60 m of the bundled street, moved along x, with its objects."""
    points = np.fromfile(DEMO / "velodyne" / "000000.bin", "<f4").reshape(-1, 4)
    labels = np.fromfile(DEMO / "labels" / "000000.label", "<u4")
    near = (np.abs(points[:, :2]) < 30).all(axis=1)
    points, labels = points[near], labels[near]
    points[:, 0] += np.float32(shift_m)
    things, instance = np.unique(np.where(labels >> 16, labels, 0), return_inverse=True)
    return Frame(
        f"moved by {shift_m} m",
        points,
        instance.astype(np.int32),
        np.ones(len(points), np.bool_),
        np.array([CLASS_OF[thing & 0xFFFF] for thing in things[1:].tolist()], np.int32),
        np.zeros((len(things) - 1, 2), np.float32),
    )


@pytest.mark.parametrize("shift_m", [0.0, 30.0, 38.4, 45.0])
def test_objects_are_found_once_and_whole_wherever_the_seam_is(shift_m, trained):
    frame = bundled_street(shift_m)
    instances = segment_tiles(trained, frame.points).instances
    evaluator = Evaluator(trained.config.class_names, max_range_m=1000)
    evaluator.add(frame, instances)
    result = evaluator.result().per_class
    vehicles, people, cyclists = (result[name] for name in trained.config.class_names)
    assert (vehicles.tp, vehicles.fp) == (15, 0)
    assert vehicles.sq > 0.97
    assert people.tp >= 3  # of 5; the scores of two are close to the threshold
    assert cyclists.tp == 3
    assert people.fp + cyclists.fp <= 2
    assert sum(kind.fp_fragment for kind in result.values()) == 0
    for number in range(1, len(frame.classes) + 1):
        shares = np.bincount(instances.labels[frame.instance == number])[1:]
        assert (shares >= 10).sum() <= 1


def test_many_points_off_the_grid_are_reported(tiny):
    points = street(STREETS["b"])[0]
    grid = tiny.config.grid
    assert off_grid_notice(points, voxelize(points, grid)) == ""
    for share, far in ((0.2, ""), (0.6, "60%"), (1.0, "100%")):
        moved = points.copy()
        moved[: round(share * len(points)), 0] += 500
        missing = np.float32([[0, 0, 0, 0], [np.nan, 0, 0, 0]]).repeat(len(points), axis=0)
        missing[::3, :3] = 1e30
        missing[1::3, :2] = -9999
        swept = np.concatenate([moved, missing])
        notice = off_grid_notice(swept, voxelize(swept, grid))
        assert notice.startswith(far)
        assert bool(notice) == bool(far)
        if far:
            assert "outside the 26 x 26 x 10 m around the sensor" in notice
            with pytest.warns(UserWarning, match="segment_tiles segments them too"):
                tiny.segment(swept)
            with pytest.warns(UserWarning, match="outside the 26 x 26 x 10 m around the sensor"):
                Tracker(tiny).update(swept, 0.0, np.eye(4))
    on_a_map = points + np.float32([691_000, 5_330_000, 0, 0])
    assert off_grid_notice(on_a_map, voxelize(on_a_map, grid)).startswith("100%")


def test_ranges_are_those_from_the_origin(tiny):
    """The network is told shorter ones on other tiles, but unknown things are grouped by them."""
    pillars = segment_tiles(tiny, town()).pillars
    range_m = pillars.features[:, FEATURES.index("range_m")]
    np.testing.assert_allclose(range_m, np.hypot(*pillars.centres_m.T), rtol=1e-5)
    assert range_m.max() > 40


def test_the_command_segments_what_is_outside_the_grid_on_request(tmp_path, weights, capsys):
    sweep, out = tmp_path / "map.bin", tmp_path / "out"
    points = town()
    points.tofile(sweep)
    command = [str(sweep), "--out", str(out), "--weights", weights, "--format", "xyzi"]

    assert main(command) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "% of the points are outside the 26 x 26 x 10 m around the sensor" in said
    assert "--tiles segments them too, --origin X Y Z says where the sensor was" in said
    first = SweepResult.read(out / "map.json")
    assert any("outside the 26 x 26 x 10 m" in notice for notice in first.provenance.notices)
    outside = ~on_grid(points, first.provenance.grid)
    labels = np.fromfile(out / "map.label", "<u4")
    assert not labels[outside].any()

    assert main([*command, "--tiles", "--png"]) == 0
    assert "outside" not in capsys.readouterr().err
    second = SweepResult.read(out / "map.json")
    assert second.provenance.settings != first.provenance.settings
    assert on_grid(points, second.provenance.grid).all()
    labels = np.fromfile(out / "map.label", "<u4")
    assert labels[outside].any()
    assert (out / "map.png").stat().st_size > 0
    for one in second.instances:  # boxes are where their points are
        own = points[labels >> 16 == one.id]
        assert (np.abs(own[:, :2].mean(axis=0) - one.centre_m[:2]) < 2).all()

    assert main([*command, "--tiles", "--maps"]) == 2
    assert "leave out --maps or --tiles" in capsys.readouterr().err


def test_the_picture_of_a_map_shows_all_of_it(tiny):
    pillars = segment_tiles(tiny, town() + np.float32([500, 0, 0, 0])).pillars
    assert len(pillars.cells) > 1000
    assert square_around(pillars) == (pytest.approx(50), pytest.approx((512, -6), abs=0.5))
    wide = np.concatenate([town(), town() + np.float32([500, 0, 0, 0])])
    range_m, middle_m = square_around(segment_tiles(tiny, wide).pillars)
    assert range_m == pytest.approx(282, abs=1)
    assert middle_m == pytest.approx((262, -6), abs=1)
