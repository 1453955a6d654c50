"""Fixed transforms between the frames of a robot, from a recording or from a file."""

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from bev_instseg.exceptions import ScanError, printable
from bev_instseg.io.recordings.decode import parse
from bev_instseg.io.recordings.source import TRANSFORMS, Message, Source
from bev_instseg.io.sensor_setup import euler_rotation
from bev_instseg.strict_yaml import read_yaml

STATIC_TOPIC, MOVING_TOPIC = "/tf_static", "/tf"
MAX_LISTED = 20  # frames in a message
MAX_CHANGE = 1e-3  # metres, or of a rotation's entries; more is a joint that moves
MAX_MESSAGES = 200_000  # that are read on each topic of transforms
MAX_NUMBER = 1e9  # beyond any angle or distance; integers may be too large for a float
MAX_MOUNT_M = 50.0  # no sensor is mounted farther from its vehicle's frame
Content = TypeVar("Content")
REMEDY = "or give the transforms in a file: --extrinsics FILE"


@dataclass(frozen=True, eq=False)
class Transform:
    """A rigid motion: ``rotation @ p + translation_m``.

    Attributes:
        rotation: (3, 3) float64.
        translation_m: (3,) float64 metres.
    """

    rotation: NDArray[np.float64]
    translation_m: NDArray[np.float64]

    def apply(self, points: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return (N, 4) float32 points moved; missing returns at the origin become NaN."""
        moved = points.copy()
        with np.errstate(invalid="ignore", over="ignore"):
            moved[:, :3] = points[:, :3] @ self.rotation.T + self.translation_m
        moved[(points[:, :3] == 0).all(axis=1), :3] = np.nan
        return moved

    def after(self, first: "Transform") -> "Transform":
        """Return the motion that does ``first`` and then this one."""
        translation_m = self.rotation @ first.translation_m + self.translation_m
        return Transform(self.rotation @ first.rotation, translation_m)

    def inverse(self) -> "Transform":
        """Return the inverse transform."""
        return Transform(self.rotation.T, -self.rotation.T @ self.translation_m)

    def is_near(self, other: "Transform") -> bool:
        """Return whether another transform is the same but for rounding."""
        return bool(
            np.abs(self.rotation - other.rotation).max() < MAX_CHANGE
            and np.abs(self.translation_m - other.translation_m).max() < MAX_CHANGE
        )


IDENTITY = Transform(np.eye(3), np.zeros(3))


def from_quaternion(translation_m: Iterable[float], quaternion: Iterable[float]) -> Transform:
    """Return a transform from metres and a quaternion x, y, z, w of any length but 0.

    Raises:
        ValueError: A number is not finite, or the quaternion is 0.
    """
    translation = np.array([*translation_m], np.float64)
    x, y, z, w = q = np.array([*quaternion], np.float64)
    norm = float(np.linalg.norm(q))
    if not np.isfinite(translation).all() or not np.isfinite(norm) or norm < 1e-6:
        raise ValueError("a translation or rotation that is not a number")
    x, y, z, w = q / norm
    rotation = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
    return Transform(rotation, translation)


def to_quaternion(rotation: NDArray[np.float64]) -> tuple[float, float, float, float]:
    """Return the unit quaternion x, y, z, w of a (3, 3) rotation."""
    # The eigenvector of the largest eigenvalue: also right for half turns and rounded matrices.
    (a, b, c), (d, e, f), (g, h, i) = rotation
    form = np.array(
        [
            [a - e - i, b + d, c + g, h - f],
            [b + d, e - a - i, f + h, c - g],
            [c + g, f + h, i - a - e, d - b],
            [h - f, c - g, d - b, a + e + i],
        ]
    )
    x, y, z, w = np.linalg.eigh(form)[1][:, -1].tolist()
    sign = -1.0 if w < 0 else 1.0
    return sign * x, sign * y, sign * z, sign * w


def from_degrees(
    translation_m: Iterable[float], roll: float, pitch: float, yaw: float
) -> Transform:
    """Return a transform from metres and fixed-axis angles in degrees, as ROS uses them."""
    return Transform(euler_rotation(roll, pitch, yaw), np.array([*translation_m], np.float64))


class FrameTree:
    """The fixed transforms between the frames of a robot."""

    def __init__(self) -> None:
        """Begin without frames."""
        self._neighbours: dict[str, dict[str, Transform]] = {}
        self._first: dict[tuple[str, str], Transform] = {}
        self._moving: set[frozenset[str]] = set()
        self._invalid: set[str] = set()
        self._parents: set[tuple[str, str]] = set()

    def add(self, parent: str, child: str, to_parent: Transform) -> None:
        """Add a transform from a child's coordinates to its parent's; note it if it has changed.

        It is compared with the first one of these frames, because each change may be small.
        """
        first = self._first.setdefault((parent, child), to_parent)
        if not first.is_near(to_parent):
            self._moving.add(frozenset((parent, child)))
        self._parents.add((parent, child))
        self._neighbours.setdefault(child, {})[parent] = to_parent
        self._neighbours.setdefault(parent, {})[child] = to_parent.inverse()

    def add_invalid(self, parent: str, child: str) -> None:
        """Note for messages that a transform contains values that are not numbers."""
        self._invalid.add(f"{parent} to {child}")

    def find(self, source: str, target: str) -> Transform | None:
        """Return the fixed transform from one frame to another by the shortest chain, or None."""
        chain = self.chain(source, target, only_fixed=True)
        if chain is None:
            return None
        found = IDENTITY
        for pair in chain:
            found = self.step(*pair).after(found)
        return found

    def chain(
        self, source: str, target: str, only_fixed: bool = False
    ) -> list[tuple[str, str]] | None:
        """Return the shortest chain of pairs of frames from one frame to another, or None."""
        found: dict[str, list[tuple[str, str]]] = {source: []}
        queue = [source]
        for frame in queue:  # grows while it is walked through
            for neighbour in self._neighbours.get(frame, {}):
                passable = not (only_fixed and self.is_moving(frame, neighbour))
                if passable and neighbour not in found:
                    found[neighbour] = [*found[frame], (frame, neighbour)]
                    queue.append(neighbour)
        return found.get(target)

    def step(self, source: str, target: str) -> Transform:
        """Return the transform between two neighbours of a chain, as last added."""
        return self._neighbours[source][target]

    def is_moving(self, one: str, other: str) -> bool:
        """Return whether the transform between two neighbours has changed."""
        return frozenset((one, other)) in self._moving

    def is_parent(self, one: str, other: str) -> bool:
        """Return whether one frame was added as the parent of the other."""
        return (one, other) in self._parents

    @property
    def frames(self) -> list[str]:
        """The names of all frames."""
        return sorted(self._neighbours)

    def why_not(self, source: str, target: str) -> str:
        """Return why there is no fixed transform, with the names of the frames there are."""
        reason = f"frames: {', '.join(self.frames[:MAX_LISTED]) or 'none'}"
        for start, end in self.chain(source, target) or ():
            if self.is_moving(start, end):
                reason += f"; the transform from {start} to {end} changes"
        if self._invalid:
            reason += f"; not numbers: {', '.join(sorted(self._invalid)[:MAX_LISTED])}"
        return reason


def recorded_frames(recording: Source) -> FrameTree:
    """Read the fixed transforms of a recording.

    These are the transforms on ``/tf_static``, and those on ``/tf`` that never change.

    Args:
        recording: The recording; it is read up to the last message of these topics, but at most
            `MAX_MESSAGES` of each.
    """
    tree = FrameTree()
    offered = {topic.name for topic in recording.topics() if topic.type in TRANSFORMS}
    for name in (MOVING_TOPIC, STATIC_TOPIC):
        if name not in offered:
            continue
        for transforms in islice(each_undamaged(recording, {name}, named_transforms), MAX_MESSAGES):
            add_transforms(tree, transforms)
    return tree


def each_undamaged(
    recording: Source, topics: set[str], read: Callable[[Message], Content]
) -> Iterator[Content]:
    """Yield what the messages on some topics contain; a warning counts the damaged ones.

    Args:
        recording: The recording.
        topics: The topics.
        read: Returns the content of a message, or raises ScanError if it is damaged.
    """
    num_damaged = 0
    try:
        for message in recording.messages(topics):
            try:
                content = read(message)
            except ScanError:
                num_damaged += 1
            else:
                yield content
    finally:
        if num_damaged:
            names = ", ".join(sorted(topics))
            warnings.warn(
                f"{recording.path}: {num_damaged} damaged message(s) on {names} left out",
                stacklevel=2,
            )


def named_transforms(message: Message) -> list[tuple[str, str, Any]]:
    """Return parent, child and ``TransformStamped`` of each transform of a ``TFMessage``.

    Raises:
        ScanError: The message is damaged.
    """
    return [
        (printable(one.header.frame_id).lstrip("/"), printable(one.child_frame_id).lstrip("/"), one)
        for one in parse(message).transforms
    ]


def add_transforms(tree: FrameTree, named: Iterable[tuple[str, str, Any]]) -> None:
    """Add the `named_transforms` of a message that are valid."""
    for parent, child, one in named:
        add_transform(tree, parent, child, one)


def add_transform(tree: FrameTree, parent: str, child: str, stamped: Any) -> None:
    """Add a ``TransformStamped`` if it is valid: drivers leave those of unused sensors all 0."""
    shift, turn = stamped.transform.translation, stamped.transform.rotation
    try:
        found = from_quaternion((shift.x, shift.y, shift.z), (turn.x, turn.y, turn.z, turn.w))
    except ValueError:
        tree.add_invalid(parent, child)
    else:
        tree.add(parent, child, found)


def read_extrinsics(path: Path) -> Mapping[str, Transform]:
    """Read the poses of sensors from a YAML file.

    The keys are coordinate frames or topics; each has ``x``, ``y`` and ``z`` in metres and either
    ``roll``, ``pitch`` and ``yaw`` in degrees, or ``qx``, ``qy``, ``qz`` and ``qw``. Missing values
    are 0.

    Args:
        path: The file.

    Returns:
        The transforms from each sensor's coordinates to the chosen frame.

    Raises:
        ConfigError: It is not valid YAML.
        ScanError: A key or value is not as above.
    """
    tree = read_yaml(path)
    if not isinstance(tree, dict) or not tree:
        raise ScanError(f"{path}: must list frames or topics with x, y, z and angles")
    return {str(name).lstrip("/"): _extrinsic(path, str(name), tree[name]) for name in tree}


def _extrinsic(path: Path, name: str, entry: Any) -> Transform:
    angles, quaternion = ("roll", "pitch", "yaw"), ("qx", "qy", "qz", "qw")
    keys = set(entry) if isinstance(entry, dict) else {None}
    turned = any(key in keys for key in quaternion)
    allowed = {"x", "y", "z", *(quaternion if turned else angles)}
    numbers = entry.values() if isinstance(entry, dict) else ()
    if not keys <= allowed or not all(
        type(value) in (int, float) and abs(value) < MAX_NUMBER for value in numbers
    ):
        raise ScanError(
            f"{path}: {printable(name)} must have numbers for x, y, z (metres) and roll, pitch, "
            "yaw (degrees), or qx, qy, qz, qw"
        )
    translation = [float(entry.get(key, 0)) for key in "xyz"]
    if max(map(abs, translation)) > MAX_MOUNT_M:
        raise ScanError(
            f"{path}: {printable(name)} is over {MAX_MOUNT_M:g} m from the frame; x, y and z must "
            "be in metres"
        )
    if not turned:
        return from_degrees(translation, *(float(entry.get(key, 0)) for key in angles))
    try:
        return from_quaternion(translation, [float(entry.get(key, 0)) for key in quaternion])
    except ValueError:
        raise ScanError(f"{path}: {printable(name)} has a quaternion of length 0") from None


def find_transform(
    known: Mapping[str, Transform] | FrameTree, frame_id: str, topic: str, target: str
) -> Transform:
    """Return the transform from a sensor's coordinates to a frame.

    Args:
        known: The result of `read_extrinsics`, or the transforms of the robot.
        frame_id: Frame of the sensor.
        topic: Topic of its points, which `read_extrinsics` may name instead.
        target: The chosen frame.

    Raises:
        ScanError: There is no fixed transform to it.
    """
    if isinstance(known, FrameTree):
        found = known.find(frame_id, target)
        if found is None:
            raise ScanError(
                f"no fixed transform from {frame_id or 'an unnamed frame'} to {target} "
                f"({known.why_not(frame_id, target)}); choose another --frame {REMEDY}"
            )
        return found
    for name in (topic.lstrip("/"), frame_id):
        if name in known:
            return known[name]
    raise ScanError(
        f"--extrinsics has neither the topic {topic} nor the frame {frame_id}; it has "
        f"{', '.join(known)}"
    )
