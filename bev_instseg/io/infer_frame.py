"""Infer the sensor's position and the height of the ground from a few points of a file.

Everything works on a small float64 sample of finite points, so it costs next to nothing.
"""

import numpy as np
from numpy.typing import NDArray

from bev_instseg.grid import MAX_RANGE_M
from bev_instseg.io.place import find_place
from bev_instseg.io.sensor_setup import axes_rotation
from bev_instseg.ops.kernel import kernel

MAX_SAMPLE = 1024  # points that are used
MAX_PLACE_SAMPLE = 4096  # if the sensor does not seem to be at the origin
GOLDEN = (5**0.5 - 1) / 2  # fractions of its multiples are spread evenly, without a period
MIN_SAMPLE = 50  # fewer points say too little about axes or origin
MIN_POSSIBLE_SHARE = 0.01  # with fewer points within `MAX_RANGE_M`, it is a map
EARTH_M = 2e7  # no map has larger coordinates

CLOSE_M, MIN_CLOSE_SHARE = 10.0, 0.05  # with fewer points this close, the sensor may be elsewhere
MIN_MOVE_M = 35.0  # cropped sweeps look as if their sensor were up to this far away
AROUND_M, MIN_AROUND_SHARE = 60.0, 0.01  # with fewer points this near, the sensor is elsewhere
MAX_SPREAD_M = 300.0  # a sweep's points are mostly this close to their median
MAX_HEIGHT_CHANGE_M = 10.0  # z is kept if its median is within this distance of 0

SPREAD_RADIUS_M = 30.0  # the spread along the axes is that of the points within this distance
QUANTILES = (0.02, 0.98)  # the spread is between them
MAX_THINNESS = 0.5  # the spread along a vertical axis other than z, as a share of that along z
ELSEWHERE = (
    "the sensor is not at the origin of the coordinates: the points are moved so that it is "
    "(origin_m in the .json; --origin sets it)"
)
FAR_AWAY = (
    "coordinates far from the origin: shifted by their median, a guess of where the sensor was; "
    "--origin sets it"
)

MAYBE_ELSEWHERE = (
    f"few points are within {CLOSE_M:g} m of the origin: if the sensor was somewhere else, pass "
    "--origin X Y Z"
)

GIVEN_ELSEWHERE = f"few points are within {CLOSE_M:g} m of the given --origin; check it"

GROUND_RADIUS_M = 30.0  # the height of the ground is that within this horizontal distance
LAYER_M = 0.3  # thickness of a horizontal layer that may be the ground


def sample_points(
    values: NDArray[np.floating], max_points: int = MAX_SAMPLE
) -> NDArray[np.float64]:
    """Pick points spread evenly over a file, leaving out missing and impossible returns.

    A point is impossible if a coordinate is beyond `MAX_RANGE_M`. If nearly all points of a file
    are, as in a map, the limit counts from their median instead.

    Args:
        values: (N, 3 or more) x, y, z and further columns as in the file.
        max_points: Maximum number of points.

    Returns:
        (n, 3 or more) float64 with n <= ``max_points``; the coordinates are finite and not all 0.
    """
    sample: NDArray[np.float64]
    sample, range_m = _pick(values, min(max_points, len(values)))
    possible = range_m < MAX_RANGE_M
    if possible.all():
        return sample
    if np.mean(possible) < MIN_POSSIBLE_SHARE:  # map coordinates
        on_earth = range_m < EARTH_M
        middle = np.median(sample[on_earth, :3], axis=0) if on_earth.any() else 0
        possible = np.abs(sample[:, :3] - middle).max(axis=1) < MAX_RANGE_M
    return np.ascontiguousarray(sample[possible])


@kernel
def _pick(values, number):  # type: ignore[no-untyped-def]
    """Return (n, C) float64 some rows with returns, and (n,) the largest absolute x, y or z."""
    picked = np.empty((number, values.shape[1]))
    range_m = np.empty(number)
    n = 0
    for k in range(number):
        i = k if number == len(values) else int(k * GOLDEN % 1 * len(values))
        x, y, z = abs(values[i, 0]), abs(values[i, 1]), abs(values[i, 2])
        if np.isfinite(x + y + z) and x + y + z > 0:
            picked[n] = values[i]
            range_m[n] = max(x, y, z)
            n += 1
    return picked[:n], range_m[:n]


