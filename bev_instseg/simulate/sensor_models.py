"""Beam tables of common LiDARs and two stacked pairs, with the dimensions of usual mounts.

Elevations are nominal ones from data sheets and manuals; each unit's calibration differs from them
by up to a few tenths of a degree. Pulses per revolution are those at 10 Hz (HDL-32E: 20 Hz) in the
usual mode. Every model reports intensities as KITTI's sensor does, unless changed.
"""

from dataclasses import replace

import numpy as np

from bev_instseg.simulate.sensor import Mount, SensorConfig


def _even(top: float, bottom: float, beams: int) -> tuple[float, ...]:
    """Return evenly spaced elevations in degrees, from the top down."""
    return tuple(np.linspace(top, bottom, beams).round(3).tolist())


def _ouster(half_field_deg: float, beams: int, half_range_m: float) -> SensorConfig:
    """Return an Ouster with evenly spaced beams; the shorter its range, the wider its field."""
    elevations = _even(half_field_deg, -half_field_deg, beams)
    return SensorConfig(elevations, azimuths=1024, height_m=1.8, half_range_m=half_range_m)


def _gradient(half_field_deg: float, beams: int, half_range_m: float) -> SensorConfig:
    """Return an Ouster whose beams are denser near the horizon; the spacing is approximate."""
    spread = np.linspace(1, -1, beams)
    elevations = half_field_deg * np.sign(spread) * np.abs(spread) ** 1.7
    return SensorConfig(
        tuple(elevations.round(3).tolist()),
        azimuths=1024,
        height_m=1.8,
        half_range_m=half_range_m,
    )


