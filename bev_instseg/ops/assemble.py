"""From clustered pillars back to points: the instances of a sweep."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bev_instseg.ops.boxes import oriented_boxes
from bev_instseg.ops.kernel import kernel
from bev_instseg.ops.score import probability
from bev_instseg.structures import Clusters, Float32, Instances, Int32, Pillars

# An object of a class that may be higher than LARGE_M is a piece of the ego vehicle if it is
# entirely this near to the sensor and this low: of another vehicle, the sensor would see more. (A
# sensor with a narrow field of view may see no more than this of a person.) The limit is the
# default height of a class, so that only classes that are said to be higher have this rule.
LARGE_M, OWN_REACH_M, OWN_HEIGHT_M = 4.0, 3.5, 0.5


@dataclass(frozen=True)
class AssemblyRules:
    """Which points belong to an instance, and which instances are kept.

    Attributes:
        class_names: The C names.
        min_height_m: Points lower than this above the ground are left out (the road under a car).
        max_height_m: Per class; points higher than this are left out (a branch above a car).
        min_points: Per class; instances with fewer points are dropped.
        calibration: (a, b, c) per class, see `probability`; empty to keep the clusters' scores.
        score_threshold: Instances with a lower score are dropped.
        in_pieces: Per class, whether its objects come in pieces and so may curve around the sensor,
            or lie flat beside it. Empty: none do.
    """

    class_names: tuple[str, ...]
    min_height_m: float
    max_height_m: tuple[float, ...]
    min_points: tuple[int, ...]
    calibration: tuple[tuple[float, float, float], ...] = ()
    score_threshold: float = 0.0
    in_pieces: tuple[bool, ...] = ()


def assemble(
    points: Float32, pillars: Pillars, clusters: Clusters, rules: AssemblyRules
) -> Instances:
    """Give each point the instance of its pillar, if its height above the ground allows.

    A box that contains the sensor is the ego vehicle, and a low one of a large class right next to
    the sensor is a piece of it, unless the class comes in pieces; these instances are dropped.

    Args:
        points: (N, 4) float32 points of the sweep; the sensor is at x = y = 0.
        pillars: The P pillars of these points.
        clusters: Instance of each pillar.
        rules: Heights, sizes and scores that an instance must have.

    Returns:
        Instances numbered by descending score; equal scores keep the order of the clusters.
    """
    max_height_m = np.asarray(rules.max_height_m, np.float32)[clusters.classes]
    labels, size = _assign_points(
        pillars.point_to_pillar,
        pillars.point_height_m,
        clusters.labels,
        np.float32(rules.min_height_m),
        np.append(np.float32(0), max_height_m),
    )
    scores = clusters.scores
    if rules.calibration:
        scores = probability(scores, clusters.classes, size, rules.calibration)
    enough = size >= np.maximum(np.asarray(rules.min_points)[clusters.classes], 1)
    kept = np.flatnonzero(enough & (scores >= np.float32(rules.score_threshold)))
    kept = kept[np.argsort(-scores[kept], kind="stable")]
    _renumber(labels, _new_numbers(kept, len(clusters.classes)))
    boxes = oriented_boxes(points, labels, len(kept))
    ego = _is_own_vehicle(boxes, np.asarray(rules.max_height_m)[clusters.classes[kept]] > LARGE_M)
    if rules.in_pieces:
        ego &= ~np.asarray(rules.in_pieces)[clusters.classes[kept]]
    if ego.any():
        _renumber(labels, _new_numbers(np.flatnonzero(~ego), len(kept)))
        kept, boxes = kept[~ego], boxes[~ego]
    return Instances(labels, clusters.classes[kept], scores[kept], boxes, rules.class_names)


def _new_numbers(kept: NDArray[np.intp], count: int) -> Int32:
    """Return the new number 1..K of each old number 0..count; 0 for those not kept."""
    number: Int32 = np.zeros(count + 1, np.int32)
    number[kept + 1] = np.arange(1, len(kept) + 1)
    return number


def _is_own_vehicle(boxes: Float32, is_large: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return (K,) whether boxes contain x = y = 0 or, if large ones are expected, are near and low.

    Args:
        boxes: (K, 7) float32 boxes.
        is_large: (K,) whether objects of their classes can be higher than `LARGE_M`.
    """
    x, y, _, length, width, height, yaw_rad = boxes.T
    cos, sin = np.cos(yaw_rad), np.sin(yaw_rad)
    along, across = abs(x * cos + y * sin), abs(y * cos - x * sin)
    inside = (along < length / 2) & (across < width / 2)
    farthest_m = np.hypot(along + length / 2, across + width / 2)
    low = is_large & (farthest_m < OWN_REACH_M) & (height < OWN_HEIGHT_M)
    own: NDArray[np.bool_] = inside | low
    return own


@kernel
def _assign_points(point_to_pillar, height, labels, min_height, max_height):  # type: ignore[no-untyped-def]
    """Return the cluster of each point, 0 for none, and the number of points of clusters 1..K."""
    owner = np.zeros(len(point_to_pillar), np.int32)
    size = np.zeros(len(max_height), np.int64)
    for i in range(len(point_to_pillar)):
        p = point_to_pillar[i]
        if p >= 0 and labels[p] > 0 and min_height <= height[i] <= max_height[labels[p]]:
            owner[i] = labels[p]
            size[labels[p]] += 1
    return owner, size[1:]


@kernel
def _renumber(labels, number):  # type: ignore[no-untyped-def]
    """Replace each label by its new number, in place."""
    for i in range(len(labels)):
        labels[i] = number[np.uint32(labels[i])]  # an unsigned index cannot count from the end
