"""The motion of an object from its whole track: positions, velocities, and when it moves."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bev_instseg.structures import Float64
from bev_instseg.tracking.kalman import correct, look_back, predict
from bev_instseg.tracking.motion import MIN_SWEEPS_MOVING, heading, is_moving
from bev_instseg.tracking.state import behaviour


class Sightings(NamedTuple):
    """The S sightings of an object.

    Attributes:
        stamps_s: (S,) times.
        xy_m: (S, 2) positions in the world.
        noise: (S, 2, 2) covariances of these.
        heading_rad: (S,) headings before smoothing.
        length_m: Its length.
        class_name: Its class.
    """

    stamps_s: Float64
    xy_m: Float64
    noise: Float64
    heading_rad: Float64
    length_m: float
    class_name: str


class WholePath(NamedTuple):
    """The motion of an object at each of its S sightings, estimated from all of them.

    Attributes:
        xy_m: (S, 2) position in the world.
        velocity_mps: (S, 2) velocity.
        moving: (S,) bool.
        front_known: Whether it moves at any time.
        heading_rad: (S,) heading; of its front if that is known.
    """

    xy_m: Float64
    velocity_mps: Float64
    moving: NDArray[np.bool_]
    front_known: bool
    heading_rad: Float64


def whole_path(seen: Sightings) -> WholePath:
    """Smooth the path of an object with the tracker's filter, run in both directions.

    The speed limits for moving are those of the tracker. An object that stays in place all the time
    never moves.

    Args:
        seen: Its sightings.
    """
    mean, covariance = _smoothed(seen)
    velocity = mean[:, 2:]
    extent_m = float(np.hypot(*np.ptp(mean[:, :2], axis=0)))
    moving = np.zeros(len(mean), bool)
    if len(mean) >= MIN_SWEEPS_MOVING:
        limits = np.array([extent_m]), np.array([seen.length_m])
        limit_mps = np.array([behaviour(seen.class_name, "moving_mps")])
        before = moving[:1]
        for k in range(len(mean)):
            one = slice(k, k + 1)
            before = is_moving(velocity[one], covariance[one, 2:, 2:], *limits, limit_mps, before)
            moving[one] = before
    known = np.full(len(mean), moving.any())
    course = np.arctan2(velocity[:, 1], velocity[:, 0])
    if known.any():  # elsewhere, the course of the nearest time at which it moves is used
        times = np.flatnonzero(moving)
        course = course[times[np.abs(np.arange(len(mean))[:, None] - times).argmin(axis=1)]]
    axis = np.column_stack([np.cos(2 * seen.heading_rad), np.sin(2 * seen.heading_rad)])
    headings = heading(axis, velocity, moving, known, course)
    return WholePath(mean[:, :2], velocity, moving, bool(moving.any()), headings)


def _smoothed(seen: Sightings) -> tuple[Float64, Float64]:
    """Return (S, 4) states and (S, 4, 4) covariances from all sightings."""
    acceleration = np.array([behaviour(seen.class_name, "acceleration_mps2")])
    speed = behaviour(seen.class_name, "start_mps")
    mean = np.concatenate([seen.xy_m[:1], np.zeros((1, 2))], axis=1)
    covariance = np.diag([0.0, 0.0, speed**2, speed**2])[None]
    covariance[0, :2, :2] = seen.noise[0]
    filtered, predicted = [(mean, covariance)], []
    steps_s = np.diff(seen.stamps_s).tolist()
    for k, duration_s in enumerate(steps_s, 1):
        predicted.append(predict(*filtered[-1], duration_s, acceleration))
        filtered.append(correct(*predicted[-1], seen.xy_m[k : k + 1], seen.noise[k : k + 1]))
    smoothed = [filtered[-1]]
    for before, expected, duration_s in zip(
        filtered[-2::-1], predicted[::-1], steps_s[::-1], strict=True
    ):
        smoothed.append(look_back(before, expected, smoothed[-1], duration_s))
    means, covariances = zip(*smoothed[::-1], strict=True)
    return np.concatenate(means), np.concatenate(covariances)
