"""Valid input for each parser, from which `scripts/fuzz.py` starts: small, and made at each run."""

import hashlib
import io
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bev_instseg import Cloud, Instances, Provenance, SweepResult
from bev_instseg.checkpoint import save_weights
from bev_instseg.config import Config, ModelConfig
from bev_instseg.config_files import config_to_dict
from bev_instseg.export.las import encode_laz
from bev_instseg.export.pcd import encode_pcd
from bev_instseg.export.ply import encode_ply
from bev_instseg.export.points import point_records
from bev_instseg.grid import BEVGrid
from bev_instseg.models.network import BEVNet
from bev_instseg.training.cutouts import Cutout, save_objects

SEPARATOR = b"\n--8<--\n"  # between the files or archive members that one input stands for
SHA256 = b"SHA256"  # in an input; replaced by the hash, so that damage gets past the hash's check
CLASSES = Config().class_names
# 8 x 8 cells and a few hundred weights.
SMALL = Config(
    grid=BEVGrid((-6.4, 6.4), (-6.4, 6.4), (-5.0, 5.0), 1.6),
    model=ModelConfig(widths=(2, 2, 2), blocks=(0, 0, 0)),
    train=replace(Config().train, window_cells=0),
)
LABELLED = 40  # points of a label file
POINT_NAMES = ("x", "y", "z", "intensity")
OBJECT_ARRAYS = (
    *("format", "class_names", "points", "offsets", "classes", "centres_m", "sizes_m", "origins"),
)
CALIBRATION = b"""P2: 700 0 620 0 0 700 180 0 0 0 1 0
R0_rect: 1 0 0 0 1 0 0 0 1
Tr_velo_to_cam: 0 -1 0 0 0 0 -1 0 1 0 0 0
"""


def _points(count: int = 60) -> NDArray[np.float32]:
    """Return (N, 4) float32 points on the ground around a sensor, and a car's side."""
    azimuth = np.linspace(0, 6, count)
    ground = np.column_stack([8 * np.cos(azimuth), 8 * np.sin(azimuth), azimuth * 0 - 1.7])
    side = np.column_stack([azimuth, azimuth * 0 + 3, azimuth % 1.5 - 1.7])
    intensity = np.abs(np.sin(np.arange(2 * count)))
    return np.column_stack([np.concatenate([ground, side]), intensity]).astype(np.float32)


def _one_instance(count: int) -> Instances:
    labels = np.zeros(count, np.int32)
    labels[-20:] = 1
    box = np.array([[3, 3, -1, 4, 2, 1.5, 0.1]], np.float32)
    return Instances(labels, np.zeros(1, np.int32), np.full(1, 0.9, np.float32), box, CLASSES)


def _records() -> NDArray[np.void]:
    points = _points()
    cloud = Cloud(points[:, :3], points[:, 3])
    return point_records(cloud, _one_instance(len(points)), Config().classes)


def _bin() -> list[bytes]:
    points = _points()
    ring = (np.arange(len(points)) % 32).astype(np.float32)
    time = np.linspace(0, 0.1, len(points), dtype=np.float32)
    wider = [points[:, :3], points, np.column_stack([points, ring])]
    wider.append(np.column_stack([points, ring, time]))
    return [np.ascontiguousarray(columns, np.float32).tobytes() for columns in wider]


