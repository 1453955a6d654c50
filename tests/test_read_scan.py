"""KITTI sweeps and labels: round trips, and files that are refused in one line."""

import errno
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bev_instseg.exceptions import ScanError
from bev_instseg.file_io import write_atomic, writing_text
from bev_instseg.io.labels import read_labels, write_labels
from bev_instseg.io.sweep import read_scan


def sweep(num_points: int = 4000) -> NDArray[np.float32]:
    rng = np.random.default_rng(0)
    xyz = rng.normal(0, (30, 30, 1), (num_points, 3))
    return np.column_stack([xyz, rng.uniform(0, 1, num_points)]).astype(np.float32)


def refusal(read: Callable[[], object], path: Path) -> str:
    """Return the ScanError's message after checking that it is one line that names the file."""
    with pytest.raises(ScanError) as caught:
        read()
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


@pytest.mark.parametrize("num_points", [0, 1, 5, 4000])
def test_round_trip(tmp_path: Path, num_points: int) -> None:
    path, points = tmp_path / "a.bin", sweep(num_points)
    points.tofile(path)
    read = read_scan(path)
    assert read.dtype == np.float32
    assert read.flags.writeable
    np.testing.assert_array_equal(read, points)


def test_intensities_0_to_255_are_scaled(tmp_path: Path) -> None:
    path, points = tmp_path / "a.bin", sweep()
    (points * np.float32([1, 1, 1, 255])).tofile(path)
    with pytest.warns(UserWarning, match=r"^intensity 0\.\.255: divided by 255") as caught:
        read = read_scan(str(path))
    assert [warning.filename for warning in caught] == [__file__]
    np.testing.assert_allclose(read, points, rtol=1e-6)


def test_intensity_becomes_finite_and_0_to_1(tmp_path: Path) -> None:
    path, points = tmp_path / "a.bin", sweep(5)
    points[:, 3] = [0.5, 1.0000001, -0.1, np.nan, np.inf]
    points.tofile(path)
    np.testing.assert_array_equal(read_scan(path)[:, 3], np.float32([0.5, 1, 0, 0, 0]))


def test_nan_and_infinite_coordinates_are_kept(tmp_path: Path) -> None:
    path, points = tmp_path / "a.bin", sweep()
    points[::2, :3] = np.nan
    points[1, 0] = np.inf
    points.tofile(path)
    np.testing.assert_array_equal(read_scan(path), points)


def test_what_may_never_end_is_refused_at_once(tmp_path: Path) -> None:
    pipe, device, link = tmp_path / "pipe.bin", Path("/dev/zero"), tmp_path / "socket.bin"
    os.mkfifo(pipe)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(link))
        for path in (pipe, link):
            assert "regular file" in refusal(lambda path=path: read_scan(path), path)
    assert "not a regular file" in refusal(lambda: read_scan(device), device)
    assert "not a regular file" in refusal(lambda: read_labels(pipe, 3), pipe)


def test_huge_files_are_refused_before_they_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    with open(path, "wb") as file:
        file.truncate(5 << 30)  # takes no space
    message = refusal(lambda: read_scan(path), path)
    assert "too large: 5,368,709,120 bytes, more than 4,294,967,296; split it" in message


def test_missing_files_and_folders_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "none.bin"
    assert "no such sweep file" in refusal(lambda: read_scan(path), path)
    assert "directory" in refusal(lambda: read_scan(tmp_path), tmp_path)
    assert "no such label file" in refusal(lambda: read_labels(path, 3), path)


@pytest.mark.parametrize("over", [1, 8, 15])
def test_excess_bytes_are_counted(tmp_path: Path, over: int) -> None:
    path = tmp_path / "cut.bin"
    path.write_bytes(sweep(33).tobytes()[: 16 * 32 + over])  # 520 is a multiple of 20, too
    message = refusal(lambda: read_scan(path), path)
    assert f"are {over} more than a whole number of points (16 bytes each: 4 floats)" in message
    assert "cut short" in message


@pytest.mark.parametrize("decimals", [3, 9])
@pytest.mark.parametrize("scale", [1, 255])
def test_float64_is_refused(tmp_path: Path, decimals: int, scale: int) -> None:
    path = tmp_path / "double.bin"
    np.round(sweep() * np.float64([1, 1, 1, scale]), decimals).tofile(path)
    assert "float64" in refusal(lambda: read_scan(path), path)


def test_float64_converted_from_float32_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "double.bin"
    sweep().astype(np.float64).tofile(path)
    assert "float64" in refusal(lambda: read_scan(path), path)


def test_millimetres_and_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    (sweep() * np.float32([1000, 1000, 1000, 1])).tofile(path)
    assert "metres" in refusal(lambda: read_scan(path), path)
    path.write_bytes(b"# .PCD v0.7 pts\n" * 500)
    assert "rename it to .pcd" in refusal(lambda: read_scan(path), path)
    path.write_bytes(b"1.5 2.5 3.5 0.25\n" * 500)
    assert "looks like text" in refusal(lambda: read_scan(path), path)


def test_whole_numbers_are_not_mistaken_for_nuscenes(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    points = np.ones((20, 4), np.float32)
    points.tofile(path)
    np.testing.assert_array_equal(read_scan(path), points)


def test_labels_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "a.label"
    labels = np.array([0, 10, 10 | 1 << 16, 0xFFFFFFFF], np.uint32)
    write_labels(path, labels)
    assert path.read_bytes() == labels.astype("<u4").tobytes()
    read = read_labels(path, 4)
    assert read.dtype == np.uint32
    np.testing.assert_array_equal(read, labels)


@pytest.mark.parametrize("num_points", [0, 3, 5])
def test_labels_of_a_different_sweep_are_refused(tmp_path: Path, num_points: int) -> None:
    path = tmp_path / "a.label"
    write_labels(path, np.zeros(4, np.uint32))
    message = refusal(lambda: read_labels(path, num_points), path)
    assert f"a sweep of {num_points} points needs {4 * num_points}" in message


def test_labels_must_be_uint32() -> None:
    with pytest.raises(ValueError, match="uint32"):
        write_labels("never.label", np.zeros(4, np.int32))  # type: ignore[arg-type]


def test_write_atomic_replaces_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    write_atomic(path, b"old")
    write_atomic(str(path), b"new")
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_write_atomic_leaves_devices_and_pipes_alone(tmp_path: Path) -> None:
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    for path in (pipe, link, Path("/dev/bev-instseg-test")):
        with pytest.raises(OSError, match="not a regular file; choose another") as caught:
            write_atomic(path, b"new")
        assert caught.value.filename == str(path)
    with pytest.raises(OSError, match="not a regular file"), writing_text(pipe):
        pass
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert link.is_symlink()


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_failed_write_atomic_keeps_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "a.bin"
    write_atomic(path, b"old")
    monkeypatch.setattr(os, call, full)
    with pytest.raises(OSError, match="No space left") as caught:
        write_atomic(path, b"new")
    assert caught.value.filename == str(path)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_write_atomic_into_a_missing_folder(tmp_path: Path) -> None:
    path = tmp_path / "none" / "a.bin"
    with pytest.raises(FileNotFoundError) as caught:
        write_atomic(path, b"new")
    assert caught.value.filename == str(path)
