"""Train weights further on a GPU within a given time: simulate, cut objects, choose steps, train.

Example:
  python scripts/gpu_train.py DATA OUT --seconds 500

DATA holds the sources of the configuration, for instance from scripts/gpu_pack.py; sweeps for the
source `simulated` are added to it. The number of steps is chosen by timing a short run, so that
the schedule of the learning rate ends within the time; it is kept in OUT/leg.yaml. Nothing is
scored, so validation frames need not be there. OUT/run is the folder of the run; if the time is
over before the last step, its last.pt holds the weights so far. Run the same command again to
continue.
"""

import argparse
import csv
import dataclasses
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bev_instseg.config import Config
from bev_instseg.config_files import load_config, save_config
from bev_instseg.model_files import pretrained_weights

ROOT = Path(__file__).resolve().parent.parent
SIMULATED: tuple[tuple[str, float, str, tuple[str, ...]], ...] = (
    # sequence, share of the sweeps, sensor, streets; the objects of the first are pasted
    ("12", 0.26, "any", ()),
    ("11", 0.17, "any", ()),
    ("13", 0.03, "pandar64", ()),
    ("14", 0.28, "any", ()),
    ("15", 0.26, "any", ("--streets", "arterial", "industrial")),
)
PACE_STEPS = 400  # of the short run; only the last quarter counts, when no batch is left in store
PACE_SHARE = 0.4  # largest share of the time for the short run: loaders start slowly
SAVE_S = 10.0  # time to stop, save and write the weights


def main() -> None:
    """Run all stages; those done in an earlier call are skipped."""
    arguments = parse_arguments()
    deadline_s = time.monotonic() + arguments.seconds
    arguments.out.mkdir(parents=True, exist_ok=True)
    config = load_config(arguments.config)
    objects = prepare(arguments, config)
    leg = arguments.out / "leg.yaml"
    if not leg.exists():
        config = for_training(config, arguments.batch_size, arguments.workers)
        steps = arguments.steps or steps_within(arguments, config, objects, deadline_s)
        save_config(with_steps(config, steps), leg)
    train(arguments, leg, arguments.out / "run", objects, deadline_s - SAVE_S - time.monotonic())


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="the folder of all data sets")
    parser.add_argument("out", type=Path, help="the folder to write to")
    parser.add_argument("--seconds", type=float, required=True, help="time for everything")
    parser.add_argument("--config", type=Path, default=ROOT / "configs" / "default.yaml")
    parser.add_argument(
        "--init", type=Path, default=pretrained_weights(), help="weights to start from"
    )
    parser.add_argument("--sweeps", type=int, default=600, help="sweeps to simulate (default: 600)")
    parser.add_argument("--steps", type=int, help="train this many steps instead of timing a run")
    parser.add_argument("--batch-size", type=int, default=16, help="windows per step (default: 16)")
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count(), help="processes (default: all cores)"
    )
    return parser.parse_args()


def prepare(arguments: argparse.Namespace, config: Config) -> list[Path]:
    """Simulate sweeps and cut out objects and distractors; return the object databases.

    Objects are cut out of real frames while sweeps are simulated, and out of the first sequence of
    simulated sweeps while the others are simulated.
    """
    real, simulated = arguments.out / "real.npz", arguments.out / "simulated.npz"
    cuts = [start_cut(arguments, config, real, lambda path: path != "simulated")]
    for sequence, share, sensor, streets in SIMULATED:
        folder = arguments.data / "simulated"
        made = folder / f".made-{sequence}"
        if not made.exists():
            count = max(1, round(share * arguments.sweeps))
            options = ["--sequence", sequence, "--count", count, "--sensor", sensor, *streets]
            options += ["--out", folder, "--workers", arguments.workers, "--overwrite"]
            subprocess.run(command("simulate", *options), check=True)
            made.touch()
        if len(cuts) == 1:
            first = with_train(config, "simulated", (sequence,))
            cuts.append(start_cut(arguments, first, simulated, lambda path: path == "simulated"))
    for process in filter(None, cuts):
        if process.wait():
            raise SystemExit("cutting objects failed")
    return [real, simulated]


