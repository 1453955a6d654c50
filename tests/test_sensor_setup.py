"""Axes, origin and height: given, inferred from the points, or refused."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bev_instseg.exceptions import ScanError
from bev_instseg.io.infer_frame import FAR_AWAY, infer_ground_m, sample_points
from bev_instseg.io.sensor_setup import KNOWN_SENSORS, SensorSetup, axes_rotation, bin_columns
from bev_instseg.io.sweep import NO_GROUND, Sweep, read_sweep

VECTORS = {
    **{"f": [1.0, 0, 0], "l": [0, 1.0, 0], "u": [0, 0, 1.0]},
    **{"b": [-1.0, 0, 0], "r": [0, -1.0, 0], "d": [0, 0, -1.0]},
}
ALL = ["".join(letters) for letters in itertools.product("fblrud", repeat=3)]
RIGHT_HANDED = [
    axes
    for axes in ALL
    if np.array_equal(np.cross(VECTORS[axes[0]], VECTORS[axes[1]]), VECTORS[axes[2]])
]


def street(num_points: int = 3000, ground_m: float = -1.7) -> NDArray[np.float32]:
    """(N, 4) points of a road between two walls, with the sensor above it; two are not finite."""
    rng = np.random.default_rng(5)
    x = rng.normal(0, 12, num_points)
    y = rng.uniform(-15, 15, num_points)
    z = ground_m + rng.normal(0, 0.03, num_points)
    y[::3] = np.sign(y[::3]) * 15
    z[::3] = ground_m + rng.uniform(0, 8, num_points)[::3]
    points = np.column_stack([x, y, z, rng.uniform(0, 1, num_points)]).astype(np.float32)
    points[7, :3] = np.nan
    points[8, 0] = np.inf
    return points


def read_as(tmp_path: Path, xyz: NDArray, setup: SensorSetup | None = None) -> Sweep:
    """Read (N, 3) coordinates from a file of the same dtype with random intensities."""
    path = tmp_path / "a.npy"
    intensity = np.random.default_rng(8).uniform(0, 1, len(xyz))
    np.save(path, np.column_stack([xyz, intensity]).astype(xyz.dtype))
    return read_sweep(path, setup)


def same_xyz(points: NDArray, expected: NDArray) -> bool:
    return np.array_equal(points[:, :3], expected[:, :3], equal_nan=True)


def test_there_are_24_right_handed_frames() -> None:
    assert len(RIGHT_HANDED) == 24
    assert {"flu", "rfu", "rdf", "frd"} <= set(RIGHT_HANDED)


@pytest.mark.parametrize("axes", RIGHT_HANDED)
def test_axes_rotate_points_into_the_sensor_frame(tmp_path: Path, axes: str) -> None:
    in_sensor_frame = np.array([VECTORS[letter] for letter in axes]).T  # columns: the file's axes
    np.testing.assert_array_equal(axes_rotation(axes), in_sensor_frame)
    xyz = np.random.default_rng(1).normal(0, 10, (50, 3)).astype(np.float32)
    sweep = read_as(tmp_path, xyz, SensorSetup(axes=axes))
    assert sweep.axes == axes
    assert sweep.notices == ()
    np.testing.assert_array_equal(sweep.xyz, xyz)
    np.testing.assert_array_equal(sweep.points[:, :3], (xyz @ in_sensor_frame.T).astype(np.float32))


@pytest.mark.parametrize("axes", sorted(set(ALL) - set(RIGHT_HANDED)))
def test_repeated_and_left_handed_axes_are_refused(axes: str) -> None:
    with pytest.raises(ValueError, match=r"repeat|left-handed") as caught:
        SensorSetup(axes=axes)
    message = str(caught.value)
    assert "\n" not in message
    if "left-handed" in message:
        assert message.split("'")[3] in RIGHT_HANDED


@pytest.mark.parametrize("axes", ["", "fl", "flux", "xyz", "FLU", "Auto"])
def test_malformed_axes_are_refused(axes: str) -> None:
    with pytest.raises(ValueError, match="axes must be three of the letters"):
        SensorSetup(axes=axes)


@pytest.mark.parametrize("height_m", [-0.1, 10.0, np.nan, np.inf])
def test_impossible_heights_are_refused(height_m: float) -> None:
    with pytest.raises(
        ValueError,
        match="height_m, the sensor's height above the ground, must be at least 0 and below 10",
    ):
        SensorSetup(height_m=height_m)


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        *[("kitti", "xyzi"), ("nuscenes", "xyzir"), ("3", "xyz"), ("4", "xyzi"), ("7", "xyzi___")],
        *[("xyz", "xyz"), ("xyz_i", "xyz_i"), ("tzyx", "tzyx"), ("xyzirt", "xyzirt")],
    ],
)
def test_columns_of_bin_files(text: str, columns: str) -> None:
    assert bin_columns(text) == columns
    assert SensorSetup(text).format == text


@pytest.mark.parametrize(
    "text",
    ["", "2", "65", "xy", "xyi", "xxyz", "xyzii", "xyz i", "XYZ", "xyz1", "-4", "4.0", "las"],
)
def test_malformed_formats_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=f"such as xyzi or xyz_i, got '{text}'"):
        SensorSetup(text)


def test_unknown_formats_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"format must be auto, kitti, nuscenes, a number of .*'las'"
    ):
        SensorSetup("las")


def test_known_sensors() -> None:
    assert KNOWN_SENSORS["kitti"] == SensorSetup("kitti", "flu")
    assert KNOWN_SENSORS["nuscenes"] == SensorSetup("nuscenes", "rfu")


@pytest.mark.parametrize("axes", RIGHT_HANDED)
def test_up_is_inferred(tmp_path: Path, axes: str) -> None:
    expected = street()
    turned = np.stack([expected[:, i] * sign for i, sign in nonzero_rows(axes)], axis=1)
    sweep = read_as(tmp_path, turned)
    np.testing.assert_array_equal(
        axes_rotation(sweep.axes)[2], axes_rotation(axes)[2]
    )  # forward cannot be inferred
    assert same_xyz(sweep.points[:, 2:3], expected[:, 2:3])
    if axes[2] == "u":
        assert sweep.axes == "flu"
        assert sweep.notices == ()
    else:
        assert sweep.notices == (f"z does not point up: assumed axes {sweep.axes}",)


def nonzero_rows(axes: str) -> list[tuple[int, int]]:
    """For each axis of the file, the parallel axis of the sensor frame and the sign."""
    return [("flubrd".index(a) % 3, 1 if a in "flu" else -1) for a in axes]


def test_a_low_ceiling_is_not_mistaken_for_the_ground(tmp_path: Path) -> None:
    garage = street()
    garage[::2, 2] = 0.9 + 0.01 * np.sin(np.arange(1500))  # half of the points
    sweep = read_as(tmp_path, garage[:, :3])
    assert sweep.axes == "flu"
    assert same_xyz(sweep.points, garage)


def test_few_points_are_left_unchanged(tmp_path: Path) -> None:
    xyz = np.float32([[5, 0, 9], [5, 0.1, 3], [5, 0.2, -9]])
    sweep = read_as(tmp_path, xyz)
    assert sweep.axes == "flu"
    assert same_xyz(sweep.points, xyz)


@pytest.mark.parametrize("ground_m", [-3.0, -1.73, -0.3, 0.0])
def test_plausible_heights_are_kept(tmp_path: Path, ground_m: float) -> None:
    points = street(ground_m=ground_m)
    sweep = read_as(tmp_path, points[:, :3])
    assert sweep.notices == ()
    assert sweep.origin_m == (0, 0, 0)
    assert same_xyz(sweep.points, points)


@pytest.mark.parametrize("axes", ["flu", "rdf"])
def test_heights_outside_the_grid_are_shifted_into_it(tmp_path: Path, axes: str) -> None:
    expected = street()
    raised = expected[:, :3] + np.float32([0, 0, 41.7])  # ground at 40 m
    turned = np.stack([raised[:, i] * sign for i, sign in nonzero_rows(axes)], axis=1)
    sweep = read_as(tmp_path, turned, SensorSetup(axes=axes))
    assert sweep.notices == ("heights outside -10..10 m: shifted the ground to z = -1.7 m",)
    up = axes_rotation(axes)[2]
    np.testing.assert_allclose(sweep.origin_m, up * 41.7, atol=0.06)
    np.testing.assert_allclose(sweep.points[:, :3], expected[:, :3], atol=0.06)
    assert abs(infer_ground_m(sample_points(sweep.points[:, :3])) + 1.7) < 0.01


def test_a_given_height_shifts_the_ground(tmp_path: Path) -> None:
    points = street(ground_m=-0.3)
    sweep = read_as(tmp_path, points[:, :3], SensorSetup(height_m=1.84))
    assert abs(infer_ground_m(sample_points(sweep.points[:, :3])) + 1.84) < 0.01
    assert same_xyz(sweep.points[:, :2].repeat(2, axis=1), points[:, :2].repeat(2, axis=1))
    assert sweep.origin_m[:2] == (0, 0)
    np.testing.assert_allclose(sweep.origin_m[2], 1.54, atol=0.03)
    assert sweep.notices == ()


@pytest.mark.parametrize(("height_m", "rise_m"), [(1.9, 0), (None, 40)])
def test_without_points_near_the_sensor_heights_are_kept(
    tmp_path: Path, height_m: float | None, rise_m: float
) -> None:
    points = street()
    points = points[np.hypot(points[:, 0], points[:, 1]) > 31] + np.float32([0, 0, rise_m, 0])
    sweep = read_as(tmp_path, points[:, :3], SensorSetup(height_m=height_m, origin_m=(0, 0, 0)))
    assert same_xyz(sweep.points, points)
    assert NO_GROUND in sweep.notices


def test_missing_returns_do_not_move_with_the_other_points(tmp_path: Path) -> None:
    points = street()
    points[::3, :3] = 0
    for setup in (SensorSetup(origin_m=(20, 0, 0)), SensorSetup(height_m=1.0)):
        sweep = read_as(tmp_path, points[:, :3], setup)
        assert np.isnan(sweep.points[::3, :3]).all()
        assert np.isfinite(sweep.points[1::3, :3]).mean() > 0.99


def test_ground_is_neither_the_ceiling_nor_stray_points_below() -> None:
    rng = np.random.default_rng(2)
    xyz = rng.uniform(-20, 20, (1000, 3))
    xyz[:, 2] = np.r_[
        -1.7 + rng.normal(0, 0.03, 300),
        np.full(400, 1.0),
        rng.uniform(-1.5, 1, 270),
        np.full(30, -5),
    ]
    assert abs(infer_ground_m(xyz) + 1.7) < 0.03
    assert infer_ground_m(xyz[:0]) == 0
    assert infer_ground_m(xyz + np.array([100, 0, 0])) == 0


def test_map_coordinates_are_shifted_before_they_become_float32(tmp_path: Path) -> None:
    expected = street()
    position_m = np.array([512_345.0, 5_412_345.0, 312.0])
    world = expected[:, :3].astype(np.float64) + position_m
    sweep = read_as(tmp_path, world)
    assert sweep.notices == (FAR_AWAY,)
    origin_m = np.array(sweep.origin_m)
    np.testing.assert_array_equal(origin_m, np.round(origin_m))
    assert np.abs(origin_m - position_m).max() <= 3
    np.testing.assert_array_equal(sweep.xyz, world)
    np.testing.assert_allclose(
        sweep.points[:, :3], expected[:, :3] + (position_m - origin_m).astype(np.float32), atol=1e-5
    )


def test_map_coordinates_with_y_down(tmp_path: Path) -> None:
    expected = street()
    world = np.column_stack([expected[:, 0], -expected[:, 2], expected[:, 1]]).astype(np.float64)
    sweep = read_as(tmp_path, world + np.array([7000, 0, -4000]))
    assert sweep.axes == "rdf"
    assert len(sweep.notices) == 2
    back = (axes_rotation("rdf") @ (sweep.xyz[0] - sweep.origin_m)).astype(np.float32)
    np.testing.assert_array_equal(sweep.points[0, :3], back)


def test_float32_map_coordinates_are_refused(tmp_path: Path) -> None:
    world = street()[:, :3] + np.float32([512_345, 5_412_345, 312])
    with pytest.raises(ScanError, match="float32 is too coarse") as caught:
        read_as(tmp_path, world)
    assert "\n" not in str(caught.value)


def test_missing_returns_are_ignored(tmp_path: Path) -> None:
    expected = street()
    expected[100:2500, :3] = 0
    turned = np.column_stack([-expected[:, 1], -expected[:, 2], expected[:, 0]])
    assert read_as(tmp_path, turned).axes == "rdf"


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0])
def test_a_sweep_of_missing_returns_is_refused(tmp_path: Path, value: float) -> None:
    with pytest.raises(ScanError, match="every point is a missing return"):
        read_as(tmp_path, np.full((5, 3), value), SensorSetup(height_m=1.7))
