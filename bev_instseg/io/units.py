"""Refuse or report coordinates that are not x, y, z in metres."""

from collections.abc import Sequence
from itertools import permutations
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray

from bev_instseg.exceptions import ScanError
from bev_instseg.io.ground_plane import fit_ground_plane
from bev_instseg.io.infer_frame import AROUND_M, MIN_AROUND_SHARE

MIN_SAMPLE = 50  # fewer points say too little,
MIN_FAR_SAMPLE = 10  # or if others are beyond any sensor's range, this many
MIN_EXTENT_M = 1.8  # normalised coordinates end at the square root of 3
SMALL_EXTENT_M = 3.0  # only a sweep of a small room ends here
MAX_MEDIAN_M = 300.0  # a sweep's points are mostly closer than this
HEIGHT_M = (0.3, 5.0)  # of a sensor above the ground
MAX_FAR_SHARE = 0.01  # if more points are beyond any sensor's range, the others must be plausible
# Steps of coordinates: above the first, the road blurs; from the second on, objects are lost.
BLURRED_M, COARSE_M = 0.05, 0.3
MIN_STEPS = 20  # an axis with fewer different values may be that of a scanner with few layers
NO_STEP_M = 1e-3  # coordinates that differ by less are the same, but for rounding
UNUSUAL_HEIGHT_M = 4.0  # a sensor above this is on a mast, or its coordinates are in feet
SMALLER_UNITS = {100: "centimetres", 1000: "millimetres"}
FULL_CIRCLES = ((-180, 180), (0, 360), (-np.pi, np.pi), (0, 2 * np.pi))
NUM_SECTORS = 12  # a sensor that turns sees something in each of these parts of the circle
MIN_SECTOR_SHARE, MAX_SECTOR_SHARE = 0.01, 0.3  # of the points


def check_units(
    path: str | Path, xyz: NDArray[np.float64], num_possible: int, num_far: int
) -> tuple[str, ...]:
    """Check that the coordinates of a sweep are in metres.

    Args:
        path: The file, for the message.
        xyz: (n, 3) some points relative to the sensor, z up.
        num_possible: Number of points that a sensor could see.
        num_far: Number of points beyond any sensor's range.

    Returns:
        A notice if they look odd but may still be metres.

    Raises:
        ScanError: They are not.
    """
    if num_far and not num_possible:
        raise ScanError(f"{path}: all points are over 9 km away: x, y, z must be in metres")
    if len(xyz) < (MIN_FAR_SAMPLE if num_far else MIN_SAMPLE):
        return ()
    distance_m = np.sort(np.sqrt(np.einsum("ij,ij->i", xyz, xyz)))
    extent_m = distance_m[int(0.99 * len(xyz))]
    if extent_m == 0:
        raise ScanError(f"{path}: 99 % of the points are at one place; record it again")
    if extent_m < MIN_EXTENT_M:
        raise ScanError(
            f"{path}: 99 % of the points are within {extent_m:.2g} m of the sensor: the "
            "coordinates are normalised or in another unit; multiply them to get metres"
        )
    if extent_m < SMALL_EXTENT_M:
        return (f"99 % of the points are within {extent_m:.2g} m: a small room, or not in metres",)
    if (
        distance_m[len(xyz) // 2] < MAX_MEDIAN_M
        or distance_m[int(MIN_AROUND_SHARE * len(xyz))] < AROUND_M
    ):
        return ()
    for factor, unit in SMALLER_UNITS.items():
        ground = fit_ground_plane(xyz / factor)
        if ground is not None and HEIGHT_M[0] <= ground.height_m <= HEIGHT_M[1]:
            raise ScanError(
                f"{path}: the coordinates look like {unit} (the sensor is "
                f"{factor * ground.height_m:.0f} above the ground): divide them by {factor}"
            )
    far_share = num_far / (num_far + num_possible)
    if far_share > MAX_FAR_SHARE:
        raise ScanError(
            f"{path}: {far_share:.0%} of the points are more than 9 km away and hardly any is "
            "near the sensor: the file does not hold x, y, z in metres; convert it"
        )
    return ()


def check_cartesian(path: str | Path, xyz: NDArray[np.float64]) -> None:
    """Check that the coordinates of a sweep are not distances and angles.

    Args:
        path: The file, for the message.
        xyz: (n, 3) some points in the file's coordinates.

    Raises:
        ScanError: One axis covers a full circle to within 1 %, another one is never negative, and
            the third stays within a quarter circle of 0, as elevations do.
    """
    if len(xyz) < MIN_SAMPLE:
        return
    low, high = xyz.min(axis=0), xyz.max(axis=0)
    for distance, angle, elevation in permutations(range(3)):
        for start, end in FULL_CIRCLES:
            margin, quarter = 0.01 * (end - start), (end - start) / 4
            gaps = (low[angle] - start, end - high[angle])
            if (
                low[distance] < 0
                or max(-low[elevation], high[elevation]) > quarter
                or not all(-1e-3 <= gap <= margin for gap in gaps)
            ):
                continue
            sectors = np.histogram(xyz[:, angle], NUM_SECTORS, (start, end))[0] / len(xyz)
            if sectors.min() >= MIN_SECTOR_SHARE and sectors.max() <= MAX_SECTOR_SHARE:
                raise ScanError(
                    f"{path}: {'xyz'[angle]} runs from {low[angle]:.4g} to {high[angle]:.4g}, a "
                    f"full circle, and {'xyz'[distance]} is never negative: these look like "
                    "distances and angles; convert them to x, y, z in metres"
                )


def doubt_feet(heights_m: Sequence[float]) -> tuple[str, ...]:
    """Return a notice if the sensor is so high that the coordinates may be in feet.

    Args:
        heights_m: Height of the sensor above the ground in each sweep that shows it.
    """
    if not heights_m or (height_m := median(heights_m)) <= UNUSUAL_HEIGHT_M:
        return ()
    return (
        f"the sensor is {height_m:.1f} m above the ground, higher than on any vehicle: if the "
        "coordinates are in feet, multiply them by 0.3048",
    )


def check_resolution(path: str | Path, xyz: NDArray[np.float64]) -> tuple[str, ...]:
    """Check that the coordinates of a sweep were not rounded too coarsely.

    Args:
        path: The file, for the message.
        xyz: (n, 3) some points in the file's coordinates.

    Returns:
        A notice if they are coarse, but objects can still be recognised.

    Raises:
        ScanError: One of the axes has steps of `COARSE_M` or more.
    """
    if len(xyz) < MIN_SAMPLE:
        return ()
    step_m, axis = max((_step_m(column), axis) for column, axis in zip(xyz.T, "xyz", strict=True))
    about = f"{axis} is always a multiple of {step_m:.3g} m"
    if step_m >= COARSE_M:
        raise ScanError(
            f"{path}: {about}, too coarse to recognise objects; write the coordinates with more "
            "digits (LAS: a smaller scale; large coordinates: float64)"
        )
    if step_m > BLURRED_M:
        return (f"{about}: objects are found less well; write more digits",)
    return ()


def _step_m(values: NDArray[np.float64]) -> float:
    """Return the step that divides all differences between (n,) values; 0 if there is none."""
    steps = np.diff(np.sort(values))
    steps = steps[steps > NO_STEP_M]
    if len(steps) < MIN_STEPS:
        return 0.0
    step_m = float(steps.min())
    counts = steps / step_m
    return step_m if np.abs(counts - np.rint(counts)).max() < NO_STEP_M / step_m + 1e-2 else 0.0
