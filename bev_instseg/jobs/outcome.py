"""What became of a sweep of a job: notices and times, or the reason why it failed."""

import errno
from dataclasses import dataclass, field

from bev_instseg.exceptions import explain, printable
from bev_instseg.jobs.find_items import Item

# What reading, segmenting, writing or drawing a sweep may raise for reasons outside the program.
EXPECTED_ERRORS = (ValueError, OSError, RuntimeError, MemoryError, ImportError)
# Reasons for which no other sweep could be written either: a disk that is full or read-only.
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


@dataclass(frozen=True)
class Outcome:
    """The outcome of a sweep; can be sent between machines.

    Attributes:
        item: The sweep.
        notices: What was detected in its file, and which pictures could not be drawn.
        timing_ms: Milliseconds of each stage; empty if the sweep failed.
        error: One line that says why the sweep failed; empty if it did not.
        is_disk_error: Whether it failed for one of the `DISK_ERRORS`.
    """

    item: Item
    notices: tuple[str, ...] = ()
    timing_ms: dict[str, float] = field(default_factory=dict)
    error: str = ""
    is_disk_error: bool = False


def failure(item: Item, error: BaseException) -> Outcome:
    """Return the outcome of a sweep that failed.

    Args:
        item: The sweep.
        error: One of the `EXPECTED_ERRORS`.
    """
    is_disk_error = isinstance(error, OSError) and error.errno in DISK_ERRORS
    return Outcome(item, error=_reason(error, item), is_disk_error=is_disk_error)


def _reason(error: BaseException, item: Item) -> str:
    """Return an error as a line that names the sweep."""
    name = printable(str(item.path))
    text = str(error).replace(str(item.path), name)  # so its line breaks do not end the message
    if isinstance(error, OSError) or not text:
        text = explain(error)
    reason = printable(text.splitlines()[0])
    return reason if name in reason else f"{name}: {reason}"
