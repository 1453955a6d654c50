"""Label sweeps that nobody labelled, by a network, to train another on: void where it is in doubt.

Examples:
  %(prog)s recordings/velodyne --out selflabelled
  %(prog)s recordings/velodyne --out selflabelled --sure 0.95 --empty 0.05

Below DIR/sequences/00, in the layout of SemanticKITTI and in the order of the files' names,
  velodyne/000000.bin   the sweep
  labels/000000.label   the objects of at least --sure; class 99 where no seed map reaches --empty
                        (background); 0, void, for all else
Train on it as on any SemanticKITTI source.
"""

import argparse
from functools import partial
from pathlib import Path

from tqdm import tqdm

from bev_instseg.cli.arguments import add_network_arguments, make_segmenter, new_parser, run
from bev_instseg.datasets.semantickitti import write_frame
from bev_instseg.io.sweep import read_scan


def main(argv: list[str] | None = None, prog: str = "python tools/self_label.py") -> int:
    """Run the tool; returns the exit code."""
    arguments = parse_arguments(argv, prog)
    return run(arguments.program, partial(label_all, arguments))


def label_all(arguments: argparse.Namespace) -> int:
    """Label every sweep; returns the exit code."""
    from bev_instseg.training.self_labels import BACKGROUND, self_labels

    scans = sorted(arguments.sweeps.glob("*.bin"))
    if not scans:
        raise ValueError(f"{arguments.sweeps}: no .bin sweeps in this folder")
    folder = arguments.out / "sequences" / "00"
    if folder.exists():
        raise FileExistsError(f"{folder}: already exists; choose another --out")
    segmenter = make_segmenter(arguments)
    kinds = [c.label for c in segmenter.config.classes]
    void = background = objects = 0
    for frame, path in enumerate(tqdm(scans, unit="sweep")):
        points = read_scan(path)
        found = segmenter.segment_with_maps(points)
        labels = self_labels(found, kinds, arguments.sure, arguments.empty)
        write_frame(arguments.out, "00", frame, points, labels)
        void += int((labels == 0).sum())
        background += int((labels == BACKGROUND).sum())
        objects += int((labels >> 16 > 0).sum())
    total = max(void + background + objects, 1) / 100
    print(
        f"{len(scans)} sweep(s) in {arguments.out}: {objects / total:.1f} % of the points on "
        f"objects, {background / total:.1f} % background, {void / total:.1f} % void"
    )
    return 0


def parse_arguments(argv: list[str] | None, prog: str) -> argparse.Namespace:
    """The command line."""
    parser = new_parser(__doc__, prog)
    parser.add_argument("sweeps", type=Path, metavar="DIR", help="folder of .bin sweeps")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="where files go")
    parser.add_argument("--sure", type=share, default=0.9, help="least score (default: 0.9)")
    parser.add_argument("--empty", type=share, default=0.1, help="highest seed (default: 0.1)")
    add_network_arguments(parser)
    return parser.parse_args(argv)


def share(text: str) -> float:
    """A number of 0..1."""
    value = float(text)
    if not 0 <= value <= 1:
        raise ValueError(text)
    return value
