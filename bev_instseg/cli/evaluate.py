"""Score a network on labelled frames: PQ, SQ, RQ, AP, coverage and recall per class.

Examples:
  %(prog)s --data ~/kitti --split val --json scores.json
  %(prog)s --data ~/semantickitti --sequences 06 10 --errors errors
  %(prog)s --data ~/drives --sequences 00 01 --sequence --smooth
  %(prog)s --data ~/semantickitti --sequences 06 10 --unknown
  %(prog)s --data ~/semantickitti --sequences 00 --weights lanes --points

The layout (KITTI boxes or SemanticKITTI labels) is recognised from the folders. Only labelled
points within 50 m of the sensor count; bev_instseg/evaluation/metrics.py defines every measure.
First comes a table of the kinds of labels and how they are used, then the scores, then recall and
PQ by number of points, by range and by the length of the visible part.

--sequence tracks the objects of each sequence (as segment --track does) and prints PQ without and
with tracking, HOTA, MOTA, IDF1, id switches and LSTQ. For simulated sequences it also prints the
mean errors of positions and velocities, from their objects.csv. --smooth adds the same scores for
smoothed tracks (as segment --track --smooth makes them); the labels of a whole sequence are then
in memory.

--unknown prints how well the ground is found. It also prints the recall of all labelled objects,
whatever their class, with and without unknown objects (as segment --unknown finds them). Both are
compared with ground removal + DBSCAN, with times. The labels must use SemanticKITTI's classes.

--points prints the precision and recall of points by class, whatever their instance, for labels
without instance ids, such as SemanticKITTI's lane markings. With --tolerance, a predicted point
then counts as correct if a labelled point of its class is within this distance, and vice versa.

--errors DIR writes a list of all missed objects and false alarms (errors.csv), statistics of them
(errors.md), pictures of the frames with the most errors (worst_1.png, ...) and a reliability
diagram of the scores (reliability.png).
"""

import argparse
import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from bev_instseg.cli.arguments import (
    add_network_arguments,
    make_segmenter,
    new_parser,
    not_negative_number,
    run,
    to_file,
    to_folder,
    to_path,
)
from bev_instseg.cli.check_labels import check_evaluation
from bev_instseg.datasets.frames import FrameRef, detect_layout, list_frames
from bev_instseg.evaluation.buckets import (
    LENGTHS,
    POINTS,
    RANGES_M,
    Quality,
    bucket_table,
    class_quality,
    length_m,
    num_points,
    range_m,
)
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
from bev_instseg.visualize import draw_comparison

if TYPE_CHECKING:
    from bev_instseg.segmenter import Segmenter  # imports torch, which --help does not need

OTHER_TABLES = {  # options that print a different table, and the options they cannot combine with
    "sequence": ("png", "errors", "json", "tolerance"),
    "unknown": ("png", "errors", "json", "tolerance", "unlabelled_is_background"),
    "points": ("png", "errors", "json", "check"),
}


def main(argv: list[str] | None = None, prog: str = "python tools/evaluate.py") -> int:
    """Run the command and return its exit code."""
    arguments = parse_arguments(argv, prog)
    return run(arguments.program, partial(evaluate, arguments))


def evaluate(arguments: argparse.Namespace) -> int:
    """Score the chosen frames, print and write the results, and return the exit code."""
    from bev_instseg.evaluation.score_frames import score_frames  # imports torch

    refs = list_chosen_frames(arguments)
    segmenter = make_segmenter(arguments, arguments.sequence)
    if arguments.points:  # needs no instances, which the check looks for
        from bev_instseg.evaluation.point_scores import score_points

        frames = tqdm(refs, unit="frame")
        print(score_points(segmenter, arguments.data, frames, arguments.tolerance).table())
        return 0
    check_evaluation({arguments.data.name: refs}, segmenter.config)
    if arguments.check:
        return 0
    if arguments.unknown:
        from bev_instseg.benchmark.unknown import compare_unknown

        print(compare_unknown(segmenter, arguments.data, refs))
        return 0
    if arguments.sequence:
        from bev_instseg.cli.evaluate_sequences import score_sequences

        print(score_sequences(arguments.data, refs, segmenter, arguments.smooth).table())
        return 0
    for folder in (arguments.png, arguments.errors, arguments.json and arguments.json.parent):
        if folder:
            folder.mkdir(parents=True, exist_ok=True)

    def draw(frame: Frame, instances: Instances) -> None:
        if arguments.png:
            path = arguments.png / f"{frame.name.replace('/', '_')}.png"
            draw_comparison(frame, instances, path, title=frame.name)

    frames = tqdm(refs, unit="frame")
    evaluator = score_frames(segmenter, frames, segmenter.config, draw, arguments.tolerance)
    result = evaluator.result()
    print(result.table())
    tables = {
        "per_points": ("points", class_quality(evaluator, num_points, POINTS)),
        "per_range_m": ("range (m)", class_quality(evaluator, range_m, RANGES_M)),
        "per_length": ("length", class_quality(evaluator, length_m, LENGTHS)),
    }
    for heading, per_class in tables.values():
        print(f"\n{bucket_table(per_class, heading)}")
    if arguments.json:
        body = {"data": arguments.data.name, "frames": [ref.name for ref in refs]}
        body |= {"weights_sha256": segmenter.weights_sha256, "tta": segmenter.tta}
        body |= result.to_dict()
        body |= {key: as_json(per_class) for key, (_, per_class) in tables.items()}
        write_atomic(arguments.json, (json.dumps(body, indent=1) + "\n").encode())
    if arguments.errors:
        write_error_study(arguments.errors, arguments.data.name, evaluator, refs, segmenter)
    return 0


