"""Merge the sweeps of several sensors as for recordings, without a long wait for late ones."""

import math
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence

from bev_instseg.io.recordings.merge import Merger
from bev_instseg.io.recordings.source import Message
from bev_instseg.live.source import Arrival

MAX_WAIT_S = 0.2  # how long a sweep waits for those of other sensors
MAX_ABSENT = 10  # sweeps in a row that lack a sensor that does send, before this is reported
SILENT_S = 1.0  # sweeps do not wait for a sensor that has sent nothing for this long


class LiveMerger:
    """Groups messages by the rule of `Merger`, and decides when a group is ready.

    A group is ready when no later message can belong to it, or after `MAX_WAIT_S`. If the first
    topic is silent, the next one that is not takes its place.

    Attributes:
        num_incomplete: Number of groups that lacked a topic.
    """

    def __init__(self, topics: Sequence[str], say: Callable[[str], None]) -> None:
        """Prepare to merge.

        Args:
            topics: The topics; the first sets the pace and gives the stamps.
            say: Reports problems to the user.
        """
        self.num_incomplete = 0
        self._topics, self._say = tuple(topics), say
        self._heard_s = dict.fromkeys(topics, -math.inf)
        self._silent = set[str]()
        self._num_absent = Counter[str]()  # in a row, by topic
        self._merger = Merger(topics)
        self._since_s: deque[float] = deque()  # arrival times of the waiting groups

    def add(self, message: Message, now_s: float) -> None:
        """Add a message that has just arrived.

        Args:
            message: The message.
            now_s: The current time, seconds; all times come from one monotonic clock.

        Raises:
            ScanError: The message has no header.
        """
        self._look_for_silent(message.topic, now_s)
        self._merger.add(message)
        if message.topic == self._merger.first:
            self._since_s.append(now_s)

    def ready(self, now_s: float) -> Iterator[Arrival]:
        """Yield the groups that are ready, with the arrival time of their first message."""
        while self._since_s:
            undecided = self._merger.undecided() - self._silent
            if undecided and now_s < self._since_s[0] + MAX_WAIT_S:
                return
            parts = self._merger.next_group()
            self._look_for_absent(parts)
            yield Arrival(parts, self._since_s.popleft())

    def wait_s(self, now_s: float) -> float:
        """Return how long to wait for the next message."""
        return max(0.0, min([MAX_WAIT_S, *(s + MAX_WAIT_S - now_s for s in self._since_s)]))

    def _look_for_silent(self, heard: str, now_s: float) -> None:
        """Find the topics that have become silent, given the one that was just heard."""
        if now_s - max(self._heard_s.values()) > SILENT_S:  # all start, or resume after a pause
            self._heard_s |= {one: now_s for one in self._topics if one not in self._silent}
        self._heard_s[heard] = now_s
        silent = {one for one in self._topics if now_s - self._heard_s[one] > SILENT_S}
        for topic in sorted(silent - self._silent):
            self._say(f"nothing on {topic} for {SILENT_S:g} s: sweeps are merged without it")
        if heard in self._silent:
            self._say(f"{heard} sends again")
        self._silent = silent
        order = sorted(self._topics, key=silent.__contains__)  # stable
        if order[0] != self._merger.first:
            self._merger = Merger(order)
            self._since_s.clear()

    def _look_for_absent(self, parts: Sequence[Message]) -> None:
        """Count an incomplete group; report a topic that sends but is never near in time."""
        absent = set(self._topics) - {one.topic for one in parts}
        self.num_incomplete += bool(absent)
        self._num_absent = Counter({topic: self._num_absent[topic] + 1 for topic in absent})
        for topic in sorted(absent - self._silent):
            if self._num_absent[topic] == MAX_ABSENT:
                self._say(
                    f"{MAX_ABSENT} sweeps in a row lack {topic}: its stamps are more than half a "
                    f"period from those of {parts[0].topic}, or its sweeps arrive more than "
                    f"{MAX_WAIT_S:g} s later; synchronise the sensors' clocks"
                )
