"""Objects cut from labelled frames to be pasted into others, and the file that holds them."""

import hashlib
import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bev_instseg.evaluation.metrics import Evaluator
from bev_instseg.evaluation.segments import is_background, is_error
from bev_instseg.exceptions import ObjectsError
from bev_instseg.file_io import read_bytes, write_atomic
from bev_instseg.memory import machine_bytes, shortage
from bev_instseg.ops.boxes import oriented_boxes
from bev_instseg.structures import Float32, Frame, Instances, check_array

DATABASE_FORMAT = "bev_instseg objects/1"
DISTRACTOR = -1  # class index of background that a network took for an object
MIN_CUTOUT_POINTS = 15  # an object with fewer is barely recognizable


@dataclass(frozen=True, eq=False)
class Cutout:
    """An object or distractor cut from a labelled frame.

    Attributes:
        points: (N, 4) float32 x, y, height above the ground in metres and intensity 0..1; x and y
            in the frame of the sensor that saw it.
        class_index: Its class, or `DISTRACTOR`.
        centre_m: (2,) float32 horizontal box centre.
        size_m: (3,) float32 length, width and height of the box around the points.
        origin: Name of the frame it was cut from.
    """

    points: Float32
    class_index: int
    centre_m: Float32
    size_m: Float32
    origin: str

    @property
    def range_m(self) -> float:
        """Horizontal distance from the sensor to its centre, metres."""
        return float(np.hypot(*self.centre_m))


def cut_objects(frame: Frame, height_m: Float32) -> list[Cutout]:
    """Cut out the objects of a frame that have at least `MIN_CUTOUT_POINTS` points.

    Args:
        frame: N labelled points.
        height_m: (N,) float32 height of each point above the ground; NaN excludes the point.
    """
    cutouts = []
    usable = frame.labelled & np.isfinite(height_m)
    for k, class_index in enumerate(frame.classes, 1):
        own = usable & (frame.instance == k)
        if own.sum() >= MIN_CUTOUT_POINTS:
            cutouts.append(_cut(frame, height_m, own, int(class_index), frame.centres_m[k - 1]))
    return cutouts


def cut_distractors(frame: Frame, height_m: Float32, instances: Instances) -> list[Cutout]:
    """Cut out a network's false positives on background with at least `MIN_CUTOUT_POINTS` points.

    Args:
        frame: N labelled points.
        height_m: (N,) float32 height of each point above the ground; NaN excludes the point.
        instances: What the network found in the frame.
    """
    cutouts = []
    usable = frame.judged & (frame.instance == 0) & np.isfinite(height_m)
    predictions = Evaluator(instances.class_names).compare(frame, instances).predictions
    for k in np.flatnonzero(is_error(predictions) & is_background(predictions)):
        own = usable & (instances.labels == k + 1)
        if own.sum() >= MIN_CUTOUT_POINTS:
            cutouts.append(_cut(frame, height_m, own, DISTRACTOR, instances.boxes[k, :2]))
    return cutouts


def _cut(
    frame: Frame, height_m: Float32, own: NDArray[np.bool_], class_index: int, centre_m: Float32
) -> Cutout:
    points = frame.points[own].copy()
    points[:, 2] = height_m[own]
    size_m = oriented_boxes(points, np.ones(len(points), np.int32), 1)[0, 3:6]
    return Cutout(points, class_index, centre_m.copy(), size_m, frame.name)


def hash_databases(databases: Sequence[Sequence[Cutout]]) -> str:
    """Return the SHA-256 of all points and classes, in order; empty without databases."""
    digest = hashlib.sha256()
    for cutouts in databases:
        digest.update(f"{len(cutouts)};".encode())
        for cutout in cutouts:
            digest.update(f"{cutout.class_index};".encode())
            digest.update(cutout.points.tobytes())
    return digest.hexdigest() if databases else ""


