"""Read the points of Polygon files (``.ply``): ascii, and binary of either byte order.

Not read with Open3D, which returns uninitialised memory if a file is cut short or holds an infinite
number, and drops 16-bit intensities.
"""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bev_instseg.io.records import (
    MAX_HEADER_BYTES,
    parse_ascii_records,
    parse_binary_records,
    split_words,
)

TYPES = {
    **{"char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4"},
    **{"int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4"},
    **{"float": "f4", "double": "f8", "float32": "f4", "float64": "f8"},
}
BYTE_ORDERS = {"ascii": "=", "binary_little_endian": "<", "binary_big_endian": ">"}

Body = list[bytes] | bytes  # what follows the header: words of text, or binary


@dataclass(frozen=True)
class Element:
    """A table of a PLY file.

    Attributes:
        name: ``vertex`` are the points.
        count: Number of records.
        properties: Name, NumPy type and, of a list, the NumPy type of its length.
    """

    name: str
    count: int
    properties: list[tuple[str, str, str | None]] = field(default_factory=list)

    @property
    def dtype(self) -> np.dtype:
        """Structured type of a record without its lists."""
        return np.dtype([(name, kind) for name, kind, length in self.properties if not length])

    @property
    def has_lists(self) -> bool:
        """Whether records may differ in length."""
        return any(length for *_, length in self.properties)


def read_ply(data: NDArray[np.uint8]) -> np.ndarray:
    """Return the vertices of a PLY file as records, in the file's order.

    Args:
        data: (num_bytes,) uint8 content of the file.

    Returns:
        (N,) structured array with the properties of the vertices; lists are left out.

    Raises:
        ValueError: The bytes are not a PLY file, or hold less or more than its header announces.
    """
    head = data[:MAX_HEADER_BYTES].tobytes()
    end = head.find(b"\nend_header")
    start = head.find(b"\n", end + 1) + 1
    if not head.startswith(b"ply") or end < 0 or not start:
        raise ValueError("no PLY header")
    byte_order, elements = _parse_header(head[:end].decode("latin-1").splitlines())
    body: Body = data[start:].tobytes()
    if byte_order == BYTE_ORDERS["ascii"]:
        body = split_words(data[start:])
    for element in elements:
        values, body = _take(body, element)
        if element.name == "vertex":
            break
    one = sum(_size(body, kind) for _, kind, length in element.properties if not length)
    if element is elements[-1] and len(body) >= max(one, 1):  # not only a new line at the end
        raise ValueError("holds more than its PLY header announces; write it again")
    if isinstance(values, list):
        return parse_ascii_records(values, element.dtype, element.count)
    return parse_binary_records(np.frombuffer(values, np.uint8), element.dtype, element.count)


def _parse_header(lines: list[str]) -> tuple[str, list[Element]]:
    """Return the byte order in NumPy's notation, and the elements, of which one is ``vertex``."""
    byte_order = ""
    elements: list[Element] = []
    for line in lines:
        match line.split():
            case ["format", name, _] if name in BYTE_ORDERS:
                byte_order = BYTE_ORDERS[name]
            case ["element", name, count] if count.isdecimal():
                elements.append(Element(name, int(count)))
            case ["property", "list", length, kind, name] if (
                elements and kind in TYPES and TYPES.get(length, "f")[0] != "f"
            ):
                properties = elements[-1].properties
                properties.append((name, byte_order + TYPES[kind], byte_order + TYPES[length]))
            case ["property", kind, name] if elements and kind in TYPES:
                elements[-1].properties.append((name, byte_order + TYPES[kind], None))
            case ["ply" | "comment" | "obj_info", *_] | []:
                pass
            case _:
                raise ValueError(f"cannot read '{line.strip()[:60]}' in the PLY header")
    if not byte_order or all(element.name != "vertex" for element in elements):
        raise ValueError("the PLY header has no format or no vertices; write it again")
    return byte_order, elements


def _take(body: Body, element: Element) -> tuple[Body, Body]:
    """Take the first element from a body.

    Args:
        body: What follows the header, or follows the elements before.
        element: The element.

    Returns:
        The element without its lists, and the body after the element. If there are no lists, the
        first may continue beyond the end of the element.

    Raises:
        ValueError: The body ends within a list, or the length of one is malformed.
    """
    sizes = [_size(body, kind) for _, kind, _ in element.properties]
    if not element.has_lists:
        return body, body[element.count * sum(sizes) :]
    at, spans = 0, list[slice]()
    for k in range(element.count):
        for size, (_, _, length) in zip(sizes, element.properties, strict=True):
            if at >= len(body):
                raise ValueError(f"cut short after {k} of {element.count} records; copy it again")
            if length is None:
                spans.append(slice(at, at + size))
                at += size
            else:
                first = at + _size(body, length)
                at = first + size * _list_length(body[at:first], length)
    if isinstance(body, list):
        return [body[span.start] for span in spans], body[at:]
    return b"".join([body[span] for span in spans]), body[at:]


def _size(body: Body, kind: str) -> int:
    """Return how many words or bytes a value takes."""
    return 1 if isinstance(body, list) else int(kind[-1])


def _list_length(stored: Body, kind: str) -> int:
    if isinstance(stored, list):
        length = int(stored[0]) if stored[0].isdigit() else -1
    else:
        order: Literal["big", "little"] = "big" if kind[0] == ">" else "little"
        length = int.from_bytes(stored, order, signed=kind[1] == "i")
    if length < 0:
        raise ValueError("damaged: the length of a list is not a whole number; copy it again")
    return length
