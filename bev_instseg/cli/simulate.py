"""Simulate labelled LiDAR sweeps of random streets, in the folder layout of SemanticKITTI.

Examples:
  %(prog)s --out sim --count 10 --azimuths 1040
      ten sweeps with half the usual number of points, for a first look
  %(prog)s --out sim --count 2000 --sequence 1 --workers 4
      2000 full sweeps for training, as a second sequence in the same folder
  %(prog)s --out sim --count 500 --sequence 2 --sensor any --layouts label_2.tar.gz
      a random sensor for each sweep, road users placed as in KITTI's label files
  %(prog)s --out sim --count 500 --sequence 3 --streets arterial industrial
      main roads and industrial areas, with many lorries
  %(prog)s --out drives --count 3 --frames 30
      three sequences of 30 consecutive sweeps: traffic, people and the sensor move

Files written to DIR/sequences/NN, with frames numbered from 000000:
  velodyne/000000.bin   float32 x, y, z (metres, sensor frame) and intensity 0..1
  labels/000000.label   uint32 per point: low 16 bits SemanticKITTI class, high 16 bits instance

With --frames, sequences NN, NN+1, ... also get poses.txt, times.txt, calib.txt and objects.csv,
which has the position, velocity, heading and size of each visible object.

A frame depends on its number and the options, but not on --count or --workers; a different --seed
or --sequence gives different streets. To simulate your own sensor, pass --sensor a YAML file with
the fields of SensorConfig (bev_instseg/simulate/sensor.py); only elevations_deg is required. Points
from rain or fog have class 1 (outlier). If any of the files exists, nothing is written and the exit
code is 2, unless --overwrite is given. That replaces files, but removes none: if other sweeps of
the sequence would stay, the exit code is 2, too.
"""

import argparse
import multiprocessing
import signal
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from difflib import get_close_matches
from functools import partial
from itertools import product
from pathlib import Path
from textwrap import fill
from typing import Any

from tqdm import tqdm

from bev_instseg.cli.arguments import (
    new_parser,
    positive,
    positive_or_zero,
    run,
    to_folder,
    to_path,
)
from bev_instseg.datasets.semantickitti import frame_paths
from bev_instseg.simulate import SENSOR_MODELS, SensorConfig, read_layouts, write_sweep
from bev_instseg.simulate.sensor_models import MODELS_BY_MAKER
from bev_instseg.simulate.sequence import SEQUENCE_FILES, write_sequence
from bev_instseg.simulate.street_kinds import KINDS
from bev_instseg.strict_yaml import build, read_yaml

STREETS = {kind.name.replace(" ", "_"): kind for kind in KINDS}


def main(argv: list[str] | None = None, prog: str = "python tools/simulate.py") -> int:
    """Run the command and return its exit code."""
    arguments = parse_arguments(argv, prog)
    return run(arguments.program, partial(simulate_all, arguments))


def simulate_all(arguments: argparse.Namespace) -> int:
    """Write every frame and return the exit code."""
    folder = arguments.out / "sequences"
    if arguments.frames is None:
        folder /= arguments.sequence
    start = time.perf_counter()
    if arguments.overwrite:
        refuse_leftovers(arguments)
    else:
        refuse_existing(arguments)
    if arguments.layouts is not None:
        read_layouts(arguments.layouts)  # report a bad one now, not from a worker
    sensor = selected_sensor(arguments)
    unit = "sweep" if arguments.frames is None else "sequence"
    for _ in tqdm(write_all(arguments, sensor), total=arguments.count, unit=unit):
        pass
    seconds = time.perf_counter() - start
    rate = arguments.count / seconds
    print(f"{arguments.count} {unit}(s) in {folder}, {seconds:.1f} s ({rate:.1f} {unit}s/s)")
    return 0