def infer_origin_m(
    sample: NDArray[np.float64], values: NDArray[np.floating], axes: str
) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Infer the sensor's position: zero, unless the points clearly lie around another place.

    - If few points are close to zero, the sensor is where `find_place` sees it, if that is at least
      `MIN_MOVE_M` away.
    - Otherwise, if fewer than `MIN_AROUND_SHARE` of the points are within `AROUND_M` of zero and
      half of them are within `MAX_SPREAD_M` of their median, it is at the median.
    - Otherwise, if their median is at least `MIN_MOVE_M` away, a notice reports the doubt.

    Args:
        sample: (n, 3 or more) points; see `sample_points`.
        values: (N, 3 or more) all points.
        axes: Directions of the file's x, y and z, or ``auto``.

    Returns:
        (3,) float64 whole metres in the file's axes, and what was assumed.
    """
    origin_m = np.zeros(3)
    xyz = sample[:, :3]
    distance_m = _norm(xyz)
    if _is_close(distance_m):
        return origin_m, ()
    middle = np.round(np.median(xyz, axis=0))
    vertical = _vertical_axis(xyz, axes)
    horizontal = [i for i in range(3) if i != vertical]
    place = find_place(sample_points(values, MAX_PLACE_SAMPLE)[:, horizontal])
    if place is not None and np.hypot(*place) >= MIN_MOVE_M:
        origin_m[horizontal] = place
        if abs(middle[vertical]) > MAX_HEIGHT_CHANGE_M:
            origin_m[vertical] = middle[vertical]
        return origin_m, (ELSEWHERE,)
    far_away = np.count_nonzero(distance_m < AROUND_M) < MIN_AROUND_SHARE * len(xyz)
    spread_m = np.median(_norm(xyz - middle))
    if far_away and spread_m < MAX_SPREAD_M and np.abs(middle).max() < EARTH_M:
        return middle, (FAR_AWAY,)
    is_aside = np.hypot(*middle[horizontal]) >= MIN_MOVE_M
    return origin_m, (MAYBE_ELSEWHERE,) if is_aside else ()


def doubt_origin(xyz: NDArray[np.float64], axes: str) -> tuple[str, ...]:
    """Return a notice if the sensor is probably not at the given place.

    Args:
        xyz: (n, 3) points relative to that place; see `sample_points`.
        axes: Directions of the file's x, y and z, or ``auto``.
    """
    if _is_close(_norm(xyz)):
        return ()
    middle = np.delete(np.median(xyz, axis=0), _vertical_axis(xyz, axes))
    return (GIVEN_ELSEWHERE,) if np.hypot(*middle) >= MIN_MOVE_M else ()


def thinnest_axis(xyz: NDArray[np.float64]) -> int:
    """Return the number of the axis that the points spread least along: that of z if in doubt.

    Args:
        xyz: (n, 3) points; see `sample_points`.
    """
    near = xyz[_norm(xyz) < SPREAD_RADIUS_M]
    points = np.sort(near if len(near) >= MIN_SAMPLE else xyz, axis=0)
    low, high = points[[int(q * len(points)) for q in QUANTILES]]
    spread = high - low
    thinnest = int(np.argmin(spread))
    return thinnest if spread[thinnest] < MAX_THINNESS * spread[2] else 2


def infer_ground_m(xyz: NDArray[np.float64]) -> float:
    """Infer the ground's z near the sensor: the lowest layer at least half as dense as the densest.

    Args:
        xyz: (n, 3) points relative to the sensor, z up; see `sample_points`.

    Returns:
        z of the ground in metres; 0 if no point is near, see `is_near`.
    """
    heights_m = np.sort(xyz[is_near(xyz), 2])
    if len(heights_m) == 0:
        return 0.0
    layer_ends = np.searchsorted(heights_m, heights_m + LAYER_M, side="right")
    counts = layer_ends - np.arange(len(heights_m))
    lowest = int(np.argmax(counts >= counts.max() / 2))
    ground = lowest + int(np.argmax(counts[lowest : lowest + counts[lowest]]))
    return float(np.median(heights_m[ground : ground + counts[ground]]))


def is_near(xyz: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return (n,) whether a point is within `GROUND_RADIUS_M`, so that it may show the ground.

    Args:
        xyz: (n, 3) points relative to the sensor, z up.
    """
    near: NDArray[np.bool_] = _norm(xyz[:, :2]) < GROUND_RADIUS_M
    return near


def _is_close(distance_m: NDArray[np.float64]) -> bool:
    """Return whether points are where a sensor may be, or too few to tell."""
    num_close = int(np.count_nonzero(distance_m < CLOSE_M))
    return len(distance_m) < MIN_SAMPLE or num_close >= MIN_CLOSE_SHARE * len(distance_m)


def _vertical_axis(xyz: NDArray[np.float64], axes: str) -> int:
    if axes == "auto":
        return thinnest_axis(xyz)
    return int(np.flatnonzero(axes_rotation(axes)[2])[0])


def _norm(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    lengths: NDArray[np.float64] = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    return lengths
