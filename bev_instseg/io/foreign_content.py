"""Recognise the content of a ``.bin`` file that does not hold float32 points."""

import numpy as np
from numpy.typing import NDArray

UInt32 = NDArray[np.uint32]

# Beginnings of files, and what they are.
MAGIC = {
    b"\xff\xd8\xff": "a JPEG picture",
    b"\x89PNG": "a PNG picture",
    b"PK\x03\x04": "a ZIP archive; unpack it, or rename it to .npz if NumPy wrote it",
    b"\x1f\x8b": "a gzip file; unpack it",
    b"\x93NUMPY": "a NumPy array; rename it to .npy",
    b"LASF": "a LAS file; rename it to .las or .laz",
    b"ply\n": "a PLY file; rename it to .ply",
    b"ply\r": "a PLY file; rename it to .ply",
    b"# .PCD": "a PCD file; rename it to .pcd",
    b"VERSION": "a PCD file; rename it to .pcd",
    b"\x89HDF": "an HDF5 file; convert it",
}
MAX_MAGIC = max(map(len, MAGIC))
TEXT = np.zeros(256, np.bool_)
TEXT[[9, 10, 13, *range(32, 127)]] = True

MIN_EXPONENT, MAX_EXPONENT = 127 - 20, 127 + 14  # of usual coordinates: 1e-6 m to 32 km
TINY_EXPONENT = 127 - 84  # no coordinate is so near zero without being zero
MAX_LABEL_CLASS = 1000  # of SemanticKITTI: the lower 16 bits of a label
MAX_USUAL = 1e4  # of coordinates and intensities
MAX_ODD_SHARE = 0.01


def describe_content(data: NDArray[np.uint8], words: UInt32, xyz: UInt32) -> str:
    """Describe what a file holds if it is not float32 points.

    Args:
        data: (num_bytes,) uint8 content of the file.
        words: (n,) uint32 some of its floats as bits, in pairs of neighbours.
        xyz: (m,) uint32 those of them that would be coordinates.

    Returns:
        What it looks like and the remedy, in one line; an empty string if it may be points.
    """
    start = data[:MAX_MAGIC].tobytes()
    for magic, what in MAGIC.items():
        if start.startswith(magic):
            return f"looks like {what}" + ("" if ";" in what else ", not like points")
    if _share_usual(xyz) > 0.8 and not _is_float64(words):
        return ""
    if TEXT[words.view(np.uint8)].all():
        return "looks like text, not like float32 points; convert it"
    if _is_float64(words):
        return (
            "looks like float64, but .bin files are float32; convert it with "
            "np.fromfile(path, np.float64).astype(np.float32).tofile(new_path)"
        )
    if _is_label(words):
        return "looks like a .label file (a whole number per point), not like float32 points"
    if _share_usual(words) < 0.5 and _share_usual(words.byteswap()) > 0.95:
        return (
            "looks like big-endian float32; convert it with "
            "np.fromfile(path, '>f4').astype('<f4').tofile(new_path)"
        )
    exponents = xyz >> 23 & 255
    tiny = (exponents < TINY_EXPONENT) & (xyz << 1 != 0)
    if np.count_nonzero(tiny) > MAX_ODD_SHARE * len(xyz):
        return "does not hold float32 x, y, z (.bin files are float32); convert it"
    return ""


def _share_usual(words: UInt32) -> float:
    """Return the share of floats that are zero, NaN, infinite or as large as coordinates are."""
    exponents = words >> 23 & 255
    usual = (exponents >= MIN_EXPONENT) & (exponents <= MAX_EXPONENT)
    return float(np.mean(usual | (words << 1 == 0) | (exponents == 255)))


def _is_label(words: UInt32) -> bool:
    """Return whether the lower 16 bits hold a class, mostly not 0 where the word is not 0."""
    classes, used = words & 0xFFFF, words != 0
    named = np.count_nonzero(classes)
    return bool((classes < MAX_LABEL_CLASS).all() and named and named > 0.5 * used.sum())


@np.errstate(invalid="ignore")
def _is_float64(words: UInt32) -> bool:
    """Return whether pairs of words are plausible as float64, but the words not as float32."""
    pairs = words[: len(words) // 2 * 2].reshape(-1, 2)
    exponents = pairs[:, 1] >> 20 & 0x7FF
    usual = (exponents >= 1023 - 40) & (exponents <= 1023 + 25)
    empty = (pairs == 0).all(axis=1)
    if not len(pairs) or np.mean(usual | empty) < 1 - MAX_ODD_SHARE:
        return False
    size = np.abs(words.view("<f4"))
    strange = np.isnan(size) & (words & 0x3FFFFF != 0)  # no processor makes such a NaN
    odd = np.count_nonzero(strange | ((size > MAX_USUAL) & (size < np.inf)))
    return bool(odd > MAX_ODD_SHARE * len(size) or (not pairs[:, 0].any() and pairs[:, 1].any()))
