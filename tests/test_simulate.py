"""The simulator: labels, geometry, reproducibility, layouts, sensors and the command."""

import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bev_instseg.cli import simulate
from bev_instseg.datasets.semantickitti import frame_paths
from bev_instseg.exceptions import KittiError
from bev_instseg.io.labels import read_labels
from bev_instseg.io.sweep import read_scan
from bev_instseg.simulate import HDL64, SENSOR_MODELS, THINGS, read_layouts, simulate_sweep
from bev_instseg.simulate.kitti_layouts import place_layout
from bev_instseg.simulate.markings import KERB, LANE_MARKING
from bev_instseg.simulate.meshes import fitted
from bev_instseg.simulate.people import pedestrian
from bev_instseg.simulate.street_builder import PERSON, StreetBuilder
from bev_instseg.simulate.street_kinds import OLD_TOWN, YARD
from bev_instseg.simulate.street_plan import StreetPlan
from bev_instseg.simulate.vehicles import car

ROOT = Path(__file__).resolve().parent.parent
COARSE = replace(HDL64, azimuths=260)
ROAD, SIDEWALK, TERRAIN = 40, 48, 72
PARKED_CYCLES = (11, 15)
LINES = LANE_MARKING, KERB
PRAMS = 0  # unlabelled
BACKGROUND = (PRAMS, ROAD, SIDEWALK, TERRAIN, 50, 51, 52, 70, 71, 80, 81, 99)
SEEDS = (0, 1, 2)

Sweep = tuple[NDArray[np.float32], NDArray[np.uint32]]
Range = tuple[float, float]


@pytest.fixture(scope="module")
def sweeps() -> list[Sweep]:
    return [simulate_sweep(seed, COARSE) for seed in SEEDS]


def check_labels(labels: NDArray[np.uint32]) -> None:
    """Check that classes are known and exactly the things have instances, each of one class."""
    classes, instances = labels & 0xFFFF, labels >> 16
    assert set(np.unique(classes)) <= {*THINGS, *LINES, *BACKGROUND, *PARKED_CYCLES}
    np.testing.assert_array_equal(instances > 0, np.isin(classes, (*THINGS, *LINES)))
    words = np.unique(labels[instances > 0])
    assert len(np.unique(words >> 16)) == len(words)


def test_only_the_same_seed_gives_the_same_bytes(sweeps: list[Sweep]) -> None:
    points, labels = simulate_sweep(SEEDS[0], COARSE)
    assert points.tobytes() == sweeps[0][0].tobytes()
    assert labels.tobytes() == sweeps[0][1].tobytes()
    assert points.tobytes() != sweeps[1][0].tobytes()


def test_the_seed_may_be_a_generator() -> None:
    sensor = replace(HDL64, elevations_deg=HDL64.elevations_deg[::8], azimuths=100)
    points, labels = simulate_sweep(np.random.default_rng(5), sensor)
    again = simulate_sweep(5, sensor)
    np.testing.assert_array_equal(points, again[0])
    np.testing.assert_array_equal(labels, again[1])


def test_points_agree_with_the_sensors_geometry(sweeps: list[Sweep]) -> None:
    for points, labels in sweeps:
        assert points.dtype == np.float32
        assert points.shape == (len(labels), 4)
        assert labels.dtype == np.uint32
        assert 0.7 < len(points) / (64 * COARSE.azimuths) < 1
        distance = np.linalg.norm(points[:, :3], axis=1)
        assert distance.max() < COARSE.max_range_m
        elevation = np.degrees(np.arcsin(points[:, 2] / distance))
        assert np.abs(elevation[:, None] - COARSE.elevations_deg).min(axis=1).max() < 1e-3
        assert points[:, 3].min() >= 0
        assert points[:, 3].max() <= 1


def test_labels_are_consistent(sweeps: list[Sweep]) -> None:
    for _, labels in sweeps:
        check_labels(labels)
        assert len(np.unique(labels[labels >> 16 > 0])) > 5


