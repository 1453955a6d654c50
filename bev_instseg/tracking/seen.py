"""The instances of one sweep in world coordinates."""

import numpy as np
from numpy.typing import NDArray

from bev_instseg.structures import Float64, Instances
from bev_instseg.tracking import evidence
from bev_instseg.tracking.motion import axis_of

CENTRE_NOISE_M, NOISE_PER_M = 0.08, 0.06  # of a measured centre, along a side of the box


class Seen:
    """Measurements of the K instances of a sweep.

    Attributes:
        instances: The instances.
        pose: (4, 4) from the sensor frame to the world.
        middle_m: (K, 3) their centres in the sensor frame, metres.
        position_m: (K, 3) their centres in the world, metres.
        xy_m: (K, 2) x and y of ``position_m``.
        noise: (K, 2, 2) covariances of ``xy_m``.
        size_m: (K, 2) length and width, metres.
        axis: (K, 2) see `axis_of`.
        classes: (K,) class of each.
        is_unknown: (K,) bool, whether it is an unknown object.
        scores: (K,) its score, or 1 for an unknown object, which has no score.
        class_evidence: (K, C) the score in the column of the class, 0 in the others.
    """

    def __init__(self, instances: Instances, pose: Float64, centres_m: Float64 | None) -> None:
        """Measure the instances.

        Args:
            instances: The instances.
            pose: (4, 4) from the sensor frame to the world.
            centres_m: (K, 2) their centres in the sensor frame; by default those of the boxes.
        """
        boxes = instances.boxes.astype(np.float64)
        middle = boxes[:, :3].copy()
        if centres_m is not None:
            middle[:, :2] = centres_m
        self.instances, self.pose, self.middle_m = instances, pose, middle
        self.classes = instances.classes.astype(np.intp)
        self.is_unknown = instances.is_unknown
        self.scores = np.where(self.is_unknown, np.float32(1), instances.scores)
        self.position_m = middle @ pose[:3, :3].T + pose[:3, 3]
        self.xy_m = self.position_m[:, :2]
        self.size_m = boxes[:, 3:5]
        yaw = boxes[:, 6] + np.arctan2(pose[1, 0], pose[0, 0])
        self.axis = axis_of(boxes, yaw)
        variance = (CENTRE_NOISE_M + NOISE_PER_M * self.size_m) ** 2
        cos, sin = np.cos(yaw), np.sin(yaw)
        turn = np.moveaxis(np.array([[cos, -sin], [sin, cos]]), 2, 0)
        self.noise = np.einsum("kij,kj,klj->kil", turn, variance, turn)
        self.class_evidence = np.zeros((len(boxes), len(instances.class_names)))
        self.class_evidence[np.arange(len(boxes)), self.classes] = self.scores

    def cannot_show(self, xy_m: Float64) -> NDArray[np.bool_]:
        """Return at which places the sweep may miss an object: far away, or behind a known one.

        Args:
            xy_m: (T, 2) places in the world, metres.

        Returns:
            (T,) bool.
        """
        away_m = xy_m - self.pose[:2, 3]
        range_m = np.hypot(*away_m.T)
        yaw = np.arctan2(self.pose[1, 0], self.pose[0, 0])
        azimuth = np.arctan2(away_m[:, 1], away_m[:, 0]) - yaw
        behind = evidence.hidden(azimuth, range_m, self.instances.boxes[~self.is_unknown])
        may_miss: NDArray[np.bool_] = behind | (range_m > evidence.RANGE_M)
        return may_miss