HDL64 = SensorConfig((*_even(2.0, -8.33, 32), *np.linspace(-8.83, -24.33, 32).tolist()))
HDL32 = SensorConfig(_even(10.67, -30.67, 32), azimuths=1090, height_m=1.84, half_range_m=90.0)
VLP16 = SensorConfig(_even(15.0, -15.0, 16), azimuths=1800, height_m=1.6, half_range_m=90.0)
VLP32C = SensorConfig(
    (
        *(15.0, 10.333, 7.0, 4.667, 3.333, 2.333, 1.667, 1.333, 1.0, 0.667, 0.333, 0.0),
        *(-0.333, -0.667, -1.0, -1.333, -1.667, -2.0, -2.333, -2.667, -3.0, -3.333, -3.667),
        *(-4.0, -4.667, -5.333, -6.148, -7.254, -8.843, -11.31, -15.639, -25.0),
    ),
    azimuths=1800,
    height_m=1.8,
    half_range_m=150.0,
)
VLS128 = SensorConfig(
    (
        *(15.0, 11.75, 9.7, 8.43, 7.58, 6.98, 6.48, 6.08, 5.73, 5.43, 5.18, 4.98),
        *_even(4.83, -6.5, 104),
        *(-6.65, -6.85, -7.15, -7.65, -8.352, -9.244, -10.346, -11.742, -13.565, -16.042),
        *(-19.582, -25.0),
    ),
    azimuths=1800,
    height_m=1.9,
)
PANDAR40P = SensorConfig(
    (
        *(15.0, 11.0, 8.0, 5.0, 3.0),
        *_even(2.0, -6.0, 25),
        *_even(-7.0, -14.0, 8),
        *(-19.0, -25.0),
    ),
    azimuths=1800,
    height_m=1.9,
)
PANDAR64 = SensorConfig(
    (
        *(14.882, 11.032, 8.059, 5.057, 3.04, 2.028, 1.86, 1.688, 1.522, 1.351, 1.184, 1.013),
        *(0.846, 0.675, 0.508, 0.337, 0.169, 0.0, -0.169, -0.337, -0.508, -0.675, -0.845),
        *(-1.013, -1.184, -1.351, -1.522, -1.688, -1.86, -2.028, -2.198, -2.365, -2.536, -2.7),
        *(-2.873, -3.04, -3.21, -3.375, -3.548, -3.712, -3.884, -4.05, -4.221, -4.385, -4.558),
        *(-4.72, -4.892, -5.057, -5.229, -5.391, -5.565, -5.726, -5.898, -6.061, -7.063, -8.059),
        *(-9.06, -9.885, -11.032, -12.006, -12.974, -13.93, -18.889, -24.897),
    ),
    azimuths=1800,
    height_m=1.9,
)
PANDAR_QT = SensorConfig(
    (
        *(52.133, 49.795, 47.587, 45.487, 43.475, 41.537, 39.662, 37.84, 36.064, 34.328, 32.627),
        *(30.957, 29.315, 27.697, 26.101, 24.524, 22.959, 21.415, 19.885, 18.368, 16.861, 15.365),
        *(13.877, 12.397, 10.923, 9.456, 7.993, 6.534, 5.079, 3.626, 2.175, 0.725, -0.725, -2.175),
        *(-3.626, -5.079, -6.535, -7.994, -9.457, -10.925, -12.399, -13.88, -15.368, -16.865),
        *(-18.372, -19.889, -21.42, -22.964, -24.517, -26.094, -27.69, -29.308, -30.95, -32.619),
        *(-34.32, -36.055, -37.831, -39.653, -41.528, -43.465, -45.477, -47.577, -49.785, -52.121),
    ),
    azimuths=600,
    height_m=1.2,
    max_range_m=60.0,
    half_range_m=50.0,
)
PANDAR_XT32 = SensorConfig(_even(15.0, -16.0, 32), azimuths=2000, height_m=1.8, half_range_m=120.0)
# A rosette has no beams: the elevations are the ends of its field of view, and the number of them
# times `azimuths` is that of the pulses, here of half a second. Only Livox knows the true patterns.
LIVOX_HORIZON = SensorConfig(
    _even(12.55, -12.55, 6),
    azimuths=20_000,
    half_range_m=150.0,
    azimuth_range_deg=(-40.85, 40.85),
    rosette=True,
)
LIVOX_AVIA = SensorConfig(
    _even(38.6, -38.6, 6),
    azimuths=20_000,
    half_range_m=150.0,
    azimuth_range_deg=(-35.2, 35.2),
    rosette=True,
)
LIVOX_HAP = SensorConfig(
    _even(12.5, -12.5, 96), azimuths=900, half_range_m=150.0, azimuth_range_deg=(-60.0, 60.0)
)

MODELS_BY_MAKER = {
    "Velodyne": {
        "hdl64": HDL64,
        "hdl32": HDL32,
        "vlp16": VLP16,
        "vlp32c": VLP32C,
        "vls128": VLS128,
    },
    "Hesai": {
        "pandar40p": PANDAR40P,
        "pandar64": PANDAR64,
        "pandarqt": PANDAR_QT,
        "pandarxt32": PANDAR_XT32,
    },
    "Ouster": {
        **{f"os0_{beams}": _ouster(45.0, beams, 70.0) for beams in (32, 64, 128)},
        **{f"os1_{beams}": _ouster(22.5, beams, 120.0) for beams in (32, 64, 128)},
        **{f"os2_{beams}": _ouster(11.25, beams, 220.0) for beams in (32, 64, 128)},
        **{f"os1_{beams}_gradient": _gradient(22.5, beams, 120.0) for beams in (32, 64)},
    },
    "Livox": {
        "livox_avia": LIVOX_AVIA,
        "livox_hap": LIVOX_HAP,
        "livox_horizon": LIVOX_HORIZON,
    },
    "two stacked": {
        "two_vlp16": replace(VLP16, mounts=(Mount(), Mount(z_m=-0.3, pitch_deg=7.0))),
        "two_vlp32c": replace(VLP32C, mounts=(Mount(), Mount(z_m=-0.15, roll_deg=180.0))),
    },
}
SENSOR_MODELS = {
    name: model for models in MODELS_BY_MAKER.values() for name, model in models.items()
}
