"""The ``.json`` file of a sweep: its instances, and the file, weights and settings behind them."""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from bev_instseg.exceptions import ScanError
from bev_instseg.export.instance_record import InstanceRecord
from bev_instseg.export.json_values import integer, number, numbers, text
from bev_instseg.export.mark import MARK
from bev_instseg.export.provenance import Provenance
from bev_instseg.export.sealed_json import FileRecord, is_sealed, parse_files, sealed
from bev_instseg.export.track_record import TrackRecord
from bev_instseg.file_io import read_bytes
from bev_instseg.structures import Instances
from bev_instseg.tracking.tracked import TrackedInstances

MAX_BYTES = 64 << 20  # 65,535 instances, the most that a .label can number, take half of it
# Errors when parsing a file that is not a result.
NOT_A_RESULT = (
    *(ValueError, KeyError, TypeError, AttributeError),
    *(OverflowError, RecursionError, MemoryError),
)


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

    @classmethod
    def parse(cls, entry: Any) -> "SequenceRecord":
        """Check a parsed entry; raises ValueError, KeyError or TypeError."""
        return cls(
            number(entry["stamp_s"]),
            numbers(entry["pose"], 12),
            tuple(InstanceRecord.parse(one) for one in entry["tentative"]),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the entry that `parse` reads."""
        return {
            "stamp_s": self.stamp_s,
            "pose": self.pose,
            "tentative": [one.to_json() for one in self.tentative],
        }


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
            tree["sequence"] = self.sequence.to_json()
        return sealed(tree, self.files)


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
            if tree["about"] != MARK or ("sha256" in tree and not is_sealed(data)):
                return None
            files = parse_files(tree)
        except (OSError, *NOT_A_RESULT):
            return None
        try:
            return cls(files, _parse(tree))
        except NOT_A_RESULT:
            return cls(files, None)


def _parse(tree: Any) -> SweepResult:
    """Check a parsed file; raises an error of `NOT_A_RESULT`."""
    class_names = tuple(text(name) for name in tree["class_names"])
    instances = tuple(InstanceRecord.parse(entry) for entry in tree["instances"])
    if [one.id for one in instances] != list(range(1, len(instances) + 1)):
        raise ValueError("ids must count up from 1")
    if not {one.class_name for one in instances} <= set(class_names):
        raise ValueError("an instance has an unknown class")
    num_points = integer(tree["num_points"])
    if num_points < 0 or not all(0 <= one.score <= 1 for one in instances):
        raise ValueError("a number is out of range")
    complete = all(field.name in tree for field in fields(Provenance))
    provenance = Provenance.parse(tree) if complete else None
    sequence = SequenceRecord.parse(tree["sequence"]) if "sequence" in tree else None
    files = parse_files(tree)
    ground = integer(tree["num_ground_points"]) if "num_ground_points" in tree else None
    return SweepResult(num_points, class_names, instances, provenance, files, sequence, ground)
