"""Read a labelled recording sweep by sweep, even if it is still being written or is cut short."""

import os
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mcap.exceptions import McapError
from mcap.records import Channel, Message
from mcap.stream_reader import StreamReader

from bev_instseg.export.ros_messages import POINTS, TOPICS, TRACKS, message_types
from bev_instseg.export.sweep_result import SweepResult
from bev_instseg.file_io import open_regular
from bev_instseg.io.recordings.point_cloud2 import StampedSweep, parse_cloud
from bev_instseg.io.recordings.source import POINT_CLOUD
from bev_instseg.io.recordings.source import Message as SourceMessage

DAMAGED = (McapError, RuntimeError, ValueError, struct.error, KeyError, EOFError, MemoryError)


@dataclass(frozen=True)
class StoredSweep:
    """The messages of a sweep.

    Attributes:
        index: Its position in the original recording.
        stamp_ns: Its stamp, nanoseconds.
        messages: A message for each of the file's topics: first `TRACKS`, if it has that, then
            `TOPICS`.
    """

    index: int
    stamp_ns: int
    messages: tuple[bytes, ...]

    @property
    def points(self) -> StampedSweep:
        """The points, with their labels as extras."""
        stamp_ns, data = self.stamp_ns, self.messages[TOPICS.index(POINTS) - len(TOPICS)]
        return parse_cloud(SourceMessage(POINTS[0], POINT_CLOUD, stamp_ns, data, False))

    @property
    def result(self) -> SweepResult:
        """The objects with their tracks; the file must have `TRACKS`."""
        message: Any = message_types().deserialize_cdr(self.messages[0], TRACKS[1])
        return SweepResult.parse(message.data, TRACKS[0])


def stored_sweeps(path: Path) -> Iterator[StoredSweep]:
    """Yield the complete sweeps of a labelled recording, up to where it ends or is damaged.

    Args:
        path: The file.

    Raises:
        OSError: It cannot be read.
    """
    of_channel: dict[int, str] = {}
    found: list[Message] = []
    with suppress(*DAMAGED), open_regular(path, 1 << 62) as file:
        size = os.fstat(file.fileno()).st_size
        reader = StreamReader(file, validate_crcs=True, record_size_limit=size)
        for record in reader.records:
            if isinstance(record, Channel):
                of_channel[record.id] = record.topic
            elif isinstance(record, Message):
                if found and record.sequence != found[0].sequence:
                    return
                found.append(record)
                if of_channel[record.channel_id] == POINTS[0]:  # the last topic of a sweep
                    data = tuple(one.data for one in found)
                    yield StoredSweep(record.sequence, record.log_time, data)
                    found.clear()
