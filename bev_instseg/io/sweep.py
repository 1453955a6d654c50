"""Read a sweep of any format in the sensor frame, and report what was assumed about it."""

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bev_instseg.exceptions import ScanError
from bev_instseg.grid import MAX_RANGE_M, BEVGrid
from bev_instseg.io.formats import StoredPoints, read_stored_points
from bev_instseg.io.infer_frame import GROUND_RADIUS_M, infer_ground_m, is_near, sample_points
from bev_instseg.io.intensity import MISSING, is_of_scale_1
from bev_instseg.io.sensor_setup import SensorSetup, sensor_rotation
from bev_instseg.io.survey import Reading, decide, follow_hill, gather_evidence, origin_of
from bev_instseg.io.units import BLURRED_M, check_cartesian, check_resolution, check_units
from bev_instseg.ops.kernel import kernel

USUAL_HEIGHT_M = 1.7  # of a sensor on a car's roof
MAX_CLIPPED_SHARE = 0.001  # of the intensities; if more are clipped, a notice says so
MUCH_LARGER = 100.0  # than intensities of 0..1
NEAR_M, MAX_NEAR = 50.0, 800_000  # no sensor measures more points this near in a sweep
DENSE = (
    f"more points within {NEAR_M:g} m than any sensor measures in a sweep: the network was trained "
    "on single sweeps, and misses objects in maps or several sweeps together"
)
NO_INTENSITY = "no intensity: set to 0"
NO_GROUND = (
    f"no point within {GROUND_RADIUS_M:g} m of the sensor shows the height of the ground: z is not "
    "shifted"
)


@dataclass(frozen=True, eq=False)
class Sweep:
    """The points of a sweep, in the file's order.

    Attributes:
        points: (N, 4) float32 in the sensor frame: x forward, y left, z up in metres and intensity
            0..1. The coordinates are ``sensor_rotation(axes, level_deg) @ (xyz - origin_m)``.
        xyz: (N, 3) float32 or float64 coordinates as in the file; may share memory with ``points``.
        axes: Directions of the file's x, y and z; see `SensorSetup`.
        origin_m: Origin of the sensor frame in the file's coordinates.
        notices: What was recognised or assumed, one line each, worded the same for every file.
        level_deg: Pitch and roll by which the sweep was levelled, degrees.
    """

    points: NDArray[np.float32]
    xyz: NDArray[np.floating]
    axes: str
    origin_m: tuple[float, float, float]
    notices: tuple[str, ...]
    level_deg: tuple[float, float] = (0.0, 0.0)


def read_sweep(
    path: str | Path, setup: SensorSetup | None = None, reading: Reading | None = None
) -> Sweep:
    """Read a sweep and transform it into the sensor frame.

    All points are kept in order, including NaN and infinite ones and those beyond any sensor's
    range: these are outside every grid, and labels are written for each point of the file. An empty
    ``.bin`` is a sweep without points.

    - The sensor's position, axes, tilt and height follow `SensorSetup`.
    - Intensities of 0..1, 0..255, 0..4095 and 0..65535 become 0..1; see `judge_intensity`. What is
      still out of range is clipped. NaN, infinity and values that stand for missing ones, such as
      -9999 and 1e30, become 0. If the file has no intensities or they hold no information, all
      become 0.

    Args:
        path: A ``.bin``, ``.npy``, ``.npz``, ``.pcd``, ``.ply``, ``.las`` or ``.laz`` file.
        setup: What is known about the sensor; nothing by default.
        reading: What the sweeps of the same recording have in common, see `survey_sweeps`; it
            takes the place of ``setup``. If None, this sweep decides alone.

    Returns:
        The sweep, and what was assumed about its file.

    Raises:
        ScanError: The file is missing, unreadable or cut short, its content is of a different
            format, or its coordinates are not in metres.
    """
    given = reading.given if reading else setup or SensorSetup()
    return interpret_points(path, read_stored_points(path, given.format), given, reading)


