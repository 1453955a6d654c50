"""A folder job with tracking: the network runs in parallel, the tracker in temporal order.

Threads read and segment a few sweeps ahead; the tracker takes them in order; threads draw and
write. See `bev_instseg.jobs.tracker_input` for how a job continues after an interruption.
"""

from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from functools import partial

import numpy as np

from bev_instseg.engines.threads import num_threads
from bev_instseg.export import SweepResult
from bev_instseg.jobs.find_items import Item
from bev_instseg.jobs.in_threads import MAX_WORKERS, QUEUED_PER_WORKER, InOrder, run_in_threads
from bev_instseg.jobs.job import Job
from bev_instseg.jobs.one_sweep import Segmented, draw_and_write, read_and_segment
from bev_instseg.jobs.outcome import EXPECTED_ERRORS, Outcome, failure
from bev_instseg.jobs.sequence_tracker import SequenceTracker
from bev_instseg.jobs.sequences import SweepSequence
from bev_instseg.jobs.tracker_input import TrackerInput
from bev_instseg.segmenter import Segmenter
from bev_instseg.structures import Instances
from bev_instseg.tracking.smooth import smooth, without_points
from bev_instseg.tracking.tracked import TrackedInstances
from bev_instseg.visualize import Renderer


class TrackedJob:
    """Segments, tracks and writes the sweeps of sequences."""

    def __init__(
        self, segmenter: Segmenter, job: Job, renderer: Renderer | None, both_ways: bool
    ) -> None:
        """Begin a job.

        Args:
            segmenter: Finds the instances, also those with low scores; see `with_weak_instances`.
            job: What to write.
            renderer: The job's `new_renderer`.
            both_ways: Whether later sweeps also count for earlier ones; see `smooth`.
        """
        self.segmenter, self.job, self.renderer = segmenter, job, renderer
        self.both_ways = both_ways

    def run(self, sequence: SweepSequence, redo: frozenset[Item]) -> Generator[Outcome, None, None]:
        """Process a sequence.

        Args:
            sequence: The sweeps.
            redo: The sweeps without results; results of other sweeps are only replaced if they
                change.

        Yields:
            The outcome of each sweep that was segmented, in order; twice if ``both_ways`` changed
            it.
        """
        kept, given = dict[Item, TrackedInstances](), sequence.poses
        is_new = [item in redo for item in sequence.items]
        tracker = SequenceTracker(given is not None, any(is_new), is_new == sorted(is_new))
        find = partial(self._find, redo, tracker.need_points)
        row = {item: i for i, item in enumerate(sequence.items)}
        workers = min(num_threads(), MAX_WORKERS)
        one_thread = self.segmenter.engine.use_one_thread
        with ThreadPoolExecutor(workers, initializer=one_thread) as pool:
            queue = InOrder[Outcome](pool, QUEUED_PER_WORKER * workers)
            steps = run_in_threads(sequence.items, len(row), find, self.segmenter.engine)
            with closing(steps):
                for item, future in steps:
                    try:
                        found = future.result()
                        one_given = None if given is None else given[row[item]]
                        tracked = tracker.next(found, one_given, sequence.stamps_s[row[item]])
                    except EXPECTED_ERRORS as error:
                        yield from queue.put_done(failure(item, error))
                        continue
                    if self.both_ways:
                        kept[item] = without_points(tracked)
                    if found.segmented is not None:
                        yield from queue.put(self._write, item, found.segmented, tracked)
                    elif not self.both_ways and not self._is_stored(item, tracked):
                        yield from queue.put(self._again, item, tracked)
            yield from queue.rest()
            for item, tracked in smooth(kept).items():
                if not self._is_stored(item, tracked):
                    yield from queue.put(self._again, item, tracked)
            yield from queue.rest()

    def _find(self, redo: frozenset[Item], need_points: bool, item: Item) -> TrackerInput:
        if item not in redo:
            points = self.job.read(item).points if need_points else None
            return TrackerInput.earlier(self.job.read_result(item), points)
        return TrackerInput.now(read_and_segment(self.segmenter, self.job, item), need_points)

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
        """Segment a finished sweep again, to write it with different tracks."""
        try:
            segmented = read_and_segment(self.segmenter, self.job, item)
            instances = segmented.segmentation.instances
            return self._write(item, segmented, _with_points(tracked, instances))
        except EXPECTED_ERRORS as error:
            return failure(item, error)


def _equals(tracked: TrackedInstances, stored: SweepResult) -> bool:
    """Return whether a ``.json`` holds these instances with these tracks."""
    counted = _with_points(tracked, TrackerInput.earlier(stored).instances)
    expected = replace(stored, provenance=None, files=(), num_ground_points=None)
    return SweepResult.of(counted) == expected


def _with_points(tracked: TrackedInstances, seen: Instances) -> TrackedInstances:
    """Return the same with the points of a sweep.

    Args:
        tracked: The tracked instances; their points are ignored.
        seen: The instances of the same sweep with their points, numbered as in `as_seen`.

    Raises:
        ValueError: The sweep was segmented differently before.
    """
    numbers = tracked.tracks.seen_numbers
    if seen.labels.max(initial=0) != numbers.max(initial=0):
        raise ValueError("segmented differently before; add --overwrite")
    row_of = np.zeros(len(numbers) + 1, np.int32)
    row_of[numbers] = np.arange(1, len(numbers) + 1)
    instances = replace(tracked.instances, labels=row_of[seen.labels], ground=seen.ground)
    return replace(tracked, instances=instances)
