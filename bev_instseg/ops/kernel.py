"""How kernels are compiled, and how one kernel runs on two cores."""

import os
import stat
import tempfile
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import numba as nb
from numba.core.compiler_lock import global_compiler_lock


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function with Numba on first use and cache the machine code on disk if possible.

    Kernels release the GIL and divide by zero as NumPy does. The code is kept beside the module or
    in the user's cache; in a read-only installation without a home directory, in the temporary
    folder. ``NUMBA_CACHE_DIR`` names a folder to use instead.

    Args:
        function: Loops over arrays that Numba can compile.

    Returns:
        The compiled function.
    """
    compiled = nb.njit(nogil=True, error_model="numpy")(function)
    if compiled is function:  # NUMBA_DISABLE_JIT
        return function
    try:
        compiled.enable_caching()
    except (RuntimeError, OSError):  # no folder is writable
        if folder := _temporary_cache():
            settings: Any = nb.config
            usual, settings.CACHE_DIR = settings.CACHE_DIR, folder
            try:
                compiled.enable_caching()
            finally:
                settings.CACHE_DIR = usual
    return compiled  # type: ignore[no-any-return]


@cache
def _temporary_cache() -> str | None:
    """Return a folder that only this user can write; None, with a warning, if there is none.

    Whoever can write it could run code as this user.
    """
    try:
        folder = Path(tempfile.gettempdir(), f"bev_instseg_kernels_{os.getuid()}")
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
        own = stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid()
        if own and not status.st_mode & 0o077:
            tempfile.TemporaryFile(dir=folder).close()
            return str(folder)
    except OSError:
        pass
    warnings.warn(
        "compiled kernels cannot be cached, so each start takes 10 s longer; set NUMBA_CACHE_DIR "
        "to a folder that only you can write to",
        stacklevel=3,
    )
    return None


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
    os.register_at_fork(  # a lock that another thread holds would stay locked in the child
        before=global_compiler_lock.acquire,
        after_in_parent=global_compiler_lock.release,
        after_in_child=global_compiler_lock.release,
    )