def as_json(per_class: Mapping[str, Mapping[str, Quality]]) -> dict[str, Any]:
    """Return the measures by class and bucket as plain values."""
    return {
        name: {label: quality.to_dict() for label, quality in by_bucket.items()}
        for name, by_bucket in per_class.items()
    }


def write_error_study(
    folder: Path, data_name: str, evaluator: Evaluator, refs: list[FrameRef], segmenter: "Segmenter"
) -> None:
    """Write the files of ``--errors``; the worst frames are segmented again to draw them.

    Args:
        folder: Output folder; an earlier study in it is replaced.
        data_name: Name of the data set.
        evaluator: All frames, in the order of ``refs``.
        refs: The frames.
        segmenter: The segmenter that was scored.
    """
    write_atomic(folder / "errors.csv", errors_csv(evaluator).encode())
    write_atomic(folder / "errors.md", errors_markdown(evaluator, data_name).encode())
    draw_reliability(class_reliability(evaluator), folder / "reliability.png")
    for old in folder.glob("worst_[0-9]*.png"):
        old.unlink()
    for place, i in enumerate(worst_frames(evaluator.comparisons), 1):
        frame = refs[i].read(segmenter.config.classes, segmenter.config.data)
        instances = segmenter.segment(frame.points)
        draw_errors(frame, instances, evaluator.comparisons[i], folder / f"worst_{place}.png")


def list_chosen_frames(arguments: argparse.Namespace) -> list[FrameRef]:
    """List the frames chosen on the command line.

    Raises:
        ValueError: There is no data set, a frame is missing, or an option belongs to the other
            layout.
    """
    layout = detect_layout(arguments.data)
    if layout == "kitti" and (arguments.sequences or arguments.unlabelled_is_background):
        raise ValueError(
            f"{arguments.data}: this is KITTI layout, use --split; --sequences and "
            "--unlabelled-is-background are for SemanticKITTI layout"
        )
    if layout == "kitti" and arguments.sequence:
        raise ValueError(f"{arguments.data}: --sequence needs SemanticKITTI layout, with ids")
    if layout == "kitti" and arguments.unknown:
        raise ValueError(
            f"{arguments.data}: --unknown needs SemanticKITTI layout, with a class for each point"
        )
    if layout == "kitti" and arguments.points:
        raise ValueError(f"{arguments.data}: --points needs SemanticKITTI layout")
    for table, options in OTHER_TABLES.items():
        for option in options:
            if getattr(arguments, table) and getattr(arguments, option):
                flag = option.replace("_", "-")
                raise ValueError(f"--{table} cannot be combined with --{flag}: leave one out")
    if arguments.smooth and not arguments.sequence:
        raise ValueError("--smooth is for tracks: add --sequence, or leave it out")
    if sum(getattr(arguments, table) for table in OTHER_TABLES) > 1:
        raise ValueError("--sequence, --unknown and --points print different tables: choose one")
    if layout == "semantickitti" and arguments.split is not None:
        raise ValueError(
            f"{arguments.data}: this is SemanticKITTI layout, use --sequences, not --split"
        )
    if layout == "semantickitti" and not arguments.sequences:
        raise ValueError(f"{arguments.data}: this is SemanticKITTI layout, choose --sequences")
    split = "val" if arguments.split is None else arguments.split
    entries = [split] if layout == "kitti" else arguments.sequences
    return list_frames(arguments.data, layout, entries, arguments.unlabelled_is_background)


def parse_arguments(argv: list[str] | None, prog: str) -> argparse.Namespace:
    """Parse the command line."""
    parser = new_parser(__doc__, prog)
    parser.add_argument("--data", required=True, type=to_path, metavar="DIR", help="the data set")
    parser.add_argument("--split", help="KITTI: a list in ImageSets (default: val)")
    parser.add_argument(
        "--sequences",
        nargs="+",
        default=[],
        metavar="SEQ",
        help="SemanticKITTI: sequences or frames, such as 06 or 06/000003",
    )
    parser.add_argument(
        "--unlabelled-is-background",
        action="store_true",
        help="SemanticKITTI: class 0 is background (data sets that label only boxes), not void",
    )
    parser.add_argument(
        "--sequence", action="store_true", help="track through each sequence, and score the tracks"
    )
    parser.add_argument(
        "--smooth",
        action="store_true",
        help="with --sequence: also score smoothed tracks, which use later sweeps",
    )
    parser.add_argument(
        "--unknown",
        action="store_true",
        help="score the ground points, and the recall of labelled objects of any class",
    )
    parser.add_argument(
        "--points",
        action="store_true",
        help="score points by class only, for labels without instance ids",
    )
    parser.add_argument(
        "--tolerance",
        type=not_negative_number,
        default=0.0,
        metavar="METRES",
        help="ignore background points closer than this to an object; for lines, which are "
        "narrower than the cells of the grid, use the size of a cell",
    )
    parser.add_argument(
        "--check", action="store_true", help="print the table of the labels and stop"
    )
    add_network_arguments(parser)
    parser.add_argument(
        "--json", type=to_file, metavar="FILE", help="also write the scores to FILE"
    )
    parser.add_argument(
        "--png", type=to_folder, metavar="DIR", help="draw each frame's prediction and ground truth"
    )
    parser.add_argument(
        "--errors",
        type=to_folder,
        metavar="DIR",
        help="write a study of missed objects and false alarms",
    )
    return parser.parse_args(argv)
