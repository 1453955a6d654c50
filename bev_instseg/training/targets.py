"""Point labels -> pillar labels: what each occupied pillar should be taught."""

from dataclasses import dataclass

import numpy as np

from bev_instseg.structures import Float32, Frame, Int32, Pillars, check_array


@dataclass(frozen=True, eq=False)
class PillarTargets:
    """Truth of each occupied pillar.

    Attributes:
        instance: (P,) int32; 0 background, 1..K object, -1 not judged.
        classes: (K,) int32 class index of each object.
        centres_m: (K, 2) float32 box centre of each object, metres.
    """

    instance: Int32
    classes: Int32
    centres_m: Float32

    def __post_init__(self) -> None:
        check_array("instance", self.instance, np.int32, None)
        check_array("classes", self.classes, np.int32, None)
        check_array("centres_m", self.centres_m, np.float32, len(self.classes), 2)


def make_targets(frame: Frame, pillars: Pillars, min_object_points: int = 1) -> PillarTargets:
    """Pillar labels of a frame.

    A pillar is the object with most points in it (the lower number wins a tie); without objects it
    is void if it holds a void point, background if it holds a judged point, else not judged.

    Args:
        frame: points with labels, N of them.
        pillars: the voxelized points of this frame.
        min_object_points: an object with fewer labelled points on the grid is void: too little to
            learn from.
    """
    pillar, labels, num_objects = pillars.point_to_pillar, frame.instance, len(frame.classes)
    on_grid = (pillar >= 0) & frame.labelled
    points_of = np.bincount(labels[on_grid & (labels > 0)], minlength=num_objects + 1)
    labels = np.where((labels > 0) & (points_of[labels] < min_object_points), -1, labels)

    instance = np.full(len(pillars.cells), -1, np.int32)
    instance[pillar[on_grid]] = 0
    instance[pillar[on_grid & (labels < 0)]] = -1
    on_object = on_grid & (labels > 0)
    pair = pillar[on_object].astype(np.int64) * (num_objects + 1) + labels[on_object]
    pairs, count = np.unique(pair, return_counts=True)
    order = np.lexsort((-pairs, count))  # the last write wins: most points, then lower number
    instance[pairs[order] // (num_objects + 1)] = pairs[order] % (num_objects + 1)
    return PillarTargets(instance, frame.classes, frame.centres_m)
