"""Decide once for a whole recording what its sweeps have in common.

A few sweeps of each folder are looked at and vote on the columns of ``.bin`` files, the axes, the
tilt of the sensor and the meaning of the intensities. One dark or cropped sweep is then read like
its neighbours.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from bev_instseg.exceptions import ScanError
from bev_instseg.file_io import read_file
from bev_instseg.io.bin_layout import infer_bin_layout
from bev_instseg.io.formats import read_stored_points
from bev_instseg.io.ground_plane import GroundPlane, fit_best_plane, fit_ground_plane
from bev_instseg.io.infer_frame import infer_axes, infer_origin_m, sample_points
from bev_instseg.io.intensity import judge_intensity, scale_of
from bev_instseg.io.sensor_setup import SensorSetup, axes_rotation, level_of, sensor_rotation

MAX_SWEEPS = 8  # of a folder that are looked at
MAJORITY = 2 / 3  # of the sweeps that have an opinion must agree
MIN_OPINIONS = 1 / 2  # of the sweeps that are looked at must share an unusual opinion
MIN_TILT_DEG = 5.0  # of the ground; less does no harm
MIN_DOUBT_DEG = 8.0  # a tilt that is worth a word, though it is not clear
MIN_FAINT = 3  # sweeps whose ground is not clear must agree on a tilt
MAX_TILT_SPREAD_DEG = 5.0  # pitch and roll that differ less from the median agree with it
MIN_TILTED_SHARE = 0.35  # of the near points are on the ground if it is trusted to be inclined,
MIN_TILTED_WIDTH_M = 2.5  # it is at least this wide (see `GroundPlane`),
TILTED_HEIGHT_M = (-0.1, 6.0)  # and the origin is this far above it

Group = tuple[Path, str]
T = TypeVar("T")
NO_VALUES = np.zeros((0, 2))


@dataclass(frozen=True)
class Reading:
    """What the sweeps of a recording have in common.

    Attributes:
        given: What is known about the sensor, and the columns of ``.bin`` files.
        axes: Directions of the file's x, y and z.
        level_deg: Pitch and roll of the sensor, degrees.
        intensity_max: Value of full intensity; 0 if the intensities say nothing.
        notices: What was assumed, one line each.
    """

    given: SensorSetup
    axes: str
    level_deg: tuple[float, float]
    intensity_max: float
    notices: tuple[str, ...] = ()

    @property
    def is_usual(self) -> bool:
        """Whether nothing was found that differs from what is given or assumed without a look."""
        given = self.given
        usual_axes = "flu" if given.axes == "auto" else given.axes
        usual_intensity_max = 1.0 if given.intensity_max is None else given.intensity_max
        return (
            given.format.removeprefix("auto:") in (given.format, "xyzi")
            and self.axes == usual_axes
            and self.level_deg == (given.level_deg or (0.0, 0.0))
            and self.intensity_max == usual_intensity_max
        )


@dataclass(frozen=True)
class Evidence:
    """What a sweep says about its sensor.

    Attributes:
        path: Its file.
        axes: Directions of x, y and z as the ground shows them, after the axes that were given if
            there are any; None if no ground was found.
        level_deg: Pitch and roll of the sensor in these axes; None if the ground does not tell.
        faint_level_deg: The same by the best plane, even if it is not clearly the ground, as in
            dense traffic; None if there is none below the sensor.
        intensity: (n, 2) float64 intensity and distance of some of its points; without points if
            the file has no intensities.
    """

    path: Path
    axes: str | None
    level_deg: tuple[float, float] | None
    faint_level_deg: tuple[float, float] | None
    intensity: NDArray[np.float64]


@dataclass(frozen=True)
class Survey:
    """How to read the sweeps of a job; can be sent to other machines.

    Attributes:
        readings: By folder and suffix, for groups of at least two sweeps.
    """

    readings: Mapping[Group, Reading] = field(default_factory=dict)

    def reading_of(self, path: Path) -> Reading | None:
        """Return how to read a sweep; None if it speaks for itself."""
        return self.readings.get(_group_of(path))


def survey_sweeps(paths: Iterable[Path], setup: SensorSetup) -> Survey:
    """Look at up to `MAX_SWEEPS` sweeps of each folder and decide what they have in common.

    Sweeps with the same folder and suffix form a group. Those that are looked at are spread evenly
    over it, whatever the order of ``paths``; those that cannot be read are left out. What ``setup``
    gives is not questioned.

    Args:
        paths: All sweeps of the job.
        setup: What is known about the sensor.

    Returns:
        How to read the sweeps.
    """
    groups = defaultdict(list)
    for path in sorted(set(paths)):
        groups[_group_of(path)].append(path)
    readings = {}
    for group, members in groups.items():
        if len(members) > 1:
            number = min(len(members), MAX_SWEEPS)
            at = np.linspace(0, len(members) - 1, number).round().astype(int)
            reading = _survey_group([members[i] for i in at], setup)
            if reading is not None:
                readings[group] = reading
    return Survey(readings)


@cache
def reading_of_folder(folder: Path) -> Reading | None:
    """Return how to read the ``.bin`` sweeps of a folder of training data; None for one sweep.

    Args:
        folder: It is looked at once; later changes are not seen.
    """
    readings = survey_sweeps(folder.glob("*.bin"), SensorSetup()).readings
    return readings.get((folder.absolute(), ".bin"))


def gather_evidence(
    path: Path, sample: NDArray[np.float64], origin_m: NDArray[np.float64], setup: SensorSetup
) -> Evidence:
    """Find out what a sweep says about its sensor.

    Args:
        path: Its file.
        sample: (n, 3 or 4) some of its points; see `sample_points`.
        origin_m: (3,) position of the sensor in the file.
        setup: What is known about the sensor.
    """
    xyz = sample[:, :3] - origin_m
    given = "flu" if setup.axes == "auto" else setup.axes
    seen = xyz @ axes_rotation(given).T
    axes, ground = infer_axes(seen)
    level_deg = level_from(ground)
    plane = ground or fit_best_plane(seen)
    faint_deg = level_of(plane.normal) if plane is not None and _is_below(plane) else None
    distance_m = np.sqrt(np.einsum("ij,ij->i", xyz, xyz))
    intensity = np.column_stack([sample[:, 3], distance_m]) if sample.shape[1] > 3 else NO_VALUES
    return Evidence(path, axes if ground else None, level_deg, faint_deg, intensity)


def decide(evidence: Sequence[Evidence], setup: SensorSetup) -> Reading:
    """Let sweeps vote on what they have in common.

    Args:
        evidence: What each sweep says; at least one.
        setup: What is known about the sensor; it is not questioned.

    Returns:
        What the sweeps have in common.
    """
    axes, axes_notices = _vote_axes(evidence, setup)
    level_deg, level_notices = setup.level_deg, tuple[str, ...]()
    if level_deg is None:
        seen = axes if setup.axes == "auto" else "flu"
        if seen != "flu":  # without clear ground, the plane was fitted as if z were up
            evidence = [one for one in evidence if one.axes is not None]
        level_deg = _vote_level([one for one in evidence if one.axes in (seen, None)])
        level_notices = (level_notice(level_deg),) if any(level_deg) else _doubt_level(evidence)
    full, intensity_notices = setup.intensity_max, tuple[str, ...]()
    if full is None:
        full, intensity_notices = judge_intensity([one.intensity for one in evidence])
        intensity_notices += _odd_scales(evidence, full)
    notices = (*intensity_notices, *axes_notices, *level_notices)
    return Reading(setup, axes, level_deg, full, notices)


def follow_hill(
    xyz: NDArray[np.float64], reading: Reading
) -> tuple[tuple[float, float], tuple[str, ...]]:
    """Level a sweep whose ground is inclined although the recording has been levelled.

    Args:
        xyz: (n, 3) points relative to the sensor, in the file's axes.
        reading: What the sweeps of the recording have in common.

    Returns:
        Pitch and roll in degrees, and what was assumed.
    """
    if reading.given.level_deg is not None:
        return reading.level_deg, ()
    rotation = sensor_rotation(reading.axes, reading.level_deg)
    hill_deg = level_from(fit_ground_plane(xyz @ rotation.T))
    if hill_deg is None or not is_inclined(hill_deg):
        return reading.level_deg, ()
    up = sensor_rotation("flu", hill_deg)[2] @ rotation @ axes_rotation(reading.axes).T
    notice = f"inclined ground: levelled by {_tilt_deg(hill_deg):.0f} degrees more than usual"
    return level_of(up), (notice,)


def level_from(ground: GroundPlane | None) -> tuple[float, float] | None:
    """Return pitch and roll of a sensor above a ground in degrees; None if it does not tell."""
    if ground is None:
        return None
    trusted = (
        ground.share >= MIN_TILTED_SHARE
        and ground.width_m >= MIN_TILTED_WIDTH_M
        and _is_below(ground)
    )
    return level_of(ground.normal) if trusted or ground.tilt_deg < MIN_TILT_DEG else None


def is_inclined(level_deg: tuple[float, float]) -> bool:
    """Return whether a sensor with this pitch and roll, degrees, needs levelling."""
    return _tilt_deg(level_deg) >= MIN_TILT_DEG


def level_notice(level_deg: tuple[float, float]) -> str:
    """Say that a sweep was levelled by this pitch and roll, degrees."""
    pitch_deg, roll_deg = level_deg
    return (
        f"levelled by {_tilt_deg(level_deg):.1f} degrees (pitch {pitch_deg:g}, roll {roll_deg:g}): "
        "the ground near the sensor was inclined"
    )


def _is_below(ground: GroundPlane) -> bool:
    low_m, high_m = TILTED_HEIGHT_M
    return low_m <= ground.height_m <= high_m


def _tilt_deg(level_deg: tuple[float, float]) -> float:
    return float(np.degrees(np.arccos(min(sensor_rotation("flu", level_deg)[2, 2], 1.0))))


def _group_of(path: Path) -> Group:
    return path.absolute().parent, path.suffix.lower()


def _survey_group(paths: Sequence[Path], setup: SensorSetup) -> Reading | None:
    """Read sweeps of a group and let them decide; None if none can be read."""
    notices: tuple[str, ...] = ()
    if setup.format == "auto" and paths[0].suffix.lower() == ".bin":
        contents = [data for _, data in _readable(paths, lambda path: read_file(path, "sweep"))]
        with suppress(ValueError):  # then each file is understood or refused on its own
            layout = infer_bin_layout(contents)
            setup, notices = replace(setup, format=f"auto:{layout.columns}"), layout.notices
    evidence = []
    for path, stored in _readable(paths, lambda path: read_stored_points(path, setup.format)):
        sample = sample_points(stored.values)
        origin_m, _ = origin_of(sample, stored.values, setup)
        evidence.append(gather_evidence(path, sample, origin_m, setup))
    if not evidence:
        return None
    reading = decide(evidence, setup)
    return replace(reading, notices=notices + reading.notices)


def origin_of(
    sample: NDArray[np.float64], values: NDArray[np.floating], setup: SensorSetup
) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Return the sensor's position in the file's coordinates: given, or inferred from the points.

    Args:
        sample: (n, 3 or 4) some of the points; see `sample_points`.
        values: (N, 3 or 4) all points.
        setup: What is known about the sensor.

    Returns:
        (3,) float64 metres, and what was assumed.
    """
    if setup.origin_m is not None:
        return np.array(setup.origin_m, np.float64), ()
    return infer_origin_m(sample, values, setup.axes)


