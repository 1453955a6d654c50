"""Recordings as they come: any fields, rows, missing returns, frames, topics and damage."""

import dataclasses
import struct
import subprocess
import sys
import warnings
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from bags import (
    CLOUD,
    KINDS,
    PERIOD_NS,
    ROS1,
    ROS2,
    START_NS,
    TF,
    XYZI,
    Layout,
    cloud,
    mcap_writing,
    new,
    path_of,
    stamp,
    transforms,
    write_drive,
    writing,
)
from conftest import one_thread_environment
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from sweeps import street

from bev_instseg.exceptions import ConfigError, ScanError
from bev_instseg.io.find_recordings import find_recordings, is_recording, name_of_results
from bev_instseg.io.recordings.compression import unpack
from bev_instseg.io.recordings.interpret import (
    interpret_sweep,
    rigid_points,
    survey_recording,
    survey_stamped,
)
from bev_instseg.io.recordings.merge import Merger, joined
from bev_instseg.io.recordings.own_vehicle import find_own_vehicle
from bev_instseg.io.recordings.point_cloud2 import StampedSweep, parse_cloud
from bev_instseg.io.recordings.recording import Recording, Selection, read_recording
from bev_instseg.io.recordings.source import POINT_CLOUD, Message
from bev_instseg.io.recordings.transforms import (
    FrameTree,
    from_degrees,
    from_quaternion,
    read_extrinsics,
    to_quaternion,
)
from bev_instseg.io.sensor_setup import SensorSetup, sensor_rotation
from bev_instseg.io.sweep import Sweep

SWEEPS = [street(seed) for seed in range(3)]
FEW = street()[:600]


def message_of(parsed: Any, store: Any = ROS2) -> Message:
    serialise = store.serialize_ros1 if store is ROS1 else store.serialize_cdr
    data = bytes(serialise(parsed, CLOUD))
    return Message("/points", POINT_CLOUD, START_NS + 5, data, store is ROS1)


def parsed(layout: Layout, points: np.ndarray = FEW, store: Any = ROS2) -> StampedSweep:
    return parse_cloud(message_of(cloud(points, layout=layout, store=store), store))


