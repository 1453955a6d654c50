"""The command segment --track: ids in files, times and poses, resuming, refusals."""

import csv
import json
import os
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from conftest import CAR, PERSON, Thing, street
from tracks import pose_of

from bev_instseg.cli import segment, segment_tracks
from bev_instseg.exceptions import ScanError
from bev_instseg.export import SweepResult, read_instances
from bev_instseg.export.track_record import label_id
from bev_instseg.jobs.find_items import Item
from bev_instseg.jobs.sequences import find_sequences
from bev_instseg.tracking.given_poses import read_poses, read_times
from bev_instseg.tracking.tracker import is_pose

NUM_SWEEPS = 6


@pytest.fixture
def drive(tmp_path: Path) -> Path:
    """A folder of sweeps past two parked cars, with times and poses: 0.4 m per sweep."""
    folder = tmp_path / "drive"
    folder.mkdir()
    rows = []
    for i in range(NUM_SWEEPS):
        x = 0.4 * i
        things = (Thing(CAR, 9 - x, 3, 0.3), Thing(CAR, 8 - x, -4, -1.2), Thing(PERSON, 7 - x, 0))
        street(things, seed=i)[0].tofile(folder / f"{i + 5}.bin")  # 9 comes before 10
        rows.append(" ".join(f"{value:.6f}" for value in pose_of(x)[:3].ravel()))
    (folder / "poses.txt").write_text("\n".join(rows) + "\n")
    (folder / "times.txt").write_text("".join(f"{0.1 * i}\n" for i in range(NUM_SWEEPS)))
    return folder


def run(inputs: Path, out: Path, weights: str, *more: str) -> int:
    command = [str(inputs), "--out", str(out), "--weights", weights, "--runtime", "torch"]
    return segment.main([*command, "--track", *more])


def contents(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.iterdir()}


