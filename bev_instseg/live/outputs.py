"""Publish the results of live sweeps on ROS 2 topics, and record them."""

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from bev_instseg.export.labelled_recording import LabelledRecording
from bev_instseg.export.ros_messages import TOPICS, topics_below
from bev_instseg.export.stored_sweeps import StoredSweep
from bev_instseg.live.dds import RosTopics
from bev_instseg.live.pipeline import LiveResult


class PublishedTopics:
    """Publishes the topics of a labelled recording, under a different name."""

    def __init__(self, topics: RosTopics, name: str) -> None:
        """Prepare to publish.

        Args:
            topics: The topics of the domain.
            name: Prefix of ``/points``, ``/detections`` and ``/markers``.
        """
        self.names = topics_below(name)
        kinds = [kind for _, kind in TOPICS]
        self._writers = [topics.writer(*one) for one in zip(self.names, kinds, strict=True)]

    def write(self, result: LiveResult) -> None:
        """Publish the messages of a sweep."""
        for writer, data in zip(self._writers, result.messages, strict=True):
            writer.write(data)

    @property
    def num_late(self) -> int:
        """Number of messages dropped because a subscriber was too slow."""
        return sum(writer.num_late for writer in self._writers)


class LiveRecording:
    """Writes results to an MCAP file, which is complete when the ``with`` block ends."""

    def __init__(self, path: Path, about: Mapping[str, str]) -> None:
        """Begin a file; see `LabelledRecording` for errors.

        Args:
            path: The file; its folder must exist.
            about: What it was made from.
        """
        self.path = path
        self._file = LabelledRecording(path, about, TOPICS, goes_on=False)

    def write(self, result: LiveResult) -> None:
        """Add a sweep."""
        self._file.write(StoredSweep(self._file.next_index, result.stamp_ns, result.messages))

    def __enter__(self) -> Self:
        """Return the recording."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Complete the file; if the disk is full, leave it incomplete."""
        if isinstance(error, OSError):
            self._file.close()
        else:
            self._file.finish(failed=0, losses=[])
