"""Score the tracks of labelled sequences, and every sweep."""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bev_instseg.config import Config
from bev_instseg.datasets.semantickitti import read_words
from bev_instseg.evaluation.metrics import Evaluator, Result
from bev_instseg.evaluation.motion_errors import MotionErrors, motion_errors
from bev_instseg.evaluation.segments import overlap_table
from bev_instseg.evaluation.sequence_metrics import (
    MATCH,
    Lstq,
    Step,
    TrackScores,
    track_scores,
)
from bev_instseg.structures import Float64, Frame
from bev_instseg.tables import markdown_table, table_cell
from bev_instseg.tracking.tracked import TrackedInstances

Int64 = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class TrueSweep:
    """The ground truth of a sweep with K objects.

    Attributes:
        frame: Its points and objects.
        ids: (K,) ids of the objects over the sequence.
        motion: (K, 4) float64 x, y, vx, vy of each in the world of the tracks, metres and metres
            per second; NaN where they are not known.
    """

    frame: Frame
    ids: Int64
    motion: Float64


@dataclass(frozen=True, eq=False)
class TrackResult:
    """Scores of the tracks of sequences.

    Attributes:
        quality: Scores of the sweeps after tracking.
        tracks: Scores of the tracks by class.
        motion: Their errors by class.
        lstq: LSTQ, S_assoc and S_cls.
    """

    quality: Result
    tracks: dict[str, TrackScores]
    motion: dict[str, MotionErrors]
    lstq: tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class SequenceResult:
    """Scores of sequences.

    Attributes:
        untracked: Scores of the sweeps without tracking.
        tracked: Scores of the tracks.
        smoothed: Scores of the smoothed tracks; None if not asked for.
    """

    untracked: Result
    tracked: TrackResult
    smoothed: TrackResult | None = None

    def table(self) -> str:
        """Return the scores as Markdown: percent, metres, metres per second, switches in numbers.

        Errors of motion are included if the true motion of any matched object is known.
        """
        rows = [["class", "PQ", "PQ tracked", "HOTA", "DetA", "AssA", "MOTA", "IDF1", "switches"]]
        results = {"": self.tracked} | ({", smoothed": self.smoothed} if self.smoothed else {})
        has_motion = any(e.is_known for r in results.values() for e in r.motion.values())
        rows[0] += ["position, m", "velocity, m/s", "of movers"] if has_motion else []
        for name in self.tracked.tracks:
            for kind, result in results.items():
                one, errors = result.tracks[name], result.motion[name]
                quality = self.untracked.per_class[name].pq, result.quality.per_class[name].pq
                shares = *quality, one.hota, one.deta, one.assa, one.mota, one.idf1
                row = [name + kind, *map(table_cell, shares), str(one.switches)]
                rows.append([*row, *errors.cells()] if has_motion else row)
        lines = [markdown_table(rows), ""]
        lines.append(f"mean PQ {100 * self.untracked.mean_pq:.1f}")
        for kind, result in results.items():
            lstq, association, classes = (100 * share for share in result.lstq)
            lines.append(
                f"tracked{kind}: mean PQ {100 * result.quality.mean_pq:.1f}, LSTQ {lstq:.1f} "
                f"(S_assoc {association:.1f}, S_cls {classes:.1f})"
            )
        return "\n".join(lines)


class TrackEvaluator:
    """Adds up the tracks of sequences, sweep by sweep in order."""

    def __init__(self, config: Config) -> None:
        """Begin without sequences.

        Args:
            config: Its classes are scored.
        """
        names = config.class_names
        self._quality, self._lstq = Evaluator(names), Lstq(len(names))
        self._steps: dict[str, list[list[Step]]] = {name: [] for name in names}
        self._numbers: dict[str, dict[int, int]] = {}  # of ids, from 0 in each sequence
        self._matches: defaultdict[str, list[Float64]] = defaultdict(list)

    def begin(self) -> None:
        """Begin a sequence."""
        self._numbers = {}
        for sequences in self._steps.values():
            sequences.append([])

    def add(self, truth: TrueSweep, tracked: TrackedInstances) -> None:
        """Add a sweep.

        Args:
            truth: The ground truth.
            tracked: The predicted objects, with tracks.
        """
        found, frame = tracked.confirmed(), truth.frame
        self._quality.add(frame, found.instances)
        near = np.square(frame.points[:, :2].astype(np.float64)).sum(axis=1)
        judged = frame.judged & (near <= self._quality.max_range_m**2)
        objects, seen = frame.instance[judged], found.instances.labels[judged]
        table = overlap_table(objects, seen, len(frame.classes), len(found))
        for c, name in enumerate(self._steps):
            kinds = frame.classes == c, found.instances.classes == c
            self._add_step(name, table, kinds, truth, found)
        zero = np.zeros(1, np.int64)
        self._lstq.add(
            frame.name.partition("/")[0],
            np.append(zero, truth.ids)[objects],
            np.append(zero, found.tracks.ids.astype(np.int64))[seen],
            np.append(zero, frame.classes + 1)[objects],
            np.append(zero, found.instances.classes + 1)[seen],
        )

    def result(self) -> TrackResult:
        """Return the scores of all sequences."""
        tracks = {name: track_scores(sequences) for name, sequences in self._steps.items()}
        motion = {name: motion_errors(self._matches[name]) for name in self._steps}
        return TrackResult(self._quality.result(), tracks, motion, self._lstq.result())

    def _add_step(
        self,
        name: str,
        table: Int64,
        kinds: tuple[NDArray[np.bool_], NDArray[np.bool_]],
        truth: TrueSweep,
        found: TrackedInstances,
    ) -> None:
        """Compare the objects and tracks of one class that have enough points."""
        sizes = table.sum(axis=1)[1:], table.sum(axis=0)[1:]
        enough = self._quality.min_points
        rows, columns = (
            np.flatnonzero(kind & (size >= enough)) for kind, size in zip(kinds, sizes, strict=True)
        )
        shared = table[1:, 1:][np.ix_(rows, columns)]
        union = sizes[0][rows][:, None] + sizes[1][columns] - shared
        objects = self._number(f"{name} object", truth.ids[rows])
        tracks = self._number(f"{name} track", found.tracks.ids[columns].astype(np.int64))
        step = Step(objects, tracks, shared / np.maximum(union, 1))
        self._steps[name][-1].append(step)
        i, j = np.nonzero(step.similarity > MATCH)  # each at most once: points have one owner
        own = found.tracks.take(columns[j])
        states = np.column_stack([own.position_m[:, :2], own.velocity_mps])
        self._matches[name].append(np.stack([states, truth.motion[rows[i]]]))

    def _number(self, kind: str, ids: Int64) -> Int64:
        """Return ids that count from 0 in this sequence."""
        numbers = self._numbers.setdefault(kind, {})
        return np.array([numbers.setdefault(i, len(numbers)) for i in ids.tolist()], np.int64)


def object_ids(root: Path, frame: Frame) -> Int64:
    """Return the ids over the sequence of a frame's objects, (K,): instance id and class number.

    The instance id is in the low 16 bits. The class number of the label file is above it, as data
    sets may number the instances of each from 1, even if several are one class of the network.

    Args:
        root: Folder of a data set in SemanticKITTI layout.
        frame: One of its frames.

    Raises:
        ScanError: The label file cannot be read.
    """
    ids = np.zeros(len(frame.classes) + 1, np.int64)
    inside = frame.instance > 0
    words = read_words(root, frame)[inside].astype(np.int64)
    ids[frame.instance[inside]] = (words & 0xFFFF) << 16 | words >> 16
    return ids[1:]
