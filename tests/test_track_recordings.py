"""The command segment on recordings: objects keep their ids, and motion comes from the bag."""

import csv
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from bags import CLOUD, START_NS, TF, Bag, cloud, header, new, stamp, writing
from conftest import CALIBRATION, CAR, PERSON, Thing, one_thread_environment, street
from scipy.spatial.transform import Rotation
from test_segment_recordings import KILLED, lines
from tracks import instances_of, pose_of

from bev_instseg.cli import segment
from bev_instseg.config import Config
from bev_instseg.export.ros_messages import (
    DETECTIONS,
    MARKERS,
    TOPICS,
    TRACKS,
    Encoder,
    SegmentedSweep,
    message_types,
)
from bev_instseg.export.stored_sweeps import StoredSweep, stored_sweeps
from bev_instseg.io.recordings.point_cloud2 import StampedSweep
from bev_instseg.io.recordings.poses import Samples
from bev_instseg.io.recordings.recording import Recording
from bev_instseg.io.sensor_setup import sensor_rotation
from bev_instseg.tracking.tracker import Tracker

NUM_SWEEPS = 8
EGO_M = 0.4  # per sweep


def sweep(i: int) -> np.ndarray:
    """Two parked cars, a car that drives ahead with 10 m/s, and a person who stands."""
    x = EGO_M * i
    things = (Thing(CAR, 9 - x, 3, 0.3), Thing(CAR, 5 + 0.6 * i, -4), Thing(PERSON, 7 - x, 0))
    return street(things, seed=i)[0]


SWEEPS = [sweep(i) for i in range(NUM_SWEEPS)]


def moving(i: int, parent: str, child: str, store: Any) -> Any:
    """A ``TFMessage`` with the place of the sensor at sweep ``i``."""
    body = new(
        store,
        "geometry_msgs/Transform",
        new(store, "geometry_msgs/Vector3", EGO_M * i, 0.0, 0.0),
        new(store, "geometry_msgs/Quaternion", 0.0, 0.0, 0.0, 1.0),
    )
    at = header(store, stamp(i), parent)
    return new(
        store, "tf2_msgs/TFMessage", [new(store, "geometry_msgs/TransformStamped", at, child, body)]
    )


def write_drive(folder: Path, kind: str = "mcap") -> Path:
    """A recording of the sweeps with ``/tf`` from ``odom`` to ``velodyne``."""
    folder.mkdir(parents=True, exist_ok=True)
    with writing(folder, kind) as bag:
        for i, points in enumerate(SWEEPS):
            bag.write("/tf", TF, stamp(i), moving(i, "odom", "velodyne", bag.store))
            bag.cloud("/points", points, i)
    return folder / f"drive.{kind}"


def run(path: Path, out: Path, weights: str, *more: str) -> int:
    command = [str(path), "--out", str(out), "--weights", weights, "--runtime", "torch"]
    return segment.main([*command, *more])


def as_folder(tmp_path: Path, weights: str, *more: str) -> Path:
    """The results of the same sweeps in a folder, with the same times and poses."""
    folder = tmp_path / "bins"
    folder.mkdir()
    for i, points in enumerate(SWEEPS):
        points.tofile(folder / f"{i:06}.bin")
    (folder / "times.txt").write_text("".join(f"{stamp(i) / 1e9:.6f}\n" for i in range(NUM_SWEEPS)))
    rows = [pose_of(EGO_M * i)[:3].ravel() for i in range(NUM_SWEEPS)]
    np.savetxt(folder / "poses.txt", rows)
    assert run(folder, tmp_path / "folder", weights, "--track", *more) == 0
    return tmp_path / "folder"


