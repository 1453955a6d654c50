"""Pastes objects into training frames, where the sensor could have seen them."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bev_instseg.ops.kernel import kernel
from bev_instseg.structures import Float32, Frame
from bev_instseg.training.augment import rotate, select_points
from bev_instseg.training.cutouts import DISTRACTOR, MIN_CUTOUT_POINTS, Cutout
from bev_instseg.training.occlusion import NO_POINTS, beam_of, range_m_of, seen_and_hidden

PASTE_TRIES = 8
MAX_RANGE_FACTOR = 1.5  # an object is pasted at up to this times the range at which it was seen
CLEARANCE_M = 0.3  # free space around a pasted object
MAX_GROUND_HEIGHT_M = 0.2  # background points up to this far from height 0 are ground
OBSTACLE_M = 0.3  # points higher than this above the ground are obstacles


def paste_some(
    frame: Frame,
    height_m: Float32,
    bank: Sequence[Sequence[Cutout]],
    max_pastes: tuple[int, ...],
    rng: np.random.Generator,
    outside: Float32 = NO_POINTS,
) -> tuple[Frame, Float32]:
    """Paste several objects into a frame, each as `paste` does.

    Args:
        frame: N points.
        height_m: (N,) float32 height of each point above the ground.
        bank: Objects to draw from: a list for each class and, last, the distractors.
        max_pastes: The most objects to paste from each of these lists.
        rng: Source of all randomness.
        outside: (M, 4) float32 points that are not in the frame but may occlude objects.

    Returns:
        The new frame and heights.
    """
    scene = Composition(frame, height_m)
    counts = [rng.integers(0, n + 1) for n in max_pastes]
    for class_index in rng.permutation(np.repeat(np.arange(len(max_pastes)), counts)):
        if own := bank[class_index]:
            paste(scene, own[int(rng.integers(len(own)))], rng, outside)
    return scene.composed()


class Composition:
    """A frame into which objects are pasted one after the other.

    Hidden points are only marked, and all of them are removed once at the end.

    Attributes:
        frame: All points, hidden ones included.
        height_m: (N,) float32 height of each above the ground.
        range_m: (N,) float32 horizontal distance of each from the sensor.
        visible: (N,) bool; False for hidden points.
        ground: (N,) bool; where an object may stand.
        obstacle: (N,) bool; where no object may stand.
    """

    def __init__(self, frame: Frame, height_m: Float32) -> None:
        """Begin with a frame and the (N,) float32 heights of its points above the ground."""
        self.frame, self.height_m = frame, height_m
        self.range_m = range_m_of(frame.points)
        self.visible = np.ones(len(frame.points), np.bool_)
        background = frame.instance == 0
        self.ground = frame.labelled & background & (np.abs(height_m) < MAX_GROUND_HEIGHT_M)
        self.obstacle = (height_m > OBSTACLE_M) | ~background

    def hide(self, rows: NDArray[np.integer]) -> None:
        """Mark points as hidden."""
        self.visible[rows] = self.ground[rows] = self.obstacle[rows] = False

    def add(
        self, points: Float32, class_index: int, centre_m: NDArray[np.floating], ground_m: float
    ) -> None:
        """Append an object, or a distractor as background."""
        height_m = points[:, 2] - ground_m
        background = class_index == DISTRACTOR
        self.frame = _with_object(self.frame, points, class_index, centre_m)
        self.height_m = np.concatenate([self.height_m, height_m])
        self.range_m = np.concatenate([self.range_m, range_m_of(points)])
        self.visible = np.concatenate([self.visible, np.ones(len(points), np.bool_)])
        self.ground = np.concatenate(
            [self.ground, background & (np.abs(height_m) < MAX_GROUND_HEIGHT_M)]
        )
        self.obstacle = np.concatenate([self.obstacle, ~background | (height_m > OBSTACLE_M)])

    def composed(self) -> tuple[Frame, Float32]:
        """Return the frame without the hidden points, and the heights."""
        if self.visible.all():
            return self.frame, self.height_m
        return select_points(self.frame, self.height_m, self.visible)


def paste(scene: Composition, cutout: Cutout, rng: np.random.Generator, outside: Float32) -> bool:
    """Paste an object into a frame at its range or farther, mirrored half of the time.

    It is placed on a labelled ground point, where no obstacle is on its footprint and next to
    nothing is between it and the sensor. Points that it hides are removed.

    Args:
        scene: The frame; it is changed.
        cutout: The object.
        rng: Source of all randomness.
        outside: (M, 4) float32 points that are not in the frame but may occlude the object.

    Returns:
        Whether a place was found.
    """
    range_factor, mirrored = rng.uniform(1, MAX_RANGE_FACTOR), rng.random() < 0.5
    if len(set_down(cutout, range_factor, mirrored, 0, 0)) < MIN_CUTOUT_POINTS:
        range_factor = 1.0
    distance = np.float32(range_factor * cutout.range_m)
    places = _at_range(scene.range_m, scene.ground, distance)
    if not len(places):
        return False
    reach = np.hypot(*(cutout.points[:, :2] - cutout.centre_m).T).max() + CLEARANCE_M
    for place in rng.choice(places, PASTE_TRIES):
        x, y, z = scene.frame.points[place, :3]
        centre = distance / scene.range_m[place] * np.array([x, y])
        if _occupied(scene.frame.points, scene.obstacle, centre[0], centre[1], reach**2):
            continue
        ground_m = z - scene.height_m[place]
        points = set_down(cutout, range_factor, mirrored, math.atan2(y, x), ground_m)
        points, hidden = seen_and_hidden(points, scene.frame.points, scene.visible, outside)
        if len(points) >= MIN_CUTOUT_POINTS:
            scene.hide(hidden)
            scene.add(points, cutout.class_index, centre, ground_m)
            return True
    return False


@kernel
def _at_range(range_m, ground, distance):  # type: ignore[no-untyped-def]
    """Return the rows of ground points within half a metre of a distance from the sensor."""
    rows = np.empty(len(range_m), np.int64)
    count = 0
    for i in range(len(range_m)):
        rows[count] = i
        count += ground[i] and abs(range_m[i] - distance) < np.float32(0.5)
    return rows[:count].copy()


@kernel
def _occupied(points, obstacle, x, y, reach2):  # type: ignore[no-untyped-def]
    """Return whether an obstacle is inside a circle."""
    for i in range(len(points)):
        if obstacle[i] and (points[i, 0] - x) ** 2 + (points[i, 1] - y) ** 2 < reach2:
            return True
    return False


def set_down(
    cutout: Cutout, range_factor: float, mirrored: bool, azimuth_rad: float, ground_m: float
) -> Float32:
    """Move an object to a place, turned so that the sensor sees the same side of it.

    Farther away the object covers a smaller angle; where several of its points then share a
    direction that a sensor cannot resolve, only the first is kept. Intensities are not changed.

    Args:
        cutout: The object.
        range_factor: New range relative to the one at which it was seen; 1 keeps all points.
        mirrored: Whether to swap left and right.
        azimuth_rad: Direction of the object's centre from the sensor.
        ground_m: z of the ground there.

    Returns:
        (M, 4) float32 points in the sensor's frame.
    """
    points = cutout.points.copy()
    points[:, :2] = rotate(points[:, :2], -math.atan2(cutout.centre_m[1], cutout.centre_m[0]))
    points[:, 0] += np.float32((range_factor - 1) * cutout.range_m)
    if mirrored:
        points[:, 1] *= -1
    points[:, 2] += ground_m
    if range_factor > 1:
        points = points.compress(_first_of_each(beam_of(points)), axis=0)
    points[:, :2] = rotate(points[:, :2], azimuth_rad)
    return points


@kernel
def _first_of_each(numbers):  # type: ignore[no-untyped-def]
    """Return (N,) bool: True where no earlier number is the same."""
    order = np.argsort(numbers, kind="mergesort")
    first = np.ones(len(numbers), np.bool_)
    for i in range(1, len(numbers)):
        first[order[i]] = numbers[order[i]] != numbers[order[i - 1]]
    return first


def _with_object(
    frame: Frame, points: Float32, class_index: int, centre_m: NDArray[np.floating]
) -> Frame:
    """Return a frame with an object appended, or a distractor as background."""
    if class_index == DISTRACTOR:
        number, classes, centres_m = 0, frame.classes, frame.centres_m
    else:
        number = len(frame.classes) + 1
        classes = np.append(frame.classes, np.int32(class_index))
        centres_m = np.concatenate([frame.centres_m, centre_m[None]]).astype(np.float32)
    background = frame.background
    if background is not None:
        background = np.concatenate([background, np.zeros(len(points), np.uint8)])
    return dataclasses.replace(
        frame,
        points=np.concatenate([frame.points, points]),
        instance=np.concatenate([frame.instance, np.full(len(points), number, np.int32)]),
        labelled=np.concatenate([frame.labelled, np.ones(len(points), np.bool_)]),
        classes=classes,
        centres_m=centres_m,
        background=background,
    )
