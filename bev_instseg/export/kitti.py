"""Boxes with scores as one camera sees them, in the format of KITTI's ``label_2`` files."""

from collections.abc import Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

from bev_instseg.config import ClassConfig
from bev_instseg.datasets.kitti_files import MIN_DEPTH_M, CameraCalibration
from bev_instseg.structures import Instances

# Corners of a unit box: along, across and up from the centre of its bottom face, and its edges.
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
    """Return a line for each box in the image whose centre is in front of the camera.

    Fields: type, truncated, occluded, alpha, left, top, right, bottom, height, width, length, x, y,
    z, rotation_y, score. The type is the first KITTI name of the class, or the class's own name if
    it has none; truncated and occluded are -1 (unknown). The rectangle bounds the part of the box
    in front of the camera, clipped to the image. Boxes are upright in both frames: the centre is
    transformed exactly, the heading by the camera's rotation about the vertical. As in the input, a
    heading does not distinguish front from back.

    Args:
        instances: The objects of a sweep.
        classes: The classes of ``instances.class_names``, in that order.
        calibration: From the sensor to the camera and its image.
        image_size_px: Width and height of the image.

    Returns:
        The lines by descending score. Metres are rounded to a millimetre, pixels to 0.01, scores
        and radians to 1e-4.
    """
    boxes = instances.boxes.astype(np.float64)
    centres = calibration.to_camera(boxes[:, :3])
    zeros = np.zeros(len(boxes))
    headings = np.column_stack([np.cos(boxes[:, 6]), np.sin(boxes[:, 6]), zeros])
    headings = headings @ calibration.rotation.T
    _, in_front = calibration.to_pixels(centres)
    last_px = np.array(image_size_px) - 1.0
    lines = []
    for k in np.flatnonzero(in_front):
        length, width, height = boxes[k, 3:6]
        x, y, z = centres[k] + (0, height / 2, 0)  # bottom face; y points down
        yaw_rad = np.arctan2(-headings[k, 2], headings[k, 0])
        low, high = _rectangle(_corners((x, y, z), boxes[k, 3:6], yaw_rad), calibration.projection)
        if not ((high >= 0) & (low <= last_px)).all():
            continue
        angle = yaw_rad - np.arctan2(x, z)
        alpha = np.arctan2(np.sin(angle), np.cos(angle))
        c = classes[instances.classes[k]]
        kitti_type = "_".join((c.kitti[0] if c.kitti else c.name).split())
        rectangle = (*np.clip(low, 0, last_px), *np.clip(high, 0, last_px))
        numbers = [
            *("-1", "-1", f"{alpha:.4f}"),
            *(f"{px:.2f}" for px in rectangle),
            *(f"{metres:.3f}" for metres in (height, width, length, x, y, z)),
            *(f"{yaw_rad:.4f}", f"{instances.scores[k]:.4f}"),
        ]
        lines.append(" ".join([kitti_type, *numbers]))
    return lines


def _corners(
    bottom_m: tuple[float, float, float], size_m: NDArray[np.float64], yaw_rad: float
) -> NDArray[np.float64]:
    """Return the (8, 3) corners, in the camera frame, of a box of this length, width and height."""
    cos, sin = np.cos(yaw_rad), np.sin(yaw_rad)
    axes = np.array([(cos, 0, -sin), (sin, 0, cos), (0, -1, 0)])
    corners: NDArray[np.float64] = np.array(bottom_m) + (_CORNERS * size_m) @ axes
    return corners


def _rectangle(
    corners: NDArray[np.float64], projection: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the smallest and largest pixel (u, v) of the part of a box in front of the camera.

    Edges that cross the plane at `MIN_DEPTH_M` are cut there: points behind the camera would be
    projected to the opposite side.
    """
    points = corners @ projection[:, :3].T + projection[:, 3]
    depth = points[:, 2] - MIN_DEPTH_M
    start, end = _EDGES[depth[_EDGES[:, 0]] * depth[_EDGES[:, 1]] < 0].T
    fraction = (depth[start] / (depth[start] - depth[end]))[:, None]
    cuts = points[start] + fraction * (points[end] - points[start])
    visible = np.concatenate([points[depth >= 0], cuts])
    pixels = visible[:, :2] / visible[:, 2:]
    return pixels.min(axis=0), pixels.max(axis=0)
