"""What `scripts/fuzz.py` feeds with damaged input: every parser of the package.

A parser may read its input or refuse it with its own exception, in one line that names the file.
Everything else is a finding.
"""

import hashlib
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import fuzz_seeds
import numpy as np
import torch

from bev_instseg import SweepResult
from bev_instseg.checkpoint import load_model
from bev_instseg.config_files import load_config
from bev_instseg.datasets.kitti_files import read_boxes, read_calibration
from bev_instseg.exceptions import (
    BevInstsegError,
    CheckpointError,
    ConfigError,
    KittiError,
    ObjectsError,
    ScanError,
)
from bev_instseg.export import read_instances
from bev_instseg.io.formats import read_stored_points
from bev_instseg.io.labels import read_labels
from bev_instseg.io.sweep import read_sweep
from bev_instseg.model_files import FORMAT
from bev_instseg.training.cutouts import load_objects


@dataclass(frozen=True)
class Target:
    """A parser under test.

    Attributes:
        name: Its name on the command line.
        suffix: Of the file that it reads.
        read: The parser; called with the path.
        refusal: The only exception that it may raise.
        write: Writes an input to the path, and perhaps more files beside it.
        words: What a fuzzer would hardly guess.
    """

    name: str
    suffix: str
    read: Callable[[Path], object]
    refusal: type[BevInstsegError]
    write: Callable[[Path, bytes], object] = Path.write_bytes
    words: tuple[str, ...] = ()


def check(target: Target, data: bytes, folder: Path) -> bool:
    """Let a parser read an input.

    Args:
        target: The parser.
        data: The input.
        folder: A folder for the files.

    Returns:
        Whether the input was read; False if it was refused.

    Raises:
        AssertionError: The refusal is not one line that names the file.
        Exception: A finding: anything but the parser's own exception.
    """
    path = folder / f"input{target.suffix}"
    target.write(path, data)
    try:
        target.read(path)
    except target.refusal as refusal:
        message = str(refusal)
        if "\n" in message or "\r" in message or path.stem not in message:
            raise AssertionError(f"not one line that names the file: {message!r}") from refusal
        return False
    return True


def _write_npz(names: Sequence[str], path: Path, data: bytes) -> None:
    """Write an archive of the parts of an input under these names, or an input of one part."""
    parts = data.split(fuzz_seeds.SEPARATOR)
    if len(parts) == 1:
        path.write_bytes(data)
        return
    with zipfile.ZipFile(path, "w") as archive:
        for name, part in zip(names, parts, strict=False):
            archive.writestr(f"{name}.npy", part)


def _write_pair(second: str, path: Path, data: bytes) -> None:
    """Write the two parts of an input to the path and to its neighbour with another suffix."""
    first, _, other = data.partition(fuzz_seeds.SEPARATOR)
    path.write_bytes(first)
    path.with_suffix(second).write_bytes(
        other.replace(fuzz_seeds.SHA256, fuzz_seeds.sha256_of(first))
    )


def _write_state(path: Path, data: bytes) -> None:
    """Write an input as the body of a training state, with the right hash."""
    body = torch.frombuffer(bytearray(data or b"\0"), dtype=torch.uint8)
    sha256 = hashlib.sha256(data or b"\0").hexdigest()
    torch.save({"format": FORMAT, "sha256": sha256, "body": body}, path)


def _write_sweep(path: Path, data: bytes) -> None:
    """Write an input as the float32 x, y, z and intensity of an array."""
    np.save(path, np.frombuffer(data[: len(data) // 16 * 16], "<f4").reshape(-1, 4))


def _read_labels(path: Path) -> object:
    return read_labels(path, fuzz_seeds.LABELLED)


def _read_instances(path: Path) -> object:
    return read_instances(path, path.with_suffix(".json"))


def _load_objects(path: Path) -> object:
    return load_objects(path, fuzz_seeds.CLASSES)


PCD_WORDS = (
    *("VERSION", "FIELDS", "COLUMNS", "SIZE", "TYPE", "COUNT", "WIDTH", "HEIGHT", "VIEWPOINT"),
    *("POINTS", "DATA", "ascii", "binary", "binary_compressed", "4294967295", "-1", "nan", "_"),
)
PLY_WORDS = (
    *("element vertex ", "element face ", "property list uchar int ", "property float ", "comment"),
    *("binary_little_endian", "binary_big_endian", "double", "end_header\n", "4294967295", "-nan"),
)
LAS_WORDS = ("LASF", "laszip encoded", "\xff\xff\xff\xff", "\xff\xff\xff\x7f")
YAML_WORDS = ("!!int", "!!binary", "!!python/name:os.system", "&a", "*a", "<<: ", "[[[[", "1e999")
JSON_WORDS = ("[" * 40, "1e999", "NaN", "null", "-1", "99999999999999999999", "[0,0]")

_points_of = partial(Target, read=read_stored_points, refusal=ScanError)
_pair = partial(_write_pair, ".json")
TARGETS = (
    _points_of("bin", ".bin"),
    _points_of("npy", ".npy"),
    _points_of("npz", ".npz", write=partial(_write_npz, fuzz_seeds.POINT_NAMES)),
    _points_of("pcd", ".pcd", words=PCD_WORDS),
    _points_of("ply", ".ply", words=PLY_WORDS),
    _points_of("las", ".las", words=LAS_WORDS),
    _points_of("laz", ".laz", words=LAS_WORDS),
    Target("sweep", ".npy", read_sweep, ScanError, _write_sweep),
    Target("label", ".label", _read_labels, ScanError),
    Target("result", ".json", SweepResult.read, ScanError, words=JSON_WORDS),
    Target(
        *("instances", ".label", _read_instances, ScanError),
        write=_pair,
        words=JSON_WORDS,
    ),
    Target("calib", ".txt", read_calibration, KittiError),
    Target("label_2", ".txt", read_boxes, KittiError),
    Target("config", ".yaml", load_config, ConfigError, words=YAML_WORDS),
    Target(
        *("weights", ".safetensors", load_model, CheckpointError),
        write=_pair,
        words=JSON_WORDS,
    ),
    Target("state", ".pt", load_model, CheckpointError, _write_state),
    Target(
        *("objects", ".npz", _load_objects, ObjectsError),
        write=partial(_write_npz, fuzz_seeds.OBJECT_ARRAYS),
    ),
)
