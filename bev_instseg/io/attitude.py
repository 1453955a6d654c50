"""Infer from the ground how the sensor of a sweep is oriented: its axes and its tilt."""

import math
from dataclasses import dataclass
from typing import TypeGuard

import numpy as np
from numpy.typing import NDArray

from bev_instseg.io.ground_plane import (
    MIN_WIDTH_M,
    GroundPlane,
    fit_best_plane,
    fit_ground_plane,
)
from bev_instseg.io.infer_frame import MIN_SAMPLE, thinnest_axis
from bev_instseg.io.sensor_setup import axes_rotation, level_of

Level = tuple[float, float]  # pitch and roll, degrees

UPRIGHT_HEIGHT_M = (-1.0, np.inf)  # of the origin above the ground if z is up
TURNED_HEIGHT_M = (0.5, 5.0)  # of the origin above the ground if z is down
OTHER_HEIGHT_M = (-2.5, 5.0)  # of the origin above the ground if z is not vertical
TURNED_SHARE = 0.4  # this share of the points is on the ground if z is down,
TURNED_BELOW_SHARE = 0.05  # at most this share below it
TURNED_ABOVE_SHARE = 0.1  # and at least this share above it

# In dense traffic little of the ground is seen. Then z is down if the best plane with z down has a
# far higher score than the best plane with z up. In upright sweeps that were cropped to parts
# without ground, planes with the `ONE_SIDED` shares lead by at most 0.15.
TURNED_LEAD, MAYBE_TURNED_LEAD = 0.2, 0.05
LEADING_HEIGHT_M = (-0.5, 5.0)
ONE_SIDED = (0.02, 0.3)  # at most this share of the points below the plane, at least this above
PARTLY_ONE_SIDED = (TURNED_BELOW_SHARE, TURNED_ABOVE_SHARE)

MIN_TILT_DEG = 5.0  # of the ground; less does no harm
MIN_TILTED_SHARE = 0.35  # of the near points are on the ground if it is trusted to be inclined,
MIN_TILTED_WIDTH_M = 2.5  # it is at least this wide (see `GroundPlane`),
TILTED_HEIGHT_M = (-0.1, 6.0)  # and the origin is this far above it

MAX_DOUBT_DEG = 60.0  # beyond this, the ground is searched for along other axes
NUM_DOUBT_PLANES = 640  # that are tried if the ground is not clear
MIN_DOUBT_SCORE, MIN_DOUBT_WIDTH_M = 0.1, 1.4  # of a plane that is worth a notice
DOUBT_HEIGHT_M = (-0.5, 6.0)

# Axes by the file's vertical axis and whether it points up: the common convention, if there is one.
AXES = {
    (2, True): "flu",
    (2, False): "frd",
    (1, False): "rdf",
    (1, True): "rub",
    (0, True): "ufl",
    (0, False): "dfr",
}


@dataclass(frozen=True)
class Attitude:
    """The attitude of a sensor as inferred from the ground in a sweep.

    Attributes:
        axes: Directions of x, y and z; None if no ground was found.
        level_deg: Pitch and roll in these axes; None if the ground is not clear.
        faint_level_deg: The same for the best plane, even if it is not clearly the ground, as in
            dense traffic; None if there is no such plane below the sensor.
        height_m: Height of the sensor above the ground; None if the ground is not clear.
        maybe_up: If the ground is not clear, the direction that may be up, a unit vector; it may be
            far from z. None if there is no such direction.
    """

    axes: str | None = None
    level_deg: Level | None = None
    faint_level_deg: Level | None = None
    height_m: float | None = None
    maybe_up: tuple[float, float, float] | None = None


def infer_attitude(xyz: NDArray[np.float64]) -> Attitude:
    """Infer the attitude of a sensor from the ground.

    z is down if there is no ground below the sensor, but a plane above it with hardly any point
    beyond. Under a ceiling there are both, and z is up. Another axis is vertical only if z is
    neither up nor down, the points spread much less along it, and there is ground in its direction.
    The forward direction cannot be inferred; the common convention is assumed.

    Args:
        xyz: (n, 3) points relative to the sensor; see `sample_points`.
    """
    if len(xyz) < MIN_SAMPLE:
        return Attitude()
    upright = fit_best_plane(xyz)
    axes, ground = _find_ground(xyz, upright)
    plane = ground or upright
    faint_deg = level_of(plane.normal) if plane is not None and _is_below(plane) else None
    level_deg = level_from(ground)
    maybe_up = _maybe_up(xyz) if level_deg is None else None
    if ground is None:
        return Attitude(None, level_deg, faint_deg, maybe_up=maybe_up)
    return Attitude(axes, level_deg, faint_deg, ground.height_m, maybe_up)


