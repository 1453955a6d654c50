"""The course of long instances: lane lines and kerbs."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from bev_instseg.ops.boxes import principal_boxes
from bev_instseg.structures import Float32, Instances

STEP_M = 0.5  # points within one square of this size become one vertex


def with_courses(instances: Instances, points: Float32, in_pieces: Sequence[bool]) -> Instances:
    """Add the course of each instance whose class comes in pieces, and fit its box again.

    Its box is along the principal axis: an L-shape fits cars.

    Args:
        instances: K objects.
        points: (N, 4) float32 their points, x, y, z in metres.
        in_pieces: Per class, whether its objects come in pieces.

    Returns:
        The same objects with `Instances.courses_m`.
    """
    lines = np.flatnonzero(np.asarray(in_pieces)[instances.classes])
    number = np.zeros(len(instances) + 1, np.int32)
    number[lines + 1] = np.arange(1, len(lines) + 1)
    of_point = number[instances.labels]
    on_line = of_point > 0
    boxes = instances.boxes.copy()
    boxes[lines] = principal_boxes(points[on_line, :3], of_point[on_line], len(lines))
    courses_m = tuple(
        course(points[instances.labels == number]) if in_pieces[kind] else None
        for number, kind in enumerate(instances.classes, 1)
    )
    return replace(instances, boxes=boxes, courses_m=courses_m)


def course(points: Float32) -> Float32:
    """Return the longest way through the points of an instance, from end to end.

    The points are averaged in squares of `STEP_M`, seen from above, and these are connected by the
    tree of the smallest total length, which bridges gaps where they are shortest. Of all ways
    through the tree the longest is the line; what branches off it is left out.

    Args:
        points: (N, >=3) float32 x, y, z of the instance's points, metres; N >= 1.

    Returns:
        (V, 3) float32 vertices in order, metres; the end with the smaller x, then y, comes first.
    """
    from scipy.sparse.csgraph import minimum_spanning_tree  # not needed for other classes
    from scipy.spatial.distance import cdist

    xyz = points[:, :3].astype(np.float64)
    square, size = np.unique(
        np.floor(xyz[:, :2] / STEP_M), axis=0, return_inverse=True, return_counts=True
    )[1:]
    sums = np.stack([np.bincount(square.ravel(), axis) for axis in xyz.T], axis=1)
    vertices = sums / size[:, None]
    tree = minimum_spanning_tree(cdist(vertices[:, :2], vertices[:, :2]))
    start = int(_distances(tree, 0)[0].argmax())
    distance, before = _distances(tree, start)
    way = [int(distance.argmax())]
    while way[-1] != start:
        way.append(int(before[way[-1]]))
    if tuple(vertices[way[0]]) > tuple(vertices[way[-1]]):
        way.reverse()
    line: Float32 = vertices[way].astype(np.float32)
    return line


def _distances(
    tree: NDArray[np.float64], start: int
) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """Return the distance of each vertex from one of them, along the tree, and the one before."""
    from scipy.sparse.csgraph import dijkstra

    distance, before = dijkstra(tree, directed=False, indices=start, return_predecessors=True)
    return distance, before
