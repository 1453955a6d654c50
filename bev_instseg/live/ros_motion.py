"""The poses and fixed transforms of a robot, from its ROS 2 topics."""

from functools import partial

from bev_instseg.io.recordings.transforms import MOVING_TOPIC, STATIC_TOPIC
from bev_instseg.live.dds import RosTopics
from bev_instseg.live.follow import PosesOf
from bev_instseg.live.frames import TRANSFORM_TYPE, RobotFrames
from bev_instseg.live.poses import (
    NUM_KEPT,
    ODOMETRY_TYPE,
    LivePoses,
    Motion,
    OdometryMotion,
    TransformMotion,
)


def robot_frames(topics: RosTopics) -> RobotFrames:
    """Return the fixed transforms of the robot, received in the background."""
    return RobotFrames(topics.latched_reader(STATIC_TOPIC, TRANSFORM_TYPE).take)


def ros_poses(topics: RosTopics, name: str) -> PosesOf:
    """Return a function that finds the pose of a frame at a stamp.

    Args:
        topics: The topics of the domain.
        name: An odometry topic, which begins with ``/``, or a frame such as ``odom``.
    """
    static = robot_frames(topics)
    if name.startswith("/"):
        take = topics.reader(name, ODOMETRY_TYPE, NUM_KEPT).take
        motion: Motion = OdometryMotion(name, static, take)
    else:
        take = topics.reader(MOVING_TOPIC, TRANSFORM_TYPE, NUM_KEPT).take
        motion = TransformMotion(name, static, take, partial(topics.published, ODOMETRY_TYPE))
    return LivePoses(name, motion).at
