"""Find vehicles, pedestrians and cyclists in LiDAR sweeps, point by point.

Examples:
  %(prog)s sweep.bin --out results --png
  %(prog)s recordings --out results --sensor nuscenes --ply --view
  %(prog)s archive --out results --shard 1/4
  %(prog)s drive.mcap --out results --frame base_link

INPUT is a sweep, a folder that is searched to any depth, or a recording. Formats of sweeps: .bin
(float32; the columns are inferred from their values), .npy, .npz, .pcd, .ply, .las, .laz. The
intensity scale, the up direction, and the tilt and position of the sensor are detected from several
sweeps of each folder, and reported. The forward direction cannot be inferred from the points:
unless it is x, pass --sensor or --axes.

DIR gets the results of each sweep NAME (in a folder: its path below that folder):
  NAME.label     a uint32 per point, in input order: the low 16 bits are the SemanticKITTI class
                 (vehicle 10, pedestrian 30, cyclist 31, no object 0; with --unknown, 99 for other
                 objects on the ground; with --ground, 40 for the ground), the high 16 bits the
                 instance, numbered 1..K by descending score
  NAME.json      each instance's class, score, number of points and oriented box (x forward, y left,
                 z up; the origin is at "origin_m" in the file's coordinates); also the grid, the
                 weights, what was detected in the file, and size and hash of the other results
  NAME.ply .pcd .laz   the points with instance, class and score (--ply, --pcd, --laz)
  NAME.txt       boxes in a camera's image, with scores, in KITTI's label_2 format (--calib)
  NAME.png NAME_3d.png   pictures from above and in 3D (--png)
  NAME.html      a 3D view for any browser (--html)
  NAME_maps.png  the network's output: seed maps, offsets and bandwidths (--maps)
A folder also gets summary.csv, with a row per sweep. If two sweeps would share an output file, as
a.bin and a.npy would share a.label, NAME keeps their suffix: a.bin.label.

With --track, each folder is a sequence of sweeps in the order of time. An object keeps its number
in .label over the sequence, and its "track" in .json has velocity, heading and age. The folder also
gets tracks.csv, tracks.png and, with --play, tracks.html, which plays the sequence.

Recordings are ROS 1 and ROS 2 bags (.bag, .mcap, .db3, a folder) and Velodyne captures (.pcap).
DIR gets NAME.mcap with the labelled points (/bev_instseg/points), detections and markers, with the
time stamps and frames of the recording, and with --bag also NAME.bag. Objects keep their ids from
sweep to sweep, and DIR gets NAME_tracks.csv, NAME_tracks.png and, with --play, NAME_tracks.html;
--no-track turns this off. --files, or an option for any file above, also writes the files of each
sweep, to DIR/NAME/000000 and so on.

To continue after an interruption, repeat the command: it skips sweeps whose results were
made from the same file with the same weights and settings. Only files that NAME.json lists, and
that have not been changed since, are ever replaced or removed. A sweep that cannot be processed is
reported, the others are finished, and the exit code is 2. A full disk stops the job. Ctrl-C,
SIGTERM and SIGHUP finish the sweeps in progress; the exit codes are 130, 143 and 129.
"""

import argparse
import errno
import importlib
import os
import time
from collections.abc import Generator, Sequence
from contextlib import closing, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from bev_instseg.cli import segment_tracks
from bev_instseg.cli.arguments import new_parser, run
from bev_instseg.cli.segment_options import (
    add_options,
    make_segmenter_with_extras,
    refuse_recording_options,
)
from bev_instseg.cli.segment_report import Report, first_time, speed, summaries
from bev_instseg.cli.sensor_options import given_setup
from bev_instseg.exceptions import ScanError, printable
from bev_instseg.export import POINT_FORMATS, Picture, read_instances
from bev_instseg.file_io import remove_leftovers, reserved, write_atomic
from bev_instseg.io.find_recordings import find_recordings
from bev_instseg.io.survey import survey_sweeps
from bev_instseg.jobs.summary import CSV_START, summary_csv, summary_table
from bev_instseg.structures import Float32, Instances

if TYPE_CHECKING:  # torch: not for --help
    from bev_instseg.jobs.find_items import Found, Item
    from bev_instseg.jobs.job import Job, Outcome
    from bev_instseg.jobs.sequences import SweepSequence
    from bev_instseg.segmenter import Segmenter

