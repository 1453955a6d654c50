"""Composes training frames: objects set down where the sensor could have seen them."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bev_instseg.ops.kernel import kernel
from bev_instseg.structures import Float32, Frame
from bev_instseg.training.augment import keep, rotate
from bev_instseg.training.cutouts import DISTRACTOR, MIN_CUTOUT_POINTS, Cutout

PASTE_TRIES = 8
FARTHEST = 1.5  # times the range at which an object was seen
CLEARANCE_M = 0.3  # free space around a pasted object
OBSTACLE_M = 0.3  # points higher than this above the ground are in the way
IN_FRONT_M = 0.5  # a point is in front of an object if it is nearer by more than this
MAX_IN_FRONT = 0.1  # points in front of an object, as part of its own, that hide too little
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
    scene = _Composition(frame, height_m)
    counts = [rng.integers(0, n + 1) for n in most]
    for class_index in rng.permutation(np.repeat(np.arange(len(most)), counts)):
        if own := bank[class_index]:
            _paste(scene, own[int(rng.integers(len(own)))], rng, around)
    return scene.composed()


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
    scene = _Composition(frame, height_m)
    return scene.composed() if _paste(scene, cutout, rng, around) else None


class _Composition:
    """A frame while objects are set down in it, one after the other.

    What hidden points are is only noted, and what is known of each point is kept, so that an
    object costs little more than the points it touches.

    Attributes:
        frame, height_m: all points, hidden ones too, and their heights above the ground.
        range_m: (N,) float32 horizontal distance of each from the sensor.
        there: (N,) bool; False for the hidden.
        ground, obstacle: (N,) bool; where an object may stand, and what it may not stand on.
    """

    def __init__(self, frame: Frame, height_m: Float32) -> None:
        self.frame, self.height_m = frame, height_m
        self.range_m = _range(frame.points)
        self.there = np.ones(len(frame.points), np.bool_)
        background = frame.instance == 0
        self.ground = frame.labelled & background & (np.abs(height_m) < 0.2)
        self.obstacle = (height_m > OBSTACLE_M) | ~background

    def hide(self, rows: NDArray[np.integer]) -> None:
        """Strike points out."""
        self.there[rows] = self.ground[rows] = self.obstacle[rows] = False

    def add(self, points: Float32, class_index: int, centre_m: NDArray, ground_m: float) -> None:
        """One object more, the last; a distractor is background."""
        height_m = points[:, 2] - ground_m
        background = class_index == DISTRACTOR
        self.frame = _with_object(self.frame, points, class_index, centre_m)
        self.height_m = np.concatenate([self.height_m, height_m])
        self.range_m = np.concatenate([self.range_m, _range(points)])
        self.there = np.concatenate([self.there, np.ones(len(points), np.bool_)])
        self.ground = np.concatenate([self.ground, background & (np.abs(height_m) < 0.2)])
        self.obstacle = np.concatenate([self.obstacle, ~background | (height_m > OBSTACLE_M)])

    def composed(self) -> tuple[Frame, Float32]:
        """The frame without the hidden points, and the heights."""
        if self.there.all():
            return self.frame, self.height_m
        return keep(self.frame, self.height_m, self.there)


def _paste(scene: _Composition, cutout: Cutout, rng: np.random.Generator, around: Float32) -> bool:
    """See `paste`; returns whether a place was found."""
    farther, mirrored = rng.uniform(1, FARTHEST), rng.random() < 0.5
    if len(set_down(cutout, farther, mirrored, 0, 0)) < MIN_CUTOUT_POINTS:
        farther = 1.0
    distance = np.float32(farther * cutout.range_m)
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
        points = set_down(cutout, farther, mirrored, math.atan2(y, x), ground_m)
        points, hidden = _look(points, scene.frame.points, scene.there, around)
        if len(points) >= MIN_CUTOUT_POINTS:
            scene.hide(hidden)
            scene.add(points, cutout.class_index, centre, ground_m)
            return True
    return False


def _range(points: Float32) -> Float32:
    """(N,) float32 horizontal distance of each point from the sensor, the kernels' `_range_of`."""
    x, y = points[:, :2].T.astype(np.float64)
    return np.sqrt(x * x + y * y).astype(np.float32)


@kernel
def _range_of(x, y):  # type: ignore[no-untyped-def]
    """float32 by a float64 square root, which every processor rounds alike; hypot is not."""
    return np.float32(np.sqrt(np.float64(x) * np.float64(x) + np.float64(y) * np.float64(y)))


@kernel
def _at_range(range_m, ground, distance):  # type: ignore[no-untyped-def]
    """Rows of the ground within half a metre of a distance from the sensor."""
    rows = np.empty(len(range_m), np.int64)
    count = 0
    for i in range(len(range_m)):
        rows[count] = i
        count += ground[i] and abs(range_m[i] - distance) < np.float32(0.5)
    return rows[:count].copy()


@kernel
def _occupied(points, obstacle, x, y, reach2):  # type: ignore[no-untyped-def]
    """Whether an obstacle lies within a circle."""
    for i in range(len(points)):
        if obstacle[i] and (points[i, 0] - x) ** 2 + (points[i, 1] - y) ** 2 < reach2:
            return True
    return False


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
        points = points.compress(_first(_beam(points)), axis=0)
    points[:, :2] = rotate(points[:, :2], azimuth_rad)
    return points


