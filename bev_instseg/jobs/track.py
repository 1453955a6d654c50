"""A folder job with tracking: the network in parallel, the tracker in the order of time.

Threads read and segment sweeps ahead, at most a few; the tracker takes them in order; threads draw
and write. The tracker is fed what a ``.json`` holds, rounded as it is there. So a job that goes on
after an interruption feeds it the finished sweeps from their ``.json``, without their points, and
ends with the same files as one that was never interrupted.
"""

import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from bev_instseg.engines.threads import num_threads
from bev_instseg.export import SweepResult
from bev_instseg.export.read_back import instances_of
from bev_instseg.io.sensor_setup import sensor_rotation
from bev_instseg.jobs.find_items import Item
from bev_instseg.jobs.in_threads import MAX_WORKERS, QUEUED_PER_WORKER, run_in_threads
from bev_instseg.jobs.job import (
    EXPECTED_ERRORS,
    Job,
    Outcome,
    Segmented,
    draw_and_write,
    failure,
    read_and_segment,
)
from bev_instseg.jobs.sequences import SweepSequence
from bev_instseg.segmenter import Segmenter
from bev_instseg.structures import Float32, Instances
from bev_instseg.tracking.ego_motion import Odometry, default_odometry
from bev_instseg.tracking.learned_centres import learned_centres
from bev_instseg.tracking.smooth import smooth
from bev_instseg.tracking.tracked import TrackedInstances
from bev_instseg.tracking.tracker import Tracker
from bev_instseg.visualize import Renderer

Float64 = NDArray[np.float64]
POSE_DIGITS, STAMP_DIGITS = 6, 6  # of a .json


@dataclass(frozen=True, eq=False)
class _Found:
    """The instances of a sweep, on their way to the tracker.

    Attributes:
        instances: The instances, rounded as in a ``.json``; of a finished sweep with as many
            points, in no order.
        centres_m: (K, 2) learned centres.
        to_sensor: (4, 4) from the file's coordinates to the sensor frame.
        points: The points for the odometry; None if it needs none.
        segmented: Everything of a sweep that was segmented now.
        stored: The ``.json`` of a finished sweep.
    """

    instances: Instances
    centres_m: Float64
    to_sensor: Float64
    points: Float32 | None = None
    segmented: Segmented | None = None
    stored: SweepResult | None = None


