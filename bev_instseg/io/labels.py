"""Reads and writes SemanticKITTI ``.label`` files."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bev_instseg.exceptions import ScanError
from bev_instseg.file_io import read_file, write_atomic


def read_labels(path: str | Path, num_points: int) -> NDArray[np.uint32]:
    """Read a SemanticKITTI ``.label`` file: class in the low, instance in the high 16 bits.

    Args:
        path: the file.
        num_points: points of the sweep it belongs to.

    Returns:
        (num_points,) uint32.

    Raises:
        ScanError: missing or unreadable file, or not four bytes for each point.
    """
    data = read_file(path, "labels")
    if len(data) != 4 * num_points:
        raise ScanError(
            f"{path}: {len(data)} bytes for a sweep of {num_points} points, which needs "
            f"{4 * num_points} (one uint32 a point); take the file that belongs to this sweep"
        )
    return data.view("<u4").astype(np.uint32, copy=False)


def write_labels(path: str | Path, labels: NDArray[np.uint32]) -> None:
    """Write (N,) uint32 labels as `read_labels` reads them.

    Raises:
        ValueError: if the array is not one-dimensional uint32.
        OSError: if the file cannot be written; an older one is then untouched.
    """
    if labels.dtype != np.uint32 or labels.ndim != 1:
        raise ValueError(f"labels must be uint32 of shape (N,), got {labels.dtype} {labels.shape}")
    write_atomic(path, labels.astype("<u4").tobytes())
