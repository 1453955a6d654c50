"""Read ROS 1 bags (format 2.0) record by record, even if they are cut short or have no index."""

import struct
from collections import Counter
from collections.abc import Collection, Iterator
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, NamedTuple

from bev_instseg.exceptions import ScanError, printable
from bev_instseg.file_io import open_regular
from bev_instseg.io.recordings.compression import unpack
from bev_instseg.io.recordings.source import Message, Topic, plain_type

MAGIC = b"#ROSBAG V2.0\n"
MAX_HEADER_BYTES = 1 << 20
MESSAGE, BAG, CHUNK, CHUNK_INFO, CONNECTION = 2, 3, 5, 6, 7  # kinds of records; 4 is an index
UINT32 = struct.Struct("<I")
ENDLESS = 1 << 62  # bytes


class _Cut(ValueError):
    """The file ends within a record, or what follows is not a record."""


class _Connection(NamedTuple):
    topic: str
    type: str


class Ros1Bag:
    """A ROS 1 bag; see `Source`."""

    def __init__(self, path: Path) -> None:
        """Open a bag.

        Args:
            path: The file.

        Raises:
            ScanError: It is not a ROS 1 bag.
            OSError: It cannot be opened.
        """
        self.path = path
        self.losses: list[str] = []
        self._file: BinaryIO = open_regular(path, ENDLESS)
        self._num_bytes = self._file.seek(0, 2)
        self._connections: dict[int, _Connection] = {}
        self._file.seek(0)
        if self._file.read(len(MAGIC)) != MAGIC:
            self.close()
            raise ScanError(f"{path}: not a ROS 1 bag of format 2.0; check the file")
        self._index: int | None = None
        try:
            kind, header, size = self._header(self._file, self._num_bytes)
            self._start = self._file.seek(size, 1)
            if kind == BAG:
                self._index = struct.unpack("<Q", header[b"index_pos"])[0]
        except (_Cut, KeyError, struct.error):
            self.close()
            raise ScanError(f"{path}: a bag without content; record it again") from None

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    @property
    def has_index(self) -> bool:
        """Whether the bag was completed, so that topics are found without reading all of it."""
        return self._chunks() is not None

    def topics(self) -> list[Topic]:
        """Return the topics; for this, a bag without an index is read completely."""
        counts: Counter[str] = Counter()
        chunks = self._chunks()
        if chunks is not None:
            for _, per_connection in chunks:
                for number, count in per_connection.items():
                    if number in self._connections:
                        counts[self._connections[number].topic] += count
        else:
            for number, _, _ in self._all_messages():
                counts[self._connections[number].topic] += 1
        types = {one.topic: one.type for one in self._connections.values()}
        return [Topic(name, types[name], counts[name]) for name in sorted(types)]

    def messages(self, topics: Collection[str]) -> Iterator[Message]:
        """Yield the messages of some topics; see `Source`."""
        self.losses.clear()
        for number, log_ns, data in self._all_messages(topics):
            one = self._connections[number]
            if one.topic in topics:
                yield Message(one.topic, one.type, log_ns, data, is_ros1=True)

    def _all_messages(
        self, topics: Collection[str] | None = None
    ) -> Iterator[tuple[int, int, bytes]]:
        """Yield connection, time and data of the messages; with an index, skip other chunks."""
        chunks = self._chunks()
        if chunks is None:
            self.losses[:] = ["the bag has no index: it was cut short, or the recorder was killed"]
            yield from self._from(self._start, self._num_bytes)
            return
        for position, counts in chunks:
            if topics is None or any(self._connections[n].topic in topics for n in counts):
                yield from self._from(position, position + 1)

    def _from(self, start: int, end: int) -> Iterator[tuple[int, int, bytes]]:
        """Yield the messages of the records that begin between two positions in the file.

        A damaged chunk is left out; the first position without a record is the end.
        """
        while start < end:
            self._file.seek(start)
            try:
                kind, header, size = self._header(self._file, self._num_bytes)
                data = self._read(size) if kind in (CHUNK, CONNECTION, MESSAGE) else b""
            except _Cut:
                lost = self._num_bytes - start
                self.losses.append(f"the last {lost:,} bytes of the bag are incomplete: left out")
                return
            start = self._file.tell() if data else self._file.tell() + size
            try:
                yield from self._messages_in(kind, header, data)
            except (ValueError, KeyError, struct.error) as error:
                self.losses.append(f"a chunk of {size:,} bytes is damaged ({error}): left out")

    def _messages_in(
        self, kind: int, header: dict[bytes, bytes], data: bytes
    ) -> Iterator[tuple[int, int, bytes]]:
        if kind == CONNECTION:
            self._connect(header, data)
        elif kind == MESSAGE:
            (number,) = UINT32.unpack(header[b"conn"])
            seconds, nanoseconds = struct.unpack("<II", header[b"time"])
            if number in self._connections:
                yield number, seconds * 10**9 + nanoseconds, data
        elif kind == CHUNK:
            (num_bytes,) = UINT32.unpack(header[b"size"])
            content = unpack(data, header[b"compression"].decode(), num_bytes)
            records = BytesIO(content)
            while records.tell() < len(content):
                inner, about, size = self._header(records, len(content))
                if inner not in (MESSAGE, CONNECTION):
                    raise _Cut("an unexpected record")
                yield from self._messages_in(inner, about, records.read(size))

    def _connect(self, header: dict[bytes, bytes], data: bytes) -> None:
        (number,) = UINT32.unpack(header[b"conn"])
        kind = _fields(data)[b"type"].decode(errors="backslashreplace")
        topic = printable(header[b"topic"].decode(errors="backslashreplace"))
        self._connections[number] = _Connection(topic, plain_type(kind))

    def _chunks(self) -> list[tuple[int, dict[int, int]]] | None:
        """Return place and number of messages per connection of each chunk; None if unknown."""
        if not self._index or not self._start <= self._index < self._num_bytes:
            return None
        chunks = []
        self._file.seek(self._index)
        try:
            while self._file.tell() < self._num_bytes:
                kind, header, size = self._header(self._file, self._num_bytes)
                data = self._read(size)
                if kind == CONNECTION:
                    self._connect(header, data)
                elif kind == CHUNK_INFO:
                    (position,) = struct.unpack("<Q", header[b"chunk_pos"])
                    chunks.append((position, dict(struct.iter_unpack("<II", data))))
        except (ValueError, KeyError, struct.error):
            return None
        known = all(self._connections.keys() >= counts.keys() for _, counts in chunks)
        return chunks if chunks and known else None

    def _read(self, size: int) -> bytes:
        if size > self._num_bytes - self._file.tell():
            raise _Cut("cut short")
        return self._file.read(size)

    @staticmethod
    def _header(file: BinaryIO, num_bytes: int) -> tuple[int, dict[bytes, bytes], int]:
        """Read the header of the next record; return its kind, its fields and its data's size."""
        length = file.read(4)
        if len(length) < 4 or not 0 < (size := UINT32.unpack(length)[0]) <= MAX_HEADER_BYTES:
            raise _Cut("no record")
        fields = _fields(file.read(size))
        data_size = file.read(4)
        if len(data_size) < 4 or len(fields.get(b"op", b"")) != 1:
            raise _Cut("no record")
        (num_data,) = UINT32.unpack(data_size)
        if file.tell() + num_data > num_bytes:
            raise _Cut("cut short")
        return fields[b"op"][0], fields, num_data


def _fields(header: bytes) -> dict[bytes, bytes]:
    """Parse ``name=value`` fields, each after its length."""
    fields, at = {}, 0
    while at < len(header):
        if at + 4 > len(header):
            raise _Cut("no record")
        (size,) = UINT32.unpack_from(header, at)
        name, equals, value = header[at + 4 : at + 4 + size].partition(b"=")
        if not equals or at + 4 + size > len(header):
            raise _Cut("no record")
        fields[name] = value
        at += 4 + size
    return fields