def start_cut(
    arguments: argparse.Namespace, config: Config, out: Path, wanted: Callable[[str], bool]
) -> "subprocess.Popen[bytes] | None":
    """Start to cut the objects out of the wanted sources, unless done already."""
    if out.exists():
        return None
    for source in config.data.sources:
        if not wanted(source.path):
            config = with_train(config, source.path, ())
    path = out.with_suffix(".yaml")
    save_config(config, path)
    options = ["--config", path, "--data", arguments.data, "--out", out]
    return subprocess.Popen(command("cut_objects", *options, "--distractors", arguments.init))


def steps_within(
    arguments: argparse.Namespace, config: Config, objects: list[Path], deadline_s: float
) -> int:
    """Time a short run; return the number of steps that fit into the time, less a twentieth."""
    few = with_train(config, "simulated", (SIMULATED[-1][0],))
    path, run = arguments.out / "pace.yaml", arguments.out / "pace"
    save_config(with_steps(few, PACE_STEPS), path)
    start_s = time.monotonic()
    train(arguments, path, run, objects, PACE_SHARE * (deadline_s - start_s))
    wall_s = time.monotonic() - start_s
    with open(run / "log.csv") as file:
        logged = [(int(row["step"]), float(row["time_s"])) for row in csv.DictReader(file)]
    if not logged:
        raise SystemExit(f"{run}: no step in {wall_s:.0f} s; give more --seconds, or --steps")
    rows = [(0, 0.0), *logged]
    (last, end_s), (first, middle_s) = rows[-1], rows[3 * len(logged) // 4]
    step_s = (end_s - middle_s) / (last - first)
    overhead_s = 2 * max(wall_s - last * step_s, 0)  # a whole run reads more frames at its start
    left_s = deadline_s - SAVE_S - time.monotonic() - overhead_s
    steps = max(1, math.floor(0.95 * left_s / step_s))
    print(f"{1 / step_s:.1f} steps/s, {overhead_s:.0f} s overhead: {steps} steps", flush=True)
    return steps


def train(
    arguments: argparse.Namespace, config: Path, run: Path, objects: list[Path], seconds: float
) -> None:
    """Start or continue a run; interrupt it when the time is over, and let it save."""
    start = ["--resume"] if (run / "last.pt").exists() else ["--init", arguments.init]
    options = ["--config", config, "--data", arguments.data, "--out", run, "--objects", *objects]
    process = subprocess.Popen(command("train_kitti", *options, *start))
    try:
        process.wait(max(seconds, 0))
    except subprocess.TimeoutExpired:
        print("time is over", flush=True)
        process.send_signal(signal.SIGTERM)
        process.wait()


def for_training(config: Config, batch_size: int, workers: int) -> Config:
    """Return the configuration with this batch size and without validation."""
    sources = tuple(dataclasses.replace(s, val=()) for s in config.data.sources)
    return dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, sources=sources),
        train=dataclasses.replace(config.train, batch_size=batch_size, workers=workers),
    )


def with_steps(config: Config, steps: int) -> Config:
    """Return the configuration with this many steps; the log gets at least 40 rows."""
    log_every = max(1, min(25, steps // 40))
    train = dataclasses.replace(config.train, steps=steps, log_every=log_every)
    return dataclasses.replace(config, train=train)


def with_train(config: Config, path: str, names: tuple[str, ...]) -> Config:
    """Return the configuration with other training frames for the sources of a folder.

    The first of these sources gets all of ``names``, the others get none.
    """
    sources = list(config.data.sources)
    for index, source in enumerate(sources):
        if source.path == path:
            sources[index] = dataclasses.replace(source, train=names)
            names = ()
    return dataclasses.replace(
        config, data=dataclasses.replace(config.data, sources=tuple(sources))
    )


def command(tool: str, *options: object) -> list[str]:
    """Return the command line of one of the tools."""
    return [sys.executable, str(ROOT / "tools" / f"{tool}.py"), *map(str, options)]


if __name__ == "__main__":
    main()
