"""The pose of the sensor over time, from the transforms or the odometry in a recording.

A chain of links leads from the frame of the points to the requested frame. A link that changes is
interpolated at the stamp of the sweep, between the two samples around it.
"""

import warnings
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from bev_instseg.exceptions import ScanError, printable
from bev_instseg.io.recordings.decode import parse
from bev_instseg.io.recordings.point_cloud2 import stamp_text
from bev_instseg.io.recordings.source import TRANSFORMS, Message, Source
from bev_instseg.io.recordings.transforms import (
    FrameTree,
    Transform,
    each_undamaged,
    named_transforms,
    recorded_frames,
)

ODOMETRY = "nav_msgs/Odometry"
MAX_GAP_S = 1.0  # between two samples
MAX_BEYOND_S = 0.2  # before the first sample and after the last one
MIN_STEP_S = 0.02  # between two samples from which the motion is extrapolated
RESET_S = 1.0  # stamps that go back this far mean that the clock was set back
MAX_JUMP_M, MAX_SPEED_MPS = 3.0, 100.0  # samples farther apart mean that the odometry was reset
MAX_LISTED = 20
Pair = tuple[str, str]  # of frames
OTHERWISE = "leave out --poses to find the motion from the points"


@dataclass(frozen=True, eq=False)
class MovingLink:
    """A transform between two frames that changes over time.

    Attributes:
        name: Name of the transform or topic, for messages.
        stamps_ns: (S,) int64 increasing times of its samples, at least two.
        translations_m: (S, 3) float64.
        quaternions: (S, 4) float64 x, y, z, w.
        is_inverse: Whether the chain uses it from the parent to the child.
    """

    name: str
    stamps_ns: NDArray[np.int64]
    translations_m: NDArray[np.float64]
    quaternions: NDArray[np.float64]
    is_inverse: bool = False

    @property
    def moves(self) -> bool:
        """Whether any two samples differ."""
        poses = np.hstack([self.translations_m, self.quaternions])
        return bool((poses != poses[0]).any())

    def at(self, stamp_ns: int) -> Transform:
        """Return the transform at a time; slightly beyond the ends it is extrapolated.

        Raises:
            ScanError: No samples are near enough, or they jump at this time.
        """
        stamps = self.stamps_ns
        before, after = self._around(stamp_ns)
        start_ns, end_ns = int(stamps[before]), int(stamps[after])
        beyond_ns = max(start_ns - stamp_ns, stamp_ns - end_ns)
        if beyond_ns > 1e9 * MAX_BEYOND_S or end_ns - start_ns > 1e9 * MAX_GAP_S:
            raise ScanError(
                f"no pose at {stamp_text(stamp_ns)}: {self.name} has no samples near this time; "
                f"{OTHERWISE}"
            )
        first_m, last_m = self.translations_m[[before, after]]
        step_m = float(np.linalg.norm(last_m - first_m))
        if step_m > MAX_JUMP_M + MAX_SPEED_MPS * (end_ns - start_ns) / 1e9:
            raise ScanError(
                f"no pose at {stamp_text(stamp_ns)}: {self.name} jumps by {step_m:.1f} m at this "
                f"time; {OTHERWISE}"
            )
        share = (stamp_ns - start_ns) / (end_ns - start_ns)
        if end_ns - start_ns < 1e9 * MIN_STEP_S:
            share = np.clip(share, 0, 1)
        first, last = (Rotation.from_quat(q) for q in self.quaternions[[before, after]])
        turn = first * Rotation.from_rotvec(share * (first.inv() * last).as_rotvec())
        found = Transform(turn.as_matrix(), first_m + share * (last_m - first_m))
        return found.inverse() if self.is_inverse else found

    def _around(self, stamp_ns: int) -> tuple[int, int]:
        """Return the samples between which to interpolate, or from which to extrapolate.

        The latter are some time apart, because their errors are multiplied.
        """
        stamps, step_ns = self.stamps_ns, round(1e9 * MIN_STEP_S)
        last = len(stamps) - 1
        if stamp_ns < stamps[0]:
            return 0, min(int(np.searchsorted(stamps, stamps[0] + step_ns)), last)
        if stamp_ns > stamps[last]:
            return max(int(np.searchsorted(stamps, stamps[last] - step_ns, "right")) - 1, 0), last
        after = int(np.clip(np.searchsorted(stamps, stamp_ns), 1, last))
        return after - 1, after


@dataclass(frozen=True, eq=False)
class RecordedPoses:
    """The pose of a frame over time.

    Attributes:
        links: The links to the common frame; the first one starts at the frame of the points.
    """

    links: tuple[Transform | MovingLink, ...]

    @property
    def stands_still(self) -> bool:
        """Whether the frame never moves."""
        return not any(isinstance(link, MovingLink) and link.moves for link in self.links)

    def at(self, stamp_ns: int) -> NDArray[np.float64]:
        """Return the (4, 4) pose at a time.

        Raises:
            ScanError: The recording has no pose for this time.
        """
        pose = np.eye(4)
        for link in self.links:
            step = link.at(stamp_ns) if isinstance(link, MovingLink) else link
            matrix = np.eye(4)
            matrix[:3, :3], matrix[:3, 3] = step.rotation, step.translation_m
            pose = matrix @ pose
        return pose


