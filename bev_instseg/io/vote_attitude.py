"""Let the sweeps of a recording vote on the attitude of their sensor, and report doubts."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray

from bev_instseg.io.attitude import AXES, MIN_TILT_DEG, Attitude, Level, tilt_deg
from bev_instseg.io.sensor_setup import SensorSetup, axes_rotation, level_of, sensor_rotation

MAJORITY = 2 / 3  # of the sweeps that have an opinion must agree
MIN_OPINIONS = 1 / 2  # of the surveyed sweeps must share an unusual opinion
MIN_FAINT = 3  # this many sweeps must have the attitude if the ground is not clear
MAX_TILT_SPREAD_DEG = 5.0  # pitch and roll that differ less from the median agree with it
MIN_DOUBT_DEG = 8.0  # a tilt that is worth a notice, though it is not clear
UPSIDE_DOWN_DEG = 150.0  # z is down if up is at least this far from it

Direction = Sequence[float] | NDArray[np.int64]


def vote_axes(
    paths: Sequence[Path], attitudes: Sequence[Attitude], setup: SensorSetup
) -> tuple[str, tuple[str, ...]]:
    """Return the axes of the sweeps, and notices about assumptions and contradictions.

    Args:
        paths: The sweeps' files.
        attitudes: What each sweep says, relative to the given axes if there are any.
        setup: What is known about the sensor.
    """
    counts = Counter(one.axes for one in attitudes if one.axes is not None)
    axes, votes = counts.most_common(1)[0] if counts else ("flu", 0)
    if votes < MAJORITY * counts.total() or votes < MIN_OPINIONS * len(attitudes):
        axes = "frd" if _are_turned(attitudes) else "flu"
    if setup.axes != "auto":
        doubt = f"with the given axes {setup.axes} the ground is not below the sensor; check --axes"
        return setup.axes, () if axes == "flu" else (doubt,)
    notices = [] if axes == "flu" else [f"z does not point up: assumed axes {axes}"]
    others = [i for i, one in enumerate(attitudes) if one.axes not in (axes, None)]
    if others:
        notices.append(
            f"{len(others)} of {len(attitudes)} sweeps look as if their axes were "
            f"{attitudes[others[0]].axes}, first {paths[others[0]]}: all are read as {axes}"
        )
    return axes, tuple(notices)


def vote_level(attitudes: Sequence[Attitude], axes: str) -> Level:
    """Return the pitch and roll that most sweeps have in common; zero if they need no levelling.

    Args:
        attitudes: What each sweep says, relative to the given axes if there are any.
        axes: Directions of x, y and z in the same sense: ``flu`` if axes are given.
    """
    # Without clear ground, the plane was fitted as if z were up.
    fitting = [one for one in attitudes if one.axes == axes or (one.axes is None and axes == "flu")]
    opinions = [one.level_deg for one in fitting if one.level_deg is not None]
    if len(opinions) < MIN_OPINIONS * len(fitting):
        opinions = [level for one in fitting if (level := one.level_deg or one.faint_level_deg)]
        if len(opinions) < max(MIN_FAINT, MIN_OPINIONS * len(fitting)):
            return 0.0, 0.0
    if not opinions:
        return 0.0, 0.0
    pitch_deg, roll_deg = (round(median(angles), 1) for angles in zip(*opinions, strict=True))
    num_agreeing = sum(
        max(abs(pitch - pitch_deg), abs(roll - roll_deg)) <= MAX_TILT_SPREAD_DEG
        for pitch, roll in opinions
    )
    is_common = num_agreeing >= MAJORITY * len(opinions)
    is_inclined = tilt_deg((pitch_deg, roll_deg)) >= MIN_TILT_DEG
    return (pitch_deg, roll_deg) if is_common and is_inclined else (0.0, 0.0)


def level_notice(level_deg: Level) -> str:
    """Return the notice that a sweep was levelled by this pitch and roll, degrees."""
    pitch_deg, roll_deg = level_deg
    return (
        f"levelled by {tilt_deg(level_deg):.1f} degrees (pitch {pitch_deg:g}, roll {roll_deg:g}): "
        "the ground near the sensor was inclined"
    )


def given_level_doubts(attitudes: Sequence[Attitude], axes: str, given: Level) -> tuple[str, ...]:
    """Return a notice if the ground contradicts the given pitch and roll; zero is never doubted.

    Args:
        attitudes: What each sweep says.
        axes: As for `vote_level`.
        given: Pitch and roll, degrees.
    """
    ups = [
        sensor_rotation("flu", one.level_deg)[2]
        for one in attitudes
        if one.axes == axes and one.level_deg is not None
    ]
    if not any(given) or not ups:
        return ()
    off_deg = median(_between_deg(up, sensor_rotation("flu", given)[2]) for up in ups)
    if off_deg < MIN_DOUBT_DEG:
        return ()
    level = "{:g} {:g}".format(*given)
    return (f"with --level {level} the ground is inclined by {off_deg:.0f} degrees; check --level",)


def doubt_notices(attitudes: Sequence[Attitude], axes: str, setup: SensorSetup) -> tuple[str, ...]:
    """Return a notice if many sweeps may be tilted or upside down, but it is too unclear.

    Args:
        attitudes: What each sweep says, relative to the given axes if there are any.
        axes: Directions of x, y and z that the sweeps are read in, without levelling; as for
            `vote_level`.
        setup: What is known about the sensor.
    """
    ups = [np.array(one.maybe_up) for one in attitudes if one.maybe_up is not None]
    doubted = [up for up in ups if _angle_deg(up, axes) >= MIN_DOUBT_DEG]
    if not doubted or len(doubted) < MIN_OPINIONS * len(attitudes):
        return ()
    middle = np.argmin([np.median([_between_deg(a, b) for b in doubted]) for a in doubted])
    up = doubted[int(middle)]
    angle_deg = _angle_deg(up, axes)
    turned = angle_deg >= UPSIDE_DOWN_DEG
    what = (
        "z may point down" if turned else f"the ground may be inclined by {angle_deg:.0f} degrees"
    )
    return (f"{what}, but the points were not rotated; if so, pass {_options_for(up, setup)}",)


def _are_turned(attitudes: Sequence[Attitude]) -> bool:
    """Return whether many sweeps look upside down, though few clearly, and none upright."""
    turned = [one for one in attitudes if one.axes == "frd" or _may_be_turned(one)]
    enough = len(turned) >= max(MIN_FAINT, MAJORITY * len(attitudes))
    return enough and not any(one.axes == "flu" for one in attitudes)


def _may_be_turned(one: Attitude) -> bool:
    return one.maybe_up is not None and _angle_deg(one.maybe_up, "flu") >= UPSIDE_DOWN_DEG


def _options_for(up: Direction, setup: SensorSetup) -> str:
    """Return the options that make a direction point up.

    Args:
        up: (3,) unit vector, relative to the given axes if there are any.
        setup: What is known about the sensor.
    """
    vertical = int(np.argmax(np.abs(up)))
    axes = AXES[vertical, up[vertical] > 0]
    pitch_deg, roll_deg = level_of(np.asarray(axes_rotation(axes) @ up, np.float64))
    level = f"--level {pitch_deg:.0f} {roll_deg:.0f}"
    if axes == "flu":
        return level
    if setup.axes != "auto":
        return "other --axes"
    is_level = tilt_deg((pitch_deg, roll_deg)) < MIN_TILT_DEG
    return f"--axes {axes}" if is_level else f"--axes {axes} {level}"


def _angle_deg(up: Direction, axes: str) -> float:
    return _between_deg(up, axes_rotation(axes)[2])


def _between_deg(a: Direction, b: Direction) -> float:
    return float(np.degrees(np.arccos(np.clip(np.dot(a, b), -1, 1))))
