"""Live sweeps: the newest first, by UDP and by DDS, with the labels of a recording."""

import gc
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bags import CLOUD, START_NS, TF, stamp, transforms, writing
from conftest import CAR, PERSON, Thing, one_thread_environment, street
from test_recordings import velodyne_capture

from bev_instseg.cli import live, play, segment
from bev_instseg.exceptions import ScanError
from bev_instseg.export.mark import MARK
from bev_instseg.export.ros_messages import TOPICS, message_types
from bev_instseg.export.stored_sweeps import stored_sweeps
from bev_instseg.io.recordings.capture import Capture
from bev_instseg.io.recordings.point_cloud2 import StampedSweep
from bev_instseg.io.recordings.source import POINT_CLOUD, Message
from bev_instseg.io.recordings.velodyne import read_capture
from bev_instseg.io.sensor_setup import SensorSetup
from bev_instseg.io.survey import MAX_SWEEPS
from bev_instseg.live.own_search import OwnVehicleSearch
from bev_instseg.live.pipeline import LiveOptions, LiveResult, Pipeline
from bev_instseg.live.replay import Replayed, cloud_message, recorded_sweeps, send_packets
from bev_instseg.live.session import LiveSession
from bev_instseg.live.slot import NewestSlot
from bev_instseg.live.source import Arrival
from bev_instseg.live.state import LiveState
from bev_instseg.live.velodyne_udp import VelodynePackets, chosen_model
from bev_instseg.segmenter import Segmenter

NUM_SWEEPS = MAX_SWEEPS + 6
LOOPBACK = (
    "<CycloneDDS><Domain><General><Interfaces><NetworkInterface address='127.0.0.1'/></Interfaces>"
    "<AllowMulticast>false</AllowMulticast></General><Discovery>"
    "<ParticipantIndex>auto</ParticipantIndex><Peers><Peer address='127.0.0.1'/></Peers>"
    "</Discovery></Domain></CycloneDDS>"
)


def sweep(i: int) -> np.ndarray:
    """A parked car, a car that drives ahead with 3 m/s, and a person; the sensor stands."""
    things = (Thing(CAR, 9, 3, 0.3), Thing(CAR, 5 + 0.3 * i, -4), Thing(PERSON, 7, 0))
    return street(things, seed=i)[0]


SWEEPS = [sweep(i) for i in range(NUM_SWEEPS)]


def message(i: int, points: np.ndarray, stamp_ns: int | None = None) -> tuple[Message, ...]:
    stamp_ns = stamp(i) if stamp_ns is None else stamp_ns
    data = cloud_message(stamp_ns, "velodyne", points)
    return (Message("/points", POINT_CLOUD, 0, data, False),)


@pytest.fixture
def segmenter(weights: str, one_thread: None) -> Segmenter:
    return Segmenter.from_checkpoint(weights)


def pipeline(segmenter: Segmenter, said: list[str] | None = None, **options: Any) -> Pipeline:
    chosen = LiveOptions("/points", **{"setup": SensorSetup(), **options})
    return Pipeline(segmenter, chosen, [].append if said is None else said.append)


def parsed(messages: Sequence[bytes]) -> dict[str, Any]:
    """The messages of a sweep by the last word of their topic."""
    store = message_types()
    return {
        topic.rpartition("/")[2]: store.deserialize_cdr(data, kind)
        for (topic, kind), data in zip(TOPICS, messages, strict=True)
    }


def test_the_newest_item_replaces_older_ones() -> None:
    slot = NewestSlot[int]()
    assert slot.take(0.0) is None
    for i in range(5):
        slot.put(i)
    assert slot.take(0.0) == 4
    assert slot.take(0.0) is None
    assert (slot.num_put, slot.num_dropped) == (5, 4)


def test_a_waiting_thread_gets_the_item_at_once() -> None:
    slot, found = NewestSlot[str](), []
    thread = threading.Thread(target=lambda: found.append(slot.take(30.0)))
    thread.start()
    slot.put("sweep")
    thread.join(5.0)
    assert found == ["sweep"]
    assert slot.num_dropped == 0


