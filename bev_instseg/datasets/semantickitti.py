"""SemanticKITTI layout: a class and an instance id for every point, all around the sensor."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bev_instseg.config import ClassConfig, DataConfig
from bev_instseg.datasets.background import background_kinds
from bev_instseg.datasets.label_counts import (
    BACKGROUND,
    MAX_OBJECT_M,
    MIN_OBJECT_HEIGHT_M,
    MIN_SHAPE_POINTS,
    VOID,
    LabelCounts,
)
from bev_instseg.datasets.labelled_sweep import read_labelled_sweep
from bev_instseg.exceptions import ScanError
from bev_instseg.file_io import write_atomic
from bev_instseg.io.labels import read_labels, write_labels
from bev_instseg.io.sensor_setup import SensorSetup
from bev_instseg.io.survey import reading_of_folder
from bev_instseg.ops.boxes import oriented_boxes
from bev_instseg.structures import Frame


def frame_names(root: str | Path, entries: Sequence[str]) -> list[str]:
    """List the frames of some sequences.

    Args:
        root: Folder of the data set.
        entries: Sequences such as ``00``, or single frames such as ``00/000003``.

    Returns:
        ``SEQUENCE/FRAME`` for each sweep, in the order of the entries.

    Raises:
        ScanError: A sequence has no sweeps, or a frame does not exist.
    """
    names: list[str] = []
    if not (Path(root) / "sequences").is_dir():
        raise ScanError(f"{root}: has no folder 'sequences'; check the path of the data set")
    for entry in entries:
        sequence, _, frame = entry.partition("/")
        folder = Path(root) / "sequences" / sequence / "velodyne"
        sweeps = folder.glob("[!.]*.bin")  # no hidden files, such as ._000000.bin of macOS
        found = sorted(path for path in sweeps if frame in ("", path.stem))
        if not found:
            raise ScanError(
                f"{folder}: no sweep for '{entry}'; name a sequence like 00 or a frame like "
                "00/000003"
            )
        names += [f"{sequence}/{path.stem}" for path in found]
    return names


def read_frame(
    root: str | Path, name: str, classes: Sequence[ClassConfig], data: DataConfig
) -> Frame:
    """Read a sweep with its ``.label`` file.

    Every pair of class (low 16 bits) and instance id (high 16 bits) is one object. Points of
    ``data.void_semantickitti``, object points without an instance id and points with NaN or
    infinite coordinates are void.

    Args:
        root: Folder of the data set.
        name: ``SEQUENCE/FRAME``; see `frame_names`.
        classes: Classes of the network and SemanticKITTI's numbers for them.
        data: Void classes.

    Returns:
        The frame; all of its points are labelled.

    Raises:
        ScanError: A file is missing or malformed, or the labels do not fit the sweep.
    """
    sequence, _, frame = name.partition("/")
    folder = Path(root) / "sequences" / sequence
    sweeps = folder / "velodyne"
    sweep_path, reading = sweeps / f"{frame}.bin", reading_of_folder(sweeps)
    points = read_labelled_sweep(sweep_path, SensorSetup(), reading).points
    labels = read_labels(folder / "labels" / f"{frame}.label", len(points))
    semantic, instance_id = labels & 0xFFFF, labels >> 16

    class_of = {kind: index for index, c in enumerate(classes) for kind in c.semantickitti}
    is_thing = np.isin(semantic, list(class_of))
    void = np.isin(semantic, data.void_semantickitti) | (is_thing & (instance_id == 0))
    void |= ~np.isfinite(points).all(axis=1)
    is_object = is_thing & ~void
    objects, inverse = np.unique(labels[is_object], return_inverse=True)
    instance = np.where(void, np.int32(-1), np.int32(0))
    instance[is_object] = inverse + 1

    boxes = oriented_boxes(points, np.maximum(instance, 0), len(objects))
    object_classes = np.array([class_of[int(word) & 0xFFFF] for word in objects], np.int32)
    labelled = np.ones(len(points), np.bool_)
    background = background_kinds(semantic)
    if background is not None:
        background[is_thing] = 0
    centres_m = boxes[:, :2].copy()
    return Frame(name, points, instance, labelled, object_classes, centres_m, background)


def count_labels(
    root: str | Path,
    frame: Frame,
    usable: NDArray[np.bool_],
    classes: Sequence[ClassConfig],
    data: DataConfig,
) -> LabelCounts:
    """Count the labels in the ``.label`` file of a frame.

    Args:
        root: Folder of the data set.
        frame: The frame as `read_frame` returns it.
        usable: (K,) bool: which of its objects count as usable.
        classes: As for `read_frame`.
        data: As for `read_frame`.

    Returns:
        The counts, for each class number in the file.

    Raises:
        ScanError: The label file is missing or malformed.
    """
    labels = read_words(root, frame)
    name_of = {number: c.name for c in classes for number in c.semantickitti}
    name_of |= dict.fromkeys(data.void_semantickitti, VOID)
    counts = LabelCounts.of_points(frame)
    words, num_points = np.unique(labels, return_counts=True)
    for word, points in zip(words.tolist(), num_points.tolist(), strict=True):
        number, instance_id = word & 0xFFFF, word >> 16
        kind = counts.kind(str(number), name_of.get(number, BACKGROUND))
        kind.points += points
        if instance_id:
            kind.objects += 1
        else:
            kind.points_without_id += points
    on_object = frame.instance > 0
    word_of = np.zeros(len(frame.classes), np.uint32)
    word_of[frame.instance[on_object] - 1] = labels[on_object]
    for word in word_of[usable].tolist():
        counts.kinds[str(word & 0xFFFF)].usable += 1
    whole = np.array([c.piece_m == 0 for c in classes])[frame.classes]
    for word in word_of[usable & whole & _is_implausible(frame)].tolist():
        counts.kinds[str(word & 0xFFFF)].implausible += 1
    return counts


def _is_implausible(frame: Frame) -> NDArray[np.bool_]:
    """Return (K,) whether an object is larger or flatter than any real one, as if mislabelled."""
    own = frame.instance > 0
    index, xyz = frame.instance[own] - 1, frame.points[own, :3].astype(np.float64)
    low, high = np.full((2, len(frame.classes), 3), np.nan)
    np.fmin.at(low, index, xyz)
    np.fmax.at(high, index, xyz)
    length_m, width_m, height_m = (high - low).T
    flat = (height_m < MIN_OBJECT_HEIGHT_M) & (frame.points_per_object() >= MIN_SHAPE_POINTS)
    implausible: NDArray[np.bool_] = (np.maximum(length_m, width_m) > MAX_OBJECT_M) | flat
    return implausible


def read_words(root: str | Path, frame: Frame) -> NDArray[np.uint32]:
    """Read the ``.label`` file of a frame: class and instance id of each point; see `read_labels`.

    Args:
        root: Folder of the data set.
        frame: The frame as `read_frame` returns it.

    Raises:
        ScanError: The label file is missing or malformed.
    """
    sequence, _, name = frame.name.partition("/")
    path = Path(root) / "sequences" / sequence / "labels" / f"{name}.label"
    return read_labels(path, len(frame.points))


def frame_paths(root: Path, sequence: str, frame: int) -> tuple[Path, Path]:
    """Return the ``.bin`` and the ``.label`` file of a frame.

    Args:
        root: Folder of the data set.
        sequence: Name of the sequence, such as ``00``.
        frame: Number of the frame.

    Returns:
        ``root/sequences/SEQUENCE/velodyne/FRAME.bin`` and ``root/.../labels/FRAME.label``.
    """
    folder = root / "sequences" / sequence
    return folder / "velodyne" / f"{frame:06d}.bin", folder / "labels" / f"{frame:06d}.label"


def write_frame(
    root: str | Path,
    sequence: str,
    frame: int,
    points: NDArray[np.float32],
    labels: NDArray[np.uint32],
) -> None:
    """Write a frame, each of its two files atomically.

    Args:
        root: Folder of the data set; created if necessary.
        sequence: Name of the sequence, such as ``00``.
        frame: Number of the frame.
        points: (N, 4) float32 x, y, z in metres and intensity.
        labels: (N,) uint32 class and instance id; see `read_labels`.

    Raises:
        ValueError: The arrays have the wrong shape, or the labels the wrong dtype.
        OSError: A file cannot be written.
    """
    if points.ndim != 2 or points.shape[1] != 4 or len(points) != len(labels):
        raise ValueError(
            f"points must be (N, 4) with N labels, got {points.shape} and {labels.shape}"
        )
    sweep_path, label_path = frame_paths(Path(root), sequence, frame)
    for path in (sweep_path, label_path):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_labels(label_path, labels)
    write_atomic(sweep_path, points.astype("<f4").tobytes())
