"""Signals that stop a training run, held back until a step is finished and its state saved."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from types import FrameType, TracebackType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # SIGHUP: the terminal was closed


@contextmanager
def signals_blocked() -> Iterator[None]:
    """Hold back all stop signals; processes started meanwhile never receive one."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        resource_tracker.ensure_running()  # must not receive them either; starting it unblocks some
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class StopSignals:
    """Notes stop signals while its ``with`` block runs.

    Attributes:
        received: Number of the first signal that has arrived, or 0.
    """

    def __init__(self, second_kills: bool) -> None:
        """Change no handler yet.

        Args:
            second_kills: Whether a second signal ends the process at once, with exit code
                128 + its number.
        """
        self.received = 0
        self._second_kills = second_kills
        self._handlers: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "StopSignals":
        for number in SIGNALS:
            if signal.getsignal(number) != signal.SIG_IGN:  # ignored under nohup, for example
                self._handlers[number] = signal.signal(number, self.note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        while self._handlers:
            signal.signal(*self._handlers.popitem())

    def note(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        if self.received and self._second_kills:
            # Not print, which may be running already, nor an exception, after which torch's threads
            # would abort the process.
            os.write(2, b"\nstopped without saving; --resume continues from the last checkpoint\n")
            os._exit(128 + number)
        self.received = self.received or number
