"""Merge the sweeps of several sensors as recordings do, without waiting long for any."""

import math
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence

from bev_instseg.io.recordings.merge import Merger
from bev_instseg.io.recordings.source import Message
from bev_instseg.live.source import Arrival

MAX_WAIT_S = 0.2  # a sweep waits for those of other sensors
MAX_ABSENT = 10  # sweeps in a row without a sensor that sends; then a line says so
SILENT_S = 1.0  # a sensor that sends nothing for so long is not waited for


class LiveMerger:
    """Groups messages by the rule of `Merger`, and knows when a group may go.

    It goes when no message to come can belong to it, or after `MAX_WAIT_S`. If the first topic is
    silent, the next one that is not takes its place.

    Attributes:
        num_incomplete: How many groups lacked a topic.
    """

    def __init__(self, topics: Sequence[str], say: Callable[[str], None]) -> None:
        """Prepare to merge.

        Args:
            topics: The topics; the first sets the pace and gives the stamps.
            say: Tells the user what goes wrong.
        """
        self.num_incomplete = 0
        self._topics, self._say = tuple(topics), say
        self._heard_s = dict.fromkeys(topics, -math.inf)
        self._silent = set[str]()
        self._num_absent = Counter[str]()  # in a row, by topic
        self._merger = Merger(topics)
        self._since_s: deque[float] = deque()  # when those that wait came

    def add(self, message: Message, now_s: float) -> None:
        """Add a message that has just arrived.

        Args:
            message: The message.
            now_s: The time; here and below by one clock that goes on evenly.

        Raises:
            ScanError: It has no header.
        """
        self._look_for_silent(message.topic, now_s)
        self._merger.add(message)
        if message.topic == self._merger.first:
            self._since_s.append(now_s)

    def ready(self, now_s: float) -> Iterator[Arrival]:
        """Yield the groups whose time has come; they count from when their first message came."""
        while self._since_s:
            undecided = self._merger.undecided() - self._silent
            if undecided and now_s < self._since_s[0] + MAX_WAIT_S:
                return
            parts = self._merger.next_group()
            self._look_for_absent(parts)
            yield Arrival(parts, self._since_s.popleft())

    def wait_s(self, now_s: float) -> float:
        """Return for how long nothing happens unless a message arrives."""
        return max(0.0, min([MAX_WAIT_S, *(s + MAX_WAIT_S - now_s for s in self._since_s)]))

    def _look_for_silent(self, heard: str, now_s: float) -> None:
        """Compare the topic that was heard just now with the others."""
        if now_s - max(self._heard_s.values()) > SILENT_S:  # all begin, or go on after a pause
            self._heard_s |= {one: now_s for one in self._topics if one not in self._silent}
        self._heard_s[heard] = now_s
        silent = {one for one in self._topics if now_s - self._heard_s[one] > SILENT_S}
        for topic in sorted(silent - self._silent):
            self._say(f"nothing on {topic} for {SILENT_S:g} s: the others go on without it")
        if heard in self._silent:
            self._say(f"{heard} goes on")
        self._silent = silent
        order = sorted(self._topics, key=silent.__contains__)  # stable
        if order[0] != self._merger.first:
            self._merger = Merger(order)
            self._since_s.clear()

    def _look_for_absent(self, parts: Sequence[Message]) -> None:
        """Count an incomplete group; report a topic that is sent but keeps missing."""
        absent = set(self._topics) - {one.topic for one in parts}
        self.num_incomplete += bool(absent)
        self._num_absent = Counter({topic: self._num_absent[topic] + 1 for topic in absent})
        for topic in sorted(absent - self._silent):
            if self._num_absent[topic] == MAX_ABSENT:
                self._say(
                    f"{MAX_ABSENT} sweeps in a row have nothing of {topic}: its stamps are more "
                    f"than half a period from those of {parts[0].topic}, or it comes more than "
                    f"{MAX_WAIT_S:g} s later; synchronise the sensors' clocks"
                )
