"""Encode point records as binary ``.pcd``, with PCL's packed ``rgb``."""

import numpy as np
from numpy.typing import NDArray

from bev_instseg.export.mark import MARK


def encode_pcd(records: NDArray[np.void]) -> bytes:
    """Return the bytes of a file with the fields of the records, including NaN.

    Colours are one field ``rgb``, as in PCL: bytes blue, green, red and 0, read as a float32.
    (PCL and Open3D cannot read any PCD file without points.)

    Args:
        records: (N,) little-endian, as returned by `point_records`.
    """
    names = [name for name in records.dtype.names or () if name not in ("red", "green", "blue")]
    packed = np.empty(len(records), [*((n, records.dtype[n]) for n in names), ("rgb", "<u4")])
    for name in names:
        packed[name] = records[name]
    red, green, blue = (records[colour].astype(np.uint32) for colour in ("red", "green", "blue"))
    packed["rgb"] = red << 16 | green << 8 | blue
    fields = [packed.dtype[name] for name in names]
    header = [
        "# .PCD v0.7 - Point Cloud Data file format",
        f"# {MARK}",
        "VERSION 0.7",
        " ".join(["FIELDS", *names, "rgb"]),
        " ".join(["SIZE", *(str(field.itemsize) for field in fields), "4"]),
        " ".join(["TYPE", *(field.kind.upper() for field in fields), "F"]),
        " ".join(["COUNT", *("1" for _ in fields), "1"]),
        f"WIDTH {len(packed)}",
        "HEIGHT 1",
        "VIEWPOINT 0 0 0 1 0 0 0",
        f"POINTS {len(packed)}",
        "DATA binary",
    ]
    return "".join(line + "\n" for line in header).encode("ascii") + packed.tobytes()
