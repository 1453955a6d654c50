"""Find the ego vehicle in sweeps: points that stay in place while the surroundings move."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bev_instseg.io.infer_frame import infer_ground_m, sample_points

CELL_M, HALF = 0.2, 32  # the cells around the sensor, from -HALF to HALF - 1 along each axis
REACH_M = 4.0  # the vehicle is this near, seen from above,
ABOVE_GROUND_M = 0.3  # and this far above the ground
MIN_SWEEPS = 6
MIN_POINTS = 20  # of the vehicle, in every sweep
AROUND_M = (6.0, 20.0)  # the surroundings; they move if
MAX_STAYING = 0.2  # at most this share of their cells is filled in nearly every sweep

Float32 = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class OwnVehicle:
    """The cells around the sensor that the vehicle fills.

    Attributes:
        cells: (2 HALF, 2 HALF, 2 HALF) bool.
        notice: One line that describes them.
    """

    cells: NDArray[np.bool_]
    notice: str

    def is_own(self, points: Float32) -> NDArray[np.bool_]:
        """Return which of (N, 3 or more) points are its own: (N,) bool; see `rigid_points`."""
        near = _near(points)
        own = np.zeros(len(points), np.bool_)
        own[near] = self.cells[_indices(points[near])]
        return own


def find_own_vehicle(sweeps: Sequence[Float32]) -> OwnVehicle | None:
    """Search for the vehicle in sweeps that are about a second apart.

    Args:
        sweeps: (N, 3 or more) points of each in a frame fixed to the sensor; see `rigid_points`.

    Returns:
        The vehicle; None if it is not visible, or if it did not move, because then everything stays
        in place.
    """
    if len(sweeps) < MIN_SWEEPS:
        return None
    raised = [_above_ground(points) for points in sweeps]
    if _share_staying(raised) > MAX_STAYING:
        return None
    times = np.zeros((2 * HALF,) * 3, np.int64)
    for points in raised:
        filled = np.zeros(times.shape, np.bool_)
        filled[_indices(points[_near(points)])] = True
        times += filled
    cells = _widened(times >= len(sweeps) - 1)
    vehicle = OwnVehicle(cells, "")
    own = [points[vehicle.is_own(points)] for points in raised]
    if min(map(len, own)) < MIN_POINTS:
        return None
    (x0, y0), (x1, y1) = (f(np.concatenate(own)[:, :2], axis=0).tolist() for f in (np.min, np.max))
    notice = (
        f"points that stay in place while the surroundings move (x {x0:.1f}..{x1:.1f}, y {y0:.1f}"
        f"..{y1:.1f} m) are taken for the ego vehicle and get no label; --ego-box 0 0 0 0 keeps "
        "them"
    )
    return OwnVehicle(cells, notice)


def _above_ground(points: Float32) -> Float32:
    xyz = points[:, :3]
    ground_m = infer_ground_m(sample_points(xyz))
    above: Float32 = xyz[xyz[:, 2] > ground_m + ABOVE_GROUND_M]  # not NaN
    return above


def _share_staying(sweeps: Sequence[Float32]) -> float:
    """Return the share of the cells farther away that are filled in all sweeps, or all but one."""
    times: Counter[bytes] = Counter()
    for points in sweeps:
        range_m = np.hypot(points[:, 0], points[:, 1])
        around = points[(range_m > AROUND_M[0]) & (range_m < AROUND_M[1])]
        cells = np.unique(np.floor(around / CELL_M).astype(np.int16), axis=0)
        times.update(cell.tobytes() for cell in cells)
    usual = sum(times.values()) / len(sweeps)
    staying = sum(count >= len(sweeps) - 1 for count in times.values())
    return float(staying / usual) if usual else 1.0


def _near(points: Float32) -> NDArray[np.bool_]:
    x, y, z = points[:, 0], points[:, 1], points[:, 2]
    with np.errstate(over="ignore"):
        near: NDArray[np.bool_] = (x * x + y * y < REACH_M**2) & (np.abs(z) < HALF * CELL_M)
    return near


def _indices(points: Float32) -> tuple[NDArray[np.int64], ...]:
    cells = np.floor(points[:, :3] / CELL_M).astype(np.int64) + HALF
    return cells[:, 0], cells[:, 1], cells[:, 2]


def _widened(cells: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Add the neighbours of cells, because the vehicle's outline sometimes reaches them."""
    for axis in range(3):
        cells = cells | np.roll(cells, 1, axis) | np.roll(cells, -1, axis)
    return cells
