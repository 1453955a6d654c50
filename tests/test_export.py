"""The files of a sweep: labels, the .json, and which files are written, kept or removed."""

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from bev_instseg.config import CLASSES
from bev_instseg.datasets.kitti_files import CameraCalibration
from bev_instseg.exceptions import ScanError
from bev_instseg.export import (
    Cloud,
    OwnJson,
    Picture,
    Provenance,
    ResultFiles,
    SweepResult,
    read_instances,
    result_paths,
    semantickitti_labels,
    write_result,
)
from bev_instseg.export.sealed_json import FileRecord
from bev_instseg.grid import BEVGrid
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
PROVENANCE = Provenance(
    sweep="ü.bin",
    sweep_bytes=96,
    sweep_sample="00ff",
    axes="flu",
    origin_m=(0.1, 0.0, -2.5),
    level_deg=(0.0, -9.8),
    notices=("intensity 0..255: divided by 255",),
    grid=BEVGrid(),
    weights_sha256="ab" * 32,
    settings="0123456789abcdef",
    calibration=None,
)


def instances(k: int = 2) -> Instances:
    """``k`` alternating cyclists and vehicles of two points each, after two background points."""
    return Instances(
        labels=np.repeat(np.arange(k + 1, dtype=np.int32), 2),
        classes=np.resize(np.array([2, 0], np.int32), k),
        scores=np.linspace(0.987654, 0.5, k, dtype=np.float32),
        boxes=np.resize(np.float32([9.23456, -2, 0.5, 4, 2, 1.5, 0.123456]), (k, 7)),
        class_names=NAMES,
    )


def cloud(n: int = 6, dtype: type = np.float32) -> Cloud:
    """``n`` points, the first with a NaN coordinate, and intensities that are not round numbers."""
    rng = np.random.default_rng(0)
    xyz = rng.uniform(-50, 50, (n, 3)).astype(dtype)
    xyz[:1, 0] = np.nan
    return Cloud(xyz, rng.uniform(0, 1, n).astype(np.float32))


def write(out: Path, *formats: str, calibration: CameraCalibration | None = None) -> list[str]:
    """Write the sweep "a" and return the names of its files."""
    files = ResultFiles(formats, calibration)
    paths = write_result(out / "a", cloud(), instances(), CLASSES, files=files)
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


def test_instance_numbers_up_to_16_bits_fit() -> None:
    labels = semantickitti_labels(instances(65535), CLASS_LABELS)
    assert labels[-1] >> 16 == 65535
    with pytest.raises(ValueError, match="65536 instances"):
        semantickitti_labels(instances(65536), CLASS_LABELS)


def test_class_labels_are_checked() -> None:
    with pytest.raises(ValueError, match="2 entries"):
        semantickitti_labels(instances(), (10, 30))
    with pytest.raises(ValueError, match="must be in 0"):
        semantickitti_labels(instances(), (10, 30, 70000))


# The .json


PROVENANCE_KEYS = [
    *("sweep", "sweep_bytes", "sweep_sample", "axes", "origin_m", "level_deg", "notices", "grid"),
    *("weights_sha256", "settings", "calibration"),
]


def test_the_json_lists_the_instances() -> None:
    tree = json.loads(SweepResult.of(instances(), PROVENANCE).to_bytes())
    keys = ["num_points", "class_names", "instances", "files", "sha256"]
    assert list(tree) == ["about", *PROVENANCE_KEYS, *keys]
    assert tree["about"] == "written by bev_instseg"
    assert tree["sweep"] == "ü.bin"
    assert tree["grid"] == {
        "x_range_m": [-51.2, 51.2],
        "y_range_m": [-51.2, 51.2],
        "z_range_m": [-10.0, 10.0],
        "cell_m": 0.2,
    }
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


