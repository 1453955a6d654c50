"""How a sensor's sweeps are stored: file format, where the file's axes point, mounting height."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FORMATS = ("auto", "kitti", "nuscenes")
# Where a letter points: forward, back, left, right, up, down in x forward, y left, z up.
DIRECTIONS = {
    "f": (1, 0, 0),
    "b": (-1, 0, 0),
    "l": (0, 1, 0),
    "r": (0, -1, 0),
    "u": (0, 0, 1),
    "d": (0, 0, -1),
}
MAX_HEIGHT_M = 10.0  # above it the ground is outside the default grid


@dataclass(frozen=True)
class SensorSetup:
    """What is known of a sensor's sweeps; what is not is found in each file.

    Attributes:
        format: of a ``.bin`` file: ``kitti`` (float32 x, y, z, intensity), ``nuscenes`` (float32
            x, y, z, intensity, ring) or ``auto``: told by the content. Other files say it
            themselves.
        axes: where the file's x, y and z point: three letters of f(orward) or b(ack), l(eft) or
            r(ight), u(p) or d(own). KITTI is ``flu``, nuScenes ``rfu``, a camera frame ``rdf``.
            ``auto`` is ``flu`` unless the ground clearly lies elsewhere.
        height_m: metres of the sensor above the ground. z is then shifted so that the ground near
            the sensor is at ``-height_m``. With None z stays as it is, unless it lies outside the
            network's grid. Heights are taken above the local ground anyway, so this changes no
            instances of a sweep that lies in the grid; it is for coordinates that are compared.

    Raises:
        ValueError: an unknown format, axes that repeat or are left-handed, an impossible height.
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
                f"height_m is the sensor's height above the ground, 0 to {MAX_HEIGHT_M:g} metres, "
                f"got {self.height_m}"
            )


def axes_rotation(axes: str) -> NDArray[np.int64]:
    """The rotation from a file's axes to the sensor frame.

    Args:
        axes: where the file's x, y and z point; see `SensorSetup`.

    Returns:
        (3, 3) int64: one 1 or -1 in each row and column; rows are x forward, y left, z up.

    Raises:
        ValueError: no three letters of three directions, or a left-handed frame.
    """
    if len(axes) != 3 or not set(axes) <= DIRECTIONS.keys():
        raise ValueError(f"axes must be three of the letters {''.join(DIRECTIONS)}, got '{axes}'")
    columns = np.array([DIRECTIONS[letter] for letter in axes], np.int64).T
    handed = round(np.linalg.det(columns))
    if handed == 0:
        raise ValueError(f"axes '{axes}' name a direction twice; KITTI is flu, a camera rdf")
    if handed < 0:
        flipped = axes[:2] + axes[2].translate(str.maketrans("fblrud", "bfrldu"))
        raise ValueError(f"axes '{axes}' are left-handed; perhaps '{flipped}' is meant")
    return columns


# The frames that data sets and makers document. (Velodyne's and Hesai's own is rfu, but drivers
# turn it: what a file holds depends on what wrote it.)
KNOWN_SENSORS = {
    "kitti": SensorSetup("kitti", "flu"),
    "nuscenes": SensorSetup("nuscenes", "rfu"),
    "ouster": SensorSetup(axes="flu"),
}
