"""The mark by which bev-instseg recognises the files it wrote."""

from pathlib import Path

MARK = "written by bev_instseg"
HEADER_BYTES = 256  # the mark is within these first bytes of a point file or .json


def has_mark(path: Path) -> bool:
    """Return whether a file is a point file or ``.json`` that bev-instseg wrote.

    Args:
        path: The file; it need not exist.

    Raises:
        OSError: The file exists but cannot be read.
    """
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        return MARK.encode() in file.read(HEADER_BYTES)
