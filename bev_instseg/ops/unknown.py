"""Unknown objects: points above the ground that belong to no instance, grouped by distance."""

import numpy as np

from bev_instseg.grid import BEVGrid
from bev_instseg.ops.boxes import principal_boxes
from bev_instseg.ops.kernel import kernel
from bev_instseg.ops.voxelize import FEATURES
from bev_instseg.structures import UNKNOWN, Float32, Instances, Int32, Pillars

MIN_HEIGHT_M = 0.3  # lower points are ground, grass and kerbs
CLEARANCE_M = 2.5  # a pillar without standing points below this hangs over free space
MIN_POINTS = 10  # smaller groups are dropped: leaves, dust, single returns
REACH_M = 0.2  # pillars this near to each other, along x and along y, are connected;
REACH_PER_M = 0.005  # and this much farther per metre of distance from the sensor,
MAX_RANGE_M = 100.0  # but no farther than at this distance: in maps it says nothing about gaps
RANGE = FEATURES.index("range_m")


def add_unknown(instances: Instances, points: Float32, pillars: Pillars) -> Instances:
    """Group points above the ground that belong to no instance, and add the groups as instances.

    A point stands if it is in no instance and at least `MIN_HEIGHT_M` above the local ground. A
    pillar stands if its lowest such point is not above `CLEARANCE_M`: crowns of trees, roofs and
    ceilings over free space are left out, while those above a standing object are part of it.
    Standing pillars are connected if they are close to each other (`connect`), and connected
    pillars are a group. Groups of fewer than `MIN_POINTS` standing points are dropped.

    Args:
        instances: The K known objects of the sweep.
        points: (N, 4) float32 points of the sweep.
        pillars: The pillars of these points.

    Returns:
        The known objects, and after them the groups by descending number of points (ties: by their
        first pillar), with score 0 and boxes along their principal axis.
    """
    count, lowest_m, candidates = _count_standing(
        pillars.point_to_pillar,
        pillars.point_height_m,
        instances.labels,
        len(pillars.cells),
        np.float32(MIN_HEIGHT_M),
    )
    standing = np.flatnonzero(lowest_m <= np.float32(CLEARANCE_M))
    range_m = np.minimum(pillars.features[standing, RANGE].astype(np.float64), MAX_RANGE_M)
    groups = connect(pillars.cells[standing], range_m, pillars.grid)
    size = np.bincount(groups, count[standing], minlength=1)
    kept = np.flatnonzero(size >= MIN_POINTS)
    kept = kept[np.argsort(-size[kept], kind="stable")]
    number = np.zeros(len(size), np.int32)
    number[kept] = np.arange(1, len(kept) + 1)
    of_pillar = np.zeros(len(pillars.cells), np.int32)
    of_pillar[standing] = number[groups]
    labels, xyz, of_point = _assign_points(
        points, pillars.point_to_pillar, candidates, instances.labels, of_pillar, len(instances)
    )
    classes = np.full(len(kept), len(instances.class_names), np.int32)
    return Instances(
        labels,
        np.concatenate([instances.classes, classes]),
        np.concatenate([instances.scores, np.zeros(len(kept), np.float32)]),
        np.concatenate([instances.boxes, principal_boxes(xyz, of_point, len(kept))]),
        (*instances.class_names, UNKNOWN),
        courses_m=(*instances.courses_m, *[None] * len(kept)) if instances.courses_m else (),
    )


def connect(cells: Int32, range_m: np.ndarray, grid: BEVGrid) -> Int32:
    """Group cells that are close to each other, directly or through others.

    A cell reaches ``REACH_M + REACH_PER_M * range`` far, in whole cells along x and along y, and at
    least one cell. Two cells are connected if one of them reaches the other.

    Args:
        cells: (S,) int32 distinct flat cell indices, ascending.
        range_m: (S,) float64 distance of each from the sensor, metres.
        grid: The grid of the cells.

    Returns:
        (S,) int32 group of each cell, 0, 1, .. in the order of the groups' first cells.
    """
    nx, ny = grid.shape
    reach = np.maximum((REACH_M + REACH_PER_M * range_m) / grid.cell_m, 1).astype(np.int32)
    groups: Int32 = _connect(cells, reach, nx, ny)
    return groups


@kernel
def _count_standing(point_to_pillar, height, labels, num_pillars, min_height):  # type: ignore[no-untyped-def]
    """Return (P,) the number of standing points of each pillar and the height of the lowest.

    The third result is the ascending indices of all standing points.
    """
    count = np.zeros(num_pillars, np.int32)
    lowest = np.full(num_pillars, np.inf, np.float32)
    standing, n = np.empty(len(labels), np.int32), 0
    for i in range(len(labels)):  # without a branch, which would often be mispredicted
        standing[n] = i
        n += (labels[i] == 0) & (height[i] >= min_height)  # false for NaN: outside the grid
    for point in standing[:n]:
        p = np.uint32(point_to_pillar[point])
        count[p] += 1
        lowest[p] = min(lowest[p], height[point])
    return count, lowest, standing[:n]


@kernel
def _connect(cells, reach, nx, ny):  # type: ignore[no-untyped-def]
    """Join cells with a union-find whose roots are the first cells of the groups.

    The cells come row by row. Each looks at its own row and those after it; in each of these, the
    first cell that is near enough moves on with the columns.
    """
    count = len(cells)
    farthest = np.int32(0)
    for r in reach:
        farthest = max(farthest, r)
    column = np.empty(count, np.int32)
    start = np.full(nx + farthest + 2, count, np.int64)  # of each row: its first cell
    k = 0
    for row in range(nx):
        start[row] = k
        while k < count and cells[k] < (row + 1) * ny:
            column[k] = cells[k] - row * ny
            k += 1
    root = np.arange(count)
    for row in range(nx):
        first = start[row : row + farthest + 1].copy()
        for k in range(start[row], start[row + 1]):
            own = _find(root, k)
            for d in range(farthest + 1):
                end = start[row + d + 1]
                while first[d] < end and column[first[d]] < column[k] - farthest:
                    first[d] += 1
                for j in range(max(first[d], k + 1), end):
                    apart = column[j] - column[k]
                    if apart > farthest:
                        break
                    if root[j] != own and max(abs(apart), d) <= max(reach[j], reach[k]):
                        other = _find(root, j)
                        root[max(own, other)] = own = min(own, other)
                        root[j] = own
    groups, number = np.empty(count, np.int32), 0
    for k in range(count):
        if root[k] == k:
            groups[k] = number
            number += 1
        else:
            groups[k] = groups[_find(root, k)]
    return groups


@kernel
def _find(root, k):  # type: ignore[no-untyped-def]
    """Return the root of a cell, halving the path to it."""
    while root[k] != k:
        root[k] = root[root[k]]
        k = root[k]
    return k


@kernel
def _assign_points(points, point_to_pillar, standing, labels, of_pillar, num_known):  # type: ignore[no-untyped-def]
    """Return labels with the groups' points, and these points with their group 1, 2, .."""
    out = labels.copy()
    xyz, of_point = np.empty((len(standing), 3), np.float32), np.empty(len(standing), np.int32)
    n = 0
    for i in standing:
        group = of_pillar[np.uint32(point_to_pillar[i])]
        if group > 0:
            out[i] = num_known + group
            xyz[n, 0], xyz[n, 1], xyz[n, 2] = points[i, 0], points[i, 1], points[i, 2]
            of_point[n] = group
            n += 1
    return out, xyz[:n], of_point[:n]
