"""Label the objects in LiDAR sweeps: one file, or all below a folder.

Examples:
  %(prog)s sweep.bin --out results --png
  %(prog)s recordings --out results --sensor nuscenes --ply --view
  %(prog)s archive --out results --shard 1/4

Sweeps are .bin (KITTI or nuScenes, told apart by their content), .npy, .pcd, .ply, .las or .laz.
What is recognised in a file (five floats a point, intensities of 0..255, another up axis) is said.

For each sweep NAME (in a folder: its path below that), DIR gets
  NAME.label     uint32 per point, in input order: low 16 bits SemanticKITTI class (vehicle 10,
                 pedestrian 30, cyclist 31, none 0), high 16 bits instance 1..K by falling score
  NAME.json      per instance: class, score, points, oriented box (x forward, y left, z up, about
                 "origin_m" of the file, if that says so); grid, weights, what was assumed
  NAME.ply .pcd .laz   the points with instance, class and score (--ply, --pcd, --laz)
  NAME.txt       boxes with scores as KITTI's label_2 has them (--calib)
  NAME.png NAME_3d.png   from above, and in 3D (--png)
  NAME.html      a page for any browser, to turn about in (--html)
  NAME_maps.png  what the network thinks: seeds, offsets, sigmas (--maps)
and of a folder summary.csv, a line for each sweep.

What is done of the same file with the same weights and settings is left alone, so a job that was
stopped goes on when it is given again. Files that are not this tool's are never replaced. A sweep
that cannot be read is reported, the others are done, and the exit code is 2.
"""

import argparse
import importlib
import re
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from bev_instseg.cli.arguments import add_network_arguments, make_segmenter, new_parser, run
from bev_instseg.export import POINT_FORMATS, read_instances
from bev_instseg.file_io import write_atomic
from bev_instseg.io.sensor_setup import FORMATS, KNOWN_SENSORS, SensorSetup
from bev_instseg.jobs.summary import failed, read_summary, summary_csv, summary_table

if TYPE_CHECKING:  # torch: not for --help
    from bev_instseg.jobs.job import Item, Job, Outcome
    from bev_instseg.segmenter import Segmenter

# Option: what it imports, and the extra that brings it.
EXTRAS = {"laz": (("laspy", "lazrs"), "las"), "html": (("viser",), "web")}


def main(argv: list[str] | None = None, prog: str = "python tools/segment_scan.py") -> int:
    """Run the tool; returns the exit code."""
    arguments = parse_arguments(argv, prog)
    return run(arguments.program, partial(segment_all, arguments))


def parse_arguments(argv: list[str] | None, prog: str) -> argparse.Namespace:
    """The command line."""
    parser = new_parser(__doc__, prog)
    parser.add_argument("inputs", nargs="+", type=Path, metavar="INPUT", help="sweep or folder")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="where results go")
    add_network_arguments(parser)

    reading = parser.add_argument_group("how the sweeps are stored (default: it is found out)")
    reading.add_argument(
        "--sensor", choices=KNOWN_SENSORS, help="format and axes of a known sensor"
    )
    reading.add_argument("--format", choices=FORMATS, help="of .bin files: 4 or 5 floats a point")
    reading.add_argument(
        "--axes",
        metavar="XYZ",
        type=str.lower,
        help="where the file's x, y and z point, three of f(orward), b(ack), l(eft), r(ight), "
        "u(p), d(own): KITTI flu, nuScenes rfu, a camera rdf; forward is never found out",
    )
    reading.add_argument("--height", type=float, metavar="M", help="of the sensor above the ground")

    writing = parser.add_argument_group("what else to write")
    for name in POINT_FORMATS:
        about = f"points with instance, class and score as .{name}"
        writing.add_argument(f"--{name}", action="store_true", help=about)
    writing.add_argument(
        "--calib", type=Path, metavar="PATH", help="KITTI calibration, a file or a folder of them"
    )
    writing.add_argument("--png", action="store_true", help="pictures: from above and in 3D")
    writing.add_argument("--html", action="store_true", help="a page for the browser")
    writing.add_argument("--maps", action="store_true", help="a picture of the network's maps")
    writing.add_argument("--view", action="store_true", help="open all in Open3D at the end")

    folders = parser.add_argument_group("many sweeps")
    folders.add_argument("--overwrite", action="store_true", help="do again what is done")
    folders.add_argument(
        "--shard", type=_shard, metavar="I/N", help="only each N-th sweep from the I-th on"
    )
    folders.add_argument(
        "--ray",
        nargs="?",
        const="",
        metavar="ADDRESS",
        help="on a Ray cluster, a worker for each GPU or core: HOST:PORT, or auto for the one that "
        "this machine is part of; without ADDRESS a Ray of this machine alone",
    )
    return parser.parse_args(argv)


