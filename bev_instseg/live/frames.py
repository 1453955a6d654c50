"""The fixed transforms of a robot, as it publishes them."""

import time
from collections.abc import Callable, Iterable

from bev_instseg.exceptions import ScanError
from bev_instseg.io.recordings.source import TRANSFORMS, Message
from bev_instseg.io.recordings.transforms import (
    STATIC_TOPIC,
    FrameTree,
    Transform,
    add_transforms,
    find_transform,
    named_transforms,
)

TRANSFORM_TYPE = "tf2_msgs/msg/TFMessage"
Take = Callable[[float], list[bytes]]  # takes messages, with a timeout; see `RosReader.take`


class RobotFrames:
    """The transforms on ``/tf_static``, which may arrive late."""

    def __init__(self, take: Take) -> None:
        """Begin without transforms.

        Args:
            take: Receives the messages of the topic.
        """
        self._tree, self._take = FrameTree(), take

    def tree(self) -> FrameTree:
        """Return the transforms so far; raises ScanError if a new message is damaged."""
        read_all(self._take(0), self._add)
        return self._tree

    def _add(self, data: bytes) -> None:
        add_transforms(self._tree, named_transforms(transforms_message(STATIC_TOPIC, data)))

    def find(self, frame_id: str, topic: str, target: str) -> Transform:
        """Return the transform from a sensor's coordinates to a frame; see `find_transform`."""
        return find_transform(self.tree(), frame_id, topic, target)


def read_all(messages: Iterable[bytes], read: Callable[[bytes], None]) -> None:
    """Read messages that are sent only once; a damaged one does not hold back those after it.

    Args:
        messages: The messages.
        read: Reads one, or raises ScanError if it is damaged.

    Raises:
        ScanError: The last error, after all of them were read.
    """
    damaged = None
    for data in messages:
        try:
            read(data)
        except ScanError as error:
            damaged = error
    if damaged:
        raise damaged


def transforms_message(topic: str, data: bytes) -> Message:
    """Return a ``TFMessage`` that has just arrived."""
    return Message(topic, TRANSFORMS[0], time.time_ns(), data, is_ros1=False)
