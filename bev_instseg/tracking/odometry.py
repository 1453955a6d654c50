"""The sensor's own motion where it is not given: found by KISS-ICP from the points."""

import warnings
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np

from bev_instseg.grid import BEVGrid
from bev_instseg.ops.voxelize import point_heights
from bev_instseg.structures import Float32, Float64
from bev_instseg.tracking.continuity import Pace

MAX_RANGE_M, MIN_RANGE_M = 100.0, 3.0
GRID = BEVGrid((-51.2, 51.2), (-51.2, 51.2), (-5.0, 5.0), 0.4)  # for the ground
MAX_UNEVEN = 1.5  # gaps between sweeps that differ by a smaller factor count as even
GROUND_M, MIN_POINTS = 0.3, 500
NO_ODOMETRY = (
    "kiss-icp is not installed, so the sensor is assumed to stand still (if it moves, parked "
    "vehicles seem to move); pip install 'bev-instseg[track]', or give poses"
)


class Odometry(Protocol):
    """Finds the pose of each sweep of a sequence."""

    def register(self, points: Float32, stamp_s: float) -> Float64:
        """Return the (4, 4) pose of the next sweep, (N, 4) in the sensor frame."""
        ...


class StandingSensor:
    """The odometry of a sensor that does not move."""

    def register(self, points: Float32, stamp_s: float) -> Float64:
        """Return the identity."""
        return np.eye(4)


class KissOdometry:
    """KISS-ICP: I. Vizzo et al., KISS-ICP: In Defense of Point-to-Point ICP, RA-L 2023.

    It only gets the points above the ground: the rings on a flat road move with the sensor and bias
    the estimate towards standing still, above all in the first sweeps. It assumes that the last
    motion continues, also over missing sweeps. After a pause, a new map begins at the last pose.
    """

    def __init__(self) -> None:
        """Begin a sequence; raises ImportError without kiss-icp."""
        self._pace, self._gap_s = Pace(), np.inf
        self._start = np.eye(4)
        self._icp = self._new_icp()

    @staticmethod
    def _new_icp() -> Any:
        from kiss_icp.config import load_config
        from kiss_icp.kiss_icp import KissICP

        config = load_config(None)
        config.data.min_range, config.data.max_range = MIN_RANGE_M, MAX_RANGE_M
        config.data.deskew = False  # sweeps carry no time per point
        config.mapping.voxel_size = MAX_RANGE_M / 100
        config.registration.max_num_threads = 1  # sums in one order: repeatable
        return KissICP(config)

    def register(self, points: Float32, stamp_s: float) -> Float64:
        """Return the (4, 4) pose of the next sweep; that of the first sweep is the identity."""
        finite = points[np.isfinite(points[:, :3]).all(axis=1)]
        standing = finite[point_heights(finite, GRID) > GROUND_M]
        used = standing if len(standing) > MIN_POINTS else finite  # an open field is only ground
        if len(used):
            self._expect(stamp_s)
            self._icp.register_frame(used[:, :3].astype(np.float64), np.zeros(0))
        pose: Float64 = self._start @ np.array(self._icp.last_pose)
        return pose

    def _expect(self, stamp_s: float) -> None:
        """Set KISS-ICP's motion prediction for a sweep at this time."""
        gap_s, is_pause = self._pace.next(stamp_s)
        if is_pause:
            self._start = self._start @ np.array(self._icp.last_pose)
            self._icp = self._new_icp()
        elif np.isfinite(self._gap_s):
            times = gap_s / self._gap_s
            if not 1 / MAX_UNEVEN < times < MAX_UNEVEN:
                self._icp.last_delta = _repeated(self._icp.last_delta, times)
        self._gap_s = np.inf if is_pause else gap_s


def _repeated(motion: Float64, times: float) -> Float64:
    """Return a (4, 4) motion repeated this many times, which may be a fraction."""
    from scipy.spatial.transform import Rotation  # only tracking needs it

    found = np.eye(4)
    turn = Rotation.from_matrix(motion[:3, :3])
    found[:3, :3] = Rotation.from_rotvec(times * turn.as_rotvec()).as_matrix()
    found[:3, 3] = times * motion[:3, 3]
    return found


def default_odometry() -> Odometry:
    """Return KISS-ICP or, if it is not installed, a standing sensor, with a warning."""
    if find_spec("kiss_icp") is not None:
        return KissOdometry()
    warnings.warn(NO_ODOMETRY, stacklevel=2)
    return StandingSensor()
