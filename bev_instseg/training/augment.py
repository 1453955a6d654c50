"""Random changes to a training frame, each drawn from the generator that is passed in."""

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bev_instseg.config import AugmentConfig, TrainConfig
from bev_instseg.grid import BEVGrid
from bev_instseg.ops.voxelize import on_grid
from bev_instseg.structures import Float32, Frame

STRIPE_DEG = (0.3, 0.6)  # height of a stripe: about the angle between two beams
LONG_M, LONGEST_M = 6.0, 18.0  # hardly any car, and hardly any lorry, is longer
MAP_STEPS = 8  # pieces of a random intensity map


def rotate(xy: Float32, yaw_rad: float) -> Float32:
    """Rotate (N, 2) positions about the origin, counter-clockwise."""
    cos, sin = np.cos(yaw_rad), np.sin(yaw_rad)
    return xy @ np.array([[cos, sin], [-sin, cos]], np.float32)


def turn_flip_scale(
    frame: Frame, height_m: Float32, config: AugmentConfig, rng: np.random.Generator
) -> tuple[Frame, Float32]:
    """Turn a frame by any angle, mirror it half of the time, and scale it.

    Args:
        frame: N points.
        height_m: (N,) float32 height of each point above the ground.
        config: How far to scale.
        rng: Source of all randomness.

    Returns:
        The new frame and heights.
    """
    yaw_rad = rng.uniform(0, 2 * np.pi)
    factor = np.float32(1 + rng.uniform(-config.scale, config.scale))
    side = np.float32(-1 if rng.random() < 0.5 else 1)
    points = frame.points.copy()
    points[:, 1] *= side
    points[:, :2] = rotate(points[:, :2], yaw_rad) * factor
    points[:, 2] *= factor
    centres = rotate(frame.centres_m * np.array([1, side], np.float32), yaw_rad) * factor
    turned = dataclasses.replace(frame, points=points, centres_m=centres.astype(np.float32))
    return turned, height_m * factor


def select_points(frame: Frame, height_m: Float32, mask: NDArray[Any]) -> tuple[Frame, Float32]:
    """Return the points and heights that a mask or indices select; objects keep their numbers."""
    rows = np.flatnonzero(mask) if mask.dtype == np.bool_ else mask  # masks are slow in 2D
    return _take(frame, rows), height_m[rows]


