"""Which objects move, and where their front is.

A box has an axis but no front. Once an object has moved, its front is known and stays known.
"""

import numpy as np
from numpy.typing import NDArray

from bev_instseg.structures import Float64

SURE = 9.0  # squared Mahalanobis distance of a velocity from zero (98.9 %)
MIN_WAY_M, WAY_PER_LENGTH = 0.5, 0.3  # a box's centre shifts while its object comes into view
MIN_SWEEPS_MOVING = 3  # two positions could belong to two objects
AXIS_KEPT = 0.9  # share of the axis that remains from one sweep to the next
ALONG_AXIS = np.cos(np.radians(25))  # within this angle, objects move along the axis of the box


def is_moving(
    velocity_mps: Float64,
    covariance: Float64,
    way_m: Float64,
    length_m: Float64,
    threshold_mps: Float64,
    before: NDArray[np.bool_],
) -> NDArray[np.bool_]:
    """Decide which objects move, with hysteresis.

    An object starts to move if it is faster than the threshold, significantly faster than 0, and
    far enough from where it stood. It stands again below half of the threshold.

    Args:
        velocity_mps: (T, 2) velocities.
        covariance: (T, 2, 2) their covariances.
        way_m: (T,) distance from where the object stood.
        length_m: (T,) its length.
        threshold_mps: (T,) the threshold.
        before: (T,) bool: whether it was moving.

    Returns:
        (T,) bool.
    """
    speed = np.hypot(*velocity_mps.T)
    spread = np.linalg.solve(covariance, velocity_mps[:, :, None])[:, :, 0]
    sure = np.einsum("ti,ti->t", velocity_mps, spread) > SURE
    far = way_m > np.maximum(MIN_WAY_M, WAY_PER_LENGTH * length_m)
    moving: NDArray[np.bool_] = np.where(
        before, speed > threshold_mps / 2, (speed > threshold_mps) & sure & far
    )
    return moving


def axis_of(boxes: NDArray[np.floating], yaw_rad: Float64) -> Float64:
    """Return (K, 2) cosine and sine of twice the heading, weighted: square boxes have no axis.

    Args:
        boxes: (K, 7) boxes.
        yaw_rad: (K,) heading of their lengths in the world.
    """
    weight = boxes[:, 3].astype(np.float64) ** 2 - boxes[:, 4].astype(np.float64) ** 2
    weight = np.maximum(weight, 1e-6)
    return np.column_stack([np.cos(2 * yaw_rad), np.sin(2 * yaw_rad)]) * weight[:, None]


def heading(
    axis: Float64,
    velocity_mps: Float64,
    moving: NDArray[np.bool_],
    front_known: NDArray[np.bool_],
    before_rad: Float64,
) -> Float64:
    """Return (T,) headings: along the axis, towards the front if it is known.

    Args:
        axis: (T, 2) cosine and sine of twice the heading.
        velocity_mps: (T, 2) velocities.
        moving: (T,) bool.
        front_known: (T,) bool; true for all that move.
        before_rad: (T,) earlier headings.
    """
    along = np.arctan2(axis[:, 1], axis[:, 0]) / 2  # -pi/2..pi/2
    course = np.arctan2(velocity_mps[:, 1], velocity_mps[:, 0])
    front = np.where(moving, course, before_rad)
    turned = np.where(np.cos(along - front) < 0, along + np.pi, along)
    fits = np.cos(turned - front) > ALONG_AXIS
    known = np.where(moving & ~fits, course, turned)
    headings: Float64 = np.where(front_known, (known + np.pi) % (2 * np.pi) - np.pi, along)
    return headings