class Burst:
    """A source of five sweeps; the last four come while the first is being processed."""

    name, num_lost = "/points", 0

    def __init__(self) -> None:
        self.begun, self.sent, self.seen = threading.Event(), threading.Event(), list[int]()

    def listen(self, put: Any, stop: threading.Event) -> None:
        for i in range(5):
            put(Arrival(message(i, SWEEPS[0][:1]), time.perf_counter()))
            assert self.begun.wait(30)
        self.sent.set()
        stop.wait()

    @property
    def num_incomplete(self) -> int:
        return 2 if self.sent.is_set() else 0

    def advice(self) -> str:
        return "nothing"


class SlowPipeline:
    """Takes until all sweeps have been sent for the first."""

    def __init__(self, source: Burst, first: str) -> None:
        self.source, self.first, self.notices = source, first, list[str]()

    def notice(self, line: str) -> None:
        self.notices.append(line)

    def process(self, raw: tuple[Message, ...]) -> LiveResult | None:
        stamp_ns = raw[0].stamp_ns
        self.source.begun.set()
        assert self.source.sent.wait(30)
        if stamp_ns == stamp(0) and self.first != "result":
            if self.first == "error":
                raise ScanError("damaged")
            return None
        return LiveResult(stamp_ns, (b"",), 7)


class Kept:
    """An output that keeps what it gets."""

    def __init__(self) -> None:
        self.results: list[LiveResult] = []

    def write(self, result: LiveResult) -> None:
        self.results.append(result)


@pytest.mark.parametrize(
    ("first", "expected", "counts"),
    [
        ("result", [0, 4], "3 dropped, 0 lost, 2 incomplete"),
        ("survey", [4], "0 dropped, 0 lost"),  # before the first result none counts
        ("error", [4], "3 dropped, 0 lost, 2 incomplete, 1 unusable"),
    ],
)
def test_a_session_segments_the_newest_and_counts_the_others(
    first: str, expected: list[int], counts: str
) -> None:
    source, output = Burst(), Kept()
    fake: Any = SlowPipeline(source, first)
    with LiveSession(source, fake, [output]) as session:
        end_s = time.monotonic() + 30
        while session.state.num_sweeps < len(expected) and time.monotonic() < end_s:
            session.wait(0.01)
    assert [one.stamp_ns for one in output.results] == [stamp(i) for i in expected]
    assert session.num_arrived == 5
    assert session.line().startswith(f"{len(expected)} sweeps, ")
    assert f" a second, {counts}; from arrival " in session.line()
    assert session.line().endswith("; 7 objects")
    assert fake.notices == (["damaged"] if first == "error" else [])


def test_what_ends_a_thread_is_raised_where_it_is_waited_for() -> None:
    class Full:
        def write(self, result: LiveResult) -> None:
            raise OSError("disk full")

    source = Burst()
    fake: Any = SlowPipeline(source, "result")
    with LiveSession(source, fake, [Full()]) as session, pytest.raises(OSError, match="disk full"):
        session.wait(60)


def test_the_state_has_rate_and_latencies() -> None:
    state = LiveState()
    for k in range(101):
        state.add(time.time_ns() - 3_000_000_000, time.perf_counter() - 0.1 - 0.01 * k, k)
    assert state.rate(1.0) == "101.0 sweeps/s"
    assert state.rate().startswith("101 sweeps, ")
    assert state.num_objects == 100
    assert re.fullmatch(
        r"from arrival 600 ms \(99 %: 1090\), from stamp 3000 ms \(99 %: 30\d\d\)",
        state.latencies(),
    )
    old = LiveState()
    old.add(START_NS, time.perf_counter(), 1)
    assert old.latencies().endswith(", stamps from another clock")


