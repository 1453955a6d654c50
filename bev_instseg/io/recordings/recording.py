"""A recording as a stream of sweeps: topics chosen, frames joined, sensors merged."""

import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from bev_instseg.exceptions import ScanError
from bev_instseg.io.recordings.capture import Capture
from bev_instseg.io.recordings.merge import Merger, joined
from bev_instseg.io.recordings.open_recording import choose_topics, frame_of, open_source
from bev_instseg.io.recordings.point_cloud2 import StampedSweep, parse_cloud, require_frame
from bev_instseg.io.recordings.poses import RecordedPoses, find_poses
from bev_instseg.io.recordings.source import Message, Source
from bev_instseg.io.recordings.transforms import (
    FrameTree,
    Transform,
    find_transform,
    read_extrinsics,
    recorded_frames,
)
from bev_instseg.io.recordings.velodyne import FRAME, TOPIC, import_decoder, read_capture


@dataclass(frozen=True)
class Selection:
    """Which parts of a recording are read, and in which frame.

    Attributes:
        topics: Names of the topics; if empty, the only one with points. Several are merged.
        frame: Coordinate frame that the points are transformed to; if empty, they stay in their
            own.
        extrinsics: File with the poses of the sensors in that frame; if None, they are taken from
            the recording.
    """

    topics: tuple[str, ...] = ()
    frame: str = ""
    extrinsics: Path | None = None


@dataclass(frozen=True, slots=True)
class RawSweep:
    """A sweep that has been read but not parsed.

    Attributes:
        stamp_ns: Its stamp, nanoseconds.
        parts: One message of each topic, or the decoded sweep of a capture.
    """

    stamp_ns: int
    parts: tuple[Message, ...] | StampedSweep

    @property
    def has_stamp(self) -> bool:
        """Whether its stamp is from its messages, rather than the time of recording."""
        return isinstance(self.parts, StampedSweep) or self.parts[0].header_ns != 0


