"""Smoothing: judge the objects of each sweep with later sweeps as well."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from bev_instseg.tracking import evidence
from bev_instseg.tracking.seen import Seen
from bev_instseg.tracking.tracked import TrackedInstances, Tracks
from bev_instseg.tracking.whole_path import Sightings, whole_path

Key = TypeVar("Key")


def smooth(sweeps: Mapping[Key, TrackedInstances]) -> dict[Key, TrackedInstances]:
    """Judge each object by its whole track.

    Its class is the one with the largest sum of scores over all sweeps. The log odds that it is an
    object at a sweep are those from the sweeps up to it, plus those from later sweeps, computed in
    the same way backwards in time. So an object that is confirmed later is accepted from its first
    sweep on, and a false alarm that was confirmed but never seen again is dropped. As in the
    `Tracker`, a sweep without the object counts against it only where it would have been visible.

    Positions, velocities, headings and ``moving`` come from `whole_path`. Ids and unknown objects
    do not change.

    Args:
        sweeps: The results of a `Tracker` for all sweeps of a sequence, in order, unconfirmed
            instances included.

    Returns:
        The smoothed results of the same sweeps.
    """
    tracks: dict[int, list[tuple[int, int]]] = {}  # sweep and row of each sighting
    results = list(sweeps.values())
    measured = [_measured(result) for result in results]
    for i, (result, seen) in enumerate(zip(results, measured, strict=True)):
        for row in np.flatnonzero(~seen.is_unknown).tolist():
            tracks.setdefault(int(result.tracks.ids[row]), []).append((i, row))
    classes = [result.instances.classes.copy() for result in results]
    beliefs = [np.zeros(len(result)) for result in results]
    sures = [np.zeros(len(result), bool) for result in results]
    moved = [_copied(result.tracks) for result in results]
    for sightings in tracks.values():
        scores = np.array([results[i].tracks.seen_scores[row] for i, row in sightings])
        kinds = np.array([results[i].tracks.seen_classes[row] for i, row in sightings])
        winner = np.bincount(kinds, scores).argmax()
        seen_at = _sightings(results, measured, sightings, int(winner))
        misses = _count_misses(results, measured, sightings, seen_at)
        own = evidence.log_odds(scores)
        total = _beliefs(scores, misses) + _beliefs(scores[::-1], misses[::-1])[::-1] - own
        known = np.full(len(total), (total >= evidence.CONFIRM).any())
        confirmed = evidence.confirmed(total, known)
        for (i, row), belief, sure in zip(sightings, total, confirmed, strict=True):
            classes[i][row], beliefs[i][row], sures[i][row] = winner, belief, sure
        path = whole_path(seen_at)
        for k, (i, row) in enumerate(sightings):
            t = moved[i]
            t.position_m[row, :2], t.velocity_mps[row] = path.xy_m[k], path.velocity_mps[k]
            t.moving[row], t.front_known[row] = path.moving[k], path.front_known
            t.heading_rad[row] = path.heading_rad[k]
    judged = map(_judged, results, moved, classes, beliefs, sures)
    return dict(zip(sweeps, judged, strict=True))


def without_points(tracked: TrackedInstances) -> TrackedInstances:
    """Return the result without its points, so that many sweeps fit into memory."""
    none = replace(tracked.instances, labels=np.zeros(0, np.int32), ground=None)
    return replace(tracked, instances=none)


def _measured(result: TrackedInstances) -> Seen:
    """Return what the tracker was given of a sweep."""
    one, tracks = result.instances, result.tracks
    return Seen(replace(one, classes=tracks.seen_classes), result.pose, tracks.seen_centres_m)


def _copied(tracks: Tracks) -> Tracks:
    """Return a copy that may be changed."""
    return tracks.take(np.arange(len(tracks)))


def _sightings(
    results: Sequence[TrackedInstances],
    measured: Sequence[Seen],
    at: Sequence[tuple[int, int]],
    winner: int,
) -> Sightings:
    """Collect the sightings of an object.

    Args:
        results: The sweeps.
        measured: The measurements in them.
        at: Sweep and row of each sighting.
        winner: Its class.
    """
    return Sightings(
        np.array([results[i].stamp_s for i, _ in at]),
        np.array([measured[i].xy_m[row] for i, row in at]),
        np.array([measured[i].noise[row] for i, row in at]),
        np.array([results[i].tracks.heading_rad[row] for i, row in at]),
        max(measured[i].size_m[row, 0] for i, row in at),
        results[0].instances.class_names[winner],
    )


def _count_misses(
    results: Sequence[TrackedInstances],
    measured: Sequence[Seen],
    at: Sequence[tuple[int, int]],
    seen: Sightings,
) -> list[int]:
    """Return in how many sweeps after each sighting but the last the object was missed.

    Sweeps that cannot show its place, which is interpolated, do not count.

    Args:
        results: The sweeps.
        measured: The measurements in them.
        at: Sweep and row of each of the S sightings.
        seen: The sightings.
    """
    counts = [0] * (len(at) - 1)
    for k, ((i, _), (after, _)) in enumerate(itertools.pairwise(at)):
        for between in range(i + 1, after):
            stamp_s = results[between].stamp_s
            place_m = [np.interp(stamp_s, seen.stamps_s, xy_m) for xy_m in seen.xy_m.T]
            counts[k] += not measured[between].cannot_show(np.array([place_m]))[0]
    return counts


def _beliefs(scores: NDArray[np.float32], misses: Sequence[int]) -> NDArray[np.float64]:
    """Return the log odds at each sighting from those before it.

    Args:
        scores: (S,) scores.
        misses: (S - 1,) how often the object was missed between two sightings.
    """
    beliefs = evidence.log_odds(scores)
    for n, count in enumerate(misses, 1):
        belief = beliefs[n - 1 : n]
        for _ in range(count):
            belief = evidence.missed(belief)
        beliefs[n] = evidence.seen(belief, scores[n : n + 1])[0]
    return beliefs


def _judged(
    result: TrackedInstances,
    moved: Tracks,
    classes: NDArray[np.int32],
    belief: NDArray[np.float64],
    confirmed: NDArray[np.bool_],
) -> TrackedInstances:
    """Return a result with different motion, classes, log odds and confirmations."""
    scores = evidence.probability(belief)
    instances = replace(result.instances, classes=classes, scores=scores)
    tracks = replace(moved, confirmed=confirmed)
    judged = replace(result, instances=instances, tracks=tracks)
    return judged.with_doubtful_as_unknown().by_score()
