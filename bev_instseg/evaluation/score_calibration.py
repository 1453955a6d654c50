"""Calibration of scores: a logistic regression on predictions known to be correct or wrong.

Per class, for a prediction with mean seed s and n points, let x = (1, logit(s), log(n)) and

    p = sigmoid(theta . x),   theta = (a, b, c)

`fit_calibration` minimises

    L = -sum_i w_i (y_i log p_i + (1 - y_i) log(1 - p_i)) + RIDGE / 2 |theta - (0, 1, 0)|^2

over the predictions i of the class, with y_i = 1 if correct and 0 otherwise, and weights w_i. The
weak ridge pulls theta towards p = s: a class without predictions keeps its seeds, and theta stays
finite where all predictions are correct or all are wrong. L is strictly convex and is minimised by
Newton's method, with X the rows x_i:

    theta <- theta - H^-1 g,   g = X^T (w (p - y)) + RIDGE (theta - (0, 1, 0)),
                               H = X^T diag(w p (1 - p)) X + RIDGE 1
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from bev_instseg.evaluation.metrics import Evaluator
from bev_instseg.evaluation.segments import is_match
from bev_instseg.ops.score import log_odds_terms
from bev_instseg.structures import Float32, Frame, Instances, Int32

RIDGE = 0.1
IDENTITY = np.array([0.0, 1.0, 0.0])  # p = s
MAX_STEPS = 100  # of Newton's method

ScoreCalibration = tuple[tuple[float, float, float], ...]  # (a, b, c) of each class


@dataclass(frozen=True, eq=False)
class Predictions:
    """Predicted instances, each known to be correct or wrong.

    Attributes:
        scores: (K,) float32 in 0..1.
        classes: (K,) int32 class index.
        num_points: (K,) int32 number of points.
        correct: (K,) bool; IoU > 0.5 over judged points with an object of the same class.
        weights: (K,) float64 weight in the fit.
    """

    scores: Float32
    classes: Int32
    num_points: Int32
    correct: NDArray[np.bool_]
    weights: NDArray[np.float64]

    @classmethod
    def concatenate(cls, parts: Sequence["Predictions"]) -> "Predictions":
        """Concatenate one or more sets of predictions."""
        names = [field.name for field in fields(cls)]
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def counted_predictions(frame: Frame, instances: Instances) -> Predictions:
    """Return the instances with enough judged points for `Evaluator` to count, with weight 1.

    Args:
        frame: The ground truth.
        instances: The prediction for the same points.
    """
    segments = Evaluator(instances.class_names).compare(frame, instances).predictions
    counted = segments["counted"]
    return Predictions(
        instances.scores[counted],
        instances.classes[counted],
        instances.num_points[counted],
        is_match(segments)[counted],
        np.ones(counted.sum()),
    )


def balance(data_sets: Sequence[Predictions]) -> Predictions:
    """Join the predictions of one or more data sets, weighted so that each set counts equally.

    The weights sum up to the number of predictions; a data set without predictions is left out.
    """
    filled = [part for part in data_sets if len(part.scores)] or list(data_sets[:1])
    joined = Predictions.concatenate(filled)
    share = len(joined.scores) / len(filled)
    weights = [np.full(len(part.scores), share / max(len(part.scores), 1)) for part in filled]
    return replace(joined, weights=np.concatenate(weights))


def fit_calibration(predictions: Predictions, num_classes: int) -> ScoreCalibration:
    """Fit (a, b, c) of each class; see the equations at the top of this module.

    Args:
        predictions: Predictions of all classes, with mean seeds as their scores.
        num_classes: C.

    Returns:
        C triples.
    """
    x = log_odds_terms(predictions.scores, predictions.num_points)
    y = predictions.correct.astype(np.float64)
    members = [predictions.classes == index for index in range(num_classes)]
    return tuple(_fit_class(x[own], y[own], predictions.weights[own]) for own in members)


def _fit_class(
    x: NDArray[np.float64], y: NDArray[np.float64], weights: NDArray[np.float64]
) -> tuple[float, float, float]:
    """Run Newton's method from p = s; a step that does not lower L is halved until it does."""

    def loss(theta: NDArray[np.float64]) -> float:
        z = x @ theta
        # -y log p - (1 - y) log(1 - p) = log(1 + e^z) - y z
        data = weights @ (np.logaddexp(0, z) - y * z)
        return float(data + RIDGE / 2 * np.sum((theta - IDENTITY) ** 2))

    theta = IDENTITY.copy()
    for _ in range(MAX_STEPS):
        p = 0.5 + 0.5 * np.tanh(x @ theta / 2)
        gradient = x.T @ (weights * (p - y)) + RIDGE * (theta - IDENTITY)
        hessian = x.T @ ((weights * p * (1 - p))[:, None] * x) + RIDGE * np.eye(3)
        step = np.linalg.solve(hessian, gradient)
        before = loss(theta)
        while loss(theta - step) > before and np.abs(step).max() > 1e-12:
            step /= 2
        theta = theta - step
        if np.abs(step).max() < 1e-9:
            break
    a, b, c = theta.tolist()
    return a, b, c
