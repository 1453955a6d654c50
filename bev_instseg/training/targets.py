"""Pillar labels from point labels: what each occupied pillar is taught."""

from dataclasses import dataclass

import numpy as np

from bev_instseg.structures import Float32, Frame, Int32, Pillars, check_array


@dataclass(frozen=True, eq=False)
class PillarTargets:
    """Truth of each of the P occupied pillars of a frame with K objects.

    Attributes:
        instance: (P,) int32; 0 background, 1..K object, -1 not judged.
        classes: (K,) int32 class index of each object.
        centres_m: (K, 2) float32 box centre of each object, metres.

    Raises:
        ValueError: An array has the wrong dtype or shape.
    """

    instance: Int32
    classes: Int32
    centres_m: Float32

    def __post_init__(self) -> None:
        check_array("instance", self.instance, np.int32, None)
        check_array("classes", self.classes, np.int32, None)
        check_array("centres_m", self.centres_m, np.float32, len(self.classes), 2)


def make_targets(frame: Frame, pillars: Pillars, min_object_points: int = 1) -> PillarTargets:
    """Label the pillars of a frame.

    A pillar belongs to the object with the most points in it; the lower number wins a tie. A pillar
    without object points is void if it holds a void point, background if it holds a judged point,
    and not judged otherwise.

    Args:
        frame: N labelled points.
        pillars: The voxelized points of this frame.
        min_object_points: An object with fewer labelled points on the grid is void.

    Returns:
        Targets of all pillars; void pillars are not judged.
    """
    pillar, labels, num_objects = pillars.point_to_pillar, frame.instance, len(frame.classes)
    on_grid = (pillar >= 0) & frame.labelled
    num_points = np.bincount(labels[on_grid & (labels > 0)], minlength=num_objects + 1)
    labels = np.where((labels > 0) & (num_points[labels] < min_object_points), -1, labels)

    instance = np.full(len(pillars.cells), -1, np.int32)
    instance[pillar[on_grid]] = 0
    instance[pillar[on_grid & (labels < 0)]] = -1
    on_object = on_grid & (labels > 0)
    pair = pillar[on_object].astype(np.int64) * (num_objects + 1) + labels[on_object]
    pairs, count = np.unique(pair, return_counts=True)
    order = np.lexsort((-pairs, count))  # the last write wins: most points, then lower number
    instance[pairs[order] // (num_objects + 1)] = pairs[order] % (num_objects + 1)
    return PillarTargets(instance, frame.classes, frame.centres_m)