def _shard(text: str) -> tuple[int, int]:
    """I and N of "I/N", 1 <= I <= N."""
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise argparse.ArgumentTypeError(f"must be I/N with I from 1 to N, got {text}")
    return int(match[1]), int(match[2])


def segment_all(arguments: argparse.Namespace) -> int:
    """Label every sweep; returns the exit code."""
    from bev_instseg.jobs.job import find_items

    for option, (packages, extra) in EXTRAS.items():
        for package in packages if getattr(arguments, option) else ():
            try:
                importlib.import_module(package)
            except ImportError:
                raise ImportError(
                    f"--{option} needs {package}: pip install 'bev-instseg[{extra}]'"
                ) from None
    items = find_items(arguments.inputs, arguments.out)
    if arguments.shard:
        first, step = arguments.shard
        share = items[first - 1 :: step]
        print(f"shard {first}/{step}: {len(share)} of {len(items)} sweeps")
        items = share
    segmenter = _segmenter(arguments)
    job = _job(arguments, segmenter)
    job.out.mkdir(parents=True, exist_ok=True)
    todo = [item for item in items if arguments.overwrite or not job.is_done(item)]
    if len(todo) < len(items):
        print(f"{len(items) - len(todo)} of {len(items)} sweeps are done already")

    start = time.perf_counter()
    outcomes = _run(arguments, segmenter, job, todo, len(items)) if todo else {}
    seconds = time.perf_counter() - start
    errors = {item.name: outcome.error for item, outcome in outcomes.items() if outcome.error}
    finished = [item for item in items if item.name not in errors]
    timings = [outcome.timing_ms for outcome in outcomes.values() if not outcome.error]
    if len(items) == 1 and finished:
        spent = f"; {sum(timings[0].values()):.0f} ms" if timings else ""
        print(f"{items[0].name}: {read_instances(*_result(job, items[0]))}{spent}")
    elif len(items) != 1:
        print(f"{len(finished)} of {len(items)} sweeps labelled in {arguments.out}", end="")
        print(f", {len(timings) / seconds:.1f} a second" if timings else "")
        print(_medians(timings), end="")
    if len(items) != 1 or arguments.shard or arguments.inputs[0].is_dir():
        _sum_up(arguments, segmenter.config.class_names, job, items, errors)
    if arguments.view and finished:
        _view(job, finished)
    return 2 if errors else 0


def _segmenter(arguments: argparse.Namespace) -> "Segmenter":
    """The network; where workers compute, this machine only asks it what it is."""
    if arguments.ray is None:
        return make_segmenter(arguments)
    here = argparse.Namespace(**{**vars(arguments), "device": "cpu", "sparse": "torch"})
    return make_segmenter(here)


def _job(arguments: argparse.Namespace, segmenter: "Segmenter") -> "Job":
    from bev_instseg.jobs.job import Job, fingerprint

    setup = KNOWN_SENSORS[arguments.sensor] if arguments.sensor else SensorSetup()
    given = {
        "format": arguments.format,
        "axes": arguments.axes,
        "height_m": arguments.height,
    }
    setup = replace(setup, **{k: v for k, v in given.items() if v is not None})
    if arguments.calib is not None and not arguments.calib.exists():
        raise FileNotFoundError(2, "no such file or folder", str(arguments.calib))
    pictures = [
        *(("png", "3d") if arguments.png else ()),
        *(("maps",) if arguments.maps else ()),
        *(("html",) if arguments.html else ()),
    ]
    return Job(
        arguments.out.resolve(),
        fingerprint(segmenter, setup),
        setup,
        tuple(name for name in POINT_FORMATS if getattr(arguments, name)),
        tuple(pictures),
        arguments.calib and arguments.calib.resolve(),
    )


