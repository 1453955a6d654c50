"""Find vehicles, pedestrians and cyclists in LiDAR sweeps, point by point.

Examples:
  %(prog)s sweep.bin --out results --png
  %(prog)s recordings --out results --sensor nuscenes --ply --view
  %(prog)s archive --out results --shard 1/4

INPUT is a sweep, or a folder that is searched to any depth. Formats: .bin (KITTI or nuScenes, told
apart by content), .npy, .pcd, .ply, .las, .laz. Intensity ranges, a z axis that does not point up
and map coordinates are detected in each file and reported. The forward direction cannot be inferred
from the points: unless it is x, give --sensor or --axes.

DIR gets the results of each sweep NAME (in a folder: its path below that folder):
  NAME.label     a uint32 per point, in input order: the low 16 bits are the SemanticKITTI class
                 (vehicle 10, pedestrian 30, cyclist 31, no object 0), the high 16 bits the
                 instance, numbered 1..K by descending score
  NAME.json      each instance's class, score, number of points and oriented box (x forward, y left,
                 z up; the origin is at "origin_m" in the file's coordinates); also the grid, the
                 weights and what was detected in the file
  NAME.ply .pcd .laz   the points with instance, class and score (--ply, --pcd, --laz)
  NAME.txt       boxes in a camera's image, with scores, in KITTI's label_2 format (--calib)
  NAME.png NAME_3d.png   pictures from above and in 3D (--png)
  NAME.html      a 3D view for any browser (--html)
  NAME_maps.png  the network's output: seed maps, offsets and bandwidths (--maps)
A folder also gets summary.csv, with a row per sweep.

To continue after an interruption, give the same command again: it skips sweeps whose results were
made from the same file with the same weights and settings. Files that bev-instseg did not write are
never replaced. A sweep that cannot be processed is reported, the others are finished, and the exit
code is 2.
"""

import argparse
import importlib
import re
import sys
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from bev_instseg.cli.arguments import add_network_arguments, make_segmenter, new_parser, run
from bev_instseg.export import POINT_FORMATS, Picture, SweepResult, read_instances
from bev_instseg.file_io import write_atomic
from bev_instseg.io.sensor_setup import FORMATS, KNOWN_SENSORS, SensorSetup
from bev_instseg.jobs.summary import SweepSummary, summary_csv, summary_table
from bev_instseg.structures import Float32, Instances

if TYPE_CHECKING:  # torch: not for --help
    from bev_instseg.jobs.job import Item, Job, Outcome
    from bev_instseg.segmenter import Segmenter

# Option: the packages it imports, and the extra that installs them.
EXTRAS = {"laz": (("laspy", "lazrs"), "las"), "html": (("viser",), "web")}
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
    parser.add_argument(
        "inputs", nargs="+", type=Path, metavar="INPUT", help="a sweep, or a folder of sweeps"
    )
    parser.add_argument(
        "--out", required=True, type=Path, metavar="DIR", help="folder of the results"
    )
    add_network_arguments(parser)

    reading = parser.add_argument_group("how the sweeps are stored (default: detected per file)")
    reading.add_argument(
        "--sensor", choices=KNOWN_SENSORS, help="format and axes of a known sensor"
    )
    reading.add_argument(
        "--format", choices=FORMATS, help="content of .bin files: 4 or 5 floats per point"
    )
    reading.add_argument(
        "--axes",
        metavar="XYZ",
        type=str.lower,
        help="directions of the file's x, y and z: three of f(orward), b(ack), l(eft), r(ight), "
        "u(p), d(own); KITTI is flu, nuScenes rfu, a camera rdf (default: x forward, up detected)",
    )
    reading.add_argument(
        "--height", type=float, metavar="M", help="sensor height above ground, metres"
    )

    writing = parser.add_argument_group("what else to write")
    for name in POINT_FORMATS:
        about = f"the points with instance, class and score as .{name}"
        writing.add_argument(f"--{name}", action="store_true", help=about)
    writing.add_argument(
        "--calib",
        type=Path,
        metavar="PATH",
        help="write boxes in a camera's image; a KITTI calibration file, or a folder with one per "
        "sweep",
    )
    writing.add_argument("--png", action="store_true", help="pictures from above and in 3D")
    writing.add_argument("--html", action="store_true", help="a 3D view for any browser")
    writing.add_argument("--maps", action="store_true", help="a picture of the network's output")
    writing.add_argument("--view", action="store_true", help="open the sweeps in Open3D at the end")

    folders = parser.add_argument_group("many sweeps")
    folders.add_argument("--overwrite", action="store_true", help="recompute existing results")
    folders.add_argument(
        "--shard", type=_shard, metavar="I/N", help="only every N-th sweep, starting with the I-th"
    )
    folders.add_argument(
        "--ray",
        nargs="?",
        const="",
        metavar="ADDRESS",
        help="run on a Ray cluster, with a worker per GPU or core: HOST:PORT, or auto for the "
        "cluster this machine belongs to; without ADDRESS, the cluster in RAY_ADDRESS or, if not "
        "set, Ray on this machine only",
    )
    return parser.parse_args(argv)


