"""What a sensor sees of an object in a scene, and what the object hides from it."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bev_instseg.ops.kernel import kernel
from bev_instseg.structures import Float32

IN_FRONT_M = 0.5  # a point is in front of an object if it is nearer by more than this
MAX_IN_FRONT = 0.1  # at most this share of a visible object's points are in front of it
COLUMN_RAD = math.radians(0.5)  # width of an outline's columns, each with one span of elevation
# A sensor's resolution in azimuth and elevation.
BEAM_RAD = (math.radians(0.18), math.radians(0.40))
NO_POINTS = np.zeros((0, 4), np.float32)


def seen_and_hidden(
    points: Float32, scene: Float32, visible: NDArray[np.bool_], outside: Float32
) -> tuple[Float32, NDArray[np.int64]]:
    """Return the points of an object that the sensor sees, and the visible rows that it hides.

    Nothing of it is seen if the points in front of it number more than `MAX_IN_FRONT` of its own.

    Args:
        points: (K, 4) float32 points of the object, where it is put.
        scene: (N, 4) float32 points around it.
        visible: (N,) bool; other points of the scene are neither hidden nor in front.
        outside: (M, 4) float32 points that are not in the scene but may be in front.
    """
    outline = _outline(points)
    hidden, in_front = (rows[visible[rows]] for rows in _occlusion(outline, scene))
    blockers = np.concatenate([scene[in_front], outside[_occlusion(outline, outside)[1]]])
    if len(blockers) > MAX_IN_FRONT * len(points):
        return NO_POINTS, hidden
    if not len(blockers):
        return points, hidden
    return points[~np.isin(beam_of(points), beam_of(blockers))], hidden


def range_m_of(points: Float32) -> Float32:
    """Return the (N,) float32 horizontal distance of each point, rounded as by `_range_of`."""
    x, y = points[:, :2].T.astype(np.float64)
    range_m: Float32 = np.sqrt(x * x + y * y).astype(np.float32)
    return range_m


@kernel
def _range_of(x, y):  # type: ignore[no-untyped-def]
    """Return a float32 range; a float64 square root rounds alike everywhere, unlike hypot."""
    return np.float32(np.sqrt(np.float64(x) * np.float64(x) + np.float64(y) * np.float64(y)))


@kernel
def _azimuth(x, y):  # type: ignore[no-untyped-def]
    """Return the azimuth of a float32 position, in float64.

    Libraries and processors differ in the last bit of arctan2, so that a point within about 1e-15
    rad of the edge of a column or beam may be put on either side.
    """
    return np.arctan2(np.float64(y), np.float64(x))


@kernel
def beam_of(points):  # type: ignore[no-untyped-def]
    """Return the (N,) int64 number of the direction in which each point is seen."""
    beam = np.empty(len(points), np.int64)
    for i in range(len(points)):
        x, y, z = np.float64(points[i, 0]), np.float64(points[i, 1]), np.float64(points[i, 2])
        across = np.floor(_azimuth(x, y) / BEAM_RAD[0])
        up = np.floor(np.arctan2(z, np.sqrt(x * x + y * y)) / BEAM_RAD[1])
        beam[i] = np.int64(across) * 1024 + np.int64(up)  # up is within +-225
    return beam


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
    half_rad = min(half_rad, 1.5)  # 86 degrees to each side: no object surrounds the sensor
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
