"""A live robot: several sensors merged, and its motion from transforms or odometry."""

import queue
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from bags import CLOUD, PERIOD_NS, ROS2, START_NS, TF, new, stamp, transforms, writing
from test_live import environment
from test_track_recordings import MOUNT, SWEEPS, driven, odometry, sweep, transform
from tracks import pose_of

from bev_instseg.cli import live, segment
from bev_instseg.exceptions import ScanError
from bev_instseg.export.ros_messages import TOPICS
from bev_instseg.export.stored_sweeps import stored_sweeps
from bev_instseg.io.recordings.merge import Merger
from bev_instseg.io.recordings.source import POINT_CLOUD, Message
from bev_instseg.io.recordings.transforms import Transform, from_degrees
from bev_instseg.io.sensor_setup import SensorSetup
from bev_instseg.io.survey import MAX_SWEEPS
from bev_instseg.live.frames import RobotFrames
from bev_instseg.live.merge import MAX_WAIT_S, SILENT_S, LiveMerger
from bev_instseg.live.pipeline import LiveOptions, Pipeline
from bev_instseg.live.poses import (
    KEPT_S,
    ODOMETRY_TYPE,
    LivePoses,
    Motion,
    OdometryMotion,
    TransformMotion,
)
from bev_instseg.live.replay import cloud_message
from bev_instseg.live.ros_points import RosPoints
from bev_instseg.live.source import Source
from bev_instseg.segmenter import Segmenter

FRONT, REAR, ROOF = "/front/points", "/rear/points", "/roof/points"
STEP_S = 0.005  # of the clock of a simulated robot
UPRIGHT, BACKWARDS = (0.0, 0.0, 0.0, 1.0), (0.0, 0.0, 1.0, 0.0)


class Sent(NamedTuple):
    """When a message arrives, seconds, and the message."""

    when_s: float
    message: Message


def sent(topic: str, measured_s: float, delay_s: float = 0.05) -> Sent:
    stamp_ns = START_NS + round(1e9 * measured_s)
    data = cloud_message(stamp_ns, "velodyne", np.zeros((0, 4), np.float32))
    message = Message(topic, POINT_CLOUD, stamp_ns, data, is_ros1=False)
    return Sent(measured_s + delay_s, message)


class Gone(NamedTuple):
    """When a group was passed on, and its messages."""

    when_s: float
    parts: tuple[Message, ...]
    arrived_s: float

    @property
    def topics(self) -> tuple[str, ...]:
        return tuple(one.topic for one in self.parts)


def in_order(all_sent: Sequence[Sent]) -> list[Sent]:
    return sorted(all_sent, key=lambda one: one.when_s)


def played(
    all_sent: Sequence[Sent], topics: Sequence[str] = (FRONT, REAR), said: list[str] | None = None
) -> list[Gone]:
    """What a merger passes on while a simulated clock runs."""
    merger = LiveMerger(topics, [].append if said is None else said.append)
    waiting, gone = in_order(all_sent), list[Gone]()
    for now_s in np.arange(0, waiting[-1].when_s + 1, STEP_S).tolist():
        while waiting and waiting[0].when_s <= now_s:
            merger.add(waiting.pop(0).message, now_s)
        gone += [Gone(now_s, one.raw, one.arrived_s) for one in merger.ready(now_s)]
        assert 0 < merger.wait_s(now_s) <= MAX_WAIT_S
    assert merger.num_incomplete == sum(len(one.parts) < len(topics) for one in gone)
    return gone


@pytest.mark.parametrize("apart_s", [-0.045, -0.03, -0.02, 0.0, 0.02, 0.045])
@pytest.mark.parametrize("rear_hz", [10, 20, 30])
def test_live_sweeps_are_merged_as_those_of_a_recording(apart_s: float, rear_hz: int) -> None:
    rng = np.random.default_rng(round(1000 * (apart_s + 1)) + rear_hz)
    sensors = (FRONT, 10, 0.1, 0.03), (REAR, rear_hz, 0.1 + apart_s, 0.05)
    sweeps = [
        sent(topic, k / hz + at_s + rng.uniform(-0.002, 0.002), delay_s + rng.uniform(0, 0.02))
        for topic, hz, at_s, delay_s in sensors
        for k in range(4 * hz)
        if rng.uniform() < 0.95  # some are lost
    ]
    gone = played(sweeps)
    expected = list(Merger((FRONT, REAR)).groups(one.message for one in in_order(sweeps)))
    assert [one.parts for one in gone] == expected
    assert sum(len(parts) == 2 for parts in expected) > 25
    assert all(one.when_s - one.arrived_s <= MAX_WAIT_S + 1.01 * STEP_S for one in gone)
    if rear_hz == 10 and abs(apart_s) <= 0.02:  # it is clear at once which belong together
        waits_s = [one.when_s - one.arrived_s for one in gone if len(one.parts) == 2]
        assert np.median(waits_s) < 0.06


