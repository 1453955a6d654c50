"""Composes training frames: objects set down where the sensor could have seen them."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bev_instseg.datasets.augment import keep, rotate
from bev_instseg.datasets.objects import DISTRACTOR, MIN_CUTOUT_POINTS, Cutout
from bev_instseg.structures import Float32, Frame

PASTE_TRIES = 8
FARTHEST = 1.5  # times the range at which an object was seen
CLEARANCE_M = 0.3  # free space around a pasted object
OBSTACLE_M = 0.3  # points higher than this above the ground are in the way
IN_FRONT_M = 0.5  # a point is in front of an object if it is nearer by more than this
MOST_IN_FRONT = 0.1  # points in front of an object, as part of its own, that hide too little
COLUMN_RAD = math.radians(0.5)  # azimuth for which an outline knows one span of elevation
BEAM_RAD = (math.radians(0.18), math.radians(0.40))  # azimuth, elevation a sensor tells apart
NOTHING = np.zeros((0, 4), np.float32)


def paste_some(
    frame: Frame,
    height_m: Float32,
    bank: Sequence[Sequence[Cutout]],
    most: tuple[int, ...],
    rng: np.random.Generator,
    around: Float32 = NOTHING,
) -> tuple[Frame, Float32]:
    """Paste up to ``most[k]`` cutouts drawn from each list ``bank[k]``; see `paste`."""
    counts = [rng.integers(0, n + 1) for n in most]
    for class_index in rng.permutation(np.repeat(np.arange(len(most)), counts)):
        if own := bank[class_index]:
            cutout = own[int(rng.integers(len(own)))]
            frame, height_m = paste(frame, height_m, cutout, rng, around) or (frame, height_m)
    return frame, height_m


def paste(
    frame: Frame,
    height_m: Float32,
    cutout: Cutout,
    rng: np.random.Generator,
    around: Float32 = NOTHING,
) -> tuple[Frame, Float32] | None:
    """Set an object down in a frame, at its range or farther, mirrored half of the time.

    The place is a labelled ground point with nothing standing on the object's footprint and next
    to nothing between the object and the sensor. Points that the object hides are removed.

    Args:
        frame: N points.
        height_m: (N,) float32 height of each point above the ground.
        cutout: the object.
        rng: decides on everything.
        around: (M, 4) float32 points that are no part of the frame but may stand in front.

    Returns:
        The new frame and heights, or None where no place was found.
    """
    farther, mirrored = rng.uniform(1, FARTHEST), rng.random() < 0.5
    if len(set_down(cutout, farther, mirrored, 0, 0)) < MIN_CUTOUT_POINTS:
        farther = 1.0
    distance = np.float32(farther * cutout.range_m)
    scene_x, scene_y = frame.points[:, 0], frame.points[:, 1]
    ranges = np.hypot(scene_x, scene_y)
    ground = frame.judged & (frame.instance == 0) & (np.abs(height_m) < 0.2)
    places = np.flatnonzero(ground & (np.abs(ranges - distance) < 0.5))
    if not len(places):
        return None
    reach = np.hypot(*(cutout.points[:, :2] - cutout.centre_m).T).max() + CLEARANCE_M
    obstacle = (height_m > OBSTACLE_M) | (frame.instance != 0)
    for place in rng.choice(places, PASTE_TRIES):
        x, y, z = frame.points[place, :3]
        centre = distance / ranges[place] * np.array([x, y])
        if (obstacle & ((scene_x - centre[0]) ** 2 + (scene_y - centre[1]) ** 2 < reach**2)).any():
            continue
        ground_m = z - height_m[place]
        points = set_down(cutout, farther, mirrored, math.atan2(y, x), ground_m)
        points, hidden = _look(points, frame.points, around)
        if len(points) >= MIN_CUTOUT_POINTS:
            rest, rest_height = keep(frame, height_m, ~hidden)
            pasted = _with_object(rest, points, cutout.class_index, centre)
            return pasted, np.concatenate([rest_height, points[:, 2] - ground_m])
    return None


def set_down(
    cutout: Cutout, farther: float, mirrored: bool, azimuth_rad: float, ground_m: float
) -> Float32:
    """An object's points at ``farther`` times its range, the same side towards the sensor.

    Farther off the object fills a smaller angle, and of the points that fall into one direction
    that a sensor tells apart the first is kept. Intensities stay what they were.

    Args:
        cutout: the object.
        farther: 1 or more; at 1 all points are kept.
        mirrored: whether left and right are exchanged.
        azimuth_rad: direction of the object's centre from the sensor.
        ground_m: z of the ground there.

    Returns:
        (M, 4) float32 points in the sensor's frame.
    """
    points = cutout.points.copy()
    points[:, :2] = rotate(points[:, :2], -math.atan2(cutout.centre_m[1], cutout.centre_m[0]))
    points[:, 0] += np.float32((farther - 1) * cutout.range_m)
    if mirrored:
        points[:, 1] *= -1
    points[:, 2] += ground_m
    if farther > 1:
        points = points[np.sort(np.unique(_beam(points), return_index=True)[1])]
    points[:, :2] = rotate(points[:, :2], azimuth_rad)
    return points


def _look(points: Float32, scene: Float32, around: Float32) -> tuple[Float32, NDArray[np.bool_]]:
    """What the sensor sees of an object, and which points of the scene the object hides.

    Of an object that stands behind more than a small part of its own number of points, nothing.

    Returns:
        (K, 4) float32 points of the object and an (N,) bool mask over the scene's.
    """
    outline = _outline(points)
    hidden, in_front = _occlusion(outline, scene)
    blockers = np.concatenate([scene[in_front], around[_occlusion(outline, around)[1]]])
    if len(blockers) > MOST_IN_FRONT * len(points):
        return NOTHING, hidden
    return points[~np.isin(_beam(points), _beam(blockers))], hidden


def _beam(points: Float32) -> NDArray[np.int64]:
    """(N,) number of the direction that each point is seen in."""
    azimuth = np.arctan2(points[:, 1], points[:, 0])
    elevation = np.arctan2(points[:, 2], np.hypot(points[:, 0], points[:, 1]))
    across, up = (
        np.floor(angle / step).astype(np.int64)
        for angle, step in zip((azimuth, elevation), BEAM_RAD, strict=True)
    )
    return across * 1024 + up  # up lies within +-225


@dataclass(frozen=True, eq=False)
class _Outline:
    """An object as the sensor sees it: C columns of azimuth from ``start_rad`` counter-clockwise.

    Attributes:
        start_rad: azimuth where the first column begins.
        low, high: (C,) lowest and highest slope (z over range) of its points in each column.
        near_m: (C,) range of the nearest of them.
    """

    start_rad: float
    low: NDArray[np.floating]
    high: NDArray[np.floating]
    near_m: NDArray[np.floating]


def _outline(points: Float32) -> _Outline:
    middle = math.atan2(*points[:, 1::-1].mean(0))
    azimuth = _wrap(np.arctan2(points[:, 1], points[:, 0]) - middle)
    start = azimuth.min()
    column = ((azimuth - start) / COLUMN_RAD).astype(np.int64)
    count = column.max() + 1
    range_m = np.hypot(points[:, 0], points[:, 1])
    slope = points[:, 2] / np.maximum(range_m, 0.1)
    low, high, near = np.full(count, np.inf), np.full(count, -np.inf), np.full(count, np.inf)
    np.minimum.at(low, column, slope)
    np.maximum.at(high, column, slope)
    np.minimum.at(near, column, range_m)
    return _Outline(middle + start, low, high, near)


def _occlusion(outline: _Outline, scene: Float32) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Which scene points an object hides and which stand in front of it.

    Both lie inside its outline, the former farther off, the latter nearer by `IN_FRONT_M`.

    Returns:
        (N,) bool mask of the hidden, and indices of those in front.
    """
    width = len(outline.low) * COLUMN_RAD
    index = _sector(scene, outline.start_rad + width / 2, width / 2)
    x, y, z = scene[index, :3].T
    column = (_wrap(np.arctan2(y, x) - outline.start_rad) / COLUMN_RAD).astype(np.int64)
    column = np.clip(column, 0, len(outline.low) - 1)
    range_m = np.hypot(x, y)
    slope = z / np.maximum(range_m, 0.1)
    inside = (slope >= outline.low[column]) & (slope <= outline.high[column])
    hidden = np.zeros(len(scene), np.bool_)
    hidden[index[inside & (range_m > outline.near_m[column])]] = True
    return hidden, index[inside & (range_m < outline.near_m[column] - IN_FRONT_M)]


