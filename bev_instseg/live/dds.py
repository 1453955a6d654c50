"""ROS 2's topics without ROS: its messages by DDS, with ``cyclonedds``.

ROS 2 is DDS with conventions: topic ``/points`` is ``rt/points`` there, and the type
``sensor_msgs/msg/PointCloud2`` is ``sensor_msgs::msg::dds_::PointCloud2_``. Messages are passed on
as they are serialised. What describes their types is made from the definitions in ``rosbags``.
"""

import os
import re
import time
from collections.abc import Callable
from functools import cache
from importlib import import_module
from threading import Event
from typing import Any

from rosbags.interfaces import Nodetype

from bev_instseg.exceptions import printable
from bev_instseg.export.ros_messages import POINTS, message_types
from bev_instseg.io.recordings.source import POINT_CLOUD, TRANSFORMS, Message
from bev_instseg.io.recordings.transforms import (
    STATIC_TOPIC,
    FrameTree,
    Transform,
    add_transforms,
    find_transform,
)
from bev_instseg.live.source import Arrival

MAX_DOMAIN = 232
NAME = re.compile(r"/?[A-Za-z_]\w*(/[A-Za-z_]\w*)*", re.ASCII)
WAIT_S, MAX_BLOCKING_S = 0.2, 0.02
MAX_TAKEN, MAX_PUBLISHERS = 100, 10_000  # that are read at a time
# A cloud is more than a thousand packets at once. The system allows up to net.core.rmem_max.
CONFIG = (
    "<CycloneDDS><Domain><Internal><SocketReceiveBufferSize max='32MB'/></Internal></Domain>"
    "</CycloneDDS>"
)
CLOUD_TYPE = POINTS[1]
TRANSFORM_TYPE = "tf2_msgs/msg/TFMessage"


def ros_domain() -> int:
    """Return the DDS domain, from ROS_DOMAIN_ID; raises ValueError if that is none."""
    text = os.environ.get("ROS_DOMAIN_ID") or "0"
    if not text.isdecimal() or int(text) > MAX_DOMAIN:
        raise ValueError(f"ROS_DOMAIN_ID must be 0..{MAX_DOMAIN}, got {printable(text)}")
    return int(text)


