"""The command segment on recordings: the labels of their sweeps as files, and what is written."""

import errno
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bags import KINDS, START_NS, TF, stamp, transforms, write_drive, writing
from conftest import STREETS, one_thread_environment, street
from mcap.reader import make_reader
from mcap.writer import Writer
from rosbags.highlevel import AnyReader
from rosbags.typesys import Stores, get_typestore

from bev_instseg.cli import segment
from bev_instseg.export.ros_messages import message_types
from bev_instseg.io.recordings.recording import read_recording
from bev_instseg.io.recordings.transforms import from_quaternion

SWEEPS = [street(STREETS[name], seed)[0] for seed, name in enumerate("abcab")]
LABELLED = {"/bev_instseg/points", "/bev_instseg/detections", "/bev_instseg/markers"}


def run(path: Path, out: Path, weights: str, *more: str) -> int:
    """Without tracks: see test_track_recordings.py."""
    tracking = () if path.suffix == "" and list(path.glob("*.bin")) else ("--no-track",)
    return segment.main([str(path), "--out", str(out), "--weights", weights, *tracking, *more])


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The lines on stderr, without the progress bar."""
    return [
        line for line in capsys.readouterr().err.splitlines() if line.startswith("segment_scan: ")
    ]


@pytest.fixture
def labels(tmp_path: Path, weights: str) -> list[np.ndarray]:
    """The labels of the sweeps as ``.bin`` files."""
    folder = tmp_path / "bins"
    folder.mkdir()
    for i, points in enumerate(SWEEPS):
        points.tofile(folder / f"{i}.bin")
    assert run(folder, tmp_path / "labels", weights) == 0
    return [np.fromfile(tmp_path / "labels" / f"{i}.label", np.uint32) for i in range(len(SWEEPS))]


def words(path: Path) -> list[np.ndarray]:
    """The words that a ``.label`` would have, from a labelled recording."""
    found = []
    for sweep in read_recording(path, ("/bev_instseg/points",)):
        instance, kind = (sweep.extras[name].astype(np.uint32) for name in ("instance", "class"))
        found.append(instance << np.uint32(16) | kind)
    return found


def messages(path: Path) -> dict[str, list[Any]]:
    """The messages of a labelled recording by topic, read by the official library."""
    found: dict[str, list[Any]] = {}
    store = message_types()
    with open(path, "rb") as file:
        for schema, channel, message in make_reader(file, validate_crcs=True).iter_messages():
            assert schema is not None
            parsed = store.deserialize_cdr(message.data, schema.name)
            assert message.log_time >= START_NS
            found.setdefault(channel.topic, []).append(parsed)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_a_recording_has_the_labels_of_its_sweeps_as_files(
    kind: str, labels: list[np.ndarray], weights: str, tmp_path: Path
) -> None:
    path = write_drive(tmp_path / "in", kind, SWEEPS)
    assert run(path, tmp_path / "out", weights) == 0
    found = words(tmp_path / "out" / "drive.mcap")
    assert len(found) == len(labels)
    assert any(word.any() for word in labels)
    for mine, theirs in zip(found, labels, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert sorted(one.name for one in (tmp_path / "out").iterdir()) == ["drive.mcap"]


def test_unknown_things_and_the_ground_are_in_every_message(weights: str, tmp_path: Path) -> None:
    path = write_drive(tmp_path / "in", "mcap", SWEEPS[:2])
    config = tmp_path / "config.yaml"
    config.write_text("cluster: {score_threshold: 1.0}\n")  # nothing is known
    extras = ("--unknown", "--ground", "--files", "--bag", "--config", str(config))
    assert run(path, tmp_path / "out", weights, *extras) == 0
    result = tmp_path / "out" / "drive.mcap"
    for i, found in enumerate(words(result)):
        file = np.fromfile(tmp_path / "out" / "drive" / f"{i:06}.label", np.uint32)
        np.testing.assert_array_equal(found, file)
        assert {40, 99} <= set((found & 0xFFFF).tolist())
    detected = messages(result)["/bev_instseg/detections"][0].detections
    assert {one.results[0].hypothesis.class_id for one in detected} == {"unknown"}
    texts = [one.text for one in messages(result)["/bev_instseg/markers"][0].markers if one.text]
    assert texts[0] == "1 unknown"
    with AnyReader([tmp_path / "out" / "drive.bag"]) as bag:
        connections = [c for c in bag.connections if c.topic == "/bev_instseg/detections"]
        _, _, raw = next(bag.messages(connections=connections))
        of_bag = bag.deserialize(raw, connections[0].msgtype)
    assert {one.results[0].id for one in of_bag.detections} == {99}


def test_the_labelled_recording_is_read_by_both_libraries(weights: str, tmp_path: Path) -> None:
    path = write_drive(tmp_path / "in", "mcap", SWEEPS)
    assert run(path, tmp_path / "out", weights, "--files") == 0
    result = tmp_path / "out" / "drive.mcap"
    found = messages(result)
    assert found.keys() == LABELLED
    for i, (cloud, markers, detections) in enumerate(
        zip(*(found[topic] for topic in sorted(LABELLED, reverse=True)), strict=True)
    ):
        assert cloud.header.frame_id == detections.header.frame_id == "velodyne"
        assert (cloud.header.stamp.sec, cloud.header.stamp.nanosec) == divmod(stamp(i), 10**9)
        assert cloud.width == len(SWEEPS[i])
        tree = json.loads((tmp_path / "out" / "drive" / f"{i:06}.json").read_bytes())
        assert len(detections.detections) == len(tree["instances"]) > 0
        for one, entry in zip(detections.detections, tree["instances"], strict=True):
            at = one.bbox.center.position
            np.testing.assert_allclose((at.x, at.y, at.z), entry["centre_m"], atol=1e-3)
            assert one.results[0].hypothesis.class_id == entry["class"]
            np.testing.assert_allclose(one.results[0].hypothesis.score, entry["score"], atol=1e-4)
            turn = 2 * np.arctan2(one.bbox.center.orientation.z, one.bbox.center.orientation.w)
            gap = (turn - entry["box"]["yaw_rad"] + np.pi / 2) % np.pi - np.pi / 2
            assert abs(gap) < 1e-3
            assert one.id == str(entry["id"])
        assert markers.markers[0].action == 3
        assert len(markers.markers) == 1 + 2 * len(tree["instances"])
    with AnyReader([result], default_typestore=get_typestore(Stores.ROS2_HUMBLE)) as reader:
        by_topic = {name: topic.msgcount for name, topic in reader.topics.items()}
        assert by_topic == dict.fromkeys(LABELLED, len(SWEEPS))
        connections = [one for one in reader.connections if one.topic == "/bev_instseg/points"]
        for i, (one, log_ns, data) in enumerate(reader.messages(connections)):
            cloud = reader.deserialize(data, one.msgtype)
            assert log_ns == stamp(i)
            records = np.frombuffer(cloud.data, np.float32).reshape(len(SWEEPS[i]), 7)
            np.testing.assert_array_equal(records[:, :4], SWEEPS[i])


KILLED = """
import os, signal, sys
from bev_instseg.cli import segment
from bev_instseg.export import labelled_recording
usual = labelled_recording.LabelledRecording.write
def write(self, sweep):
    usual(self, sweep)
    if sweep.index == int(sys.argv[1]):
        if os.environ.get("HALF"):  # the beginning of a chunk
            self._file.write(b"\\x06" + (1000).to_bytes(8, "little") + bytes(99))
            self._file.flush()
        os.kill(os.getpid(), signal.SIGKILL)
