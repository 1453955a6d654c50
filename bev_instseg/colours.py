"""The colours of instances, in pictures and in files."""

import functools

import numpy as np
from numpy.typing import NDArray

NUM_COLOURS = 500
FIRST_RGB = (0.93, 0.47, 0.0)
XYZ_OF_RGB = np.array(
    [(0.4124, 0.3576, 0.1805), (0.2126, 0.7152, 0.0722), (0.0193, 0.1192, 0.9505)]
)


def instance_colours(k: int) -> NDArray[np.float64]:
    """(k, 3) RGB 0..1 of instances 1..k, the same for each ``k``; they repeat after 500.

    Each colour is the one farthest, in CIELAB, from all before it.
    """
    return _palette()[np.arange(k) % NUM_COLOURS]


@functools.cache
def _palette() -> NDArray[np.float64]:
    """Colours that are seen on white and are not taken for grey, those farthest apart first."""
    rgb = np.stack(np.meshgrid(*[np.linspace(0, 1, 16)] * 3, indexing="ij"), -1).reshape(-1, 3)
    lab = cielab(rgb)
    kept = (lab[:, 0] > 30) & (lab[:, 0] < 72) & (np.hypot(lab[:, 1], lab[:, 2]) > 36)
    rgb, lab = rgb[kept], lab[kept]
    order = [int(np.linalg.norm(rgb - FIRST_RGB, axis=1).argmin())]
    distance = np.full(len(rgb), np.inf)
    while len(order) < NUM_COLOURS:
        distance = np.minimum(distance, np.linalg.norm(lab - lab[order[-1]], axis=1))
        order.append(int(distance.argmax()))
    return rgb[order]


def cielab(rgb: NDArray[np.floating]) -> NDArray[np.float64]:
    """(..., 3) sRGB 0..1 to L 0..100, a, b (D65): their distances are what the eye sees."""
    x, y, z = np.moveaxis(linear_of(rgb) @ XYZ_OF_RGB.T / XYZ_OF_RGB.sum(axis=1), -1, 0)
    fx, fy, fz = (np.where(t > 0.008856, np.cbrt(t), 7.787 * t + 16 / 116) for t in (x, y, z))
    return np.stack([116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)], axis=-1)


def linear_of(rgb: NDArray[np.floating]) -> NDArray[np.floating]:
    """sRGB 0..1 as a file has it, to light 0..1."""
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
