"""A sweep of any format in the sensor frame, and what had to be assumed for it."""

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bev_instseg.exceptions import ScanError
from bev_instseg.grid import BEVGrid
from bev_instseg.io.formats import FAR_M, FAR_SHARE, read_table
from bev_instseg.io.infer_frame import find_axes, find_ground_m, find_origin_m, sample
from bev_instseg.io.sensor_setup import SensorSetup, axes_rotation
from bev_instseg.ops.kernel import kernel

SCALES = (1, 255, 65535)  # what full intensity may be
EXCESS = 1.5  # an intensity beyond so many times a scale does not fit it
OUTLIER_SHARE = 0.001  # so few intensities that do not fit change nothing
USUAL_HEIGHT_M = 1.7  # of a sensor on a car's roof
COARSE_M = 0.05  # coordinates in steps this wide blur what stands on the road


@dataclass(frozen=True, eq=False)
class Sweep:
    """A sweep, point for point in the file's order.

    Attributes:
        points: (N, 4) float32 in the sensor frame: x forward, y left, z up in metres and
            intensity 0..1. The coordinates are ``turn(axes) @ (xyz - origin_m)``.
        xyz: (N, 3) float32 or float64 coordinates as in the file; may share memory with ``points``.
        axes: where the file's x, y and z point; see `SensorSetup`.
        origin_m: the sensor's place in the file's coordinates, as far as it is known.
        notices: what was recognised or assumed, a line each, in the same words for every file.
    """

    points: NDArray[np.float32]
    xyz: NDArray[np.floating]
    axes: str
    origin_m: tuple[float, float, float]
    notices: tuple[str, ...]


def read_sweep(path: str | Path, setup: SensorSetup | None = None) -> Sweep:
    """Read a sweep and bring it into the sensor frame.

    Points keep their number and order, NaN and infinite ones among them: they lie outside every
    grid, and labels go back to the file point by point. An empty ``.bin`` is a sweep of no points.

    - Coordinates with hardly a point within 60 m of their origin are moved by their median,
      rounded to whole metres, before they become float32.
    - Axes and height: see `SensorSetup`.
    - Intensities of 0..1, 0..255 and 0..65535 become 0..1: the scale is the smallest that no more
      than a thousandth of them exceeds by half. What then lies outside is clipped, what is not
      finite becomes 0, and so do all if the file has none.

    Args:
        path: a file with one of `SUFFIXES`.
        mounting: what is known of the sensor; nothing by default.

    Raises:
        ScanError: missing or unreadable file, content that is cut short or another format's, or
            coordinates that are no metres.
    """
    setup = setup or SensorSetup()
    values, notices = read_table(path, setup.format)
    some = sample(values[:, :3])
    axes, origin_m, assumed = _place(some, setup)
    _refuse_implausible(path, values.dtype, some, origin_m)
    points = _in_sensor_frame(values, axes, origin_m)
    scale = _intensity_scale(points[:, 3])
    _to_unit_intensity(points, np.float32(scale))
    if scale > 1:
        notices += (f"intensity 0..{scale}: divided by {scale}",)
    if values.shape[1] == 3:
        notices += ("no intensity: taken as 0",)
    x_m, y_m, z_m = origin_m.tolist()
    return Sweep(points, values[:, :3], axes, (x_m, y_m, z_m), notices + assumed)


def read_scan(path: str | Path) -> NDArray[np.float32]:
    """Read a sweep of any format: the points of `read_sweep`.

    Its notices are given as warnings, which Python shows once each, however many files there are.

    Returns:
        (N, 4) float32 x forward, y left, z up in metres and intensity 0..1, in the file's order.

    Raises:
        ScanError: a file that cannot be used; see `read_sweep`.
    """
    sweep = read_sweep(path)
    for notice in sweep.notices:
        warnings.warn(notice, stacklevel=2)
    return sweep.points


