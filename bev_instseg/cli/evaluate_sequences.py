"""The part of the evaluate command that scores tracks."""

import sys
from collections.abc import Callable
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from bev_instseg.datasets.frames import FrameRef
from bev_instseg.evaluation.metrics import Evaluator
from bev_instseg.evaluation.motion_errors import TrueMotion
from bev_instseg.evaluation.score_sequences import (
    SequenceResult,
    TrackEvaluator,
    TrueSweep,
    object_ids,
)
from bev_instseg.io.sensor_setup import SensorSetup, to_sensor
from bev_instseg.io.survey import reading_of_folder
from bev_instseg.io.sweep import read_sweep
from bev_instseg.jobs.find_items import Item
from bev_instseg.jobs.sequences import SweepSequence, find_sequences
from bev_instseg.structures import Float64, Frame, Instances
from bev_instseg.tracking.given_poses import GivenPoses
from bev_instseg.tracking.smooth import smooth
from bev_instseg.tracking.tracked import TrackedInstances
from bev_instseg.tracking.tracker import Tracker

if TYPE_CHECKING:  # torch
    from bev_instseg.segmenter import Segmenter


def score_sequences(
    data: Path, refs: list[FrameRef], segmenter: "Segmenter", both_ways: bool
) -> SequenceResult:
    """Track and score sequences; times and poses are those of ``times.txt`` and ``poses.txt``.

    Args:
        data: Folder of a data set in SemanticKITTI layout.
        refs: Its frames.
        segmenter: The segmenter to be scored.
        both_ways: Whether to score the smoothed tracks, too.
    """
    scores = _Scores(data, refs, segmenter, both_ways)
    sequences = find_sequences([Item(_path(data, ref), ref.name) for ref in refs])
    for sequence in sequences:
        for notice in sequence.notices:
            print(f"note: {notice}", file=sys.stderr)
    with tqdm(total=len(refs), unit="frame") as progress:
        for sequence in sequences:
            scores.add(sequence, progress.update)
    smoothed = None if scores.smoothed is None else scores.smoothed.result()
    return SequenceResult(scores.untracked.result(), scores.tracked.result(), smoothed)


class _Scores:
    """Adds up the scores of sequences: without tracking, tracked, and smoothed."""

    def __init__(
        self, data: Path, refs: list[FrameRef], segmenter: "Segmenter", both_ways: bool
    ) -> None:
        self._data, self._segmenter = data, segmenter
        self._ref_of = {ref.name: ref for ref in refs}
        self.untracked = Evaluator(segmenter.config.class_names)
        self.tracked = TrackEvaluator(segmenter.config)
        self.smoothed = TrackEvaluator(segmenter.config) if both_ways else None

    def add(self, sequence: SweepSequence, on_frame: Callable[[], object]) -> None:
        """Track a sequence and add it; call ``on_frame`` after each sweep."""
        self.tracked.begin()
        tracker, poses, kept = Tracker(self._segmenter), GivenPoses(), dict[str, TrackedInstances]()
        motion = TrueMotion(sequence.folder.parent)
        given = repeat(None) if sequence.poses is None else sequence.poses
        for item, stamp_s, own in zip(sequence.items, sequence.stamps_s, given, strict=False):
            frame = self._read(item.name)
            pose = None if own is None else poses.next(own, _place(item))
            found = tracker.update(frame.points, float(stamp_s), pose)
            for notice in found.notices:
                tqdm.write(f"note: {item.name}: {notice}", file=sys.stderr)
            self.untracked.add(frame, self._alone(found))
            self.tracked.add(self._truth(frame, motion, poses.to_world), found)
            if self.smoothed is not None:
                kept[item.name] = found
            on_frame()
        if self.smoothed is None:
            return
        self.smoothed.begin()
        for name, found in smooth(kept).items():
            self.smoothed.add(self._truth(self._read(name), motion, poses.to_world), found)

    def _read(self, name: str) -> Frame:
        config = self._segmenter.config
        return self._ref_of[name].read(config.classes, config.data)

    def _alone(self, tracked: TrackedInstances) -> Instances:
        """Return the instances of a sweep without tracking."""
        seen = tracked.as_seen()
        enough = seen.scores >= np.float32(self._segmenter.config.cluster.score_threshold)
        return seen.take(np.flatnonzero(enough))

    def _truth(self, frame: Frame, motion: TrueMotion, to_world: Float64 | None) -> TrueSweep:
        ids = object_ids(self._data, frame)
        number = frame.name.rpartition("/")[2]
        # Odometry has a different world than the ground truth, which numbers its sweeps.
        if to_world is None or not number.isdecimal():
            return TrueSweep(frame, ids, np.full((len(ids), 4), np.nan))
        return TrueSweep(frame, ids, motion.at(int(number), ids & 0xFFFF, to_world))


def _path(data: Path, ref: FrameRef) -> Path:
    sequence, _, frame = ref.name.partition("/")
    return data / "sequences" / sequence / "velodyne" / f"{frame}.bin"


def _place(item: Item) -> Float64:
    """Return (4, 4) from a sweep's file to the sensor frame, levelled like the frame."""
    sweep = read_sweep(item.path, SensorSetup(), reading_of_folder(item.path.parent))
    return to_sensor(sweep.axes, sweep.level_deg, sweep.origin_m)
