"""From a live sweep to its messages: the same steps as for a recording."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bev_instseg.export.ros_messages import Encoder, SegmentedSweep
from bev_instseg.io.recordings.interpret import interpret_sweep, survey_stamped
from bev_instseg.io.recordings.point_cloud2 import StampedSweep, parse_cloud
from bev_instseg.io.recordings.source import Message
from bev_instseg.io.recordings.transforms import Transform
from bev_instseg.io.sensor_setup import SensorSetup, sensor_rotation
from bev_instseg.io.survey import MAX_SWEEPS, Reading
from bev_instseg.io.sweep import Sweep
from bev_instseg.jobs.job import Job, segment_sweep
from bev_instseg.jobs.recording_job import EgoBox
from bev_instseg.jobs.recording_run import in_box
from bev_instseg.live.follow import LiveTracker
from bev_instseg.live.own_search import OwnVehicleSearch
from bev_instseg.segmenter import Segmenter
from bev_instseg.structures import Float32, Instances
from bev_instseg.tracking.tracked import TrackedInstances


@dataclass(frozen=True)
class LiveOptions:
    """How live sweeps are read.

    Attributes:
        name: Where they come from, for messages.
        setup: What is known about the sensor.
        frame: Frame that points are brought to; if empty, they stay in their own.
        to_frame: Returns the transform to it for a sensor's frame and topic, or raises ScanError.
        ego_box: Where the vehicle itself is, in the coordinates of the points; None to find it.
        tracks: Whether objects are followed from sweep to sweep.
        stands: Whether the sensor stands still; else odometry finds its motion.
    """

    name: str
    setup: SensorSetup
    frame: str = ""
    to_frame: Callable[[str, str], Transform] | None = None
    ego_box: EgoBox | None = None
    tracks: bool = True
    stands: bool = False


class LiveResult(NamedTuple):
    """What is published of a sweep.

    Attributes:
        stamp_ns: Its stamp.
        messages: One for each of `TOPICS`.
        num_objects: How many objects were found.
    """

    stamp_ns: int
    messages: tuple[bytes, ...]
    num_objects: int


class Pipeline:
    """Segments and tracks sweep after sweep; to be used by one thread."""

    def __init__(
        self, segmenter: Segmenter, options: LiveOptions, notice: Callable[[str], None]
    ) -> None:
        """Load what the first sweep would wait for.

        Args:
            segmenter: Finds the instances.
            options: How sweeps are read.
            notice: Tells the user what was assumed.
        """
        self._segmenter, self._options, self.notice = segmenter, options, notice
        self._path, self._setup = Path(options.name), options.setup
        self._encoder = Encoder(segmenter.config.classes)
        self._surveyed: list[StampedSweep] = []
        self._reading: Reading | None = None
        self._search = None if options.stands or options.ego_box else OwnVehicleSearch()
        self._transforms: dict[str, Transform] = {}
        self._job = Job(out=Path(), settings="", setup=options.setup)  # nothing is written by it
        self._tracker: LiveTracker | None = None
        if options.tracks:
            self._tracker = LiveTracker(segmenter, self._job, options.stands)
        segmenter.warm_up()

    def process(self, raw: Message | StampedSweep) -> LiveResult | None:
        """Segment and track a sweep.

        Args:
            raw: As it has arrived.

        Returns:
            What to publish; None while the first sweeps are only looked at.

        Raises:
            ScanError: The sweep cannot be used.
        """
        stamped = self._in_frame(parse_cloud(raw) if isinstance(raw, Message) else raw)
        if self._reading is None:
            self._survey(stamped)
            return None
        sweep = interpret_sweep(self._path, stamped, self._setup, self._reading)
        cleaned = replace(sweep, points=self._without_vehicle(stamped, sweep))
        objects: Instances | TrackedInstances
        if self._tracker is not None:
            segmented, objects = self._tracker.update(cleaned, stamped.stamp_ns)
            place_m = objects.pose[:3, 3]
        else:
            segmented, place_m = segment_sweep(self._segmenter, self._job, cleaned, 0.0), None
            objects = segmented.segmentation.instances
        for notice in segmented.sweep.notices:
            self.notice(notice)
        if self._search is not None:
            self._search.look(sweep.points, place_m)
        rotation = sensor_rotation(sweep.axes, sweep.level_deg)
        result = SegmentedSweep(stamped, objects, rotation, np.array(sweep.origin_m))
        return LiveResult(stamped.stamp_ns, self._encoder.encode(result), len(objects))

    def _survey(self, stamped: StampedSweep) -> None:
        """Look at a sweep; after `MAX_SWEEPS` with points, decide how all are read."""
        if stamped.num_missing == len(stamped.points):
            return
        self._surveyed.append(stamped)
        if len(self._surveyed) < MAX_SWEEPS:
            return
        reading = survey_stamped(self._path, self._surveyed, self._setup)
        assert reading is not None
        self._reading, self._surveyed = reading, []
        pitch, roll = reading.level_deg
        full = f"0..{reading.intensity_max:g}" if reading.intensity_max else "unused"
        self.notice(
            f"the first {MAX_SWEEPS} sweeps decide how all are read: axes {reading.axes}, pitch "
            f"{pitch:.1f} and roll {roll:.1f} degrees, intensities {full}"
        )
        sweep = interpret_sweep(self._path, stamped, self._setup, reading)
        self._segmenter.segment_with_maps(sweep.points)  # to be warm

    def _in_frame(self, sweep: StampedSweep) -> StampedSweep:
        """Bring a sweep to the frame that is wanted; as `Recording.sweep` does."""
        find = self._options.to_frame
        if find is None:
            return sweep
        if sweep.frame_id not in self._transforms:
            found = find(sweep.frame_id, sweep.topic)
            self._transforms[sweep.frame_id] = found
            if self._setup.origin_m is None:
                x_m, y_m, z_m = found.translation_m.tolist()
                self._setup = replace(self._setup, origin_m=(x_m, y_m, z_m))
        moved = self._transforms[sweep.frame_id].apply(sweep.points)
        return replace(sweep, frame_id=self._options.frame, points=moved)

    def _without_vehicle(self, stamped: StampedSweep, sweep: Sweep) -> Float32:
        """Return the sweep's points with the vehicle's own outside every grid."""
        if self._options.ego_box is not None:
            own = in_box(stamped.points, self._options.ego_box)
        elif self._search is not None and self._search.vehicle is not None:
            own = self._search.vehicle.is_own(sweep.points)
            self.notice(self._search.vehicle.notice)
        else:
            return sweep.points
        points = sweep.points.copy()
        points[own, :3] = np.nan
        return points
