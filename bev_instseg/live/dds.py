"""ROS 2 topics without ROS, through DDS (``cyclonedds``).

ROS 2 is DDS with naming conventions: topic ``/points`` is ``rt/points`` in DDS, and the type
``sensor_msgs/msg/PointCloud2`` is ``sensor_msgs::msg::dds_::PointCloud2_``. Messages are passed on
in serialised form. Their types are made from the definitions in ``rosbags``.
"""

import os
import re
from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Any

from bev_instseg.exceptions import printable
from bev_instseg.live.dds_types import dds_name, topic_type

MAX_DOMAIN = 232
NAME = re.compile(r"/?[A-Za-z_]\w*(/[A-Za-z_]\w*)*", re.ASCII)
MAX_BLOCKING_S = 0.02
MAX_TAKEN, MAX_PUBLISHERS = 1000, 10_000  # read at a time
# A cloud is more than a thousand packets at once. The system allows up to net.core.rmem_max.
CONFIG = (
    "<CycloneDDS><Domain><Internal><SocketReceiveBufferSize max='32MB'/></Internal></Domain>"
    "</CycloneDDS>"
)


def ros_domain() -> int:
    """Return the DDS domain in ROS_DOMAIN_ID; raises ValueError if it is not a domain."""
    text = os.environ.get("ROS_DOMAIN_ID") or "0"
    if not text.isdecimal() or int(text) > MAX_DOMAIN:
        raise ValueError(f"ROS_DOMAIN_ID must be 0..{MAX_DOMAIN}, got {printable(text)}")
    return int(text)


class RosTopics:
    """The topics of a ROS 2 domain.

    Attributes:
        domain: Number of the domain.
        participant: DDS participant of this process; it ends with this object.
    """

    def __init__(self) -> None:
        """Join the domain of ROS_DOMAIN_ID; settings in CYCLONEDDS_URI are respected.

        Raises:
            ImportError: ``cyclonedds`` is not installed.
            ValueError: ROS_DOMAIN_ID is invalid.
            OSError: The domain cannot be joined.
        """
        self.domain = ros_domain()
        try:
            domain = import_module("cyclonedds.domain")
        except ImportError:
            raise ImportError(
                "ROS 2 topics need cyclonedds: pip install 'bev-instseg[ros2]'"
            ) from None
        config = ",".join(filter(None, (CONFIG, os.environ.get("CYCLONEDDS_URI"))))
        try:
            self._settings = domain.Domain(self.domain, config)
            self.participant = domain.DomainParticipant(self.domain)
        except import_module("cyclonedds.core").DDSException as error:
            raise OSError(f"cannot join DDS domain {self.domain}: {error}") from None

    def reader(self, topic: str, kind: str, num_kept: int = 1) -> "RosReader":
        """Return a reader that keeps the newest messages and matches any publisher.

        Args:
            topic: Such as ``/velodyne_points``.
            kind: Such as ``sensor_msgs/msg/PointCloud2``.
            num_kept: Maximum number of messages waiting to be taken.
        """
        policy = import_module("cyclonedds.core").Policy
        history = policy.History.KeepLast(num_kept)
        return self._reader(topic, kind, policy.Reliability.BestEffort, history)

    def latched_reader(self, topic: str, kind: str) -> "RosReader":
        """Return a reader that also gets earlier messages, as needed for ``/tf_static``."""
        policy = import_module("cyclonedds.core").Policy
        reliable = policy.Reliability.Reliable(_nanoseconds(MAX_BLOCKING_S))
        durability = policy.Durability.TransientLocal
        return self._reader(topic, kind, reliable, policy.History.KeepAll, durability)

    def _reader(self, topic: str, kind: str, *policies: Any) -> "RosReader":
        made, quality = self._topic(topic, kind), self._quality(*policies)
        reader = import_module("cyclonedds.sub").DataReader(self.participant, made, quality)
        return RosReader(self, reader)

    def writer(self, topic: str, kind: str) -> "RosWriter":
        """Return a writer that matches both reliable and best-effort subscribers.

        Args:
            topic: Such as ``/bev_instseg/points``.
            kind: Such as ``sensor_msgs/msg/PointCloud2``.
        """
        policy = import_module("cyclonedds.core").Policy
        reliable = policy.Reliability.Reliable(_nanoseconds(MAX_BLOCKING_S))
        quality = self._quality(reliable, policy.History.KeepLast(1))
        made = self._topic(topic, kind)
        writer = import_module("cyclonedds.pub").DataWriter(self.participant, made, quality)
        return RosWriter(self, writer, topic_type(kind))

    def published(self, kind: str) -> list[str]:
        """Return the topics on which messages of a type are published."""
        builtin = import_module("cyclonedds.builtin")
        reader = builtin.BuiltinDataReader(self.participant, builtin.BuiltinTopicDcpsPublication)
        found = {
            printable(one.topic_name).removeprefix("rt")
            for one in reader.read(MAX_PUBLISHERS)
            if getattr(one, "type_name", "") == dds_name(kind)
        }
        return sorted(found)

    def waiting_for(self, readers: "Iterable[RosReader]") -> Callable[[float], None]:
        """Return a function that waits for messages of a reader, at most a number of seconds."""
        waiting = import_module("cyclonedds.core").WaitSet(self.participant)
        for reader in readers:
            waiting.attach(reader.arrived)

        def wait(seconds: float) -> None:
            waiting.wait(_nanoseconds(seconds))

        return wait

    def _topic(self, topic: str, kind: str) -> Any:
        if not NAME.fullmatch(topic):
            raise ValueError(f"{printable(topic)}: not a topic name such as /front/points")
        made = import_module("cyclonedds.topic").Topic
        return made(self.participant, f"rt/{topic.lstrip('/')}", topic_type(kind))

    def _quality(self, *policies: Any) -> Any:
        core = import_module("cyclonedds.core")
        plain = core.Policy.DataRepresentation(use_cdrv0_representation=True)  # as ROS 2 has it
        return core.Qos(*policies, plain)


