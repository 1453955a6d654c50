"""KITTI object layout: boxes labelled in one camera image, turned into point instances."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bev_instseg.config import ClassConfig, DataConfig
from bev_instseg.datasets.kitti_files import (
    DONT_CARE,
    BoxLabel,
    points_in_box,
    read_boxes,
    read_calibration,
    read_lines,
)
from bev_instseg.datasets.label_counts import BACKGROUND, VOID, LabelCounts
from bev_instseg.datasets.labelled_sweep import read_labelled_sweep
from bev_instseg.exceptions import KittiError
from bev_instseg.io.sensor_setup import SensorSetup
from bev_instseg.io.survey import reading_of_folder
from bev_instseg.structures import Float64, Frame

Bool = NDArray[np.bool_]

# Boxes and calibration belong to the sensor's own frame: sweeps are neither moved nor levelled. One
# whose ground is outside the grid is lifted, but boxes are compared with the heights in its file.
AS_CALIBRATED = SensorSetup(axes="flu", origin_m=(0.0, 0.0, 0.0), level_deg=(0.0, 0.0))


def frame_names(root: str | Path, splits: Sequence[str]) -> list[str]:
    """List the frames of some splits.

    Args:
        root: Folder of the data set.
        splits: Names of files in ``ImageSets``, without ``.txt``.

    Returns:
        File names without suffix, in the order of the split files.

    Raises:
        KittiError: A split file cannot be read or is empty.
    """
    names: list[str] = []
    for split in splits:
        path = Path(root) / "ImageSets" / f"{split}.txt"
        listed = [line.strip() for line in read_lines(path)]
        if not listed:
            raise KittiError(f"{path}: lists no frames; write one name per line")
        names += listed
    return names


def read_frame(
    root: str | Path, name: str, classes: Sequence[ClassConfig], data: DataConfig
) -> Frame:
    """Read a sweep and turn its box labels into point labels.

    The full sweep (``velodyne``) is preferred to the one cropped to the image
    (``velodyne_reduced``). Points outside the camera image are unlabelled. A point is

    - *instance k* if it is in box k and more than ``data.box_floor_m`` above the box's floor; if
      boxes overlap, the one with the nearest bottom centre wins;
    - otherwise *void* if it is in a DontCare rectangle, or within ``data.box_band_m`` of a box of
      any of ``classes`` or of a type in ``data.void_kitti``;
    - otherwise *background*.

    Args:
        root: Folder of the data set.
        name: Name of the frame; see `frame_names`.
        classes: Classes of the network and KITTI's names for them.
        data: Image size, box margins and void types.

    Returns:
        The frame; boxes without points keep their instance number.

    Raises:
        KittiError: The calibration or label file is missing or malformed.
        ScanError: The sweep is missing or malformed.
    """
    folder = Path(root) / "training"
    sweep_path = folder / "velodyne" / f"{name}.bin"
    cropped_path = folder / "velodyne_reduced" / sweep_path.name
    if not sweep_path.exists() and cropped_path.exists():
        sweep_path = cropped_path
    reading = reading_of_folder(sweep_path.parent, AS_CALIBRATED)
    sweep = read_labelled_sweep(sweep_path, AS_CALIBRATED, reading)
    points = sweep.points
    calibration = read_calibration(folder / "calib" / f"{name}.txt")
    boxes = read_boxes(folder / "label_2" / f"{name}.txt")
    xyz = np.where(np.isfinite(points[:, :3]), sweep.xyz, np.nan)  # NaN is in no box or image
    xyz_camera = calibration.to_camera(xyz)
    pixels, in_front = calibration.to_pixels(xyz_camera)
    width, height = data.image_size_px

    class_of = _class_of_kind(classes, data)
    objects = [box for box in boxes if box.kind in class_of]
    instance = _instance_of_points(xyz_camera, objects, data.box_floor_m)
    void = np.zeros(len(points), np.bool_)
    for box in boxes:
        if box.kind == DONT_CARE:
            void |= in_front & _in_rectangle(pixels, box.rectangle_px)
        elif box.kind in class_of or box.kind in data.void_kitti:
            void |= points_in_box(xyz_camera, box, data.box_band_m)
    instance[void & (instance == 0)] = -1
    centres_m = [calibration.to_sensor(box.bottom_m[None])[0, :2] for box in objects]
    return Frame(
        name,
        points,
        instance,
        in_front & (pixels >= 0).all(axis=1) & (pixels < (width, height)).all(axis=1),
        np.array([class_of[box.kind] for box in objects], np.int32),
        np.array(centres_m, np.float32).reshape(-1, 2),
    )


def _class_of_kind(classes: Sequence[ClassConfig], data: DataConfig) -> dict[str, int]:
    """Return the class index of each object type that has one; void takes precedence."""
    void = (DONT_CARE, *data.void_kitti)
    return {kind: i for i, c in enumerate(classes) for kind in c.kitti if kind not in void}


def count_labels(
    root: str | Path,
    frame: Frame,
    usable: Bool,
    classes: Sequence[ClassConfig],
    data: DataConfig,
) -> LabelCounts:
    """Count the labels in the label file of a frame.

    Args:
        root: Folder of the data set.
        frame: The frame as `read_frame` returns it.
        usable: (K,) bool: which of its objects count as usable.
        classes: As for `read_frame`.
        data: As for `read_frame`.

    Returns:
        The counts; a box of a type that is neither of a class nor void is background.

    Raises:
        KittiError: The label file is missing or malformed.
    """
    class_of = _class_of_kind(classes, data)
    counts = LabelCounts.of_points(frame)
    num_points = frame.points_per_object()
    k = 0
    for box in read_boxes(Path(root) / "training" / "label_2" / f"{frame.name}.txt"):
        if box.kind in class_of:
            kind = counts.kind(box.kind, classes[class_of[box.kind]].name)
            kind.points += int(num_points[k])
            kind.empty += int(num_points[k] == 0)
            kind.usable += int(usable[k])
            k += 1
        else:
            is_void = box.kind == DONT_CARE or box.kind in data.void_kitti
            kind = counts.kind(box.kind, VOID if is_void else BACKGROUND)
        kind.objects += 1
    return counts


def _instance_of_points(
    xyz_camera: Float64, objects: list[BoxLabel], floor_m: float
) -> NDArray[np.int32]:
    """Return (N,) int32: 1 + index of the object that contains a point above its floor, or 0."""
    instance = np.zeros(len(xyz_camera), np.int32)
    nearest_m = np.full(len(xyz_camera), np.inf)
    for number, box in enumerate(objects, 1):
        distance_m = np.linalg.norm(xyz_camera - box.bottom_m, axis=1)
        above_floor = xyz_camera[:, 1] < box.bottom_m[1] - floor_m  # y points down
        own = points_in_box(xyz_camera, box) & above_floor & (distance_m < nearest_m)
        instance[own] = number
        nearest_m[own] = distance_m[own]
    return instance


def _in_rectangle(pixels: Float64, rectangle_px: Float64) -> Bool:
    left, top, right, bottom = rectangle_px
    u, v = pixels.T
    inside: Bool = (u >= left) & (u <= right) & (v >= top) & (v <= bottom)
    return inside
