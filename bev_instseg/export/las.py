"""Point records -> a ``.laz`` file: LAS 1.4, compressed, with extra dimensions."""

import io

import numpy as np
from numpy.typing import NDArray

from bev_instseg.export.points import MARK

SCALE_M = 1e-4  # of the integers that LAS has for coordinates: they survive to half of this
REACH_M = 200e3  # LAS's 32 bits at this scale reach 214 km to each side of the offset
EXTRA = {"instance": "int32", "class": "uint16", "score": "float32", "index": "uint32"}


def encode_laz(records: NDArray[np.void]) -> bytes:
    """The bytes of a file with what LAS can hold of the records.

    Coordinates keep 0.05 mm. Points that are not finite, or more than 200 km from the middle of the
    sweep, cannot be stored and are left out; the extra dimension ``index`` says which point of the
    sweep, counted from 0, each one is. The extra dimensions ``instance``, ``class`` and ``score``
    are those of the records. The standard ``classification`` stays 0, "never classified": the
    codes of LAS have no vehicles or people, and SemanticKITTI's mean something else there.

    Args:
        records: (N,), as `point_records` makes them.

    Raises:
        ImportError: without laspy and something for it to compress with.
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
        index = np.flatnonzero((np.abs(xyz - middle) <= REACH_M).all(axis=1))
    kept = records[index]

    header = laspy.LasHeader(version="1.4", point_format=7)  # 7: with colours
    header.add_extra_dims([laspy.ExtraBytesParams(name, kind) for name, kind in EXTRA.items()])
    header.scales, header.offsets = np.full(3, SCALE_M), middle
    header.generating_software = MARK
    header.global_encoding.wkt = True  # LAS 1.4 demands it of this point format
    las = laspy.LasData(header, laspy.ScaleAwarePointRecord.zeros(len(kept), header=header))
    for axis, column in zip("XYZ", ((xyz[index] - middle) / SCALE_M).T, strict=True):
        las[axis] = np.rint(column).astype(np.int32)
    las["intensity"] = np.rint(65535 * kept["intensity"]).astype(np.uint16)
    for colour in ("red", "green", "blue"):
        las[colour] = kept[colour].astype(np.uint16) * np.uint16(257)
    las["return_number"] = las["number_of_returns"] = np.ones(len(kept), np.uint8)
    for name in ("instance", "class", "score"):
        las[name] = kept[name].astype(EXTRA[name])
    las["index"] = index.astype(np.uint32)
    file = io.BytesIO()
    las.write(file, do_compress=True)
    return file.getvalue()
