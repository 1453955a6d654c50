"""A folder job: what to write for each sweep, which sweeps are done, and the work for one sweep.

`segment_item` does the work. It writes the same bytes whether a thread of this process or a worker
of a Ray cluster (`bev_instseg.jobs.on_ray`) calls it.
"""

import errno
import hashlib
import json
import threading
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from bev_instseg.datasets.kitti import CameraCalibration, read_calibration
from bev_instseg.exceptions import ScanError, explain, printable
from bev_instseg.export import (
    Cloud,
    OwnJson,
    Picture,
    Provenance,
    ResultFiles,
    SweepResult,
    require_replaceable,
    result_paths,
    write_result,
)
from bev_instseg.file_io import read_bytes
from bev_instseg.io.sensor_setup import SensorSetup, sensor_rotation
from bev_instseg.io.survey import Survey
from bev_instseg.io.sweep import Sweep, read_sweep, stem_of
from bev_instseg.jobs.find_items import Item
from bev_instseg.ops.off_grid import off_grid_notice
from bev_instseg.segmenter import Segmenter
from bev_instseg.structures import Float32, Segmentation
from bev_instseg.tiles import segment_tiles
from bev_instseg.tracking.tracked import TrackedInstances
from bev_instseg.visualize import (
    AROUND_SENSOR,
    Renderer,
    bev_png,
    maps_png,
    square_around,
    web_page,
)

# What reading, segmenting, writing or drawing a sweep may raise for reasons outside the program.
EXPECTED_ERRORS = (ValueError, OSError, RuntimeError, MemoryError, ImportError)
# Reasons for which no other sweep could be written either: a disk that is full or read-only.
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
MIN_REPEATS, MAX_REPEATS = 3, 7
REPEAT_S, MAX_REPEAT_S = 0.3, 1.0
LEVEL_STEP_DEG = 5  # a folder that grows may change its sweeps' common tilt by a little
OFF_GRID_REMEDY = "; --tiles segments them too, --origin X Y Z says where the sensor was"
_DRAWING = threading.Lock()  # Matplotlib draws one picture at a time


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
        tiles: Whether to segment points outside the grid, too; see `segment_tiles`.
        survey: Properties that the sweeps of each folder share.
    """

    out: Path
    settings: str
    setup: SensorSetup
    formats: tuple[str, ...] = ()
    pictures: tuple[Picture, ...] = ()
    calibration: Path | None = None
    tiles: bool = False
    survey: Survey = field(default_factory=Survey, hash=False)  # Ray hashes the job

    def read(self, item: Item) -> Sweep:
        """Read a sweep like the others of its folder; raises ScanError."""
        return read_sweep(item.path, self.setup, self.survey.reading_of(item.path))

    def settings_of(self, item: Item) -> str:
        """Return the hash of everything that affects a sweep's instances, except its own points."""
        reading = self.survey.reading_of(item.path)
        if reading is None or reading.is_usual:
            return self.settings
        steps = (round(value / LEVEL_STEP_DEG) for value in reading.level_deg)
        pitch_deg, roll_deg = (LEVEL_STEP_DEG * step for step in steps)
        common = replace(reading, notices=(), level_deg=(pitch_deg, roll_deg))
        found = [self.settings, asdict(common)]
        return hashlib.sha256(json.dumps(found).encode()).hexdigest()[:16]

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

        Results are up to date if they were made with the same calibration and settings, from a file
        of the same size that has not been modified since, and if the ``.json`` was not edited.
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

    def calibration_path(self, item: Item) -> Path | None:
        """Return the calibration file of a sweep; None without one."""
        if self.calibration is not None and self.calibration.is_dir():
            return self.calibration / f"{stem_of(item.path)}.txt"
        return self.calibration

    def calibration_sha256(self, item: Item) -> str | None:
        """Return the hash of a sweep's calibration file; None without one.

        Args:
            item: The sweep.

        Raises:
            OSError: The file cannot be read.
        """
        path = self.calibration_path(item)
        return None if path is None else hashlib.sha256(read_bytes(path)).hexdigest()


@dataclass(frozen=True)
class Outcome:
    """The outcome of a sweep; can be sent between machines.

    Attributes:
        item: The sweep.
        notices: What was detected in its file, and which pictures could not be drawn.
        timing_ms: Milliseconds of each stage; empty if the sweep failed.
        error: One line that says why the sweep failed; empty if it did not.
        is_disk_error: Whether it failed for one of the `DISK_ERRORS`.
    """

    item: Item
    notices: tuple[str, ...] = ()
    timing_ms: dict[str, float] = field(default_factory=dict)
    error: str = ""
    is_disk_error: bool = False


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
    return hashlib.sha256(json.dumps(hashed).encode()).hexdigest()[:16]


