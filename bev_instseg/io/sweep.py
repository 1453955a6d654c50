"""Read a sweep of any format in the sensor frame, and report what was assumed about it."""

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bev_instseg.exceptions import ScanError
from bev_instseg.grid import BEVGrid
from bev_instseg.io.formats import MAX_FAR_SHARE, MAX_RANGE_M, read_stored_points
from bev_instseg.io.infer_frame import infer_axes, infer_ground_m, infer_origin_m, sample_points
from bev_instseg.io.sensor_setup import SensorSetup, axes_rotation
from bev_instseg.ops.kernel import kernel

SCALES = (1, 255, 65535)  # possible values of full intensity
MAX_EXCESS = 1.5  # intensities beyond this many times a scale do not fit it
MAX_OUTLIER_SHARE = 0.001  # this share of intensities may not fit the scale
USUAL_HEIGHT_M = 1.7  # of a sensor on a car's roof
MAX_STEP_M = 0.05  # with coarser coordinates, objects on the road blur


@dataclass(frozen=True, eq=False)
class Sweep:
    """The points of a sweep, in the file's order.

    Attributes:
        points: (N, 4) float32 in the sensor frame: x forward, y left, z up in metres and intensity
            0..1. The coordinates are ``axes_rotation(axes) @ (xyz - origin_m)``.
        xyz: (N, 3) float32 or float64 coordinates as in the file; may share memory with ``points``.
        axes: Directions of the file's x, y and z; see `SensorSetup`.
        origin_m: Origin of the sensor frame in the file's coordinates.
        notices: What was recognised or assumed, one line each, worded the same for every file.
    """

    points: NDArray[np.float32]
    xyz: NDArray[np.floating]
    axes: str
    origin_m: tuple[float, float, float]
    notices: tuple[str, ...]


def read_sweep(path: str | Path, setup: SensorSetup | None = None) -> Sweep:
    """Read a sweep and transform it into the sensor frame.

    All points are kept in order, NaN and infinite ones too: they are outside every grid, and labels
    are written for each point of the file. An empty ``.bin`` is a sweep without points.

    - If hardly any point is within 60 m of the origin, the coordinates are shifted by their median,
      rounded to whole metres, before they become float32.
    - Axes and height follow `SensorSetup`.
    - Intensities of 0..1, 0..255 and 0..65535 become 0..1. The scale is the smallest that at most
      one intensity in a thousand exceeds by half. What is still out of range is clipped, NaN and
      infinity become 0, and so do all intensities if the file has none.

    Args:
        path: A ``.bin``, ``.npy``, ``.pcd``, ``.ply``, ``.las`` or ``.laz`` file.
        setup: What is known about the sensor; nothing by default.

    Returns:
        The sweep, and what was assumed about its file.

    Raises:
        ScanError: The file is missing, unreadable or cut short, its content is of a different
            format, or its coordinates are not in metres.
    """
    setup = setup or SensorSetup()
    values, notices = read_stored_points(path, setup.format)
    sample = sample_points(values[:, :3])
    axes, origin_m, frame_notices = _infer_frame(sample, setup)
    _check_plausible(path, values.dtype, sample, origin_m)
    points = _to_sensor_frame(values, axes, origin_m)
    scale = _intensity_scale(points[:, 3])
    _to_unit_intensity(points, np.float32(scale))
    if scale > 1:
        notices += (f"intensity 0..{scale}: divided by {scale}",)
    if values.shape[1] == 3:
        notices += ("no intensity: set to 0",)
    x_m, y_m, z_m = origin_m.tolist()
    return Sweep(points, values[:, :3], axes, (x_m, y_m, z_m), notices + frame_notices)


def read_scan(path: str | Path) -> NDArray[np.float32]:
    """Read the points of a sweep of any format; see `read_sweep`.

    What was assumed about the file is issued as warnings. Python shows each of them once, however
    many files are read.

    Args:
        path: A ``.bin``, ``.npy``, ``.pcd``, ``.ply``, ``.las`` or ``.laz`` file.

    Returns:
        (N, 4) float32 x forward, y left, z up in metres and intensity 0..1, in the file's order.

    Raises:
        ScanError: The file cannot be used; see `read_sweep`.
    """
    sweep = read_sweep(path)
    for notice in sweep.notices:
        warnings.warn(notice, stacklevel=2)
    return sweep.points


