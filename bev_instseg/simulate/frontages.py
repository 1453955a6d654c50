"""Everything behind the pavements: houses, barriers, car parks, gardens, yards."""

from dataclasses import astuple, fields

import numpy as np

from bev_instseg.simulate import roadside, surroundings, two_wheelers, vehicles
from bev_instseg.simulate.street_builder import CAR, StreetBuilder
from bev_instseg.simulate.street_kinds import Frontages
from bev_instseg.simulate.street_plan import Kerb

_NAMES = [field.name for field in fields(Frontages)]
_BARRIERS = {
    "wall": surroundings.wall,
    "fence": surroundings.fence,
    "hedge": surroundings.hedge,
    "thicket": surroundings.thicket,
    "noise_wall": roadside.noise_wall,
}


def add_frontages(builder: StreetBuilder) -> None:
    """Line the pavements with houses, barriers, car parks, gardens and yards."""
    rng, pavement, street = builder.rng, builder.plan.pavement_m, builder.plan.kind
    odds = np.array(astuple(street.frontages))
    odds /= odds.sum()
    for kerb in builder.plan.kerbs:
        setback, (along, end) = pavement + rng.uniform(*street.setback_m), kerb.ends_m
        while along < end:
            length = rng.uniform(7, 24)
            middle = along + length / 2
            kind = rng.choice(_NAMES, p=odds)
            if kind == "house":
                _add_house(builder, kerb, middle, setback, length)
            elif kind == "lot":
                _add_car_park(builder, kerb, along, length)
            elif kind == "yard":
                _add_yard(builder, kerb, along, length)
            elif kind in _BARRIERS:
                barrier = _BARRIERS[kind](rng, length)
                builder.place_at_kerb(kerb, barrier, middle, pavement + 1.0, clear_m=0.3)
            if kind not in ("house", "lot", "yard"):
                _add_garden(builder, kerb, middle, length)
            along += length + rng.uniform(*street.gap_m)


def _add_house(
    builder: StreetBuilder, kerb: Kerb, middle: float, front: float, length: float
) -> None:
    """Add a house ``front`` metres behind the kerb, sometimes with bicycles leaning against it."""
    rng, pavement = builder.rng, builder.plan.pavement_m
    depth, height = rng.uniform((7, 3), (14, 14))
    house = surroundings.building(rng, length, depth, height)
    clear = min(pavement, max(0.1, front - 1.4))  # bays stand out from the front by up to 1.2 m
    placed = builder.place_at_kerb(kerb, house, middle, front + depth / 2, clear_m=clear)
    if placed and rng.random() < 0.2:
        bicycle, along = two_wheelers.leaning_bicycle(rng), middle + rng.uniform(-3, 3)
        out = front - rng.uniform(0.35, 1.4)
        builder.place_at_kerb(kerb, bicycle, along, out, rng.normal(0, 0.05))


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
    for _ in range(rng.integers(3, 8)):
        plant = surroundings.tree(rng) if rng.random() < 0.4 else surroundings.bush(rng)
        place = middle + rng.uniform(-0.5, 0.5) * length, pavement + rng.uniform(1, 12)
        builder.place_at_kerb(kerb, plant, *place, rng.uniform(0, 2 * np.pi), clear_m=0.5)


def _add_car_park(builder: StreetBuilder, kerb: Kerb, along: float, length: float) -> None:
    """Add cars parked side by side, at right angles to the road or slanted."""
    rng, slant = builder.rng, np.pi / 2 + builder.rng.choice([-0.5, 0, 0, 0.5])
    for place in np.arange(along + 1.5, along + length - 1, rng.uniform(2.3, 3.2)):
        if rng.random() < 0.6:
            turn = slant + rng.choice([0, np.pi]) + rng.normal(0, 0.03)
            out = builder.plan.pavement_m + 3.2 + rng.normal(0, 0.2)
            builder.place_at_kerb(kerb, {CAR: vehicles.car(rng)}, place, out, turn, clear_m=0.2)


def _add_yard(builder: StreetBuilder, kerb: Kerb, along: float, length: float) -> None:
    """Add containers, stacks and mounds to a piece of industrial yard."""
    rng, pavement = builder.rng, builder.plan.pavement_m
    stored = (roadside.containers, roadside.containers, roadside.pallets, roadside.mound)
    for _ in range(rng.integers(2, 7)):
        place = along + rng.uniform(0, length), pavement + rng.uniform(1.5, 14)
        thing = stored[rng.integers(len(stored))](rng)
        turn = rng.choice([0, np.pi / 2]) + rng.normal(0, 0.1)
        builder.place_at_kerb(kerb, thing, *place, turn, clear_m=0.3)