def test_the_first_sweeps_decide_and_the_others_are_segmented(segmenter: Segmenter) -> None:
    said: list[str] = []
    work = pipeline(segmenter, said, tracks=False)
    scaled = [points * np.float32([1, 1, 1, 255]) for points in SWEEPS]
    results = [work.process(message(i, points)) for i, points in enumerate(scaled)]
    assert results[:MAX_SWEEPS] == [None] * MAX_SWEEPS
    assert said[0] == (
        "found in the first 8 sweeps: axes flu, pitch 0.0 and roll 0.0 degrees, intensities 0..255"
    )
    for i in range(MAX_SWEEPS, NUM_SWEEPS):
        result = results[i]
        assert result is not None
        found = parsed(result.messages)
        expected = segmenter.segment(SWEEPS[i])
        records = np.frombuffer(found["points"].data, np.float32).reshape(-1, 7)
        np.testing.assert_array_equal(records[:, :4], scaled[i])  # as they came
        np.testing.assert_array_equal(records[:, 4].view(np.uint32), expected.labels)
        assert result.num_objects == len(found["detections"].detections) == len(expected) > 0
        assert result.stamp_ns == stamp(i)


def test_sweeps_without_returns_decide_nothing(segmenter: Segmenter) -> None:
    work = pipeline(segmenter, tracks=False)
    for i in range(20):
        assert work.process(message(i, np.zeros((i, 4), np.float32))) is None
    for i in range(MAX_SWEEPS):
        assert work.process(message(20 + i, SWEEPS[i])) is None
    assert work.process(message(40, SWEEPS[9])) is not None


def test_stamps_that_do_not_go_on(segmenter: Segmenter) -> None:
    said = list[str]()
    work = pipeline(segmenter, said, stands=True)
    for i in range(MAX_SWEEPS + 4):
        result = work.process(message(i, SWEEPS[i]))
    assert result is not None
    before = ids(result)
    with pytest.raises(ScanError, match="is not later than the previous one: left out"):
        work.process(message(MAX_SWEEPS, SWEEPS[3]))
    result = work.process(message(NUM_SWEEPS, SWEEPS[MAX_SWEEPS + 4]))
    assert result is not None
    assert len(ids(result) & before) > 3  # they go on
    earlier = ids(result)
    result = work.process(message(0, SWEEPS[3], START_NS - 5 * 10**9))
    assert result is not None
    assert ids(result)
    assert min(ids(result)) > max(earlier)  # a new sequence in the same recording
    assert any(re.search(r"stamps went back by .* s: all objects get new ids", one) for one in said)


def test_a_clock_set_back_is_reported_although_the_first_sweep_has_no_pose(
    segmenter: Segmenter,
) -> None:
    said, back_ns = list[str](), START_NS - 5 * 10**9

    def poses(frame: str, stamp_ns: int) -> np.ndarray:
        if stamp_ns == back_ns:
            raise ScanError("no pose yet")
        return np.eye(4)

    work = pipeline(segmenter, said, poses=poses)
    for i in range(MAX_SWEEPS + 2):
        work.process(message(i, SWEEPS[i]))
    with pytest.raises(ScanError, match="no pose yet"):
        work.process(message(0, SWEEPS[3], back_ns))
    for i in (4, 5):
        assert work.process(message(0, SWEEPS[i], back_ns + i * 10**8)) is not None
    assert ["stamps went back" in one for one in said].count(True) == 1


def ids(result: LiveResult) -> set[int]:
    return {int(one.id) for one in parsed(result.messages)["detections"].detections}


def test_after_a_pause_objects_get_new_ids(segmenter: Segmenter) -> None:
    said: list[str] = []
    work = pipeline(segmenter, said, stands=True)
    results = [work.process(message(i, SWEEPS[i])) for i in range(MAX_SWEEPS + 4)]
    before = {one for result in results if result is not None for one in ids(result)}
    result = work.process(message(MAX_SWEEPS + 604, SWEEPS[MAX_SWEEPS + 4]))
    assert result is not None
    assert ids(result)
    assert not ids(result) & before
    assert said[-1] == "a pause of 60.1 s: all objects get new ids"


def test_sweeps_in_another_frame_are_left_out(segmenter: Segmenter) -> None:
    work = pipeline(segmenter, tracks=False)
    work.process(message(0, SWEEPS[0]))
    data = cloud_message(stamp(1), "rear", SWEEPS[1])
    with pytest.raises(ScanError, match="in the frame rear, not in velodyne as the first sweep"):
        work.process((Message("/points", POINT_CLOUD, 0, data, False),))


