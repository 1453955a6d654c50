"""Intensities relative to those of the ground."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import STREETS, street

from bev_instseg import Segmenter
from bev_instseg.datasets.frames import list_frames
from bev_instseg.grid import BEVGrid
from bev_instseg.models.network import BEVNet
from bev_instseg.ops.relative_intensity import GROUND_LEVEL, relative_intensity
from bev_instseg.ops.voxelize import point_heights
from bev_instseg.stages import make_pillars
from bev_instseg.training.training_set import TrainingSet


@pytest.fixture
def points():
    points, _ = street(STREETS["b"])
    points[:, 3] = np.random.default_rng(0).uniform(0, 0.1, len(points))
    return points


def test_the_ground_nearby_has_a_fixed_mean(points):
    far = np.float32([[x, y, -1.7, 0.9] for x in np.arange(31, 40, 0.2) for y in (-1, 0, 1)])
    odd = np.float32([[5, 0, np.nan, 0.5], [5, 0.1, -1.7, np.nan], [5, 0.2, -1.7, np.inf]])
    points = np.concatenate([points, far, odd])
    before = points.copy()
    height_m = point_heights(points, BEVGrid())
    scaled = relative_intensity(points, height_m)
    np.testing.assert_array_equal(points, before)
    np.testing.assert_array_equal(scaled[:, :3], points[:, :3])
    near = np.hypot(points[:, 0], points[:, 1]) < 30
    ground = near & (np.abs(height_m) < 0.25) & np.isfinite(points[:, 3])
    assert ground.sum() > 1000
    assert scaled[ground, 3].mean(dtype=float) == pytest.approx(GROUND_LEVEL, rel=1e-6)
    factor = GROUND_LEVEL / points[ground, 3].mean(dtype=float)
    assert (points[:, 3] * factor > 1).any()
    finite = np.nan_to_num(points[:, 3], nan=0, posinf=0)
    np.testing.assert_allclose(scaled[:, 3], np.minimum(finite * factor, 1), rtol=1e-6)


@pytest.mark.parametrize("level", [0.0, np.nan])
def test_a_sweep_without_intensity_stays_as_it_is(points, level):
    points[:, 3] = level
    heights = point_heights(points, BEVGrid())
    np.testing.assert_array_equal(relative_intensity(points, heights), points)


def test_intensities_that_are_not_finite_are_dark(points):
    points[::5, 3] = np.inf
    points[1::5, 3] = np.nan
    heights = point_heights(points, BEVGrid())
    scaled = relative_intensity(points, heights)[:, 3]
    assert not scaled[::5].any()
    assert not scaled[1::5].any()
    assert scaled[2::5].any()


def test_a_sweep_without_ground_stays_as_it_is():
    for points in (np.zeros((0, 4), np.float32), np.float32([[40, 0, 0, 0.5]])):
        heights = point_heights(points, BEVGrid())
        np.testing.assert_array_equal(relative_intensity(points, heights), points)


def test_a_gain_does_not_change_instances(points, tiny_config, one_thread):
    torch.manual_seed(0)
    network, darker = BEVNet(tiny_config), points * np.float32([1, 1, 1, 0.25])
    for relative, same in ((True, True), (False, False)):
        model = replace(tiny_config.model, relative_intensity=relative)
        segmenter = Segmenter(network, replace(tiny_config, model=model), "cpu", "abc")
        seeds = [segmenter.segment_with_maps(sweep).embeddings.seed for sweep in (points, darker)]
        assert np.array_equal(*seeds) == same


def test_frames_are_trained_on_as_they_are_segmented(tiny_config, semantickitti_root):
    off = replace(tiny_config.augment, enabled=False)
    whole = replace(tiny_config.train, window_cells=0)
    config = replace(tiny_config, augment=off, train=whole)
    refs = list_frames(semantickitti_root, "semantickitti", ["01"])
    points = refs[0].read(config.classes, config.data).points
    features = {}
    for relative in (True, False):
        model = replace(config.model, relative_intensity=relative)
        config = replace(config, model=model)
        pillars, _ = TrainingSet([(1.0, refs)], config)[0]
        np.testing.assert_array_equal(pillars.features, make_pillars(points, config).features)
        features[relative] = pillars.features
    assert (features[True] != features[False]).any()


def test_object_files_are_refused(tiny_config, semantickitti_root):
    config = replace(tiny_config, model=replace(tiny_config.model, relative_intensity=True))
    refs = list_frames(semantickitti_root, "semantickitti", ["01"])
    with pytest.raises(ValueError, match="intensities of object files are absolute"):
        TrainingSet([(1.0, refs)], config, [[]])
