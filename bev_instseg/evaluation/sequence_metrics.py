"""Measures of tracking: LSTQ by points; HOTA, MOTA, IDF1 and id switches by objects.

- LSTQ: M. Aygün et al., 4D Panoptic LiDAR Segmentation, CVPR 2021. The geometric mean of S_cls, the
  mean IoU of the classes, and S_assoc, how well the points of each object are kept together over
  space and time: the mean over all objects g of the sum, over all tracks s that share points with
  g, of |s and g| IoU(s, g) / |g|. Background is not among our classes.
- HOTA: J. Luiten et al., HOTA: A Higher Order Metric for Evaluating Multi-Object Tracking, IJCV
  2021. MOTA: K. Bernardin and R. Stiefelhagen, 2008. IDF1: E. Ristani et al., 2016.

HOTA, MOTA and IDF1 are computed per class, from the objects and tracks with enough points in a
sweep; their similarity is the IoU of their points. For MOTA and IDF1, an IoU of 0.5 is a match.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from bev_instseg.structures import Float64

Int64 = NDArray[np.int64]

ALPHAS = np.arange(1, 20) / 20  # similarities at which HOTA counts a match
MATCH = 0.5
EPS = float(np.finfo(float).eps)


@dataclass(frozen=True, eq=False)
class Step:
    """The objects and tracks of one class in one sweep.

    Attributes:
        objects: (O,) int64 ids of the objects, 0 and up over the sequence.
        tracks: (T,) int64 ids of the tracks, 0 and up over the sequence.
        similarity: (O, T) float64 in 0..1.
    """

    objects: Int64
    tracks: Int64
    similarity: Float64


@dataclass(frozen=True)
class TrackScores:
    """Measures of one class over all sequences; NaN without objects and tracks.

    Attributes:
        hota: Mean over `ALPHAS` of sqrt(deta * assa).
        deta: Mean detection accuracy.
        assa: Mean association accuracy.
        mota: 1 - (FN + FP + switches) / objects; NaN without objects.
        idf1: F1 of the best assignment of tracks to objects over whole sequences.
        switches: How often an object is found by a different track than before.
    """

    hota: float
    deta: float
    assa: float
    mota: float
    idf1: float
    switches: int


def track_scores(sequences: Sequence[Sequence[Step]]) -> TrackScores:
    """Score the sequences of one class together.

    Args:
        sequences: The sweeps of each sequence in order.
    """
    num_objects = sum(len(step.objects) for steps in sequences for step in steps)
    num_tracks = sum(len(step.tracks) for steps in sequences for step in steps)
    hits, association = np.zeros(len(ALPHAS)), np.zeros(len(ALPHAS))
    matches = switches = id_matches = 0
    for steps in sequences:
        found, kept = _hota_counts(steps)
        hits, association = hits + found, association + kept
        clear_matches, clear_switches = _clear_counts(steps)
        matches, switches = matches + clear_matches, switches + clear_switches
        id_matches += _identity_count(steps)
    with np.errstate(invalid="ignore", divide="ignore"):
        deta = hits / np.float64(num_objects + num_tracks - hits)
        assa = np.where(np.isnan(deta), np.nan, association / np.maximum(hits, 1))
        errors = num_objects - matches + num_tracks - matches + switches
        mota = 1 - np.float64(errors) / num_objects if num_objects else np.nan
        idf1 = np.float64(2 * id_matches) / (num_objects + num_tracks)
    hota = float(np.sqrt(deta * assa).mean())
    return TrackScores(
        hota, float(deta.mean()), float(assa.mean()), float(mota), float(idf1), switches
    )


def _counts(steps: Sequence[Step]) -> tuple[Int64, Int64]:
    """Return the number of sweeps with each object and each track."""
    none = np.zeros(0, np.int64)
    objects = np.concatenate([none, *(step.objects for step in steps)])
    tracks = np.concatenate([none, *(step.tracks for step in steps)])
    return np.bincount(objects), np.bincount(tracks)


def _hota_counts(steps: Sequence[Step]) -> tuple[Float64, Float64]:
    """Return at each of `ALPHAS` the matches, and the sum of their association accuracies."""
    objects, tracks = _counts(steps)
    overlap = np.zeros((len(objects), len(tracks)))
    for step in steps:
        s = step.similarity
        union = s.sum(axis=0) + s.sum(axis=1)[:, None] - s
        overlap[np.ix_(step.objects, step.tracks)] += np.where(union > EPS, s, 0) / np.where(
            union > EPS, union, 1
        )
    alignment = overlap / (objects[:, None] + tracks - overlap)
    matches = np.zeros((len(ALPHAS), len(objects), len(tracks)))
    for step in steps:
        s = step.similarity
        i, j = linear_sum_assignment(alignment[np.ix_(step.objects, step.tracks)] * s, True)
        good = s[i, j] >= ALPHAS[:, None] - EPS
        matches[:, step.objects[i], step.tracks[j]] += good
    accuracy = matches / np.maximum(objects[:, None] + tracks - matches, 1)
    return matches.sum(axis=(1, 2)), (matches * accuracy).sum(axis=(1, 2))


def _clear_counts(steps: Sequence[Step]) -> tuple[int, int]:
    """Return matches and id switches; matches of the previous sweep are kept where possible.

    Sweeps without objects or without tracks are passed over.
    """
    last, before = dict[int, int](), dict[int, int]()
    matches = switches = 0
    for step in steps:
        if not len(step.objects) or not len(step.tracks):
            continue
        s = step.similarity
        stays = np.array([before.get(o, -1) for o in step.objects.tolist()])
        value = np.where(s >= MATCH - EPS, s + 1000 * (stays[:, None] == step.tracks), 0)
        i, j = linear_sum_assignment(value, True)
        good = value[i, j] > EPS
        pairs = zip(step.objects[i[good]].tolist(), step.tracks[j[good]].tolist(), strict=True)
        before = dict(pairs)
        matches += len(before)
        switches += sum(last.get(o, t) != t for o, t in before.items())
        last |= before
    return matches, switches


def _identity_count(steps: Sequence[Step]) -> int:
    """Return the matches of the best one-to-one assignment of tracks to objects."""
    objects, tracks = _counts(steps)
    together = np.zeros((len(objects), len(tracks)), np.int64)
    for step in steps:
        together[np.ix_(step.objects, step.tracks)] += step.similarity >= MATCH
    return int(together[linear_sum_assignment(together, True)].sum())


class Lstq:
    """Adds up points of sweeps; `result` is the LSTQ of all of them."""

    def __init__(self, num_classes: int) -> None:
        """Begin without sweeps.

        Args:
            num_classes: Number of classes without the background, C.
        """
        self._confusion = np.zeros((num_classes + 1, num_classes + 1), np.int64)
        self._object_points: Counter[tuple[str, int]] = Counter()
        self._track_points: Counter[tuple[str, int]] = Counter()
        self._shared_points: Counter[tuple[str, int, int]] = Counter()

    def add(
        self, sequence: str, objects: Int64, tracks: Int64, true_class: Int64, seen_class: Int64
    ) -> None:
        """Add the judged points of a sweep.

        Args:
            sequence: Name of the sequence.
            objects: (N,) id over the sequence of the object of each point, 0 for none.
            tracks: (N,) id over the sequence of the track of each point, 0 for none.
            true_class: (N,) class of each point, 0 background, 1..C.
            seen_class: (N,) predicted class of each point.
        """
        side = len(self._confusion)
        pairs = np.bincount(true_class * side + seen_class, minlength=side * side)
        self._confusion += pairs.reshape(side, side)
        rows, counts = np.unique(np.stack([objects, tracks], 1), axis=0, return_counts=True)
        for (number, track), count in zip(rows.tolist(), counts.tolist(), strict=True):
            self._object_points[sequence, number] += count
            self._track_points[sequence, track] += count
            self._shared_points[sequence, number, track] += count

    def result(self) -> tuple[float, float, float]:
        """Return LSTQ, S_assoc and S_cls; the first two are NaN without objects."""
        sums = defaultdict[tuple[str, int], float](float)
        for (sequence, number, track), shared in self._shared_points.items():
            if number and track:
                size = self._object_points[sequence, number]
                union = size + self._track_points[sequence, track] - shared
                sums[sequence, number] += shared * shared / union / size
        objects = [key for key in self._object_points if key[1]]
        association = float(np.mean([sums[key] for key in objects])) if objects else np.nan
        inside = np.diag(self._confusion)
        union = self._confusion.sum(axis=0) + self._confusion.sum(axis=1) - inside
        with np.errstate(invalid="ignore"):
            ious = (inside / np.where(union, union, np.nan))[1:]
        known = ious[np.isfinite(ious)]
        classes = float(known.mean()) if len(known) else np.nan
        return float(np.sqrt(association * classes)), association, classes
