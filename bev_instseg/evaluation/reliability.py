"""How well scores agree with the precision of the predictions that have them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bev_instseg.structures import Float32

NUM_BINS = 10


@dataclass(frozen=True, eq=False)
class Reliability:
    """Scores against precision in `NUM_BINS` equal bins of 0..1.

    Attributes:
        num_predictions: (NUM_BINS,) int64 predictions in each bin.
        mean_score: (NUM_BINS,) float64 mean score in each bin, NaN if it is empty.
        precision: (NUM_BINS,) float64 fraction of correct predictions in each bin, NaN if it is
            empty.
        calibration_error: Expected calibration error: mean over the predictions of their bin's
            |mean score - precision|; NaN without any.
    """

    num_predictions: NDArray[np.int64]
    mean_score: NDArray[np.float64]
    precision: NDArray[np.float64]
    calibration_error: float


def reliability(
    scores: Float32, correct: NDArray[np.bool_], weights: NDArray[np.float64] | None = None
) -> Reliability:
    """Compare the scores of predictions with how often they are correct.

    Args:
        scores: (K,) float32 in 0..1.
        correct: (K,) bool.
        weights: (K,) weight of each prediction in every mean; None for equal weights.
    """
    weights = np.ones(len(scores)) if weights is None else weights
    bins = np.minimum((scores * NUM_BINS).astype(np.int64), NUM_BINS - 1)
    weight, score, hits = (
        np.bincount(bins, weights * values, NUM_BINS).astype(np.float64)
        for values in (np.ones(len(bins)), scores, correct)
    )
    with np.errstate(invalid="ignore"):  # 0 / 0 is NaN
        return Reliability(
            num_predictions=np.bincount(bins, minlength=NUM_BINS),
            mean_score=score / weight,
            precision=hits / weight,
            calibration_error=float(np.abs(score - hits).sum() / weight.sum()),
        )