def test_the_bytes_of_the_json_stay_as_they_are() -> None:
    one = replace(instances(1), boxes=np.float32([[9.23456, -2, 0.5, 4, 2, 1.5, 0.123456]]))
    data = SweepResult.of(one, replace(PROVENANCE, calibration="cd")).to_bytes()
    assert data.decode() == (
        '{\n "about": "written by bev_instseg",\n "sweep": "ü.bin",\n "sweep_bytes": 96,\n'
        ' "sweep_sample": "00ff",\n "axes": "flu",\n "origin_m": [\n  0.1,\n  0.0,\n  -2.5\n ],\n'
        ' "level_deg": [\n  0.0,\n  -9.8\n ],\n'
        ' "notices": [\n  "intensity 0..255: divided by 255"\n ],\n'
        ' "grid": {\n  "x_range_m": [\n   -51.2,\n   51.2\n  ],\n'
        '  "y_range_m": [\n   -51.2,\n   51.2\n  ],\n'
        '  "z_range_m": [\n   -10.0,\n   10.0\n  ],\n  "cell_m": 0.2\n },\n'
        f' "weights_sha256": "{"ab" * 32}",\n "settings": "0123456789abcdef",\n'
        ' "calibration": "cd",\n "num_points": 4,\n'
        ' "class_names": [\n  "vehicle",\n  "pedestrian",\n  "cyclist"\n ],\n'
        ' "instances": [\n  {\n   "id": 1,\n   "class": "cyclist",\n   "score": 0.9877,\n'
        '   "num_points": 2,\n   "centre_m": [\n    9.235,\n    -2.0,\n    0.5\n   ],\n'
        '   "box": {\n    "length_m": 4.0,\n    "width_m": 2.0,\n    "height_m": 1.5,\n'
        '    "yaw_rad": 0.1235\n   }\n  }\n ],\n "files": [],\n'
        ' "sha256": "408cb21bc2313f79d9af536efb491f7cb99d63bf1a2714ab4c62a78239f27f37"\n}\n'
    )


def test_a_result_without_provenance_has_the_other_keys() -> None:
    tree = json.loads(SweepResult.of(instances()).to_bytes())
    assert list(tree) == ["about", "num_points", "class_names", "instances", "files", "sha256"]


@pytest.mark.parametrize("provenance", [None, PROVENANCE, replace(PROVENANCE, calibration="cd")])
def test_a_result_read_equals_the_one_written(
    tmp_path: Path, provenance: Provenance | None
) -> None:
    path = tmp_path / "a.json"
    for k in (0, 3):
        result = SweepResult.of(instances(k), provenance)
        path.write_bytes(result.to_bytes())
        assert SweepResult.read(path) == result
        assert SweepResult.read(path).to_bytes() == result.to_bytes()


def test_results_of_earlier_versions_are_read(tmp_path: Path) -> None:
    """Their provenance had fewer entries, or others."""
    path = tmp_path / "a.json"
    result = SweepResult.of(instances(), PROVENANCE)
    tree = json.loads(result.to_bytes())
    path.write_text(json.dumps({**tree, "timing_ms": {"network": 12.5}}))
    assert SweepResult.read(path) == result
    for key in ("about", *PROVENANCE_KEYS):
        path.write_text(json.dumps({k: v for k, v in tree.items() if k != key}))
        expected = result if key == "about" else replace(result, provenance=None)
        assert SweepResult.read(path) == expected


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("sweep", 1),
        ("sweep_bytes", "96"),
        ("sweep_sample", 96),
        ("axes", None),
        ("origin_m", [0, 0]),
        ("origin_m", [0, 0, float("inf")]),
        ("level_deg", [0]),
        ("level_deg", [0, "flat"]),
        ("notices", [1]),
        ("grid", {"cell_m": 0}),
        ("grid", {"cell_m": 0.2}),
        ("grid", {**asdict(BEVGrid()), "cell_m": 0}),
        ("grid", {**asdict(BEVGrid()), "z_range_m": [1, 2, 3]}),
        ("grid", []),
        ("grid", 1),
        ("weights_sha256", 7),
        ("settings", 7),
        ("calibration", 7),
    ],
)
def test_a_wrong_provenance_is_refused(tmp_path: Path, key: str, value: object) -> None:
    path = tmp_path / "a.json"
    tree = json.loads(SweepResult.of(instances(), PROVENANCE).to_bytes())
    path.write_text(json.dumps({**tree, key: value}))
    with pytest.raises(ScanError, match=f"^{path}: not a complete result of bev-instseg; segment"):
        SweepResult.read(path)


