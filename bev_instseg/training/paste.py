"""Pastes objects into training frames, where the sensor could have seen them."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bev_instseg.ops.kernel import kernel
from bev_instseg.structures import Float32, Frame
from bev_instseg.training.augment import rotate, select_points
from bev_instseg.training.cutouts import DISTRACTOR, MIN_CUTOUT_POINTS, Cutout

PASTE_TRIES = 8
MAX_RANGE_FACTOR = 1.5  # an object is pasted at up to this times the range at which it was seen
CLEARANCE_M = 0.3  # free space around a pasted object
MAX_GROUND_HEIGHT_M = 0.2  # background points up to this far from height 0 are ground
OBSTACLE_M = 0.3  # points higher than this above the ground are obstacles
IN_FRONT_M = 0.5  # a point is in front of an object if it is nearer by more than this
MAX_IN_FRONT = 0.1  # at most this share of an object's number of points may be in front of it
COLUMN_RAD = math.radians(0.5)  # width of an outline's columns, each with one span of elevation
BEAM_RAD = (
    math.radians(0.18),
    math.radians(0.40),
)  # a sensor's resolution in azimuth and elevation
NO_POINTS = np.zeros((0, 4), np.float32)


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
        bank: Objects to draw from, by class.
        max_pastes: The most objects to paste from each class.
        rng: Source of all randomness.
        outside: (M, 4) float32 points that are not in the frame but may occlude objects.

    Returns:
        The new frame and heights.
    """
    scene = _Composition(frame, height_m)
    counts = [rng.integers(0, n + 1) for n in max_pastes]
    for class_index in rng.permutation(np.repeat(np.arange(len(max_pastes)), counts)):
        if own := bank[class_index]:
            _paste(scene, own[int(rng.integers(len(own)))], rng, outside)
    return scene.composed()


def paste(
    frame: Frame,
    height_m: Float32,
    cutout: Cutout,
    rng: np.random.Generator,
    outside: Float32 = NO_POINTS,
) -> tuple[Frame, Float32] | None:
    """Paste an object into a frame at its range or farther, mirrored half of the time.

    It is placed on a labelled ground point, where no obstacle is on its footprint and next to
    nothing is between it and the sensor. Points that it hides are removed.

    Args:
        frame: N points.
        height_m: (N,) float32 height of each point above the ground.
        cutout: The object.
        rng: Source of all randomness.
        outside: (M, 4) float32 points that are not in the frame but may occlude the object.

    Returns:
        The new frame and heights, or None if no place was found.
    """
    scene = _Composition(frame, height_m)
    return scene.composed() if _paste(scene, cutout, rng, outside) else None


class _Composition:
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
        self.frame, self.height_m = frame, height_m
        self.range_m = _range(frame.points)
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
        self.range_m = np.concatenate([self.range_m, _range(points)])
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


def _paste(scene: _Composition, cutout: Cutout, rng: np.random.Generator, outside: Float32) -> bool:
    """Paste an object as `paste` does; return whether a place was found."""
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
        points, hidden = _seen_and_hidden(points, scene.frame.points, scene.visible, outside)
        if len(points) >= MIN_CUTOUT_POINTS:
            scene.hide(hidden)
            scene.add(points, cutout.class_index, centre, ground_m)
            return True
    return False


def _range(points: Float32) -> Float32:
    """Return the (N,) float32 horizontal distance of each point, rounded as by `_range_of`."""
    x, y = points[:, :2].T.astype(np.float64)
    range_m: Float32 = np.sqrt(x * x + y * y).astype(np.float32)
    return range_m


@kernel
def _range_of(x, y):  # type: ignore[no-untyped-def]
    """Return a float32 range; a float64 square root rounds alike everywhere, unlike hypot."""
    return np.float32(np.sqrt(np.float64(x) * np.float64(x) + np.float64(y) * np.float64(y)))


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
        points = points.compress(_first_of_each(_beam(points)), axis=0)
    points[:, :2] = rotate(points[:, :2], azimuth_rad)
    return points


def _seen_and_hidden(
    points: Float32, scene: Float32, visible: NDArray[np.bool_], outside: Float32
) -> tuple[Float32, NDArray[np.int64]]:
    """Return the points of an object that the sensor sees, and the visible rows that it hides.

    If more than `MAX_IN_FRONT` of its number of points are in front of it, nothing of it is seen.
    """
    outline = _outline(points)
    hidden, in_front = (rows[visible[rows]] for rows in _occlusion(outline, scene))
    blockers = np.concatenate([scene[in_front], outside[_occlusion(outline, outside)[1]]])
    if len(blockers) > MAX_IN_FRONT * len(points):
        return NO_POINTS, hidden
    if not len(blockers):
        return points, hidden
    return points[~np.isin(_beam(points), _beam(blockers))], hidden


