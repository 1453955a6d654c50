"""Read the points of NumPy files: ``.npy`` and ``.npz``.

Points are the rows of an array (N, 3 or more), the records of a structured array, or columns by
name in an archive. Organised clouds (H, W, 3 or more) are read row by row.
"""

import io
import zipfile
from collections.abc import Sequence

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from bev_instseg.io.records import INTENSITY_NAMES, names_by_meaning, xyz_and_intensity

MAX_UNPACKED_BYTES = 1 << 28  # an archive may unpack to this much, or to more if it is large
MAX_COMPRESSION = 20
MAX_COLUMNS = 32  # an array with more columns is probably transposed
MAX_WIDTH = 20_000  # points in a row of an organised cloud; with more, each row is a whole sweep
MIN_HEIGHT = 4  # rows of an organised cloud; with fewer, each row may be a whole sweep


def read_npy(data: NDArray[np.uint8]) -> NDArray[np.floating]:
    """Return the columns of the points of an ``.npy`` file.

    Args:
        data: (num_bytes,) uint8 content of the file.

    Returns:
        (N, 3 or more) float array, or (N, 3 or 4) from named fields.

    Raises:
        ValueError: The bytes are not an array of points, or not as many as its header announces.
    """
    if data[:2].tobytes() == b"PK":
        raise ValueError("an .npz archive; rename it to .npz")
    return _points(_load(data))


def read_npz(data: NDArray[np.uint8]) -> NDArray[np.floating]:
    """Return the columns of the points of an ``.npz`` file.

    They are the arrays x, y, z, or the only array that could be points. If an array beside them has
    the name and the size of their intensities, it is the fourth and last column.

    Args:
        data: (num_bytes,) uint8 content of the file.

    Returns:
        (N, 3 or more) float array.

    Raises:
        ValueError: The bytes are not an archive, or it is unclear which array holds the points.
    """
    arrays = _load_archive(data)
    found_as = names_by_meaning(arrays)
    names = [found_as[name] for name in INTENSITY_NAMES if name in found_as]
    if all(name in found_as for name in "xyz"):
        columns = [arrays[found_as[name]].reshape(-1) for name in "xyz"]
        if len({len(column) for column in columns}) > 1:
            raise ValueError("x, y and z differ in length; write the file again")
        points = _floats(np.stack(columns, axis=1))
    else:
        points = _points(_only_cloud(arrays, names))
    fitting = [arrays[name] for name in names if arrays[name].size == len(points)]
    if fitting:
        intensity = _floats(fitting[0].reshape(-1, 1), integers=True)
        return np.column_stack([points[:, :3], intensity])
    if names and points.shape[1] == 3:
        raise ValueError(
            f"{arrays[names[0]].size} intensities for {len(points)} points; write the file again"
        )
    return points


def _only_cloud(arrays: dict[str, np.ndarray], names: Sequence[str]) -> np.ndarray:
    """Return the only array that could be points; those with ``names`` are intensities."""
    others = [array for name, array in arrays.items() if name not in names]
    found = [array for array in others if array.dtype.names or array.ndim > 1]
    if len(found) != 1:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        raise ValueError(
            f"it is unclear which array holds the points ({shapes or 'none'}); save them as "
            ".npy, or as x, y, z and intensity"
        )
    return found[0]


def _load(data: NDArray[np.uint8]) -> np.ndarray:
    """Return the array of an ``.npy`` file, which shares memory with its bytes."""
    file = io.BytesIO(data[: 1 << 16].tobytes())
    try:
        version = npy_format.read_magic(file)
        if version == (1, 0):
            shape, by_columns, dtype = npy_format.read_array_header_1_0(file)
        else:
            shape, by_columns, dtype = npy_format.read_array_header_2_0(file)
    except Exception as error:  # any type: NumPy parses the header as Python
        raise ValueError(f"NumPy cannot read its header: {error}") from error
    if dtype.hasobject or min(shape, default=1) < 0:
        raise ValueError(f"{dtype} of shape {shape}, not numbers; save a float array of points")
    count = int(np.prod(shape, dtype=object))
    body = data[file.tell() :]
    if len(body) < count * dtype.itemsize:
        raise ValueError(
            f"cut short: {dtype} of shape {shape} needs {count * dtype.itemsize} bytes, not "
            f"{len(body)}; copy it again"
        )
    if len(body) > count * dtype.itemsize:
        raise ValueError("another array or other data follows the array; save one array per file")
    array = np.ndarray(count, dtype, body)
    return array.reshape(shape, order="F" if by_columns else "C")


def _load_archive(data: NDArray[np.uint8]) -> dict[str, np.ndarray]:
    """Return the arrays by name, without those of Python objects."""
    arrays = {}
    try:
        with zipfile.ZipFile(io.BytesIO(data.data)) as archive:
            members = [m for m in archive.infolist() if m.filename.endswith(".npy")]
            unpacked = sum(member.file_size for member in members)
            if unpacked > max(MAX_UNPACKED_BYTES, MAX_COMPRESSION * len(data)):
                raise ValueError(f"unpacks to {unpacked} bytes, too many for a sweep; split it")
            for member in members:
                content = np.frombuffer(archive.read(member), np.uint8)
                arrays[member.filename.removesuffix(".npy")] = _load(content)
    except ValueError:
        raise
    except Exception as error:  # any type, from a hostile archive
        raise ValueError(f"not a whole .npz archive: {error}; copy it again") from error
    return arrays


def _points(array: np.ndarray) -> NDArray[np.floating]:
    if array.dtype.names:
        return xyz_and_intensity(array.reshape(-1))
    if array.ndim not in (2, 3) or array.shape[-1] < 3:
        raise ValueError(
            f"{array.dtype} of shape {array.shape}, not floats of shape (N, 3 or more) or a "
            "structured array with x, y, z; save it as one of these"
        )
    if array.ndim == 3 and len(array) > 1 and array.shape[1] > MAX_WIDTH:
        raise ValueError(
            f"shape {array.shape} looks like a stack of {len(array)} sweeps, as no sensor has "
            f"{array.shape[1]} directions; save each sweep in a file of its own"
        )
    num_rows, num_columns = array.shape[0], array.shape[-1]
    lies_sideways = array.ndim == 2 and 0 < num_rows < num_columns and num_columns > 5
    if num_columns > MAX_COLUMNS or lies_sideways:
        raise ValueError(
            f"shape {array.shape}, not (N, 3 or more): transpose it; x, y, z must be its last axis"
        )
    if array.ndim == 3 and 1 < len(array) < MIN_HEIGHT:
        raise ValueError(
            f"shape {array.shape} may be {len(array)} sweeps or one; save each sweep in a file of "
            "its own, as (N, 3 or more)"
        )
    return _floats(array.reshape(-1, num_columns))


def _floats(values: np.ndarray, integers: bool = False) -> NDArray[np.floating]:
    """Return values as float32 or float64 in native byte order."""
    if values.dtype.kind != "f" and not (integers and values.dtype.kind in "iu"):
        raise ValueError(
            f"{values.dtype} of shape {values.shape}, not floats; save coordinates in metres"
        )
    dtype = np.float64 if values.itemsize > 4 or values.dtype.kind != "f" else np.float32
    return values.astype(dtype)