def test_points_are_brought_to_a_frame_once_it_is_known(segmenter: Segmenter) -> None:
    from bev_instseg.io.recordings.transforms import from_degrees

    known: dict[str, Any] = {}

    def find(frame_id: str, topic: str) -> Any:
        if frame_id not in known:
            raise ScanError(f"no fixed transform from {frame_id} to base_link")
        return known[frame_id]

    turned = [points * np.float32([1, -1, -1, 1]) for points in SWEEPS]
    work = pipeline(segmenter, tracks=False, frame="base_link", to_frame=find)
    with pytest.raises(ScanError, match="no fixed transform from velodyne to base_link"):
        work.process(message(0, turned[0]))
    known["velodyne"] = from_degrees((0.0, 0.0, 1.7), 180.0, 0.0, 0.0)  # upside down
    for i in range(MAX_SWEEPS):
        assert work.process(message(i, turned[i])) is None
    result = work.process(message(9, turned[9]))
    assert result is not None
    found = parsed(result.messages)
    assert found["points"].header.frame_id == "base_link"
    records = np.frombuffer(found["points"].data, np.float32).reshape(-1, 7)
    np.testing.assert_allclose(records[:, :3], SWEEPS[9][:, :3] + (0, 0, 1.7), atol=1e-5)
    labels = records[:, 4].view(np.uint32)
    assert (labels == segmenter.segment(SWEEPS[9]).labels).mean() > 0.99
    assert labels.any()


def test_the_vehicle_itself_gets_no_label(segmenter: Segmenter) -> None:
    work = pipeline(segmenter, tracks=False, ego_box=(4.0, 9.0, -3.0, 3.0))
    for i in range(MAX_SWEEPS):
        work.process(message(i, SWEEPS[i]))
    result = work.process(message(9, SWEEPS[9]))
    assert result is not None
    x, y = SWEEPS[9][:, 0], SWEEPS[9][:, 1]
    inside = (x >= 4) & (x <= 9) & (y >= -3) & (y <= 3)
    data = np.frombuffer(parsed(result.messages)["points"].data, np.float32).reshape(-1, 7)
    labels = data[:, 4].view(np.uint32)
    assert not labels[inside].any()
    assert labels[~inside].any()


def test_the_vehicle_is_found_while_it_moves_only() -> None:
    rng = np.random.default_rng(0)
    bonnet = np.column_stack(
        [rng.uniform(1, 2, 200), rng.uniform(-0.8, 0.8, 200), np.full(200, -1)]
    )
    towers = rng.uniform((-60, -20, -1.7), (60, 20, 2), (4000, 3))
    ground = np.column_stack([rng.uniform(-60, 60, (6000, 2)), np.full(6000, -1.7)])

    def at(x: float) -> np.ndarray:
        around = np.concatenate([towers, ground]) - (x, 0, 0)
        return np.concatenate([bonnet, around]).astype(np.float32)

    search = OwnVehicleSearch()
    for _ in range(200):  # standing: there is nothing to compare
        search.look(at(0), np.zeros(3))
    assert search.vehicle is None
    for k in range(30):
        search.look(at(0.5 * k), np.array([0.5 * k, 0, 0]))
    end_s = time.monotonic() + 30
    while search.vehicle is None and time.monotonic() < end_s:
        time.sleep(0.01)
    assert search.vehicle is not None
    own = search.vehicle.is_own(at(99))
    assert own[:200].all()
    assert own[200:].mean() < 0.05


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    pytest.importorskip("velodyne_decoder")
    path = tmp_path / "drive.pcap"
    path.write_bytes(velodyne_capture(num_turns=6))
    return path


def received(source: VelodynePackets, send: Any) -> list[StampedSweep]:
    """What a source passes on while packets are sent to it."""
    found, stop = list[Any](), threading.Event()
    thread = threading.Thread(target=source.listen, args=(found.append, stop))
    thread.start()
    try:
        send()
        time.sleep(0.3)
    finally:
        stop.set()
        thread.join(10)
    return [one.raw for one in found]


