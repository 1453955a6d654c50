"""Read the SQLite files (``.db3``) of ROS 2 bags."""

import sqlite3
import struct
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from bev_instseg.exceptions import ScanError, printable
from bev_instseg.file_io import open_regular
from bev_instseg.io.recordings.compression import unpack_message
from bev_instseg.io.recordings.source import Message, Topic, plain_type

MAGIC = b"SQLite format 3\0"
HEADER_BYTES = 100


class SqliteFile:
    """A ``.db3`` file; see `Source`."""

    def __init__(self, path: Path) -> None:
        """Open a file.

        Args:
            path: The file.

        Raises:
            ScanError: It is not the database of a ROS 2 bag.
            OSError: It cannot be opened.
        """
        self.path = path
        self.losses: list[str] = []
        with open_regular(path, 1 << 62) as file:
            header = file.read(HEADER_BYTES)
            self._num_lost, self._is_page_cut = _cut(header, file.seek(0, 2))
        if not header.startswith(MAGIC):
            raise ScanError(f"{path}: not an SQLite file; check the file")
        # "immutable" needs no locks and no right to write beside the file, but ignores a log.
        log = path.with_name(f"{path.name}-wal")
        journal = path.with_name(f"{path.name}-journal")
        unfinished = [one for one in (log, journal) if one.exists() and one.stat().st_size]
        access = "mode=ro" if unfinished else "mode=ro&immutable=1"
        try:
            self._database = sqlite3.connect(
                f"file:{quote(str(path.absolute()))}?{access}", uri=True, check_same_thread=False
            )
            # Without this, no table of a truncated file can be read. Nothing is ever written.
            self._database.execute("PRAGMA writable_schema = ON")
            self._database.text_factory = lambda text: text.decode(errors="backslashreplace")
            rows = self._database.execute("SELECT id, name, type FROM topics").fetchall()
        except sqlite3.Error as error:
            remedy = (
                f"copy it with {unfinished[0].name} to a folder that you can write to"
                if unfinished
                else "it was cut short or is not a ROS 2 bag"
            )
            raise ScanError(f"{path}: cannot be read ({error}); {remedy}") from None
        self._topics = {
            number: (printable(str(name)), plain_type(str(kind))) for number, name, kind in rows
        }

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def topics(self) -> list[Topic]:
        """Return the topics."""
        counts: dict[int, int] | None = None
        with suppress(sqlite3.Error):  # a damaged file can only be counted as far as it is intact
            query = "SELECT topic_id, COUNT(*) FROM messages GROUP BY topic_id"
            counts = dict(self._database.execute(query).fetchall())
        return sorted(
            (
                Topic(name, kind, None if counts is None else counts.get(number, 0))
                for number, (name, kind) in self._topics.items()
            ),
            key=lambda topic: topic.name,
        )

    def messages(self, topics: Collection[str]) -> Iterator[Message]:
        """Yield the messages of some topics in the order in which they were recorded."""
        lost = f"the file was cut short: {self._num_lost:,} bytes are missing"
        self.losses[:] = [lost] * bool(self._num_lost)
        wanted = [number for number, (name, _) in self._topics.items() if name in topics]
        marks = ",".join("?" * len(wanted))
        query = f"SELECT topic_id, timestamp, data FROM messages WHERE topic_id IN ({marks})"
        held = None  # SQLite fills a page that was cut with zeros: the last message is not whole
        try:
            for number, log_ns, data in self._database.execute(f"{query} ORDER BY id", wanted):
                name, kind = self._topics[number]
                message = Message(name, kind, int(log_ns), _content(data), is_ros1=False)
                if not self._is_page_cut:
                    yield message
                    continue
                if held is not None:
                    yield held
                held = message
        except (sqlite3.Error, ValueError) as error:
            self.losses.append(f"the file is damaged or cut short ({error}): the rest is left out")


def _content(data: object) -> bytes:
    """Return the message in a row."""
    if not isinstance(data, bytes):
        raise ValueError("a message that is not binary data")
    return unpack_message(data)


def _cut(header: bytes, num_bytes: int) -> tuple[int, bool]:
    """Return how many bytes a database lacks, and whether it ends within a page."""
    if len(header) < HEADER_BYTES:
        return 0, False
    (page_bytes,), (num_pages,) = (
        struct.unpack_from(">H", header, 16),
        struct.unpack_from(">I", header, 28),
    )
    page_bytes = 65536 if page_bytes == 1 else max(page_bytes, 512)
    return max(num_pages * page_bytes - num_bytes, 0), num_bytes % page_bytes > 0