class Recording:
    """An opened recording. Iterating yields its sweeps as they are stored, from the beginning."""

    def __init__(self, path: str | Path, selection: Selection = Selection()) -> None:
        """Open a recording.

        Args:
            path: A ``.bag``, ``.mcap``, ``.db3`` or ``.pcap`` file, or the folder of a ROS 2 bag.
            selection: What to read.

        Raises:
            ScanError: It cannot be read, lacks a selected topic or frame, or there are extrinsics
                without a frame.
            ImportError: It is a ``.pcap``, and ``velodyne-decoder`` is not installed.
        """
        self.path = Path(path)
        if selection.extrinsics is not None and not selection.frame:
            raise ScanError(
                f"{selection.extrinsics}: is for points in a common frame; name that frame, too"
            )
        self.num_sweeps: int | None = None
        self.frame = selection.frame.lstrip("/")
        self._source: Source | None = None
        self._topics: tuple[str, ...] = ()
        self._frame_id = ""  # of the first sweep
        self._merger: Merger | None = None
        self._transforms: Mapping[str, Transform] | FrameTree = {}
        self._capture: Capture | None = None
        if self.path.suffix.lower() == ".pcap" and not self.path.is_dir():
            self._capture = Capture(self.path, import_decoder(".pcap").PACKET_SIZE)
            self._check_capture(selection)
            return
        self._source = open_source(self.path)
        try:
            self._choose(self._source, selection)
        except BaseException:
            self.close()
            raise

    def _check_capture(self, selection: Selection) -> None:
        if selection.topics:
            raise ScanError(f"{self.path}: a capture has no topics; leave out --topic")
        if self.frame and selection.extrinsics is None:
            raise ScanError(f"{self.path}: a capture has no transforms; give --extrinsics FILE")
        if selection.extrinsics is not None:
            self._transforms = read_extrinsics(selection.extrinsics)
        if next(iter(self), None) is None:
            reason = "; ".join(self.losses) or "check what was captured"
            raise ScanError(f"{self.path}: no sweeps of a Velodyne: {reason}")

    def _choose(self, source: Source, selection: Selection) -> None:
        topics = choose_topics(source, selection.topics)
        self._topics = tuple(topic.name for topic in topics)
        self.num_sweeps = topics[0].num_messages
        if len(topics) > 1 and not self.frame:
            raise ScanError(
                f"{self.path}: to merge topics, give a common frame, such as --frame base_link"
            )
        if selection.extrinsics is not None:
            self._transforms = read_extrinsics(selection.extrinsics)
        elif self.frame:
            try:
                self._transforms = recorded_frames(source)
            except ScanError as error:
                raise ScanError(f"{self.path}: {error}") from None
        if self.frame:
            for name in self._topics:
                self._to_frame(frame_of(source, name), name)  # raises an error now
        else:
            self._frame_id = frame_of(source, self._topics[0])

    def __enter__(self) -> Self:
        """Return the recording."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the files."""
        self.close()

    def close(self) -> None:
        """Close the files."""
        if self._source is not None:
            self._source.close()

    def __iter__(self) -> Iterator[RawSweep]:
        """Yield the sweeps in the order of the file."""
        if self._capture is not None:
            for sweep in read_capture(self._capture):
                yield RawSweep(sweep.stamp_ns, sweep)
        if self._source is None:
            return
        messages = self._source.messages(set(self._topics))
        if len(self._topics) > 1:
            self._merger = Merger(self._topics)
            groups: Iterable[tuple[Message, ...]] = self._merger.groups(messages)
        else:
            groups = ((message,) for message in messages)
        for group in groups:
            yield RawSweep(group[0].stamp_ns, group)

    @property
    def losses(self) -> list[str]:
        """The losses of the last pass, one line each."""
        opened = self._source or self._capture
        return [] if opened is None else list(opened.losses)

    @property
    def num_alone(self) -> int:
        """Number of sweeps of the last pass that lack a topic."""
        return self._merger.num_alone if self._merger is not None else 0

    def sweep(self, raw: RawSweep) -> StampedSweep:
        """Parse a sweep and transform it to the selected frame; may be called by several threads.

        Args:
            raw: A sweep that iterating has yielded.

        Raises:
            ScanError: A message is damaged, its frame is unknown, or not that of the first one.
        """
        if isinstance(raw.parts, StampedSweep):
            sweeps = [raw.parts]
        else:
            sweeps = [parse_cloud(message) for message in raw.parts]
            if not self.frame:
                require_frame(sweeps[0], self._frame_id)
        return joined(sweeps, self.frame, self._to_frame) if self.frame else sweeps[0]

    def origin_m(self) -> NDArray[np.float64] | None:
        """Return the mean position of the sensors in the selected frame; None without a frame."""
        if not self.frame:
            return None
        if self._source is None:
            places = [self._to_frame(FRAME, TOPIC).translation_m]
        else:
            source = self._source
            places = [
                self._to_frame(frame_of(source, name), name).translation_m for name in self._topics
            ]
        middle: NDArray[np.float64] = np.mean(places, axis=0)
        return middle

    def poses(self, name: str) -> RecordedPoses:
        """Return the pose of the frame of the points over time.

        Args:
            name: An odometry topic, or a frame such as ``odom``.

        Raises:
            ScanError: The recording has no such poses.
        """
        if self._source is None:
            raise ScanError(f"{self.path}: a capture has no poses; leave out --poses")
        return find_poses(self._source, self.frame or self._frame_id, name)

    def _to_frame(self, frame_id: str, topic: str) -> Transform:
        try:
            return find_transform(self._transforms, frame_id, topic, self.frame)
        except ScanError as error:
            raise ScanError(f"{self.path}: {error}") from None


def read_recording(
    path: str | Path,
    topics: tuple[str, ...] = (),
    frame: str = "",
    extrinsics: str | Path | None = None,
) -> Iterator[StampedSweep]:
    """Read the sweeps of a recording one after another, in constant memory.

    Args:
        path: A ``.bag``, ``.mcap``, ``.db3`` or ``.pcap`` file, or the folder of a ROS 2 bag.
        topics: Topics to read; if empty, the only one with points. Several are merged by their
            stamps, which needs a ``frame``.
        frame: Coordinate frame to which the points are transformed, with the recording's fixed
            transforms or with ``extrinsics``; if empty, they stay in the sensor's frame.
        extrinsics: YAML file with the poses of the sensors; see docs/recordings.md.

    Yields:
        The sweeps in the order of the recording.

    Raises:
        ScanError: The recording cannot be opened, or lacks a selected topic or frame. Damaged
            sweeps are left out, with a warning; a last warning says what else was lost.
        ImportError: It is a ``.pcap``, and ``velodyne-decoder`` is not installed.
    """
    selection = Selection(tuple(topics), frame, None if extrinsics is None else Path(extrinsics))
    with Recording(path, selection) as recording:
        for raw in recording:
            try:
                sweep = recording.sweep(raw)
            except ScanError as error:
                warnings.warn(f"{path}: {error}", stacklevel=2)
                continue
            yield sweep
        for loss in recording.losses:
            warnings.warn(f"{path}: {loss}", stacklevel=2)
