"""The tracker of a job: it takes the sweeps of a sequence in order, each with its pose."""

import time

import numpy as np

from bev_instseg.jobs.tracker_input import TrackerInput, rounded_pose, rounded_stamp
from bev_instseg.structures import Float64
from bev_instseg.tracking.given_poses import GivenPoses
from bev_instseg.tracking.odometry import Odometry, default_odometry
from bev_instseg.tracking.tracked import TrackedInstances
from bev_instseg.tracking.tracker import Tracker


class SequenceTracker:
    """Tracks a sequence; the pose of each sweep is given, in its ``.json``, or from odometry."""

    def __init__(
        self, poses_are_given: bool, has_new_sweeps: bool, stored_are_valid: bool = True
    ) -> None:
        """Begin a sequence.

        Args:
            poses_are_given: Whether each sweep comes with a pose.
            has_new_sweeps: Whether there are sweeps without a ``.json``.
            stored_are_valid: Whether the poses in ``.json`` files are used; not if there are new
                sweeps before them, because they were estimated without these.
        """
        self._tracker, self._given = Tracker(), GivenPoses()
        self._stored_are_valid = stored_are_valid
        self._odometry: Odometry | None = None
        if not poses_are_given and has_new_sweeps:
            self._odometry = default_odometry()

    @property
    def need_points(self) -> bool:
        """Whether the odometry needs the points, also those of finished sweeps."""
        return self._odometry is not None

    def next(self, found: TrackerInput, given: Float64 | None, stamp_s: float) -> TrackedInstances:
        """Track the instances of a sweep; call it in order.

        Args:
            found: The sweep; if it was segmented now, the times are noted in its ``timing_ms``.
            given: (4, 4) from the file's coordinates to a common frame; None if poses are not
                given.
            stamp_s: Its time, seconds.
        """
        start = time.perf_counter()
        stamp_s = rounded_stamp(stamp_s)
        pose = self._pose(found, given, stamp_s)
        odometry_s = time.perf_counter() - start
        tracked = self._tracker.update_instances(found.instances, stamp_s, pose, found.centres_m)
        if found.segmented is not None:
            timing_ms = found.segmented.timing_ms
            timing_ms["odometry"] = 1000 * odometry_s
            timing_ms["track"] += 1000 * (time.perf_counter() - start - odometry_s)
        return tracked

    def _pose(self, found: TrackerInput, given: Float64 | None, stamp_s: float) -> Float64:
        """Return the (4, 4) pose of a sweep, rounded."""
        if given is not None:
            return rounded_pose(self._given.next(given, found.to_sensor))
        if self._odometry is not None and found.points is not None:
            pose = self._odometry.register(found.points, stamp_s)
        if found.stored is not None and self._stored_are_valid:
            assert found.stored.sequence is not None
            pose = np.vstack([np.reshape(found.stored.sequence.pose, (3, 4)), [0, 0, 0, 1]])
        return rounded_pose(pose)
