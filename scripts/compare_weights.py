"""Print the PQ of weights by sensor, averaged over sweeps that are slightly moved and rotated.

Example:
  bev-instseg simulate --out DATA/sim --count 200 --sequence 30 --sensor any --seed 5
  python scripts/compare_weights.py DATA default clean runs/first/weights.safetensors

DATA has the validation sets of the README and ``sim``. A single pose of a sweep says little,
because objects on the edge of being found come and go when it moves by half a cell. So each sweep
is scored in five poses. The cells are PQ in percent, vehicle / pedestrian / cyclist, as the mean of
the poses. The last column is the mean of the sensors, and how much it varies between the poses
(standard deviation). A class counts for a sensor with at least five objects of it.
"""

import argparse
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from altered_input import moved, rotated
from tqdm import tqdm

from bev_instseg import Segmenter
from bev_instseg.datasets.frames import FrameRef, detect_layout, list_frames
from bev_instseg.evaluation.metrics import Evaluator
from bev_instseg.structures import Frame

POSES: tuple[Callable[[Frame], Frame], ...] = (
    lambda frame: frame,
    moved(0.05),
    moved(0.1),
    rotated(2, 1),
    rotated(2, 5),
)
MIN_OBJECTS = 5
# By sensor: folders of DATA, their entries, and whether unlabelled points are background.
SETS: dict[str, list[tuple[str, list[str], bool]]] = {
    "HDL-64E": [("kitti", ["val"], False), ("semantickitti", ["06", "10"], False)],
    "Pandar64": [
        ("pandaset", ["00/000004", "00/000005"], True),
        ("pandaset", ["003"], False),
    ],
    "HDL-32E": [
        (
            "nuscenes",
            [
                f"0103/15331516{frame}"
                for frame in ("06048630", "06549066", "07048933", "07548824", "08048151")
            ],
            False,
        )
    ],
    "simulated": [("sim", ["30"], False)],
}


def main() -> None:
    """Score the weights and print a Markdown table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="folder of the data sets")
    parser.add_argument("weights", nargs="+", help="shipped weights, or files")
    arguments = parser.parse_args()
    refs_of = {
        sensor: [ref for part in parts for ref in list_refs(arguments.data, *part)]
        for sensor, parts in SETS.items()
    }
    print(f"| weights | {' | '.join(refs_of)} | mean |\n|{'---|' * (len(refs_of) + 2)}")
    for weights in arguments.weights:
        is_file = Path(weights).suffix != ""
        load = Segmenter.from_checkpoint if is_file else Segmenter.from_pretrained
        segmenter = load(weights, runtime="torch")
        scores = [score(segmenter, sensor, refs) for sensor, refs in refs_of.items()]
        by_sensor = np.array(scores)  # (sensors, poses, classes)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # means of nothing
            means = np.nanmean(by_sensor, axis=1)
            overall = np.nanmean(by_sensor, axis=0)
        cells = [" / ".join("-" if np.isnan(pq) else f"{pq:.1f}" for pq in row) for row in means]
        total = zip(overall.mean(axis=0), overall.std(axis=0), strict=True)
        cells.append(" / ".join(f"{mean:.1f} ± {spread:.1f}" for mean, spread in total))
        print(f"| {weights} | {' | '.join(cells)} |", flush=True)


def list_refs(
    data: Path, folder: str, entries: list[str], unlabelled_is_background: bool
) -> list[FrameRef]:
    """List the frames of one of `SETS`."""
    root = data / folder
    return list_frames(root, detect_layout(root), entries, unlabelled_is_background)


def score(segmenter: Segmenter, sensor: str, refs: list[FrameRef]) -> np.ndarray:
    """Return (poses, classes) float64 PQ in percent; NaN for classes with too few objects.

    Args:
        segmenter: The network.
        sensor: Name of the sensor, for the progress bar.
        refs: Its frames.
    """
    config = segmenter.config
    evaluators = [Evaluator(config.class_names) for _ in POSES]
    for ref in tqdm(refs, desc=sensor, unit="frame", leave=False):
        frame = ref.read(config.classes, config.data)
        for evaluator, pose in zip(evaluators, POSES, strict=True):
            changed = pose(frame)
            evaluator.add(changed, segmenter.segment(changed.points))
    results = [list(evaluator.result().per_class.values()) for evaluator in evaluators]
    enough = [one.tp + one.fn >= MIN_OBJECTS for one in results[0]]
    pq = np.array([[100 * one.pq for one in result] for result in results])
    return np.where(enough, pq, np.nan)


if __name__ == "__main__":
    main()
