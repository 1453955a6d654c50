"""The result of the tracker for a sweep: its instances, and the track of each."""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bev_instseg.structures import (
    UNKNOWN,
    Float32,
    Float64,
    Instance,
    Instances,
    Int32,
    check_array,
)


@dataclass(frozen=True, eq=False)
class Tracks:
    """K tracks, one for each instance of a sweep. The world is the common frame of the poses.

    Attributes:
        ids: (K,) uint32; an object keeps its id over the sequence. They count from 1.
        position_m: (K, 3) float64 x, y, z of the object in the world.
        velocity_mps: (K, 2) float64 velocity over the ground along the world's x and y.
        heading_rad: (K,) float64 direction of the object's length in the world: of its front if
            ``front_known``, else one of the two, in -pi/2..pi/2.
        front_known: (K,) bool; the front is known once the object has moved.
        moving: (K,) bool; False for parked and standing objects.
        age_s: (K,) float64 time since it was first seen.
        num_sweeps: (K,) int32 sweeps in which it was seen, this one included.
        confirmed: (K,) bool; False while an object may still be a false alarm; see also
            `TrackedInstances.with_doubtful_as_unknown`.
        seen_numbers: (K,) int32 number 1..K among the instances that the tracker was given.
        seen_classes: (K,) int32 class in this sweep alone.
        seen_scores: (K,) float32 score in this sweep alone.
        seen_centres_m: (K, 2) float64 x, y of the centre in this sweep alone, sensor frame.
    """

    ids: NDArray[np.uint32]
    position_m: Float64
    velocity_mps: Float64
    heading_rad: Float64
    front_known: NDArray[np.bool_]
    moving: NDArray[np.bool_]
    age_s: Float64
    num_sweeps: Int32
    confirmed: NDArray[np.bool_]
    seen_numbers: Int32
    seen_classes: Int32
    seen_scores: Float32
    seen_centres_m: Float64

    def __post_init__(self) -> None:
        k = len(self.ids)
        check_array("ids", self.ids, np.uint32, k)
        check_array("position_m", self.position_m, np.float64, k, 3)
        check_array("velocity_mps", self.velocity_mps, np.float64, k, 2)
        check_array("confirmed", self.confirmed, np.bool_, k)

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: NDArray[np.intp]) -> "Tracks":
        """Return the tracks of these rows."""
        return Tracks(*(getattr(self, field.name)[rows] for field in fields(self)))


class TrackedInstance(NamedTuple):
    """One object of a sweep: an item of `TrackedInstances`.

    Attributes:
        instance: Its number, class, score, number of points and box.
        id: The object's id over the sequence.
        position_m: x, y, z in the world.
        velocity_mps: Velocity along the world's x and y.
        heading_rad: Heading in the world; see `Tracks`.
        moving: Whether it moves.
        age_s: Time since it was first seen.
        confirmed: Whether it counts as an object.
    """

    instance: Instance
    id: int
    position_m: tuple[float, ...]
    velocity_mps: tuple[float, ...]
    heading_rad: float
    moving: bool
    age_s: float
    confirmed: bool


@dataclass(frozen=True, eq=False)
class TrackedInstances:
    """The instances of a sweep with their tracks.

    Attributes:
        instances: All objects, by descending score. Class and score are those of the tracks, so
            they depend on earlier sweeps, too.
        tracks: The track of each object.
        stamp_s: Time of the sweep, seconds.
        pose: (4, 4) float64 from the sensor frame to the world.
        notices: Breaks in the sequence at this sweep, one line each.
    """

    instances: Instances
    tracks: Tracks
    stamp_s: float
    pose: Float64
    notices: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.instances)

    def __iter__(self) -> Iterator[TrackedInstance]:
        """Iterate over the objects by descending score."""
        t = self.tracks
        columns = (t.ids, t.position_m, t.velocity_mps, t.heading_rad, t.moving, t.age_s)
        rows = zip(*(c.tolist() for c in (*columns, t.confirmed)), strict=True)
        for instance, (number, at, velocity, heading, moving, age, sure) in zip(
            self.instances, rows, strict=True
        ):
            yield TrackedInstance(
                instance, number, tuple(at), tuple(velocity), heading, moving, age, sure
            )

    @property
    def track_ids(self) -> NDArray[np.uint32]:
        """Id of the object that each point belongs to, (N,) uint32; 0 for none."""
        return np.append(np.uint32(0), self.tracks.ids)[self.instances.labels]

    @property
    def velocity_in_sensor_frame_mps(self) -> Float64:
        """Velocities over the ground along the sensor's x and y, (K, 2) float64."""
        return self.tracks.velocity_mps @ self.pose[:2, :2]

    @property
    def position_in_sensor_frame_m(self) -> Float64:
        """Positions in the sensor frame, (K, 3) float64."""
        return (self.tracks.position_m - self.pose[:3, 3]) @ self.pose[:3, :3]

    def take(self, rows: NDArray[np.intp]) -> "TrackedInstances":
        """Return some of the instances, renumbered in this order.

        Args:
            rows: Their positions, each at most once.
        """
        return replace(self, instances=self.instances.take(rows), tracks=self.tracks.take(rows))

    def by_score(self) -> "TrackedInstances":
        """Return the same by descending score."""
        return self.take(np.argsort(-self.instances.scores, kind="stable"))

    def with_doubtful_as_unknown(self) -> "TrackedInstances":
        """Return the same with possible false alarms as unknown objects.

        Their points then keep a label, because something is there. They keep their ids, and get
        their class back once they are confirmed. Unknown objects have score 0, are confirmed, and
        never count as moving. Instances without a class of unknown objects stay as they are.
        """
        names = self.instances.class_names
        if UNKNOWN not in names:
            return self
        unknown, one = names.index(UNKNOWN), self.instances
        sure = self.tracks.confirmed & ~one.is_unknown
        classes = np.where(sure, one.classes, np.int32(unknown))
        scores = np.where(sure, one.scores, np.float32(0))
        t = self.tracks
        tracks = replace(t, confirmed=np.ones(len(self), bool), moving=t.moving & sure)
        return replace(self, instances=replace(one, classes=classes, scores=scores), tracks=tracks)

    def as_seen(self) -> Instances:
        """Return the instances of the sweep without tracking: their order, classes and scores."""
        order = np.argsort(self.tracks.seen_numbers)
        tracks = self.tracks.take(order)
        return replace(
            self.instances.take(order), classes=tracks.seen_classes, scores=tracks.seen_scores
        )

    def confirmed(self) -> "TrackedInstances":
        """Return only the confirmed instances; the points of the others get no label."""
        return self.take(np.flatnonzero(self.tracks.confirmed))
