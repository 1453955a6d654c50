"""KITTI ``.bin`` sweeps and SemanticKITTI ``.label`` files, read with suspicion and written whole.

A wrong format rarely fails by itself: a float64 file or one with five floats a point reads as
plausible points. Such files are refused here, with the reason and the remedy in one line.
"""

import os
import secrets
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bev_instseg.ops.compile import kernel

POINT_BYTES = 16  # float32 x, y, z, intensity
FIVE_FLOATS_BYTES = 20  # nuScenes: x, y, z, intensity, ring
FAR_M = 1e4  # no LiDAR sees this far
OUTLIER_SHARE = 0.001  # so few intensities beyond 1 do not change what the others mean
FAR_SHARE = 0.01  # of the numbers; a file with more beyond FAR_M is no sweep in metres


class ScanError(ValueError):
    """A sweep or label file that cannot be used; the message is one line and names the file."""


def read_scan(path: str | Path) -> NDArray[np.float32]:
    """Read a KITTI sweep: little-endian float32 x, y, z (metres, sensor frame) and intensity.

    Intensities of 0..255 (more than a thousandth lie above 1.5) are divided by 255; what then lies
    outside 0..1 is clipped and what is not finite becomes 0. NaN and infinite coordinates are
    kept: they lie outside every grid, and the output stays as long as the file. An empty file is a
    sweep of no points.

    Returns:
        (N, 4) float32 x, y, z in metres and intensity 0..1.

    Raises:
        ScanError: missing or unreadable file, a size that is no whole number of points, or
            content that looks like another format (float64, five floats a point, no metres).
    """
    data = _read(path, "sweep")
    if _has_rings(data):
        raise ScanError(
            f"{path}: looks like nuScenes with 5 floats a point (x, y, z, intensity, ring); keep "
            "the first four: "
            "np.fromfile(path, np.float32).reshape(-1, 5)[:, :4].tofile(new_path)"
        )
    if over := len(data) % POINT_BYTES:
        five = len(data) % FIVE_FLOATS_BYTES == 0
        raise ScanError(
            f"{path}: {len(data)} bytes are {over} bytes over a whole number of points "
            f"({POINT_BYTES} bytes: float32 x, y, z, intensity); the file is cut short or has "
            f"{'5 floats a point, as in nuScenes' if five else 'another format'}: "
            "copy it again or convert it"
        )
    points = np.frombuffer(data, "<f4").reshape(-1, 4).astype(np.float32)
    far, strange, bright = _survey(points)
    _refuse_implausible(path, data, far, strange)
    _to_unit_intensity(points, np.float32(255 if bright > OUTLIER_SHARE * len(points) else 1))
    return points


def read_labels(path: str | Path, num_points: int) -> NDArray[np.uint32]:
    """Read a SemanticKITTI ``.label`` file: class in the low, instance in the high 16 bits.

    Args:
        path: the file.
        num_points: points of the sweep it belongs to.

    Returns:
        (num_points,) uint32.

    Raises:
        ScanError: missing or unreadable file, or not four bytes for each point.
    """
    data = _read(path, "labels")
    if len(data) != 4 * num_points:
        raise ScanError(
            f"{path}: {len(data)} bytes for a sweep of {num_points} points, which needs "
            f"{4 * num_points} (one uint32 a point); take the file that belongs to this sweep"
        )
    return np.frombuffer(data, "<u4").astype(np.uint32)


def write_labels(path: str | Path, labels: NDArray[np.uint32]) -> None:
    """Write (N,) uint32 labels as `read_labels` reads them.

    Raises:
        ValueError: if the array is not one-dimensional uint32.
        OSError: if the file cannot be written; an older one is then untouched.
    """
    if labels.dtype != np.uint32 or labels.ndim != 1:
        raise ValueError(f"labels must be uint32 of shape (N,), got {labels.dtype} {labels.shape}")
    write_atomic(path, labels.astype("<u4").tobytes())


def write_atomic(path: str | Path, data: bytes) -> None:
    """Write a file whole or not at all: temporary file in its folder, fsync, rename.

    Raises:
        OSError: naming ``path``; an older file is then untouched and nothing is left behind.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def _read(path: str | Path, what: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise ScanError(f"{path}: no such {what} file; check the path") from None
    except OSError as error:
        raise ScanError(
            f"{path}: cannot read the {what}: {error.strerror}; check that it is a readable file"
        ) from None


@kernel
def _survey(points):  # type: ignore[no-untyped-def]
    """Counts over (N, 4) points: far coordinates, far or NaN numbers, intensities beyond 1."""
    far, strange, bright = 0, 0, 0
    for i in range(len(points)):
        for k in range(4):
            size = abs(points[i, k])
            is_far = (size > FAR_M) & (size < np.inf)
            far += is_far & (k < 3)
            strange += is_far | np.isnan(size)
        bright += (points[i, 3] > 1.5) & (points[i, 3] < np.inf)
    return far, strange, bright


@kernel
def _to_unit_intensity(points, full):  # type: ignore[no-untyped-def]
    """In place: intensities divided by what is full, clipped to 0..1; 0 for what is not finite."""
    for i in range(len(points)):
        value = points[i, 3] / full if np.isfinite(points[i, 3]) else np.float32(0)
        points[i, 3] = min(max(value, np.float32(0)), np.float32(1))


@np.errstate(invalid="ignore")
def _has_rings(data: bytes) -> bool:
    """Whether every fifth float is a whole number 0..255, while the first of five is not."""
    if len(data) % FIVE_FLOATS_BYTES:
        return False
    columns = np.frombuffer(data, "<f4").reshape(-1, 5).T
    if not np.isin(columns[4, :100], np.arange(256)).all():  # nearly always; all of them take long
        return False
    rings, fractions = columns[4], columns[0] != np.rint(columns[0])
    return bool(rings.any() and np.isin(rings, np.arange(256)).all() and fractions.any())


@np.errstate(invalid="ignore")
def _refuse_implausible(path: str | Path, data: bytes, far: int, strange: int) -> None:
    """Raise ScanError if the bytes make more sense as something else than (N, 4) float32.

    Args:
        path, data: the file.
        far, strange: see `_survey`.
    """
    num_points = len(data) // POINT_BYTES
    if len(data) % 32 == 0 and strange > FAR_SHARE * 4 * num_points:
        *xyz, intensity = np.frombuffer(data, "<f8").reshape(-1, 4).T
        if np.all(np.abs(xyz) < 300) and np.all((intensity >= 0) & (intensity <= 255)):
            raise ScanError(
                f"{path}: looks like float64, KITTI sweeps are float32; convert it with "
                "np.fromfile(path, np.float64).astype(np.float32).tofile(new_path)"
            )
    if far > FAR_SHARE * 3 * num_points:
        raise ScanError(
            f"{path}: {far / (3 * num_points):.0%} of the coordinates are more than 10 km away; "
            "the file does not hold float32 x, y, z in metres and intensity: convert it"
        )
