"""Smoothing: judge the objects of each sweep with later sweeps as well."""

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
    sweep on, and a false alarm that was confirmed but never seen again is dropped.

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
    for i, result in enumerate(results):
        seen = replace(result.instances, classes=result.tracks.seen_classes)
        for row in np.flatnonzero(~seen.is_unknown).tolist():
            tracks.setdefault(int(result.tracks.ids[row]), []).append((i, row))
    classes = [result.instances.classes.copy() for result in results]
    beliefs = [np.zeros(len(result)) for result in results]
    sures = [np.zeros(len(result), bool) for result in results]
    measured = [Seen(one.instances, one.pose, one.tracks.seen_centres_m) for one in results]
    moved = [_copied(result.tracks) for result in results]
    for sightings in tracks.values():
        scores = np.array([results[i].tracks.seen_scores[row] for i, row in sightings])
        kinds = np.array([results[i].tracks.seen_classes[row] for i, row in sightings])
        at = np.array([i for i, _ in sightings])
        winner = np.bincount(kinds, scores).argmax()
        own = evidence.log_odds(scores)
        total = _beliefs(at, scores) + _beliefs(-at[::-1], scores[::-1])[::-1] - own
        known = np.full(len(at), (total >= evidence.CONFIRM).any())
        confirmed = evidence.confirmed(total, known)
        for (i, row), belief, sure in zip(sightings, total, confirmed, strict=True):
            classes[i][row], beliefs[i][row], sures[i][row] = winner, belief, sure
        path = whole_path(_sightings(results, measured, sightings, int(winner)))
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


def _beliefs(at: NDArray[np.intp], scores: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the log odds at each sighting from those before it.

    Args:
        at: (S,) increasing numbers of the sweeps; the object was missed in those between.
        scores: (S,) scores.
    """
    beliefs = evidence.log_odds(scores)
    for n in range(1, len(at)):
        belief = beliefs[n - 1 : n]
        for _ in range(int(at[n] - at[n - 1]) - 1):
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
