"""Precision and recall of points by class, without instances."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bev_instseg.config import ClassConfig, Config
from bev_instseg.datasets.frames import list_frames
from bev_instseg.datasets.semantickitti import write_frame
from bev_instseg.evaluation.point_scores import PointScores, score_points
from bev_instseg.structures import Instances

LINE, KERB = 60, 61
ROAD, UNLABELLED = 40, 0
CONFIG = dataclasses.replace(
    Config(),
    classes=(
        ClassConfig("line", 60, semantickitti=(LINE,)),
        ClassConfig("kerb", 61, semantickitti=(KERB,)),
    ),
    loss=dataclasses.replace(Config().loss, foreground_weight=(1.0, 1.0)),
    augment=dataclasses.replace(Config().augment, paste=(0, 0)),
)
POINTS = [  # x, label, predicted class
    (1.0, LINE, 0),
    (1.1, ROAD, 0),  # beside the line
    (3.0, ROAD, 0),  # far from it
    (5.0, LINE, -1),  # missed
    (1.25, LINE, -1),  # missed, but close to what was predicted
    (1.0, UNLABELLED, 0),  # not judged
    (60.0, LINE, 0),  # too far away to be judged
    (7.0, LINE, 1),  # another class
]


@pytest.mark.parametrize(
    ("tolerance_m", "expected"), [(0.0, ["33.3", "25.0"]), (0.25, ["66.7", "25.0"])]
)
def test_points_are_counted_by_class(tolerance_m: float, expected: list[str]) -> None:
    x, kinds, predicted = (np.array(column) for column in zip(*POINTS, strict=True))
    scores = PointScores(CONFIG, tolerance_m)
    xy_m = np.column_stack([x, np.zeros(len(x))]).astype(np.float32)
    for rows in (slice(None, 4), slice(4, None)):  # sweeps do not see each other's points
        own = kinds[rows].astype(np.uint32), predicted[rows].astype(np.int32)
        scores.add(xy_m[rows], *own, CONFIG.data.void_semantickitti)
    _, _, line, kerb = scores.table().splitlines()
    cells = [cell.strip() for cell in line.split("|")[1:-1]]
    assert cells == ["line", *expected, "3", "4"]
    assert [cell.strip() for cell in kerb.split("|")[1:-1]] == ["kerb", "0.0", "-", "1", "0"]


@pytest.mark.filterwarnings("ignore:.*too few different values")
def test_unlabelled_points_can_be_background(tmp_path: Path) -> None:
    """Of four points predicted as a line, two are labelled as one and two not at all."""
    points = np.array([[x, 1, 0, 0.5] for x in range(8)], np.float32)
    write_frame(tmp_path, "00", 0, points, np.repeat(np.uint32([LINE, UNLABELLED]), [2, 6]))
    labels = np.repeat(np.int32([1, 0]), 4)
    found = Instances(
        labels,
        np.zeros(1, np.int32),
        np.ones(1, np.float32),
        np.zeros((1, 7), np.float32),
        CONFIG.class_names,
    )
    segmenter: Any = SimpleNamespace(config=CONFIG, segment=lambda points: found)
    for is_background, precision in ((False, "100.0"), (True, "50.0")):
        refs = list_frames(tmp_path, "semantickitti", ["00"], is_background)
        line = score_points(segmenter, tmp_path, refs, 0.0).table().splitlines()[2]
        assert line.split("|")[2].strip() == precision