# Option: the packages it imports, and the extra that installs them.
EXTRAS = {
    "laz": (("laspy", "lazrs"), "las"),
    "html": (("viser",), "web"),
    "rerun": (("rerun",), "rerun"),
}
# Option: the pictures it draws.
PICTURES = {
    "png": (Picture.BEV, Picture.PERSPECTIVE),
    "maps": (Picture.MAPS,),
    "html": (Picture.WEB_PAGE,),
}


def main(argv: list[str] | None = None, prog: str = "python tools/segment_scan.py") -> int:
    """Run the command and return the exit code.

    Args:
        argv: The arguments; those of the process by default.
        prog: The command as the user typed it.
    """
    arguments = parse_arguments(argv, prog)
    return run(arguments.program, partial(segment_all, arguments))


def parse_arguments(argv: list[str] | None, prog: str) -> argparse.Namespace:
    """Parse the command line; see `main`."""
    parser = new_parser(__doc__, prog)
    add_options(parser)
    return parser.parse_args(argv)


def segment_all(arguments: argparse.Namespace) -> int:
    """Segment every sweep and return the exit code.

    Args:
        arguments: The parsed command line.

    Raises:
        ValueError: The inputs or options cannot be used.
        OSError: A file cannot be read or written.
        ImportError: An option needs a package that is not installed.
    """
    report = Report(arguments.program)
    recordings = find_recordings(arguments.inputs)
    if arguments.track is None:
        arguments.track = bool(recordings)
    _check_options(arguments)
    if recordings:
        from bev_instseg.cli.segment_recordings import segment_recordings

        return segment_recordings(arguments, report, recordings)
    refuse_recording_options(arguments)
    items, found = _find_share(arguments, report)
    with report.announced("loading the network"):
        segmenter = new_segmenter(arguments)
    with report.announced("looking at some sweeps of each folder"):
        job = _make_job(arguments, segmenter, [item.path for item in found.items])
    sequences = segment_tracks.chosen_sequences(arguments, items, job, report)
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
            segment_tracks.write_tracks(arguments, job, sequence, report)
    finished = [item for item, sweep in zip(items, sweeps, strict=True) if not sweep.error]
    if len(items) != 1:
        print(f"{len(finished)} of {len(items)} sweeps segmented, results in {arguments.out}")
        if timings:
            print(speed(timings, seconds))
        if sweeps:
            print(summary_table(sweeps, segmenter.class_names))
    elif finished:
        print(f"{printable(items[0].name)}: {_read_instances(job, items[0])}", end="")
        print(f"; {_only_time(arguments, segmenter, job, outcomes[0])}" if outcomes else "")
    if csv_path:
        write_atomic(csv_path, summary_csv(sweeps, segmenter.class_names).encode())
    if arguments.view and finished:
        _view(job, finished)
    return 2 if found.errors or len(finished) < len(items) else 0


def _check_options(arguments: argparse.Namespace) -> None:
    """Raise an error if an option cannot be satisfied on this machine, before anything is done."""
    segment_tracks.check_options(arguments)
    for option, (packages, extra) in EXTRAS.items():
        for package in packages if getattr(arguments, option) else ():
            try:
                importlib.import_module(package)
            except ImportError:
                raise ImportError(
                    f"--{option} needs {package}: pip install 'bev-instseg[{extra}]'"
                ) from None
    needed = ("matplotlib", "open3d") if arguments.png or arguments.maps else ()
    for package in (*needed, *(("matplotlib", "scipy") if arguments.track else ())):
        if find_spec(package) is None:
            raise ModuleNotFoundError(f"No module named {package!r}", name=package)
    if arguments.tiles and arguments.maps:
        raise ValueError("--maps shows a single grid: leave out --maps, or --tiles")
    if arguments.view:
        from bev_instseg.visualize import no_window

        if reason := no_window():
            raise ValueError(f"--view: no display: {reason}; leave it out, or use --png instead")


