"""Road users with wheels: parked, moving and waiting vehicles, riders alone and in swarms."""

import numpy as np

from bev_instseg.simulate import lorries, machines, open_cars, road_trains, vehicles
from bev_instseg.simulate.meshes import Mesh
from bev_instseg.simulate.riders import BICYCLES, MOTORED
from bev_instseg.simulate.street_builder import BUS, CAR, OTHER_VEHICLE, TRUCK, StreetBuilder
from bev_instseg.simulate.street_plan import Kerb
from bev_instseg.simulate.two_wheelers import parked_row

_LIGHT = (vehicles.car, vehicles.panel_van, vehicles.pickup, vehicles.convertible)
_LIGHT_ODDS = (0.8, 0.14, 0.04, 0.02)
_OPEN = (open_cars.car_with_open_doors, open_cars.open_van, open_cars.loaded_pickup)
_HEAVY = (
    *((TRUCK, lorries.lorry), (TRUCK, lorries.tipper)) * 3,
    *((TRUCK, lorries.articulated), (BUS, lorries.bus), (OTHER_VEHICLE, machines.tuk_tuk)) * 2,
    *((TRUCK, road_trains.lorry_with_trailer), (TRUCK, road_trains.car_transporter)),
    *((BUS, road_trains.coach), (BUS, road_trains.articulated_bus)),
    *((OTHER_VEHICLE, lorries.trailer), (OTHER_VEHICLE, lorries.digger)),
    *((OTHER_VEHICLE, machines.wheel_loader), (OTHER_VEHICLE, machines.roller)),
    *((OTHER_VEHICLE, machines.tractor), (OTHER_VEHICLE, machines.forklift)),
)


def random_vehicle(rng: np.random.Generator, heavy: float) -> tuple[int, Mesh]:
    """Return a heavy or rare vehicle with probability ``heavy``, else a car, van or pick-up."""
    if rng.random() >= heavy:
        return CAR, _LIGHT[rng.choice(len(_LIGHT), p=_LIGHT_ODDS)](rng)
    label, build = _HEAVY[rng.integers(len(_HEAVY))]
    return label, build(rng)


def random_rider(rng: np.random.Generator, motored: float) -> tuple[int, Mesh]:
    """Return a rider of a scooter or motorcycle with probability ``motored``, else a cyclist.

    A few of either kind stand on a kick scooter instead.
    """
    models = MOTORED if rng.random() < motored else BICYCLES
    label, build = models[rng.integers(len(models))]
    return label, build(rng)


def add_parked_vehicles(builder: StreetBuilder) -> None:
    """Add rows of parked vehicles, at least 0.3 m apart and some of them open, and two-wheelers."""
    rng, street = builder.rng, builder.plan.kind
    for kerb in builder.plan.kerbs:
        full, heavy = rng.uniform(*street.parked), street.heavy / 2
        along, end = kerb.ends_m
        while kerb.parking_m and along < end:
            gap = 0.3 + rng.exponential(0.8)
            if rng.random() >= full:
                along += 5.0 + gap
                continue
            if rng.random() < 0.06:
                label, mesh = CAR, _OPEN[rng.integers(len(_OPEN))](rng)
            else:
                label, mesh = random_vehicle(rng, heavy)
            length = float(np.ptp(mesh.vertices[:, 0]))
            middle = along + gap + length / 2
            if builder.has_kerb(kerb, middle, 4.0):
                turn = np.pi * (rng.random() < 0.85) + rng.normal(0, 0.02)
                out = -1.15 + rng.normal(0, 0.1)
                builder.place_at_kerb(kerb, {label: mesh}, middle, out, turn)
            along += length + gap
    for _ in range(rng.poisson(street.racks)):
        _add_rack(builder)


def add_traffic(builder: StreetBuilder) -> None:
    """Add traffic in the lanes, queues, and a few cars at any place and angle."""
    rng, street = builder.rng, builder.plan.kind
    for kerb in builder.plan.kerbs:
        for lane in kerb.lanes_m:
            (along, end), spacing = kerb.ends_m, rng.uniform(*street.spacing_m)
            while along < end:
                along += 6 + rng.exponential(spacing)
                label, mesh = random_vehicle(rng, street.heavy)
                heading = np.pi + rng.normal(0, 0.04)
                out = lane + rng.normal(0, 0.2)
                builder.place_at_kerb(kerb, {label: mesh}, along, out, heading)
    for _ in range(rng.poisson(street.queues)):
        _add_queue(builder, builder.plan.kerbs[rng.integers(len(builder.plan.kerbs))])
    for _ in range(rng.integers(0, 4)):
        u, v = rng.uniform(-40, 40, 2)
        builder.place({CAR: vehicles.car(rng)}, u, v, rng.uniform(0, 2 * np.pi))