@kernel
def _azimuth(x, y):  # type: ignore[no-untyped-def]
    """Return the azimuth of a float32 position, in float64.

    Libraries and processors differ in the last bit of arctan2, so that a point within about 1e-15
    rad of the edge of a column or beam may be put on either side.
    """
    return np.arctan2(np.float64(y), np.float64(x))


@kernel
def _beam(points):  # type: ignore[no-untyped-def]
    """Return the (N,) int64 number of the direction in which each point is seen."""
    beam = np.empty(len(points), np.int64)
    for i in range(len(points)):
        x, y, z = np.float64(points[i, 0]), np.float64(points[i, 1]), np.float64(points[i, 2])
        across = np.floor(_azimuth(x, y) / BEAM_RAD[0])
        up = np.floor(np.arctan2(z, np.sqrt(x * x + y * y)) / BEAM_RAD[1])
        beam[i] = np.int64(across) * 1024 + np.int64(up)  # up is within +-225
    return beam


@kernel
def _first_of_each(numbers):  # type: ignore[no-untyped-def]
    """Return (N,) bool: True where no earlier number is the same."""
    order = np.argsort(numbers, kind="mergesort")
    first = np.ones(len(numbers), np.bool_)
    for i in range(1, len(numbers)):
        first[order[i]] = numbers[order[i]] != numbers[order[i - 1]]
    return first


@dataclass(frozen=True, eq=False)
class _Outline:
    """An object as the sensor sees it: C columns of azimuth, counter-clockwise.

    Attributes:
        start_rad: Azimuth where the first column begins.
        low: (C,) lowest slope (z over range) of its points in each column.
        high: (C,) highest slope in each column.
        near_m: (C,) range of the nearest point in each column.
    """

    start_rad: float
    low: NDArray[np.floating]
    high: NDArray[np.floating]
    near_m: NDArray[np.floating]


@kernel
def _wrap(angle):  # type: ignore[no-untyped-def]
    """Return an angle in -pi..pi."""
    return (angle + np.pi) % (2 * np.pi) - np.pi


def _outline(points: Float32) -> _Outline:
    return _Outline(*_span(points, math.atan2(*points[:, 1::-1].mean(0))))


@kernel
def _span(points, middle):  # type: ignore[no-untyped-def]
    """Return the fields of the outline of points around a middle azimuth."""
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
    """Return the rows of scene points that an object hides, and of those in front of it.

    Both are inside its outline, the first farther away, the second nearer by `IN_FRONT_M`.
    """
    half_rad = len(outline.low) * COLUMN_RAD / 2
    middle_rad = outline.start_rad + half_rad
    half_rad = min(
        half_rad, 1.5
    )  # at most 86 degrees to each side: objects do not surround the sensor
    angles = math.cos(middle_rad), math.sin(middle_rad), math.tan(half_rad)
    columns = outline.start_rad, outline.low, outline.high, outline.near_m
    rows: tuple[NDArray[np.int64], NDArray[np.int64]] = _hidden_and_in_front(
        scene, *map(np.float32, angles), *columns
    )
    return rows


@kernel
def _hidden_and_in_front(scene, cos, sin, tan, start, low, high, near):  # type: ignore[no-untyped-def]
    """Do the work of `_occlusion`, computing azimuths only in the sector that holds the outline."""
    hidden, in_front = np.empty(len(scene), np.int64), np.empty(len(scene), np.int64)
    num_hidden = num_in_front = 0
    for i in range(len(scene)):
        x, y = scene[i, 0], scene[i, 1]
        if not abs(y * cos - x * sin) <= (x * cos + y * sin) * tan:
            continue
        column = min(max(int(_wrap(_azimuth(x, y) - start) / COLUMN_RAD), 0), len(low) - 1)
        range_m = _range_of(x, y)
        if low[column] <= scene[i, 2] / max(range_m, np.float32(0.1)) <= high[column]:
            if range_m > near[column]:
                hidden[num_hidden] = i
                num_hidden += 1
            elif range_m < near[column] - IN_FRONT_M:
                in_front[num_in_front] = i
                num_in_front += 1
    return hidden[:num_hidden].copy(), in_front[:num_in_front].copy()


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
