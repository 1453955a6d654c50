"""Breaks in a sequence: pauses, and jumps of the sensor's pose."""

from collections import deque

import numpy as np

from bev_instseg.structures import Float64

PAUSE_S, PAUSE_GAPS = 2.0, 5.0  # a pause is longer than this, and than this many usual gaps
FIRST_GAP_S = 10.0  # if there is no usual gap yet, a pause is longer than this
NUM_GAPS = 5  # the usual gap is the median of the last few
JUMP_M, JUMP_MPS2 = 3.0, 10.0  # a jump differs by more than this from constant velocity


class Pace:
    """The times of the sweeps so far."""

    def __init__(self) -> None:
        """Begin a sequence."""
        self._stamp_s, self._gaps_s = -np.inf, deque[float](maxlen=NUM_GAPS)

    def next(self, stamp_s: float) -> tuple[float, bool]:
        """Take in a sweep.

        Args:
            stamp_s: Its time, later than that of the previous sweep.

        Returns:
            The gap before it in seconds, infinite for the first sweep, and whether it is a pause.
            A sensor that is always slow has no pauses.
        """
        gap_s, self._stamp_s = stamp_s - self._stamp_s, stamp_s
        gaps_s = sorted(self._gaps_s)
        usual_s = gaps_s[len(gaps_s) // 2] if gaps_s else FIRST_GAP_S / PAUSE_GAPS
        if np.isfinite(gap_s) and gap_s > max(PAUSE_S, PAUSE_GAPS * usual_s):
            return gap_s, True
        if np.isfinite(gap_s):
            self._gaps_s.append(gap_s)
        return gap_s, False


class Continuity:
    """Decides whether the objects of a sweep can be recognised in the next one."""

    def __init__(self) -> None:
        """Begin a sequence."""
        self._pace, self._place_m = Pace(), np.zeros(3)
        self._velocity_mps: Float64 | None = None

    def next(self, stamp_s: float, pose: Float64) -> str:
        """Take in a sweep.

        Args:
            stamp_s: Its time, later than that of the previous sweep.
            pose: (4, 4) from the sensor frame to the world.

        Returns:
            Why objects of earlier sweeps cannot be recognised in it; empty if they can.
        """
        gap_s, is_pause = self._pace.next(stamp_s)
        step_m, self._place_m = pose[:3, 3] - self._place_m, pose[:3, 3].copy()
        expected, self._velocity_mps = self._velocity_mps, None
        if is_pause:
            return f"a pause of {gap_s:.1f} s"
        if not np.isfinite(gap_s):
            return ""
        off_m = 0.0 if expected is None else np.linalg.norm(step_m - gap_s * expected)
        if off_m > JUMP_M + JUMP_MPS2 * gap_s**2:
            return f"the pose of the sensor jumps by {off_m:.1f} m"
        self._velocity_mps = step_m / gap_s
        return ""
