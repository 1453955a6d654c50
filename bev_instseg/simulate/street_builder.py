"""Placing objects on a street: on the ground, without overlaps, labelled and numbered.

What is placed where is decided in `populate`.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bev_instseg.simulate.markings import Markings
from bev_instseg.simulate.meshes import Mesh, join
from bev_instseg.simulate.street_plan import Kerb, StreetPlan
from bev_instseg.simulate.surroundings import VEGETATION, Group, Parts

CAR, BUS, TRUCK, OTHER_VEHICLE, PERSON, BICYCLIST, MOTORCYCLIST = 10, 13, 18, 20, 30, 31, 32
THINGS = (CAR, BUS, TRUCK, OTHER_VEHICLE, PERSON, BICYCLIST, MOTORCYCLIST)

_MIN_GAP_M = 0.04  # between the boxes around any two objects
_OVERHEAD_M = 2.2  # parts that begin above this height may hang over a road


@dataclass(frozen=True, eq=False)
class StreetScene:
    """A finished street and the pose of the sensor in it.

    Attributes:
        mesh: All triangles, in world coordinates.
        labels: (T,) uint32 class of each triangle, plus its instance << 16.
        origin: (3,) position of the sensor in the world, metres.
        yaw_rad: Heading of the sensor in the world.
        plan: Plan of the street.
        headings_rad: (K,) heading in the world of each instance 1..K.
        in_group: (K,) bool, which instances were placed together with other objects.
        markings: What is painted on the roads, and the kerbs.
    """

    mesh: Mesh
    labels: NDArray[np.uint32]
    origin: NDArray[np.float64]
    yaw_rad: float
    plan: StreetPlan
    headings_rad: NDArray[np.float64]
    in_group: NDArray[np.bool_]
    markings: Markings


class StreetBuilder:
    """A street under construction; objects of the classes `THINGS` are numbered from 1."""

    def __init__(self, rng: np.random.Generator, plan: StreetPlan) -> None:
        """Begin with the bare ground.

        Args:
            rng: Source of all random numbers.
            plan: Plan of the street.
        """
        self.rng, self.plan = rng, plan
        ground, classes = plan.ground_mesh(rng)
        self._meshes, self._labels = [ground], [classes]
        self._occupied = np.empty((0, 7))  # boxes as returned by `_bounds`
        self._leafy = np.empty(0, dtype=bool)
        self._headings_rad: list[float] = []  # of the instances
        self._in_group: list[bool] = []

    @property
    def boxes(self) -> NDArray[np.float64]:
        """(B, 7) boxes around all parts placed so far.

        Centre x, y, half size x, y and heading in the world, bottom and top above the ground.
        """
        return self._occupied

    def place(
        self,
        parts: Parts | Group,
        u: float,
        v: float,
        heading_rad: float = 0.0,
        clear_m: float = -np.inf,
    ) -> bool:
        """Place an object or group unless it would overlap another; plants may overlap plants.

        Args:
            parts: Mesh of each class in the object's frame, or the members of a group.
            u: Plan coordinate of the object's origin, metres.
            v: The other plan coordinate, metres.
            heading_rad: Angle from the main road to the object's x axis.
            clear_m: Minimum distance of the object's corners from any road, overhanging parts
                excepted.

        Returns:
            Whether the object was placed.
        """
        position = self.plan.to_world(u, v)
        yaw = heading_rad + np.arctan(self.plan.curvature * u)
        members = list(parts.items()) if isinstance(parts, dict) else parts
        boxes = np.array([_bounds(mesh, position, yaw) for _, mesh in members])
        leafy = np.array([label == VEGETATION for label, _ in members])
        corners = _corners(boxes[boxes[:, 5] < _OVERHEAD_M])
        if (self.plan.distance_to_road(*self.plan.to_plan(corners)) < clear_m).any():
            return False
        if (_overlaps(boxes, self._occupied) & ~(leafy[:, None] & self._leafy)).any():
            return False
        self._occupied = np.concatenate([self._occupied, boxes])
        self._leafy = np.concatenate([self._leafy, leafy])
        for label, mesh in members:
            if label in THINGS:
                self._headings_rad.append(yaw)
                self._in_group.append(len(members) > 1)
                label |= len(self._headings_rad) << 16
            self._add(mesh, label, position, yaw, float(self.plan.kerb_rise(u, v)))
        return True

    def place_at_kerb(
        self,
        kerb: Kerb,
        parts: Parts | Group,
        along_m: float,
        out_m: float,
        heading_rad: float = 0.0,
        clear_m: float = -np.inf,
    ) -> bool:
        """Do as `place`, but with position and heading in the kerb's frame."""
        heading_rad += kerb.angle_rad
        return self.place(parts, *kerb.at(along_m, out_m), heading_rad, clear_m)

    def has_kerb(self, kerb: Kerb, along_m: float, margin_m: float) -> bool:
        """Return whether no road cuts the kerb within ``margin_m`` of ``along_m``."""
        spots = [kerb.at(along_m + step, 0.5) for step in (-margin_m, 0, margin_m)]
        return bool((self.plan.distance_to_road(*np.transpose(spots)) > 0).all())

    def finish(self, u: float, v: float, height_m: float, yaw_rad: float) -> StreetScene:
        """Return the scene with a sensor ``height_m`` above the road at ``(u, v)``."""
        xy = self.plan.to_world(u, v)
        origin = np.array([*xy, self.plan.relief(xy) + height_m])
        return StreetScene(
            join(*self._meshes),
            np.concatenate(self._labels),
            origin,
            yaw_rad,
            self.plan,
            np.array(self._headings_rad),
            np.array(self._in_group, dtype=bool),
            Markings.random(self.rng.spawn(1)[0], self.plan),
        )

    def _add(
        self, mesh: Mesh, label: int, position: NDArray[np.float64], yaw: float, rise: float
    ) -> None:
        """Turn and shift a mesh and make each vertex follow relief and bank."""
        vertices = mesh.vertices @ _rotation(yaw).T + [*position, rise]
        xy = vertices[:, :2]
        vertices[:, 2] += self.plan.relief(xy) + self.plan.bank_rise(*self.plan.to_plan(xy))
        self._meshes.append(replace(mesh, vertices=vertices))
        self._labels.append(np.full(len(mesh.triangles), label, dtype=np.uint32))


