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
    points. If sums are equal, the smaller heading wins. One or two points are corners of a
    rectangle at any heading, so their box is along x and y; the box of a single point has no size
    and yaw 0.

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
    size_of, all_known = _count(np.ascontiguousarray(labels), num_instances)
    if not all_known:
        raise ValueError(f"labels must be in 0..{num_instances}")
    empty = np.flatnonzero(size_of == 0)
    if len(empty):
        raise ValueError(f"instance {empty[0] + 1} of {num_instances} has no points")
    start = np.append(0, np.cumsum(size_of))
    xyz = _sort_by_instance(np.ascontiguousarray(points), np.ascontiguousarray(labels), start)
    if not np.isfinite(xyz).all():
        raise ValueError("labelled points must be finite")

    low, high, z_low, z_high = _bounds(xyz, start)
    size, middle = high - low, (low + high) / 2
    heading = np.argmin(_edge_distance(xyz, start, low, high), axis=1)
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


def principal_boxes(xyz: Float32, labels: Int32, num_groups: int) -> Float32:
    """Fit an upright box around each group of points, along the principal axis seen from above.

    Much faster than `oriented_boxes`. Moments are float64, summed in the order of the points; the
    heading is rounded to a degree. A group without a longer direction has heading 0.

    Args:
        xyz: (n, 3) float32 finite points, metres.
        labels: (n,) int32 group of each, 1..K; no group is empty.
        num_groups: The number of groups, K.

    Returns:
        (K, 7) float32 boxes as those of `oriented_boxes`.
    """
    n, x, y, xx, xy, yy = _moments(xyz, labels, num_groups)
    with np.errstate(invalid="ignore"):
        axis_rad = 0.5 * np.arctan2(2 * (xy - x * y / n), (xx - x * x / n) - (yy - y * y / n))
    heading = np.rint(np.degrees(axis_rad)).astype(np.int64) % 180
    low, high = _bounds_along(xyz, labels, heading, num_groups)
    (along, across, height), (u, v, z) = (high - low).T, ((low + high) / 2).T
    cos, sin = _AXIS_X[heading], _AXIS_Y[heading]
    heading = np.where(along >= across, heading, heading + 90)
    yaw_rad = np.deg2rad((heading + 90) % 180 - 90)
    length, width = np.maximum(along, across), np.minimum(along, across)
    centre = (u * cos - v * sin, u * sin + v * cos, z)
    return np.stack([*centre, length, width, height, yaw_rad], axis=1).astype(np.float32)


@kernel
def _moments(xyz, labels, count):  # type: ignore[no-untyped-def]
    """Return (6, K): number and sums of x, y, x^2, xy and y^2 of each group's points."""
    sums = np.zeros((count, 6))
    for i in range(len(labels)):
        own = sums[labels[i] - 1]
        x, y = np.float64(xyz[i, 0]), np.float64(xyz[i, 1])
        own[0] += 1
        own[1] += x
        own[2] += y
        own[3] += x * x
        own[4] += x * y
        own[5] += y * y
    return sums.T


@kernel
def _bounds_along(xyz, labels, heading, count):  # type: ignore[no-untyped-def]
    """Return (K, 3) the least and largest place along and across each group's heading, and z."""
    low, high = np.full((count, 3), np.inf), np.full((count, 3), -np.inf)
    for i in range(len(labels)):
        k = labels[i] - 1
        cos, sin = _AXIS_X[heading[k]], _AXIS_Y[heading[k]]
        x, y = np.float64(xyz[i, 0]), np.float64(xyz[i, 1])
        place = (x * cos + y * sin, y * cos - x * sin, np.float64(xyz[i, 2]))
        for axis in range(3):
            low[k, axis] = min(low[k, axis], place[axis])
            high[k, axis] = max(high[k, axis], place[axis])
    return low, high


@kernel
def _count(labels, count):  # type: ignore[no-untyped-def]
    """Return (K,) the number of points of each instance, and whether all labels are in 0..K."""
    sizes = np.zeros(count + 1, np.int64)
    for label in labels:
        if not 0 <= label <= count:
            return sizes[1:], False
        sizes[np.uint32(label)] += 1
    return sizes[1:], True


