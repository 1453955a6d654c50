"""Point Cloud Data (``.pcd``): ascii, binary and binary_compressed.

Read here and not with Open3D, which returns unset memory where a file is cut short.
"""

import numpy as np
from numpy.typing import NDArray

from bev_instseg.io.records import records_of_bytes, records_of_text
from bev_instseg.ops.kernel import kernel

SIZES = {"F": "248", "I": "1248", "U": "1248"}  # in bytes, by letter of the type
MAX_HEADER_BYTES = 1 << 16


def read_pcd(data: NDArray[np.uint8]) -> np.ndarray:
    """The points of a PCD file as records, in their order.

    Args:
        data: the file's bytes.

    Returns:
        (N,) structured array with the file's fields; padding fields are named ``_0``, ``_1``, ...

    Raises:
        ValueError: no PCD, or less data than the header says.
    """
    header, start = _header(data)
    dtype, num_points = _dtype(header), _num_points(header)
    kind, body = header["DATA"][0].lower(), data[start:]
    if kind == "ascii":
        return records_of_text(body, dtype, num_points)
    if kind == "binary":
        return records_of_bytes(body, dtype, num_points)
    if kind == "binary_compressed":
        return _decompressed(body, dtype, num_points)
    raise ValueError(f"unknown PCD data '{kind}'")


def _header(data: NDArray[np.uint8]) -> tuple[dict[str, list[str]], int]:
    """Words by keyword, and where the points begin."""
    header: dict[str, list[str]] = {}
    start = 0
    text = data[:MAX_HEADER_BYTES].tobytes()
    while "DATA" not in header:
        end = text.find(b"\n", start)
        if end < 0:
            raise ValueError("no PCD header")
        key, *words = text[start:end].decode("latin-1").split() or [""]
        header[key.upper()] = words
        start = end + 1
    missing = {"FIELDS", "SIZE", "TYPE", "DATA"} - {key for key, words in header.items() if words}
    if missing:
        raise ValueError(f"the PCD header has no {', '.join(sorted(missing))}")
    return header, start


def _dtype(header: dict[str, list[str]]) -> np.dtype:
    names, sizes, letters = header["FIELDS"], header["SIZE"], header["TYPE"]
    counts = header.get("COUNT") or ["1"] * len(names)
    if not len(names) == len(sizes) == len(letters) == len(counts):
        raise ValueError("FIELDS, SIZE, TYPE and COUNT of the PCD header differ in length")
    fields: list[tuple] = []
    for k, (name, size, letter, count) in enumerate(
        zip(names, sizes, letters, counts, strict=True)
    ):
        if len(size) != 1 or size not in SIZES.get(letter.upper(), ""):
            raise ValueError(f"PCD field {name} has an unknown type {letter}{size}")
        many = _whole(count, "COUNT")
        shape = () if many == 1 else (many,)
        fields.append((f"_{k}" if name == "_" else name, f"<{letter.lower()}{size}", shape))
    return np.dtype(fields)


def _num_points(header: dict[str, list[str]]) -> int:
    if points := header.get("POINTS"):
        return _whole(points[0], "POINTS")
    width, height = header.get("WIDTH"), header.get("HEIGHT") or ["1"]
    if not width:
        raise ValueError("the PCD header has neither POINTS nor WIDTH")
    return _whole(width[0], "WIDTH") * _whole(height[0], "HEIGHT")


def _whole(word: str, key: str) -> int:
    if not word.isdecimal():
        raise ValueError(f"{key} of the PCD header is no whole number")
    return int(word)


def _decompressed(body: NDArray[np.uint8], dtype: np.dtype, num_points: int) -> np.ndarray:
    """Compressed points: all values of the first field, then all of the second, ..."""
    if len(body) < 8:
        raise ValueError("cut short: no compressed points")
    packed, unpacked = (int(size) for size in body[:8].view("<u4"))
    needed = num_points * dtype.itemsize
    if unpacked != needed:
        raise ValueError(f"{num_points} points need {needed} bytes, not {unpacked}")
    if len(body) < 8 + packed:
        raise ValueError(f"cut short: {len(body) - 8} bytes of {packed} of compressed points")
    planes = np.empty(unpacked, np.uint8)
    if _unpack(body[8 : 8 + packed], planes) != unpacked:
        raise ValueError("damaged: the compressed points cannot be unpacked")
    records = np.empty(num_points, dtype)
    first = 0
    for name in dtype.names or ():
        last = first + num_points * dtype[name].itemsize
        records[name] = planes[first:last].view(dtype[name].base).reshape(records[name].shape)
        first = last
    return records


@kernel
def _unpack(packed, out):  # type: ignore[no-untyped-def]
    """LZF: packed into out; the number of bytes written, or -1 if that is not how it was packed."""
    i, o = 0, 0
    while i < len(packed):
        control = int(packed[i])
        i += 1
        if control < 32:  # so many bytes and one more as they are
            count = control + 1
            if i + count > len(packed) or o + count > len(out):
                return -1
            for k in range(count):
                out[o + k] = packed[i + k]
            i += count
        else:  # bytes that came before
            count = (control >> 5) + 2
            if count == 9:
                if i >= len(packed):
                    return -1
                count += int(packed[i])
                i += 1
            if i >= len(packed):
                return -1
            source = o - ((control & 31) << 8) - int(packed[i]) - 1
            i += 1
            if source < 0 or o + count > len(out):
                return -1
            for k in range(count):  # one by one: they may overlap
                out[o + k] = out[source + k]
        o += count
    return o