def test_the_same_input_makes_the_same_bytes(tmp_path: Path) -> None:
    files = ResultFiles(("ply", "pcd"))
    for folder in ("one", "two"):
        write_result(tmp_path / folder / "a", cloud(), instances(), CLASSES, PROVENANCE, files)
    for name in names(tmp_path / "one"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


# Which files are written, kept or removed


def test_writes_labels_and_objects(tmp_path: Path) -> None:
    out = tmp_path / "new" / "folder"
    paths = write_result(out / "000042", cloud(), instances(), CLASSES, PROVENANCE)
    assert paths == [out / "000042.label", out / "000042.json"]
    assert sorted(out.iterdir()) == sorted(paths)
    expected = semantickitti_labels(instances(), CLASS_LABELS)
    np.testing.assert_array_equal(read_labels(paths[0], 6), expected)
    result = SweepResult.read(paths[1])
    assert replace(result, files=()) == SweepResult.of(instances(), PROVENANCE)
    assert result.files == (FileRecord.of(".label", paths[0].read_bytes()),)


def test_paths_are_listed_in_the_order_of_writing(tmp_path: Path) -> None:
    written = write(tmp_path, "pcd", "ply", calibration=CAMERA)
    assert written == ["a.label", "a.ply", "a.pcd", "a.txt", "a.json"]
    assert result_paths(tmp_path / "a", ("pcd", "ply"), True) == [tmp_path / n for n in written]
    times = [(tmp_path / name).stat().st_mtime_ns for name in written]
    assert times == sorted(times)
    assert result_paths("x/1.5", ("laz",)) == [Path(f"x/1.5.{s}") for s in ("label", "laz", "json")]
    with pytest.raises(ValueError, match="format must be one of ply, pcd, laz, got 'las'"):
        result_paths(tmp_path / "a", ("ply", "las"))


def test_folders_are_created_and_dots_in_names_kept(tmp_path: Path) -> None:
    paths = write_result(str(tmp_path / "00" / "x" / "a.b"), cloud(), instances(), CLASSES)
    assert paths == [tmp_path / "00" / "x" / "a.b.label", tmp_path / "00" / "x" / "a.b.json"]
    assert all(path.is_file() for path in paths)


def test_files_of_a_different_result_are_removed(tmp_path: Path) -> None:
    target = tmp_path / "a"
    every = ResultFiles(("ply", "pcd"), CAMERA, pictures={Picture.MAPS: b"maps"})
    pcd = ResultFiles(("pcd",))
    write_result(target, cloud(), instances(), CLASSES, PROVENANCE, every)
    (tmp_path / "b.ply").write_bytes((tmp_path / "a.ply").read_bytes())
    everything = ["a.json", "a.label", "a.pcd", "a.ply", "a.txt", "a_maps.png", "b.ply"]
    for same in (PROVENANCE, replace(PROVENANCE, calibration="different")):
        write_result(target, cloud(), instances(), CLASSES, same, pcd)
        assert names(tmp_path) == everything
        suffixes = [file.suffix for file in SweepResult.read(tmp_path / "a.json").files]
        assert sorted(suffixes) == sorted(name[1:] for name in everything[1:-1])
    for different in (None, replace(PROVENANCE, settings="other"), PROVENANCE, None):
        write_result(target, cloud(), instances(), CLASSES, different, every)
        write_result(target, cloud(), instances(), CLASSES, different, pcd)
        assert names(tmp_path) == everything
        changed = replace(PROVENANCE, settings="changed")
        write_result(target, cloud(), instances(), CLASSES, changed, pcd)
        assert names(tmp_path) == ["a.json", "a.label", "a.pcd", "b.ply"]


def test_the_json_lists_the_files_with_size_and_hash(tmp_path: Path) -> None:
    files = ResultFiles(("ply",), CAMERA, pictures={Picture.BEV: b"png"})
    write_result(tmp_path / "a", cloud(), instances(), CLASSES, files=files)
    tree = json.loads((tmp_path / "a.json").read_bytes())
    assert [file["suffix"] for file in tree["files"]] == [".label", ".ply", ".txt", ".png"]
    for file in tree["files"]:
        content = (tmp_path / f"a{file['suffix']}").read_bytes()
        assert (file["num_bytes"], file["sha256"]) == (len(content), sha256(content).hexdigest())


@pytest.mark.parametrize("suffix", [".png", "_maps.png", ".html", ".txt", ".ply", ".label"])
def test_a_file_that_the_user_put_there_since_is_not_touched(tmp_path: Path, suffix: str) -> None:
    every = ResultFiles(("ply",), CAMERA, pictures={picture: b"png" for picture in Picture})
    write_result(tmp_path / "a", cloud(), instances(), CLASSES, PROVENANCE, every)
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"other"[: path.stat().st_size])
    mine, json_before = path.read_bytes(), (tmp_path / "a.json").read_bytes()
    changed = replace(PROVENANCE, settings="changed")
    with pytest.raises(ScanError, match=f"^{path}: already exists and was not written by"):
        write_result(tmp_path / "a", cloud(), instances(), CLASSES, changed, every)
    assert (tmp_path / "a.json").read_bytes() == json_before
    if suffix != ".label":  # removed unless it is the user's
        write_result(tmp_path / "a", cloud(), instances(), CLASSES, changed)
        assert names(tmp_path) == sorted(["a.json", "a.label", path.name])
    assert path.read_bytes() == mine