def test_the_road_is_the_sensors_height_below_it(sweeps: list[Sweep]) -> None:
    for points, labels in sweeps:
        near = (labels == ROAD) & (np.hypot(points[:, 0], points[:, 1]) < 8)
        heights = points[near, 2]
        assert len(heights) > 500
        assert abs(np.median(heights) + COARSE.height_m) < 0.15
        assert heights.std() < 0.15


def test_an_instance_is_one_compact_object(sweeps: list[Sweep]) -> None:
    """No point of an instance is far from the rest; people have the size of people."""
    for points, labels in sweeps:
        for word in np.unique(labels[np.isin(labels & 0xFFFF, THINGS)]):
            reach = np.ptp(points[labels == word, :3], axis=0)
            assert np.hypot(*reach[:2]) < (2.0 if word & 0xFFFF == PERSON else 20.0)
            assert reach[2] < (2.3 if word & 0xFFFF == PERSON else 4.5)


def test_objects_do_not_overlap() -> None:
    rng = np.random.default_rng(0)
    builder = StreetBuilder(rng, StreetPlan.random(rng))
    assert builder.place({10: car(rng)}, 0, 0)
    assert not builder.place({10: car(rng)}, 1.5, 0.5, heading_rad=0.7)
    assert not builder.place({PERSON: pedestrian(rng)}, 0, 0)
    assert builder.place({PERSON: pedestrian(rng)}, 0, 2)
    assert builder.place({10: car(rng)}, 6, 0, heading_rad=0.1)


def test_a_fitted_mesh_has_the_given_size() -> None:
    mesh = fitted(car(np.random.default_rng(3)), (4.2, 1.7, 1.5))
    np.testing.assert_allclose(mesh.vertices.min(axis=0), (-2.1, -0.85, 0), atol=1e-9)
    np.testing.assert_allclose(mesh.vertices.max(axis=0), (2.1, 0.85, 1.5), atol=1e-9)


@pytest.mark.parametrize("bank_slope", [0.45, -0.2])
def test_objects_on_a_bank_follow_the_ground(bank_slope: float) -> None:
    rng = np.random.default_rng(3)
    plan = replace(StreetPlan.random(rng), bank_slope=bank_slope)
    builder = StreetBuilder(rng, plan)
    out_m = plan.pavement_m + 4.0
    assert builder.place_at_kerb(plan.kerbs[0], {10: car(rng)}, 5.0, out_m, np.pi / 2)
    scene = builder.finish(0, 0, 1.7, 0)
    own = np.unique(scene.mesh.triangles[scene.labels & 0xFFFF == 10])
    vertices = scene.mesh.vertices[own]
    u, v = plan.to_plan(vertices[:, :2])
    ground = plan.relief(vertices[:, :2]) + plan.kerb_rise(u, v) + plan.bank_rise(u, v)
    above = vertices[:, 2] - ground
    assert abs(above.min()) < 0.06
    assert 1.3 < above.max() < 2.2
    assert np.ptp(plan.bank_rise(u, v)) > 0.5 * abs(bank_slope)  # the car is on the bank


# Layouts

LABELS = """\
Car 0.00 0 0 0 0 0 0 1.50 1.70 4.20 -3.00 1.70 12.00 -1.57
Pedestrian 0.00 0 0 0 0 0 0 1.80 0.60 0.80 4.00 1.70 9.00 0.00
Tram 0.00 0 0 0 0 0 0 3.50 2.50 14.0 2.00 1.70 40.00 0.00
DontCare -1 -1 -10 0 0 10 10 -1 -1 -1 -1000 -1000 -1000 -10
"""


@pytest.fixture
def layouts(tmp_path: Path) -> Path:
    folder = tmp_path / "label_2"
    folder.mkdir()
    (folder / "000000.txt").write_text(LABELS)
    (folder / "000001.txt").write_text("Tram" + LABELS.splitlines()[2][4:] + "\n")
    return folder


