"""Score a network on labelled frames: PQ, SQ, RQ, AP, coverage and recall per class.

Examples:
  %(prog)s --data ~/kitti --split val --json scores.json
  %(prog)s --data ~/semantickitti --sequences 06 10 --errors errors

The layout (KITTI boxes or SemanticKITTI labels) is told from the folders. Judged are the points
within 50 m that somebody labelled; see bev_instseg/evaluation/metrics.py for every definition. --errors writes
each missed object and false alarm (errors.csv), what they have in common (errors.md), the frames
with most of them (worst_1.png, ...) and how far scores can be trusted (reliability.png).
"""

import argparse
import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from bev_instseg.cli.arguments import add_network_arguments, make_segmenter, new_parser, run
from bev_instseg.datasets.frames import FrameRef, detect_layout, list_frames
from bev_instseg.evaluation.error_pictures import draw_errors, draw_reliability
from bev_instseg.evaluation.error_study import (
    class_reliability,
    errors_csv,
    errors_markdown,
    worst_frames,
)
from bev_instseg.evaluation.metrics import Evaluator
from bev_instseg.file_io import write_atomic
from bev_instseg.structures import Frame, Instances
from bev_instseg.visualize import draw_bev

if TYPE_CHECKING:
    from bev_instseg.segmenter import Segmenter  # torch: not for --help


def main(argv: list[str] | None = None, prog: str = "python tools/evaluate.py") -> int:
    """Run the tool; returns the exit code."""
    arguments = parse_arguments(argv, prog)
    return run(arguments.program, partial(evaluate_all, arguments))


def evaluate_all(arguments: argparse.Namespace) -> int:
    """Score the frames asked for; returns the exit code."""
    from bev_instseg.evaluation.score_frames import score_frames  # torch: not for --help

    refs = find_frames(arguments)
    segmenter = make_segmenter(arguments)
    for folder in (arguments.png, arguments.errors, arguments.json and arguments.json.parent):
        if folder:
            folder.mkdir(parents=True, exist_ok=True)

    def draw(frame: Frame, instances: Instances) -> None:
        if arguments.png:
            path = arguments.png / f"{frame.name.replace('/', '_')}.png"
            draw_bev(frame.points, instances, path, title=frame.name, truth=frame)

    evaluator = score_frames(segmenter, tqdm(refs, unit="frame"), segmenter.config, draw)
    result = evaluator.result()
    print(result.table())
    if arguments.json:
        body = {"data": arguments.data.name, "frames": [ref.name for ref in refs]}
        body |= {"weights_sha256": segmenter.weights_sha256, **result.to_dict()}
        write_atomic(arguments.json, (json.dumps(body, indent=1) + "\n").encode())
    if arguments.errors:
        write_error_study(arguments.errors, arguments.data.name, evaluator, refs, segmenter)
    return 0


def write_error_study(
    folder: Path, data: str, evaluator: Evaluator, refs: list[FrameRef], segmenter: "Segmenter"
) -> None:
    """Write what ``--errors`` promises; the worst frames are segmented again to be drawn.

    Args:
        folder: where to; an earlier study there is replaced.
        data: what to call the data set.
        evaluator: of all frames, in the order of ``refs``.
        refs: the frames.
        segmenter: what was evaluated.
    """
    write_atomic(folder / "errors.csv", errors_csv(evaluator).encode())
    write_atomic(folder / "errors.md", errors_markdown(evaluator, data).encode())
    draw_reliability(class_reliability(evaluator), folder / "reliability.png")
    for old in folder.glob("worst_[0-9]*.png"):
        old.unlink()
    for place, i in enumerate(worst_frames(evaluator.comparisons), 1):
        frame = refs[i].read(segmenter.config.classes, segmenter.config.data)
        instances = segmenter.segment(frame.points)
        comparison = evaluator.compare(frame, instances)
        draw_errors(frame, instances, comparison, folder / f"worst_{place}.png")


def find_frames(arguments: argparse.Namespace) -> list[FrameRef]:
    """The frames that the command line names.

    Raises:
        ValueError: no data set, frames that are not there, or options of the other layout.
    """
    layout = detect_layout(arguments.data)
    if layout == "kitti" and (arguments.sequences or arguments.unlabelled_is_background):
        raise ValueError(
            f"{arguments.data}: in KITTI layout; --sequences and --unlabelled-is-background are "
            "for SemanticKITTI's, take --split"
        )
    if layout == "semantickitti" and arguments.split:
        raise ValueError(
            f"{arguments.data}: in SemanticKITTI layout; take --sequences, not --split"
        )
    if layout == "semantickitti" and not arguments.sequences:
        raise ValueError(f"{arguments.data}: name its --sequences")
    entries = [arguments.split or "val"] if layout == "kitti" else arguments.sequences
    return list_frames(arguments.data, layout, entries, arguments.unlabelled_is_background)


def parse_arguments(argv: list[str] | None, prog: str) -> argparse.Namespace:
    """The command line."""
    parser = new_parser(__doc__, prog)
    parser.add_argument("--data", required=True, type=Path, metavar="DIR", help="the data set")
    parser.add_argument("--split", help="KITTI: a list in ImageSets (default: val)")
    parser.add_argument(
        "--sequences", nargs="+", default=[], metavar="SEQ", help="SemanticKITTI: 06 or 06/000003"
    )
    parser.add_argument(
        "--unlabelled-is-background",
        action="store_true",
        help="SemanticKITTI class 0 means no object (data sets that label boxes only), not void",
    )
    add_network_arguments(parser)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the scores there as well")
    parser.add_argument(
        "--png", type=Path, metavar="DIR", help="write pictures of prediction beside truth"
    )
    parser.add_argument(
        "--errors", type=Path, metavar="DIR", help="write a study of what was missed and made up"
    )
    return parser.parse_args(argv)
