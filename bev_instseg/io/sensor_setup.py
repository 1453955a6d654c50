"""How a sensor's sweeps are stored: file format, place and attitude of the sensor, intensities."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

NAMED_FORMATS = {"kitti": "xyzi", "nuscenes": "xyzir"}
MAX_FLOATS = 64  # per point of a .bin file
# Unit vectors of the letters in the sensor frame: x forward, y left, z up.
DIRECTIONS = {
    "f": (1, 0, 0),
    "b": (-1, 0, 0),
    "l": (0, 1, 0),
    "r": (0, -1, 0),
    "u": (0, 0, 1),
    "d": (0, 0, -1),
}
MAX_HEIGHT_M = 10.0  # higher sensors see the ground outside the default grid
MAX_LEVEL_DEG = 45.0  # a sensor that is tilted more has other axes


@dataclass(frozen=True)
class SensorSetup:
    """What is known about a sensor's sweeps; the rest is inferred, see `survey_sweeps`.

    Attributes:
        format: The float32 values of a point of a ``.bin`` file: ``auto`` (inferred from the
            values), a letter per float such as ``xyzi`` or ``xyz_i``, ``kitti`` (``xyzi``),
            ``nuscenes`` (``xyzir``) or a number of floats; see `bin_columns`. ``auto:xyzi`` means
            ``xyzi`` if the number of floats is 4 or cannot be inferred. Other file formats describe
            themselves.
        axes: Directions of the file's x, y and z: three letters of f(orward) or b(ack), l(eft) or
            r(ight), u(p) or d(own). KITTI is ``flu``, nuScenes ``rfu``, a camera frame ``rdf``.
            ``auto`` is ``flu`` unless z clearly does not point up.
        height_m: Sensor height above ground in metres; z is shifted so that the ground near the
            sensor is at ``-height_m``. If None, z is shifted only if most points are outside the
            network's grid. Instances do not depend on it as long as the sweep is inside the grid,
            because the network uses heights above the local ground; set it to compare coordinates.
        origin_m: Position of the sensor in the file's coordinates, metres. If None, it is the
            origin unless the points clearly lie around another place.
        level_deg: Pitch and roll of the sensor in degrees, see `sensor_rotation`; (0, 0) leaves
            sweeps as they are. If None, sweeps with clearly inclined ground are levelled.
        intensity_max: Value of full intensity, such as 255; 0 to ignore the intensities. If None,
            it is inferred from the values.

    Raises:
        ValueError: The format is malformed, the axes repeat or are left-handed, or a number is out
            of range.
    """

    format: str = "auto"
    axes: str = "auto"
    height_m: float | None = None
    origin_m: tuple[float, float, float] | None = None
    level_deg: tuple[float, float] | None = None
    intensity_max: float | None = None

    def __post_init__(self) -> None:
        if self.format != "auto":
            bin_columns(self.format.removeprefix("auto:"))
        if self.axes != "auto":
            axes_rotation(self.axes)
        if self.height_m is not None and not 0 <= self.height_m < MAX_HEIGHT_M:
            raise ValueError(
                "height_m, the sensor's height above the ground, must be at least 0 and below "
                f"{MAX_HEIGHT_M:g} metres, got {self.height_m:g}"
            )
        if self.origin_m is not None and not np.isfinite(self.origin_m).all():
            raise ValueError(f"origin_m must be three finite numbers, got {self.origin_m}")
        # Not "any larger than": that would let NaN pass.
        if self.level_deg is not None and not all(
            abs(angle) <= MAX_LEVEL_DEG for angle in self.level_deg
        ):
            raise ValueError(
                f"level_deg, pitch and roll, must be within {MAX_LEVEL_DEG:g} degrees of 0, "
                f"got {self.level_deg}; larger angles are other axes"
            )
        if self.intensity_max is not None and not 0 <= self.intensity_max < np.inf:
            raise ValueError(
                "intensity_max, the value of full intensity, must be a positive number, or 0 to "
                f"ignore the intensities, got {self.intensity_max:g}"
            )


def bin_columns(text: str) -> str:
    """Return what each float of a point of a ``.bin`` file is.

    Args:
        text: ``kitti``, ``nuscenes``, a letter per float, or a number of floats: 3 are x, y, z; of
            more, the fourth is the intensity and the rest is ignored.

    Returns:
        A letter per float: x, y and z once each, i (the intensity) at most once; what the other
        letters and ``_`` stand for is ignored.

    Raises:
        ValueError: The text is none of these.
    """
    columns = NAMED_FORMATS.get(text, text)
    if text.isdecimal() and 3 <= int(text) <= MAX_FLOATS:
        columns = "xyz" if int(text) == 3 else "xyzi" + "_" * (int(text) - 4)
    letters = columns.replace("_", "a")
    if (
        not (letters.isascii() and letters.isalpha() and letters.islower())
        or [columns.count(letter) for letter in "xyz"] != [1, 1, 1]
        or columns.count("i") > 1
        or len(columns) > MAX_FLOATS
    ):
        raise ValueError(
            f"format must be auto, {', '.join(NAMED_FORMATS)}, a number of floats per point from 3 "
            "or a letter per float, with x, y and z once and i (intensity) at most once, such as "
            f"xyzi or xyz_i, got '{text}'"
        )
    return columns


@cache
def axes_rotation(axes: str) -> NDArray[np.int64]:
    """Return the rotation from a file's axes to the sensor frame.

    Args:
        axes: Directions of the file's x, y and z; see `SensorSetup`.

    Returns:
        (3, 3) int64, read-only, with one 1 or -1 in each row and column; its rows are x forward,
        y left, z up.

    Raises:
        ValueError: The axes are not three letters of three directions, or are left-handed.
    """
    if len(axes) != 3 or not set(axes) <= DIRECTIONS.keys():
        raise ValueError(f"axes must be three of the letters {''.join(DIRECTIONS)}, got '{axes}'")
    columns = np.array([DIRECTIONS[letter] for letter in axes], np.int64).T
    handedness = round(np.linalg.det(columns))
    if handedness == 0:
        raise ValueError(
            f"axes '{axes}' repeat a direction or its opposite; KITTI is flu, a camera rdf"
        )
    if handedness < 0:
        flipped = axes[:2] + axes[2].translate(str.maketrans("fblrud", "bfrldu"))
        raise ValueError(f"axes '{axes}' are left-handed; did you mean '{flipped}'?")
    columns.setflags(write=False)
    return columns


def sensor_rotation(axes: str, level_deg: tuple[float, float]) -> NDArray[np.float64]:
    """Return the rotation from a file's axes to the levelled sensor frame.

    Args:
        axes: Directions of the file's x, y and z; see `SensorSetup`.
        level_deg: Pitch and roll of the sensor in degrees: it is rolled about its x axis (left side
            up), then pitched about the horizontal y axis (front down).

    Returns:
        (3, 3) float64 ``pitch @ roll @ axes_rotation(axes)``; whole numbers if the angles are 0.

    Raises:
        ValueError: The axes are not three letters of three directions, or are left-handed.
    """
    pitch_deg, roll_deg = level_deg
    rotation: NDArray[np.float64] = euler_rotation(roll_deg, pitch_deg, 0) @ axes_rotation(axes)
    return rotation


def to_sensor(
    axes: str, level_deg: tuple[float, float], origin_m: tuple[float, float, float]
) -> NDArray[np.float64]:
    """Return the (4, 4) float64 transform from a file's coordinates to the sensor frame.

    Args:
        axes: Directions of its axes, see `SensorSetup`.
        level_deg: Pitch and roll in degrees, see `sensor_rotation`.
        origin_m: Position of the sensor in these coordinates, metres.
    """
    transform = np.eye(4)
    transform[:3, :3] = sensor_rotation(axes, level_deg)
    transform[:3, 3] = -transform[:3, :3] @ origin_m
    return transform


def euler_rotation(roll_deg: float, pitch_deg: float, yaw_deg: float) -> NDArray[np.float64]:
    """Return the (3, 3) rotation by roll about x, then pitch about y, then yaw about z."""
    angles = np.radians([roll_deg, pitch_deg, yaw_deg])
    (cos_r, cos_p, cos_y), (sin_r, sin_p, sin_y) = np.cos(angles), np.sin(angles)
    roll = np.array([[1, 0, 0], [0, cos_r, -sin_r], [0, sin_r, cos_r]])
    pitch = np.array([[cos_p, 0, sin_p], [0, 1, 0], [-sin_p, 0, cos_p]])
    yaw = np.array([[cos_y, -sin_y, 0], [sin_y, cos_y, 0], [0, 0, 1]])
    rotation: NDArray[np.float64] = yaw @ pitch @ roll
    return rotation


def level_of(normal: NDArray[np.float64]) -> tuple[float, float]:
    """Return the pitch and roll of a sensor from the direction in which it sees up.

    Args:
        normal: (3,) unit vector that points up, in the sensor's x, y, z.

    Returns:
        Degrees, rounded to a tenth; `sensor_rotation` of them turns ``normal`` to z.
    """
    x, y, z = normal.tolist()
    pitch_deg, roll_deg = np.degrees([-np.arcsin(x), np.arctan2(y, z)])
    return round(float(pitch_deg), 1), round(float(roll_deg), 1)


# As documented by data sets and manufacturers. Velodyne's and Hesai's own frame is rfu, but drivers
# rotate it, so their files can hold either.
KNOWN_SENSORS = {
    "kitti": SensorSetup("kitti", "flu"),
    "nuscenes": SensorSetup("nuscenes", "rfu"),
    "ouster": SensorSetup(axes="flu"),
}