def test_layouts_are_in_the_sensor_frame(layouts: Path) -> None:
    (layout,) = read_layouts(layouts)  # the file without road users is left out
    car_, person = layout
    assert (car_.kind, person.kind) == ("Car", "Pedestrian")
    assert car_.size_m == (4.2, 1.7, 1.5)
    np.testing.assert_allclose(car_.centre_m, (12.27, 3.0))
    np.testing.assert_allclose(car_.yaw_rad, 0, atol=0.01)  # along the road
    np.testing.assert_allclose(person.yaw_rad, -np.pi / 2)


def test_an_archive_of_layouts_equals_its_folder(layouts: Path, tmp_path: Path) -> None:
    (layouts / "._000000.txt").write_bytes(b"\0\5\x16\7" + bytes(100))  # hidden, of macOS
    with tarfile.open(tmp_path / "labels.tar.gz", "w:gz") as archive:
        archive.add(layouts, "label_2")
    assert read_layouts(tmp_path / "labels.tar.gz") == read_layouts(layouts)


def test_road_users_are_placed_as_in_the_layout(layouts: Path) -> None:
    (layout,) = read_layouts(layouts)
    for direction in (1, -1):
        rng = np.random.default_rng(0)
        plan = StreetPlan.random(rng)
        builder = StreetBuilder(rng, plan)
        place_layout(builder, layout, 2.0, 1.0, direction)
        scene = builder.finish(0, 0, 1.7, 0)
        for label, (x, y) in ((10, (12.27, 3.0)), (PERSON, (9.27, -4.0))):
            own = scene.mesh.triangles[scene.labels & 0xFFFF == label]
            low, high = (f(scene.mesh.vertices[own.ravel()], axis=0) for f in (np.min, np.max))
            centre = plan.to_world(2.0 + direction * x, 1.0 + direction * y)
            np.testing.assert_allclose((low + high)[:2] / 2, centre, atol=0.25)
            if label == 10:  # 4.2 m long, with mirrors
                assert 4.1 < np.hypot(*(high - low)[:2]) < 5.0


