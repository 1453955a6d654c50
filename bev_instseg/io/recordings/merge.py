"""Put the messages of several sensors together by their stamps, while they stream by."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence

from bev_instseg.io.recordings.source import Message

MAX_WAITING = 8  # sweeps that wait for those of another sensor; more means that it has stopped
NUM_GAPS = 20  # the period is the median of as many gaps between stamps


class Merger:
    """Groups messages around those of the first topic."""

    def __init__(self, topics: Sequence[str]) -> None:
        """Prepare to merge.

        Args:
            topics: The topics; the first sets the pace and gives the stamps.
        """
        self.num_alone = 0  # groups in which a topic is missing
        self._first = topics[0]
        self._waiting: deque[Message] = deque()
        self._others: dict[str, deque[Message]] = {topic: deque() for topic in topics[1:]}
        self._gaps: deque[int] = deque(maxlen=NUM_GAPS)

    def groups(self, messages: Iterable[Message]) -> Iterator[tuple[Message, ...]]:
        """Yield each message of the first topic with the nearest of the others.

        Nearest in time, and at most half a period of the first topic away; each message is used
        once. At most `MAX_WAITING` messages of a topic are held.

        Args:
            messages: The messages of all topics, in the order of the recording.
        """
        for message in messages:
            if message.topic == self._first:
                if self._waiting and message.stamp_ns > self._waiting[-1].stamp_ns:
                    self._gaps.append(message.stamp_ns - self._waiting[-1].stamp_ns)
                self._waiting.append(message)
            else:
                self._others[message.topic].append(message)
                if len(self._others[message.topic]) > 2 * MAX_WAITING:
                    self._others[message.topic].popleft()
            while self._is_ready():
                yield self._next()
        while self._waiting:
            yield self._next()

    def _is_ready(self) -> bool:
        if len(self._waiting) < 2:  # a gap is known from two on
            return False
        stamp_ns = self._waiting[0].stamp_ns
        passed = all(q and q[-1].stamp_ns >= stamp_ns for q in self._others.values())
        return passed or len(self._waiting) > MAX_WAITING

    def _next(self) -> tuple[Message, ...]:
        first = self._waiting.popleft()
        gaps = sorted(self._gaps)
        reach_ns = gaps[len(gaps) // 2] / 2 if gaps else float("inf")
        group = [first]
        for queue in self._others.values():
            distances = [abs(message.stamp_ns - first.stamp_ns) for message in queue]
            nearest = min(range(len(queue)), key=distances.__getitem__, default=None)
            if nearest is None or distances[nearest] > reach_ns:
                continue
            for _ in range(nearest):
                queue.popleft()
            group.append(queue.popleft())
        self.num_alone += len(group) <= len(self._others)
        return tuple(group)