class Samples:
    """The samples of a link, in the order in which they are added."""

    def __init__(self) -> None:
        """Begin without samples."""
        self._stamps, self._values = array("q"), array("d")

    def add(self, header: object, place: object, turn: object) -> None:
        """Add a ROS header, position and quaternion."""
        stamp = header.stamp  # type: ignore[attr-defined]
        self._stamps.append(stamp.sec * 10**9 + stamp.nanosec)
        self._values.extend(getattr(place, axis) for axis in "xyz")
        self._values.extend(getattr(turn, axis) for axis in "xyzw")

    def link(self, name: str, is_inverse: bool = False) -> MovingLink:
        """Return the link; raises ScanError if it cannot be used.

        Samples with earlier stamps than one before are left out: if the clock was set back, they
        belong to another time.
        """
        all_stamps = np.array(self._stamps, np.int64)
        latest = np.maximum.accumulate(all_stamps)
        order = np.flatnonzero(np.diff(latest, prepend=-1) > 0)
        num_back = np.count_nonzero(all_stamps < latest - round(1e9 * RESET_S))
        if num_back:
            warnings.warn(
                f"{name}: {num_back} poses left out, because the clock was set back before them",
                stacklevel=2,
            )
        stamps, values = all_stamps[order], np.array(self._values).reshape(-1, 7)[order]
        valid = np.isfinite(values).all(axis=1) & values[:, 3:].any(axis=1)  # 0 if not yet known
        stamps, values = stamps[valid], values[valid]
        if len(stamps) < 2:
            raise ScanError(f"{name} has fewer than two valid poses; {OTHERWISE}")
        return MovingLink(name, stamps, values[:, :3], values[:, 3:], is_inverse)


def find_poses(source: Source, frame: str, name: str) -> RecordedPoses:
    """Read the motion of a frame from a recording; this reads the whole recording once more.

    Args:
        source: The recording.
        frame: The frame of the points.
        name: An odometry topic, or a frame such as ``odom``.

    Raises:
        ScanError: There is no such topic or frame, or no transforms lead to it.
    """
    topics = [topic.name for topic in source.topics() if topic.type == ODOMETRY]
    try:
        if name in topics:
            return _from_odometry(source, frame, name)
        tree = recorded_frames(source)
        chain = tree.chain(frame, name.lstrip("/"))
        if chain is None:
            raise no_chain(tree, frame, topics)
        return _from_transforms(source, tree, chain)
    except ScanError as error:
        raise ScanError(f"{source.path}: --poses {name}: {error}") from None


def _from_transforms(source: Source, tree: FrameTree, chain: Sequence[Pair]) -> RecordedPoses:
    moving = {
        (end, start) if tree.is_parent(start, end) else (start, end): Samples()
        for start, end in chain
        if tree.is_moving(start, end)
    }
    offered = {topic.name for topic in source.topics() if topic.type in TRANSFORMS}
    for transforms in each_undamaged(source, offered, named_transforms) if moving else ():
        for parent, child, one in transforms:
            if (child, parent) in moving:
                body = one.transform
                moving[child, parent].add(one.header, body.translation, body.rotation)
    return chained(tree, chain, moving)


def no_chain(tree: FrameTree, frame: str, odometry: Iterable[str]) -> ScanError:
    """Return the error that no transforms lead from a frame to the chosen one.

    Args:
        tree: The transforms.
        frame: The frame of the points.
        odometry: Odometry topics, which the user may have meant.
    """
    return ScanError(
        f"no transforms lead to it from {frame or 'the points'} (frames: "
        f"{_listing(tree.frames)}; odometry: {_listing(odometry)})"
    )


def chained(
    tree: FrameTree, chain: Sequence[Pair], moving: Mapping[Pair, Samples]
) -> RecordedPoses:
    """Return the poses along a chain of transforms; raises ScanError if there are none.

    Args:
        tree: Has the fixed transforms.
        chain: Pairs of frames that lead to the common frame; see `FrameTree.chain`.
        moving: The samples of transforms that change, by child and parent.
    """
    if not chain:
        raise ScanError("this is the frame of the points; give one that stands still")
    links: list[Transform | MovingLink] = []
    for start, end in chain:
        text = f"the transform from {start} to {end}"
        if (start, end) in moving:
            links.append(moving[start, end].link(text))
        elif (end, start) in moving:
            links.append(moving[end, start].link(text, is_inverse=True))
        else:
            links.append(tree.step(start, end))
    return RecordedPoses(tuple(links))


def _from_odometry(source: Source, frame: str, topic: str) -> RecordedPoses:
    samples = Samples()
    children = list(each_undamaged(source, {topic}, partial(add_odometry, samples)))
    link = samples.link(topic)
    return mounted_poses(recorded_frames(source), frame, children[-1], link)


def add_odometry(samples: Samples, message: Message) -> str:
    """Add a message of `ODOMETRY`, and return the frame whose pose it is."""
    parsed = parse(message)
    samples.add(parsed.header, parsed.pose.pose.position, parsed.pose.pose.orientation)
    return printable(parsed.child_frame_id).lstrip("/")


def mounted_poses(tree: FrameTree, frame: str, child: str, link: MovingLink) -> RecordedPoses:
    """Return the poses of a frame that is fixed to a moving one.

    Args:
        tree: Has the fixed transforms.
        frame: The frame.
        child: The moving frame.
        link: The poses of the moving frame.

    Raises:
        ScanError: There is no fixed transform between the two.
    """
    mounted = tree.find(frame, child)
    if mounted is None:
        raise ScanError(
            f"no fixed transform from {frame or 'the points'} to {child or 'an unnamed frame'}, "
            f"the frame of the odometry (frames: {_listing(tree.frames)})"
        )
    return RecordedPoses((mounted, link))


def _listing(names: Iterable[str]) -> str:
    return ", ".join(list(names)[:MAX_LISTED]) or "none"
