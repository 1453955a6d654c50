"""The interface of a source of live sweeps."""

from collections.abc import Callable
from dataclasses import dataclass
from threading import Event
from typing import Protocol

from bev_instseg.io.recordings.point_cloud2 import StampedSweep
from bev_instseg.io.recordings.source import Message

# A ``PointCloud2`` of each sensor, not parsed yet, or a decoded sweep.
Raw = tuple[Message, ...] | StampedSweep


@dataclass(frozen=True, slots=True)
class Arrival:
    """A sweep that has just arrived.

    Attributes:
        raw: Its messages, or the decoded sweep.
        arrived_s: Time at which it was complete, by ``time.perf_counter``.
    """

    raw: Raw
    arrived_s: float


class Source(Protocol):
    """Receives live sweeps.

    Attributes:
        name: Name of the topics or port, for messages.
    """

    name: str

    def listen(self, put: Callable[[Arrival], None], stop: Event) -> None:
        """Pass on each sweep as soon as it is complete, until ``stop`` is set.

        Args:
            put: Takes a sweep; never waits.
            stop: Set by a different thread; must be checked several times a second.
        """
        ...

    @property
    def num_lost(self) -> int:
        """Number of sweeps that did not arrive complete."""
        ...

    @property
    def num_incomplete(self) -> int:
        """Number of merged sweeps that lack a sensor."""
        ...

    def advice(self) -> str:
        """Return a likely reason why nothing has arrived, with a remedy."""
        ...
