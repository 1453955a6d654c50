"""The colours of instances in pictures and files."""

import functools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bev_instseg.structures import Instances

NUM_COLOURS = 500
FIRST_RGB = (0.93, 0.47, 0.0)  # orange
UNKNOWN_RGB = (0.55, 0.48, 0.42)  # brownish grey, for unknown objects
RGB_TO_XYZ = np.array(
    [(0.4124, 0.3576, 0.1805), (0.2126, 0.7152, 0.0722), (0.0193, 0.1192, 0.9505)]
)


def instance_colours(k: int) -> NDArray[np.float64]:
    """Return the colours of instances 1..k; an instance's colour does not depend on ``k``.

    Each colour is the one farthest in CIELAB from all before it. They repeat after 500.

    Args:
        k: The number of instances.

    Returns:
        (k, 3) float64 sRGB 0..1.
    """
    return _palette()[np.arange(k) % NUM_COLOURS]


def colours_of_ids(ids: NDArray[np.integer]) -> NDArray[np.float64]:
    """Return the colours of objects by their ids, which count from 1 over a whole sequence.

    Args:
        ids: (K,) ids.

    Returns:
        (K, 3) float64 sRGB 0..1.
    """
    return _palette()[(ids.astype(np.int64) - 1) % NUM_COLOURS]


def colours_of(instances: Instances, numbers: Sequence[int] | None = None) -> NDArray[np.float64]:
    """Return the colour of each instance; all unknown objects have the same.

    Args:
        instances: K instances.
        numbers: Their K numbers, from 1, if these are not 1..K.

    Returns:
        (K, 3) float64 sRGB 0..1.
    """
    ids = np.arange(1, len(instances) + 1) if numbers is None else np.array(numbers, np.int64)
    colours = colours_of_ids(ids)
    colours[instances.is_unknown] = UNKNOWN_RGB
    return colours


@functools.cache
def _palette() -> NDArray[np.float64]:
    """Return colours that stand out on white and do not look grey, most distinct ones first."""
    rgb = np.stack(np.meshgrid(*[np.linspace(0, 1, 16)] * 3, indexing="ij"), -1).reshape(-1, 3)
    lab = srgb_to_cielab(rgb)
    kept = (lab[:, 0] > 30) & (lab[:, 0] < 72) & (np.hypot(lab[:, 1], lab[:, 2]) > 36)
    rgb, lab = rgb[kept], lab[kept]
    order = [int(np.linalg.norm(rgb - FIRST_RGB, axis=1).argmin())]
    distance = np.full(len(rgb), np.inf)
    while len(order) < NUM_COLOURS:
        distance = np.minimum(distance, np.linalg.norm(lab - lab[order[-1]], axis=1))
        order.append(int(distance.argmax()))
    return rgb[order]


def srgb_to_cielab(rgb: NDArray[np.floating]) -> NDArray[np.float64]:
    """Convert sRGB to CIELAB (D65), where distances match perceived differences.

    Args:
        rgb: (..., 3) sRGB 0..1.

    Returns:
        (..., 3) float64 L 0..100, a, b.
    """
    x, y, z = np.moveaxis(srgb_to_linear(rgb) @ RGB_TO_XYZ.T / RGB_TO_XYZ.sum(axis=1), -1, 0)
    fx, fy, fz = (np.where(t > 0.008856, np.cbrt(t), 7.787 * t + 16 / 116) for t in (x, y, z))
    return np.stack([116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)], axis=-1)


def srgb_to_linear(rgb: NDArray[np.floating]) -> NDArray[np.floating]:
    """Convert sRGB to linear light.

    Args:
        rgb: sRGB 0..1, of any shape.

    Returns:
        Linear RGB 0..1 of the same shape.
    """
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
