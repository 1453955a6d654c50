"""Points as structured arrays: one record per point, with the file's field names."""

import numpy as np
from numpy.typing import NDArray

MAX_HEADER_BYTES = 1 << 16  # a PCD or PLY header is never longer
INTENSITY_NAMES = (  # most preferred first, in lower case
    *("intensity", "scalar_intensity", "i"),
    *("reflectivity", "reflectance", "remission"),
)


@np.errstate(over="ignore", invalid="ignore")
def parse_ascii_records(body: NDArray[np.uint8], dtype: np.dtype, num_points: int) -> np.ndarray:
    """Parse records written as numbers separated by white space.

    Args:
        body: Bytes of the file after its header; anything after the last point is ignored.
        dtype: Structured type of a point.
        num_points: Number of points.

    Returns:
        (num_points,) structured array.

    Raises:
        ValueError: There are too few numbers, or a word is not a number.
    """
    names = dtype.names or ()
    widths = [int(np.prod(dtype[name].shape)) for name in names]
    needed = num_points * sum(widths)
    words = body.tobytes().split(maxsplit=needed)[:needed] if needed <= len(body) else []
    if len(words) < needed:
        raise ValueError(f"cut short: {num_points} points need {needed} numbers")
    numbers = np.array(words, np.float64).reshape(num_points, sum(widths))
    records = np.empty(num_points, dtype)
    first = 0
    for name, width in zip(names, widths, strict=True):
        records[name] = numbers[:, first : first + width].reshape(records[name].shape)
        first += width
    return records


def parse_binary_records(body: NDArray[np.uint8], dtype: np.dtype, num_points: int) -> np.ndarray:
    """View packed binary records as a structured array.

    Args:
        body: Bytes of the file after its header; anything after the last point is ignored.
        dtype: Structured type of a point.
        num_points: Number of points.

    Returns:
        (num_points,) structured array that shares memory with ``body``.

    Raises:
        ValueError: There are too few bytes.
    """
    needed = num_points * dtype.itemsize
    if len(body) < needed:
        raise ValueError(f"cut short: {num_points} points need {needed} bytes, not {len(body)}")
    return np.ndarray(num_points, dtype, body)


@np.errstate(over="ignore", invalid="ignore")
def xyz_and_intensity(records: np.ndarray) -> NDArray[np.floating]:
    """Copy x, y, z and, if there is one, the intensity from records into columns.

    Args:
        records: (N,) structured array with fields x, y, z and perhaps one of `INTENSITY_NAMES`;
            case does not matter.

    Returns:
        (N, 4) array, or (N, 3) without intensity: float32, or float64 if float32 cannot hold
        every coordinate.

    Raises:
        ValueError: x, y or z is missing, or a field is not one number per point.
    """
    names = records.dtype.names or ()
    by_name = {name.lower(): name for name in names}
    if missing := [name for name in "xyz" if name not in by_name]:
        raise ValueError(f"no field {', '.join(missing)} among {', '.join(names) or 'none'}")
    intensity = next((name for name in INTENSITY_NAMES if name in by_name), None)
    fields = [records[by_name[name]] for name in ("x", "y", "z", intensity) if name]
    if any(field.ndim != 1 or field.dtype.kind not in "iuf" for field in fields):
        raise ValueError("x, y, z and intensity must be one number per point")
    dtype = np.result_type(np.float32, *(field.dtype for field in fields[:3]))
    columns = np.empty((len(records), len(fields)), dtype)
    for k, field in enumerate(fields):
        columns[:, k] = field
    return columns
