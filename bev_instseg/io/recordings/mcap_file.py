"""Read MCAP files: by their index or, without one, from the beginning to where they are cut."""

import struct
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import replace
from heapq import heappop, heappush
from pathlib import Path
from typing import BinaryIO

from mcap.data_stream import ReadDataStream
from mcap.exceptions import McapError
from mcap.reader import SeekingReader
from mcap.records import Channel, Chunk, ChunkIndex, Schema
from mcap.records import Message as McapMessage
from mcap.stream_reader import StreamReader, breakup_chunk
from mcap.summary import Summary

from bev_instseg.exceptions import ScanError, printable
from bev_instseg.file_io import open_regular
from bev_instseg.io.recordings.compression import unpack, unpack_message
from bev_instseg.io.recordings.source import Message, Topic, plain_type

MAGIC = b"\x89MCAP0\r\n"
ENCODINGS = {"cdr": False, "ros1": True}  # of messages; whether they are serialised as in ROS 1
BEFORE_CHUNK = 9  # bytes of a record before its content: its kind and size
MAX_WAITING_BYTES = 1 << 30  # of messages in chunks that overlap in time
DAMAGED = (McapError, ValueError, struct.error, KeyError, EOFError, MemoryError, OverflowError)
CUT = "the file has no index: it was cut short, or the recorder was killed"


