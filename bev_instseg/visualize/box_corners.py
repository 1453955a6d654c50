"""Corners and edges of oriented boxes."""

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.floating]

EDGES = np.array(
    [(i, (i + 1) % 4) for i in range(4)]
    + [(i + 4, (i + 1) % 4 + 4) for i in range(4)]
    + [(i, i + 4) for i in range(4)]
)  # (12, 2) pairs of the corners that `box_corners` returns


def box_corners(boxes: Float) -> NDArray[np.float32]:
    """Compute the corners of oriented boxes.

    Args:
        boxes: (K, 7) centre x, y, z, length, width, height in metres, yaw in radians.

    Returns:
        (K, 8, 3) x, y, z in metres: the bottom four first, counter-clockwise from the front left,
        then the top four.
    """
    along = np.array([1, -1, -1, 1] * 2) * boxes[:, 3, None] / 2
    across = np.array([1, 1, -1, -1] * 2) * boxes[:, 4, None] / 2
    up = np.array([-1] * 4 + [1] * 4) * boxes[:, 5, None] / 2
    cos, sin = np.cos(boxes[:, 6, None]), np.sin(boxes[:, 6, None])
    offsets = np.stack([along * cos - across * sin, along * sin + across * cos, up], axis=2)
    corners: NDArray[np.float32] = (boxes[:, None, :3] + offsets).astype(np.float32)
    return corners
