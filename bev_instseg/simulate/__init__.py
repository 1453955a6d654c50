"""Simulated LiDAR sweeps of random streets with exact labels, for training, tests and demos.

`simulate_sweep` builds a street out of triangles and casts a sensor's rays into it. Every point
is labelled with the class and instance of the triangle that its ray hits.

- `street_kinds`: what each kind of street is made of; `street_plan`: its roads, kerbs and ground.
- `populate`: which objects are placed where, by way of `frontages`, `traffic`, `crowds` and
  `gatherings`; `kitti_layouts` takes positions from real scenes.
- `street_builder`: placing objects without overlaps, labels and instance numbers.
- Models of the objects: `vehicles`, `open_cars`, `lorries`, `road_trains`, `machines`, `people`,
  `companions`, `riders`, `two_wheelers`, `surroundings`, `clutter`, `uprights`, `roadside`,
  `planting`; `meshes`: the primitives that they are built from.
- `sensor`: the rays, detection and intensity; `sensor_models`: real sensors; `random_sensors`.
- `raycast`: casting the rays.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bev_instseg.datasets.semantickitti import write_frame
from bev_instseg.simulate.kitti_layouts import StreetLayout, read_layouts
from bev_instseg.simulate.populate import random_scene
from bev_instseg.simulate.random_sensors import random_sensor
from bev_instseg.simulate.raycast import cast_rays
from bev_instseg.simulate.sensor import SensorConfig, turned
from bev_instseg.simulate.sensor_models import HDL64, SENSOR_MODELS
from bev_instseg.simulate.street_builder import THINGS

OUTLIER = 1  # SemanticKITTI's class of points from rain, void in training and evaluation
_DROP_SHINE = 0.15

__all__ = [
    "HDL64",
    "OUTLIER",
    "SENSOR_MODELS",
    "THINGS",
    "SensorConfig",
    "read_layouts",
    "simulate_sweep",
    "write_sweep",
]


def simulate_sweep(
    seed: np.random.Generator | int | Sequence[int],
    sensor: SensorConfig | None = HDL64,
    layouts: Sequence[StreetLayout] = (),
) -> tuple[NDArray[np.float32], NDArray[np.uint32]]:
    """Simulate a sweep of a random street; the same seed gives the same bytes.

    Args:
        seed: A generator, or a seed for `numpy.random.default_rng`.
        sensor: The sensor; None for a random one.
        layouts: Real positions of road users, from `read_layouts`. Those of one random layout are
            placed ahead of the sensor and those of another behind it.

    Returns:
        points: (N, 4) float32 x, y, z in metres (sensor frame) and intensity 0..1, beam by beam;
            last come those from rain.
        labels: (N,) uint32, SemanticKITTI class in the low 16 bits, instance in the high 16. Points
            from rain are `OUTLIER`, without an instance.
    """
    rng = np.random.default_rng(seed)
    sensor = random_sensor(rng) if sensor is None else sensor
    scene = random_scene(rng, sensor.height_m, layouts)
    origins, directions = sensor.rays(rng)
    level = (turned(vectors, sensor.turn_deg) for vectors in (origins, directions))
    distance_m, triangle, cosine = cast_rays(scene, *level)
    hit = np.flatnonzero(np.isfinite(distance_m))
    surface = scene.mesh.surface[triangle[hit]].astype(np.float32)
    noise_m = rng.normal(0, sensor.range_noise_m, len(hit))
    range_m = (distance_m[hit] + noise_m).astype(np.float32)
    kept = sensor.detects(rng, range_m, cosine[hit], returns=surface[:, 2])
    hit, range_m, surface = hit[kept], range_m[kept], surface[kept]
    shine = surface[:, 0] * cosine[hit] ** surface[:, 1]
    intensity = sensor.intensity(rng, range_m, shine)
    points = np.column_stack([origins[hit] + directions[hit] * range_m[:, None], intensity])
    points, labels = points.astype(np.float32), scene.labels[triangle[hit]]
    if sensor.rain_per_m:
        pulse, range_m = sensor.drops(rng, distance_m)
        intensity = sensor.intensity(rng, range_m, np.full_like(range_m, _DROP_SHINE))
        drops = np.column_stack([origins[pulse] + directions[pulse] * range_m[:, None], intensity])
        points = np.concatenate([points, drops])
        labels = np.concatenate([labels, np.full(len(drops), OUTLIER, dtype=np.uint32)])
    return points, labels


def write_sweep(
    out: Path,
    sequence: str,
    frame: int,
    seed: int,
    sensor: SensorConfig | None = HDL64,
    layouts: Path | None = None,
) -> None:
    """Simulate a frame from the seed ``(seed, frame, sequence)`` and write its two files.

    Args:
        out: Folder that ``sequences/NN`` is created in.
        sequence: Number of the sequence, two digits or more.
        frame: Number of the frame.
        seed: Seed of the data set.
        sensor: The sensor; None for a random one.
        layouts: Folder or archive of KITTI label files, see `read_layouts`.
    """
    street_layouts = () if layouts is None else _read_layouts_once(layouts)
    points, labels = simulate_sweep((seed, frame, int(sequence)), sensor, street_layouts)
    write_frame(out, sequence, frame, points, labels)


@cache
def _read_layouts_once(layouts: Path) -> list[StreetLayout]:
    return read_layouts(layouts)
