"""Make labelled LiDAR sweeps of streets that never were, in the layout of SemanticKITTI.

Examples:
  %(prog)s --out sim --count 10 --azimuths 1040
      a first look: ten sweeps of half the points
  %(prog)s --out sim --count 2000 --sequence 1 --workers 4
      two thousand full sweeps to train on, beside the ten
  %(prog)s --out sim --count 500 --sequence 2 --sensor any --layouts label_2.tar.gz
      each with another sensor, the road users where KITTI's label files have them

Below DIR/sequences/NN, frame by frame from 000000,
  velodyne/000000.bin   float32 x, y, z (metres, sensor frame) and intensity 0..1
  labels/000000.label   uint32 per point: low 16 bits SemanticKITTI class, high 16 bits instance

Frame i depends on i and all options but --workers: another number of those gives the same bytes,
another --seed or --sequence other streets. A sensor of your own is a YAML file with fields of
SensorConfig (bev_instseg/simulate/sensor.py), elevations_deg at least. Files that exist
are left alone, and the exit code is 2.
"""

import argparse
import multiprocessing
import signal
import time
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path

from tqdm import tqdm

from bev_instseg.cli.arguments import new_parser, positive, positive_or_zero, run
from bev_instseg.simulate import SENSOR_MODELS, SensorConfig, read_layouts, sweep_paths, write_sweep
from bev_instseg.strict_yaml import build, read_yaml


def main(argv: list[str] | None = None, prog: str = "python tools/simulate.py") -> int:
    """Run the tool; returns the exit code."""
    arguments = parse_arguments(argv, prog)
    return run(arguments.program, partial(simulate_all, arguments))


def simulate_all(arguments: argparse.Namespace) -> int:
    """Write every frame; returns the exit code."""
    folder = arguments.out / "sequences" / arguments.sequence
    start = time.perf_counter()
    if not arguments.overwrite:
        refuse_existing(arguments)
    if arguments.layouts is not None:
        read_layouts(arguments.layouts)  # a bad one is told at once and once
    for _ in tqdm(written_frames(arguments), total=arguments.count, unit="sweep"):
        pass
    seconds = time.perf_counter() - start
    rate = arguments.count / seconds
    print(f"{arguments.count} sweep(s) in {folder}, {seconds:.1f} s ({rate:.1f} sweeps/s)")
    return 0


def parse_arguments(argv: list[str] | None, prog: str) -> argparse.Namespace:
    """The command line."""
    parser = new_parser(__doc__, prog)
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="where files go")
    parser.add_argument("--count", required=True, type=positive, help="sweeps to make")
    parser.add_argument("--seed", type=positive_or_zero, default=0, help="default: 0")
    parser.add_argument("--sequence", type=sequence, default="00", metavar="NN", help="default: 00")
    parser.add_argument("--workers", type=positive, default=1, help="processes (default: 1)")
    parser.add_argument(
        "--sensor",
        default="hdl64",
        metavar="NAME|YAML",
        help=f"{', '.join(SENSOR_MODELS)}, a YAML file, or any: another for each sweep (default: hdl64)",
    )
    parser.add_argument(
        "--azimuths", type=positive, help="pulses per beam and turn (default: the sensor's own)"
    )
    parser.add_argument(
        "--height", type=float, metavar="M", help="sensor above the ground (default: its own)"
    )
    parser.add_argument(
        "--layouts",
        type=Path,
        metavar="DIR|TAR",
        help="KITTI label files: the road users of two of them stand ahead and behind",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace files that exist")
    return parser.parse_args(argv)


def sequence(text: str) -> str:
    """The name of a sequence: a number of at least two digits."""
    return f"{positive_or_zero(text):02d}"


def refuse_existing(arguments: argparse.Namespace) -> None:
    """Raise FileExistsError if a file of the frames to come is there already."""
    for frame in range(arguments.count):
        for path in sweep_paths(arguments.out, arguments.sequence, frame):
            if path.exists():
                raise FileExistsError(
                    f"{path}: already exists; add --overwrite or choose another --sequence"
                )


def sensor_of(arguments: argparse.Namespace) -> SensorConfig | None:
    """The sensor that the command line names; None draws one for each sweep.

    Raises:
        ValueError: an unknown name, a file that is none, or a change to a sensor to be drawn.
    """
    name = arguments.sensor
    chosen = {"azimuths": arguments.azimuths, "height_m": arguments.height}
    changes = {key: value for key, value in chosen.items() if value is not None}
    if name == "any":
        if changes:
            raise ValueError("--sensor any draws azimuths and height; leave those options out")
        return None
    if name in SENSOR_MODELS:
        return replace(SENSOR_MODELS[name], **changes)
    if not name.endswith((".yaml", ".yml")):
        raise ValueError(f"--sensor {name}: give {', '.join(SENSOR_MODELS)}, any or a YAML file")
    return replace(build(SensorConfig, read_yaml(name), "", name), **changes)


def written_frames(arguments: argparse.Namespace) -> Iterable[None]:
    """Simulate and write every frame; one item as each is done."""
    write = partial(
        write_sweep,
        arguments.out,
        arguments.sequence,
        seed=arguments.seed,
        sensor=sensor_of(arguments),
        layouts=arguments.layouts,
    )
    frames = range(arguments.count)
    if arguments.workers == 1:
        yield from map(write, frames)
    else:
        ignore_ctrl_c = partial(signal.signal, signal.SIGINT, signal.SIG_IGN)  # ours to handle
        context = multiprocessing.get_context("spawn")
        with context.Pool(arguments.workers, initializer=ignore_ctrl_c) as pool:
            yield from pool.imap_unordered(write, frames)
