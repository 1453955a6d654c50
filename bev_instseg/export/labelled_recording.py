"""Write the labels of a recording as an MCAP file that survives a kill.

Until it is complete, the file is called ``NAME.mcap.part``. Every sweep is a separate chunk that is
written immediately, so even after a kill the file can be read up to its last sweep. The same
command continues from there.
"""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from os.path import lexists
from pathlib import Path
from typing import Any

from mcap.records import Metadata
from mcap.stream_reader import StreamReader
from mcap.writer import CompressionType, Writer

from bev_instseg.exceptions import ScanError
from bev_instseg.export.mark import MARK
from bev_instseg.export.ros_messages import message_types
from bev_instseg.export.stored_sweeps import DAMAGED, StoredSweep, stored_sweeps
from bev_instseg.file_io import open_regular, temporary_name

ABOUT, END = "bev_instseg", "bev_instseg_end"  # names of metadata records
STOPPED = (
    "; stopped: finished results are kept, and the same command continues when the disk is "
    "writable again"
)
NUM_FIRST = 3  # `ABOUT` is among the first records, after the header and perhaps one other


def part_of(path: Path) -> Path:
    """Return the path that a file has until it is complete."""
    return path.with_name(f"{path.name}.part")


def read_about(path: Path) -> dict[str, str] | None:
    """Return what a file was made from; None if bev-instseg did not write it.

    Args:
        path: The file.

    Raises:
        OSError: It cannot be read.
    """
    with suppress(*DAMAGED), open_regular(path, 1 << 62) as file:
        size = os.fstat(file.fileno()).st_size
        records = StreamReader(file, record_size_limit=size).records
        for record, _ in zip(records, range(NUM_FIRST), strict=False):
            if isinstance(record, Metadata) and record.name == ABOUT:
                return dict(record.metadata) if record.metadata.get("about") == MARK else None
    return None


def read_end(path: Path) -> dict[str, Any] | None:
    """Return what was recorded when a file was finished: ``sweeps``, ``failed`` and ``losses``.

    Args:
        path: The file.

    Returns:
        None if the file is damaged.

    Raises:
        OSError: It cannot be read.
    """
    from mcap.reader import SeekingReader

    with suppress(*DAMAGED), open_regular(path, 1 << 62) as file:
        for record in SeekingReader(file).iter_metadata():
            if record.name == END:
                return {name: json.loads(text) for name, text in record.metadata.items()}
    return None


class LabelledRecording:
    """An MCAP file with the labels of a recording, which is written sweep by sweep."""

    def __init__(
        self,
        path: Path,
        about: Mapping[str, str],
        topics: Sequence[tuple[str, str]],
        goes_on: bool = True,
    ) -> None:
        """Begin a file, or continue the one of an earlier process.

        Args:
            path: The file; its folder must exist.
            about: What it is made from. A ``.part`` file made from something else is dropped.
            topics: Name and type of each topic; the last one has the points.
            goes_on: Whether to continue the file of an earlier process.

        Raises:
            ScanError: A file in the way was not written by bev-instseg.
            OSError: The folder cannot be written.
        """
        self._path, self._part, self._topics = path, part_of(path), topics
        self._written_to = self._part
        self._about = {**about, "about": MARK}
        earlier = [one for one in (path, self._part) if lexists(one)]
        for one in earlier:
            if read_about(one) is None:
                raise ScanError(
                    f"{one}: already exists and was not written by bev-instseg; move it or choose "
                    "another output folder"
                )
        goes_on = goes_on and self._part in earlier and read_about(self._part) == self._about
        self._begin()
        try:
            if goes_on:
                for sweep in stored_sweeps(self._part):
                    self.write(sweep)
            os.replace(self._written_to, self._part)
            self._written_to = self._part
        except BaseException:
            self.close()
            raise

    def _begin(self) -> None:
        """Begin an empty temporary file."""
        self._written_to = temporary_name(self._path)
        self.next_index = 0  # of the first sweep that is missing
        self.num_written: int = 0
        self._error: OSError | None = None
        self._file = open(self._written_to, "wb")  # noqa: SIM115
        with suppress(OSError):  # not every file system has locks
            fcntl.flock(self._file, fcntl.LOCK_EX)
        store = message_types()
        self._writer: Any = Writer(self._file, compression=CompressionType.LZ4)
        self._writer.start(profile="ros2", library="bev-instseg")
        self._writer.add_metadata(ABOUT, self._about)
        self._channels = []
        for topic, kind in self._topics:
            definition, _ = store.generate_msgdef(kind, ros_version=2)
            schema = self._writer.register_schema(kind, "ros2msg", definition.encode())
            self._channels.append(self._writer.register_channel(topic, "cdr", schema))
        self._file.flush()

    def stored(self) -> Iterator[StoredSweep]:
        """Yield the sweeps that have been written so far."""
        return islice(stored_sweeps(self._part), self.num_written)

    def begin_again(self) -> Iterator[StoredSweep]:
        """Begin an empty file in place of this one; yield the sweeps that were written so far.

        If this is interrupted, the earlier file stays as it is.
        """
        before = self.stored()
        self._file.close()
        self._begin()
        return before

    def write(self, sweep: StoredSweep) -> None:
        """Add a sweep; indices must increase.

        Args:
            sweep: The sweep, with a message for each topic.

        Raises:
            OSError: The file cannot be written, for instance because the disk is full; then no
                later sweep is written either.
        """
        if self._error is not None:
            raise self._error
        when_ns = max(sweep.stamp_ns, 0)
        try:
            for channel, data in zip(self._channels, sweep.messages, strict=True):
                self._writer.add_message(channel, when_ns, data, when_ns, sweep.index)
            self._writer.flush()
        except OSError as error:
            self._error = OSError(error.errno, f"{error.strerror}{STOPPED}", str(self._part))
            raise self._error from None
        self.next_index = sweep.index + 1
        self.num_written += 1

    def finish(self, failed: int, losses: list[str]) -> None:
        """Complete the file and give it its name.

        Args:
            failed: Number of missing sweeps.
            losses: The parts of the recording that could not be read.
        """
        end = {"sweeps": self.num_written, "failed": failed, "losses": losses}
        self._writer.add_metadata(END, {name: json.dumps(value) for name, value in end.items()})
        self._writer.finish()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        os.replace(self._written_to, self._path)
        self._part.unlink(missing_ok=True)

    def close(self) -> None:
        """Leave the file as it is, to be continued later."""
        with suppress(OSError):  # the disk is full, which has been reported
            self._file.close()
        if self._written_to != self._part:
            self._written_to.unlink(missing_ok=True)