def _rotation(yaw: float) -> NDArray[np.float64]:
    """Return the (3, 3) rotation about z."""
    c, s = np.cos(yaw), np.sin(yaw)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


def _bounds(mesh: Mesh, position: NDArray[np.float64], yaw: float) -> NDArray[np.float64]:
    """Return a (7,) box in the world: centre x, y, half size x, y, heading, bottom, top."""
    low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
    centre = position + (_rotation(yaw) @ ((low + high) / 2))[:2]
    return np.array([*centre, *((high - low)[:2] / 2 + _MIN_GAP_M / 2), yaw, low[2], high[2]])


def _corners(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the (B, 4, 2) corners of (B, 7) boxes."""
    c, s = np.cos(boxes[:, 4]), np.sin(boxes[:, 4])
    ahead = np.stack([c, s], axis=1) * boxes[:, 2:3]
    beside = np.stack([-s, c], axis=1) * boxes[:, 3:4]
    signs = ((1, 1), (1, -1), (-1, -1), (-1, 1))
    return np.stack([boxes[:, :2] + a * ahead + b * beside for a, b in signs], axis=1)


def _overlaps(boxes: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return (B, M) bool: which (B, 7) boxes overlap which (M, 7) others, by separating axes."""
    boxes = boxes[:, None]
    x, y = others[:, 0] - boxes[..., 0], others[:, 1] - boxes[..., 1]
    turn = others[:, 4] - boxes[..., 4]
    c, s = np.abs(np.cos(turn)), np.abs(np.sin(turn))
    overlap = (others[:, 5] < boxes[..., 6]) & (others[:, 6] > boxes[..., 5])
    for own, other in ((boxes, others), (others, boxes)):
        cos, sin = np.cos(own[..., 4]), np.sin(own[..., 4])
        overlap &= np.abs(cos * x + sin * y) < own[..., 2] + other[..., 2] * c + other[..., 3] * s
        overlap &= np.abs(cos * y - sin * x) < own[..., 3] + other[..., 2] * s + other[..., 3] * c
    return overlap
