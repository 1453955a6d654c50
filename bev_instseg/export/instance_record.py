"""The part of a sweep's ``.json`` that describes an instance."""

from dataclasses import dataclass
from typing import Any

from bev_instseg.export.json_values import integer, number, numbers, text
from bev_instseg.export.track_record import TrackRecord
from bev_instseg.structures import Instance

Point = tuple[float, float, float]  # x, y, z


@dataclass(frozen=True)
class InstanceRecord:
    """One instance, rounded: metres to a millimetre, score and radians to 1e-4.

    Attributes:
        id: 1..K, the number in ``Instances.labels``; without a track also in the high 16 bits of
            the ``.label`` file.
        class_name: Name of its class.
        score: Score, 0..1.
        num_points: Number of its points.
        centre_m: Centre x, y, z of its box, metres in the sensor frame.
        length_m: Length of its box, metres.
        width_m: Width of its box, metres.
        height_m: Height of its box, metres.
        yaw_rad: Heading of the length, radians.
        course_m: Points x, y, z of the line through it, in order, metres, if its class comes in
            pieces.
        track: The object over time, whose id is in the ``.label`` file; None without tracking.
    """

    id: int
    class_name: str
    score: float
    num_points: int
    centre_m: Point
    length_m: float
    width_m: float
    height_m: float
    yaw_rad: float
    course_m: tuple[Point, ...] | None = None
    track: TrackRecord | None = None

    @classmethod
    def of(cls, one: Instance, track: TrackRecord | None = None) -> "InstanceRecord":
        """Round an instance.

        Args:
            one: The instance.
            track: The object over time, if it is tracked.
        """
        *metres, yaw_rad = one.box.tolist()
        course = None if one.course_m is None else one.course_m.tolist()
        x, y, z, length, width, height = (round(v, 3) for v in metres)
        return cls(
            id=one.number,
            class_name=one.name,
            score=round(one.score, 4),
            num_points=one.num_points,
            centre_m=(x, y, z),
            length_m=length,
            width_m=width,
            height_m=height,
            yaw_rad=round(yaw_rad, 4),
            course_m=course
            and tuple((round(u, 3), round(v, 3), round(w, 3)) for u, v, w in course),
            track=track,
        )

    @classmethod
    def parse(cls, entry: Any) -> "InstanceRecord":
        """Check a parsed entry; raises ValueError, KeyError or TypeError."""
        box = entry["box"]
        return cls(
            id=integer(entry["id"]),
            class_name=text(entry["class"]),
            score=number(entry["score"]),
            num_points=integer(entry["num_points"]),
            centre_m=_point(entry["centre_m"]),
            length_m=number(box["length_m"]),
            width_m=number(box["width_m"]),
            height_m=number(box["height_m"]),
            yaw_rad=number(box["yaw_rad"]),
            course_m=tuple(map(_point, entry["course_m"])) if "course_m" in entry else None,
            track=TrackRecord.parse(entry["track"]) if "track" in entry else None,
        )

    @property
    def label_id(self) -> int:
        """The number in the high 16 bits of the ``.label`` file."""
        return self.id if self.track is None else self.track.label_id

    def to_json(self) -> dict[str, Any]:
        """Return the entry that `parse` reads."""
        entry: dict[str, Any] = {
            "id": self.id,
            "class": self.class_name,
            "score": self.score,
            "num_points": self.num_points,
            "centre_m": self.centre_m,
            "box": {
                "length_m": self.length_m,
                "width_m": self.width_m,
                "height_m": self.height_m,
                "yaw_rad": self.yaw_rad,
            },
        }
        if self.course_m is not None:
            entry["course_m"] = self.course_m
        return entry if self.track is None else entry | {"track": self.track.to_json()}


def _point(values: Any) -> Point:
    x, y, z = numbers(values, 3)
    return x, y, z
