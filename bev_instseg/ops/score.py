"""From the mean seed and the size of an instance to the probability that it is an object."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bev_instseg.structures import Float32, Int32

SEED_MARGIN = 1e-4  # seeds are clipped this far from 0 and 1, where their logit is infinite


def probability(
    mean_seed: Float32,
    classes: Int32,
    num_points: NDArray[np.integer],
    calibration: Sequence[tuple[float, float, float]],
) -> Float32:
    """The calibrated score of each of K instances.

        p = sigmoid(a + b logit(s) + c log(n)),   logit(s) = log(s / (1 - s))

    with s the mean seed, clipped to 1e-4..1 - 1e-4, n the number of points and (a, b, c) those of
    the instance's class: (0, 1, 0) gives the seed itself. `bev_instseg.evaluation.score_calibration` fits them.

    Args:
        mean_seed: (K,) 0..1.
        classes: (K,) class of each.
        num_points: (K,) points of each; none counts as one.
        calibration: (a, b, c) of each of the C classes.

    Returns:
        (K,) float32 in 0..1.
    """
    a_b_c = np.asarray(calibration, np.float64)[classes]
    log_odds = np.einsum("ki,ki->k", a_b_c, evidence(mean_seed, num_points))
    return (0.5 + 0.5 * np.tanh(log_odds / 2)).astype(np.float32)  # sigmoid, never overflowing


def evidence(mean_seed: Float32, num_points: NDArray[np.integer]) -> NDArray[np.float64]:
    """(K, 3) float64 rows 1, logit(s), log(n) of K instances; see `probability`."""
    s = np.clip(mean_seed.astype(np.float64), SEED_MARGIN, 1 - SEED_MARGIN)
    n = np.maximum(num_points, 1)
    return np.column_stack([np.ones(len(s)), np.log(s / (1 - s)), np.log(n)])
