"""Simulate labelled LiDAR sweeps of random streets, in the folder layout of SemanticKITTI.

Examples:
  %(prog)s --out sim --count 10 --azimuths 1040
      ten sweeps with half the usual number of points, for a first look
  %(prog)s --out sim --count 2000 --sequence 1 --workers 4
      2000 full sweeps for training, as a second sequence in the same folder
  %(prog)s --out sim --count 500 --sequence 2 --sensor any --layouts label_2.tar.gz
      a random sensor for each sweep, road users placed as in KITTI's label files

Files written to DIR/sequences/NN, with frames numbered from 000000:
  velodyne/000000.bin   float32 x, y, z (metres, sensor frame) and intensity 0..1
  labels/000000.label   uint32 per point: low 16 bits SemanticKITTI class, high 16 bits instance

A frame depends on its number and the options, but not on --count or --workers; another --seed or
--sequence gives other streets. To simulate your own sensor, give --sensor a YAML file with the
fields of SensorConfig (bev_instseg/simulate/sensor.py); only elevations_deg is required. Points
from rain or fog have class 1 (outlier). If any of the files exists, nothing is written and the exit
code is 2, unless --overwrite is given.
"""

import argparse
import multiprocessing
import signal
import time
from collections.abc import Iterable
from dataclasses import asdict
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from textwrap import fill

from tqdm import tqdm

from bev_instseg.cli.arguments import new_parser, positive, positive_or_zero, run
from bev_instseg.datasets.semantickitti import frame_paths
from bev_instseg.simulate import SENSOR_MODELS, SensorConfig, read_layouts, write_sweep
from bev_instseg.simulate.sensor_models import MODELS_BY_MAKER
from bev_instseg.strict_yaml import build, read_yaml


def main(argv: list[str] | None = None, prog: str = "python tools/simulate.py") -> int:
    """Run the command and return its exit code."""
    arguments = parse_arguments(argv, prog)
    return run(arguments.program, partial(simulate_all, arguments))


def simulate_all(arguments: argparse.Namespace) -> int:
    """Write every frame and return the exit code."""
    folder = arguments.out / "sequences" / arguments.sequence
    start = time.perf_counter()
    if not arguments.overwrite:
        refuse_existing(arguments)
    if arguments.layouts is not None:
        read_layouts(arguments.layouts)  # report a bad one now, not from a worker
    sensor = selected_sensor(arguments)
    for _ in tqdm(write_frames(arguments, sensor), total=arguments.count, unit="sweep"):
        pass
    seconds = time.perf_counter() - start
    rate = arguments.count / seconds
    print(f"{arguments.count} sweep(s) in {folder}, {seconds:.1f} s ({rate:.1f} sweeps/s)")
    return 0


def parse_arguments(argv: list[str] | None, prog: str) -> argparse.Namespace:
    """Parse the command line."""
    parser = new_parser(f"{__doc__}\nSensors:\n{sensor_list()}", prog)
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="output folder")
    parser.add_argument("--count", required=True, type=positive, help="number of sweeps")
    parser.add_argument("--seed", type=positive_or_zero, default=0, help="default: 0")
    parser.add_argument("--sequence", type=sequence, default="00", metavar="NN", help="default: 00")
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
        help="height of the sensor above the ground (default: that of the sensor)",
    )
    parser.add_argument(
        "--layouts",
        type=Path,
        metavar="DIR|TAR",
        help="KITTI label files; each sweep has road users placed as in two of them",
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
    for frame in range(arguments.count):
        for path in frame_paths(arguments.out, arguments.sequence, frame):
            if path.exists():
                raise FileExistsError(
                    f"{path}: already exists; add --overwrite or choose another --sequence"
                )


def selected_sensor(arguments: argparse.Namespace) -> SensorConfig | None:
    """Return the sensor that the command line selects, None for a random one for each sweep.

    Raises:
        ValueError: The name or the YAML file is invalid, or ``any`` is combined with a dimension.
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


def write_frames(arguments: argparse.Namespace, sensor: SensorConfig | None) -> Iterable[None]:
    """Simulate and write every frame, yielding once for each."""
    write = partial(
        write_sweep,
        arguments.out,
        arguments.sequence,
        seed=arguments.seed,
        sensor=sensor,
        layouts=arguments.layouts,
    )
    frames = range(arguments.count)
    if arguments.workers == 1:
        yield from map(write, frames)
    else:
        ignore_ctrl_c = partial(
            signal.signal, signal.SIGINT, signal.SIG_IGN
        )  # the parent process handles it
        context = multiprocessing.get_context("spawn")
        with context.Pool(arguments.workers, initializer=ignore_ctrl_c) as pool:
            yield from pool.imap_unordered(write, frames)
