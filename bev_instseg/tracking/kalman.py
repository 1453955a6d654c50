"""Kalman filters with constant velocity in the ground plane, for T objects at once.

The state of an object is (x, y, vx, vy), metres and metres per second. Its acceleration is white
noise that is constant between two sweeps.
"""

import numpy as np

from bev_instseg.structures import Float64


def predict(
    mean: Float64, covariance: Float64, duration_s: float, acceleration_mps2: Float64
) -> tuple[Float64, Float64]:
    """Move states forward in time.

    Args:
        mean: (T, 4) states.
        covariance: (T, 4, 4) their covariances.
        duration_s: Time to move them by, seconds.
        acceleration_mps2: (T,) standard deviation of the acceleration along each axis.

    Returns:
        (T, 4) states and (T, 4, 4) covariances after that time.
    """
    transition = np.eye(4)
    transition[0, 2] = transition[1, 3] = duration_s
    push = np.vstack([np.eye(2) * duration_s**2 / 2, np.eye(2) * duration_s])  # of an acceleration
    noise = acceleration_mps2[:, None, None] ** 2 * (push @ push.T)
    return mean @ transition.T, transition @ covariance @ transition.T + noise


def correct(
    mean: Float64, covariance: Float64, measured_m: Float64, noise: Float64
) -> tuple[Float64, Float64]:
    """Correct each state by a measured position.

    Args:
        mean: (T, 4) predicted states.
        covariance: (T, 4, 4) their covariances.
        measured_m: (T, 2) measured positions.
        noise: (T, 2, 2) covariances of the measurements.

    Returns:
        Corrected (T, 4) states and (T, 4, 4) covariances; these are computed in Joseph's form, so
        they stay symmetric and positive definite.
    """
    innovation = covariance[:, :2, :2] + noise
    gain = covariance[:, :, :2] @ inverse(innovation)
    mean = mean + np.einsum("tij,tj->ti", gain, measured_m - mean[:, :2])
    rest = np.eye(4) - np.concatenate([gain, np.zeros_like(gain)], axis=2)
    turned = np.swapaxes(rest, 1, 2)
    return mean, rest @ covariance @ turned + gain @ noise @ np.swapaxes(gain, 1, 2)


def look_back(
    before: tuple[Float64, Float64],
    predicted: tuple[Float64, Float64],
    after: tuple[Float64, Float64],
    duration_s: float,
) -> tuple[Float64, Float64]:
    """Correct states by later measurements (Rauch-Tung-Striebel smoother).

    Args:
        before: (T, 4) states and (T, 4, 4) covariances at a time, from measurements up to it.
        predicted: The same, predicted for the next time by `predict`.
        after: States and covariances at the next time, from all measurements.
        duration_s: Time between the two.

    Returns:
        States and covariances at the first time, from all measurements.
    """
    transition = np.eye(4)
    transition[0, 2] = transition[1, 3] = duration_s
    gain = np.swapaxes(np.linalg.solve(predicted[1], transition @ before[1]), 1, 2)
    mean = before[0] + np.einsum("tij,tj->ti", gain, after[0] - predicted[0])
    covariance = before[1] + gain @ (after[1] - predicted[1]) @ np.swapaxes(gain, 1, 2)
    return mean, covariance


def squared_distance(
    mean: Float64, covariance: Float64, measured_m: Float64, noise: Float64
) -> Float64:
    """Return the (T, D) squared Mahalanobis distances of D positions from T predictions.

    Args:
        mean: (T, 4) predicted states.
        covariance: (T, 4, 4) their covariances.
        measured_m: (D, 2) measured positions.
        noise: (D, 2, 2) covariances of the measurements.
    """
    residual = measured_m[None] - mean[:, None, :2]
    inverted = inverse(covariance[:, None, :2, :2] + noise[None])
    x, y = residual[..., 0], residual[..., 1]
    cross = inverted[..., 0, 1] + inverted[..., 1, 0]
    distance: Float64 = inverted[..., 0, 0] * x * x + cross * x * y + inverted[..., 1, 1] * y * y
    return distance


def inverse(matrix: Float64) -> Float64:
    """Return the inverses of (..., 2, 2) matrices."""
    (a, b), (c, d) = np.moveaxis(matrix, (-2, -1), (0, 1))
    inverted = np.empty_like(matrix)
    inverted[..., 0, 0], inverted[..., 0, 1] = d, -b
    inverted[..., 1, 0], inverted[..., 1, 1] = -c, a
    inverted /= (a * d - b * c)[..., None, None]
    return inverted
