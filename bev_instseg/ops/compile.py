"""How the kernels are compiled: ahead of the second run, without holding the GIL."""

from collections.abc import Callable
from typing import Any

import numba as nb


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile with Numba at first use and keep the machine code on disk where that is possible.

    Where neither the package's folder nor the user's cache can be written (a read-only install
    without a home), each process compiles anew; ``NUMBA_CACHE_DIR`` names a folder to use instead.
    """
    try:
        return nb.njit(cache=True, nogil=True)(function)
    except (RuntimeError, OSError):
        return nb.njit(nogil=True)(function)