def test_a_json_from_elsewhere_cannot_have_other_files_removed(tmp_path: Path) -> None:
    write(tmp_path)
    victim = tmp_path / "a2.bin"
    victim.write_bytes(b"a sweep")
    tree = json.loads((tmp_path / "a.json").read_bytes())
    hostile = {"suffix": "2.bin", "num_bytes": 7, "sha256": sha256(b"a sweep").hexdigest()}
    (tmp_path / "a.json").write_text(json.dumps({**tree, "files": [*tree["files"], hostile]}))
    with pytest.raises(ScanError, match="not a complete result"):
        SweepResult.read(tmp_path / "a.json")
    with pytest.raises(ScanError, match=r"a\.json: already exists"):
        write(tmp_path)
    assert victim.exists()


@pytest.mark.parametrize(
    "edit",
    [
        lambda text: text.replace('"score": 0.9877', '"score": 0.5'),
        lambda text: text.replace("{\n", '{\n "reviewed": true,\n', 1),
        lambda text: json.dumps(json.loads(text)),
        lambda text: text.replace('"ü.bin"', '"u.bin"').replace("\n}", " \n}"),
    ],
)
def test_an_edited_json_is_not_replaced(tmp_path: Path, edit: Callable[[str], str]) -> None:
    write_result(tmp_path / "a", cloud(), instances(), CLASSES, PROVENANCE)
    path = tmp_path / "a.json"
    assert OwnJson.read(path) is not None
    path.write_text(edited := edit(path.read_text(encoding="utf-8")), encoding="utf-8")
    assert SweepResult.read(path).num_points == 6  # still readable
    assert OwnJson.read(path) is None
    with pytest.raises(ScanError, match=f"^{path}: already exists and .* or was changed since"):
        write_result(tmp_path / "a", cloud(), instances(), CLASSES, PROVENANCE)
    assert path.read_text(encoding="utf-8") == edited


def test_a_result_of_an_earlier_version_is_left_alone(tmp_path: Path) -> None:
    write_result(tmp_path / "a", cloud(), instances(), CLASSES, PROVENANCE)
    path = tmp_path / "a.json"
    tree = json.loads(path.read_bytes())
    del tree["files"], tree["sha256"]
    path.write_text(json.dumps(tree))
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(
        ScanError,
        match=r"a\.label: already exists, and a\.json, written by an earlier version, does not "
        "list it; move both or choose another output folder",
    ):
        write_result(tmp_path / "a", cloud(), instances(), CLASSES, PROVENANCE)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_link_in_the_way_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "a.label").symlink_to(tmp_path / "absent")
    with pytest.raises(ScanError, match=r"a\.label: already exists"):
        write(tmp_path)
    assert (tmp_path / "a.label").is_symlink()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.ply", "ply\nformat ascii 1.0\nelement vertex 0\nend_header\n"),
        ("a.pcd", "VERSION 0.7\nFIELDS x y z\n"),
        ("a.txt", "Car 0 0 0 1 2 3 4 1.5 1.6 4 1 2 20 0\n"),  # ground truth has 15 fields
        ("a.txt", ""),
        ("a.json", '{"instances": []}'),
        ("a.label", "1234"),
        ("a.png", "a photograph"),
        ("a.html", "<p>"),
    ],
)
def test_files_of_other_programs_are_not_touched(tmp_path: Path, name: str, content: str) -> None:
    path = tmp_path / name
    path.write_text(content)
    if name not in ("a.json", "a.label"):
        write(tmp_path)
        assert path.read_text() == content
        (tmp_path / "a.label").unlink()
        (tmp_path / "a.json").unlink()
    pictures = {Picture.BEV: b"png", Picture.WEB_PAGE: b"page"}
    with pytest.raises(
        ValueError, match=f"^{path}: already exists and was not written by"
    ) as caught:
        write_result(
            tmp_path / "a",
            cloud(),
            instances(),
            CLASSES,
            files=ResultFiles(("ply", "pcd"), CAMERA, pictures=pictures),
        )
    assert "\n" not in str(caught.value)
    assert names(tmp_path) == [name]
    assert path.read_text() == content


