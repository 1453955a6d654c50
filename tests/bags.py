"""Write recordings of every kind, for the tests."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import StoragePlugin
from rosbags.rosbag2 import Writer as Writer2
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

ROS2 = get_typestore(Stores.ROS2_HUMBLE)
ROS1 = get_typestore(Stores.ROS1_NOETIC)
ROS1.register(
    get_types_from_msg("geometry_msgs/TransformStamped[] transforms", "tf2_msgs/msg/TFMessage")
)
START_NS, PERIOD_NS = 1_700_000_000_000_000_000, 100_000_000
CLOUD, TF = "sensor_msgs/msg/PointCloud2", "tf2_msgs/msg/TFMessage"
KINDS = ("bag", "bag_lz4", "bag_bz2", "db3", "mcap", "mcap_zstd", "mcap_lz4", "folder_db3")
XYZI = (("x", "f4"), ("y", "f4"), ("z", "f4"), ("intensity", "f4"))
DATATYPE = {"i1": 1, "u1": 2, "i2": 3, "u2": 4, "i4": 5, "u4": 6, "f4": 7, "f8": 8}


@dataclass(frozen=True)
class Layout:
    """How points are stored in a ``PointCloud2``."""

    fields: tuple[tuple[str, str], ...] = XYZI
    gap: int = 0  # bytes before each field
    height: int = 1
    row_gap: int = 0  # bytes after each row
    big_endian: bool = False


def stamp(i: int) -> int:
    return START_NS + i * PERIOD_NS


def new(store: Any, name: str, *values: Any) -> Any:
    package, kind = name.split("/")
    return store.types[f"{package}/msg/{kind}"](*values)


def header(store: Any, stamp_ns: int, frame: str) -> Any:
    time = new(store, "builtin_interfaces/Time", *divmod(stamp_ns, 10**9))
    return new(store, "std_msgs/Header", *((7,) if store is ROS1 else ()), time, frame)


def cloud(
    points: np.ndarray,
    stamp_ns: int = START_NS,
    frame: str = "velodyne",
    layout: Layout = Layout(),
    store: Any = ROS2,
) -> Any:
    """A ``PointCloud2``; fields beyond x, y, z and intensity hold the number of the point."""
    fields, offsets, at = [], [], 0
    for name, kind in layout.fields:
        at += layout.gap
        offsets.append(at)
        fields.append(new(store, "sensor_msgs/PointField", name, at, DATATYPE[kind], 1))
        at += int(kind[1])
    at += layout.gap
    order = ">" if layout.big_endian else "<"
    dtype = np.dtype(
        {
            "names": [name for name, _ in layout.fields],
            "formats": [order + kind for _, kind in layout.fields],
            "offsets": offsets,
            "itemsize": at,
        }
    )
    records = np.zeros(len(points), dtype)
    for name in records.dtype.names or ():
        column = {"x": 0, "y": 1, "z": 2}.get(name, 3)
        is_point = name in ("x", "y", "z", "intensity", "i", "reflectivity", "reflectance")
        records[name] = points[:, column] if is_point else np.arange(len(points))
    width = len(points) // layout.height
    rows = records.reshape(layout.height, width).view(np.uint8).reshape(layout.height, width * at)
    data = np.pad(rows, ((0, 0), (0, layout.row_gap))).ravel()
    sizes = layout.big_endian, at, width * at + layout.row_gap, data, False
    head = header(store, stamp_ns, frame)
    return new(store, "sensor_msgs/PointCloud2", head, layout.height, width, fields, *sizes)


def transforms(
    chain: Sequence[tuple[str, str, Sequence[float], Sequence[float]]], store: Any
) -> Any:
    """A ``TFMessage`` of (parent, child, metres, quaternion x y z w)."""
    found = [
        new(
            store,
            "geometry_msgs/TransformStamped",
            header(store, START_NS, parent),
            child,
            new(
                store,
                "geometry_msgs/Transform",
                new(store, "geometry_msgs/Vector3", *map(float, shift)),
                new(store, "geometry_msgs/Quaternion", *map(float, turn)),
            ),
        )
        for parent, child, shift, turn in chain
    ]
    return new(store, "tf2_msgs/TFMessage", found)


class Bag:
    """A recording that is being written, whatever its kind."""

    def __init__(self, store: Any, add: Any, write: Any) -> None:
        self.store, self._add, self._write = store, add, write
        self._connections: dict[str, Any] = {}

    def raw(self, topic: str, kind: str, stamp_ns: int, data: bytes) -> None:
        if topic not in self._connections:
            self._connections[topic] = self._add(topic, kind)
        self._write(self._connections[topic], stamp_ns, data)

    def write(self, topic: str, kind: str, stamp_ns: int, message: Any) -> None:
        is_ros1 = self.store is ROS1
        serialise = self.store.serialize_ros1 if is_ros1 else self.store.serialize_cdr
        self.raw(topic, kind, stamp_ns, bytes(serialise(message, kind)))

    def cloud(self, topic: str, points: np.ndarray, i: int, **more: Any) -> None:
        message = cloud(points, stamp(i), store=self.store, **more)
        self.write(topic, CLOUD, stamp(i), message)


def path_of(folder: Path, kind: str) -> Path:
    suffix = kind.split("_")[0]
    return folder / "drive" if suffix == "folder" else folder / f"drive.{suffix}"


@contextmanager
def writing(folder: Path, kind: str) -> Iterator[Bag]:
    """Write a recording of one of `KINDS`; it is at `path_of` afterwards."""
    path = path_of(folder, kind)
    if kind.startswith("bag"):
        unopened = Writer1(path)
        if "_" in kind:
            unopened.set_compression(Writer1.CompressionFormat[kind.split("_")[1].upper()])
        with unopened as writer:
            yield Bag(ROS1, lambda t, k: writer.add_connection(t, k, typestore=ROS1), writer.write)
    elif kind.startswith("mcap_"):
        with mcap_writing(path, kind.removeprefix("mcap_")) as bag:
            yield bag
    else:
        plugin = StoragePlugin.SQLITE3 if kind.endswith("db3") else StoragePlugin.MCAP
        target = path if path.suffix == "" else folder / "unused"
        with Writer2(target, version=8, storage_plugin=plugin) as writer:
            yield Bag(ROS2, lambda t, k: writer.add_connection(t, k, typestore=ROS2), writer.write)
        if target != path:
            (target / f"unused{path.suffix}").rename(path)


@contextmanager
def mcap_writing(path: Path, compression: str, store: Any = ROS2) -> Iterator[Bag]:
    """Write an MCAP file with the official library; in ROS 1's encoding if the store is its."""
    from mcap.writer import CompressionType, Writer

    is_ros1 = store is ROS1
    with open(path, "wb") as file:
        writer = Writer(file, 1 << 18, CompressionType[compression.upper()])
        writer.start(profile="ros1" if is_ros1 else "ros2")

        def add(topic: str, kind: str) -> int:
            definition = store.generate_msgdef(kind, ros_version=1 if is_ros1 else 2)[0]
            name = kind.replace("/msg/", "/") if is_ros1 else kind
            encoding = "ros1msg" if is_ros1 else "ros2msg"
            schema = writer.register_schema(name, encoding, definition.encode())
            return writer.register_channel(topic, "ros1" if is_ros1 else "cdr", schema)

        yield Bag(store, add, lambda c, t, d: writer.add_message(c, t, d, t))
        writer.finish()


def write_drive(folder: Path, kind: str, sweeps: Sequence[np.ndarray], **more: Any) -> Path:
    """Write sweeps to a recording with one topic of points, and another of something else."""
    folder.mkdir(parents=True, exist_ok=True)
    with writing(folder, kind) as bag:
        for i, points in enumerate(sweeps):
            bag.cloud("/points", points, i, **more)
            text = new(bag.store, "std_msgs/String", f"message {i}")
            bag.write("/rosout", "std_msgs/msg/String", stamp(i), text)
    return path_of(folder, kind)
