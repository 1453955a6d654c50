"""The pose of the sensor, from transforms or odometry that the robot sends.

The poses equal those that `find_poses` finds in a recording of the same messages. The pose of a
sweep is interpolated between two samples; the later one may arrive after the sweep.
"""

import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from typing import Protocol

from bev_instseg.exceptions import ScanError
from bev_instseg.io.recordings.point_cloud2 import stamp_text
from bev_instseg.io.recordings.poses import (
    ODOMETRY,
    OTHERWISE,
    MovingLink,
    Pair,
    RecordedPoses,
    Samples,
    add_odometry,
    chained,
    mounted_poses,
    no_chain,
)
from bev_instseg.io.recordings.source import Message
from bev_instseg.io.recordings.transforms import (
    MOVING_TOPIC,
    FrameTree,
    add_transform,
    named_transforms,
)
from bev_instseg.live.frames import RobotFrames, Take, read_all, transforms_message
from bev_instseg.structures import Float64

ODOMETRY_TYPE = "nav_msgs/msg/Odometry"
MAX_WAIT_S = 0.2  # how long a sweep waits for its pose
KEPT_S = 3.0  # age, relative to the newest sample, at which samples are dropped
NUM_KEPT = 1000  # messages that can wait from one sweep to the next


class RecentSamples(Samples):
    """The newest samples of a link; if stamps go back, it starts again."""

    def add(self, header: object, place: object, turn: object) -> None:
        """Add a sample and drop old ones."""
        super().add(header, place, turn)
        newest_ns = self._stamps[-1]
        if len(self._stamps) > 1 and newest_ns < self._stamps[-2]:
            num_old = len(self._stamps) - 1
        else:
            num_old = bisect_left(self._stamps, newest_ns - round(1e9 * KEPT_S))
        del self._stamps[:num_old], self._values[: 7 * num_old]


class Motion(Protocol):
    """Receives the poses of a frame."""

    def receive(self, timeout_s: float) -> None:
        """Take in the messages that have arrived; wait for one if there are none."""
        ...

    def poses(self, frame: str) -> RecordedPoses:
        """Return the poses of a frame so far; raises ScanError if there are none."""
        ...


class TransformMotion:
    """The transforms on ``/tf`` and ``/tf_static`` that lead to a frame such as ``odom``."""

    def __init__(
        self, target: str, static: RobotFrames, take: Take, odometry: Callable[[], list[str]]
    ) -> None:
        """Begin without transforms.

        Args:
            target: The frame.
            static: The transforms on ``/tf_static``; those on ``/tf`` are added.
            take: Receives the messages on ``/tf``.
            odometry: Returns the odometry topics, for messages.
        """
        self._target, self._static, self._take, self._odometry = target, static, take, odometry
        self._moving: defaultdict[Pair, RecentSamples] = defaultdict(RecentSamples)

    def receive(self, timeout_s: float) -> None:
        """Take in what has arrived; see `Motion`."""
        tree = self._static.tree()  # first: an error here must not lose the messages below
        read_all(self._take(timeout_s), partial(self._add, tree))

    def _add(self, tree: FrameTree, data: bytes) -> None:
        for parent, child, one in named_transforms(transforms_message(MOVING_TOPIC, data)):
            if not tree.is_parent(parent, child):  # invalid ones may come before it
                add_transform(tree, parent, child, one)
            body = one.transform
            self._moving[child, parent].add(one.header, body.translation, body.rotation)

    def poses(self, frame: str) -> RecordedPoses:
        """Return the poses of a frame so far; see `Motion`."""
        tree = self._static.tree()
        chain = tree.chain(frame, self._target)
        if chain is None:
            raise no_chain(tree, frame, self._odometry())
        return chained(tree, chain, self._moving)


class OdometryMotion:
    """An odometry topic, and the transforms on ``/tf_static`` that lead to its frame."""

    def __init__(self, topic: str, static: RobotFrames, take: Take) -> None:
        """Begin without samples.

        Args:
            topic: The topic, for messages.
            static: The transforms on ``/tf_static``.
            take: Receives the messages of the topic.
        """
        self._topic, self._static, self._take = topic, static, take
        self._samples, self._child = RecentSamples(), ""

    def receive(self, timeout_s: float) -> None:
        """Take in what has arrived; see `Motion`."""
        read_all(self._take(timeout_s), self._add)

    def _add(self, data: bytes) -> None:
        message = Message(self._topic, ODOMETRY, time.time_ns(), data, is_ros1=False)
        self._child = add_odometry(self._samples, message)

    def poses(self, frame: str) -> RecordedPoses:
        """Return the poses of a frame so far; see `Motion`."""
        link = self._samples.link(self._topic)
        return mounted_poses(self._static.tree(), frame, self._child, link)


class LivePoses:
    """Waits for the pose of each sweep."""

    def __init__(self, name: str, motion: Motion) -> None:
        """Prepare to receive poses.

        Args:
            name: The value of ``--poses``, for messages.
            motion: Receives the poses of the sensor.
        """
        self._name, self._motion = name, motion

    def at(self, frame: str, stamp_ns: int) -> Float64:
        """Return the (4, 4) pose of a frame; wait for it at most `MAX_WAIT_S`.

        Args:
            frame: The frame of the points.
            stamp_ns: Stamp of the sweep.

        Raises:
            ScanError: The pose did not arrive in time.
        """
        end_s, left_s = time.monotonic() + MAX_WAIT_S, 0.0
        while True:
            try:
                self._motion.receive(left_s)
                return self._pose(frame, stamp_ns)
            except ScanError as error:
                left_s = end_s - time.monotonic()
                if left_s <= 0:
                    raise ScanError(f"--poses {self._name}: {error}: left out") from None

    def _pose(self, frame: str, stamp_ns: int) -> Float64:
        poses = self._motion.poses(frame)
        for link in poses.links:
            if isinstance(link, MovingLink) and link.stamps_ns[-1] < stamp_ns:
                raise ScanError(
                    f"no pose at {stamp_text(stamp_ns)}: {link.name} did not arrive within "
                    f"{MAX_WAIT_S:g} s; {OTHERWISE}"
                )
        return poses.at(stamp_ns)
