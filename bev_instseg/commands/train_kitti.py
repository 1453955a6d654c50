"""Train the network on any mixture of KITTI and SemanticKITTI layouts.

Examples:
  %(prog)s --config configs/kitti.yaml --data ~/kitti --out runs/first
  %(prog)s --config configs/kitti.yaml --data ~/kitti --out runs/first --resume
  %(prog)s --config sim.yaml --data ~/sim --out runs/sim --objects objects.npz
      objects that tools/cut_objects.py found in real frames, pasted into simulated ones

Several GPUs or processes: torchrun --nproc-per-node 2 tools/train_kitti.py ... (same numbers).
RUN_DIR then holds config.yaml, log.csv, log.png, best.pt (best mean PQ on the validation frames),
last.pt and, at the end, weights.safetensors (of the last step).
Stop it with Ctrl-C: it saves and leaves (a second Ctrl-C does not wait for that); --resume goes on
as if it had never stopped.
"""

import argparse
from functools import partial
from pathlib import Path

from bev_instseg.cli import add_data_arguments, new_parser, run
from bev_instseg.config import load_config
from bev_instseg.datasets.objects import load_objects
from bev_instseg.engine import Trainer, TrainingError
from bev_instseg.training_set import TrainingSet, list_sources
from bev_instseg.visualize import draw_training


def main(argv: list[str] | None = None, prog: str = "python tools/train_kitti.py") -> int:
    """Run the tool; returns the exit code."""
    return run("train_kitti", partial(train, parse_arguments(argv, prog)), TrainingError)


def train(arguments: argparse.Namespace) -> int:
    """Train as the command line says; returns the exit code."""
    config, out = load_config(*arguments.config), arguments.out
    databases = [load_objects(path, config.class_names) for path in arguments.objects]
    training_set = TrainingSet(list_sources(config, arguments.data, "train"), config, databases)
    validation = [ref for _, refs in list_sources(config, arguments.data, "val") for ref in refs]
    trainer = Trainer(config, training_set, validation, out, arguments.resume, arguments.init)
    trainer.run(after_validation=lambda: draw_training(out / "log.csv", out / "log.png"))
    if trainer.rank == 0:
        draw_training(out / "log.csv", out / "log.png")
        if trainer.step < config.train.steps:
            print(f"stopped at step {trainer.step} of {config.train.steps}; --resume goes on")
    return 0


def parse_arguments(argv: list[str] | None, prog: str) -> argparse.Namespace:
    """The command line."""
    parser = new_parser(__doc__, prog)
    add_data_arguments(parser)
    parser.add_argument(
        "--out", required=True, type=Path, metavar="RUN_DIR", help="the run's folder"
    )
    parser.add_argument(
        "--objects",
        nargs="+",
        default=[],
        type=Path,
        metavar="NPZ",
        help="paste these, of tools/cut_objects.py, from each file as often (default: the training "
        "frames' own)",
    )
    start = parser.add_mutually_exclusive_group()
    start.add_argument("--resume", action="store_true", help="go on from RUN_DIR/last.pt")
    start.add_argument(
        "--init", type=Path, metavar="WEIGHTS", help="start from these weights (fine-tune)"
    )
    return parser.parse_args(argv)
