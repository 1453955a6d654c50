"""How the process's memory is kept from one sweep to the next."""

import ctypes

# Parameters of glibc's mallopt(3).
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3


def keep_freed_memory() -> bool:
    """Have the C library keep freed memory instead of handing it back to the system.

    A sweep allocates and frees tens of megabytes. By default glibc returns most of that and faults
    it in again for the next sweep, page by page: thousands of faults a sweep. This is for the whole
    process, so the tools call it and the library never does.

    Returns:
        Whether it took effect; not with other C libraries than glibc.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return False
    settings = ((_MMAP_THRESHOLD, 32 << 20), (_TRIM_THRESHOLD, 1 << 30), (_TOP_PAD, 64 << 20))
    return all(mallopt(name, value) == 1 for name, value in settings)
