"""What a column of the numbers of a file may be: intensities, x and y, or ring numbers."""

import numpy as np
from numpy.typing import NDArray

MAX_ODD_SHARE = 0.01  # this share of a column may be unlike the rest
MAX_INTENSITY = 65535.0
MISSING_FROM = 1e12  # values beyond, such as 1e30, stand for missing returns
MAX_RING = 255.0
MIN_COLUMN_M = 3.0  # x and y of a sweep extend over more
MIN_INTENSITIES = 50  # fewer values do not tell an intensity from a coordinate


@np.errstate(invalid="ignore")
def looks_like_intensity(column: NDArray[np.floating]) -> bool:
    """Return whether a column, in place of x, holds intensities: whole numbers or 0..1.

    Args:
        column: (n,) values of some points.
    """
    known = column[np.abs(column) < MISSING_FROM]
    if len(known) < MIN_INTENSITIES or known.min() < 0 or known.max() > MAX_INTENSITY:
        return False
    return bool(known.max() <= 1 or _are_whole(known)) and len(np.unique(known)) > 2


@np.errstate(invalid="ignore")
def looks_like_x_y(*columns: NDArray[np.floating]) -> bool:
    """Return whether columns hold horizontal coordinates: not whole numbers, and spread far.

    Args:
        columns: (n,) values of some points each.
    """
    for column in columns:
        known = column[np.abs(column) < MISSING_FROM]
        if len(known) < MIN_INTENSITIES or _are_whole(known):
            return False
        low, high = np.quantile(known, (0.05, 0.95))
        if high - low < MIN_COLUMN_M:
            return False
    return True


@np.errstate(invalid="ignore")
def not_an_intensity(fourth: NDArray[np.floating], can_be_negative: bool) -> str:
    """Return why a column cannot be the intensity, or an empty string.

    Args:
        fourth: (n,) values of some points, in the file's order.
        can_be_negative: Whether negative values are accepted.

    Returns:
        The end of a sentence about the column.
    """
    fourth = fourth[~(np.abs(fourth) >= MISSING_FROM)]
    most = MAX_ODD_SHARE * len(fourth)
    steps = np.diff(fourth)
    if len(steps) > 50 and (steps >= 0).all() and np.count_nonzero(steps) > len(steps) / 2:
        return "rises like time"
    if not can_be_negative and np.count_nonzero(fourth < 0) > most:
        return "has negative values"
    if np.count_nonzero((fourth > MAX_INTENSITY) & (fourth < np.inf)) > most:
        return f"has values above {MAX_INTENSITY:.0f}"
    return ""


def is_ring(column: NDArray[np.floating]) -> bool:
    """Return whether a column holds ring numbers.

    Args:
        column: (n,) values of some points.
    """
    return _are_whole(column) and bool(((column >= 0) & (column <= MAX_RING)).all())


def _are_whole(values: NDArray[np.floating]) -> bool:
    return bool((values == np.rint(values)).all())
