"""A spinning LiDAR: the directions of its pulses, and which echoes it reports."""

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pydantic.dataclasses import dataclass

from bev_instseg.strict_yaml import STRICT, NotNegative, Positive, PositiveCount

Elevation = Annotated[float, Field(gt=-90, lt=90)]


@dataclass(frozen=True, config=STRICT)
class SensorConfig:
    """Geometry and radiometry of a spinning LiDAR."""

    elevations_deg: Annotated[tuple[Elevation, ...], Field(min_length=1)]
    """Elevation of each beam in degrees, in the order in which points are written."""
    azimuths: PositiveCount = 2083
    """Pulses per beam and revolution."""
    height_m: Positive = 1.73
    """Height of the sensor above the ground, metres."""
    max_range_m: Positive = 80.0
    """Echoes from farther away are lost, metres."""
    range_noise_m: NotNegative = 0.02
    """Standard deviation of measured ranges, metres."""
    half_range_m: Positive = 200.0
    """Range, at normal incidence, at which half of the pulses return an echo, metres."""
    fade_range_m: Positive = 48.0
    """Range at which intensities are half of those near the sensor, metres."""
    intensity_noise: NotNegative = 0.15
    """Relative standard deviation of intensities."""

    def directions(self, rng: np.random.Generator) -> NDArray[np.float32]:
        """Return the direction of every pulse, beam by beam; each beam has its own phase.

        Args:
            rng: Draws the phases.

        Returns:
            (beams * azimuths, 3) float32 unit vectors.
        """
        beams = len(self.elevations_deg)
        elevation = np.radians(self.elevations_deg)[:, None]
        phase = rng.random((beams, 1))
        azimuth = (np.arange(self.azimuths) + phase) * (2 * np.pi / self.azimuths)
        x, y = np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth)
        z = np.broadcast_to(np.sin(elevation), x.shape)
        return np.stack([x, y, z], axis=-1).reshape(-1, 3).astype(np.float32)

    def detects(
        self,
        rng: np.random.Generator,
        range_m: NDArray[np.float32],
        cosine: NDArray[np.float32],
        returns: NDArray[np.float32],
    ) -> NDArray[np.bool_]:
        """Draw which echoes are strong enough to be reported.

        At grazing incidence `half_range_m` shrinks with the square root of the cosine.

        Args:
            rng: Draws the echoes.
            range_m: (N,) true ranges, metres.
            cosine: (N,) cosines of the angles of incidence, 0..1.
            returns: (N,) probabilities that the surface reflects anything back.

        Returns:
            (N,) bool.
        """
        strength = cosine * (self.half_range_m / range_m) ** 2
        chance = returns * (1 - np.exp2(-np.minimum(strength, 30)))
        detected: NDArray[np.bool_] = rng.random(len(chance)) < chance
        return (range_m < self.max_range_m) & detected

    def intensity(
        self,
        rng: np.random.Generator,
        range_m: NDArray[np.float32],
        shine: NDArray[np.float32],
    ) -> NDArray[np.float32]:
        """Draw the reported intensities, in steps of 0.01 as such sensors report them.

        Args:
            rng: Draws the noise.
            range_m: (N,) true ranges, metres.
            shine: (N,) intensities that a sensor nearby would report, 0..1.

        Returns:
            (N,) float32, 0..1.
        """
        seen = shine / (1 + (range_m / self.fade_range_m) ** 3)
        seen = seen * rng.normal(1, self.intensity_noise, len(seen)) - rng.normal(
            0.02, 0.02, len(seen)
        )
        return (np.clip(seen, 0, 0.99) * 100).round().astype(np.float32) / np.float32(100)


HDL64 = SensorConfig(
    (*np.linspace(2.0, -8.33, 32).round(3).tolist(), *np.linspace(-8.83, -24.33, 32).tolist())
)
PANDAR64 = SensorConfig(
    (
        *(15.0, 11.0, 8.0, 5.0, 3.0),
        *np.linspace(2.0, -5.83, 48).round(3).tolist(),
        *(-7.0, -8.0, -9.0, -10.0, -11.0, -12.0, -13.0, -14.0, -19.0, -25.0, -6.33),
    ),
    azimuths=1800,
    height_m=1.9,
)
HDL32 = SensorConfig(
    tuple(np.linspace(10.67, -30.67, 32).round(3).tolist()),
    azimuths=1090,
    height_m=1.84,
    half_range_m=90.0,
)
VLP16 = SensorConfig(
    tuple(np.linspace(15.0, -15.0, 16).tolist()), azimuths=1800, height_m=1.6, half_range_m=90.0
)
SENSOR_MODELS = {"hdl64": HDL64, "pandar64": PANDAR64, "hdl32": HDL32, "vlp16": VLP16}


def random_sensor(rng: np.random.Generator) -> SensorConfig:
    """Draw a made-up sensor: 32 to 96 beams, evenly spread or denser near the horizon.

    Args:
        rng: Draws all of its properties.

    Returns:
        The sensor.
    """
    beams = int(rng.choice([32, 40, 64, 64, 80, 96]))
    up, down = rng.uniform((1, -31), (14, -20))
    spread = np.linspace(-1, 1, beams)
    spread = np.where(rng.random() < 0.5, spread, np.sign(spread) * np.abs(spread) ** 1.6)
    return SensorConfig(
        tuple(np.interp(spread, [-1, 0, 1], [up, -3.0, down]).round(3).tolist()),
        azimuths=int(rng.uniform(1000, 2300)),
        height_m=rng.uniform(1.5, 2.2),
        range_noise_m=rng.uniform(0.008, 0.035),
        half_range_m=rng.uniform(80, 220),
        fade_range_m=rng.uniform(30, 150),
        intensity_noise=rng.uniform(0.1, 0.3),
    )
