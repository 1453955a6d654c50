"""The segment command on files of sweeps: see `bev_instseg.cli.segment`."""

import argparse
import errno
import os
import time
from collections.abc import Generator, Sequence
from contextlib import closing, nullcontext, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from bev_instseg.cli import segment_tracks
from bev_instseg.cli.report import Report
from bev_instseg.cli.segment_job import make_segmenter_with_extras, new_job, new_segmenter
from bev_instseg.cli.segment_options import refuse_recording_options
from bev_instseg.cli.segment_summary import first_time, speed, summaries
from bev_instseg.cli.sensor_options import given_setup
from bev_instseg.exceptions import ScanError, printable
from bev_instseg.file_io import remove_leftovers, reserved, write_atomic
from bev_instseg.io.survey import survey_sweeps
from bev_instseg.jobs.summary import CSV_START, summary_csv, summary_table
from bev_instseg.structures import Float32, Instances

if TYPE_CHECKING:  # torch: not for --help
    from bev_instseg.jobs.find_items import Found, Item
    from bev_instseg.jobs.job import Job
    from bev_instseg.jobs.outcome import Outcome
    from bev_instseg.jobs.sequences import SweepSequence
    from bev_instseg.segmenter import Segmenter


def segment_sweeps(arguments: argparse.Namespace, report: Report) -> int:
    """Segment every sweep and return the exit code.

    Args:
        arguments: The parsed command line.
        report: Prints what happens.

    Raises:
        ValueError: The inputs or options cannot be used.
        OSError: A file cannot be read or written.
    """
    refuse_recording_options(arguments)
    items, found = _find_share(arguments, report)
    with report.announced("loading the network"):
        segmenter = new_segmenter(arguments)
    with report.announced("looking at some sweeps of each folder"):
        job = _make_job(arguments, segmenter, [item.path for item in found.items])
    sequences = segment_tracks.chosen_sequences(arguments, items, job, report)
    job = replace(job, with_poses=frozenset(s.folder for s in sequences if s.poses is not None))
    csv_path = _summary_path(arguments, job)
    todo = _without_results(arguments, job, items)
    start = time.perf_counter()
    with reserved(job.out, job.settings) if todo or sequences else nullcontext():
        work = _Work(todo, len(items), sequences)
        outcomes = _run(arguments, report, segmenter, job, work) if todo or sequences else []
        seconds = time.perf_counter() - start
        report.totals()
        timings = [outcome.timing_ms for outcome in outcomes if not outcome.error]
        failed = {outcome.item.name: outcome.error for outcome in outcomes if outcome.error}
        sweeps = summaries(job, items, failed, report)
        for sequence in sequences:
            segment_tracks.write_tracks(arguments, job, sequence, failed, report)
    finished = [item for item, sweep in zip(items, sweeps, strict=True) if not sweep.error]
    if len(items) != 1:
        print(f"{len(finished)} of {len(items)} sweeps segmented, results in {arguments.out}")
        if timings:
            print(speed(timings, seconds))
        if sweeps:
            print(summary_table(sweeps, segmenter.class_names))
    elif finished:
        print(f"{printable(items[0].name)}: {job.read_instances(items[0])}", end="")
        print(f"; {_only_time(arguments, segmenter, job, outcomes[0])}" if outcomes else "")
    if csv_path:
        write_atomic(csv_path, summary_csv(sweeps, segmenter.class_names).encode())
    if arguments.view and finished:
        _view(job, finished)
    return 2 if found.errors or len(finished) < len(items) else 0


def _find_share(arguments: argparse.Namespace, report: Report) -> tuple[Sequence["Item"], "Found"]:
    """Return the sweeps, or the share of them that --shard selects, and all inputs found."""
    from bev_instseg.jobs.find_items import find_items

    found = find_items(arguments.inputs, arguments.out)
    for line in (*(f"note: {notice}" for notice in found.notices), *found.errors):
        report.say(line)
    items = found.items
    if arguments.shard:
        first, step = arguments.shard
        items = found.items[first - 1 :: step]
        print(f"shard {first}/{step}: {len(items)} of {len(found.items)} sweeps")
    return items, found


def _summary_path(arguments: argparse.Namespace, job: "Job") -> Path | None:
    """Return the path of the summary; None for a single sweep.

    Raises:
        ScanError: A file of this name was not written by bev-instseg.
    """
    if len(arguments.inputs) == 1 and not arguments.inputs[0].is_dir() and not arguments.shard:
        return None
    first, step = arguments.shard or (1, 1)
    path = job.out / ("summary.csv" if step == 1 else f"summary_{first}_of_{step}.csv")
    if path.exists() and not path.read_bytes().startswith(CSV_START.encode()):
        raise ScanError(
            f"{path}: already exists and was not written by bev-instseg; move it or choose another "
            "output folder"
        )
    return path


