"""Distinguish recordings from sweeps by their names, without opening them."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from bev_instseg.io.formats import SUFFIXES as SWEEPS

SUFFIXES = (".bag", ".bag.active", ".mcap", ".db3", ".pcap")
BAG_METADATA = "metadata.yaml"


def find_recordings(inputs: Sequence[Path]) -> list[Path]:
    """Return the recordings among the inputs of a job.

    A recording is a file with one of `SUFFIXES`, or the folder of a ROS 2 bag: one with a ``.db3``,
    with ``.mcap`` or ``.zstd`` files and a ``metadata.yaml``, or with several ``.mcap`` files with
    its name and a number, which a killed recorder leaves. Other folders are searched for recordings
    at any depth, unless they hold sweeps.

    Args:
        inputs: Files and folders.

    Raises:
        ValueError: There are both recordings and other inputs, such as sweeps.
    """
    found: dict[Path, None] = {}
    others = []
    for path in inputs:
        below = [path] if is_recording(path) else _recordings_below(path) if path.is_dir() else []
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
        stores = any(name.endswith((".db3", ".mcap", ".zstd")) for name in parts)
        has_mark = BAG_METADATA in parts or any(name.endswith(".db3") for name in parts)
        return stores and (has_mark or _are_parts(path.resolve().name, parts))
    return path.name.lower().endswith(SUFFIXES)


def _are_parts(folder: str, names: Sequence[str]) -> bool:
    """Return whether several ``.mcap`` files are named as a recorder names those of one bag."""
    part = re.compile(re.escape(folder.lower()) + r"_\d+\.mcap")
    files = [name for name in names if name.endswith(".mcap")]
    return len(files) > 1 and all(map(part.fullmatch, files))


def name_of_results(path: Path) -> str:
    """Return the name of a recording's results: its own without suffix."""
    if path.is_dir():
        return path.resolve().name
    name = path.name
    suffix = next((s for s in sorted(SUFFIXES, key=len)[::-1] if name.lower().endswith(s)), "")
    return name[: len(name) - len(suffix)] or name


def _recordings_below(top: Path) -> list[Path]:
    """Return the recordings below a folder; none if it has sweeps, which take precedence."""
    found = []
    for root, folders, names in os.walk(top):
        folder = Path(root)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        bags = [name for name in folders if is_recording(folder / name)]
        found += [folder / name for name in bags]
        folders[:] = [name for name in folders if name not in bags]
        visible = sorted(name for name in names if not name.startswith("."))
        if any(name.lower().endswith(SWEEPS) for name in visible):
            return []
        found += [folder / name for name in visible if is_recording(folder / name)]
    return found
