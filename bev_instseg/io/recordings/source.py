"""The interface of all recordings: topics, and their messages in the order of the file."""

import struct
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bev_instseg.exceptions import ScanError, printable

POINT_CLOUD = "sensor_msgs/PointCloud2"
TRANSFORMS = ("tf2_msgs/TFMessage", "tf/tfMessage")


@dataclass(frozen=True)
class Topic:
    """A topic of a recording.

    Attributes:
        name: Its name, such as ``/velodyne_points``.
        type: Type of its messages as ``package/Name``, for ROS 1 and ROS 2 alike.
        num_messages: Their number; None if it is unknown without reading the whole recording.
    """

    name: str
    type: str
    num_messages: int | None


@dataclass(frozen=True, slots=True)
class Message:
    """A message as it is stored.

    Attributes:
        topic: Name of its topic.
        type: As in `Topic`.
        log_ns: When it was recorded, nanoseconds.
        data: The serialised message.
        is_ros1: Whether it is serialised as in ROS 1; else in CDR, as in ROS 2.
    """

    topic: str
    type: str
    log_ns: int
    data: bytes
    is_ros1: bool

    @property
    def stamp_ns(self) -> int:
        """When the data were measured: the stamp of the message's header.

        It is ``log_ns`` if that stamp is 0, or if the message is too short to have a header.
        """
        with suppress(ScanError):
            return self.header_ns or self.log_ns
        return self.log_ns

    @property
    def header_ns(self) -> int:
        """The stamp of the message's header, 0 if its writer left it out.

        Raises:
            ScanError: The message is too short to have a header.
        """
        skipped, big = 4, not self.is_ros1 and self.data[:2] in (b"\x00\x00", b"\x00\x02")
        try:
            seconds, nanoseconds = struct.unpack_from(">iI" if big else "<iI", self.data, skipped)
        except struct.error:
            raise ScanError(f"{self.topic}: a message without a header; record it again") from None
        return int(seconds) * 10**9 + int(nanoseconds)


class Source(Protocol):
    """An opened recording.

    Attributes:
        path: Its file or folder.
    """

    path: Path

    @property
    def losses(self) -> Sequence[str]:
        """The losses so far, one line each."""
        ...

    def topics(self) -> list[Topic]:
        """Return the topics, in the order of their names."""
        ...

    def messages(self, topics: Collection[str]) -> Iterator[Message]:
        """Yield the messages of some topics in the order of the file, from its beginning.

        Damaged parts are left out and reported in ``losses``.
        """
        ...

    def close(self) -> None:
        """Close the files."""
        ...


def plain_type(name: str) -> str:
    """Return a type as ``package/Name``; ROS 2 writes ``package/msg/Name``."""
    return printable(name).replace("/msg/", "/")
