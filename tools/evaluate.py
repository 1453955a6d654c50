#!/usr/bin/env python
"""Score a network on labelled frames: PQ, SQ, RQ, AP, coverage and recall per class.

Examples:
  python tools/evaluate.py --data ~/kitti --split val
  python tools/evaluate.py --data ~/semantickitti --sequences 06 10 --json scores.json

The layout (KITTI boxes or SemanticKITTI labels) is told from the folders. Judged are the points
within 50 m that somebody labelled; see bev_instseg/metrics.py for every definition.
"""

import argparse
import json
import sys
from pathlib import Path

from tqdm import tqdm

from bev_instseg.cli import add_network_arguments, make_segmenter, new_parser
from bev_instseg.datasets.scan_io import write_atomic
from bev_instseg.datasets.sources import detect_layout, list_frames
from bev_instseg.metrics import Evaluator
from bev_instseg.visualize import draw_bev


def main(argv: list[str] | None = None) -> int:
    """Run the tool; returns the exit code."""
    arguments = parse_arguments(argv)
    try:
        layout = detect_layout(arguments.data)
        entries = [arguments.split] if layout == "kitti" else arguments.sequences
        if not entries:
            raise ValueError(f"{arguments.data}: name its --sequences")
        refs = list_frames(arguments.data, layout, entries, arguments.unlabelled_is_background)
        segmenter = make_segmenter(arguments)
        evaluator = Evaluator(segmenter.config.class_names)
        for ref in tqdm(refs, unit="frame"):
            frame = ref.read(segmenter.config.classes, segmenter.config.data)
            instances = segmenter.segment(frame.points)
            evaluator.add(frame, instances)
            if arguments.png:
                arguments.png.mkdir(parents=True, exist_ok=True)
                path = arguments.png / f"{ref.name.replace('/', '_')}.png"
                draw_bev(frame.points, instances, path, title=ref.name, truth=frame)
        result = evaluator.result()
        print(result.table())
        if arguments.json:
            body = {"data": arguments.data.name, "frames": [ref.name for ref in refs]}
            body |= {"weights_sha256": segmenter.weights_sha256, **result.to_dict()}
            write_atomic(arguments.json, (json.dumps(body, indent=1) + "\n").encode())
    except (ValueError, OSError) as error:
        print(f"evaluate: {error}", file=sys.stderr)
        return 2
    return 0


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = new_parser(__doc__)
    parser.add_argument("--data", required=True, type=Path, metavar="DIR", help="the data set")
    parser.add_argument("--split", default="val", help="KITTI: a list in ImageSets (default: val)")
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
    return parser.parse_args(argv)


if __name__ == "__main__":
    raise SystemExit(main())