def test_unreadable_layouts_are_reported_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text").write_text("not an archive")
    (tmp_path / "empty").mkdir()
    names = "text", "empty", "missing", "cut.tar.gz", "bad.tar.xz"
    whole = tmp_path / "whole.tar.gz"
    with tarfile.open(whole, "w:gz") as archive:
        archive.add(Path(__file__), "label_2/000000.txt")
    (tmp_path / "cut.tar.gz").write_bytes(whole.read_bytes()[:2000])
    with tarfile.open(tmp_path / "bad.tar.xz", "w:xz") as archive:
        archive.add(Path(__file__), "label_2/000000.txt")
    body = bytearray((tmp_path / "bad.tar.xz").read_bytes())
    body[len(body) // 2] ^= 0xFF
    (tmp_path / "bad.tar.xz").write_bytes(body)
    for name in names:
        arguments = ["--out", str(tmp_path / "o"), "--count", "1", "--layouts"]
        assert simulate.main([*arguments, str(tmp_path / name)]) == 2
        message = capsys.readouterr().err
        assert message.count("\n") == 1
        assert name in message
    assert not (tmp_path / "o").exists()
    with pytest.raises(KittiError, match="no road users"):
        read_layouts(tmp_path / "empty")


# Sensors


@pytest.mark.parametrize("name", ["hdl64", "pandar64", "hdl32", "vlp16"])
def test_sweeps_have_the_sensors_beams(name: str) -> None:
    sensor = replace(SENSOR_MODELS[name], azimuths=500)
    points, _ = simulate_sweep(1, sensor)
    elevation = np.degrees(np.arcsin(points[:, 2] / np.linalg.norm(points[:, :3], axis=1)))
    nearest = np.abs(elevation[:, None] - sensor.elevations_deg).argmin(axis=1)
    down = np.array(sensor.elevations_deg) < -2
    assert set(np.flatnonzero(down & (np.array(sensor.elevations_deg) > -15))) <= set(nearest)
    near = points[np.hypot(points[:, 0], points[:, 1]) < 10, 2]
    assert len(near) > 300
    assert abs(np.quantile(near, 0.1) + sensor.height_m) < 0.4


@pytest.mark.parametrize(
    "wrong",
    [
        {"elevations_deg": ()},
        {"elevations_deg": (90.0,)},
        {"elevations_deg": (float("nan"),)},
        {"azimuths": 0},
        {"height_m": 0.0},
        {"height_m": 0.1},
        {"height_m": 21.0},
        {"half_range_m": float("inf")},
        {"range_noise_m": -0.1},
        {"mounts": ()},
        {"azimuth_range_deg": (90.0, 0.0)},
        {"azimuth_range_deg": (-200.0, 200.0)},
        {"blocked_deg": ((10.0, 5.0),)},
        {"intensity_limits": (0.6, 0.5)},
        {"dropout": 1.5},
    ],
)
def test_an_impossible_sensor_is_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        replace(HDL64, **wrong)


def test_the_command_accepts_a_sensor_from_yaml(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("elevations_deg: [2, -3, -9, -16]\nazimuths: 90\n")
    arguments = ["--count", "1", "--sensor", str(mine), "--height", "1.2"]
    assert simulate.main(["--out", str(tmp_path), *arguments]) == 0
    sweep, truth = frame_paths(tmp_path, "00", 0)
    points = read_scan(sweep)
    assert 100 < len(points) <= 360
    near_road = (read_labels(truth, len(points)) == ROAD) & (np.hypot(*points.T[:2]) < 8)
    assert near_road.sum() > 20
    assert abs(np.median(points[near_road, 2]) + 1.2) < 0.2


def test_a_sensor_from_yaml_may_have_two_heads(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("elevations_deg: [-9]\nazimuths: 90\nmounts: [{}, {z_m: -0.2, roll_deg: 5}]\n")
    arguments = ["--count", "1", "--sensor", str(mine)]
    assert simulate.main(["--out", str(tmp_path), *arguments]) == 0
    assert 90 < len(read_scan(frame_paths(tmp_path, "00", 0)[0])) <= 180


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--sensor", "hdl65"], "hdl64"),
        (["--sensor", "any", "--height", "2"], "any"),
        (["--sensor", "none.yaml"], "none.yaml"),
        (["--height", "-3"], "height_m"),
        (["--height", "173"], "height_m must be a number from 0.2 to 20, got 173"),
        (["--height", "1e-9"], "height_m must be a number from 0.2 to 20, got 1e-09"),
    ],
)
def test_an_invalid_sensor_is_reported_in_one_line(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    named: str,
) -> None:
    assert simulate.main(["--out", str(tmp_path), "--count", "1", *arguments]) == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert message.startswith("simulate: ")
    assert named in message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("frames", [[], ["--frames", "2"]])
def test_a_sensor_that_sees_nothing_is_reported_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], frames: list[str]
) -> None:
    mine, out = tmp_path / "mine.yaml", tmp_path / "out"
    mine.write_text("elevations_deg: [-9]\nblocked_deg: [[0, 200], [180, 360]]\nazimuths: 90\n")
    command = ["--out", str(out), "--count", "1", "--sensor", str(mine), *frames]
    assert simulate.main(command) == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert message.startswith(f"simulate: {out}/sequences/00")
    assert ": no pulse of the sensor returns; check its elevations_deg" in message
    assert not out.exists()


def test_the_command_writes_the_simulated_sweeps(tmp_path: Path) -> None:
    arguments = ["--count", "2", "--seed", "3", "--azimuths", "260", "--sequence", "7"]
    assert simulate.main(["--out", str(tmp_path), *arguments]) == 0
    for frame in (0, 1):
        sweep, truth = frame_paths(tmp_path, "07", frame)
        points, labels = simulate_sweep((3, frame, 7), COARSE)
        np.testing.assert_array_equal(read_scan(sweep), points)
        np.testing.assert_array_equal(read_labels(truth, len(points)), labels)
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 4


