"""The segment command on recordings: see `bev_instseg.cli.segment`."""

import argparse
import secrets
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from bev_instseg.cli.report import Report
from bev_instseg.cli.segment_job import PICTURES, new_job, new_segmenter
from bev_instseg.cli.segment_tracks import (
    TrackFiles,
    require_one_for_rerun,
    require_own_tracks,
    tell_repeated_ids,
    track_files,
    write_shows,
    write_track_files,
)
from bev_instseg.cli.sensor_options import check_sensor_options, given_setup
from bev_instseg.exceptions import ScanError, explain, printable
from bev_instseg.export import POINT_FORMATS
from bev_instseg.export.labelled_recording import STOPPED, LabelledRecording, read_about
from bev_instseg.export.read_back import tracked_of
from bev_instseg.export.ros1_bag import bag_of, is_own_bag, require_own_bag, write_bag
from bev_instseg.export.stored_sweeps import StoredSweep, stored_sweeps
from bev_instseg.file_io import remove_leftovers, reserved
from bev_instseg.io.find_recordings import name_of_results
from bev_instseg.io.recordings.interpret import survey_recording
from bev_instseg.io.recordings.poses import OTHERWISE
from bev_instseg.io.recordings.recording import Recording, Selection
from bev_instseg.io.sensor_setup import to_sensor
from bev_instseg.io.survey import Survey
from bev_instseg.jobs.find_items import Item
from bev_instseg.jobs.recording_job import RecordingJob
from bev_instseg.jobs.recording_run import RecordingRun, smooth_recording
from bev_instseg.segmenter import Segmenter
from bev_instseg.visualize import PlayedSweep

NOT_FOR_RECORDINGS = ("times", "shard", "ray", "view", "format")


def segment_recordings(
    arguments: argparse.Namespace, report: Report, recordings: Sequence[Path]
) -> int:
    """Segment recordings one after another and return the exit code.

    Args:
        arguments: The parsed command line.
        report: Prints what happens.
        recordings: Their files and folders.

    Raises:
        ValueError: The inputs or options cannot be used.
        OSError: A file cannot be read or written.
    """
    for option in NOT_FOR_RECORDINGS:
        if getattr(arguments, option) not in (None, False):
            raise ValueError(f"--{option} is for folders of sweeps, not for recordings")
    if arguments.smooth and _writes_files(arguments):
        raise ValueError(
            "--smooth cannot write files for single sweeps of a recording: leave out --smooth, or "
            "the options for these files"
        )
    recordings = [path for path in recordings if path in arguments.inputs or not _is_own(path)]
    if not recordings:
        raise ValueError(
            f"{arguments.inputs[0]}: contains only recordings written by bev-instseg; to segment "
            "one of them again, give its name"
        )
    require_one_for_rerun(arguments, len(recordings))
    out: Path = arguments.out.resolve()
    names = _names(recordings, out, (".mcap", ".bag") if arguments.bag else (".mcap",))
    selection = Selection(tuple(arguments.topic), arguments.frame or "", arguments.extrinsics)
    check_sensor_options(arguments)
    with report.announced("loading the network"):
        segmenter = new_segmenter(arguments)
    out.mkdir(parents=True, exist_ok=True)
    code = 0
    with reserved(out, f"recordings-{secrets.token_hex(8)}"):  # shared with nobody
        remove_leftovers(out)
        for path, name in zip(recordings, names, strict=True):
            try:
                with Recording(path, selection) as recording:
                    job = _make_job(arguments, segmenter, recording, name, selection)
                    code = max(code, _segment(arguments, report, segmenter, job, recording))
            except ScanError as error:
                report.say(explain(error))
                code = 2
    return code


def _is_own(path: Path) -> bool:
    """Return whether a recording was written by bev-instseg, like those in an output folder."""
    try:
        return read_about(path) is not None if path.suffix == ".mcap" else is_own_bag(path)
    except OSError:  # reported when it is its turn
        return False


