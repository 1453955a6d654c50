"""Train the network on any mixture of KITTI and SemanticKITTI layouts.

Examples:
  %(prog)s --config configs/kitti.yaml --data ~/kitti --out runs/first
  %(prog)s --config configs/kitti.yaml --data ~/kitti --out runs/first --resume
  %(prog)s --config configs/kitti.yaml --data ~/kitti --out runs/second --tensorboard
  %(prog)s --config sim.yaml --data ~/sim --out runs/sim --objects objects.npz
      objects that bev-instseg cut-objects found in real frames, pasted into simulated ones

Several GPUs: torchrun --nproc-per-node 2 --no-python bev-instseg train ... (same numbers).
Stop it with Ctrl-C: it saves and leaves (a second Ctrl-C does not wait for that); --resume goes on
as if it had never stopped.

Each validation prints the scores and the time left. RUN_DIR holds
  config.yaml          the whole configuration, defaults included
  log.csv, log.png     losses and scores, and their curves as of the last validation
  pictures             prediction beside truth of the same three frames at each validation
  tensorboard          with --tensorboard: the same; look with: tensorboard --logdir RUN_DIR
  last.pt              where --resume goes on
  best.pt              the best mean PQ on the validation frames
  weights.safetensors  at the end: the weights of the last step
"""

import argparse
from functools import partial
from pathlib import Path

from bev_instseg.cli.arguments import add_data_arguments, new_parser, run
from bev_instseg.config import load_config
from bev_instseg.exceptions import TrainingError
from bev_instseg.training.cutouts import load_objects
from bev_instseg.training.run_report import TrainingReport, open_events, require_tensorboard
from bev_instseg.training.trainer import Trainer
from bev_instseg.training.training_set import TrainingSet, list_sources


def main(argv: list[str] | None = None, prog: str = "python tools/train_kitti.py") -> int:
    """Run the tool; returns the exit code."""
    arguments = parse_arguments(argv, prog)
    return run(arguments.program, partial(train, arguments), TrainingError)


def train(arguments: argparse.Namespace) -> int:
    """Train as the command line says; returns the exit code."""
    config, out = load_config(*arguments.config), arguments.out
    events_at = out / "tensorboard"
    tensorboard = arguments.tensorboard or (arguments.resume and events_at.exists())
    if tensorboard:
        require_tensorboard(events_at)
    databases = [load_objects(path, config.class_names) for path in arguments.objects]
    training_set = TrainingSet(list_sources(config, arguments.data, "train"), config, databases)
    validation = [ref for _, refs in list_sources(config, arguments.data, "val") for ref in refs]
    trainer = Trainer(config, training_set, validation, out, arguments.resume, arguments.init)
    if trainer.rank:
        trainer.run()
        return 0
    events = open_events(events_at, trainer.step, trainer.rows) if tensorboard else None
    report = TrainingReport(out, config, trainer.validation, events)
    trainer.run(after_row=report)
    report.draw_curves()
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
        help="paste these, of bev-instseg cut-objects, from each file as often (default: the "
        "training frames' own)",
    )
    start = parser.add_mutually_exclusive_group()
    start.add_argument("--resume", action="store_true", help="go on from RUN_DIR/last.pt")
    start.add_argument(
        "--init", type=Path, metavar="WEIGHTS", help="start from these weights (fine-tune)"
    )
    parser.add_argument(
        "--tensorboard",
        action="store_true",
        help="write event files to RUN_DIR/tensorboard (--resume goes on with those there)",
    )
    return parser.parse_args(argv)