def read(path: Path, **more: Any) -> tuple[list[StampedSweep], list[str]]:
    """The sweeps of a recording, and the warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        sweeps = list(read_recording(path, **more))
    return sweeps, [str(one.message) for one in caught]


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_recording_gives_its_points(kind: str, tmp_path: Path) -> None:
    path = write_drive(tmp_path, kind, SWEEPS)
    found, said = read(path)
    assert said == []
    for i, (sweep, points) in enumerate(zip(found, SWEEPS, strict=True)):
        np.testing.assert_array_equal(sweep.points, points)
        assert (sweep.stamp_ns, sweep.frame_id) == (stamp(i), "velodyne")
        assert (sweep.topic, sweep.num_missing) == ("/points", 0)
    with Recording(path) as recording:
        assert recording.num_sweeps == len(SWEEPS)


def test_an_mcap_file_of_ros_1_is_read(tmp_path: Path) -> None:
    with mcap_writing(tmp_path / "drive.mcap", "zstd", ROS1) as bag:
        bag.cloud("/points", SWEEPS[0], 0)
    [sweep], _ = read(tmp_path / "drive.mcap")
    np.testing.assert_array_equal(sweep.points, SWEEPS[0])


def test_packed_messages_are_unpacked(tmp_path: Path) -> None:
    for mode in (CompressionMode.MESSAGE, CompressionMode.FILE):
        writer = Writer(tmp_path / mode.name, version=8, storage_plugin=StoragePlugin.SQLITE3)
        writer.set_compression(mode, CompressionFormat.ZSTD)
        with writer:
            topic = writer.add_connection("/points", CLOUD, typestore=ROS2)
            data = bytes(ROS2.serialize_cdr(cloud(FEW), CLOUD))
            writer.write(topic, START_NS, data)
    bag = tmp_path / "MESSAGE"
    for path in (bag, *bag.glob("*.db3")):
        [sweep], _ = read(path)
        np.testing.assert_array_equal(sweep.points, FEW)
    (bag / "metadata.yaml").unlink()
    [sweep], _ = read(bag)
    np.testing.assert_array_equal(sweep.points, FEW)
    with pytest.raises(ScanError, match="compressed as a whole; unpack them \\(zstd -d"):
        Recording(tmp_path / "FILE")


def test_packed_messages_of_an_mcap_file_are_unpacked(tmp_path: Path) -> None:
    import zstandard

    packed = [
        zstandard.compress(bytes(ROS2.serialize_cdr(cloud(FEW, stamp(i)), CLOUD))) for i in range(3)
    ]
    packed[1] = packed[1][:40]
    with writing(tmp_path, "mcap") as bag:
        for i, data in enumerate(packed):
            bag.raw("/points", CLOUD, stamp(i), data)
    found, said = read(tmp_path / "drive.mcap")
    assert [sweep.stamp_ns for sweep in found] == [stamp(0), stamp(2)]
    assert len(said) == 1
    assert "/points at 1700000000.100000000: an incomplete sensor_msgs/PointCloud2" in said[0]


@pytest.mark.parametrize("store", [ROS1, ROS2], ids=["ros1", "ros2"])
@pytest.mark.parametrize(
    "layout",
    [
        Layout(),
        Layout(gap=3),
        Layout((("intensity", "f4"), ("z", "f4"), ("x", "f4"), ("y", "f4"))),
        Layout((("x", "f8"), ("y", "f8"), ("z", "f8"), ("i", "f4"))),
        Layout(big_endian=True, gap=1),
        Layout(height=4),
        Layout(height=4, row_gap=24),
        Layout((*XYZI[:3], ("reflectivity", "f4"), ("ring", "u2"), ("time", "f8")), gap=2),
        Layout((*XYZI[:3], ("reflectance", "f4"), ("_", "u1"), ("twice", "u1"))),
        Layout((("X", "f4"), ("Y", "f4"), ("Z", "f4"), ("Intensity", "f4"))),
    ],
    ids=lambda layout: f"{layout.fields[0][0]}{layout.gap}{layout.height}{layout.big_endian}",
)
def test_fields_may_be_stored_in_any_way(layout: Layout, store: Any) -> None:
    stored = Layout() if layout.fields[0][0] == "X" else layout
    message = cloud(FEW, layout=stored, store=store)
    for one, (name, _) in zip(message.fields, layout.fields, strict=True):
        one.name = "_" if name == "twice" else name
    sweep = parse_cloud(message_of(message, store))
    np.testing.assert_array_equal(sweep.points, FEW)
    assert sweep.points.dtype == np.float32
    assert sweep.has_intensity
    names = [name for name, _ in layout.fields]
    assert sorted(sweep.extras) == sorted({"ring", "time"} & set(names))
    for extra in sweep.extras.values():
        np.testing.assert_array_equal(extra, np.arange(len(FEW)))


@pytest.mark.parametrize("kind", ["i1", "u1", "i2", "u2", "i4", "u4", "f8"])
def test_integers_are_points_too(kind: str) -> None:
    points = np.random.default_rng(0).integers(0, 100, (60, 4)).astype(np.float32)
    layout = Layout((("x", kind), ("y", "f4"), ("z", kind), ("intensity", kind)))
    np.testing.assert_array_equal(parsed(layout, points).points, points)


def test_without_intensity_the_column_is_0() -> None:
    sweep = parsed(Layout(XYZI[:3]))
    assert not sweep.has_intensity
    np.testing.assert_array_equal(sweep.points[:, :3], FEW[:, :3])
    assert not sweep.points[:, 3].any()


def test_missing_returns_are_counted() -> None:
    points = FEW.copy()
    points[3, :3] = 0
    points[5, 1] = np.nan
    points[7, 0] = np.inf
    sweep = parsed(Layout(height=2), points)
    np.testing.assert_array_equal(sweep.points, points)
    assert np.flatnonzero(sweep.is_missing).tolist() == [3, 5, 7]
    assert sweep.num_missing == 3


def test_a_stamp_of_0_is_replaced_by_the_time_of_recording() -> None:
    assert parse_cloud(message_of(cloud(FEW, 0))).stamp_ns == START_NS + 5


def test_several_values_in_a_field_are_kept_unless_it_is_a_coordinate() -> None:
    message = cloud(FEW, layout=Layout((*XYZI, ("normal", "f4"), ("b", "f4"), ("c", "f4"))))
    del message.fields[5:]
    message.fields[4].count = 3
    assert parse_cloud(message_of(message)).extras["normal"].shape == (len(FEW), 3)
    message.fields[0].count = 2
    with pytest.raises(ScanError, match="must be one number per point"):
        parse_cloud(message_of(message))


def _without_z(message: Any) -> None:
    message.fields[2].name = "height"


def _unknown_type(message: Any) -> None:
    message.fields[1].datatype = 9


def _outside(message: Any) -> None:
    message.fields[3].offset = 1 << 31


def _short(message: Any) -> None:
    message.data = message.data[:-1]


def _huge(message: Any) -> None:
    message.width = message.height = (1 << 32) - 1
    message.row_step = (1 << 32) - 1


def _no_step(message: Any) -> None:
    message.point_step = 0


def _narrow_rows(message: Any) -> None:
    message.height, message.width, message.row_step = 2, len(FEW) // 2, 8


def _far(message: Any) -> None:
    view = message.data.view("<f8").reshape(len(FEW), 4)
    view[:, 0] += 5_000_000


@pytest.mark.parametrize("store", [ROS1, ROS2], ids=["ros1", "ros2"])
@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (_without_z, "no field z among x, y, height, intensity; rename its fields"),
        (_unknown_type, "field y has the unknown data type 9; record it again"),
        (_outside, "field intensity ends at byte 2147483656 of a point of 32 bytes"),
        (_short, "cut short: 600 points need 19200 bytes, not 19199; record it again"),
        (_huge, "takes 4294967295 bytes; record it again"),
        (_no_step, "field x ends at byte 8 of a point of 0 bytes"),
        (_narrow_rows, "a row of 300 points of 32 bytes takes 8 bytes; record it again"),
        (_far, "too far from the origin for float32"),
    ],
)
def test_what_makes_no_points_is_refused_in_one_line(
    damage: Any, complaint: str, store: Any
) -> None:
    fields = tuple((name, "f8") for name, _ in XYZI)
    message = cloud(FEW, layout=Layout(fields), store=store)
    damage(message)
    with pytest.raises(ScanError) as caught:
        parse_cloud(message_of(message, store))
    text = str(caught.value)
    assert text.startswith("/points at 1700000000.000000000: ")
    assert complaint in text
    assert "\n" not in text


@pytest.mark.parametrize("store", [ROS1, ROS2], ids=["ros1", "ros2"])
def test_damaged_messages_raise_nothing_else(store: Any) -> None:
    whole = message_of(cloud(FEW[:20], store=store), store)
    rng = np.random.default_rng(1)
    for _ in range(400):
        data = bytearray(whole.data[: rng.integers(len(whole.data) + 1)])
        for _ in range(rng.integers(1, 5)):
            if data:
                data[rng.integers(min(len(data), 200))] = rng.integers(256)
        message = Message("/points", POINT_CLOUD, 1, bytes(data), store is ROS1)
        with suppress(ScanError):
            assert parse_cloud(message).points.shape[1] == 4


@pytest.mark.parametrize("kind", KINDS)
def test_a_message_without_a_header_is_left_out_alone(kind: str, tmp_path: Path) -> None:
    about = tmp_path / "car.yaml"
    about.write_text("/left: {y: 1}\n/right: {y: -1}\n")
    with writing(tmp_path, kind) as bag:
        for i in range(6):
            for topic in ("/left", "/right"):
                if (i, topic) in ((1, "/right"), (3, "/left")):
                    bag.raw(topic, CLOUD, stamp(i), b"\0\1\0\0")
                else:
                    bag.cloud(topic, FEW, i)
    path = path_of(tmp_path, kind)
    found, said = read(path, topics=("/left",))
    assert [sweep.stamp_ns for sweep in found] == [stamp(i) for i in (0, 1, 2, 4, 5)]
    [line] = said
    assert "/left at 1700000000.300000000: an incomplete sensor_msgs/PointCloud2" in line
    found, said = read(path, topics=("/left", "/right"), frame="car", extrinsics=about)
    assert [sweep.stamp_ns for sweep in found] == [stamp(i) for i in (0, 1, 2, 4, 5)]
    assert [len(sweep.points) // len(FEW) for sweep in found] == [2, 1, 2, 2, 2]
    assert len(said) == 2
    with Recording(path, Selection(("/left",))) as recording:
        assert survey_recording(recording, SensorSetup()).reading is not None


def test_topics_are_listed_if_there_are_several(tmp_path: Path) -> None:
    for kind in ("bag", "mcap", "db3"):
        folder = tmp_path / kind
        folder.mkdir()
        with writing(folder, kind) as bag:
            for i in range(2):
                bag.cloud("/left", FEW, i, frame="left")
                bag.cloud("/right", FEW, i, frame="right")
        with pytest.raises(ScanError) as caught:
            Recording(path_of(folder, kind))
        assert str(caught.value) == (
            f"{path_of(folder, kind)}: several topics with points: /left (sensor_msgs/PointCloud2, "
            "2 messages, frame left), /right (sensor_msgs/PointCloud2, 2 messages, frame right); "
            "choose one: --topic /left, or merge several: --topic /left --topic /right --frame "
            "FRAME"
        )
        found, _ = read(path_of(folder, kind), topics=("/right",))
        assert [sweep.frame_id for sweep in found] == ["right", "right"]
        with pytest.raises(ScanError, match="--frame base_link"):
            Recording(path_of(folder, kind), Selection(("/left", "/right")))


def test_points_that_are_labelled_already_are_named_last(tmp_path: Path) -> None:
    labelled = Layout((*XYZI, ("instance", "u4"), ("class", "u2"), ("score", "f4")))
    with writing(tmp_path, "mcap") as bag:
        bag.cloud("/bev_instseg/points", FEW, 0, layout=labelled)
        bag.cloud("/points", FEW, 0)
    with pytest.raises(ScanError) as caught:
        Recording(tmp_path / "drive.mcap")
    assert "frame velodyne, labelled by bev-instseg); choose one: --topic /points," in str(
        caught.value
    )


@pytest.mark.parametrize("kind", ["bag", "mcap", "db3"])
def test_a_topic_without_messages_is_refused(kind: str, tmp_path: Path) -> None:
    with writing(tmp_path, kind) as bag:
        bag._connections["/points"] = bag._add("/points", CLOUD)
    for topics in ((), ("/points",)):
        with pytest.raises(ScanError, match="no messages on /points; check what was recorded"):
            Recording(path_of(tmp_path, kind), Selection(topics))


@pytest.mark.parametrize(
    ("kind", "remedy"),
    [
        ("sensor_msgs/msg/LaserScan", "; a scan of a single plane shows too little"),
        ("sensor_msgs/msg/PointCloud", "; convert the messages to PointCloud2"),
        ("sensor_msgs/msg/Image", "it has sensor_msgs/Image"),
    ],
)
def test_other_messages_of_sensors_have_a_remedy(kind: str, remedy: str, tmp_path: Path) -> None:
    with writing(tmp_path, "mcap") as bag:
        bag.raw("/scan", kind, START_NS, b"\0\1\0\0")
    with pytest.raises(ScanError, match=f"no topic of type sensor_msgs/PointCloud2;.*{remedy}"):
        Recording(tmp_path / "drive.mcap")


def test_messages_that_are_not_of_ros_are_named(tmp_path: Path) -> None:
    from mcap.writer import Writer

    path = tmp_path / "drive.mcap"
    with open(path, "wb") as file:
        writer = Writer(file)
        writer.start()
        for name, encoding in (("foxglove.PointCloud", "protobuf"), (CLOUD, "json")):
            schema = writer.register_schema(name, encoding, b"")
            channel = writer.register_channel(f"/{encoding}", encoding, schema)
            writer.add_message(channel, START_NS, b"{}", START_NS)
        writer.finish()
    with pytest.raises(ScanError) as caught:
        Recording(path)
    assert str(caught.value) == (
        f"{path}: no topic of type sensor_msgs/PointCloud2; it has foxglove.PointCloud (protobuf), "
        "sensor_msgs/PointCloud2 (json); only messages of ROS 1 (ros1) and ROS 2 (cdr) are read; "
        "convert them to PointCloud2"
    )


def test_sweeps_in_another_frame_are_left_out(tmp_path: Path) -> None:
    chain = [
        ("base_link", "velodyne", (1.0, 0.0, 1.7), UPRIGHT),
        ("base_link", "rear", (-1.0, 0.0, 1.7), UPRIGHT),
    ]
    with writing(tmp_path, "mcap") as bag:
        bag.write("/tf_static", TF, START_NS, transforms(chain, bag.store))
        for i, frame in enumerate(("velodyne", "rear", "/velodyne")):
            bag.cloud("/points", FEW, i, frame=frame)
    found, said = read(tmp_path / "drive.mcap")
    assert [sweep.stamp_ns for sweep in found] == [stamp(0), stamp(2)]
    [line] = said
    assert "/points at 1700000000.100000000: in the frame rear, not in velodyne as" in line
    found, said = read(tmp_path / "drive.mcap", frame="base_link")
    assert not said
    shifts = [sweep.points[0, 0] - FEW[0, 0] for sweep in found]
    np.testing.assert_allclose(shifts, [1, -1, 1], atol=1e-5)


def test_transforms_that_are_not_numbers_are_left_out(tmp_path: Path) -> None:
    chain = [
        ("base_link", "gps", (0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 0.0)),
        ("base_link", "velodyne", (1.0, 0.0, 1.7), UPRIGHT),
    ]
    with writing(tmp_path, "mcap") as bag:
        bag.write("/tf_static", TF, START_NS, transforms(chain, bag.store))
        bag.cloud("/points", FEW, 0)
    [sweep], _ = read(tmp_path / "drive.mcap", frame="base_link")
    np.testing.assert_allclose(sweep.points[:, 0], FEW[:, 0] + 1, atol=1e-5)
    with pytest.raises(ScanError) as caught:
        Recording(tmp_path / "drive.mcap", Selection(frame="gps"))
    assert str(caught.value).startswith(
        f"{tmp_path / 'drive.mcap'}: no fixed transform from velodyne to gps (frames: base_link, "
        "velodyne; not numbers: base_link to gps); choose"
    )


def test_single_points_far_away_do_not_make_float64_too_coarse() -> None:
    points = FEW.astype(np.float64)
    points[::40, :3] = 1e10
    found = parsed(Layout(tuple((name, "f8") for name, _ in XYZI)), points)
    np.testing.assert_allclose(found.points[1:40], FEW[1:40], rtol=1e-6)


@pytest.mark.parametrize(("full", "other"), [(255, 1), (1, 1), (255, 3000), (255, 255)])
def test_sensors_with_other_intensities_are_reported(full: int, other: int, tmp_path: Path) -> None:
    about = tmp_path / "car.yaml"
    about.write_text("/left: {y: 1}\n/right: {y: -1}\n")
    with writing(tmp_path, "mcap") as bag:
        for i in range(3):
            bag.cloud("/left", street(i, other), i)
            bag.cloud("/right", street(i, full), i)
    [first, *_], _ = read(
        tmp_path / "drive.mcap", topics=("/left", "/right"), frame="car", extrinsics=about
    )
    sweep = interpret_sweep(tmp_path, first, SensorSetup(), None)
    is_told = any("intensities of different scales" in one for one in sweep.notices)
    assert is_told == (full != other)


def test_several_files_that_a_killed_recorder_left_are_one_recording(tmp_path: Path) -> None:
    folder = tmp_path / "monday"
    for number in (10, 9):
        path = write_drive(tmp_path / str(number), "mcap", SWEEPS[: number - 8])
        folder.mkdir(exist_ok=True)
        path.rename(folder / f"monday_{number}.mcap")
    assert find_recordings([folder]) == [folder]
    found, said = read(folder)
    assert [len(one.points) for one in found] == [len(SWEEPS[i]) for i in (0, 0, 1)]
    assert said == [f"{folder}: no metadata.yaml: the recorder was killed"]
    (folder / "monday_9.mcap").rename(folder / "sunday.mcap")
    assert len(find_recordings([folder])) == 2


HALF_TURN = (1.0, 0.0, 0.0, 0.0)  # about x: upside down
UPRIGHT = (0.0, 0.0, 0.0, 1.0)


@pytest.mark.parametrize("kind", ["bag", "mcap_zstd", "db3"])
def test_transforms_are_chained_to_the_frame(kind: str, tmp_path: Path) -> None:
    chain = [
        ("base_link", "mast", (1.0, 0.0, 1.0), UPRIGHT),
        ("mast", "velodyne", (0.0, 0.5, 1.0), HALF_TURN),
    ]
    upside_down = SWEEPS[0] * np.array([1, -1, -1, 1], np.float32)
    upside_down[7, :3] = 0
    with writing(tmp_path, kind) as bag:
        bag.write("/tf_static", TF, START_NS, transforms(chain, bag.store))
        bag.cloud("/points", upside_down, 0)
    path = path_of(tmp_path, kind)
    [sweep], _ = read(path, frame="base_link")
    assert sweep.frame_id == "base_link"
    expected = SWEEPS[0][:, :3] + np.array([1, 0.5, 2], np.float32)
    expected[7] = np.nan  # moved away from the origin, it would look like a return
    np.testing.assert_allclose(sweep.points[:, :3], expected, atol=1e-5)
    assert sweep.num_missing == 1
    with Recording(path, Selection(frame="base_link")) as recording:
        np.testing.assert_allclose(recording.origin_m(), (1, 0.5, 2))
    with pytest.raises(ScanError, match="frames: base_link, mast, velodyne"):
        Recording(path, Selection(frame="map"))


def test_transforms_that_move_are_not_used(tmp_path: Path) -> None:
    with writing(tmp_path, "mcap") as bag:
        for i in range(3):
            links = [
                ("map", "base_link", (float(i), 0.0, 0.0), UPRIGHT),
                ("base_link", "velodyne", (0.0, 0.0, 1.5), UPRIGHT),
            ]
            bag.write("/tf", TF, stamp(i), transforms(links, ROS2))
            bag.cloud("/points", FEW, i)
    found, _ = read(tmp_path / "drive.mcap", frame="base_link")
    np.testing.assert_allclose(found[2].points[:, 2], FEW[:, 2] + 1.5, atol=1e-6)
    with pytest.raises(ScanError, match=r"to map .*; the transform from base_link to map changes"):
        Recording(tmp_path / "drive.mcap", Selection(frame="map"))


def test_extrinsics_come_from_a_file(tmp_path: Path) -> None:
    path = write_drive(tmp_path, "mcap", [FEW])
    about = tmp_path / "car.yaml"
    about.write_text("velodyne: {x: 1, z: 2, yaw: 90}\n")
    [sweep], _ = read(path, frame="base_link", extrinsics=about)
    expected = np.stack([1 - FEW[:, 1], FEW[:, 0], 2 + FEW[:, 2]], axis=1)
    np.testing.assert_allclose(sweep.points[:, :3], expected, atol=1e-5)
    about.write_text("/points: {y: -1, qz: 1, qw: 1}\n")
    [sweep], _ = read(path, frame="base_link", extrinsics=about)
    expected = np.stack([-FEW[:, 1], FEW[:, 0] - 1, FEW[:, 2]], axis=1)
    np.testing.assert_allclose(sweep.points[:, :3], expected, atol=1e-5)
    about.write_text("other: {x: 1}\n")
    with pytest.raises(ScanError, match="neither the topic /points nor the frame velodyne"):
        read(path, frame="base_link", extrinsics=about)


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "a: 3", "a: {q: 1}", "a: {x: one}", "a: {x: .nan}", "a: {yaw: 1, qw: 1}"),
        *(
            "a: {qx: 0}",
            "a: {x: 800, z: 1900}",
            "a: {x: true}",
            "a: {x: 1, x: 2}",
            "a: {yaw: 1" + "0" * 400 + "}",
            "a: &b {x: 1}\nc: *b",
            "\0",
        ),
    ],
)
def test_bad_extrinsics_are_refused_in_one_line(text: str, tmp_path: Path) -> None:
    path = tmp_path / "car.yaml"
    path.write_text(text)
    with pytest.raises((ScanError, ConfigError)) as caught:
        read_extrinsics(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_rotations_and_quaternions_agree() -> None:
    rng = np.random.default_rng(2)
    for _ in range(50):
        turn = rng.normal(size=4)
        turn *= np.sign(turn[3]) / np.linalg.norm(turn)
        rotation = from_quaternion((0, 0, 0), turn).rotation
        np.testing.assert_allclose(to_quaternion(rotation), turn, atol=1e-9)
        np.testing.assert_allclose(np.linalg.det(rotation), 1)
    half = from_degrees((0, 0, 0), 180, 0, 0).rotation
    np.testing.assert_allclose(np.abs(to_quaternion(half)), (1, 0, 0, 0), atol=1e-9)
    pitched = from_degrees((0, 0, 0), 0, 10, 0).rotation
    np.testing.assert_allclose(pitched, sensor_rotation("flu", (10, 0)), atol=1e-12)


def test_a_frame_that_moves_in_tiny_steps_is_not_fixed() -> None:
    tree = FrameTree()
    for step in range(100):
        tree.add("base_link", "lidar", from_degrees((1, 0, 0), 0, 0, 0.05 * step))
    assert tree.is_moving("lidar", "base_link")
    assert tree.find("lidar", "base_link") is None


def test_frames_in_a_circle_are_no_trouble() -> None:
    tree = FrameTree()
    step = from_degrees((1, 0, 0), 0, 0, 90)
    for parent, child in (("a", "b"), ("b", "c"), ("c", "a"), ("a", "a")):
        tree.add(parent, child, step)
    found = tree.find("b", "a")
    assert found is not None
    assert found.is_near(step)
    assert tree.find("b", "d") is None


def test_sensors_are_merged_by_their_stamps(tmp_path: Path) -> None:
    chain = [
        ("base_link", "left", (0.0, 1.0, 0.0), UPRIGHT),
        ("base_link", "right", (0.0, -1.0, 0.0), UPRIGHT),
    ]
    a, b = FEW[:100], FEW[100:250]
    late = int(0.3 * PERIOD_NS)
    with writing(tmp_path, "mcap") as bag:
        bag.write("/tf_static", TF, START_NS, transforms(chain, ROS2))
        for i in range(40):
            bag.cloud("/left", a + np.float32(i), i, frame="left")
            if i not in (4, *range(20, 32)):  # it fails once, and for a while
                when = stamp(i) + late
                message = cloud(b + np.float32(i), when, frame="right")
                bag.write("/right", CLOUD, when, message)
    selection = Selection(("/left", "/right"), "base_link")
    with Recording(tmp_path / "drive.mcap", selection) as recording:
        found = [recording.sweep(raw) for raw in recording]
        assert recording.num_alone == 13
        np.testing.assert_allclose(recording.origin_m(), (0, 0, 0))
    assert [sweep.stamp_ns for sweep in found] == [stamp(i) for i in range(40)]
    for i, sweep in enumerate(found):
        alone = i == 4 or 20 <= i < 32
        assert len(sweep.points) == (100 if alone else 250)
        np.testing.assert_allclose(sweep.points[:100, 1], a[:, 1] + i + 1, atol=1e-4)
        np.testing.assert_allclose(
            sweep.points[100:, 1], b[: 0 if alone else 150, 1] + i - 1, atol=1e-4
        )
        assert sweep.topic == ("/left" if alone else "/left+/right")


@pytest.mark.parametrize("hz", [3, 20, 100, 160, 200, 1000])
def test_the_nearest_sweep_of_a_faster_sensor_is_merged(hz: int) -> None:
    period_ns = 10**9 // hz
    stamps = {
        "/slow": [stamp(i) for i in range(30)],
        "/fast": [START_NS - 10**9 + i * period_ns + 1000 for i in range(5 * hz)],
    }
    messages = [_headed(topic, ns) for topic, found in stamps.items() for ns in found]
    messages.sort(key=lambda one: one.log_ns)
    merger, held = Merger(tuple(stamps)), 0
    for first, *others in merger.groups(messages):
        gaps_ns = [abs(ns - first.stamp_ns) for ns in stamps["/fast"]]
        assert [abs(one.stamp_ns - first.stamp_ns) for one in others] == [
            gap for gap in [min(gaps_ns)] if gap <= PERIOD_NS / 2
        ]
        held = max(held, len(merger._others["/fast"]))
    assert held <= 1.6 * hz + 2  # before the slow one has sent two


@pytest.mark.parametrize("step_ns", [0, 5_000_000])
def test_sweeps_do_not_wait_for_ever_for_a_sensor_that_has_stopped(step_ns: int) -> None:
    merger = Merger(("/slow", "/fast"))
    messages = [_headed("/slow", stamp(i)) for i in range(3)]
    messages += [_headed("/fast", stamp(1) + i * step_ns) for i in range(5000)]
    for _ in merger.groups(messages):
        assert len(merger._others["/fast"]) <= 2 * 8 * PERIOD_NS / 5_000_000 + 1


def _headed(topic: str, stamp_ns: int) -> Message:
    data = b"\0\1\0\0" + struct.pack("<iI", *divmod(stamp_ns, 10**9))
    return Message(topic, POINT_CLOUD, stamp_ns, data, is_ros1=False)


def test_fields_of_sensors_that_do_not_fit_together_are_refused() -> None:
    one = np.ones((3, 4), np.float32)
    counts = {"/left": (3,), "/right": (3, 2)}
    sweeps = [
        StampedSweep(START_NS, "lidar", topic, one, extras={"timestamp": np.zeros(shape)})
        for topic, shape in counts.items()
    ]
    with pytest.raises(ScanError) as caught:
        joined(sweeps, "base_link", lambda frame, topic: from_degrees((0, 0, 0), 0, 0, 0))
    assert str(caught.value) == (
        "/right at 1700000000.000000000: field timestamp has 2 values per point, but 1 on /left; "
        "rename it in one of the drivers"
    )


def _write_chunks(path: Path, chunks: Sequence[Sequence[tuple[str, int]]]) -> None:
    """Write an MCAP file with a chunk for each list of topics and numbers of sweeps."""
    from mcap.writer import Writer

    with open(path, "wb") as file:
        writer = Writer(file, 1 << 30)
        writer.start(profile="ros2")
        schema = writer.register_schema(CLOUD, "ros2msg", b"")
        channels = {
            topic: writer.register_channel(topic, "cdr", schema)
            for topic in {topic for chunk in chunks for topic, _ in chunk}
        }
        for chunk in chunks:
            for topic, i in chunk:
                data = bytes(ROS2.serialize_cdr(cloud(FEW, stamp(i)), CLOUD))
                writer.add_message(channels[topic], stamp(i), data, stamp(i))
            writer.flush()
        writer.finish()


def test_chunks_that_overlap_are_read_by_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, about = tmp_path / "drive.mcap", tmp_path / "car.yaml"
    about.write_text("/left: {y: 1}\n/right: {y: -1}\n")
    _write_chunks(
        path,
        [
            [(topic, i) for i in range(first, first + 20)]
            for first in (0, 20)
            for topic in ("/left", "/right")
        ],
    )
    found, said = read(path, topics=("/left", "/right"), frame="car", extrinsics=about)
    assert said == []
    assert [len(sweep.points) for sweep in found] == [2 * len(FEW)] * 40
    _write_chunks(path, [[("/points", i) for i in range(k, 40, 2)] for k in range(2)])
    found, said = read(path)
    assert said == []
    assert [sweep.stamp_ns for sweep in found] == [stamp(i) for i in range(40)]
    monkeypatch.setattr("bev_instseg.io.recordings.mcap_file.MAX_WAITING_BYTES", 10 * FEW.nbytes)
    found, [line] = read(path)
    assert sorted(sweep.stamp_ns for sweep in found) == [stamp(i) for i in range(40)]
    late = np.array([one.stamp_ns for one in found])
    num_late = np.count_nonzero(late < np.maximum.accumulate(late))
    assert line.startswith(f"{path}: {num_late} messages come late, because chunks of more than")
    assert 0 < num_late <= 10


def test_all_sweeps_are_read_as_the_first_ones_suggest(tmp_path: Path) -> None:
    bright = [street(seed, 255) for seed in range(3)]
    dark = street(5, 1)
    path = write_drive(tmp_path, "mcap", [*bright[:1] * 10, *bright[1:2] * 10, bright[2], dark])
    setup = SensorSetup()
    with Recording(path) as recording:
        reading, own = survey_recording(recording, setup)
        assert own is None  # too few sweeps
        assert reading is not None
        assert reading.intensity_max == 255
        *_, last = (recording.sweep(raw) for raw in recording)
    sweep = interpret_sweep(path, last, setup, reading)
    np.testing.assert_allclose(sweep.points[:, 3], dark[:, 3] / 255, atol=1e-6)
    assert any(one.startswith("intensities of 0..1, but read as") for one in sweep.notices)
    np.testing.assert_array_equal(last.points, dark)  # as it came


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "mcap"])
@pytest.mark.parametrize("share", [0.8, 0.9, 0.97, 0.999])
def test_a_cut_recording_gives_what_is_whole(kind: str, share: float, tmp_path: Path) -> None:
    path = write_drive(tmp_path, kind, [*SWEEPS, *SWEEPS])
    file = next(path.glob("*.db3")) if path.is_dir() else path
    data = file.read_bytes()
    file.write_bytes(data[: int(share * len(data))])
    found, said = read(path)
    assert 1 <= len(found) <= 6
    for i, sweep in enumerate(found):
        np.testing.assert_array_equal(sweep.points, SWEEPS[i % 3])
        assert sweep.stamp_ns == stamp(i)
    assert said
    assert all(line.startswith(f"{path}: ") for line in said)


@pytest.mark.parametrize("kind", ["bag", "bag_lz4", "mcap_zstd", "mcap_lz4"])
def test_a_damaged_chunk_is_left_out(kind: str, tmp_path: Path) -> None:
    path = write_drive(tmp_path, kind, SWEEPS * 4)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 2000] = bytes(2000)
    path.write_bytes(data)
    found, said = read(path)
    assert 6 <= len(found) < 12
    for sweep in found:
        i = (sweep.stamp_ns - START_NS) // PERIOD_NS
        if kind.startswith("mcap"):  # the chunks of a ROS 1 bag have no checksum
            np.testing.assert_array_equal(sweep.points, SWEEPS[i % 3])
    assert len(said) == 1
    assert "damaged" in said[0]


def test_a_folder_whose_recorder_was_killed_is_read(tmp_path: Path) -> None:
    path = write_drive(tmp_path, "folder_db3", SWEEPS)
    (path / "metadata.yaml").unlink()
    (path / "drive.db3").rename(path / "drive_9.db3")
    other = write_drive(tmp_path / "more", "db3", SWEEPS[:1])
    other.rename(path / "drive_10.db3")
    found, said = read(path)
    assert [len(sweep.points) for sweep in found] == [len(one) for one in [*SWEEPS, SWEEPS[0]]]
    assert said == [f"{path}: no metadata.yaml: the recorder was killed"]


def test_files_that_the_metadata_do_not_list_are_reported(tmp_path: Path) -> None:
    path = write_drive(tmp_path, "folder_db3", SWEEPS)
    other = write_drive(tmp_path / "more", "db3", SWEEPS[:1])
    other.rename(path / "drive_1.db3")
    (path / "._drive.db3").touch()  # macOS adds such files
    found, said = read(path)
    assert len(found) == len(SWEEPS)
    assert said == [
        f"{path}: drive_1.db3: left out, because metadata.yaml does not list it; without "
        "metadata.yaml, all files are read"
    ]


def test_a_write_ahead_log_is_read(tmp_path: Path) -> None:
    import sqlite3

    path = write_drive(tmp_path, "db3", SWEEPS[:1])
    writer = sqlite3.connect(path)
    writer.execute("PRAGMA journal_mode = WAL")
    data = bytes(ROS2.serialize_cdr(cloud(SWEEPS[1], stamp(1)), CLOUD))
    writer.execute(
        "INSERT INTO messages(topic_id, timestamp, data) SELECT id, ?, ? FROM topics "
        "WHERE name = '/points'",
        (stamp(1), data),
    )
    writer.commit()
    assert path.with_name("drive.db3-wal").stat().st_size
    found, _ = read(path)
    assert len(found) == 2
    writer.close()


@pytest.mark.parametrize("suffix", ["bag", "mcap", "db3", "pcap"])
@pytest.mark.parametrize(
    "content", [b"", b"\0" * 5000, b"#ROSBAG V2.0\n", b"\x89MCAP0\r\n", b"SQLite format 3\0"]
)
def test_other_files_are_refused_in_one_line(suffix: str, content: bytes, tmp_path: Path) -> None:
    if suffix == "pcap":
        pytest.importorskip("velodyne_decoder")
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(content)
    with pytest.raises(ScanError) as caught:
        list(read_recording(path))
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["bag", "bag_lz4", "mcap_zstd", "mcap_lz4", "db3"])
def test_bytes_gone_wrong_raise_nothing_else(kind: str, tmp_path: Path) -> None:
    path = write_drive(tmp_path, kind, [FEW, FEW])
    whole = path.read_bytes()
    rng = np.random.default_rng(3)
    for _ in range(60):
        data = bytearray(whole)
        for _ in range(rng.integers(1, 4)):
            at = rng.integers(len(data))
            data[at : at + rng.integers(1, 9)] = rng.bytes(8)
        path.write_bytes(data)
        with suppress(ScanError):
            read(path)


def test_a_missing_recording_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(ScanError, match="no such recording; check the path"):
        Recording(tmp_path / "a.mcap")
    with pytest.raises(ScanError, match="not a recording; expected"):
        Recording(tmp_path / "a.txt")


def test_sizes_that_a_chunk_claims_are_not_believed() -> None:
    import zstandard

    bomb = zstandard.compress(bytes(1 << 26))
    with pytest.raises(ValueError, match="larger than it claims"):
        unpack(bomb, "zstd", 1000)
    with pytest.raises(ValueError, match="more than"):
        unpack(bomb, "zstd", 1 << 40)
    with pytest.raises(ValueError, match="unknown compression 'rar'"):
        unpack(b"", "rar", 0)


MEMORY = """
import resource, sys
from bev_instseg.io.recordings.recording import read_recording
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
at = {}
for i, sweep in enumerate(read_recording(sys.argv[1])):
    at[i] = peak()