def add_riders(builder: StreetBuilder) -> None:
    """Add riders, most beside the kerb or the parked cars, some elsewhere, and swarms."""
    rng, street = builder.rng, builder.plan.kind
    for _ in range(rng.poisson(street.swarms)):
        _add_swarm(builder, builder.plan.kerbs[rng.integers(2)])
    for _ in range(rng.integers(street.riders[0], street.riders[1] + 1)):
        kerb = builder.plan.kerbs[rng.integers(len(builder.plan.kerbs))]
        place = rng.random()
        if place < 0.6:
            out = -kerb.parking_m - rng.uniform(0.5, 1.3)
        elif place < 0.8:
            out = -rng.uniform(0.5, 1.0) * kerb.half_width_m
        else:
            out = rng.uniform(0.5, 3)
        along = float(np.clip(rng.normal(0, 22), *kerb.ends_m))
        turn = np.pi * (rng.random() < 0.85) + rng.normal(0, 0.15)
        label, rider = random_rider(rng, street.motored)
        builder.place_at_kerb(kerb, {label: rider}, along, out, turn)


def _add_rack(builder: StreetBuilder) -> None:
    """Add a row of parked two-wheelers on a pavement or in the parking lane."""
    rng = builder.rng
    kerb = builder.plan.kerbs[rng.integers(len(builder.plan.kerbs))]
    along = float(np.clip(rng.normal(0, 20), *kerb.ends_m))
    on_road = kerb.parking_m > 0 and rng.random() < 0.3
    out = -1.1 if on_road else rng.uniform(0.4, builder.plan.pavement_m + 0.5)
    turn = rng.choice([0, np.pi / 2, np.pi / 2, -np.pi / 2]) + rng.normal(0, 0.1)
    builder.place_at_kerb(kerb, parked_row(rng), along, out, turn)


def _add_queue(builder: StreetBuilder, kerb: Kerb) -> None:
    """Add waiting vehicles in every lane of a kerb, with riders between and beside them."""
    rng, street = builder.rng, builder.plan.kind
    front = rng.uniform(-25, 20)
    for lane in kerb.lanes_m:
        along = front + rng.uniform(0, 2)
        for _ in range(rng.integers(2, 8)):
            if rng.random() < 0.25:
                label, mesh = random_rider(rng, street.motored)
            else:
                label, mesh = random_vehicle(rng, street.heavy)
            length = float(np.ptp(mesh.vertices[:, 0]))
            place = along + length / 2, lane + rng.normal(0, 0.15)
            builder.place_at_kerb(kerb, {label: mesh}, *place, np.pi + rng.normal(0, 0.02))
            along += length + rng.uniform(0.5, 2.5)
        for _ in range(rng.integers(0, 5)):
            label, mesh = random_rider(rng, street.motored)
            place = front + rng.uniform(-2, 20), lane + rng.choice([-1, 1]) * rng.uniform(1.3, 1.8)
            builder.place_at_kerb(kerb, {label: mesh}, *place, np.pi + rng.normal(0, 0.08))


def _add_swarm(builder: StreetBuilder, kerb: Kerb) -> None:
    """Add 8 to 30 riders side by side and behind each other, waiting or riding, over all lanes."""
    rng, motored = builder.rng, max(0.6, builder.plan.kind.motored)
    middle, spread = rng.normal(0, 14), rng.uniform(4, 14)
    inner = -kerb.half_width_m + kerb.median_m / 2
    for _ in range(rng.integers(8, 31)):
        label, rider = random_rider(rng, motored)
        place = middle + rng.uniform(-0.5, 0.5) * spread, rng.uniform(inner, -0.3)
        builder.place_at_kerb(kerb, {label: rider}, *place, np.pi + rng.normal(0, 0.1))
