"""How a sensor's sweeps are stored: file format, axes of the file, sensor height."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FORMATS = ("auto", "kitti", "nuscenes")
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


@dataclass(frozen=True)
class SensorSetup:
    """What is known about a sensor's sweeps; the rest is inferred from each file.

    Attributes:
        format: Content of a ``.bin`` file: ``kitti`` (float32 x, y, z, intensity), ``nuscenes``
            (float32 x, y, z, intensity, ring) or ``auto`` (inferred from the values). Other formats
            describe themselves.
        axes: Directions of the file's x, y and z: three letters of f(orward) or b(ack), l(eft) or
            r(ight), u(p) or d(own). KITTI is ``flu``, nuScenes ``rfu``, a camera frame ``rdf``.
            ``auto`` is ``flu`` unless z clearly does not point up.
        height_m: Sensor height above ground in metres; z is shifted so that the ground near the
            sensor is at ``-height_m``. If None, z is shifted only if most points are outside the
            network's grid. Instances do not depend on it as long as the sweep is inside the grid,
            because the network uses heights above the local ground; set it to compare coordinates.

    Raises:
        ValueError: The format is unknown, the axes repeat or are left-handed, or the height is out
            of range.
    """

    format: str = "auto"
    axes: str = "auto"
    height_m: float | None = None

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise ValueError(f"format must be one of {', '.join(FORMATS)}, got '{self.format}'")
        if self.axes != "auto":
            axes_rotation(self.axes)
        if self.height_m is not None and not 0 <= self.height_m < MAX_HEIGHT_M:
            raise ValueError(
                "height_m, the sensor's height above the ground, must be at least 0 and below "
                f"{MAX_HEIGHT_M:g} metres, got {self.height_m:g}"
            )


def axes_rotation(axes: str) -> NDArray[np.int64]:
    """Return the rotation from a file's axes to the sensor frame.

    Args:
        axes: Directions of the file's x, y and z; see `SensorSetup`.

    Returns:
        (3, 3) int64 with one 1 or -1 in each row and column; its rows are x forward, y left, z up.

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
    return columns


# As documented by data sets and manufacturers. Velodyne's and Hesai's own frame is rfu, but drivers
# rotate it, so their files can hold either.
KNOWN_SENSORS = {
    "kitti": SensorSetup("kitti", "flu"),
    "nuscenes": SensorSetup("nuscenes", "rfu"),
    "ouster": SensorSetup(axes="flu"),
}