labelled_recording.LabelledRecording.write = write
segment.main(sys.argv[2:])
"""


MEASURED = """
import resource, sys
from bev_instseg.cli import segment
from bev_instseg.export import labelled_recording
usual, peaks = labelled_recording.LabelledRecording.write, {}
def write(self, sweep):
    usual(self, sweep)
    peaks[sweep.index] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
labelled_recording.LabelledRecording.write = write
assert segment.main(sys.argv[1:]) == 0
print(peaks[50], peaks[199])
"""


def test_memory_does_not_grow_while_a_recording_is_segmented(weights: str, tmp_path: Path) -> None:
    path = write_drive(tmp_path / "in", "mcap_lz4", SWEEPS * 40)
    command = [str(path), "--out", str(tmp_path / "out"), "--weights", weights, "--no-track"]
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, *command],
        env=one_thread_environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    early_mb, late_mb = map(float, done.stdout.splitlines()[-1].split())
    assert late_mb - early_mb < 10


@pytest.mark.parametrize("half", ["", "1"])
def test_a_killed_job_leaves_a_readable_file_and_goes_on(
    half: str, weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_drive(tmp_path / "in", "bag", SWEEPS * 2)
    assert run(path, tmp_path / "whole", weights) == 0
    out = tmp_path / "out"
    command = [str(path), "--out", str(out), "--weights", weights, "--no-track"]
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, "3", *command],
        env={**one_thread_environment(), **({"HALF": half} if half else {})},
        capture_output=True,
        timeout=120,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    [part] = out.glob("[!.]*")
    assert part.name == "drive.mcap.part"
    with pytest.warns(UserWarning, match="no index"):
        left = words(part.rename(tmp_path / "left.mcap"))
    (tmp_path / "left.mcap").rename(part)
    whole = words(tmp_path / "whole" / "drive.mcap")
    assert len(left) == 4
    capsys.readouterr()
    assert run(path, out, weights) == 0
    assert f"{path}: 4 sweeps already have results" in capsys.readouterr().out
    assert [one.name for one in out.iterdir()] == ["drive.mcap"]
    for mine, theirs in zip(words(out / "drive.mcap"), whole, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    stamps = [sweep.stamp_ns for sweep in read_recording(out / "drive.mcap")]
    assert stamps == [stamp(i) for i in range(10)]
    assert run(path, out, weights) == 0
    assert "already segmented, 10 sweeps in" in capsys.readouterr().out
    assert run(path, out, weights, "--level", "0", "1") == 0  # other settings: done anew
    assert "already" not in capsys.readouterr().out
    path.unlink()
    write_drive(tmp_path / "in", "bag", SWEEPS[::-1] * 2)  # as many bytes
    assert run(path, out, weights, "--level", "0", "1") == 0
    assert "already" not in capsys.readouterr().out


def test_a_damaged_sweep_is_reported_and_the_others_are_done(
    weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with writing(tmp_path, "mcap") as bag:
        bag.cloud("/points", SWEEPS[0], 0)
        bag.raw("/points", "sensor_msgs/msg/PointCloud2", stamp(1), b"\0\1\0\0" + b"\1" * 60)
        bag.cloud("/points", SWEEPS[2], 2)
    assert run(tmp_path / "drive.mcap", tmp_path / "out", weights) == 2
    [line] = lines(capsys)
    assert line.startswith(
        f"segment_scan: {tmp_path / 'drive.mcap'}: /points at 16843009.016843009: "
    )
    assert "an incomplete sensor_msgs/PointCloud2" in line
    found = [sweep.stamp_ns for sweep in read_recording(tmp_path / "out" / "drive.mcap")]
    assert found == [stamp(0), stamp(2)]
    assert run(tmp_path / "drive.mcap", tmp_path / "out", weights) == 2
    [line] = lines(capsys)
    assert line.endswith("drive.mcap: 1 of its sweeps failed; --overwrite tries again")


def test_a_result_that_was_cut_short_is_made_again(weights: str, tmp_path: Path) -> None:
    path, out = write_drive(tmp_path / "in", "mcap", SWEEPS), tmp_path / "out" / "drive.mcap"
    assert run(path, out.parent, weights) == 0
    before = words(out)
    out.write_bytes(out.read_bytes()[:-100])
    assert run(path, out.parent, weights) == 0
    for again, word in zip(words(out), before, strict=True):
        np.testing.assert_array_equal(again, word)


def test_what_is_lost_of_a_cut_recording_is_said(
    weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_drive(tmp_path / "in", "mcap_zstd", SWEEPS * 4)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert run(path, tmp_path / "out", weights) == 2
    no_index, lost = lines(capsys)
    assert no_index == (
        f"segment_scan: {path}: the file has no index: it was cut short, or the recorder was killed"
    )
    assert lost.startswith(f"segment_scan: {path}: the last ")
    assert lost.endswith(" bytes of the file are incomplete: left out")
    assert 0 < len(words(tmp_path / "out" / "drive.mcap")) < 4 * len(SWEEPS)


def test_results_below_the_folder_of_a_bag_do_not_change_it(
    weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_drive(tmp_path, "folder_db3", SWEEPS[:2])
    for _ in range(2):
        assert run(path, path / "results", weights) == 0
    assert f"{path}: already segmented, 2 sweeps" in capsys.readouterr().out


def test_foreign_files_are_left_alone(
    weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_drive(tmp_path / "in", "mcap", SWEEPS[:1])
    before = path.read_bytes()
    assert run(path, path.parent, weights) == 2
    assert "its results would replace it" in lines(capsys)[0]
    out = tmp_path / "out"
    out.mkdir()
    for name in ("drive.mcap", "drive.mcap.part"):
        (out / name).write_bytes(before)
        assert run(path, out, weights) == 2
        assert (
            f"{out / name}: already exists and was not written by bev-instseg" in lines(capsys)[0]
        )
        assert (out / name).read_bytes() == before
        (out / name).unlink()
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        (("--ray",), "--ray is for folders of sweeps"),
        (("--times", "x.txt", "--track"), "--times is for folders of sweeps"),
        (("--smooth", "--track", "--ply"), "--smooth cannot write files for single sweeps"),
        (("--shard", "1/2"), "--shard is for folders of sweeps"),
        (("--topic", "/nothing"), "no points on /nothing; it has /points (sensor_msgs/PointCloud2"),
        (("--extrinsics", "x.yaml"), "--extrinsics needs --frame"),
        (("--ego-box", "2", "-1", "0", "1"), "y from, y to, both ascending; got 2 -1 0 1"),
        (("--frame", "base_link"), "no fixed transform from velodyne to base_link (frames: none)"),
    ],
)
def test_options_that_do_not_fit_are_refused_in_one_line(
    more: tuple[str, ...],
    complaint: str,
    weights: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = write_drive(tmp_path / "in", "mcap", SWEEPS[:1])
    assert run(path, tmp_path / "out", weights, *more) == 2
    [line] = lines(capsys)
    assert complaint in line
    assert not list((tmp_path / "out").glob("*.mcap*"))


def test_sweeps_and_recordings_need_separate_commands(
    sweeps: Path, weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_drive(tmp_path / "in", "mcap", SWEEPS[:1])
    words = [str(path), str(sweeps), "--out", str(tmp_path / "out"), "--weights", weights]
    assert segment.main(words) == 2
    assert "segment sweeps and recordings with separate commands" in lines(capsys)[0]


def test_a_folder_of_recordings_is_done(weights: str, tmp_path: Path) -> None:
    write_drive(tmp_path / "in" / "monday", "folder_db3", SWEEPS[:1])
    write_drive(tmp_path / "in" / "tuesday", "bag", SWEEPS[:2])
    (tmp_path / "in" / "tuesday" / "drive.bag").rename(tmp_path / "in" / "evening.bag")
    assert run(tmp_path / "in", tmp_path / "out", weights) == 0
    assert {one.name for one in (tmp_path / "out").iterdir()} == {"drive.mcap", "evening.mcap"}


def test_results_below_the_recordings_are_no_recordings(
    weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_drive(tmp_path / "in", "bag", SWEEPS[:1])
    out = tmp_path / "in" / "labelled"
    for _ in range(2):
        assert run(tmp_path / "in", out, weights, "--bag") == 0
    assert {one.name for one in out.iterdir()} == {"drive.mcap", "drive.bag"}
    assert capsys.readouterr().out.count("already segmented") == 1
    assert run(out, tmp_path / "again", weights) == 2
    assert f"{out}: contains only recordings written by bev-instseg" in lines(capsys)[0]


UPSIDE_DOWN = np.array([1, -1, -1, 1], np.float32)  # about x
MOUNTING = [
    ("base_link", "mast", (1.0, 0.0, 1.7), (0.0, 0.0, 0.0, 1.0)),
    ("mast", "velodyne", (0.0, 0.5, 0.0), (1.0, 0.0, 0.0, 0.0)),
]


@pytest.mark.parametrize("frame", ["", "base_link"])
def test_boxes_are_where_the_points_are_however_the_sensor_is_mounted(
    frame: str, weights: str, tmp_path: Path, labels: list[np.ndarray]
) -> None:
    with writing(tmp_path, "mcap") as bag:
        bag.write("/tf_static", TF, START_NS, transforms(MOUNTING, bag.store))
        for i, points in enumerate(SWEEPS):
            bag.cloud("/points", points * UPSIDE_DOWN, i)
    options = ("--frame", frame) if frame else ("--axes", "frd")
    assert run(tmp_path / "drive.mcap", tmp_path / "out", weights, *options) == 0
    result = tmp_path / "out" / "drive.mcap"
    for mine, theirs in zip(words(result), labels, strict=True):
        assert (mine == theirs).mean() > 0.99  # coordinates are rounded differently
    sweeps, found = list(read_recording(result)), messages(result)
    for sweep, detections in zip(sweeps, found["/bev_instseg/detections"], strict=True):
        assert sweep.frame_id == detections.header.frame_id == (frame or "velodyne")
        assert detections.detections
        for one in detections.detections:
            points = sweep.points[sweep.extras["instance"] == int(one.id), :3].astype(float)
            pose, size = one.bbox.center, one.bbox.size
            turn = pose.orientation
            box = from_quaternion(
                (pose.position.x, pose.position.y, pose.position.z),
                (turn.x, turn.y, turn.z, turn.w),
            ).inverse()
            inside = points @ box.rotation.T + box.translation_m
            limits = np.array([size.x, size.y, size.z]) / 2 + 0.01
            assert (np.abs(inside) <= limits).all()


def test_the_vehicle_itself_gets_no_label(weights: str, tmp_path: Path) -> None:
    path = write_drive(tmp_path / "in", "mcap", SWEEPS)
    assert run(path, tmp_path / "out", weights, "--ego-box", "4", "9", "-3", "3") == 0
    for sweep in read_recording(tmp_path / "out" / "drive.mcap"):
        x, y = sweep.points[:, 0], sweep.points[:, 1]
        inside = (x >= 4) & (x <= 9) & (y >= -3) & (y <= 3)
        assert inside.any()
        assert not sweep.extras["instance"][inside].any()
        assert sweep.extras["instance"][~inside].any()


def test_missing_returns_get_no_label_and_are_kept(
    weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = np.concatenate([SWEEPS[0], np.zeros((50, 4), "f4"), np.full((50, 4), np.nan, "f4")])
    nothing = np.zeros((7, 4), "f4")
    cases = [SWEEPS[0], missing, nothing, np.zeros((0, 4), "f4")]
    path = write_drive(tmp_path / "in", "mcap", cases)
    assert run(path, tmp_path / "out", weights) == 0
    assert "note: 2 sweeps, first" in lines(capsys)[-1]
    found = words(tmp_path / "out" / "drive.mcap")
    assert [len(one) for one in found] == [len(one) for one in cases]
    np.testing.assert_array_equal(found[1][: len(SWEEPS[0])], found[0])
    assert found[0].any()
    assert not found[1][len(SWEEPS[0]) :].any()
    assert not found[2].any()


def test_a_ros_1_bag_holds_the_same(weights: str, tmp_path: Path) -> None:
    path, out = write_drive(tmp_path / "in", "mcap", SWEEPS), tmp_path / "out"
    assert run(path, out, weights) == 0
    assert run(path, out, weights, "--bag") == 0  # only copies
    assert {one.name for one in out.iterdir()} == {"drive.mcap", "drive.bag"}
    found = messages(out / "drive.mcap")
    with AnyReader([out / "drive.bag"]) as reader:
        assert {name for name, topic in reader.topics.items() if topic.msgcount == 5} == LABELLED
        copied: dict[str, list[Any]] = {}
        for one, _, data in reader.messages():
            copied.setdefault(one.topic, []).append(reader.deserialize(data, one.msgtype))
    for i in range(len(SWEEPS)):
        cloud = copied["/bev_instseg/points"][i]
        np.testing.assert_array_equal(cloud.data, found["/bev_instseg/points"][i].data)
        assert cloud.header.seq == i
        mine = copied["/bev_instseg/detections"][i].detections
        theirs = found["/bev_instseg/detections"][i].detections
        assert [one.bbox.center.position.x for one in mine] == [
            one.bbox.center.position.x for one in theirs
        ]
        assert {one.results[0].id for one in mine} <= {10, 30, 31}
        assert mine[0].results[0].score == theirs[0].results[0].hypothesis.score
        texts = [marker.text for marker in copied["/bev_instseg/markers"][i].markers]
        assert texts == [marker.text for marker in found["/bev_instseg/markers"][i].markers]
    assert run(path, out, weights, "--bag", "--overwrite") == 0
    foreign = write_drive(tmp_path / "other", "bag", SWEEPS[:1]).read_bytes()
    (out / "drive.bag").write_bytes(foreign)
    assert run(path, out, weights, "--bag", "--overwrite") == 2
    assert (out / "drive.bag").read_bytes() == foreign


def test_files_asked_for_later_are_written(weights: str, tmp_path: Path) -> None:
    path, out = write_drive(tmp_path / "in", "mcap", SWEEPS), tmp_path / "out"
    assert run(path, out, weights) == 0
    assert run(path, out, weights, "--files", "--ply") == 0
    names = sorted(one.name for one in (out / "drive").iterdir())
    assert names[:3] == ["000000.json", "000000.label", "000000.ply"]
    assert len(names) == 3 * len(SWEEPS)
    for i, word in enumerate(words(out / "drive.mcap")):
        np.testing.assert_array_equal(np.fromfile(out / f"drive/{i:06}.label", np.uint32), word)


def test_a_full_disk_stops_the_job_and_it_goes_on_later(
    weights: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path, out = write_drive(tmp_path / "in", "mcap", SWEEPS), tmp_path / "out"
    flush = Writer.flush

    def flush_until_full(self: Writer) -> None:
        if self._Writer__statistics.message_count > 6:
            raise OSError(errno.ENOSPC, "No space left on device")
        flush(self)

    monkeypatch.setattr(Writer, "flush", flush_until_full)
    assert run(path, out, weights) == 2
    [line] = lines(capsys)
    assert line == (
        f"segment_scan: {out / 'drive.mcap.part'}: No space left on device; stopped: finished "
        "results are kept, and the same command continues when the disk is writable again"
    )
    monkeypatch.undo()
    assert run(path, out, weights) == 0
    assert "2 sweeps already have results" in capsys.readouterr().out
    assert len(words(out / "drive.mcap")) == len(SWEEPS)


@pytest.mark.parametrize(
    "option",
    [
        ["--topic", "/points"],
        ["--frame", "base_link"],
        ["--extrinsics", "a.yaml"],
        ["--ego-box", "-1", "2", "-1", "1"],
        ["--bag"],
        ["--files"],
    ],
)
def test_options_of_recordings_are_refused_for_sweeps(
    sweeps: Path, weights: str, tmp_path: Path, option: list[str], capsys
) -> None:
    out = tmp_path / "out"
    command = [str(sweeps), "--out", str(out), "--weights", weights, *option]
    assert segment.main(command) == 2
    assert f"{option[0]} is for recordings, and there is none" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize("option", ["--topic", "--frame", "--poses"])
def test_a_name_that_is_empty_is_refused(
    option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        segment.main([str(tmp_path), "--out", str(tmp_path / "out"), option, ""])
    assert f"argument {option}: must not be empty" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        segment.main(["", "--out", str(tmp_path / "out")])
    assert "argument INPUT: must not be empty" in capsys.readouterr().err
