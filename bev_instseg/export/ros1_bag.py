"""Copy a labelled recording to a ROS 1 bag."""

import os
from collections.abc import Mapping, Sequence
from functools import cache
from os.path import lexists
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from rosbags.rosbag1 import Writer
from rosbags.typesys import get_types_from_msg
from rosbags.typesys.store import Typestore

from bev_instseg.config import ClassConfig
from bev_instseg.exceptions import ScanError
from bev_instseg.export.mark import MARK
from bev_instseg.export.ros_messages import (
    DETECTION_TYPES,
    DETECTIONS,
    MARKERS,
    POINTS,
    TOPICS,
    TRACKS,
    message_types,
)
from bev_instseg.file_io import in_use, temporary_name
from bev_instseg.io.recordings.decode import ros1_types
from bev_instseg.io.recordings.mcap_file import McapFile
from bev_instseg.io.recordings.ros1_bag import Ros1Bag

ABOUT = "/bev_instseg/about", "std_msgs/msg/String"
# Differences from ROS 2: a class is a number, and a detection can contain its points.
DIFFERENT = {
    "ObjectHypothesisWithPose": "int64 id\nfloat64 score\ngeometry_msgs/PoseWithCovariance pose\n",
    "Detection3D": "std_msgs/Header header\nvision_msgs/ObjectHypothesisWithPose[] results\n"
    "vision_msgs/BoundingBox3D bbox\nsensor_msgs/PointCloud2 source_cloud\n",
}


@cache
def _types() -> Typestore:
    store = ros1_types()
    for name, text in {**DETECTION_TYPES, **DIFFERENT}.items():
        if name != "ObjectHypothesis":
            store.register(get_types_from_msg(text, f"vision_msgs/msg/{name}"))
    return store


def bag_of(labelled: Path) -> Path:
    """Return the path of a labelled recording's ROS 1 bag."""
    return labelled.with_suffix(".bag")


def is_own_bag(path: Path) -> bool:
    """Return whether a path is a bag that bev-instseg wrote.

    Raises:
        OSError: It cannot be read.
    """
    if path.is_dir() or path.suffix != ".bag":
        return False
    try:
        bag = Ros1Bag(path)
    except ScanError:
        return False
    try:
        return bag.has_index and any(
            MARK.encode() in message.data for message in bag.messages({ABOUT[0]})
        )
    finally:
        bag.close()


def require_own_bag(path: Path) -> None:
    """Raise ScanError if a file that bev-instseg did not write is in the way of a bag."""
    if lexists(path) and not is_own_bag(path):
        raise ScanError(
            f"{path}: already exists and was not written by bev-instseg; move it or choose another "
            "output folder"
        )


def write_bag(labelled: Path, classes: Sequence[ClassConfig]) -> Path:
    """Write the messages of a labelled recording as a ROS 1 bag next to it.

    Args:
        labelled: The labelled recording, which must be complete.
        classes: The classes of its objects.

    Returns:
        The bag; an earlier one is replaced when the new one is complete.

    Raises:
        ScanError: A file in the way was not written by bev-instseg.
        OSError: It cannot be written.
    """
    path = bag_of(labelled)
    require_own_bag(path)
    temporary = temporary_name(path)
    numbers = {one.name: one.label for one in classes}
    store, source = _types(), McapFile(labelled)
    try:
        with Writer(temporary) as bag, in_use(temporary):
            written = {topic.name for topic in source.topics()}
            kinds = {topic: kind for topic, kind in (TRACKS, *TOPICS) if topic in written}
            connections = {
                topic: bag.add_connection(topic, kind, typestore=store)
                for topic, kind in (ABOUT, *kinds.items())
            }
            about = bytes(store.serialize_ros1(SimpleNamespace(data=MARK), ABOUT[1]))
            for index, message in enumerate(source.messages(kinds)):
                if index == 0:
                    bag.write(connections[ABOUT[0]], message.log_ns, about)
                kind = kinds[message.topic]
                parsed = message_types().deserialize_cdr(message.data, kind)
                _adapt(parsed, message.topic, index // len(kinds), numbers)
                data = store.serialize_ros1(parsed, kind)
                bag.write(connections[message.topic], message.log_ns, data)
        os.replace(temporary, path)
    finally:
        source.close()
        temporary.unlink(missing_ok=True)
    return path


def _adapt(parsed: Any, topic: str, sequence: int, numbers: Mapping[str, int]) -> None:
    """Add the fields that only ROS 1 has to a message; those that only ROS 2 has are ignored."""
    if topic == POINTS[0]:
        parsed.header.seq = sequence
    elif topic == MARKERS[0]:
        for marker in parsed.markers:
            marker.header.seq = sequence
    elif topic == DETECTIONS[0]:
        parsed.header.seq = sequence
        for one in parsed.detections:
            one.header.seq = sequence
            one.source_cloud = SimpleNamespace(
                header=one.header,
                height=0,
                width=0,
                fields=[],
                is_bigendian=False,
                point_step=0,
                row_step=0,
                data=np.zeros(0, np.uint8),
                is_dense=True,
            )
            for result in one.results:
                result.id = numbers.get(result.hypothesis.class_id, 0)
                result.score = result.hypothesis.score