@kernel
def _sort_by_instance(points, labels, start):  # type: ignore[no-untyped-def]
    """Return (n, 3) float64 the points of instance 1, 2, .., each in the order of the points.

    Args:
        points: (N, >=3) points.
        labels: (N,) int32 instance of each.
        start: (K + 1,) int64 position of each instance's first point, and the number n.
    """
    xyz = np.empty((start[-1], 3))
    fill = start.copy()
    for i in range(len(labels)):
        if labels[i] > 0:
            n = fill[labels[i] - 1]
            fill[labels[i] - 1] += 1
            for axis in range(3):
                xyz[n, axis] = points[i, axis]
    return xyz


@kernel
def _bounds(xyz, start):  # type: ignore[no-untyped-def]
    """Return the bounds of each instance along every axis, (K, 180) each, and along z, (K,) each.

    The inner loop over the axes has no reduction and compiles to SIMD; with four points at once it
    reads and writes the bounds less often.
    """
    count = len(start) - 1
    low, high = np.full((count, 180), np.inf), np.full((count, 180), -np.inf)
    z_low, z_high = np.full(count, np.inf), np.full(count, -np.inf)
    for k in range(count):
        for i in range(start[k], start[k + 1]):
            z_low[k] = min(z_low[k], xyz[i, 2])
            z_high[k] = max(z_high[k], xyz[i, 2])
        last = start[k + 1] - 1  # stands for points beyond it
        for i in range(start[k], start[k + 1], 4):
            x, y = xyz[i, 0], xyz[i, 1]
            x1, y1 = xyz[min(i + 1, last), 0], xyz[min(i + 1, last), 1]
            x2, y2 = xyz[min(i + 2, last), 0], xyz[min(i + 2, last), 1]
            x3, y3 = xyz[min(i + 3, last), 0], xyz[min(i + 3, last), 1]
            for axis in range(180):
                u, v = _AXIS_X[axis], _AXIS_Y[axis]
                a, b, c, d = x * u + y * v, x1 * u + y1 * v, x2 * u + y2 * v, x3 * u + y3 * v
                lowest, highest = min(min(a, b), min(c, d)), max(max(a, b), max(c, d))
                low[k, axis] = min(low[k, axis], lowest)
                high[k, axis] = max(high[k, axis], highest)
    return low, high, z_low, z_high


@kernel
def _edge_distance(xyz, start, low, high):  # type: ignore[no-untyped-def]
    """Return (K, 90) the sum of the points' distances to the nearest edge, for each heading.

    Points are taken in pairs, as in `_bounds`. An odd one is paired with itself, at no distance.
    """
    total = np.zeros((len(low), 90))
    for k in range(len(low)):
        for i in range(start[k], start[k + 1], 2):
            is_pair = i + 1 < start[k + 1]
            x, y = xyz[i, 0], xyz[i, 1]
            x1, y1 = (xyz[i + 1, 0], xyz[i + 1, 1]) if is_pair else (x, y)
            weight = 1.0 if is_pair else 0.0
            for along in range(90):
                across = along + 90
                bounds = low[k, along], high[k, along], low[k, across], high[k, across]
                axes = _AXIS_X[along], _AXIS_Y[along], _AXIS_X[across], _AXIS_Y[across]
                total[k, along] += _to_nearest_edge(x, y, axes, bounds)
                total[k, along] += weight * _to_nearest_edge(x1, y1, axes, bounds)
    return total


@kernel
def _to_nearest_edge(x, y, axes, bounds):  # type: ignore[no-untyped-def]
    """Return how far a point is from the nearest edge of the rectangle along two axes."""
    u, v = x * axes[0] + y * axes[1], x * axes[2] + y * axes[3]
    end = min(u - bounds[0], bounds[1] - u)
    return min(end, min(v - bounds[2], bounds[3] - v))
