"""Labels given by a network: confident objects, background, and void."""

from pathlib import Path

import numpy as np
import pytest
from conftest import STREETS, street

from bev_instseg.checkpoint import save_weights
from bev_instseg.cli import self_label
from bev_instseg.config import Config
from bev_instseg.grid import BEVGrid
from bev_instseg.io.labels import read_labels
from bev_instseg.io.sweep import read_scan
from bev_instseg.models.network import BEVNet
from bev_instseg.ops.voxelize import voxelize
from bev_instseg.structures import Clusters, Instances, PillarEmbeddings, Segmentation
from bev_instseg.training.self_labels import BACKGROUND, self_labels

GRID = BEVGrid((-8.0, 8.0), (-8.0, 8.0), (-3.0, 3.0), 1.0)


def nothing_clustered(num_pillars: int) -> Clusters:
    none = np.zeros(0, np.int32)
    return Clusters(np.zeros(num_pillars, np.int32), none, none.astype(np.float32), none)


def test_confident_objects_empty_background_and_void_between() -> None:
    x = np.array([0.5, 1.5, 2.5, 3.5, 99.0])  # a pillar each, the last off the grid
    points = np.column_stack([x, 0 * x + 0.5, 0 * x, 0 * x]).astype(np.float32)
    pillars = voxelize(points, GRID)
    seed = np.zeros((4, 2), np.float32)
    seed[pillars.point_to_pillar[:4]] = [[0.95, 0], [0, 0.7], [0.05, 0.2], [0.04, 0.05]]
    maps = PillarEmbeddings(np.zeros((4, 2), np.float32), np.zeros((4, 3), np.float32), seed)
    instances = Instances(
        np.array([1, 2, 0, 0, 0], np.int32),
        np.array([0, 1], np.int32),
        np.array([0.95, 0.7], np.float32),
        np.zeros((2, 7), np.float32),
        ("vehicle", "pedestrian"),
    )
    found = Segmentation(pillars, maps, nothing_clustered(4), instances, {})
    labels = self_labels(found, (10, 30), min_score=0.9, max_background_seed=0.1)
    assert labels.tolist() == [10 | 1 << 16, 0, 0, BACKGROUND, 0]
    labels = self_labels(found, (10, 30), min_score=0.7, max_background_seed=0.3)
    assert labels.tolist() == [10 | 1 << 16, 30 | 2 << 16, BACKGROUND, BACKGROUND, 0]


def test_a_sweep_without_points() -> None:
    points = np.zeros((0, 4), np.float32)
    pillars = voxelize(points, GRID)
    maps = PillarEmbeddings(
        np.zeros((0, 2), np.float32), np.zeros((0, 3), np.float32), np.zeros((0, 1), np.float32)
    )
    none = np.zeros(0, np.int32)
    boxes = np.zeros((0, 7), np.float32)
    instances = Instances(none, none, np.zeros(0, np.float32), boxes, ("vehicle",))
    found = Segmentation(pillars, maps, nothing_clustered(0), instances, {})
    assert self_labels(found, (10,), 0.9, 0.1).shape == (0,)


def test_the_command_writes_a_data_set(
    tmp_path: Path, tiny_config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = tmp_path / "tiny.safetensors"
    save_weights(weights, BEVNet(tiny_config), tiny_config, {})
    (tmp_path / "in").mkdir()
    for name in ("b", "a"):
        street(STREETS[name])[0].tofile(tmp_path / "in" / f"{name}.bin")
    arguments = [str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--weights", str(weights)]
    killed = tmp_path / "out" / "sequences" / self_label.UNFINISHED / "velodyne"
    killed.mkdir(parents=True)
    (killed / "000002.bin").write_bytes(b"of other sweeps")  # left behind by another run
    assert self_label.main([*arguments, "--max-background-seed", "0.9"]) == 0
    assert "2 sweep(s)" in capsys.readouterr().out
    assert self_label.main(arguments) == 2
    assert "already exists" in capsys.readouterr().err
    folder = tmp_path / "out" / "sequences" / "00"
    for frame, name in enumerate("ab"):
        points = read_scan(folder / "velodyne" / f"{frame:06d}.bin")
        np.testing.assert_array_equal(points, street(STREETS[name])[0])
        labels = read_labels(folder / "labels" / f"{frame:06d}.label", len(points))
        assert set(np.unique(labels & 0xFFFF)) <= {0, 10, 30, 31, BACKGROUND}
        assert (labels == BACKGROUND).any()
    assert len(list((folder / "velodyne").iterdir())) == 2


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("classes: [{label: 9}, {}, {}]", "class 'vehicle' has label 9, but is not learned from"),
        ("classes: [{}, {label: 99}, {}]", "class 'pedestrian' uses 99, which stands for back"),
        ("classes: [{semantickitti: [10, 99]}, {}, {}]", "class 'vehicle' uses 99, which stands"),
        (
            "classes: [{}, {}, {semantickitti: [31]}]\ndata: {void_semantickitti: [0, 31]}",
            "class 'cyclist' has label 31, which void_semantickitti makes void; remove it there",
        ),
    ],
)
def test_numbers_that_training_would_read_differently_are_refused(
    override: str, complaint: str, weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.bin").write_bytes(street(STREETS["a"])[0].tobytes())
    config, out = tmp_path / "mine.yaml", tmp_path / "out"
    config.write_text(override)
    arguments = [str(tmp_path), "--out", str(out), "--weights", weights, "--config", str(config)]
    assert self_label.main(arguments) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"self_label: {config}: {complaint}")
    assert not out.exists()


def test_a_bad_sweep_leaves_nothing_half_written(
    tmp_path: Path, tiny_config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = tmp_path / "tiny.safetensors"
    save_weights(weights, BEVNet(tiny_config), tiny_config, {})
    (tmp_path / "in").mkdir()
    street(STREETS["a"])[0].tofile(tmp_path / "in" / "a.bin")
    (tmp_path / "in" / "b.bin").write_bytes(b"no points")
    arguments = [str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--weights", str(weights)]
    assert self_label.main(arguments) == 2
    assert "in/b.bin: " in capsys.readouterr().err.splitlines()[-1]
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    (tmp_path / "in" / "b.bin").unlink()
    assert self_label.main(arguments) == 0


def test_notices_are_printed_once_in_one_line(
    tmp_path: Path, tiny_config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = tmp_path / "tiny.safetensors"
    save_weights(weights, BEVNet(tiny_config), tiny_config, {})
    folder = tmp_path / "two\nlines"
    folder.mkdir()
    for name in ("b", "a"):
        points = street(STREETS[name])[0]
        points[:, 3] = np.rint(255 * points[:, 3])
        points.tofile(folder / f"{name}.bin")
    arguments = [str(folder), "--out", str(tmp_path / "out"), "--weights", str(weights)]
    assert self_label.main(arguments) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if "note: " in line]
    name = str(tmp_path / "two\\nlines" / "a.bin")
    assert [line[line.index("self_label: ") :] for line in lines] == [
        f"self_label: note: {name}: intensity 0..255: divided by 255",
        f"self_label: note: 2 sweeps, first {name}: intensity 0..255: divided by 255",
    ]


def test_a_folder_without_sweeps_is_reported_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert self_label.main([str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert (
        capsys.readouterr().err
        == f"self_label: {tmp_path}: no .bin sweeps in this folder; choose another\n"
    )
    assert not (tmp_path / "out").exists()
