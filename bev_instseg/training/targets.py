"""Pillar labels from point labels: the training targets of each occupied pillar."""

from dataclasses import dataclass

import numpy as np

from bev_instseg.datasets.background import GROUND, KINDS
from bev_instseg.structures import Float32, Frame, Int32, Pillars, check_array


@dataclass(frozen=True, eq=False)
class PillarTargets:
    """Targets of the P occupied pillars of a frame with K objects.

    Attributes:
        instance: (P,) int32; 0 background, 1..K object, -1 not judged.
        classes: (K,) int32 class index of each object.
        centres_m: (K, 2) float32 box centre of each object, metres.
        kind: (P,) int32 what stands in the pillar, for the semantic loss: 0..B-1 one of the B kinds
            of background, B + class index an object, -1 unknown.

    Raises:
        ValueError: An array has the wrong dtype or shape.
    """

    instance: Int32
    classes: Int32
    centres_m: Float32
    kind: Int32

    def __post_init__(self) -> None:
        check_array("instance", self.instance, np.int32, None)
        check_array("classes", self.classes, np.int32, None)
        check_array("centres_m", self.centres_m, np.float32, len(self.classes), 2)
        check_array("kind", self.kind, np.int32, len(self.instance))


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
    kind = pillar_kinds(frame, pillars, instance)
    return PillarTargets(instance, frame.classes, frame.centres_m, kind)


def pillar_kinds(frame: Frame, pillars: Pillars, instance: Int32) -> Int32:
    """Return what stands in each pillar; see `PillarTargets`.

    A pillar of an object has the object's class. Any other pillar has the kind of most of its
    points that are not ground, where unknown counts as a kind; without such points it is ground.

    Args:
        frame: N labelled points.
        pillars: The voxelized points of this frame.
        instance: (P,) int32 object of each pillar, 1..K; those with other values are on no object.
    """
    if frame.background is None:
        return np.full(len(instance), -1, np.int32)
    pillar, num_pillars, num_kinds = pillars.point_to_pillar, len(instance), 1 + len(KINDS)
    standing = np.flatnonzero((pillar >= 0) & (frame.background != GROUND))
    place = frame.background[standing] * np.int64(num_pillars) + pillar[standing]
    votes = np.bincount(place, minlength=num_kinds * num_pillars).reshape(num_kinds, num_pillars)
    kind = np.where(votes.any(axis=0), votes.argmax(axis=0), GROUND).astype(np.int32) - 1
    on_object = instance > 0
    kind[on_object] = len(KINDS) + frame.classes[instance[on_object] - 1]
    return kind