def random_window(
    frame: Frame, grid: BEVGrid, train: TrainConfig, stride: int, rng: np.random.Generator
) -> BEVGrid:
    """Return a window of the grid around an object or a labelled point.

    It is square, but on a grid that is narrower than the window, it has that width.

    The object's class is drawn first, then the object. Lorries and buses are rarer than cars and
    harder to learn: from `LONG_M` to `LONGEST_M`, an object's chance grows as its length squared.

    Args:
        frame: The points to choose from.
        grid: The whole grid.
        train: Side of the window in cells, and how often it is around an object.
        stride: The window starts at a multiple of this many cells.
        rng: Source of all randomness.
    """
    cells = train.window_cells
    nx, ny = grid.shape
    if cells >= max(nx, ny):
        return grid
    width, height = min(cells, nx), min(cells, ny)
    inside = np.flatnonzero(frame.labelled & on_grid(frame.points, grid))
    owner = frame.instance[inside]
    present = np.unique(owner[owner > 0])
    if len(present) and rng.random() < train.object_windows:
        kind = rng.choice(np.unique(frame.classes[present - 1]))
        candidates = present[frame.classes[present - 1] == kind]
        length_m = [_length_m(frame.points[inside[owner == k], :2]) for k in candidates]
        weight = np.square(np.clip(length_m, LONG_M, LONGEST_M))
        chosen = rng.choice(candidates, p=weight / weight.sum())
        inside = inside[owner == chosen]
    if not len(inside):
        return grid.window((nx - width) // 2, (ny - height) // 2, width, height)
    x, y = frame.points[rng.choice(inside), :2]
    start = []
    for value, (low, _), side, n in (
        (x, grid.x_range_m, width, nx),
        (y, grid.y_range_m, height, ny),
    ):
        middle = (value - low) / grid.cell_m - side * rng.uniform(0.2, 0.8)
        start.append(int(np.clip(round(middle / stride) * stride, 0, n - side)))
    return grid.window(start[0], start[1], width, height)


def _length_m(xy: Float32) -> float:
    """Return the diagonal of the rectangle around (N, 2) points, along the axes."""
    return float(np.hypot(*np.ptp(xy, axis=0)))


def thin_beams(frame: Frame, config: AugmentConfig, rng: np.random.Generator) -> Frame:
    """Drop about half of the beams in some of the frames, as if the sensor had fewer.

    Stripes of elevation are kept and dropped in turn.

    Args:
        frame: Points whose origin is still the sensor.
        config: How often to drop beams.
        rng: Source of all randomness.
    """
    if rng.random() >= config.thin:
        return frame
    step, phase = np.deg2rad(rng.uniform(*STRIPE_DEG)), rng.uniform(0, 2)
    x, y, z = frame.points[:, :3].T
    stripe = np.floor(np.arctan2(z, np.hypot(x, y)) / step + phase)
    return _take(frame, np.flatnonzero(stripe % 2 == 0))


def jitter(frame: Frame, config: AugmentConfig, rng: np.random.Generator) -> Frame:
    """Shift the sweep up or down, change intensities, drop points, and add noise to heights.

    Args:
        frame: The points to change.
        config: The size of each change.
        rng: Source of all randomness.
    """
    points = frame.points.copy()
    points[:, 2] += np.float32(rng.uniform(-config.height_m, config.height_m))
    points[:, 3] = change_intensity(points[:, 3], config, rng)
    changed = dataclasses.replace(frame, points=points)
    kept = rng.random(len(points)) >= rng.uniform(0, config.dropout)
    changed = _take(changed, np.flatnonzero(kept))
    changed.points[:, 2] += rng.normal(0, config.height_noise_m, len(changed.points)).astype(
        np.float32
    )
    return changed


def change_intensity(
    intensity: Float32, config: AugmentConfig, rng: np.random.Generator
) -> Float32:
    """Change the intensities of a sweep as if a different sensor had measured them, or none.

    Some sweeps lose all information: their intensities become 0, as in a sweep without intensities,
    or in one of ten such sweeps a different constant. In others a random increasing map, made of
    straight pieces, is applied to them. The rest are scaled and raised to a power.

    Args:
        intensity: (N,) float32, usually 0..1.
        config: How often, and by how much.
        rng: Source of all randomness.

    Returns:
        (N,) float32, 0..1.
    """
    kind = rng.random() - config.intensity_none
    if kind < 0:
        return np.full_like(intensity, rng.random() if rng.random() < 0.1 else 0)
    if kind < config.intensity_map:
        rises = np.cumsum(rng.exponential(size=MAP_STEPS) ** 2)  # squared: steep and flat pieces
        levels = np.append(0, rises / rises[-1] * rng.uniform(0.1, 1))
        changed: Float32 = np.interp(intensity, np.linspace(0, 1, MAP_STEPS + 1), levels).astype(
            np.float32
        )
        return changed
    scaled = intensity * np.float32(1 + rng.uniform(-config.intensity, config.intensity))
    power = np.float32(np.exp(rng.uniform(-1, 1) * config.intensity_gamma))
    powered: Float32 = np.clip(scaled, 0, 1) ** power
    return powered


def _take(frame: Frame, rows: NDArray[np.integer]) -> Frame:
    return dataclasses.replace(
        frame,
        points=frame.points.take(rows, axis=0),
        instance=frame.instance.take(rows),
        labelled=frame.labelled.take(rows),
        background=None if frame.background is None else frame.background.take(rows),
    )
