"""A street under construction: whatever is put on it stands on the ground and in nothing's way."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bev_instseg.simulate.meshes import Float, Mesh, join
from bev_instseg.simulate.street_plan import Kerb, Street
from bev_instseg.simulate.surroundings import VEGETATION, Parts

CAR, BUS, TRUCK, OTHER_VEHICLE, PERSON, BICYCLIST, MOTORCYCLIST = 10, 13, 18, 20, 30, 31, 32
THINGS = (CAR, BUS, TRUCK, OTHER_VEHICLE, PERSON, BICYCLIST, MOTORCYCLIST)

_GAP_M = 0.1  # between any two objects, at least
_OVERHEAD_M = 2.2  # what starts higher may hang over a road


@dataclass(frozen=True, eq=False)
class StreetScene:
    """A built street and where the sensor is in it.

    Attributes:
        mesh: all triangles, in world coordinates.
        labels: (T,) uint32 class, plus instance << 16, of each triangle.
        origin: (3,) place of the sensor in the world, metres.
        yaw: its heading in the world, radians.
    """

    mesh: Mesh
    labels: NDArray[np.uint32]
    origin: Float
    yaw: float


class Site:
    """Street and objects so far; the objects of classes `THINGS` are numbered from 1."""

    def __init__(self, rng: np.random.Generator, street: Street) -> None:
        self.rng, self.street = rng, street
        ground, classes = street.ground(rng)
        self._meshes, self._labels = [ground], [classes]
        self._taken = np.empty((0, 7))  # bounding boxes as `_bounds` gives them
        self._leafy = np.empty(0, dtype=bool)
        self._instances = 0

    def put(
        self, parts: Parts, u: float, v: float, heading: float = 0.0, clear: float = -np.inf
    ) -> bool:
        """Place an object in the plan unless its bounding boxes would touch others.

        Plants may grow into each other.

        Args:
            parts: mesh of each class in the object's frame.
            heading: of its x axis against the main road, radians.
            clear: metres that its corners must keep from roads, but for what hangs over them.

        Returns:
            Whether it was placed.
        """
        place = self.street.world(u, v)
        yaw = heading + np.arctan(self.street.bend * u)
        boxes = np.array([_bounds(mesh, place, yaw) for mesh in parts.values()])
        leafy = np.array([label == VEGETATION for label in parts])
        corners = _corners(boxes[boxes[:, 5] < _OVERHEAD_M])
        if (self.street.from_road(*self.street.plan(corners)) < clear).any():
            return False
        if (_touching(boxes, self._taken) & ~(leafy[:, None] & self._leafy)).any():
            return False
        self._taken = np.concatenate([self._taken, boxes])
        self._leafy = np.concatenate([self._leafy, leafy])
        for label, mesh in parts.items():
            self._add(mesh, label, place, yaw, float(self.street.raised(u, v)))
        return True

    def put_by(
        self,
        kerb: Kerb,
        parts: Parts,
        along: float,
        out: float,
        turn: float = 0.0,
        clear: float = -np.inf,
    ) -> bool:
        """`put` in the frame of a kerb; ``turn`` is the heading against it."""
        return self.put(parts, *kerb.at(along, out), kerb.angle + turn, clear)

    def is_open(self, kerb: Kerb, along: float, margin: float) -> bool:
        """Whether the kerb exists from ``along - margin`` to ``along + margin``."""
        ends = [kerb.at(along + step, 0.5) for step in (-margin, 0, margin)]
        return bool((self.street.from_road(*np.transpose(ends)) > 0).all())

    def finished(self, u: float, v: float, height: float, yaw: float) -> StreetScene:
        """The scene with a sensor ``height`` above the road at ``(u, v)``."""
        xy = self.street.world(u, v)
        origin = np.array([*xy, self.street.relief(xy) + height])
        return StreetScene(join(*self._meshes), np.concatenate(self._labels), origin, yaw)

    def _add(self, mesh: Mesh, label: int, place: Float, yaw: float, floor: float) -> None:
        """Turn and shift a mesh and let it follow relief and bank, vertex by vertex."""
        vertices = mesh.vertices @ _turn(yaw).T + [*place, floor]
        xy = vertices[:, :2]
        vertices[:, 2] += self.street.relief(xy) + self.street.banked(*self.street.plan(xy))
        if label in THINGS:
            self._instances += 1
            label |= self._instances << 16
        self._meshes.append(replace(mesh, vertices=vertices))
        self._labels.append(np.full(len(mesh.triangles), label, dtype=np.uint32))


def _turn(yaw: float) -> Float:
    """(3, 3) rotation about z."""
    c, s = np.cos(yaw), np.sin(yaw)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


def _bounds(mesh: Mesh, place: Float, yaw: float) -> Float:
    """(7,) bounding box in the world: centre x, y, half size x, y, heading, bottom, top."""
    low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
    centre = place + (_turn(yaw) @ ((low + high) / 2))[:2]
    return np.array([*centre, *((high - low)[:2] / 2 + _GAP_M / 2), yaw, low[2], high[2]])


def _corners(boxes: Float) -> Float:
    """(B, 4, 2) corners of (B, 7) boxes."""
    c, s = np.cos(boxes[:, 4]), np.sin(boxes[:, 4])
    ahead = np.stack([c, s], axis=1) * boxes[:, 2:3]
    beside = np.stack([-s, c], axis=1) * boxes[:, 3:4]
    signs = ((1, 1), (1, -1), (-1, -1), (-1, 1))
    return np.stack([boxes[:, :2] + a * ahead + b * beside for a, b in signs], axis=1)


def _touching(some: Float, others: Float) -> NDArray[np.bool_]:
    """(B, M) bool: which boxes (B, 7) meet which (M, 7): no axis of either separates them."""
    some = some[:, None]
    x, y = others[:, 0] - some[..., 0], others[:, 1] - some[..., 1]
    turn = others[:, 4] - some[..., 4]
    c, s = np.abs(np.cos(turn)), np.abs(np.sin(turn))
    meet = (others[:, 5] < some[..., 6]) & (others[:, 6] > some[..., 5])
    for own, other in ((some, others), (others, some)):
        cos, sin = np.cos(own[..., 4]), np.sin(own[..., 4])
        meet &= np.abs(cos * x + sin * y) < own[..., 2] + other[..., 2] * c + other[..., 3] * s
        meet &= np.abs(cos * y - sin * x) < own[..., 3] + other[..., 2] * s + other[..., 3] * c
    return meet