class RosTopics:
    """The topics of a ROS 2 domain.

    Attributes:
        domain: Its number.
        participant: What stands for this process in it; it ends with this object.
    """

    def __init__(self) -> None:
        """Join the domain of ROS_DOMAIN_ID; settings in CYCLONEDDS_URI are respected.

        Raises:
            ImportError: ``cyclonedds`` is not installed.
            ValueError: ROS_DOMAIN_ID is wrong.
            OSError: There is no network to join.
        """
        self.domain = ros_domain()
        try:
            domain = import_module("cyclonedds.domain")
        except ImportError:
            raise ImportError(
                "ROS 2's topics need cyclonedds: pip install 'bev-instseg[ros2]'"
            ) from None
        config = ",".join(filter(None, (CONFIG, os.environ.get("CYCLONEDDS_URI"))))
        try:
            self._settings = domain.Domain(self.domain, config)
            self.participant = domain.DomainParticipant(self.domain)
        except import_module("cyclonedds.core").DDSException as error:
            raise OSError(f"cannot join DDS domain {self.domain}: {error}") from None

    def reader(self, topic: str, kind: str, is_latched: bool = False) -> "RosReader":
        """Return a reader that keeps the newest message and takes what any publisher offers.

        Args:
            topic: Such as ``/velodyne_points``.
            kind: Such as ``sensor_msgs/msg/PointCloud2``.
            is_latched: Whether all messages from before count, as those of ``/tf_static`` do.
        """
        policy = import_module("cyclonedds.core").Policy
        policies = [policy.Reliability.BestEffort, policy.History.KeepLast(1)]
        if is_latched:
            reliable = policy.Reliability.Reliable(_nanoseconds(MAX_BLOCKING_S))
            policies = [reliable, policy.History.KeepAll, policy.Durability.TransientLocal]
        made, quality = self._topic(topic, kind), self._quality(*policies)
        reader = import_module("cyclonedds.sub").DataReader(self.participant, made, quality)
        return RosReader(self, reader)

    def writer(self, topic: str, kind: str) -> "RosWriter":
        """Return a writer whose messages both kinds of subscribers get, reliable or best effort.

        Args:
            topic: Such as ``/bev_instseg/points``.
            kind: Such as ``sensor_msgs/msg/PointCloud2``.
        """
        policy = import_module("cyclonedds.core").Policy
        reliable = policy.Reliability.Reliable(_nanoseconds(MAX_BLOCKING_S))
        quality = self._quality(reliable, policy.History.KeepLast(1))
        made = self._topic(topic, kind)
        writer = import_module("cyclonedds.pub").DataWriter(self.participant, made, quality)
        return RosWriter(self, writer, _topic_type(kind))

    def topics_with_points(self) -> list[str]:
        """Return the topics on which points are published."""
        builtin = import_module("cyclonedds.builtin")
        reader = builtin.BuiltinDataReader(self.participant, builtin.BuiltinTopicDcpsPublication)
        found = {
            printable(one.topic_name).removeprefix("rt")
            for one in reader.read(MAX_PUBLISHERS)
            if getattr(one, "type_name", "") == _dds_name(CLOUD_TYPE)
        }
        return sorted(found)

    def _topic(self, topic: str, kind: str) -> Any:
        if not NAME.fullmatch(topic):
            raise ValueError(f"{printable(topic)}: not a name of a topic, such as /front/points")
        made = import_module("cyclonedds.topic").Topic
        return made(self.participant, f"rt/{topic.lstrip('/')}", _topic_type(kind))

    def _quality(self, *policies: Any) -> Any:
        core = import_module("cyclonedds.core")
        plain = core.Policy.DataRepresentation(use_cdrv0_representation=True)  # as ROS 2 has it
        return core.Qos(*policies, plain)


class RosReader:
    """Receives the messages of a topic."""

    def __init__(self, topics: RosTopics, reader: Any) -> None:
        """Receive by a reader of DDS.

        Args:
            topics: What the reader belongs to; it must not end before.
            reader: The reader.
        """
        self._topics = topics
        core = import_module("cyclonedds.core")
        anything = core.SampleState.Any | core.ViewState.Any | core.InstanceState.Any
        self._reader, self._waiting = reader, core.WaitSet(topics.participant)
        self._arrived = core.ReadCondition(reader, anything)
        self._waiting.attach(self._arrived)

    def take(self, timeout_s: float) -> list[bytes]:
        """Return the serialised messages that have arrived, oldest first; wait if there are none.

        Args:
            timeout_s: How long to wait.
        """
        if not self._waiting.wait(_nanoseconds(timeout_s)):
            return []
        # Those without data say that a publisher has gone.
        return [one.data for one in self._reader.take(MAX_TAKEN) if hasattr(one, "data")]

    @property
    def num_lost(self) -> int:
        """How many messages were published but did not arrive whole."""
        return int(self._reader.get_sample_lost_status().total_count)


class RosWriter:
    """Publishes the messages of a topic.

    Attributes:
        num_late: How many messages a subscriber did not take in time, and did not get.
    """

    def __init__(self, topics: RosTopics, writer: Any, kind: Any) -> None:
        """Publish by a writer of DDS.

        Args:
            topics: What the writer belongs to; it must not end before.
            writer: The writer.
            kind: Type of its messages.
        """
        self.num_late = 0
        self._topics, self._writer, self._kind = topics, writer, kind
        self._error: Any = import_module("cyclonedds.core").DDSException

    def write(self, data: bytes) -> None:
        """Publish a serialised message; it is dropped after `MAX_BLOCKING_S`, and counted."""
        try:
            self._writer.write(self._kind(data))
        except self._error as error:
            if error.code != self._error.DDS_RETCODE_TIMEOUT:
                raise OSError(f"cannot publish: {error}") from None
            self.num_late += 1

    @property
    def num_readers(self) -> int:
        """How many subscribers there are."""
        return len(self._writer.get_matched_subscriptions())


