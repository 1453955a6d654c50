"""Count how many people are found by how close they are to background that stands on the ground.

Example:
  bev-instseg simulate --out sim --count 200 --sequence 30 --sensor any --seed 5
  python scripts/missed_people.py sim 30

It counts people with at least 50 judged points within 50 m; they are found or missed as in
bev-instseg evaluate. Background is what is labelled as such and higher than 0.3 m above the ground;
the gap is the smallest distance between a point of the person and one of the background.
"""

import argparse
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree
from tqdm import tqdm

from bev_instseg import Segmenter
from bev_instseg.datasets.frames import list_frames
from bev_instseg.evaluation.metrics import Evaluator
from bev_instseg.evaluation.segments import is_match
from bev_instseg.ops.voxelize import point_heights

GAPS_M = (0.0, 0.1, 0.2, 0.4, 0.8, 2.0, np.inf)
MIN_POINTS, STANDS_M = 50, 0.3


def main() -> None:
    """Segment the sweeps and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="folder in SemanticKITTI layout")
    parser.add_argument("sequences", nargs="+")
    arguments = parser.parse_args()
    segmenter = Segmenter.from_pretrained(runtime="torch")
    config = segmenter.config
    person = config.class_names.index("pedestrian")
    evaluator = Evaluator(config.class_names, min_points=MIN_POINTS)
    found = np.zeros((len(GAPS_M) - 1, 2), np.int64)
    for ref in tqdm(list_frames(arguments.data, "semantickitti", arguments.sequences)):
        frame = ref.read(config.classes, config.data)
        stands = point_heights(frame.points, config.grid) > STANDS_M
        background = cKDTree(frame.points[(frame.instance == 0) & stands, :3])
        objects = evaluator.compare(frame, segmenter.segment(frame.points)).objects
        for k in np.flatnonzero(objects["counted"] & (objects["class"] == person)).tolist():
            gap_m = background.query(frame.points[frame.instance == k + 1, :3])[0].min()
            row = int(np.searchsorted(GAPS_M, gap_m, side="right")) - 1
            found[row, int(is_match(objects[k]))] += 1
    print("| gap (m) | people | missed, % |\n| ---: | ---: | ---: |")
    for low, high, (missed, hit) in zip(GAPS_M, GAPS_M[1:], found, strict=False):
        total = missed + hit
        print(f"| {low} to {high} | {total} | {100 * missed / max(total, 1):.0f} |")


if __name__ == "__main__":
    main()
