"""Read whole files with clear errors, and write files atomically."""

import errno
import fcntl
import hashlib
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader, BufferedWriter, FileIO, TextIOWrapper
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

from bev_instseg.exceptions import ScanError

MAX_FILE_BYTES = 1 << 32
NUM_SAMPLES, SAMPLE_BYTES = 4, 4096
TEMPORARY = ".bev-instseg-"  # how the names of temporary files begin


def open_regular(path: str | Path, max_bytes: int = MAX_FILE_BYTES) -> BufferedReader:
    """Open a file for reading; refuse pipes and devices, which may never end, without waiting.

    Args:
        path: The file.
        max_bytes: Largest size of the file.

    Raises:
        OSError: The file cannot be opened, is not a regular file or is larger than ``max_bytes``;
            ``filename`` is ``path``.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        if status.st_size > max_bytes:
            reason = f"too large: {status.st_size:,} bytes, more than {max_bytes:,}"
            raise OSError(errno.EFBIG, reason, str(path))
        return open(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def sample_sha256(path: str | Path) -> str:
    """Return a hash of some blocks of a file, which tells files of equal size apart.

    Args:
        path: The file; a folder has an empty hash.

    Raises:
        OSError: See `open_regular`.
    """
    if Path(path).is_dir():
        return ""
    hashed = hashlib.sha256()
    with open_regular(path, 1 << 62) as file:
        end = max(os.fstat(file.fileno()).st_size - SAMPLE_BYTES, 0)
        for k in range(NUM_SAMPLES):
            file.seek(end * k // (NUM_SAMPLES - 1))
            hashed.update(file.read(SAMPLE_BYTES))
    return hashed.hexdigest()[:16]


def read_bytes(path: str | Path, max_bytes: int = MAX_FILE_BYTES) -> bytes:
    """Return the content of a regular file.

    Args:
        path: The file.
        max_bytes: Largest size of the file.

    Raises:
        OSError: See `open_regular`.
    """
    with open_regular(path, max_bytes) as file:
        return file.read()


def read_file(path: str | Path, kind: str) -> NDArray[np.uint8]:
    """Return the bytes of a regular file as a writable array.

    Args:
        path: The file.
        kind: What the file should contain, for error messages, such as ``sweep``.

    Returns:
        (num_bytes,) uint8.

    Raises:
        ScanError: The file is missing, unreadable, not a regular file or larger than
            `MAX_FILE_BYTES`.
    """
    try:
        with open_regular(path) as file:
            data = np.empty(os.fstat(file.fileno()).st_size, np.uint8)
            num_read = 0
            while count := file.readinto(data[num_read:].data):
                num_read += count
        return data[:num_read]
    except FileNotFoundError:
        raise ScanError(f"{path}: no such {kind} file; check the path") from None
    except OSError as error:
        remedy = "check that it is a regular file and that you may read it"
        if error.errno == errno.EFBIG:
            remedy = "split it"
        raise ScanError(
            f"{path}: cannot read the {kind} file: {error.strerror}; {remedy}"
        ) from None


def write_atomic(path: str | Path, data: bytes) -> None:
    """Write a whole file or nothing: write a temporary file next to it, fsync, rename.

    Args:
        path: The file; its folder must exist.
        data: Its new content.

    Raises:
        OSError: Writing failed; ``filename`` is ``path``. An older file is then unchanged and no
            temporary file is left behind.
    """
    with staged(path, data) as move:
        move()


@contextmanager
def staged(path: str | Path, data: bytes) -> Iterator[Callable[[], None]]:
    """Write a temporary file next to a file, fsync it, and remove it again unless it was moved.

    The temporary file is locked until then, which tells `remove_leftovers` that its writer is
    alive. Its name is short and does not contain the file's name, which may already be as long
    as the file system allows.

    Args:
        path: The file; its folder must exist.
        data: Its new content.

    Yields:
        A function that moves the new content into place atomically.

    Raises:
        OSError: Writing or moving failed; ``filename`` is ``path``.
    """
    path = Path(path)
    with _naming(path):
        _check_replaceable(path)
        temporary, file = _open_temporary(path.parent)
    try:
        with file:
            with _naming(path):
                left = memoryview(data)
                while left:
                    left = left[file.write(left) :]
                os.fsync(file.fileno())

            def move() -> None:
                with _naming(path):
                    os.replace(temporary, path)

            yield move
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def writing_text(path: str | Path) -> Iterator[TextIO]:
    """Write a text file piece by piece; it appears when the ``with`` block ends without an error.

    Args:
        path: The file; its folder must exist.

    Raises:
        OSError: Writing failed; ``filename`` is ``path``. An older file is then unchanged.
    """
    path = Path(path)
    with _naming(path):
        _check_replaceable(path)
        temporary, file = _open_temporary(path.parent)
        try:
            with TextIOWrapper(BufferedWriter(file), encoding="utf-8", newline="") as text:
                yield text
                text.flush()
                os.fsync(file.fileno())
                os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def _check_replaceable(path: Path) -> None:
    """Raise OSError for devices and pipes: a new file would replace them, not be sent to them."""
    is_special = path.exists() and not path.is_file() and not path.is_dir()
    if is_special or path.absolute().parent == Path("/dev"):  # /dev/stdout may be a link to a file
        raise OSError(errno.EINVAL, "not a regular file; choose another name", str(path))


def _open_temporary(folder: Path) -> tuple[Path, FileIO]:
    while True:
        path = temporary_name(folder / "file")
        file = FileIO(path, "x")
        with suppress(OSError):  # not every file system has locks
            fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file.fileno()).st_nlink:
            return path, file
        file.close()  # `remove_leftovers` found it before it was locked


@contextmanager
def in_use(path: Path) -> Iterator[None]:
    """Keep `remove_leftovers` away from a temporary file that another library has begun to write.

    Args:
        path: The file, named as `temporary_name` does.
    """
    with open(path, "rb") as file:
        with suppress(OSError):  # not every file system has locks
            fcntl.flock(file, fcntl.LOCK_SH)
        yield


def temporary_name(path: Path) -> Path:
    """Return a new name for a temporary file next to a file."""
    return path.with_name(f"{TEMPORARY}{secrets.token_hex(8)}.tmp")


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Make errors name the file that is to be written instead of its temporary file."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def remove_leftovers(folder: str | Path) -> None:
    """Remove the temporary files of writers that were killed, on this machine or another.

    Those of living writers are locked and stay. On a file system without locks, all stay.

    Args:
        folder: The folder to clean; it need not exist. Folders below it are left alone.
    """
    for path in Path(folder).glob(f"{TEMPORARY}*.tmp"):
        with suppress(OSError), open(path, "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()


@contextmanager
def reserved(folder: str | Path, purpose: str) -> Iterator[None]:
    """Keep out processes that reserve the same folder for another purpose, on any machine.

    On a file system without locks nobody is kept out.

    Args:
        folder: An existing folder. It holds a small locked file during the ``with`` block.
        purpose: What the folder is used for, such as a hash of settings; part of a file name.

    Raises:
        BlockingIOError: A living process has reserved the folder for another purpose.
        OSError: The folder cannot be written.
    """
    path = Path(folder) / f"{TEMPORARY}job-{purpose}.tmp"
    with locked(folder):
        file = FileIO(path, "a")
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            while not os.fstat(file.fileno()).st_nlink:  # as in `_open_temporary`
                file.close()
                file = FileIO(path, "a")
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            remove_leftovers(folder)
            others = [other for other in path.parent.glob(f"{TEMPORARY}job-*.tmp") if other != path]
        except OSError:  # no locks, and so no way to see who is alive
            path.unlink(missing_ok=True)
            others = []
    try:
        if others:
            reason = (
                "another job is writing there that has other weights or settings, or is for "
                "recordings; wait until it is done or choose another output folder"
            )
            raise BlockingIOError(errno.EAGAIN, reason, str(folder))
        yield
    finally:
        with locked(folder), suppress(OSError), file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # fails if others share the purpose
            path.unlink()


@contextmanager
def locked(folder: str | Path) -> Iterator[None]:
    """Keep other threads and processes that lock the same folder out of a ``with`` block.

    On a file system without locks for folders, such as NFS, nobody is kept out.

    Args:
        folder: An existing folder.

    Raises:
        OSError: The folder cannot be opened.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
