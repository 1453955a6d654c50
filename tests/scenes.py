"""Hand-made frames and objects for the tests of augmentation and pasting."""

import numpy as np

from bev_instseg.grid import BEVGrid
from bev_instseg.structures import Frame
from bev_instseg.training.cutouts import Cutout

GRID = BEVGrid((-25.6, 25.6), (-25.6, 25.6), (-5.0, 5.0), 0.4)  # 128 x 128
CAR, PERSON = 0, 1
SLOPE = 0.05  # of the ground: z = -1.7 + SLOPE * x


def frame_of(points, instance, classes=(), centres_m=(), labelled=None):
    points = np.array(points, np.float32).reshape(-1, 4)
    return Frame(
        "test",
        points,
        np.array(instance, np.int32).reshape(-1),
        np.ones(len(points), bool) if labelled is None else np.array(labelled, bool),
        np.array(classes, np.int32),
        np.array(centres_m, np.float32).reshape(-1, 2),
    )


def empty_frame():
    return frame_of([], [])


def slope(count=6000, seed=0):
    """Return the frame and heights of a bare hillside all around the sensor."""
    rng = np.random.default_rng(seed)
    distance, azimuth = rng.uniform(3, 25, count), rng.uniform(-np.pi, np.pi, count)
    x, y = distance * np.cos(azimuth), distance * np.sin(azimuth)
    points = np.column_stack([x, y, -1.7 + SLOPE * x, np.full(count, 0.3)])
    return frame_of(points, np.zeros(count)), np.zeros(count, np.float32)


def crate(at=(10.0, 0.0), size_m=(1.6, 1.0, 1.2), count=300, class_index=CAR):
    """Return a box of points on the ground; z is the height."""
    rng = np.random.default_rng(7)
    points = rng.uniform(-0.5, 0.5, (count, 3)) * size_m
    points[:, :2] += at
    points[:, 2] += size_m[2] / 2
    points = np.column_stack([points, np.full(count, 0.9)]).astype(np.float32)
    return Cutout(
        points, class_index, np.array(at, np.float32), np.array(size_m, np.float32), "yard"
    )


def azimuth_of(points):
    return np.arctan2(points[:, 1], points[:, 0])


def range_of(points):
    return np.hypot(points[:, 0], points[:, 1])


def generator(seed=0):
    return np.random.default_rng(seed)


def ring(distance, count, height_m):
    """Return points all around the sensor at a height above the flat ground."""
    azimuth = np.linspace(-np.pi, np.pi, count, endpoint=False)
    xy = distance * np.column_stack([np.cos(azimuth), np.sin(azimuth)])
    return np.column_stack([xy, np.full(count, -1.7 + height_m), np.zeros(count)])
