"""A LiDAR: the rays of its pulses, and which echoes it reports."""

from typing import Annotated, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pydantic.dataclasses import dataclass

from bev_instseg.io.sensor_setup import euler_rotation
from bev_instseg.strict_yaml import (
    STRICT,
    Count,
    Fraction,
    NotNegative,
    Positive,
    PositiveCount,
)

T = TypeVar("T", np.float32, np.float64)
Offset = Annotated[float, Field(ge=-100, le=100)]
Elevation = Annotated[float, Field(gt=-90, lt=90)]
Degrees = Annotated[float, Field(ge=-360, le=360)]
Height = Annotated[float, Field(ge=0.2, le=20)]

_PRISM_TURNS = 1 / 1285, -1 / 822  # per pulse, of the two prisms that make a rosette
_PATTERN = 10**6  # pulses; a sweep begins somewhere in this part of a rosette


@dataclass(frozen=True, config=STRICT)
class Mount:
    """Place and attitude of one of the sensor's heads in the sensor frame."""

    x_m: Offset = 0.0
    """Distance forward of the sensor's origin, metres."""
    y_m: Offset = 0.0
    """Distance to its left, metres."""
    z_m: Offset = 0.0
    """Distance above it, metres."""
    roll_deg: Degrees = 0.0
    """Positive: the left side is up, degrees."""
    pitch_deg: Degrees = 0.0
    """Positive: the front is down, degrees."""
    yaw_deg: Degrees = 0.0
    """Positive: turned to the left, degrees."""


