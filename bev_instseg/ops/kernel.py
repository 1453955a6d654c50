"""How kernels are compiled, and how one kernel runs on two cores."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numba as nb


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function with Numba on first use and cache the machine code on disk if possible.

    Kernels release the GIL and divide by zero as NumPy does. Where neither the package's folder nor
    the user's cache is writable (a read-only install without a home directory), each process
    compiles again; ``NUMBA_CACHE_DIR`` names a folder to use instead.

    Args:
        function: Loops over arrays that Numba can compile.

    Returns:
        The compiled function.
    """
    try:
        return nb.njit(cache=True, nogil=True, error_model="numpy")(function)
    except (RuntimeError, OSError):
        return nb.njit(nogil=True, error_model="numpy")(function)


def run_shares(
    run: Callable[..., Any], shares: Sequence[tuple[Any, ...]], common: tuple[Any, ...]
) -> None:
    """Call ``run(*share, *common)`` for one or two shares of the work; two run on two cores.

    The second share runs in a plain thread: Numba's own threads forbid forking and calls from
    several threads at once.

    Args:
        run: A kernel.
        shares: The arguments that differ. Where both shares write the same element, they must write
            the same value.
        common: The remaining arguments.
    """
    first, *others = shares
    pending = [_second_core().submit(run, *share, *common) for share in others]
    run(*first, *common)
    for share in pending:
        share.result()


@cache
def _second_core() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, "second core")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_second_core.cache_clear)  # threads do not survive a fork
