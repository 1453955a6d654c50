"""Tiny data sets in both layouts, and a configuration to match.

Both show the same streets: a flat road 1.7 m below the sensor with cars and people on it.
"""

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from bev_instseg.checkpoint import save_weights
from bev_instseg.config import (
    AugmentConfig,
    Config,
    DataConfig,
    ModelConfig,
    SourceConfig,
    TrainConfig,
)
from bev_instseg.grid import BEVGrid
from bev_instseg.models.network import BEVNet

ROOT = Path(__file__).resolve().parent.parent
GROUND_M = -1.7
CAR, PERSON, CYCLIST = 0, 1, 2  # indices of the default classes
SIZES_M = {CAR: (4.0, 1.8, 1.5), PERSON: (0.6, 0.6, 1.7), CYCLIST: (1.7, 0.6, 1.7)}  # l, w, h
KITTI_NAMES = {CAR: "Car", PERSON: "Pedestrian", CYCLIST: "Cyclist"}
SEMANTIC = {CAR: 10, PERSON: 30, CYCLIST: 31}
ROAD = 40

# Camera axes: x right = -y, y down = -z, z forward = x; at the sensor; focal length 350 px (wide).
CALIBRATION = """P0: 700 0 620 0 0 700 180 0 0 0 1 0
P2: 350 0 620 0 0 350 180 0 0 0 1 0
R0_rect: 1 0 0 0 1 0 0 0 1
Tr_velo_to_cam: 0 -1 0 0 0 0 -1 0 1 0 0 0
Tr_imu_to_velo: 1 0 0 0 0 1 0 0 0 0 1 0
"""


@dataclasses.dataclass(frozen=True)
class Thing:
    """An object on the road: class, position in the sensor frame (m) and heading."""

    kind: int
    x: float
    y: float
    yaw_rad: float = 0.0


STREETS = {
    "a": (Thing(CAR, 7, 3, 0.3), Thing(CAR, 9, -4, -1.2), Thing(PERSON, 6, -2)),
    "b": (Thing(CAR, 8, -2, 1.0), Thing(PERSON, 9, 3), Thing(CYCLIST, 6, 1.5, 0.8)),
    "c": (
        *(Thing(CAR, 7, -3, 0.1), Thing(CAR, 9, 3, 1.5)),
        *(Thing(PERSON, 7, 0), Thing(CYCLIST, 6, 2, -0.4)),
    ),
}