def level_from(ground: GroundPlane | None) -> Level | None:
    """Return pitch and roll of a sensor above a ground in degrees; None if it is not clear."""
    if ground is None:
        return None
    trusted = (
        ground.share >= MIN_TILTED_SHARE
        and ground.width_m >= MIN_TILTED_WIDTH_M
        and _is_below(ground)
    )
    return level_of(ground.normal) if trusted or ground.tilt_deg < MIN_TILT_DEG else None


def tilt_deg(level_deg: Level) -> float:
    """Return the angle between z and up for a pitch and roll, all in degrees."""
    pitch, roll = (math.radians(angle) for angle in level_deg)
    return math.degrees(math.acos(math.cos(pitch) * math.cos(roll)))


def _find_ground(
    xyz: NDArray[np.float64], upright: GroundPlane | None
) -> tuple[str, GroundPlane | None]:
    """Return one of `AXES` and the ground in these axes, None if no plane is clearly the ground.

    Args:
        xyz: (n, 3) points relative to the sensor.
        upright: The best plane if z is up.
    """
    if _is_clear(upright) and _is_within(upright.height_m, UPRIGHT_HEIGHT_M):
        return "flu", upright
    turned = fit_best_plane(xyz @ axes_rotation("frd").T)
    if turned is not None and _is_turned(turned, upright):
        return "frd", turned
    vertical = thinnest_axis(xyz)
    if vertical == 2 or _is_clear(upright) or _is_clear(turned):
        return "flu", None
    found = []
    for points_up in (True, False):
        axes = AXES[vertical, points_up]
        ground = fit_ground_plane(xyz @ axes_rotation(axes).T)
        if ground is not None and _is_within(ground.height_m, OTHER_HEIGHT_M):
            found.append((ground.score, axes, ground))
    return max(found, key=lambda one: one[0])[1:] if found else ("flu", None)


def _is_turned(turned: GroundPlane, upright: GroundPlane | None) -> bool:
    """Return whether z is down, given the best planes if it is down and if it is up."""
    plain = (
        turned.is_clear
        and _is_within(turned.height_m, TURNED_HEIGHT_M)
        and turned.share >= TURNED_SHARE
        and turned.below_share <= TURNED_BELOW_SHARE
        and turned.above_share >= TURNED_ABOVE_SHARE
    )
    wide = turned.width_m >= MIN_WIDTH_M
    return plain or (wide and _leads(turned, upright, TURNED_LEAD, ONE_SIDED))


def _leads(
    turned: GroundPlane, upright: GroundPlane | None, lead: float, sides: tuple[float, float]
) -> bool:
    """Return whether the best plane with z down is plausible and far ahead of that with z up.

    Args:
        turned: The best plane if z is down.
        upright: The best plane if z is up.
        lead: By how much.
        sides: Largest share of the points below ``turned``, and smallest above it.
    """
    return (
        turned.score - (max(upright.score, 0) if upright is not None else 0) >= lead
        and _is_within(turned.height_m, LEADING_HEIGHT_M)
        and turned.below_share <= sides[0]
        and turned.above_share >= sides[1]
    )


def _maybe_up(xyz: NDArray[np.float64]) -> tuple[float, float, float] | None:
    """Return the direction that may be up if the ground is not clear; see `Attitude`."""
    frd = axes_rotation("frd")
    plane = fit_best_plane(xyz, MAX_DOUBT_DEG, NUM_DOUBT_PLANES)
    turned = fit_best_plane(xyz @ frd.T, MAX_DOUBT_DEG, NUM_DOUBT_PLANES)
    rotation = axes_rotation("flu")
    if turned is not None and (
        _leads(turned, plane, MAYBE_TURNED_LEAD, ONE_SIDED)
        or _leads(turned, plane, TURNED_LEAD, PARTLY_ONE_SIDED)
        or _is_overhead(plane)
    ):
        plane, rotation = turned, frd
    if (
        plane is None
        or plane.score < MIN_DOUBT_SCORE
        or plane.width_m < MIN_DOUBT_WIDTH_M
        or not _is_within(plane.height_m, DOUBT_HEIGHT_M)
    ):
        return None
    x, y, z = (plane.normal @ rotation).tolist()
    return x, y, z


def _is_overhead(plane: GroundPlane | None) -> bool:
    """Return whether everything that may be ground if z is up is far above the sensor."""
    return _is_clear(plane) and plane.height_m < UPRIGHT_HEIGHT_M[0]


def _is_below(ground: GroundPlane) -> bool:
    return _is_within(ground.height_m, TILTED_HEIGHT_M)


def _is_clear(plane: GroundPlane | None) -> TypeGuard[GroundPlane]:
    return plane is not None and plane.is_clear


def _is_within(value: float, limits: tuple[float, float]) -> bool:
    return limits[0] <= value <= limits[1]
