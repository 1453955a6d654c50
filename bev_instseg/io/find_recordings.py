"""Distinguish recordings from sweeps by their names, without opening them."""

import re
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

from bev_instseg.io.folders import entries_below
from bev_instseg.io.formats import SUFFIXES as SWEEPS

SUFFIXES = (".bag", ".bag.active", ".mcap", ".db3", ".pcap")
BAG_METADATA = "metadata.yaml"


def find_recordings(
    inputs: Sequence[Path], is_result: Callable[[Path], bool] = lambda path: False
) -> list[Path]:
    """Return the recordings among the inputs of a job.

    A recording is a file with one of `SUFFIXES`, or the folder of a ROS 2 bag: one with a
    ``metadata.yaml`` and ``.db3``, ``.mcap`` or ``.zstd`` files, or without it, as a killed
    recorder leaves it, one with a single ``.db3``, or with several ``.db3`` of one name or
    ``.mcap`` of the folder's name, each with a number. Other folders are searched for recordings at
    any depth, links included, unless they hold sweeps; warnings name what is left out.

    Args:
        inputs: Files and folders.
        is_result: Whether a sweep was written by bev-instseg, so that it does not count.

    Raises:
        ValueError: There are both recordings and other inputs, such as sweeps.
    """
    found: dict[Path, None] = {}
    others = []
    for path in inputs:
        below = [path] if is_recording(path) else []
        if not below and path.is_dir():
            below = _recordings_below(path, is_result)
        found.update(dict.fromkeys(below))
        if not below:
            others.append(path)
    if found and others:
        raise ValueError(
            f"{others[0]}: not a recording, but {next(iter(found))} is: segment sweeps and "
            "recordings with separate commands"
        )
    return list(found)


def is_recording(path: Path) -> bool:
    """Return whether a path is a recording by its name, or the folder of a ROS 2 bag."""
    if path.is_dir():
        try:
            parts = [one.name.lower() for one in path.iterdir()]
        except OSError:  # reported with the folders that cannot be searched for sweeps
            return False
        if BAG_METADATA in parts:
            return any(name.endswith((".db3", ".mcap", ".zstd")) for name in parts)
        return _are_parts(path.resolve().name, [n for n in parts if n.endswith(SUFFIXES)])
    return path.name.lower().endswith(SUFFIXES)


def _are_parts(folder: str, recordings: Sequence[str]) -> bool:
    """Return whether the files of a folder are named as a recorder names those of one bag."""
    if len(recordings) == 1:
        return recordings[0].endswith(".db3")
    names = [re.fullmatch(r"(.*)_\d+(\.db3|\.mcap)", name) for name in recordings]
    stems = {name.groups() if name else None for name in names}
    if len(stems) != 1 or None in stems:
        return False
    stem, suffix = next(name.groups() for name in names if name)
    return suffix == ".db3" or stem == folder.lower()


def name_of_results(path: Path) -> str:
    """Return the name of a recording's results: its own without suffix."""
    if path.is_dir():
        return path.resolve().name
    name = path.name
    suffix = next((s for s in sorted(SUFFIXES, key=len)[::-1] if name.lower().endswith(s)), "")
    return name[: len(name) - len(suffix)] or name


def _recordings_below(top: Path, is_result: Callable[[Path], bool]) -> list[Path]:
    """Return the recordings below a folder; none if it has sweeps, which take precedence."""
    found: dict[str, Path] = {}  # by real path
    unreadable, has_sweeps = list[str](), False
    for path, real_path, _, is_folder in entries_below(top, unreadable, is_recording):
        name = path.name.lower()
        if is_folder or name.endswith(SUFFIXES):
            found.setdefault(real_path, path)
        elif name.endswith(SWEEPS):
            has_sweeps = has_sweeps or not is_result(path)
    recordings = sorted(found.values())
    if not recordings:
        return []
    if has_sweeps:
        warnings.warn(
            f"{top}: has sweeps, so its {len(recordings)} recordings are left out, first "
            f"{recordings[0]}; give them in a separate command",
            stacklevel=3,
        )
        return []
    for line in unreadable:
        warnings.warn(line, stacklevel=3)
    return recordings