def stem_of(path: str | Path) -> str:
    """The name of a sweep's file without its suffix, ``.pcd.bin`` taken as one."""
    path = Path(path)
    return path.name[:-8] if path.name.lower().endswith(".pcd.bin") else path.stem


def _place(
    some: NDArray[np.float64], setup: SensorSetup
) -> tuple[str, NDArray[np.float64], tuple[str, ...]]:
    """Axes of the file, the sensor's place in its coordinates, and what was assumed for that."""
    axes, notices = setup.axes, list[str]()
    origin_m = find_origin_m(some)
    if origin_m.any():
        notices.append("coordinates far from the origin: moved to where the points are")
        some = some - origin_m
    if axes == "auto":
        axes = find_axes(some)
        if axes != "flu":
            notices.append(f"z does not point up: axes taken as {axes}")
    to_sensor = axes_rotation(axes)
    some = some @ to_sensor.T
    low, high = BEVGrid.z_range_m
    height_m = setup.height_m
    outside = np.count_nonzero((some[:, 2] < low) | (some[:, 2] >= high))
    if height_m is None and outside > len(some) / 2:
        height_m = USUAL_HEIGHT_M
        notices.append(f"heights outside {low:g}..{high:g} m: ground moved to z = -{height_m} m")
    if height_m is not None:
        origin_m += round(find_ground_m(some) + height_m, 2) * to_sensor[2]
    return axes, origin_m, tuple(notices)


def _refuse_implausible(
    path: str | Path, dtype: np.dtype, some: NDArray[np.float64], origin_m: NDArray[np.float64]
) -> None:
    """Raise ScanError if the coordinates are no metres, or too coarse to be a sweep."""
    far = np.count_nonzero(np.abs(some - origin_m) > FAR_M)
    if far > FAR_SHARE * some.size:
        raise ScanError(
            f"{path}: {far / some.size:.0%} of the coordinates are more than 10 km away; the file "
            "does not hold x, y, z in metres (.bin: float32 x, y, z, intensity): convert it"
        )
    if dtype == np.float32 and np.spacing(np.float32(np.abs(origin_m).max())) > COARSE_M:
        raise ScanError(
            f"{path}: float32 cannot tell points apart this far from the origin; subtract an "
            "origin before writing them, or write float64 (.npy, .ply, .las)"
        )


def _in_sensor_frame(
    values: NDArray[np.floating], axes: str, origin_m: NDArray[np.float64]
) -> NDArray[np.float32]:
    """(N, 4) points of the (N, 3 or 4) values of a file; the same memory where nothing changes."""
    if axes == "flu" and values.dtype == np.float32 and values.shape[1] == 4 and not origin_m.any():
        return np.ascontiguousarray(values, np.float32)
    points = np.zeros((len(values), 4), np.float32)
    points[:, 3 : values.shape[1]] = values[:, 3:]
    with np.errstate(over="ignore", invalid="ignore"):  # to infinity and NaN
        for i, row in enumerate(axes_rotation(axes)):
            (j,) = np.flatnonzero(row)
            points[:, i] = row[j] * (values[:, j] - origin_m[j])
    return points


def _intensity_scale(intensity: NDArray[np.float32]) -> int:
    """The smallest of `SCALES` that the intensities fit, or the largest."""
    for scale in SCALES[:-1]:
        over = intensity > EXCESS * scale
        few = OUTLIER_SHARE * len(intensity)
        if np.count_nonzero(over) <= few or np.count_nonzero(over & (intensity < np.inf)) <= few:
            return scale
    return SCALES[-1]


@kernel
def _to_unit_intensity(points, full):  # type: ignore[no-untyped-def]
    """In place: intensities divided by what is full, clipped to 0..1; 0 for what is not finite."""
    for i in range(len(points)):
        value = points[i, 3] / full if np.isfinite(points[i, 3]) else np.float32(0)
        points[i, 3] = min(max(value, np.float32(0)), np.float32(1))
