"""What is written of a sweep: labels, the list of objects, and which files stand in the folder."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bev_instseg.config import CLASSES
from bev_instseg.datasets.kitti import CameraCalibration
from bev_instseg.exceptions import ScanError
from bev_instseg.export import (
    Cloud,
    instances_to_dict,
    read_instances,
    result_paths,
    semantickitti_labels,
    write_result,
)
from bev_instseg.file_io import write_atomic
from bev_instseg.io.labels import read_labels
from bev_instseg.structures import Instances

NAMES = ("vehicle", "pedestrian", "cyclist")
CLASS_LABELS = (10, 30, 31)
# Camera axes: x right = -y, y down = -z, z forward = x. 700 px, middle (620, 180).
CAMERA = CameraCalibration(
    np.array([(0.0, -1, 0), (0, 0, -1), (1, 0, 0)]),
    np.zeros(3),
    np.array([(700.0, 0, 620, 0), (0, 700, 180, 0), (0, 0, 1, 0)]),
)


def instances(k: int = 2) -> Instances:
    """``k`` cyclists and vehicles in turns, two points each, after two points of background."""
    return Instances(
        labels=np.repeat(np.arange(k + 1, dtype=np.int32), 2),
        classes=np.resize(np.array([2, 0], np.int32), k),
        scores=np.linspace(0.987654, 0.5, k, dtype=np.float32),
        boxes=np.resize(np.float32([9.23456, -2, 0.5, 4, 2, 1.5, 0.123456]), (k, 7)),
        class_names=NAMES,
    )


def cloud(n: int = 6, dtype: type = np.float32) -> Cloud:
    """``n`` points whose first has no place, and intensities that are no round numbers."""
    rng = np.random.default_rng(0)
    xyz = rng.uniform(-50, 50, (n, 3)).astype(dtype)
    xyz[:1, 0] = np.nan
    return Cloud(xyz, rng.uniform(0, 1, n).astype(np.float32))


def write(out: Path, *formats: str, calibration: CameraCalibration | None = None) -> list[str]:
    """Write the sweep "a"; the names of the files returned."""
    paths = write_result(out, "a", cloud(), instances(), CLASSES, {}, formats, calibration)
    return [path.name for path in paths]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# Labels


def test_labels_hold_class_and_instance() -> None:
    labels = semantickitti_labels(instances(), CLASS_LABELS)
    assert labels.dtype == np.uint32
    np.testing.assert_array_equal(labels & 0xFFFF, [0, 0, 31, 31, 10, 10])
    np.testing.assert_array_equal(labels >> 16, [0, 0, 1, 1, 2, 2])


def test_no_instances_and_no_points() -> None:
    some = instances(0)
    np.testing.assert_array_equal(semantickitti_labels(some, CLASS_LABELS), [0, 0])
    none = replace(some, labels=some.labels[:0])
    assert semantickitti_labels(none, CLASS_LABELS).shape == (0,)


def test_16_bits_are_used_to_the_last() -> None:
    labels = semantickitti_labels(instances(65535), CLASS_LABELS)
    assert labels[-1] >> 16 == 65535
    with pytest.raises(ValueError, match="65536 instances"):
        semantickitti_labels(instances(65536), CLASS_LABELS)


def test_class_labels_are_checked() -> None:
    with pytest.raises(ValueError, match="2 numbers"):
        semantickitti_labels(instances(), (10, 30))
    with pytest.raises(ValueError, match="must lie in 0"):
        semantickitti_labels(instances(), (10, 30, 70000))


# The list of objects


def test_dictionary_lists_the_objects() -> None:
    tree = instances_to_dict(instances(), {"sweep": "a.bin"})
    assert list(tree) == ["about", "sweep", "num_points", "class_names", "instances"]
    assert (tree["num_points"], tree["class_names"]) == (6, list(NAMES))
    first, second = tree["instances"]
    assert first == {
        "id": 1,
        "class": "cyclist",
        "score": 0.9877,
        "num_points": 2,
        "centre_m": [9.235, -2.0, 0.5],
        "box": {
            "length_m": 4.0,
            "width_m": 2.0,
            "height_m": 1.5,
            "yaw_rad": 0.1235,
        },
    }
    assert (second["id"], second["class"], second["score"]) == (2, "vehicle", 0.5)


def test_extra_entries_may_repeat_but_not_contradict() -> None:
    tree = instances_to_dict(instances(), {"num_points": 6, "sweep": "a.bin"})
    assert list(tree) == ["about", "num_points", "sweep", "class_names", "instances"]
    for extra in ({"about": "me"}, {"instances": []}, {"num_points": 5}, {"class_names": ["car"]}):
        with pytest.raises(ValueError, match=f"entry '{next(iter(extra))}'"):
            instances_to_dict(instances(), extra)


def test_the_same_input_makes_the_same_bytes(tmp_path: Path) -> None:
    extra = {"z": 1, "a": {"y": 0.1, "b": "ü"}}
    for folder in ("one", "two"):
        write_result(tmp_path / folder, "a", cloud(), instances(), CLASSES, extra, ("ply", "pcd"))
    for name in names(tmp_path / "one"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


# Which files stand in the folder


def test_writes_labels_and_objects(tmp_path: Path) -> None:
    out = tmp_path / "new" / "folder"
    extra = {"timing_ms": {"network": 12.5}, "grid": {"cell_m": 0.2}}
    paths = write_result(out, "000042", cloud(), instances(), CLASSES, extra)
    assert paths == [out / "000042.label", out / "000042.json"]
    assert sorted(out.iterdir()) == sorted(paths)
    expected = semantickitti_labels(instances(), CLASS_LABELS)
    np.testing.assert_array_equal(read_labels(paths[0], 6), expected)
    tree = json.loads(paths[1].read_text(encoding="utf-8"))
    assert tree == instances_to_dict(instances(), extra)


def test_paths_are_foretold_in_the_order_of_writing(tmp_path: Path) -> None:
    written = write(tmp_path, "pcd", "ply", calibration=CAMERA)
    assert written == ["a.label", "a.ply", "a.pcd", "a.txt", "a.json"]
    assert result_paths(tmp_path, "a", ("pcd", "ply"), True) == [tmp_path / n for n in written]
    times = [(tmp_path / name).stat().st_mtime_ns for name in written]
    assert times == sorted(times)
    assert result_paths("x", "1.5", ("laz",)) == [
        Path(f"x/1.5.{s}") for s in ("label", "laz", "json")
    ]
    with pytest.raises(ValueError, match="format 'las': choose out of ply, pcd, laz"):
        result_paths(tmp_path, "a", ("ply", "las"))


def test_a_name_may_hold_folders(tmp_path: Path) -> None:
    paths = write_result(tmp_path, "00/x/a", cloud(), instances(), CLASSES, {})
    assert paths == [tmp_path / "00" / "x" / "a.label", tmp_path / "00" / "x" / "a.json"]
    assert all(path.is_file() for path in paths)


def test_what_says_something_else_goes(tmp_path: Path) -> None:
    write(tmp_path, "ply", "pcd", calibration=CAMERA)
    (tmp_path / "b.ply").write_bytes((tmp_path / "a.ply").read_bytes())
    (tmp_path / "a_maps.png").touch()
    everything = ["a.json", "a.label", "a.pcd", "a.ply", "a.txt", "a_maps.png", "b.ply"]
    for extra in ({}, {"calibration": "another"}):  # the same: what is not written anew stays
        write_result(tmp_path, "a", cloud(), instances(), CLASSES, extra, ("pcd",))
        assert names(tmp_path) == everything
    write_result(tmp_path, "a", cloud(), instances(), CLASSES, {}, pictures=("maps",))
    assert names(tmp_path) == [name for name in everything if name != "a_maps.png"]
    write_result(tmp_path, "a", cloud(), instances(), CLASSES, {"settings": 1}, ("pcd",))
    assert names(tmp_path) == ["a.json", "a.label", "a.pcd", "b.ply"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.ply", "ply\nformat ascii 1.0\nelement vertex 0\nend_header\n"),
        ("a.pcd", "VERSION 0.7\nFIELDS x y z\n"),
        ("a.txt", "Car 0 0 0 1 2 3 4 1.5 1.6 4 1 2 20 0\n"),  # the truth: 15 fields
        ("a.txt", ""),
        ("a.json", '{"instances": []}'),
        ("a.label", "1234"),
        ("a.png", "a photograph"),
        ("a.html", "<p>"),
    ],
)
def test_files_of_others_stay(tmp_path: Path, name: str, content: str) -> None:
    path = tmp_path / name
    path.write_text(content)
    if name not in ("a.json", "a.label"):
        write(tmp_path)
        assert path.read_text() == content
        (tmp_path / "a.label").unlink()
        (tmp_path / "a.json").unlink()
    with pytest.raises(ValueError, match=f"^{path}: is there already") as caught:
        write_result(
            *(tmp_path, "a", cloud(), instances(), CLASSES, {}, ("ply", "pcd"), CAMERA),
            pictures=("png", "html"),
        )
    assert "\n" not in str(caught.value)
    assert names(tmp_path) == [name]
    assert path.read_text() == content


def test_a_json_stands_for_what_is_written_to_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "ply")

    def full_disk(path: Path, data: bytes) -> None:
        if path.suffix == ".label":
            raise OSError(28, "No space left on device", str(path))
        write_atomic(path, data)

    monkeypatch.setattr("bev_instseg.export.result.write_atomic", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write(tmp_path, "ply")
    assert names(tmp_path) == ["a.json", "a.label", "a.ply"]
    with pytest.raises(ScanError):
        read_instances(tmp_path / "a.label", tmp_path / "a.json")
    monkeypatch.undo()
    write(tmp_path)  # and the next run clears up after the one that failed
    assert names(tmp_path) == ["a.json", "a.label"]


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"extra": {"time": float("nan")}}, ValueError),
        ({"extra": {"path": Path()}}, TypeError),
        ({"cloud": cloud(5)}, ValueError),
        ({"classes": CLASSES[::-1]}, ValueError),
        ({"formats": ("las",)}, ValueError),
    ],
)
def test_writes_nothing_of_what_does_not_fit(
    tmp_path: Path, changes: dict, error: type[Exception]
) -> None:
    fitting = {"cloud": cloud(), "instances": instances(), "classes": CLASSES, "extra": {}}
    with pytest.raises(error):
        write_result(tmp_path / "out", "a", **{**fitting, **changes})
    assert not (tmp_path / "out").exists()


def test_a_cloud_checks_itself() -> None:
    with pytest.raises(ValueError, match="xyz must be float32"):
        Cloud(np.zeros((2, 3), np.int32), np.zeros(2, np.float32))
    with pytest.raises(ValueError, match="intensity must be float32"):
        Cloud(np.zeros((2, 3), np.float64), np.zeros(3, np.float32))
    for wrong in (-0.1, 1.1, np.nan):
        with pytest.raises(ValueError, match="intensity must lie"):
            Cloud(np.zeros((1, 3), np.float32), np.float32([wrong]))
