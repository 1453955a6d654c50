"""The part of the segment command that is about objects over time."""

import argparse
from array import array
from collections import defaultdict
from collections.abc import Callable, Container, Generator, Iterable, Sequence
from contextlib import closing
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bev_instseg.cli.report import Report
from bev_instseg.exceptions import ScanError, printable
from bev_instseg.export import SweepResult
from bev_instseg.export.read_back import tracked_of
from bev_instseg.export.track_record import MAX_LABEL_ID
from bev_instseg.export.track_table import (
    TRACKS_CSV,
    TRACKS_HTML,
    TRACKS_PNG,
    TrackTable,
    is_tracks_csv,
)
from bev_instseg.file_io import write_atomic, writing_text
from bev_instseg.structures import UNKNOWN

if TYPE_CHECKING:  # torch: not for --help
    from bev_instseg.jobs.find_items import Item
    from bev_instseg.jobs.job import Job
    from bev_instseg.jobs.outcome import Outcome
    from bev_instseg.jobs.sequences import SweepSequence
    from bev_instseg.segmenter import Segmenter
    from bev_instseg.visualize import PlayedSweep


def check_options(arguments: argparse.Namespace) -> None:
    """Raise ValueError if options do not go together."""
    for option in ("smooth", "play", "rerun", "poses", "times"):
        if getattr(arguments, option) and not arguments.track:
            raise ValueError(f"--{option} is for tracking: add --track, or leave it out")
    for option in ("shard", "ray"):
        if arguments.track and getattr(arguments, option) not in (None, False):
            raise ValueError(
                f"--track needs all sweeps in order on one machine: leave out --{option}, or add "
                "--no-track"
            )
    path: Path | None = arguments.rerun
    if path is None:
        return
    if path.suffix != ".rrd" or not path.parent.is_dir():
        raise ValueError(f"--rerun {path}: must be a file NAME.rrd in a folder that exists")
    if path.exists() and not is_rrd(path):
        raise ValueError(f"--rerun {path}: already exists and is not a Rerun recording; move it")


def require_one_for_rerun(arguments: argparse.Namespace, num_sequences: int) -> None:
    """Raise ValueError if several sequences would have to share a file."""
    if arguments.rerun and num_sequences > 1:
        raise ValueError(
            f"--rerun {arguments.rerun}: is for one sequence, but there are {num_sequences}; "
            "segment them one by one"
        )


def tracking_settings(arguments: argparse.Namespace) -> str:
    """Return the tracking settings that affect the results; empty without tracking."""
    if not arguments.track:
        return ""
    how = "tracked both ways" if arguments.smooth else "tracked"
    stands = not arguments.poses and find_spec("kiss_icp") is None
    return f"{how}, without odometry" if stands else how


def chosen_sequences(
    arguments: argparse.Namespace, items: "Sequence[Item]", job: "Job", report: Report
) -> "list[SweepSequence]":
    """Return the sequences of the job, and report what is assumed about them.

    Raises:
        ScanError: Times or poses cannot be used, or a file in the way is not ours.
    """
    from bev_instseg.jobs.sequences import find_sequences

    if not arguments.track:
        return []
    sequences = find_sequences(items, arguments.times, arguments.poses and Path(arguments.poses))
    require_one_for_rerun(arguments, len(sequences))
    owners = dict[Path, Path]()
    for sequence in sequences:
        for notice in sequence.notices:
            report.say(f"note: {notice}")
        folder = _folder(job, sequence)
        require_own_tracks(arguments, track_files(folder))
        if owners.setdefault(folder, sequence.folder) != sequence.folder:
            raise ScanError(
                f"{sequence.folder}: its tracks would be written to the same files as those of "
                f"{owners[folder]}; segment them one by one, each with its own --out"
            )
    return sequences


def run_tracked(
    arguments: argparse.Namespace,
    segmenter: "Segmenter",
    job: "Job",
    sequences: "Sequence[SweepSequence]",
    todo: "Sequence[Item]",
) -> "Generator[Outcome, None, None]":
    """Yield the outcomes of the sweeps that are segmented, sequence by sequence."""
    from bev_instseg.jobs.one_sweep import new_renderer
    from bev_instseg.jobs.track import TrackedJob

    with new_renderer(job) as renderer:
        tracked = TrackedJob(segmenter, job, renderer, arguments.smooth)
        for sequence in sequences:
            with closing(tracked.run(sequence, frozenset(todo))) as outcomes:
                yield from outcomes


def write_tracks(
    arguments: argparse.Namespace,
    job: "Job",
    sequence: "SweepSequence",
    failed: Container[str],
    report: Report,
) -> None:
    """Write the table, picture and page of a sequence's tracks, from the results of its sweeps.

    Args:
        arguments: The parsed command line.
        job: What was written.
        sequence: The sweeps.
        failed: Names of the sweeps that failed; they may have older results.
        report: Prints notices.
    """
    numbered = [(i, item) for i, item in enumerate(sequence.items) if item.name not in failed]
    results = ((i, printable(item.name), _result(job, item)) for i, item in numbered)
    sweeps = ((i, name, result) for i, name, result in results if result is not None)
    folder = _folder(job, sequence)
    title = printable("/".join(sequence.folder.parts[-2:]))
    files = track_files(folder)
    last = write_track_files(files, title, sweeps)
    tell_repeated_ids(report, printable(str(sequence.folder)), last)
    if arguments.play or arguments.rerun:
        items = [item for _, item in numbered if _result(job, item) is not None]
        shown = [(printable(item.name), partial(_played, job, item)) for item in items]
        write_shows(arguments, files.page, title, len(items), lambda: shown)


