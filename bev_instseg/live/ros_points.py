"""PointCloud2 topics as a source of live sweeps."""

import time
from collections.abc import Callable, Sequence
from threading import Event

from bev_instseg.exceptions import ScanError
from bev_instseg.export.ros_messages import POINTS
from bev_instseg.io.recordings.source import POINT_CLOUD, Message
from bev_instseg.live.dds import RosTopics
from bev_instseg.live.merge import LiveMerger
from bev_instseg.live.source import Arrival

CLOUD_TYPE = POINTS[1]


class RosPoints:
    """One PointCloud2 topic, or several that are merged."""

    def __init__(self, topics: RosTopics, names: Sequence[str], say: Callable[[str], None]) -> None:
        """Subscribe.

        Args:
            topics: The topics of the domain.
            names: Names of the PointCloud2 topics; the first sets the pace.
            say: Reports to the user if one of several topics goes silent.
        """
        names = [f"/{name.lstrip('/')}" for name in names]
        self.name = "+".join(names)
        self._topics = topics
        self._readers = {name: topics.reader(name, CLOUD_TYPE) for name in names}
        self._wait = topics.waiting_for(self._readers.values())
        self._merger = LiveMerger(names, say)
        self._num_damaged = 0

    def listen(self, put: Callable[[Arrival], None], stop: Event) -> None:
        """Pass on each sweep as soon as it is complete; see `Source`."""
        while not stop.is_set():
            self._wait(self._merger.wait_s(time.perf_counter()))
            for name, reader in self._readers.items():
                for data in reader.take(0):
                    self._add(Message(name, POINT_CLOUD, time.time_ns(), data, is_ros1=False))
            for arrival in self._merger.ready(time.perf_counter()):
                put(arrival)

    def _add(self, message: Message) -> None:
        try:
            self._merger.add(message, time.perf_counter())
        except ScanError:  # too short even for a header
            self._num_damaged += 1

    @property
    def num_lost(self) -> int:
        """Number of messages that did not arrive complete."""
        return sum(reader.num_lost for reader in self._readers.values()) + self._num_damaged

    @property
    def num_incomplete(self) -> int:
        """Number of sweeps that lacked one of the topics."""
        return self._merger.num_incomplete

    def advice(self) -> str:
        """Return the topics that do have points; see `Source`."""
        others = ", ".join(self._topics.published(CLOUD_TYPE)) or "no topic"
        return (
            f"no messages on {' or '.join(self._readers)} yet; there are points on {others} "
            f"(ROS_DOMAIN_ID {self._topics.domain})"
        )
