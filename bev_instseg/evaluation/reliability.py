"""Whether scores mean what they say: of the predictions of a score, how many are right."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bev_instseg.structures import Float32

BINS = 10


@dataclass(frozen=True, eq=False)
class Reliability:
    """How well scores agree with how often predictions are right, in `BINS` equal bins of 0..1.

    Attributes:
        count: (BINS,) int64 predictions in each bin.
        score: (BINS,) float64 their mean score, NaN without any.
        right: (BINS,) float64 part of them that is right, NaN without any.
        error: expected calibration error: the mean over predictions of their bin's
            |score - right|; NaN without any.
    """

    count: NDArray[np.int64]
    score: NDArray[np.float64]
    right: NDArray[np.float64]
    error: float


def reliability(
    scores: Float32, right: NDArray[np.bool_], weights: NDArray[np.float64] | None = None
) -> Reliability:
    """Scores against verdicts.

    Args:
        scores: (K,) float32 0..1.
        right: (K,) bool.
        weights: (K,) how much each prediction counts in every mean; None: all the same.
    """
    weights = np.ones(len(scores)) if weights is None else weights
    bins = np.minimum((scores * BINS).astype(np.int64), BINS - 1)

    def sums(values: NDArray) -> NDArray[np.float64]:
        return np.bincount(bins, weights * values, BINS).astype(np.float64)

    weight = sums(np.ones(len(bins)))
    score, hits = sums(scores), sums(right)
    with np.errstate(invalid="ignore"):  # 0 / 0 is NaN
        error = np.abs(score - hits).sum() / weight.sum()
        return Reliability(
            np.bincount(bins, minlength=BINS), score / weight, hits / weight, float(error)
        )
