"""Boxes and greys as every picture shows them."""

import numpy as np
from numpy.typing import NDArray

EDGES = np.array(
    [(i, (i + 1) % 4) for i in range(4)]
    + [(i + 4, (i + 1) % 4 + 4) for i in range(4)]
    + [(i, i + 4) for i in range(4)]
)  # of a box, between the corners of `box_corners`
FULL_HEIGHT_M = 3.5  # and taller is all the same to a colour


def box_corners(boxes: NDArray[np.floating]) -> NDArray[np.float32]:
    """Corners of (K, 7) boxes x, y, z, length, width, height (m), yaw (rad): (K, 8, 3) metres.

    The bottom four come first, counter-clockwise from the front left, then the top four.
    """
    along = np.array([1, -1, -1, 1] * 2) * boxes[:, 3, None] / 2
    across = np.array([1, 1, -1, -1] * 2) * boxes[:, 4, None] / 2
    up = np.array([-1] * 4 + [1] * 4) * boxes[:, 5, None] / 2
    cos, sin = np.cos(boxes[:, 6, None]), np.sin(boxes[:, 6, None])
    offsets = np.stack([along * cos - across * sin, along * sin + across * cos, up], axis=2)
    return (boxes[:, None, :3] + offsets).astype(np.float32)


def grey_of(points: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N, 4) points, z and intensity finite -> (N,) float32 grey 0..1, darker if tall or bright."""
    height = tallness(points)
    return (0.86 - 0.56 * height - 0.2 * (1 - height) * points[:, 3]).astype(np.float32)


def tallness(points: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N, 4) points, z finite -> (N,) float32: 0 as low as the lowest 5 %, 1 from 3.5 m above."""
    if not len(points):
        return np.zeros(0, np.float32)
    above_m = points[:, 2] - np.percentile(points[:, 2], 5)
    return np.clip(above_m / FULL_HEIGHT_M, 0, 1).astype(np.float32)
