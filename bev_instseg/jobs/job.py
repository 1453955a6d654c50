"""A folder job: which sweeps, what to write for each, what is done already, and one sweep's work.

`segment_item` does the work. It writes the same bytes whether a thread of this process or a worker
of a Ray cluster (`bev_instseg.jobs.on_ray`) calls it.
"""

import hashlib
import json
import os
import threading
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from bev_instseg.datasets.kitti import CameraCalibration, read_calibration
from bev_instseg.exceptions import ScanError, explain
from bev_instseg.export import (
    POINT_FORMATS,
    Cloud,
    Picture,
    Provenance,
    ResultFiles,
    SweepResult,
    has_mark,
    result_paths,
    write_result,
)
from bev_instseg.io.formats import SUFFIXES
from bev_instseg.io.sensor_setup import SensorSetup, axes_rotation
from bev_instseg.io.sweep import Sweep, read_sweep, stem_of
from bev_instseg.segmenter import Segmenter
from bev_instseg.structures import Float32, Instances, Segmentation
from bev_instseg.visualize import Renderer, draw_bev, draw_maps, write_html

POINT_SUFFIXES = tuple(f".{name}" for name in POINT_FORMATS)
# What reading, segmenting, writing or drawing a sweep may raise for reasons outside the program.
EXPECTED_ERRORS = (ValueError, OSError, RuntimeError, MemoryError, ImportError)
_DRAWING = threading.Lock()  # Matplotlib draws one picture at a time


@dataclass(frozen=True)
class Item:
    """A sweep of a job.

    Attributes:
        path: Its file.
        name: Name of its results inside the output folder, without suffix.
    """

    path: Path
    name: str


@dataclass(frozen=True)
class Job:
    """What to write for every sweep; can be sent to other machines.

    Attributes:
        out: Folder of the results.
        settings: Hash of everything that affects the instances; see `settings_fingerprint`.
        setup: How the sweeps are stored.
        formats: Point files to write, from `bev_instseg.export.POINT_FORMATS`.
        pictures: Pictures to draw.
        calibration: Camera calibration for boxes in its image: a file for all sweeps, or a folder
            with a ``NAME.txt`` for each; None for no boxes.
    """

    out: Path
    settings: str
    setup: SensorSetup
    formats: tuple[str, ...] = ()
    pictures: tuple[Picture, ...] = ()
    calibration: Path | None = None

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

        They are if they were made from the same calibration and settings and from a file of the
        same size, and if that file has not been modified since.
        """
        if not all(path.exists() for path in self.paths(item)):
            return False
        json_path = self.json_path(item)
        try:
            result = SweepResult.read(json_path)
            made_from = result.provenance
            sweep = item.path.stat()
            return (
                made_from is not None
                and made_from.settings == self.settings
                and made_from.sweep_bytes == sweep.st_size
                and made_from.calibration == self.calibration_sha256(item)
                and self.label_path(item).stat().st_size == 4 * result.num_points
                and json_path.stat().st_mtime_ns >= sweep.st_mtime_ns
            )
        except (OSError, ScanError):
            return False

    def calibration_path(self, item: Item) -> Path | None:
        """Return the calibration file of a sweep; None without one."""
        if self.calibration is not None and self.calibration.is_dir():
            return self.calibration / f"{Path(item.name).name}.txt"
        return self.calibration

    def calibration_sha256(self, item: Item) -> str | None:
        """Return the hash of a sweep's calibration file; None without one.

        Args:
            item: The sweep.

        Raises:
            OSError: The file cannot be read.
        """
        path = self.calibration_path(item)
        return None if path is None else hashlib.sha256(path.read_bytes()).hexdigest()


@dataclass(frozen=True)
class Outcome:
    """The outcome of a sweep; can be sent between machines.

    Attributes:
        item: The sweep.
        notices: What was detected in its file, and what could not be drawn.
        timing_ms: Milliseconds of each stage, drawing excluded; empty if the sweep failed.
        error: One line that says why the sweep failed; empty if it did not.
    """

    item: Item
    notices: tuple[str, ...] = ()
    timing_ms: dict[str, float] = field(default_factory=dict)
    error: str = ""


def find_items(inputs: Sequence[Path], out: Path) -> list[Item]:
    """Find the sweeps among files and, to any depth, in folders.

    The results of a sweep in a folder are named by its path below that folder, those of a file by
    its stem. Hidden files and folders are skipped, and so are point files that bev-instseg wrote.

    Args:
        inputs: Sweeps and folders.
        out: Folder of the results.

    Returns:
        The sweeps, each once, in the order of ``inputs`` and sorted within a folder.

    Raises:
        ScanError: There are no sweeps, a link in ``out`` would put results outside of it, or two
            sweeps would have results of the same name.
    """
    items: dict[Path, Item] = {}  # by real path: a file given twice is processed once
    for source in inputs:
        for path in _sweeps_of(source, out):
            below = path.relative_to(source).parent if source.is_dir() else Path()
            items.setdefault(path.resolve(), Item(path, (below / stem_of(path)).as_posix()))
    by_name: dict[str, Item] = {}
    for item in items.values():
        folder = (out / item.name).parent.resolve()
        if not folder.is_relative_to(out.resolve()):
            raise ScanError(
                f"{item.path}: a link would put its results in {folder}, outside the output "
                "folder; choose another --out"
            )
        first = by_name.setdefault(item.name, item)
        if first is not item:
            raise ScanError(
                f"{item.path}: its results would have the same name as those of {first.path}; "
                "segment one of them separately, with another --out"
            )
    return list(items.values())


def _sweeps_of(source: Path, out: Path) -> list[Path]:
    """Return the sweeps that an input stands for; raises ScanError if there are none."""
    if source.suffix in POINT_SUFFIXES and source.resolve().parent == out.resolve():
        raise ScanError(f"{source}: is inside the output folder; choose another --out")
    if not source.exists():
        raise ScanError(f"{source}: no such sweep or folder; check the path")
    if not source.is_dir():
        return [source]
    found = _sweeps_below(source)
    if not found:
        raise ScanError(
            f"{source}: no sweeps in this folder; expected {', '.join(SUFFIXES)} files that "
            "bev-instseg did not write"
        )
    return found


def _sweeps_below(folder: Path) -> list[Path]:
    """Return the sorted sweeps of a folder tree; links to a file found without them are skipped."""
    found: dict[Path, Path] = {}
    visited = set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        real = Path(parent).resolve()
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if real in visited:  # a link that leads back up
            folders.clear()
            continue
        visited.add(real)
        for path in (Path(parent) / name for name in names if not name.startswith(".")):
            if not path.name.lower().endswith(SUFFIXES) or not path.is_file():
                continue
            if path.suffix in POINT_SUFFIXES and has_mark(path):
                continue
            if not path.is_symlink() or path.resolve() not in found:
                found[path.resolve()] = path
    return sorted(found.values())


def settings_fingerprint(segmenter: Segmenter, setup: SensorSetup) -> str:
    """Return a hash of everything that affects the instances: 16 hexadecimal digits.

    Args:
        segmenter: Its weights, grid, classes and thresholds count.
        setup: How the sweeps are stored.
    """
    config = segmenter.config
    hashed: list[Any] = [segmenter.weights_sha256, asdict(setup), asdict(config.grid)]
    hashed += [asdict(config.cluster), [asdict(c) for c in config.classes]]
    return hashlib.sha256(json.dumps(hashed).encode()).hexdigest()[:16]


def new_renderer(job: Job) -> AbstractContextManager[Renderer | None]:
    """Return the renderer of a job's perspective pictures; None within if it has none."""
    return Renderer() if Picture.PERSPECTIVE in job.pictures else nullcontext()


