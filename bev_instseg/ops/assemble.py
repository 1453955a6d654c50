"""From labelled pillars back to the points: the instances of a sweep."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bev_instseg.ops.boxes import oriented_boxes
from bev_instseg.ops.cluster import Clusters
from bev_instseg.ops.kernel import kernel
from bev_instseg.ops.score import probability
from bev_instseg.structures import Float32, Instances, Int32, Pillars


def assemble(
    points: Float32,
    pillars: Pillars,
    clusters: Clusters,
    class_names: Sequence[str],
    min_height_m: float,
    max_height_m: Sequence[float],
    min_points: Sequence[int],
    calibration: Sequence[tuple[float, float, float]] = (),
    score_threshold: float = 0.0,
) -> Instances:
    """Give each point the instance of its pillar, if its height above the ground allows.

    What the sensor would stand inside of is the vehicle that carries it, and dropped.

    Args:
        points: (N, 4) float32 of the sweep, the sensor at x = y = 0.
        pillars: its pillars, P of them.
        clusters: instance of each pillar.
        class_names: C names.
        min_height_m: points lower than this stay out (the ground under a car).
        max_height_m: per class, points higher than this stay out (a branch above it).
        min_points: per class, instances with fewer points are dropped.
        calibration: per class (a, b, c) of `probability`, which an instance's score then is; empty:
            the score is the cluster's.
        score_threshold: instances with a lower score are dropped.

    Returns:
        Instances numbered by falling score; equal scores keep the order of the clusters.
    """
    top = np.append(np.float32(0), np.asarray(max_height_m, np.float32)[clusters.classes])
    owner, size = _owners(
        pillars.point_to_pillar,
        pillars.point_height_m,
        clusters.labels,
        np.float32(min_height_m),
        top,
    )
    scores = clusters.scores
    if calibration:
        scores = probability(scores, clusters.classes, size, calibration)
    enough = size >= np.maximum(np.asarray(min_points)[clusters.classes], 1)
    kept = np.flatnonzero(enough & (scores >= np.float32(score_threshold)))
    kept = kept[np.argsort(-scores[kept], kind="stable")]
    labels = _numbered(kept, len(clusters.classes))[owner]
    boxes = oriented_boxes(points, labels, len(kept))
    carries = _around_sensor(boxes)
    if carries.any():
        labels = _numbered(np.flatnonzero(~carries), len(kept))[labels]
        kept, boxes = kept[~carries], boxes[~carries]
    return Instances(labels, clusters.classes[kept], scores[kept], boxes, tuple(class_names))


def _numbered(kept: NDArray[np.intp], count: int) -> Int32:
    """New numbers 1..K of those kept, by old number 0..count; 0 for the others."""
    number: Int32 = np.zeros(count + 1, np.int32)
    number[kept + 1] = np.arange(1, len(kept) + 1)
    return number


def _around_sensor(boxes: Float32) -> NDArray[np.bool_]:
    """(K,) whether x = y = 0 lies inside each of (K, 7) boxes seen from above."""
    x, y, _, length, width, _, yaw_rad = boxes.T
    cos, sin = np.cos(yaw_rad), np.sin(yaw_rad)
    return (abs(x * cos + y * sin) < length / 2) & (abs(y * cos - x * sin) < width / 2)


@kernel
def _owners(point_to_pillar, height, labels, lowest, top):  # type: ignore[no-untyped-def]
    """Cluster of each point, 0 for none, and the points of each cluster 1..K."""
    owner = np.zeros(len(point_to_pillar), np.int32)
    size = np.zeros(len(top), np.int64)
    for i in range(len(point_to_pillar)):
        p = point_to_pillar[i]
        if p >= 0 and labels[p] > 0 and lowest <= height[i] <= top[labels[p]]:
            owner[i] = labels[p]
            size[labels[p]] += 1
    return owner, size[1:]
