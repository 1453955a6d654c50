"""Plain functions for sweeps and SemanticKITTI ``.label`` files."""

import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bev_instseg.datasets.files import ScanError, read_file, write_atomic
from bev_instseg.datasets.sweep import read_sweep

__all__ = ["ScanError", "read_labels", "read_scan", "write_atomic", "write_labels"]


def read_scan(path: str | Path) -> NDArray[np.float32]:
    """Read a sweep of any format: the points of `read_sweep`.

    Its notices are given as warnings, which Python shows once each, however many files there are.

    Returns:
        (N, 4) float32 x forward, y left, z up in metres and intensity 0..1, in the file's order.

    Raises:
        ScanError: a file that cannot be used; see `read_sweep`.
    """
    sweep = read_sweep(path)
    for notice in sweep.notices:
        warnings.warn(notice, stacklevel=2)
    return sweep.points


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
