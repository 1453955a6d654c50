"""Train the network on any mixture of KITTI and SemanticKITTI layouts.

Examples:
  %(prog)s --config configs/kitti.yaml --data ~/kitti --check
      print a table of the labels, and warn of mistakes
  %(prog)s --config configs/kitti.yaml --data ~/kitti --out runs/first
  %(prog)s --config configs/kitti.yaml --data ~/kitti --out runs/first --resume
  %(prog)s --config configs/kitti.yaml --data ~/kitti --out runs/second --tensorboard
  %(prog)s --config sim.yaml --data ~/sim --out runs/sim --objects objects.npz
      paste real objects, found by bev-instseg cut-objects, into simulated frames

Several GPUs: torchrun --nproc-per-node 2 --no-python bev-instseg train ... (the same results up to
rounding).
Ctrl-C, SIGTERM and SIGHUP save and stop, with exit code 130, 143 and 129; a second one stops
without saving. --resume continues with the same numbers as if the run had never stopped.

Each validation prints the scores and the time left. RUN_DIR holds:
  config.yaml          the whole configuration, defaults included
  log.csv, log.png     losses and scores, and their curves up to the last validation
  pictures             prediction next to ground truth at each validation, for the same three frames
  tensorboard          with --tensorboard; view it with: tensorboard --logdir RUN_DIR
  last.pt              the latest state, from which --resume continues
  best.pt              the state with the best mean PQ on the validation frames
  weights.safetensors  the weights of the last step, with a .json, written at the end
"""

import argparse
import os
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from bev_instseg.cli.arguments import (
    add_data_arguments,
    new_parser,
    run,
    to_folder,
    to_path,
    weights_file,
)
from bev_instseg.cli.check_labels import by_path, check_training, warn
from bev_instseg.config import Config
from bev_instseg.config_files import load_config
from bev_instseg.datasets.frames import FrameRef
from bev_instseg.model_files import PRETRAINED
from bev_instseg.training.cutouts import Cutout, load_objects
from bev_instseg.training.training_set import TrainingSet, frame_name, list_sources

if TYPE_CHECKING:
    from bev_instseg.training.trainer import Trainer  # imports torch, which --help does not need


def main(argv: list[str] | None = None, prog: str = "python tools/train_kitti.py") -> int:
    """Run the tool; return the exit code."""
    arguments = parse_arguments(argv, prog)
    return run(arguments.program, partial(train, arguments))


def train(arguments: argparse.Namespace) -> int:
    """Check the labels, then train as configured by the command line; return the exit code."""
    from bev_instseg.training.trainer import Trainer

    config = load_config(*arguments.config)
    if not arguments.check:
        check_run_folder(arguments)
    databases = [load_objects(path, config.class_names) for path in arguments.objects]
    sources, val_sources = (list_sources(config, arguments.data, part) for part in ("train", "val"))
    training_set = TrainingSet(sources, config, databases)
    first = os.environ.get("RANK", "0") == "0"  # of torchrun's processes, or the only one
    if first and (arguments.check or not arguments.resume):  # a resumed run has been checked
        pasted = pasted_classes(databases, config)
        if databases and not pasted_kinds(databases, config):
            raise ValueError(
                "--objects: no object is pasted, because of augment.enabled, augment.paste or "
                "augment.distractors in the configuration; change that, or leave --objects out"
            )
        validated = by_path(val_sources, config, "val")
        check_training(by_path(sources, config), validated, config, pasted)
        warn_of_leaks(databases, val_sources)
    if arguments.check:
        return 0
    validation = [ref for _, refs in val_sources for ref in refs]
    trainer = Trainer(
        config, training_set, validation, arguments.out, arguments.resume, arguments.init
    )
    if trainer.processes.rank:
        trainer.run()
    else:
        run_with_report(trainer, arguments)
    progress = trainer.progress
    if progress.step == config.train.steps:
        return 0
    if trainer.processes.rank == 0:
        print(
            f"stopped at step {progress.step} of {config.train.steps}; its state is saved, "
            "--resume continues"
        )
    return 128 + trainer.stopped_by


