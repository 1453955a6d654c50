"""Random sensors: real and made-up ones, with the mounts, losses and intensities found on the road.

`random_sensor` draws about half of its sensors from the tables in `sensor_models`, a quarter with
made-up beams, and the rest stacked, thinned or looking ahead only.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from bev_instseg.simulate.sensor import Mount, SensorConfig
from bev_instseg.simulate.sensor_models import MODELS_BY_MAKER

_SPINNING = [list(MODELS_BY_MAKER[maker].values()) for maker in ("Velodyne", "Hesai", "Ouster")]
_MEDIAN_SHINE = 0.3  # of the simulated surfaces, and KITTI's median intensity


def random_sensor(rng: np.random.Generator) -> SensorConfig:
    """Draw a sensor together with its mount, losses and intensities.

    Args:
        rng: Draws all of its properties.

    Returns:
        The sensor.
    """
    kinds = (_changed_model, _made_up, _stacked, _thinned, _ahead_only)
    draw = kinds[int(rng.choice(len(kinds), p=[0.5, 0.25, 0.09, 0.08, 0.08]))]
    sensor = draw(rng)
    sensor = replace(sensor, **_beam_losses(rng, sensor), **_pose(rng, sensor))
    return replace(sensor, **_ranging(rng, sensor), **_response(rng))


def _model(rng: np.random.Generator) -> SensorConfig:
    """Return the table of a real spinning sensor; each maker is equally likely."""
    models = _SPINNING[int(rng.integers(len(_SPINNING)))]
    return models[int(rng.integers(len(models)))]


def _changed_model(rng: np.random.Generator) -> SensorConfig:
    """Return a real sensor with a random calibration and rotation speed."""
    model = _model(rng)
    beams = len(model.elevations_deg)
    elevations = np.array(model.elevations_deg) + rng.normal(0, 0.2)
    elevations += rng.normal(0, rng.uniform(0, 0.1), beams)
    speed = rng.choice([0.5, 1, 2], p=[0.2, 0.7, 0.1])
    return replace(
        model,
        elevations_deg=tuple(np.sort(elevations)[::-1].round(3).tolist()),
        azimuths=int(min(model.azimuths * speed * rng.uniform(0.8, 1.2), 260_000 / beams)),
    )


def _made_up(rng: np.random.Generator) -> SensorConfig:
    """Return a sensor with 24 to 128 beams, evenly spread or denser near the horizon."""
    beams = int(rng.choice([24, 32, 40, 64, 64, 80, 96, 128]))
    up, down = rng.uniform((1, -31), (16, -16))
    spread = np.linspace(-1, 1, beams)
    power = 1.0 if rng.random() < 0.5 else rng.uniform(1.2, 2.2)
    spread = np.sign(spread) * np.abs(spread) ** power
    elevations = np.interp(spread, [-1, 0, 1], [up, rng.uniform(-6, 0), down])
    return SensorConfig(
        tuple(elevations.round(3).tolist()),
        azimuths=int(min(rng.uniform(900, 2300), 200_000 / beams)),
        half_range_m=rng.uniform(80, 220),
    )


def _stacked(rng: np.random.Generator) -> SensorConfig:
    """Return two heads of 16 or 32 beams, one above or beside the other, one or both tilted."""
    few = [m for models in _SPINNING for m in models if len(m.elevations_deg) <= 32]
    model = few[int(rng.integers(len(few)))]
    x, y, z = rng.normal(0, (0.2, 0.3, 0.15))
    roll, pitch = rng.normal(0, 6, 2) + np.array([180 * (rng.random() < 0.3), 0])
    second = Mount(x, y, z, roll, pitch, rng.uniform(0, 360))
    return replace(model, mounts=(Mount(), second))


def _thinned(rng: np.random.Generator) -> SensorConfig:
    """Return a real sensor with every second or fourth of its beams, at least 16."""
    many = [m for models in _SPINNING for m in models if len(m.elevations_deg) >= 32]
    model = many[int(rng.integers(len(many)))]
    step = int(rng.choice([2, 4])) if len(model.elevations_deg) >= 64 else 2
    return replace(model, elevations_deg=model.elevations_deg[int(rng.integers(step)) :: step])


def _ahead_only(rng: np.random.Generator) -> SensorConfig:
    """Return a solid-state sensor with a field of view of 70 to 120 degrees: lines or rosettes."""
    half, up = rng.uniform((35, 8), (60, 15))
    rosette = bool(rng.random() < 0.5)
    beams = 6 if rosette else int(rng.choice([64, 96, 128, 192]))
    return SensorConfig(
        tuple(np.linspace(up, -rng.uniform(15, 35), beams).round(3).tolist()),
        azimuths=int(rng.uniform(40_000, 160_000) / beams),
        azimuth_range_deg=(-half, half),
        rosette=rosette,
        half_range_m=rng.uniform(80, 220),
    )


def _beam_losses(rng: np.random.Generator, sensor: SensorConfig) -> dict[str, Any]:
    """Draw pulses lost at random, broken beams and sectors hidden by the vehicle or a mast."""
    kept = np.array(sensor.elevations_deg)
    if rng.random() < 0.1 and len(kept) > 16:
        kept = np.delete(kept, rng.choice(len(kept), rng.integers(1, 4), replace=False))
    blocked = []
    if rng.random() < 0.2:
        blocked.append(_sector(rng.normal(180, 20), rng.uniform(20, 90)))
    for _ in range(rng.integers(1, 4) if rng.random() < 0.15 else 0):
        blocked.append(_sector(rng.uniform(0, 270), rng.uniform(2, 12)))
    low, high = ((0, 0.02), (0.02, 0.1), (0.1, 0.4))[rng.choice(3, p=[0.7, 0.2, 0.1])]
    return {
        "elevations_deg": tuple(kept.tolist()),
        "blocked_deg": tuple(blocked),
        "dropout": rng.uniform(low, high),
    }


def _sector(middle_deg: float, width_deg: float) -> tuple[float, float]:
    return middle_deg - width_deg / 2, middle_deg + width_deg / 2


def _pose(rng: np.random.Generator, sensor: SensorConfig) -> dict[str, Any]:
    """Draw the height, from delivery robot to lorry, and the attitude of the sensor.

    In 15 % of the sweeps the points' frame is tilted by up to 5 degrees, in 45 % by about one. In
    20 % the sensor is tilted within that frame, as in data whose points have been levelled.
    """
    kind, turn_deg = rng.random(), np.zeros(3)
    if kind < 0.15:
        turn_deg[:2] = rng.uniform(-5, 5, 2)
    elif kind < 0.6:
        turn_deg[:2] = np.clip(rng.normal(0, 1, 2), -3, 3)
    if rng.random() < 0.15:
        turn_deg[2] = rng.uniform(0, 360)
    roll, pitch = rng.uniform(-5, 5, 2) * (rng.random() < 0.2)
    return {
        "height_m": rng.uniform(1.5, 2.2) if rng.random() < 0.6 else rng.uniform(0.5, 3.5),
        "turn_deg": tuple(turn_deg.tolist()),
        "mounts": tuple(
            replace(m, roll_deg=m.roll_deg + roll, pitch_deg=m.pitch_deg + pitch)
            for m in sensor.mounts
        ),
    }


def _ranging(rng: np.random.Generator, sensor: SensorConfig) -> dict[str, Any]:
    """Draw the precision and reach of the sensor and, in 10 % of the sweeps, rain or fog."""
    return {
        "range_noise_m": np.exp(rng.uniform(np.log(0.005), np.log(0.05))),
        "half_range_m": sensor.half_range_m * rng.uniform(0.7, 1.2),
        "rain_per_m": np.exp(rng.uniform(np.log(0.002), np.log(0.03))) * (rng.random() < 0.1),
    }


def _response(rng: np.random.Generator) -> dict[str, Any]:
    """Draw how the sensor reports intensities: like KITTI's, mostly dark, or constant."""
    kind = rng.random()
    if kind < 0.1:
        level = rng.random() if rng.random() < 0.3 else 0.0
        return {"intensity_limits": (level, level), "intensity_steps": 0}
    like_kitti = kind < 0.35
    gamma = rng.uniform(0.8, 1.3) if like_kitti else rng.uniform(1.2, 3)
    low, high = (0.2, 0.45) if like_kitti else (0.015, 0.2)
    median = np.exp(rng.uniform(np.log(low), np.log(high)))
    return {
        "gain": median / _MEDIAN_SHINE**gamma,
        "gamma": gamma,
        "fade_range_m": np.exp(rng.uniform(np.log(30), np.log(1000))),
        "intensity_noise": rng.uniform(0.1, 0.3),
        "intensity_limits": (0.0, float(rng.choice([0.99, 1.0]))),
        "intensity_steps": int(rng.choice([100, 255, 0], p=[0.3, 0.5, 0.2])),
    }