class RosReader:
    """Receives the messages of a topic.

    Attributes:
        arrived: DDS condition that is true if there are messages.
    """

    def __init__(self, topics: RosTopics, reader: Any) -> None:
        """Wrap a DDS reader.

        Args:
            topics: Owner of the reader; kept so that it lives as long as the reader.
            reader: The DDS reader.
        """
        core = import_module("cyclonedds.core")
        anything = core.SampleState.Any | core.ViewState.Any | core.InstanceState.Any
        self.arrived = core.ReadCondition(reader, anything)
        self._topics, self._reader = topics, reader
        self._wait = topics.waiting_for([self])

    def take(self, timeout_s: float) -> list[bytes]:
        """Return the serialised messages that have arrived, oldest first; wait if there are none.

        Args:
            timeout_s: How long to wait.
        """
        self._wait(timeout_s)
        # Samples without data report that a publisher is gone.
        return [one.data for one in self._reader.take(MAX_TAKEN) if hasattr(one, "data")]

    @property
    def num_lost(self) -> int:
        """Number of messages that did not arrive complete."""
        return int(self._reader.get_sample_lost_status().total_count)


class RosWriter:
    """Publishes the messages of a topic.

    Attributes:
        num_late: Number of messages dropped because a subscriber was too slow.
    """

    def __init__(self, topics: RosTopics, writer: Any, kind: Any) -> None:
        """Wrap a DDS writer.

        Args:
            topics: Owner of the writer; kept so that it lives as long as the writer.
            writer: The DDS writer.
            kind: Type of its messages.
        """
        self.num_late = 0
        self._topics, self._writer, self._kind = topics, writer, kind
        self._error: Any = import_module("cyclonedds.core").DDSException

    def write(self, data: bytes) -> None:
        """Publish a serialised message; after `MAX_BLOCKING_S` it is dropped and counted."""
        try:
            self._writer.write(self._kind(data))
        except self._error as error:
            if error.code != self._error.DDS_RETCODE_TIMEOUT:
                raise OSError(f"cannot publish: {error}") from None
            self.num_late += 1

    @property
    def num_readers(self) -> int:
        """Number of subscribers."""
        return len(self._writer.get_matched_subscriptions())


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)
