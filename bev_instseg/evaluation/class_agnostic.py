"""Scores without classes: which points are on the ground, and which labelled objects are found.

The ground truth is the words of SemanticKITTI's ``.label`` files. Only labelled points within
`MAX_RANGE_M` of the sensor count.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bev_instseg.datasets.background import KINDS
from bev_instseg.grid import BEVGrid
from bev_instseg.ops.unknown import connect
from bev_instseg.structures import Float32, Int32

MAX_RANGE_M = 50.0
MIN_POINTS = 10  # smaller objects do not count
UNLABELLED = (0, 1)  # and outliers
GROUND = KINDS["ground"]
VEGETATION = 70  # includes grass that is as low as terrain
THINGS = {
    "vehicle": (10, 13, 16, 18, 20, 252, 256, 257, 258, 259),
    "person": (30, 254),
    "rider": (31, 32, 253, 255),
    "two-wheeler": (11, 15),
    "pole": (80,),
    "trunk": (71,),
}
WITHOUT_IDS = ("pole", "trunk")  # an object is a group of connected cells of the class

Words = NDArray[np.uint32]


@dataclass
class GroundCounts:
    """How many points are on the ground, and how many are predicted to be.

    Attributes:
        hits: Points on the ground that are predicted as ground.
        said: Points that are predicted as ground.
        said_plants: Points predicted as ground that are vegetation.
        true: Points on the ground.
    """

    hits: int = 0
    said: int = 0
    said_plants: int = 0
    true: int = 0

    def add(self, points: Float32, words: Words, ground: NDArray[np.bool_]) -> None:
        """Add a sweep.

        Args:
            points: (N, 4) float32 points.
            words: (N,) uint32 their labels.
            ground: (N,) bool: which are predicted as ground.
        """
        kinds, judged = words & 0xFFFF, _is_judged(points, words)
        true = np.isin(kinds, GROUND) & judged
        self.hits += int((true & ground).sum())
        self.said += int((judged & ground).sum())
        self.said_plants += int((judged & ground & (kinds == VEGETATION)).sum())
        self.true += int(true.sum())

    @property
    def precision(self) -> float:
        """Share of the points predicted as ground that are on the ground; NaN without any."""
        return _share(self.hits, self.said)

    @property
    def precision_without_plants(self) -> float:
        """The same without vegetation."""
        return _share(self.hits, self.said - self.said_plants)

    @property
    def recall(self) -> float:
        """Share of the points on the ground that are predicted as ground; NaN without any."""
        return _share(self.hits, self.true)


@dataclass
class ThingCounts:
    """How many labelled objects of each kind there are and how many are found.

    Attributes:
        there: Objects of at least `MIN_POINTS` points.
        matched: Objects that have an IoU above 0.5 with an instance.
        covered: Objects with more than half of their points in any instances.
    """

    there: dict[str, int] = field(default_factory=lambda: dict.fromkeys(THINGS, 0))
    matched: dict[str, int] = field(default_factory=lambda: dict.fromkeys(THINGS, 0))
    covered: dict[str, int] = field(default_factory=lambda: dict.fromkeys(THINGS, 0))

    def add(self, points: Float32, words: Words, labels: Int32) -> None:
        """Add a sweep.

        Args:
            points: (N, 4) float32 points.
            words: (N,) uint32 their labels.
            labels: (N,) int32 the instance of each point, 0 for none.
        """
        size = np.bincount(labels[_is_judged(points, words)], minlength=labels.max(initial=0) + 1)
        for kind, members in labelled_things(points, words):
            shared = np.bincount(labels[members], minlength=len(size))
            iou = shared / np.maximum(size + len(members) - shared, 1)
            self.there[kind] += 1
            self.matched[kind] += bool((iou[1:] > 0.5).any())
            self.covered[kind] += bool(shared[1:].sum() > 0.5 * len(members))


def labelled_things(points: Float32, words: Words) -> Iterator[tuple[str, NDArray[np.intp]]]:
    """Yield the kind and the points' rows of each labelled object of at least `MIN_POINTS` points.

    Args:
        points: (N, 4) float32 points.
        words: (N,) uint32 their labels: class and instance id.
    """
    judged, grid = _is_judged(points, words), BEVGrid()
    for kind, classes in THINGS.items():
        of_kind = judged & np.isin(words & 0xFFFF, classes)
        if kind in WITHOUT_IDS:
            members = np.flatnonzero(of_kind & (grid.cell_of(points) >= 0))
            cells, cell = np.unique(grid.cell_of(points[members]), return_inverse=True)
            thing = connect(cells.astype(np.int32), np.zeros(len(cells)), grid)[cell]
        else:
            members = np.flatnonzero(of_kind & (words >> 16 > 0))
            thing = words[members].astype(np.int64)
        order = np.argsort(thing, kind="stable")
        first = np.flatnonzero(np.diff(thing[order])) + 1
        for some in np.split(members[order], first):
            if len(some) >= MIN_POINTS:
                yield kind, some


def _share(part: int, whole: int) -> float:
    return part / whole if whole else np.nan


def _is_judged(points: Float32, words: Words) -> NDArray[np.bool_]:
    near = np.square(points[:, :2].astype(np.float64)).sum(axis=1) <= MAX_RANGE_M**2
    judged: NDArray[np.bool_] = near & ~np.isin(words & 0xFFFF, UNLABELLED)
    return judged
