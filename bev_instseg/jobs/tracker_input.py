"""The input of the tracker for a sweep that was segmented now or finished earlier.

It has the content of a ``.json``, rounded in the same way. So a job that continues after an
interruption can feed the finished sweeps to the tracker from their ``.json``, and ends with the
same files as a job that was never interrupted.
"""

import time
from dataclasses import dataclass, replace

import numpy as np

from bev_instseg.export import SweepResult
from bev_instseg.export.read_back import instances_of, tracked_of
from bev_instseg.io.sensor_setup import to_sensor
from bev_instseg.jobs.one_sweep import Segmented
from bev_instseg.structures import Float32, Float64, Instances
from bev_instseg.tracking.learned_centres import learned_centres

POSE_DIGITS, STAMP_DIGITS = 6, 6  # of a .json


@dataclass(frozen=True, eq=False)
class TrackerInput:
    """The instances of a sweep, on their way to the tracker.

    Attributes:
        instances: The instances, rounded as in a ``.json``. For a finished sweep, only the number
            of their points is known, not which points they are.
        centres_m: (K, 2) learned centres x, y in the sensor frame, metres.
        to_sensor: (4, 4) from the file's coordinates to the sensor frame.
        points: The points for the odometry; None if it needs none.
        segmented: All results of a sweep that was segmented now.
        stored: The ``.json`` of a finished sweep.
    """

    instances: Instances
    centres_m: Float64
    to_sensor: Float64
    points: Float32 | None = None
    segmented: Segmented | None = None
    stored: SweepResult | None = None

    @classmethod
    def now(cls, segmented: Segmented, need_points: bool) -> "TrackerInput":
        """Return what was found in a sweep; the time this takes is noted in its ``timing_ms``.

        Args:
            segmented: The sweep.
            need_points: Whether the odometry needs its points.
        """
        segmentation, sweep = segmented.segmentation, segmented.sweep
        start = time.perf_counter()
        result = SweepResult.of(segmentation.instances)
        labels = segmentation.instances.labels
        instances = instances_of(result.instances, result.class_names, labels)
        instances = replace(instances, ground=segmentation.instances.ground)
        centres_m = learned_centres(segmentation).round(3)
        segmented.timing_ms["track"] = 1000 * (time.perf_counter() - start)
        return cls(
            instances,
            centres_m,
            to_sensor(sweep.axes, sweep.level_deg, sweep.origin_m),
            sweep.points if need_points else None,
            segmented,
        )

    @classmethod
    def earlier(cls, result: SweepResult, points: Float32 | None = None) -> "TrackerInput":
        """Return what was found in a finished sweep.

        Args:
            result: Its ``.json``, with tracks.
            points: Its points for the odometry; None if it needs none.
        """
        assert result.provenance is not None
        tracked, made = tracked_of(result), result.provenance
        centres_m = tracked.tracks.seen_centres_m[np.argsort(tracked.tracks.seen_numbers)]
        place = to_sensor(made.axes, made.level_deg, made.origin_m)
        return cls(tracked.as_seen(), centres_m, place, points, stored=result)


def rounded_stamp(stamp_s: float) -> float:
    """Return a time, rounded as in a ``.json``."""
    return round(float(stamp_s), STAMP_DIGITS)


def rounded_pose(pose: Float64) -> Float64:
    """Return a pose as a ``.json`` holds it."""
    rounded: Float64 = np.round(pose, POSE_DIGITS) + 0.0  # without -0
    return rounded
