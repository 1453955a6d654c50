"""Read the folders of ROS 2 bags, whose files are parts of one recording."""

import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path, PurePath
from typing import Any

import yaml

from bev_instseg.exceptions import ScanError, explain, printable
from bev_instseg.file_io import read_bytes
from bev_instseg.io.recordings.mcap_file import McapFile
from bev_instseg.io.recordings.source import Message, Source, Topic
from bev_instseg.io.recordings.sqlite_file import SqliteFile

METADATA = "metadata.yaml"
MAX_METADATA_BYTES = 16 << 20
PARTS = (".db3", ".mcap")


class BagFolder:
    """A folder of a ROS 2 bag; see `Source`."""

    def __init__(self, path: Path) -> None:
        """Open the files of a folder.

        Args:
            path: The folder. Without a ``metadata.yaml``, which a killed recorder does not write,
                its files are taken in the order of their numbers.

        Raises:
            ScanError: There is nothing that can be read.
        """
        self.path = path
        self._missing: list[str] = []
        names, is_packed = self._listed()
        if is_packed or any(name.endswith(".zstd") for name in names):
            raise ScanError(
                f"{path}: its files are compressed as a whole; unpack them (zstd -d "
                f"{path / names[0]}) and give the unpacked file instead of the folder"
            )
        self._parts: list[Source] = []
        for name in names:
            try:
                file = path / name
                self._parts.append(McapFile(file) if file.suffix == ".mcap" else SqliteFile(file))
            except (OSError, ScanError) as error:
                self._missing.append(explain(error))
        if not self._parts:
            raise ScanError(self._missing[-1])

    @property
    def losses(self) -> Sequence[str]:
        """What could not be read so far."""
        return self._missing + [
            f"{part.path.name}: {loss}" for part in self._parts for loss in part.losses
        ]

    def close(self) -> None:
        """Close the files."""
        for part in self._parts:
            part.close()

    def topics(self) -> list[Topic]:
        """Return the topics of all files."""
        found: dict[tuple[str, str], Topic] = {}
        for topic in (topic for part in self._parts for topic in part.topics()):
            earlier = found.get((topic.name, topic.type), Topic(topic.name, topic.type, 0))
            counts = earlier.num_messages, topic.num_messages
            total = None if None in counts else sum(count for count in counts if count)
            found[topic.name, topic.type] = Topic(topic.name, topic.type, total)
        return [found[key] for key in sorted(found)]

    def messages(self, topics: Collection[str]) -> Iterator[Message]:
        """Yield the messages of some topics, file by file."""
        for part in self._parts:
            yield from part.messages(topics)

    def _listed(self) -> tuple[list[str], bool]:
        """Return the names of the files, and whether they are compressed as a whole."""
        path = self.path / METADATA
        found = [one.name for one in self.path.iterdir() if one.suffix in PARTS]
        found.sort(key=_by_number)
        if not path.exists():
            self._missing.append(f"no {METADATA}: the recorder was killed")
            if not found:
                raise ScanError(f"{self.path}: no .db3 or .mcap in this folder; check the path")
            return found, False
        try:
            tree: Any = yaml.safe_load(read_bytes(path, MAX_METADATA_BYTES))
            about = tree["rosbag2_bagfile_information"]
            names = [PurePath(str(name)).name for name in about["relative_file_paths"]]
            is_packed = str(about.get("compression_mode")).lower() == "file"
        except (OSError, KeyError, TypeError, AttributeError, yaml.YAMLError) as error:
            raise ScanError(
                f"{path}: cannot be used ({explain(error)}); remove it to read the files as they "
                "are"
            ) from None
        if not names:
            raise ScanError(f"{path}: lists no files; remove it to read the files as they are")
        self._missing += [
            f"{printable(name)}: left out, because {METADATA} does not list it; without "
            f"{METADATA}, all files are read"
            for name in found
            if name not in names and not name.startswith(".")
        ]
        return names, is_packed


def _by_number(name: str) -> list[tuple[str, int]]:
    """Return the key that sorts ``a_10`` after ``a_9``."""
    return [(text, int(digits or 0)) for text, digits in re.findall(r"(\D*)(\d*)", name)]
