"""Replace the files of a sweep together, and only files that bev-instseg wrote.

The ``.json`` lists the other files with size and hash. A file that it does not list, or that was
changed since, belongs to the user.
"""

import errno
import hashlib
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from os.path import lexists
from pathlib import Path

from bev_instseg.exceptions import ScanError
from bev_instseg.export.sealed_json import FileRecord, unfinished
from bev_instseg.export.sweep_result import OwnJson, SweepResult
from bev_instseg.file_io import locked, staged


def require_replaceable(target: str | Path, paths: Sequence[Path]) -> None:
    """Raise the error that `replace_result` would raise, as far as known without the content.

    Args:
        target: Path of the files without suffix.
        paths: The files.

    Raises:
        ScanError: A file in the way was not written by bev-instseg.
        OSError: The folder cannot be written.
    """
    folder = Path(target).parent
    if any(map(lexists, paths)):
        suffixes = [str(path).removeprefix(str(target)) for path in paths]
        with locked(folder):
            _own_json(target, [suffix for suffix in suffixes if suffix != ".json"])
    while not lexists(folder):
        folder = folder.parent
    if not os.access(folder, os.W_OK | os.X_OK):
        reason = "cannot be written; choose another output folder"
        raise PermissionError(errno.EACCES, reason, str(folder))


def replace_result(target: str | Path, result: SweepResult, contents: Mapping[str, bytes]) -> None:
    """Write the files of a sweep; the folder must exist.

    First, all of them are written completely under temporary names: if that fails, for instance on
    a full disk, the earlier result stays as it is. Then they are moved into place while the
    ``.json`` lists the earlier and the new files, so a process that is killed here leaves a result
    that is known to be unfinished and ours. Other files of the earlier result are kept if it is the
    same result, and removed otherwise.

    Args:
        target: Path of the files without suffix.
        result: The new result; its ``files`` are ignored.
        contents: Suffix and content of each file next to the ``.json``.

    Raises:
        ScanError: A file in the way was not written by bev-instseg. Nothing has been touched.
        OSError: A file cannot be written; ``filename`` names it.
    """
    json_path = Path(f"{target}.json")
    new = [FileRecord.of(suffix, data) for suffix, data in contents.items()]
    with locked(json_path.parent):
        plan = _Plan.of(target, result, new)
    with ExitStack() as staging:
        moves = [
            staging.enter_context(staged(f"{target}{suffix}", data))
            for suffix, data in contents.items()
        ]
        while True:
            announce = staging.enter_context(staged(json_path, plan.announcement))
            finish = staging.enter_context(staged(json_path, plan.final))
            with locked(json_path.parent):
                if _version(json_path) == plan.version:
                    announce()
                    for move in moves:
                        move()
                    for path in plan.outdated:
                        path.unlink(missing_ok=True)
                    finish()
                    return
                plan = _Plan.of(target, result, new)  # another process came first


@dataclass(frozen=True)
class _Plan:
    """What happens to a result.

    Attributes:
        version: Identifies the ``.json`` that is there; None for none.
        announcement: Content of the ``.json`` while the other files are moved.
        final: Its content afterwards.
        outdated: Files to remove.
    """

    version: tuple[int, int] | None
    announcement: bytes
    final: bytes
    outdated: tuple[Path, ...]

    @classmethod
    def of(cls, target: str | Path, result: SweepResult, new: Sequence[FileRecord]) -> "_Plan":
        """Plan how to replace the existing files; raises ScanError if one of them is not ours."""
        json_path = Path(f"{target}.json")
        version = _version(json_path)
        own = _own_json(target, [record.suffix for record in new])
        earlier = own.files if own else ()
        others = [r for r in earlier if r.suffix not in {record.suffix for record in new}]
        all_files = (*new, *(record for record in earlier if record not in new))
        if own and own.result and _without_files(own.result) == _without_files(result):
            announcement = replace(result, files=all_files).to_bytes()
            final = replace(result, files=(*new, *others)).to_bytes()
            return cls(version, announcement, final, ())
        outdated = [(Path(f"{target}{record.suffix}"), record) for record in others]
        return cls(
            version,
            unfinished(all_files),
            replace(result, files=tuple(new)).to_bytes(),
            tuple(path for path, record in outdated if _is_listed(path, record.suffix, [record])),
        )


def _own_json(target: str | Path, suffixes: Sequence[str]) -> OwnJson | None:
    """Return the existing ``.json``; raises ScanError if a file in the way is not ours."""
    json_path = Path(f"{target}.json")
    own = OwnJson.read(json_path)
    if own is None and lexists(json_path):
        raise _foreign(json_path, "it and the results next to it")
    for suffix in suffixes:
        path = Path(f"{target}{suffix}")
        if not lexists(path):
            continue
        if own and own.result and not own.files:
            raise ScanError(
                f"{path}: already exists, and {json_path.name}, written by an earlier version, "
                "does not list it; move both or choose another output folder"
            )
        if not _is_listed(path, suffix, own.files if own else ()):
            raise _foreign(path)
    return own


def _foreign(path: Path, what: str = "it") -> ScanError:
    return ScanError(
        f"{path}: already exists and was not written by bev-instseg, or was changed since; move "
        f"{what} or choose another output folder"
    )


def _version(path: Path) -> tuple[int, int] | None:
    """Return a value that changes whenever the file is replaced; None if there is no file."""
    if not lexists(path):
        return None
    about = path.lstat()
    return about.st_ino, about.st_mtime_ns


def _is_listed(path: Path, suffix: str, records: Sequence[FileRecord]) -> bool:
    """Return whether a file has the size and hash of a record with this suffix."""
    if not path.is_file():
        return False
    size = path.stat().st_size
    hashes = {r.sha256 for r in records if (r.suffix, r.num_bytes) == (suffix, size)}
    return bool(hashes) and hashlib.sha256(path.read_bytes()).hexdigest() in hashes


def _without_files(result: SweepResult) -> SweepResult:
    """Return the instances and settings, without the calibration that only the ``.txt`` uses."""
    provenance = result.provenance and replace(result.provenance, calibration=None)
    return replace(result, provenance=provenance, files=())