def _find_share(arguments: argparse.Namespace, report: Report) -> tuple[Sequence["Item"], "Found"]:
    """Return the sweeps, or the share of them that --shard selects, and all that was found."""
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
    """Return the path of the summary; None for a sweep that was given by itself.

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


def new_segmenter(arguments: argparse.Namespace) -> "Segmenter":
    """Load the network; with --ray only for its settings, as the workers do the computing."""
    if arguments.track:
        from bev_instseg.tracking.tracker import with_weak_instances

        return with_weak_instances(make_segmenter_with_extras(arguments))
    if arguments.ray is None:
        return make_segmenter_with_extras(arguments)
    if (
        arguments.runtime == "auto"
        and arguments.device != "cpu"
        and isinstance(arguments.weights, str)
    ):
        arguments.runtime = "torch"  # as on a GPU, which only workers may have
    return make_segmenter_with_extras(
        argparse.Namespace(**{**vars(arguments), "device": "cpu", "sparse": "auto"})
    )


def _make_job(
    arguments: argparse.Namespace, segmenter: "Segmenter", paths: Sequence[Path]
) -> "Job":
    """Return the job; all of its sweeps are surveyed, also those of other shares."""
    from bev_instseg.jobs.job import Job, settings_fingerprint

    setup = given_setup(arguments)
    if arguments.format and not any(path.suffix.lower() == ".bin" for path in paths):
        raise ValueError("--format is for .bin files, and there is none: leave it out")
    if arguments.calib is not None and not arguments.calib.exists():
        raise FileNotFoundError(2, "no such file or folder; check --calib", str(arguments.calib))
    return Job(
        out=arguments.out.resolve(),
        settings=settings_fingerprint(
            segmenter, setup, arguments.tiles, segment_tracks.tracking_settings(arguments)
        ),
        setup=setup,
        formats=tuple(name for name in POINT_FORMATS if getattr(arguments, name)),
        pictures=tuple(p for name in PICTURES if getattr(arguments, name) for p in PICTURES[name]),
        calibration=arguments.calib and arguments.calib.resolve(),
        tiles=arguments.tiles,
        survey=survey_sweeps(paths, setup),
    )


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
    """What a job has to do.

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
    work: "_Work",
) -> list["Outcome"]:
    """Process sweeps and print what happens to each.

    Raises:
        OSError: No more results can be written to the disk.
    """
    outcomes: list[Outcome] = []
    todo = work.todo
    if arguments.ray is None:
        with report.announced("preparing the network; on its first run it is compiled for 20 s"):
            segmenter.warm_up()
            if (
                work.num_items == 1 and todo
            ):  # nothing has been read yet, so that would be compiled, too
                with suppress(ScanError):
                    job.read(todo[0])
        steps = _on_this_machine(segmenter, job, todo, work.num_items)
        if work.sequences:
            steps = segment_tracks.run_tracked(arguments, segmenter, job, work.sequences, todo)
    else:
        from bev_instseg.jobs.on_ray import segment_on_ray

        new_segmenter = partial(make_segmenter_with_extras, _with_absolute_paths(arguments))
        steps = segment_on_ray(new_segmenter, job, todo, arguments.ray, arguments.device)
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
    segmenter: "Segmenter", job: "Job", todo: Sequence["Item"], num_items: int
) -> Generator["Outcome", None, None]:
    """Yield outcomes in order; ``num_items`` includes the sweeps that are done already."""
    from bev_instseg.jobs.in_threads import run_in_threads
    from bev_instseg.jobs.job import new_renderer, segment_item

    with new_renderer(job) as renderer:
        work = partial(segment_item, segmenter, job, renderer)
        with closing(run_in_threads(todo, num_items, work, segmenter.engine)) as steps:
            for _, outcome in steps:
                yield outcome.result()


def _read_instances(job: "Job", item: "Item") -> Instances:
    return read_instances(job.label_path(item), job.json_path(item))


def _view(job: "Job", items: Sequence["Item"]) -> None:
    from bev_instseg.visualize import view_sweeps

    def load(i: int) -> tuple[Float32, Instances]:
        return job.read(items[i]).points, _read_instances(job, items[i])

    view_sweeps([printable(item.name) for item in items], load)


def _only_time(
    arguments: argparse.Namespace, segmenter: "Segmenter", job: "Job", outcome: "Outcome"
) -> str:
    """Return the time of a job's only sweep and, if it was computed here, that of a warmed run."""
    from bev_instseg.jobs.job import time_again_ms

    text = first_time(outcome.timing_ms)
    if arguments.ray is not None or arguments.tiles:
        return text
    again_ms = time_again_ms(segmenter, job, outcome.item)
    if again_ms:
        text += f"; {np.median(again_ms):.0f} ms from file to labels once warm"
    return text
