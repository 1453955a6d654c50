"""Read whole files with clear errors, and write files atomically."""

import os
import secrets
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bev_instseg.exceptions import ScanError


def read_file(path: str | Path, kind: str) -> NDArray[np.uint8]:
    """Return the bytes of a file as a writable array.

    Args:
        path: The file; a pipe works too.
        kind: What the file should contain, for error messages, such as ``sweep``.

    Returns:
        (num_bytes,) uint8.

    Raises:
        ScanError: The file is missing or unreadable.
    """
    try:
        with open(path, "rb") as file:
            data = np.empty(os.fstat(file.fileno()).st_size, np.uint8)
            data = data[: file.readinto(data.data)]
            rest = file.read()  # a pipe reports size 0
        return np.append(data, np.frombuffer(rest, np.uint8)) if rest else data
    except FileNotFoundError:
        raise ScanError(f"{path}: no such {kind} file; check the path") from None
    except OSError as error:
        raise ScanError(
            f"{path}: cannot read the {kind} file: {error.strerror}; check that it is a file and "
            "that you may read it"
        ) from None


def write_atomic(path: str | Path, data: bytes) -> None:
    """Write a whole file or nothing: write a temporary file beside it, fsync, rename.

    Args:
        path: The file; its folder must exist.
        data: Its new content.

    Raises:
        OSError: Writing failed; ``filename`` is ``path``. An older file is then unchanged and no
            temporary file is left behind.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
