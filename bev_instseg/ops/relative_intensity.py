"""Intensities relative to those of the ground, which differ less between sensors."""

import numpy as np

from bev_instseg.structures import Float32

GROUND_LEVEL = 0.25  # mean intensity of the ground afterwards
FLAT_M = 0.25  # ground points are no farther than this above or below the estimated ground
NEAR_M = 30.0
DARKEST = 1e-4  # a darker ground says nothing: intensity is missing


def relative_intensity(points: Float32, height_m: Float32) -> Float32:
    """Scale the intensities of a sweep so that those of the ground nearby have a fixed mean.

    Args:
        points: (N, 4) float32 x, y, z in metres and intensity.
        height_m: (N,) float32 height of each point above the ground, metres; NaN off the grid.

    Returns:
        (N, 4) float32 with scaled intensities, at most 1; the same points if there is no ground
        within `NEAR_M`, or one without intensity.
    """
    x, y, _, intensity = points.T
    is_ground = (np.abs(height_m) < FLAT_M) & (np.hypot(x, y) < NEAR_M)  # false for NaN
    ground = intensity[is_ground & np.isfinite(intensity)]
    mean = ground.mean(dtype=np.float64) if len(ground) else 0.0
    if mean < DARKEST:
        return points
    scaled = points.copy()
    scaled[:, 3] = np.minimum(intensity * np.float32(GROUND_LEVEL / mean), 1)
    return scaled
