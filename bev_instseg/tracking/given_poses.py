"""The sensor's own motion where it is given: poses and times from files, brought to its frame."""

from pathlib import Path

import numpy as np

from bev_instseg.exceptions import ScanError
from bev_instseg.structures import Float64


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


def read_poses(path: Path) -> Float64:
    """Read a file of poses in KITTI's format: a row of 12 numbers, the upper 3 x 4, per sweep.

    If there is a ``calib.txt`` with a line ``Tr:`` next to it, as in KITTI's odometry, the poses
    are those of a camera, and ``Tr`` transforms from the sensor to the camera.

    Args:
        path: The file.

    Returns:
        (M, 4, 4) float64 from the sensor frame to that of the first row.

    Raises:
        ScanError: The file cannot be read or a row is not a pose.
    """
    rows = _numbers(path, 12)
    poses = np.tile(np.eye(4), (len(rows), 1, 1))
    poses[:, :3] = rows.reshape(-1, 3, 4)
    for number, pose in enumerate(poses, 1):
        if not np.allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3), atol=1e-2):
            raise ScanError(f"{path}: line {number} is not a pose: its 3 x 3 is not a rotation")
    calibration = path.with_name("calib.txt")
    if calibration.is_file():
        for line in calibration.read_text(errors="replace").splitlines():
            if line.startswith("Tr:"):
                to_camera = np.eye(4)
                to_camera[:3] = _parse(line[3:], 12, f"{calibration}: Tr").reshape(3, 4)
                poses = np.linalg.inv(to_camera) @ poses @ to_camera
    return poses


def read_times(path: Path) -> Float64:
    """Read a file with a time in seconds per line, each later than the previous one.

    Args:
        path: The file.

    Raises:
        ScanError: The file cannot be read, or time does not increase.
    """
    times = _numbers(path, 1)[:, 0]
    back = np.flatnonzero(np.diff(times) <= 0)
    if len(back):
        line = int(back[0]) + 2
        raise ScanError(
            f"{path}: time does not increase in line {line}: {times[line - 2]:g} s, then "
            f"{times[line - 1]:g} s; put each sequence into its own folder"
        )
    return times


def _numbers(path: Path, count: int) -> Float64:
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError as error:
        raise ScanError(f"{path}: cannot be read ({error.strerror}); check the path") from None
    rows = [
        _parse(line, count, f"{path}: line {number}")
        for number, line in enumerate(lines, 1)
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
