"""Parse serialised ROS messages by the definitions that come with ``rosbags``.

Definitions inside a recording are ignored: the few types that are read have never changed, and
``rosbags`` would turn the definitions of an untrusted file into code.
"""

from functools import cache
from typing import Any

from rosbags.serde import SerdeError
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from bev_instseg.exceptions import ScanError, printable
from bev_instseg.io.recordings.source import Message


@cache
def ros1_types() -> Typestore:
    """Return the message types of ROS 1, with those of transforms."""
    store = get_typestore(Stores.ROS1_NOETIC)
    for kind in ("tf2_msgs/msg/TFMessage", "tf/msg/tfMessage"):
        store.register(get_types_from_msg("geometry_msgs/TransformStamped[] transforms", kind))
    return store


@cache
def ros2_types() -> Typestore:
    """Return the message types of ROS 2."""
    return get_typestore(Stores.ROS2_HUMBLE)


def parse(message: Message) -> Any:
    """Return a message as an object with the fields of its definition.

    Args:
        message: A message of a type that is defined in ROS itself.

    Raises:
        ScanError: The message is damaged.
    """
    kind = message.type.replace("/", "/msg/")
    try:
        if message.is_ros1:
            return ros1_types().deserialize_ros1(message.data, kind)
        return ros2_types().deserialize_cdr(message.data, kind)
    except (SerdeError, KeyError, ValueError, OverflowError, MemoryError) as error:
        reason = printable(str(error)) or type(error).__name__
        raise ScanError(f"an incomplete {message.type} ({reason}); record it again") from None
