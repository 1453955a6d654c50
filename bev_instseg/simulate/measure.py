"""What a sensor returns of a scene: points, intensities and the label of each point."""

import numpy as np
from numpy.typing import NDArray

from bev_instseg.simulate.raycast import cast_rays
from bev_instseg.simulate.sensor import SensorConfig
from bev_instseg.simulate.street_builder import StreetScene


def measure(
    scene: StreetScene, sensor: SensorConfig, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.uint32]]:
    """Return one sweep of a scene.

    Args:
        scene: Triangles and the pose of the sensor.
        sensor: The sensor.
        rng: Source of all noise.

    Returns:
        points: (N, 4) float32 x, y, z in metres (sensor frame) and intensity 0..1, beam by beam.
        labels: (N,) uint32, SemanticKITTI class in the low 16 bits, instance in the high 16.
    """
    directions = sensor.directions(rng)
    distance_m, triangle, cosine = cast_rays(scene, directions)
    hit = np.flatnonzero(np.isfinite(distance_m))
    surface = scene.mesh.surface[triangle[hit]].astype(np.float32)
    noise_m = rng.normal(0, sensor.range_noise_m, len(hit))
    range_m = (distance_m[hit] + noise_m).astype(np.float32)
    kept = sensor.detects(rng, range_m, cosine[hit], returns=surface[:, 2])
    hit, range_m, surface = hit[kept], range_m[kept], surface[kept]
    shine = surface[:, 0] * cosine[hit] ** surface[:, 1]
    intensity = sensor.intensity(rng, range_m, shine)
    points = np.column_stack([directions[hit] * range_m[:, None], intensity])
    return points.astype(np.float32), scene.labels[triangle[hit]]
