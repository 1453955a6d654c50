"""Scores as probabilities: fitted to predictions that are known to be right or wrong.

The model of a class, with x = (1, logit(s), log(n)) of a prediction of mean seed s and n points:

    p = sigmoid(theta . x),   theta = (a, b, c)

`fit` finds the theta of least

    L = -sum_i w_i (y_i log p_i + (1 - y_i) log(1 - p_i)) + RIDGE / 2 |theta - (0, 1, 0)|^2

over the class's predictions i, y_i = 1 if right and 0 if not, w_i a weight. The ridge pulls towards
p = s, weakly: it is what remains of a class without predictions, and keeps theta finite where all
predictions are right or all are wrong. L is strictly convex. Newton's steps, with X the rows x_i:

    theta <- theta - H^-1 g,   g = X^T (w (p - y)) + RIDGE (theta - (0, 1, 0)),
                               H = X^T diag(w p (1 - p)) X + RIDGE 1
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bev_instseg.evaluation.metrics import Evaluator, is_match
from bev_instseg.ops.score import evidence
from bev_instseg.structures import Float32, Frame, Instances, Int32

RIDGE = 0.1
IDENTITY = np.array([0.0, 1.0, 0.0])  # p = s
MAX_STEPS = 100

ScoreCalibration = tuple[tuple[float, float, float], ...]


@dataclass(frozen=True, eq=False)
class Predictions:
    """Predicted instances with the verdict on each.

    Attributes:
        scores: (K,) float32 in 0..1.
        classes: (K,) int32 class index.
        num_points: (K,) int32.
        right: (K,) bool; IoU > 0.5 over judged points with an object of its class.
        weights: (K,) float64 how much each counts.
    """

    scores: Float32
    classes: Int32
    num_points: Int32
    right: NDArray[np.bool_]
    weights: NDArray[np.float64]

    @classmethod
    def join(cls, parts: Sequence["Predictions"]) -> "Predictions":
        """One after the other; at least one part."""
        names = ("scores", "classes", "num_points", "right", "weights")
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def judge(frame: Frame, instances: Instances) -> Predictions:
    """The instances that `Evaluator` counts, each of weight 1: those with enough judged points."""
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
    """All predictions of several data sets, weighted so that each data set counts equally.

    The weights sum up to the number of predictions; a data set without any is left out.
    """
    some = [part for part in data_sets if len(part.scores)] or list(data_sets[:1])
    joined = Predictions.join(some)
    share = len(joined.scores) / len(some)
    weights = [np.full(len(part.scores), share / max(len(part.scores), 1)) for part in some]
    return replace(joined, weights=np.concatenate(weights))


def fit(predictions: Predictions, num_classes: int) -> ScoreCalibration:
    """(a, b, c) of each class by the equations above; ``predictions.scores`` are mean seeds."""
    x = evidence(predictions.scores, predictions.num_points)
    y = predictions.right.astype(np.float64)
    thetas = []
    for index in range(num_classes):
        own = predictions.classes == index
        a, b, c = _fit_class(x[own], y[own], predictions.weights[own])
        thetas.append((a, b, c))
    return tuple(thetas)


def _fit_class(
    x: NDArray[np.float64], y: NDArray[np.float64], weights: NDArray[np.float64]
) -> list[float]:
    """Newton's method from p = s; a step that does not lower L is halved until it does."""

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
    return theta.tolist()