def _shard(text: str) -> tuple[int, int]:
    """Parse I/N, 1 <= I <= N."""
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise argparse.ArgumentTypeError(f"must be I/N with I from 1 to N, got {text}")
    return int(match[1]), int(match[2])


def segment_all(arguments: argparse.Namespace) -> int:
    """Segment every sweep and return the exit code.

    Args:
        arguments: The parsed command line.

    Raises:
        ValueError: The inputs or options cannot be used.
        OSError: A file cannot be read or written.
        ImportError: An option needs a package that is not installed.
    """
    _check_extras(arguments)
    items = _find_share(arguments)
    segmenter = _make_segmenter(arguments)
    job = _make_job(arguments, segmenter)
    job.out.mkdir(parents=True, exist_ok=True)
    todo = [item for item in items if arguments.overwrite or not job.is_done(item)]
    if len(todo) < len(items):
        print(f"{len(items) - len(todo)} of {len(items)} sweeps already have results")

    start = time.perf_counter()
    outcomes = _run(arguments, segmenter, job, todo, len(items)) if todo else {}
    seconds = time.perf_counter() - start
    errors = {item.name: outcome.error for item, outcome in outcomes.items() if outcome.error}
    finished = [item for item in items if item.name not in errors]
    timings = [outcome.timing_ms for outcome in outcomes.values() if not outcome.error]
    if len(items) != 1:
        print(f"{len(finished)} of {len(items)} sweeps segmented, results in {arguments.out}")
        if timings:
            print(_speed(timings, seconds))
    elif finished:
        spent = f"; {sum(timings[0].values()):.0f} ms" if timings else ""
        print(f"{items[0].name}: {_read_instances(job, items[0])}{spent}")
    if len(items) != 1 or arguments.shard or arguments.inputs[0].is_dir():
        _summarise(arguments, segmenter.config.class_names, job, items, errors)
    if arguments.view and finished:
        _view(job, finished)
    return 2 if errors else 0


def _check_extras(arguments: argparse.Namespace) -> None:
    for option, (packages, extra) in EXTRAS.items():
        for package in packages if getattr(arguments, option) else ():
            try:
                importlib.import_module(package)
            except ImportError:
                raise ImportError(
                    f"--{option} needs {package}: pip install 'bev-instseg[{extra}]'"
                ) from None


def _find_share(arguments: argparse.Namespace) -> list["Item"]:
    """Return the sweeps of the inputs, or the share of them that --shard selects."""
    from bev_instseg.jobs.job import find_items

    items = find_items(arguments.inputs, arguments.out)
    if not arguments.shard:
        return items
    first, step = arguments.shard
    share = items[first - 1 :: step]
    print(f"shard {first}/{step}: {len(share)} of {len(items)} sweeps")
    return share


def _make_segmenter(arguments: argparse.Namespace) -> "Segmenter":
    """Load the network; with --ray only for its settings, as the workers do the computing."""
    if arguments.ray is None:
        return make_segmenter(arguments)
    return make_segmenter(
        argparse.Namespace(**{**vars(arguments), "device": "cpu", "sparse": "torch"})
    )


