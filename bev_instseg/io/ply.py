"""Read the points of Polygon files (``.ply``): ascii, and binary of either byte order.

Not read with Open3D, which returns uninitialised memory if a file is cut short or holds an infinite
number, and drops 16-bit intensities.
"""

import numpy as np
from numpy.typing import NDArray

from bev_instseg.io.records import MAX_HEADER_BYTES, parse_ascii_records, parse_binary_records

TYPES = {
    **{"char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4"},
    **{"int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4"},
    **{"float": "f4", "double": "f8", "float32": "f4", "float64": "f8"},
}
BYTE_ORDERS = {"ascii": "=", "binary_little_endian": "<", "binary_big_endian": ">"}


def read_ply(data: NDArray[np.uint8]) -> np.ndarray:
    """Return the vertices of a PLY file as records, in the file's order.

    Args:
        data: Bytes of the file.

    Returns:
        (N,) structured array with the properties of the vertices.

    Raises:
        ValueError: The bytes are not a PLY file or are fewer than its header announces, or the
            vertices do not come first or contain lists.
    """
    head = data[:MAX_HEADER_BYTES].tobytes()
    end = head.find(b"\nend_header")
    start = head.find(b"\n", end + 1) + 1
    if not head.startswith(b"ply") or end < 0 or not start:
        raise ValueError("no PLY header")
    byte_order, dtype, num_points = _parse_header(head[:end].decode("latin-1").splitlines())
    parse = parse_ascii_records if byte_order == BYTE_ORDERS["ascii"] else parse_binary_records
    return parse(data[start:], dtype, num_points)


def _parse_header(lines: list[str]) -> tuple[str, np.dtype, int]:
    """Return the byte order in NumPy's notation, the type of a vertex and their number."""
    byte_order, num_points = "", -1
    fields: list[tuple[str, str]] = []
    for line in lines:
        match line.split():
            case ["format", name, _] if name in BYTE_ORDERS:
                byte_order = BYTE_ORDERS[name]
            case ["element", "vertex", count] if count.isdecimal():
                num_points = int(count)
            case ["element", *_] if num_points >= 0:
                break  # faces and the like are not read
            case ["property", kind, name] if kind in TYPES and num_points >= 0:
                fields.append((name, byte_order + TYPES[kind]))
            case ["ply" | "comment" | "obj_info", *_] | []:
                pass
            case _:
                raise ValueError(f"cannot read '{line.strip()[:60]}' in the PLY header")
    if not byte_order or num_points < 0:
        raise ValueError("the PLY header has no format or no vertices")
    return byte_order, np.dtype(fields), num_points
