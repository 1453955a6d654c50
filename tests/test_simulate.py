"""The simulator: exact labels, the same bytes from the same seed, files as a real data set has."""

import importlib.util
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from numpy.typing import NDArray

from bev_instseg.datasets.scan_io import read_labels, read_scan
from bev_instseg.datasets.simulate import HDL64, THINGS, simulate_sweep, sweep_paths
from bev_instseg.datasets.simulate.people import cyclist, pedestrian
from bev_instseg.datasets.simulate.shapes import Mesh
from bev_instseg.datasets.simulate.site import PERSON, Site
from bev_instseg.datasets.simulate.street import Street
from bev_instseg.datasets.simulate.vehicles import bus, car, lorry, trailer

ROOT = Path(__file__).resolve().parent.parent
COARSE = replace(HDL64, azimuths=260)
ROAD, SIDEWALK, TERRAIN = 40, 48, 72
BACKGROUND = (ROAD, SIDEWALK, TERRAIN, 50, 51, 70, 71, 80, 81, 99)
SEEDS = (0, 1, 2)

Sweep = tuple[NDArray[np.float32], NDArray[np.uint32]]
Range = tuple[float, float]


@pytest.fixture(scope="module")
def sweeps() -> list[Sweep]:
    return [simulate_sweep(seed, COARSE) for seed in SEEDS]


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("simulate_tool", ROOT / "tools" / "simulate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def check_labels(labels: NDArray[np.uint32]) -> None:
    """Known classes; instances are things and things are instances, each of one class."""
    classes, instances = labels & 0xFFFF, labels >> 16
    assert set(np.unique(classes)) <= {*THINGS, *BACKGROUND}
    np.testing.assert_array_equal(instances > 0, np.isin(classes, THINGS))
    words = np.unique(labels[instances > 0])
    assert len(np.unique(words >> 16)) == len(words)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not(sweeps: list[Sweep]) -> None:
    points, labels = simulate_sweep(SEEDS[0], COARSE)
    assert points.tobytes() == sweeps[0][0].tobytes()
    assert labels.tobytes() == sweeps[0][1].tobytes()
    assert points.tobytes() != sweeps[1][0].tobytes()


def test_a_seed_may_be_a_generator() -> None:
    sensor = replace(HDL64, elevations_deg=HDL64.elevations_deg[::8], azimuths=100)
    points, labels = simulate_sweep(np.random.default_rng(5), sensor)
    again = simulate_sweep(5, sensor)
    np.testing.assert_array_equal(points, again[0])
    np.testing.assert_array_equal(labels, again[1])


def test_a_sweep_is_what_the_sensor_can_see(sweeps: list[Sweep]) -> None:
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


def test_the_road_lies_below_the_sensor(sweeps: list[Sweep]) -> None:
    for points, labels in sweeps:
        near = (labels == ROAD) & (np.hypot(points[:, 0], points[:, 1]) < 8)
        heights = points[near, 2]
        assert len(heights) > 500
        assert abs(np.median(heights) + COARSE.height_m) < 0.15
        assert heights.std() < 0.15


def test_an_instance_is_one_compact_object(sweeps: list[Sweep]) -> None:
    """Nothing else of its number lies far off; people are no longer than people are."""
    for points, labels in sweeps:
        for word in np.unique(labels[labels >> 16 > 0]):
            reach = np.ptp(points[labels == word, :3], axis=0)
            assert np.hypot(*reach[:2]) < (2.0 if word & 0xFFFF == PERSON else 14.0)
            assert reach[2] < (2.3 if word & 0xFFFF == PERSON else 4.5)


def test_two_objects_never_share_a_place() -> None:
    rng = np.random.default_rng(0)
    site = Site(rng, Street.drawn(rng))
    assert site.put({10: car(rng)}, 0, 0)
    assert not site.put({10: car(rng)}, 1.5, 0.5, heading=0.7)
    assert not site.put({PERSON: pedestrian(rng)}, 0, 0)
    assert site.put({PERSON: pedestrian(rng)}, 0, 2)
    assert site.put({10: car(rng)}, 6, 0, heading=0.1)


@pytest.mark.parametrize(
    ("build", "length", "width", "height"),
    [
        (car, (3.4, 5.7), (1.6, 2.3), (1.3, 2.2)),
        (lorry, (5.9, 10.6), (2.3, 3.0), (2.8, 3.9)),
        (bus, (9.4, 12.7), (2.4, 2.7), (2.8, 3.3)),
        (trailer, (3.0, 6.8), (1.5, 2.4), (1.7, 2.8)),
        (pedestrian, (0.2, 1.4), (0.2, 1.0), (0.9, 2.1)),
        (cyclist, (1.5, 2.1), (0.5, 0.9), (1.3, 2.1)),
    ],
)
def test_an_object_has_the_size_of_its_kind_and_stands_on_the_ground(
    build: Callable[[np.random.Generator], Mesh], length: Range, width: Range, height: Range
) -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        mesh = build(rng)
        assert abs(mesh.vertices[:, 2].min()) < 0.06
        assert mesh.triangles.max() < len(mesh.vertices)
        assert mesh.surface.shape == mesh.triangles.shape
        sizes = np.ptp(mesh.vertices, axis=0)
        for size, (low, high) in zip(sizes, (length, width, height), strict=True):
            assert low < size < high


def test_the_tool_writes_what_the_simulator_makes(tool: ModuleType, tmp_path: Path) -> None:
    arguments = ["--count", "2", "--seed", "3", "--azimuths", "260", "--sequence", "7"]
    assert tool.main(["--out", str(tmp_path), *arguments]) == 0
    for frame in (0, 1):
        sweep, truth = sweep_paths(tmp_path, "07", frame)
        points, labels = simulate_sweep((3, frame, 7), COARSE)
        np.testing.assert_array_equal(read_scan(sweep), points)
        np.testing.assert_array_equal(read_labels(truth, len(points)), labels)
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 4


def test_the_tool_leaves_files_that_exist_alone(
    tool: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--out", str(tmp_path), "--count", "2", "--azimuths", "50"]
    _, truth = sweep_paths(tmp_path, "00", 1)
    truth.parent.mkdir(parents=True)
    truth.write_bytes(b"mine")
    assert tool.main(arguments) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert str(truth) in message
    assert "--overwrite" in message
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [truth]
    assert truth.read_bytes() == b"mine"
    assert tool.main([*arguments, "--overwrite"]) == 0
    assert truth.stat().st_size > 4


def test_a_folder_that_cannot_be_made_is_one_line(
    tool: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    assert tool.main(["--out", str(blocked), "--count", "1", "--azimuths", "50"]) == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert message.startswith("simulate: ")
    assert str(blocked) in message


def test_the_bundled_sweep_is_what_its_command_makes(tool: ModuleType, tmp_path: Path) -> None:
    """As CONTRIBUTING.md gives it; another processor may round a few returns differently."""
    command = "--count 1 --seed 11 --azimuths 1040"
    assert command in (ROOT / "CONTRIBUTING.md").read_text()
    assert tool.main(["--out", str(tmp_path), *command.split()]) == 0
    counts = []
    for root in (tmp_path, ROOT / "demo"):
        sweep, truth = sweep_paths(root, "00", 0)
        labels = read_labels(truth, len(read_scan(sweep)))
        counts.append(np.bincount(labels & 0xFFFF, minlength=100))
    np.testing.assert_allclose(*counts, atol=20)


def test_the_bundled_sweep_is_a_lively_street() -> None:
    sweep, truth = sweep_paths(ROOT / "demo", "00", 0)
    points = read_scan(sweep)
    labels = read_labels(truth, len(points))
    check_labels(labels)
    assert 50_000 < len(points) < 64_000
    classes = labels & 0xFFFF
    for background in (ROAD, SIDEWALK, 50, 51, 70, 71, 80, 99):
        assert (classes == background).sum() > 10
    near = np.hypot(points[:, 0], points[:, 1]) < 40
    words, counts = np.unique(labels[near & (labels >> 16 > 0)], return_counts=True)
    seen = (words & 0xFFFF)[counts >= 15]
    assert np.isin(seen, (10, 18, 20)).sum() in range(10, 16)
    assert (seen == 30).sum() in range(5, 9)
    assert (seen == 31).sum() in range(3, 5)