def _names(recordings: Sequence[Path], out: Path, suffixes: Sequence[str]) -> list[str]:
    """Return the names of the results; raises ScanError if one would replace a recording."""
    names = [name_of_results(path) for path in recordings]
    repeated = Counter(name.casefold() for name in names)
    names = [
        path.resolve().name if repeated[name.casefold()] > 1 else name
        for path, name in zip(recordings, names, strict=True)
    ]
    folded = [name.casefold() for name in names]
    if len(set(folded)) < len(names):
        first = next(i for i, name in enumerate(folded) if folded.count(name) > 1)
        raise ScanError(
            f"{recordings[first]}: several recordings have this name; segment them one by one, "
            "each with its own --out"
        )
    for path, name in zip(recordings, names, strict=True):
        if path.resolve() in (out, *(out / f"{name}{suffix}" for suffix in suffixes)):
            raise ScanError(f"{path}: its results would replace it; choose another --out")
    return names


def _make_job(
    arguments: argparse.Namespace,
    segmenter: Segmenter,
    recording: Recording,
    name: str,
    selection: Selection,
) -> RecordingJob:
    setup = given_setup(arguments)
    origin_m = recording.origin_m()
    if origin_m is not None and setup.origin_m is None:
        x_m, y_m, z_m = origin_m.tolist()
        setup = replace(setup, origin_m=(x_m, y_m, z_m))
    reading, own = survey_recording(recording, setup)
    job = new_job(arguments, segmenter, setup, Survey.of(recording.path, reading))
    return RecordingJob(
        job=job,
        name=name,
        selection=selection,
        own=own,
        ego_box=arguments.ego_box and tuple(arguments.ego_box),
        writes_files=_writes_files(arguments),
        tracks=arguments.track,
        both_ways=arguments.smooth,
        poses=arguments.poses or "",
    )


def _writes_files(arguments: argparse.Namespace) -> bool:
    """Return whether sweeps get separate files."""
    return any(getattr(arguments, name) for name in ("files", "calib", *POINT_FORMATS, *PICTURES))


def _num_missing(job: RecordingJob, num_sweeps: int) -> int:
    """Return how many of the files of single sweeps are not there any more."""
    if not job.writes_files:
        return 0
    folder, digits = job.job.out / job.name, "0123456789"
    found = Counter(path.name.lstrip(digits) for path in folder.glob("[0-9]*"))
    ends = (path.name.lstrip(digits) for path in job.job.paths(Item(job.path, f"{job.name}/0")))
    return sum(max(num_sweeps - found[end], 0) for end in ends)


def _is_newer(path: Path, other: Path) -> bool:
    """Return whether a file exists and is not older than another."""
    return path.is_file() and path.stat().st_mtime_ns >= other.stat().st_mtime_ns


def _write_beside(
    arguments: argparse.Namespace,
    report: Report,
    job: RecordingJob,
    segmenter: Segmenter,
    num_sweeps: int,
) -> None:
    """Write the files made from the labelled recording; skip a bag or table that is up to date."""
    if arguments.bag and not _is_newer(bag_of(job.path), job.path):
        write_bag(job.path, segmenter.classes)
    if not job.tracks:
        return
    files = _track_files(job)
    if not all(_is_newer(file, job.path) for file in (files.table, files.picture)):
        sweeps = ((s.index, f"{s.index:06}", s.result) for s in stored_sweeps(job.path))
        last = write_track_files(files, printable(job.name), sweeps)
        if job.writes_files:
            tell_repeated_ids(report, printable(str(job.path)), last)
    write_shows(
        arguments,
        files.page,
        printable(job.name),
        num_sweeps,
        lambda: ((f"{s.index:06}", partial(_played, s)) for s in stored_sweeps(job.path)),
    )


def _track_files(job: RecordingJob) -> TrackFiles:
    return track_files(job.job.out, f"{job.name}_")


def _played(stored: StoredSweep) -> PlayedSweep:
    """Return a sweep of a labelled recording to show it."""
    result, points = stored.result, stored.points
    assert result.provenance is not None
    made = result.provenance
    place = to_sensor(made.axes, made.level_deg, made.origin_m)
    xyz_m = points.points[:, :3] @ place[:3, :3].T + place[:3, 3]
    xyz_m[points.is_missing] = np.nan
    ids = points.extras["instance"].astype(np.int64)
    return PlayedSweep(xyz_m.astype(np.float32), ids, tracked_of(result).confirmed())


