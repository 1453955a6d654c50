"""Simulated LiDAR sweeps of random streets with exact labels, for training, tests and demos.

`simulate_sweep` builds a street out of triangles and casts a sensor's rays into it. Every point
is labelled with the class and instance of the triangle that its ray hits.

- `street_kinds`: what each kind of street is made of; `street_plan`: its roads, kerbs and ground;
  `markings`: the lines on its roads.
- `populate`: which objects are placed where, by way of `frontages`, `traffic`, `crowds` and
  `gatherings`; `kitti_layouts` takes positions from real scenes.
- `street_builder`: placing objects without overlaps, labels and instance numbers.
- Models of the objects: `vehicles`, `open_cars`, `lorries`, `road_trains`, `machines`, `people`,
  `companions`, `riders`, `two_wheelers`, `surroundings`, `clutter`, `uprights`, `roadside`,
  `planting`; `meshes`: the primitives that they are built from.
- `sensor`: the rays, detection and intensity; `sensor_models`: real sensors; `random_sensors`.
- `raycast`: casting the rays; `measure`: the points and labels that a sensor returns.
- `sequence`: streets whose road users and sensor move, sweep after sweep.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bev_instseg.datasets.semantickitti import frame_paths, write_frame
from bev_instseg.simulate.kitti_layouts import StreetLayout, read_layouts, read_layouts_once
from bev_instseg.simulate.measure import OUTLIER, measure
from bev_instseg.simulate.populate import random_scene
from bev_instseg.simulate.random_sensors import random_sensor
from bev_instseg.simulate.sensor import SensorConfig
from bev_instseg.simulate.sensor_models import HDL64, SENSOR_MODELS
from bev_instseg.simulate.street_builder import THINGS
from bev_instseg.simulate.street_kinds import KINDS, StreetKind

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
    kinds: Sequence[StreetKind] = KINDS,
) -> tuple[NDArray[np.float32], NDArray[np.uint32]]:
    """Simulate a sweep of a random street; the same seed gives the same bytes.

    Args:
        seed: A generator, or a seed for `numpy.random.default_rng`.
        sensor: The sensor; None for a random one.
        layouts: Real positions of road users, from `read_layouts`. Those of one random layout are
            placed ahead of the sensor and those of another behind it.
        kinds: Kinds of street to choose from.

    Returns:
        points: (N, 4) float32 x, y, z in metres (sensor frame) and intensity 0..1, beam by beam;
            last come those from rain.
        labels: (N,) uint32, SemanticKITTI class in the low 16 bits, instance in the high 16. Points
            from rain are `OUTLIER`, without an instance.

    Raises:
        ValueError: There are no points.
    """
    rng = np.random.default_rng(seed)
    sensor = random_sensor(rng) if sensor is None else sensor
    return measure(random_scene(rng, sensor.height_m, layouts, kinds), sensor, rng)


def write_sweep(
    out: Path,
    sequence: str,
    frame: int,
    seed: int,
    sensor: SensorConfig | None = HDL64,
    layouts: Path | None = None,
    kinds: Sequence[StreetKind] = KINDS,
) -> None:
    """Simulate a frame from the seed ``(seed, frame, sequence)`` and write its two files.

    Args:
        out: Folder that ``sequences/NN`` is created in.
        sequence: Number of the sequence, two digits or more.
        frame: Number of the frame.
        seed: Seed of the data set.
        sensor: The sensor; None for a random one.
        layouts: Folder or archive of KITTI label files, see `read_layouts`.
        kinds: Kinds of street to choose from.

    Raises:
        ValueError: The sweep has no points; the message names its file.
    """
    street_layouts = () if layouts is None else read_layouts_once(layouts)
    seeds = seed, frame, int(sequence)
    try:
        points, labels = simulate_sweep(seeds, sensor, street_layouts, kinds)
    except ValueError as error:
        raise ValueError(f"{frame_paths(out, sequence, frame)[0]}: {error}") from error
    write_frame(out, sequence, frame, points, labels)
