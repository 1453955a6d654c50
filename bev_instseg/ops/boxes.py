"""Oriented boxes around instances, by search-based L-shape fitting.

X. Zhang, W. Xu, C. Dong, J. M. Dolan: Efficient L-Shape Fitting for Vehicle Detection Using Laser
Scanners, IEEE Intelligent Vehicles Symposium 2017. For each heading 0, 1, .. 89 degrees, take the
bounding rectangle of the points seen from above and sum each point's distance to the nearest edge;
the heading with the smallest sum wins.

This sum replaces the paper's closeness criterion, the largest sum of inverse distances, and needs
no bound for points on an edge. The paper's area criterion fails on an object seen as a bare L, two
sides and nothing between: the rectangle along the L's diagonal has the same area as the one along
its sides.
"""

import math

import numpy as np

from bev_instseg.ops.kernel import kernel
from bev_instseg.structures import Float32, Int32

# From the C library: NumPy's sines differ in the last bit between processors.
_COS = np.array([math.cos(math.radians(degrees)) for degrees in range(90)])
_SIN = np.array([math.sin(math.radians(degrees)) for degrees in range(90)])
# The axes of all rectangles: row h is along heading h, row h + 90 across it.
_AXIS_X, _AXIS_Y = np.concatenate([_COS, -_SIN]), np.concatenate([_SIN, _COS])


def oriented_boxes(points: Float32, labels: Int32, num_instances: int) -> Float32:
    """Fit an upright box around the points of each instance, with its edges nearest to the points.

    Headings are searched in steps of one degree. Computed in float64; sums run in the order of the
    points. Of equal sums the smaller heading wins. One or two points are corners of a rectangle at
    any heading, so their box is along x and y; the box of a single point has no size and yaw 0.

    Args:
        points: (N, >=3) float32 x, y, z in metres; only labelled points must be finite.
        labels: (N,) int32 instance of each point: 0 none, 1..K.
        num_instances: The number of instances, K.

    Returns:
        (K, 7) float32 centre x, y, z, length, width, height in metres and yaw in radians, row
        ``k - 1`` for instance ``k``. length >= width; yaw is the heading of the length,
        -pi/2 <= yaw < pi/2; the height is from the lowest point to the highest.

    Raises:
        ValueError: The shapes do not fit, a label is outside 0..K, an instance has no points, or a
            labelled point is not finite.
    """
    if points.ndim != 2 or points.shape[1] < 3 or labels.shape != points.shape[:1]:
        raise ValueError(
            f"points must be (N, >=3) and labels (N,), got {points.shape} and {labels.shape}"
        )
    member = np.flatnonzero(labels)
    xyz, index = points[member, :3].astype(np.float64), labels[member] - 1
    if len(index) and not (index.min() >= 0 and index.max() < num_instances):
        raise ValueError(f"labels must be in 0..{num_instances}")
    empty = np.flatnonzero(np.bincount(index, minlength=num_instances) == 0)
    if len(empty):
        raise ValueError(f"instance {empty[0] + 1} of {num_instances} has no points")
    if not np.isfinite(xyz).all():
        raise ValueError("labelled points must be finite")

    low, high, z_low, z_high = _bounds(xyz, index, num_instances)
    size, middle = high - low, (low + high) / 2
    heading = np.argmin(_edge_distance(xyz, index, low, high), axis=1)
    row = np.arange(num_instances)
    along, across = size[row, heading], size[row, heading + 90]
    u, v = middle[row, heading], middle[row, heading + 90]
    cos, sin = _COS[heading], _SIN[heading]
    boxes = np.stack(
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
    )
    return boxes.astype(np.float32)


@kernel
def _bounds(xyz, index, count):  # type: ignore[no-untyped-def]
    """Return the bounds of each instance along every axis, (K, 180) each, and along z, (K,) each.

    The inner loop over the axes has no reduction and compiles to SIMD.
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
    """Return (K, 90) the sum of the points' distances to the nearest edge, for each heading."""
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
