"""Whether a track is an object: log odds that grow when it is seen and fall when it is missed.

An instance's score is the probability that it is an object, given one sweep. The log odds are added
up over the sweeps. Older ones fade, because neighbouring sweeps are not independent. Being found
again also counts, because objects are found more steadily than false alarms. A track is confirmed
above one threshold, and no longer confirmed below a lower one.
"""

import numpy as np
from numpy.typing import NDArray

from bev_instseg.structures import Float64

KEPT = 0.7  # share of the log odds that remains from one sweep to the next
SEEN, MISSED = 0.5, -1.5  # log odds of being found, and of being missed, in one sweep
RANGE_M = 45.0  # objects farther away may leave the grid, so missing them is no evidence
LIMIT = 6.0  # largest magnitude of the log odds
CONFIRM, DOUBT = 0.2, -0.4  # log odds: at 0.55 a track is confirmed, below 0.4 no longer
MIN_SCORE = 1e-3
CLASS_KEPT = 0.95  # share of the evidence for classes that remains from one sweep to the next


def log_odds(scores: NDArray[np.floating]) -> Float64:
    """Return the log odds of probabilities."""
    p = np.clip(scores.astype(np.float64), MIN_SCORE, 1 - MIN_SCORE)
    odds: Float64 = np.log(p / (1 - p))
    return odds


def probability(belief: Float64) -> NDArray[np.float32]:
    """Return the probabilities that belong to log odds."""
    return (0.5 + 0.5 * np.tanh(belief / 2)).astype(np.float32)


def seen(belief: Float64, scores: NDArray[np.floating]) -> Float64:
    """Return the log odds of tracks that were seen again, with these scores."""
    return np.clip(KEPT * belief + log_odds(scores) + SEEN, -LIMIT, LIMIT)


def missed(belief: Float64) -> Float64:
    """Return the log odds of tracks that were missed although nothing was in front of them."""
    return np.clip(KEPT * belief + MISSED, -LIMIT, LIMIT)


def confirmed(belief: Float64, before: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which tracks are confirmed.

    Args:
        belief: (T,) log odds.
        before: (T,) bool, whether they were confirmed.
    """
    return belief >= np.where(before, DOUBT, CONFIRM)


def hidden(
    azimuth_rad: Float64, range_m: Float64, boxes: NDArray[np.floating]
) -> NDArray[np.bool_]:
    """Return which places are hidden from the sensor by an instance.

    Args:
        azimuth_rad: (T,) directions of the places from the sensor.
        range_m: (T,) their distances.
        boxes: (K, 7) boxes of the sweep's instances in the sensor frame.

    Returns:
        (T,) bool.
    """
    distance = np.hypot(boxes[:, 0], boxes[:, 1])
    half_size = np.hypot(boxes[:, 3], boxes[:, 4]) / 2
    half_angle = np.arctan2(half_size, distance)
    turn = azimuth_rad[:, None] - np.arctan2(boxes[:, 1], boxes[:, 0])
    beside = np.abs((turn + np.pi) % (2 * np.pi) - np.pi)
    nearer = distance < range_m[:, None] - 0.5
    behind: NDArray[np.bool_] = ((beside < half_angle) & nearer).any(axis=1)
    return behind
