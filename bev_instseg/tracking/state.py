"""All tracks of a sequence as columns of arrays, and how the objects of a class move."""

from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from bev_instseg.structures import UNKNOWN, Float64


@dataclass(frozen=True)
class Behaviour:
    """How the objects of a class move.

    Attributes:
        start_mps: Standard deviation of the velocity, along each axis, of an object seen once.
        acceleration_mps2: Standard deviation of the acceleration along each axis.
        moving_mps: Speed above which an object counts as moving; below half of it, it stands again.
        coast_s: How long an unseen object is kept; twice as long if something is in front of it, or
            if it is so far away that it may have left the grid.
    """

    start_mps: float
    acceleration_mps2: float
    moving_mps: float
    coast_s: float


ANY = Behaviour(8.0, 3.0, 1.0, 2.0)  # vehicles, and classes of other names
# The visible part of a wall or a line moves along with the sensor, so neither counts as moving.
LINE = replace(ANY, moving_mps=np.inf)
BEHAVIOURS = {
    "vehicle": ANY,
    "cyclist": Behaviour(4.0, 2.0, 0.8, 1.5),
    "pedestrian": Behaviour(1.5, 1.5, 0.5, 1.2),
    UNKNOWN: Behaviour(2.0, 2.0, np.inf, 1.0),
    "marking": LINE,
    "kerb": LINE,
}
OTHER_NAMES = {
    "cyclist": ("bicyclist", "motorcyclist", "rider", "bicycle", "motorcycle", "motorbike", "bike"),
    "pedestrian": ("person", "people", "walker"),
    "marking": ("lane", "line"),
    "kerb": ("curb",),
}
BEHAVIOURS |= {other: BEHAVIOURS[name] for name, others in OTHER_NAMES.items() for other in others}


@dataclass(eq=False)
class State:
    """T tracks.

    Attributes:
        ids: (T,) uint32.
        mean: (T, 4) x, y, vx, vy in the world.
        covariance: (T, 4, 4).
        height_m: (T,) z of the centre in the world.
        size_m: (T, 2) largest length and width so far, slowly fading.
        class_evidence: (T, C) sum of the scores in each class, slowly fading.
        belief: (T,) log odds that it is an object.
        confirmed: (T,) bool.
        moving: (T,) bool.
        axis: (T, 2) cosine and sine of twice the heading, weighted by how long the boxes were.
        heading_rad: (T,) heading in the world.
        front_known: (T,) bool.
        anchor_m: (T, 2) where it stood when it last was not moving.
        born_s: (T,) stamp of the first sweep with it.
        seen_s: (T,) stamp of the last one.
        num_sweeps: (T,) int32 number of sweeps with it.
    """

    ids: NDArray[np.uint32]
    mean: Float64
    covariance: Float64
    height_m: Float64
    size_m: Float64
    class_evidence: Float64
    belief: Float64
    confirmed: NDArray[np.bool_]
    moving: NDArray[np.bool_]
    axis: Float64
    heading_rad: Float64
    front_known: NDArray[np.bool_]
    anchor_m: Float64
    born_s: Float64
    seen_s: Float64
    num_sweeps: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def classes(self) -> NDArray[np.intp]:
        """Class with the most evidence, (T,)."""
        winner: NDArray[np.intp] = self.class_evidence.argmax(axis=1)
        return winner

    def keep(self, rows: NDArray[np.bool_]) -> None:
        """Keep only these tracks, (T,) bool."""
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name)[rows])

    def append(self, other: "State") -> None:
        """Add tracks at the end."""
        for field in fields(self):
            both = getattr(self, field.name), getattr(other, field.name)
            setattr(self, field.name, np.concatenate(both))


def empty_state(num_classes: int) -> State:
    """Return a state without tracks.

    Args:
        num_classes: Number of classes, C.
    """
    none = np.zeros(0)
    return State(
        ids=np.zeros(0, np.uint32),
        mean=np.zeros((0, 4)),
        covariance=np.zeros((0, 4, 4)),
        height_m=none,
        size_m=np.zeros((0, 2)),
        class_evidence=np.zeros((0, num_classes)),
        belief=none,
        confirmed=none > 0,
        moving=none > 0,
        axis=np.zeros((0, 2)),
        heading_rad=none,
        front_known=none > 0,
        anchor_m=np.zeros((0, 2)),
        born_s=none,
        seen_s=none,
        num_sweeps=np.zeros(0, np.int32),
    )


def behaviour(class_name: str, name: str) -> float:
    """Return one number that describes how the objects of a class move.

    Args:
        class_name: The class; upper and lower case, or a plural's s, make no difference.
        name: An attribute of `Behaviour`.
    """
    singular = class_name.casefold().removesuffix("s")
    value: float = getattr(BEHAVIOURS.get(singular, ANY), name)
    return value
