"""A sweep as a turning sensor sees it, for the tests of how input is understood."""

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float32]
GROUND_M = -1.7
BEAMS_DEG = np.linspace(-24, 4, 40)


def street(seed: int = 0, intensity_max: float = 1.0) -> Points:
    """(N, 4) returns of a turning sensor from a road, crates on it, and walls beside it."""
    rng = np.random.default_rng(seed)
    azimuth, elevation = np.meshgrid(
        np.radians(np.arange(0, 360, 0.8)), np.radians(BEAMS_DEG), indexing="ij"
    )
    ray = np.stack(
        [
            np.cos(elevation) * np.cos(azimuth),
            np.cos(elevation) * np.sin(azimuth),
            np.sin(elevation),
        ],
        axis=-1,
    ).reshape(-1, 3)
    with np.errstate(divide="ignore"):
        to_ground = np.where(ray[:, 2] < 0, GROUND_M / ray[:, 2], np.inf)
        to_wall = 14.0 / np.abs(ray[:, 1])
    distance = np.minimum(to_ground, to_wall)
    for _ in range(40):  # crates: everything behind a direction up to a height
        at, width = rng.uniform(-np.pi, np.pi), rng.uniform(0.02, 0.15)
        how_far, height = rng.uniform(6, 25), rng.uniform(0.6, 2.5)
        behind = np.abs((azimuth.ravel() - at + np.pi) % (2 * np.pi) - np.pi) < width
        top = how_far * ray[:, 2] / np.hypot(ray[:, 0], ray[:, 1]) < GROUND_M + height
        distance = np.where(behind & top, np.minimum(distance, how_far), distance)
    seen = distance < 80
    xyz = ray[seen] * (distance[seen, None] + rng.normal(0, 0.02, (seen.sum(), 1)))
    intensity = rng.beta(2, 5, len(xyz)) * intensity_max
    return np.column_stack([xyz, intensity]).astype(np.float32)