print(i + 1, at[40], at[i])
"""


@pytest.mark.parametrize("kind", ["bag", "mcap_lz4", "db3"])
def test_memory_does_not_grow_with_the_recording(kind: str, tmp_path: Path) -> None:
    path = write_drive(tmp_path, kind, [SWEEPS[i % 3] for i in range(400)])  # 110 MB
    run = subprocess.run(
        [sys.executable, "-c", MEMORY, str(path)],
        env=one_thread_environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    number, early_mb, late_mb = map(float, run.stdout.split())
    assert number == 400
    assert late_mb - early_mb < 10


def test_recordings_are_told_from_sweeps(tmp_path: Path) -> None:
    folder = write_drive(tmp_path / "monday", "folder_db3", [FEW])
    bag = write_drive(tmp_path / "tuesday", "bag", [FEW])
    assert find_recordings([tmp_path]) == [folder, bag]
    assert find_recordings([folder, bag, bag]) == [folder, bag]
    assert is_recording(Path("x.bag.active"))
    assert not is_recording(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "iterdir", Mock(side_effect=PermissionError))
        assert not is_recording(folder)
    assert name_of_results(Path("a/x.bag.active")) == "x"
    assert name_of_results(folder) == "drive"
    (tmp_path / "a.bin").touch()
    with pytest.warns(UserWarning, match="has sweeps"):
        assert find_recordings([tmp_path]) == []
    with pytest.raises(ValueError, match="separate commands"):
        find_recordings([bag, tmp_path / "a.bin"])


def test_a_loose_file_does_not_hide_the_recordings_beside_it(tmp_path: Path) -> None:
    drives = tmp_path / "drives"
    (drives / "sub").mkdir(parents=True)
    names = ["friday.bag", "monday.db3", "sub/x.bag", "tuesday.mcap"]
    for name in names:
        (drives / name).touch()
    assert find_recordings([drives]) == [drives / name for name in names]
    parts = tmp_path / "parts"
    parts.mkdir()
    for number in range(2):
        (parts / f"drive_{number}.db3").touch()
        assert find_recordings([parts]) == [parts]
    (parts / "other_2.db3").touch()
    assert len(find_recordings([parts])) == 3


def test_recordings_in_linked_folders_are_found_once(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "a.bag").touch()
    drives = tmp_path / "drives"
    drives.mkdir()
    for name in ("day1", "day2"):
        (drives / name).symlink_to(tmp_path / "disk")
    (drives / "up").symlink_to(drives)
    assert find_recordings([drives]) == [drives / "day1" / "a.bag"]


def test_results_do_not_hide_recordings_and_sweeps_do_not_without_a_word(tmp_path: Path) -> None:
    for name in ("a.bag", "a.ply"):
        (tmp_path / name).touch()
    is_result = Mock(side_effect=lambda path: path.name == "a.ply")
    assert find_recordings([tmp_path], is_result) == [tmp_path / "a.bag"]
    (tmp_path / "b.npy").touch()
    with pytest.warns(UserWarning, match=r"has sweeps, so its 1 recordings are left out, first .*"):
        assert find_recordings([tmp_path], is_result) == []


def test_headers_in_another_byte_order_have_their_stamp() -> None:
    head = new(ROS2, "std_msgs/Header", new(ROS2, "builtin_interfaces/Time", 5, 6), "a")
    for little in (True, False):
        data = bytes(ROS2.serialize_cdr(head, "std_msgs/msg/Header", little_endian=little))
        assert Message("/a", "std_msgs/Header", 0, data, False).stamp_ns == 5_000_000_006


def _with_bonnet(points: np.ndarray, seed: int) -> np.ndarray:
    """A sweep in which the last 200 points are those of the vehicle's bonnet."""
    rng = np.random.default_rng(seed)
    bonnet = rng.uniform((0.8, -0.8, -0.7), (1.8, 0.8, -0.6), (200, 3))
    bonnet = np.column_stack([bonnet, np.full(200, 0.5)])
    return np.concatenate([points, bonnet]).astype(np.float32)