def interpret_points(
    path: str | Path, stored: StoredPoints, given: SensorSetup, reading: Reading | None
) -> Sweep:
    """Transform points that have been read into the sensor frame; see `read_sweep`.

    Args:
        path: Where they come from, for messages.
        stored: The points; the array may be changed.
        given: What is known about the sensor.
        reading: What the sweeps of the same recording have in common; if None, this sweep decides
            alone.

    Returns:
        The sweep, and what was assumed about it.

    Raises:
        ScanError: Its coordinates are not x, y, z in metres or too coarse, or no point is a return.
    """
    values, notices = stored
    sample = sample_points(values)
    check_cartesian(path, sample[:, :3])
    origin_m, place_notices = origin_of(sample, values, given)
    xyz = sample[:, :3] - origin_m
    if reading is None:
        reading = decide([gather_evidence(Path(path), sample, origin_m, given)], given)
        level_deg, level_notices = reading.level_deg, tuple[str, ...]()
    else:
        level_deg, level_notices = follow_hill(xyz, reading)
    rotation = sensor_rotation(reading.axes, level_deg)
    xyz = xyz @ rotation.T
    rise_m, height_notices = _rise_m(xyz, given.height_m)
    origin_m += rise_m * rotation[2]
    if values.dtype == np.float32 and np.spacing(np.float32(np.abs(origin_m).max())) > BLURRED_M:
        raise ScanError(
            f"{path}: float32 is too coarse this far from the origin; subtract an offset before "
            "writing the points, or write float64 (.npy, .ply, .las)"
        )
    points = _to_sensor_frame(values, rotation, origin_m)
    tidy_notices = _tidy(path, values, points, xyz, reading.intensity_max)
    tidy_notices += check_resolution(path, sample[:, :3])
    if values.shape[1] == 3:
        notices += (NO_INTENSITY,)
    notices += reading.notices + place_notices + level_notices + height_notices + tidy_notices
    notices = tuple(dict.fromkeys(notices))  # the survey may have reported the columns, too
    x_m, y_m, z_m = origin_m.tolist()
    return Sweep(points, values[:, :3], reading.axes, (x_m, y_m, z_m), notices, level_deg)


def read_scan(path: str | Path, reading: Reading | None = None) -> NDArray[np.float32]:
    """Read the points of a sweep of any format; see `read_sweep`.

    What was assumed about the file is issued as warnings. Python shows each of them once, however
    many files are read.

    Args:
        path: A ``.bin``, ``.npy``, ``.npz``, ``.pcd``, ``.ply``, ``.las`` or ``.laz`` file.
        reading: What the sweeps of the same recording have in common; see `survey_sweeps`.

    Returns:
        (N, 4) float32 x forward, y left, z up in metres and intensity 0..1, in the file's order.

    Raises:
        ScanError: The file cannot be used; see `read_sweep`.
    """
    sweep = read_sweep(path, reading=reading)
    for notice in sweep.notices:
        warnings.warn(notice, stacklevel=2)
    return sweep.points


def stem_of(path: str | Path) -> str:
    """Return the name of a sweep's file without its suffix, which may be ``.pcd.bin``."""
    path = Path(path)
    return path.name[:-8] if path.name.lower().endswith(".pcd.bin") else path.stem


def _rise_m(xyz: NDArray[np.float64], height_m: float | None) -> tuple[float, tuple[str, ...]]:
    """Return how far the origin must rise for the ground to be at the right height, and why."""
    notices: tuple[str, ...] = ()
    low_m, high_m = BEVGrid.z_range_m
    num_outside = np.count_nonzero((xyz[:, 2] < low_m) | (xyz[:, 2] >= high_m))
    if height_m is None and num_outside > len(xyz) / 2:
        height_m = USUAL_HEIGHT_M
        notices = (
            f"heights outside {low_m:g}..{high_m:g} m: shifted the ground to z = -{height_m} m",
        )
    if height_m is None or not len(xyz):
        return 0.0, ()
    if not is_near(xyz).any():
        return 0.0, (NO_GROUND,)
    return round(infer_ground_m(xyz) + height_m, 2), notices


