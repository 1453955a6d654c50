"""How a ``.json`` of ours is recognised: by its mark, its seal, and the files it lists."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from bev_instseg.export.json_values import integer, text
from bev_instseg.export.mark import MARK
from bev_instseg.export.picture import Picture
from bev_instseg.export.points import POINT_FORMATS

# Suffixes of the files next to a ``.json``.
SUFFIXES = {".label", ".txt", *(f".{name}" for name in POINT_FORMATS), *(p.value for p in Picture)}
SEAL = b',\n "sha256": "'  # the last key of a file, before the hash of everything above it


@dataclass(frozen=True)
class FileRecord:
    """A file that bev-instseg wrote together with a ``.json``, and how it is recognised.

    Attributes:
        suffix: What follows the name of the result, such as ``.label`` or ``_3d.png``.
        num_bytes: Its size.
        sha256: Hash of its content.
    """

    suffix: str
    num_bytes: int
    sha256: str

    @classmethod
    def of(cls, suffix: str, data: bytes) -> "FileRecord":
        """Return the record of a file with this content."""
        return cls(suffix, len(data), hashlib.sha256(data).hexdigest())


def unfinished(files: Iterable[FileRecord]) -> bytes:
    """Return what the ``.json`` holds while the other files are replaced.

    Args:
        files: The files that are there, and those that will be.
    """
    return sealed({"about": MARK, "unfinished": True}, files)


def sealed(tree: Mapping[str, Any], files: Iterable[FileRecord]) -> bytes:
    """Return the bytes of a ``.json`` that lists these files and ends with its own hash.

    Args:
        tree: All else that it holds.
        files: The files.

    Raises:
        ValueError: A number is not finite.
        TypeError: A value has a type that JSON cannot hold.
    """
    tree = {**tree, "files": [asdict(file) for file in files]}
    written = json.dumps(tree, indent=1, ensure_ascii=False, allow_nan=False)
    body = written.removesuffix("\n}").encode(errors="backslashreplace")  # names may not be UTF-8
    return body + SEAL + _end(body)


def is_sealed(data: bytes) -> bool:
    """Return whether a file ends with the hash of everything above."""
    body, seal, end = data.rpartition(SEAL)
    return bool(seal) and end == _end(body)


def _end(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest().encode() + b'"\n}\n'


def parse_files(tree: Any) -> tuple[FileRecord, ...]:
    """Return the files that a parsed ``.json`` lists; none if it has no list.

    Raises:
        ValueError: A suffix is unknown; errors of other types if the list is malformed.
    """
    files = tuple(
        FileRecord(text(entry["suffix"]), integer(entry["num_bytes"]), text(entry["sha256"]))
        for entry in tree.get("files", ())  # results of earlier versions have none
    )
    if not {file.suffix for file in files} <= SUFFIXES:  # an unknown one could name any file nearby
        raise ValueError("an unknown suffix")
    return files
