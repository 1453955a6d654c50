"""Read the points of a file as they are stored, whatever its format.

Reading the wrong format seldom fails: float64 values, or a wrong number of floats per point, yield
points that look plausible. The content is therefore checked, and a mismatch is an error.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bev_instseg.exceptions import ScanError
from bev_instseg.file_io import read_file
from bev_instseg.io.bin_layout import INTENSITY_FIRST, check_bin_layout, infer_bin_layout
from bev_instseg.io.columns import looks_like_intensity, looks_like_x_y, not_an_intensity
from bev_instseg.io.las import doubt_unit, read_las
from bev_instseg.io.numpy_files import read_npy, read_npz
from bev_instseg.io.pcd import read_pcd
from bev_instseg.io.ply import read_ply
from bev_instseg.io.records import xyz_and_intensity
from bev_instseg.io.sensor_setup import bin_columns

SUFFIXES = (".bin", ".npy", ".npz", ".pcd", ".ply", ".las", ".laz")
MORE_COLUMNS = "more than 4 columns: read the first four as x, y, z, intensity"
ROWS_TO_CHECK = 1024


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
        ScanError: The file is missing or unreadable, or see `stored_points`.
    """
    return stored_points(path, read_file(path, "sweep"), bin_format)


def stored_points(path: str | Path, data: NDArray[np.uint8], bin_format: str) -> StoredPoints:
    """Return all points of a file that has been read, in its order and coordinates.

    Args:
        path: The file; its suffix selects the format.
        data: (num_bytes,) uint8 its content; the points may share its memory.
        bin_format: Content of a ``.bin`` file; see `SensorSetup.format`.

    Returns:
        The points and what was assumed about them.

    Raises:
        ScanError: The file is cut short, its suffix is unknown, or its content does not match its
            suffix.
    """
    suffix = Path(path).suffix.lower()
    try:
        match suffix:
            case ".bin":
                return _read_bin(data, bin_format)
            case ".npy" | ".npz":
                return _first_columns(read_npy(data) if suffix == ".npy" else read_npz(data))
            case ".pcd":
                records, notices = read_pcd(data)
                return StoredPoints(xyz_and_intensity(records), notices)
            case ".ply":
                return StoredPoints(xyz_and_intensity(read_ply(data)))
            case ".las" | ".laz":
                return StoredPoints(read_las(data), doubt_unit(data))
    except ImportError:
        raise ScanError(
            f"{path}: reading compressed LAS needs lazrs: pip install 'bev-instseg[las]'"
        ) from None
    except (ValueError, MemoryError) as error:
        reason = " ".join(str(error).split()) or "not enough memory"
        remedy = "" if ";" in reason else "; copy it again or convert it"
        raise ScanError(f"{path}: {reason}{remedy}") from None
    raise ScanError(f"{path}: not one of {', '.join(SUFFIXES)}; convert or rename it")


def _read_bin(data: NDArray[np.uint8], bin_format: str) -> StoredPoints:
    auto, _, otherwise = bin_format.partition(":")
    if auto == "auto":
        columns, notices = infer_bin_layout([data], otherwise)
    else:
        columns = bin_columns(bin_format)
        notices = check_bin_layout(data, columns)
    values = data.view("<f4").reshape(-1, len(columns))
    if columns == "xyzi":
        return StoredPoints(values.astype(np.float32, copy=False), notices)
    wanted = [columns.index(letter) for letter in "xyzi" if letter in columns]
    return StoredPoints(values[:, wanted].astype(np.float32, copy=False), notices)


def _first_columns(values: NDArray[np.floating]) -> StoredPoints:
    """Return x, y, z and, if the fourth or the first column can be one, the intensity.

    Raises:
        ValueError: The first column is not a coordinate, and there are more than four.
    """
    some = values[:: max(len(values) // ROWS_TO_CHECK, 1)]
    intensity_first = looks_like_intensity(some[:, 0]) and looks_like_x_y(*some[:, 1:3].T)
    if values.shape[1] > 3 and intensity_first:
        if values.shape[1] > 4:
            raise ValueError("the first column is not a coordinate; save x, y, z, intensity first")
        return StoredPoints(np.ascontiguousarray(values[:, [1, 2, 3, 0]]), (INTENSITY_FIRST,))
    if why := not_an_intensity(some[:, 3:4].ravel(), can_be_negative=values.shape[1] == 4):
        notice = f"{values.shape[1]} columns, the fourth {why}: read the first three as x, y, z"
        return StoredPoints(np.ascontiguousarray(values[:, :3]), (notice,))
    notices = (MORE_COLUMNS,) if values.shape[1] > 4 else ()
    return StoredPoints(np.ascontiguousarray(values[:, :4]), notices)
