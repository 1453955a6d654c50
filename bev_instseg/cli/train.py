"""Train the network on any mixture of KITTI and SemanticKITTI layouts.

Examples:
  %(prog)s --config configs/kitti.yaml --data ~/kitti --out runs/first
  %(prog)s --config configs/kitti.yaml --data ~/kitti --out runs/first --resume
  %(prog)s --config configs/kitti.yaml --data ~/kitti --out runs/second --tensorboard
  %(prog)s --config sim.yaml --data ~/sim --out runs/sim --objects objects.npz
      paste real objects, found by bev-instseg cut-objects, into simulated frames

Several GPUs: torchrun --nproc-per-node 2 --no-python bev-instseg train ... (the same results up to
rounding).
Ctrl-C saves and stops; a second Ctrl-C stops without saving. --resume continues with the same
numbers as if the run had never stopped.

Each validation prints the scores and the time left. RUN_DIR holds:
  config.yaml          the whole configuration, defaults included
  log.csv, log.png     losses and scores, and their curves up to the last validation
  pictures             prediction beside truth at each validation, always of the same three frames
  tensorboard          with --tensorboard; view it with: tensorboard --logdir RUN_DIR
  last.pt              the state that --resume continues from
  best.pt              the state with the best mean PQ on the validation frames
  weights.safetensors  the weights of the last step with a .json beside them, written at the end
"""

import argparse
from functools import partial
from pathlib import Path

from bev_instseg.cli.arguments import add_data_arguments, new_parser, run
from bev_instseg.config import load_config


def main(argv: list[str] | None = None, prog: str = "python tools/train_kitti.py") -> int:
    """Run the tool; return the exit code."""
    arguments = parse_arguments(argv, prog)
    return run(arguments.program, partial(train, arguments))


def train(arguments: argparse.Namespace) -> int:
    """Train as configured by the command line; return the exit code."""
    from bev_instseg.training.cutouts import load_objects
    from bev_instseg.training.run_report import TrainingReport, open_events, require_tensorboard
    from bev_instseg.training.trainer import Trainer
    from bev_instseg.training.training_set import TrainingSet, list_sources

    config, out = load_config(*arguments.config), arguments.out
    events_folder = out / "tensorboard"
    tensorboard = arguments.tensorboard or (arguments.resume and events_folder.exists())
    if tensorboard:
        require_tensorboard(events_folder)
    databases = [load_objects(path, config.class_names) for path in arguments.objects]
    training_set = TrainingSet(list_sources(config, arguments.data, "train"), config, databases)
    validation = [ref for _, refs in list_sources(config, arguments.data, "val") for ref in refs]
    trainer = Trainer(config, training_set, validation, out, arguments.resume, arguments.init)
    if trainer.processes.rank:
        trainer.run()
        return 0
    progress = trainer.progress
    events = open_events(events_folder, progress.step, progress.rows) if tensorboard else None
    report = TrainingReport(out, config, trainer.validation, events)
    trainer.run(after_row=report)
    report.draw_curves()
    if progress.step < config.train.steps:
        print(f"stopped at step {progress.step} of {config.train.steps}; continue with --resume")
    return 0


def parse_arguments(argv: list[str] | None, prog: str) -> argparse.Namespace:
    """Parse the command line."""
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
        help="paste the objects in these files, made by bev-instseg cut-objects, each file equally "
        "often (default: the training frames' own objects)",
    )
    start = parser.add_mutually_exclusive_group()
    start.add_argument("--resume", action="store_true", help="continue from RUN_DIR/last.pt")
    start.add_argument(
        "--init", type=Path, metavar="WEIGHTS", help="start from these weights (fine-tune)"
    )
    parser.add_argument(
        "--tensorboard",
        action="store_true",
        help="write event files to RUN_DIR/tensorboard (--resume continues existing ones)",
    )
    return parser.parse_args(argv)