def table(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def parsed(stored: StoredSweep, topic: tuple[str, str]) -> Any:
    data = stored.messages[(TRACKS, *TOPICS).index(topic)]
    return message_types().deserialize_cdr(data, topic[1])


def same_numbers(mine: dict[str, str], theirs: dict[str, str]) -> None:
    """Rows of tables are the same but for rounding; a heading may be turned by half a turn."""
    assert mine["class"] == theirs["class"]
    for key in set(mine) - {"class", "sweep"}:
        gap = float(mine[key]) - float(theirs[key])
        assert abs(np.sin(gap) if key == "heading" else gap) < 2e-3, key


@pytest.mark.parametrize("extras", [(), ("--unknown", "--ground"), ("--tiles",)])
@pytest.mark.parametrize("more", [(), ("--smooth",)])
def test_a_recording_has_the_tracks_of_its_sweeps_as_files(
    more: tuple[str, ...], extras: tuple[str, ...], weights: str, tmp_path: Path
) -> None:
    more = (*more, *extras)
    folder = as_folder(tmp_path, weights, *more)
    path, out = write_drive(tmp_path / "in"), tmp_path / "out"
    assert run(path, out, weights, "--poses", "odom", *more) == 0
    assert {one.name for one in out.iterdir()} == {
        *("drive.mcap", "drive_tracks.csv", "drive_tracks.png")
    }
    for i, stored in enumerate(stored_sweeps(out / "drive.mcap")):
        words = np.fromfile(folder / f"{i:06}.label", np.uint32)
        columns = stored.points.extras
        np.testing.assert_array_equal(columns["instance"], words >> 16)
        np.testing.assert_array_equal(columns["class"], words & 0xFFFF)
    mine, theirs = table(out / "drive_tracks.csv"), table(folder / "tracks.csv")
    assert len(mine) == len(theirs) > 2 * NUM_SWEEPS
    for row, other in zip(mine, theirs, strict=True):
        same_numbers(row, other)
    assert max(list(row["id"] for row in mine).count(i) for i in {r["id"] for r in mine}) == 8


def test_ids_and_velocities_are_in_all_messages(weights: str, tmp_path: Path) -> None:
    path, out = write_drive(tmp_path / "in"), tmp_path / "out"
    assert run(path, out, weights, "--poses", "odom") == 0
    rows = {(int(r["frame"]), int(r["id"])): r for r in table(out / "drive_tracks.csv")}
    arrows = 0
    for stored in stored_sweeps(out / "drive.mcap"):
        here = {number: row for (frame, number), row in rows.items() if frame == stored.index}
        assert {int(one.id) for one in parsed(stored, DETECTIONS).detections} == set(here)
        markers = parsed(stored, MARKERS).markers[1:]
        assert {one.id for one in markers} == set(here)
        for one in markers:
            row = here[one.id]
            speed = np.hypot(float(row["vx"]), float(row["vy"]))
            if one.ns == "names":
                assert one.text.startswith(f"{row['id']} {row['class']} ")
                assert ("m/s" in one.text) == (row["moving"] == "1")
            elif one.ns == "velocities":
                arrows += 1
                start, end = one.points
                np.testing.assert_allclose(end.x - start.x, float(row["vx"]), atol=1e-3)
                np.testing.assert_allclose(end.y - start.y, float(row["vy"]), atol=1e-3)
                text = next(m.text for m in markers if (m.ns, m.id) == ("names", one.id))
                assert text.endswith(f" {speed:.1f} m/s")
    assert arrows == sum(row["moving"] == "1" for row in rows.values()) > 0


def test_velocities_are_in_the_coordinates_of_the_points() -> None:
    """The sensor has turned left by 90 degrees in the world, and its z axis points down."""
    tracker = Tracker()
    for i in range(8):  # drives along the world's x with 5 m/s: to the right of the sensor
        row = [("vehicle", 6.0, 4 - 0.5 * i, np.pi / 2, 0.9)]
        tracked = tracker.update_instances(instances_of(row), 0.1 * i, pose_of(0, 0, np.pi / 2))
    np.testing.assert_allclose(tracked.tracks.velocity_mps, [(5, 0)], atol=0.1)
    sweep = StampedSweep(0, "velodyne", "/points", np.zeros((1, 4), np.float32))
    result = SegmentedSweep(sweep, tracked, sensor_rotation("frd", (0, 0)), np.zeros(3))
    np.testing.assert_allclose(result.velocities_mps, [(0, 5, 0)], atol=0.1)
    assert result.ids.tolist() == [1]
    messages = b"", *Encoder(Config().classes).encode(result)
    stored = StoredSweep(0, 0, messages)
    place = {one.ns: one.pose.position for one in parsed(stored, MARKERS).markers[1:]}
    assert place["names"].z < place["boxes"].z  # above it
    assert (place["names"].x, place["names"].y) == (place["boxes"].x, place["boxes"].y)


def test_a_killed_job_goes_on_with_the_same_ids(
    weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = write_drive(tmp_path / "in", "bag"), tmp_path / "out"
    whole = tmp_path / "whole"
    assert run(path, whole, weights) == 0
    command = [str(path), "--out", str(out), "--weights", weights, "--runtime", "torch"]
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, "3", *command],
        env=one_thread_environment(),
        capture_output=True,
        timeout=120,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert [one.index for one in stored_sweeps(out / "drive.mcap.part")] == [0, 1, 2, 3]
    capsys.readouterr()
    assert run(path, out, weights) == 0
    assert "4 sweeps already have results" in capsys.readouterr().out
    before, after = (list(stored_sweeps(one / "drive.mcap")) for one in (whole, out))
    assert after == before
    name = "drive_tracks.csv"
    assert (out / name).read_bytes() == (whole / name).read_bytes()
    for one in out.glob("drive_tracks.*"):
        one.unlink()
    assert run(path, out, weights) == 0  # only what is missing
    assert "already segmented" in capsys.readouterr().out
    assert (out / name).read_bytes() == (whole / name).read_bytes()
    assert run(path, out, weights, "--no-track") == 0  # other settings: anew
    assert "already" not in capsys.readouterr().out


def test_looking_both_ways_survives_an_interruption(
    weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, out, whole = write_drive(tmp_path / "in"), tmp_path / "out", tmp_path / "whole"
    assert run(path, whole, weights, "--smooth") == 0
    command = [str(path), "--out", str(out), "--weights", weights, "--runtime", "torch"]
    arguments = segment.parse_arguments([*command, "--smooth"], "segment_scan")
    with monkeypatch.context() as patched:
        patched.setattr("bev_instseg.jobs.recording_run.smooth", interrupt)
        with pytest.raises(KeyboardInterrupt):
            segment.segment_all(arguments)
    assert [one.name for one in out.glob("[!.]*")] == ["drive.mcap.part"]
    assert run(path, out, weights, "--smooth") == 0
    before, after = (list(stored_sweeps(one / "drive.mcap")) for one in (whole, out))
    assert after == before
    assert not (out / "drive.mcap.part").exists()


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_sweep_that_does_not_go_on_in_time_is_left_out(
    weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with writing(tmp_path, "mcap") as bag:
        for i, when in enumerate((0, 1, 1, 2)):
            bag.cloud("/points", SWEEPS[i], when)
    path, out = tmp_path / "drive.mcap", tmp_path / "out"
    assert run(path, out, weights) == 2
    line = lines(capsys)[-1]
    assert "drive.mcap: /points at 1700000000.100000000: not later than the previous sweep" in line
    assert line.endswith("left out; --no-track keeps it")
    assert [one.index for one in stored_sweeps(out / "drive.mcap")] == [0, 1, 3]
    assert run(path, out, weights, "--no-track") == 0
    assert [one.index for one in stored_sweeps(out / "drive.mcap")] == [0, 1, 2, 3]


def test_after_a_pause_objects_get_new_ids(
    weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with writing(tmp_path, "mcap") as bag:
        for i in range(8):
            bag.cloud("/points", SWEEPS[i], i if i < 4 else 600 + i)
    assert run(tmp_path / "drive.mcap", tmp_path / "out", weights) == 0
    said = [line for line in lines(capsys) if "pause" in line]
    assert said == [
        f"segment_scan: note: {tmp_path / 'drive.mcap'}: a pause of 60.1 s: all objects get new ids"
    ]
    rows = table(tmp_path / "out" / "drive_tracks.csv")
    before, after = (
        {r["id"] for r in rows if (int(r["frame"]) < 4) is early} for early in (True, False)
    )
    assert before
    assert after
    assert not before & after


def test_messages_without_stamps_have_the_time_of_recording(
    weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with writing(tmp_path, "mcap") as bag:
        for i in range(3):
            bag.write("/points", CLOUD, stamp(i), cloud(SWEEPS[i], 0))
    assert run(tmp_path / "drive.mcap", tmp_path / "out", weights) == 0
    assert any("messages have no stamps" in line for line in lines(capsys))
    found = [one.stamp_ns for one in stored_sweeps(tmp_path / "out" / "drive.mcap")]
    assert found == [stamp(i) for i in range(3)]


def test_files_of_sweeps_and_a_ros_1_bag_have_the_ids(weights: str, tmp_path: Path) -> None:
    from rosbags.highlevel import AnyReader

    path, out = write_drive(tmp_path / "in"), tmp_path / "out"
    assert run(path, out, weights, "--files", "--bag") == 0
    with AnyReader([out / "drive.bag"]) as reader:
        counts = {topic: one.msgcount for topic, one in reader.topics.items()}
    assert counts[TRACKS[0]] == counts[DETECTIONS[0]] == NUM_SWEEPS
    for stored in stored_sweeps(out / "drive.mcap"):
        words = np.fromfile(out / f"drive/{stored.index:06}.label", np.uint32)
        np.testing.assert_array_equal(stored.points.extras["instance"], words >> 16)


def test_a_table_of_the_user_is_not_replaced(
    weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = write_drive(tmp_path / "in"), tmp_path / "out"
    out.mkdir()
    (out / "drive_tracks.csv").write_text("mine\n")
    assert run(path, out, weights) == 2
    assert "drive_tracks.csv: already exists and was not written by" in lines(capsys)[-1]
    assert [one.name for one in out.iterdir()] == ["drive_tracks.csv"]


@pytest.mark.parametrize("more", [(), ("--smooth",)])
def test_a_sweep_without_objects_is_written(
    more: tuple[str, ...], weights: str, tmp_path: Path
) -> None:
    nothing = np.zeros((7, 4), np.float32)
    road = SWEEPS[0][SWEEPS[0][:, 2] < -1.6]
    with writing(tmp_path, "mcap") as bag:
        for i, points in enumerate((SWEEPS[0], nothing, nothing[:0], road, SWEEPS[1])):
            bag.cloud("/points", points, i)
    path, out = tmp_path / "drive.mcap", tmp_path / "out"
    assert run(path, out, weights, *more, "--play") == 0
    stored = list(stored_sweeps(out / "drive.mcap"))
    assert [one.index for one in stored] == [0, 1, 2, 3, 4]
    assert not len(parsed(stored[1], DETECTIONS).detections)
    assert len(parsed(stored[4], DETECTIONS).detections)
    assert [len(one.points.points) for one in stored[:3]] == [len(SWEEPS[0]), 7, 0]


def transform(store: Any, when_ns: int, names: Sequence[str], pose: np.ndarray) -> Any:
    turn = Rotation.from_matrix(pose[:3, :3]).as_quat().tolist()
    body = new(
        store,
        "geometry_msgs/Transform",
        new(store, "geometry_msgs/Vector3", *pose[:3, 3].tolist()),
        new(store, "geometry_msgs/Quaternion", *turn),
    )
    at = header(store, when_ns, names[0])
    return new(store, "geometry_msgs/TransformStamped", at, names[1], body)


def odometry(store: Any, when_ns: int, pose: np.ndarray) -> Any:
    body = transform(store, when_ns, ("odom", "base_link"), pose).transform
    place = new(store, "geometry_msgs/Point", *pose[:3, 3].tolist())
    zeros = new(store, "geometry_msgs/Vector3", 0.0, 0.0, 0.0)
    twist = new(store, "geometry_msgs/Twist", zeros, zeros)
    return new(
        store,
        "nav_msgs/Odometry",
        header(store, when_ns, "odom"),
        "base_link",
        new(
            store,
            "geometry_msgs/PoseWithCovariance",
            new(store, "geometry_msgs/Pose", place, body.rotation),
            np.zeros(36),
        ),
        new(store, "geometry_msgs/TwistWithCovariance", twist, np.zeros(36)),
    )


def driven(time_s: float) -> np.ndarray:
    """A curve: 8 m/s, 0.5 rad/s."""
    return pose_of(8 * time_s, 0.3, 0.5 * time_s)


MOUNT = pose_of(1.2, 0.0, 0.3)
MOUNT[2, 3] = 1.7


def write_motion(folder: Path, kind: str) -> Path:
    """A bag with transforms at 50 Hz and odometry at 20 Hz, not in step with the sweeps."""
    folder.mkdir()
    with writing(folder, kind) as bag:
        message = [transform(bag.store, START_NS, ("base_link", "velodyne"), MOUNT)]
        bag.write("/tf_static", TF, START_NS, new(bag.store, "tf2_msgs/TFMessage", message))
        write_samples(bag)
        for i in range(3):
            bag.cloud("/points", SWEEPS[i], i)
    return folder / f"drive.{kind}"


def write_samples(bag: Bag) -> None:
    for k in range(16):
        time_s = 0.02 * k + 0.003
        when_ns = START_NS + round(1e9 * time_s)
        # Against its usual direction: the chain goes from child to parent and back.
        upwards = transform(
            bag.store, when_ns, ("base_link", "odom"), np.linalg.inv(driven(time_s))
        )
        drift = transform(bag.store, when_ns, ("map", "odom"), pose_of(time_s))
        for one in (upwards, drift):
            bag.write("/tf", TF, when_ns, new(bag.store, "tf2_msgs/TFMessage", [one]))
    for k in range(6):
        when_ns = START_NS + round(1e9 * 0.05 * k)
        message = odometry(bag.store, when_ns, driven(0.05 * k))
        bag.write("/odometry", "nav_msgs/msg/Odometry", when_ns, message)


@pytest.mark.parametrize("kind", ["bag", "mcap"])
def test_poses_are_those_of_the_recording(kind: str, tmp_path: Path) -> None:
    path = write_motion(tmp_path / "in", kind)
    with Recording(path) as recording:
        for time_s in (0.0, 0.1, 0.2, 0.31):
            when_ns = START_NS + round(1e9 * time_s)
            sensor = driven(time_s) @ MOUNT
            for name in ("odom", "/odometry"):
                np.testing.assert_allclose(recording.poses(name).at(when_ns), sensor, atol=2e-3)
            on_map = pose_of(time_s) @ sensor
            np.testing.assert_allclose(recording.poses("map").at(when_ns), on_map, atol=2e-3)


def samples_at(times_s: Sequence[float], places_m: Sequence[float]) -> Samples:
    """Odometry along x."""
    samples = Samples()
    for time_s, x_m in zip(times_s, places_m, strict=True):
        stamp = SimpleNamespace(sec=int(time_s), nanosec=round(1e9 * (time_s % 1)))
        place = SimpleNamespace(x=x_m, y=0.0, z=0.0)
        turn = SimpleNamespace(x=0.0, y=0.0, z=0.0, w=1.0)
        samples.add(SimpleNamespace(stamp=stamp), place, turn)
    return samples


def test_poses_after_the_clock_was_set_back_do_not_mix_with_those_before() -> None:
    times_s = np.arange(0, 10, 0.1)
    samples = samples_at(
        [*(times_s + 0.05), *times_s], [*(2 * (times_s + 0.05)), *(1.8 * times_s + 50)]
    )
    with pytest.warns(UserWarning, match="odom: 9[0-9] poses left out, because the clock was set"):
        link = samples.link("odom")
    assert link.at(round(9.004e9)).translation_m[0] == pytest.approx(18.008, abs=1e-6)


def test_two_poses_at_nearly_the_same_time_are_not_extrapolated() -> None:
    link = samples_at([5.0, 5.0001, 5.1, 5.2], [0.0, 0.002, 0.2, 0.4]).link("odom")
    assert link.at(round(4.85e9)).translation_m[0] == pytest.approx(-0.3, abs=1e-6)
    link = samples_at([5.0, 5.0001], [0.0, 0.002]).link("odom")
    assert link.at(round(4.85e9)).translation_m[0] == 0


def test_damaged_transforms_and_odometry_are_left_out_and_counted(tmp_path: Path) -> None:
    with writing(tmp_path, "mcap") as bag:
        message = [transform(bag.store, START_NS, ("base_link", "velodyne"), MOUNT)]
        bag.write("/tf_static", TF, START_NS, new(bag.store, "tf2_msgs/TFMessage", message))
        for topic, kind in (("/tf", TF), ("/odometry", "nav_msgs/msg/Odometry")):
            for _ in range(2):
                bag.raw(topic, kind, START_NS, b"\0\1\0\0\1")
        write_samples(bag)
        bag.cloud("/points", SWEEPS[0], 0)
    with Recording(tmp_path / "drive.mcap") as recording:
        for name, topics in (
            ("odom", ["/tf", "/tf, /tf_static"]),
            ("/odometry", ["/odometry", "/tf"]),
        ):
            with pytest.warns(UserWarning, match="damaged") as caught:
                poses = recording.poses(name)
            assert [str(one.message) for one in caught] == [
                f"{recording.path}: 2 damaged message(s) on {topic} left out" for topic in topics
            ]
            np.testing.assert_allclose(poses.at(START_NS), driven(0) @ MOUNT, atol=2e-3)


def test_poses_that_are_not_there_are_refused_in_a_line(
    weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = write_motion(tmp_path / "in", "mcap"), tmp_path / "out"
    assert run(path, out, weights, "--poses", "earth") == 2
    [line] = lines(capsys)
    assert line.endswith(
        f"{path}: --poses earth: no transforms lead to it from velodyne (frames: base_link, "
        "map, odom, velodyne; odometry: /odometry)"
    )
    assert not list(out.glob("*.mcap*"))
    path = write_drive(tmp_path / "short")
    with Recording(path) as recording, pytest.raises(ValueError, match="no pose at 1700000002"):
        recording.poses("odom").at(START_NS + 2 * 10**9)


def write_reset(folder: Path, reset_at: int = 4) -> Path:
    """A recording whose odometry begins at 100, 0 again between two sweeps."""
    folder.mkdir()
    with writing(folder, "mcap") as bag:
        message = [transform(bag.store, START_NS, ("base_link", "velodyne"), np.eye(4))]
        bag.write("/tf_static", TF, START_NS, new(bag.store, "tf2_msgs/TFMessage", message))
        for k in range(4 * NUM_SWEEPS):
            when_ns = START_NS + k * 25_000_000 - 12_500_000
            pose = pose_of(EGO_M * (k / 4 - 0.125) + 100 * (k > 4 * reset_at))
            message = odometry(bag.store, when_ns, pose)
            if k == 9:  # an invalid one is left out
                message.pose.pose.orientation.w = 0.0
            bag.write("/odometry", "nav_msgs/msg/Odometry", when_ns, message)
        for i, points in enumerate(SWEEPS):
            bag.cloud("/points", points, i)
    return folder / "drive.mcap"


def test_a_reset_of_the_odometry_begins_new_objects(
    weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = write_reset(tmp_path / "in"), tmp_path / "out"
    assert run(path, out, weights, "--poses", "/odometry") == 2
    left_out, jump = [line for line in lines(capsys) if "jumps" in line]
    assert left_out == (
        f"segment_scan: {path}: no pose at 1700000000.400000000: /odometry jumps by 100.1 m at "
        "this time; leave out --poses to find the motion from the points"
    )
    assert jump.endswith("the pose of the sensor jumps by 100.0 m: all objects get new ids")
    rows = table(out / "drive_tracks.csv")
    assert {int(row["frame"]) for row in rows} == {0, 1, 2, 3, 5, 6, 7}
    before, after = ({r["id"] for r in rows if (int(r["frame"]) < 4) is e} for e in (True, False))
    assert not before & after
    assert all(np.hypot(float(row["vx"]), float(row["vy"])) < 20 for row in rows)


def test_poses_that_never_change_are_refused_or_reported(
    weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = write_motion(tmp_path / "in", "mcap"), tmp_path / "out"
    assert run(path, out, weights, "--poses", "velodyne") == 2
    assert lines(capsys)[0].endswith("this is the frame of the points; give one that stands still")
    assert run(path, out, weights, "--poses", "base_link") == 0
    assert "--poses base_link, the sensor never moves; if it does, leave" in lines(capsys)[0]
    assert run(path, out, weights, "--poses", "odom") == 0
    assert not any("never moves" in line for line in lines(capsys))


def test_another_calibration_makes_a_finished_recording_anew(
    weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, calibration = write_drive(tmp_path / "in"), tmp_path / "calib.txt"
    out, boxes = tmp_path / "out", tmp_path / "out" / "drive" / "000003.txt"
    assert run(path, out, weights, "--calib", str(calibration)) == 2
    assert "check --calib" in capsys.readouterr().err
    assert not list(out.glob("*.mcap"))
    assert run(path, out, weights, "--files") == 0
    calibration.write_text(CALIBRATION)
    assert run(path, out, weights, "--calib", str(calibration)) == 0
    first = boxes.read_bytes()
    calibration.write_text(CALIBRATION.replace("350 0 620", "300 0 620"))
    assert run(path, out, weights, "--calib", str(calibration)) == 0
    assert boxes.read_bytes() != first
    boxes.unlink()
    capsys.readouterr()
    assert run(path, out, weights, "--calib", str(calibration)) == 2
    assert "1 files are missing; --overwrite makes them again" in capsys.readouterr().err