def stem_of(path: str | Path) -> str:
    """Return the name of a sweep's file without its suffix, which may be ``.pcd.bin``."""
    path = Path(path)
    return path.name[:-8] if path.name.lower().endswith(".pcd.bin") else path.stem


def _infer_frame(
    sample: NDArray[np.float64], setup: SensorSetup
) -> tuple[str, NDArray[np.float64], tuple[str, ...]]:
    """Return the file's axes, the sensor frame's origin in the file, and what was assumed."""
    axes, notices = setup.axes, list[str]()
    origin_m = infer_origin_m(sample)
    if origin_m.any():
        notices.append("coordinates far from the origin: shifted by their median")
        sample = sample - origin_m
    if axes == "auto":
        axes = infer_axes(sample)
        if axes != "flu":
            notices.append(f"z does not point up: assumed axes {axes}")
    rotation = axes_rotation(axes)
    sample = sample @ rotation.T
    low_m, high_m = BEVGrid.z_range_m
    height_m = setup.height_m
    num_outside = np.count_nonzero((sample[:, 2] < low_m) | (sample[:, 2] >= high_m))
    if height_m is None and num_outside > len(sample) / 2:
        height_m = USUAL_HEIGHT_M
        notices.append(
            f"heights outside {low_m:g}..{high_m:g} m: shifted the ground to z = -{height_m} m"
        )
    if height_m is not None:
        origin_m += round(infer_ground_m(sample) + height_m, 2) * rotation[2]
    return axes, origin_m, tuple(notices)


def _check_plausible(
    path: str | Path, dtype: np.dtype, sample: NDArray[np.float64], origin_m: NDArray[np.float64]
) -> None:
    """Raise ScanError if the coordinates are not in metres or too coarse for a sweep."""
    num_far = np.count_nonzero(np.abs(sample - origin_m) > MAX_RANGE_M)
    if num_far > MAX_FAR_SHARE * sample.size:
        raise ScanError(
            f"{path}: {num_far / sample.size:.0%} of the coordinates are more than 10 km away; the "
            "file does not hold x, y, z in metres (.bin: float32 x, y, z, intensity): convert it"
        )
    if dtype == np.float32 and np.spacing(np.float32(np.abs(origin_m).max())) > MAX_STEP_M:
        raise ScanError(
            f"{path}: float32 is too coarse this far from the origin; subtract an offset before "
            "writing the points, or write float64 (.npy, .ply, .las)"
        )


def _to_sensor_frame(
    values: NDArray[np.floating], axes: str, origin_m: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Return (N, 4) points from a file's (N, 3 or 4) values; the same memory if nothing changes."""
    if axes == "flu" and values.dtype == np.float32 and values.shape[1] == 4 and not origin_m.any():
        return np.ascontiguousarray(values, np.float32)
    points = np.zeros((len(values), 4), np.float32)
    points[:, 3 : values.shape[1]] = values[:, 3:]
    with np.errstate(over="ignore", invalid="ignore"):  # overflow to infinity, infinity minus x
        for i, row in enumerate(axes_rotation(axes)):
            (j,) = np.flatnonzero(row)
            points[:, i] = row[j] * (values[:, j] - origin_m[j])
    return points


def _intensity_scale(intensity: NDArray[np.float32]) -> int:
    """Return the smallest of `SCALES` that the intensities fit, or the largest."""
    max_outliers = MAX_OUTLIER_SHARE * len(intensity)
    for scale in SCALES[:-1]:
        over = intensity > MAX_EXCESS * scale
        if (
            np.count_nonzero(over) <= max_outliers
            or np.count_nonzero(over & (intensity < np.inf)) <= max_outliers
        ):
            return scale
    return SCALES[-1]


@kernel
def _to_unit_intensity(points, full):  # type: ignore[no-untyped-def]
    """Divide intensities by full scale and clip them to 0..1; NaN and infinity become 0.

    Args:
        points: (N, 4) float32, changed in place.
        full: float32 value of full intensity.
    """
    for i in range(len(points)):
        value = points[i, 3] / full if np.isfinite(points[i, 3]) else np.float32(0)
        points[i, 3] = min(max(value, np.float32(0)), np.float32(1))
