"""Intensities relative to those of the ground, which differ less between sensors."""

import numpy as np

from bev_instseg.ops.kernel import kernel
from bev_instseg.structures import Float32

GROUND_LEVEL = 0.25  # mean intensity of the ground afterwards
FLAT_M = 0.25  # ground points are no farther than this above or below the estimated ground
NEAR_M = 30.0
DARKEST = 1e-4  # a darker ground says nothing: intensity is missing


def relative_intensity(points: Float32, height_m: Float32) -> Float32:
    """Scale the intensities of a sweep so that those of the ground nearby have a fixed mean.

    Distances and sums are float64, sums in the order of the points.

    Args:
        points: (N, 4) float32 x, y, z in metres and intensity.
        height_m: (N,) float32 height of each point above the ground, metres; NaN off the grid.

    Returns:
        (N, 4) float32 with scaled intensities, at most 1, and 0 for those that are not finite; the
        same points if there is no ground within `NEAR_M`, or one without intensity.
    """
    mean = _mean_of_ground(points, height_m)
    if mean < DARKEST:
        return points
    scaled = points.copy()
    bright = np.where(np.isfinite(points[:, 3]), points[:, 3], np.float32(0))
    scaled[:, 3] = np.minimum(bright * np.float32(GROUND_LEVEL / mean), 1)
    return scaled


@kernel
def _mean_of_ground(points, height):  # type: ignore[no-untyped-def]
    """Return the mean intensity of the ground nearby, 0 if there is none."""
    total, count = 0.0, 0
    for i in range(len(points)):
        x, y, intensity = np.float64(points[i, 0]), np.float64(points[i, 1]), points[i, 3]
        is_ground = (abs(height[i]) < FLAT_M) & (x * x + y * y < NEAR_M * NEAR_M)  # false for NaN
        if is_ground and abs(intensity) < np.inf:
            total += intensity
            count += 1
    return total / count if count else 0.0
