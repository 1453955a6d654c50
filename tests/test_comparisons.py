"""Scripts that compare: changed sweeps, weights over poses, a Gaussian on a curve, paint."""

import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

from bev_instseg import Segmenter
from bev_instseg.config import Config
from bev_instseg.datasets.frames import list_frames
from bev_instseg.models.network import BEVNet
from bev_instseg.structures import Frame

sys.path.insert(0, str(ROOT / "scripts"))
from altered_input import every_beam, moved, read_again, rotated, with_intensity
from compare_weights import POSES, score
from gaussian_on_arc import best_iou
from line_intensities import contrast, count_hidden


def beams(number: int = 8, per_beam: int = 90) -> Frame:
    """A frame without objects, one beam after the other; the intensity numbers the beams."""
    azimuth = np.tile(np.linspace(0.01, 2 * np.pi - 0.01, per_beam), number)
    beam = np.repeat(np.arange(number), per_beam)
    columns = (5 + beam) * np.cos(azimuth), (5 + beam) * np.sin(azimuth), -1.7 + 0 * beam, beam / 10
    points = np.stack(columns, 1).astype(np.float32)
    none = np.zeros(0, np.int32)
    labelled = np.ones(len(points), np.bool_)
    no_object = np.zeros(len(points), np.int32)
    return Frame("beams", points, no_object, labelled, none, np.zeros((0, 2), np.float32))


@pytest.mark.parametrize("step", [2, 4])
def test_whole_beams_are_dropped(step: int) -> None:
    some = every_beam(step)(beams())
    assert len(some.points) == len(some.instance) == 8 // step * 90
    np.testing.assert_allclose(np.unique(some.points[:, 3]), np.arange(0, 8, step) / 10)


def test_a_moved_or_rotated_frame_keeps_its_shape() -> None:
    frame = beams()
    np.testing.assert_allclose(
        moved(0.1)(frame).points - frame.points, [[0.1, 0.1, 0, 0]] * 720, atol=1e-6
    )
    for axis in (1, 2):
        turned = rotated(axis, 10)(frame).points
        np.testing.assert_allclose(turned[:, axis], frame.points[:, axis])
        distances = [np.linalg.norm(points[:, :3], axis=1) for points in (turned, frame.points)]
        np.testing.assert_allclose(*distances, rtol=1e-5)
    assert rotated(2, 90)(frame).points[0, 1] == pytest.approx(frame.points[0, 0])
    assert rotated(1, 90)(frame).points[0, 0] == pytest.approx(frame.points[0, 2])


def test_constant_intensities_are_recognised_when_a_frame_is_read_again() -> None:
    points = with_intensity(0.25)(beams()).points
    assert (points[:, 3] == 0.25).all()
    again = read_again(points)
    assert (again[:, 3] == 0).all()
    np.testing.assert_array_equal(again[:, :3], points[:, :3])


def test_weights_are_scored_in_every_pose(semantickitti_root: Path, tiny_config: Config) -> None:
    segmenter = Segmenter(BEVNet(tiny_config), tiny_config, "cpu")
    refs = list_frames(semantickitti_root, "semantickitti", ["00"])
    assert score(segmenter, "tiny", refs).shape == (len(POSES), len(tiny_config.classes))


def test_one_gaussian_covers_a_short_arc_but_not_a_long_one() -> None:
    assert best_iou(6, 50, 3.5) > 0.95
    assert best_iou(90, 50, 3.5) < 0.5
    assert best_iou(30, 50, 0.3) < 0.5


def test_paint_is_hidden_only_below_brighter_points() -> None:
    """Three pillars with paint: alone, below something dark and below something bright."""
    x = np.repeat(np.arange(5.05, 25, 0.1), 2)
    road = np.stack([x, np.tile([0.05, 0.15], len(x) // 2), 0 * x - 1.7, 0 * x + 0.2], 1)
    above = [[7.05, 0.05, 1, 0.1], [9.05, 0.05, 1, 0.9]]
    points = np.concatenate([road, above]).astype(np.float32)
    classes = np.full(len(points), 40, np.uint32)
    classes[-2:] = 71
    for place in (5.05, 7.05, 9.05):
        classes[np.flatnonzero((abs(points[:, 0] - place) < 0.01) & (points[:, 1] < 0.1))[0]] = 60
    assert count_hidden(points, classes) == (3, 2, 1)


def test_the_contrast_of_paint_is_that_at_the_same_range() -> None:
    x = np.linspace(5.1, 9.9, 100, dtype=np.float32)
    points = np.stack([x, 0 * x, 0 * x, np.where(np.arange(100) < 10, 0.6, 0.2)], 1)
    classes = np.where(np.arange(100) < 10, 60, 40).astype(np.uint32)
    ratios = contrast(points.astype(np.float32), classes)
    assert ratios[0] == pytest.approx(3)
    assert np.isnan(ratios[1:]).all()
