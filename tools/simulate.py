#!/usr/bin/env python
"""Make labelled LiDAR sweeps of streets that never were, in the layout of SemanticKITTI.

Examples:
  python tools/simulate.py --out sim --count 10 --azimuths 1040
      a first look: ten sweeps of half the points
  python tools/simulate.py --out sim --count 2000 --sequence 1 --workers 4
      two thousand full sweeps to train on, beside the ten

Below DIR/sequences/NN, frame by frame from 000000,
  velodyne/000000.bin   float32 x, y, z (metres, sensor frame) and intensity 0..1
  labels/000000.label   uint32 per point: low 16 bits SemanticKITTI class, high 16 bits instance

Frame i depends on --seed, --sequence, --azimuths and i alone: another --workers gives the same
bytes, another --seed or --sequence other streets. Files that exist are left alone, and the exit
code is 2.
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

from bev_instseg.cli import new_parser, positive, positive_or_zero, run
from bev_instseg.datasets.simulate import HDL64, sweep_paths, write_sweep


def main(argv: list[str] | None = None) -> int:
    """Run the tool; returns the exit code."""
    return run("simulate", partial(simulate_all, parse_arguments(argv)))


def simulate_all(arguments: argparse.Namespace) -> int:
    """Write every frame; returns the exit code."""
    folder = arguments.out / "sequences" / arguments.sequence
    start = time.perf_counter()
    if not arguments.overwrite:
        refuse_existing(arguments)
    for _ in tqdm(written_frames(arguments), total=arguments.count, unit="sweep"):
        pass
    seconds = time.perf_counter() - start
    rate = arguments.count / seconds
    print(f"{arguments.count} sweep(s) in {folder}, {seconds:.1f} s ({rate:.1f} sweeps/s)")
    return 0


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = new_parser(__doc__)
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="where files go")
    parser.add_argument("--count", required=True, type=positive, help="sweeps to make")
    parser.add_argument("--seed", type=positive_or_zero, default=0, help="default: 0")
    parser.add_argument("--sequence", type=sequence, default="00", metavar="NN", help="default: 00")
    parser.add_argument("--workers", type=positive, default=1, help="processes (default: 1)")
    parser.add_argument(
        "--azimuths",
        type=positive,
        default=HDL64.azimuths,
        help=f"pulses per beam and turn (default: {HDL64.azimuths}, as a real sensor's)",
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


def written_frames(arguments: argparse.Namespace) -> Iterable[None]:
    """Simulate and write every frame; one item as each is done."""
    sensor = replace(HDL64, azimuths=arguments.azimuths)
    write = partial(
        write_sweep, arguments.out, arguments.sequence, seed=arguments.seed, sensor=sensor
    )
    frames = range(arguments.count)
    if arguments.workers == 1:
        yield from map(write, frames)
    else:
        ignore_ctrl_c = partial(signal.signal, signal.SIGINT, signal.SIG_IGN)  # ours to handle
        context = multiprocessing.get_context("spawn")
        with context.Pool(arguments.workers, initializer=ignore_ctrl_c) as pool:
            yield from pool.imap_unordered(write, frames)


if __name__ == "__main__":
    raise SystemExit(main())