def _segment(
    arguments: argparse.Namespace,
    report: Report,
    segmenter: Segmenter,
    job: RecordingJob,
    recording: Recording,
) -> int:
    """Segment a recording, or its missing sweeps; return the exit code."""
    path = printable(str(recording.path))
    if arguments.bag:
        require_own_bag(bag_of(job.path))
    if job.tracks:
        require_own_tracks(arguments, _track_files(job))
    end = None if arguments.overwrite else job.earlier_end(recording)
    if end is not None:
        num_sweeps, failed, losses = (end.get(key) for key in ("sweeps", "failed", "losses"))
        print(f"{path}: already segmented, {num_sweeps} sweeps in {job.path}")
        for loss in losses or ():
            report.say(f"{path}: {loss}")
        if failed:
            report.say(f"{path}: {failed} of its sweeps failed; --overwrite tries again")
        num_missing = _num_missing(job, num_sweeps or 0)
        if num_missing:
            folder = job.job.out / job.name
            report.say(f"{folder}: {num_missing} files are missing; --overwrite makes them again")
        _write_beside(arguments, report, job, segmenter, num_sweeps or 0)
        return 2 if failed or losses or num_missing else 0
    poses = recording.poses(job.poses) if job.poses else None
    if poses is not None and poses.stands_still:
        report.say(
            f"note: {path}: according to --poses {job.poses}, the sensor never moves; if it does, "
            f"{OTHERWISE}"
        )
    run = RecordingRun(segmenter, job, recording, poses)
    goes_on = not arguments.overwrite
    writer = LabelledRecording(job.path, job.about(recording), job.topics, goes_on)
    with closing(writer):
        if writer.next_index:
            print(f"{path}: {writer.num_written} sweeps already have results")
        failed = writer.next_index - writer.num_written
        num_before = writer.num_written
        with report.announced("preparing the network (the first run compiles it in 20 s)"):
            segmenter.warm_up()
        start = time.perf_counter()
        num_failed, objects = _follow(report, run, recording, writer)
        failed += num_failed
        seconds, num_new = time.perf_counter() - start, writer.num_written - num_before
        report.totals()
        losses = recording.losses
        for loss in losses:
            report.say(f"{path}: {loss}")
        if job.both_ways:
            with report.announced("smoothing"):
                smooth_recording(segmenter, writer)
        writer.finish(failed, losses)
    _write_beside(arguments, report, job, segmenter, writer.num_written)
    if recording.num_alone:
        report.say(
            f"note: {path}: {recording.num_alone} sweeps lack a topic, because none of its sweeps "
            "was near in time"
        )
    print(
        f"{path}: {writer.num_written} of {writer.num_written + failed} sweeps segmented, results "
        f"in {job.path}"
    )
    if num_new:
        counts = zip(objects, segmenter.class_names, strict=False)
        found = ", ".join(f"{count} {name}" for count, name in counts)
        print(f"{num_new / seconds:.1f} sweeps per second; objects in total: {found}")
    return 2 if failed or losses else 0


def _follow(
    report: Report, run: RecordingRun, recording: Recording, writer: LabelledRecording
) -> tuple[int, list[int]]:
    """Segment what is missing; return how many sweeps failed, and the objects of each class.

    Raises:
        OSError: No more results can be written to the disk.
    """
    failed, objects = 0, Counter[int]()
    first, total = writer.next_index, recording.num_sweeps
    with (
        closing(run.run(writer)) as steps,
        tqdm(steps, "segmenting", total, unit="sweep", initial=first) as bar,
    ):
        for done in bar:
            if done.outcome.is_disk_error:
                raise OSError(f"{done.outcome.error}{STOPPED}")
            report.outcome(done.outcome)
            failed += bool(done.outcome.error)
            objects.update(dict(enumerate(done.num_instances)))
    return failed, [objects[kind] for kind in sorted(objects)]