def test_a_sensor_that_is_missing_holds_nothing_up() -> None:
    said = list[str]()
    front = [sent(FRONT, 0.1 * i) for i in range(60)]
    rear = [sent(REAR, 0.1 * i + 0.01) for i in range(60) if not 20 <= i < 45]
    gone = played([*front, *rear], said=said)
    assert [one.parts[0].stamp_ns for one in gone] == [one.message.stamp_ns for one in front]
    for i, one in enumerate(gone):
        assert one.topics == ((FRONT,) if 20 <= i <= 45 else (FRONT, REAR)), i
        waited_s = one.when_s - one.arrived_s
        assert waited_s <= MAX_WAIT_S + 1.01 * STEP_S
        if 32 <= i < 45:  # it has been silent for long enough
            assert waited_s == 0
    assert said == [
        f"nothing on {REAR} for 1 s: sweeps are merged without it",
        f"{REAR} sends again",
    ]


def test_without_the_first_sensor_the_next_one_sets_the_pace() -> None:
    said = list[str]()
    topics = FRONT, REAR, ROOF
    sweeps = [
        sent(topic, 0.1 * i + 0.01 * k)
        for k, topic in enumerate(topics)
        for i in range(60)
        if topic != FRONT or not 20 <= i < 45
    ]
    gone = played(sweeps, topics, said)
    ways = [one.topics for one in gone]
    assert ways.count(topics) >= 30
    assert 13 <= ways.count((REAR, ROOF)) <= 17  # of 25; it was waited for at first
    assert set(ways[:19]) == {topics}
    assert set(ways[-12:]) == {topics}
    assert max(np.diff([one.when_s for one in gone])) < SILENT_S + MAX_WAIT_S + 0.2
    assert said == [
        f"nothing on {FRONT} for 1 s: sweeps are merged without it",
        f"{FRONT} sends again",
    ]


def test_a_sensor_whose_clock_is_wrong_is_named() -> None:
    said = list[str]()
    for ahead_s in (-30.0, 30.0):
        said.clear()
        rear = [sent(REAR, 40 + 0.1 * i + ahead_s, 0.05 - ahead_s) for i in range(30)]
        gone = played([*(sent(FRONT, 40 + 0.1 * i) for i in range(30)), *rear], said=said)
        assert {one.topics for one in gone[1:]} == {(FRONT,)}
        last_s = [line for line in said if "synchronise" in line]
        assert len(last_s) == 1
        assert last_s[0].startswith(f"10 sweeps in a row lack {REAR}: its stamps are")


def test_a_pause_of_all_sensors_is_no_silence_of_one() -> None:
    said = list[str]()
    sweeps = [
        sent(topic, 5 + at_s + 0.1 * i)  # they begin some time after the merger
        for topic, at_s in ((FRONT, 0.0), (REAR, 0.02))
        for i in (*range(20), *range(60, 80))
    ]
    gone = played(sweeps, said=said)
    assert [one.topics for one in gone] == [(FRONT, REAR)] * 40
    assert said == []


def test_one_sensor_waits_for_nothing() -> None:
    gone = played([sent(FRONT, 0.1 * i) for i in range(20)], (FRONT,))
    assert [one.when_s - one.arrived_s for one in gone] == [0.0] * 20


class Inbox:
    """Messages that are received when their time has come."""

    def __init__(self, kind: str) -> None:
        self._kind, self._waiting = kind, queue.Queue[bytes]()

    def put(self, message: Any) -> None:
        self.put_bytes(bytes(ROS2.serialize_cdr(message, self._kind)))

    def put_bytes(self, data: bytes) -> None:
        self._waiting.put(data)

    def take(self, timeout_s: float) -> list[bytes]:
        found = []
        try:
            found.append(self._waiting.get(timeout=timeout_s) if timeout_s else b"")
            while True:
                found.append(self._waiting.get_nowait())
        except queue.Empty:
            return [one for one in found if one]