def test_a_raised_score_threshold_has_no_effect_and_a_notice_says_so(
    drive: Path, weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain, strict, config = tmp_path / "plain", tmp_path / "strict", tmp_path / "strict.yaml"
    assert run(drive, plain, weights) == 0
    assert "no effect" not in capsys.readouterr().err
    config.write_text("cluster: {score_threshold: 0.99}\n")
    assert run(drive, strict, weights, "--config", str(config)) == 0
    assert "strict.yaml: cluster.score_threshold has no effect" in capsys.readouterr().err
    assert all(
        contents(strict)[name] == data
        for name, data in contents(plain).items()
        if name.endswith(".label")
    )


def test_ids_last_and_are_in_all_outputs(drive: Path, weights: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run(drive, out, weights, "--ply") == 0
    with open(out / "tracks.csv", newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    assert [row["sweep"] for row in table] == sorted((r["sweep"] for r in table), key=int)
    in_table = {(row["sweep"], int(row["id"])): row for row in table}
    seen: dict[int, set[str]] = {}
    for i in range(NUM_SWEEPS):
        name = str(i + 5)
        body = json.loads((out / f"{name}.json").read_text())
        assert body["sequence"]["stamp_s"] == pytest.approx(0.1 * i)
        assert body["sequence"]["pose"][3] == pytest.approx(0.4 * i)
        words = np.fromfile(out / f"{name}.label", np.uint32)
        ids = [one["track"]["id"] for one in body["instances"]]
        assert set((words >> 16).tolist()) - {0} == set(ids)
        instances = read_instances(out / f"{name}.label", out / f"{name}.json")
        for one, entry in zip(instances, body["instances"], strict=True):
            where = instances.labels == one.number
            assert set((words[where] >> 16).tolist()) == {entry["track"]["id"]}
            assert where.sum() == entry["num_points"]
            row = in_table[name, entry["track"]["id"]]
            assert [float(row[axis]) for axis in "xyz"] == entry["track"]["position_m"]
        for number in ids:
            seen.setdefault(number, set()).add(name)
    assert max(map(len, seen.values())) == NUM_SWEEPS
    assert len(table) == sum(map(len, seen.values()))
    assert (out / "tracks.png").read_bytes().startswith(b"\x89PNG")


EXTRAS = ("--unknown", "--ground")


@pytest.mark.parametrize("more", [(), EXTRAS, ("--tiles",)])
def test_an_interrupted_job_ends_as_an_uninterrupted_one(
    more: tuple[str, ...],
    drive: Path,
    weights: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    assert run(drive, out, weights, *more) == 0
    before = contents(out)
    for name in ("8.json", "10.json", "10.label", "tracks.csv", "tracks.png"):
        (out / name).unlink()
    (out / "8.label").unlink()
    capsys.readouterr()
    assert run(drive, out, weights, *more) == 0
    assert "4 of 6 sweeps already have results" in capsys.readouterr().out
    assert contents(out) == before


def test_other_times_change_the_results_of_finished_sweeps(
    drive: Path, weights: str, tmp_path: Path
) -> None:
    out, fresh = tmp_path / "out", tmp_path / "fresh"
    assert run(drive, out, weights) == 0
    (drive / "times.txt").write_text("".join(f"{0.2 * i}\n" for i in range(NUM_SWEEPS)))
    assert run(drive, out, weights) == 0
    assert run(drive, fresh, weights) == 0
    assert contents(out) == contents(fresh)
    assert SweepResult.read(out / "10.json").sequence.stamp_s == pytest.approx(1.0)


def test_odometry_that_was_installed_later_is_used(
    drive: Path,
    weights: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (drive / "poses.txt").unlink()
    monkeypatch.setattr(segment_tracks, "find_spec", lambda name: name != "kiss_icp" or None)
    assert run(drive, tmp_path / "out", weights) == 0
    monkeypatch.setattr(segment_tracks, "find_spec", lambda name: True)
    capsys.readouterr()
    assert run(drive, tmp_path / "out", weights) == 0
    assert "already have results" not in capsys.readouterr().out


def test_sweeps_added_before_finished_ones_are_tracked_as_in_one_run(
    drive: Path, weights: str, tmp_path: Path
) -> None:
    pytest.importorskip("kiss_icp", reason="needs the extra track")
    (drive / "poses.txt").unlink()
    (drive / "times.txt").unlink()
    out, fresh, first = tmp_path / "out", tmp_path / "fresh", tmp_path / "5.bin"
    shutil.move(drive / "5.bin", first)
    assert run(drive, out, weights) == 0
    shutil.move(first, drive / "5.bin")
    assert run(drive, out, weights) == 0
    assert run(drive, fresh, weights) == 0
    assert contents(out) == contents(fresh)


def test_a_sweep_that_fails_now_is_not_in_the_table(
    drive: Path, weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run(drive, out, weights) == 0
    (drive / "7.bin").write_bytes(b"cut short")
    assert run(drive, out, weights, "--play") == 2
    assert capsys.readouterr().err.count("7.bin: ") == 1
    with open(out / "tracks.csv", newline="", encoding="utf-8") as file:
        assert {row["sweep"] for row in csv.DictReader(file)} == {"5", "6", "8", "9", "10"}


def test_poses_that_are_no_longer_given_are_no_longer_used(
    drive: Path, weights: str, tmp_path: Path
) -> None:
    out, fresh = tmp_path / "out", tmp_path / "fresh"
    assert run(drive, out, weights) == 0
    (drive / "poses.txt").unlink()
    assert run(drive, out, weights) == 0
    assert run(drive, fresh, weights) == 0
    assert contents(out) == contents(fresh)


def test_two_sequences_never_share_files(
    drive: Path, weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rear, out = tmp_path / "rear", tmp_path / "out"
    rear.mkdir()
    shutil.copy(drive / "5.bin", rear / "other.bin")
    command = [str(drive), str(rear), "--out", str(out), "--weights", weights, "--track"]
    assert segment.main(command) == 2
    assert f"{rear}: its tracks would be written to the same files as" in capsys.readouterr().err
    assert not out.exists()


def test_a_file_for_rerun_holds_one_sequence(
    drive: Path, weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("rerun", reason="the extra rerun is not installed")
    (drive / "night").mkdir()
    shutil.copy(drive / "5.bin", drive / "night" / "5.bin")
    assert run(drive, tmp_path / "out", weights, "--rerun", str(tmp_path / "both.rrd")) == 2
    assert "is for one sequence, but there are 2" in capsys.readouterr().err


@pytest.mark.parametrize("more", [(), EXTRAS])
def test_both_ways_is_repeatable_and_goes_on(
    more: tuple[str, ...], drive: Path, weights: str, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert run(drive, out, weights, "--smooth", *more) == 0
    before = contents(out)
    for name in ("7.json", "7.label"):
        (out / name).unlink()
    assert run(drive, out, weights, "--smooth", *more) == 0
    assert contents(out) == before


@pytest.mark.parametrize("more", [(), ("--smooth",)])
def test_unknown_things_and_the_ground_leave_the_known_objects_as_they_are(
    more: tuple[str, ...], drive: Path, weights: str, tmp_path: Path
) -> None:
    plain, extras = tmp_path / "plain", tmp_path / "extras"
    assert run(drive, plain, weights, *more) == 0
    assert run(drive, extras, weights, *more, *EXTRAS, "--play") == 0
    new_id, unknown_ids = dict[int, int](), list[set[int]]()
    for i in range(NUM_SWEEPS):
        before, after = (np.fromfile(out / f"{i + 5}.label", np.uint32) for out in (plain, extras))
        kinds = after & 0xFFFF
        known = (kinds > 0) & (kinds != 40) & (kinds != 99)
        np.testing.assert_array_equal(np.where(known, kinds, 0), before & 0xFFFF)
        for old, new in zip(
            (before[known] >> 16).tolist(), (after[known] >> 16).tolist(), strict=True
        ):
            assert new_id.setdefault(old, new) == new
        assert (kinds == 40).sum() > 1000  # the road
        unknown_ids.append(set((after[kinds == 99] >> 16).tolist()))
        assert not unknown_ids[-1] & set((after[known] >> 16).tolist())
        found = read_instances(extras / f"{i + 5}.label", extras / f"{i + 5}.json")
        np.testing.assert_array_equal(found.ground, kinds == 40)
        assert not SweepResult.read(extras / f"{i + 5}.json").sequence.tentative
    assert len(set(new_id.values())) == len(new_id)
    counts = Counter(number for ids in unknown_ids for number in ids)
    assert max(counts.values()) >= 3
    with open(extras / "tracks.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {int(row["id"]) for row in rows} >= set.union(*unknown_ids)
    assert {row["moving"] for row in rows if row["class"] == "unknown"} == {"0"}


def test_a_broken_sweep_is_reported_and_the_others_are_tracked(
    drive: Path, weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (drive / "7.bin").write_bytes(b"cut short")
    out = tmp_path / "out"
    assert run(drive, out, weights) == 2
    assert f"{drive / '7.bin'}: " in capsys.readouterr().err
    assert {path.stem for path in out.glob("*.label")} == {"5", "6", "8", "9", "10"}
    before = contents(out)
    assert run(drive, out, weights) == 2
    assert contents(out) == before


def test_without_times_a_tenth_of_a_second_is_assumed_once(
    drive: Path, weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (drive / "times.txt").unlink()
    assert run(drive, tmp_path / "out", weights) == 0
    assert capsys.readouterr().err.count("so 0.1 s from sweep to sweep is assumed") == 1


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("times.txt", "0\n0.1\n0.1\n0.2\n0.3\n0.4\n", "time does not increase in line 3"),
        ("times.txt", "0\n0.1\n", "2 rows for 6 sweeps"),
        ("times.txt", "0\nnan\n", "line 2: expected 1 numbers"),
        ("poses.txt", "1 0 0 0 0 1 0 0 0 0 2 0\n", "line 1 is not a pose"),
        ("poses.txt", "1 0 0\n", "line 1: expected 12 numbers"),
    ],
)
def test_unusable_times_and_poses_are_refused_in_a_line(
    drive: Path,
    weights: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    text: str,
    complaint: str,
) -> None:
    (drive / name).write_text(text)
    assert run(drive, tmp_path / "out", weights) == 2
    lines = capsys.readouterr().err.splitlines()
    assert str(drive / name) in lines[-1]
    assert complaint in lines[-1]
    assert not list((tmp_path / "out").glob("*"))


@pytest.mark.parametrize("option", [["--shard", "1/2"], ["--ray"]])
def test_options_that_do_not_go_together(
    drive: Path, weights: str, option: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(drive, drive / "out", weights, *option) == 2
    assert f"leave out {option[0]}" in capsys.readouterr().err
    command = [str(drive), "--out", str(drive / "out"), "--weights", weights, "--smooth"]
    assert segment.main(command) == 2
    assert "add --track" in capsys.readouterr().err


def test_a_table_of_the_user_is_not_replaced(
    drive: Path, weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "tracks.csv").write_text("mine\n")
    assert run(drive, out, weights) == 2
    assert "tracks.csv: already exists and was not written by" in capsys.readouterr().err
    assert contents(out) == {"tracks.csv": b"mine\n"}


def test_ids_begin_anew_in_16_bits() -> None:
    assert [label_id(n) for n in (1, 65535, 65536, 131071)] == [1, 65535, 1, 1]
    assert 0 not in {label_id(n) for n in range(1, 200_000, 7)}


def test_files_are_found_beside_or_above_and_rows_by_number(tmp_path: Path) -> None:
    folder = tmp_path / "00" / "velodyne"
    folder.mkdir(parents=True)
    (tmp_path / "00" / "times.txt").write_text("".join(f"{0.1 * i:.1f}\n" for i in range(10)))
    items = [Item(folder / f"{i:06d}.bin", f"{i:06d}") for i in (9, 3, 6)]
    [sequence] = find_sequences(items)
    assert [item.name for item in sequence.items] == ["000003", "000006", "000009"]
    np.testing.assert_allclose(sequence.stamps_s, [0.3, 0.6, 0.9])
    assert sequence.poses is None
    elsewhere = Item(tmp_path / "01" / "1.bin", "1")
    with pytest.raises(ScanError, match="for one folder"):
        find_sequences([*items, elsewhere], times=tmp_path / "00" / "times.txt")


@pytest.mark.parametrize(
    ("first", "step", "step_s", "notice"),
    [
        (1533151603547, 500, 0.5, "times from the names, which count milliseconds since 1970"),
        (1533151603547590, 500_435, 0.500435, "microseconds since 1970"),
        (1533151603547590123, 100_000_000, 0.1, "nanoseconds since 1970"),
        (153315160354, 500, 0.1, "no times.txt, so 0.1 s"),  # 1974 in milliseconds
        (10**12, 5, 0.005, "milliseconds"),
        (1, 5, 0.1, "no times.txt, so 0.1 s"),
    ],
)
@pytest.mark.parametrize("suffix", [".bin", ".pcd.bin"])
def test_times_are_found_in_names(
    tmp_path: Path, first: int, step: int, step_s: float, notice: str, suffix: str
) -> None:
    names = [f"{first + i * step}{suffix}" for i in range(3)]
    [sequence] = find_sequences([Item(tmp_path / name, name) for name in names])
    np.testing.assert_allclose(sequence.stamps_s, step_s * np.arange(3), atol=1e-9)
    assert notice in sequence.notices[0]


def test_decimal_times_in_names_are_in_order(tmp_path: Path) -> None:
    names = [f"1533151603.{fraction}.bin" for fraction in ("4", "5", "6", "45", "55")]
    [sequence] = find_sequences([Item(tmp_path / name, name) for name in names])
    assert [item.name for item in sequence.items] == [names[i] for i in (0, 3, 1, 4, 2)]
    np.testing.assert_allclose(sequence.stamps_s, 0.05 * np.arange(5), atol=1e-9)
    assert "count seconds since 1970" in sequence.notices[0]
    names = [f"1533151603.{nanoseconds}.bin" for nanoseconds in ("5000000", "900000000")]
    [sequence] = find_sequences([Item(tmp_path / name, name) for name in names])
    np.testing.assert_allclose(sequence.stamps_s, [0, 0.895], atol=1e-9)


@pytest.mark.parametrize("per_s", [1e3, 1e6, 1e9, 1e-6])
def test_times_that_are_not_in_seconds_are_refused(tmp_path: Path, per_s: float) -> None:
    path = tmp_path / "times.txt"
    path.write_text("".join(f"{per_s * 0.05 * i:.9g}\n" for i in range(5)))
    with pytest.raises(ScanError, match=r"times\.txt: .* s from sweep to sweep: .* in seconds"):
        read_times(path)


def test_a_gap_in_numbered_names_is_a_gap_in_time(tmp_path: Path) -> None:
    names = [f"{number:06d}.bin" for number in (3, 4, 12)]
    [sequence] = find_sequences([Item(tmp_path / name, name) for name in names])
    np.testing.assert_allclose(sequence.stamps_s, [0, 0.1, 0.9])
    assert "the names skip numbers, first after 000004.bin, so 0.1 s" in sequence.notices[0]


@pytest.mark.parametrize(
    ("names", "is_odd"),
    [
        ("front_1.bin front_2.bin rear_1.bin rear_2.bin", True),
        ("1.bin 2.bin 1.pcd 2.pcd", True),
        ("scan_1.bin scan_10.bin scan_2.bin", False),
        ("1.bin 2.bin first.bin", False),
        ("0.8.bin 0.9.bin 1.bin 1.1.bin 2.bin", False),
        ("-2.bin -1.bin 0.bin 1.bin", False),
    ],
)
def test_sweeps_of_two_sensors_in_one_folder_are_noticed(
    tmp_path: Path, names: str, is_odd: bool
) -> None:
    [sequence] = find_sequences([Item(tmp_path / name, name) for name in names.split()])
    notices = [one for one in sequence.notices if "have names like" in one]
    assert len(notices) == is_odd
    if is_odd:
        first, second = names.split()[::2]
        assert f"names like {first} and {second}, but all are tracked as one" in notices[0]


def test_poses_of_a_camera_become_those_of_the_sensor(tmp_path: Path) -> None:
    to_camera = np.array([[0, -1, 0, 0.1], [0, 0, -1, 0.2], [1, 0, 0, -0.3], [0, 0, 0, 1.0]])
    sensor = [pose_of(1.5 * i, 0.2 * i, 0.1 * i) for i in range(3)]
    camera = [to_camera @ pose @ np.linalg.inv(to_camera) for pose in sensor]
    rows = [" ".join(map(repr, pose[:3].ravel().tolist())) for pose in camera]
    (tmp_path / "poses.txt").write_text("\n".join(rows))
    (tmp_path / "calib.txt").write_text("Tr: " + " ".join(map(str, to_camera[:3].ravel())))
    found, notices = read_poses(tmp_path / "poses.txt")
    np.testing.assert_allclose(found, sensor, atol=1e-12)
    assert notices == (f"poses of a camera, converted to the sensor with {tmp_path / 'calib.txt'}",)
    with pytest.raises(ScanError, match="cannot be read"):
        read_times(tmp_path / "none.txt")
    for doubled in (2 * to_camera[:3], np.zeros((3, 4))):
        (tmp_path / "calib.txt").write_text("Tr: " + " ".join(map(str, doubled.ravel())))
        with pytest.raises(ScanError, match=r"calib.txt: Tr is not a rotation and a translation"):
            read_poses(tmp_path / "poses.txt")
    os.mkfifo(tmp_path / "pipe.txt")
    with pytest.raises(ScanError, match="not a regular file"):
        read_poses(tmp_path / "pipe.txt")


def test_rounded_poses_become_rotations(tmp_path: Path) -> None:
    rows = [pose_of(1.5 * i, 0.2 * i, 0.7 * i)[:3].ravel() for i in range(40)]
    (tmp_path / "poses.txt").write_text("\n".join(" ".join(f"{v:.3f}" for v in r) for r in rows))
    found, _ = read_poses(tmp_path / "poses.txt")
    for pose, row in zip(found, rows, strict=True):
        assert is_pose(np.linalg.inv(found[0]) @ pose)
        np.testing.assert_allclose(pose[:3].ravel(), row, atol=0.002)


def test_a_calibration_among_the_sweeps_tells_whose_poses_they_are(tmp_path: Path) -> None:
    """As in KITTI's odometry: poses/00.txt and sequences/00/calib.txt."""
    to_camera = np.array([[0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, -0.3], [0, 0, 0, 1.0]])
    sensor = [pose_of(1.5 * i, 0.2 * i, 0.1 * i) for i in range(3)]
    camera = [to_camera @ pose @ np.linalg.inv(to_camera) for pose in sensor]
    sweeps = tmp_path / "sequences" / "00" / "velodyne"
    sweeps.mkdir(parents=True)
    for name, poses in (("camera", camera), ("sensor", sensor)):
        rows = [" ".join(map(repr, pose[:3].ravel().tolist())) for pose in poses]
        (tmp_path / f"{name}.txt").write_text("\n".join(rows))
    found, [notice] = read_poses(tmp_path / "camera.txt", sweeps)
    np.testing.assert_allclose(found, camera)
    assert "moves more up or down than along the ground" in notice
    calibration = sweeps.parent / "calib.txt"
    calibration.write_text("Tr: " + " ".join(map(str, to_camera[:3].ravel())))
    found, notices = read_poses(tmp_path / "camera.txt", sweeps)
    np.testing.assert_allclose(found, sensor, atol=1e-12)
    assert notices == (f"poses of a camera, converted to the sensor with {calibration}",)
    found, notices = read_poses(tmp_path / "sensor.txt", sweeps)
    np.testing.assert_allclose(found, sensor)
    assert notices == ()


def test_mirrored_poses_are_refused(tmp_path: Path) -> None:
    (tmp_path / "poses.txt").write_text("1 0 0 0 0 -1 0 0 0 0 1 0\n")
    with pytest.raises(ScanError, match=r"poses\.txt: line 1 is a mirror image: its axes are"):
        read_poses(tmp_path / "poses.txt")
