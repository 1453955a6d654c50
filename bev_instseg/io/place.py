"""Find the position of the sensor if it is not the origin of the coordinates."""

import numpy as np
from numpy.typing import NDArray

from bev_instseg.ops.kernel import kernel

CELL_M = 4.0  # the densest 3 x 3 of these cells is where the search starts
REACH_M = 12.0  # the returns around a place are balanced within this distance
SEARCH_M = 4.0  # the hole around the sensor is searched this far from the balanced place
STEP_M = 0.5
CORE_M, MIN_CORE_SHARE = 15.0, 0.52  # this share of a sweep's returns is this near its sensor
HOLE_M = (1.5, 8.0)  # nearest return in every eighth of the circle around a sensor


def find_place(xy: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Find the position of the sensor among the points of a sweep.

    A sensor that turns gets about as many returns from every direction, most of them from nearby,
    and none from right next to it. The place is therefore where the directions to the near returns
    cancel out, moved to the middle of the hole.

    Args:
        xy: (n, 2) horizontal coordinates of points.

    Returns:
        (2,) whole metres; None if no place stands out, as in an accumulated map or a cropped sweep.
    """
    place = _densest_place(xy)
    for _ in range(50):
        offset = xy - place
        distance_m = np.hypot(offset[:, 0], offset[:, 1])
        weight = (distance_m < REACH_M) / np.maximum(distance_m, 0.5)
        if not weight.any():
            return None
        step = weight @ offset / weight.sum()
        place = place + step
        if np.abs(step).max() < 0.05:
            break
    near = np.ascontiguousarray(xy[np.hypot(*(xy - place).T) < CORE_M + SEARCH_M])
    x, y, hole_m, rim_m = _widest_hole(near, place)
    place = np.array([x, y])
    core_share = np.mean(np.hypot(*(xy - place).T) < CORE_M)
    found = hole_m >= HOLE_M[0] and rim_m <= HOLE_M[1] and core_share >= MIN_CORE_SHARE
    return np.round(place) if found else None


def _densest_place(xy: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the middle of the 3 x 3 cells with most points."""
    cells, counts = np.unique(np.floor(xy / CELL_M).astype(np.int64), axis=0, return_counts=True)
    count_of = dict(zip(map(tuple, cells.tolist()), counts.tolist(), strict=True))
    around = [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)]
    sums = [sum(count_of.get((x + i, y + j), 0) for i, j in around) for x, y in count_of]
    middle: NDArray[np.float64] = (cells[int(np.argmax(sums))] + 0.5) * CELL_M
    return middle


@kernel
def _widest_hole(xy, start):  # type: ignore[no-untyped-def]
    """Return the place around a start whose nearest point is farthest, and two distances there.

    Args:
        xy: (n, 2) float64 points.
        start: (2,) float64 where to search.

    Returns:
        x, y and the nearest and farthest of the distances to the nearest point in each octant.
    """
    best_x, best_y, best_hole, best_rim = start[0], start[1], -1.0, np.inf
    nearest = np.empty(8)
    num_steps = int(SEARCH_M / STEP_M)
    for i in range(-num_steps, num_steps + 1):
        for j in range(-num_steps, num_steps + 1):
            x, y = start[0] + i * STEP_M, start[1] + j * STEP_M
            nearest[:] = np.inf
            for k in range(len(xy)):
                u, v = xy[k, 0] - x, xy[k, 1] - y
                octant = (u < 0) + 2 * (v < 0) + 4 * (abs(u) < abs(v))
                nearest[octant] = min(nearest[octant], np.sqrt(u * u + v * v))
            hole, rim = nearest.min(), nearest.max()
            if hole > best_hole and rim <= HOLE_M[1]:
                best_x, best_y, best_hole, best_rim = x, y, hole, rim
    return best_x, best_y, best_hole, best_rim