def _look(
    points: Float32, scene: Float32, there: NDArray[np.bool_], around: Float32
) -> tuple[Float32, NDArray[np.int64]]:
    """What the sensor sees of an object, and which points ``there`` in the scene it hides.

    Of an object that stands behind more than a small part of its own number of points, nothing.

    Returns:
        (K, 4) float32 points of the object and rows of the hidden.
    """
    outline = _outline(points)
    hidden, in_front = (rows[there[rows]] for rows in _occlusion(outline, scene))
    blockers = np.concatenate([scene[in_front], around[_occlusion(outline, around)[1]]])
    if len(blockers) > MAX_IN_FRONT * len(points):
        return NOTHING, hidden
    if not len(blockers):
        return points, hidden
    return points[~np.isin(_beam(points), _beam(blockers))], hidden


@kernel
def _azimuth(x, y):  # type: ignore[no-untyped-def]
    """Azimuth of a float32 position, in float64.

    Libraries and processors differ in the last bit of arctan2, so a point within about 1e-15 rad of
    the edge of a column or beam may fall to either side.
    """
    return np.arctan2(np.float64(y), np.float64(x))


@kernel
def _beam(points):  # type: ignore[no-untyped-def]
    """(N,) int64 number of the direction that each point is seen in."""
    beam = np.empty(len(points), np.int64)
    for i in range(len(points)):
        x, y, z = np.float64(points[i, 0]), np.float64(points[i, 1]), np.float64(points[i, 2])
        across = np.floor(_azimuth(x, y) / BEAM_RAD[0])
        up = np.floor(np.arctan2(z, np.sqrt(x * x + y * y)) / BEAM_RAD[1])
        beam[i] = np.int64(across) * 1024 + np.int64(up)  # up lies within +-225
    return beam


@kernel
def _first(numbers):  # type: ignore[no-untyped-def]
    """(N,) bool whether no earlier number is the same."""
    order = np.argsort(numbers, kind="mergesort")
    first = np.ones(len(numbers), np.bool_)
    for i in range(1, len(numbers)):
        first[order[i]] = numbers[order[i]] != numbers[order[i - 1]]
    return first


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


@kernel
def _wrap(angle):  # type: ignore[no-untyped-def]
    return (angle + np.pi) % (2 * np.pi) - np.pi


def _outline(points: Float32) -> _Outline:
    return _Outline(*_span(points, math.atan2(*points[:, 1::-1].mean(0))))


@kernel
def _span(points, middle):  # type: ignore[no-untyped-def]
    """The fields of the outline of points about a middle azimuth."""
    azimuth = np.empty(len(points))
    for i in range(len(points)):
        azimuth[i] = _wrap(_azimuth(points[i, 0], points[i, 1]) - middle)
    start = azimuth.min()
    count = int((azimuth.max() - start) / COLUMN_RAD) + 1
    low, high, near = np.full(count, np.inf), np.full(count, -np.inf), np.full(count, np.inf)
    for i in range(len(points)):
        column = int((azimuth[i] - start) / COLUMN_RAD)
        range_m = _range_of(points[i, 0], points[i, 1])
        slope = points[i, 2] / max(range_m, np.float32(0.1))
        low[column], high[column] = min(low[column], slope), max(high[column], slope)
        near[column] = min(near[column], range_m)
    return middle + start, low, high, near


def _occlusion(outline: _Outline, scene: Float32) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which scene points an object hides and which stand in front of it.

    Both lie inside its outline, the former farther off, the latter nearer by `IN_FRONT_M`.

    Returns:
        Rows of the hidden, and of those in front.
    """
    half_rad = len(outline.low) * COLUMN_RAD / 2
    middle_rad = outline.start_rad + half_rad
    half_rad = min(half_rad, 1.5)  # of a quarter turn at most: objects do not surround the sensor
    angles = math.cos(middle_rad), math.sin(middle_rad), math.tan(half_rad)
    lines = outline.start_rad, outline.low, outline.high, outline.near_m
    return _behind_and_before(scene, *map(np.float32, angles), *lines)


@kernel
def _behind_and_before(scene, cos, sin, tan, start, low, high, near):  # type: ignore[no-untyped-def]
    """See `_occlusion`; the sector that holds the outline is told without its points' azimuths."""
    behind, before = np.empty(len(scene), np.int64), np.empty(len(scene), np.int64)
    num_behind = num_before = 0
    for i in range(len(scene)):
        x, y = scene[i, 0], scene[i, 1]
        if not abs(y * cos - x * sin) <= (x * cos + y * sin) * tan:
            continue
        column = min(max(int(_wrap(_azimuth(x, y) - start) / COLUMN_RAD), 0), len(low) - 1)
        range_m = _range_of(x, y)
        if low[column] <= scene[i, 2] / max(range_m, np.float32(0.1)) <= high[column]:
            if range_m > near[column]:
                behind[num_behind] = i
                num_behind += 1
            elif range_m < near[column] - IN_FRONT_M:
                before[num_before] = i
                num_before += 1
    return behind[:num_behind].copy(), before[:num_before].copy()


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