class McapFile:
    """An MCAP file; see `Source`."""

    def __init__(self, path: Path) -> None:
        """Open a file.

        Args:
            path: The file.

        Raises:
            ScanError: It is not an MCAP file.
            OSError: It cannot be opened.
        """
        self.path = path
        self.losses: list[str] = []
        self._file: BinaryIO = open_regular(path, 1 << 62)
        self._num_bytes = self._file.seek(0, 2)
        self._schemas: dict[int, Schema] = {}
        self._channels: dict[int, Channel] = {}
        self._file.seek(0)
        if self._file.read(len(MAGIC)) != MAGIC:
            self.close()
            raise ScanError(f"{path}: not an MCAP file; check the file")

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def topics(self) -> list[Topic]:
        """Return the topics; for this, a file without statistics is read completely."""
        summary = self._summary()
        counts: Counter[int] = Counter()
        if summary is not None and summary.statistics is not None:
            counts.update(summary.statistics.channel_message_counts)
        else:
            for message in self._all_messages(None):
                counts[message.channel_id] += 1
        totals = Counter[tuple[str, str]]()
        for channel in self._channels.values():
            totals[printable(channel.topic), self._type_of(channel)] += counts[channel.id]
        return [Topic(name, kind, total) for (name, kind), total in sorted(totals.items())]

    def messages(self, topics: Collection[str]) -> Iterator[Message]:
        """Yield the messages of some topics; see `Source`."""
        self.losses.clear()
        for message in self._all_messages(topics):
            channel = self._channels[message.channel_id]
            name = printable(channel.topic)
            if name in topics and channel.message_encoding in ENCODINGS:
                is_ros1 = ENCODINGS[channel.message_encoding]
                data = message.data if is_ros1 else unpack_message(message.data)
                yield Message(name, self._type_of(channel), message.log_time, data, is_ros1)

    def _type_of(self, channel: Channel) -> str:
        """Return the type of a channel's messages; if they are not ROS's, with their encoding."""
        schema = self._schemas.get(channel.schema_id)
        kind = plain_type(schema.name) if schema else ""
        if channel.message_encoding in ENCODINGS:
            return kind
        return f"{kind or 'unknown'} ({printable(channel.message_encoding)})"

    def _summary(self) -> Summary | None:
        """Return the file's summary if it has a complete one, and keep it."""
        self._file.seek(0)
        try:
            reader = SeekingReader(self._file, record_size_limit=self._num_bytes)
            summary = reader.get_summary()
        except (*DAMAGED, OSError):
            return None
        if summary is None or not summary.chunk_indexes or not summary.channels:
            return None
        self._schemas.update(summary.schemas)
        self._channels.update(summary.channels)
        return summary

    def _all_messages(self, topics: Collection[str] | None) -> Iterator[McapMessage]:
        summary = self._summary()
        if summary is None:
            yield from self._from_the_beginning()
            return
        wanted = {
            number
            for number, channel in self._channels.items()
            if topics is None or printable(channel.topic) in topics
        }
        chunks = [
            index
            for index in summary.chunk_indexes
            if not index.message_index_offsets or wanted & index.message_index_offsets.keys()
        ]
        chunks.sort(key=lambda one: (one.message_start_time, one.chunk_start_offset))
        waiting = _Waiting()
        for index in chunks:
            yield from waiting.until(index.message_start_time)
            for message in self._chunk(index):
                name = printable(self._channels[message.channel_id].topic)
                if topics is None or name in topics:
                    waiting.add(message)
        yield from waiting.until(None)
        if waiting.num_late:
            self.losses.append(
                f"{waiting.num_late:,} messages come late, because chunks of more than "
                f"{MAX_WAITING_BYTES:,} bytes overlap in time; sort the file first (mcap sort)"
            )

    def _chunk(self, index: ChunkIndex) -> list[McapMessage]:
        """Return the messages of a chunk; none if it is damaged."""
        self._file.seek(index.chunk_start_offset + BEFORE_CHUNK)
        try:
            if index.chunk_start_offset + index.chunk_length > self._num_bytes:
                raise ValueError("beyond the end of the file")
            return self._unpacked(Chunk.read(ReadDataStream(self._file)))
        except DAMAGED as error:
            self._lose_chunk(index.compressed_size, error)
            return []

    def _from_the_beginning(self) -> Iterator[McapMessage]:
        """Yield the messages up to the end, or to where the file is cut or damaged."""
        self._file.seek(0)
        whole = 0
        reader = StreamReader(self._file, emit_chunks=True, record_size_limit=self._num_bytes)
        try:
            for record in reader.records:
                whole = self._file.tell()
                if isinstance(record, Schema):
                    self._schemas[record.id] = record
                elif isinstance(record, Channel):
                    self._channels[record.id] = record
                elif isinstance(record, McapMessage) and record.channel_id in self._channels:
                    yield record
                elif isinstance(record, Chunk):
                    try:
                        found = self._unpacked(record)
                    except DAMAGED as error:
                        self._lose_chunk(len(record.data), error)
                        continue
                    yield from found
        except DAMAGED:
            lost = self._num_bytes - whole
            self.losses[:0] = [CUT]
            if lost:
                self.losses.append(f"the last {lost:,} bytes of the file are incomplete: left out")

    def _unpacked(self, chunk: Chunk) -> list[McapMessage]:
        """Return the messages of a chunk, and keep its channels."""
        content = unpack(chunk.data, chunk.compression, chunk.uncompressed_size)
        plain = replace(chunk, compression="", data=content)
        messages = []
        for record in breakup_chunk(plain, validate_crc=True):
            if isinstance(record, Schema):
                self._schemas[record.id] = record
            elif isinstance(record, Channel):
                self._channels[record.id] = record
            elif isinstance(record, McapMessage) and record.channel_id in self._channels:
                messages.append(record)
        return messages

    def _lose_chunk(self, num_bytes: int, error: BaseException) -> None:
        reason = printable(str(error)) or type(error).__name__
        self.losses.append(f"a chunk of {num_bytes:,} bytes is damaged ({reason}): left out")


class _Waiting:
    """Messages of chunks that overlap in time, which wait until it is their turn.

    Attributes:
        num_late: Number of messages that came after a later one.
    """

    def __init__(self) -> None:
        self.num_late = 0
        self._heap: list[tuple[int, int, McapMessage]] = []
        self._num_added = self._num_bytes = self._last_ns = 0

    def add(self, message: McapMessage) -> None:
        """Add a message."""
        self._num_added += 1  # keeps the order of messages with the same time
        self._num_bytes += len(message.data)
        heappush(self._heap, (message.log_time, self._num_added, message))

    def until(self, end_ns: int | None) -> Iterator[McapMessage]:
        """Remove and yield the messages up to a time, or all; more if they need too much memory.

        Args:
            end_ns: Log time of the first message of the next chunk; None if there is none.
        """
        while self._heap and (
            end_ns is None or self._heap[0][0] <= end_ns or self._num_bytes > MAX_WAITING_BYTES
        ):
            log_ns, _, message = heappop(self._heap)
            self._num_bytes -= len(message.data)
            self.num_late += log_ns < self._last_ns
            self._last_ns = max(self._last_ns, log_ns)
            yield message