def new_renderer(job: Job) -> AbstractContextManager[Renderer | None]:
    """Return a context with the renderer of a job's perspective pictures, or with None."""
    return Renderer() if Picture.PERSPECTIVE in job.pictures else nullcontext()


@dataclass(frozen=True, eq=False)
class Segmented:
    """A sweep that was read and segmented, but not yet written.

    Attributes:
        sweep: The sweep.
        segmentation: Everything computed for it.
        timing_ms: Milliseconds of each stage so far.
    """

    sweep: Sweep
    segmentation: Segmentation
    timing_ms: dict[str, float]


def segment_item(segmenter: Segmenter, job: Job, renderer: Renderer | None, item: Item) -> Outcome:
    """Read, segment, write and draw one sweep; a failure is part of the outcome.

    Args:
        segmenter: Finds the instances.
        job: What to write.
        renderer: The job's `new_renderer`.
        item: The sweep.
    """
    try:
        segmented = read_and_segment(segmenter, job, item)
        return draw_and_write(segmenter, job, renderer, item, segmented)
    except EXPECTED_ERRORS as error:
        return failure(item, error)


def failure(item: Item, error: BaseException) -> Outcome:
    """Return the outcome of a sweep that failed.

    Args:
        item: The sweep.
        error: One of the `EXPECTED_ERRORS`.
    """
    is_disk_error = isinstance(error, OSError) and error.errno in DISK_ERRORS
    return Outcome(item, error=_reason(error, item), is_disk_error=is_disk_error)


def read_and_segment(segmenter: Segmenter, job: Job, item: Item) -> Segmented:
    """Read and segment a sweep whose results can be written; raises `EXPECTED_ERRORS`.

    Args:
        segmenter: Finds the instances.
        job: What to write.
        item: The sweep.
    """
    require_replaceable(job.target(item), job.paths(item))
    start = time.perf_counter()
    sweep = job.read(item)
    return segment_sweep(segmenter, job, sweep, 1000 * (time.perf_counter() - start))


def segment_sweep(segmenter: Segmenter, job: Job, sweep: Sweep, read_ms: float) -> Segmented:
    """Segment a sweep that has been read; raises `EXPECTED_ERRORS`.

    Args:
        segmenter: Finds the instances.
        job: Says whether to use tiles.
        sweep: The sweep.
        read_ms: Milliseconds that reading it took.

    Returns:
        The sweep and its objects; the sweep has a notice more if many points are outside the grid.
    """
    segmentation = _segment(segmenter, job, sweep.points)
    sweep = _with_off_grid_notice(sweep, job, segmentation)
    return Segmented(sweep, segmentation, {"read": read_ms, **segmentation.timing_ms})


def draw_and_write(
    segmenter: Segmenter,
    job: Job,
    renderer: Renderer | None,
    item: Item,
    segmented: Segmented,
    tracked: TrackedInstances | None = None,
) -> Outcome:
    """Draw and write a segmented sweep; raises `EXPECTED_ERRORS`.

    Args:
        segmenter: Found the instances.
        job: What to write.
        renderer: The job's `new_renderer`.
        item: Names the results.
        segmented: What to write.
        tracked: Its instances with their tracks; None without tracking.
    """
    sweep, segmentation = segmented.sweep, segmented.segmentation
    news: tuple[str, ...] = ()
    if tracked is not None:
        segmentation = replace(segmentation, instances=tracked.confirmed().instances)
        news = tracked.notices
    timing_ms = segmented.timing_ms.copy()
    with _DRAWING if job.pictures else nullcontext():
        start = time.perf_counter()
        pictures, notices = _draw(job, renderer, item, sweep.points, segmentation)
        if job.pictures:
            timing_ms["draw"] = 1000 * (time.perf_counter() - start)
    start = time.perf_counter()
    files = ResultFiles(
        formats=job.formats,
        calibration=_sensor_to_camera(job, item, sweep),
        image_size_px=segmenter.config.data.image_size_px,
        pictures=pictures,
    )
    about = provenance_of(segmenter, job, item, segmented)
    cloud = Cloud(sweep.xyz, sweep.points[:, 3])
    found = segmentation.instances if tracked is None else tracked
    write_result(job.target(item), cloud, found, segmenter.classes, about, files)
    timing_ms["write"] = 1000 * (time.perf_counter() - start)
    return Outcome(item, (*sweep.notices, *news, *notices), timing_ms)


