"""Decide once for a whole recording how its sweeps are read.

A few sweeps of each folder vote on the columns of ``.bin`` files, the axes, the tilt of the sensor
and the scale of the intensities. So one dark or cropped sweep is read like its neighbours.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bev_instseg.exceptions import ScanError
from bev_instseg.file_io import read_file
from bev_instseg.io.attitude import MIN_TILT_DEG, Attitude, infer_attitude, level_from, tilt_deg
from bev_instseg.io.bin_layout import infer_bin_layout
from bev_instseg.io.formats import stored_points
from bev_instseg.io.ground_plane import fit_ground_plane
from bev_instseg.io.infer_frame import doubt_origin, infer_origin_m, sample_points
from bev_instseg.io.intensity import judge_intensity, scale_of
from bev_instseg.io.sensor_setup import SensorSetup, axes_rotation, level_of, sensor_rotation
from bev_instseg.io.units import doubt_feet
from bev_instseg.io.vote_attitude import (
    doubt_notices,
    given_level_doubts,
    level_notice,
    vote_axes,
    vote_level,
)

MAX_SWEEPS = 8  # of a folder that are surveyed

Group = tuple[Path, str]
NO_VALUES = np.zeros((0, 2))


@dataclass(frozen=True)
class Reading:
    """What the sweeps of a recording have in common.

    Attributes:
        given: What is known about the sensor, and the columns of ``.bin`` files.
        axes: Directions of the file's x, y and z.
        level_deg: Pitch and roll of the sensor, degrees.
        intensity_max: Value of full intensity; 0 if the intensities hold no information.
        notices: What was assumed, one line each.
    """

    given: SensorSetup
    axes: str
    level_deg: tuple[float, float]
    intensity_max: float
    notices: tuple[str, ...] = ()

    @property
    def is_usual(self) -> bool:
        """Whether nothing differs from what is given or assumed by default."""
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
    """What a sweep shows about its sensor.

    Attributes:
        path: Its file.
        attitude: Its attitude as inferred from the ground, relative to the given axes if there are
            any.
        intensity: (n, 2) float64 intensity and distance of some of its points; without points if
            the file has no intensities.
    """

    path: Path
    attitude: Attitude
    intensity: NDArray[np.float64]


@dataclass(frozen=True)
class Survey:
    """How to read the sweeps of a job; can be sent to other machines.

    Attributes:
        readings: By folder and suffix, for groups of at least two sweeps.
    """

    readings: Mapping[Group, Reading] = field(default_factory=dict)

    @classmethod
    def of(cls, path: Path, reading: Reading | None) -> "Survey":
        """Return the survey of a single recording, whose sweeps all have its path."""
        return cls({} if reading is None else {_group_of(path): reading})

    def reading_of(self, path: Path) -> Reading | None:
        """Return how to read a sweep; None if it is decided from the sweep alone."""
        return self.readings.get(_group_of(path))


def survey_sweeps(paths: Iterable[Path], setup: SensorSetup) -> Survey:
    """Survey up to `MAX_SWEEPS` sweeps of each folder and decide how all are read.

    Sweeps with the same folder and suffix form a group. The surveyed sweeps are spread evenly over
    the group, whatever the order of ``paths``; unreadable ones are left out. What ``setup``
    specifies is always used.

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
def reading_of_folder(folder: Path, setup: SensorSetup | None = None) -> Reading | None:
    """Return how to read the ``.bin`` sweeps of a folder of training data; None for a single one.

    Args:
        folder: The folder; it is surveyed once, so later changes have no effect.
        setup: What is known about the sensor; nothing by default.
    """
    readings = survey_sweeps(folder.glob("[!.]*.bin"), setup or SensorSetup()).readings
    return readings.get((folder.absolute(), ".bin"))


def gather_evidence(
    path: Path, sample: NDArray[np.float64], origin_m: NDArray[np.float64], setup: SensorSetup
) -> Evidence:
    """Collect what a sweep shows about its sensor.

    Args:
        path: Its file.
        sample: (n, 3 or 4) some of its points; see `sample_points`.
        origin_m: (3,) position of the sensor in the file.
        setup: What is known about the sensor.
    """
    xyz = sample[:, :3] - origin_m
    given = "flu" if setup.axes == "auto" else setup.axes
    attitude = infer_attitude(xyz @ axes_rotation(given).T)
    distance_m = np.sqrt(np.einsum("ij,ij->i", xyz, xyz))
    intensity = np.column_stack([sample[:, 3], distance_m]) if sample.shape[1] > 3 else NO_VALUES
    return Evidence(path, attitude, intensity)


