"""How every picture shows points and instances: greys by height, class colours, texts.

Matplotlib is imported by the functions that need it.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bev_instseg.colours import instance_colours
from bev_instseg.structures import UNKNOWN, Float32, Instances

FULL_HEIGHT_M = 3.5  # above the lowest points; everything taller has the same colour
CLASS_COLOURS = {
    "vehicle": "#1d4ed8",
    "pedestrian": "#c81e3a",
    "cyclist": "#0f7b3a",
    UNKNOWN: "#6b6258",
}
OTHER_CLASS_COLOURS = ("#7e22ce", "#a16207", "#0e7490", "#9d174d")  # then those of instances


def relative_height(points: Float32) -> Float32:
    """Scale heights to 0..1: 0 up to the 5th percentile of z, 1 from `FULL_HEIGHT_M` above it.

    Args:
        points: (N, 4) float32 x, y, z in metres and intensity; z finite.

    Returns:
        (N,) float32.
    """
    if not len(points):
        return np.zeros(0, np.float32)
    above_m = points[:, 2] - np.percentile(points[:, 2], 5)
    height: Float32 = np.clip(above_m / FULL_HEIGHT_M, 0, 1).astype(np.float32)
    return height


def point_greys(points: Float32) -> Float32:
    """Return the grey of background points: darker if taller or brighter.

    Args:
        points: (N, 4) float32 x, y, z in metres and intensity 0..1; z finite. Intensities that are
            not finite count as 0.

    Returns:
        (N,) float32, 0 black to 1 white.
    """
    height = relative_height(points)
    intensity = np.where(np.isfinite(points[:, 3]), points[:, 3], 0)
    greys: Float32 = (0.86 - 0.56 * height - 0.2 * (1 - height) * intensity).astype(np.float32)
    return greys


def class_colours(class_names: Sequence[str]) -> list[str]:
    """Return the colour of each class as a hexadecimal string for Matplotlib."""
    from matplotlib.colors import to_hex

    others = [name for name in class_names if name not in CLASS_COLOURS]
    more = instance_colours(max(len(others) - len(OTHER_CLASS_COLOURS), 0))
    colours = dict(zip(others, (*OTHER_CLASS_COLOURS, *map(to_hex, more)), strict=False))
    return [CLASS_COLOURS.get(name) or colours[name] for name in class_names]


def class_rgb(class_names: Sequence[str]) -> NDArray[np.float64]:
    """Return the colour of each class as (C, 3) RGB 0..1."""
    from matplotlib.colors import to_rgb

    return np.array([to_rgb(colour) for colour in class_colours(class_names)])


def instance_texts(instances: Instances) -> list[str]:
    """Return class and score of each instance, such as "vehicle 0.93"."""
    return [instance.title for instance in instances]
