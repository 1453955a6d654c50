"""Label unlabelled sweeps with a network, to train another one on them.

Examples:
  %(prog)s recordings/velodyne --out selflabelled
  %(prog)s recordings/velodyne --out selflabelled --min-score 0.95 --max-background-seed 0.05

Writes DIR/sequences/00 in SemanticKITTI layout, sweeps in the order of their file names:
  velodyne/000000.bin   the sweep
  labels/000000.label   objects that score at least --min-score; 99 (background) where all seed
                        maps are below --max-background-seed; 0 (void) everywhere else
Use it for training like any other SemanticKITTI source.
"""

import argparse
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from bev_instseg.cli.arguments import (
    add_network_arguments,
    make_segmenter,
    new_parser,
    run,
    to_folder,
    to_path,
)
from bev_instseg.cli.report import Report
from bev_instseg.datasets.semantickitti import write_frame
from bev_instseg.io.sensor_setup import SensorSetup
from bev_instseg.io.survey import survey_sweeps
from bev_instseg.io.sweep import read_sweep

if TYPE_CHECKING:
    from bev_instseg.segmenter import Segmenter  # imports torch, which --help does not need

UNFINISHED = "00.unfinished"  # the sequence until all of its sweeps are labelled


def main(argv: list[str] | None = None, prog: str = "python tools/self_label.py") -> int:
    """Run the tool; return the exit code."""
    arguments = parse_arguments(argv, prog)
    return run(arguments.program, partial(label_all, arguments))


def label_all(arguments: argparse.Namespace) -> int:
    """Label every sweep; return the exit code."""
    from bev_instseg.training.self_labels import require_trainable_labels

    scans = sorted(arguments.sweeps.glob("[!.]*.bin"))
    if not scans:
        raise ValueError(f"{arguments.sweeps}: no .bin sweeps in this folder; choose another")
    folder = arguments.out / "sequences" / "00"
    if folder.exists():
        raise FileExistsError(f"{folder}: already exists; choose a different --out")
    segmenter = make_segmenter(arguments)
    require_trainable_labels(segmenter.config, str(arguments.config or arguments.weights))
    unfinished = folder.with_name(UNFINISHED)
    if unfinished.exists():  # left behind by a run that was killed
        shutil.rmtree(unfinished)
    try:
        shares = label_sweeps(arguments, segmenter, scans)
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    percent = max(sum(shares), 1) / 100
    objects, background, void = (f"{number / percent:.1f} %" for number in shares)
    print(
        f"{len(scans)} sweep(s) in {arguments.out}: {objects} of the points on objects, "
        f"{background} background, {void} void"
    )
    return 0


def label_sweeps(
    arguments: argparse.Namespace, segmenter: "Segmenter", scans: Sequence[Path]
) -> tuple[int, int, int]:
    """Label sweeps and write them to the folder `UNFINISHED`.

    Args:
        arguments: The parsed command line.
        segmenter: The network.
        scans: The sweeps.

    Returns:
        Numbers of points on objects, of background and void.

    Raises:
        ScanError: A sweep cannot be used.
    """
    from bev_instseg.training.self_labels import BACKGROUND, self_labels

    class_labels = [c.label for c in segmenter.config.classes]
    void = background = objects = 0
    survey = survey_sweeps(scans, SensorSetup())
    report = Report(arguments.program)
    for frame, path in enumerate(tqdm(scans, unit="sweep")):
        sweep = read_sweep(path, reading=survey.reading_of(path))
        for notice in sweep.notices:
            report.notice(notice, path)
        points = sweep.points
        labels = self_labels(
            segmenter.segment_with_maps(points),
            class_labels,
            arguments.min_score,
            arguments.max_background_seed,
        )
        write_frame(arguments.out, UNFINISHED, frame, points, labels)
        void += int((labels == 0).sum())
        background += int((labels == BACKGROUND).sum())
        objects += int((labels >> 16 > 0).sum())
    report.totals()
    return objects, background, void


def parse_arguments(argv: list[str] | None, prog: str) -> argparse.Namespace:
    """Parse the command line."""
    parser = new_parser(__doc__, prog)
    parser.add_argument("sweeps", type=to_path, metavar="SWEEPS", help="folder of .bin sweeps")
    parser.add_argument("--out", required=True, type=to_folder, metavar="DIR", help="output folder")
    parser.add_argument(
        "--min-score",
        type=fraction,
        default=0.9,
        metavar="SCORE",
        help="objects with a lower score become void (default: 0.9)",
    )
    parser.add_argument(
        "--max-background-seed",
        type=fraction,
        default=0.1,
        metavar="SEED",
        help="points without an object, but with a higher seed of any class, become void "
        "(default: 0.1)",
    )
    add_network_arguments(parser)
    return parser.parse_args(argv)


def fraction(text: str) -> float:
    """Parse a number in 0..1."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"must be a number from 0 to 1, got {text}")
    return value
