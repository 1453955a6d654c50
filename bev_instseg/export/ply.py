"""Point records -> a binary ``.ply`` file, coloured as soon as CloudCompare or Open3D opens it."""

import numpy as np
from numpy.typing import NDArray

from bev_instseg.export.points import MARK

# The names that every reader knows. Open3D knows no unsigned 32-bit integers.
TYPES = {"<f4": "float", "<f8": "double", "<i4": "int", "|u1": "uchar"}


def encode_ply(records: NDArray[np.void]) -> bytes:
    """The bytes of a file whose vertices are the records, field by field, NaN included.

    Args:
        records: (N,) packed, of float32, float64, int32 and uint8, little-endian.
    """
    assert records.dtype.names is not None
    header = [
        "ply",
        "format binary_little_endian 1.0",
        f"comment {MARK}",
        f"element vertex {len(records)}",
        *(f"property {TYPES[records.dtype[name].str]} {name}" for name in records.dtype.names),
        "end_header",
    ]
    return "".join(line + "\n" for line in header).encode("ascii") + records.tobytes()