def _segment(segmenter: Segmenter, job: Job, points: Float32) -> Segmentation:
    return segment_tiles(segmenter, points) if job.tiles else segmenter.segment_with_maps(points)


def _with_off_grid_notice(sweep: Sweep, job: Job, segmentation: Segmentation) -> Sweep:
    """Add a notice if many points are outside the grid."""
    notice = off_grid_notice(sweep.points, segmentation.pillars)
    if not notice:
        return sweep
    if not job.tiles:
        notice += OFF_GRID_REMEDY
    return replace(sweep, notices=(*sweep.notices, notice))


def time_again_ms(segmenter: Segmenter, job: Job, item: Item) -> list[float]:
    """Read and segment a sweep several times; return the milliseconds that each time took.

    Args:
        segmenter: Finds the instances.
        job: How sweeps are stored.
        item: The sweep.

    Returns:
        At least `MIN_REPEATS` and at most `MAX_REPEATS` values, which take up to about `REPEAT_S`
        together; none if a single one takes longer than `MAX_REPEAT_S`.
    """
    times_ms: list[float] = []
    while len(times_ms) < MIN_REPEATS or (
        len(times_ms) < MAX_REPEATS and sum(times_ms) < 1000 * REPEAT_S
    ):
        start = time.perf_counter()
        _segment(segmenter, job, job.read(item).points)
        times_ms.append(1000 * (time.perf_counter() - start))
        if times_ms[-1] > 1000 * MAX_REPEAT_S:
            return []
    return times_ms


def _reason(error: BaseException, item: Item) -> str:
    """Return an error as a line that names the sweep."""
    name = printable(str(item.path))
    text = str(error).replace(str(item.path), name)  # whose line breaks do not end the message
    if isinstance(error, OSError) or not text:
        text = explain(error)
    reason = printable(text.splitlines()[0])
    return reason if name in reason else f"{name}: {reason}"


def provenance_of(segmenter: Segmenter, job: Job, item: Item, segmented: Segmented) -> Provenance:
    """Return what a sweep's result was computed from.

    Args:
        segmenter: Found the instances.
        job: The options of the job.
        item: The sweep's file.
        segmented: The sweep.
    """
    sweep = segmented.sweep
    return Provenance(
        sweep=printable(item.path.name),
        sweep_bytes=item.path.stat().st_size,
        axes=sweep.axes,
        origin_m=sweep.origin_m,
        level_deg=sweep.level_deg,
        notices=sweep.notices,
        grid=segmented.segmentation.pillars.grid,
        weights_sha256=segmenter.weights_sha256,
        settings=job.settings_of(item),
        calibration=job.calibration_sha256(item),
    )


def _sensor_to_camera(job: Job, item: Item, sweep: Sweep) -> CameraCalibration | None:
    """Return a sweep's calibration for the sensor frame; that on disk is for the file's frame."""
    path = job.calibration_path(item)
    if path is None:
        return None
    from_file = read_calibration(path)
    rotation = from_file.rotation @ sensor_rotation(sweep.axes, sweep.level_deg).T
    translation = from_file.to_camera(np.array([sweep.origin_m]))[0]
    return replace(from_file, rotation=rotation, translation=translation)


def _draw(
    job: Job, renderer: Renderer | None, item: Item, points: Float32, segmentation: Segmentation
) -> tuple[dict[Picture, bytes], list[str]]:
    """Return the pictures of a sweep, and why some cannot be drawn on this machine."""
    pictures, notices = dict[Picture, bytes](), []
    instances, title = segmentation.instances, printable(item.name)
    for picture in job.pictures:
        if picture is Picture.BEV:
            pillars = segmentation.pillars
            range_m, middle_m = square_around(pillars) if job.tiles else AROUND_SENSOR
            pictures[picture] = bev_png(
                points, instances, title=title, range_m=range_m, middle_m=middle_m
            )
        elif picture is Picture.WEB_PAGE:
            pictures[picture] = web_page(points, instances, title=title)
        elif picture is Picture.MAPS:
            pictures[picture] = maps_png(points, segmentation, title=title)
        elif renderer is not None:
            try:
                pictures[picture] = renderer.render(points, instances, title=title)
            except RuntimeError as error:
                notices.append(str(error))
    return pictures, notices
