"""What every source of live sweeps offers."""

from collections.abc import Callable
from dataclasses import dataclass
from threading import Event
from typing import Protocol

from bev_instseg.io.recordings.point_cloud2 import StampedSweep
from bev_instseg.io.recordings.source import Message

# A ``PointCloud2`` of each sensor, not parsed yet, or a sweep that a decoder has made.
Raw = tuple[Message, ...] | StampedSweep


@dataclass(frozen=True, slots=True)
class Arrival:
    """A sweep that has just arrived.

    Attributes:
        raw: What it consists of.
        arrived_s: When it was complete, by ``time.perf_counter``.
    """

    raw: Raw
    arrived_s: float


class Source(Protocol):
    """Where live sweeps come from.

    Attributes:
        name: What it listens to, for messages.
    """

    name: str

    def listen(self, put: Callable[[Arrival], None], stop: Event) -> None:
        """Pass on each sweep as soon as it is complete, until told to stop.

        Args:
            put: Takes a sweep; never waits.
            stop: Set by another thread; to be looked at several times a second.
        """
        ...

    @property
    def num_lost(self) -> int:
        """How many sweeps were lost on the way."""
        ...

    @property
    def num_incomplete(self) -> int:
        """How many sweeps lack one of several sensors."""
        ...

    def advice(self) -> str:
        """Return why nothing may have arrived, and what to do."""
        ...
