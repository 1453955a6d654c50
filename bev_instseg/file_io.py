"""Files read whole, with a reason where that fails, and written whole or not at all."""

import os
import secrets
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bev_instseg.exceptions import ScanError


def read_file(path: str | Path, what: str) -> NDArray[np.uint8]:
    """The bytes of a file, in memory of their own that may be written to.

    Args:
        path: the file.
        what: what it is taken for, for the message.

    Raises:
        ScanError: missing or unreadable file.
    """
    try:
        with open(path, "rb") as file:
            data = np.empty(os.fstat(file.fileno()).st_size, np.uint8)
            data = data[: file.readinto(data.data)]
            rest = file.read()  # of a pipe, which has no size
        return np.append(data, np.frombuffer(rest, np.uint8)) if rest else data
    except FileNotFoundError:
        raise ScanError(f"{path}: no such {what} file; check the path") from None
    except OSError as error:
        raise ScanError(
            f"{path}: cannot read the {what}: {error.strerror}; check that it is a readable file"
        ) from None


def write_atomic(path: str | Path, data: bytes) -> None:
    """Write a file whole or not at all: temporary file in its folder, fsync, rename.

    Raises:
        OSError: naming ``path``; an older file is then untouched and nothing is left behind.
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