def test_the_vehicle_is_found_while_it_moves() -> None:
    moving = [
        _with_bonnet(street(seed) + np.float32([0, seed * 0.7, 0, 0]), seed) for seed in range(8)
    ]
    found = find_own_vehicle(moving)
    assert found is not None
    assert "taken for the ego vehicle" in found.notice
    for points in moving:
        own = found.is_own(points)
        assert own[-200:].mean() > 0.95
        assert own[:-200].mean() < 0.005  # a crate that was moved onto the bonnet
    parked = [_with_bonnet(street(1), seed) for seed in range(8)]
    assert find_own_vehicle(parked) is None
    assert find_own_vehicle([points[:-200] for points in moving]) is None
    assert find_own_vehicle(moving[:5]) is None


def test_topics_without_points_at_all_are_no_trouble(tmp_path: Path) -> None:
    path = write_drive(tmp_path, "mcap", [np.zeros((0, 4), np.float32)] * 3)
    with Recording(path) as recording:
        assert survey_recording(recording, SensorSetup()) == (None, None)


def test_a_capture_of_a_velodyne_is_read(tmp_path: Path) -> None:
    pytest.importorskip("velodyne_decoder")
    path = tmp_path / "drive.pcap"
    path.write_bytes(velodyne_capture(num_turns=3))
    found, said = read(path)
    assert said == []
    assert 2 <= len(found) <= 4
    assert {sweep.frame_id for sweep in found} == {"velodyne"}
    whole = found[1]
    returns = whole.points[~whole.is_missing]
    np.testing.assert_allclose(np.linalg.norm(returns[:, :3], axis=1), 10, atol=0.2)
    assert {"ring", "time"} <= whole.extras.keys()
    about = tmp_path / "car.yaml"
    about.write_text("velodyne: {z: 2}\n")
    with Recording(path, Selection(frame="base_link", extrinsics=about)) as recording:
        np.testing.assert_allclose(recording.origin_m(), (0, 0, 2))
        moved = recording.sweep(next(iter(recording)))
    np.testing.assert_allclose(moved.points[:, 2], found[0].points[:, 2] + 2, atol=1e-5)
    with pytest.raises(ScanError, match="a capture has no topics"):
        Recording(path, Selection(("/points",)))


