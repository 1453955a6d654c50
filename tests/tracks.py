"""Made-up instances over time, and Kalman filters one object at a time."""

from collections.abc import Callable, Sequence

import numpy as np

from bev_instseg.structures import UNKNOWN, Instances

CLASSES = ("vehicle", "pedestrian", "cyclist")
SIZES_M = {"vehicle": (4.4, 1.8, 1.5), "pedestrian": (0.7, 0.6, 1.7), "cyclist": (1.8, 0.6, 1.7)}
SIZES_M[UNKNOWN] = (0.5, 0.4, 2.0)
Path = Callable[[float], tuple[float, float]]


def instances_of(
    rows: Sequence[tuple[str, float, float, float, float]], names: tuple[str, ...] = CLASSES
) -> Instances:
    """Instances of one point each from rows of class, x, y, yaw and score, strongest first."""
    rows = sorted(rows, key=lambda row: -row[4])
    boxes = [(x, y, -0.9, *SIZES_M[name], yaw) for name, x, y, yaw, _ in rows]
    return Instances(
        np.arange(1, len(rows) + 1, dtype=np.int32),
        np.array([names.index(row[0]) for row in rows], np.int32),
        np.array([row[4] for row in rows], np.float32),
        np.array(boxes, np.float32).reshape(-1, 7),
        names,
    )


def straight(x: float, y: float, vx: float = 0.0, vy: float = 0.0) -> Path:
    """A place that moves with constant velocity."""
    return lambda time_s: (x + vx * time_s, y + vy * time_s)


def pose_of(x: float = 0.0, y: float = 0.0, yaw: float = 0.0) -> np.ndarray:
    """A pose in the plane."""
    pose = np.eye(4)
    pose[:2, :2] = [[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]]
    pose[:2, 3] = x, y
    return pose


def plain_filter(
    mean: np.ndarray, covariance: np.ndarray, duration_s: float, acceleration: float
) -> tuple[np.ndarray, np.ndarray]:
    """Predict one object, written out as in a textbook."""
    f = np.array([[1, 0, duration_s, 0], [0, 1, 0, duration_s], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    g = np.array([[duration_s**2 / 2, 0], [0, duration_s**2 / 2], [duration_s, 0], [0, duration_s]])
    return f @ mean, f @ covariance @ f.T + acceleration**2 * g @ g.T


def plain_correction(
    mean: np.ndarray, covariance: np.ndarray, measured: np.ndarray, noise: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float]:
    """Correct one object; also the squared Mahalanobis distance of the measurement."""
    h = np.array([[1.0, 0, 0, 0], [0, 1, 0, 0]])
    s = h @ covariance @ h.T + noise
    residual = measured - h @ mean
    gain = covariance @ h.T @ np.linalg.inv(s)
    corrected = (np.eye(4) - gain @ h) @ covariance
    return mean + gain @ residual, corrected, float(residual @ np.linalg.inv(s) @ residual)
