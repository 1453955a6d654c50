"""Points as structured arrays: one record per point, with the file's field names."""

import re
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

MAX_HEADER_BYTES = 1 << 16  # a PCD or PLY header is never longer
# Most preferred first, in lower case; CloudCompare writes "scalar_" before them.
INTENSITY_NAMES = ("intensity", "i", "reflectivity", "reflectance", "remission")
COMMENT_LINE = re.compile(rb"^[ \t]*(?:#|comment\b|//).*$", re.MULTILINE)
# What C libraries write for numbers that are not finite, besides nan and inf: -nan(ind), 1.#QNAN.
NOT_FINITE = re.compile(rb"([+-]?)(?:1\.?#?)?(?:(nan|qnan|snan|ind)|inf)[\w()]*", re.IGNORECASE)


def check_size(num_bytes: int, num_points: int, point_bytes: int) -> None:
    """Raise ValueError if there are fewer bytes than points need."""
    needed = num_points * point_bytes
    if num_bytes < needed:
        raise ValueError(
            f"cut short: {num_points} points need {needed} bytes, not {num_bytes}; copy it again"
        )


def split_words(body: NDArray[np.uint8]) -> list[bytes]:
    """Return the words of text without its comment lines."""
    text = body.tobytes()
    if b"#" in text or b"//" in text or b"comment" in text:
        text = COMMENT_LINE.sub(b"", text)
    return text.split()


def parse_numbers(words: list[bytes]) -> NDArray[np.float64]:
    """Parse words as numbers, including what C libraries write for NaN and infinity.

    Raises:
        ValueError: A word is not a number.
    """
    try:
        return np.array(words, np.float64)
    except ValueError:
        return np.array([_parse_number(word) for word in words], np.float64)


def _parse_number(word: bytes) -> float:
    try:
        return float(word)
    except ValueError:
        match = NOT_FINITE.fullmatch(word)
    if not match:
        text = word[:30].decode("latin-1")
        raise ValueError(f"'{text}' among the points is not a number; write the file again")
    return np.nan if match[2] else float(match[1] + b"inf")


def names_by_meaning(names: Iterable[str]) -> dict[str, str]:
    """Return the name that stands for each of ``x``, ``intensity`` and the like.

    The exact name comes first, then one in another case, then one that begins with ``scalar_``.

    Args:
        names: Names of fields or arrays.
    """
    names = tuple(names)
    return {key(name): name for key in (_meaning, str.lower, str) for name in names}


def _meaning(name: str) -> str:
    return name.lower().removeprefix("scalar_")


@np.errstate(over="ignore", invalid="ignore")
def parse_ascii_records(words: list[bytes], dtype: np.dtype, num_points: int) -> np.ndarray:
    """Parse records written as numbers separated by white space.

    Args:
        words: The numbers; see `split_words`. Anything after the last point is ignored.
        dtype: Structured type of a point.
        num_points: Number of points.

    Returns:
        (num_points,) structured array.

    Raises:
        ValueError: There are too few numbers, a word is not a number, or a coordinate or intensity
            is not of the type of its field.
    """
    names = dtype.names or ()
    widths = [int(np.prod(dtype[name].shape)) for name in names]
    needed = num_points * sum(widths)
    if len(words) < needed:
        raise ValueError(
            f"cut short: {num_points} points need {needed} numbers, not {len(words)}; copy it again"
        )
    numbers = parse_numbers(words[:needed]).reshape(num_points, sum(widths))
    records = np.empty(num_points, dtype)
    first = 0
    for name, width in zip(names, widths, strict=True):
        values = numbers[:, first : first + width].reshape(records[name].shape)
        records[name] = values
        used = _meaning(name) in ("x", "y", "z", *INTENSITY_NAMES)
        if used and records[name].dtype.kind in "iu" and not (records[name] == values).all():
            odd = values[records[name] != values].flat[0]
            raise ValueError(
                f"field {name} is declared as {records[name].dtype.name}, but holds {odd:g}; "
                "declare its type correctly"
            )
        first += width
    return records


def parse_binary_records(body: NDArray[np.uint8], dtype: np.dtype, num_points: int) -> np.ndarray:
    """View packed binary records as a structured array.

    Args:
        body: (num_bytes,) uint8 content after the header; anything after the last point is ignored.
        dtype: Structured type of a point.
        num_points: Number of points.

    Returns:
        (num_points,) structured array that shares memory with ``body``.

    Raises:
        ValueError: There are too few bytes.
    """
    check_size(len(body), num_points, dtype.itemsize)
    return np.ndarray(num_points, dtype, body)


@np.errstate(over="ignore", invalid="ignore")
def xyz_and_intensity(records: np.ndarray) -> NDArray[np.floating]:
    """Copy x, y, z and, if there is one, the intensity from records into columns.

    Args:
        records: (N,) structured array with fields x, y, z and perhaps one of `INTENSITY_NAMES`;
            see `names_by_meaning`.

    Returns:
        (N, 4) array, or (N, 3) without intensity: float32, or float64 if float32 cannot hold
        every coordinate.

    Raises:
        ValueError: x, y or z is missing, or a field is not one number per point.
    """
    names = records.dtype.names or ()
    by_name = names_by_meaning(names)
    if missing := [name for name in "xyz" if name not in by_name]:
        raise ValueError(
            f"no field {', '.join(missing)} among {', '.join(names) or 'none'}; rename its fields"
        )
    intensity = next((name for name in INTENSITY_NAMES if name in by_name), None)
    fields = [records[by_name[name]] for name in ("x", "y", "z", intensity) if name]
    if any(field.ndim != 1 or field.dtype.kind not in "iuf" for field in fields):
        raise ValueError("x, y, z and intensity must be one number per point")
    dtype = np.result_type(np.float32, *(field.dtype for field in fields[:3]))
    columns = np.empty((len(records), len(fields)), dtype)
    for k, field in enumerate(fields):
        columns[:, k] = field
    return columns