def test_packets_by_udp_give_the_sweeps_of_their_capture(capture: Path) -> None:
    source = VelodynePackets(0)
    assert "no packets on UDP port" in source.advice()
    found = received(source, lambda: send_packets(capture, source.port))
    whole = list(read_capture(Capture(capture, 1206)))
    expected = whole[: len(found)]  # the last turn is not complete
    assert len(found) >= 4
    for mine, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(mine.points, theirs.points)
        assert mine.frame_id == theirs.frame_id == "velodyne"
        assert abs(mine.stamp_ns - time.time_ns()) < 30e9  # by this machine's clock
    gaps_s = np.diff([one.stamp_ns for one in found]) / 1e9
    assert np.median(gaps_s) == pytest.approx(0.12, abs=0.06)  # as fast as it was captured


def test_only_the_first_sensor_of_a_capture_is_sent(capture: Path) -> None:
    capture.write_bytes(velodyne_capture(num_turns=3, ranges_m=(10, 25)))
    source = VelodynePackets(0)
    with pytest.warns(UserWarning, match=r"packets from 10\.0\.0\.1 to port 2368 are left out"):
        found = received(source, lambda: send_packets(capture, source.port))
    for sweep in found:
        ranges_m = np.linalg.norm(sweep.points[~sweep.is_missing, :3], axis=1)
        np.testing.assert_allclose(ranges_m, 10, atol=0.2)


def test_other_packets_are_left_out(capture: Path) -> None:
    import socket

    source = VelodynePackets(0, "vlp-16")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        to = "127.0.0.1", source.port
        assert received(source, lambda: [sender.sendto(b"x" * n, to) for n in (0, 5, 554)]) == []
    assert "3 packets on UDP port" in source.advice()
    import velodyne_decoder

    assert chosen_model(velodyne_decoder, "HDL-32E").name == "HDL32E"
    assert chosen_model(velodyne_decoder, "") is None
    with pytest.raises(ValueError, match=r"--model HDL-33: choose from .*HDL32E"):
        VelodynePackets(0, "HDL-33")
    with pytest.raises(ValueError, match=r"--model HDL-64E-S3: No calibration found .* --ros2"):
        VelodynePackets(0, "HDL-64E-S3")


def test_a_port_in_use_is_refused_in_one_line(
    capture: Path, weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = VelodynePackets(0)
    command = ["--pcap-udp", str(source.port), "--out", str(tmp_path), "--weights", weights]
    assert live.main(command) == 2
    assert capsys.readouterr().err == f"live: UDP port {source.port}: Address already in use\n"


def environment() -> dict[str, str]:
    """The environment of processes that meet on this machine only, in a domain of their own."""
    domain = str(1 + os.getpid() % 200)
    return {**one_thread_environment(), "CYCLONEDDS_URI": LOOPBACK, "ROS_DOMAIN_ID": domain}


def command(name: str, *words: object) -> list[str]:
    """The command line of one of this package's commands; Ctrl-C ends it also below ``nohup``."""
    program = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from bev_instseg.cli.main import main; raise SystemExit(main())"
    )
    return [sys.executable, "-c", program, name, *map(str, words)]


@contextmanager
def running(name: str, *words: object) -> Iterator[subprocess.Popen[str]]:
    """Run a command in another process until the ``with`` block ends."""
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command(name, *words), env=environment(), stdout=pipe, stderr=pipe, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_packets_are_segmented_and_recorded(capture: Path, weights: str, tmp_path: Path) -> None:
    free = VelodynePackets(0)
    port = free.port
    received(free, lambda: None)  # closes it
    out = tmp_path / "out"
    options = "--out", out, "--weights", weights, "--seconds", 5, "--standing"
    with (
        running("play", capture, "--udp", port, "--loop"),
        running("live", "--pcap-udp", port, *options) as process,
    ):
        said, notes = process.communicate(timeout=180)
    assert process.returncode == 0, notes
    [path] = out.iterdir()
    assert path.name.startswith(f"UDP_port_{port}_")
    stored = list(stored_sweeps(path))
    assert said.splitlines()[0] == f"recording {path}"
    assert said.splitlines()[-1].startswith(f"{len(stored)} sweeps, ")
    assert len(stored) >= 3
    for one in stored:
        range_m = np.linalg.norm(one.points.points[~one.points.is_missing, :3], axis=1)
        np.testing.assert_allclose(range_m, 10, atol=0.2)
    assert re.search(
        r"^bev-instseg live: \d+\.\d sweeps/s, \d+ dropped, \d+ lost; from arrival", notes, re.M
    )


