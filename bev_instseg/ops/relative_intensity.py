"""Intensities relative to those of the ground, which differ less between sensors."""

import numpy as np

from bev_instseg.grid import BEVGrid
from bev_instseg.ops.voxelize import point_heights
from bev_instseg.structures import Float32

GROUND_LEVEL = 0.25  # mean intensity of the ground afterwards
GROUND_M = 0.25  # points are ground if no farther than this above or below its estimated height
NEAR_M = 30.0
DARKEST = 1e-4  # a ground darker than this says nothing: intensity is missing


def relative_intensity(points: Float32, grid: BEVGrid, height_m: Float32 | None = None) -> Float32:
    """Scale the intensities of a sweep so that those of the ground nearby have a fixed mean.

    Args:
        points: (N, 4) float32 x, y, z in metres and intensity.
        grid: The grid on which the ground is estimated.
        height_m: (N,) float32 height of each point above the ground, if it is known.

    Returns:
        (N, 4) float32 with scaled intensities; the same points if they have no ground nearby, or
        one without intensity.

    Raises:
        ValueError: The array has the wrong shape or dtype.
    """
    height_m = point_heights(points, grid) if height_m is None else height_m
    is_ground = (np.abs(height_m) < GROUND_M) & (np.hypot(*points.T[:2]) < NEAR_M)  # false for NaN
    ground = points[is_ground & np.isfinite(points[:, 3]), 3]
    mean = ground.mean(dtype=np.float64) if len(ground) else 0.0
    if mean < DARKEST:
        return points
    scaled = points.copy()
    scaled[:, 3] *= GROUND_LEVEL / mean
    return scaled
