"""The points of a file as it holds them, whatever its format.

A wrong format rarely fails by itself: a float64 file or one with five floats a point reads as
plausible points. So content is looked at, and what does not fit is refused in one line.
"""

import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bev_instseg.exceptions import ScanError
from bev_instseg.file_io import read_file
from bev_instseg.io.pcd import read_pcd
from bev_instseg.io.ply import read_ply
from bev_instseg.io.records import table_of

POINT_BYTES = 16  # KITTI: float32 x, y, z, intensity
FIVE_FLOATS_BYTES = 20  # nuScenes: x, y, z, intensity, ring
FAR_M = 1e4  # no LiDAR sees this far
FAR_SHARE = 0.01  # of the numbers; a file with more beyond FAR_M is no sweep in metres

SUFFIXES = (".bin", ".npy", ".pcd", ".ply", ".las", ".laz")
FIVE_FLOATS = "5 floats a point: read as nuScenes x, y, z, intensity, ring"
MORE_COLUMNS = "more than 4 columns: the first four read as x, y, z, intensity"


class Table(NamedTuple):
    """What a file holds.

    Attributes:
        values: (N, 3) or (N, 4) float32 or float64 x, y, z and intensity, as in the file, in
            memory that nobody else uses.
        notices: what was taken for granted, a line each.
    """

    values: NDArray[np.floating]
    notices: tuple[str, ...] = ()


def read_table(path: str | Path, bin_format: str = "auto") -> Table:
    """The points of a file, all of them, in its order and its coordinates.

    Args:
        path: the file; its suffix says what it is.
        bin_format: of a ``.bin`` file, see `Mounting.format`.

    Raises:
        ScanError: missing or unreadable file, another suffix, a file that is cut short, or content
            that is not what it should be.
    """
    data = read_file(path, "sweep")
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise ScanError(f"{path}: not one of {', '.join(SUFFIXES)}; convert it, or rename it")
    if suffix == ".bin":
        return _read_bin(path, data, bin_format)
    try:
        if suffix == ".npy":
            return _read_npy(data)
        if suffix == ".pcd":
            return Table(table_of(read_pcd(data)))
        if suffix == ".ply":
            return Table(table_of(read_ply(data)))
        if suffix == ".laz":
            import lazrs  # noqa: F401, which laspy decompresses with
        return _read_las(data)
    except ImportError:
        raise ScanError(
            f"{path}: reading {suffix} needs laspy and lazrs: pip install 'bev-instseg[las]'"
        ) from None
    except (ValueError, MemoryError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ScanError(f"{path}: {reason}; copy it again or convert it") from None


def _read_bin(path: str | Path, data: NDArray[np.uint8], bin_format: str) -> Table:
    rings = bin_format == "nuscenes" or (bin_format == "auto" and _has_rings(data))
    point_bytes = FIVE_FLOATS_BYTES if rings else POINT_BYTES
    if over := len(data) % point_bytes:
        fields = f"float32 x, y, z, intensity{', ring' if rings else ''}"
        five = not rings and len(data) % FIVE_FLOATS_BYTES == 0
        raise ScanError(
            f"{path}: {len(data)} bytes are {over} bytes over a whole number of points "
            f"({point_bytes} bytes: {fields}); the file is cut short or has "
            f"{'5 floats a point, as in nuScenes' if five else 'another format'}: "
            "copy it again, name its format or convert it"
        )
    if not rings and _is_float64(data):
        raise ScanError(
            f"{path}: looks like float64, KITTI sweeps are float32; convert it with "
            "np.fromfile(path, np.float64).astype(np.float32).tofile(new_path)"
        )
    values = data.view("<f4").reshape(-1, point_bytes // 4)[:, :4].astype(np.float32, copy=False)
    return Table(values, (FIVE_FLOATS,) if rings and bin_format == "auto" else ())


def _read_npy(data: NDArray[np.uint8]) -> Table:
    try:
        array = np.load(io.BytesIO(data.data), allow_pickle=False)
    except Exception as error:  # of many kinds: the header is parsed as Python
        raise ValueError(f"no array that NumPy reads: {error}") from error
    if not isinstance(array, np.ndarray):
        raise ValueError("an .npz archive; save its array of points as .npy")
    if array.dtype.names and array.ndim == 1:
        return Table(table_of(array))
    if array.dtype.kind != "f" or array.ndim != 2 or array.shape[1] < 3:
        raise ValueError(
            f"{array.dtype} of shape {array.shape}, not floats of shape (N, 3 or more) "
            "or a structured array with x, y, z"
        )
    if len(array) <= 5 < array.shape[1]:
        raise ValueError(f"shape {array.shape}, not (N, 3 or more): transpose it")
    wide = np.float64 if array.itemsize > 4 else np.float32
    values = np.require(array[:, :4], wide, ("C_CONTIGUOUS", "WRITEABLE"))
    return Table(values, (MORE_COLUMNS,) if array.shape[1] > 4 else ())


def _read_las(data: NDArray[np.uint8]) -> Table:
    import laspy

    try:
        las = laspy.read(io.BytesIO(data.data))
    except Exception as error:  # of many kinds, from two libraries
        raise ValueError(f"no points that laspy reads: {error}") from error
    intensity = np.asarray(las.intensity)
    columns = [las.x, las.y, las.z, intensity][: 4 if intensity.any() else 3]
    return Table(np.column_stack([np.asarray(column, np.float64) for column in columns]))


@np.errstate(invalid="ignore")
def _has_rings(data: NDArray[np.uint8]) -> bool:
    """Whether every fifth float is a whole number 0..255, while the first of five is not."""
    if len(data) % FIVE_FLOATS_BYTES:
        return False
    x, *_, ring = data.view("<f4").reshape(-1, 5).T
    for some in (ring[:100], ring):  # the first nearly always say no; all take long
        if not ((some == np.rint(some)) & (some >= 0) & (some <= 255)).all():
            return False
    return bool(ring.any() and (x != np.rint(x)).any())


@np.errstate(invalid="ignore")
def _is_float64(data: NDArray[np.uint8]) -> bool:
    """Whether the bytes make sense as (N, 4) float64 and do not as float32."""
    if len(data) % 32:
        return False
    doubles = data.view("<f8").reshape(-1, 4)
    for some in (doubles[:100], doubles):  # the first nearly always say no; all take long
        if not (np.abs(some[:, :3]) < 300).all() or not (np.abs(some[:, 3] - 127.5) <= 127.5).all():
            return False
    size = np.abs(data.view("<f4"))
    strange = np.count_nonzero(np.isnan(size) | ((size > FAR_M) & (size < np.inf)))
    return bool(strange > FAR_SHARE * len(size))