def _to_sensor_frame(
    values: NDArray[np.floating], rotation: NDArray[np.float64], origin_m: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Return (N, 4) points from a file's (N, 3 or 4) values; the same memory if nothing changes.

    Missing returns, which are all 0 in files, must not move with the others: they become NaN.
    """
    unchanged = np.array_equal(rotation, np.eye(3)) and not origin_m.any()
    if unchanged and values.dtype == np.float32 and values.shape[1] == 4:
        return np.ascontiguousarray(values, np.float32)
    points = np.zeros((len(values), 4), np.float32)
    points[:, 3 : values.shape[1]] = values[:, 3:]
    with np.errstate(over="ignore", invalid="ignore"):  # overflow to infinity, infinity minus x
        if np.count_nonzero(rotation) > 3:
            points[:, :3] = (values[:, :3] - origin_m) @ rotation.T
        else:
            for i, row in enumerate(rotation):  # no sums: infinity times 0 is NaN
                (j,) = np.flatnonzero(row)
                points[:, i] = row[j] * (values[:, j] - origin_m[j])
    if origin_m.any():
        points[(values[:, :3] == 0).all(axis=1), :3] = np.nan
    return points


def _tidy(
    path: str | Path,
    values: NDArray[np.floating],
    points: NDArray[np.float32],
    xyz: NDArray[np.float64],
    full: float,
) -> tuple[str, ...]:
    """Bring the intensities to 0..1, in place, and check that the coordinates are plausible.

    Args:
        path: The file, for messages.
        values: (N, 3 or 4) its content.
        points: (N, 4) points.
        xyz: (n, 3) some of them.
        full: Value of full intensity.

    Returns:
        What is out of range, and how much.

    Raises:
        ScanError: The coordinates are not in metres, or there are none.
    """
    is_usual = _is_usual(points, np.float32(MAX_RANGE_M))
    notices = [] if is_usual and full == 1 else _tidy_intensity(points, full)
    num_possible, num_far = (len(points), 0) if is_usual else _count_far(values, points)
    if len(points) and not len(xyz) and not num_far and not _has_returns(values):
        raise ScanError(f"{path}: every point is a missing return (zero, NaN or infinite)")
    notices += check_units(path, xyz, num_possible, num_far)
    if num_far:
        notices.append(f"{num_far} of {len(points)} points are over 9 km away: they get no label")
    if _count_near(points) > MAX_NEAR:
        notices.append(DENSE)
    return tuple(notices)


@kernel
def _is_usual(points, max_range):  # type: ignore[no-untyped-def]
    """Return whether all coordinates of (N, 4) points are plausible, all intensities in 0..1."""
    flat = points.reshape(-1)
    num_odd = 0
    for i in range(len(points)):
        x, y, z, intensity = flat[4 * i], flat[4 * i + 1], flat[4 * i + 2], flat[4 * i + 3]
        near = (abs(x) < max_range) & (abs(y) < max_range) & (abs(z) < max_range)
        num_odd += not (near & (intensity >= 0) & (intensity <= 1))  # true for NaN
    return num_odd == 0


def _tidy_intensity(points: NDArray[np.float32], full: float) -> list[str]:
    """Bring the intensities to 0..1, in place, and return what is out of range, and how much."""
    notices = []
    num_clipped = num_missing = 0
    if full >= MUCH_LARGER and is_of_scale_1(points[:, 3]):
        notices.append(f"intensities of 0..1, but read as 0..{full:g}; --intensity sets the scale")
    if full:
        low, high = np.float32(MISSING[0]), np.float32(max(MISSING[1], 2 * full))
        num_clipped, num_missing = _scale_intensity(points, np.float32(full), low, high)
    else:
        points[:, 3] = 0
    if num_missing > MAX_CLIPPED_SHARE * len(points):
        notices.append(f"{num_missing / len(points):.1%} of the intensities are missing: set to 0")
    if num_clipped > MAX_CLIPPED_SHARE * len(points):
        share = num_clipped / len(points)
        notices.append(f"{share:.1%} of the intensities are outside 0..{full:g}: clipped")
    return notices


def _count_far(values: NDArray[np.floating], points: NDArray[np.float32]) -> tuple[int, int]:
    """Return how many points a sensor could see, and how many are beyond any sensor's range."""
    if not len(points) or -MAX_RANGE_M < points.min() <= points.max() < MAX_RANGE_M:  # not NaN
        return len(points), 0
    size_m = np.abs(points[:, :3]).max(axis=1)
    size_m[(values[:, :3] == 0).all(axis=1)] = np.inf  # missing returns
    num_far = np.count_nonzero((size_m >= MAX_RANGE_M) & (size_m < np.inf))
    return int(np.count_nonzero(size_m < MAX_RANGE_M)), int(num_far)


def _count_near(points: NDArray[np.float32]) -> int:
    """Return the number of points within `NEAR_M`, or an upper limit if that is plausible."""
    if len(points) <= MAX_NEAR:
        return len(points)
    return int(np.count_nonzero(np.hypot(points[:, 0], points[:, 1], dtype=np.float64) < NEAR_M))


def _has_returns(values: NDArray[np.floating]) -> bool:
    finite = np.isfinite(values[:, :3]).all(axis=1)
    return bool((finite & (values[:, :3] != 0).any(axis=1)).any())


@kernel
def _scale_intensity(points, full, low, high):  # type: ignore[no-untyped-def]
    """Divide intensities by full intensity and clip them to 0..1; missing ones become 0.

    Args:
        points: (N, 4) float32, changed in place.
        full: float32 value of full intensity, not 0.
        low: float32; intensities up to this stand for missing ones,
        high: float32; and so do those from this on, and NaN.

    Returns:
        Number of intensities that were clipped, and of those that are missing but finite.
    """
    num_clipped, num_missing = 0, 0
    zero, one = np.float32(0), np.float32(1)
    for i in range(len(points)):
        stored = points[i, 3]
        if full == one and zero <= stored <= one:
            continue
        known = low < stored < high
        value = stored / full if known else zero
        clipped = min(max(value, zero), one)
        num_clipped += clipped != value
        num_missing += not known and np.isfinite(stored)
        points[i, 3] = clipped
    return num_clipped, num_missing
