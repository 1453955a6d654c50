"""The part of a sweep's ``.json`` that describes an object over time."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from bev_instseg.export.json_values import integer, number, numbers, text, truth
from bev_instseg.tracking.tracked import TrackedInstances

MAX_LABEL_ID = 0xFFFF


@dataclass(frozen=True)
class Sighting:
    """An object as seen in one sweep, before other sweeps were taken into account.

    Attributes:
        number: Its number among the instances of the sweep, by descending score.
        class_name: Its class.
        score: Its score.
        centre_m: x, y of its learned centre in the sensor frame, metres.
    """

    number: int
    class_name: str
    score: float
    centre_m: tuple[float, ...]


@dataclass(frozen=True)
class TrackRecord:
    """An object over time, rounded; in the world, the common frame of the poses.

    Attributes:
        id: Its id over the sequence.
        position_m: x, y, z, metres.
        velocity_mps: Velocity over the ground along x and y, metres per second.
        heading_rad: Heading; see `Tracks`.
        front_known: Whether the heading is that of its front.
        moving: Whether it moves.
        age_s: Time since it was first seen, seconds.
        num_sweeps: Sweeps in which it was seen.
        seen: This sweep's sighting.
    """

    id: int
    position_m: tuple[float, ...]
    velocity_mps: tuple[float, ...]
    heading_rad: float
    front_known: bool
    moving: bool
    age_s: float
    num_sweeps: int
    seen: Sighting

    @classmethod
    def of(cls, tracked: TrackedInstances, row: int) -> "TrackRecord":
        """Round the track of one of the instances.

        Args:
            tracked: The instances of a sweep.
            row: Position of the instance.
        """
        t = tracked.tracks
        seen = Sighting(
            int(t.seen_numbers[row]),
            tracked.instances.class_names[int(t.seen_classes[row])],
            round(float(t.seen_scores[row]), 4),
            rounded(t.seen_centres_m[row]),
        )
        return cls(
            int(t.ids[row]),
            rounded(t.position_m[row]),
            rounded(t.velocity_mps[row]),
            round(float(t.heading_rad[row]), 4),
            bool(t.front_known[row]),
            bool(t.moving[row]),
            round(float(t.age_s[row]), 3),
            int(t.num_sweeps[row]),
            seen,
        )

    @classmethod
    def parse(cls, entry: Any) -> "TrackRecord":
        """Check a parsed entry; raises ValueError, KeyError or TypeError."""
        seen = entry["seen"]
        return cls(
            integer(entry["id"]),
            numbers(entry["position_m"], 3),
            numbers(entry["velocity_mps"], 2),
            number(entry["heading_rad"]),
            truth(entry["front_known"]),
            truth(entry["moving"]),
            number(entry["age_s"]),
            integer(entry["num_sweeps"]),
            Sighting(
                integer(seen["number"]),
                text(seen["class"]),
                number(seen["score"]),
                numbers(seen["centre_m"], 2),
            ),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the entry that `parse` reads."""
        entry = asdict(self)
        entry["seen"]["class"] = entry["seen"].pop("class_name")
        return entry

    @property
    def label_id(self) -> int:
        """The id in 16 bits, 1..65535, as in the ``.label`` file; larger ids start again at 1."""
        return label_id(self.id)


def label_id(number: int) -> int:
    """Return an id in 16 bits; see `TrackRecord.label_id`."""
    return (number - 1) % MAX_LABEL_ID + 1


def rounded(values: "np.ndarray[Any, Any]") -> tuple[float, ...]:
    """Return the values rounded to a thousandth, without negative zeros."""
    return tuple(round(float(value), 3) + 0.0 for value in values)
