"""Oriented boxes around instances: search-based L-shape fitting.

X. Zhang, W. Xu, C. Dong, J. M. Dolan: Efficient L-Shape Fitting for Vehicle Detection Using Laser
Scanners, IEEE Intelligent Vehicles Symposium 2017. Of the headings 0, 1, .. 89 degrees take the one
whose bounding rectangle of the points, seen from above, has its edges nearest to them: the least
sum over the points of the distance to the nearest edge.

That sum stands in for the paper's closeness criterion, the largest sum of inverse distances; it
needs no bound for points on an edge. The paper's area criterion cannot tell the sides of an object
seen as a bare L, two sides and nothing between, from the L's diagonal: both rectangles have the
same area.
"""

import math

import numpy as np
from numpy.typing import NDArray

from bev_instseg.ops.kernel import kernel

# By the C library, not by NumPy, whose sines differ in the last bit between processors.
_COS = np.array([math.cos(math.radians(degrees)) for degrees in range(90)])
_SIN = np.array([math.sin(math.radians(degrees)) for degrees in range(90)])
# The axes of all rectangles: heading h lies along row h, across it row h + 90.
_AXIS_X, _AXIS_Y = np.concatenate([_COS, -_SIN]), np.concatenate([_SIN, _COS])


def oriented_boxes(
    points: NDArray[np.float32], labels: NDArray[np.int32], num_instances: int
) -> NDArray[np.float32]:
    """An upright box around the points of each instance, its edges nearest to the points.

    Headings are searched to one degree. Computed in float64, sums run in the order of the points.
    Of equal sums the smaller heading wins, so one or two points, on the corners of a rectangle of
    any heading, have a box along x and y; that of a single point has no size and yaw 0.

    Args:
        points: (N, >=3) float32 x, y, z in metres; only labelled points need be finite.
        labels: (N,) int32 instance of each point: 0 none, 1..K.
        num_instances: K.

    Returns:
        (K, 7) float32 centre x, y, z, length, width, height in metres and yaw in radians, row
        ``k - 1`` for instance ``k``. length >= width; yaw is the heading of the length,
        -pi/2 <= yaw < pi/2; the height runs from the lowest point to the highest.

    Raises:
        ValueError: if shapes do not fit, a label lies outside 0..K, an instance has no point, or
            a labelled point is not finite.
    """
    if points.ndim != 2 or points.shape[1] < 3 or labels.shape != points.shape[:1]:
        raise ValueError(
            f"points must be (N, >=3) and labels (N,), got {points.shape} and {labels.shape}"
        )
    member = np.flatnonzero(labels)
    xyz, index = points[member, :3].astype(np.float64), labels[member] - 1
    if len(index) and not (index.min() >= 0 and index.max() < num_instances):
        raise ValueError(f"labels must lie in 0..{num_instances}")
    empty = np.flatnonzero(np.bincount(index, minlength=num_instances) == 0)
    if len(empty):
        raise ValueError(f"instance {empty[0] + 1} of {num_instances} has no point")
    if not np.isfinite(xyz).all():
        raise ValueError("labelled points must be finite")

    low, high, z_low, z_high = _bounds(xyz, index, num_instances)
    size, middle = high - low, (low + high) / 2
    heading = np.argmin(_edge_distance(xyz, index, low, high), axis=1)
    row = np.arange(num_instances)
    along, across = size[row, heading], size[row, heading + 90]
    u, v = middle[row, heading], middle[row, heading + 90]
    cos, sin = _COS[heading], _SIN[heading]
    return np.stack(
        [
            u * cos - v * sin,
            u * sin + v * cos,
            (z_low + z_high) / 2,
            np.maximum(along, across),
            np.minimum(along, across),
            z_high - z_low,
            np.deg2rad(np.where(along >= across, heading, heading - 90)),
        ],
        axis=1,
    ).astype(np.float32)


@kernel
def _bounds(xyz, index, count):  # type: ignore[no-untyped-def]
    """Bounds of each instance along every axis, (K, 180) each, and along z, (K,) each.

    Points outside, axes inside: the loop over axes has no reduction and becomes SIMD.
    """
    low = np.full((count, 180), np.inf)
    high = np.full((count, 180), -np.inf)
    z_low = np.full(count, np.inf)
    z_high = np.full(count, -np.inf)
    for i in range(len(index)):
        k, x, y, z = index[i], xyz[i, 0], xyz[i, 1], xyz[i, 2]
        z_low[k] = z if z < z_low[k] else z_low[k]
        z_high[k] = z if z > z_high[k] else z_high[k]
        for axis in range(180):
            at = x * _AXIS_X[axis] + y * _AXIS_Y[axis]
            low[k, axis] = at if at < low[k, axis] else low[k, axis]
            high[k, axis] = at if at > high[k, axis] else high[k, axis]
    return low, high, z_low, z_high


@kernel
def _edge_distance(xyz, index, low, high):  # type: ignore[no-untyped-def]
    """Sum of the distances of each instance's points to the nearest edge, (K, 90) per heading."""
    total = np.zeros((len(low), 90))
    for i in range(len(index)):
        k, x, y = index[i], xyz[i, 0], xyz[i, 1]
        for along in range(90):
            across = along + 90
            u = x * _AXIS_X[along] + y * _AXIS_Y[along]
            v = x * _AXIS_X[across] + y * _AXIS_Y[across]
            end = min(u - low[k, along], high[k, along] - u)
            side = min(v - low[k, across], high[k, across] - v)
            total[k, along] += min(end, side)
    return total
