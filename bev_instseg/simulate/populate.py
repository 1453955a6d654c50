"""What a street is filled with: fronts, vehicles, furniture, people, and how much of each."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from bev_instseg.simulate import lorries, people, surroundings, vehicles
from bev_instseg.simulate.clutter import CLUTTER
from bev_instseg.simulate.kitti_layouts import StreetLayout, put_layout
from bev_instseg.simulate.meshes import Material, Mesh, join, loft, tube
from bev_instseg.simulate.street_builder import (
    BICYCLIST,
    BUS,
    CAR,
    MOTORCYCLIST,
    OTHER_VEHICLE,
    PERSON,
    TRUCK,
    Site,
    StreetScene,
)
from bev_instseg.simulate.street_plan import Kerb, Street
from bev_instseg.simulate.surroundings import Parts

T = TypeVar("T")

_HEAVY = (
    *((TRUCK, lorries.lorry), (TRUCK, lorries.tipper)) * 2,
    *((TRUCK, lorries.articulated), (BUS, lorries.bus)),
    *((OTHER_VEHICLE, lorries.trailer), (OTHER_VEHICLE, lorries.digger)),
)
_RIDERS = (*((BICYCLIST, people.cyclist),) * 4, (MOTORCYCLIST, people.motorcyclist))
_SWALLOW = Material(0.0, returns=0.0)
_FRONTS = ["house", "lot", "garden", "wall", "fence", "hedge", "thicket"]
_URBAN_ODDS = [0.40, 0.07, 0.13, 0.07, 0.05, 0.13, 0.15]
_GREEN_ODDS = [0.10, 0.05, 0.20, 0.08, 0.07, 0.20, 0.30]
_BARRIERS = {
    "wall": surroundings.wall,
    "fence": surroundings.fence,
    "hedge": surroundings.hedge,
    "thicket": surroundings.thicket,
}
_FURNITURE = [
    *(surroundings.lamp, surroundings.sign, surroundings.bollard, surroundings.bin_) * 3,
    *(surroundings.cabinet, surroundings.planter, surroundings.bench, surroundings.bush) * 2,
    *(surroundings.traffic_light, surroundings.column),
    *CLUTTER,
]


def draw_scene(
    rng: np.random.Generator, sensor_height_m: float, layouts: Sequence[StreetLayout] = ()
) -> StreetScene:
    """A random street about a sensor that drives along it.

    With layouts, the road users of a random one stand where they stood ahead of the sensor, those
    of another behind it, and fewer are drawn at random.
    """
    street = Street.drawn(rng)
    site = Site(rng, street)
    u, v = street.kerbs[1].at(0, street.kerbs[1].lane + rng.normal(0, 0.2))
    yaw = rng.normal(0, 0.06)
    site.put({0: _carrier(sensor_height_m)}, u, v, yaw)
    for ahead in (1, -1) if layouts else ():
        put_layout(site, _pick(rng, layouts), u, v, ahead)
    _line_with_fronts(site)
    if not layouts or rng.random() < 0.5:
        _park(site)
        _drive(site)
    _furnish(site)
    _walk(site)
    _cycle(site)
    _fill(site)
    return site.finished(u, v, sensor_height_m, yaw)


def _line_with_fronts(site: Site) -> None:
    """Houses, barriers, car parks and gardens behind the pavements."""
    rng, pavement = site.rng, site.street.pavement
    odds = _URBAN_ODDS if site.street.urban else _GREEN_ODDS
    for kerb in site.street.kerbs:
        setback, (along, end) = pavement + rng.uniform(1.2, 7), kerb.reach
        while along < end:
            length = rng.uniform(7, 24)
            middle = along + length / 2
            kind = rng.choice(_FRONTS, p=odds)
            if kind == "house":
                depth, height = rng.uniform((7, 3), (14, 14))
                house = surroundings.building(rng, length, depth, height)
                site.put_by(kerb, house, middle, setback + depth / 2, clear=pavement)
            elif kind == "lot":
                _car_park(site, kerb, along, length)
            elif kind in _BARRIERS:
                barrier = _BARRIERS[kind](rng, length)
                site.put_by(kerb, barrier, middle, pavement + 1.0, clear=0.3)
            if kind not in ("house", "lot"):
                _plant(site, kerb, middle, length)
            along += length + rng.uniform(0.1, 4)


def _plant(site: Site, kerb: Kerb, middle: float, length: float) -> None:
    """A garden: trees and shrubs, perhaps a house at the back, a car in the drive."""
    rng, pavement = site.rng, site.street.pavement
    if rng.random() < 0.6:
        house = surroundings.building(rng, length * 0.8, rng.uniform(7, 10), rng.uniform(3, 8))
        site.put_by(kerb, house, middle, pavement + rng.uniform(11, 18), clear=pavement)
    if rng.random() < 0.3:
        turn = rng.choice([-1, 1]) * np.pi / 2 + rng.normal(0, 0.1)
        site.put_by(kerb, {CAR: vehicles.car(rng)}, middle, pavement + 4, turn, clear=0.3)
    for _ in range(rng.integers(3, 9)):
        plant = surroundings.tree(rng) if rng.random() < 0.4 else surroundings.bush(rng)
        place = middle + rng.uniform(-0.5, 0.5) * length, pavement + rng.uniform(1, 12)
        site.put_by(kerb, plant, *place, rng.uniform(0, 2 * np.pi), clear=0.5)


def _car_park(site: Site, kerb: Kerb, along: float, length: float) -> None:
    """Cars side by side, square or slanted to the road."""
    rng, slant = site.rng, np.pi / 2 + site.rng.choice([-0.5, 0, 0, 0.5])
    for place in np.arange(along + 1.5, along + length - 1, rng.uniform(2.5, 3.2)):
        if rng.random() < 0.6:
            turn = slant + rng.choice([0, np.pi]) + rng.normal(0, 0.03)
            out = site.street.pavement + 3.2 + rng.normal(0, 0.2)
            site.put_by(kerb, {CAR: vehicles.car(rng)}, place, out, turn, clear=0.2)


def _park(site: Site) -> None:
    """Rows of parked cars, now and then a lorry or a trailer."""
    rng = site.rng
    for kerb in site.street.kerbs:
        full = rng.uniform(0.0, 0.75)
        along, end = kerb.reach
        while kerb.parking and along < end:
            along += rng.uniform(5.0, 7.0)
            if rng.random() < full and site.is_open(kerb, along, 4.0):
                turn = np.pi * (rng.random() < 0.85) + rng.normal(0, 0.03)
                out = -1.15 + rng.normal(0, 0.1)
                site.put_by(kerb, _vehicle(rng, heavy=0.06), along, out, turn)


def _drive(site: Site) -> None:
    """Traffic in the lanes, and cars that stand at any angle."""
    rng = site.rng
    for kerb in site.street.kerbs:
        (along, end), spacing = kerb.reach, rng.uniform(25, 150)
        while along < end:
            along += 6 + rng.exponential(spacing)
            out = kerb.lane + rng.normal(0, 0.2)
            site.put_by(kerb, _vehicle(rng, heavy=0.15), along, out, np.pi + rng.normal(0, 0.04))
    for _ in range(rng.integers(0, 5)):
        u, v = rng.uniform(-40, 40, 2)
        site.put({CAR: vehicles.car(rng)}, u, v, rng.uniform(0, 2 * np.pi))


def _vehicle(rng: np.random.Generator, heavy: float) -> Parts:
    """A car, van or pick-up or, with the probability ``heavy``, something bigger."""
    if rng.random() >= heavy:
        builders = (vehicles.car, vehicles.panel_van, vehicles.pickup)
        return {CAR: builders[rng.choice(3, p=[0.8, 0.15, 0.05])](rng)}
    label, build = _pick(rng, _HEAVY)
    return {label: build(rng)}


def _furnish(site: Site) -> None:
    """Trees, lamps, signs and the rest of what stands on pavements."""
    rng = site.rng
    for kerb in site.street.kerbs:
        along, end = kerb.reach
        spacing, avenue = rng.uniform(4, 12), rng.random() < 0.4
        while along < end:
            along += rng.exponential(spacing)
            build = surroundings.tree if avenue and rng.random() < 0.5 else _pick(rng, _FURNITURE)
            out = rng.choice([0.45, 0.45, site.street.pavement - 0.2])
            turn = rng.choice([0, np.pi / 2, np.pi]) + rng.normal(0, 0.1)
            site.put_by(kerb, build(rng), along, out, turn, clear=0.05)


def _walk(site: Site) -> None:
    """Pedestrians, alone and in groups, on pavements and now and then on the road."""
    rng = site.rng
    for _ in range(rng.integers(3, 16)):
        kerb = _pick(rng, site.street.kerbs)
        along = float(np.clip(rng.normal(0, 22), *kerb.reach))
        crossing = rng.random() < 0.2
        out = rng.uniform(-kerb.half_width, 0) if crossing else rng.uniform(0.3, 4.5)
        turn = rng.choice([0, np.pi]) + np.pi / 2 * crossing
        for _ in range(rng.choice([1, 2, 3, 5], p=[0.55, 0.25, 0.12, 0.08])):
            build = people.sitter if rng.random() < 0.06 else people.pedestrian
            heading = turn + rng.normal(0, 0.5)
            site.put_by(kerb, {PERSON: build(rng)}, along, out, heading)
            along, out = along + rng.normal(0, 0.7), out + rng.normal(0, 0.6)


def _cycle(site: Site) -> None:
    """Cyclists: most ride beside the kerb or the parked cars, some elsewhere."""
    rng = site.rng
    for _ in range(rng.integers(1, 8)):
        kerb = _pick(rng, site.street.kerbs)
        out = -kerb.parking - rng.uniform(0.5, 1.3) if rng.random() < 0.7 else rng.uniform(0.5, 3)
        along = float(np.clip(rng.normal(0, 22), *kerb.reach))
        turn = np.pi * (rng.random() < 0.85) + rng.normal(0, 0.15)
        label, build = _pick(rng, _RIDERS)
        site.put_by(kerb, {label: build(rng)}, along, out, turn)


def _fill(site: Site) -> None:
    """The distance: buildings, trees and shrubs wherever there is room off the roads."""
    rng, pavement = site.rng, site.street.pavement
    for _ in range(rng.integers(5, 30)):
        u, v = rng.normal(0, 25, 2)
        site.put(_pick(rng, CLUTTER)(rng), u, v, rng.uniform(0, 2 * np.pi), clear=0.2)
    for _ in range(48):
        radius, angle = rng.uniform(18, 78), rng.uniform(0, 2 * np.pi)
        u, v, turn = radius * np.cos(angle), radius * np.sin(angle), rng.uniform(0, np.pi)
        build = rng.choice(["building", "tree", "bush"], p=[0.25, 0.45, 0.3])
        if build == "building":
            parts = surroundings.building(rng, *rng.uniform((8, 8, 4), (25, 14, 16)))
            turn = rng.choice([0, np.pi / 2])
        else:
            parts = surroundings.tree(rng) if build == "tree" else surroundings.bush(rng)
        site.put(parts, u, v, turn, clear=pavement + 0.5)


def _carrier(sensor_height: float) -> Mesh:
    """The car that carries the sensor: it swallows rays, which leaves a hole in the ground."""
    ends, wide, floor = np.array([-2.6, -2.0, 1.4, 1.9]), np.array([0.6, 0.9, 0.9, 0.6]), 0.2
    body = loft(ends, floor, max(sensor_height - 0.95, 2 * floor), wide, wide, _SWALLOW)
    discs = [
        [(x, 0, sensor_height + z - 0.1), (x, 0, sensor_height + z)]
        for x, z in ((-1.25, -0.42), (1.45, -0.66))
    ]
    return join(body, tube(discs, 0.42, _SWALLOW, sides=12))


def _pick(rng: np.random.Generator, options: Sequence[T]) -> T:
    """One of any objects; ``rng.choice`` would make an array of them."""
    return options[int(rng.integers(len(options)))]
