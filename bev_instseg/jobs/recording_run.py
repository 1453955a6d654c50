"""Segment a recording: a stream of sweeps in, a recording with labels and tracks out."""

import time
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np

from bev_instseg.config import GROUND_LABEL
from bev_instseg.engines.threads import num_threads
from bev_instseg.exceptions import ScanError
from bev_instseg.export import SweepResult
from bev_instseg.export.labelled_recording import LabelledRecording
from bev_instseg.export.read_back import tracked_of
from bev_instseg.export.ros_messages import Encoder, SegmentedSweep
from bev_instseg.export.stored_sweeps import StoredSweep
from bev_instseg.io.recordings.interpret import interpret_sweep, rigid_points
from bev_instseg.io.recordings.point_cloud2 import StampedSweep, stamp_text
from bev_instseg.io.recordings.poses import RecordedPoses
from bev_instseg.io.recordings.recording import RawSweep, Recording
from bev_instseg.io.sensor_setup import sensor_rotation
from bev_instseg.io.sweep import Sweep
from bev_instseg.jobs.find_items import Item
from bev_instseg.jobs.in_threads import MAX_WORKERS, QUEUED_PER_WORKER, InOrder, run_in_threads
from bev_instseg.jobs.one_sweep import (
    Segmented,
    draw_and_write,
    new_renderer,
    provenance_of,
    segment_sweep,
)
from bev_instseg.jobs.outcome import EXPECTED_ERRORS, Outcome, failure
from bev_instseg.jobs.recording_job import EgoBox, RecordingJob
from bev_instseg.jobs.sequence_tracker import SequenceTracker
from bev_instseg.jobs.tracker_input import TrackerInput, rounded_stamp
from bev_instseg.segmenter import Segmenter
from bev_instseg.structures import Instances
from bev_instseg.tracking.smooth import smooth, without_points
from bev_instseg.tracking.tracked import TrackedInstances
from bev_instseg.visualize import Renderer

MANY = 1 << 30  # sweeps, if their number is unknown
NO_STAMP = "the messages have no stamps, so the times at which they were recorded are used"


@dataclass(frozen=True)
class SweepOutcome:
    """The outcome of a sweep of a recording.

    Attributes:
        outcome: Notices, times and errors.
        stored: Its messages for the recording; None if it failed.
        num_instances: Number of objects of each class.
    """

    outcome: Outcome
    stored: StoredSweep | None = None
    num_instances: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class _Step:
    """The next sweep: its index, its raw data, and its earlier results, if there are any."""

    index: int
    raw: RawSweep
    item: Item
    earlier: SweepResult | None = None


@dataclass(frozen=True, eq=False)
class _Found:
    """A sweep that was read and, unless it was finished earlier, segmented."""

    stamped: StampedSweep
    segmented: Segmented | None
    for_tracker: TrackerInput | None


