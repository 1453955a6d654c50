"""The course of long instances: lane lines and kerbs."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from bev_instseg.ops.boxes import principal_boxes
from bev_instseg.ops.kernel import kernel
from bev_instseg.structures import Float32, Instances

STEP_M = 0.5  # points within one square of this size become one vertex


def with_courses(instances: Instances, points: Float32, in_pieces: Sequence[bool]) -> Instances:
    """Add the course of each instance whose class comes in pieces, and fit its box again.

    The new box is along the principal axis, since fitting an L-shape suits only cars.

    Args:
        instances: K objects.
        points: (N, 4) float32 their points, x, y, z in metres.
        in_pieces: Per class, whether its objects come in pieces.

    Returns:
        The same objects with `Instances.courses_m`.
    """
    lines = np.flatnonzero(np.asarray(in_pieces)[instances.classes])
    line_of = np.zeros(len(instances) + 1, np.int32)
    line_of[lines + 1] = np.arange(1, len(lines) + 1)
    labels = line_of[instances.labels]
    on_line = labels > 0
    labels, xyz = labels[on_line], points[on_line, :3]
    boxes = instances.boxes.copy()
    boxes[lines] = principal_boxes(xyz, labels, len(lines))
    courses_m: list[Float32 | None] = [None] * len(instances)
    for line, row in enumerate(lines, 1):
        courses_m[row] = course(xyz[labels == line])
    return replace(instances, boxes=boxes, courses_m=tuple(courses_m))


def course(points: Float32) -> Float32:
    """Return the longest path through the points of an instance, from end to end.

    The points are averaged in squares of `STEP_M`, seen from above, and the means are connected by
    the tree of the smallest total length, which bridges gaps where they are shortest. The longest
    path through the tree is the line; what branches off it is left out.

    Args:
        points: (N, >=3) float32 x, y, z of the instance's points, metres; N >= 1.

    Returns:
        (V, 3) float32 vertices in order, metres; the end with the smaller x, then y, comes first.
    """
    xyz = points[:, :3].astype(np.float64)
    column, row = np.floor(xyz[:, :2] / STEP_M).astype(np.int64).T
    square = (column - column.min()) * (np.ptp(row) + 1) + row - row.min()
    _, number, size = np.unique(square, return_inverse=True, return_counts=True)
    sums = np.stack([np.bincount(number, axis) for axis in xyz.T], axis=1)
    vertices = sums / size[:, None]
    way = _longest_way(*vertices[:, :2].T)
    if tuple(vertices[way[0]]) > tuple(vertices[way[-1]]):
        way = way[::-1]
    line: Float32 = vertices[way].astype(np.float32)
    return line


@kernel
def _longest_way(x, y):  # type: ignore[no-untyped-def]
    """Return the vertices of the longest path through the tree of the smallest total length.

    The tree grows from vertex 0 by the nearest vertex (Prim's method), so the parent of a vertex
    has been reached before it. The vertex that is farthest from any given one is an end of the
    longest path.
    """
    count = len(x)
    parent, length = np.zeros(count, np.int64), np.full(count, np.inf)  # of the edge to the parent
    order, reached = np.zeros(count, np.int64), np.zeros(count, np.bool_)
    distance = np.zeros(count)  # from vertex 0 along the tree
    for step in range(1, count):
        last, nearest = int(order[step - 1]), -1
        reached[last] = True
        for v in range(count):
            if reached[v]:
                continue
            direct = np.sqrt((x[v] - x[last]) ** 2 + (y[v] - y[last]) ** 2)
            if direct < length[v]:
                length[v], parent[v] = direct, last
            if nearest < 0 or length[v] < length[nearest]:
                nearest = v
        order[step] = nearest
        distance[nearest] = distance[parent[nearest]] + length[nearest]

    start = int(np.argmax(distance))
    away, before = np.full(count, -1.0), np.full(count, start)  # along the tree from there
    away[start], v = 0.0, start
    while v != 0:  # first the vertices between start and vertex 0, whose parents are farther
        above = int(parent[v])
        away[above], before[above] = away[v] + length[v], v
        v = above
    for own in order:
        if away[own] < 0:
            away[own], before[own] = away[parent[own]] + length[own], parent[own]
    way = [int(np.argmax(away))]
    while way[-1] != start:
        way.append(int(before[way[-1]]))
    return np.array(way)
