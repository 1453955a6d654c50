"""Forking: a forked child can run the networks of its parent.

Python's ``multiprocessing`` forks by default on Linux up to Python 3.13. On a CPU, two things would
make the child hang for ever:

- A fork does not copy threads. In the child, PyTorch therefore computes with a single thread, ONNX
  Runtime loads its model again, and another runtime replaces OpenVINO.
- A runtime's lock that another thread held during the fork is never released in the child. A fork
  therefore waits until no network runs.
"""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

MAX_WAIT_S = 10.0  # then a fork proceeds: it may come from within a running network


class _Gate:
    """Lets any number of networks run, or one fork happen."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.running = 0
        self.forks = 0

    def open(self) -> None:
        """Wait for forks in progress, then count one more running network."""
        with self.changed:
            self.changed.wait_for(lambda: not self.forks, MAX_WAIT_S)
            self.running += 1

    def close(self) -> None:
        """Count one running network fewer."""
        with self.changed:
            self.running -= 1
            self.changed.notify_all()

    def before_fork(self) -> None:
        """Wait for the running networks and keep new ones out."""
        self.changed.acquire()
        self.forks += 1
        self.changed.wait_for(lambda: not self.running, MAX_WAIT_S)

    def after_fork(self) -> None:
        """Let networks run again, in the parent."""
        self.forks -= 1
        self.changed.notify_all()
        self.changed.release()


_gate = _Gate()


@contextmanager
def no_fork() -> Iterator[None]:
    """Make forks of this process wait while the body runs, for 10 seconds at most."""
    gate = _gate
    gate.open()
    try:
        yield
    finally:
        gate.close()


def _start_child() -> None:
    global _gate
    _gate = _Gate()
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)


os.register_at_fork(
    before=lambda: _gate.before_fork(),
    after_in_parent=lambda: _gate.after_fork(),
    after_in_child=_start_child,
)