def _readable(paths: Sequence[Path], read: Callable[[Path], T]) -> Iterator[tuple[Path, T]]:
    """Yield what can be read; the others' errors are reported when it is their turn."""
    for path in paths:
        with suppress(ScanError):
            yield path, read(path)


def _vote_axes(evidence: Sequence[Evidence], setup: SensorSetup) -> tuple[str, tuple[str, ...]]:
    """Return the axes of the sweeps, and what speaks against them or was assumed."""
    counts = Counter(one.axes for one in evidence if one.axes is not None)
    axes, votes = counts.most_common(1)[0] if counts else ("flu", 0)
    if votes < MAJORITY * counts.total() or votes < MIN_OPINIONS * len(evidence):
        axes = "flu"
    if setup.axes != "auto":
        doubt = "the ground is not below the sensor if the axes are {}, as given; see --axes"
        return setup.axes, () if axes == "flu" else (doubt.format(setup.axes),)
    notices = [] if axes == "flu" else [f"z does not point up: assumed axes {axes}"]
    others = [one for one in evidence if one.axes not in (axes, None)]
    if others:
        notices.append(
            f"{len(others)} of {len(evidence)} sweeps look as if their axes were "
            f"{others[0].axes}, first {others[0].path}: all are read as {axes}"
        )
    return axes, tuple(notices)


