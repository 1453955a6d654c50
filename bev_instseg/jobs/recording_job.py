"""Segment a recording: a stream of sweeps in, a recording with labels out."""

import hashlib
import json
import time
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

import numpy as np

from bev_instseg.export.labelled_recording import LabelledRecording, read_about, read_end
from bev_instseg.export.ros_messages import Encoder, SegmentedSweep
from bev_instseg.io.recordings.interpret import interpret_sweep
from bev_instseg.io.recordings.own_vehicle import OwnVehicle
from bev_instseg.io.recordings.point_cloud2 import StampedSweep
from bev_instseg.io.recordings.recording import RawSweep, Recording, Selection
from bev_instseg.io.sensor_setup import sensor_rotation
from bev_instseg.io.sweep import Sweep
from bev_instseg.jobs.find_items import Item
from bev_instseg.jobs.in_threads import run_in_threads
from bev_instseg.jobs.job import (
    EXPECTED_ERRORS,
    Job,
    Outcome,
    draw_and_write,
    failure,
    new_renderer,
    segment_sweep,
)
from bev_instseg.segmenter import Segmenter
from bev_instseg.visualize import Renderer

EgoBox = tuple[float, float, float, float]  # x from, to, y from, to; metres
MANY = 1 << 30  # sweeps, if their number is unknown


@dataclass(frozen=True)
class RecordingJob:
    """What to do with a recording.

    Attributes:
        job: How its sweeps are read, and what files each gets.
        name: Name of the results in the job's folder, without suffix.
        selection: What is read of the recording.
        ego_box: Where the vehicle itself is, in the coordinates of the points; None for ``own``.
        own: What was found of the vehicle; None to keep all.
        writes_files: Whether sweeps get files of their own besides the recording.
    """

    job: Job
    name: str
    selection: Selection
    ego_box: EgoBox | None = None
    own: OwnVehicle | None = None
    writes_files: bool = False

    @property
    def path(self) -> Path:
        """The labelled recording."""
        return self.job.out / f"{self.name}.mcap"

    def about(self, recording: Recording) -> dict[str, str]:
        """Return what the labelled recording is made from."""
        item = Item(recording.path, self.name)
        chosen = self.selection
        extrinsics = chosen.extrinsics.read_text() if chosen.extrinsics is not None else ""
        settings = [self.job.settings_of(item), chosen.topics, chosen.frame, extrinsics]
        pictures = [picture.value for picture in self.job.pictures]
        files = [self.writes_files, self.job.formats, pictures]  # added later, they need the sweeps
        hashed = json.dumps([*settings, self.ego_box, files]).encode()
        stored = sorted(recording.path.iterdir()) if recording.path.is_dir() else [recording.path]
        return {
            "recording": recording.path.name,
            "recording_bytes": str(sum(file.stat().st_size for file in stored)),
            "settings": hashlib.sha256(hashed).hexdigest()[:16],
        }

    def earlier_end(self, recording: Recording) -> dict[str, object] | None:
        """Return how an earlier process finished the same job; None if it is to be done."""
        if not self.path.is_file():
            return None
        about = read_about(self.path)
        same = about is not None and self.about(recording).items() <= about.items()
        return read_end(self.path) if same else None


@dataclass(frozen=True)
class SweepOutcome:
    """What became of a sweep of a recording.

    Attributes:
        index: Its place in the recording.
        stamp_ns: Its stamp.
        outcome: Notices, times and errors.
        messages: What is written of it; none if it failed.
        num_instances: Number of objects of each class.
    """

    index: int
    stamp_ns: int
    outcome: Outcome
    messages: tuple[bytes, ...] = ()
    num_instances: tuple[int, ...] = field(default=())


def segment_recording(
    segmenter: Segmenter, job: RecordingJob, recording: Recording, writer: LabelledRecording
) -> Generator[SweepOutcome, None, None]:
    """Segment the sweeps that a labelled recording lacks, and add them to it in their order.

    Sweeps are read one after another and segmented several at once; no more than a few are in
    memory. Closing the generator waits for those in progress and drops them.

    Args:
        segmenter: Finds the instances.
        job: What to do.
        recording: Where the sweeps come from.
        writer: Where they go; it is not finished here.

    Yields:
        The outcome of each sweep, after it has been written.

    Raises:
        OSError: The labelled recording cannot be written any more.
    """
    encoder = Encoder(segmenter.classes)
    numbered = islice(enumerate(recording), writer.next_index, None)
    count = MANY if recording.num_sweeps is None else recording.num_sweeps
    with new_renderer(job.job) as renderer:

        def work(one: tuple[int, RawSweep]) -> SweepOutcome:
            return _segment_one(segmenter, job, recording, encoder, renderer, one)

        with closing(run_in_threads(numbered, count, work, segmenter.engine)) as steps:
            for _, future in steps:
                done = future.result()
                if done.messages:
                    writer.write(done.index, done.stamp_ns, done.messages)
                yield done


def _segment_one(
    segmenter: Segmenter,
    job: RecordingJob,
    recording: Recording,
    encoder: Encoder,
    renderer: Renderer | None,
    numbered: tuple[int, RawSweep],
) -> SweepOutcome:
    index, raw = numbered
    item = Item(recording.path, f"{job.name}/{index:06}")
    try:
        start = time.perf_counter()
        stamped = recording.sweep(raw)
        sweep = _interpreted(job, stamped, item)
        read_ms = 1000 * (time.perf_counter() - start)
        segmented = segment_sweep(segmenter, job.job, sweep, read_ms)
        outcome = Outcome(item, segmented.sweep.notices, segmented.timing_ms)
        if job.writes_files:
            outcome = draw_and_write(segmenter, job.job, renderer, item, segmented)
        start = time.perf_counter()
        instances, origin_m = segmented.segmentation.instances, np.array(sweep.origin_m)
        rotation = sensor_rotation(sweep.axes, sweep.level_deg)
        result = SegmentedSweep(stamped, instances, rotation, origin_m)
        messages = encoder.encode(result)
        encode_ms = 1000 * (time.perf_counter() - start)
    except EXPECTED_ERRORS as error:
        return SweepOutcome(index, raw.stamp_ns, failure(item, error))
    outcome = replace(outcome, timing_ms={**outcome.timing_ms, "encode": encode_ms})
    counts = np.bincount(instances.classes, minlength=len(instances.class_names)).tolist()
    return SweepOutcome(index, stamped.stamp_ns, outcome, messages, tuple(counts))


def _interpreted(job: RecordingJob, stamped: StampedSweep, item: Item) -> Sweep:
    """Return a sweep as the network takes it, without what the vehicle itself returns."""
    reading = job.job.survey.reading_of(item.path)
    sweep = interpret_sweep(item.path, stamped, job.job.setup, reading)
    if job.ego_box is not None:
        return _without(sweep, in_box(stamped.points, job.ego_box))
    if job.own is not None:
        sweep = _without(sweep, job.own.is_own(sweep.points))
        return replace(sweep, notices=(*sweep.notices, job.own.notice))
    return sweep


def _without(sweep: Sweep, is_own: np.ndarray) -> Sweep:
    """Return a sweep with the vehicle's own points outside every grid, where no label is given."""
    points = sweep.points.copy()
    points[is_own, :3] = np.nan
    return replace(sweep, points=points)


def in_box(points: np.ndarray, box: EgoBox) -> np.ndarray:
    """Return which of (N, 4) points are in a box seen from above: (N,) bool."""
    x, y = points[:, 0], points[:, 1]
    inside: np.ndarray = (x >= box[0]) & (x <= box[1]) & (y >= box[2]) & (y <= box[3])
    return inside
