"""Segment a sweep and follow its objects, with the results that a recording of it gets."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from bev_instseg.exceptions import ScanError
from bev_instseg.io.recordings.point_cloud2 import stamp_text
from bev_instseg.io.sweep import Sweep
from bev_instseg.jobs.found import POSE_DIGITS, Found, rounded_stamp, track
from bev_instseg.jobs.job import Job, Segmented, segment_sweep
from bev_instseg.segmenter import Segmenter
from bev_instseg.tracking.ego_motion import Odometry, StandingSensor, default_odometry
from bev_instseg.tracking.tracked import TrackedInstances
from bev_instseg.tracking.tracker import Tracker, with_weak_instances

NEW_SEQUENCE_S = 1.0  # stamps that go back by more begin a new sequence


class LiveTracker:
    """Gives objects ids that last; the odometry runs beside the network."""

    def __init__(self, segmenter: Segmenter, job: Job, stands: bool) -> None:
        """Begin a sequence.

        Args:
            segmenter: Finds the instances.
            job: Whether to use tiles.
            stands: Whether the sensor stands still; else KISS-ICP finds its motion, if installed.
        """
        self._segmenter, self._job, self._stands = with_weak_instances(segmenter), job, stands
        self._pool = ThreadPoolExecutor(1)
        self._begin()

    def _begin(self) -> None:
        self._odometry: Odometry = StandingSensor() if self._stands else default_odometry()
        self._tracker, self._stamp_s = Tracker(), -np.inf

    def update(self, sweep: Sweep, stamp_ns: int) -> tuple[Segmented, TrackedInstances]:
        """Return everything found in a sweep, and its objects that are confirmed.

        Args:
            sweep: The sweep.
            stamp_ns: Its stamp. If it goes back by more than `NEW_SEQUENCE_S`, objects get new ids.

        Raises:
            ScanError: The stamp is not later than that of the sweep before.
        """
        stamp_s = rounded_stamp(stamp_ns / 1e9)
        if self._stamp_s - NEW_SEQUENCE_S <= stamp_s <= self._stamp_s:
            raise ScanError(
                f"a sweep at {stamp_text(stamp_ns)} is not later than the one before: left out"
            )
        if stamp_s <= self._stamp_s:
            self._begin()
        self._stamp_s = stamp_s
        pose = self._pool.submit(self._odometry.register, sweep.points)
        segmented = segment_sweep(self._segmenter, self._job, sweep, 0.0)
        rounded = np.round(pose.result(), POSE_DIGITS) + 0.0
        found = Found.now(segmented, need_points=False)
        return segmented, track(self._tracker, stamp_s, rounded, found).confirmed()
