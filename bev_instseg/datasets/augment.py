"""Random changes to a training frame, each drawn from the generator it is given."""

import dataclasses
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bev_instseg.config import AugmentConfig
from bev_instseg.grid import BEVGrid
from bev_instseg.structures import Float32, Frame, Int32

PASTE_TRIES = 4
CLEARANCE_M = 0.3  # free space around a pasted object
OBSTACLE_M = 0.3  # points higher than this above the ground are in the way


@dataclass(frozen=True, eq=False)
class Cutout:
    """An object cut from a labelled frame.

    Attributes:
        points: (N, 4) float32; z is the height above the ground.
        class_index: its class.
        centre_m: (2,) float32 horizontal box centre.
    """

    points: Float32
    class_index: int
    centre_m: Float32


def cut_objects(frame: Frame, height_m: Float32, min_points: int) -> list[Cutout]:
    """The objects of a frame with at least ``min_points`` points.

    Args:
        frame: N labelled points.
        height_m: (N,) height of each point above the ground; NaN points are left out.
        min_points: fewer points than this tell too little.
    """
    cutouts = []
    known = frame.labelled & np.isfinite(height_m)
    for k, class_index in enumerate(frame.classes, 1):
        own = known & (frame.instance == k)
        if own.sum() >= min_points:
            points = frame.points[own].copy()
            points[:, 2] = height_m[own]
            cutouts.append(Cutout(points, int(class_index), frame.centres_m[k - 1]))
    return cutouts


def rotate(xy: Float32, yaw_rad: float) -> Float32:
    """(N, 2) turned about the origin, counter-clockwise."""
    cos, sin = np.cos(yaw_rad), np.sin(yaw_rad)
    return xy @ np.array([[cos, sin], [-sin, cos]], np.float32)


def turn_flip_scale(
    frame: Frame, height_m: Float32, config: AugmentConfig, rng: np.random.Generator
) -> tuple[Frame, Float32]:
    """Turn over the full circle, mirror half of the time, scale. Returns frame and heights."""
    yaw_rad = rng.uniform(0, 2 * np.pi)
    factor = np.float32(1 + rng.uniform(-config.scale, config.scale))
    mirror = np.array([1, -1 if rng.random() < 0.5 else 1], np.float32)
    points = frame.points.copy()
    points[:, :2] = rotate(points[:, :2] * mirror, yaw_rad) * factor
    points[:, 2] *= factor
    centres = rotate(frame.centres_m * mirror, yaw_rad) * factor
    turned = dataclasses.replace(frame, points=points, centres_m=centres.astype(np.float32))
    return turned, height_m * factor


def keep(frame: Frame, height_m: Float32, mask: NDArray) -> tuple[Frame, Float32]:
    """The points of a frame selected by a mask or by indices; its objects stay numbered alike."""
    smaller = dataclasses.replace(
        frame,
        points=frame.points[mask],
        instance=frame.instance[mask],
        labelled=frame.labelled[mask],
    )
    return smaller, height_m[mask]


