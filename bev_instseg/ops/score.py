"""Where a score becomes a probability: calibration by an instance's mean seed, size and class."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bev_instseg.structures import Float32, Int32

SEED_CLIP = 1e-4  # seeds are clipped to this distance from 0 and 1, where the logit is infinite


def probability(
    mean_seed: Float32,
    classes: Int32,
    num_points: NDArray[np.integer],
    calibration: Sequence[tuple[float, float, float]],
) -> Float32:
    """Return the calibrated score of each of K instances: the probability that it is an object.

        p = sigmoid(a + b logit(s) + c log(n)),   logit(s) = log(s / (1 - s))

    where s is the mean seed, clipped to 1e-4..1 - 1e-4, n the number of points and (a, b, c) the
    coefficients of the instance's class; (0, 1, 0) returns the seed itself. They are fitted by
    ``bev_instseg/evaluation/score_calibration.py``.

    Args:
        mean_seed: (K,) float32 in 0..1.
        classes: (K,) int32 class index.
        num_points: (K,) number of points; 0 counts as 1.
        calibration: (a, b, c) of each of the C classes.

    Returns:
        (K,) float32 in 0..1.
    """
    a_b_c = np.asarray(calibration, np.float64)[classes]
    log_odds = np.einsum("ki,ki->k", a_b_c, log_odds_terms(mean_seed, num_points))
    sigmoid = 0.5 + 0.5 * np.tanh(log_odds / 2)  # never overflows
    scores: Float32 = sigmoid.astype(np.float32)
    return scores


def log_odds_terms(mean_seed: Float32, num_points: NDArray[np.integer]) -> NDArray[np.float64]:
    """Return the terms 1, logit(s) and log(n) that `probability` weights with a, b and c.

    Args:
        mean_seed: (K,) float32 in 0..1.
        num_points: (K,) number of points; 0 counts as 1.

    Returns:
        (K, 3) float64.
    """
    s = np.clip(mean_seed.astype(np.float64), SEED_CLIP, 1 - SEED_CLIP)
    n = np.maximum(num_points, 1)
    return np.column_stack([np.ones(len(s)), np.log(s / (1 - s)), np.log(n)])
