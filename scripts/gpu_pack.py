r"""Pack the frames of a configuration into a small file, to carry them to a GPU machine.

Examples:
  python scripts/gpu_pack.py pack frames.tar DATA --config configs/default.yaml
  python scripts/gpu_pack.py pack frames.tar DATA \
      --config configs/study/claims.yaml --parts train val
  python scripts/gpu_pack.py unpack frames.tar DATA

Packing leaves out sources that are not there, such as a simulated one, and points off the grid.
Coordinates are rounded to 5 mm and intensities to 1/5100, which keeps steps of 1/100 and of 1/255.
A point takes about four bytes instead of sixteen. Packing and unpacking use all cores.
"""

import argparse
import dataclasses
import io
import lzma
import multiprocessing
import tarfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bev_instseg.config import Config
from bev_instseg.config_files import load_config
from bev_instseg.datasets.frames import FrameRef
from bev_instseg.grid import BEVGrid
from bev_instseg.ops.voxelize import on_grid
from bev_instseg.training.training_set import list_sources

STEPS = np.array([0.005, 0.005, 0.005, 1 / 5100])  # of x, y, z in metres, and of intensity
Part = Literal["train", "val"]
Member = tuple[str, bytes]  # path in the data folder, and content; points and labels are encoded


def main() -> None:
    """Pack or unpack."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("action", choices=("pack", "unpack"))
    parser.add_argument("archive", type=Path, help="the .tar file to write or read")
    parser.add_argument("data", type=Path, help="the folder of all data sets")
    parser.add_argument("--config", type=Path, help="configuration with the frames to pack")
    parser.add_argument(
        "--parts",
        nargs="+",
        choices=("train", "val"),
        default=["train"],
        help="frames to pack (default: train)",
    )
    arguments = parser.parse_args()
    if arguments.action == "unpack":
        unpack(arguments.archive, arguments.data)
    elif arguments.config is None:
        parser.error("pack needs --config")
    else:
        config = load_config(arguments.config)
        pack(arguments.archive, arguments.data, config, arguments.parts)


def pack(archive: Path, data: Path, config: Config, parts: Sequence[Part]) -> None:
    """Write the frames of all sources that exist to a .tar file."""
    present = tuple(s for s in config.data.sources if (data / s.path).is_dir())
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, sources=present))
    listed = [source for part in parts for source in list_sources(config, data, part)]
    refs = [ref for _, refs in listed for ref in refs]
    lists = [
        data / source.path / "ImageSets" / f"{name}.txt"
        for source in present
        if source.layout == "kitti"
        for part in parts
        for name in getattr(source, part)
    ]
    with multiprocessing.Pool() as pool, tarfile.open(archive, "w") as tar:
        members = [_compress(str(path.relative_to(data)), path.read_bytes()) for path in lists]
        for member in members:
            _add(tar, member)
        for members in pool.imap(partial(pack_frame, data=data, grid=config.grid), refs):
            for member in members:
                _add(tar, member)
    print(f"{len(refs)} frames in {archive}, {archive.stat().st_size / 2**20:.1f} MiB")


def unpack(archive: Path, data: Path) -> None:
    """Write the files in an archive to a folder."""
    with tarfile.open(archive) as tar, multiprocessing.Pool() as pool:
        members = ((info.name, tar.extractfile(info).read()) for info in tar)  # type: ignore[union-attr]
        count = sum(pool.imap_unordered(partial(unpack_file, data=data), members))
    print(f"{count} files in {data}")


def pack_frame(ref: FrameRef, data: Path, grid: BEVGrid) -> list[Member]:
    """Return the files of a frame, its points and labels without those off the grid."""
    root = Path(ref.root)
    if ref.layout == "kitti":
        sweep = root / "training" / "velodyne" / f"{ref.name}.bin"
        if not sweep.exists():
            sweep = root / "training" / "velodyne_reduced" / f"{ref.name}.bin"
        others = [root / "training" / part / f"{ref.name}.txt" for part in ("calib", "label_2")]
    else:
        sequence, _, frame = ref.name.partition("/")
        sweep = root / "sequences" / sequence / "velodyne" / f"{frame}.bin"
        others = [root / "sequences" / sequence / "labels" / f"{frame}.label"]
    points = np.fromfile(sweep, np.float32).reshape(-1, 4)
    rows = np.flatnonzero(on_grid(points, grid))
    contents = {sweep: encode_points(points[rows])}
    for path in others:
        contents[path] = path.read_bytes()
        if path.suffix == ".label":
            contents[path] = _bytes_by_significance(np.fromfile(path, np.uint32)[rows])
    return [_compress(str(path.relative_to(data)), body) for path, body in contents.items()]


def unpack_file(member: Member, data: Path) -> int:
    """Write one file of a frame; return 1, for counting."""
    name, body = member[0].removesuffix(".xz"), lzma.decompress(member[1])
    path = data / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".bin":
        body = decode_points(body).tobytes()
    elif path.suffix == ".label":
        body = np.frombuffer(body, np.uint8).reshape(4, len(body) // 4).T.tobytes()
    path.write_bytes(body)
    return 1


def encode_points(points: NDArray[np.float32]) -> bytes:
    """Encode (N, 4) float32 points in 8 N bytes that compress well: steps, then differences."""
    steps = np.round(points / STEPS)
    if len(steps) and np.abs(steps).max() > np.iinfo(np.int16).max:
        raise ValueError("a coordinate is over 163 m or an intensity over 6.4; cannot be packed")
    columns = np.diff(np.ascontiguousarray(steps.T, np.int16), axis=1, prepend=np.int16(0))
    return b"".join(_bytes_by_significance(column.view(np.uint16)) for column in columns)


def decode_points(body: bytes) -> NDArray[np.float32]:
    """Return the (N, 4) float32 points that `encode_points` encoded, rounded."""
    low, high = (
        np.frombuffer(body, np.uint8).reshape(4, 2, len(body) // 8).astype(np.uint16).swapaxes(0, 1)
    )
    steps = np.cumsum(low | high << 8, axis=1, dtype=np.uint16).view(np.int16)
    points: NDArray[np.float32] = (steps.T * STEPS).astype(np.float32)
    return points


def _bytes_by_significance(numbers: NDArray[np.unsignedinteger]) -> bytes:
    """Return all lowest bytes, then all second lowest, and so on."""
    return numbers.view(np.uint8).reshape(-1, numbers.itemsize).T.tobytes()


def _compress(name: str, body: bytes) -> Member:
    return f"{name}.xz", lzma.compress(body, preset=6)


def _add(tar: tarfile.TarFile, member: Member) -> None:
    info = tarfile.TarInfo(member[0])
    info.size = len(member[1])
    tar.addfile(info, io.BytesIO(member[1]))


if __name__ == "__main__":
    main()
