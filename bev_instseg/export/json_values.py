"""Checked values of a parsed JSON file."""

import math
from typing import Any


def text(value: Any) -> str:
    """Return text; raise TypeError for anything else."""
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not text")
    return value


def integer(value: Any) -> int:
    """Return an integer; raise TypeError for anything else."""
    if type(value) is not int:
        raise TypeError(f"{value!r} is not an integer")
    return value


def truth(value: Any) -> bool:
    """Return true or false; raise TypeError for anything else."""
    if not isinstance(value, bool):
        raise TypeError(f"{value!r} is neither true nor false")
    return value


def number(value: Any) -> float:
    """Return a finite number; raise TypeError or ValueError for anything else."""
    if type(value) not in (int, float):
        raise TypeError(f"{value!r} is not a number")
    as_float = float(value)
    if not math.isfinite(as_float):
        raise ValueError(f"{value!r} is not finite")
    return as_float


def numbers(values: Any, count: int) -> tuple[float, ...]:
    """Return ``count`` finite numbers; raise TypeError or ValueError for anything else."""
    if not isinstance(values, list) or len(values) != count:
        raise ValueError(f"{values!r} are not {count} numbers")
    return tuple(number(value) for value in values)
