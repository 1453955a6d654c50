"""Encode point records as ``.laz``: LAS 1.4, compressed, with extra dimensions."""

import io

import numpy as np
from numpy.typing import NDArray

from bev_instseg.export.mark import MARK

SCALE_M = 1e-4  # LAS stores coordinates as integers in this unit, so the error is half of it
MAX_DISTANCE_M = 200e3  # 32 bits at this scale reach 214 km on each side of the offset
EXTRA_DIMENSIONS = {
    "instance": "int32",
    "class": "uint16",
    "score": "float32",
    "index": "uint32",
}


def encode_laz(records: NDArray[np.void]) -> bytes:
    """Return the bytes of a file with the records that LAS can hold.

    Coordinates are exact to 0.05 mm. Points that are not finite, or more than 200 km from the
    sweep's median, cannot be stored and are left out; the extra dimension ``index`` gives each
    point's position in the sweep, counted from 0. The extra dimensions ``instance``, ``class`` and
    ``score`` are those of the records. The standard ``classification`` stays 0 ("never
    classified"): LAS has no codes for vehicles or people, and gives SemanticKITTI's codes a
    different meaning.

    Args:
        records: (N,) as returned by `point_records`.

    Raises:
        ImportError: laspy or its compression backend is missing.
    """
    try:
        import laspy

        usable = bool(laspy.LazBackend.detect_available())
    except ImportError:
        usable = False
    if not usable:
        raise ImportError("a .laz file needs laspy and lazrs: pip install 'bev-instseg[las]'")

    xyz = np.column_stack([records[axis].astype(np.float64) for axis in "xyz"])
    finite = np.isfinite(xyz).all(axis=1)
    middle = np.rint(np.median(xyz[finite], axis=0)) if finite.any() else np.zeros(3)
    with np.errstate(invalid="ignore"):
        index = np.flatnonzero((np.abs(xyz - middle) <= MAX_DISTANCE_M).all(axis=1))
    kept = records[index]

    header = laspy.LasHeader(version="1.4", point_format=7)  # 7: with colours
    header.add_extra_dims(
        [laspy.ExtraBytesParams(name, dtype) for name, dtype in EXTRA_DIMENSIONS.items()]
    )
    header.scales, header.offsets = np.full(3, SCALE_M), middle
    header.generating_software = MARK
    header.global_encoding.wkt = True  # LAS 1.4 requires it for this point format
    las = laspy.LasData(header, laspy.ScaleAwarePointRecord.zeros(len(kept), header=header))
    for axis, column in zip("XYZ", ((xyz[index] - middle) / SCALE_M).T, strict=True):
        las[axis] = np.rint(column).astype(np.int32)
    las["intensity"] = np.rint(65535 * kept["intensity"]).astype(np.uint16)
    for colour in ("red", "green", "blue"):
        las[colour] = kept[colour].astype(np.uint16) * np.uint16(257)
    las["return_number"] = las["number_of_returns"] = np.ones(len(kept), np.uint8)
    for name in ("instance", "class", "score"):
        las[name] = kept[name].astype(EXTRA_DIMENSIONS[name])
    las["index"] = index.astype(np.uint32)
    file = io.BytesIO()
    las.write(file, do_compress=True)
    return file.getvalue()