class TrackedJob:
    """Segments, tracks and writes the sweeps of sequences."""

    def __init__(
        self, segmenter: Segmenter, job: Job, renderer: Renderer | None, both_ways: bool
    ) -> None:
        """Begin a job.

        Args:
            segmenter: Finds the instances, weak ones included; see `with_weak_instances`.
            job: What to write.
            renderer: The job's `new_renderer`.
            both_ways: Whether later sweeps count for earlier ones, too; see `smooth`.
        """
        self.segmenter, self.job, self.renderer = segmenter, job, renderer
        self.both_ways = both_ways

    def run(self, sequence: SweepSequence, redo: frozenset[Item]) -> Generator[Outcome, None, None]:
        """Process a sequence.

        Args:
            sequence: The sweeps.
            redo: Those without results; the results of the others are replaced only if they have
                changed.

        Yields:
            The outcome of each sweep that was segmented, in order; twice if ``both_ways`` changed
            it.
        """
        tracker, kept = Tracker(), dict[Item, TrackedInstances]()
        poses = _Poses(sequence, any(item in redo for item in sequence.items))
        find = partial(self._find, redo, poses.need_points)
        row = {item: i for i, item in enumerate(sequence.items)}
        workers = min(num_threads(), MAX_WORKERS)
        one_thread = self.segmenter.engine.use_one_thread
        with ThreadPoolExecutor(workers, initializer=one_thread) as pool:
            queue = _InOrder(pool, QUEUED_PER_WORKER * workers)
            steps = run_in_threads(sequence.items, len(row), find, self.segmenter.engine)
            with closing(steps):
                for item, future in steps:
                    try:
                        found = future.result()
                        start = time.perf_counter()
                        pose = poses.next(row[item], found)
                        odometry_s = time.perf_counter() - start
                        tracked = _track(tracker, sequence.stamps_s[row[item]], pose, found)
                        track_s = time.perf_counter() - start - odometry_s
                    except EXPECTED_ERRORS as error:
                        yield from queue.put_done(failure(item, error))
                        continue
                    if self.both_ways:
                        kept[item] = _without_points(tracked)
                    if found.segmented is not None:
                        timing_ms = found.segmented.timing_ms
                        timing_ms["track"] += 1000 * track_s
                        timing_ms["odometry"] = 1000 * odometry_s
                        yield from queue.put(self._write, item, found.segmented, tracked)
                    elif not self.both_ways and not self._is_stored(item, tracked):
                        yield from queue.put(self._again, item, tracked)
            yield from queue.rest()
            for item, tracked in smooth(kept).items():
                if not self._is_stored(item, tracked):
                    yield from queue.put(self._again, item, tracked)
            yield from queue.rest()

    def _find(self, redo: frozenset[Item], need_points: bool, item: Item) -> _Found:
        if item not in redo:
            found = _from_stored(self.job.read_result(item))
            points = self.job.read(item).points if need_points else None
            return replace(found, points=points)
        segmented = read_and_segment(self.segmenter, self.job, item)
        segmentation, sweep = segmented.segmentation, segmented.sweep
        start = time.perf_counter()
        result = SweepResult.of(segmentation.instances)
        labels = segmentation.instances.labels
        instances = instances_of(result.instances, result.class_names, labels)
        centres_m = learned_centres(segmentation).round(3)
        segmented.timing_ms["track"] = 1000 * (time.perf_counter() - start)
        return _Found(
            instances,
            centres_m,
            _to_sensor(sweep.axes, sweep.level_deg, sweep.origin_m),
            sweep.points if need_points else None,
            segmented,
        )

    def _write(self, item: Item, segmented: Segmented, tracked: TrackedInstances) -> Outcome:
        try:
            return draw_and_write(self.segmenter, self.job, self.renderer, item, segmented, tracked)
        except EXPECTED_ERRORS as error:
            return failure(item, error)

    def _is_stored(self, item: Item, tracked: TrackedInstances) -> bool:
        try:
            return _equals(tracked, self.job.read_result(item))
        except ValueError:
            return False

    def _again(self, item: Item, tracked: TrackedInstances) -> Outcome:
        """Segment a finished sweep again, to write it with other tracks."""
        try:
            segmented = read_and_segment(self.segmenter, self.job, item)
            labels = segmented.segmentation.instances.labels
            return self._write(item, segmented, _with_points(tracked, labels))
        except EXPECTED_ERRORS as error:
            return failure(item, error)


class _InOrder:
    """A bounded queue of work in threads, whose outcomes come in order."""

    def __init__(self, pool: ThreadPoolExecutor, max_pending: int) -> None:
        self._pool, self._max_pending = pool, max_pending
        self._pending: deque[Future[Outcome]] = deque()

    def put(self, work: Callable[..., Outcome], *arguments: object) -> Iterator[Outcome]:
        """Start work; yield the outcomes that have to be taken first."""
        self._pending.append(self._pool.submit(work, *arguments))
        while self._pending and (len(self._pending) > self._max_pending or self._pending[0].done()):
            yield self._pending.popleft().result()

    def put_done(self, outcome: Outcome) -> Iterator[Outcome]:
        """Queue a finished outcome."""
        return self.put(lambda: outcome)

    def rest(self) -> Iterator[Outcome]:
        """Yield all outcomes that are still due."""
        while self._pending:
            yield self._pending.popleft().result()


