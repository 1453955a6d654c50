"""Recognise recordings and open them."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from bev_instseg.exceptions import ScanError, printable
from bev_instseg.io.recordings.bag_folder import BagFolder
from bev_instseg.io.recordings.decode import parse
from bev_instseg.io.recordings.mcap_file import McapFile
from bev_instseg.io.recordings.ros1_bag import Ros1Bag
from bev_instseg.io.recordings.source import POINT_CLOUD, Source, Topic
from bev_instseg.io.recordings.sqlite_file import SqliteFile

KINDS: Mapping[str, Callable[[Path], Source]] = {
    ".bag": Ros1Bag,
    ".mcap": McapFile,
    ".db3": SqliteFile,
    "folder": BagFolder,
}
MAX_LISTED = 20  # topics in a message
LABELS = {"instance", "class", "score"}  # fields of points that bev-instseg has labelled
# Messages that are not read, by the ends of their types, and a remedy.
PACKETS = "play it through the sensor's driver and record the PointCloud2 that the driver publishes"
OTHER_SCANS = {
    **dict.fromkeys(("/VelodyneScan", "/PacketMsg", "/PandarScan", "/RslidarPacket"), PACKETS),
    "/CustomMsg": "set the Livox driver to PointCloud2 (xfer_format 0), or convert the messages",
    "/PointCloud": "convert the messages to PointCloud2",
    "/LaserScan": "a scan of a single plane shows too little to recognise objects",
    ")": "only messages of ROS 1 (ros1) and ROS 2 (cdr) are read; convert them to PointCloud2",
}


def open_source(path: str | Path) -> Source:
    """Open a recording of ROS messages.

    Args:
        path: A ``.bag``, ``.mcap`` or ``.db3`` file, or the folder of a ROS 2 bag.

    Raises:
        ScanError: It is missing, or none of these.
    """
    path = Path(path)
    suffix = Path(path.name.removesuffix(".active")).suffix.lower()  # of a bag being recorded
    kind = KINDS.get("folder" if path.is_dir() else suffix)
    if kind is None:
        raise ScanError(f"{path}: not a recording; expected a .bag, .mcap, .db3, .pcap or a folder")
    try:
        return kind(path)
    except FileNotFoundError:
        raise ScanError(f"{path}: no such recording; check the path") from None
    except OSError as error:
        raise ScanError(f"{path}: cannot be read ({error.strerror}); check the file") from None


def choose_topics(source: Source, wanted: tuple[str, ...]) -> list[Topic]:
    """Return the topics to read: the chosen ones, or else the only one with points.

    Args:
        source: The recording.
        wanted: Names of the chosen topics; if empty, the topic is found.

    Raises:
        ScanError: There is no topic with points, there are several, or a chosen one has no points;
            the message lists the topics with points.
    """
    clouds = [topic for topic in source.topics() if topic.type == POINT_CLOUD]
    by_name = {topic.name: topic for topic in clouds}
    if not clouds:
        others = sorted({topic.type for topic in source.topics()})
        remedies = (
            remedy for end, remedy in OTHER_SCANS.items() for kind in others if kind.endswith(end)
        )
        raise ScanError(
            f"{source.path}: no topic of type {POINT_CLOUD}; it has "
            f"{', '.join(others[:MAX_LISTED]) or 'nothing'}{_joined(remedies)}"
            f"{_joined(source.losses)}"
        )
    missing = [name for name in wanted if name not in by_name]
    if missing:
        raise ScanError(
            f"{source.path}: no points on {missing[0]}; it has {_listing(source, clouds)}"
        )
    filled = [topic for topic in clouds if topic.num_messages != 0]
    chosen = [by_name[name] for name in dict.fromkeys(wanted)] or filled or clouds
    empty = [topic.name for topic in chosen if topic.num_messages == 0]
    if empty:
        raise ScanError(
            f"{source.path}: no messages on {empty[0]}; check what was recorded"
            f"{_joined(source.losses)}"
        )
    if wanted:
        return chosen
    if len(filled) > 1:
        filled.sort(key=lambda topic: is_labelled(source, topic.name))
        raise ScanError(
            f"{source.path}: several topics with points: {_listing(source, filled)}; choose one: "
            f"--topic {filled[0].name}, or merge several: --topic {filled[0].name} --topic "
            f"{filled[1].name} --frame FRAME"
        )
    return chosen


def _joined(lines: Iterable[str]) -> str:
    """Return the end of a message: each line once, after a semicolon."""
    return "".join(f"; {line}" for line in dict.fromkeys(lines) if line)


def _listing(source: Source, topics: list[Topic]) -> str:
    """Name topics with the number of their messages and the frame of the first."""
    return ", ".join(
        f"{topic.name} ({topic.type}, {'?' if topic.num_messages is None else topic.num_messages} "
        f"messages, frame {frame_of(source, topic.name) or 'unknown'}"
        f"{', labelled by bev-instseg' * is_labelled(source, topic.name)})"
        for topic in topics[:MAX_LISTED]
    )


def frame_of(source: Source, topic: str) -> str:
    """Return the coordinate frame of the first message of a topic; empty if there is none."""
    cloud = _first_of(source, topic)
    return "" if cloud is None else printable(cloud.header.frame_id).lstrip("/")


def is_labelled(source: Source, topic: str) -> bool:
    """Return whether the points of a topic were written by bev-instseg."""
    cloud = _first_of(source, topic)
    return cloud is not None and {field.name for field in cloud.fields} >= LABELS


def _first_of(source: Source, topic: str) -> Any:
    """Return the first message of a topic that can be parsed; None if there is none."""
    for message in source.messages({topic}):
        with suppress(ScanError):
            return parse(message)
    return None
