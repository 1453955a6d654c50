"""Labelled LiDAR sweeps of streets that never were: for training, tests and demonstration.

`simulate_sweep` draws a random street (`scene`, on the `site` of a `street`, its road users perhaps
from real `layouts`), built of triangles (`vehicles`, `lorries`, `people`, `surroundings` and
`clutter`, all from `shapes`), and looks at it with a spinning LiDAR (`sensor`). Every point knows
which triangle it comes from, so the labels are exact.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bev_instseg.datasets.semantickitti import sweep_paths, write_frame
from bev_instseg.simulate.kitti_layouts import StreetLayout, read_layouts
from bev_instseg.simulate.populate import draw_scene
from bev_instseg.simulate.sensor import HDL64, SENSOR_MODELS, SensorConfig, draw_sensor
from bev_instseg.simulate.street_builder import THINGS, StreetScene

__all__ = [
    "HDL64",
    "SENSOR_MODELS",
    "THINGS",
    "SensorConfig",
    "read_layouts",
    "simulate_sweep",
    "sweep_paths",
    "write_sweep",
]


def simulate_sweep(
    seed: np.random.Generator | int | Sequence[int],
    sensor: SensorConfig | None = HDL64,
    layouts: Sequence[StreetLayout] = (),
) -> tuple[NDArray[np.float32], NDArray[np.uint32]]:
    """A sweep of a random street; the same seed gives the same bytes.

    Args:
        seed: a generator to draw from, or what `numpy.random.default_rng` makes one of.
        sensor: what looks at the street; None draws a sensor, too.
        layouts: real scenes whose road users are put there, see `draw_scene`.

    Returns:
        points: (N, 4) float32 x, y, z in metres (sensor frame) and intensity 0..1, beam by beam.
        labels: (N,) uint32 SemanticKITTI class in the low, instance in the high 16 bits.
    """
    rng = np.random.default_rng(seed)
    sensor = draw_sensor(rng) if sensor is None else sensor
    scene = draw_scene(rng, sensor.height_m, layouts)
    rays = sensor.directions(rng)
    distance, triangle, cosine = _cast(scene, rays)
    hit = np.flatnonzero(np.isfinite(distance))
    surface = scene.mesh.surface[triangle[hit]].astype(np.float32)
    noise = rng.normal(0, sensor.range_noise_m, len(hit))
    range_m = (distance[hit] + noise).astype(np.float32)
    kept = sensor.detects(rng, range_m, cosine[hit], returns=surface[:, 2])
    hit, range_m, surface = hit[kept], range_m[kept], surface[kept]
    shine = surface[:, 0] * cosine[hit] ** surface[:, 1]
    intensity = sensor.intensity(rng, range_m, shine)
    points = np.column_stack([rays[hit] * range_m[:, None], intensity])
    return points.astype(np.float32), scene.labels[triangle[hit]]


def write_sweep(
    out: Path,
    sequence: str,
    frame: int,
    seed: int,
    sensor: SensorConfig | None = HDL64,
    layouts: Path | None = None,
) -> None:
    """Simulate a frame from ``(seed, frame, sequence)`` and write its two files whole."""
    scenes = () if layouts is None else _read_once(layouts)
    points, labels = simulate_sweep((seed, frame, int(sequence)), sensor, scenes)
    write_frame(out, sequence, frame, points, labels)


@cache
def _read_once(layouts: Path) -> list[StreetLayout]:
    return read_layouts(layouts)


def _cast(
    scene: StreetScene, rays: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32]]:
    """First hit of each ray (R, 3): distance (m, inf: none), triangle, cosine of incidence."""
    import open3d as o3d  # heavy, and needed here alone

    caster = o3d.t.geometry.RaycastingScene()
    caster.add_triangles(
        o3d.core.Tensor.from_numpy(scene.mesh.vertices.astype(np.float32)),
        o3d.core.Tensor.from_numpy(scene.mesh.triangles.astype(np.uint32)),
    )
    c, s = np.cos(scene.yaw), np.sin(scene.yaw)
    lines = np.empty((len(rays), 6), dtype=np.float32)
    lines[:, :3] = scene.origin
    lines[:, 3] = c * rays[:, 0] - s * rays[:, 1]
    lines[:, 4] = s * rays[:, 0] + c * rays[:, 1]
    lines[:, 5] = rays[:, 2]
    hits = caster.cast_rays(o3d.core.Tensor.from_numpy(lines))
    cosine = np.abs(np.einsum("ri,ri->r", hits["primitive_normals"].numpy(), lines[:, 3:]))
    return hits["t_hit"].numpy(), hits["primitive_ids"].numpy().astype(np.int64), cosine
