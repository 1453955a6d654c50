"""Where the sensor stands in the coordinates of a file, and which way is up, from a few points.

Works on a sample of the points, float64 and finite, so it costs next to nothing.
"""

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

SAMPLE = 1024  # points looked at
NEAR_M = 60.0  # a sweep has points within
FAR_SHARE = 0.01  # with fewer of them near, the origin is not at the sensor
SIGHT_M = 300.0  # a sweep's points lie within, of where most are
EARTH_M = 2e7  # no map has coordinates beyond
AROUND_M = 30.0  # axes and ground are told from points within
FEW = 50  # fewer points do not tell axes or origin
TAILS = (0.02, 0.3, 0.7, 0.98)  # shares of the points between which the lower and upper tail lie
THIN = 0.5  # see `find_axes`
CLEAR = 2.0  # see `find_axes`
LAYER_M = 0.3  # thickness of what is taken for ground
STEPS = np.arange(SAMPLE) * ((np.sqrt(5) - 1) / 2) % 1  # even over the file, without a period

# Axes of a file by its vertical axis and whether it points up: the usual ones, or the nearest.
AXES = {
    (2, True): "flu",
    (2, False): "frd",
    (1, False): "rdf",
    (1, True): "rub",
    (0, True): "ufl",
    (0, False): "dfr",
}


@np.errstate(invalid="ignore")
def sample(xyz: NDArray[np.floating]) -> Float64:
    """At most `SAMPLE` of the (N, 3) points, but none that is not finite or zero (no return)."""
    some = xyz if len(xyz) <= SAMPLE else xyz[(STEPS * len(xyz)).astype(np.intp)]
    return some[np.isfinite(some).all(axis=1) & some.any(axis=1)].astype(np.float64)


def find_origin_m(some: Float64) -> Float64:
    """Zero, or where the points are if that is elsewhere.

    That is their median in whole metres, if hardly a point lies within `NEAR_M` of zero, most lie
    within `SIGHT_M` of the median, and there may be such a place (`EARTH_M`).

    Args:
        some: (n, 3) points; see `sample`.

    Returns:
        (3,) metres in the file's axes.
    """
    if len(some) < FEW or np.count_nonzero(_length(some) < NEAR_M) >= FAR_SHARE * len(some):
        return np.zeros(3)
    origin_m = np.round(np.median(some, axis=0))
    if np.median(_length(some - origin_m)) < SIGHT_M and np.abs(origin_m).max() < EARTH_M:
        return origin_m
    return np.zeros(3)


def find_axes(some: Float64) -> str:
    """The file's axes: ``flu`` unless the ground clearly lies along another axis or above.

    A sweep reaches far along the ground and not far up: the vertical is z, or the axis along which
    the points spread least if that is less than `THIN` of their spread along z. Downwards they end
    at the ground, upwards they thin out: up is the side of the longer tail. z points up unless the
    tail below is `CLEAR` times as long as that above, so a ceiling does not pass for the ground.

    Args:
        some: (n, 3) points about the sensor; see `sample`.

    Returns:
        One of `AXES`. Which way is forward cannot be told; it is taken as usual.
    """
    near = some[_length(some) < AROUND_M]
    if len(near) < FEW:
        return "flu"
    low, lower, upper, high = np.sort(near, axis=0)[[int(q * len(near)) for q in TAILS]]
    spread = high - low
    vertical = int(np.argmin(spread))
    if spread[vertical] >= THIN * spread[2]:
        vertical = 2
    above, below = (high - upper)[vertical], (lower - low)[vertical]
    return AXES[vertical, bool(above * (CLEAR if vertical == 2 else 1) >= below)]


def find_ground_m(some: Float64) -> float:
    """Height of the ground near the sensor: the lowest layer half as dense as the densest.

    Args:
        some: (n, 3) points about the sensor with z up; see `sample`.

    Returns:
        z in metres; 0 if there are no points within `AROUND_M`.
    """
    heights = np.sort(some[_length(some[:, :2]) < AROUND_M, 2])
    if len(heights) == 0:
        return 0.0
    counts = np.searchsorted(heights, heights + LAYER_M, side="right") - np.arange(len(heights))
    lowest = int(np.argmax(counts >= counts.max() / 2))
    ground = lowest + int(np.argmax(counts[lowest : lowest + counts[lowest]]))
    return float(np.median(heights[ground : ground + counts[ground]]))


def _length(vectors: Float64) -> Float64:
    return np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
