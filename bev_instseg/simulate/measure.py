"""The sweep of a sensor in a scene: points, intensities and the label of each point."""

import numpy as np
from numpy.typing import NDArray

from bev_instseg.simulate.raycast import cast_rays
from bev_instseg.simulate.sensor import SensorConfig, turned
from bev_instseg.simulate.street_builder import StreetScene
from bev_instseg.simulate.street_plan import ROAD, SIDEWALK

OUTLIER = 1  # SemanticKITTI's class of points from rain, void in training and evaluation
_DROP_SHINE = 0.15
_ALONG_SPOT = 0.0, -0.4, -0.2, 0.2, 0.4  # places in the spot of a pulse, as shares of its length
_LONGEST_SPOT_M = 3.0
_GRAIN, _GRAIN_TIMES = 0.03, (1.2, 2.2)  # bright pebbles: share of the points, how bright


def measure(
    scene: StreetScene, sensor: SensorConfig, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.uint32]]:
    """Return one sweep of a scene.

    Args:
        scene: Triangles and the pose of the sensor.
        sensor: The sensor.
        rng: Source of all noise.

    Returns:
        points: (N, 4) float32 x, y, z in metres (sensor frame) and intensity 0..1, beam by beam;
            last come those from rain.
        labels: (N,) uint32, SemanticKITTI class in the low 16 bits, instance in the high 16: first
            come the scene's objects, then the lines on its roads. Points from rain are `OUTLIER`,
            without an instance.

    Raises:
        ValueError: There are no points.
    """
    origins, directions = sensor.rays(rng)
    level = [turned(vectors, sensor.turn_deg) for vectors in (origins, directions)]
    distance_m, triangle, cosine = cast_rays(scene, *level)
    hit = np.flatnonzero(np.isfinite(distance_m))
    surface = scene.mesh.surface[triangle[hit]].astype(np.float32)
    labels = scene.labels[triangle[hit]]
    ground = np.flatnonzero(np.isin(labels, (ROAD, SIDEWALK)))
    pulse = hit[ground]
    start, direction = level[0][pulse, :2], level[1][pulse, :2]
    length_m = np.minimum(sensor.spot_m(distance_m[pulse], cosine[pulse]), _LONGEST_SPOT_M)
    spot_m = direction * (length_m / np.linalg.norm(direction, axis=1))[:, None]
    labels[ground], shade = _painted(
        *(scene, start + direction * distance_m[pulse, None], spot_m),
        *(labels[ground], surface[ground, 0]),
    )
    grain = rng.random(len(ground)) < _GRAIN
    surface[ground, 0] = shade * np.where(grain, rng.uniform(*_GRAIN_TIMES, len(ground)), 1)
    noise_m = rng.normal(0, sensor.range_noise_m, len(hit))
    range_m = (distance_m[hit] + noise_m).astype(np.float32)
    kept = sensor.detects(rng, range_m, cosine[hit], returns=surface[:, 2])
    hit, range_m, surface, labels = hit[kept], range_m[kept], surface[kept], labels[kept]
    shine = surface[:, 0] * cosine[hit] ** surface[:, 1]
    intensity = sensor.intensity(rng, range_m, shine)
    points = np.column_stack([origins[hit] + directions[hit] * range_m[:, None], intensity])
    points = points.astype(np.float32)
    if sensor.rain_per_m:
        pulse, range_m = sensor.drops(rng, distance_m)
        intensity = sensor.intensity(rng, range_m, np.full_like(range_m, _DROP_SHINE))
        drops = np.column_stack([origins[pulse] + directions[pulse] * range_m[:, None], intensity])
        points = np.concatenate([points, drops])
        labels = np.concatenate([labels, np.full(len(drops), OUTLIER, dtype=np.uint32)])
    if not len(points):
        raise ValueError(
            "no pulse of the sensor returns; check its elevations_deg, azimuth_range_deg, "
            "blocked_deg, max_range_m and dropout"
        )
    return points, labels


def _painted(
    scene: StreetScene,
    xy: NDArray[np.float32],
    spot_m: NDArray[np.float32],
    ground: NDArray[np.uint32],
    reflectivity: NDArray[np.float32],
) -> tuple[NDArray[np.uint32], NDArray[np.float32]]:
    """Add the paint to points on the ground.

    A pulse lights a spot, which is long where it grazes the ground. The label of a point is that of
    the middle of its spot, and its reflectivity the mean over the spot.

    Args:
        scene: The scene.
        xy: (N, 2) points around the sensor, metres.
        spot_m: (N, 2) from one end of each spot to the other, metres.
        ground: (N,) uint32 class of the ground.
        reflectivity: (N,) float32 of the ground.

    Returns:
        Labels and reflectivities.
    """
    c, s = np.cos(scene.yaw_rad), np.sin(scene.yaw_rad)
    turn = np.array([[c, s], [-s, c]])
    labels, seen = [], []
    for share in _ALONG_SPOT:
        world = (xy + share * spot_m) @ turn + scene.origin[:2]
        label, paint = scene.markings.find(np.column_stack(scene.plan.to_plan(world)), ground)
        labels.append(label)
        seen.append(np.where(np.isnan(paint), reflectivity, paint))
    middle = labels[0]
    middle[middle >> 16 > 0] += np.uint32(len(scene.headings_rad) << 16)
    return middle, np.mean(seen, axis=0)