def test_a_full_disk_leaves_the_earlier_result_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "pcd")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    for fails_at in range(1, 6):  # .label, .ply, .pcd and twice the .json
        calls = iter(range(1, 9))

        def full_disk(_: int, calls: Iterator[int] = calls, fails_at: int = fails_at) -> None:
            if next(calls) == fails_at:
                raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full_disk)
        with pytest.raises(OSError, match="No space left") as caught:
            write(tmp_path, "ply", "pcd")
        suffix = ("label", "ply", "pcd", "json", "json")[fails_at - 1]
        assert caught.value.filename == str(tmp_path / f"a.{suffix}")
        assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("is_same", [True, False])
def test_a_process_killed_between_two_files_leaves_what_the_next_run_repairs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_same: bool
) -> None:
    class Killed(BaseException):
        pass

    target, every, pcd = tmp_path / "a", ResultFiles(("ply", "pcd")), ResultFiles(("pcd",))
    provenance = PROVENANCE if is_same else replace(PROVENANCE, settings="other")
    for moves in range(1, 6):
        write_result(target, cloud(4), instances(1), CLASSES, PROVENANCE, pcd)
        calls, move = iter(range(9)), os.replace

        def killed(old: Path, new: Path, calls: Iterator[int] = calls, moves: int = moves) -> None:
            if next(calls) == moves:
                raise Killed
            move(old, new)  # noqa: B023

        found = instances(1 if is_same else 2)
        monkeypatch.setattr(os, "replace", killed)
        arguments = (target, cloud(len(found.labels)), found, CLASSES, provenance, every)
        with contextlib.suppress(Killed):
            write_result(*arguments)
        monkeypatch.undo()
        if not is_same and moves < 5:
            with pytest.raises(ScanError, match="not a complete result"):
                SweepResult.read(tmp_path / "a.json")
        write_result(*arguments)
        assert names(tmp_path) == ["a.json", "a.label", "a.pcd", "a.ply"]
        assert read_instances(tmp_path / "a.label", tmp_path / "a.json").labels.shape
        for path in tmp_path.iterdir():
            path.unlink()


def test_results_written_at_the_same_time_are_not_mixed(tmp_path: Path) -> None:
    def write_often(k: int) -> None:
        provenance = replace(PROVENANCE, settings=str(k))
        for _ in range(10):
            write_result(tmp_path / "a", cloud(2 * k + 2), instances(k), CLASSES, provenance)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write_often, range(4)))
    read_instances(tmp_path / "a.label", tmp_path / "a.json")
    assert names(tmp_path) == ["a.json", "a.label"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"[" * 100_000, "not a complete result of bev-instseg"),
        (b'{"a":' * 100_000, "not a complete result of bev-instseg"),
        (b" " * (65 << 20), r"cannot be read \(too large"),
    ],
)
def test_a_json_too_deep_or_too_large_is_refused(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(ScanError, match=f"^{path}: {reason}"):
        SweepResult.read(path)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"provenance": replace(PROVENANCE, origin_m=(0.0, 0.0, float("nan")))}, ValueError),
        ({"provenance": replace(PROVENANCE, sweep=Path())}, TypeError),
        ({"cloud": cloud(5)}, ValueError),
        ({"classes": CLASSES[::-1]}, ValueError),
        ({"files": ResultFiles(("las",))}, ValueError),
    ],
)
def test_wrong_arguments_write_nothing(
    tmp_path: Path, changes: dict, error: type[Exception]
) -> None:
    right = {"cloud": cloud(), "instances": instances(), "classes": CLASSES}
    with pytest.raises(error):
        write_result(tmp_path / "out" / "a", **{**right, **changes})
    assert not (tmp_path / "out").exists()


def test_a_cloud_checks_its_arrays() -> None:
    with pytest.raises(ValueError, match="xyz must be float32"):
        Cloud(np.zeros((2, 3), np.int32), np.zeros(2, np.float32))
    with pytest.raises(ValueError, match="intensity must be float32"):
        Cloud(np.zeros((2, 3), np.float64), np.zeros(3, np.float32))
    for wrong in (-0.1, 1.1, np.nan):
        with pytest.raises(ValueError, match="intensity must be in"):
            Cloud(np.zeros((1, 3), np.float32), np.float32([wrong]))
