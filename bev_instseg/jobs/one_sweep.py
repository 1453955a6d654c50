"""The work of a job on one sweep: read, segment, draw and write.

`segment_item` does it all. It writes the same bytes whether a thread of this process or a worker
of a Ray cluster (`bev_instseg.jobs.on_ray`) calls it.
"""

import threading
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import numpy as np

from bev_instseg.datasets.kitti_files import CameraCalibration, read_calibration
from bev_instseg.exceptions import printable
from bev_instseg.export import (
    Cloud,
    Picture,
    Provenance,
    ResultFiles,
    require_replaceable,
    write_result,
)
from bev_instseg.file_io import sample_sha256
from bev_instseg.io.sensor_setup import sensor_rotation
from bev_instseg.io.sweep import Sweep
from bev_instseg.jobs.find_items import Item
from bev_instseg.jobs.job import Job
from bev_instseg.jobs.outcome import EXPECTED_ERRORS, Outcome, failure
from bev_instseg.ops.off_grid import off_grid_notice
from bev_instseg.segmenter import Segmenter
from bev_instseg.structures import Float32, Segmentation
from bev_instseg.tiles import segment_tile_by_tile
from bev_instseg.tracking.tracked import TrackedInstances
from bev_instseg.visualize import (
    AROUND_SENSOR,
    Renderer,
    bev_png,
    maps_png,
    square_around,
    web_page,
)

MIN_REPEATS, MAX_REPEATS = 3, 7
REPEAT_S, MAX_REPEAT_S = 0.3, 1.0
OFF_GRID_REMEDY = "; --tiles segments them too, --origin X Y Z says where the sensor was"
_DRAWING = threading.Lock()  # Matplotlib draws one picture at a time


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
        job: Whether to use tiles.
        sweep: The sweep.
        read_ms: Milliseconds that reading it took.

    Returns:
        The sweep and its objects; the sweep has one more notice if many points are off the grid.
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
        image_size_px=job.image_size_px,
        pictures=pictures,
    )
    about = provenance_of(segmenter, job, item, segmented)
    cloud = Cloud(sweep.xyz, sweep.points[:, 3])
    found = segmentation.instances if tracked is None else tracked
    write_result(job.target(item), cloud, found, segmenter.classes, about, files)
    timing_ms["write"] = 1000 * (time.perf_counter() - start)
    return Outcome(item, (*sweep.notices, *news, *notices), timing_ms)


def _segment(segmenter: Segmenter, job: Job, points: Float32) -> Segmentation:
    if job.tiles:
        return segment_tile_by_tile(segmenter, points)
    return segmenter.segment_with_maps(points)


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
        `MIN_REPEATS` values, and more until they add up to `REPEAT_S` or there are `MAX_REPEATS`;
        none if a single one takes longer than `MAX_REPEAT_S`.
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
        sweep_sample=sample_sha256(item.path),
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