def _vote_level(evidence: Sequence[Evidence]) -> tuple[float, float]:
    """Return the pitch and roll that most sweeps have in common; zero if they need no levelling."""
    opinions = [one.level_deg for one in evidence if one.level_deg is not None]
    if len(opinions) < MIN_OPINIONS * len(evidence):
        opinions = [level for one in evidence if (level := one.level_deg or one.faint_level_deg)]
        if len(opinions) < max(MIN_FAINT, MIN_OPINIONS * len(evidence)):
            return 0.0, 0.0
    if not opinions:
        return 0.0, 0.0
    known = np.array(opinions)
    pitch_deg, roll_deg = np.median(known, axis=0).round(1).tolist()
    agreeing = np.abs(known - (pitch_deg, roll_deg)).max(axis=1) <= MAX_TILT_SPREAD_DEG
    common = is_inclined((pitch_deg, roll_deg)) and np.mean(agreeing) >= MAJORITY
    return (pitch_deg, roll_deg) if common else (0.0, 0.0)


def _doubt_level(evidence: Sequence[Evidence]) -> tuple[str, ...]:
    """Say it if the ground may be inclined, but too few sweeps show it to be sure."""
    unclear = [one.faint_level_deg for one in evidence if one.level_deg is None]
    inclined = [faint for faint in unclear if faint and _tilt_deg(faint) >= MIN_DOUBT_DEG]
    if len(evidence) >= MIN_FAINT or not inclined or len(inclined) < len(evidence):
        return ()
    return (
        f"the ground may be inclined by {_tilt_deg(inclined[0]):.0f} degrees, but this few sweeps "
        "do not show it clearly: not levelled; see --level",
    )


def _odd_scales(evidence: Sequence[Evidence], full: float) -> tuple[str, ...]:
    """Name sweeps whose intensities have a larger scale than those of most others."""
    odd = [(s, one.path) for one in evidence if (s := scale_of(one.intensity[:, 0])) > full > 0]
    if not odd:
        return ()
    return (
        f"{len(odd)} of {len(evidence)} sweeps have intensities of 0..{odd[0][0]}, first "
        f"{odd[0][1]}: all are read as 0..{full:g}",
    )
