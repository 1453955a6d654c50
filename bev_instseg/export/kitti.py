"""Instances -> lines of a KITTI ``.txt`` file: boxes with scores, as one camera sees them."""

from collections.abc import Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

from bev_instseg.config import ClassConfig
from bev_instseg.datasets.kitti import CameraCalibration
from bev_instseg.structures import Instances

NEAR_M = 0.1  # what is nearer to the image plane is not seen
# Corners of a box: along, across and up from the middle of its bottom face, and its edges.
_CORNERS = np.array(list(product((-0.5, 0.5), (-0.5, 0.5), (0, 1))))
_EDGES = np.array(
    [(i, j) for j in range(8) for i in range(j) if (_CORNERS[i] != _CORNERS[j]).sum() == 1]
)


def kitti_lines(
    instances: Instances,
    classes: Sequence[ClassConfig],
    calibration: CameraCalibration,
    image_size_px: tuple[int, int],
) -> list[str]:
    """One line for each box whose centre is in front of the camera and which the image shows.

    "Type truncated occluded alpha left top right bottom height width length x y z rotation_y
    score": the type is the first of the class's KITTI names, or its own name if it has none;
    truncated and occluded are -1, unknown; the rectangle holds what of the box is in front of the
    camera, cut to the image. Boxes stand upright in both frames: their centre moves exactly, their
    heading by the camera's turn about the vertical. A box tells a front from a back no more than
    ours do.

    Args:
        instances: the objects of a sweep.
        classes: of ``instances.class_names``, in that order.
        calibration: from the sensor to the camera and its image.
        image_size_px: width and height.

    Returns:
        The lines, by falling score. Metres are rounded to a millimetre, pixels to 0.01, scores and
        radians to 1e-4.
    """
    boxes = instances.boxes.astype(np.float64)
    centres = calibration.to_camera(boxes[:, :3])
    zeros = np.zeros(len(boxes))
    headings = np.column_stack([np.cos(boxes[:, 6]), np.sin(boxes[:, 6]), zeros])
    headings = headings @ calibration.rotation.T
    _, in_front = calibration.to_pixels(centres)
    last = np.array(image_size_px) - 1.0  # pixel
    lines = []
    for k in np.flatnonzero(in_front):
        length, width, height = boxes[k, 3:6]
        x, y, z = centres[k] + (0, height / 2, 0)  # of the bottom face; y points down
        yaw_rad = np.arctan2(-headings[k, 2], headings[k, 0])
        low, high = _rectangle(_corners((x, y, z), boxes[k, 3:6], yaw_rad), calibration.projection)
        if not ((high >= 0) & (low <= last)).all():
            continue
        angle = yaw_rad - np.arctan2(x, z)
        alpha = np.arctan2(np.sin(angle), np.cos(angle))
        c = classes[instances.classes[k]]
        kind = "_".join((c.kitti[0] if c.kitti else c.name).split())
        rectangle = (*np.clip(low, 0, last), *np.clip(high, 0, last))
        numbers = [
            *("-1", "-1", f"{alpha:.4f}"),
            *(f"{px:.2f}" for px in rectangle),
            *(f"{metres:.3f}" for metres in (height, width, length, x, y, z)),
            *(f"{yaw_rad:.4f}", f"{instances.scores[k]:.4f}"),
        ]
        lines.append(" ".join([kind, *numbers]))
    return lines


def _corners(
    bottom_m: tuple[float, float, float], size_m: NDArray[np.float64], yaw_rad: float
) -> NDArray[np.float64]:
    """(8, 3) corners in the camera frame of a box of this length, width and height."""
    cos, sin = np.cos(yaw_rad), np.sin(yaw_rad)
    axes = np.array([(cos, 0, -sin), (sin, 0, cos), (0, -1, 0)])
    return np.array(bottom_m) + (_CORNERS * size_m) @ axes


def _rectangle(
    corners: NDArray[np.float64], projection: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Least and greatest pixel (u, v) of the part of a box in front of the camera.

    Edges that pass the image plane are cut there: beyond it pixels run off to the other side.
    """
    points = corners @ projection[:, :3].T + projection[:, 3]
    beyond = points[:, 2] - NEAR_M
    start, end = _EDGES[beyond[_EDGES[:, 0]] * beyond[_EDGES[:, 1]] < 0].T
    part = (beyond[start] / (beyond[start] - beyond[end]))[:, None]
    cut = points[start] + part * (points[end] - points[start])
    seen = np.concatenate([points[beyond >= 0], cut])
    pixels = seen[:, :2] / seen[:, 2:]
    return pixels.min(axis=0), pixels.max(axis=0)
