"""Print how PQ changes if a sweep is moved, its sensor is different, or intensities are missing.

Examples:
  python scripts/altered_input.py kitti val
  python scripts/altered_input.py semantickitti 06 10

Each frame is changed, written to a file and read like any sweep, so constant intensities and a
tilt are recognised as they are by bev-instseg segment. Beams are told apart by the order of the
points: KITTI's sensor stores one beam after the other, each anticlockwise. Moving a sweep by half
a cell, or rotating it by a few degrees, shows how much of a difference is chance.
"""

import argparse
import dataclasses
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from bev_instseg import Segmenter, read_scan
from bev_instseg.datasets.frames import detect_layout, list_frames
from bev_instseg.evaluation.metrics import Evaluator
from bev_instseg.structures import Frame
from bev_instseg.training.augment import rotate, select_points

Points = NDArray[np.float32]


def main() -> None:
    """Segment the frames once per change and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="data set in KITTI or SemanticKITTI layout")
    parser.add_argument("entries", nargs="+", help="KITTI: a split; SemanticKITTI: sequences")
    arguments = parser.parse_args()
    segmenter = Segmenter.from_pretrained()
    config = segmenter.config
    refs = list_frames(arguments.data, detect_layout(arguments.data), arguments.entries)
    print(f"| input | {' | '.join(config.class_names)} |")
    print(f"| --- | {' | '.join(['--:'] * len(config.classes))} |")
    for name, change in CHANGES.items():
        evaluator = Evaluator(config.class_names)
        for ref in tqdm(refs, desc=name, leave=False):
            frame = change(ref.read(config.classes, config.data))
            evaluator.add(frame, segmenter.segment(read_again(frame.points)))
        cells = [
            f"{100 * one.pq:.1f} ({one.tp}/{one.fp}/{one.fn})"
            for one in evaluator.result().per_class.values()
        ]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def read_again(points: Points) -> Points:
    """Write points to a file and read them as a sweep whose sensor is unknown."""
    with tempfile.NamedTemporaryFile(suffix=".bin") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is assumed about the file
        points.tofile(file.name)
        return read_scan(file.name)


def with_intensity(value: float) -> Callable[[Frame], Frame]:
    """Return a change that makes all intensities equal."""

    def change(frame: Frame) -> Frame:
        points = frame.points.copy()
        points[:, 3] = value
        return dataclasses.replace(frame, points=points)

    return change


def moved(offset_m: float) -> Callable[[Frame], Frame]:
    """Return a change that moves the points along x and y."""

    def change(frame: Frame) -> Frame:
        points = frame.points + np.array([offset_m, offset_m, 0, 0], np.float32)
        return dataclasses.replace(frame, points=points)

    return change


def rotated(axis: int, angle_deg: float) -> Callable[[Frame], Frame]:
    """Return a change that rotates the points about an axis of the sensor: 1 for y, 2 for z."""

    def change(frame: Frame) -> Frame:
        plane = [2, 0] if axis == 1 else [0, 1]
        points = frame.points.copy()
        points[:, plane] = rotate(points[:, plane], np.deg2rad(angle_deg))
        return dataclasses.replace(frame, points=points)

    return change


def every_beam(step: int) -> Callable[[Frame], Frame]:
    """Return a change that keeps one of ``step`` beams."""

    def change(frame: Frame) -> Frame:
        azimuth = np.arctan2(frame.points[:, 1], frame.points[:, 0]) % (2 * np.pi)
        beam = np.append(0, np.cumsum(np.diff(azimuth) < -np.pi))
        return select_points(frame, frame.points[:, 2], beam % step == 0)[0]

    return change


CHANGES: dict[str, Callable[[Frame], Frame]] = {
    "as recorded": lambda frame: frame,
    "moved by 0.05 m": moved(0.05),
    "moved by 0.1 m": moved(0.1),
    "rotated by 1 degree": rotated(2, 1),
    "rotated by 5 degrees": rotated(2, 5),
    "all intensities 0.25": with_intensity(0.25),
    "all intensities 0": with_intensity(0),
    "tilted down by 10 degrees": rotated(1, -10),
    "tilted up by 10 degrees": rotated(1, 10),
    "every second beam": every_beam(2),
    "every fourth beam": every_beam(4),
}


if __name__ == "__main__":
    main()
