"""Sensors of the simulator: tables, rays, losses, intensities and the distribution of them."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray

from bev_instseg.cli import simulate
from bev_instseg.io.sensor_setup import euler_rotation
from bev_instseg.simulate import HDL64, OUTLIER, SENSOR_MODELS, SensorConfig, simulate_sweep
from bev_instseg.simulate.populate import random_scene
from bev_instseg.simulate.random_sensors import random_sensor
from bev_instseg.simulate.raycast import cast_rays
from bev_instseg.simulate.sensor import Mount
from bev_instseg.simulate.street_plan import ROAD
from bev_instseg.strict_yaml import build

ROOT = Path(__file__).resolve().parent.parent
FEW = SensorConfig(tuple(np.linspace(2.0, -24.0, 16).tolist()), azimuths=360)


def azimuths_deg(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return azimuths from 0 to 360."""
    return np.degrees(np.arctan2(vectors[:, 1], vectors[:, 0])) % 360


def elevations_deg(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    distance = np.linalg.norm(vectors[:, :3], axis=1)
    return np.degrees(np.arcsin(vectors[:, 2] / distance))


def ranges_m(points: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.linalg.norm(points[:, :3], axis=1)


# Tables


@pytest.mark.parametrize(
    ("name", "beams", "top", "bottom"),
    [
        ("hdl64", 64, 2.0, -24.33),
        ("hdl32", 32, 10.67, -30.67),
        ("vlp16", 16, 15.0, -15.0),
        ("vlp32c", 32, 15.0, -25.0),
        ("vls128", 128, 15.0, -25.0),
        ("pandar40p", 40, 15.0, -25.0),
        ("pandar64", 64, 14.882, -24.897),
        ("pandarqt", 64, 52.133, -52.121),
        ("pandarxt32", 32, 15.0, -16.0),
        *((f"os0_{beams}", beams, 45.0, -45.0) for beams in (32, 64, 128)),
        *((f"os1_{beams}", beams, 22.5, -22.5) for beams in (32, 64, 128)),
        *((f"os2_{beams}", beams, 11.25, -11.25) for beams in (32, 64, 128)),
        *((f"os1_{beams}_gradient", beams, 22.5, -22.5) for beams in (32, 64)),
        ("livox_avia", 6, 38.6, -38.6),
        ("livox_hap", 96, 12.5, -12.5),
        ("livox_horizon", 6, 12.55, -12.55),
        ("two_vlp16", 16, 15.0, -15.0),
        ("two_vlp32c", 32, 15.0, -25.0),
    ],
)
def test_a_table_has_its_beams_from_the_top_down(
    name: str, beams: int, top: float, bottom: float
) -> None:
    elevations = SENSOR_MODELS[name].elevations_deg
    assert (len(elevations), elevations[0], elevations[-1]) == (beams, top, bottom)
    assert (np.diff(elevations) < 0).all()


def test_every_model_is_tested() -> None:
    tested = test_a_table_has_its_beams_from_the_top_down.pytestmark[0].args[1]
    assert {name for name, *_ in tested} == set(SENSOR_MODELS)


@pytest.mark.parametrize(
    ("name", "spacing_deg", "share"),
    [("vls128", 0.11, 0.75), ("vlp32c", 0.333, 0.5), ("pandar64", 0.17, 0.7), ("os1_64", 0.714, 1)],
)
def test_most_beams_have_the_documented_spacing(
    name: str, spacing_deg: float, share: float
) -> None:
    spacing = -np.diff(SENSOR_MODELS[name].elevations_deg)
    assert (np.abs(spacing - spacing_deg) < 0.012).mean() >= share


def test_help_lists_every_model_and_fits_the_terminal() -> None:
    listed = simulate.sensor_list()
    assert all(f" {name}" in listed for name in SENSOR_MODELS)
    assert max(map(len, listed.splitlines())) <= 100


# Rays


@pytest.mark.parametrize("name", SENSOR_MODELS)
def test_rays_are_unit_vectors_in_the_field_of_view(name: str) -> None:
    sensor = replace(SENSOR_MODELS[name], azimuths=300)
    origins, directions = sensor.rays(np.random.default_rng(0))
    beams = len(sensor.elevations_deg)
    assert origins.shape == directions.shape == (len(sensor.mounts) * beams * 300, 3)
    assert origins.dtype == directions.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1, atol=1e-6)
    first = directions[: beams * 300]
    elevation = elevations_deg(first)
    assert sensor.elevations_deg[-1] - 0.01 < elevation.min()
    assert elevation.max() < sensor.elevations_deg[0] + 0.01
    azimuth = (azimuths_deg(first) + 180) % 360 - 180
    assert np.ptp(azimuth) <= np.ptp(sensor.azimuth_range_deg) + 0.01
    if not sensor.rosette:
        expected = np.repeat(sensor.elevations_deg, 300)
        np.testing.assert_allclose(elevation, expected, atol=1e-3)


def test_a_rosette_fills_its_field_of_view() -> None:
    sensor = SENSOR_MODELS["livox_avia"]
    _, directions = sensor.rays(np.random.default_rng(0))
    azimuth = (azimuths_deg(directions) + 180) % 360 - 180
    elevation = elevations_deg(directions)
    inside = (azimuth / 35.2) ** 2 + (elevation / 38.6) ** 2 < 0.9
    cells = np.unique((np.c_[azimuth, elevation][inside] // 3).astype(int), axis=0)
    assert len(cells) > 0.9 * np.pi * 35.2 * 38.6 * 0.9 / 9
    centre = (np.hypot(azimuth, elevation) < 4).mean()
    assert centre > 3 * 4**2 / (35.2 * 38.6)  # denser than on average


def test_two_heads_give_two_bundles() -> None:
    pair = replace(FEW, mounts=(Mount(), Mount(x_m=0.4, z_m=-0.3, pitch_deg=10.0)))
    origins, directions = pair.rays(np.random.default_rng(0))
    one, other = np.split(directions, 2)
    np.testing.assert_allclose(np.unique(origins, axis=0), [[0, 0, 0], [0.4, 0, -0.3]])
    assert elevations_deg(one).max() < 2.01
    assert (
        11.9 < elevations_deg(other).max() < 12.01
    )  # the back looks up where the front looks down
    lowest = other[elevations_deg(other).argmin()]
    assert lowest[0] > 0
    points, _ = simulate_sweep(2, pair)
    single, _ = simulate_sweep(2, FEW)
    assert 1.5 < len(points) / len(single) < 2.5


def test_blocked_sectors_are_empty() -> None:
    sensor = replace(FEW, blocked_deg=((150.0, 210.0), (-10.0, 5.0)))
    points, _ = simulate_sweep(1, sensor)
    azimuth = azimuths_deg(points)
    hidden = ((azimuth > 150) & (azimuth < 210)) | (azimuth > 350) | (azimuth < 5)
    assert not hidden.any()
    assert ((azimuth > 210) & (azimuth < 350)).any()


def test_rotation_turns_as_documented() -> None:
    np.testing.assert_allclose(euler_rotation(90, 0, 0) @ (0, 1, 0), (0, 0, 1), atol=1e-12)
    np.testing.assert_allclose(euler_rotation(0, 90, 0) @ (1, 0, 0), (0, 0, -1), atol=1e-12)
    np.testing.assert_allclose(euler_rotation(0, 0, 90) @ (1, 0, 0), (0, 1, 0), atol=1e-12)


def test_points_stay_in_the_frame_of_a_turned_sensor() -> None:
    """Turning the points back gives the street as a level sensor with tilted beams sees it."""
    turn = (3.0, -4.0, 90.0)
    turned, _ = simulate_sweep(4, replace(FEW, turn_deg=turn))
    tilted, _ = simulate_sweep(4, replace(FEW, mounts=(Mount(0, 0, 0, *turn),)))
    back = turned[:, :3] @ euler_rotation(*turn).T
    assert len(turned) == len(tilted)
    far = np.abs(back - tilted[:, :3]).max(axis=1)
    assert np.quantile(far, 0.99) < 1e-3  # rays at edges may be rounded to either side
    assert np.abs(turned[:, :3] - tilted[:, :3]).max() > 1


@pytest.mark.parametrize("height_m", [0.5, 3.5])
def test_the_ego_vehicle_suits_low_and_high_mounts(height_m: float) -> None:
    sensor = replace(FEW, height_m=height_m)
    for seed in range(2):
        rng = np.random.default_rng(seed)
        scene = random_scene(rng, height_m)
        distance_m, triangle, _ = cast_rays(scene, *sensor.rays(rng))
        assert distance_m.min() > 0.1
        hit = np.isfinite(distance_m)
        near = hit & (distance_m < 1)
        returns = scene.mesh.surface[triangle[near], 2]
        assert (returns == 0).all()  # only the vehicle itself is within a metre
        points, labels = simulate_sweep(seed, sensor)
        road = (labels == ROAD) & (np.hypot(points[:, 0], points[:, 1]) < 12)
        assert road.sum() > 20
        assert abs(np.median(points[road, 2]) + height_m) < 0.3


# Losses and intensities


def test_dropout_loses_its_share() -> None:
    full, _ = simulate_sweep(0, FEW)
    half, _ = simulate_sweep(0, replace(FEW, dropout=0.5))
    assert 0.45 < len(half) / len(full) < 0.55


def test_rain_loses_far_echoes_and_adds_near_ones() -> None:
    dry, _ = simulate_sweep(0, FEW)
    wet, labels = simulate_sweep(0, replace(FEW, rain_per_m=0.02))
    drops = labels == OUTLIER
    assert 20 < drops.sum() < 0.02 * 16 * 360
    assert np.median(ranges_m(wet[drops])) < 5
    kept = []
    for low, high in ((4, 8), (8, 16), (16, 32), (32, 80)):
        counts = [
            ((low <= distance) & (distance < high)).sum()
            for distance in (ranges_m(wet[~drops]), ranges_m(dry))
        ]
        kept.append(counts[0] / counts[1])
    assert kept == sorted(kept, reverse=True)
    assert kept[0] > 0.7
    assert kept[-1] < 0.3


@pytest.mark.parametrize("level", [0.0, 0.37, 1.0])
def test_constant_intensity_is_constant(level: float) -> None:
    points, _ = simulate_sweep(0, replace(FEW, intensity_limits=(level, level), intensity_steps=0))
    np.testing.assert_array_equal(points[:, 3], np.float32(level))


@pytest.mark.parametrize("steps", [100, 255])
def test_intensities_are_rounded_to_steps(steps: int) -> None:
    points, _ = simulate_sweep(0, replace(FEW, intensity_steps=steps))
    np.testing.assert_allclose(points[:, 3] * steps, (points[:, 3] * steps).round(), atol=1e-4)
    exact, _ = simulate_sweep(0, replace(FEW, intensity_steps=0))
    assert np.abs(exact[:, 3] - points[:, 3]).max() <= 0.5 / steps + 1e-6
    assert len(np.unique(exact[:, 3])) > 2 * steps


def test_gain_and_gamma_make_dark_and_saturated_intensities() -> None:
    (plain, dark, bright) = (
        simulate_sweep(0, replace(FEW, intensity_limits=(0, 1), gain=gain, gamma=gamma))[0][:, 3]
        for gain, gamma in ((1.0, 1.0), (0.8, 2.6), (2.5, 1.0))
    )
    assert 0.25 < np.median(plain) < 0.35
    assert 0.02 < np.median(dark) < 0.06
    assert (plain == 1).mean() < 0.01
    assert (bright == 1).mean() > 0.03


# The distribution


@pytest.fixture(scope="module")
def drawn() -> list[SensorConfig]:
    return [random_sensor(np.random.default_rng(seed)) for seed in range(200)]


def test_every_random_sensor_has_rays_that_reach_the_ground(drawn: list[SensorConfig]) -> None:
    for seed, sensor in enumerate(drawn):
        coarse = replace(sensor, azimuths=sensor.azimuths // 8)
        _, directions = coarse.rays(np.random.default_rng(seed))
        assert 8_000 < 8 * len(directions) < 300_000
        np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1, atol=1e-6)
        down = (directions @ euler_rotation(*sensor.turn_deg).T)[:, 2]
        assert (sensor.height_m < -down * 30).mean() > 0.05  # of the rays, within 30 m


def test_random_sensors_cover_what_is_on_the_road(drawn: list[SensorConfig]) -> None:
    heights = [sensor.height_m for sensor in drawn]
    tilts = np.array([sensor.turn_deg[:2] for sensor in drawn])
    beams = [len(sensor.elevations_deg) * len(sensor.mounts) for sensor in drawn]
    assert 0.5 <= min(heights) < 0.9
    assert 3.1 < max(heights) <= 3.5
    assert 0.3 < (tilts == 0).all(axis=1).mean() < 0.5
    assert 0.02 < (np.abs(tilts) > 3).any(axis=1).mean() < 0.2
    assert np.abs(tilts).max() <= 5
    assert min(beams) < 16
    assert max(beams) >= 128
    assert 0.03 < np.mean([sensor.rain_per_m > 0 for sensor in drawn]) < 0.2
    assert 0.1 < np.mean([len(sensor.blocked_deg) > 0 for sensor in drawn]) < 0.5
    assert 0.04 < np.mean([len(sensor.mounts) == 2 for sensor in drawn]) < 0.16
    assert 0.03 < np.mean([np.ptp(s.azimuth_range_deg) < 360 for s in drawn]) < 0.15
    constant = [s.intensity_limits[0] == s.intensity_limits[1] for s in drawn]
    assert 0.04 < np.mean(constant) < 0.18


def test_sweeps_of_random_sensors_are_usable(drawn: list[SensorConfig]) -> None:
    medians = []
    for seed in range(0, 24, 2):
        sensor = replace(drawn[seed], azimuths=drawn[seed].azimuths // 6)
        points, labels = simulate_sweep(seed, sensor)
        assert 400 < len(points) == len(labels)
        assert np.isfinite(points).all()
        assert 0 <= points[:, 3].min() <= points[:, 3].max() <= 1
        assert (labels >> 16 > 0).sum() > 10
        medians.append(np.median(points[:, 3]))
    assert min(medians) < 0.06
    assert max(medians) > 0.25


def test_a_random_sensor_with_the_same_seed_gives_the_same_bytes() -> None:
    points, labels = simulate_sweep(13, None)
    again = simulate_sweep(13, None)
    assert points.tobytes() == again[0].tobytes()
    assert labels.tobytes() == again[1].tobytes()
    assert points.tobytes() != simulate_sweep(14, None)[0].tobytes()


def test_the_example_of_the_page_is_valid_and_dark() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text()
    (example,) = re.findall(r"```yaml\n(elevations_deg.*?)```", page, re.DOTALL)
    sensor = build(SensorConfig, yaml.safe_load(example), "example")
    points, _ = simulate_sweep(0, replace(sensor, azimuths=360))
    assert 0.02 < np.median(points[:, 3]) < 0.06


def test_the_defaults_of_a_sensor_are_those_of_the_hdl64() -> None:
    assert SensorConfig(HDL64.elevations_deg) == HDL64