def test_only_the_first_sensor_of_a_capture_is_read(tmp_path: Path) -> None:
    pytest.importorskip("velodyne_decoder")
    path, alone = tmp_path / "drive.pcap", tmp_path / "alone.pcap"
    path.write_bytes(velodyne_capture(num_turns=3, ranges_m=(10, 25, 30)))
    alone.write_bytes(velodyne_capture(num_turns=3))
    found, said = read(path)
    for sweep, expected in zip(found, read(alone)[0], strict=True):
        np.testing.assert_array_equal(sweep.points, expected.points)
        assert sweep.stamp_ns == expected.stamp_ns
    assert said == [
        f"{path}: 454 packets from 10.0.0.1 to port 2368, 10.0.0.2 to port 2368 are left out, "
        "because those from 10.0.0.0 to port 2368 came first; copy them to a capture of their own "
        "(tcpdump -r CAPTURE -w OTHER src host 10.0.0.1 and dst port 2368)"
    ]


@pytest.mark.parametrize("num_bytes", [8, 16, 664, 1263])
def test_a_cut_capture_gives_what_is_whole(num_bytes: int, tmp_path: Path) -> None:
    pytest.importorskip("velodyne_decoder")
    path = tmp_path / "drive.pcap"
    whole = velodyne_capture(num_turns=3)
    path.write_bytes(whole + whole[24 : 24 + num_bytes])
    found, said = read(path)
    assert len(found) == 4
    assert said == [f"{path}: the last {num_bytes:,} bytes of the capture are incomplete: left out"]


