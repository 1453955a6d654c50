"""Cut the labelled objects out of training frames, for training to paste into others.

Examples:
  %(prog)s --config configs/mixed.yaml --data ~/data --out objects.npz
  %(prog)s --config configs/mixed.yaml --data ~/data --out hard.npz \\
      --distractors runs/first/weights.safetensors
Then bev-instseg train --objects objects.npz pastes them into whatever it trains on.

With --distractors a network looks at the frames, too, and what it takes for objects although it is
background goes into the file: training pastes it as background.

Only the frames that the configuration trains on are opened. The file holds each object of 15 points
or more: its points, with heights above the ground, class, box centre and size, and its frame.
"""

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from bev_instseg.cli.arguments import add_data_arguments, new_parser, run
from bev_instseg.config import load_config
from bev_instseg.tables import markdown_table
from bev_instseg.training.cutouts import (
    Cutout,
    by_class,
    cut_distractors,
    cut_objects,
    save_objects,
)
from bev_instseg.training.training_set import TrainingSet, list_sources, read_frame


def main(argv: list[str] | None = None, prog: str = "python tools/cut_objects.py") -> int:
    """Run the tool; returns the exit code."""
    arguments = parse_arguments(argv, prog)
    return run(arguments.program, partial(cut_all, arguments))


def cut_all(arguments: argparse.Namespace) -> int:
    """Cut, write and count the objects; returns the exit code."""
    config = load_config(*arguments.config)
    refs = TrainingSet(list_sources(config, arguments.data, "train"), config).refs
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    segmenter = None
    if arguments.distractors:
        from bev_instseg.segmenter import Segmenter  # torch: not for --help

        segmenter = Segmenter.from_checkpoint(arguments.distractors)
        if segmenter.config.class_names != config.class_names:
            raise ValueError(
                f"{arguments.distractors}: its classes are "
                f"{', '.join(segmenter.config.class_names)}, the configuration's "
                f"{', '.join(config.class_names)}"
            )
    cutouts: list[Cutout] = []
    for ref in tqdm(refs, unit="frame"):
        frame, height_m = read_frame(ref, config)
        cutouts += cut_objects(frame, height_m)
        if segmenter:
            cutouts += cut_distractors(frame, height_m, segmenter.segment(frame.points))
    save_objects(arguments.out, cutouts, config.class_names)
    print(table(cutouts, config.class_names))
    print(f"{len(cutouts)} object(s) of {len(refs)} frame(s) in {arguments.out}")
    return 0


def parse_arguments(argv: list[str] | None, prog: str) -> argparse.Namespace:
    """The command line."""
    parser = new_parser(__doc__, prog)
    add_data_arguments(parser)
    parser.add_argument(
        "--distractors", type=Path, metavar="WEIGHTS", help="add the false alarms of this network"
    )
    parser.add_argument("--out", required=True, type=Path, metavar="NPZ", help="the file to write")
    return parser.parse_args(argv)


def table(cutouts: Sequence[Cutout], class_names: Sequence[str]) -> str:
    """Numbers per class; of ranges, points and boxes, what 10, 50 and 90 of 100 stay below."""
    rows = [["class", "objects", "frames", "range (m)", "points", "length (m)", "height (m)"]]
    names = (*class_names, "distractor")
    for name, own in zip(names, by_class(cutouts, len(class_names)), strict=True):
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
