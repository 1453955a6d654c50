"""The ``.json`` file of a sweep: its instances, and the file, weights and settings they come from.

`SweepResult` is the only place that knows the keys of this file.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from bev_instseg.exceptions import ScanError
from bev_instseg.export.json_values import integer, number, numbers, text
from bev_instseg.export.mark import MARK
from bev_instseg.export.picture import Picture
from bev_instseg.export.points import POINT_FORMATS
from bev_instseg.export.track_record import TrackRecord
from bev_instseg.file_io import read_bytes
from bev_instseg.grid import BEVGrid
from bev_instseg.structures import Instance, Instances
from bev_instseg.tracking.tracked import TrackedInstances

# Suffixes of the files next to a ``.json``.
SUFFIXES = {".label", ".txt", *(f".{name}" for name in POINT_FORMATS), *(p.value for p in Picture)}
MAX_BYTES = 64 << 20  # 65,535 instances, the most that a .label can number, take half of it
Point = tuple[float, float, float]  # x, y, z
SEAL = b',\n "sha256": "'  # the last key of a file, before the hash of everything above it
# Errors when parsing a file that is not a result.
NOT_A_RESULT = (
    *(ValueError, KeyError, TypeError, AttributeError),
    *(OverflowError, RecursionError, MemoryError),
)


@dataclass(frozen=True)
class InstanceRecord:
    """One instance, rounded: metres to a millimetre, score and radians to 1e-4.

    Attributes:
        id: 1..K, the number in ``Instances.labels``; without a track also in the high 16 bits of
            the ``.label`` file.
        class_name: Name of its class.
        score: Score, 0..1.
        num_points: Number of its points.
        centre_m: Centre x, y, z of its box, metres in the sensor frame.
        length_m: Length of its box, metres.
        width_m: Width of its box, metres.
        height_m: Height of its box, metres.
        yaw_rad: Heading of the length, radians.
        course_m: Points x, y, z of the line through it, in order, metres, if its class comes in
            pieces.
        track: The object over time, whose id is in the ``.label`` file; None without tracking.
    """

    id: int
    class_name: str
    score: float
    num_points: int
    centre_m: Point
    length_m: float
    width_m: float
    height_m: float
    yaw_rad: float
    course_m: tuple[Point, ...] | None = None
    track: TrackRecord | None = None

    @classmethod
    def of(cls, one: Instance, track: TrackRecord | None = None) -> "InstanceRecord":
        """Round an instance.

        Args:
            one: The instance.
            track: The object over time, if it is tracked.
        """
        *metres, yaw_rad = one.box.tolist()
        course = None if one.course_m is None else one.course_m.tolist()
        x, y, z, length, width, height = (round(v, 3) for v in metres)
        return cls(
            id=one.number,
            class_name=one.name,
            score=round(one.score, 4),
            num_points=one.num_points,
            centre_m=(x, y, z),
            length_m=length,
            width_m=width,
            height_m=height,
            yaw_rad=round(yaw_rad, 4),
            course_m=course
            and tuple((round(u, 3), round(v, 3), round(w, 3)) for u, v, w in course),
            track=track,
        )

    @property
    def label_id(self) -> int:
        """The number in the high 16 bits of the ``.label`` file."""
        return self.id if self.track is None else self.track.label_id

    def to_json(self) -> dict[str, Any]:
        """Return the entry that `_parse_instance` reads."""
        entry: dict[str, Any] = {
            "id": self.id,
            "class": self.class_name,
            "score": self.score,
            "num_points": self.num_points,
            "centre_m": self.centre_m,
            "box": {
                "length_m": self.length_m,
                "width_m": self.width_m,
                "height_m": self.height_m,
                "yaw_rad": self.yaw_rad,
            },
        }
        if self.course_m is not None:
            entry["course_m"] = self.course_m
        return entry if self.track is None else entry | {"track": self.track.to_json()}


@dataclass(frozen=True)
class SequenceRecord:
    """The place of a sweep in its sequence.

    Attributes:
        stamp_s: Time of the sweep, seconds.
        pose: Upper 3 x 4 of the matrix from the sensor frame to the world, row by row.
        tentative: Instances that may be false alarms; their points are not in the ``.label`` file.
            Later sweeps may confirm them.
    """

    stamp_s: float
    pose: tuple[float, ...]
    tentative: tuple[InstanceRecord, ...]


@dataclass(frozen=True)
class Provenance:
    """What a result was computed from.

    Attributes:
        sweep: File name of the sweep.
        sweep_bytes: Size of that file.
        axes: Where the file's x, y and z point; see `SensorSetup`.
        origin_m: Position of the sensor in the file's coordinates, metres.
        level_deg: Pitch and roll by which the sweep was levelled, degrees; see `sensor_rotation`.
        notices: What was detected or assumed when the file was read.
        grid: Grid of the network.
        weights_sha256: Hash of the weights.
        settings: Hash of everything that affects the instances; see `settings_fingerprint`.
        calibration: SHA-256 of the camera calibration; None without one.
    """

    sweep: str
    sweep_bytes: int
    axes: str
    origin_m: tuple[float, float, float]
    level_deg: tuple[float, float]
    notices: tuple[str, ...]
    grid: BEVGrid
    weights_sha256: str
    settings: str
    calibration: str | None


@dataclass(frozen=True)
class FileRecord:
    """A file that bev-instseg wrote together with a ``.json``, and how it is recognised.

    Attributes:
        suffix: What follows the name of the result, such as ``.label`` or ``_3d.png``.
        num_bytes: Its size.
        sha256: Hash of its content.
    """

    suffix: str
    num_bytes: int
    sha256: str

    @classmethod
    def of(cls, suffix: str, data: bytes) -> "FileRecord":
        """Return the record of a file with this content."""
        return cls(suffix, len(data), hashlib.sha256(data).hexdigest())


@dataclass(frozen=True)
class SweepResult:
    """The content of a sweep's ``.json`` file.

    Attributes:
        num_points: Number of points of the sweep.
        class_names: Names of the classes that the network knows.
        instances: The instances by descending score.
        provenance: What the result was computed from; None if the file does not record all of it.
        files: The other files of the sweep, which bev-instseg may replace and remove.
        sequence: The sweep's place in its sequence; None without tracking.
        num_ground_points: Number of points on the ground; None if they were not asked for.
    """

    num_points: int
    class_names: tuple[str, ...]
    instances: tuple[InstanceRecord, ...]
    provenance: Provenance | None = None
    files: tuple[FileRecord, ...] = ()
    sequence: SequenceRecord | None = None
    num_ground_points: int | None = None

    @classmethod
    def of(
        cls, instances: Instances | TrackedInstances, provenance: Provenance | None = None
    ) -> "SweepResult":
        """Round the instances of a sweep for the file.

        Args:
            instances: The objects of the sweep.
            provenance: What they were computed from.
        """
        found = instances if isinstance(instances, Instances) else instances.instances
        num_ground = None if found.ground is None else int(found.ground.sum())
        size = len(found.labels), found.class_names
        if isinstance(instances, Instances):
            records = tuple(map(InstanceRecord.of, instances))
            return cls(*size, records, provenance, (), None, num_ground)
        sure = instances.tracks.confirmed
        ordered = instances.take(np.argsort(~sure, kind="stable"))  # the confirmed ones first
        records = tuple(
            InstanceRecord.of(one, TrackRecord.of(ordered, row))
            for row, one in enumerate(ordered.instances)
        )
        pose = tuple(instances.pose[:3].ravel().tolist())
        count = int(sure.sum())
        sequence = SequenceRecord(instances.stamp_s, pose, records[count:])
        return cls(*size, records[:count], provenance, (), sequence, num_ground)

    @classmethod
    def read(cls, path: str | Path) -> "SweepResult":
        """Read and check the ``.json`` file of a sweep.

        Args:
            path: The file; it may come from an earlier version.

        Raises:
            ScanError: The file cannot be read, or is not a complete result.
        """
        try:
            return cls.parse(read_bytes(path, MAX_BYTES), path)
        except OSError as error:
            raise ScanError(f"{path}: cannot be read ({error.strerror}); check the path") from None

    @classmethod
    def parse(cls, data: bytes | str, name: str | Path) -> "SweepResult":
        """Parse and check the content of a ``.json`` file.

        Args:
            data: The content.
            name: What the error names.

        Raises:
            ScanError: It is not a complete result.
        """
        try:
            return _parse(json.loads(data))
        except NOT_A_RESULT:
            raise ScanError(
                f"{name}: not a complete result of bev-instseg; segment the sweep again"
            ) from None

    def to_bytes(self) -> bytes:
        """Return the bytes of the file, the same for equal results.

        Raises:
            ValueError: A number is not finite.
            TypeError: A value has a type that JSON cannot hold.
        """
        tree: dict[str, Any] = {"about": MARK}
        if self.provenance is not None:
            tree |= asdict(self.provenance)
        tree |= {"num_points": self.num_points, "class_names": self.class_names}
        if self.num_ground_points is not None:
            tree["num_ground_points"] = self.num_ground_points
        tree["instances"] = [one.to_json() for one in self.instances]
        if self.sequence is not None:
            tree["sequence"] = {
                "stamp_s": self.sequence.stamp_s,
                "pose": self.sequence.pose,
                "tentative": [one.to_json() for one in self.sequence.tentative],
            }
        return _to_json(tree, self.files)


def unfinished(files: Iterable[FileRecord]) -> bytes:
    """Return what the ``.json`` holds while the other files are replaced.

    Args:
        files: The files that are there, and those that will be.
    """
    return _to_json({"about": MARK, "unfinished": True}, files)


@dataclass(frozen=True)
class OwnJson:
    """A ``.json`` that bev-instseg wrote and that was not changed.

    Attributes:
        files: The files that it lists; none in files of earlier versions.
        result: Its content; None if the other files were being replaced when the writer ended.
    """

    files: tuple[FileRecord, ...]
    result: SweepResult | None

    @classmethod
    def read(cls, path: Path) -> "OwnJson | None":
        """Read a file; return None if it does not exist, is not ours or was changed.

        Args:
            path: The file.
        """
        try:
            data = read_bytes(path, MAX_BYTES)
            tree = json.loads(data)
            if tree["about"] != MARK or ("sha256" in tree and not _is_sealed(data)):
                return None
            files = _parse_files(tree)
        except (OSError, *NOT_A_RESULT):
            return None
        try:
            return cls(files, _parse(tree))
        except NOT_A_RESULT:
            return cls(files, None)


def _to_json(tree: Mapping[str, Any], files: Iterable[FileRecord]) -> bytes:
    tree = {**tree, "files": [asdict(file) for file in files]}
    text = json.dumps(tree, indent=1, ensure_ascii=False, allow_nan=False)
    body = text.removesuffix("\n}").encode(errors="backslashreplace")  # names may not be UTF-8
    return body + SEAL + _end(body)


def _is_sealed(data: bytes) -> bool:
    """Return whether a file ends with the hash of everything above."""
    body, seal, end = data.rpartition(SEAL)
    return bool(seal) and end == _end(body)


def _end(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest().encode() + b'"\n}\n'


def _parse(tree: Any) -> SweepResult:
    """Check a parsed file; raises an error of `NOT_A_RESULT`."""
    class_names = tuple(text(name) for name in tree["class_names"])
    instances = tuple(_parse_instance(entry) for entry in tree["instances"])
    if [one.id for one in instances] != list(range(1, len(instances) + 1)):
        raise ValueError("ids must count up from 1")
    if not {one.class_name for one in instances} <= set(class_names):
        raise ValueError("an instance has an unknown class")
    num_points = integer(tree["num_points"])
    if num_points < 0 or not all(0 <= one.score <= 1 for one in instances):
        raise ValueError("a number is out of range")
    complete = all(field.name in tree for field in fields(Provenance))
    provenance = _parse_provenance(tree) if complete else None
    sequence = _parse_sequence(tree["sequence"]) if "sequence" in tree else None
    files = _parse_files(tree)
    ground = integer(tree["num_ground_points"]) if "num_ground_points" in tree else None
    return SweepResult(num_points, class_names, instances, provenance, files, sequence, ground)


def _parse_sequence(entry: Any) -> SequenceRecord:
    return SequenceRecord(
        number(entry["stamp_s"]),
        numbers(entry["pose"], 12),
        tuple(_parse_instance(one) for one in entry["tentative"]),
    )


def _parse_files(tree: Any) -> tuple[FileRecord, ...]:
    files = tuple(
        FileRecord(text(entry["suffix"]), integer(entry["num_bytes"]), text(entry["sha256"]))
        for entry in tree.get("files", ())  # results of earlier versions have none
    )
    if not {file.suffix for file in files} <= SUFFIXES:  # which could name any file nearby
        raise ValueError("an unknown suffix")
    return files


def _point(values: Any) -> Point:
    x, y, z = numbers(values, 3)
    return x, y, z


def _parse_instance(entry: Any) -> InstanceRecord:
    box = entry["box"]
    return InstanceRecord(
        id=integer(entry["id"]),
        class_name=text(entry["class"]),
        score=number(entry["score"]),
        num_points=integer(entry["num_points"]),
        centre_m=_point(entry["centre_m"]),
        length_m=number(box["length_m"]),
        width_m=number(box["width_m"]),
        height_m=number(box["height_m"]),
        yaw_rad=number(box["yaw_rad"]),
        course_m=tuple(map(_point, entry["course_m"])) if "course_m" in entry else None,
        track=TrackRecord.parse(entry["track"]) if "track" in entry else None,
    )


def _parse_provenance(tree: Any) -> Provenance:
    x, y, z = tree["origin_m"]
    pitch_deg, roll_deg = tree["level_deg"]
    grid = tree["grid"]
    calibration = tree["calibration"]
    return Provenance(
        sweep=text(tree["sweep"]),
        sweep_bytes=integer(tree["sweep_bytes"]),
        axes=text(tree["axes"]),
        origin_m=(number(x), number(y), number(z)),
        level_deg=(number(pitch_deg), number(roll_deg)),
        notices=tuple(text(notice) for notice in tree["notices"]),
        grid=BEVGrid(
            x_range_m=_range_m(grid["x_range_m"]),
            y_range_m=_range_m(grid["y_range_m"]),
            z_range_m=_range_m(grid["z_range_m"]),
            cell_m=number(grid["cell_m"]),
        ),
        weights_sha256=text(tree["weights_sha256"]),
        settings=text(tree["settings"]),
        calibration=None if calibration is None else text(calibration),
    )


def _range_m(value: Any) -> tuple[float, float]:
    low, high = value
    return number(low), number(high)
