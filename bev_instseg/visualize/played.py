"""A sweep with its tracks, as shown in the playback of its sequence."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bev_instseg.grid import MAX_RANGE_M
from bev_instseg.structures import Float32, Float64
from bev_instseg.tracking.tracked import TrackedInstances


@dataclass(frozen=True, eq=False)
class PlayedSweep:
    """A sweep with its tracks.

    Attributes:
        xyz_m: (N, 3) float32 points in the sensor frame; NaN where missing.
        ids: (N,) int64 id of the object that each point belongs to, 0 for none; below 2^32.
        tracked: The objects that are shown; their labels are not used.
    """

    xyz_m: Float32
    ids: NDArray[np.int64]
    tracked: TrackedInstances

    def thinned(self, cell_m: float, most: int) -> "PlayedSweep":
        """Return the sweep with fewer points: one per cell and object, seen from above.

        Args:
            cell_m: Side of a cell.
            most: Maximum number of points that are left; objects get at most half of this number.
        """
        near = np.flatnonzero((np.abs(self.xyz_m) < MAX_RANGE_M).all(axis=1))  # not NaN
        x, y = np.floor(self.xyz_m[near, :2] / cell_m).astype(np.int64).T & 0xFFFF
        keys = (x << 48) | (y << 32) | self.ids[near]
        rows = near[np.sort(np.unique(keys, return_index=True)[1])]
        owned = self.ids[rows] > 0
        objects = _every(rows[owned], most // 2)
        rows = np.concatenate([_every(rows[~owned], most - len(objects)), objects])
        return PlayedSweep(self.xyz_m[rows], self.ids[rows], self.tracked)

    def within(self, range_m: float) -> "PlayedSweep":
        """Return the sweep with only the points that are at most this far along x and along y."""
        near = (np.abs(self.xyz_m[:, :2]) <= range_m).all(axis=1)
        return PlayedSweep(self.xyz_m[near], self.ids[near], self.tracked)

    @property
    def is_unknown(self) -> NDArray[np.bool_]:
        """Which of the points belong to unknown things, (N,) bool."""
        unknown = self.tracked.tracks.ids[self.tracked.instances.is_unknown]
        return np.isin(self.ids, unknown)

    @property
    def world_yaw_rad(self) -> Float64:
        """Heading of the boxes' lengths in the world, (K,), as their points show it."""
        pose = self.tracked.pose
        yaw: Float64 = self.tracked.instances.boxes[:, 6] + np.arctan2(pose[1, 0], pose[0, 0])
        return yaw

    @property
    def world_centres_m(self) -> Float64:
        """Centres of the boxes in the world, (K, 3)."""
        pose, centres = self.tracked.pose, self.tracked.instances.boxes[:, :3]
        moved: Float64 = centres @ pose[:3, :3].T + pose[:3, 3]
        return moved


def _every(rows: NDArray[np.intp], most: int) -> NDArray[np.intp]:
    """Return rows, some evenly left out if there are too many."""
    return rows[np.arange(most) * len(rows) // most] if len(rows) > most else rows