@pytest.fixture
def topics(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The domain of the other processes."""
    pytest.importorskip("cyclonedds", reason="the extra ros2 is not installed")
    from bev_instseg.live.dds import RosTopics

    for name in ("CYCLONEDDS_URI", "ROS_DOMAIN_ID"):
        monkeypatch.setenv(name, environment()[name])
    return RosTopics()


def test_two_processes_exchange_sweeps_and_labels_by_dds(
    topics: Any, weights: str, tmp_path: Path
) -> None:
    with writing(tmp_path, "mcap") as bag:
        for i, points in enumerate(SWEEPS):
            bag.cloud("/points", points, i)
    out, got = tmp_path / "out", {name: dict[int, bytes]() for name, _ in TOPICS}
    readers = {name: topics.reader(name, kind) for name, kind in TOPICS}
    with running("live", "--ros2", "/points", "--out", out, "--weights", weights) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == (
            "publishing /bev_instseg/markers, /bev_instseg/detections, /bev_instseg/points\n"
        )
        end_s = time.monotonic() + 90
        with running("play", tmp_path / "drive.mcap", "--ros2", "points", "--rate", 5, "--loop"):
            while min(map(len, got.values())) < 6 and time.monotonic() < end_s:
                for name, reader in readers.items():
                    for data in reader.take(0.02):
                        got[name][hash(data)] = data
            assert "/points" in topics.published(CLOUD)
        process.send_signal(signal.SIGINT)
        said, notes = process.communicate(timeout=180)
    assert process.returncode == 130, notes
    assert "bev-instseg live: stopped" in notes
    [path] = out.iterdir()
    assert path.suffix == ".mcap"  # not .part: it is complete
    stored = list(stored_sweeps(path))
    assert said.splitlines()[-1].startswith(f"{len(stored)} sweeps, ")
    for k, (name, _) in enumerate(TOPICS):
        assert len(got[name]) >= 6
        recorded = {one.messages[k] for one in stored}
        # In DDS a message ends at a multiple of four bytes.
        assert {data[: -(-len(data) // 4) * 4] for data in got[name].values()} <= {
            data.ljust(-(-len(data) // 4) * 4, b"\0") for data in recorded
        }
    assert segment.main([str(path), "--out", str(tmp_path / "again"), "--weights", weights]) == 0
    again = list(stored_sweeps(tmp_path / "again" / path.name))
    assert len(again) == len(stored)
    for mine, theirs in zip(stored, again, strict=True):
        assert mine.stamp_ns == theirs.stamp_ns
        assert mine.messages == theirs.messages[-len(TOPICS) :]  # after TRACKS
        assert mine.points.extras["instance"].any()


def test_transforms_of_the_robot_are_found_when_they_come(topics: Any) -> None:
    from cyclonedds.core import Policy, Qos
    from cyclonedds.pub import DataWriter

    from bev_instseg.live import dds
    from bev_instseg.live.ros_motion import robot_frames

    frames = robot_frames(topics)
    with pytest.raises(
        ScanError, match=r"no fixed transform from velodyne to base_link \(frames: n"
    ):
        frames.find("velodyne", "/points", "base_link")
    quality = Qos(
        Policy.Reliability.Reliable(10**9),
        Policy.Durability.TransientLocal,
        Policy.DataRepresentation(use_cdrv0_representation=True),
    )
    topic = topics._topic("/tf_static", TF)
    writer = dds.RosWriter(topics, DataWriter(topics.participant, topic, quality), topic.data_type)
    store = message_types()
    mounted = transforms([("base_link", "velodyne", (1.0, 0.0, 1.7), (0.0, 0.0, 0.0, 1.0))], store)
    writer.write(bytes(store.serialize_cdr(mounted, TF)))
    end_s, found = time.monotonic() + 20, None
    while found is None and time.monotonic() < end_s:
        with suppress(ScanError):
            found = frames.find("velodyne", "/points", "base_link")
    assert found is not None
    np.testing.assert_allclose(found.translation_m, (1, 0, 1.7))


def test_a_subscriber_that_stands_still_does_not_hold_up_others(topics: Any) -> None:
    reader = topics.reader("/points", CLOUD)  # is not read
    writer = topics.writer("/points", CLOUD)
    start_s = time.monotonic()
    while not writer.num_readers and time.monotonic() < start_s + 20:
        time.sleep(0.01)
    start_s = time.monotonic()
    for i in range(20):
        writer.write(message(i, SWEEPS[0])[0].data)
    assert time.monotonic() - start_s < 5
    [newest] = reader.take(5.0)  # the others were replaced, not queued
    assert Message("/points", POINT_CLOUD, 0, newest, False).stamp_ns == stamp(19)


@pytest.mark.parametrize("name", ["/a b", "", "9", "/a//b", "/ä"])
def test_names_that_ros_does_not_know_are_refused(name: str, topics: Any) -> None:
    with pytest.raises(ValueError, match="not a topic name such as /front/points"):
        topics.reader(name, CLOUD)
    assert topics.reader("front/points_2", CLOUD).take(0) == []


def test_a_publisher_may_go_and_come_again(topics: Any) -> None:
    reader = topics.reader("/points", CLOUD)
    for i in range(2):
        writer, got = topics.writer("/points", CLOUD), list[bytes]()
        end_s = time.monotonic() + 20
        while not got and time.monotonic() < end_s:
            writer.write(message(i, SWEEPS[0])[0].data)
            got = reader.take(0.1)
        assert Message("/points", POINT_CLOUD, 0, got[0], False).stamp_ns == stamp(i)
        del writer
        gc.collect()
        for _ in range(3):
            assert all(one == got[0] for one in reader.take(0.1))


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--pcap-udp", "2368"], "results go nowhere: add --publish, or --out DIR"),
        (["--pcap-udp", "70000", "--publish"], "--pcap-udp must be 1..65535, got 70000"),
        (["--ros2", "/a", "--model", "VLP-16"], "--model is for a Velodyne's packets"),
        (["--ros2", "/a", "--extrinsics", "car.yaml"], "--extrinsics needs --frame"),
        (["--pcap-udp", "1", "--publish", "--frame", "a"], "--frame needs --extrinsics"),
        (["--ros2", "/a", "--standing", "--no-track"], "--standing is for tracking"),
        (["--ros2", "/a", "--poses", "odom", "--no-track"], "--poses is for tracking"),
        (["--ros2", "/a", "--poses", "odom", "--standing"], "--standing and --poses contradict"),
        (["--pcap-udp", "1", "--publish", "--poses", "odom"], "packets have no poses"),
        (["--ros2", "/a", "--ros2", "/b"], "to merge topics, give a common"),
        (["--ros2", "/a", "--ros2", "a", "--frame", "x"], "--ros2 /a is given twice"),
        (["--ros2", "/a/points", "--publish", "a"], "--ros2 /a/points is a topic of the results"),
        (["--ros2", "bev_instseg/markers"], "--ros2 /bev_instseg/markers is a topic of the result"),
    ],
)
def test_options_that_do_not_fit_are_refused_in_one_line(
    words: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert live.main(words) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert complaint in line


def test_the_domain_is_that_of_ros(monkeypatch: pytest.MonkeyPatch) -> None:
    from bev_instseg.live.dds import ros_domain

    for text, domain in (("", 0), ("42", 42)):
        monkeypatch.setenv("ROS_DOMAIN_ID", text)
        assert ros_domain() == domain
    for text in ("233", "-1", "one"):
        monkeypatch.setenv("ROS_DOMAIN_ID", text)
        with pytest.raises(ValueError, match=r"ROS_DOMAIN_ID must be 0\.\.232, got"):
            ros_domain()


def test_what_is_played(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with writing(tmp_path, "mcap") as bag:
        for i in range(3):
            bag.cloud("/points", SWEEPS[i], 2 * i, frame="roof")
    played = list(recorded_sweeps(tmp_path / "drive.mcap"))
    assert [(round(one.due_s, 6), one.frame_id) for one in played] == [
        (0.0, "roof"),
        (0.2, "roof"),
        (0.4, "roof"),
    ]
    np.testing.assert_array_equal(played[2].points, SWEEPS[2])
    assert [one.due_s for one in recorded_sweeps(tmp_path / "drive.mcap", rate_hz=4)][2] == 0.5
    (tmp_path / "drive.mcap").unlink()
    with writing(tmp_path, "bag") as bag:
        for i, frame in enumerate(("roof", "rear", "roof")):
            bag.cloud("/points", SWEEPS[i], i, frame=frame)
    with pytest.warns(UserWarning, match="in the frame rear, not in roof"):
        assert len(list(recorded_sweeps(tmp_path / "drive.bag"))) == 2
    (tmp_path / "drive.bag").unlink()
    for i in range(2):
        SWEEPS[i].tofile(tmp_path / f"{i}.bin")
    assert [round(one.due_s, 6) for one in recorded_sweeps(tmp_path)] == [0.0, 0.1]
    (tmp_path / "empty").mkdir()
    with pytest.raises(ScanError, match="not a recording or a folder of sweeps"):
        list(recorded_sweeps(tmp_path / "empty"))
    assert play.main([str(tmp_path / "a.pcap"), "--udp", "1", "--rate", "2"]) == 2
    assert "--rate is for --ros2: packets are sent as they were" in capsys.readouterr().err
    assert play.main([str(tmp_path), "--ros2", "/points", "--topic", "/front"]) == 2
    assert "--topic is for recordings" in capsys.readouterr().err
    for port in ("0", "65536", "many"):
        with pytest.raises(SystemExit, match="2"):
            play.main([str(tmp_path / "a.pcap"), "--udp", port])
        assert f"must be a port, 1 to 65535, got {port}" in capsys.readouterr().err


def test_a_folder_is_played_in_natural_order_without_what_is_no_sweep(tmp_path: Path) -> None:
    for i in (0, 1, 10):
        SWEEPS[i].tofile(tmp_path / f"{i}.bin")
    (tmp_path / "2.bin").write_bytes(bytes(1001))
    SWEEPS[3].tofile(tmp_path / ".3.bin")
    (tmp_path / "4.ply").write_text(f"ply\nformat ascii 1.0\ncomment {MARK}\n")
    (tmp_path / "5.bin").mkdir()
    with pytest.warns(UserWarning, match=r"/2\.bin: .*: left out$"):
        played = list(recorded_sweeps(tmp_path))
    assert [round(one.due_s, 6) for one in played] == [0.0, 0.1, 0.3]
    for one, i in zip(played, (0, 1, 10), strict=True):
        np.testing.assert_array_equal(one.points, SWEEPS[i])


def test_a_loop_ends_once_no_sweep_can_be_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Topics:
        num_late = 0

        def writer(self, topic: str, kind: str) -> "Topics":
            return self

        def write(self, data: bytes) -> None:
            pass

    passes = iter([[Replayed(0.0, "velodyne", SWEEPS[0])], []])  # a third one would fail
    monkeypatch.setattr("bev_instseg.live.dds.RosTopics", Topics)
    monkeypatch.setattr("bev_instseg.live.replay.recorded_sweeps", lambda *_: next(passes))
    assert play.main([str(tmp_path), "--ros2", "/points", "--loop"]) == 0
    assert capsys.readouterr().out.startswith("1 sweeps sent, ")
