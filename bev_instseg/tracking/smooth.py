"""Looking both ways: what later sweeps show counts for earlier ones, too."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from bev_instseg.tracking import evidence
from bev_instseg.tracking.tracked import TrackedInstances

Key = TypeVar("Key")


def smooth(sweeps: Mapping[Key, TrackedInstances]) -> dict[Key, TrackedInstances]:
    """Judge each object by its whole track.

    Its class is the one with the largest sum of scores over all sweeps. At each sweep, the log odds
    that it is an object are those from the sweeps so far, plus those from the sweeps to come,
    computed in the same way backwards in time. So the first sweeps of an object that is confirmed
    later are accepted, and an object that was taken for one and never seen again is not.

    Ids, positions, velocities and headings stay as they are.

    Args:
        sweeps: The results of a `Tracker` for all sweeps of a sequence, in order, unconfirmed
            instances included.

    Returns:
        The same sweeps.
    """
    tracks: dict[int, list[tuple[int, int]]] = {}  # sweep and row of each sighting
    results = list(sweeps.values())
    for i, result in enumerate(results):
        for row, number in enumerate(result.tracks.ids.tolist()):
            tracks.setdefault(number, []).append((i, row))
    classes = [result.instances.classes.copy() for result in results]
    beliefs = [np.zeros(len(result)) for result in results]
    sures = [np.zeros(len(result), bool) for result in results]
    for sightings in tracks.values():
        scores = np.array([results[i].tracks.seen_scores[row] for i, row in sightings])
        seen = np.array([results[i].tracks.seen_classes[row] for i, row in sightings])
        at = np.array([i for i, _ in sightings])
        winner = np.bincount(seen, scores).argmax()
        own = evidence.log_odds(scores)
        total = _beliefs(at, scores) + _beliefs(-at[::-1], scores[::-1])[::-1] - own
        known = np.full(len(at), (total >= evidence.CONFIRM).any())
        confirmed = evidence.confirmed(total, known)
        for (i, row), belief, sure in zip(sightings, total, confirmed, strict=True):
            classes[i][row], beliefs[i][row], sures[i][row] = winner, belief, sure
    judged = map(_judged, results, classes, beliefs, sures)
    return dict(zip(sweeps, judged, strict=True))


def _beliefs(at: NDArray[np.intp], scores: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the log odds at each sighting from those before it.

    Args:
        at: (S,) increasing numbers of the sweeps; in those between, the object was missed.
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
    classes: NDArray[np.int32],
    belief: NDArray[np.float64],
    confirmed: NDArray[np.bool_],
) -> TrackedInstances:
    """Return a result with other classes, log odds and confirmations."""
    scores = evidence.probability(belief)
    instances = replace(result.instances, classes=classes, scores=scores)
    tracks = replace(result.tracks, confirmed=confirmed)
    order = np.argsort(-scores, kind="stable")
    return replace(result, instances=instances, tracks=tracks).take(order)
