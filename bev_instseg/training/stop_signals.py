"""SIGINT and SIGTERM, held back until a training step is finished."""

import signal
from types import FrameType, TracebackType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopSignals:
    """Notes stop signals while its ``with`` block runs.

    Attributes:
        received: Whether a signal has arrived.
    """

    def __init__(self, second_kills: bool) -> None:
        """Change no handler yet.

        Args:
            second_kills: Whether a second signal of the same kind ends the process at once.
        """
        self.received = False
        self._second_kills = second_kills
        self._handlers: list[Any] = []

    def __enter__(self) -> "StopSignals":
        self._handlers = [signal.signal(number, self.note) for number in SIGNALS]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        for number, handler in zip(SIGNALS, self._handlers, strict=True):
            signal.signal(number, handler)

    def note(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        self.received = True
        if self._second_kills:
            signal.signal(number, signal.SIG_DFL)