def group_by_class(cutouts: Sequence[Cutout], num_classes: int) -> list[list[Cutout]]:
    """Return the objects of each class and, last, the distractors."""
    groups: list[list[Cutout]] = [[] for _ in range(num_classes + 1)]
    for cutout in cutouts:
        groups[cutout.class_index].append(cutout)
    return groups


def save_objects(path: str | Path, cutouts: Sequence[Cutout], class_names: Sequence[str]) -> None:
    """Write a database of objects, a NumPy ``.npz`` of flat arrays and offsets into them.

    Args:
        path: The file.
        cutouts: K objects.
        class_names: The C names that ``class_index`` refers to.

    Raises:
        OSError: The file cannot be written; an existing one is then untouched.
    """
    body = io.BytesIO()
    np.savez_compressed(
        body,
        format=np.array(DATABASE_FORMAT),
        class_names=np.array(class_names, np.str_),
        points=np.concatenate([np.zeros((0, 4), np.float32), *(c.points for c in cutouts)]),
        offsets=np.cumsum([0, *(len(c.points) for c in cutouts)], dtype=np.int64),
        classes=np.array([c.class_index for c in cutouts], np.int32),
        centres_m=np.array([c.centre_m for c in cutouts], np.float32).reshape(-1, 2),
        sizes_m=np.array([c.size_m for c in cutouts], np.float32).reshape(-1, 3),
        origins=np.array([c.origin for c in cutouts], np.str_),
    )
    write_atomic(path, body.getvalue())


def load_objects(path: str | Path, class_names: Sequence[str]) -> list[Cutout]:
    """Read a database written by `save_objects`.

    Args:
        path: The file.
        class_names: The class names it must have.

    Raises:
        ObjectsError: The file is unreadable, damaged, too large for the memory or not a database,
            or it has different classes.
    """
    path = Path(path)
    try:
        data = read_bytes(path)
    except OSError as error:
        raise ObjectsError(
            f"{path}: cannot be read ({error.strerror or error}); "
            "check the path, or make the file with bev-instseg cut-objects"
        ) from None
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
        if reason := shortage(2 * unpacked, machine_bytes()):
            raise ObjectsError(f"{path}: {reason}; make it again with fewer frames")
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            arrays = dict(file)
        cutouts, found = _unpack(arrays), arrays["class_names"].tolist()
    except ObjectsError:
        raise
    except Exception:  # NumPy, zipfile and zlib raise almost anything on foreign bytes
        raise ObjectsError(
            f"{path}: is not an object database, or is damaged; make it again with "
            "bev-instseg cut-objects"
        ) from None
    if found != list(class_names):
        raise ObjectsError(
            f"{path}: has the classes {', '.join(found)}, but the configuration has "
            f"{', '.join(class_names)}; make the file again with this configuration"
        )
    return cutouts


def _unpack(arrays: dict[str, NDArray[Any]]) -> list[Cutout]:
    """Return the objects of a database; raise ValueError or LookupError if it is inconsistent."""
    points, offsets, classes = (arrays[name] for name in ("points", "offsets", "classes"))
    centres, sizes, origins = (arrays[name] for name in ("centres_m", "sizes_m", "origins"))
    check_array("points", points, np.float32, None, 4)
    check_array("offsets", offsets, np.int64, None)
    count = len(offsets) - 1
    check_array("classes", classes, np.int32, count)
    check_array("centres_m", centres, np.float32, count, 2)
    check_array("sizes_m", sizes, np.float32, count, 3)
    if (
        arrays["format"] != DATABASE_FORMAT
        or origins.shape != (count,)
        or (offsets[0], offsets[-1]) != (0, len(points))
        or (np.diff(offsets) < 1).any()
        or not np.isin(classes, np.arange(DISTRACTOR, len(arrays["class_names"]))).all()
        or not all(np.isfinite(part).all() for part in (points, centres, sizes))
    ):
        raise ValueError("inconsistent arrays")
    return [
        Cutout(points[start:end], int(class_index), centre, size, str(origin))
        for (start, end), class_index, centre, size, origin in zip(
            pairwise(offsets), classes, centres, sizes, origins, strict=True
        )
    ]