def _sector(points: Float32, azimuth_rad: float, half_rad: float) -> NDArray[np.int64]:
    """Indices of the points within ``half_rad`` of an azimuth."""
    x, y = points[:, 0], points[:, 1]
    cos, sin = np.float32(math.cos(azimuth_rad)), np.float32(math.sin(azimuth_rad))
    along = x * cos + y * sin
    half_rad = min(half_rad, 1.5)  # of a quarter turn at most: objects do not surround the sensor
    return np.flatnonzero(np.abs(y * cos - x * sin) <= along * np.float32(math.tan(half_rad)))


def _wrap(angle: NDArray[np.floating]) -> NDArray[np.floating]:
    return (angle + np.pi) % (2 * np.pi) - np.pi


def _with_object(frame: Frame, points: Float32, class_index: int, centre_m: NDArray) -> Frame:
    """A frame with one object more, the last; a distractor is background."""
    if class_index == DISTRACTOR:
        number, classes, centres_m = 0, frame.classes, frame.centres_m
    else:
        number = len(frame.classes) + 1
        classes = np.append(frame.classes, np.int32(class_index))
        centres_m = np.concatenate([frame.centres_m, centre_m[None]]).astype(np.float32)
    return dataclasses.replace(
        frame,
        points=np.concatenate([frame.points, points]),
        instance=np.concatenate([frame.instance, np.full(len(points), number, np.int32)]),
        labelled=np.concatenate([frame.labelled, np.ones(len(points), np.bool_)]),
        classes=classes,
        centres_m=centres_m,
    )