def _run(
    arguments: argparse.Namespace,
    segmenter: "Segmenter",
    job: "Job",
    todo: Sequence["Item"],
    count: int,
) -> dict["Item", "Outcome"]:
    """Do the sweeps that are to do; says what was recognised in them, and what failed."""
    outcomes: dict[Item, Outcome] = {}
    said: set[str] = set()
    if arguments.ray is None:
        steps = _on_this_machine(segmenter, job, todo, count)
    else:
        from bev_instseg.jobs.on_ray import segment_on_ray

        make = partial(make_segmenter, _with_absolute_paths(arguments))
        steps = segment_on_ray(make, job, todo, arguments.ray, arguments.device)
    with closing(steps):
        for outcome in tqdm(steps, total=len(todo), unit="sweep", disable=len(todo) == 1):
            outcomes[outcome.item] = outcome
            lines = [f"note: {notice}" for notice in outcome.notices if notice not in said]
            said.update(outcome.notices)
            for line in [*lines, *([outcome.error] if outcome.error else [])]:
                tqdm.write(f"{arguments.program}: {line}", file=sys.stderr)
    return outcomes


def _with_absolute_paths(arguments: argparse.Namespace) -> argparse.Namespace:
    """The same command line for a process that runs in another folder."""
    given = vars(arguments).items()
    return argparse.Namespace(**{k: v.resolve() if isinstance(v, Path) else v for k, v in given})


def _on_this_machine(
    segmenter: "Segmenter", job: "Job", todo: Sequence["Item"], count: int
) -> Generator["Outcome", None, None]:
    """The outcomes, in order; ``count`` sweeps are in the whole job, done ones among them."""
    from bev_instseg.jobs.in_threads import run_in_threads
    from bev_instseg.jobs.job import new_renderer, segment_item

    segmenter.warm_up()
    with new_renderer(job) as renderer:
        work = partial(segment_item, segmenter, job, renderer)
        with closing(run_in_threads(todo, count, work, segmenter.device)) as steps:
            for _, outcome in steps:
                yield outcome.result()


def _sum_up(
    arguments: argparse.Namespace,
    class_names: Sequence[str],
    job: "Job",
    items: Sequence["Item"],
    errors: dict[str, str],
) -> None:
    """Print the table per class, of more than one sweep, and write the CSV."""
    sweeps = [
        failed(item.name, errors[item.name])
        if item.name in errors
        else read_summary(item.name, _result(job, item)[1])
        for item in items
    ]
    if len(sweeps) > 1:
        print(summary_table(sweeps, class_names))
    first, step = arguments.shard or (1, 1)
    name = "summary.csv" if step == 1 else f"summary_{first}_of_{step}.csv"
    write_atomic(arguments.out / name, summary_csv(sweeps, class_names).encode())


def _result(job: "Job", item: "Item") -> tuple[Path, Path]:
    """The ``.label`` and the ``.json`` of a sweep."""
    return job.out / f"{item.name}.label", job.out / f"{item.name}.json"


def _view(job: "Job", items: Sequence["Item"]) -> None:
    from bev_instseg.io.sweep import read_sweep
    from bev_instseg.visualize import view_sweeps

    view_sweeps(
        [item.name for item in items],
        lambda i: (
            read_sweep(items[i].path, job.setup).points,
            read_instances(*_result(job, items[i])),
        ),
    )


def _medians(timings: Sequence[dict[str, float]]) -> str:
    """Median times over the sweeps, a line, or nothing without sweeps."""
    if not timings:
        return ""
    stages = [f"{stage} {np.median([t[stage] for t in timings]):.1f}" for stage in timings[0]]
    whole = np.median([sum(t.values()) for t in timings])
    return f"median {whole:.1f} ms a sweep, several at once ({', '.join(stages)})\n"