def _npy_of(array: NDArray[Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def _sweep() -> list[bytes]:
    return [_points().tobytes()]


def _npy() -> list[bytes]:
    points = _points(12)
    arrays = [points, points[:, :3].astype(">f8"), points.reshape(4, -1, 4), _records()]
    return [_npy_of(array) for array in arrays]


def _npz() -> list[bytes]:
    x, y, z, intensity = _points(12).T
    by_name = SEPARATOR.join(_npy_of(column) for column in (x, y, z, intensity))
    archive = io.BytesIO()
    np.savez_compressed(archive, points=_points(12))
    return [by_name, archive.getvalue()]


def _ascii_pcd() -> bytes:
    head = "VERSION 0.7\nFIELDS x y z intensity\nSIZE 4 4 4 4\nTYPE F F F F\nCOUNT 1 1 1 1\n"
    rows = "".join(f"{x} {y} {z} {i}\n" for x, y, z, i in _points(12).tolist())
    return f"{head}WIDTH 24\nHEIGHT 1\nPOINTS 24\nDATA ascii\n{rows}".encode()


def _packed_pcd() -> bytes:
    """Return a compressed file whose LZF stream holds literal runs only."""
    planes = np.ascontiguousarray(_points(12).T).tobytes()
    runs = [planes[start : start + 32] for start in range(0, len(planes), 32)]
    packed = b"".join(bytes([len(run) - 1]) + run for run in runs)
    head, _, _ = _ascii_pcd().partition(b"DATA ascii\n")
    sizes = np.array([len(packed), len(planes)], "<u4").tobytes()
    return head + b"DATA binary_compressed\n" + sizes + packed


def _ascii_ply() -> bytes:
    head = "ply\nformat ascii 1.0\nelement camera 1\nproperty float f\nelement vertex 24\n"
    head += "".join(f"property float {name}\n" for name in ("x", "y", "z", "intensity"))
    head += "property list uchar int rest\nelement face 1\nproperty list uchar int v\nend_header\n"
    rows = "".join(f"{x} {y} {z} {i} 2 5 6\n" for x, y, z, i in _points(12).tolist())
    return f"{head}1.5\n{rows}3 0 1 2\n".encode()


def _las(version: str, point_format: int, compress: bool) -> bytes:
    import laspy

    points = _points(12)
    header = laspy.LasHeader(version=version, point_format=point_format)
    header.scales = np.full(3, 0.001)
    las = laspy.LasData(header)
    las.x, las.y, las.z = points[:, :3].T
    las.intensity = (255 * points[:, 3]).astype(np.uint16)
    file = io.BytesIO()
    las.write(file, do_compress=compress)
    return file.getvalue()


def _pcd() -> list[bytes]:
    return [encode_pcd(_records()), _ascii_pcd(), _packed_pcd()]


def _ply() -> list[bytes]:
    return [encode_ply(_records()), _ascii_ply()]


def _las_files() -> list[bytes]:
    return [_las("1.2", 1, False), _las("1.4", 6, False)]


def _laz() -> list[bytes]:
    return [_las("1.2", 1, True), _las("1.4", 6, True), encode_laz(_records())]


def sha256_of(data: bytes) -> bytes:
    """Return the SHA-256 of an input in hexadecimal."""
    return hashlib.sha256(data).hexdigest().encode()


def _result() -> list[bytes]:
    made_from = Provenance(
        sweep="a.bin",
        sweep_bytes=16 * LABELLED,
        sweep_sample="00",
        axes="flu",
        origin_m=(0.0, 0.0, 0.0),
        level_deg=(0.0, 0.0),
        notices=("no intensity: set to 0",),
        grid=BEVGrid(),
        weights_sha256="00",
        settings="00",
        calibration=None,
    )
    return [SweepResult.of(_one_instance(LABELLED), one).to_bytes() for one in (None, made_from)]


def _instances() -> list[bytes]:
    words = _one_instance(LABELLED).labels.astype("<u4")
    words = np.where(words > 0, words << 16 | 10, 0).astype("<u4")
    return [words.tobytes() + SEPARATOR + _result()[0]]


def _config() -> list[bytes]:
    configs = Path(__file__).resolve().parent.parent / "configs"
    texts = [path.read_bytes() for path in sorted(configs.glob("*.yaml"))]
    return [*texts, b"grid: {cell_m: 0.4, x_range_m: [-12.8, 12.8], y_range_m: [-12.8, 12.8]}\n"]


def _label() -> list[bytes]:
    return [bytes(4 * LABELLED)]


def _calib() -> list[bytes]:
    return [CALIBRATION]


def _label_2() -> list[bytes]:
    line = b"Car 0 0 -1.5 500 100 600 200 1.5 1.8 4.0 1.0 1.7 12.0 -1.6\n"
    return [line, line + line.replace(b"Car", b"DontCare") + line.strip() + b" 0.9\n"]


def _weights() -> list[bytes]:
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.safetensors"
        save_weights(path, BEVNet(SMALL), SMALL, {})
        tensors, sidecar = path.read_bytes(), path.with_suffix(".json").read_bytes()
    return [tensors + SEPARATOR + sidecar.replace(sha256_of(tensors), SHA256)]


def _state() -> list[bytes]:
    torch.manual_seed(0)
    body = io.BytesIO()
    state = {"config": config_to_dict(SMALL), "model": BEVNet(SMALL).state_dict(), "step": 3}
    torch.save(state, body)
    return [body.getvalue()]


def _objects() -> list[bytes]:
    points, size = _points(12), np.ones(3, np.float32)
    cutouts = [Cutout(points, index, points[0, :2], size, "frame") for index in (0, 1, -1)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "objects.npz"
        save_objects(path, cutouts, CLASSES)
        whole = path.read_bytes()
    with np.load(io.BytesIO(whole)) as arrays:
        return [SEPARATOR.join(_npy_of(arrays[name]) for name in OBJECT_ARRAYS), whole]


SEEDS: dict[str, Callable[[], list[bytes]]] = {
    "bin": _bin,
    "sweep": _sweep,
    "npy": _npy,
    "npz": _npz,
    "pcd": _pcd,
    "ply": _ply,
    "las": _las_files,
    "laz": _laz,
    "result": _result,
    "instances": _instances,
    "config": _config,
    "label": _label,
    "calib": _calib,
    "label_2": _label_2,
    "weights": _weights,
    "state": _state,
    "objects": _objects,
}
