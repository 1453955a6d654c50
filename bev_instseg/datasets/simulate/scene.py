"""A street filled with road users and everything else, without two things in one place."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bev_instseg.datasets.simulate import people, surroundings, vehicles
from bev_instseg.datasets.simulate.shapes import Float, Material, Mesh, join, loft, tube
from bev_instseg.datasets.simulate.street import Kerb, Street
from bev_instseg.datasets.simulate.surroundings import Parts

CAR, TRUCK, OTHER_VEHICLE, PERSON, BICYCLIST = 10, 18, 20, 30, 31
THINGS = (CAR, TRUCK, OTHER_VEHICLE, PERSON, BICYCLIST)

_GAP_M = 0.1
_SWALLOW = Material(0.0, returns=0.0)
_URBAN_FRONTS = {
    "house": 0.55, "lot": 0.15, "wall": 0.1, "hedge": 0.05, "fence": 0.05, "garden": 0.1
}
_GREEN_FRONTS = {
    "house": 0.2, "lot": 0.1, "wall": 0.1, "hedge": 0.25, "fence": 0.15, "garden": 0.2
}
_BARRIERS = {
    "wall": surroundings.wall, "hedge": surroundings.hedge, "fence": surroundings.fence
}
_FURNITURE = [
    *(surroundings.lamp, surroundings.sign, surroundings.bollard, surroundings.bin_) * 3,
    *(surroundings.cabinet, surroundings.planter, surroundings.bench) * 2,
    surroundings.traffic_light, surroundings.column, surroundings.bush,
]


@dataclass(frozen=True, eq=False)
class Scene:
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


def draw_scene(rng: np.random.Generator, sensor_height_m: float) -> Scene:
    """A random street about a sensor that drives along it."""
    street = Street.drawn(rng)
    site = _Site(rng, street)
    u, v = street.kerbs[1].at(0, street.kerbs[1].lane + rng.normal(0, 0.2))
    yaw = rng.normal(0, 0.06)
    site.put({0: _carrier(sensor_height_m)}, u, v, yaw)
    _line_with_fronts(site)
    _park(site)
    _drive(site)
    _furnish(site)
    _walk(site)
    _cycle(site)
    _fill(site)
    return site.finished(u, v, sensor_height_m, yaw)


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

    def finished(self, u: float, v: float, height: float, yaw: float) -> Scene:
        """The scene with a sensor ``height`` above the road at ``(u, v)``."""
        xy = self.street.world(u, v)
        origin = np.array([*xy, self.street.relief(xy) + height])
        return Scene(join(*self._meshes), np.concatenate(self._labels), origin, yaw)

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
    odds = _URBAN_FRONTS if site.street.urban else _GREEN_FRONTS
    for kerb in site.street.kerbs:
        setback, (along, end) = pavement + rng.uniform(1.2, 7), kerb.reach
        while along < end:
            length = rng.uniform(7, 24)
            middle = along + length / 2
            kind = rng.choice(list(odds), p=list(odds.values()))
            if kind == "house":
                depth, height = rng.uniform((7, 3), (14, 14))
                house = surroundings.building(rng, length, depth, height)
                site.put_by(kerb, house, middle, setback + depth / 2, clear=pavement)
            elif kind == "lot":
                _car_park(site, kerb, along, length)
            elif kind in _BARRIERS:
                barrier = _BARRIERS[kind](rng, length)
                site.put_by(kerb, barrier, middle, pavement + 0.7, clear=pavement - 0.2)
            if kind not in ("house", "lot"):
                _plant(site, kerb, middle, length)
            along += length + rng.uniform(0.1, 4)


def _plant(site: _Site, kerb: Kerb, middle: float, length: float) -> None:
    """A garden: trees and shrubs, perhaps a house at the back, a car in the drive."""
    rng, pavement = site.rng, site.street.pavement
    if rng.random() < 0.6:
        house = surroundings.building(rng, length * 0.8, rng.uniform(7, 10), rng.uniform(3, 8))
        site.put_by(kerb, house, middle, pavement + rng.uniform(11, 18), clear=pavement)
    if rng.random() < 0.3:
        turn = rng.choice([-1, 1]) * np.pi / 2 + rng.normal(0, 0.1)
        site.put_by(kerb, {CAR: vehicles.car(rng)}, middle, pavement + 4, turn, clear=0.3)
    for _ in range(rng.integers(2, 7)):
        plant = surroundings.tree(rng) if rng.random() < 0.4 else surroundings.bush(rng)
        place = middle + rng.uniform(-0.5, 0.5) * length, pavement + rng.uniform(1, 12)
        site.put_by(kerb, plant, *place, rng.uniform(0, 2 * np.pi), clear=0.5)


def _car_park(site: _Site, kerb: Kerb, along: float, length: float) -> None:
    """Cars side by side, square or slanted to the road."""
    rng, slant = site.rng, np.pi / 2 + site.rng.choice([-0.5, 0, 0, 0.5])
    for place in np.arange(along + 1.5, along + length - 1, rng.uniform(2.5, 3.2)):
        if rng.random() < 0.75:
            turn = slant + rng.choice([0, np.pi]) + rng.normal(0, 0.03)
            out = site.street.pavement + 3.2 + rng.normal(0, 0.2)
            site.put_by(kerb, {CAR: vehicles.car(rng)}, place, out, turn, clear=0.2)


def _park(site: _Site) -> None:
    """Rows of parked cars, now and then a lorry or a trailer."""
    rng = site.rng
    for kerb in site.street.kerbs:
        full = rng.uniform(0.1, 0.8)
        along, end = kerb.reach
        while kerb.parking and along < end:
            along += rng.uniform(5.0, 7.0)
            if rng.random() < full and site.is_open(kerb, along, 4.0):
                turn = np.pi * (rng.random() < 0.85) + rng.normal(0, 0.03)
                out = -1.15 + rng.normal(0, 0.1)
                site.put_by(kerb, _vehicle(rng, heavy=0.06), along, out, turn)


def _drive(site: _Site) -> None:
    """Traffic in the lanes, and cars that stand at any angle."""
    rng = site.rng
    for kerb in site.street.kerbs:
        (along, end), spacing = kerb.reach, rng.uniform(20, 120)
        while along < end:
            along += 6 + rng.exponential(spacing)
            out = kerb.lane + rng.normal(0, 0.2)
            site.put_by(kerb, _vehicle(rng, heavy=0.15), along, out, np.pi + rng.normal(0, 0.04))
    for _ in range(rng.integers(0, 6)):
        u, v = rng.uniform(-40, 40, 2)
        site.put({CAR: vehicles.car(rng)}, u, v, rng.uniform(0, 2 * np.pi))


def _vehicle(rng: np.random.Generator, heavy: float) -> Parts:
    """A car or, with the probability ``heavy``, something bigger."""
    if rng.random() >= heavy:
        return {CAR: vehicles.car(rng)}
    kind = rng.choice(["lorry", "bus", "trailer"], p=[0.55, 0.25, 0.2])
    if kind == "lorry":
        return {TRUCK: vehicles.lorry(rng)}
    return {OTHER_VEHICLE: vehicles.bus(rng) if kind == "bus" else vehicles.trailer(rng)}


def _furnish(site: _Site) -> None:
    """Trees, lamps, signs and the rest of what stands on pavements."""
    rng = site.rng
    for kerb in site.street.kerbs:
        along, end = kerb.reach
        spacing, avenue = rng.uniform(4, 12), rng.random() < 0.4
        while along < end:
            along += rng.exponential(spacing)
            build = surroundings.tree if avenue and rng.random() < 0.5 else rng.choice(_FURNITURE)
            out = rng.choice([0.45, 0.45, site.street.pavement - 0.2])
            turn = rng.choice([0, np.pi / 2, np.pi]) + rng.normal(0, 0.1)
            site.put_by(kerb, build(rng), along, out, turn, clear=0.05)


def _walk(site: _Site) -> None:
    """Pedestrians, alone and in groups, on pavements and now and then on the road."""
    rng = site.rng
    for _ in range(rng.integers(3, 16)):
        kerb = rng.choice(site.street.kerbs)
        along = float(np.clip(rng.normal(0, 22), *kerb.reach))
        crossing = rng.random() < 0.2
        out = rng.uniform(-kerb.half_width, 0) if crossing else rng.uniform(0.3, 4.5)
        turn = rng.choice([0, np.pi]) + np.pi / 2 * crossing
        for _ in range(rng.choice([1, 2, 3, 5], p=[0.55, 0.25, 0.12, 0.08])):
            person, heading = people.pedestrian(rng), turn + rng.normal(0, 0.5)
            site.put_by(kerb, {PERSON: person}, along, out, heading)
            along, out = along + rng.normal(0, 0.7), out + rng.normal(0, 0.6)


def _cycle(site: _Site) -> None:
    """Cyclists: most ride beside the kerb or the parked cars, some elsewhere."""
    rng = site.rng
    for _ in range(rng.integers(1, 8)):
        kerb = rng.choice(site.street.kerbs)
        out = -kerb.parking - rng.uniform(0.5, 1.3) if rng.random() < 0.7 else rng.uniform(0.5, 3)
        along = float(np.clip(rng.normal(0, 22), *kerb.reach))
        turn = np.pi * (rng.random() < 0.85) + rng.normal(0, 0.15)
        site.put_by(kerb, {BICYCLIST: people.cyclist(rng)}, along, out, turn)


def _fill(site: _Site) -> None:
    """The distance: buildings, trees and shrubs wherever there is room off the roads."""
    rng, pavement = site.rng, site.street.pavement
    for _ in range(45):
        radius, angle = rng.uniform(18, 78), rng.uniform(0, 2 * np.pi)
        u, v, turn = radius * np.cos(angle), radius * np.sin(angle), rng.uniform(0, np.pi)
        build = rng.choice(["building", "tree", "bush"], p=[0.3, 0.45, 0.25])
        if build == "building":
            parts = surroundings.building(rng, *rng.uniform((8, 8, 4), (25, 14, 16)))
            turn = rng.choice([0, np.pi / 2])
        else:
            parts = surroundings.tree(rng) if build == "tree" else surroundings.bush(rng)
        site.put(parts, u, v, turn, clear=pavement + 0.5)


def _carrier(sensor_height: float) -> Mesh:
    """The car that carries the sensor; what hits it is lost, and so there is a hole in the ground."""
    ends, wide, floor = np.array([-2.6, -2.0, 1.4, 1.9]), np.array([0.6, 0.9, 0.9, 0.6]), 0.2
    body = loft(ends, floor, sensor_height - 0.95, wide, wide, _SWALLOW)
    discs = [
        [(x, 0, sensor_height + z - 0.1), (x, 0, sensor_height + z)]
        for x, z in ((-1.25, -0.42), (1.45, -0.66))
    ]
    return join(body, tube(discs, 0.42, _SWALLOW, sides=12))


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


def _touches(box: Float, others: Float) -> bool:
    """Whether a box (7,) meets one of the others (M, 7): no axis of either separates them."""
    x, y = (others[:, :2] - box[:2]).T
    apart = (others[:, 5] >= box[6]) | (others[:, 6] <= box[5])
    c, s = np.abs(np.cos(others[:, 4] - box[4])), np.abs(np.sin(others[:, 4] - box[4]))
    for yaw, own, other in (
        (box[4], box[2:4, None], others[:, 2:4].T),
        (others[:, 4], others[:, 2:4].T, box[2:4, None]),
    ):
        along = np.abs(np.cos(yaw) * x + np.sin(yaw) * y)
        across = np.abs(np.cos(yaw) * y - np.sin(yaw) * x)
        apart |= along > own[0] + other[0] * c + other[1] * s
        apart |= across > own[1] + other[0] * s + other[1] * c
    return not apart.all()
