"""Walk through a folder, links included."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple


class Entry(NamedTuple):
    """What was found below a folder.

    Attributes:
        path: Its path, perhaps through links.
        real_path: The same without links.
        is_link: Whether it is itself a link.
        is_folder: Whether it is a folder.
    """

    path: Path
    real_path: str
    is_link: bool
    is_folder: bool


def entries_below(
    top: Path, unreadable: list[str], is_whole: Callable[[Path], bool] = lambda folder: False
) -> Iterator[Entry]:
    """Yield the files below a folder, each folder once. What is hidden is skipped.

    Args:
        top: The folder.
        unreadable: Gets a line about each folder that cannot be searched.
        is_whole: Whether a folder is yielded itself instead of what is in it.
    """
    visited, folders = set[str](), [(top, os.path.realpath(top))]
    while folders:
        folder, real = folders.pop()
        if real in visited:  # a link that leads back up
            continue
        visited.add(real)
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name, reverse=True)
        except OSError as error:
            unreadable.append(
                f"{folder}: cannot be searched ({error.strerror}); check its permissions"
            )
            continue
        for entry in entries:
            if entry.name.startswith("."):
                continue
            path, is_link = folder / entry.name, entry.is_symlink()
            real_path = os.path.realpath(path) if is_link else os.path.join(real, entry.name)
            is_folder = os.path.isdir(real_path) if is_link else entry.is_dir()
            if is_folder and not is_whole(path):
                folders.append((path, real_path))
            else:
                yield Entry(path, real_path, is_link, is_folder)
