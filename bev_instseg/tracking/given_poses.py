"""The sensor's own motion where it is given: poses and times from files, brought to its frame."""

from pathlib import Path

import numpy as np

from bev_instseg.exceptions import ScanError
from bev_instseg.file_io import read_bytes
from bev_instseg.structures import Float64

CALIBRATION = "calib.txt"
MAX_CLIMB = 0.5  # largest vertical share of the motion of a sensor on the ground
MOVES_M = 1.0  # a sensor that never gets this far away stands still
GAP_S = (1e-3, 10.0)  # usual time between sweeps; beyond, the times are not in seconds


class GivenPoses:
    """Transforms given poses, which are for the files' coordinates, to the sensor frame.

    The world is the sensor frame of the first sweep.

    Attributes:
        to_world: (4, 4) from the common frame of the given poses to the world; None before `next`.
    """

    def __init__(self) -> None:
        """Begin a sequence."""
        self.to_world: Float64 | None = None

    def next(self, given: Float64, place: Float64) -> Float64:
        """Return the (4, 4) pose of a sweep; call it in order.

        Args:
            given: (4, 4) from the file's coordinates to a common frame.
            place: (4, 4) from the file's coordinates to the sensor frame; see `to_sensor`.
        """
        if self.to_world is None:
            self.to_world = place @ np.linalg.inv(given)
        pose: Float64 = self.to_world @ given @ np.linalg.inv(place)
        return pose


def read_poses(path: Path, sweeps: Path | None = None) -> tuple[Float64, tuple[str, ...]]:
    """Read a file of poses in KITTI's format: a row of 12 numbers, the upper 3 x 4, per sweep.

    If there is a ``calib.txt`` with a line ``Tr:`` next to it, as in SemanticKITTI, the poses are
    those of a camera, and ``Tr`` transforms from the sensor to the camera. In KITTI's odometry,
    ``calib.txt`` is with the sweeps instead; that file is used only if the sensor moves less
    vertically with it than without.

    Args:
        path: The file.
        sweeps: Folder of the sweeps.

    Returns:
        (M, 4, 4) float64 from the sensor frame to that of the first row, and what was assumed.

    Raises:
        ScanError: A file cannot be read, a row is not a pose, or ``Tr`` is none.
    """
    rows = _numbers(path, 12)
    poses = np.tile(np.eye(4), (len(rows), 1, 1))
    poses[:, :3] = rows.reshape(-1, 3, 4)
    for number, pose in enumerate(poses, 1):
        if not _is_orthonormal(pose[:3, :3]):
            raise ScanError(f"{path}: line {number} is not a pose: its 3 x 3 is not a rotation")
        if np.linalg.det(pose[:3, :3]) < 0:
            raise ScanError(
                f"{path}: line {number} is a mirror image: its axes are left-handed, as in some "
                "simulators; convert the poses to x forward, y left, z up"
            )
    poses[:, :3, :3] = _rotations(poses[:, :3, :3])
    own = path.with_name(CALIBRATION)
    others = () if sweeps is None else (sweeps / CALIBRATION, sweeps.parent / CALIBRATION)
    for file in (own, *others):
        to_camera = _to_camera(file)
        if to_camera is not None and not np.array_equal(to_camera, np.eye(4)):
            of_sensor = np.linalg.inv(to_camera) @ poses @ to_camera
            if file == own or _climb(of_sensor) < _climb(poses):
                return of_sensor, (f"poses of a camera, converted to the sensor with {file}",)
    if _climb(poses) > MAX_CLIMB:
        return poses, (
            f"{path}: the sensor moves more up or down than along the ground; if these are poses "
            f"of a camera, put its {CALIBRATION} with a line Tr: next to them",
        )
    return poses, ()


def _to_camera(path: Path) -> Float64 | None:
    """Return the (4, 4) transform ``Tr`` of a calibration; None without one."""
    if not path.is_file():
        return None
    for line in _lines(path):
        if line.startswith("Tr:"):
            to_camera = np.eye(4)
            to_camera[:3] = _parse(line[3:], 12, f"{path}: Tr").reshape(3, 4)
            if not _is_orthonormal(to_camera[:3, :3]) or np.linalg.det(to_camera[:3, :3]) < 0:
                raise ScanError(
                    f"{path}: Tr is not a rotation and a translation; copy the calibration again"
                )
            to_camera[:3, :3] = _rotations(to_camera[:3, :3])
            return to_camera
    return None


def _is_orthonormal(axes: Float64) -> bool:
    """Return whether the rows of a (3, 3) matrix have length 1 and are at right angles."""
    return np.allclose(axes @ axes.T, np.eye(3), atol=1e-2)


def _rotations(rounded: Float64) -> Float64:
    """Return the (..., 3, 3) rotations nearest to matrices that have been rounded."""
    left, _, right = np.linalg.svd(rounded)
    nearest: Float64 = left @ right
    return nearest


def _climb(poses: Float64) -> float:
    """Return the vertical share of the distances from the first pose; 0 if the sensor stands."""
    away_m = np.abs(poses[:, :3, 3] - poses[:1, :3, 3])
    if not len(poses) or away_m.max() < MOVES_M:
        return 0.0
    x, y, z = away_m.sum(axis=0)
    return float(z / (np.hypot(x, y) + z))


def read_times(path: Path) -> Float64:
    """Read a file with a time in seconds per line, each later than the previous one.

    Args:
        path: The file.

    Raises:
        ScanError: The file cannot be read, time does not increase, or it is not in seconds.
    """
    times = _numbers(path, 1)[:, 0]
    back = np.flatnonzero(np.diff(times) <= 0)
    if len(back):
        line = int(back[0]) + 2
        raise ScanError(
            f"{path}: time does not increase in line {line}: {times[line - 2]:.6f} s, then "
            f"{times[line - 1]:.6f} s; put each sequence into its own folder"
        )
    gap_s = float(np.median(np.diff(times))) if len(times) > 1 else 1.0
    if not GAP_S[0] <= gap_s <= GAP_S[1]:
        raise ScanError(
            f"{path}: {gap_s:g} s from sweep to sweep: the times must be in seconds; convert them "
            "(divide milliseconds by 1e3, microseconds by 1e6, nanoseconds by 1e9)"
        )
    return times


def _lines(path: Path) -> list[str]:
    try:
        return read_bytes(path).decode(errors="replace").splitlines()
    except OSError as error:
        raise ScanError(f"{path}: cannot be read ({error.strerror}); check the path") from None


def _numbers(path: Path, count: int) -> Float64:
    rows = [
        _parse(line, count, f"{path}: line {number}")
        for number, line in enumerate(_lines(path), 1)
        if line.strip()
    ]
    return np.array(rows).reshape(-1, count)


def _parse(text: str, count: int, where: str) -> Float64:
    try:
        numbers = np.array([float(word) for word in text.split()])
    except ValueError:
        numbers = np.zeros(0)
    if len(numbers) != count or not np.isfinite(numbers).all():
        raise ScanError(f"{where}: expected {count} numbers")
    return numbers
