"""KITTI object layout: boxes seen in one camera, turned into point instances."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bev_instseg.config import ClassConfig, DataConfig
from bev_instseg.exceptions import KittiError
from bev_instseg.io.sensor_setup import KNOWN_SENSORS
from bev_instseg.io.sweep import read_sweep
from bev_instseg.structures import Frame

Float64 = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class CameraCalibration:
    """From the sensor to the image: ``pixel ~ projection @ [rotation @ xyz + translation; 1]``.

    Attributes:
        rotation: (3, 3) sensor frame to rectified camera frame.
        translation: (3,) metres.
        projection: (3, 4) rectified camera frame to pixels of the left colour camera.
    """

    rotation: Float64
    translation: Float64
    projection: Float64

    def to_camera(self, xyz: NDArray[np.floating]) -> Float64:
        """(N, 3) sensor frame -> (N, 3) rectified camera frame (x right, y down, z forward)."""
        return xyz.astype(np.float64) @ self.rotation.T + self.translation

    def to_sensor(self, camera: Float64) -> Float64:
        """The inverse of `to_camera`."""
        return (camera - self.translation) @ np.linalg.inv(self.rotation).T

    def to_pixels(self, camera: Float64) -> tuple[Float64, NDArray[np.bool_]]:
        """(N, 3) camera frame -> (N, 2) pixels u, v and (N,) bool in front of the camera."""
        homogeneous = camera @ self.projection[:, :3].T + self.projection[:, 3]
        in_front = homogeneous[:, 2] > 0.1
        depth = np.where(in_front, homogeneous[:, 2], 1.0)
        return homogeneous[:, :2] / depth[:, None], in_front


@dataclass(frozen=True, eq=False)
class Label:
    """One line of a ``label_2`` file: type, image rectangle and box in the camera frame.

    Attributes:
        kind: KITTI object type.
        rectangle_px: (4,) left, top, right, bottom.
        size_m: (3,) height, width, length.
        bottom_m: (3,) centre of the bottom face, rectified camera frame.
        yaw_rad: heading about the camera's y axis.
    """

    kind: str
    rectangle_px: Float64
    size_m: Float64
    bottom_m: Float64
    yaw_rad: float


def read_calibration(path: str | Path) -> CameraCalibration:
    """Read P2, R0_rect and Tr_velo_to_cam, or what else KITTI's files call them.

    Tracking files have R_rect and Tr_velo_cam, odometry (and so SemanticKITTI) files Tr alone.

    Raises:
        KittiError: unreadable file or a missing or malformed matrix.
    """
    matrices = {}
    for line in _read_lines(path):
        name, _, numbers = line.replace(":", " ", 1).partition(" ")
        try:
            matrices[name] = np.array(numbers.split(), np.float64)
        except ValueError:
            raise KittiError(f"{path}: {name} holds something that is no number") from None

    def matrix(shape: tuple[int, int], *names: str) -> Float64:
        for name in names:
            found = matrices.get(name, np.empty(0))
            if found.size == shape[0] * shape[1] and np.isfinite(found).all():
                return matrices[name].reshape(shape)
        raise KittiError(
            f"{path}: no matrix {' or '.join(names)} of {shape[0]} x {shape[1]} finite numbers"
        )

    odometry = "Tr" in matrices
    rectify = np.eye(3) if odometry else matrix((3, 3), "R0_rect", "R_rect")
    velo_to_cam = matrix((3, 4), *(["Tr"] if odometry else ["Tr_velo_to_cam", "Tr_velo_cam"]))
    rotation = rectify @ velo_to_cam[:, :3]
    if abs(np.linalg.det(rotation) - 1) > 0.01:
        raise KittiError(f"{path}: R0_rect and Tr_velo_to_cam are no rotation")
    return CameraCalibration(rotation, rectify @ velo_to_cam[:, 3], matrix((3, 4), "P2"))


def read_labels(path: str | Path) -> list[Label]:
    """Read a ``label_2`` file.

    Raises:
        KittiError: unreadable file, or a line with fewer than 15 fields or no finite numbers.
    """
    return parse_labels(_read_lines(path), path)


def parse_labels(lines: Sequence[str], path: str | Path) -> list[Label]:
    """The lines of a ``label_2`` file; ``path`` is what errors call it.

    Raises:
        KittiError: a line with fewer than 15 fields or no finite numbers.
    """
    labels = []
    for number, line in enumerate(lines, 1):
        fields = line.split()
        try:
            values = np.array(fields[4:15], np.float64)
        except ValueError:
            values = np.empty(0)
        if len(values) != 11 or not np.isfinite(values).all():
            raise KittiError(f"{path}: line {number} is no KITTI label of 15 fields")
        labels.append(Label(fields[0], values[:4], values[4:7], values[7:10], float(values[10])))
    return labels


def points_in_box(camera: Float64, label: Label, grow_m: float = 0.0) -> NDArray[np.bool_]:
    """(N,) bool: which of the (N, 3) camera-frame points lie in the box grown on all sides."""
    height, width, length = label.size_m
    x, y, z = (camera - label.bottom_m).T
    cos, sin = np.cos(label.yaw_rad), np.sin(label.yaw_rad)
    along, across = cos * x - sin * z, sin * x + cos * z
    return (
        (np.abs(along) <= length / 2 + grow_m)
        & (np.abs(across) <= width / 2 + grow_m)
        & (y <= grow_m)
        & (y >= -height - grow_m)
    )


def frame_names(root: str | Path, splits: Sequence[str]) -> list[str]:
    """Stems listed in ``ImageSets/SPLIT.txt``, in the order of the files.

    Raises:
        KittiError: a split file that cannot be read or lists nothing.
    """
    names: list[str] = []
    for split in splits:
        path = Path(root) / "ImageSets" / f"{split}.txt"
        listed = [line.strip() for line in _read_lines(path) if line.strip()]
        if not listed:
            raise KittiError(f"{path}: lists no frames")
        names += listed
    return names


def read_frame(
    root: str | Path, name: str, classes: Sequence[ClassConfig], data: DataConfig
) -> Frame:
    """Read a sweep and turn its boxes into point labels.

    The full sweep (``velodyne``) is preferred to the one cropped to the image
    (``velodyne_reduced``). A point is *instance k* if it lies in box k and more than
    ``data.box_floor_m`` above its floor, *background* if outside every box grown by
    ``data.box_band_m``, else *void*, and so is every point of no instance in a DontCare rectangle
    or in a grown box of a void type. Where boxes overlap, the nearer centre of a bottom face wins.
    Points outside the camera image are unlabelled.

    Raises:
        KittiError, ScanError: a file that is missing or malformed.
    """
    folder = Path(root) / "training"
    scan = folder / "velodyne" / f"{name}.bin"
    if not scan.exists():
        scan = folder / "velodyne_reduced" / f"{name}.bin"
    points = read_sweep(scan, KNOWN_SENSORS["kitti"]).points
    calibration = read_calibration(folder / "calib" / f"{name}.txt")
    xyz = np.where(np.isfinite(points[:, :3]), points[:, :3], np.nan)  # NaN is in no box or image
    camera = calibration.to_camera(xyz)
    pixels, in_front = calibration.to_pixels(camera)
    width, height = data.image_size_px
    in_image = in_front & (pixels >= 0).all(1) & (pixels[:, 0] < width) & (pixels[:, 1] < height)

    class_of = {kind: index for index, c in enumerate(classes) for kind in c.kitti}
    instance = np.zeros(len(points), np.int32)
    distance = np.full(len(points), np.inf)
    object_classes, centres = [], []
    for label in read_labels(folder / "label_2" / f"{name}.txt"):
        if label.kind == "DontCare":
            left, top, right, bottom = label.rectangle_px
            u, v = pixels.T
            inside = in_front & (u >= left) & (u <= right) & (v >= top) & (v <= bottom)
            instance[inside & (instance == 0)] = -1
        elif label.kind in class_of:
            band = points_in_box(camera, label, data.box_band_m)
            instance[band & (instance == 0)] = -1
            floor = label.bottom_m[1] - data.box_floor_m
            inside = points_in_box(camera, label) & (camera[:, 1] < floor)
            away = np.linalg.norm(camera - label.bottom_m, axis=1)
            inside &= away < distance
            object_classes.append(class_of[label.kind])
            centres.append(calibration.to_sensor(label.bottom_m[None])[0, :2])
            instance[inside] = len(object_classes)
            distance[inside] = away[inside]
        elif label.kind in data.void_kitti:
            inside = points_in_box(camera, label, data.box_band_m)
            instance[inside & (instance == 0)] = -1
    return Frame(
        name,
        points,
        instance,
        in_image,
        np.array(object_classes, np.int32),
        np.array(centres, np.float32).reshape(-1, 2),
    )


def _read_lines(path: str | Path) -> list[str]:
    try:
        return [line for line in Path(path).read_text("utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a text file"
        raise KittiError(f"{path}: cannot be read ({reason})") from None
