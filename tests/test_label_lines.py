"""Labelled lane markings without ids become lines for training."""

import subprocess
import sys

import numpy as np
from conftest import ROOT

from bev_instseg.io.labels import read_labels, write_labels

ROAD, SIDEWALK, PAINT, CAR = 40, 48, 60, 10


def strip(x: tuple[float, float], y: float, z: float, kind: int) -> np.ndarray:
    """Points along x with their class in the last column."""
    along = np.arange(*x, 0.3)
    return np.column_stack([along, np.full((len(along), 2), (y, z)), np.full(len(along), kind)])


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts/label_lines.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def test_lines_get_ids_and_kerbs_become_void(tmp_path):
    parts = [
        strip((5, 11), 0, -1.7, PAINT),
        strip((14, 20), 0, -1.7, PAINT),
        strip((5, 20), 3, -1.7, ROAD),
        strip((5, 20), 3.3, -1.55, SIDEWALK),
        strip((5, 20), 6, -1.55, SIDEWALK),
        strip((5, 20), -3, -1.7, ROAD),
        strip((5, 20), -3.2, 3.0, SIDEWALK),  # a bridge above the road
        strip((5, 9), 3.1, -1.0, CAR),
        np.array([[np.nan, 0, 0, PAINT]]),
    ]
    rows = np.concatenate(parts)
    sequence = tmp_path / "in/sequences/00"
    (sequence / "velodyne").mkdir(parents=True)
    (sequence / "labels").mkdir()
    points = np.column_stack([rows[:, :3], np.random.default_rng(0).random(len(rows))]).astype(
        np.float32
    )
    points.tofile(sequence / "velodyne/7.bin")
    write_labels(sequence / "labels/7.label", rows[:, 3].astype(np.uint32))
    for _ in range(2):  # a second run writes the same again
        done = run(tmp_path / "in", "--sequences", "00", "--out", tmp_path / "out")
        assert done.returncode == 0, done.stderr
    out = tmp_path / "out/sequences/00"
    labels = read_labels(out / "labels/7.label", len(points))
    ends = np.cumsum([len(part) for part in parts])[:-1]
    found = [np.unique(part).tolist() for part in np.split(labels, ends)]
    assert found[:2] == [[PAINT | 1 << 16], [PAINT | 2 << 16]]
    assert found[2:] == [[0], [0], [SIDEWALK], [ROAD], [SIDEWALK], [CAR], [PAINT]]
    assert (out / "velodyne/7.bin").read_bytes() == points.tobytes()


def test_the_data_set_itself_is_refused(tmp_path):
    done = run(tmp_path, "--sequences", "00", "--out", tmp_path / "x" / "..")
    assert done.returncode == 2
    assert "--out is the data set itself; choose a new folder" in done.stderr


def test_a_sequence_that_does_not_exist_is_refused(tmp_path):
    (tmp_path / "in/sequences").mkdir(parents=True)
    done = run(tmp_path / "in", "--sequences", "05", "--out", tmp_path / "out")
    assert done.returncode != 0
    assert "no sweep for '05'" in done.stderr
    assert not (tmp_path / "out").exists()
