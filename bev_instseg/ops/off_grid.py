"""A notice for sweeps with many points outside the grid, where the network sees nothing."""

import numpy as np

from bev_instseg.grid import MAX_RANGE_M
from bev_instseg.structures import Float32, Pillars

MAX_OFF_GRID = 0.25  # of a sweep's points; in real sweeps, up to 18 % are outside
UNDOUBTED = 0.05  # below it, the points need not be looked at
MIN_RETURNS = 0.05  # if a smaller share is within any sensor's range, the rest count as returns


def off_grid_notice(points: Float32, pillars: Pillars) -> str:
    """Return a notice, without a full stop, if many points are outside the grid; else nothing.

    Missing returns, which are zeros, not finite or farther than any sensor sees, do not count. But
    if nearly all points are that far, they do: then they are coordinates of a map, say.

    Args:
        points: (N, 4) float32 x, y, z in metres and intensity.
        pillars: The pillars of these points.
    """
    outside = pillars.point_to_pillar < 0
    if np.count_nonzero(outside) <= UNDOUBTED * len(points):
        return ""
    is_measured = np.isfinite(points[:, :3]).all(axis=1) & points[:, :3].any(axis=1)
    is_return = is_measured & (np.abs(points[:, :3]) < MAX_RANGE_M).all(axis=1)
    if np.count_nonzero(is_return) < MIN_RETURNS * np.count_nonzero(is_measured):
        is_return = is_measured
    share = np.mean(outside[is_return]) if is_return.any() else 0.0
    if share <= MAX_OFF_GRID:
        return ""
    grid = pillars.grid
    x_m, y_m, z_m = (high - low for low, high in (grid.x_range_m, grid.y_range_m, grid.z_range_m))
    return (
        f"{share:.0%} of the points are outside the {x_m:.0f} x {y_m:.0f} x {z_m:.0f} m around "
        "the sensor that the network sees, and get no label"
    )
