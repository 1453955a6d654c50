"""A folder job: what to write for each sweep, and what is done already."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from bev_instseg.config import DataConfig
from bev_instseg.exceptions import ScanError
from bev_instseg.export import (
    OwnJson,
    Picture,
    SweepResult,
    read_instances,
    result_paths,
)
from bev_instseg.file_io import read_bytes, sample_sha256
from bev_instseg.io.sensor_setup import SensorSetup
from bev_instseg.io.survey import Survey
from bev_instseg.io.sweep import Sweep, read_sweep, stem_of
from bev_instseg.jobs.find_items import Item
from bev_instseg.segmenter import Segmenter
from bev_instseg.structures import Instances

LEVEL_STEP_DEG = 5  # new sweeps in a folder may change the common tilt slightly


@dataclass(frozen=True)
class Job:
    """What to write for every sweep; can be sent to other machines.

    Attributes:
        out: Folder of the results.
        settings: Hash of everything that affects the instances of all sweeps; see
            `settings_fingerprint`.
        setup: What is known about how the sweeps are stored.
        formats: Point files to write, from `bev_instseg.export.POINT_FORMATS`.
        pictures: Pictures to draw.
        calibration: Camera calibration for boxes in its image: a file for all sweeps, or a folder
            with a ``NAME.txt`` for each; None for no boxes.
        image_size_px: Width and height of that camera's image.
        tiles: Whether to segment points outside the grid, too; see `segment_tiles`.
        survey: Properties that the sweeps of each folder share.
        with_poses: Folders whose sweeps are tracked with given poses.
    """

    out: Path
    settings: str
    setup: SensorSetup
    formats: tuple[str, ...] = ()
    pictures: tuple[Picture, ...] = ()
    calibration: Path | None = None
    image_size_px: tuple[int, int] = DataConfig.image_size_px
    tiles: bool = False
    survey: Survey = field(default_factory=Survey, hash=False)  # Ray hashes the job
    with_poses: frozenset[Path] = frozenset()

    def read(self, item: Item) -> Sweep:
        """Read a sweep like the others of its folder; raises ScanError."""
        return read_sweep(item.path, self.setup, self.survey.reading_of(item.path))

    def settings_of(self, item: Item) -> str:
        """Return the hash of everything that affects a sweep's instances, except its own points."""
        found: list[Any] = ["given poses"] if item.path.parent in self.with_poses else []
        reading = self.survey.reading_of(item.path)
        if reading is not None and not reading.is_usual:
            steps = (round(value / LEVEL_STEP_DEG) for value in reading.level_deg)
            pitch_deg, roll_deg = (LEVEL_STEP_DEG * step for step in steps)
            found.append(asdict(replace(reading, notices=(), level_deg=(pitch_deg, roll_deg))))
        if not found:
            return self.settings
        return hashlib.sha256(json.dumps([self.settings, *found]).encode()).hexdigest()[:16]

    def target(self, item: Item) -> Path:
        """Return the path of a sweep's results without suffix."""
        return self.out / item.name

    def label_path(self, item: Item) -> Path:
        """Return the path of a sweep's ``.label``."""
        return Path(f"{self.target(item)}.label")

    def json_path(self, item: Item) -> Path:
        """Return the path of a sweep's ``.json``."""
        return Path(f"{self.target(item)}.json")

    def paths(self, item: Item) -> list[Path]:
        """Return the files that a finished sweep must have."""
        target = self.target(item)
        paths = result_paths(target, self.formats, self.calibration is not None)
        # A perspective picture may be missing: not every machine can draw it.
        required = [picture for picture in self.pictures if picture is not Picture.PERSPECTIVE]
        return [*paths, *(picture.path(target) for picture in required)]

    def is_done(self, item: Item) -> bool:
        """Return whether the results of a sweep exist and are up to date.

        Results are up to date if they were made with the same calibration and settings, from the
        same file, which has not been modified since, and if the ``.json`` was not edited.
        """
        json_path = self.json_path(item)
        try:
            modified_ns = json_path.stat().st_mtime_ns
            sweep = item.path.stat()
            own = OwnJson.read(json_path)
            if own is None or own.result is None or own.result.provenance is None:
                return False
            made_from = own.result.provenance
            listed = {f"{self.target(item)}{file.suffix}": file.num_bytes for file in own.files}
            return (
                made_from.settings == self.settings_of(item)
                and made_from.sweep_bytes == sweep.st_size
                and made_from.sweep_sample == sample_sha256(item.path)
                and made_from.calibration == self.calibration_sha256(item)
                and all(
                    path == json_path or path.stat().st_size == listed.get(str(path))
                    for path in self.paths(item)
                )
                and modified_ns >= sweep.st_mtime_ns
            )
        except OSError:
            return False

    def read_result(self, item: Item) -> SweepResult:
        """Read the ``.json`` of a sweep.

        Args:
            item: The sweep.

        Raises:
            ScanError: It is not complete, or was made with different weights or settings.
        """
        path = self.json_path(item)
        result = SweepResult.read(path)
        if result.provenance is None or result.provenance.settings != self.settings_of(item):
            raise ScanError(f"{path}: made with different weights or settings; segment it again")
        return result

    def read_instances(self, item: Item) -> Instances:
        """Read the instances of a finished sweep, with the label of each point; raises ScanError.

        Args:
            item: The sweep.
        """
        return read_instances(self.label_path(item), self.json_path(item))

    def calibration_path(self, item: Item) -> Path | None:
        """Return the calibration file of a sweep; None without one."""
        if self.calibration is not None and self.calibration.is_dir():
            return self.calibration / f"{stem_of(item.path)}.txt"
        return self.calibration

    def calibration_sha256(self, item: Item) -> str | None:
        """Return the hash of a sweep's calibration file and image size; None without calibration.

        Args:
            item: The sweep.

        Raises:
            OSError: The file cannot be read.
        """
        path = self.calibration_path(item)
        return None if path is None else self._hash([path])

    def calibrations_sha256(self) -> str | None:
        """Return the hash of all calibration files and the image size; None without calibration.

        Raises:
            OSError: A file cannot be read.
        """
        given = self.calibration
        if given is None:
            return None
        return self._hash(sorted(given.glob("*.txt")) if given.is_dir() else [given])

    def _hash(self, calibrations: Sequence[Path]) -> str:
        found: list[Any] = [(path.name, read_bytes(path).hex()) for path in calibrations]
        return hashlib.sha256(json.dumps([*found, self.image_size_px]).encode()).hexdigest()


def settings_fingerprint(
    segmenter: Segmenter, setup: SensorSetup, tiles: bool = False, tracking: str = ""
) -> str:
    """Return a hash of everything that affects the instances: 16 hexadecimal digits.

    Args:
        segmenter: Its weights, grid, classes and thresholds count.
        setup: How the sweeps are stored.
        tiles: Whether points outside the grid are segmented, too.
        tracking: How the instances are tracked; empty if they are not.
    """
    config = segmenter.config
    hashed: list[Any] = [segmenter.weights_sha256, asdict(setup), asdict(config.grid)]
    hashed += [asdict(config.cluster), [asdict(c) for c in segmenter.classes], tiles]
    hashed += [tracking] if tracking else []
    hashed += ["ground"] if segmenter.ground else []
    hashed += [{"tta": segmenter.tta}] if segmenter.tta > 1 else []
    return hashlib.sha256(json.dumps(hashed).encode()).hexdigest()[:16]
