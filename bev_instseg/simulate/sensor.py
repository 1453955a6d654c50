"""A spinning LiDAR: where its rays go, and what of them comes back."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class SensorConfig:
    """Geometry and radiometry of a spinning LiDAR.

    Attributes:
        elevations_deg: one angle per beam, in the order in which they are written.
        azimuths: pulses per beam and turn.
        height_m: above the ground at the sensor's place.
        max_range_m: returns from farther away are lost.
        range_noise_m: standard deviation of a range.
        half_range_m: from here every second pulse that hits a surface squarely comes back; at
            grazing incidence this range shrinks with the square root of the cosine.
        fade_range_m: here intensities are half of what they are near the sensor.
        intensity_noise: standard deviation of an intensity, relative.
    """

    elevations_deg: tuple[float, ...]
    azimuths: int = 2083
    height_m: float = 1.73
    max_range_m: float = 80.0
    range_noise_m: float = 0.02
    half_range_m: float = 200.0
    fade_range_m: float = 48.0
    intensity_noise: float = 0.15

    def __post_init__(self) -> None:
        angles = np.asarray(self.elevations_deg)
        if not len(angles) or not (np.abs(angles) < 90).all():
            raise ValueError("elevations_deg must be one angle or more, all between -90 and 90")
        if self.azimuths < 1:
            raise ValueError(f"azimuths must be at least 1, got {self.azimuths}")
        for name in ("height_m", "max_range_m", "half_range_m", "fade_range_m"):
            if not 0 < getattr(self, name) < np.inf:
                raise ValueError(f"{name} must be more than 0, got {getattr(self, name)}")
        for name in ("range_noise_m", "intensity_noise"):
            if not 0 <= getattr(self, name) < np.inf:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")

    def directions(self, rng: np.random.Generator) -> NDArray[np.float32]:
        """(beams * azimuths, 3) float32 unit vectors, beam by beam, each with its own phase."""
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
        """(N,) bool: which echoes are strong enough, by chance.

        Args:
            range_m: (N,) true ranges.
            cosine: (N,) of the angle of incidence, 0..1.
            returns: (N,) probability that the surface answers at all.
        """
        strength = cosine * (self.half_range_m / range_m) ** 2
        chance = returns * (1 - np.exp2(-np.minimum(strength, 30)))
        return (range_m < self.max_range_m) & (rng.random(len(chance)) < chance)

    def intensity(
        self,
        rng: np.random.Generator,
        range_m: NDArray[np.float32],
        shine: NDArray[np.float32],
    ) -> NDArray[np.float32]:
        """(N,) float32 intensities 0..1 in steps of 0.01, as such sensors report them.

        Args:
            range_m: (N,) true ranges.
            shine: (N,) what a near sensor would see of the surface, 0..1.
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


def draw_sensor(rng: np.random.Generator) -> SensorConfig:
    """A sensor that nobody sells: 32 to 96 beams, denser about the horizon or evenly spread."""
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