class _Poses:
    """The pose of each sweep: given, from its ``.json``, or by odometry."""

    def __init__(self, sequence: SweepSequence, has_new_sweeps: bool) -> None:
        self._given = sequence.poses
        self._odometry: Odometry | None = None
        if self._given is None and has_new_sweeps:
            self._odometry = default_odometry()
        self._from_first: Float64 | None = None

    @property
    def need_points(self) -> bool:
        """Whether the odometry has to see the points, those of finished sweeps, too."""
        return self._odometry is not None

    def next(self, row: int, found: _Found) -> Float64:
        """Return the (4, 4) pose of a sweep, rounded; to be called in order."""
        if self._given is not None:
            if self._from_first is None:
                self._from_first = found.to_sensor @ np.linalg.inv(self._given[row])
            pose = self._from_first @ self._given[row] @ np.linalg.inv(found.to_sensor)
        elif self._odometry is not None and found.points is not None:
            pose = self._odometry.register(found.points)
        if self._given is None and found.stored is not None:
            assert found.stored.sequence is not None
            pose = np.vstack([np.reshape(found.stored.sequence.pose, (3, 4)), [0, 0, 0, 1]])
        rounded: Float64 = np.round(pose, POSE_DIGITS) + 0.0
        return rounded


def _track(tracker: Tracker, stamp_s: float, pose: Float64, found: _Found) -> TrackedInstances:
    stamp_s = round(float(stamp_s), STAMP_DIGITS)
    return tracker.update_instances(found.instances, stamp_s, pose, found.centres_m)


def _from_stored(result: SweepResult) -> _Found:
    """Return what the tracker was given for a finished sweep."""
    assert result.sequence is not None
    assert result.provenance is not None
    records = sorted(
        (one for one in (*result.instances, *result.sequence.tentative) if one.track),
        key=lambda one: one.track.seen.number if one.track else 0,
    )
    seen = [one.track.seen for one in records if one.track]
    counts = [one.num_points for one in records]
    labels = np.repeat(
        np.arange(len(counts) + 1, dtype=np.int32), [result.num_points - sum(counts), *counts]
    )
    as_seen = [
        replace(one, class_name=sight.class_name, score=sight.score)
        for one, sight in zip(records, seen, strict=True)
    ]
    made = result.provenance
    return _Found(
        instances_of(as_seen, result.class_names, labels),
        np.array([sight.centre_m for sight in seen]).reshape(-1, 2),
        _to_sensor(made.axes, made.level_deg, made.origin_m),
        stored=result,
    )


def _to_sensor(
    axes: str, level_deg: tuple[float, float], origin_m: tuple[float, float, float]
) -> Float64:
    """Return (4, 4) from a file's coordinates to the sensor frame."""
    transform = np.eye(4)
    transform[:3, :3] = sensor_rotation(axes, level_deg)
    transform[:3, 3] = -transform[:3, :3] @ origin_m
    return transform


def _equals(tracked: TrackedInstances, stored: SweepResult) -> bool:
    """Return whether a ``.json`` holds these instances with these tracks."""
    counted = _with_points(tracked, _from_stored(stored).instances.labels)
    return SweepResult.of(counted) == replace(stored, provenance=None, files=())


def _without_points(tracked: TrackedInstances) -> TrackedInstances:
    """Return the same without points, to be kept for many sweeps."""
    no_labels = np.zeros(0, np.int32)
    return replace(tracked, instances=replace(tracked.instances, labels=no_labels))


def _with_points(tracked: TrackedInstances, labels: NDArray[np.int32]) -> TrackedInstances:
    """Return the same for points that are labelled with the sightings' numbers.

    Raises:
        ValueError: The sweep was segmented differently before.
    """
    numbers = tracked.tracks.seen_numbers
    if labels.max(initial=0) != numbers.max(initial=0):
        raise ValueError("segmented differently than before; give --overwrite")
    row_of = np.zeros(len(numbers) + 1, np.int32)
    row_of[numbers] = np.arange(1, len(numbers) + 1)
    return replace(tracked, instances=replace(tracked.instances, labels=row_of[labels]))
