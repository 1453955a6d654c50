"""Filling a street: which buildings, vehicles, street furniture and people are placed where."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from bev_instseg.simulate import lorries, people, surroundings, vehicles
from bev_instseg.simulate.clutter import CLUTTER
from bev_instseg.simulate.kitti_layouts import StreetLayout, place_layout
from bev_instseg.simulate.meshes import Edge, Material, Mesh, join, loft, tube
from bev_instseg.simulate.street_builder import (
    BICYCLIST,
    BUS,
    CAR,
    MOTORCYCLIST,
    OTHER_VEHICLE,
    PERSON,
    TRUCK,
    StreetBuilder,
    StreetScene,
)
from bev_instseg.simulate.street_plan import Kerb, StreetPlan
from bev_instseg.simulate.surroundings import Parts

T = TypeVar("T")

_HEAVY = (
    *((TRUCK, lorries.lorry), (TRUCK, lorries.tipper)) * 2,
    *((TRUCK, lorries.articulated), (BUS, lorries.bus)),
    *((OTHER_VEHICLE, lorries.trailer), (OTHER_VEHICLE, lorries.digger)),
)
_RIDERS = (*((BICYCLIST, people.cyclist),) * 4, (MOTORCYCLIST, people.motorcyclist))
_NO_RETURN = Material(0.0, returns=0.0)
_FRONTAGES = ["house", "lot", "garden", "wall", "fence", "hedge", "thicket"]
_URBAN_ODDS = [0.40, 0.07, 0.13, 0.07, 0.05, 0.13, 0.15]
_GREEN_ODDS = [0.10, 0.05, 0.20, 0.08, 0.07, 0.20, 0.30]
_BARRIERS = {
    "wall": surroundings.wall,
    "fence": surroundings.fence,
    "hedge": surroundings.hedge,
    "thicket": surroundings.thicket,
}
_FURNITURE = [
    *(surroundings.lamp, surroundings.sign, surroundings.bollard, surroundings.wheelie_bin) * 3,
    *(surroundings.cabinet, surroundings.planter, surroundings.bench, surroundings.bush) * 2,
    *(surroundings.traffic_light, surroundings.column),
    *CLUTTER,
]


def random_scene(
    rng: np.random.Generator, sensor_height_m: float, layouts: Sequence[StreetLayout] = ()
) -> StreetScene:
    """Build a random street around a sensor that drives along it.

    Args:
        rng: Source of all random numbers.
        sensor_height_m: Height of the sensor above the road.
        layouts: Real layouts, if any: the road users of one are placed ahead of the sensor and
            those of another behind it, and half of these scenes have no random traffic or parking.
    """
    plan = StreetPlan.random(rng)
    builder = StreetBuilder(rng, plan)
    u, v = plan.kerbs[1].at(0, plan.kerbs[1].lane_m + rng.normal(0, 0.2))
    yaw_rad = rng.normal(0, 0.06)
    builder.place({0: _ego_vehicle(sensor_height_m)}, u, v, yaw_rad)
    for direction in (1, -1) if layouts else ():
        place_layout(builder, _pick(rng, layouts), u, v, direction)
    _add_frontages(builder)
    if not layouts or rng.random() < 0.5:
        _add_parked_vehicles(builder)
        _add_traffic(builder)
    _add_street_furniture(builder)
    _add_pedestrians(builder)
    _add_riders(builder)
    _add_scattered_objects(builder)
    return builder.finish(u, v, sensor_height_m, yaw_rad)


def _add_frontages(builder: StreetBuilder) -> None:
    """Line the pavements with houses, barriers, car parks and gardens."""
    rng, pavement = builder.rng, builder.plan.pavement_m
    odds = _URBAN_ODDS if builder.plan.urban else _GREEN_ODDS
    for kerb in builder.plan.kerbs:
        setback, (along, end) = pavement + rng.uniform(1.2, 7), kerb.ends_m
        while along < end:
            length = rng.uniform(7, 24)
            middle = along + length / 2
            kind = rng.choice(_FRONTAGES, p=odds)
            if kind == "house":
                depth, height = rng.uniform((7, 3), (14, 14))
                house = surroundings.building(rng, length, depth, height)
                builder.place_at_kerb(kerb, house, middle, setback + depth / 2, clear_m=pavement)
            elif kind == "lot":
                _add_car_park(builder, kerb, along, length)
            elif kind in _BARRIERS:
                barrier = _BARRIERS[kind](rng, length)
                builder.place_at_kerb(kerb, barrier, middle, pavement + 1.0, clear_m=0.3)
            if kind not in ("house", "lot"):
                _add_garden(builder, kerb, middle, length)
            along += length + rng.uniform(0.1, 4)


def _add_garden(builder: StreetBuilder, kerb: Kerb, middle: float, length: float) -> None:
    """Add trees and shrubs, sometimes a house at the back and a car in the drive."""
    rng, pavement = builder.rng, builder.plan.pavement_m
    if rng.random() < 0.6:
        house = surroundings.building(rng, length * 0.8, rng.uniform(7, 10), rng.uniform(3, 8))
        builder.place_at_kerb(kerb, house, middle, pavement + rng.uniform(11, 18), clear_m=pavement)
    if rng.random() < 0.3:
        turn = rng.choice([-1, 1]) * np.pi / 2 + rng.normal(0, 0.1)
        builder.place_at_kerb(
            kerb, {CAR: vehicles.car(rng)}, middle, pavement + 4, turn, clear_m=0.3
        )
    for _ in range(rng.integers(3, 9)):
        plant = surroundings.tree(rng) if rng.random() < 0.4 else surroundings.bush(rng)
        place = middle + rng.uniform(-0.5, 0.5) * length, pavement + rng.uniform(1, 12)
        builder.place_at_kerb(kerb, plant, *place, rng.uniform(0, 2 * np.pi), clear_m=0.5)


def _add_car_park(builder: StreetBuilder, kerb: Kerb, along: float, length: float) -> None:
    """Add cars parked side by side, at right angles to the road or slanted."""
    rng, slant = builder.rng, np.pi / 2 + builder.rng.choice([-0.5, 0, 0, 0.5])
    for place in np.arange(along + 1.5, along + length - 1, rng.uniform(2.5, 3.2)):
        if rng.random() < 0.6:
            turn = slant + rng.choice([0, np.pi]) + rng.normal(0, 0.03)
            out = builder.plan.pavement_m + 3.2 + rng.normal(0, 0.2)
            builder.place_at_kerb(kerb, {CAR: vehicles.car(rng)}, place, out, turn, clear_m=0.2)


def _add_parked_vehicles(builder: StreetBuilder) -> None:
    """Add rows of parked cars, with the occasional lorry or trailer."""
    rng = builder.rng
    for kerb in builder.plan.kerbs:
        full = rng.uniform(0.0, 0.75)
        along, end = kerb.ends_m
        while kerb.parking_m and along < end:
            along += rng.uniform(5.0, 7.0)
            if rng.random() < full and builder.has_kerb(kerb, along, 4.0):
                turn = np.pi * (rng.random() < 0.85) + rng.normal(0, 0.03)
                out = -1.15 + rng.normal(0, 0.1)
                builder.place_at_kerb(kerb, _random_vehicle(rng, heavy=0.06), along, out, turn)


def _add_traffic(builder: StreetBuilder) -> None:
    """Add traffic in the lanes and a few cars at any place and angle."""
    rng = builder.rng
    for kerb in builder.plan.kerbs:
        (along, end), spacing = kerb.ends_m, rng.uniform(25, 150)
        while along < end:
            along += 6 + rng.exponential(spacing)
            out = kerb.lane_m + rng.normal(0, 0.2)
            builder.place_at_kerb(
                kerb, _random_vehicle(rng, heavy=0.15), along, out, np.pi + rng.normal(0, 0.04)
            )
    for _ in range(rng.integers(0, 5)):
        u, v = rng.uniform(-40, 40, 2)
        builder.place({CAR: vehicles.car(rng)}, u, v, rng.uniform(0, 2 * np.pi))


def _random_vehicle(rng: np.random.Generator, heavy: float) -> Parts:
    """Return a heavy vehicle with probability ``heavy``, else a car, van or pick-up."""
    if rng.random() >= heavy:
        models = (vehicles.car, vehicles.panel_van, vehicles.pickup)
        return {CAR: models[rng.choice(3, p=[0.8, 0.15, 0.05])](rng)}
    label, build = _pick(rng, _HEAVY)
    return {label: build(rng)}


def _add_street_furniture(builder: StreetBuilder) -> None:
    """Add trees, lamps, signs and other objects that stand on pavements."""
    rng = builder.rng
    for kerb in builder.plan.kerbs:
        along, end = kerb.ends_m
        spacing, avenue = rng.uniform(4, 12), rng.random() < 0.4
        while along < end:
            along += rng.exponential(spacing)
            build = surroundings.tree if avenue and rng.random() < 0.5 else _pick(rng, _FURNITURE)
            out = rng.choice([0.45, 0.45, builder.plan.pavement_m - 0.2])
            turn = rng.choice([0, np.pi / 2, np.pi]) + rng.normal(0, 0.1)
            builder.place_at_kerb(kerb, build(rng), along, out, turn, clear_m=0.05)


def _add_pedestrians(builder: StreetBuilder) -> None:
    """Add pedestrians, alone and in groups, on pavements and sometimes on the road."""
    rng = builder.rng
    for _ in range(rng.integers(3, 16)):
        kerb = _pick(rng, builder.plan.kerbs)
        along = float(np.clip(rng.normal(0, 22), *kerb.ends_m))
        crossing = rng.random() < 0.2
        out = rng.uniform(-kerb.half_width_m, 0) if crossing else rng.uniform(0.3, 4.5)
        turn = rng.choice([0, np.pi]) + np.pi / 2 * crossing
        for _ in range(rng.choice([1, 2, 3, 5], p=[0.55, 0.25, 0.12, 0.08])):
            build = people.seated_person if rng.random() < 0.06 else people.pedestrian
            heading = turn + rng.normal(0, 0.5)
            builder.place_at_kerb(kerb, {PERSON: build(rng)}, along, out, heading)
            along, out = along + rng.normal(0, 0.7), out + rng.normal(0, 0.6)


def _add_riders(builder: StreetBuilder) -> None:
    """Add cyclists and motorcyclists, most beside the kerb or the parked cars, some elsewhere."""
    rng = builder.rng
    for _ in range(rng.integers(1, 8)):
        kerb = _pick(rng, builder.plan.kerbs)
        out = -kerb.parking_m - rng.uniform(0.5, 1.3) if rng.random() < 0.7 else rng.uniform(0.5, 3)
        along = float(np.clip(rng.normal(0, 22), *kerb.ends_m))
        turn = np.pi * (rng.random() < 0.85) + rng.normal(0, 0.15)
        label, build = _pick(rng, _RIDERS)
        builder.place_at_kerb(kerb, {label: build(rng)}, along, out, turn)


def _add_scattered_objects(builder: StreetBuilder) -> None:
    """Add clutter nearby and buildings, trees and shrubs farther off wherever there is room."""
    rng, pavement = builder.rng, builder.plan.pavement_m
    for _ in range(rng.integers(5, 30)):
        u, v = rng.normal(0, 25, 2)
        builder.place(_pick(rng, CLUTTER)(rng), u, v, rng.uniform(0, 2 * np.pi), clear_m=0.2)
    for _ in range(48):
        radius, angle = rng.uniform(18, 78), rng.uniform(0, 2 * np.pi)
        u, v, turn = radius * np.cos(angle), radius * np.sin(angle), rng.uniform(0, np.pi)
        build = rng.choice(["building", "tree", "bush"], p=[0.25, 0.45, 0.3])
        if build == "building":
            parts = surroundings.building(rng, *rng.uniform((8, 8, 4), (25, 14, 16)))
            turn = rng.choice([0, np.pi / 2])
        else:
            parts = surroundings.tree(rng) if build == "tree" else surroundings.bush(rng)
        builder.place(parts, u, v, turn, clear_m=pavement + 0.5)


def _ego_vehicle(sensor_height_m: float) -> Mesh:
    """Return the ego vehicle, which returns no pulses and so leaves a hole in the ground.

    It is a car, below a sensor lower than a car's a small robot. Above a high sensor there is a tip
    that keeps trees away from it.
    """
    scale = min(sensor_height_m / 1.5, 1.0)
    height = sensor_height_m / scale
    ends, wide, floor = np.array([-2.6, -2.0, 1.4, 1.9]), np.array([0.6, 0.9, 0.9, 0.6]), 0.2
    top = max(height - 0.95, 2 * floor)
    body = loft(ends, Edge(floor, wide), Edge(top, wide), _NO_RETURN)
    discs = [
        [(x, 0, height + z - 0.1), (x, 0, height + z)] for x, z in ((-1.25, -0.42), (1.45, -0.66))
    ]
    parts = [body, tube(discs, 0.42, _NO_RETURN, sides=12)]
    if height > 2.5:
        parts.append(tube([(0, 0, height + 0.5), (0, 0, height + 0.6)], 0.01, _NO_RETURN))
    return join(*parts).scaled(scale)


def _pick(rng: np.random.Generator, options: Sequence[T]) -> T:
    """Return a random element; ``rng.choice`` would turn the options into an array."""
    return options[int(rng.integers(len(options)))]