def tell_repeated_ids(report: Report, name: str, last: int) -> None:
    """Report that ``.label`` files repeat ids if they do.

    Args:
        report: Prints it.
        name: Name of the sequence.
        last: Its largest id.
    """
    if last > MAX_LABEL_ID:
        report.say(
            f"note: {name}: ids go up to {last}; .label files have 16 bits for them, so there they "
            f"start again at 1 after {MAX_LABEL_ID}"
        )


def write_shows(
    arguments: argparse.Namespace,
    page: Path,
    title: str,
    num_sweeps: int,
    sweeps: "Callable[[], Iterable[tuple[str, Callable[[], PlayedSweep]]]]",
) -> None:
    """Write the page that plays a sequence, and the file for Rerun, if the options ask for them.

    Args:
        arguments: The parsed command line.
        page: Path of the page.
        title: Name of the sequence.
        num_sweeps: Its number of sweeps; if 0, nothing is written.
        sweeps: Returns the name and a reader of each sweep, in temporal order.
    """
    from bev_instseg.visualize import play_page, write_rrd

    if arguments.play and num_sweeps:
        write_atomic(page, play_page(sweeps(), num_sweeps, title))
    if arguments.rerun and num_sweeps:
        write_rrd(arguments.rerun, sweeps(), title)


class TrackFiles(NamedTuple):
    """The files of a sequence: all tracks as a table and as a picture, and the page.

    Attributes:
        table: The table; the others are replaced only if it is ours.
        picture: The picture.
        page: The page that plays the sequence.
    """

    table: Path
    picture: Path
    page: Path


def track_files(folder: Path, prefix: str = "") -> TrackFiles:
    """Return the files of a sequence.

    Args:
        folder: Their folder.
        prefix: Start of their names.
    """
    names = TRACKS_CSV, TRACKS_PNG, TRACKS_HTML
    return TrackFiles(*(folder / f"{prefix}{name}" for name in names))


def write_track_files(
    files: TrackFiles, title: str, sweeps: Iterable[tuple[int, str, SweepResult]]
) -> int:
    """Write table and picture of tracks, and print how many there are.

    Args:
        files: Their paths.
        title: Name of the sequence.
        sweeps: Index, name and result of each sweep, in temporal order.

    Returns:
        The largest id.
    """
    from bev_instseg.visualize.track_map import ObjectPath, counted, tracks_png

    places: defaultdict[int, array[float]] = defaultdict(lambda: array("d"))
    names = dict[int, str]()
    moved, sensor = set[int](), array("d")
    with writing_text(files.table) as file:
        table = TrackTable(file)
        for place, name, result in sweeps:
            if result.sequence is None:
                continue
            table.add(place, name, result)
            sensor.extend(result.sequence.pose[3:8:4])
            for one in result.instances:
                if one.track is not None:
                    places[one.track.id].extend(one.track.position_m[:2])
                    if one.class_name != UNKNOWN:  # it may be known at another time
                        names[one.track.id] = one.class_name
                    moved |= {one.track.id} if one.track.moving else set()
    paths = [
        ObjectPath(i, names.get(i, UNKNOWN), _pairs(xy), i in moved) for i, xy in places.items()
    ]
    write_atomic(files.picture, tracks_png(paths, _pairs(sensor), title))
    print(f"{title}: {counted(paths)}")
    return max(places, default=0)


def require_own_tracks(arguments: argparse.Namespace, files: TrackFiles) -> None:
    """Raise ScanError if a file in the way was not written by bev-instseg."""
    is_own = files.table.exists() and is_tracks_csv(files.table)
    written = files if arguments.play else files[:2]
    foreign = [] if is_own else [file for file in written if file.exists()]
    if foreign:
        raise ScanError(
            f"{foreign[0]}: already exists and was not written by bev-instseg; move it or choose "
            "another output folder"
        )


def is_rrd(path: Path) -> bool:
    """Return whether a file begins like a Rerun recording."""
    with open(path, "rb") as file:
        return file.read(3) == b"RRF"


def _played(job: "Job", item: "Item") -> "PlayedSweep":
    """Read a finished sweep to show it."""
    from bev_instseg.visualize import PlayedSweep

    tracked = tracked_of(job.read_result(item)).confirmed()
    numbers = job.read_instances(item).labels
    ids = np.append(0, tracked.tracks.ids.astype(np.int64))[numbers]
    return PlayedSweep(job.read(item).points[:, :3], ids, tracked)


def _pairs(numbers: "array[float]") -> NDArray[np.float64]:
    return np.array(numbers, np.float64).reshape(-1, 2)


def _folder(job: "Job", sequence: "SweepSequence") -> Path:
    return job.target(sequence.items[0]).parent


def _result(job: "Job", item: "Item") -> SweepResult | None:
    try:
        return job.read_result(item)
    except ScanError:
        return None