class Robot:
    """A robot that drives as `driven` says; its sensor is at `MOUNT`."""

    def __init__(self, name: str) -> None:
        self.name, self.static = name, Inbox(TF)
        self._moving = Inbox(ODOMETRY_TYPE if name.startswith("/") else TF)
        frames = RobotFrames(self.static.take)
        if name.startswith("/"):
            motion: Motion = OdometryMotion(name, frames, self._moving.take)
        else:
            motion = TransformMotion(name, frames, self._moving.take, lambda: ["/odometry"])
        self.poses = LivePoses(name, motion)

    def mount(self) -> None:
        self.static.put(tf(transform(ROS2, START_NS, ("base_link", "velodyne"), MOUNT)))

    def drive(self, time_s: float, place_s: float | None = None) -> None:
        when_ns = START_NS + round(1e9 * time_s)
        pose = driven(time_s if place_s is None else place_s)
        if self.name.startswith("/"):
            self._moving.put(odometry(ROS2, when_ns, pose))
            return
        up = transform(ROS2, when_ns, ("base_link", "odom"), np.linalg.inv(pose))
        self.send(tf(up, transform(ROS2, when_ns, ("map", "odom"), pose_of(time_s))))

    def send(self, message: Any) -> None:
        self._moving.put(message)

    def at(self, time_s: float) -> np.ndarray:
        return self.poses.at("velodyne", START_NS + round(1e9 * time_s))


def tf(*stamped: Any) -> Any:
    return new(ROS2, "tf2_msgs/TFMessage", list(stamped))


NAMES = pytest.mark.parametrize("name", ["odom", "/odometry", "map"])


@NAMES
def test_poses_lie_between_the_samples_around_them(name: str) -> None:
    robot = Robot(name)
    robot.mount()
    for k in range(11):
        robot.drive(0.02 * k)
    for time_s in (0.0, 0.05, 0.1, 0.2):
        expected = driven(time_s) @ MOUNT
        expected = pose_of(time_s) @ expected if name == "map" else expected
        np.testing.assert_allclose(robot.at(time_s), expected, atol=1e-3)


@NAMES
def test_a_pose_is_waited_for(name: str) -> None:
    robot = Robot(name)
    robot.drive(0.0)
    robot.drive(0.1)
    robot.mount()
    later = threading.Timer(0.05, robot.drive, [0.2])
    later.start()
    found = robot.at(0.15)  # raises ScanError if it does not wait
    expected = driven(0.15) @ MOUNT
    expected = pose_of(0.15) @ expected if name == "map" else expected
    np.testing.assert_allclose(found, expected, atol=2e-2)


@NAMES
def test_a_sweep_without_a_pose_is_left_out(name: str) -> None:
    robot = Robot(name)
    start_s = time.monotonic()
    with pytest.raises(ScanError, match=f"--poses {name}: .*: left out$"):
        robot.at(0.0)
    assert 0.2 <= time.monotonic() - start_s < 1
    robot.mount()
    for k in range(6):
        robot.drive(0.02 * k)
    with pytest.raises(
        ScanError, match=r"no pose at 1700000000\.11.* did not arrive within 0\.2 s"
    ):
        robot.at(0.11)  # the last sample is of 0.1 s
    robot.drive(1.3)
    with pytest.raises(ScanError, match=r"no pose at 1700000000\.5.*no samples near this time"):
        robot.at(0.5)  # 1.2 s between two samples


@NAMES
def test_a_clock_that_is_set_back_begins_anew(name: str) -> None:
    robot = Robot(name)
    robot.mount()
    for k in range(40):
        robot.drive(0.1 * k, 0.0)
    robot.at(3.85)
    with pytest.raises(ScanError, match="no samples near this time"):
        robot.at(3.9 - KEPT_S - 0.3)  # forgotten
    for k in range(3):
        robot.drive(2.0 + 0.1 * k, 0.0)
    robot.at(2.1)
    with pytest.raises(ScanError, match="did not arrive within"):
        robot.at(3.0)


def test_a_first_transform_of_zeros_and_a_damaged_one_hide_no_later_ones() -> None:
    robot = Robot("odom")
    nothing = transform(ROS2, START_NS, ("base_link", "odom"), np.eye(4))
    nothing.transform.rotation.w = 0.0
    robot.send(tf(nothing))
    for k in range(3):
        robot.drive(0.1 * k)
    robot.static.put_bytes(b"\x00\x01")
    robot.mount()
    np.testing.assert_allclose(robot.at(0.1), driven(0.1) @ MOUNT, atol=1e-3)


