"""How many threads a network may use."""

import math
import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")


def num_threads() -> int:
    """Return the number of threads: one per core that this process may use.

    ``OMP_NUM_THREADS`` takes precedence; otherwise the CPU affinity of the process and the CPU
    quota of its container (cgroup version 2 or 1) count.
    """
    wanted = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    if wanted.isdecimal() and int(wanted):
        return int(wanted)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, math.ceil(min(cores or 1, cpu_quota(CGROUP, _own_group()))))


def _own_group() -> str:
    try:
        return Path("/proc/self/cgroup").read_text()
    except OSError:
        return ""


def cpu_quota(cgroup: Path, own: str = "") -> float:
    """Return the number of cores that this process's control groups allow; infinity if unlimited.

    Args:
        cgroup: Where control groups are mounted.
        own: The content of ``/proc/self/cgroup``, which names the group of version 2.
    """
    group = cgroup / own.partition("0::/")[2].split("\n")[0]
    groups = [group, *group.parents]
    limits = [_read_pair(each / "cpu.max") for each in groups if each.is_relative_to(cgroup)]
    old = cgroup / "cpu"  # of version 1
    limits.append(_read_pair(old / "cpu.cfs_quota_us", old / "cpu.cfs_period_us"))
    return min(limits)


def _read_pair(*files: Path) -> float:
    """Return quota / period, from one file that holds both or from two files."""
    try:
        quota, period = " ".join(file.read_text() for file in files).split()
        cores = float(quota) / float(period)
    except (OSError, ValueError, ZeroDivisionError):  # no limit, or "max"
        return math.inf
    return cores if cores > 0 else math.inf