def test_captures_of_something_else_are_refused_in_one_line(tmp_path: Path) -> None:
    pytest.importorskip("velodyne_decoder")
    path = tmp_path / "drive.pcap"
    whole = velodyne_capture(num_turns=3)
    path.write_bytes(whole[:20] + struct.pack("<I", 113) + whole[24:])
    with pytest.raises(ScanError, match="a capture of link type 113, not of an Ethernet; capture"):
        Recording(path)
    path.write_bytes(whole[:24])
    with pytest.raises(ScanError, match="no sweeps of a Velodyne: check what was captured"):
        Recording(path)
    path.write_bytes(whole.replace(b"\x37\x22", b"\x37\x00"))
    with pytest.raises(ScanError, match="no sweeps of a Velodyne: cannot be decoded"):
        Recording(path)
    with pytest.raises(ScanError, match=r"cannot be read .*; check the file"):
        Recording(tmp_path / "none.pcap")


def velodyne_capture(num_turns: int, ranges_m: Sequence[int] = (10,)) -> bytes:
    """A ``.pcap`` of VLP-16s, each of which sees a sphere around it, at 10 turns a second."""
    global_header = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
    parts = [global_header]
    azimuth, time_us = 0, 0
    while azimuth < num_turns * 36000 + 500:
        for sensor, range_m in enumerate(ranges_m):
            channels = struct.pack("<HB", range_m * 500, 40) * 32
            blocks = b"".join(
                struct.pack("<HH", 0xEEFF, (azimuth + 40 * k) % 36000) + channels for k in range(12)
            )
            payload = blocks + struct.pack("<IBB", time_us, 0x37, 0x22)
            udp = struct.pack(">HHHH", 2368, 2368, 8 + len(payload), 0)
            sizes = 0x45, 0, 20 + len(udp + payload), 0, 0, 64, 17, 0
            ip = struct.pack(">BBHHHBBH4s4s", *sizes, bytes((10, 0, 0, sensor)), bytes(4))
            frame = bytes(12) + b"\x08\x00" + ip + udp + payload
            times = 1_700_000_000, time_us
            parts.append(struct.pack("<IIII", *times, len(frame), len(frame)) + frame)
        azimuth += 12 * 40
        time_us += 1333
    return b"".join(parts)


