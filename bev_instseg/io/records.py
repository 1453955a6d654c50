"""Points as a file holds them: named fields, one record a point."""

import numpy as np
from numpy.typing import NDArray

INTENSITY_NAMES = (
    *("intensity", "scalar_intensity", "i"),
    *("reflectivity", "reflectance", "remission"),
)


@np.errstate(over="ignore", invalid="ignore")
def records_of_text(body: NDArray[np.uint8], dtype: np.dtype, num_points: int) -> np.ndarray:
    """Records written as numbers with white space between them; more text may follow.

    Raises:
        ValueError: too few numbers, or what is no number.
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


def records_of_bytes(body: NDArray[np.uint8], dtype: np.dtype, num_points: int) -> np.ndarray:
    """Records one after the other; more bytes may follow.

    Raises:
        ValueError: too few bytes.
    """
    needed = num_points * dtype.itemsize
    if len(body) < needed:
        raise ValueError(f"cut short: {num_points} points need {needed} bytes, not {len(body)}")
    return np.ndarray(num_points, dtype, body)


@np.errstate(over="ignore", invalid="ignore")
def table_of(records: np.ndarray) -> NDArray[np.floating]:
    """x, y, z and, if there is one, the intensity of records.

    Args:
        records: (N,) structured array with the fields x, y, z; upper and lower case are the same.

    Returns:
        (N, 3) or (N, 4) array of its own: float64 if a coordinate is wider than float32.

    Raises:
        ValueError: x, y or z is missing, or one of the four is no single number.
    """
    names = records.dtype.names or ()
    by_name = {name.lower(): name for name in names}
    if missing := [name for name in "xyz" if name not in by_name]:
        raise ValueError(f"no field {', '.join(missing)} among {', '.join(names) or 'none'}")
    intensity = next((name for name in INTENSITY_NAMES if name in by_name), None)
    columns = [records[by_name[name]] for name in ("x", "y", "z", intensity) if name]
    if any(column.ndim != 1 or column.dtype.kind not in "iuf" for column in columns):
        raise ValueError("x, y, z and intensity must be one number a point each")
    wide = np.result_type(np.float32, *(column.dtype for column in columns[:3]))
    table = np.empty((len(records), len(columns)), wide)
    for k, column in enumerate(columns):
        table[:, k] = column
    return table