def check_run_folder(arguments: argparse.Namespace) -> None:
    """Raise an error if a run in the folder would be overwritten, or there is none to resume.

    Raises:
        TrainingError: The folder already holds a run, or no run to resume.
        ValueError: There is no ``--out``, or TensorBoard is wanted but not installed.
    """
    from bev_instseg.training.run_folder import RunFolder
    from bev_instseg.training.run_report import require_tensorboard

    if arguments.out is None:
        raise ValueError("--out RUN_DIR is missing; only --check works without it")
    if uses_tensorboard(arguments):
        require_tensorboard(arguments.out / "tensorboard")
    folder = RunFolder(arguments.out)
    if arguments.resume:
        folder.require_old()
    else:
        folder.require_new()


def uses_tensorboard(arguments: argparse.Namespace) -> bool:
    """Return whether to write event files: by request, or because the resumed run has some."""
    resumed: bool = arguments.resume and (arguments.out / "tensorboard").exists()
    return resumed or arguments.tensorboard


def run_with_report(trainer: "Trainer", arguments: argparse.Namespace) -> None:
    """Train, writing curves, pictures and event files."""
    from bev_instseg.training.run_report import TrainingReport, open_events

    progress, events = trainer.progress, None
    if uses_tensorboard(arguments):
        events = open_events(arguments.out / "tensorboard", progress.step, progress.rows)
    report = TrainingReport(arguments.out, trainer.config, trainer.validation, events)
    trainer.run(after_row=report)
    report.draw_curves()


def warn_of_leaks(
    databases: Sequence[Sequence[Cutout]], validation: Sequence[tuple[float, Sequence[FrameRef]]]
) -> None:
    """Print a warning if objects to paste were cut from validation frames."""
    names = {frame_name(ref) for _, refs in validation for ref in refs}
    leaks = [one.origin for cutouts in databases for one in cutouts if one.origin in names]
    if leaks:
        warn(
            f"{len(leaks)} of the --objects are from validation frames, such as {leaks[0]}: their "
            "scores will be too good"
        )


def pasted_classes(databases: Sequence[Sequence[Cutout]], config: Config) -> set[str]:
    """Return the names of the classes whose objects training pastes from databases."""
    kinds = pasted_kinds(databases, config)
    return {config.class_names[index] for index in kinds if index >= 0}


def pasted_kinds(databases: Sequence[Sequence[Cutout]], config: Config) -> set[int]:
    """Return the class indices of what training pastes from databases; -1 for distractors."""
    counts = (*config.augment.paste, config.augment.distractors)
    found = {cutout.class_index for cutouts in databases for cutout in cutouts}
    return {index for index in found if config.augment.enabled and counts[index]}


def parse_arguments(argv: list[str] | None, prog: str) -> argparse.Namespace:
    """Parse the command line."""
    parser = new_parser(__doc__, prog)
    add_data_arguments(parser)
    parser.add_argument(
        "--out",
        type=to_folder,
        metavar="RUN_DIR",
        help="folder of the run; not needed with --check",
    )
    parser.add_argument("--check", action="store_true", help="print a table of the labels and stop")
    parser.add_argument(
        "--objects",
        nargs="+",
        default=[],
        type=to_path,
        metavar="NPZ",
        help="paste the objects in these files, made by bev-instseg cut-objects, each file equally "
        "often (default: the training frames' own objects)",
    )
    start = parser.add_mutually_exclusive_group()
    start.add_argument("--resume", action="store_true", help="continue from RUN_DIR/last.pt")
    start.add_argument(
        "--init",
        type=weights_file,
        metavar="NAME|WEIGHTS",
        help=f"start from these weights (fine-tune): {', '.join(PRETRAINED)} (of the package), "
        "or a file",
    )
    parser.add_argument(
        "--tensorboard",
        action="store_true",
        help="write event files to RUN_DIR/tensorboard (--resume continues existing ones)",
    )
    return parser.parse_args(argv)
