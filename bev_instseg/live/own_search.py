"""Search for the vehicle that carries the sensor while sweeps arrive."""

from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from bev_instseg.io.recordings.interpret import SURVEY_STEP
from bev_instseg.io.recordings.own_vehicle import OwnVehicle, find_own_vehicle
from bev_instseg.io.survey import MAX_SWEEPS

MIN_WAY_M = 1.0  # travelled between two sweeps that are compared


class OwnVehicleSearch:
    """Compares `MAX_SWEEPS` sweeps once, in a separate thread."""

    def __init__(self) -> None:
        """Begin without sweeps."""
        self._kept: list[NDArray[np.float32]] = []
        self._last_m: NDArray[np.float64] | None = None
        self._num_sweeps = 0
        self._found: Future[OwnVehicle | None] | None = None

    def look(self, points: NDArray[np.float32], place_m: NDArray[np.float64] | None) -> None:
        """Keep a sweep if the sensor has moved, until there are enough sweeps.

        Args:
            points: (N, 3 or 4) the sweep's `rigid_points`; not copied.
            place_m: (3,) position of the sensor in the world; None if unknown: then every
                `SURVEY_STEP`-th sweep is kept.
        """
        if self._found is not None:
            return
        if place_m is None:
            is_new = self._num_sweeps % SURVEY_STEP == 0
        else:
            way_m = np.inf if self._last_m is None else np.linalg.norm(place_m - self._last_m)
            is_new = bool(way_m >= MIN_WAY_M)
        self._num_sweeps += 1
        if is_new:
            self._last_m = place_m
            self._kept.append(points)
        if len(self._kept) == MAX_SWEEPS:
            pool = ThreadPoolExecutor(1)
            self._found = pool.submit(find_own_vehicle, self._kept)
            pool.shutdown(wait=False)
            self._kept = []

    @property
    def vehicle(self) -> OwnVehicle | None:
        """The vehicle, once it has been found."""
        return self._found.result() if self._found is not None and self._found.done() else None
