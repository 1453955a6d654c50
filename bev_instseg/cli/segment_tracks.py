"""The part of the segment command that is about objects over time."""

import argparse
from collections import defaultdict
from collections.abc import Generator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bev_instseg.cli.segment_report import Report
from bev_instseg.exceptions import ScanError, printable
from bev_instseg.export import SweepResult
from bev_instseg.export.track_record import MAX_LABEL_ID
from bev_instseg.export.track_table import TRACKS_CSV, TRACKS_PNG, is_tracks_csv, tracks_csv
from bev_instseg.file_io import write_atomic

if TYPE_CHECKING:  # torch: not for --help
    from bev_instseg.jobs.find_items import Item
    from bev_instseg.jobs.job import Job, Outcome
    from bev_instseg.jobs.sequences import SweepSequence
    from bev_instseg.segmenter import Segmenter


def check_options(arguments: argparse.Namespace) -> None:
    """Raise ValueError if options do not go together."""
    for option in ("smooth", "poses", "times"):
        if getattr(arguments, option) and not arguments.track:
            raise ValueError(f"--{option} is about tracking: add --track, or leave it out")
    for option in ("unknown", "ground"):
        if arguments.track and getattr(arguments, option):
            raise ValueError(f"--track follows the known objects only: leave out --{option}")
    for option in ("tiles", "shard", "ray"):
        if arguments.track and getattr(arguments, option) not in (None, False):
            raise ValueError(
                f"--track follows objects from sweep to sweep on this machine: leave out --{option}"
            )


def tracking_settings(arguments: argparse.Namespace) -> str:
    """Return what the results depend on besides sweeps, times and poses; empty without tracking."""
    if not arguments.track:
        return ""
    return "tracked both ways" if arguments.smooth else "tracked"


def chosen_sequences(
    arguments: argparse.Namespace, items: "Sequence[Item]", job: "Job", report: Report
) -> "list[SweepSequence]":
    """Return the sequences of the job, and say what is assumed about them.

    Raises:
        ScanError: Times or poses cannot be used, or a file in the way is not ours.
    """
    from bev_instseg.jobs.sequences import find_sequences

    if not arguments.track:
        return []
    sequences = find_sequences(items, arguments.times, arguments.poses)
    for sequence in sequences:
        for notice in sequence.notices:
            report.say(f"note: {notice}")
        path = _folder(job, sequence) / TRACKS_CSV
        png = path.with_name(TRACKS_PNG)
        if (path.exists() and not is_tracks_csv(path)) or (png.exists() and not path.exists()):
            foreign = path if path.exists() else png
            raise ScanError(
                f"{foreign}: already exists and was not written by bev-instseg; move it or choose "
                "another output folder"
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
    from bev_instseg.jobs.job import new_renderer
    from bev_instseg.jobs.track import TrackedJob

    with new_renderer(job) as renderer:
        tracked = TrackedJob(segmenter, job, renderer, arguments.smooth)
        for sequence in sequences:
            with closing(tracked.run(sequence, frozenset(todo))) as outcomes:
                yield from outcomes


def write_tracks(job: "Job", sequence: "SweepSequence", report: Report) -> None:
    """Write table and picture of a sequence's tracks from the results of its sweeps."""
    from bev_instseg.visualize.track_map import ObjectPath, tracks_png

    sweeps = [(printable(item.name), _result(job, item)) for item in sequence.items]
    folder = _folder(job, sequence)
    write_atomic(folder / TRACKS_CSV, tracks_csv(sweeps).encode())
    places, names = defaultdict[int, list[tuple[float, ...]]](list), dict[int, str]()
    moved, sensor = set[int](), []
    for _, result in sweeps:
        if result is None or result.sequence is None:
            continue
        sensor.append(result.sequence.pose[3:8:4])
        for one in result.instances:
            if one.track is not None:
                places[one.track.id].append(one.track.position_m[:2])
                names[one.track.id] = one.class_name
                moved |= {one.track.id} if one.track.moving else set()
    paths = [ObjectPath(i, names[i], np.array(xy), i in moved) for i, xy in places.items()]
    sensor_m = np.array(sensor, np.float64).reshape(-1, 2)
    title = printable("/".join(sequence.folder.parts[-2:]))
    write_atomic(folder / TRACKS_PNG, tracks_png(paths, sensor_m, title))
    print(f"{printable(str(sequence.folder))}: {len(paths)} objects, {len(moved)} of them moved")
    if max(places, default=0) > MAX_LABEL_ID:
        report.say(
            f"note: {sequence.folder}: ids go up to {max(places)}; .label files have 16 bits for "
            f"them, so after {MAX_LABEL_ID} they begin anew at 1 there"
        )


def _folder(job: "Job", sequence: "SweepSequence") -> Path:
    return job.target(sequence.items[0]).parent


def _result(job: "Job", item: "Item") -> SweepResult | None:
    try:
        return job.read_result(item)
    except ScanError:
        return None
