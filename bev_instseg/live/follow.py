"""Segment a sweep and track its objects, with the same results as for a recording."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np

from bev_instseg.exceptions import ScanError
from bev_instseg.io.recordings.point_cloud2 import stamp_text
from bev_instseg.io.sensor_setup import to_sensor
from bev_instseg.io.sweep import Sweep
from bev_instseg.jobs.job import Job
from bev_instseg.jobs.one_sweep import Segmented, segment_sweep
from bev_instseg.jobs.tracker_input import TrackerInput, rounded_pose, rounded_stamp
from bev_instseg.segmenter import Segmenter
from bev_instseg.structures import Float64
from bev_instseg.tracking.given_poses import GivenPoses
from bev_instseg.tracking.odometry import StandingSensor, default_odometry
from bev_instseg.tracking.tracked import TrackedInstances
from bev_instseg.tracking.tracker import NEW_IDS, Tracker, with_weak_instances

PosesOf = Callable[[str, int], Float64]
NEW_SEQUENCE_S = 1.0  # stamps that go back by more start a new sequence


class LiveTracker:
    """Gives objects persistent ids; finds the sensor's motion while the network runs."""

    def __init__(
        self, segmenter: Segmenter, job: Job, stands: bool, poses: PosesOf | None = None
    ) -> None:
        """Start a sequence.

        Args:
            segmenter: Finds the instances.
            job: Says whether to use tiles.
            stands: Whether the sensor stands still.
            poses: Returns the (4, 4) pose of a frame at a stamp, or raises ScanError. If None, and
                the sensor does not stand still, KISS-ICP estimates its motion, if installed.
        """
        self._segmenter, self._job = with_weak_instances(segmenter), job
        self._poses, self._needs_odometry = poses, poses is None and not stands
        self._pool = ThreadPoolExecutor(1)
        self._tracker, self._stamp_s = Tracker(), -np.inf
        self._news: tuple[str, ...] = ()  # notices for the next sweep that has a pose
        self._begin()

    def _begin(self) -> None:
        self._odometry = default_odometry() if self._needs_odometry else StandingSensor()
        self._given = GivenPoses()
        self._tracker.begin_again()

    def update(self, sweep: Sweep, frame: str, stamp_ns: int) -> tuple[Segmented, TrackedInstances]:
        """Return everything found in a sweep, and its confirmed objects.

        Args:
            sweep: The sweep.
            frame: Original frame of its points.
            stamp_ns: Its stamp. If it goes back by more than `NEW_SEQUENCE_S`, objects get new ids.

        Raises:
            ScanError: The stamp is not later than that of the previous sweep, or there is no pose.
        """
        stamp_s = rounded_stamp(stamp_ns / 1e9)
        if self._stamp_s - NEW_SEQUENCE_S <= stamp_s <= self._stamp_s:
            raise ScanError(
                f"the sweep at {stamp_text(stamp_ns)} is not later than the previous one: left out"
            )
        if stamp_s <= self._stamp_s:
            self._news = (f"stamps went back by {self._stamp_s - stamp_s:.1f} s: {NEW_IDS}",)
            self._begin()
        self._stamp_s = stamp_s
        pose = self._pool.submit(self._pose, sweep, frame, stamp_ns)
        segmented = segment_sweep(self._segmenter, self._job, sweep, 0.0)
        found, rounded = TrackerInput.now(segmented, need_points=False), rounded_pose(pose.result())
        tracked = self._tracker.update_instances(found.instances, stamp_s, rounded, found.centres_m)
        tracked = replace(tracked, notices=(*self._news, *tracked.notices))
        self._news = ()
        return segmented, tracked.confirmed()

    def _pose(self, sweep: Sweep, frame: str, stamp_ns: int) -> Float64:
        """Return the (4, 4) pose of the next sweep."""
        if self._poses is None:
            return self._odometry.register(sweep.points, rounded_stamp(stamp_ns / 1e9))
        given = self._poses(frame, stamp_ns)
        return self._given.next(given, to_sensor(sweep.axes, sweep.level_deg, sweep.origin_m))