def _make_job(arguments: argparse.Namespace, segmenter: "Segmenter") -> "Job":
    from bev_instseg.jobs.job import Job, settings_fingerprint

    setup = KNOWN_SENSORS[arguments.sensor] if arguments.sensor else SensorSetup()
    given = {
        "format": arguments.format,
        "axes": arguments.axes,
        "height_m": arguments.height,
    }
    setup = replace(setup, **{k: v for k, v in given.items() if v is not None})
    if arguments.calib is not None and not arguments.calib.exists():
        raise FileNotFoundError(2, "no such file or folder; check --calib", str(arguments.calib))
    return Job(
        out=arguments.out.resolve(),
        settings=settings_fingerprint(segmenter, setup),
        setup=setup,
        formats=tuple(name for name in POINT_FORMATS if getattr(arguments, name)),
        pictures=tuple(p for name in PICTURES if getattr(arguments, name) for p in PICTURES[name]),
        calibration=arguments.calib and arguments.calib.resolve(),
    )


def _run(
    arguments: argparse.Namespace,
    segmenter: "Segmenter",
    job: "Job",
    todo: Sequence["Item"],
    num_items: int,
) -> dict["Item", "Outcome"]:
    """Process sweeps; print each notice once, and each error."""
    outcomes: dict[Item, Outcome] = {}
    printed: set[str] = set()
    if arguments.ray is None:
        steps = _on_this_machine(segmenter, job, todo, num_items)
    else:
        from bev_instseg.jobs.on_ray import segment_on_ray

        new_segmenter = partial(make_segmenter, _with_absolute_paths(arguments))
        steps = segment_on_ray(new_segmenter, job, todo, arguments.ray, arguments.device)
    with closing(steps):
        for outcome in tqdm(steps, total=len(todo), unit="sweep", disable=len(todo) == 1):
            outcomes[outcome.item] = outcome
            lines = [f"note: {notice}" for notice in outcome.notices if notice not in printed]
            printed.update(outcome.notices)
            for line in [*lines, *([outcome.error] if outcome.error else [])]:
                tqdm.write(f"{arguments.program}: {line}", file=sys.stderr)
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

    segmenter.warm_up()
    with new_renderer(job) as renderer:
        work = partial(segment_item, segmenter, job, renderer)
        with closing(run_in_threads(todo, num_items, work, segmenter.device)) as steps:
            for _, outcome in steps:
                yield outcome.result()


def _summarise(
    arguments: argparse.Namespace,
    class_names: Sequence[str],
    job: "Job",
    items: Sequence["Item"],
    errors: Mapping[str, str],
) -> None:
    """Write the CSV and, for more than one sweep, print the table per class."""
    sweeps = [
        SweepSummary.of_failure(item.name, errors[item.name])
        if item.name in errors
        else SweepSummary.of(item.name, SweepResult.read(job.json_path(item)))
        for item in items
    ]
    if len(sweeps) > 1:
        print(summary_table(sweeps, class_names))
    first, step = arguments.shard or (1, 1)
    name = "summary.csv" if step == 1 else f"summary_{first}_of_{step}.csv"
    write_atomic(arguments.out / name, summary_csv(sweeps, class_names).encode())


def _read_instances(job: "Job", item: "Item") -> Instances:
    return read_instances(job.label_path(item), job.json_path(item))


def _view(job: "Job", items: Sequence["Item"]) -> None:
    from bev_instseg.io.sweep import read_sweep
    from bev_instseg.visualize import view_sweeps

    def load(i: int) -> tuple[Float32, Instances]:
        return read_sweep(items[i].path, job.setup).points, _read_instances(job, items[i])

    view_sweeps([item.name for item in items], load)


def _speed(timings: Sequence[Mapping[str, float]], seconds: float) -> str:
    """Format sweeps per second and the median time of each stage."""
    stages = [f"{stage} {np.median([t[stage] for t in timings]):.1f}" for stage in timings[0]]
    whole = np.median([sum(t.values()) for t in timings])
    return (
        f"{len(timings) / seconds:.1f} sweeps per second, several at once; median per sweep "
        f"{whole:.1f} ms ({', '.join(stages)})"
    )
