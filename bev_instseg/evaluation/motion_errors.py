"""Errors of the positions and velocities of tracks in simulated sequences."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bev_instseg.exceptions import ScanError
from bev_instseg.structures import Float64

OBJECTS_CSV = "objects.csv"
MOVING_MPS = 0.5  # faster objects are movers


class MotionErrors(NamedTuple):
    """Mean errors over the matches of one class; NaN without any.

    Attributes:
        position_m: Distance in the ground plane.
        velocity_mps: Length of the difference of the velocities.
        of_movers_mps: The same for objects that are faster than `MOVING_MPS`.
    """

    position_m: float
    velocity_mps: float
    of_movers_mps: float

    @property
    def is_known(self) -> bool:
        """Whether the true motion of any match is known."""
        return bool(np.isfinite(self.position_m))

    def cells(self) -> list[str]:
        """Return the cells of a table."""
        return [f"{error:.2f}" if np.isfinite(error) else "-" for error in self]


def motion_errors(matches: Sequence[Float64]) -> MotionErrors:
    """Return the errors of all matches of one class.

    Args:
        matches: For each sweep (2, M, 4): x, y, vx, vy of its M matched tracks and of their
            objects; NaN where these are not known.
    """
    tracks, objects = np.concatenate([np.zeros((2, 0, 4)), *matches], axis=1)
    known = np.isfinite(objects).all(axis=1)
    difference, truth = (tracks - objects)[known], objects[known]
    wrong_m, wrong_mps = np.hypot(*difference[:, :2].T), np.hypot(*difference[:, 2:].T)
    moves = np.hypot(*truth[:, 2:].T) > MOVING_MPS
    return MotionErrors(_mean(wrong_m), _mean(wrong_mps), _mean(wrong_mps[moves]))


def _mean(values: Float64) -> float:
    return float(values.mean()) if len(values) else np.nan


class TrueMotion:
    """Positions and velocities of the objects of a simulated sequence, from its ``objects.csv``."""

    def __init__(self, folder: Path) -> None:
        """Read the file; if there is none, no motion is known.

        Args:
            folder: Folder of the sequence.

        Raises:
            ScanError: The file cannot be used.
        """
        self._states: dict[tuple[int, int], list[float]] = {}
        path = folder / OBJECTS_CSV
        if not path.exists():
            return
        try:
            with open(path, newline="", encoding="utf-8") as file:
                for row in csv.DictReader(file):
                    state = [float(row[key]) for key in ("x", "y", "vx", "vy")]
                    self._states[int(row["frame"]), int(row["id"])] = state
        except OSError as error:
            raise ScanError(f"{path}: {error.strerror}; make it readable, or remove it") from None
        except (ValueError, KeyError, TypeError, csv.Error):
            raise ScanError(
                f"{path}: not a table of objects; simulate the sequence again, or remove it"
            ) from None

    def at(self, frame: int, numbers: NDArray[np.int64], to_world: Float64) -> Float64:
        """Return (K, 4) x, y, vx, vy of objects in the world of the tracks; NaN if not known.

        Args:
            frame: Number of the sweep.
            numbers: (K,) instance ids of the objects in the ``.label`` file.
            to_world: (4, 4) transform from the frame of the file's poses to that world.
        """
        unknown = [np.nan] * 4
        states = [self._states.get((frame, number), unknown) for number in numbers.tolist()]
        columns = np.array(states, np.float64).reshape(-1, 4)
        turn = to_world[:2, :2].T
        return np.hstack([columns[:, :2] @ turn + to_world[:2, 3], columns[:, 2:] @ turn])