@dataclass(frozen=True, config=STRICT)
class SensorConfig:
    """Geometry, losses and radiometry of a LiDAR; the defaults are those of KITTI's."""

    elevations_deg: Annotated[tuple[Elevation, ...], Field(min_length=1)]
    """Elevation of each beam in degrees, in the order in which points are written."""
    azimuths: PositiveCount = 2083
    """Pulses per beam and sweep."""
    height_m: Height = 1.73
    """Height of the sensor above the ground, 0.2 to 20 metres."""
    divergence_mrad: NotNegative = 3.0
    """Full angle of the beam: how fast its spot grows, milliradians."""
    max_range_m: Positive = 80.0
    """Range beyond which echoes are lost, metres."""
    range_noise_m: NotNegative = 0.02
    """Standard deviation of measured ranges, metres."""
    half_range_m: Positive = 200.0
    """Range, at normal incidence, at which half of the pulses return an echo, metres."""
    fade_range_m: Positive = 48.0
    """Range at which intensities are half of those near the sensor, metres."""
    intensity_noise: NotNegative = 0.15
    """Relative standard deviation of intensities."""
    azimuth_range_deg: tuple[Degrees, Degrees] = (0.0, 360.0)
    """Field of view, from the right end to the left end, degrees; 0 is straight ahead."""
    rosette: bool = False
    """Whether the beams draw rosettes that fill the field of view, instead of lines."""
    mounts: Annotated[tuple[Mount, ...], Field(min_length=1)] = (Mount(),)
    """One or more heads with the same beams, whose points come together in one sweep."""
    turn_deg: tuple[Degrees, Degrees, Degrees] = (0.0, 0.0, 0.0)
    """Roll, pitch and yaw of the sensor, and so of the points' frame, on the road, degrees."""
    blocked_deg: tuple[tuple[Degrees, Degrees], ...] = ()
    """Sectors hidden by the vehicle or a mast: their right and left ends in azimuth, degrees."""
    dropout: Fraction = 0.0
    """Share of the pulses that are lost at random."""
    rain_per_m: Fraction = 0.0
    """Extinction by rain or fog per metre, and share of the pulses that return from drops."""
    gain: Positive = 1.0
    """Factor of the reported intensities; with a high one, bright surfaces saturate."""
    gamma: Positive = 1.0
    """Exponent of the reported intensities; above 1, most surfaces are dark."""
    intensity_limits: tuple[Fraction, Fraction] = (0.0, 0.99)
    """Lowest and highest reported intensity; if they are equal, intensity is constant."""
    intensity_steps: Count = 100
    """Steps between the intensities 0 and 1, to which they are rounded; 0 for no rounding."""

    def __post_init__(self) -> None:
        """Check that ranges do not run backwards.

        Raises:
            ValueError: A range does.
        """
        right, left = self.azimuth_range_deg
        if not 0 < left - right <= 360:
            raise ValueError(
                "azimuth_range_deg: the second angle must exceed the first by at most 360"
            )
        if not all(0 < left - right < 360 for right, left in self.blocked_deg):
            raise ValueError(
                "blocked_deg: in a sector, the second angle must exceed the first by less than 360"
            )
        if self.intensity_limits[0] > self.intensity_limits[1]:
            raise ValueError("intensity_limits: the lowest intensity must not exceed the highest")

    def rays(self, rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the start and direction of every pulse, head by head and beam by beam.

        Args:
            rng: Draws the phase of each beam.

        Returns:
            origins: (R, 3) float32 positions in the sensor frame, metres.
            directions: (R, 3) float32 unit vectors in the sensor frame.
        """
        heads = []
        for mount in self.mounts:
            azimuth, elevation = self._angles(rng)
            x, y = np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth)
            z = np.broadcast_to(np.sin(elevation), x.shape)
            turn_deg = mount.roll_deg, mount.pitch_deg, mount.yaw_deg
            heads.append(turned(np.stack([x, y, z], axis=-1).reshape(-1, 3), turn_deg))
        places = np.array([(m.x_m, m.y_m, m.z_m) for m in self.mounts], dtype=np.float32)
        origins = np.repeat(places, len(heads[0]), axis=0)
        directions = np.concatenate(heads).astype(np.float32)
        if not self.blocked_deg:
            return origins, directions
        azimuth = np.degrees(np.arctan2(directions[:, 1], directions[:, 0]))
        hidden = [(azimuth - right) % 360 < left - right for right, left in self.blocked_deg]
        free = ~np.any(hidden, axis=0)
        return origins[free], directions[free]

    def _angles(self, rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return azimuths (beams, pulses) and elevations, which broadcast with them, in radians."""
        elevation = np.radians(self.elevations_deg)[:, None]
        phase, pulse = rng.random((len(elevation), 1)), np.arange(self.azimuths)
        right, left = np.radians(self.azimuth_range_deg)
        if not self.rosette:
            return right + (pulse + phase) * ((left - right) / self.azimuths), elevation
        one, other = (2 * np.pi * turns * (pulse + _PATTERN * phase) for turns in _PRISM_TURNS)
        across, up = (np.cos(one) + np.cos(other)) / 4, (np.sin(one) + np.sin(other)) / 4
        low, high = elevation.min(), elevation.max()
        return (left + right) / 2 + (left - right) * across, (high + low) / 2 + (high - low) * up

    def detects(
        self,
        rng: np.random.Generator,
        range_m: NDArray[np.float32],
        cosine: NDArray[np.float32],
        returns: NDArray[np.float32],
    ) -> NDArray[np.bool_]:
        """Draw which echoes are strong enough to be reported.

        At grazing incidence `half_range_m` shrinks with the square root of the cosine. Rain is
        crossed twice.

        Args:
            rng: Draws the echoes.
            range_m: (N,) measured ranges, metres.
            cosine: (N,) cosines of the angles of incidence, 0..1.
            returns: (N,) probabilities that the surface reflects anything back.

        Returns:
            (N,) bool.
        """
        strength = cosine * (self.half_range_m / range_m) ** 2
        chance = returns * (1 - np.exp2(-np.minimum(strength, 30))) * (1 - self.dropout)
        chance *= np.exp(-2 * self.rain_per_m * range_m)
        detected: NDArray[np.bool_] = rng.random(len(chance)) < chance
        return (range_m < self.max_range_m) & detected

    def spot_m(
        self, range_m: NDArray[np.float32], cosine: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Return (N,) the length of the spots that pulses light on a surface, metres.

        Args:
            range_m: (N,) true ranges, metres.
            cosine: (N,) cosines of the angles of incidence, 0..1.
        """
        length_m = range_m * self.divergence_mrad / np.maximum(cosine, 1e-6) / 1000
        return length_m.astype(np.float32)

    def drops(
        self, rng: np.random.Generator, distance_m: NDArray[np.float32]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Draw which pulses also return from rain or fog, mostly within a few metres.

        Args:
            rng: Draws the drops.
            distance_m: (R,) distance to the first surface along each ray, infinite without one.

        Returns:
            pulse: (D,) int64 indices of those pulses.
            range_m: (D,) float32 ranges of the drops, metres.
        """
        pulse = np.flatnonzero(rng.random(len(distance_m)) < self.rain_per_m)
        range_m = (0.5 + rng.exponential(3, len(pulse))).astype(np.float32)
        free = range_m < distance_m[pulse]
        return pulse[free], range_m[free]

    def intensity(
        self,
        rng: np.random.Generator,
        range_m: NDArray[np.float32],
        shine: NDArray[np.float32],
    ) -> NDArray[np.float32]:
        """Draw the reported intensities.

        A surface fades with its range; then come noise, `gamma`, `gain`, limits and rounding.

        Args:
            rng: Draws the noise.
            range_m: (N,) measured ranges, metres.
            shine: (N,) intensities that a sensor nearby would report, 0..1.

        Returns:
            (N,) float32, 0..1.
        """
        seen = shine / (1 + (range_m / self.fade_range_m) ** 3)
        seen = seen * rng.normal(1, self.intensity_noise, len(seen)) - rng.normal(
            0.02, 0.02, len(seen)
        )
        seen = np.clip(self.gain * np.clip(seen, 0, None) ** self.gamma, *self.intensity_limits)
        if not self.intensity_steps:
            return seen.astype(np.float32)
        steps = np.float32(self.intensity_steps)
        return (seen * self.intensity_steps).round().astype(np.float32) / steps


def turned(vectors: NDArray[T], turn_deg: tuple[float, float, float]) -> NDArray[T]:
    """Turn (N, 3) vectors by roll, pitch and yaw, see `euler_rotation`."""
    if not any(turn_deg):
        return vectors
    result: NDArray[T] = np.einsum(
        "ni,ji->nj", vectors, euler_rotation(*turn_deg).astype(vectors.dtype)
    )
    return result
