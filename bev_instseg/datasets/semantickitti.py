"""SemanticKITTI layout: a class and an instance for every point, all round."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bev_instseg.config import ClassConfig, DataConfig
from bev_instseg.exceptions import ScanError
from bev_instseg.file_io import write_atomic
from bev_instseg.io.labels import read_labels, write_labels
from bev_instseg.io.sweep import read_scan
from bev_instseg.ops.boxes import oriented_boxes
from bev_instseg.structures import Frame


def frame_names(root: str | Path, sequences: Sequence[str]) -> list[str]:
    """``SEQ/FRAME`` of every sweep of the sequences; an entry may itself be a frame.

    Raises:
        ScanError: a sequence or frame without sweeps.
    """
    names: list[str] = []
    for entry in sequences:
        sequence, _, frame = entry.partition("/")
        folder = Path(root) / "sequences" / sequence / "velodyne"
        found = sorted(path for path in folder.glob("*.bin") if frame in ("", path.stem))
        if not found:
            raise ScanError(
                f"{folder}: no sweep for '{entry}'; sequences are named like 00 or 00/000003"
            )
        names += [f"{sequence}/{path.stem}" for path in found]
    return names


def read_frame(
    root: str | Path, name: str, classes: Sequence[ClassConfig], data: DataConfig
) -> Frame:
    """Read sweep ``SEQ/FRAME`` with its ``.label``.

    An object is a pair of class (low 16 bits) and instance id (high 16 bits). Points of
    ``data.void_semantickitti``, objects without an instance id and points of no place are void.

    Raises:
        ScanError: a file that is missing or malformed, labels that do not fit the sweep.
    """
    sequence, _, frame = name.partition("/")
    folder = Path(root) / "sequences" / sequence
    points = read_scan(folder / "velodyne" / f"{frame}.bin")
    labels = read_labels(folder / "labels" / f"{frame}.label", len(points))
    semantic, number = labels & 0xFFFF, labels >> 16

    class_of = {kind: index for index, c in enumerate(classes) for kind in c.semantickitti}
    is_thing = np.isin(semantic, list(class_of))
    void = np.isin(semantic, data.void_semantickitti) | (is_thing & (number == 0))
    void |= ~np.isfinite(points).all(axis=1)
    is_object = is_thing & ~void
    ids, inverse = np.unique(labels[is_object], return_inverse=True)
    instance = np.where(void, np.int32(-1), np.int32(0))
    instance[is_object] = inverse + 1

    boxes = oriented_boxes(points, np.maximum(instance, 0), len(ids))
    object_classes = np.array([class_of[int(i) & 0xFFFF] for i in ids], np.int32)
    labelled = np.ones(len(points), np.bool_)
    return Frame(name, points, instance, labelled, object_classes, boxes[:, :2].copy())


def sweep_paths(out: Path, sequence: str, frame: int) -> tuple[Path, Path]:
    """The ``.bin`` and ``.label`` files of a frame in SemanticKITTI's layout."""
    folder = out / "sequences" / sequence
    return folder / "velodyne" / f"{frame:06d}.bin", folder / "labels" / f"{frame:06d}.label"


def write_frame(
    out: Path,
    sequence: str,
    frame: int,
    points: NDArray[np.float32],
    labels: NDArray[np.uint32],
) -> None:
    """Write (N, 4) points and (N,) labels below ``out``, each file whole; see `sweep_paths`."""
    sweep, truth = sweep_paths(out, sequence, frame)
    for path in (sweep, truth):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_labels(truth, labels)
    write_atomic(sweep, points.astype("<f4").tobytes())