class RosPoints:
    """A topic with points as a source of live sweeps."""

    def __init__(self, topics: RosTopics, topic: str) -> None:
        """Subscribe.

        Args:
            topics: The topics of the domain.
            topic: The topic's name.
        """
        self.name = f"/{topic.lstrip('/')}"
        self._topics = topics
        self._reader = topics.reader(topic, CLOUD_TYPE)

    def listen(self, put: Callable[[Arrival], None], stop: Event) -> None:
        """Pass on each message as soon as it is complete; see `Source`."""
        while not stop.is_set():
            for data in self._reader.take(WAIT_S):
                log_ns = time.time_ns()
                message = Message(self.name, POINT_CLOUD, log_ns, data, is_ros1=False)
                put(Arrival(message, time.perf_counter()))

    @property
    def num_lost(self) -> int:
        """How many sweeps were published but did not arrive whole."""
        return self._reader.num_lost

    def advice(self) -> str:
        """Return on which topics there are points; see `Source`."""
        others = ", ".join(self._topics.topics_with_points()) or "no topic"
        return (
            f"nothing on {self.name} yet; there are points on {others} (ROS_DOMAIN_ID "
            f"{self._topics.domain})"
        )


class RosFrames:
    """The transforms on ``/tf_static``, which may come late."""

    def __init__(self, topics: RosTopics, target: str) -> None:
        """Subscribe.

        Args:
            topics: The topics of the domain.
            target: The frame that points are brought to.
        """
        self._tree, self._target = FrameTree(), target
        self._reader = topics.reader(STATIC_TOPIC, TRANSFORM_TYPE, is_latched=True)

    def find(self, frame_id: str, topic: str) -> Transform:
        """Return the transform from a sensor's coordinates to the frame.

        Args:
            frame_id: Frame of the sensor.
            topic: Topic of its points.

        Raises:
            ScanError: There is none so far, or a message is damaged.
        """
        for data in self._reader.take(0):
            message = Message(STATIC_TOPIC, TRANSFORMS[0], time.time_ns(), data, is_ros1=False)
            add_transforms(self._tree, message)
        return find_transform(self._tree, frame_id, topic, self._target)


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)


def _dds_name(kind: str) -> str:
    """Return the name that a type of ROS 2 has in DDS."""
    package, _, name = kind.split("/")
    return f"{package}::msg::dds_::{name}_"


class _Serialised:
    """A sample that is passed on as it is, instead of being made from fields."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def serialize(self, use_version_2: bool | None = None) -> bytes:
        return self.data

    @classmethod
    def deserialize(cls, data: bytes) -> "_Serialised":
        return cls(data)

    @classmethod
    def deserialize_key(cls, data: bytes) -> "_Serialised":  # of a publisher that goes
        return cls(b"")


@cache
def _topic_type(kind: str) -> Any:
    """Return a type for a topic: described by its fields, but with samples that are serialised."""
    made = _described(kind)
    for name in ("__init__", "serialize", "deserialize", "deserialize_key"):
        setattr(made, name, _Serialised.__dict__[name])
    return made


def _described(kind: str) -> Any:
    """Return the IDL type of a ROS 2 message, made from its definition."""
    _, fields = message_types().fielddefs[kind]
    make = import_module("cyclonedds.idl").make_idl_struct
    types = {name: _field_type(node) for name, node in fields}
    return make(kind.rpartition("/")[2], _dds_name(kind), types, dataclassify=False)


def _field_type(node: Any) -> Any:
    """Return the IDL type of a field; see the field definitions of ``rosbags``."""
    idl = import_module("cyclonedds.idl.types")
    shape, about = node
    if shape == Nodetype.NAME:
        return _described(about)
    if shape == Nodetype.BASE:
        name = about[0]
        return {"bool": bool, "string": str}.get(name) or getattr(idl, name)
    inner = _field_type(about[0])
    return idl.array[inner, about[1]] if shape == Nodetype.ARRAY else idl.sequence[inner]