def test_what_leads_nowhere_is_named() -> None:
    robot = Robot("earth")
    robot.mount()
    robot.drive(0.0)
    with pytest.raises(
        ScanError,
        match=r"^--poses earth: no transforms lead to it from velodyne \(frames: base_link, map, "
        r"odom, velodyne; odometry: /odometry\): left out$",
    ):
        robot.at(0.0)
    robot = Robot("/odometry")
    robot.drive(0.0)
    robot.drive(0.1)
    with pytest.raises(
        ScanError, match="no fixed transform from velodyne to base_link, the frame of the odometry"
    ):
        robot.at(0.05)


@pytest.fixture
def topics(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A domain of this test."""
    pytest.importorskip("cyclonedds", reason="the extra ros2 is not installed")
    from bev_instseg.live.dds import RosTopics

    for name in ("CYCLONEDDS_URI", "ROS_DOMAIN_ID"):
        monkeypatch.setenv(name, environment()[name])
    return RosTopics()


KINDS = {FRONT: CLOUD, REAR: CLOUD, "/tf": TF, "/odometry": ODOMETRY_TYPE, "/tf_static": TF}
NUM_SWEEPS, NUM_NEW = MAX_SWEEPS + 5, 5
MOUNTS = [
    ("base_link", "front", (0.5, 0.0, 0.2), UPRIGHT),
    ("base_link", "rear", (-0.5, 0.0, 0.2), BACKWARDS),
]


def halves(i: int) -> Iterator[tuple[str, bytes]]:
    """A sweep as two sensors see it: one what is left, the other, turned around, what is right."""
    points = SWEEPS[i] if i < len(SWEEPS) else sweep(i)
    left = points[:, 1] > 0
    front, rear = points[left] - np.float32([0.5, 0, 0.2, 0]), points[~left].copy()
    rear = (rear + np.float32([0.5, 0, -0.2, 0])) * np.float32([-1, -1, 1, 1])
    yield FRONT, cloud_message(stamp(i), "front", front)
    yield REAR, cloud_message(stamp(i) + PERIOD_NS // 10, "rear", rear)


def motion(i: int) -> Iterator[tuple[str, bytes]]:
    """Where the robot is around a sweep: 0.4 m further each time."""
    for when_ns in (stamp(i) - PERIOD_NS // 3, stamp(i) + PERIOD_NS // 3):
        pose = pose_of(4e-9 * (when_ns - START_NS))
        moved = tf(transform(ROS2, when_ns, ("odom", "base_link"), pose))
        yield "/tf", bytes(ROS2.serialize_cdr(moved, TF))
        yield "/odometry", bytes(ROS2.serialize_cdr(odometry(ROS2, when_ns, pose), ODOMETRY_TYPE))


STATIC = bytes(ROS2.serialize_cdr(transforms(MOUNTS, ROS2), TF))


def latched_writer(topics: Any, name: str) -> Any:
    from cyclonedds.core import Policy, Qos
    from cyclonedds.pub import DataWriter

    from bev_instseg.live.dds import RosWriter

    plain = Policy.DataRepresentation(use_cdrv0_representation=True)
    quality = Qos(Policy.Reliability.Reliable(10**9), Policy.Durability.TransientLocal, plain)
    topic = topics._topic(name, TF)
    return RosWriter(topics, DataWriter(topics.participant, topic, quality), topic.data_type)


def live_results(topics: Any, source: Source, work: Any, names: Sequence[str]) -> list[Any]:
    """Send the sweeps and what else there is on some topics; each when the one before is done."""
    writers = {name: topics.writer(name, KINDS[name]) for name in names}
    fixed = latched_writer(topics, "/tf_static")
    fixed.write(STATIC)
    end_s = time.monotonic() + 20
    while not all(one.num_readers for one in (*writers.values(), fixed)):
        assert time.monotonic() < end_s
        time.sleep(0.01)
    stop, arrived, results = threading.Event(), queue.Queue[Any](), []
    thread = threading.Thread(target=source.listen, args=(arrived.put, stop))
    thread.start()
    try:
        for i in range(NUM_SWEEPS):
            for name, data in (*halves(i), *motion(i)):
                if name in writers:
                    writers[name].write(data)
            results.append(work(arrived.get(timeout=20).raw))
    finally:
        stop.set()
        thread.join(10)
    return results


@pytest.mark.parametrize("name", ["odom", "/odometry"])
def test_two_sensors_and_poses_give_what_their_recording_gives(
    name: str, topics: Any, weights: str, one_thread: None, tmp_path: Path
) -> None:
    said = list[str]()
    setup = ["--axes", "flu", "--level", "0", "0", "--intensity", "1", "--ego-box", *"0000"]
    words = ["--frame", "base_link", "--poses", name, *setup]
    arguments = live.parse_arguments(["--ros2", FRONT, "--ros2", REAR, *words], "live")
    source, options = live._listen(arguments, topics, said.append)
    pipeline = Pipeline(Segmenter.from_checkpoint(weights), options, said.append)
    moving = "/tf" if name == "odom" else name
    results = live_results(topics, source, pipeline.process, [FRONT, REAR, moving])
    assert results[:MAX_SWEEPS] == [None] * MAX_SWEEPS
    assert len(said) == 1  # how all sweeps are read
    with writing(tmp_path, "mcap") as bag:
        bag.raw("/tf_static", TF, START_NS, STATIC)
        for i in range(MAX_SWEEPS, NUM_SWEEPS):
            for topic, data in (*halves(i), *motion(i)):
                bag.raw(topic, KINDS[topic], stamp(i), data)
    out = ["--out", str(tmp_path / "out"), "--weights", weights, "--runtime", "torch"]
    chosen = ["--topic", FRONT, "--topic", REAR]
    assert segment.main([str(tmp_path / "drive.mcap"), *out, *chosen, *words]) == 0
    stored = list(stored_sweeps(tmp_path / "out" / "drive.mcap"))
    assert len(stored) == NUM_NEW
    for mine, theirs in zip(results[MAX_SWEEPS:], stored, strict=True):
        assert mine.stamp_ns == theirs.stamp_ns
        assert mine.messages == theirs.messages[-len(TOPICS) :]  # after TRACKS
        assert len(np.unique(theirs.points.extras["instance"])) >= 3
        assert theirs.points.frame_id == "base_link"
        last = theirs.result.sequence
    assert last is not None
    assert last.pose[3] == pytest.approx(0.4 * (NUM_NEW - 1), abs=1e-6)  # since its first sweep
    assert source.num_incomplete == source.num_lost == 0


def test_a_message_too_short_for_a_header_is_lost(topics: Any) -> None:
    source = RosPoints(topics, ["front/points"], pytest.fail)
    source._add(Message(FRONT, POINT_CLOUD, 0, b"\0\1\0\0", is_ros1=False))
    assert (source.name, source.num_lost) == (FRONT, 1)
    assert source.advice().startswith(f"no messages on {FRONT} yet; there are points on ")


def test_a_sensor_that_comes_late_is_merged_but_moves_no_square(
    weights: str, one_thread: None
) -> None:
    said = list[str]()
    mounts = {"front": (0.5, 0.0, 0.2), "rear": (-0.5, 0.0, 0.2)}

    def to_frame(frame_id: str, topic: str) -> Transform:
        return from_degrees(mounts[frame_id], 0.0, 0.0, 180.0 if topic == REAR else 0.0)

    options = LiveOptions("robot", SensorSetup(), "base_link", to_frame, tracks=False)
    pipeline = Pipeline(Segmenter.from_checkpoint(weights), options, said.append)
    for i in range(MAX_SWEEPS + 1):
        parts = [Message(topic, POINT_CLOUD, 0, data, False) for topic, data in halves(i)]
        result = pipeline.process(tuple(parts if i == MAX_SWEEPS else parts[:1]))
    assert result is not None
    cloud = ROS2.deserialize_cdr(result.messages[-1], CLOUD)
    points = np.frombuffer(cloud.data, np.float32).reshape(-1, 7)[:, :3]
    whole = sweep(MAX_SWEEPS)[:, :3]
    expected = np.concatenate([whole[whole[:, 1] > 0], whole[whole[:, 1] <= 0]])
    np.testing.assert_allclose(points, expected, atol=1e-4)
    assert pipeline._setup.origin_m == mounts["front"]
    assert said[-1] == (
        f"{REAR} appeared after the first 8 sweeps: its points are used, but the grid stays "
        "centred on the other sensors"
    )
