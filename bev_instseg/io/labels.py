"""Read and write SemanticKITTI ``.label`` files."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bev_instseg.exceptions import ScanError
from bev_instseg.file_io import read_file, write_atomic


def read_labels(path: str | Path, num_points: int) -> NDArray[np.uint32]:
    """Read a SemanticKITTI ``.label`` file.

    Args:
        path: The file.
        num_points: Number of points in the sweep that the labels belong to.

    Returns:
        (num_points,) uint32; the low 16 bits hold the class, the high 16 bits the instance id.

    Raises:
        ScanError: The file is missing, unreadable or not four bytes per point.
    """
    data = read_file(path, "label")
    if len(data) != 4 * num_points:
        raise ScanError(
            f"{path}: {len(data)} bytes, but a sweep of {num_points} points needs "
            f"{4 * num_points} (one uint32 per point); use the label file of this sweep"
        )
    return data.view("<u4").astype(np.uint32, copy=False)


def write_labels(path: str | Path, labels: NDArray[np.uint32]) -> None:
    """Write a SemanticKITTI ``.label`` file.

    Args:
        path: The file; its folder must exist.
        labels: (N,) uint32, packed as `read_labels` returns them.

    Raises:
        ValueError: The array is not one-dimensional uint32.
        OSError: The file cannot be written; an older one is then unchanged.
    """
    if labels.dtype != np.uint32 or labels.ndim != 1:
        raise ValueError(f"labels must be uint32 of shape (N,), got {labels.dtype} {labels.shape}")
    write_atomic(path, labels.astype("<u4").tobytes())
