r"""Cut the labelled objects out of training frames, for training to paste into others.

Examples:
  %(prog)s --config configs/mixed.yaml --data ~/data --out objects.npz
  %(prog)s --config configs/mixed.yaml --data ~/data --out hard.npz \
      --distractors runs/first/weights.safetensors
Then bev-instseg train --objects objects.npz pastes them into its training frames.

With --distractors, the network also segments the frames, and its false positives on background are
added to the file. Training pastes them as background.

Only the configuration's training frames are read. Each object of at least 15 points is stored with
its points, their heights above the ground, its class, box centre and size, and its frame's name.
"""

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from bev_instseg.cli.arguments import (
    add_data_arguments,
    add_sources_argument,
    new_parser,
    run,
    to_file,
    weights_file,
)
from bev_instseg.cli.check_labels import by_path, check_cutting
from bev_instseg.config import Config
from bev_instseg.config_files import load_config
from bev_instseg.tables import markdown_table
from bev_instseg.training.cutouts import (
    MIN_CUTOUT_POINTS,
    Cutout,
    cut_distractors,
    cut_objects,
    group_by_class,
    save_objects,
)
from bev_instseg.training.training_set import (
    TrainingSet,
    list_sources,
    only_sources,
    read_frame_on_grid,
)

if TYPE_CHECKING:
    from bev_instseg.segmenter import Segmenter


def main(argv: list[str] | None = None, prog: str = "python tools/cut_objects.py") -> int:
    """Run the tool; return the exit code."""
    arguments = parse_arguments(argv, prog)
    return run(arguments.program, partial(cut_all, arguments))


def cut_all(arguments: argparse.Namespace) -> int:
    """Cut, write and count the objects; return the exit code."""
    config = only_sources(load_config(*arguments.config), arguments.sources)
    sources = list_sources(config, arguments.data, "train")
    refs = TrainingSet(sources, config).refs
    check_cutting(by_path(sources, config), config, MIN_CUTOUT_POINTS)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    segmenter = load_segmenter(arguments.distractors, config) if arguments.distractors else None
    cutouts: list[Cutout] = []
    for ref in tqdm(refs, unit="frame"):
        frame, height_m = read_frame_on_grid(ref, config)
        cutouts += cut_objects(frame, height_m)
        if segmenter:
            cutouts += cut_distractors(frame, height_m, segmenter.segment(frame.points))
    save_objects(arguments.out, cutouts, config.class_names)
    print(object_table(cutouts, config.class_names))
    print(f"{len(cutouts)} object(s) of {len(refs)} frame(s) in {arguments.out}")
    return 0


def load_segmenter(path: Path, config: Config) -> "Segmenter":
    """Load the network that finds distractors.

    Args:
        path: Its weights.
        config: The configuration whose classes it must have.

    Raises:
        CheckpointError: The weights cannot be read.
        ValueError: They have different classes.
    """
    from bev_instseg.segmenter import Segmenter  # imports torch, which --help does not need

    segmenter = Segmenter.from_checkpoint(path)
    if segmenter.config.class_names != config.class_names:
        raise ValueError(
            f"{path}: has the classes {', '.join(segmenter.config.class_names)}, but the "
            f"configuration has {', '.join(config.class_names)}; choose other weights"
        )
    return segmenter


def parse_arguments(argv: list[str] | None, prog: str) -> argparse.Namespace:
    """Parse the command line."""
    parser = new_parser(__doc__, prog)
    add_data_arguments(parser)
    add_sources_argument(parser)
    parser.add_argument(
        "--distractors",
        type=weights_file,
        metavar="NAME|WEIGHTS",
        help="also cut out this network's false positives on background",
    )
    parser.add_argument(
        "--out", required=True, type=to_file, metavar="NPZ", help="the file to write"
    )
    return parser.parse_args(argv)


def object_table(cutouts: Sequence[Cutout], class_names: Sequence[str]) -> str:
    """Format counts, and the 10th, 50th and 90th percentiles of measurements, for each class."""
    rows = [["class", "objects", "frames", "range (m)", "points", "length (m)", "height (m)"]]
    names = (*class_names, "distractor")
    for name, own in zip(names, group_by_class(cutouts, len(class_names)), strict=True):
        row = [name, str(len(own)), str(len({cutout.origin for cutout in own}))]
        for values, digits in (
            ([cutout.range_m for cutout in own], 0),
            ([len(cutout.points) for cutout in own], 0),
            ([cutout.size_m[0] for cutout in own], 1),
            ([cutout.size_m[2] for cutout in own], 1),
        ):
            quantiles = np.quantile(values, (0.1, 0.5, 0.9)) if values else []
            row.append(" / ".join(f"{value:.{digits}f}" for value in quantiles) or "-")
        rows.append(row)
    return markdown_table(rows)