def test_the_ego_vehicle_is_recognised_on_hills_and_with_a_given_height() -> None:
    rng = np.random.default_rng(0)
    bonnet = rng.uniform((1, -0.8, -0.9), (2, 0.8, -0.7), (400, 3))
    ground = rng.uniform((-12, -12, -1.7), (12, 12, -1.7), (4000, 3))
    xyz = np.concatenate([bonnet, ground])
    points = np.column_stack([xyz, rng.uniform(0, 1, len(xyz))]).astype(np.float32)
    flat = StampedSweep(1, "velodyne", "/points", points, has_intensity=True)
    setup = SensorSetup(axes="flu", level_deg=(0, 0))
    reading = survey_stamped(Path("x"), [flat], setup)
    for pitch_deg, height_m in ((8.0, None), (0.0, 1.2)):
        tilted = dataclasses.replace(reading, given=SensorSetup(axes="flu", height_m=height_m))
        rotation = sensor_rotation("flu", (pitch_deg, 0.0))
        origin = (0.0, 0.0, 0.0 if height_m is None else -0.5)
        moved = ((points[:, :3] - origin) @ rotation.T).astype(np.float32)
        sweep = Sweep(moved, points[:, :3], "flu", origin, (), (pitch_deg, 0.0))
        np.testing.assert_allclose(rigid_points(sweep, tilted), points[:, :3], atol=1e-5)


