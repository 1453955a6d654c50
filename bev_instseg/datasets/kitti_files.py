"""The files of KITTI's object data: camera calibrations and boxes.

"Camera frame" below is KITTI's rectified camera frame: x right, y down, z forward, metres.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bev_instseg.exceptions import KittiError
from bev_instseg.file_io import read_bytes
from bev_instseg.structures import Float64

Bool = NDArray[np.bool_]

DONT_CARE = "DontCare"  # type of an image region in which nothing was labelled
MIN_DEPTH_M = 0.1  # closer points are not in front of the camera
MAX_SIZE_M = 200.0  # of a box
MAX_NUMBER = 1e6  # of metres or pixels in label and calibration files


@dataclass(frozen=True, eq=False)
class CameraCalibration:
    """Maps the sensor frame to pixels: ``projection @ [rotation @ xyz + translation; 1]``.

    Attributes:
        rotation: (3, 3) float64, sensor frame to camera frame.
        translation: (3,) float64 metres.
        projection: (3, 4) float64, camera frame to homogeneous pixels of the left colour camera.
    """

    rotation: Float64
    translation: Float64
    projection: Float64

    def to_camera(self, xyz: NDArray[np.floating]) -> Float64:
        """Transform (N, 3) points from the sensor frame to the camera frame."""
        return xyz.astype(np.float64) @ self.rotation.T + self.translation

    def to_sensor(self, xyz_camera: Float64) -> Float64:
        """Transform (N, 3) points from the camera frame to the sensor frame."""
        return (xyz_camera - self.translation) @ np.linalg.inv(self.rotation).T

    def to_pixels(self, xyz_camera: Float64) -> tuple[Float64, Bool]:
        """Project points into the image.

        Args:
            xyz_camera: (N, 3) points in the camera frame.

        Returns:
            (N, 2) float64 pixels u, v, meaningless behind the camera, and (N,) bool whether a point
            is in front of it.
        """
        homogeneous = xyz_camera @ self.projection[:, :3].T + self.projection[:, 3]
        in_front = homogeneous[:, 2] > MIN_DEPTH_M
        depth = np.where(in_front, homogeneous[:, 2], 1.0)
        return homogeneous[:, :2] / depth[:, None], in_front


@dataclass(frozen=True, eq=False)
class BoxLabel:
    """One line of a ``label_2`` file.

    Attributes:
        kind: KITTI object type.
        rectangle_px: (4,) float64 left, top, right and bottom of the object in the image.
        size_m: (3,) float64 height, width, length.
        bottom_m: (3,) float64 centre of the box's bottom face in the camera frame.
        yaw_rad: Heading about the camera's y axis; 0 points along x.
    """

    kind: str
    rectangle_px: Float64
    size_m: Float64
    bottom_m: Float64
    yaw_rad: float


def read_calibration(path: str | Path) -> CameraCalibration:
    """Read a calibration file of KITTI's object, tracking or odometry data.

    Object files name the matrices P2, R0_rect and Tr_velo_to_cam, tracking files P2, R_rect and
    Tr_velo_cam. Odometry files, and so those of SemanticKITTI, have P2 and Tr only: their sweeps
    are transformed straight into the rectified camera frame.

    Args:
        path: The file.

    Returns:
        The calibration of the left colour camera.

    Raises:
        KittiError: The file is unreadable, or a matrix is missing or malformed.
    """
    matrices = {}
    for line in read_lines(path):
        name, _, numbers = line.replace(":", " ", 1).partition(" ")
        try:
            matrices[name] = np.array(numbers.split(), np.float64)
        except ValueError:
            raise KittiError(
                f"{path}: matrix {name} has a value that is not a number; copy the file again"
            ) from None

    def matrix(shape: tuple[int, int], *names: str) -> Float64:
        for name in names:
            found = matrices.get(name, np.empty(0))
            if found.size == shape[0] * shape[1] and (np.abs(found) < MAX_NUMBER).all():
                return matrices[name].reshape(shape)
        raise KittiError(
            f"{path}: no matrix {' or '.join(names)} of {shape[0]} x {shape[1]} finite numbers "
            f"below {MAX_NUMBER:.0e}; use a KITTI calibration file"
        )

    odometry = "Tr" in matrices
    rectify = np.eye(3) if odometry else matrix((3, 3), "R0_rect", "R_rect")
    velo_to_cam = matrix((3, 4), *(["Tr"] if odometry else ["Tr_velo_to_cam", "Tr_velo_cam"]))
    rotation = rectify @ velo_to_cam[:, :3]
    square = np.abs(rotation @ rotation.T - np.eye(3)).max()
    if square > 0.01 or np.linalg.det(rotation) < 0:
        raise KittiError(
            f"{path}: {'Tr' if odometry else 'the product of R0_rect and Tr_velo_to_cam'} is not a "
            "rotation; use a KITTI calibration file"
        )
    projection = matrix((3, 4), "P2")
    if np.linalg.matrix_rank(projection[:, :3]) < 3:
        raise KittiError(
            f"{path}: P2 is not a projection (its left 3 x 3 numbers are singular), so no point "
            "would be labelled; use a KITTI calibration file"
        )
    return CameraCalibration(rotation, rectify @ velo_to_cam[:, 3], projection)


def read_boxes(path: str | Path) -> list[BoxLabel]:
    """Read a ``label_2`` file.

    Args:
        path: The file.

    Returns:
        One label per line that is not empty.

    Raises:
        KittiError: The file is unreadable, or a line is malformed; see `parse_boxes`.
    """
    return parse_boxes(read_lines(path), path)


def parse_boxes(lines: Sequence[str], path: str | Path) -> list[BoxLabel]:
    """Parse the lines of a ``label_2`` file.

    Args:
        lines: The lines; a 16th field (a score) is ignored.
        path: Name of the file, for error messages.

    Returns:
        One label per line.

    Raises:
        KittiError: A line has fewer than 15 fields, a number in it is malformed, not finite or
            beyond 1e6, or a box (all lines but DontCare) has a size of 0 or less or above 200 m,
            or an angle beyond two turns, as in degrees.
    """
    boxes = []
    for number, line in enumerate(lines, 1):
        fields = line.split()
        try:
            values = np.array(fields[4:15], np.float64)
        except ValueError:
            values = np.empty(0)
        if len(values) != 11 or not np.isfinite(values).all():
            raise KittiError(
                f"{path}: line {number} is not a KITTI label of 15 fields with finite numbers; "
                "fix or remove it"
            )
        if fault := _fault_of_box(fields[0], values):
            raise KittiError(f"{path}: line {number}: {fault}; fix or remove the line")
        boxes.append(BoxLabel(fields[0], values[:4], values[4:7], values[7:10], float(values[10])))
    return boxes


def _fault_of_box(kind: str, values: Float64) -> str:
    """Return what is wrong with a line's 11 numbers from the rectangle on; empty if nothing is."""
    if not (np.abs(values) < MAX_NUMBER).all():
        return f"a number is beyond ±{MAX_NUMBER:.0e}"
    if kind == DONT_CARE:
        return ""
    if not ((values[4:7] > 0) & (values[4:7] <= MAX_SIZE_M)).all():
        size = " x ".join(f"{value:g}" for value in values[4:7])
        return f"{kind} measures {size} m; all must be above 0 and at most {MAX_SIZE_M:g} m"
    if abs(values[10]) > 4 * np.pi:
        return f"{kind} has the angle {values[10]:g}, which is not in radians"
    return ""


def points_in_box(xyz_camera: Float64, box: BoxLabel, margin_m: float = 0.0) -> Bool:
    """Return which points are inside a box.

    Args:
        xyz_camera: (N, 3) points in the camera frame.
        box: The box.
        margin_m: Distance by which each face is moved outwards.

    Returns:
        (N,) bool; points on a face are inside.
    """
    height, width, length = box.size_m
    x, y, z = (xyz_camera - box.bottom_m).T
    cos, sin = np.cos(box.yaw_rad), np.sin(box.yaw_rad)
    along, across = cos * x - sin * z, sin * x + cos * z
    inside: Bool = (
        (np.abs(along) <= length / 2 + margin_m)
        & (np.abs(across) <= width / 2 + margin_m)
        & (y <= margin_m)
        & (y >= -height - margin_m)
    )
    return inside


def read_lines(path: str | Path) -> list[str]:
    """Return the lines of a text file that are not blank.

    Raises:
        KittiError: The file cannot be read.
    """
    try:
        return [line for line in read_bytes(path).decode().splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a text file"
        raise KittiError(f"{path}: cannot be read: {reason}; check the path") from None
