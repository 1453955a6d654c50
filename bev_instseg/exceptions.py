"""Errors that a user can fix: each message is one line with the file, the reason and the remedy."""

import re

CONTROL = re.compile("[\\x00-\\x1f\\x7f-\\x9f\\u2028\\u2029]")


class BevInstsegError(Exception):
    """Base class of all errors below; catch it to handle every one of them."""


class ScanError(BevInstsegError, ValueError):
    """A sweep, label file or result cannot be used."""


class KittiError(BevInstsegError, ValueError):
    """A KITTI calibration, label or split file cannot be used."""


class ConfigError(BevInstsegError, ValueError):
    """A configuration cannot be used; the message names the file and the key."""


class CheckpointError(BevInstsegError, ValueError):
    """A file with weights or training state cannot be used."""


class ObjectsError(BevInstsegError, ValueError):
    """A database of cut-out objects cannot be used."""


class TrainingError(BevInstsegError, RuntimeError):
    """A training run cannot start or continue."""


def printable(text: str) -> str:
    """Return a text as one line that every terminal and file can hold.

    Control characters, and bytes of file names that are not UTF-8, are written as in Python's
    string literals. Other characters stay as they are.

    Args:
        text: Any text, such as the path of a file.
    """
    text = text.encode(errors="backslashreplace").decode()
    return CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def explain(error: BaseException) -> str:
    """Return an error as one line, without a traceback.

    Args:
        error: Any exception.

    Returns:
        The file and the reason for an operating system error, a remedy for a missing module,
        otherwise the first line of the message that is not blank, or the name of the exception's
        type if there is none. Messages of pydantic, which put the reason below, become one line.
    """
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return printable(f"{error.filename}: {error.strerror}")
    if isinstance(error, ModuleNotFoundError) and str(error).startswith("No module named"):
        return f"{error.name} is not installed; pip install bev-instseg installs all it needs"
    lines = [printable(line) for line in str(error).splitlines() if line.strip()]
    if type(error).__module__.startswith("pydantic") and len(lines) > 2:
        section, reason = lines[0].rsplit(" ", 1)[-1], lines[2].split(" [type=")[0].strip()
        return f"{section}.{lines[1]}: {reason}"
    return lines[0] if lines else type(error).__name__