def _make_job(
    arguments: argparse.Namespace, segmenter: "Segmenter", paths: Sequence[Path]
) -> "Job":
    """Return the job; all of its sweeps are surveyed, also those of other shares."""
    setup = given_setup(arguments)
    if arguments.format and not any(path.suffix.lower() == ".bin" for path in paths):
        raise ValueError("--format is for .bin files, and there is none: leave it out")
    return new_job(arguments, segmenter, setup, survey_sweeps(paths, setup))


def _without_results(
    arguments: argparse.Namespace, job: "Job", items: Sequence["Item"]
) -> list["Item"]:
    """Prepare the output folder; return the sweeps to process.

    Raises:
        OSError: Nothing can be written there.
    """
    job.out.mkdir(parents=True, exist_ok=True)
    for folder in {job.out, *(job.target(item).parent for item in items)}:
        remove_leftovers(folder)
    todo = [item for item in items if arguments.overwrite or not job.is_done(item)]
    if len(todo) < len(items):
        print(f"{len(items) - len(todo)} of {len(items)} sweeps already have results")
    if todo and not os.access(job.out, os.W_OK):
        reason = "cannot be written; choose another output folder"
        raise PermissionError(errno.EACCES, reason, str(job.out))
    return todo


@dataclass(frozen=True)
class _Work:
    """The work of a job.

    Attributes:
        todo: The sweeps without results.
        num_items: Number of all sweeps.
        sequences: The sequences to track; none without tracking.
    """

    todo: Sequence["Item"]
    num_items: int
    sequences: Sequence["SweepSequence"]


def _run(
    arguments: argparse.Namespace,
    report: Report,
    segmenter: "Segmenter",
    job: "Job",
    work: _Work,
) -> list["Outcome"]:
    """Process sweeps and report the outcome of each.

    Raises:
        OSError: No more results can be written to the disk.
    """
    outcomes: list[Outcome] = []
    todo = work.todo
    if arguments.ray is None:
        steps = _on_this_machine(arguments, report, segmenter, job, work)
    else:
        from bev_instseg.jobs.on_ray import segment_on_ray

        load = partial(make_segmenter_with_extras, _with_absolute_paths(arguments))
        steps = segment_on_ray(load, job, todo, arguments.ray, arguments.device)
    with closing(steps):
        about = "segmenting and drawing" if job.pictures else "segmenting"
        for outcome in tqdm(steps, about, len(todo), unit="sweep", disable=len(todo) == 1):
            if outcome.is_disk_error:
                raise OSError(
                    f"{outcome.error}; stopped: finished results are kept, and the same command "
                    "continues when the disk is writable again"
                )
            outcomes.append(outcome)
            report.outcome(outcome)
    return outcomes


def _with_absolute_paths(arguments: argparse.Namespace) -> argparse.Namespace:
    """Return the command line for a process that runs in a different folder."""
    given = vars(arguments).items()
    return argparse.Namespace(**{k: v.resolve() if isinstance(v, Path) else v for k, v in given})


def _on_this_machine(
    arguments: argparse.Namespace,
    report: Report,
    segmenter: "Segmenter",
    job: "Job",
    work: _Work,
) -> Generator["Outcome", None, None]:
    """Prepare the network and return a generator of the outcomes, in order."""
    todo = work.todo
    with report.announced("preparing the network (the first run compiles it in 20 s)"):
        segmenter.warm_up()
        if todo and work.num_items == 1:  # compiles the code that reads, too
            with suppress(ScanError):
                job.read(todo[0])
    if work.sequences:
        return segment_tracks.run_tracked(arguments, segmenter, job, work.sequences, todo)
    return _in_threads(segmenter, job, work)


def _in_threads(
    segmenter: "Segmenter", job: "Job", work: _Work
) -> Generator["Outcome", None, None]:
    from bev_instseg.jobs.in_threads import run_in_threads
    from bev_instseg.jobs.one_sweep import new_renderer, segment_item

    with new_renderer(job) as renderer:
        segment_one = partial(segment_item, segmenter, job, renderer)
        steps = run_in_threads(work.todo, work.num_items, segment_one, segmenter.engine)
        with closing(steps):
            for _, outcome in steps:
                yield outcome.result()


def _view(job: "Job", items: Sequence["Item"]) -> None:
    from bev_instseg.visualize import view_sweeps

    def load(i: int) -> tuple[Float32, Instances]:
        return job.read(items[i]).points, job.read_instances(items[i])

    view_sweeps([printable(item.name) for item in items], load)


def _only_time(
    arguments: argparse.Namespace, segmenter: "Segmenter", job: "Job", outcome: "Outcome"
) -> str:
    """Return the time of a job's only sweep and, if it was computed here, that of a warmed run."""
    from bev_instseg.jobs.one_sweep import time_again_ms

    text = first_time(outcome.timing_ms)
    if arguments.ray is not None or arguments.tiles:
        return text
    again_ms = time_again_ms(segmenter, job, outcome.item)
    if again_ms:
        text += f"; {np.median(again_ms):.0f} ms from file to labels once warm"
    return text
