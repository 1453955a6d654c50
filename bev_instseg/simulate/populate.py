"""Filling a street: which buildings, vehicles, street furniture and people are placed where."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from bev_instseg.simulate import surroundings
from bev_instseg.simulate.clutter import CLUTTER
from bev_instseg.simulate.crowds import add_people
from bev_instseg.simulate.frontages import add_frontages
from bev_instseg.simulate.kitti_layouts import StreetLayout, place_layout
from bev_instseg.simulate.meshes import Edge, Material, Mesh, join, loft, tube
from bev_instseg.simulate.planting import PLANTS
from bev_instseg.simulate.roadside import ROADSIDE, crash_barrier
from bev_instseg.simulate.street_builder import StreetBuilder, StreetScene
from bev_instseg.simulate.street_kinds import KINDS, StreetKind, random_kind
from bev_instseg.simulate.street_plan import VIEW_M, StreetPlan
from bev_instseg.simulate.traffic import add_parked_vehicles, add_riders, add_traffic
from bev_instseg.simulate.uprights import UPRIGHTS

T = TypeVar("T")

_NO_RETURN = Material(0.0, returns=0.0)
_FURNITURE = [
    *(surroundings.lamp, surroundings.sign, surroundings.bollard, surroundings.wheelie_bin) * 3,
    *(surroundings.cabinet, surroundings.planter, surroundings.bench, surroundings.bush) * 2,
    *(surroundings.traffic_light, surroundings.column),
    *CLUTTER,
]


def random_scene(
    rng: np.random.Generator,
    sensor_height_m: float,
    layouts: Sequence[StreetLayout] = (),
    kinds: Sequence[StreetKind] = KINDS,
) -> StreetScene:
    """Build a random street around a sensor that drives along it.

    Args:
        rng: Source of all random numbers.
        sensor_height_m: Height of the sensor above the road.
        layouts: Real layouts, if any: the road users of one are placed ahead of the sensor and
            those of another behind it, and half of these scenes have no random traffic or parking.
        kinds: Kinds of street to choose from.
    """
    plan = StreetPlan.random(rng, random_kind(rng, kinds))
    builder = StreetBuilder(rng, plan)
    lane = plan.kerbs[1].lanes_m[int(rng.integers(plan.kerbs[1].num_lanes))]
    u, v = plan.kerbs[1].at(0, lane + rng.normal(0, 0.2))
    yaw_rad = rng.normal(0, 0.06)
    builder.place({0: _ego_vehicle(sensor_height_m)}, u, v, yaw_rad)
    for direction in (1, -1) if layouts else ():
        place_layout(builder, _pick(rng, layouts), u, v, direction)
    add_frontages(builder)
    _add_uprights(builder)
    if not layouts or rng.random() < 0.5:
        add_parked_vehicles(builder)
        add_traffic(builder)
    _add_rows(builder)
    _add_street_furniture(builder)
    add_people(builder, plan.to_world(u, v))
    add_riders(builder)
    _add_scattered_objects(builder)
    return builder.finish(u, v, sensor_height_m, yaw_rad)


def _add_uprights(builder: StreetBuilder) -> None:
    """Add columns, posts, trunks and kiosks near the sensor, alone or in rows along a kerb."""
    rng, plan = builder.rng, builder.plan
    for _ in range(rng.poisson(plan.kind.uprights)):
        kerb, build = _pick(rng, plan.kerbs), _pick(rng, UPRIGHTS)
        along = float(np.clip(rng.normal(0, 11), *kerb.ends_m))
        out = rng.choice([0.5, rng.uniform(0.4, plan.pavement_m + 1.5)])
        turn, pitch = rng.choice([0, np.pi / 2]) + rng.normal(0, 0.05), rng.uniform(3, 8)
        parts, count = build(rng), rng.choice([1, 1, 1, 4])
        for k in range(count):
            builder.place_at_kerb(kerb, parts, along + pitch * k, out, turn, clear_m=0.05)


def _add_rows(builder: StreetBuilder) -> None:
    """Add rows of shrubs and young trees on the median or a pavement, and barriers on medians."""
    rng, plan = builder.rng, builder.plan
    for _ in range(rng.poisson(plan.kind.rows)):
        kerb = plan.kerbs[rng.integers(2)]
        on_median = plan.median_m > 0 and rng.random() < 0.75
        half = plan.median_m / 2
        out = -kerb.half_width_m + rng.uniform(0, half - 0.5) if on_median else rng.uniform(0.4, 2)
        along, end = rng.uniform(-45, 5), rng.uniform(5, 45)
        build, pitch, steady = _pick(rng, PLANTS), rng.uniform(0.8, 5), rng.random() < 0.5
        model = build(rng)
        while along < end:
            plant = model if steady else build(rng)
            builder.place_at_kerb(kerb, plant, along, out, rng.uniform(0, np.pi), clear_m=0.05)
            along += pitch * rng.uniform(0.8, 1.3)
    if plan.median_m and rng.random() < 0.3:
        for along in np.arange(-VIEW_M, VIEW_M, 20.5):
            builder.place_at_kerb(plan.kerbs[0], crash_barrier(rng), along, -plan.kerbs[0].v)


def _add_street_furniture(builder: StreetBuilder) -> None:
    """Add trees, lamps, signs and other objects that stand on pavements."""
    rng, plan = builder.rng, builder.plan
    for kerb in plan.kerbs:
        along, end = kerb.ends_m
        spacing, avenue = rng.uniform(*plan.kind.furniture_m), rng.random() < plan.kind.avenue
        while along < end:
            along += rng.exponential(spacing)
            build = surroundings.tree if avenue and rng.random() < 0.5 else _pick(rng, _FURNITURE)
            out = rng.choice([0.45, 0.45, plan.pavement_m - 0.2])
            turn = rng.choice([0, np.pi / 2, np.pi]) + rng.normal(0, 0.1)
            builder.place_at_kerb(kerb, build(rng), along, out, turn, clear_m=0.05)


def _add_scattered_objects(builder: StreetBuilder) -> None:
    """Add clutter near by and houses, trees, shrubs, mounds and containers farther off."""
    rng, pavement, street = builder.rng, builder.plan.pavement_m, builder.plan.kind
    for _ in range(rng.integers(4, 20)):
        u, v = rng.normal(0, 25, 2)
        builder.place(_pick(rng, CLUTTER)(rng), u, v, rng.uniform(0, 2 * np.pi), clear_m=0.2)
    for _ in range(rng.poisson(street.roadside)):
        u, v = _polar(rng, 12, 50)
        builder.place(_pick(rng, ROADSIDE)(rng), u, v, rng.uniform(0, 2 * np.pi), clear_m=0.2)
    for _ in range(street.backdrop):
        (u, v), turn = _polar(rng, 18, 78), rng.uniform(0, np.pi)
        build = rng.choice(["building", "tree", "bush"], p=[0.25, 0.45, 0.3])
        if build == "building":
            parts = surroundings.building(rng, *rng.uniform((8, 8, 4), (25, 14, 16)))
            turn = rng.choice([0, np.pi / 2])
        else:
            parts = surroundings.tree(rng) if build == "tree" else surroundings.bush(rng)
        builder.place(parts, u, v, turn, clear_m=pavement + 0.5)


def _polar(rng: np.random.Generator, nearest: float, farthest: float) -> tuple[float, float]:
    """Return plan coordinates at a random bearing and distance from the middle, metres."""
    radius, angle = rng.uniform(nearest, farthest), rng.uniform(0, 2 * np.pi)
    return radius * np.cos(angle), radius * np.sin(angle)


def _ego_vehicle(sensor_height_m: float) -> Mesh:
    """Return the ego vehicle, which returns no pulses and so leaves a hole in the ground.

    It is a car or, if the sensor is lower than a car's, a small robot. If the sensor is high, a tip
    above it keeps trees away.
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
