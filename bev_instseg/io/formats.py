"""Read the points of a file as they are stored, whatever its format.

Reading the wrong format seldom fails: float64 values, or five floats per point, yield points that
look plausible. The content is therefore checked, and a mismatch is an error.
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
from bev_instseg.io.records import xyz_and_intensity

POINT_BYTES = 16  # KITTI: float32 x, y, z, intensity
RING_POINT_BYTES = 20  # nuScenes: float32 x, y, z, intensity, ring
MAX_RANGE_M = 1e4  # no LiDAR sees farther
MAX_FAR_SHARE = 0.01  # if more of the numbers are beyond that, they are not metres

SUFFIXES = (".bin", ".npy", ".pcd", ".ply", ".las", ".laz")
FIVE_FLOATS = "5 floats per point: read as nuScenes x, y, z, intensity, ring"
MORE_COLUMNS = "more than 4 columns: read the first four as x, y, z, intensity"


class StoredPoints(NamedTuple):
    """The points of a file as they are stored.

    Attributes:
        values: (N, 3) or (N, 4) float32 or float64 x, y, z and intensity, neither moved nor scaled;
            the array is writable and shared with nobody.
        notices: What was assumed about the file, one line each.
    """

    values: NDArray[np.floating]
    notices: tuple[str, ...] = ()


def read_stored_points(path: str | Path, bin_format: str = "auto") -> StoredPoints:
    """Read all points of a file, in its order and coordinates.

    Args:
        path: The file; its suffix selects the format.
        bin_format: Content of a ``.bin`` file; see `SensorSetup.format`.

    Returns:
        The points and what was assumed about them.

    Raises:
        ScanError: The file is missing, unreadable or cut short, its suffix is unknown, or its
            content does not match its suffix.
    """
    data = read_file(path, "sweep")
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise ScanError(f"{path}: not one of {', '.join(SUFFIXES)}; convert or rename it")
    if suffix == ".bin":
        return _read_bin(path, data, bin_format)
    try:
        if suffix == ".npy":
            return _read_npy(data)
        if suffix == ".pcd":
            return StoredPoints(xyz_and_intensity(read_pcd(data)))
        if suffix == ".ply":
            return StoredPoints(xyz_and_intensity(read_ply(data)))
        if suffix == ".laz":
            import lazrs  # noqa: F401, laspy needs it to decompress
        return _read_las(data)
    except ImportError:
        raise ScanError(
            f"{path}: reading {suffix} needs laspy and lazrs: pip install 'bev-instseg[las]'"
        ) from None
    except (ValueError, MemoryError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ScanError(f"{path}: {reason}; copy it again or convert it") from None


def _read_bin(path: str | Path, data: NDArray[np.uint8], bin_format: str) -> StoredPoints:
    rings = bin_format == "nuscenes" or (bin_format == "auto" and _has_rings(data))
    point_bytes = RING_POINT_BYTES if rings else POINT_BYTES
    if excess := len(data) % point_bytes:
        fields = f"float32 x, y, z, intensity{', ring' if rings else ''}"
        five = not rings and len(data) % RING_POINT_BYTES == 0
        raise ScanError(
            f"{path}: {len(data)} bytes are {excess} more than a whole number of points "
            f"({point_bytes} bytes each: {fields}); the file is cut short or has "
            f"{'5 floats per point, as in nuScenes' if five else 'a different format'}: "
            "copy it again, set --format or convert it"
        )
    if not rings and _is_float64(data):
        raise ScanError(
            f"{path}: looks like float64, but KITTI sweeps are float32; convert it with "
            "np.fromfile(path, np.float64).astype(np.float32).tofile(new_path)"
        )
    values = data.view("<f4").reshape(-1, point_bytes // 4)[:, :4].astype(np.float32, copy=False)
    return StoredPoints(values, (FIVE_FLOATS,) if rings and bin_format == "auto" else ())


def _read_npy(data: NDArray[np.uint8]) -> StoredPoints:
    try:
        array = np.load(io.BytesIO(data.data), allow_pickle=False)
    except Exception as error:  # any type: NumPy parses the header as Python
        raise ValueError(f"NumPy cannot load it: {error}") from error
    if not isinstance(array, np.ndarray):
        raise ValueError("an .npz archive; save its array of points as .npy")
    if array.dtype.names and array.ndim == 1:
        return StoredPoints(xyz_and_intensity(array))
    if array.dtype.kind != "f" or array.ndim != 2 or array.shape[1] < 3:
        raise ValueError(
            f"{array.dtype} of shape {array.shape}, not floats of shape (N, 3 or more) "
            "or a structured array with x, y, z"
        )
    if len(array) <= 5 < array.shape[1]:
        raise ValueError(f"shape {array.shape}, not (N, 3 or more): transpose it")
    dtype = np.float64 if array.itemsize > 4 else np.float32
    values = np.require(array[:, :4], dtype, ("C_CONTIGUOUS", "WRITEABLE"))
    return StoredPoints(values, (MORE_COLUMNS,) if array.shape[1] > 4 else ())


def _read_las(data: NDArray[np.uint8]) -> StoredPoints:
    import laspy

    try:
        las = laspy.read(io.BytesIO(data.data))
    except Exception as error:  # any type, from two libraries
        raise ValueError(f"laspy cannot read it: {error}") from error
    intensity = np.asarray(las.intensity)
    columns = [las.x, las.y, las.z, intensity][: 4 if intensity.any() else 3]
    return StoredPoints(np.column_stack([np.asarray(column, np.float64) for column in columns]))


@np.errstate(invalid="ignore")
def _has_rings(data: NDArray[np.uint8]) -> bool:
    """Return whether every fifth float is a whole number 0..255, but the first of five is not."""
    if len(data) % RING_POINT_BYTES:
        return False
    x, *_, ring = data.view("<f4").reshape(-1, 5).T
    for part in (ring[:100], ring):  # the first 100 nearly always decide; all take much longer
        if not ((part == np.rint(part)) & (part >= 0) & (part <= 255)).all():
            return False
    return bool(ring.any() and (x != np.rint(x)).any())


@np.errstate(invalid="ignore")
def _is_float64(data: NDArray[np.uint8]) -> bool:
    """Return whether the bytes are plausible as (N, 4) float64 but not as float32."""
    if len(data) % 32:
        return False
    doubles = data.view("<f8").reshape(-1, 4)
    for part in (doubles[:100], doubles):  # the first 100 nearly always decide
        if not (np.abs(part[:, :3]) < 300).all() or not (np.abs(part[:, 3] - 127.5) <= 127.5).all():
            return False
    size = np.abs(data.view("<f4"))
    implausible = np.count_nonzero(np.isnan(size) | ((size > MAX_RANGE_M) & (size < np.inf)))
    return bool(implausible > MAX_FAR_SHARE * len(size))
