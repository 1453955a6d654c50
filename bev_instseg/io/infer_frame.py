"""Infer the sensor's position, the axes and the ground height of a file from a few of its points.

Everything works on a small float64 sample of finite points, so it costs next to nothing.
"""

import numpy as np
from numpy.typing import NDArray

MAX_SAMPLE = 1024  # points that are looked at
MIN_SAMPLE = 50  # fewer points say too little about axes or origin
NEAR_M = 60.0  # a sweep has points this close to its sensor
MIN_NEAR_SHARE = 0.01  # with fewer points near it, the origin is not at the sensor
MAX_SPREAD_M = 300.0  # a sweep's points are mostly this close to their median
EARTH_M = 2e7  # no map has larger coordinates
VERTICAL_RADIUS_M = 30.0  # axes and ground are inferred from points within this distance
QUANTILES = (0.02, 0.3, 0.7, 0.98)  # the lower tail is between the first two, the upper the last
MAX_THINNESS = 0.5  # see `infer_axes`
MIN_TAIL_RATIO = 2.0  # see `infer_axes`
LAYER_M = 0.3  # thickness of a horizontal layer that may be the ground
# Positions in the file from 0 to 1, spread evenly but without a period (golden ratio).
POSITIONS = np.arange(MAX_SAMPLE) * ((np.sqrt(5) - 1) / 2) % 1

# Axes by the file's vertical axis and whether it points up: the common convention, if there is one.
AXES = {
    (2, True): "flu",
    (2, False): "frd",
    (1, False): "rdf",
    (1, True): "rub",
    (0, True): "ufl",
    (0, False): "dfr",
}


@np.errstate(invalid="ignore")
def sample_points(xyz: NDArray[np.floating]) -> NDArray[np.float64]:
    """Pick points spread evenly over a file, leaving out missing returns.

    Args:
        xyz: (N, 3) coordinates as in the file.

    Returns:
        (n, 3) float64 with n <= `MAX_SAMPLE`; without zeros, NaN and infinite coordinates.
    """
    picked = xyz if len(xyz) <= MAX_SAMPLE else xyz[(POSITIONS * len(xyz)).astype(np.intp)]
    valid = np.isfinite(picked).all(axis=1) & picked.any(axis=1)
    finite: NDArray[np.float64] = picked[valid].astype(np.float64)
    return finite


def infer_origin_m(xyz: NDArray[np.float64]) -> NDArray[np.float64]:
    """Infer the sensor's position: zero, or near the median if the points are far from zero.

    The median is used if fewer than `MIN_NEAR_SHARE` of the points are within `NEAR_M` of zero,
    half of them are within `MAX_SPREAD_M` of it, and it is a possible map coordinate (`EARTH_M`).

    Args:
        xyz: (n, 3) points; see `sample_points`.

    Returns:
        (3,) float64 whole metres in the file's axes.
    """
    num_near = np.count_nonzero(_norm(xyz) < NEAR_M)
    if len(xyz) < MIN_SAMPLE or num_near >= MIN_NEAR_SHARE * len(xyz):
        return np.zeros(3)
    origin_m: NDArray[np.float64] = np.round(np.median(xyz, axis=0))
    if np.median(_norm(xyz - origin_m)) < MAX_SPREAD_M and np.abs(origin_m).max() < EARTH_M:
        return origin_m
    return np.zeros(3)


def infer_axes(xyz: NDArray[np.float64]) -> str:
    """Infer the file's axes: ``flu`` unless z clearly does not point up.

    A sweep reaches far along the ground but not far up. The vertical axis is therefore z, or the
    axis along which the points spread least if that spread is below `MAX_THINNESS` times the
    spread along z. Points end at the ground below and thin out above, so the longer tail is up. To
    call z downward, its lower tail must be `MIN_TAIL_RATIO` times as long as its upper tail, so
    that a ceiling is not mistaken for the ground.

    Args:
        xyz: (n, 3) points relative to the sensor; see `sample_points`.

    Returns:
        One of `AXES`. The forward direction cannot be inferred; the common convention is assumed.
    """
    near = xyz[_norm(xyz) < VERTICAL_RADIUS_M]
    if len(near) < MIN_SAMPLE:
        return "flu"
    low, lower, upper, high = np.sort(near, axis=0)[[int(q * len(near)) for q in QUANTILES]]
    spread = high - low
    vertical = int(np.argmin(spread))
    if spread[vertical] >= MAX_THINNESS * spread[2]:
        vertical = 2
    above, below = (high - upper)[vertical], (lower - low)[vertical]
    return AXES[vertical, bool(above * (MIN_TAIL_RATIO if vertical == 2 else 1) >= below)]


def infer_ground_m(xyz: NDArray[np.float64]) -> float:
    """Infer the ground's z near the sensor: the lowest layer at least half as dense as the densest.

    Args:
        xyz: (n, 3) points relative to the sensor, z up; see `sample_points`.

    Returns:
        z of the ground in metres; 0 if there are no points within `VERTICAL_RADIUS_M`.
    """
    heights_m = np.sort(xyz[_norm(xyz[:, :2]) < VERTICAL_RADIUS_M, 2])
    if len(heights_m) == 0:
        return 0.0
    layer_ends = np.searchsorted(heights_m, heights_m + LAYER_M, side="right")
    counts = layer_ends - np.arange(len(heights_m))
    lowest = int(np.argmax(counts >= counts.max() / 2))
    ground = lowest + int(np.argmax(counts[lowest : lowest + counts[lowest]]))
    return float(np.median(heights_m[ground : ground + counts[ground]]))


def _norm(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    lengths: NDArray[np.float64] = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    return lengths
