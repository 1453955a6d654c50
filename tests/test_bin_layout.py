"""The layout of a ``.bin`` file is understood from its values, or the file is refused."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bev_instseg.config import Config
from bev_instseg.datasets import kitti, semantickitti
from bev_instseg.exceptions import ScanError
from bev_instseg.io.bin_layout import ASSUMED, infer_bin_layout
from bev_instseg.io.formats import read_stored_points
from bev_instseg.io.sensor_setup import SensorSetup
from bev_instseg.io.survey import survey_sweeps
from bev_instseg.io.sweep import Sweep, read_sweep

pytestmark = pytest.mark.kernel

Points = NDArray[np.float32]
DEMO = Path(__file__).resolve().parent.parent / "demo/sequences/00/velodyne/000000.bin"
KITTI_ROOT = os.environ.get("KITTI_ROOT")


def demo() -> Points:
    return np.fromfile(DEMO, np.float32).reshape(-1, 4)


def bytes_of(points: NDArray) -> NDArray[np.uint8]:
    return np.frombuffer(np.ascontiguousarray(points).tobytes(), np.uint8).copy()


def write(tmp_path: Path, points: NDArray) -> Path:
    path = tmp_path / "a.bin"
    points.tofile(path)
    return path


def layouts(points: Points) -> Iterator[tuple[str, NDArray]]:
    """The points with every usual set of columns, and what they are."""
    count = len(points)
    xyz, rng = points[:, :3], np.random.default_rng(1)
    zero, ring = np.zeros(count), np.arange(count) % 32
    time, whole = np.linspace(0, 0.1, count), np.round(points[:, 3] * 255)
    normals = rng.normal(size=(count, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    yield from {
        "xyz": [xyz],
        "xyzi": [points],
        "xyzir": [points, ring],
        "xyzi_": [points, time],
        "xyzi__": [points, ring, time],
        "xyz___": [xyz, normals],
        "xyzi___": [xyz, whole, ring, time, np.full(count, 1.5e9)],
        "xyzi____": [points, normals, points[:, 0] ** 2],
    }.items()
    yield "xyzi", np.column_stack([xyz, whole])
    yield "xyzi", np.column_stack([xyz, zero])
    yield "xyzi_", np.column_stack([points, zero])
    yield "xyzi___", np.column_stack([points, zero, zero, zero])


def crops(points: Points) -> Iterator[Points]:
    order = np.random.default_rng(2).permutation(len(points))
    azimuth = np.arctan2(points[:, 1], points[:, 0])
    yield points
    yield points[:30]
    yield points[::7]
    yield points[order]
    yield points[order[:100]]
    yield points[np.abs(azimuth - 1) < 0.3]
    yield np.where(np.random.default_rng(3).random(len(points))[:, None] < 0.6, 0, points)


@pytest.mark.parametrize("part", range(7))
def test_every_width_is_recognised(part: int) -> None:
    points = list(crops(demo()))[part].astype(np.float32)
    for columns, stored in layouts(points):
        values = np.column_stack(stored) if isinstance(stored, list) else stored
        layout = infer_bin_layout([bytes_of(values.astype(np.float32))])
        assert layout.columns == columns, columns
        assert bool(layout.notices) == (columns != "xyzi")


@pytest.mark.parametrize("between", ["<u2", "<u2,<u2,<u2", "<u2,<f4", "<f4,<u2,<f4"])
def test_floats_packed_with_16_bit_numbers_are_refused(between: str) -> None:
    points = demo()[::3][:2000]
    kinds = [("", kind) for kind in between.split(",")]
    stored = np.zeros(len(points), [("", "<f4")] * 4 + kinds)
    for k in range(4):
        stored[f"f{k}"] = points[:, k]
    for k in range(len(kinds)):
        stored[f"f{4 + k}"] = np.arange(len(points)) % 64
    with pytest.raises(ValueError, match=rf"points of {stored.itemsize} bytes, floats packed"):
        infer_bin_layout([np.frombuffer(stored.tobytes(), np.uint8)])


@pytest.mark.skipif(not KITTI_ROOT, reason="set KITTI_ROOT to the KITTI object data")
def test_real_sweeps_are_recognised() -> None:
    paths = sorted(Path(KITTI_ROOT or "").glob("training/velodyne*/*.bin"))
    for path in paths[:: max(len(paths) // 5, 1)]:
        points = np.fromfile(path, np.float32).reshape(-1, 4)
        for part in crops(points):
            for columns, stored in layouts(part.astype(np.float32)):
                values = np.column_stack(stored) if isinstance(stored, list) else stored
                try:
                    layout = infer_bin_layout([bytes_of(values.astype(np.float32))])
                except ValueError:
                    assert len(part) < 50
                else:
                    assert layout.columns == columns or not len(part)


def test_a_sensor_that_fires_up_and_down_in_turn_makes_points_of_its_own() -> None:
    """Neighbouring points differ in turn; they are not one point of twice the floats."""
    azimuth = np.repeat(np.linspace(-3, 3, 3000), 2)
    range_m = np.tile([6.0, 30], 3000) + np.random.default_rng(0).uniform(0, 3, 6000)
    z = np.tile([-1.7, 4], 3000)
    points = np.column_stack(
        [range_m * np.cos(azimuth), range_m * np.sin(azimuth), z, range_m / 40]
    )
    assert infer_bin_layout([bytes_of(points.astype(np.float32))]).columns == "xyzi"
    rings = np.column_stack([points, np.tile([0, 1], 3000)])
    assert infer_bin_layout([bytes_of(rings.astype(np.float32))]).columns == "xyzir"


def test_padding_or_missing_points_cannot_be_told_apart() -> None:
    points = demo()
    with pytest.raises(ValueError, match="could hold 4 or 8 floats per point; pass --format"):
        infer_bin_layout([bytes_of(np.column_stack([points, 0 * points]))])


@pytest.mark.parametrize("num_floats", [32, 40])
def test_very_wide_points_are_not_taken_for_narrow_ones(num_floats: int) -> None:
    more = np.random.default_rng(0).normal(size=(len(demo()), num_floats - 4))
    with pytest.raises(ValueError, match="--format"):
        infer_bin_layout([bytes_of(np.column_stack([demo(), more]).astype(np.float32))])


@pytest.mark.parametrize("full", [0, 255, 4095])
def test_an_intensity_before_x_is_understood(tmp_path: Path, full: int) -> None:
    points = demo()
    if full:
        points[:, 3] = np.round(points[:, 3] * full)
    expected = read_sweep(write(tmp_path, points)).points
    for part in (slice(None), np.flatnonzero(points[:, 0] > np.abs(points[:, 1]))):
        stored = points[:, [3, 0, 1, 2]][part]
        assert infer_bin_layout([bytes_of(stored)]).columns == "ixyz"
        sweep = read_sweep(write(tmp_path, stored))
        np.testing.assert_array_equal(sweep.points, expected[part])
        assert sweep.notices[0].startswith("the first column looks like an intensity: read as ")
        np.save(tmp_path / "a.npy", stored)
        sweep = read_sweep(tmp_path / "a.npy")
        np.testing.assert_array_equal(sweep.points, expected[part])
        assert sweep.notices[0].startswith("the first column looks like an intensity: read as ")


def test_an_intensity_before_x_and_more_columns_are_refused(tmp_path: Path) -> None:
    points = demo()
    stored = np.column_stack([points[:, [3, 0, 1, 2]], np.arange(len(points)) % 32])
    with pytest.raises(
        ScanError, match="the first of 5 floats per point is not a coordinate; pass"
    ):
        read_sweep(write(tmp_path, stored.astype(np.float32)))
    sweep = read_sweep(tmp_path / "a.bin", SensorSetup(format="ixyz_"))
    np.testing.assert_array_equal(sweep.points, points)
    np.save(tmp_path / "a.npy", stored)
    with pytest.raises(ScanError, match="the first column is not a coordinate; save x, y, z"):
        read_sweep(tmp_path / "a.npy")


def test_coordinates_in_whole_metres_are_no_intensities() -> None:
    points = demo()
    points[:, :3] = np.abs(np.round(points[:, :3]))
    assert infer_bin_layout([bytes_of(points)]).columns == "xyzi"


def test_a_fourth_column_that_rises_is_not_an_intensity() -> None:
    points = demo()
    points[:, 3] = np.linspace(0, 0.1, len(points))
    layout = infer_bin_layout([bytes_of(points)])
    assert layout.columns == "xyz_"
    assert "the fourth rises like time: read as x, y, z" in layout.notices[0]


def folder_of(tmp_path: Path, fourths: list[NDArray]) -> list[Sweep]:
    """Sweeps of x, y, z, a fourth column, intensity and ring, read as one folder."""
    points, paths = demo(), [tmp_path / f"{i}.bin" for i in range(len(fourths))]
    ring = np.arange(len(points)) % 64
    for path, fourth in zip(paths, fourths, strict=True):
        columns = points[:, :3], fourth, points[:, 3], ring
        np.column_stack(columns).astype(np.float32).tofile(path)
    survey = survey_sweeps(paths, SensorSetup())
    return [read_sweep(path, reading=survey.reading_of(path)) for path in paths]


def check_without_intensity(sweeps: list[Sweep], why: str) -> None:
    """Check that no sweep has an intensity, and that all give the same reason."""
    notice = f"6 floats per point, the fourth {why}: read as x, y, z; or pass --format"
    for sweep in sweeps:
        assert not sweep.points[:, 3].any()
        (given,) = (one for one in sweep.notices if "floats per point" in one)
        assert given.startswith(notice)


@pytest.mark.parametrize("start_s", [0, 0.1])
def test_time_in_each_file_of_a_folder_is_no_intensity(tmp_path: Path, start_s: float) -> None:
    time_s = np.linspace(0, 0.1, len(demo()))
    sweeps = folder_of(tmp_path, [time_s + i * start_s for i in range(4)])
    check_without_intensity(sweeps, "rises like time")


def test_a_folder_agrees_on_time_that_wraps_in_one_sweep(tmp_path: Path) -> None:
    time_s = np.linspace(0, 0.1, len(demo()))
    times_s = [(time_s + i * 0.1) % 0.25 for i in range(4)]
    sweeps = folder_of(tmp_path, times_s)
    check_without_intensity(sweeps, "rises like time in 3 of 4 files")


def test_a_folder_agrees_on_velocities_that_are_negative_while_driving(tmp_path: Path) -> None:
    speed = np.abs(np.random.default_rng(0).normal(size=len(demo())))
    sweeps = folder_of(tmp_path, [speed, speed, speed - 3, speed - 3])
    check_without_intensity(sweeps, "has negative values in 2 of 4 files")


def test_one_odd_file_does_not_take_the_intensity_from_its_folder(tmp_path: Path) -> None:
    intensity = demo()[:, 3]
    sweeps = folder_of(tmp_path, [intensity] * 3 + [np.linspace(0, 1, len(intensity))])
    for sweep in sweeps[:3]:
        np.testing.assert_array_equal(sweep.points[:, 3], intensity)
    (notices,) = {sweep.notices for sweep in sweeps}
    odd = "the fourth rises like time in 1 of 4 files, but is read as the intensity; or pass"
    assert notices[1].startswith(odd)


def test_points_that_are_all_equal_are_assumed_to_have_four_floats() -> None:
    assert infer_bin_layout([bytes_of(np.zeros((100, 4), np.float32))]) == ("xyzi", (ASSUMED,))
    assert infer_bin_layout([]) == ("xyzi", ())


def test_the_files_of_a_folder_are_judged_together() -> None:
    """A file that says nothing by itself follows the others; one cut short does not count."""
    points = np.column_stack([demo(), np.arange(len(demo())) % 32]).astype(np.float32)
    files = [bytes_of(points[k : k + 2000]) for k in range(0, 8000, 2000)]
    tiny = bytes_of(np.zeros((4, 5), np.float32))
    assert infer_bin_layout([*files, tiny, files[0][:-8]]).columns == "xyzir"


def test_a_file_that_says_nothing_follows_its_folder(tmp_path: Path) -> None:
    """One that differs from its folder is still understood by itself."""
    path = tmp_path / "a.bin"
    path.write_bytes(bytes(80))
    assert read_stored_points(path, "auto:xyzir").values.shape == (4, 4)
    assert read_stored_points(path, "auto:xyzi").values.shape == (5, 4)
    path.write_bytes(demo().tobytes())
    assert len(read_stored_points(path, "auto:xyzir").values) == len(demo())
    assert SensorSetup("auto:xyzir").format == "auto:xyzir"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\xff\xd8\xff\xe0" + bytes(range(256)) * 40, "looks like a JPEG picture"),
        (b"ply\nformat ascii 1.0\n" * 20, "looks like a PLY file; rename it to .ply"),
        (b"12.5 -3.25 0.5 17\n" * 400, "looks like text"),
        (np.random.default_rng(0).bytes(6400), "does not hold float32 x, y, z"),
        (
            (np.random.default_rng(0).integers(0, 50, 8000) * 65536 + 10).astype("<u4").tobytes(),
            "looks like a .label file",
        ),
    ],
)
def test_other_content_is_refused(tmp_path: Path, data: bytes, reason: str) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(data[: len(data) // 16 * 16])
    with pytest.raises(ScanError) as caught:
        read_sweep(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert reason in str(caught.value)


@pytest.mark.parametrize("num_columns", [3, 4, 5, 6])
@pytest.mark.parametrize(("dtype", "reason"), [("<f8", "float64"), (">f4", "big-endian")])
def test_other_floats_are_refused(
    tmp_path: Path, num_columns: int, dtype: str, reason: str
) -> None:
    path = tmp_path / "a.bin"
    points = np.column_stack([demo(), demo()])[:, :num_columns]
    path.write_bytes(points.astype(dtype).tobytes())
    with pytest.raises(ScanError, match=f"looks like {reason}"):
        read_sweep(path)


def test_files_cut_within_a_point_are_refused(tmp_path: Path) -> None:
    """Also where the size fits another number of floats per point."""
    path = tmp_path / "a.bin"
    points = np.column_stack([demo(), demo()[:, :2] * 0 + [7, 0.5]]).astype(np.float32)
    for cut in (4, 8, 12, 16, 20):
        path.write_bytes(points.tobytes()[:-cut])
        with pytest.raises(ScanError, match="bytes each: 6 floats\\); the file is cut short"):
            read_sweep(path)


@pytest.mark.filterwarnings("error")
def test_tiny_files_are_read_with_a_notice_or_refused(tmp_path: Path) -> None:
    path, data = tmp_path / "a.bin", demo()[:, [3, 1, 2, 0]].tobytes()
    for num_bytes in range(1, 161):
        path.write_bytes(data[:num_bytes])
        if num_bytes % 16:
            with pytest.raises(ScanError, match=r"cut short|pass --format"):
                read_stored_points(path)
        else:
            values, notices = read_stored_points(path)
            assert values.shape == (num_bytes / 16, 4)
            assert num_bytes > 64 or notices == (ASSUMED,)


def test_a_given_format_is_followed(tmp_path: Path) -> None:
    path, points = tmp_path / "a.bin", demo()
    stored = np.column_stack([points[:, 2], points[:, :2], points[:, 3] * 0 + 9, points[:, 3]])
    path.write_bytes(stored.astype(np.float32).tobytes())
    sweep = read_sweep(path, SensorSetup("zxyti", axes="flu"))
    np.testing.assert_array_equal(sweep.points, points)
    assert read_stored_points(path, "zxyt_").values.shape == (len(points), 3)


def test_a_given_format_that_the_values_contradict_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(demo()[:3000].tobytes())
    assert read_stored_points(path, "kitti").notices == ()
    _, notices = read_stored_points(path, "xyz")
    assert notices == ("looks like 4 floats per point, but is read as xyz: check --format",)


@pytest.mark.filterwarnings("ignore:.*floats per point")
@pytest.mark.parametrize("data_set", ["kitti", "semantickitti"])
def test_training_data_of_another_width_is_understood(
    kitti_root: Path, semantickitti_root: Path, data_set: str
) -> None:
    """Labelled sweeps are understood like others: their labels stay with their points."""
    read, root, name = {
        "kitti": (kitti.read_frame, kitti_root, "a"),
        "semantickitti": (semantickitti.read_frame, semantickitti_root, "00/000000"),
    }[data_set]
    for path in root.rglob("velodyne/*.bin"):
        points = np.fromfile(path, np.float32).reshape(-1, 4)
        count = len(points)
        columns = [points, np.arange(count) % 64, np.linspace(0, 0.1, count)]
        np.column_stack(columns).astype(np.float32).tofile(path)
    frame = read(root, name, Config().classes, Config().data)
    path = sorted(root.rglob(f"velodyne/{name[-6:]}.bin"))[0]
    stored = np.fromfile(path, np.float32).reshape(-1, 6)
    np.testing.assert_array_equal(frame.points[:, :3], stored[:, :3])
    assert len(frame.classes) == len(np.unique(frame.instance[frame.instance > 0]))
