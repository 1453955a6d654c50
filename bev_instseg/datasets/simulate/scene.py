"""A street filled with road users and everything else, without two things in one place."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bev_instseg.datasets.simulate import people, surroundings, vehicles
from bev_instseg.datasets.simulate.shapes import Float, Material, Mesh, box, join
from bev_instseg.datasets.simulate.street import Kerb, Street
from bev_instseg.datasets.simulate.surroundings import Parts

CAR, TRUCK, OTHER_VEHICLE, PERSON, BICYCLIST = 10, 18, 20, 30, 31
THINGS = (CAR, TRUCK, OTHER_VEHICLE, PERSON, BICYCLIST)

_SWALLOW = Material(0.0, returns=0.0)


@dataclass(frozen=True, eq=False)
class Scene:
    """Triangles in the sensor frame.

    Attributes:
        mesh: all of them.
        labels: (T,) uint32 class, plus instance << 16, of each triangle.
    """

    mesh: Mesh
    labels: NDArray[np.uint32]


def draw_scene(rng: np.random.Generator, sensor_height_m: float) -> Scene:
    """A random street about a sensor that drives along it."""
    street = Street.drawn(rng)
    site = _Site(rng, street)
    u, v = street.kerbs[1].at(0, street.kerbs[1].lane + rng.normal(0, 0.2))
    site.put({0: _carrier(sensor_height_m)}, u, v)
    _line_with_fronts(site)
    _park(site)
    _drive(site)
    _furnish(site)
    _walk(site)
    _cycle(site)
    _fill(site)
    return site.seen_from(u, v, rng.normal(0, 0.06), sensor_height_m)


class _Site:
    """A street under construction: puts objects where there is room for them."""

    def __init__(self, rng: np.random.Generator, street: Street) -> None:
        self.rng, self.street = rng, street
        ground, classes = street.ground(rng)
        self._meshes, self._labels = [ground], [classes]
        self._taken = np.empty((0, 7))  # centre x, y, half size x, y, heading, bottom, top
        self._instances = 0

    def put(
        self, parts: Parts, u: float, v: float, heading: float = 0.0, clear: float = -np.inf
    ) -> bool:
        """Place an object in the plan unless its bounding box would touch another's.

        Args:
            parts: mesh of each class in the object's frame.
            heading: of its x axis against the main road, radians.
            clear: metres that its corners must keep from roads.

        Returns:
            Whether it was placed.
        """
        place = self.street.world(u, v)
        yaw = heading + np.arctan(self.street.bend * u)
        boxes = np.array([_bounds(mesh, place, yaw) for mesh in parts.values()])
        roomy = self.street.from_road(*self.street.plan(_corners(boxes))).min() >= clear
        if not roomy or any(_touches(b, self._taken) for b in boxes):
            return False
        self._taken = np.concatenate([self._taken, boxes])
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

    def seen_from(self, u: float, v: float, yaw: float, height: float) -> Scene:
        """The finished scene in the frame of a sensor above ``(u, v)``."""
        mesh, xy = join(*self._meshes), self.street.world(u, v)
        vertices = mesh.vertices - [*xy, self.street.relief(xy) + height]
        turned = vertices @ _turn(-yaw).T
        return Scene(replace(mesh, vertices=turned), np.concatenate(self._labels))

    def _add(self, mesh: Mesh, label: int, place: Float, yaw: float, floor: float) -> None:
        """Turn and shift a mesh and let it follow the relief, vertex by vertex."""
        vertices = mesh.vertices @ _turn(yaw).T + [*place, floor]
        vertices[:, 2] += self.street.relief(vertices[:, :2])
        if label in THINGS:
            self._instances += 1
            label |= self._instances << 16
        self._meshes.append(replace(mesh, vertices=vertices))
        self._labels.append(np.full(len(mesh.triangles), label, dtype=np.uint32))


def _line_with_fronts(site: _Site) -> None:
    """Houses, barriers, car parks and gardens behind the pavements."""
    rng, pavement = site.rng, site.street.pavement
    weights = [0.55, 0.05, 0.05, 0.1, 0.15, 0.1] if site.street.urban else [0.2, 0.25, 0.15, 0.1, 0.1, 0.2]
    for kerb in site.street.kerbs:
        along = kerb.reach[0] + rng.uniform(0, 8)
        setback = pavement + rng.uniform(0.2, 6)
        while along < kerb.reach[1]:
            length = rng.uniform(7, 24)
            middle = along + length / 2
            kind = rng.choice(["house", "hedge", "fence", "wall", "lot", "garden"], p=weights)
            if kind == "house":
                depth, height = rng.uniform(7, 14), rng.uniform(3, 14)
                house = surroundings.building(rng, length, depth, height)
                site.put_by(kerb, house, middle, setback + depth / 2 + 1.2, clear=pavement)
            elif kind == "lot":
                _car_park(site, kerb, along, length)
            elif kind != "garden":
                barrier = getattr(surroundings, kind)(rng, length)
                site.put_by(kerb, barrier, middle, pavement + 0.7, clear=pavement - 0.2)
            if kind not in ("house", "lot"):
                _plant(site, kerb, middle, length)
            along += length + rng.uniform(0.1, 4)
