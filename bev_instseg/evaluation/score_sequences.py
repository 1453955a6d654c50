"""Track labelled sequences, and score every sweep and the tracks."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bev_instseg.config import Config
from bev_instseg.datasets.semantickitti import read_words
from bev_instseg.evaluation.metrics import Evaluator, Result
from bev_instseg.evaluation.segments import overlap_table
from bev_instseg.evaluation.sequence_metrics import Lstq, Step, TrackScores, track_scores
from bev_instseg.structures import Frame, Instances
from bev_instseg.tables import markdown_table
from bev_instseg.tracking.tracked import TrackedInstances

Int64 = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class SequenceResult:
    """Scores of sequences.

    Attributes:
        untracked: Scores of the sweeps, each by itself.
        tracked: Scores of the same sweeps after tracking.
        tracks: Scores of the tracks by class.
        lstq: LSTQ, S_assoc and S_cls.
    """

    untracked: Result
    tracked: Result
    tracks: dict[str, TrackScores]
    lstq: tuple[float, float, float]

    def table(self) -> str:
        """Return the scores as Markdown, in percent, switches in numbers."""
        rows = [["class", "PQ", "PQ tracked", "HOTA", "DetA", "AssA", "MOTA", "IDF1", "switches"]]
        for name, one in self.tracks.items():
            quality = self.untracked.per_class[name].pq, self.tracked.per_class[name].pq
            shares = *quality, one.hota, one.deta, one.assa, one.mota, one.idf1
            rows.append([name, *(f"{100 * share:.1f}" for share in shares), str(one.switches)])
        lstq, association, classes = (100 * share for share in self.lstq)
        mean = 100 * self.untracked.mean_pq, 100 * self.tracked.mean_pq
        return (
            f"{markdown_table(rows)}\n\nmean PQ {mean[0]:.1f}, tracked {mean[1]:.1f}; LSTQ "
            f"{lstq:.1f} (S_assoc {association:.1f}, S_cls {classes:.1f})"
        )


class SequenceEvaluator:
    """Adds up sweeps of sequences, in order."""

    def __init__(self, config: Config) -> None:
        """Begin.

        Args:
            config: Its classes are scored.
        """
        names = config.class_names
        self._untracked, self._tracked = Evaluator(names), Evaluator(names)
        self._lstq = Lstq(len(names))
        self._steps: dict[str, list[list[Step]]] = {name: [] for name in names}
        self._numbers: dict[str, dict[int, int]] = {}  # of ids, from 0 in each sequence

    def begin(self) -> None:
        """Begin a sequence."""
        self._numbers = {}
        for sequences in self._steps.values():
            sequences.append([])

    def add(
        self, frame: Frame, object_ids: Int64, single: Instances, tracked: TrackedInstances
    ) -> None:
        """Add a sweep.

        Args:
            frame: The ground truth, with K objects.
            object_ids: (K,) ids of the objects over the sequence.
            single: The sweep's instances without tracking.
            tracked: Its instances with tracks.
        """
        found = tracked.confirmed()
        self._untracked.add(frame, single)
        self._tracked.add(frame, found.instances)
        near = np.square(frame.points[:, :2].astype(np.float64)).sum(axis=1)
        judged = frame.judged & (near <= self._tracked.max_range_m**2)
        truth, seen = frame.instance[judged], found.instances.labels[judged]
        table = overlap_table(truth, seen, len(frame.classes), len(found))
        track_ids = found.tracks.ids.astype(np.int64)
        for c, name in enumerate(self._steps):
            kinds = frame.classes == c, found.instances.classes == c
            self._steps[name][-1].append(self._step(name, table, kinds, (object_ids, track_ids)))
        zero = np.zeros(1, np.int64)
        self._lstq.add(
            frame.name.partition("/")[0],
            np.append(zero, object_ids)[truth],
            np.append(zero, track_ids)[seen],
            np.append(zero, frame.classes + 1)[truth],
            np.append(zero, found.instances.classes + 1)[seen],
        )

    def result(self) -> SequenceResult:
        """Return the scores of all sequences."""
        tracks = {name: track_scores(sequences) for name, sequences in self._steps.items()}
        untracked, tracked = self._untracked.result(), self._tracked.result()
        return SequenceResult(untracked, tracked, tracks, self._lstq.result())

    def _step(
        self,
        name: str,
        table: Int64,
        kinds: tuple[NDArray[np.bool_], NDArray[np.bool_]],
        ids: tuple[Int64, Int64],
    ) -> Step:
        """Compare the objects and tracks of one class that have enough points."""
        sizes = table.sum(axis=1)[1:], table.sum(axis=0)[1:]
        enough = self._tracked.min_points
        rows, columns = (
            np.flatnonzero(kind & (size >= enough)) for kind, size in zip(kinds, sizes, strict=True)
        )
        shared = table[1:, 1:][np.ix_(rows, columns)]
        union = sizes[0][rows][:, None] + sizes[1][columns] - shared
        objects, tracks = (
            self._number(f"{name} {side}", some[chosen])
            for side, some, chosen in (("object", ids[0], rows), ("track", ids[1], columns))
        )
        return Step(objects, tracks, shared / np.maximum(union, 1))

    def _number(self, kind: str, ids: Int64) -> Int64:
        """Return ids that count from 0 in this sequence."""
        numbers = self._numbers.setdefault(kind, {})
        return np.array([numbers.setdefault(i, len(numbers)) for i in ids.tolist()], np.int64)


def object_ids(root: Path, frame: Frame) -> Int64:
    """Return the ids over the sequence of a frame's objects, (K,): class and instance id.

    Args:
        root: Folder of a data set in SemanticKITTI layout.
        frame: One of its frames.

    Raises:
        ScanError: The label file cannot be read.
    """
    ids = np.zeros(len(frame.classes) + 1, np.int64)
    inside = frame.instance > 0
    words = read_words(root, frame)[inside] >> 16
    ids[frame.instance[inside]] = words
    return ids[1:] + (1 << 16) * frame.classes.astype(np.int64)
