"""How the kernels are compiled, and how one runs on two cores."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba as nb


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile with Numba at first use and keep the machine code on disk where that is possible.

    Kernels do not hold the GIL, and divide by zero as NumPy does. Where neither the package's
    folder nor the user's cache can be written (a read-only install without a home), each process
    compiles anew; ``NUMBA_CACHE_DIR`` names a folder to use instead.
    """
    try:
        return nb.njit(cache=True, nogil=True, error_model="numpy")(function)
    except (RuntimeError, OSError):
        return nb.njit(nogil=True, error_model="numpy")(function)


def at_once(run: Callable[..., Any], shares: Sequence[tuple], shared: tuple) -> None:
    """Call ``run(*share, *shared)`` for one or two shares of the work, two of them on two cores.

    Plain threads: Numba's own would forbid forking, and calls from several threads at once.

    Args:
        run: a kernel.
        shares: what differs; what both write to gets the same value from both.
        shared: further arguments.
    """
    first, *others = shares
    elsewhere = [_helper.submit(run, *share, *shared) for share in others]
    run(*first, *shared)
    for there in elsewhere:
        there.result()


_helper: ThreadPoolExecutor


def _new_helper() -> None:
    global _helper
    _helper = ThreadPoolExecutor(1, "second core")


_new_helper()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_new_helper)  # threads do not survive a fork
