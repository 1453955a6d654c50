"""The sequences of a job: the sweeps of each folder in temporal order, with times and poses."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bev_instseg.exceptions import ScanError, printable
from bev_instseg.io.sweep import stem_of
from bev_instseg.jobs.find_items import Item
from bev_instseg.tracking.given_poses import read_poses, read_times

PERIOD_S = 0.1  # assumed where no times are given
TIMES, POSES = "times.txt", "poses.txt"
Y2000_S, Y2100_S = 946_684_800, 4_102_444_800  # seconds since 1970


@dataclass(frozen=True, eq=False)
class SweepSequence:
    """Sweeps in temporal order.

    Attributes:
        folder: Their folder.
        items: The sweeps, in the natural order of their names: ``2.bin`` before ``10.bin``.
        stamps_s: (M,) time of each sweep, increasing, seconds.
        poses: (M, 4, 4) from the file's coordinates of each sweep to a common frame; None to find
            them by odometry.
        notices: What was detected and assumed.
    """

    folder: Path
    items: tuple[Item, ...]
    stamps_s: NDArray[np.float64]
    poses: NDArray[np.float64] | None
    notices: tuple[str, ...]


def find_sequences(
    items: Sequence[Item], times: Path | None = None, poses: Path | None = None
) -> list[SweepSequence]:
    """Group sweeps by folder; each folder is a sequence.

    ``times.txt`` and ``poses.txt`` in the folder or its parent are used if they exist. Without a
    file of times, the names are used if they are times. Otherwise, `PERIOD_S` passes from sweep to
    sweep or, if their names are numbers with gaps, from number to number. A file has one row per
    sweep, or the names of the sweeps are numbers of its rows, counted from 0.

    Args:
        items: The sweeps.
        times: File of times, see `read_times`.
        poses: File of poses, see `read_poses`.

    Raises:
        ScanError: A file cannot be used, or there are several folders for it.
    """
    folders: dict[Path, list[Item]] = {}
    for item in items:
        folders.setdefault(item.path.parent, []).append(item)
    if len(folders) > 1 and (times or poses):
        raise ScanError(
            f"{times or poses}: is for one folder of sweeps, but there are {len(folders)}; put "
            f"{TIMES} and {POSES} into each of them instead"
        )
    return [_sequence(folder, some, times, poses) for folder, some in folders.items()]


def _sequence(
    folder: Path, items: list[Item], times: Path | None, poses: Path | None
) -> SweepSequence:
    items = [items[i] for i in temporal_order([item.path for item in items])]
    times, poses = times or _beside(folder, TIMES), poses or _beside(folder, POSES)
    name, notices = printable(str(folder)), []
    stamps_s: NDArray[np.float64] = PERIOD_S * np.arange(len(items), dtype=np.float64)
    if times:
        stamps_s = _rows(items, read_times(times), times)
        notices.append(f"{name}: times from {printable(str(times))}")
        if (np.diff(stamps_s) <= 0).any():
            raise ScanError(
                f"{times}: the times do not increase from sweep to sweep; check the names"
            )
    elif named := _times_in_names(items):
        stamps_s, unit = named
        notices.append(f"{name}: times from the names, which count {unit} since 1970")
    elif gap := _gap_in_names(items):
        numbers, after = gap
        stamps_s = PERIOD_S * (numbers - numbers[0])
        notices.append(
            f"{name}: no {TIMES}, and the names skip numbers, first after {printable(after)}, so "
            f"{PERIOD_S} s from number to number is assumed"
        )
    else:
        notices.append(f"{name}: no {TIMES}, so {PERIOD_S} s from sweep to sweep is assumed")
    if (kinds := _kinds_of_names(items)) is not None:
        notices.append(
            f"{name}: the sweeps have names like {kinds[0]} and {kinds[1]}, but all are tracked as "
            "one sequence; put the sweeps of each sensor into a folder of their own"
        )
    found = None
    if poses:
        notices.append(f"{name}: poses from {printable(str(poses))}")
        rows, assumed = read_poses(poses, folder)
        notices += map(printable, assumed)
        found = _rows(items, rows, poses)
    return SweepSequence(folder, tuple(items), stamps_s, found, tuple(notices))


def temporal_order(paths: Sequence[Path]) -> list[int]:
    """Return the positions of sweeps by the times or numbers in their names: ``2`` before ``10``.

    Args:
        paths: The sweeps.
    """
    stamps_ns = _decimal_seconds([stem_of(path) for path in paths])
    if stamps_ns is not None:
        return [int(i) for i in np.argsort(stamps_ns, kind="stable")]
    return sorted(range(len(paths)), key=lambda i: _natural(paths[i].name))


def _times_in_names(items: Sequence[Item]) -> tuple[NDArray[np.float64], str] | None:
    """Return times relative to the first from names such as ``1533151603547590.bin``, and the unit.

    Names are times if all of them are distinct numbers for dates from 2000 to 2099.
    """
    stems = [stem_of(item.path) for item in items]
    stamps_ns = _decimal_seconds(stems)
    if stamps_ns is not None and (np.diff(stamps_ns) > 0).all():
        return (stamps_ns - stamps_ns[0]) / 1e9, "seconds"
    if len(set(stems)) < len(stems) or not all(re.fullmatch(r"[1-9]\d{11,18}", s) for s in stems):
        return None
    numbers = [int(stem) for stem in stems]
    for unit, per_s in (("milliseconds", 10**3), ("microseconds", 10**6), ("nanoseconds", 10**9)):
        if all(Y2000_S * per_s <= number < Y2100_S * per_s for number in numbers):
            return np.array([(number - numbers[0]) / per_s for number in numbers]), unit
    return None


def _decimal_seconds(stems: Sequence[str]) -> NDArray[np.int64] | None:
    """Return nanoseconds from names such as ``1533151603.45``; None if they are no such dates.

    Nine digits after the point in the longest name mean whole nanoseconds, which are often written
    without leading zeros.
    """
    parts = [re.fullmatch(r"([1-9]\d{8,9})\.(\d{1,9})", stem) for stem in stems]
    found = [part.groups() for part in parts if part is not None]
    if len(found) < len(stems) or not all(Y2000_S <= int(s) < Y2100_S for s, _ in found):
        return None
    whole = any(len(fraction) == 9 for _, fraction in found)
    return np.array(
        [10**9 * int(s) + int(f if whole else f.ljust(9, "0")) for s, f in found], np.int64
    )


def _gap_in_names(items: Sequence[Item]) -> tuple[NDArray[np.float64], str] | None:
    """Return the numbers in the names if some are skipped, and the name before the first gap."""
    stems = [stem_of(item.path) for item in items]
    if not all(re.fullmatch(r"\d{1,9}", stem) for stem in stems):
        return None
    numbers = np.array(stems, np.float64)
    steps = np.diff(numbers)
    if not (steps == 1).any() or (steps == 1).all() or steps.min() < 1:
        return None
    return numbers, items[int(np.argmax(steps > 1))].path.name


def _kinds_of_names(items: Sequence[Item]) -> tuple[str, str] | None:
    """Return two names that differ in more than their numbers, if there are several of either."""
    names: dict[str, list[str]] = {}
    for item in items:
        names.setdefault(re.sub(r"-?\d+(\.\d+)?", "#", item.path.name), []).append(item.path.name)
    several = [printable(some[0]) for some in names.values() if len(some) > 1]
    return (several[0], several[1]) if len(several) > 1 else None


def _beside(folder: Path, name: str) -> Path | None:
    return next((path for path in (folder / name, folder.parent / name) if path.is_file()), None)


def _natural(name: str) -> list[tuple[int, int, str]]:
    """Return a key that sorts numbers in names by their value."""
    parts = re.split(r"(\d+)", name)
    return [(1, int(part), "") if part.isdecimal() else (0, 0, part) for part in parts]


def _rows(items: Sequence[Item], rows: NDArray[np.float64], path: Path) -> NDArray[np.float64]:
    """Return the row of each sweep."""
    if len(rows) == len(items):
        return rows
    stems = [stem_of(item.path) for item in items]
    if all(stem.isdecimal() and int(stem) < len(rows) for stem in stems):
        return rows[[int(stem) for stem in stems]]
    raise ScanError(
        f"{path}: {len(rows)} rows for {len(items)} sweeps; it needs one per sweep, or sweeps "
        "named by their row numbers"
    )
