"""Streets in motion: exact ids, velocities and poses."""

import csv
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bev_instseg.cli import simulate
from bev_instseg.io.labels import read_labels
from bev_instseg.io.sensor_setup import euler_rotation
from bev_instseg.simulate import HDL64, THINGS
from bev_instseg.simulate.sequence import SWEEP_S, simulate_sequence
from bev_instseg.tracking.given_poses import read_poses, read_times

SMALL = HDL64.__class__(elevations_deg=HDL64.elevations_deg[::4], azimuths=500)


@pytest.fixture(scope="module")
def sweeps() -> list:
    return list(simulate_sequence((3, 1), 5, SMALL))


def test_the_same_seed_gives_the_same_bytes(sweeps: list) -> None:
    again = next(simulate_sequence((3, 1), 5, SMALL))
    np.testing.assert_array_equal(again.points, sweeps[0].points)
    np.testing.assert_array_equal(again.labels, sweeps[0].labels)


def test_velocities_are_those_of_the_positions(sweeps: list) -> None:
    before, now, after = (sweep.objects for sweep in sweeps[1:4])
    measured = (after[:, :2] - before[:, :2]) / (2 * SWEEP_S)
    np.testing.assert_allclose(measured, now[:, 3:5], atol=0.02)
    speed = np.hypot(*now[:, 3:5].T)
    assert (speed > 0.5).sum() >= 3
    assert (speed == 0).sum() >= 3


def test_points_are_on_their_objects_in_every_sweep(sweeps: list) -> None:
    """In the frame of each object its points stay within its box, whoever moves."""
    checked = 0
    for sweep in sweeps:
        world = sweep.points[:, :3] @ sweep.pose[:3, :3].T + sweep.pose[:3, 3]
        for k in np.unique(sweep.labels[np.isin(sweep.labels & 0xFFFF, THINGS)] >> 16):
            x, y, _, _, _, heading, length, width, _ = sweep.objects[k - 1]
            apart = world[sweep.labels >> 16 == k, :2] - (x, y)
            along = apart @ (np.cos(heading), np.sin(heading))
            across = apart @ (-np.sin(heading), np.cos(heading))
            assert np.abs(along).max() < length / 2 + 0.3
            assert np.abs(across).max() < width / 2 + 0.3
            checked += 1
    assert checked > 50


def test_background_stands_still_in_the_world(sweeps: list) -> None:
    """Roads and walls of two sweeps meet: the poses are exact."""
    first, last = (
        sweep.points[:, :3] @ sweep.pose[:3, :3].T + sweep.pose[:3, 3]
        for sweep in (sweeps[0], sweeps[-1])
    )
    building = [sweep.labels == 50 for sweep in (sweeps[0], sweeps[-1])]
    one, other = first[building[0]], last[building[1]]
    assert len(one) > 50
    nearest = np.sqrt(((one[:, None] - other) ** 2).sum(axis=2)).min(axis=1)
    assert np.median(nearest) < 0.6


def test_poses_include_the_turn_of_the_sensor(sweeps: list) -> None:
    """Turned by its mount, the sensor drives along the same way, and points stay on objects."""
    turn_deg = (4.0, 8.0, 70.0)
    turned = list(simulate_sequence((3, 1), 5, replace(SMALL, turn_deg=turn_deg)))
    for sweep, level in zip(turned, sweeps, strict=True):
        np.testing.assert_allclose(sweep.pose[:3, 3], level.pose[:3, 3])
        turn = level.pose[:3, :3].T @ sweep.pose[:3, :3]
        np.testing.assert_allclose(turn, euler_rotation(*turn_deg), atol=1e-12)
        np.testing.assert_array_equal(sweep.objects, level.objects)
    test_points_are_on_their_objects_in_every_sweep(turned)
    test_background_stands_still_in_the_world(turned)


def test_a_sequence_ends_with_its_street(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error names the most frames, which keep the sensor on the street."""
    command = ["--out", str(tmp_path), "--count", "1", "--seed", "3", "--azimuths", "50"]
    assert simulate.main([*command, "--frames", "2000"]) == 2
    message = capsys.readouterr().err.splitlines()[-1]
    most = int(re.findall("simulate at most ([0-9]+) ", message)[0])
    named = f"simulate: {tmp_path}/sequences/00: 2000 frames take the sensor beyond the end"
    assert message.startswith(named)
    assert list(tmp_path.iterdir()) == []
    next(simulate_sequence((3, 0), most, SMALL))
    with pytest.raises(ValueError, match=f"{most + 1} frames take .* at most {most} "):
        next(simulate_sequence((3, 0), most + 1, SMALL))


def test_the_command_writes_the_layout_of_semantickitti(tmp_path: Path) -> None:
    command = ["--out", str(tmp_path), "--count", "2", "--frames", "3", "--azimuths", "200"]
    assert simulate.main(command) == 0
    for sequence in ("00", "01"):
        folder = tmp_path / "sequences" / sequence
        poses, notices = read_poses(folder / "poses.txt")
        assert poses.shape == (3, 4, 4)
        assert notices == ()
        np.testing.assert_allclose(read_times(folder / "times.txt"), [0, 0.1, 0.2])
        seen = set()
        for frame in range(3):
            size = (folder / "velodyne" / f"{frame:06d}.bin").stat().st_size
            words = read_labels(folder / "labels" / f"{frame:06d}.label", size // 16)
            things = words[np.isin(words & 0xFFFF, THINGS)]
            seen |= {(frame, int(k)) for k in np.unique(things >> 16)}
        with open(folder / "objects.csv", newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        assert {(int(row["frame"]), int(row["id"])) for row in rows} == seen
    assert simulate.main(command) == 2  # exists