def decide(evidence: Sequence[Evidence], setup: SensorSetup) -> Reading:
    """Let sweeps vote on how all of them are read.

    Args:
        evidence: The evidence of each sweep; at least one.
        setup: What is known about the sensor; taken as given.

    Returns:
        How all sweeps are read.
    """
    attitudes = [one.attitude for one in evidence]
    axes, axes_notices = vote_axes([one.path for one in evidence], attitudes, setup)
    seen = axes if setup.axes == "auto" else "flu"
    level_deg = setup.level_deg
    if level_deg is not None:
        level_notices = given_level_doubts(attitudes, seen, level_deg)
    else:
        level_deg = vote_level(attitudes, seen)
        if any(level_deg):
            level_notices = (level_notice(level_deg),)
        else:
            level_notices = doubt_notices(attitudes, seen, setup)
    full, intensity_notices = setup.intensity_max, tuple[str, ...]()
    if full is None:
        full, intensity_notices = judge_intensity([one.intensity for one in evidence])
        intensity_notices += _odd_scales(evidence, full)
    heights_m = [one.height_m for one in attitudes if one.height_m is not None]
    notices = (*intensity_notices, *axes_notices, *level_notices, *doubt_feet(heights_m))
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
    if hill_deg is None or tilt_deg(hill_deg) < MIN_TILT_DEG:
        return reading.level_deg, ()
    up = sensor_rotation("flu", hill_deg)[2] @ rotation @ axes_rotation(reading.axes).T
    notice = f"inclined ground: levelled by {tilt_deg(hill_deg):.0f} degrees more than usual"
    return level_of(up), (notice,)


def _group_of(path: Path) -> Group:
    return path.absolute().parent, path.suffix.lower()


def _survey_group(paths: Sequence[Path], setup: SensorSetup) -> Reading | None:
    """Read sweeps of a group and let them decide; None if none can be read."""
    notices: tuple[str, ...] = ()
    files: Iterable[tuple[Path, NDArray[np.uint8]]] = _readable(paths)
    if setup.format == "auto" and paths[0].suffix.lower() == ".bin":
        files = list(files)
        with suppress(ValueError):  # then each file is interpreted or refused on its own
            layout = infer_bin_layout([data for _, data in files])
            setup, notices = replace(setup, format=f"auto:{layout.columns}"), layout.notices
    reading = survey_points(_stored(files, setup), setup)
    return reading and replace(reading, notices=notices + reading.notices)


def survey_points(
    clouds: Iterable[tuple[Path, NDArray[np.floating]]], setup: SensorSetup
) -> Reading | None:
    """Let sweeps that have been read decide how all of them are read.

    Args:
        clouds: For each its name, for messages, and (N, 3 or 4) its points.
        setup: What is known about the sensor; taken as given.

    Returns:
        How all are read; None without sweeps.
    """
    evidence = []
    for path, values in clouds:
        sample = sample_points(values)
        origin_m, _ = origin_of(sample, values, setup)
        evidence.append(gather_evidence(path, sample, origin_m, setup))
    return decide(evidence, setup) if evidence else None


def _stored(
    files: Iterable[tuple[Path, NDArray[np.uint8]]], setup: SensorSetup
) -> Iterator[tuple[Path, NDArray[np.floating]]]:
    """Yield the points of files; errors are reported when it is the file's turn."""
    for path, data in files:
        with suppress(ScanError):
            yield path, stored_points(path, data, setup.format).values


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
        origin_m = np.array(setup.origin_m, np.float64)
        return origin_m, doubt_origin(sample[:, :3] - origin_m, setup.axes)
    return infer_origin_m(sample, values, setup.axes)


def _readable(paths: Sequence[Path]) -> Iterator[tuple[Path, NDArray[np.uint8]]]:
    """Yield the files that can be read and their content; the others' errors are reported later."""
    for path in paths:
        with suppress(ScanError):
            yield path, read_file(path, "sweep")


def _odd_scales(evidence: Sequence[Evidence], full: float) -> tuple[str, ...]:
    """Name sweeps whose intensities have a larger scale than those of most others."""
    if len(evidence) < 2:
        return ()
    odd = [(s, one.path) for one in evidence if (s := scale_of(one.intensity[:, 0])) > full > 0]
    if not odd:
        return ()
    return (
        f"{len(odd)} of {len(evidence)} sweeps have intensities of 0..{odd[0][0]}, first "
        f"{odd[0][1]}: all are read as 0..{full:g}",
    )