def random_window(
    frame: Frame, grid: BEVGrid, cells: int, align: int, rng: np.random.Generator
) -> BEVGrid:
    """A square window of the grid around something worth seeing.

    Three times of four around an object, of a class drawn evenly, else around any labelled point.
    """
    nx, ny = grid.shape
    if cells >= max(nx, ny):
        return grid
    on_grid = grid.cell_of(frame.points) >= 0
    inside = np.flatnonzero(frame.labelled & on_grid)
    owner = frame.instance[inside]
    present = np.unique(owner[owner > 0])
    if len(present) and rng.random() < 0.75:
        kind = rng.choice(np.unique(frame.classes[present - 1]))
        chosen = rng.choice(present[frame.classes[present - 1] == kind])
        inside = inside[owner == chosen]
    if not len(inside):
        return grid.window((nx - cells) // 2, (ny - cells) // 2, cells, cells)
    x, y = frame.points[rng.choice(inside), :2]
    start = []
    for value, (low, _), n in ((x, grid.x_range_m, nx), (y, grid.y_range_m, ny)):
        middle = (value - low) / grid.cell_m - cells * rng.uniform(0.2, 0.8)
        start.append(int(np.clip(round(middle / align) * align, 0, n - cells)))
    return grid.window(start[0], start[1], cells, cells)


def paste(
    frame: Frame, height_m: Float32, cutout: Cutout, rng: np.random.Generator
) -> tuple[Frame, Float32] | None:
    """Set an object down in a frame at the range it was seen at, on the local ground.

    The place is a labelled ground point at the object's range with nothing standing on the
    object's footprint. Points that the object hides are removed.

    Returns:
        The new frame and heights, or None where no free place was found.
    """
    distance = float(np.hypot(*cutout.centre_m))
    ranges = np.hypot(frame.points[:, 0], frame.points[:, 1])
    ground = frame.judged & (frame.instance == 0) & (np.abs(height_m) < 0.2)
    places = np.flatnonzero(ground & (np.abs(ranges - distance) < 0.5))
    if not len(places):
        return None
    reach = np.hypot(*(cutout.points[:, :2] - cutout.centre_m).T).max() + CLEARANCE_M
    obstacles = frame.points[(height_m > OBSTACLE_M) | (frame.instance != 0), :2]
    for place in rng.choice(places, PASTE_TRIES):
        target = frame.points[place]
        turn = np.arctan2(target[1], target[0]) - np.arctan2(*cutout.centre_m[::-1])
        centre = rotate(cutout.centre_m[None], turn)[0]
        if not (np.hypot(*(obstacles - centre).T) < reach).any():
            break
    else:
        return None
    points = cutout.points.copy()
    points[:, :2] = rotate(points[:, :2], turn)
    points[:, 2] += target[2] - height_m[place]
    hidden = _hidden_by(points, frame.points, ranges)
    rest, rest_height = keep(frame, height_m, ~hidden)
    number = len(frame.classes) + 1
    pasted = dataclasses.replace(
        rest,
        points=np.concatenate([rest.points, points]),
        instance=np.concatenate([rest.instance, np.full(len(points), number, np.int32)]),
        labelled=np.concatenate([rest.labelled, np.ones(len(points), np.bool_)]),
        classes=np.append(frame.classes, np.int32(cutout.class_index)),
        centres_m=np.concatenate([frame.centres_m, centre[None]]).astype(np.float32),
    )
    return pasted, np.concatenate([rest_height, cutout.points[:, 2]])


def _hidden_by(points: Float32, scene: Float32, scene_range: Float32) -> NDArray[np.bool_]:
    """Which scene points lie in the shadow of an object: behind it and inside its outline.

    The outline is the object's span of elevation in each 0.5 degree of azimuth.
    """
    step = np.deg2rad(0.5)
    azimuth = np.arctan2(points[:, 1], points[:, 0])
    middle = azimuth[0]
    column = np.floor(_wrap(azimuth - middle) / step).astype(np.int64)
    first, count = column.min(), int(np.ptp(column)) + 1
    near = np.hypot(points[:, 0], points[:, 1])
    slope = points[:, 2] / np.maximum(near, 0.1)
    low, high = np.full(count, np.inf), np.full(count, -np.inf)
    np.minimum.at(low, column - first, slope)
    np.maximum.at(high, column - first, slope)

    behind = np.flatnonzero(scene_range > near.min())
    at = np.floor(_wrap(np.arctan2(scene[behind, 1], scene[behind, 0]) - middle) / step)
    at = at.astype(np.int64) - first
    covered = (at >= 0) & (at < count)
    behind, at = behind[covered], at[covered]
    scene_slope = scene[behind, 2] / np.maximum(scene_range[behind], 0.1)
    hidden = np.zeros(len(scene), np.bool_)
    hidden[behind[(scene_slope >= low[at]) & (scene_slope <= high[at])]] = True
    return hidden


def _wrap(angle: NDArray[np.floating]) -> NDArray[np.floating]:
    return (angle + np.pi) % (2 * np.pi) - np.pi


def jitter(frame: Frame, config: AugmentConfig, rng: np.random.Generator) -> Frame:
    """Raise or lower the sweep, scale intensities, drop points, raise or lower what is left."""
    points = frame.points.copy()
    points[:, 2] += np.float32(rng.uniform(-config.height_m, config.height_m))
    points[:, 3] *= np.float32(1 + rng.uniform(-config.intensity, config.intensity))
    np.clip(points[:, 3], 0, 1, out=points[:, 3])
    kept = rng.random(len(points)) >= rng.uniform(0, config.dropout)
    points = points[kept]
    points[:, 2] += rng.normal(0, config.height_noise_m, len(points)).astype(np.float32)
    return dataclasses.replace(
        frame, points=points, instance=frame.instance[kept], labelled=frame.labelled[kept]
    )


def paste_some(
    frame: Frame,
    height_m: Float32,
    bank: list[list[Cutout]],
    most: tuple[int, ...],
    rng: np.random.Generator,
) -> tuple[Frame, Float32]:
    """Paste up to ``most[c]`` objects of each class c drawn from ``bank[c]``."""
    wanted: Int32 = np.concatenate(
        [np.full(rng.integers(0, n + 1), c, np.int32) for c, n in enumerate(most)]
    )
    for class_index in rng.permutation(wanted):
        if bank[class_index]:
            cutout = bank[class_index][rng.integers(len(bank[class_index]))]
            frame, height_m = paste(frame, height_m, cutout, rng) or (frame, height_m)
    return frame, height_m
