"""The points of Polygon files (``.ply``): ascii and binary of both byte orders.

Read here and not with Open3D, which returns unset memory where a file is cut short or holds an
infinite number, and leaves out 16-bit intensities.
"""

import numpy as np
from numpy.typing import NDArray

from bev_instseg.io.records import records_of_bytes, records_of_text

TYPES = {
    **{"char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4"},
    **{"int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4"},
    **{"float": "f4", "double": "f8", "float32": "f4", "float64": "f8"},
}
ORDERS = {"ascii": "=", "binary_little_endian": "<", "binary_big_endian": ">"}
MAX_HEADER_BYTES = 1 << 16


def read_ply(data: NDArray[np.uint8]) -> np.ndarray:
    """The vertices of a PLY file as records, in their order.

    Args:
        data: the file's bytes.

    Returns:
        (N,) structured array with the vertices' properties.

    Raises:
        ValueError: no PLY, less data than the header says, or vertices that do not come first or
            hold lists.
    """
    head = data[:MAX_HEADER_BYTES].tobytes()
    end = head.find(b"\nend_header")
    start = head.find(b"\n", end + 1) + 1
    if not head.startswith(b"ply") or end < 0 or not start:
        raise ValueError("no PLY header")
    order, dtype, num_points = _vertices(head[:end].decode("latin-1").splitlines())
    read = records_of_text if order == ORDERS["ascii"] else records_of_bytes
    return read(data[start:], dtype, num_points)


def _vertices(header: list[str]) -> tuple[str, np.dtype, int]:
    """NumPy's sign for the byte order, the type of a vertex and their number."""
    order, num_points = "", -1
    fields: list[tuple[str, str]] = []
    for line in header:
        match line.split():
            case ["format", name, _] if name in ORDERS:
                order = ORDERS[name]
            case ["element", "vertex", count] if count.isdecimal():
                num_points = int(count)
            case ["element", *_] if num_points >= 0:
                break  # what comes after the vertices
            case ["property", kind, name] if kind in TYPES and num_points >= 0:
                fields.append((name, order + TYPES[kind]))
            case ["ply" | "comment" | "obj_info", *_] | []:
                pass
            case _:
                raise ValueError(f"the PLY header has '{line.strip()[:60]}'")
    if not order or num_points < 0:
        raise ValueError("the PLY header has no format or no vertices")
    return order, np.dtype(fields), num_points