def street(things: tuple[Thing, ...], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(N, 4) float32 points and (N,) numbers of the things they belong to, 0 for the road."""
    rng = np.random.default_rng(seed)
    road = np.stack(np.meshgrid(np.arange(4, 12.4, 0.2), np.arange(-8, 8, 0.2)), -1).reshape(-1, 2)
    road = road + rng.uniform(-0.09, 0.09, road.shape)
    parts = [np.column_stack([road, rng.normal(GROUND_M, 0.01, len(road)), road[:, 0] * 0 + 0.3])]
    owner = [np.zeros(len(road), int)]
    for number, thing in enumerate(things, 1):
        length, width, height = SIZES_M[thing.kind]
        count = int(300 * length * height / 2)
        inside = rng.uniform(-0.5, 0.5, (count, 2)) * (length, width)
        wall = rng.integers(4, size=count)  # points on the four walls
        inside[wall == 0, 0], inside[wall == 1, 0] = length / 2, -length / 2
        inside[wall == 2, 1], inside[wall == 3, 1] = width / 2, -width / 2
        inside *= 0.98
        cos, sin = np.cos(thing.yaw_rad), np.sin(thing.yaw_rad)
        xy = inside @ np.array([[cos, sin], [-sin, cos]]) + (thing.x, thing.y)
        z = GROUND_M + rng.uniform(0.01, 0.99, count) * height
        parts.append(np.column_stack([xy, z, np.full(count, 0.8 - 0.2 * thing.kind)]))
        owner.append(np.full(count, number))
    return np.concatenate(parts).astype(np.float32), np.concatenate(owner)


def kitti_label(thing: Thing) -> str:
    """The ``label_2`` line of a thing; KITTI's yaw is clockwise from the camera's x axis."""
    length, width, height = SIZES_M[thing.kind]
    yaw = -thing.yaw_rad - np.pi / 2
    return (
        f"{KITTI_NAMES[thing.kind]} 0 0 0 500 100 600 200 {height} {width} {length} "
        f"{-thing.y} {-GROUND_M} {thing.x} {yaw:.6f}"
    )


def write_kitti(root: Path, splits: dict[str, list[str]], folder: str = "velodyne") -> Path:
    """Write a KITTI data set of streets by split: {"train": ["a", "b"], "val": ["c"]}."""
    for part in (folder, "calib", "label_2"):
        (root / "training" / part).mkdir(parents=True, exist_ok=True)
    (root / "ImageSets").mkdir(exist_ok=True)
    for split, names in splits.items():
        (root / "ImageSets" / f"{split}.txt").write_text("".join(f"{name}\n" for name in names))
        for name in names:
            things = STREETS[name]
            street(things)[0].tofile(root / "training" / folder / f"{name}.bin")
            (root / "training" / "calib" / f"{name}.txt").write_text(CALIBRATION)
            lines = "".join(kitti_label(thing) + "\n" for thing in things)
            (root / "training" / "label_2" / f"{name}.txt").write_text(lines)
    return root


def write_semantickitti(root: Path, sequences: dict[str, list[str]]) -> Path:
    """Write a SemanticKITTI data set of streets by sequence; frames are numbered from 000000."""
    for sequence, names in sequences.items():
        folder = root / "sequences" / sequence
        (folder / "velodyne").mkdir(parents=True)
        (folder / "labels").mkdir()
        for i, name in enumerate(names):
            points, owner = street(STREETS[name])
            words = [ROAD] + [SEMANTIC[t.kind] | n << 16 for n, t in enumerate(STREETS[name], 1)]
            points.tofile(folder / "velodyne" / f"{i:06}.bin")
            np.array(words, np.uint32)[owner].tofile(folder / "labels" / f"{i:06}.label")
    return root


ARCHIVE = ("a.bin", "monday/a.bin", "monday/night/b.npy", "tuesday/c.pcd.bin")


def write_archive(root: Path) -> Path:
    """Write the same sweep to folders, in several formats, and files that are not sweeps."""
    points = street(STREETS["a"])[0]
    for name in ARCHIVE:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".npy"):
            np.save(path, points)
        elif name.endswith(".pcd.bin"):
            rings = np.arange(len(points)) % 32
            np.column_stack([points, rings]).astype(np.float32).tofile(path)
        else:
            points.tofile(path)
    for name in (".hidden.bin", ".cache/x.bin", "monday/readme.txt"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(b"")
    return root


@pytest.fixture
def kitti_root(tmp_path: Path) -> Path:
    """A KITTI data set: frames a and b for training, c for validation."""
    return write_kitti(tmp_path / "kitti", {"train": ["a", "b"], "val": ["c"]})


@pytest.fixture
def semantickitti_root(tmp_path: Path) -> Path:
    """A SemanticKITTI data set: sequence 00 with two frames, 01 with one."""
    return write_semantickitti(tmp_path / "semantickitti", {"00": ["a", "b"], "01": ["c"]})


def make_tiny_config() -> Config:
    """A network of a few thousand weights on 64 x 64 cells of 0.4 m; a step takes milliseconds.

    It trains on both data sets, in the folders ``kitti`` and ``semantickitti``.
    """
    return Config(
        grid=BEVGrid((-12.8, 12.8), (-12.8, 12.8), (-5.0, 5.0), 0.4),
        model=ModelConfig(widths=(8, 8, 8), blocks=(1, 1, 1)),
        augment=AugmentConfig(paste=(1, 1, 1)),
        data=DataConfig(
            sources=(
                SourceConfig("kitti", "kitti", ("train",), ("val",)),
                SourceConfig("semantickitti", "semantickitti", ("00",), ("01",)),
            )
        ),
        train=TrainConfig(
            steps=8,
            batch_size=2,
            window_cells=32,
            precision="fp32",
            warmup_steps=2,
            workers=0,
            validate_every=4,
            log_every=2,
            checkpoint_every=4,
        ),
    )


@pytest.fixture
def sweeps(tmp_path: Path) -> Path:
    """A folder of three sweeps: a, b and c."""
    folder = tmp_path / "velodyne"
    folder.mkdir()
    for name, things in STREETS.items():
        street(things)[0].tofile(folder / f"{name}.bin")
    return folder


@pytest.fixture
def tiny_config() -> Config:
    """See `make_tiny_config`."""
    return make_tiny_config()


@pytest.fixture
def config(tiny_config: Config) -> Config:
    """The configuration of `model`."""
    return tiny_config


@pytest.fixture
def model(config: Config) -> BEVNet:
    """An untrained network, for inference."""
    torch.manual_seed(0)
    return BEVNet(config).eval()


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Use one torch thread, because the order of sums depends on the number of threads."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def one_thread_environment() -> dict[str, str]:
    """The environment for a subprocess that imports this package and uses one thread."""
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}


@pytest.fixture
def weights(tmp_path: Path, tiny_config: Config) -> str:
    """Weights of an untrained network whose seed maps exceed the threshold at many pillars."""
    torch.manual_seed(0)
    model = BEVNet(tiny_config)
    with torch.no_grad():
        model.heads.out.bias[: len(tiny_config.classes)] = 2.0
    path = tmp_path / "weights" / "tiny.safetensors"
    path.parent.mkdir()
    save_weights(path, model, tiny_config, {})
    return str(path)
