"""All errors that a user can mend; each message is one line with the file, the reason and the remedy."""


class BevInstsegError(Exception):
    """Base class of the errors below: catch it to handle all of them."""


class ScanError(BevInstsegError, ValueError):
    """A sweep, label or result file that cannot be used."""


class KittiError(BevInstsegError, ValueError):
    """A KITTI calibration, label or split file that cannot be used."""


class ConfigError(BevInstsegError, ValueError):
    """A configuration that cannot be used; the message names the file and the key."""


class CheckpointError(BevInstsegError, ValueError):
    """A file of weights or training state that cannot be used."""


class ObjectsError(BevInstsegError, ValueError):
    """A database of cut-out objects that cannot be used."""


class TrainingError(BevInstsegError, RuntimeError):
    """A training run that cannot start or continue."""


def explain(error: BaseException) -> str:
    """Return an error as one line; for an operating system error, the file and what is wrong with it.

    Args:
        error: any exception.

    Returns:
        The first line of its message, or the name of its type if it has none.
    """
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror}"
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__
