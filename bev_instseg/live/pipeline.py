"""From a live sweep to the messages with its results, in the same steps as for a recording."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bev_instseg.export.ros_messages import Encoder, SegmentedSweep
from bev_instseg.io.recordings.interpret import interpret_sweep, rigid_points, survey_stamped
from bev_instseg.io.recordings.merge import joined
from bev_instseg.io.recordings.point_cloud2 import StampedSweep, parse_cloud, require_frame
from bev_instseg.io.recordings.transforms import Transform
from bev_instseg.io.sensor_setup import SensorSetup, sensor_rotation
from bev_instseg.io.survey import MAX_SWEEPS, Reading
from bev_instseg.io.sweep import Sweep
from bev_instseg.jobs.job import Job
from bev_instseg.jobs.one_sweep import segment_sweep
from bev_instseg.jobs.recording_job import EgoBox
from bev_instseg.jobs.recording_run import in_box
from bev_instseg.live.follow import LiveTracker, PosesOf
from bev_instseg.live.own_search import OwnVehicleSearch
from bev_instseg.live.source import Raw
from bev_instseg.segmenter import Segmenter
from bev_instseg.structures import Float32, Instances
from bev_instseg.tracking.tracked import TrackedInstances


@dataclass(frozen=True)
class LiveOptions:
    """How live sweeps are read.

    Attributes:
        name: Name of the source, for messages.
        setup: What is known about the sensor.
        frame: Frame to which points are transformed; if empty, they stay in their own.
        to_frame: Returns the transform to it for a sensor's frame and topic, or raises ScanError.
        ego_box: Extent of the ego vehicle, in the coordinates of the points; None to find it.
        tracks: Whether objects are tracked from sweep to sweep.
        stands: Whether the sensor stands still.
        poses: Returns the pose of a frame at a stamp; None to estimate it by odometry.
    """

    name: str
    setup: SensorSetup
    frame: str = ""
    to_frame: Callable[[str, str], Transform] | None = None
    ego_box: EgoBox | None = None
    tracks: bool = True
    stands: bool = False
    poses: PosesOf | None = None


class LiveResult(NamedTuple):
    """The published results of a sweep.

    Attributes:
        stamp_ns: Its stamp.
        messages: One for each of `TOPICS`.
        num_objects: Number of objects found.
    """

    stamp_ns: int
    messages: tuple[bytes, ...]
    num_objects: int


class Pipeline:
    """Segments and tracks sweep after sweep; for use by one thread."""

    def __init__(
        self, segmenter: Segmenter, options: LiveOptions, notice: Callable[[str], None]
    ) -> None:
        """Load everything that the first sweep would have to wait for.

        Args:
            segmenter: Finds the instances.
            options: How sweeps are read.
            notice: Reports assumptions to the user.
        """
        self._segmenter, self._options, self.notice = segmenter, options, notice
        self._path, self._setup = Path(options.name), options.setup
        self._encoder = Encoder(segmenter.config.classes)
        self._surveyed: list[StampedSweep] = []
        self._reading: Reading | None = None
        self._search = None if options.stands or options.ego_box else OwnVehicleSearch()
        self._frame_id: str | None = None  # of the first sweep
        self._transforms: dict[tuple[str, str], Transform] = {}  # by frame and topic
        self._job = Job(out=Path(), settings="", setup=options.setup)  # writes nothing
        self._tracker: LiveTracker | None = None
        if options.tracks:
            self._tracker = LiveTracker(segmenter, self._job, options.stands, options.poses)
        segmenter.warm_up()

    def process(self, raw: Raw) -> LiveResult | None:
        """Segment and track a sweep.

        Args:
            raw: The sweep as it arrived.

        Returns:
            The results; None for the first sweeps, which are only surveyed.

        Raises:
            ScanError: The sweep cannot be used.
        """
        stamped = self._stamped(raw)
        if self._reading is None:
            self._survey(stamped)
            return None
        sweep = interpret_sweep(self._path, stamped, self._setup, self._reading)
        rigid = sweep.points if self._search is None else rigid_points(sweep, self._reading)
        cleaned = replace(sweep, points=self._without_vehicle(stamped, sweep, rigid))
        objects: Instances | TrackedInstances
        news: tuple[str, ...] = ()
        if self._tracker is not None:
            segmented, objects = self._tracker.update(cleaned, stamped.frame_id, stamped.stamp_ns)
            place_m, news = objects.pose[:3, 3], objects.notices
        else:
            segmented, place_m = segment_sweep(self._segmenter, self._job, cleaned, 0.0), None
            objects = segmented.segmentation.instances
        for notice in (*segmented.sweep.notices, *news):
            self.notice(notice)
        if self._search is not None:
            self._search.look(rigid, place_m)
        rotation = sensor_rotation(sweep.axes, sweep.level_deg)
        result = SegmentedSweep(stamped, objects, rotation, np.array(sweep.origin_m))
        return LiveResult(stamped.stamp_ns, self._encoder.encode(result), len(objects))

    def _survey(self, stamped: StampedSweep) -> None:
        """Survey a sweep; after `MAX_SWEEPS` with points, decide how all are read."""
        if stamped.num_missing == len(stamped.points):
            return
        self._surveyed.append(stamped)
        if len(self._surveyed) < MAX_SWEEPS:
            return
        if self._transforms and self._setup.origin_m is None:
            places = [one.translation_m for one in self._transforms.values()]
            x_m, y_m, z_m = np.mean(places, axis=0).tolist()
            self._setup = replace(self._setup, origin_m=(x_m, y_m, z_m))
        reading = survey_stamped(self._path, self._surveyed, self._setup)
        assert reading is not None
        self._reading, self._surveyed = reading, []
        pitch, roll = reading.level_deg
        full = f"0..{reading.intensity_max:g}" if reading.intensity_max else "unused"
        self.notice(
            f"found in the first {MAX_SWEEPS} sweeps: axes {reading.axes}, pitch {pitch:.1f} and "
            f"roll {roll:.1f} degrees, intensities {full}"
        )
        sweep = interpret_sweep(self._path, stamped, self._setup, reading)
        self._segmenter.segment_with_maps(sweep.points)  # a warm-up

    def _stamped(self, raw: Raw) -> StampedSweep:
        """Parse a sweep and transform it to the chosen frame, as `Recording.sweep` does."""
        sweeps = [raw] if isinstance(raw, StampedSweep) else [parse_cloud(one) for one in raw]
        if self._options.to_frame is None:
            if self._frame_id is None:
                self._frame_id = sweeps[0].frame_id
            require_frame(sweeps[0], self._frame_id)
            return sweeps[0]
        return joined(sweeps, self._options.frame, self._to_frame)

    def _to_frame(self, frame_id: str, topic: str) -> Transform:
        """Return the transform of a sensor; the first one found is kept."""
        sensor = frame_id, topic
        if sensor not in self._transforms:
            assert self._options.to_frame is not None
            self._transforms[sensor] = self._options.to_frame(frame_id, topic)
            if self._reading is not None and self._options.setup.origin_m is None:
                self.notice(
                    f"{topic} appeared after the first {MAX_SWEEPS} sweeps: its points are used, "
                    "but the grid stays centred on the other sensors"
                )
        return self._transforms[sensor]

    def _without_vehicle(self, stamped: StampedSweep, sweep: Sweep, rigid: Float32) -> Float32:
        """Return the sweep's points; those on the vehicle itself are NaN, so off every grid.

        Args:
            stamped: The sweep as it arrived.
            sweep: The sweep in the sensor frame.
            rigid: Its `rigid_points`.
        """
        if self._options.ego_box is not None:
            own = in_box(stamped.points, self._options.ego_box)
        elif self._search is not None and self._search.vehicle is not None:
            own = self._search.vehicle.is_own(rigid)
            self.notice(self._search.vehicle.notice)
        else:
            return sweep.points
        points = sweep.points.copy()
        points[own, :3] = np.nan
        return points
