"""Transform the sweeps of a recording to the network's frame, as decided from the first ones."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bev_instseg.exceptions import ScanError
from bev_instseg.io.formats import StoredPoints
from bev_instseg.io.recordings.own_vehicle import OwnVehicle, find_own_vehicle
from bev_instseg.io.recordings.point_cloud2 import StampedSweep, stamp_text
from bev_instseg.io.recordings.recording import Recording
from bev_instseg.io.sensor_setup import SensorSetup, sensor_rotation
from bev_instseg.io.survey import MAX_SWEEPS, Reading, survey_points
from bev_instseg.io.sweep import Sweep, interpret_points

SURVEY_STEP = 10  # one sweep in this many is surveyed, from the beginning
NO_RETURNS = "no returns: nothing to segment"
MAX_SHIFT_M = 20.0  # of a sweep's origin; farther, the points are in the coordinates of a map


class RecordingSurvey(NamedTuple):
    """Properties of all sweeps of a recording, inferred from the first ones.

    Attributes:
        reading: How the sweeps are read; None if none of them can be read.
        own: The ego vehicle; None if the sweeps do not show it or it stood still.
    """

    reading: Reading | None
    own: OwnVehicle | None


def survey_recording(recording: Recording, setup: SensorSetup) -> RecordingSurvey:
    """Survey up to `MAX_SWEEPS` of a recording's first sweeps and decide how all are read.

    Every `SURVEY_STEP`-th sweep is surveyed, unless it has no returns.

    Args:
        recording: The recording; it is read from its beginning.
        setup: What is known about the sensor; taken as given.
    """
    sweeps = []
    for raw in islice(recording, 0, None, SURVEY_STEP):
        try:
            sweep = recording.sweep(raw)
        except ScanError:  # reported when it is its turn
            continue
        if sweep.num_missing < len(sweep.points):
            sweeps.append(sweep)
        if len(sweeps) == MAX_SWEEPS:
            break
    path = recording.path
    reading = survey_stamped(path, sweeps, setup)
    interpreted = []
    for sweep in sweeps:
        with suppress(ScanError):
            interpreted.append(rigid_points(interpret_sweep(path, sweep, setup, reading), reading))
    return RecordingSurvey(reading, find_own_vehicle(interpreted))


def survey_stamped(
    path: Path, sweeps: Iterable[StampedSweep], setup: SensorSetup
) -> Reading | None:
    """Decide from some sweeps of a sensor how all are read; None without any.

    Args:
        path: Their source, for messages.
        sweeps: Sweeps with points.
        setup: What is known about the sensor; taken as given.
    """
    clouds = ((name_of(path, one.stamp_ns), stored_points(one).values) for one in sweeps)
    return survey_points(clouds, setup)


def name_of(recording: Path, stamp_ns: int) -> Path:
    """Return the name of a sweep in messages."""
    return Path(f"{recording} at {stamp_text(stamp_ns)}")


def stored_points(sweep: StampedSweep) -> StoredPoints:
    """Return a copy of a sweep's points in which missing returns are NaN."""
    values = sweep.points.copy() if sweep.has_intensity else sweep.points[:, :3].copy()
    if sweep.num_missing:
        values[sweep.is_missing, :3] = np.nan
    return StoredPoints(values)


def interpret_sweep(
    path: Path, sweep: StampedSweep, setup: SensorSetup, reading: Reading | None
) -> Sweep:
    """Transform a sweep of a recording into the sensor frame.

    Missing returns become NaN, which is outside every grid. A sweep without any return is not an
    error, because a sensor may see nothing.

    Args:
        path: The recording.
        sweep: The sweep.
        setup: What is known about the sensor.
        reading: How the sweeps of the recording are read; see `survey_recording`.

    Raises:
        ScanError: Its coordinates are not in metres.
    """
    stored = stored_points(sweep)
    if sweep.num_missing == len(sweep.points):
        points = np.full((len(sweep.points), 4), np.nan, np.float32)
        points[:, 3] = 0
        axes, level_deg = (reading.axes, reading.level_deg) if reading else ("flu", (0.0, 0.0))
        origin_m = setup.origin_m or (0.0, 0.0, 0.0)
        return Sweep(points, points[:, :3], axes, origin_m, (NO_RETURNS,), level_deg)
    name = name_of(path, sweep.stamp_ns)
    given = reading.given if reading else setup
    read = interpret_points(name, stored, given, reading)
    return replace(read, notices=(*read.notices, *sweep.notices)) if sweep.notices else read


def rigid_points(sweep: Sweep, reading: Reading | None) -> NDArray[np.float32]:
    """Return the points of a sweep in a frame that does not move against the sensor.

    The network's frame does: on a hill, a sweep is levelled more than the others, and the ground is
    shifted to a given height.

    Args:
        sweep: The sweep.
        reading: How the sweeps of the recording are read.

    Returns:
        (N, 3 or 4) float32 metres.
    """
    origin_m = (reading.given.origin_m if reading else None) or (0.0, 0.0, 0.0)
    level_deg = reading.level_deg if reading else sweep.level_deg
    shift_m = float(np.linalg.norm(np.subtract(sweep.origin_m, origin_m)))
    if (sweep.level_deg == level_deg and not shift_m) or shift_m > MAX_SHIFT_M:
        return sweep.points
    rotation = sensor_rotation(sweep.axes, level_deg)
    turn = rotation @ sensor_rotation(sweep.axes, sweep.level_deg).T
    shift = rotation @ np.subtract(sweep.origin_m, origin_m)
    points: NDArray[np.float32] = sweep.points[:, :3] @ turn.T.astype(np.float32)
    return points + shift.astype(np.float32)
