"""Merge the sweeps of several sensors: group messages by stamp, then join points in one frame."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from bev_instseg.exceptions import ScanError
from bev_instseg.io.intensity import MAX_EXCESS, scale_of
from bev_instseg.io.recordings.point_cloud2 import StampedSweep, stamp_text
from bev_instseg.io.recordings.source import Message
from bev_instseg.io.recordings.transforms import Transform

MAX_WAITING = 8  # sweeps that wait for another sensor; more mean that it has stopped
MIXED_SCALES = "the sensors seem to have intensities of different scales, but all are read as one"
MAX_SAMPLE = 10_000  # intensities of a sensor that are looked at
NUM_GAPS = 20  # the period is the median of this many gaps between stamps
USUAL_PERIOD_NS = 10**8  # of the first topic, as long as only one of its sweeps has come


class Merger:
    """Groups messages around those of the first topic.

    Attributes:
        first: The first topic.
        num_alone: Number of groups that lack a topic.
    """

    def __init__(self, topics: Sequence[str]) -> None:
        """Prepare to merge.

        Args:
            topics: The topics; the first sets the pace and gives the stamps.
        """
        self.first = topics[0]
        self.num_alone = 0
        self._waiting: deque[Message] = deque()
        self._others: dict[str, deque[Message]] = {topic: deque() for topic in topics[1:]}
        self._last_ns: dict[str, int] = {}
        self._gaps = {topic: deque[int](maxlen=NUM_GAPS) for topic in topics}

    def groups(self, messages: Iterable[Message]) -> Iterator[tuple[Message, ...]]:
        """Yield each message of the first topic with the nearest of the others.

        The nearest message in time is used if it is at most half a period of the first topic away.
        Each message is used once. At most `MAX_WAITING` messages of the first topic are held, and
        of the others those of the last ``2 * MAX_WAITING`` periods of the first. A message without
        a header is a group by itself.

        Args:
            messages: The messages of all topics, in the order of the recording.
        """
        for message in messages:
            try:
                self.add(message)
            except ScanError:
                yield (message,)
            while self._is_ready():
                yield self.next_group()
        while self._waiting:
            yield self.next_group()

    def add(self, message: Message) -> None:
        """Hold a message; raises ScanError if it has no header."""
        stamp_ns, topic = message.header_ns or message.log_ns, message.topic
        if stamp_ns > self._last_ns.get(topic, stamp_ns):
            self._gaps[topic].append(stamp_ns - self._last_ns[topic])
        self._last_ns[topic] = stamp_ns
        if topic == self.first:
            self._waiting.append(message)
            return
        self._others[topic].append(message)
        self._forget(self._others[topic])

    def undecided(self) -> set[str]:
        """Return the topics that may still send a message nearer to the oldest waiting sweep.

        A topic is decided if its last message is later than that sweep, or so little earlier that
        the next one would have to be early by half a period of its topic to be nearer.
        """
        if not self._gaps[self.first]:  # how far away the nearest may be is not known yet
            return set(self._others)
        stamp_ns = self._waiting[0].stamp_ns
        return {
            topic
            for topic, queue in self._others.items()
            if not queue or stamp_ns - queue[-1].stamp_ns > self._period_ns(topic, 0) / 4
        }

    def next_group(self) -> tuple[Message, ...]:
        """Return the oldest message of the first topic with the nearest ones so far."""
        first = self._waiting.popleft()
        reach_ns = self._period_ns(self.first, float("inf")) / 2
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

    def _forget(self, queue: deque[Message]) -> None:
        """Drop messages that can no longer be the nearest, or that wait in vain for a sweep."""
        waiting = self._waiting[0].stamp_ns if self._waiting else self._last_ns.get(self.first)
        newest_ns = queue[-1].stamp_ns
        longest_ns = 2 * MAX_WAITING * self._period_ns(self.first, USUAL_PERIOD_NS)
        while len(queue) > 1:
            one_ns, next_ns = queue[0].stamp_ns, queue[1].stamp_ns
            is_farther = waiting is not None and abs(one_ns - waiting) > abs(next_ns - waiting)
            if not is_farther and one_ns != next_ns and abs(newest_ns - one_ns) <= longest_ns:
                return
            queue.popleft()

    def _is_ready(self) -> bool:
        if len(self._waiting) < 2:  # a gap is known from two on
            return False
        stamp_ns = self._waiting[0].stamp_ns
        passed = all(q and q[-1].stamp_ns >= stamp_ns for q in self._others.values())
        return passed or len(self._waiting) > MAX_WAITING

    def _period_ns(self, topic: str, unknown: float) -> float:
        gaps = sorted(self._gaps[topic])
        return gaps[len(gaps) // 2] if gaps else unknown


def joined(
    sweeps: Sequence[StampedSweep], frame: str, to_frame: Callable[[str, str], Transform]
) -> StampedSweep:
    """Return the points of several sensors in one frame, with the stamp of the first.

    Args:
        sweeps: A sweep of each sensor.
        frame: The frame.
        to_frame: Returns the transform to it for a sensor's frame and topic, or raises ScanError.

    Raises:
        ScanError: There is no transform, or the fields of the sensors do not fit together.
    """
    moved = [to_frame(one.frame_id, one.topic).apply(one.points) for one in sweeps]
    shared = [name for name in sweeps[0].extras if all(name in one.extras for one in sweeps)]
    return StampedSweep(
        stamp_ns=sweeps[0].stamp_ns,
        frame_id=frame,
        topic="+".join(one.topic for one in sweeps),
        points=np.concatenate(moved),
        has_intensity=all(one.has_intensity for one in sweeps),
        extras={name: _joined_field(sweeps, name) for name in shared},
        num_missing=sum(one.num_missing for one in sweeps),
        notices=_notices(sweeps),
    )


def _joined_field(sweeps: Sequence[StampedSweep], name: str) -> NDArray[np.generic]:
    first, columns = sweeps[0], [one.extras[name] for one in sweeps]
    for one, column in zip(sweeps, columns, strict=True):
        if column.shape[1:] != columns[0].shape[1:]:
            counts = [max(found.shape[1:], default=1) for found in (column, columns[0])]
            raise ScanError(
                f"{one.topic} at {stamp_text(one.stamp_ns)}: field {name} has {counts[0]} values "
                f"per point, but {counts[1]} on {first.topic}; rename it in one of the drivers"
            )
    return np.concatenate(columns)


def _notices(sweeps: Sequence[StampedSweep]) -> tuple[str, ...]:
    """Return a notice if the intensities of the sensors do not seem to have the same scale."""
    columns = [one.points[:, 3] for one in sweeps if one.has_intensity and len(one.points)]
    if not any(np.fmax.reduce(column) > MAX_EXCESS for column in columns):
        return ()
    samples = (column[:: 1 + len(column) // MAX_SAMPLE].astype(float) for column in columns)
    return (MIXED_SCALES,) if len(set(map(scale_of, samples))) > 1 else ()
