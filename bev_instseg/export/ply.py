"""Encode point records as binary ``.ply``, which CloudCompare and Open3D open in colour."""

import numpy as np
from numpy.typing import NDArray

from bev_instseg.export.mark import MARK

# Type names that every reader knows. Open3D does not know unsigned 32-bit integers.
PLY_TYPES = {"<f4": "float", "<f8": "double", "<i4": "int", "|u1": "uchar"}


def encode_ply(records: NDArray[np.void]) -> bytes:
    """Return the bytes of a file whose vertices are the records, field by field, including NaN.

    Args:
        records: (N,) packed little-endian float32, float64, int32 and uint8 fields.
    """
    assert records.dtype.names is not None
    header = [
        "ply",
        "format binary_little_endian 1.0",
        f"comment {MARK}",
        f"element vertex {len(records)}",
        *(f"property {PLY_TYPES[records.dtype[name].str]} {name}" for name in records.dtype.names),
        "end_header",
    ]
    return "".join(line + "\n" for line in header).encode("ascii") + records.tobytes()