class RecordingRun:
    """Segments, tracks and writes the sweeps that a labelled recording lacks.

    Sweeps are read one after another, and several are segmented at once; the tracker takes them in
    order. Only a few are in memory at a time.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        job: RecordingJob,
        recording: Recording,
        poses: RecordedPoses | None = None,
    ) -> None:
        """Prepare to segment.

        Args:
            segmenter: Finds the instances; for tracking, also those with low scores, see
                `with_weak_instances`.
            job: What to do.
            recording: The recording with the sweeps.
            poses: Poses of the sensor; None to estimate them from the points.
        """
        self._segmenter, self._job, self._recording = segmenter, job, recording
        self._encoder = Encoder(segmenter.classes)
        self._given = poses
        self._tracker = SequenceTracker(poses is not None, has_new_sweeps=job.tracks)
        self._last_ns = -1 << 63

    def run(self, writer: LabelledRecording) -> Generator[SweepOutcome, None, None]:
        """Run the job; closing the generator waits for the sweeps in progress and drops them.

        Args:
            writer: Takes the results; this method does not finish it.

        Yields:
            The outcome of each new sweep in order, after it has been written.

        Raises:
            OSError: The labelled recording can no longer be written.
        """
        engine, num_sweeps = self._segmenter.engine, self._recording.num_sweeps
        workers = min(num_threads(), MAX_WORKERS)
        with (
            new_renderer(self._job.job) as renderer,
            ThreadPoolExecutor(workers, initializer=engine.use_one_thread) as pool,
            ThreadPoolExecutor(1) as disk,
            closing(
                run_in_threads(self._steps(writer), num_sweeps or MANY, self._find, engine)
            ) as steps,
        ):
            finished = InOrder[SweepOutcome](pool, QUEUED_PER_WORKER * workers)
            written = InOrder[SweepOutcome](disk, QUEUED_PER_WORKER)
            for step, future in steps:
                try:
                    found = future.result()
                    tracked = self._track(found)
                except EXPECTED_ERRORS as error:
                    dones = finished.put_done(SweepOutcome(failure(step.item, error)))
                else:
                    if found.segmented is None:
                        continue
                    dones = finished.put(self._finish, renderer, step, found, tracked)
                for done in dones:
                    yield from written.put(_write, writer, done)
            for done in finished.rest():
                yield from written.put(_write, writer, done)
            yield from written.rest()

    def _steps(self, writer: LabelledRecording) -> Iterator[_Step]:
        """Yield the sweeps to process; for the tracker also those that are already finished."""
        first, numbered = writer.next_index, enumerate(self._recording)
        for stored in writer.stored() if self._job.tracks else ():
            for index, raw in numbered:
                if index == stored.index:
                    yield _Step(index, raw, self._item(index), stored.result)
                    break
        for index, raw in numbered:
            if index >= first:
                yield _Step(index, raw, self._item(index))

    def _item(self, index: int) -> Item:
        return Item(self._recording.path, f"{self._job.name}/{index:06}")

    def _find(self, step: _Step) -> _Found:
        start = time.perf_counter()
        stamped = self._recording.sweep(step.raw)
        if step.earlier is not None and not self._tracker.need_points:
            return _Found(stamped, None, TrackerInput.earlier(step.earlier))
        sweep = _interpreted(self._job, stamped, step.item)
        if step.earlier is not None:
            return _Found(stamped, None, TrackerInput.earlier(step.earlier, sweep.points))
        if self._job.tracks and not step.raw.has_stamp:
            sweep = replace(sweep, notices=(*sweep.notices, NO_STAMP))
        read_ms = 1000 * (time.perf_counter() - start)
        segmented = segment_sweep(self._segmenter, self._job.job, sweep, read_ms)
        tracks, need_points = self._job.tracks, self._tracker.need_points
        for_tracker = TrackerInput.now(segmented, need_points) if tracks else None
        return _Found(stamped, segmented, for_tracker)

    def _track(self, found: _Found) -> TrackedInstances | None:
        """Give a sweep to the tracker; None without tracking."""
        if found.for_tracker is None:
            return None
        stamp_ns = found.stamped.stamp_ns
        stamp_s = stamp_ns / 1e9
        if rounded_stamp(stamp_s) <= rounded_stamp(self._last_ns / 1e9):
            raise ScanError(
                f"{found.stamped.topic} at {stamp_text(stamp_ns)}: not later than the previous "
                f"sweep, at {stamp_text(self._last_ns)}, so it cannot be tracked: left out; "
                "--no-track keeps it"
            )
        given = None if self._given is None else self._given.at(stamp_ns)
        tracked = self._tracker.next(found.for_tracker, given, stamp_s)
        self._last_ns = stamp_ns
        return tracked

    def _finish(
        self,
        renderer: Renderer | None,
        step: _Step,
        found: _Found,
        tracked: TrackedInstances | None,
    ) -> SweepOutcome:
        """Encode a sweep, and write its separate files."""
        assert found.segmented is not None
        segmented, item, job = found.segmented, step.item, self._job
        sweep = segmented.sweep
        objects = segmented.segmentation.instances if tracked is None else tracked
        try:
            news = () if tracked is None else tracked.notices
            outcome = Outcome(item, (*sweep.notices, *news), segmented.timing_ms)
            if job.writes_files:
                outcome = draw_and_write(
                    self._segmenter, job.job, renderer, item, segmented, tracked
                )
            start = time.perf_counter()
            shown = objects
            if tracked is not None and not job.both_ways:  # smoothing may confirm the others later
                shown = tracked.confirmed()
            about = provenance_of(self._segmenter, job.job, item, segmented)
            result = SweepResult.of(objects, about)
            messages = _messages(self._encoder, found.stamped, shown, result)
            outcome.timing_ms["encode"] = 1000 * (time.perf_counter() - start)
        except EXPECTED_ERRORS as error:
            return SweepOutcome(failure(item, error))
        names = [one.class_name for one in result.instances]
        counts = tuple(map(names.count, result.class_names))
        return SweepOutcome(
            outcome, StoredSweep(step.index, found.stamped.stamp_ns, messages), counts
        )


def _write(writer: LabelledRecording, done: SweepOutcome) -> SweepOutcome:
    if done.stored is not None:
        writer.write(done.stored)
    return done


def smooth_recording(segmenter: Segmenter, writer: LabelledRecording) -> None:
    """Judge the objects of a labelled recording with later sweeps as well, and write it again.

    Before that, its points have the ids of all objects, including doubtful ones. The objects of all
    sweeps are in memory together, but not their points.

    Args:
        segmenter: Found the instances.
        writer: Has written all sweeps; this function does not finish it.
    """
    encoder = Encoder(segmenter.classes)
    found = {one.index: without_points(tracked_of(one.result)) for one in writer.stored()}
    smoothed = smooth(found)
    for stored in writer.begin_again():
        points, tracked = stored.points, smoothed[stored.index]
        ids = tracked.tracks.ids
        row_of = np.zeros(int(ids.max(initial=0)) + 1, np.int32)
        row_of[ids] = np.arange(1, len(ids) + 1)
        labels = row_of[points.extras["instance"]]
        ground = points.extras["class"] == GROUND_LABEL if segmenter.ground else None
        instances = replace(tracked.instances, labels=labels, ground=ground)
        tracked = replace(tracked, instances=instances)
        result = SweepResult.of(tracked, stored.result.provenance)
        messages = _messages(encoder, points, tracked.confirmed(), result)
        writer.write(replace(stored, messages=messages))


def _messages(
    encoder: Encoder,
    points: StampedSweep,
    objects: Instances | TrackedInstances,
    result: SweepResult,
) -> tuple[bytes, ...]:
    """Return a message for each topic, with the objects to show and the whole result."""
    made = result.provenance
    assert made is not None
    rotation, origin_m = sensor_rotation(made.axes, made.level_deg), np.array(made.origin_m)
    messages = encoder.encode(SegmentedSweep(points, objects, rotation, origin_m))
    if isinstance(objects, Instances):
        return messages
    return (encoder.encode_text(result.to_bytes().decode()), *messages)


def _interpreted(job: RecordingJob, stamped: StampedSweep, item: Item) -> Sweep:
    """Return a sweep in the frame of the network, without returns from the ego vehicle."""
    reading = job.job.survey.reading_of(item.path)
    sweep = interpret_sweep(item.path, stamped, job.job.setup, reading)
    if job.ego_box is not None:
        return _without(sweep, in_box(stamped.points, job.ego_box))
    if job.own is not None:
        sweep = _without(sweep, job.own.is_own(rigid_points(sweep, reading)))
        return replace(sweep, notices=(*sweep.notices, job.own.notice))
    return sweep


def _without(sweep: Sweep, is_own: np.ndarray) -> Sweep:
    """Return a sweep with the ego vehicle's points outside every grid, so they get no label."""
    points = sweep.points.copy()
    points[is_own, :3] = np.nan
    return replace(sweep, points=points)


def in_box(points: np.ndarray, box: EgoBox) -> np.ndarray:
    """Return which of (N, 4) points are in a box seen from above: (N,) bool."""
    x, y = points[:, 0], points[:, 1]
    inside: np.ndarray = (x >= box[0]) & (x <= box[1]) & (y >= box[2]) & (y <= box[3])
    return inside
