"""A job for a recording, and whether it is done."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bev_instseg.export.labelled_recording import read_about, read_end
from bev_instseg.export.ros_messages import TOPICS, TRACKS
from bev_instseg.file_io import read_bytes
from bev_instseg.io.recordings.own_vehicle import OwnVehicle
from bev_instseg.io.recordings.recording import Recording, Selection
from bev_instseg.jobs.find_items import Item
from bev_instseg.jobs.job import Job

EgoBox = tuple[float, float, float, float]  # x from, to, y from, to; metres


@dataclass(frozen=True)
class RecordingJob:
    """What to do with a recording.

    Attributes:
        job: How its sweeps are read, and what files each gets.
        name: Name of the results in the job's folder, without suffix.
        selection: Which parts of the recording are read.
        ego_box: Extent of the ego vehicle in the coordinates of the points; None to use
            ``own``.
        own: The ego vehicle as detected; None to keep all points.
        writes_files: Whether each sweep also gets separate files.
        tracks: Whether objects are tracked from sweep to sweep.
        both_ways: Whether later sweeps also count for earlier ones; see `smooth`.
        poses: Topic or frame with the poses of the sensor; empty to estimate them from the points.
    """

    job: Job
    name: str
    selection: Selection
    ego_box: EgoBox | None = None
    own: OwnVehicle | None = None
    writes_files: bool = False
    tracks: bool = True
    both_ways: bool = False
    poses: str = ""

    @property
    def path(self) -> Path:
        """The labelled recording."""
        return self.job.out / f"{self.name}.mcap"

    @property
    def topics(self) -> tuple[tuple[str, str], ...]:
        """Topics and types of the labelled recording."""
        return (TRACKS, *TOPICS) if self.tracks else TOPICS

    def about(self, recording: Recording) -> dict[str, str]:
        """Return a description of what the labelled recording is made from."""
        item = Item(recording.path, self.name)
        chosen = self.selection
        extrinsics = read_bytes(chosen.extrinsics).decode() if chosen.extrinsics is not None else ""
        settings = [self.job.settings_of(item), chosen.topics, chosen.frame, extrinsics]
        pictures = [picture.value for picture in self.job.pictures]
        # Files that need all sweeps again if they are asked for later.
        more = [self.writes_files, self.job.formats, pictures, self.job.calibrations_sha256()]
        motion = [self.poses] if self.tracks else []
        hashed = json.dumps([*settings, self.ego_box, more, *motion]).encode()
        files = recording.path.iterdir() if recording.path.is_dir() else [recording.path]
        stored = [file.stat() for file in files if file.is_file()]  # results may be in a subfolder
        return {
            "recording": recording.path.name,
            "recording_bytes": str(sum(file.st_size for file in stored)),
            "recording_modified_ns": str(max(file.st_mtime_ns for file in stored)),
            "settings": hashlib.sha256(hashed).hexdigest()[:16],
        }

    def earlier_end(self, recording: Recording) -> dict[str, Any] | None:
        """Return how an earlier process finished the same job; None if it did not."""
        if not self.path.is_file():
            return None
        about = read_about(self.path)
        same = about is not None and self.about(recording).items() <= about.items()
        return read_end(self.path) if same else None
