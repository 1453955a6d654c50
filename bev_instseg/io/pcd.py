"""Read the points of Point Cloud Data files (``.pcd``): ascii, binary and binary_compressed.

Not read with Open3D, which returns uninitialised memory if a file is cut short.
"""

import numpy as np
from numpy.typing import NDArray

from bev_instseg.io.records import (
    MAX_HEADER_BYTES,
    parse_ascii_records,
    parse_binary_records,
    split_words,
)
from bev_instseg.ops.kernel import kernel

VIEWPOINT = [0.0, 0, 0, 1, 0, 0, 0]  # of a sensor at the origin: translation, quaternion w x y z
MOVED = "the PCD viewpoint is not the origin: it is ignored, and coordinates are read as stored"
SIZES = {"F": "248", "I": "1248", "U": "1248"}  # allowed bytes of a value, by type letter


def read_pcd(data: NDArray[np.uint8]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the points of a PCD file as records, in the file's order.

    The viewpoint is the position of the sensor in a map. By the format's definition, stored
    coordinates are in the sensor frame, so the viewpoint is not applied.

    Args:
        data: (num_bytes,) uint8 content of the file.

    Returns:
        (N,) structured array with the file's fields; padding fields are named ``_0``, ``_1``, ...;
        and a notice if the viewpoint is not the origin.

    Raises:
        ValueError: The bytes are not a PCD file, or hold fewer or more points than its header says.
    """
    header, start = _parse_header(data)
    dtype, num_points = _dtype(header), _num_points(header)
    encoding, body = header["DATA"][0].lower(), data[start:]
    if encoding == "ascii":
        words = split_words(body)
        _check_rest(len(words) - num_points * _num_words(dtype), _num_words(dtype))
        records = parse_ascii_records(words, dtype, num_points)
    elif encoding == "binary":
        if body[num_points * dtype.itemsize :].any():  # some writers fill up with zeros
            _check_rest(len(body) - num_points * dtype.itemsize, dtype.itemsize)
        records = parse_binary_records(body, dtype, num_points)
    elif encoding == "binary_compressed":
        records = _decompress(body, dtype, num_points)
    else:
        raise ValueError(f"unknown PCD data '{encoding}'")
    return records, _viewpoint_notices(header)


def _num_words(dtype: np.dtype) -> int:
    return sum(int(np.prod(dtype[name].shape)) for name in dtype.names or ())


def _check_rest(rest: int, needed: int) -> None:
    """Raise ValueError if at least one more point follows the last one."""
    if rest >= max(needed, 1):
        raise ValueError("holds more points than its PCD header announces; write it again")


def _viewpoint_notices(header: dict[str, list[str]]) -> tuple[str, ...]:
    words = header.get("VIEWPOINT") or []
    try:
        same = not words or [float(word) for word in words] == VIEWPOINT
    except ValueError:
        same = False
    return () if same else (MOVED,)


def _parse_header(data: NDArray[np.uint8]) -> tuple[dict[str, list[str]], int]:
    """Return the header's words by keyword, and the offset of the first point in bytes."""
    header: dict[str, list[str]] = {}
    start = 0
    text = data[:MAX_HEADER_BYTES].tobytes()
    while "DATA" not in header:
        end = text.find(b"\n", start)
        if end < 0:
            raise ValueError("no PCD header")
        key, *words = text[start:end].decode("latin-1").split() or [""]
        header["FIELDS" if key.upper() == "COLUMNS" else key.upper()] = words  # PCD 0.5
        start = end + 1
    if header["DATA"] == ["ascii"]:  # PCD 0.5 has neither; text is read as numbers anyway
        header.setdefault("SIZE", ["4"] * len(header.get("FIELDS", ())))
        header.setdefault("TYPE", ["F"] * len(header.get("FIELDS", ())))
    missing = {"FIELDS", "SIZE", "TYPE", "DATA"} - {key for key, words in header.items() if words}
    if missing:
        raise ValueError(f"the PCD header has no {', '.join(sorted(missing))}")
    return header, start


def _dtype(header: dict[str, list[str]]) -> np.dtype:
    """Return the structured type of a point."""
    names, sizes, letters = header["FIELDS"], header["SIZE"], header["TYPE"]
    counts = header.get("COUNT") or ["1"] * len(names)
    if not len(names) == len(sizes) == len(letters) == len(counts):
        raise ValueError("FIELDS, SIZE, TYPE and COUNT of the PCD header differ in length")
    fields: list[tuple[str, str, tuple[int, ...]]] = []
    for k, (name, size, letter, count) in enumerate(
        zip(names, sizes, letters, counts, strict=True)
    ):
        if len(size) != 1 or size not in SIZES.get(letter.upper(), ""):
            raise ValueError(f"PCD field {name} has an unknown type {letter}{size}")
        length = _parse_count(count, "COUNT")
        shape = () if length == 1 else (length,)
        fields.append((f"_{k}" if name == "_" else name, f"<{letter.lower()}{size}", shape))
    return np.dtype(fields)


def _num_points(header: dict[str, list[str]]) -> int:
    if points := header.get("POINTS"):
        return _parse_count(points[0], "POINTS")
    width, height = header.get("WIDTH"), header.get("HEIGHT") or ["1"]
    if not width:
        raise ValueError("the PCD header has neither POINTS nor WIDTH")
    return _parse_count(width[0], "WIDTH") * _parse_count(height[0], "HEIGHT")


def _parse_count(word: str, key: str) -> int:
    if not word.isdecimal():
        raise ValueError(f"{key} of the PCD header is not a whole number")
    return int(word)


def _decompress(body: NDArray[np.uint8], dtype: np.dtype, num_points: int) -> np.ndarray:
    """Unpack compressed points, which are stored field by field rather than point by point."""
    if len(body) < 8:
        raise ValueError("cut short: no compressed points; copy it again")
    packed_bytes, unpacked_bytes = (int(size) for size in body[:8].view("<u4"))
    needed = num_points * dtype.itemsize
    if unpacked_bytes != needed:
        raise ValueError(f"{num_points} points need {needed} bytes, not {unpacked_bytes}")
    if len(body) < 8 + packed_bytes:
        raise ValueError(
            f"cut short: {len(body) - 8} of {packed_bytes} bytes of compressed points; copy it "
            "again"
        )
    planes = np.empty(unpacked_bytes, np.uint8)
    if _unpack_lzf(body[8 : 8 + packed_bytes], planes) != unpacked_bytes:
        raise ValueError("damaged: the compressed points cannot be unpacked")
    records = np.empty(num_points, dtype)
    first = 0
    for name in dtype.names or ():
        last = first + num_points * dtype[name].itemsize
        records[name] = planes[first:last].view(dtype[name].base).reshape(records[name].shape)
        first = last
    return records


@kernel
def _unpack_lzf(packed, out):  # type: ignore[no-untyped-def]
    """Unpack LZF data into ``out``; return the number of bytes written, or -1 if it is malformed.

    Args:
        packed: (P,) uint8 compressed bytes.
        out: (U,) uint8, filled in place.
    """
    i, o = 0, 0
    while i < len(packed):
        control = int(packed[i])
        i += 1
        if control < 32:  # a literal run of control + 1 bytes
            count = control + 1
            if i + count > len(packed) or o + count > len(out):
                return -1
            for k in range(count):
                out[o + k] = packed[i + k]
            i += count
        else:  # a copy of earlier output
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
            for k in range(count):  # byte by byte: source and target may overlap
                out[o + k] = out[source + k]
        o += count
    return o
