"""What the sweeps of a folder have in common, and what a single sweep says about its sensor."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sweeps import GROUND_M, Points, street

from bev_instseg.exceptions import ScanError
from bev_instseg.io.ground_plane import fit_ground_plane
from bev_instseg.io.infer_frame import FAR_AWAY, MAYBE_ELSEWHERE
from bev_instseg.io.intensity import (
    CONSTANT,
    DISTANCE,
    NOT_FLOATS,
    NOT_NUMBERS,
    TWO_VALUES,
    VERY_DARK,
    ZERO,
    judge_intensity,
)
from bev_instseg.io.place import find_place
from bev_instseg.io.sensor_setup import SensorSetup, axes_rotation, level_of, sensor_rotation
from bev_instseg.io.survey import MAX_SWEEPS, survey_sweeps
from bev_instseg.io.sweep import Sweep, read_sweep

pytestmark = pytest.mark.kernel

TILTS = [(7.0, 0.0), (-12.0, 3.0), (0.0, -20.0), (18.0, 18.0), (-29.0, 0.0)]


def turned(points: Points, rotation: NDArray) -> Points:
    """The same sweep from a sensor whose frame this rotation levels."""
    result = points.copy()
    result[:, :3] = points[:, :3] @ rotation
    return result


def read(tmp_path: Path, points: NDArray, setup: SensorSetup | None = None) -> Sweep:
    path = tmp_path / "one.npy"
    np.save(path, points)
    return read_sweep(path, setup)


def read_with_format(tmp_path: Path, points: Points) -> Sweep:
    path = tmp_path / "one.bin"
    points.tofile(path)
    return read_sweep(path, SensorSetup(format="xyzi"))


def write_folder(folder: Path, sweeps: list[Points]) -> list[Path]:
    folder.mkdir()
    paths = [folder / f"{i:06}.bin" for i in range(len(sweeps))]
    for path, points in zip(paths, sweeps, strict=True):
        points.tofile(path)
    return paths


def read_folder(paths: list[Path], setup: SensorSetup | None = None) -> list[Sweep]:
    survey = survey_sweeps(paths, setup or SensorSetup())
    return [read_sweep(path, setup, survey.reading_of(path)) for path in paths]


def up_of(sweep: Sweep) -> NDArray[np.float64]:
    """The direction of the sensor frame's z in the file's axes."""
    return sensor_rotation(sweep.axes, sweep.level_deg)[2]


# Intensity


@pytest.mark.parametrize(("value", "notice"), [(0.39, CONSTANT), (1, CONSTANT), (100, CONSTANT),
                                               (255, CONSTANT), (0, ZERO)])  # fmt: skip
def test_constant_intensities_are_none(tmp_path: Path, value: float, notice: str) -> None:
    points = street()
    points[:, 3] = value
    sweep = read(tmp_path, points)
    assert not sweep.points[:, 3].any()
    assert sweep.notices == (notice,)


def test_two_different_intensities_are_none(tmp_path: Path) -> None:
    points = street()
    points[:, 3] = points[:, 3] > 0.4
    sweep = read(tmp_path, points)
    assert not sweep.points[:, 3].any()
    assert sweep.notices == (TWO_VALUES,)


@pytest.mark.parametrize("noise", [0, 0.005])
@pytest.mark.parametrize("levels", [None, 255])
def test_a_function_of_the_distance_is_no_intensity(
    tmp_path: Path, noise: float, levels: int | None
) -> None:
    points = street()
    value = np.exp(-0.004 * np.linalg.norm(points[:, :3], axis=1))
    value += np.random.default_rng(1).normal(0, noise, len(points))
    points[:, 3] = value if levels is None else np.round(value * levels)
    sweep = read(tmp_path, points)
    assert not sweep.points[:, 3].any()
    assert sweep.notices == (DISTANCE,)


@pytest.mark.parametrize("seed", range(5))
def test_intensities_that_fall_with_the_distance_and_differ_are_kept(seed: int) -> None:
    rng = np.random.default_rng(seed)
    distance = rng.uniform(2, 80, 1000)
    intensity = np.exp(-0.02 * distance) * rng.choice([0.2, 0.5, 1.0], 1000)
    assert judge_intensity([np.column_stack([intensity, distance])]) == (1, ())


@pytest.mark.parametrize("full", [255, 4095, 65535])
def test_a_dark_sweep_is_scaled_like_its_neighbours(tmp_path: Path, full: int) -> None:
    sweeps = [street(seed, full) for seed in range(4)]
    sweeps[2][:, 3] /= full  # all below 1.5
    read = read_folder(write_folder(tmp_path / "drive", sweeps))
    for one, points in zip(read, sweeps, strict=True):
        np.testing.assert_allclose(one.points[:, 3], points[:, 3] / full, rtol=1e-6)
        is_dark = (f"intensities of 0..1, but read as 0..{full}; --intensity sets the scale",)
        scaled = (f"intensity 0..{full}: divided by {full}",)
        assert one.notices == scaled + (is_dark if points[:, 3].max() <= 1 else ())


def test_a_dark_sweep_of_whole_numbers_is_not_bright(tmp_path: Path) -> None:
    points = street()
    points[:, 3] = np.random.default_rng(2).choice(3, len(points), p=[0.5, 0.499, 0.001])
    assert read(tmp_path, points).points[:, 3].max() == np.float32(2 / 255)


@pytest.mark.parametrize("full", [1, 255])
@pytest.mark.parametrize("missing", [-9999, 1e30, 99999999, -1e30])
@pytest.mark.parametrize("share", [0.02, 0.6])
def test_sentinels_among_the_intensities_are_missing(
    tmp_path: Path, share: float, missing: float, full: int
) -> None:
    points = street(intensity_max=full)
    gone = np.random.default_rng(4).random(len(points)) < share
    points[gone, 3] = missing
    sweep = read_with_format(tmp_path, points)
    assert not sweep.points[gone, 3].any()
    np.testing.assert_allclose(sweep.points[~gone, 3], points[~gone, 3] / full, rtol=1e-6)
    assert sweep.notices[-1] == f"{gone.mean():.1%} of the intensities are missing: set to 0"
    assert not any("clipped" in notice for notice in sweep.notices)


def test_clipped_intensities_are_said(tmp_path: Path) -> None:
    points = street(intensity_max=255)
    points[: len(points) // 50, 3] = 300
    points[-len(points) // 50 :, 3] = -1
    sweep = read(tmp_path, points)
    assert sweep.notices[1] == "4.0% of the intensities are outside 0..255: clipped"
    assert sweep.points[0, 3] == 1
    assert sweep.points[-1, 3] == 0


def test_a_given_full_intensity_is_used(tmp_path: Path) -> None:
    points = street(intensity_max=100)
    sweep = read(tmp_path, points, SensorSetup(intensity_max=100))
    np.testing.assert_allclose(sweep.points[:, 3], points[:, 3] / 100, rtol=1e-6)
    assert not read(tmp_path, points, SensorSetup(intensity_max=0)).points[:, 3].any()


# Up and level


@pytest.mark.parametrize("fall", [0.0, 0.005, 0.01, 0.02, 0.03])
def test_ground_that_falls_away_on_all_sides_is_below(tmp_path: Path, fall: float) -> None:
    elevation = np.radians(np.linspace(-25, -3, 40))
    e, a = np.meshgrid(elevation, np.radians(np.arange(0, 360, 0.5)), indexing="ij")
    r = np.minimum(2 / np.tan(-e) / (1 - fall / np.tan(-e)).clip(0.3), 60)
    z = -2 - fall * r + np.random.default_rng(0).normal(0, 0.015, r.shape)
    rest = np.random.default_rng(1).random(r.shape)
    points = np.stack([r * np.cos(a), r * np.sin(a), z, rest], -1).reshape(-1, 4)
    sweep = read(tmp_path, points.astype(np.float32))
    assert (sweep.axes, sweep.level_deg, sweep.notices) == ("flu", (0, 0), ())


def test_pitch_and_roll_turn_up_to_z() -> None:
    for level in TILTS:
        up = sensor_rotation("flu", level)[2]
        assert level_of(up) == pytest.approx(level, abs=0.051)
        np.testing.assert_allclose(sensor_rotation("flu", level) @ up, [0, 0, 1], atol=1e-12)
    np.testing.assert_array_equal(sensor_rotation("rdf", (0, 0)), axes_rotation("rdf"))
    np.testing.assert_allclose(sensor_rotation("flu", (90, 0)) @ [1, 0, 0], [0, 0, -1], atol=1e-9)
    np.testing.assert_allclose(sensor_rotation("flu", (0, 90)) @ [0, 1, 0], [0, 0, 1], atol=1e-9)


@pytest.mark.parametrize("level", TILTS)
def test_a_tilted_sweep_is_levelled(tmp_path: Path, level: tuple[float, float]) -> None:
    points = street()
    sweep = read(tmp_path, turned(points, sensor_rotation("flu", level)))
    assert sweep.level_deg == pytest.approx(level, abs=0.6)
    np.testing.assert_allclose(sweep.points[:, 2], points[:, 2], atol=0.8)
    tilt = np.degrees(np.arccos(up_of(sweep)[2]))
    assert sweep.notices == (
        f"levelled by {tilt:.1f} degrees (pitch {sweep.level_deg[0]:g}, roll "
        f"{sweep.level_deg[1]:g}): the ground near the sensor was inclined",
    )
    moved = (sweep.xyz - sweep.origin_m) @ sensor_rotation(sweep.axes, sweep.level_deg).T
    np.testing.assert_allclose(sweep.points[:, :3], moved, atol=1e-5)


def test_a_nearly_level_sweep_is_left_as_it_is(tmp_path: Path) -> None:
    points = turned(street(), sensor_rotation("flu", (3.0, -2.0)))
    sweep = read(tmp_path, points)
    np.testing.assert_array_equal(sweep.points, points)
    assert (sweep.level_deg, sweep.notices) == ((0, 0), ())


@pytest.mark.parametrize("slope", [0.1, -0.15, 0.25])
def test_a_hill_in_one_sweep_is_levelled_in_that_sweep(tmp_path: Path, slope: float) -> None:
    sweeps = [street(seed) for seed in range(5)]
    sweeps[3][:, 2] += np.float32(slope) * sweeps[3][:, 0]
    read = read_folder(write_folder(tmp_path / "drive", sweeps))
    assert [one.level_deg for one in read[:3]] == [(0, 0)] * 3
    np.testing.assert_allclose(read[3].level_deg, (np.degrees(np.arctan(slope)), 0), atol=0.6)
    angle = round(abs(np.degrees(np.arctan(slope))))
    assert read[3].notices[0].startswith("inclined ground: levelled by ")
    assert abs(int(read[3].notices[0].split()[4]) - angle) <= 1


def test_a_tilted_sensor_is_levelled_alike_in_all_sweeps(tmp_path: Path) -> None:
    tilt = sensor_rotation("flu", (-9.8, 0.3))
    sweeps = [turned(street(seed), tilt) for seed in range(6)]
    hill = street(7)
    hill[:, 2] += np.float32(0.2) * hill[:, 1]
    sweeps.append(turned(hill, tilt))
    read = read_folder(write_folder(tmp_path / "drive", sweeps))
    assert len({(one.level_deg, one.notices) for one in read[:6]}) == 1
    np.testing.assert_allclose(read[0].level_deg, (-9.8, 0.3), atol=0.4)
    up = np.array([0, -0.2, 1]) / np.hypot(0.2, 1) @ tilt
    assert np.degrees(np.arccos(min(up_of(read[6]) @ up, 1))) < 0.6


@pytest.mark.parametrize("axes", ["frd", "rdf", "rub", "ufl"])
def test_an_upside_down_or_other_frame_is_recognised_though_tilted(
    tmp_path: Path, axes: str
) -> None:
    points = turned(street(), sensor_rotation("flu", (10.0, 4.0)) @ axes_rotation(axes))
    sweep = read(tmp_path, points)
    assert sweep.axes == axes
    assert len(sweep.notices) == 2
    expected = sensor_rotation("flu", (10.0, 4.0))[2] @ axes_rotation(axes)
    assert np.degrees(np.arccos(min(up_of(sweep) @ expected, 1))) < 0.6


def traffic(seed: int, share: float) -> Points:
    """A street full of vehicles, with z = 0 near the road: only some ground is seen."""
    rng = np.random.default_rng(seed)
    points = street(seed)
    points[:, 2] -= np.float32(GROUND_M + 0.3)
    crate = (rng.random(len(points)) < share) & (points[:, 2] < 0)
    points[crate, 2] += rng.uniform(0.3, 3, crate.sum()).astype(np.float32)
    return points


@pytest.mark.parametrize("seed", range(3))
def test_a_sweep_upside_down_is_turned_though_little_ground_is_seen(
    tmp_path: Path, seed: int
) -> None:
    points = traffic(seed, 0.6)
    np.testing.assert_array_equal(read(tmp_path, points).points, points)
    sweep = read(tmp_path, turned(points, axes_rotation("frd")))
    np.testing.assert_array_equal(sweep.points, points)
    assert sweep.notices == ("z does not point up: assumed axes frd",)


def test_sweeps_agree_that_they_are_upside_down(tmp_path: Path) -> None:
    upright = [traffic(seed, 0.75) for seed in range(4)]
    paths = write_folder(tmp_path / "upright", upright)
    for sweep in (*read_folder(paths), *map(read_sweep, paths)):
        assert (sweep.axes, sweep.level_deg, sweep.notices) == ("flu", (0, 0), ())
    upside_down = [turned(points, axes_rotation("frd")) for points in upright]
    paths = write_folder(tmp_path / "turned", upside_down)
    for path, sweep in zip(paths, read_folder(paths), strict=True):
        assert sweep.axes == "frd"
        assert sweep.notices == ("z does not point up: assumed axes frd",)
        alone = read_sweep(path)
        assert alone.axes == "flu"
        assert alone.notices == (
            "z may point down, but the points were not rotated; if so, pass --axes frd",
        )
        given = read_sweep(path, SensorSetup(axes="flu"))
        assert given.notices[0].endswith("if so, pass other --axes")


def test_an_open_road_overhead_is_said(tmp_path: Path) -> None:
    points = street()
    points = points[points[:, 2] < GROUND_M + 0.2]
    sweep = read(tmp_path, turned(points, axes_rotation("frd")))
    assert sweep.axes == "flu"
    assert sweep.notices[0].startswith("z may point down, ")
    assert sweep.notices[0].endswith("--axes frd")


@pytest.mark.parametrize("axes", ["flu", "frd"])
@pytest.mark.parametrize("level", [(35.0, 0.0), (-38.0, 0.0), (0.0, 42.0), (25.0, -30.0)])
def test_a_ground_too_steep_to_level_is_said(
    tmp_path: Path, level: tuple[float, float], axes: str
) -> None:
    rotation = sensor_rotation(axes, level)
    points = turned(street(), rotation)
    sweep = read(tmp_path, points)
    np.testing.assert_array_equal(sweep.points, points)
    (notice,) = sweep.notices
    angle = np.degrees(np.arccos(rotation[2, 2]))
    start, options = notice.split(", but the points were not rotated; if so, pass ")
    assert abs(int(start.split()[-2]) - angle) <= 1
    words = options.split()
    assert ("--axes" in words) == (axes != "flu")
    pitch, roll = map(float, words[-2:])
    assert (pitch, roll) == pytest.approx(level, abs=1.1)
    setup = SensorSetup(axes=axes, level_deg=(pitch, roll))
    moved = read(tmp_path, points, setup)
    assert moved.notices == ()
    assert np.degrees(np.arccos(min(up_of(moved) @ rotation[2], 1))) < 1.5
    sweep = read(tmp_path, points, SensorSetup(axes=axes))
    assert sweep.notices[-1].endswith(f"pass --level {pitch:.0f} {roll:.0f}")
    paths = write_folder(tmp_path / "drive", [turned(street(i), rotation) for i in range(3)])
    assert all("the ground may be inclined" in one.notices[0] for one in read_folder(paths))


def test_walls_and_little_ground_are_no_tilt(tmp_path: Path) -> None:
    for name, points in crops(street()).items():
        notices = read(tmp_path, points).notices
        assert not any("inclined" in notice or "down" in notice for notice in notices), name


def test_under_a_ceiling_z_is_up(tmp_path: Path) -> None:
    points = street()
    ceiling = points[points[:, 2] < GROUND_M + 0.1] * np.float32([1, 1, -0.7, 1])
    garage = np.concatenate([points, ceiling])
    sweep = read(tmp_path, garage)
    assert (sweep.axes, sweep.level_deg) == ("flu", (0, 0))


def test_one_sweep_of_eight_cannot_turn_the_others(tmp_path: Path) -> None:
    sweeps = [street(seed) for seed in range(8)]
    sweeps[5] = turned(sweeps[5], axes_rotation("frd"))
    paths = write_folder(tmp_path / "drive", sweeps)
    read = read_folder(paths)
    assert {one.axes for one in read} == {"flu"}
    assert read[0].notices == (
        f"1 of 8 sweeps look as if their axes were frd, first {paths[5]}: all are read as flu",
    )


def test_given_values_win_and_contradictions_are_said(tmp_path: Path) -> None:
    upside_down = turned(street(), axes_rotation("frd"))
    sweep = read(tmp_path, upside_down, SensorSetup(axes="flu"))
    np.testing.assert_array_equal(sweep.points, upside_down)
    assert sweep.notices == (
        "with the given axes flu the ground is not below the sensor; check --axes",
    )
    tilted = turned(street(), sensor_rotation("flu", (15.0, 0.0)))
    sweep = read(tmp_path, tilted, SensorSetup(level_deg=(0.0, 0.0)))
    np.testing.assert_array_equal(sweep.points, tilted)
    assert sweep.notices == ()
    sweep = read(tmp_path, tilted, SensorSetup(level_deg=(15.0, 0.0)))
    np.testing.assert_allclose(sweep.points, street(), atol=1e-4)


@pytest.mark.parametrize(
    ("given", "notice"),
    [
        (SensorSetup(level_deg=(20, 0)), "with --level 20 0 the ground is inclined by 20 degrees"),
        (SensorSetup(origin_m=(100, 0, 0)), "few points are within 10 m of the given --origin"),
        (SensorSetup(intensity_max=255), "intensities of 0..1, but read as 0..255"),
    ],
)
def test_options_that_the_points_contradict_are_said(
    tmp_path: Path, given: SensorSetup, notice: str
) -> None:
    assert [one for one in read(tmp_path, street(), given).notices if one.startswith(notice)]
    fits = SensorSetup(level_deg=(2, 0), origin_m=(1, 0, 0), intensity_max=2)
    assert read(tmp_path, street(), fits).notices == ()


@pytest.mark.parametrize("step_m", [0.5, 1.0])
def test_coordinates_too_coarse_for_any_object_are_refused(tmp_path: Path, step_m: float) -> None:
    points = street()
    points[:, :3] = np.round(points[:, :3] / step_m) * step_m + np.float32(0.3)
    with pytest.raises(ScanError, match=r"always a multiple of .* m, too coarse .* more"):
        read(tmp_path, points)


@pytest.mark.parametrize("order", ["rae", "aer", "ear"])
@pytest.mark.parametrize("unit", ["radians", "degrees"])
@pytest.mark.parametrize("first", [0, -np.pi])
def test_distances_and_angles_are_refused(
    tmp_path: Path, order: str, unit: str, first: float
) -> None:
    points = street().astype(np.float64)
    x, y, z = points[:, :3].T
    azimuth = (np.arctan2(y, x) - first) % (2 * np.pi) + first
    elevation = np.arctan2(z, np.hypot(x, y))
    if unit == "degrees":
        azimuth, elevation = np.degrees(azimuth), np.degrees(elevation)
    polar = {"r": np.linalg.norm(points[:, :3], axis=1), "a": azimuth, "e": elevation}
    points[:, :3] = np.stack([polar[name] for name in order], 1)
    with pytest.raises(ScanError, match=r"a full circle, and \w is never negative: these look"):
        read(tmp_path, points)


@pytest.mark.parametrize("kind", ["room", "map", "corridor"])
def test_rooms_maps_and_corridors_of_a_full_circles_size_are_read(
    tmp_path: Path, kind: str
) -> None:
    rng = np.random.default_rng(4)
    if kind == "room":  # its corner is the origin
        xyz = rng.uniform(0, (6.28, 8, 2.7), (4000, 3))
        xyz[:3000, 2] = 0.01
    elif kind == "map":  # UTM coordinates; a sensor near the middle
        xyz = rng.normal((400_040, 5_000_030, 0.1), (15, 15, 0.02), (4000, 3))
        xyz[:200, 2] = np.linspace(0.02, 6.27, 200)
    else:  # walls 3.14 m to the left and right of a sensor that looks forward
        xyz = rng.uniform((0.5, -3.14, -1.5), (40, 3.14, 1.5), (4000, 3))
        xyz[:2000, 1] = rng.choice([-3.14, 3.14], 2000)
        xyz[2000:3000, 2] = -1.5
    points = np.column_stack([xyz, rng.uniform(0.1, 0.9, len(xyz))])
    assert len(read(tmp_path, points).points) == 4000


@pytest.mark.parametrize("axis", [0, 1])
def test_coarse_steps_along_one_axis_are_noticed(tmp_path: Path, axis: int) -> None:
    points = street().astype(np.float64)
    assert read(tmp_path, points).notices == ()
    fine = points[:, axis].copy()
    points[:, axis] = np.round(fine / 0.1) * 0.1 + 0.03
    [notice] = read(tmp_path, points).notices
    assert notice.startswith(f"{'xy'[axis]} is always a multiple of 0.1 m")
    points[:, axis] = np.round(fine / 0.4) * 0.4 + 0.03
    with pytest.raises(ScanError, match=rf"{'xy'[axis]} is always a multiple of 0\.4 m"):
        read(tmp_path, points)


def test_intensities_darker_than_any_are_said(tmp_path: Path) -> None:
    dark, whole = street(), street()
    dark[:, 3] /= 255
    [notice] = read(tmp_path, dark).notices
    assert notice == VERY_DARK
    dark[:, 3] *= 255 * 2.55  # 0..255 divided by 100
    assert read(tmp_path, dark).notices == ("intensity 0..255: divided by 255", VERY_DARK)
    whole[:, 3] = np.rint(255 * whole[:, 3]).astype(np.uint32).view(np.float32)
    sweep = read_with_format(tmp_path, whole)
    assert sweep.notices == (NOT_FLOATS,)
    assert not sweep.points[:, 3].any()


def crops(points: Points) -> dict[str, Points]:
    """Parts of a sweep that a camera, a blind sector or a filter leaves."""
    x, y, z, _ = points.T
    distance, azimuth = np.hypot(x, y), np.degrees(np.arctan2(y, x))
    return {
        "camera": points[np.abs(azimuth) < 45],
        "left": points[y > 0],
        "narrow": points[np.abs(azimuth - 60) < 10],
        "near": points[distance < 8],
        "far": points[distance > 12],
        "walls": points[z > GROUND_M + 0.3],
        "upper": points[z > 0],
        "first": points[: len(points) // 10],
        "box": points[(np.abs(x - 12) < 6) & (np.abs(y) < 6)],
        "few": points[::97],
    }


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", list(crops(street())))
def test_cropped_sweeps_are_left_as_they_are(tmp_path: Path, name: str, seed: int) -> None:
    points = crops(street(seed))[name]
    sweep = read(tmp_path, points)
    assert (sweep.axes, sweep.level_deg, sweep.origin_m) == ("flu", (0, 0), (0, 0, 0))
    np.testing.assert_array_equal(sweep.points, points)


def test_real_sweeps_alone_and_tilted(tmp_path: Path) -> None:
    if not (root := os.environ.get("KITTI_ROOT")):
        pytest.skip("KITTI_ROOT is not set")
    for path in sorted(Path(root).glob("**/velodyne*/*.bin"))[::16]:
        points = np.fromfile(path, np.float32).reshape(-1, 4)
        assert read(tmp_path, points).notices == ()
        steep = turned(points, sensor_rotation("flu", (-40.0, 0.0)))
        (notice,) = (one for one in read(tmp_path, steep).notices if "inclined" in one)
        assert 36 <= int(notice.split()[6]) <= 44


def test_real_sweeps_and_their_crops_are_left_as_they_are(tmp_path: Path) -> None:
    if not (root := os.environ.get("KITTI_ROOT")):
        pytest.skip("KITTI_ROOT is not set")
    paths = sorted(Path(root).glob("**/velodyne/*.bin"))[:8]
    assert paths
    for path in paths:
        points = np.fromfile(path, np.float32).reshape(-1, 4)
        for part in (points, *crops(points).values()):
            np.testing.assert_array_equal(read(tmp_path, part).points, part)


def test_no_ground_without_a_plane() -> None:
    xyz = np.random.default_rng(0).uniform(-20, 20, (1000, 3))
    assert fit_ground_plane(xyz) is None
    assert fit_ground_plane(xyz[:10]) is None
    line = np.column_stack([np.linspace(2, 20, 100), np.zeros(100), np.full(100, -1.7)])
    assert fit_ground_plane(line) is None


# Place and unit


@pytest.mark.parametrize("place", [(40, 10), (-70, 10), (100, -90)])
def test_a_sensor_away_from_the_origin_is_found(tmp_path: Path, place: tuple[int, int]) -> None:
    points = street()
    points[:, :2] += place
    sweep = read(tmp_path, points)
    np.testing.assert_allclose(sweep.origin_m[:2], place, atol=4)
    assert sweep.origin_m[2] == 0
    assert sweep.notices == (
        "the sensor is not at the origin of the coordinates: the points are moved so that it is "
        "(origin_m in the .json; --origin sets it)",
    )
    sweep = read(tmp_path, points, SensorSetup(origin_m=(*place, 0.5)))
    np.testing.assert_allclose(
        sweep.points[:, :3], street()[:, :3] - np.float32([0, 0, 0.5]), atol=1e-4
    )
    assert sweep.notices == ()


def test_a_place_that_is_not_found_is_said(tmp_path: Path) -> None:
    points = street()
    points = points[np.hypot(points[:, 0], points[:, 1]) > 12]
    points[:, 0] += 60
    sweep = read(tmp_path, points)
    np.testing.assert_array_equal(sweep.points, points)
    assert sweep.notices == (MAYBE_ELSEWHERE,)
    assert read(tmp_path, points, SensorSetup(origin_m=(60, 0, 0))).notices == ()
    points[:, 0] += 60
    sweep = read(tmp_path, points)
    assert sweep.origin_m[0] > 100
    assert sweep.notices == (FAR_AWAY,)
    assert "guess" in FAR_AWAY
    assert "--origin" in FAR_AWAY


def test_no_place_in_an_accumulated_map() -> None:
    sweeps = [street(seed)[:, :2] + np.float32([7 * seed, 3]) for seed in range(30)]
    picked = np.concatenate(sweeps)[:: 30 * len(sweeps[0]) // 4096]
    assert find_place(picked.astype(np.float64)) is None


@pytest.mark.parametrize(
    ("factor", "reason"),
    [
        (100, r"look like centimetres \(the sensor is 17\d above the ground\): divide them by 100"),
        (1000, "look like millimetres .*divide them by 1000"),
        (1 / 80, "normalised or in another unit; multiply them to get metres"),
    ],
)
def test_other_units_are_refused(tmp_path: Path, factor: float, reason: str) -> None:
    points = street()
    points[:, :3] *= factor
    with pytest.raises(ScanError, match=reason) as caught:
        read(tmp_path, points)
    assert str(caught.value).startswith(f"{tmp_path / 'one.npy'}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("factor", "height_m"), [(1, None), (3.2808, 5.7), (2.2, None)])
def test_coordinates_in_feet_are_reported(
    tmp_path: Path, factor: float, height_m: float | None
) -> None:
    points = street()  # the sensor is 1.73 m above the ground
    points[:, :3] *= np.float32(factor)
    notices = read(tmp_path, points).notices
    if height_m is None:
        assert not any("feet" in text for text in notices)
    else:
        (notice,) = (text for text in notices if "feet" in text)
        assert float(notice.split()[3]) == pytest.approx(height_m, abs=0.2)
        assert notice.startswith("the sensor is ")
        assert notice.endswith(" in feet, multiply them by 0.3048")


def test_a_sweep_that_ends_after_a_few_metres_is_read_and_said_to_be_small(tmp_path: Path) -> None:
    points = street()
    extent_m = np.quantile(np.linalg.norm(points[:, :3], axis=1), 0.99)
    points[:, :3] *= np.float32(2.5 / extent_m)
    sweep = read(tmp_path, points)
    np.testing.assert_array_equal(sweep.points, points)
    assert any("within 2.5 m: a small room, or not in metres" in text for text in sweep.notices)


@pytest.mark.parametrize("share", [0.02, 0.6, 0.9])
@pytest.mark.parametrize("sentinel", [1e30, 99999.0, -9999.0])
def test_sentinels_are_counted_and_ignored(tmp_path: Path, share: float, sentinel: float) -> None:
    points = street()
    number = int(share * len(points))
    points[np.random.default_rng(3).permutation(len(points))[:number], :3] = sentinel
    sweep = read(tmp_path, points)
    assert sweep.origin_m == (0, 0, 0)
    np.testing.assert_array_equal(sweep.points, points)
    assert sweep.notices == (
        f"{number} of {len(points)} points are over 9 km away: they get no label",
    )


def test_maps_and_several_sweeps_together_are_reported(tmp_path: Path) -> None:
    points = street()
    many = np.tile(points, (800_000 // len(points) + 1, 1))
    many[:, :3] += np.random.default_rng(4).normal(0, 0.02, (len(many), 3))
    (notice,) = read(tmp_path, many).notices
    assert "more points within 50 m than any sensor measures in a sweep" in notice
    many[: len(many) // 10, 0] += 200  # the others could be a sweep
    assert read(tmp_path, many).notices == ()


def test_a_sweep_of_nothing_but_sentinels_is_refused(tmp_path: Path) -> None:
    points = street()
    points[:, :3] = 1e30
    with pytest.raises(ScanError, match="all points are over 9 km away"):
        read(tmp_path, points)


# Folders


def test_the_order_of_the_paths_does_not_matter(tmp_path: Path) -> None:
    sweeps = [street(seed, 255 if seed % 2 else 1) for seed in range(12)]
    paths = write_folder(tmp_path / "drive", sweeps)
    survey = survey_sweeps(paths, SensorSetup())
    assert survey == survey_sweeps([*paths[::-1], paths[3]], SensorSetup())
    assert survey == pickle.loads(pickle.dumps(survey))
    assert len(survey.readings) == 1


def test_folders_and_suffixes_decide_on_their_own(tmp_path: Path) -> None:
    paths = write_folder(tmp_path / "a", [street(seed, 255) for seed in range(3)])
    paths += write_folder(tmp_path / "b", [street(seed) for seed in range(3)])
    alone = tmp_path / "a" / "x.npy"
    np.save(alone, street())
    survey = survey_sweeps([*paths, alone], SensorSetup())
    full = [reading.intensity_max for path in paths if (reading := survey.reading_of(path))]
    assert full == [255] * 3 + [1] * 3
    assert survey.reading_of(alone) is None
    assert survey.reading_of(tmp_path / "c" / "x.bin") is None


def test_unreadable_sweeps_do_not_vote(tmp_path: Path) -> None:
    paths = write_folder(tmp_path / "drive", [street(seed, 255) for seed in range(3)])
    paths[1].write_bytes(b"\xff\xd8\xff" * 1000)
    reading = survey_sweeps(paths, SensorSetup()).reading_of(paths[0])
    assert reading is not None
    assert reading.intensity_max == 255
    for path in paths:
        path.write_bytes(b"")
    assert survey_sweeps([tmp_path / "none.bin", tmp_path / "no.bin"], SensorSetup()).readings == {}
    assert len(read_folder(paths)[0].points) == 0


def test_only_a_few_sweeps_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [tmp_path / f"{i:03}.npy" for i in range(100)]
    looked_at = []

    def look(path: Path, _: str) -> None:
        looked_at.append(path)
        raise ScanError("unreadable")

    monkeypatch.setattr("bev_instseg.io.survey.read_file", look)
    survey_sweeps(paths, SensorSetup())
    assert len(looked_at) == MAX_SWEEPS
    assert {looked_at[0], looked_at[-1]} == {paths[0], paths[-1]}


def test_intensities_that_are_not_numbers_say_nothing() -> None:
    sample = np.full((100, 2), np.nan)
    assert judge_intensity([sample, sample]) == (0.0, (NOT_NUMBERS,))


def test_missing_returns_in_map_coordinates_are_not_far_points(tmp_path: Path) -> None:
    points = street().astype(np.float64)
    points[:, :3] += (450_000, 5_000_000, 300)
    points[::3, :3] = 0
    sweep = read(tmp_path, points)
    assert not any("9 km" in notice for notice in sweep.notices)
    assert sweep.origin_m != (0, 0, 0)


def test_one_sweep_of_another_scale_does_not_darken_the_others(tmp_path: Path) -> None:
    sweeps = [street(i) for i in range(8)]
    sweeps[5][:, 3] *= 255
    paths = write_folder(tmp_path / "drive", sweeps)
    reading = survey_sweeps(paths, SensorSetup()).reading_of(paths[0])
    assert reading is not None
    assert reading.intensity_max == 1
    (notice,) = reading.notices
    assert notice.startswith("1 of 8 sweeps have intensities of 0..255, first ")
    assert notice.endswith("000005.bin: all are read as 0..1")


def crowded(seed: int) -> Points:
    """A street so full of crates that a third of the near points is on the ground."""
    rng = np.random.default_rng(seed)
    points = street(seed)
    crate = rng.random(len(points)) < 0.75
    points[crate, 2] += rng.uniform(0.3, 4, crate.sum()).astype(np.float32)
    return points


def test_sweeps_agree_on_a_tilt_that_none_shows_clearly(tmp_path: Path) -> None:
    rotation = sensor_rotation("flu", (12.0, 0.0))
    paths = write_folder(tmp_path / "drive", [turned(crowded(i), rotation) for i in range(6)])
    for path in paths:
        assert read_sweep(path).level_deg == (0.0, 0.0)
    for sweep in read_folder(paths):
        np.testing.assert_allclose(sweep.level_deg, (12.0, 0.0), atol=2.5)
    alone = read_sweep(paths[0])
    assert any(notice.startswith("the ground may be inclined by 1") for notice in alone.notices)