def test_a_sweep_without_returns_is_levelled_as_the_others() -> None:
    setup = SensorSetup(origin_m=(1.0, 0.0, 2.0), level_deg=(15.0, 0.0), axes="flu")
    whole = StampedSweep(1, "velodyne", "/points", street(), has_intensity=True)
    reading = survey_stamped(Path("x"), [whole], setup)
    points = np.zeros((9, 4), np.float32)
    empty = StampedSweep(1, "velodyne", "/points", points, has_intensity=True, num_missing=9)
    sweep = interpret_sweep(Path("x"), empty, setup, reading)
    assert (sweep.level_deg, sweep.origin_m) == ((15.0, 0.0), (1.0, 0.0, 2.0))


def test_a_sensor_that_starts_late_is_surveyed(tmp_path: Path) -> None:
    with writing(tmp_path, "mcap") as bag:
        for i in range(110):
            bag.cloud("/points", street(i, 255) if i >= 90 else np.zeros((5, 4), np.float32), i)
    with Recording(tmp_path / "drive.mcap") as recording:
        survey = survey_recording(recording, SensorSetup())
    assert survey.reading is not None
    assert survey.reading.intensity_max == 255


def test_extrinsics_without_a_frame_are_refused(tmp_path: Path) -> None:
    path, about = write_drive(tmp_path, "mcap", [FEW]), tmp_path / "car.yaml"
    about.write_text("/points: {y: 1}\n")
    with pytest.raises(ScanError, match=r"car\.yaml: is for points in a common frame"):
        Recording(path, Selection(extrinsics=about))