def test_the_command_draws_from_the_given_kinds_of_street(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--count", "1", "--azimuths", "50", "--streets"]
    assert simulate.main(["--out", str(tmp_path), *options, "industrial", "old_town"]) == 0
    points, _ = simulate_sweep((0, 0, 0), replace(HDL64, azimuths=50), kinds=[YARD, OLD_TOWN])
    np.testing.assert_array_equal(read_scan(frame_paths(tmp_path, "00", 0)[0]), points)
    with pytest.raises(SystemExit, match="2"):
        simulate.main(["--out", str(tmp_path / "other"), *options, "motorway"])
    assert "invalid choice: 'motorway'" in capsys.readouterr().err


def test_the_command_keeps_existing_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--out", str(tmp_path), "--count", "2", "--azimuths", "50"]
    _, truth = frame_paths(tmp_path, "00", 1)
    truth.parent.mkdir(parents=True)
    truth.write_bytes(b"mine")
    assert simulate.main(arguments) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert str(truth) in message
    assert "--overwrite" in message
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [truth]
    assert truth.read_bytes() == b"mine"
    assert simulate.main([*arguments, "--overwrite"]) == 0
    assert truth.stat().st_size > 4


def test_overwriting_does_not_mix_streets(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--out", str(tmp_path), "--azimuths", "50", "--overwrite"]
    folder = tmp_path / "sequences" / "00"
    assert simulate.main([*arguments, "--count", "1", "--frames", "2"]) == 0
    (folder / "velodyne" / "._000009.bin").touch()  # hidden: no sweep
    before = (folder / "velodyne" / "000000.bin").read_bytes()
    assert simulate.main([*arguments, "--count", "1", "--seed", "9"]) == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert f"{folder}/calib.txt: would stay next to new sweeps of other streets (6" in message
    assert (folder / "velodyne" / "000000.bin").read_bytes() == before
    assert simulate.main([*arguments, "--count", "1", "--frames", "2", "--seed", "9"]) == 0
    assert (folder / "velodyne" / "000000.bin").read_bytes() != before


def test_the_command_keeps_the_other_files_of_a_sequence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    poses = tmp_path / "sequences" / "01" / "poses.txt"
    poses.parent.mkdir(parents=True)
    poses.write_text("mine")
    assert simulate.main(["--out", str(tmp_path), "--count", "2", "--frames", "1"]) == 2
    assert f"{poses}: already exists; add --overwrite" in capsys.readouterr().err
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [poses]


def test_an_impossible_output_folder_is_reported_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    with pytest.raises(SystemExit) as caught:
        simulate.main(["--out", str(blocked), "--count", "1", "--azimuths", "50"])
    assert caught.value.code == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert message.endswith(
        f"argument --out: {blocked} is a file; name a folder (--help has examples)"
    )


def test_the_bundled_sweep_has_all_kinds_of_objects() -> None:
    sweep, truth = frame_paths(ROOT / "demo", "00", 0)
    points = read_scan(sweep)
    labels = read_labels(truth, len(points))
    check_labels(labels)
    assert 50_000 < len(points) < 64_000
    classes = labels & 0xFFFF
    for background in (ROAD, SIDEWALK, 50, 70, 71, 80, 99):
        assert (classes == background).any()
    near = np.hypot(points[:, 0], points[:, 1]) < 40
    words, counts = np.unique(labels[near & (labels >> 16 > 0)], return_counts=True)
    seen = (words & 0xFFFF)[counts >= 15]
    assert np.isin(seen, (10, 18, 20)).sum() in range(14, 20)
    assert (seen == 30).sum() in range(4, 7)
    assert np.isin(seen, (31, 32)).sum() in range(3, 5)