def segment_item(segmenter: Segmenter, job: Job, renderer: Renderer | None, item: Item) -> Outcome:
    """Read, segment, write and draw one sweep; a failure is part of the outcome.

    Args:
        segmenter: Finds the instances.
        job: What to write.
        renderer: The job's `new_renderer`.
        item: The sweep.
    """
    try:
        start = time.perf_counter()
        sweep = read_sweep(item.path, job.setup)
        timing_ms = {"read": 1000 * (time.perf_counter() - start)}
        segmentation = segmenter.segment_with_maps(sweep.points)
        timing_ms |= segmentation.timing_ms
        start = time.perf_counter()
        _write(segmenter, job, item, sweep, segmentation.instances)
        timing_ms["write"] = 1000 * (time.perf_counter() - start)
        with _DRAWING:
            notices = _draw(job, renderer, item, sweep.points, segmentation)
    except EXPECTED_ERRORS as error:
        reason = explain(error)
        prefix = "" if str(item.path) in reason else f"{item.path}: "
        return Outcome(item, error=f"{prefix}{reason}")
    return Outcome(item, (*sweep.notices, *notices), timing_ms)


def _write(segmenter: Segmenter, job: Job, item: Item, sweep: Sweep, instances: Instances) -> None:
    files = ResultFiles(
        formats=job.formats,
        calibration=_sensor_to_camera(job, item, sweep),
        image_size_px=segmenter.config.data.image_size_px,
        pictures=job.pictures,
    )
    provenance = Provenance(
        sweep=item.path.name,
        sweep_bytes=item.path.stat().st_size,
        axes=sweep.axes,
        origin_m=sweep.origin_m,
        notices=sweep.notices,
        grid=segmenter.config.grid,
        weights_sha256=segmenter.weights_sha256,
        settings=job.settings,
        calibration=job.calibration_sha256(item),
    )
    cloud = Cloud(sweep.xyz, sweep.points[:, 3])
    write_result(job.target(item), cloud, instances, segmenter.config.classes, provenance, files)


def _sensor_to_camera(job: Job, item: Item, sweep: Sweep) -> CameraCalibration | None:
    """Return a sweep's calibration from the sensor frame; the one on disk is from the file's."""
    path = job.calibration_path(item)
    if path is None:
        return None
    from_file = read_calibration(path)
    rotation = from_file.rotation @ axes_rotation(sweep.axes).T
    translation = from_file.to_camera(np.array([sweep.origin_m]))[0]
    return replace(from_file, rotation=rotation, translation=translation)


def _draw(
    job: Job, renderer: Renderer | None, item: Item, points: Float32, segmentation: Segmentation
) -> list[str]:
    """Draw the pictures of a job; return what this machine cannot draw, and why."""
    notices, instances = [], segmentation.instances
    for picture in job.pictures:
        path = picture.path(job.target(item))
        if picture is Picture.BEV:
            draw_bev(points, instances, path, title=item.name)
        elif picture is Picture.WEB_PAGE:
            write_html(points, instances, path, title=item.name)
        elif picture is Picture.MAPS:
            draw_maps(points, segmentation, path, title=item.name)
        elif renderer is not None:
            try:
                renderer.draw(points, instances, path, title=item.name)
            except RuntimeError as error:
                notices.append(str(error).removeprefix(f"{path}: "))
    return notices
