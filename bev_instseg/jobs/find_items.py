"""Find the sweeps of a job, and give the results of each a unique name."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import NamedTemporaryFile

from bev_instseg.exceptions import ScanError
from bev_instseg.export import POINT_FORMATS, Picture, has_mark
from bev_instseg.file_io import TEMPORARY
from bev_instseg.io.folders import entries_below
from bev_instseg.io.formats import SUFFIXES
from bev_instseg.io.sweep import stem_of

POINT_SUFFIXES = tuple(f".{name}" for name in POINT_FORMATS)
# x_3d.png is the 3D picture of x or the picture of x_3d.
PICTURE_NAMES = [p.value.removesuffix(".png") for p in Picture if p.value.startswith("_")]


@dataclass(frozen=True)
class Item:
    """A sweep of a job.

    Attributes:
        path: Its file.
        name: Name of its results inside the output folder, without suffix.
    """

    path: Path
    name: str


@dataclass(frozen=True)
class Found:
    """What the inputs of a job contain.

    Attributes:
        items: The sweeps, each once.
        notices: What was assumed.
        errors: A line for each folder that could not be read.
    """

    items: tuple[Item, ...]
    notices: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()


def find_items(inputs: Sequence[Path], out: Path) -> Found:
    """Find the sweeps among files and, to any depth, in folders.

    The results of a sweep in a folder are named by its path below that folder, those of a file by
    its name, without suffix. Sweeps whose results would collide keep their suffix: ``a.bin`` and
    ``a.npy`` give ``a.bin.label`` and ``a.npy.label``. Hidden files and folders are skipped, and so
    are point files that bev-instseg wrote.

    Args:
        inputs: Sweeps and folders.
        out: Folder of the results.

    Returns:
        The sweeps in the order of ``inputs`` and sorted within a folder.

    Raises:
        ScanError: There are no sweeps, a link in ``out`` would put results outside of it, or two
            inputs have sweeps of the same name.
    """
    items: dict[str, Item] = {}  # by real path: a file given twice is processed once
    errors: list[str] = []
    links: list[Path] = []
    for source in inputs:
        for path in _sweeps_of(source, out, errors, links):
            below = path.relative_to(source).parent if source.is_dir() else Path()
            name = (below / stem_of(path)).as_posix()
            items.setdefault(os.path.realpath(path), Item(path, name))
    for item in items.values():
        folder = os.path.realpath((out / item.name).parent)
        if not Path(folder).is_relative_to(os.path.realpath(out)):
            raise ScanError(
                f"{item.path}: a link would put its results in {folder}, outside the output "
                "folder; choose another --out"
            )
    named, notices = _with_own_names(list(items.values()), out)
    if links:
        notices += (
            f"links to sweeps that are also found directly are left out: {len(links)}, first "
            f"{links[0]}",
        )
    return Found(tuple(named), notices, tuple(errors))


def _sweeps_of(source: Path, out: Path, errors: list[str], links: list[Path]) -> list[Path]:
    """Return the sweeps of an input; raises ScanError if there are none.

    Lines about unreadable folders, and links that are left out, are appended to the lists.
    """
    if source.suffix in POINT_SUFFIXES and os.path.realpath(source.parent) == os.path.realpath(out):
        raise ScanError(f"{source}: is inside the output folder; choose another --out")
    if not os.path.lexists(source):
        raise ScanError(f"{source}: no such sweep or folder; check the path")
    if not source.is_dir():
        return [source]
    found, unreadable, left_out = _sweeps_below(source)
    if not found:
        raise ScanError(
            unreadable[0]
            if unreadable
            else f"{source}: no sweeps in this folder; expected {', '.join(SUFFIXES)} files that "
            "bev-instseg did not write"
        )
    errors.extend(unreadable)
    links.extend(left_out)
    return found


def _sweeps_below(top: Path) -> tuple[list[Path], list[str], list[Path]]:
    """Return the sorted sweeps of a folder tree, a line for each unreadable folder, and links.

    A file that is found both directly and through links counts once, if possible without a link;
    the links that are left out are returned.
    """
    found: dict[str, Path] = {}
    links, errors = list[Path](), list[str]()
    for path, real_path, is_link, _ in entries_below(top, errors):
        if path.name.lower().endswith(SUFFIXES) and not is_result(path):
            if real_path in found:
                links.append(path if is_link else found[real_path])
            if not (is_link and real_path in found):
                found[real_path] = path
    return sorted(found.values()), errors, sorted(links)


def is_result(path: Path) -> bool:
    """Return whether a file is a point file that bev-instseg wrote.

    Args:
        path: The file.
    """
    try:
        return path.suffix in POINT_SUFFIXES and has_mark(path)
    except OSError:  # reported when the file is read
        return False


def _with_own_names(items: list[Item], out: Path) -> tuple[list[Item], tuple[str, ...]]:
    """Return the items with names that make all output files distinct, and notices.

    Raises:
        ScanError: Two items collide even under the names of their files.
    """
    named = items
    while colliding := _colliding(named, out):
        longer = [_with_suffix(item) if i in colliding else item for i, item in enumerate(named)]
        if longer == named:
            first, second = (named[i] for i in sorted(colliding)[:2])
            raise ScanError(
                f"{second.path}: its results would have the same name as those of {first.path}; "
                "segment one of them separately, with another --out"
            )
        named = longer
    changed = [item for item, before in zip(named, items, strict=True) if item != before]
    if not changed:
        return named, ()
    return named, (
        f"{len(changed)} sweeps would share the names of results, so they keep their suffix: "
        f"{changed[0].path} gives {changed[0].name}.label",
    )


def _with_suffix(item: Item) -> Item:
    return replace(item, name=(Path(item.name).parent / item.path.name).as_posix())


def _colliding(items: Sequence[Item], out: Path) -> set[int]:
    """Return the positions of the items whose output files collide with those of other items."""
    names = [item.name for item in items]
    if len({name.casefold() for name in names}) < len(set(names)) and _ignores_case(out):
        names = [name.casefold() for name in names]
    times = Counter(names)
    writers = [{name, *(f"{name}{more}" for more in PICTURE_NAMES)} for name in names]
    claims = Counter(claim for claims in writers for claim in claims if claim in times)
    return {
        i
        for i, name in enumerate(names)
        if claims[name] > 1 or any(f"{name}{more}" in times for more in PICTURE_NAMES)
    }


def _ignores_case(folder: Path) -> bool:
    """Return whether a folder, which need not exist, is on a file system that ignores case."""
    while not folder.is_dir():
        folder = folder.parent
    with NamedTemporaryFile(prefix=TEMPORARY, dir=folder) as file:
        return Path(folder, Path(file.name).name.swapcase()).exists()
