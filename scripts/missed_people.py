"""Count how many people are found by how close they are to background that stands on the ground.

Example:
  bev-instseg simulate --out sim --count 200 --sequence 30 --sensor any --seed 5
  python scripts/missed_people.py sim 30

Counted are people with at least 50 points within 50 m; found means an IoU above 0.5 with a
predicted pedestrian. Background is what is labelled as such and higher than 0.3 m above the
ground; the gap is the smallest distance between a point of the person and one of the background.
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from tqdm import tqdm

from bev_instseg import Segmenter
from bev_instseg.datasets.frames import list_frames
from bev_instseg.ops.voxelize import point_heights
from bev_instseg.structures import Frame, Instances

GAPS_M = (0.0, 0.1, 0.2, 0.4, 0.8, 2.0, np.inf)
MIN_POINTS, MAX_RANGE_M, STANDS_M = 50, 50.0, 0.3


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
    found = np.zeros((len(GAPS_M) - 1, 2), np.int64)
    for ref in tqdm(list_frames(arguments.data, "semantickitti", arguments.sequences)):
        frame = ref.read(config.classes, config.data)
        height_m = point_heights(frame.points, config.grid)
        instances = segmenter.segment(frame.points)
        standing = cKDTree(frame.points[(frame.instance == 0) & (height_m > STANDS_M), :3])
        for number in (np.flatnonzero(frame.classes == person) + 1).tolist():
            points = frame.points[frame.instance == number, :3]
            if len(points) < MIN_POINTS or np.hypot(*points[:, :2].mean(0)) > MAX_RANGE_M:
                continue
            gap_m = standing.query(points)[0].min()
            row = int(np.searchsorted(GAPS_M, gap_m, side="right")) - 1
            found[row, int(is_found(frame, number, instances, person))] += 1
    print("| gap (m) | people | missed, % |\n| ---: | ---: | ---: |")
    for low, high, (missed, hit) in zip(GAPS_M, GAPS_M[1:], found, strict=False):
        total = missed + hit
        print(f"| {low} to {high} | {total} | {100 * missed / max(total, 1):.0f} |")


def is_found(frame: Frame, number: int, instances: Instances, person: int) -> bool:
    """Return whether a predicted pedestrian has an IoU above 0.5 with an object."""
    mask: NDArray[np.bool_] = frame.instance == number
    predicted = np.bincount(instances.labels[mask]).argmax()
    if predicted == 0 or instances.classes[predicted - 1] != person:
        return False
    other = instances.labels == predicted
    return bool((mask & other).sum() > 0.5 * (mask | other).sum())


if __name__ == "__main__":
    main()