def parse_arguments(argv: list[str] | None, prog: str) -> argparse.Namespace:
    """Parse the command line."""
    parser = new_parser(f"{__doc__}\nSensors:\n{sensor_list()}", prog)
    parser.add_argument("--out", required=True, type=to_folder, metavar="DIR", help="output folder")
    parser.add_argument(
        "--count",
        required=True,
        type=positive,
        help="number of sweeps, or of sequences with --frames",
    )
    parser.add_argument(
        "--frames",
        type=positive,
        metavar="N",
        help="make --count sequences of N sweeps, 0.1 s apart",
    )
    parser.add_argument(
        "--seed", type=positive_or_zero, default=0, help="seed of the random streets (default: 0)"
    )
    parser.add_argument(
        "--sequence",
        type=sequence,
        default="00",
        metavar="NN",
        help="number of the (first) sequence (default: 00)",
    )
    parser.add_argument("--workers", type=positive, default=1, help="processes (default: 1)")
    parser.add_argument(
        "--sensor",
        default="hdl64",
        metavar="NAME|YAML",
        help="a sensor named above, any (a random one for each sweep) or a YAML file "
        "(default: hdl64)",
    )
    parser.add_argument(
        "--azimuths", type=positive, help="pulses per beam and revolution (default: the sensor's)"
    )
    parser.add_argument(
        "--height",
        type=float,
        metavar="M",
        help="height of the sensor above the ground, 0.2 to 20 (default: that of the sensor)",
    )
    parser.add_argument(
        "--layouts",
        type=to_path,
        metavar="DIR|TAR",
        help="KITTI label files; each sweep has road users placed as in two of them",
    )
    parser.add_argument(
        "--streets",
        nargs="+",
        choices=STREETS,
        default=list(STREETS),
        metavar="KIND",
        help=f"kinds of street to draw from (default: all): {', '.join(STREETS)}; see "
        "docs/streets.md",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace existing files")
    return parser.parse_args(argv)


def sensor_list() -> str:
    """Return the names of the sensors, a paragraph for each maker."""
    return "\n".join(
        fill(
            f"{maker + ':':13}{', '.join(models)}",
            98,
            initial_indent="  ",
            subsequent_indent=15 * " ",
        )
        for maker, models in MODELS_BY_MAKER.items()
    )


def sequence(text: str) -> str:
    """Return the name of a sequence: its number with at least two digits."""
    return f"{positive_or_zero(text):02d}"


def refuse_existing(arguments: argparse.Namespace) -> None:
    """Raise an error if any of the files to be written exists.

    Raises:
        FileExistsError: A file exists.
    """
    for path in files(arguments):
        if path.exists():
            raise FileExistsError(
                f"{path}: already exists; add --overwrite or choose another --sequence"
            )


def refuse_leftovers(arguments: argparse.Namespace) -> None:
    """Raise an error if files of a sequence are not replaced: they belong to other streets.

    Raises:
        FileExistsError: There are such files.
    """
    written = files(arguments)
    old: set[Path] = set()
    for folder in {path.parent.parent for path in written if path.suffix == ".bin"}:
        old.update(folder.glob("velodyne/[!.]*.bin"), folder.glob("labels/[!.]*.label"))
        old.update(path for name in SEQUENCE_FILES if (path := folder / name).exists())
    if left := sorted(old.difference(written)):
        raise FileExistsError(
            f"{left[0]}: would stay next to new sweeps of other streets ({len(left)} such "
            "file(s)); remove it, or choose another --sequence"
        )


def files(arguments: argparse.Namespace) -> list[Path]:
    """Return all files to be written."""
    paths = [
        path
        for sequence, frame in frames(arguments)
        for path in frame_paths(arguments.out, sequence, frame)
    ]
    if arguments.frames is not None:
        folders = [arguments.out / "sequences" / sequence for sequence in sequences(arguments)]
        paths += [folder / name for folder in folders for name in SEQUENCE_FILES]
    return paths


def frames(arguments: argparse.Namespace) -> Iterable[tuple[str, int]]:
    """Yield sequence and number of each frame to be written."""
    if arguments.frames is None:
        yield from ((arguments.sequence, frame) for frame in range(arguments.count))
    else:
        yield from product(sequences(arguments), range(arguments.frames))


def sequences(arguments: argparse.Namespace) -> list[str]:
    """Return the names of the sequences that ``--frames`` makes."""
    first = int(arguments.sequence)
    return [f"{first + i:02d}" for i in range(arguments.count)]


def selected_sensor(arguments: argparse.Namespace) -> SensorConfig | None:
    """Return the sensor that the command line selects, None for a random one for each sweep.

    Raises:
        ValueError: The name or the YAML file is invalid, or ``any`` is combined with
            ``--azimuths`` or ``--height``.
    """
    name = arguments.sensor
    options = {"azimuths": arguments.azimuths, "height_m": arguments.height}
    changes = {key: value for key, value in options.items() if value is not None}
    if name == "any":
        if changes:
            raise ValueError(
                "--sensor any has random --azimuths and --height; leave these options out"
            )
        return None
    if name in SENSOR_MODELS:
        sensor = SENSOR_MODELS[name]
    elif name.endswith((".yaml", ".yml")):
        sensor = build(SensorConfig, read_yaml(name), name)
    else:
        near = get_close_matches(name, [*SENSOR_MODELS, "any"], 1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise ValueError(f"--sensor {name}: unknown{hint}; --help lists the sensors")
    return build(SensorConfig, asdict(sensor) | changes, f"--sensor {name}")


def write_all(arguments: argparse.Namespace, sensor: SensorConfig | None) -> Iterable[None]:
    """Simulate and write every frame, or every sequence, yielding once for each."""
    options = {"seed": arguments.seed, "sensor": sensor, "layouts": arguments.layouts}
    options["kinds"] = [STREETS[name] for name in dict.fromkeys(arguments.streets)]
    write: Callable[[Any], None]
    if arguments.frames is None:
        jobs: Sequence[int | str] = range(arguments.count)
        write = partial(write_sweep, arguments.out, arguments.sequence, **options)
    else:
        jobs = sequences(arguments)
        write = partial(write_sequence, arguments.out, num_sweeps=arguments.frames, **options)
    if arguments.workers == 1:
        yield from map(write, jobs)
    else:
        ignore_ctrl_c = partial(
            signal.signal, signal.SIGINT, signal.SIG_IGN
        )  # the parent process handles it
        context = multiprocessing.get_context("spawn")
        with context.Pool(arguments.workers, initializer=ignore_ctrl_c) as pool:
            yield from pool.imap_unordered(write, jobs)
