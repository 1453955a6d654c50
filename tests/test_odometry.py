"""The sensor's own motion: by KISS-ICP, or a notice that says how to install it."""

import warnings

import numpy as np
import pytest
import torch
from conftest import STREETS, make_tiny_config, street
from tracks import pose_of

from bev_instseg import Segmenter
from bev_instseg.models.network import BEVNet
from bev_instseg.tracking import odometry as odometry_module
from bev_instseg.tracking.odometry import KissOdometry, StandingSensor, default_odometry
from bev_instseg.tracking.tracker import Tracker


def courtyard(pose: np.ndarray, seed: int) -> np.ndarray:
    """Walls, pillars and a flat road around a sensor, as rings that move with it."""
    rng = np.random.default_rng(1)
    along = rng.uniform(-30, 30, (4000, 1))
    side = np.where(rng.random((4000, 1)) < 0.5, -9.0, 11.0)
    walls = np.hstack([along, side, rng.uniform(-1.7, 3, (4000, 1))])
    middle = rng.uniform((-25, -8), (25, 10), (30, 2)).repeat(60, axis=0)
    round_them = rng.uniform(0, 2 * np.pi, len(middle))
    pillars = middle + 0.3 * np.column_stack([np.cos(round_them), np.sin(round_them)])
    standing = np.vstack([walls, np.column_stack([pillars, rng.uniform(-1.7, 2, len(pillars))])])
    standing = (standing - pose[:3, 3]) @ pose[:3, :3]
    azimuth = np.arange(0, 2 * np.pi, 0.01)
    rings = [
        np.column_stack([r * np.cos(azimuth), r * np.sin(azimuth), np.full(len(azimuth), -1.7)])
        for r in (4, 5, 6.5, 8.5, 12, 17, 25)
    ]
    points = np.vstack([standing, *rings])
    points = points + np.random.default_rng(seed).normal(0, 0.01, points.shape)
    return np.column_stack([points, np.full(len(points), 0.3)]).astype(np.float32)


def test_kiss_icp_follows_the_sensor() -> None:
    pytest.importorskip("kiss_icp", reason="needs the extra track")
    poses = [pose_of(0.8 * i, 0.02 * i * i, 0.03 * i) for i in range(10)]
    odometry = KissOdometry()
    found = [odometry.register(courtyard(pose, i), 0.1 * i) for i, pose in enumerate(poses)]
    for pose, true in zip(found, poses, strict=True):
        assert np.hypot(*(pose - true)[:2, 3]) < 0.1
        turn = true[:3, :3].T @ pose[:3, :3]
        assert abs(np.arctan2(turn[1, 0], turn[0, 0])) < 0.01
    again = KissOdometry()
    np.testing.assert_array_equal(again.register(courtyard(poses[0], 0), 0.0), found[0])
    np.testing.assert_array_equal(again.register(courtyard(poses[1], 1), 0.1), found[1])
    still = again.register(np.zeros((0, 4), np.float32), 0.2)  # an empty sweep
    np.testing.assert_array_equal(still, found[1])


def test_missing_sweeps_do_not_hold_kiss_icp_back() -> None:
    pytest.importorskip("kiss_icp", reason="needs the extra track")
    odometry = KissOdometry()
    for i in (*range(10), 15, 16, 17):  # half a second is missing
        true = pose_of(0.8 * i, 0.0, 0.03 * i)
        pose = odometry.register(courtyard(true, i), 0.1 * i)
        assert np.hypot(*(pose - true)[:2, 3]) < 0.1


def test_after_a_pause_kiss_icp_begins_at_the_last_pose() -> None:
    pytest.importorskip("kiss_icp", reason="needs the extra track")
    odometry = KissOdometry()
    for i in range(4):
        last = odometry.register(courtyard(pose_of(0.8 * i), i), 0.1 * i)
    poses = [pose_of(18 + 0.8 * i, -3.0, 1.5) for i in range(4)]  # driven on, and turned
    found = [odometry.register(courtyard(pose, i), 60 + 0.1 * i) for i, pose in enumerate(poses)]
    np.testing.assert_allclose(found[0], last, atol=1e-9)
    for pose, true in zip(found, poses, strict=True):
        expected = last @ np.linalg.inv(poses[0]) @ true
        assert np.hypot(*(pose - expected)[:2, 3]) < 0.1


def test_without_kiss_icp_a_notice_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(odometry_module, "find_spec", lambda name: None)
    with pytest.warns(UserWarning, match=r"pip install 'bev-instseg\[track\]'"):
        odometry = default_odometry()
    np.testing.assert_array_equal(odometry.register(np.zeros((0, 4), np.float32), 0.0), np.eye(4))


def test_update_segments_and_tracks() -> None:
    torch.manual_seed(0)
    config = make_tiny_config()
    model = BEVNet(config)
    with torch.no_grad():
        model.heads.out.bias[: len(config.classes)] = 2.0
    segmenter = Segmenter(model, config, device="cpu", runtime="torch")
    tracker, by_odometry = Tracker(segmenter), Tracker(segmenter, StandingSensor())
    points = street(STREETS["a"])[0]
    for i in range(3):
        given = tracker.update(points, 0.1 * i, np.eye(4))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = by_odometry.update(points, 0.1 * i)
    expected = segmenter.segment(points)
    np.testing.assert_array_equal(given.tracks.ids, found.tracks.ids)
    assert len(given) == len(expected) > 0
    assert (given.tracks.num_sweeps == 3).all()
    assert not given.tracks.moving.any()
    np.testing.assert_array_equal(given.instances.labels > 0, expected.labels > 0)
    assert len(tracker.update(np.zeros((0, 4), np.float32), 0.3, np.eye(4))) == 0
    with pytest.raises(ValueError, match="a pose for all sweeps of a sequence or for none"):
        tracker.update(np.zeros((0, 4), np.float32), 0.4)
