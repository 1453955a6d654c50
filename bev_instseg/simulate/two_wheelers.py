"""Models of bicycles, scooters, motorcycles and kick scooters without their riders.

The riders are in `riders`. Wheels stand on z = 0 and x points forward, as for all vehicles.
"""

from functools import cache

import numpy as np

from bev_instseg.simulate.meshes import Edge, Material, Mesh, box, join, loft, tube
from bev_instseg.simulate.people import FRAME, TYRE, cloth
from bev_instseg.simulate.surroundings import Parts

BICYCLE, MOTORCYCLE = 11, 15
SEAT_M = 0.78  # height of the seats of scooters and motorcycles

_WINDSCREEN = Material(0.1, returns=0.5)


@cache
def bicycle() -> Mesh:
    """Return a bicycle: spoked wheels, diamond frame, fork, handlebar and saddle."""
    rear, front, crank = (
        np.array([-0.5, 0, 0.34]),
        np.array([0.56, 0, 0.34]),
        np.array([0, 0, 0.29]),
    )
    seat, head, bar = np.array([-0.2, 0, 0.86]), np.array([0.36, 0, 0.8]), np.array([0.34, 0, 1.0])
    ends = [(rear, crank), (rear, seat), (crank, seat), (crank, head), (seat, head), (front, bar)]
    sideways = np.array([0, 0.26, 0])
    return join(
        _spoked_wheel(0.34).repeated([rear, front]),
        tube(np.array(ends), 0.018, FRAME, sides=4),
        tube([bar - sideways, bar + sideways], 0.02, FRAME, sides=4),
        box((0.26, 0.14, 0.08), (-0.22, 0, 0.86), TYRE),
    )


def cargo_bicycle(rng: np.random.Generator) -> Mesh:
    """Return a bicycle with a box in front of the handlebar, between it and a small wheel."""
    length, tub = rng.uniform(0.6, 0.9), Material(rng.uniform(0.25, 0.6))
    nose, half = 0.6 + length, rng.uniform(0.25, 0.36)
    ends = (0.55, nose)
    hull = loft(ends, Edge(0.25, half * 0.8), Edge((0.8, 0.65), half), tub)
    axle = (nose + 0.2, 0.0, 0.25)
    return join(
        *(bicycle(), hull, _spoked_wheel(0.25).moved(axle)),
        tube([(nose, 0.0, 0.5), axle], 0.03, FRAME, sides=4),
    )


def motorcycle(rng: np.random.Generator) -> Mesh:
    """Return a motorcycle, sometimes with a windscreen or a top case."""
    paint, half = cloth(rng), rng.uniform(0.14, 0.22)
    ends = np.array([-0.95, -0.5, 0.0, 0.35, 0.62])
    bottom = Edge([0.6, 0.4, 0.28, 0.4, 0.7], half)
    body = loft(ends, bottom, Edge([0.8, 0.82, SEAT_M, 0.95, 1.0], half * 0.7), paint)
    bars = tube([(0.42, -0.35, 1.02), (0.42, 0.35, 1.02)], 0.03, FRAME, sides=4)
    parts = [_pair_of_wheels(-0.7, 0.75, 0.3), body, bars]
    parts.append(tube([(0.75, 0, 0.3), (0.45, 0, 1.0)], 0.05, FRAME, sides=4))
    return join(*parts, *_extras(rng, paint, windscreen=0.4))


def scooter(rng: np.random.Generator) -> Mesh:
    """Return a scooter or moped: leg shield, step-through floor, seat above a low tail."""
    paint, half, radius = cloth(rng), rng.uniform(0.13, 0.2), rng.uniform(0.2, 0.28)
    floor = rng.uniform(0.26, 0.42)  # mopeds have a high one
    tail_top = Edge([SEAT_M, SEAT_M + 0.04, SEAT_M, floor + 0.1], half * 0.75)
    tail = loft([-0.92, -0.6, -0.15, -0.05], Edge([0.55, 0.3, 0.22, 0.22], half), tail_top, paint)
    parts = [
        *(_pair_of_wheels(-0.62, 0.66, radius), tail),
        loft((-0.1, 0.42), Edge(0.18, half * 0.8), Edge(floor, half), paint),
        loft((0.36, 0.5), Edge((0.4, 0.22), half), Edge((1.0, 0.85), half * 0.85), paint),
        tube([(0.66, 0, radius), (0.42, 0, 1.0)], 0.05, FRAME, sides=4),
        tube([(0.4, -0.33, 1.02), (0.4, 0.33, 1.02)], 0.03, FRAME, sides=4),
    ]
    return join(*parts, *_extras(rng, paint, windscreen=0.2))


def kick_scooter(rng: np.random.Generator) -> Mesh:
    """Return an electric kick scooter."""
    height = rng.uniform(0.95, 1.15)
    return join(
        _pair_of_wheels(-0.45, 0.45, 0.11),
        box((0.75, 0.16, 0.06), (-0.02, 0, 0.1), FRAME),
        tube([(0.45, 0, 0.11), (0.36, 0, height)], 0.03, FRAME, sides=5),
        tube([(0.36, -0.24, height), (0.36, 0.24, height)], 0.02, FRAME, sides=4),
    )


def parked_row(rng: np.random.Generator) -> Parts:
    """Return one to twelve parked two-wheelers of one class, side by side or crooked."""
    count = int(rng.choice([1, 2, *range(3, 13)]))
    build, label = _PARKED[rng.integers(len(_PARKED))]
    models = [build(rng) for _ in range(min(count, 2))]
    pitch, slant = rng.uniform(0.4, 0.75), rng.choice([0, 0, 0.5, -0.5])
    row = [
        models[rng.integers(len(models))]
        .leaning(rng.uniform(0.05, 0.2))
        .turned(slant + rng.normal(0, 0.08) + np.pi * (rng.random() < 0.1))
        .moved((rng.normal(0, 0.1), pitch * k, 0))
        for k in range(count)
    ]
    return {label: join(*row)}


def leaning_bicycle(rng: np.random.Generator) -> Parts:
    """Return one or two bicycles that lean to the left, as against a wall."""
    one = bicycle().leaning(rng.uniform(0.15, 0.3))
    second = one.moved((rng.uniform(-0.3, 0.3), -0.25, 0))
    return {BICYCLE: join(one, second) if rng.random() < 0.4 else one}


def _extras(rng: np.random.Generator, paint: Material, windscreen: float) -> list[Mesh]:
    """Return a windscreen with the given probability, and sometimes a top case or a crate."""
    parts = []
    if rng.random() < windscreen:
        height = rng.uniform(0.3, 0.6)
        parts.append(box((0.08, 0.42, height), (0.46, 0, 0.95), _WINDSCREEN))
    if rng.random() < 0.3:
        size = rng.uniform((0.3, 0.3, 0.25), (0.45, 0.5, 0.45))
        parts.append(box(size, (-0.88, 0, SEAT_M + 0.05), paint))
    return parts


def _pair_of_wheels(rear: float, front: float, radius: float) -> Mesh:
    """Return two solid wheels at ``x = rear`` and ``x = front``."""
    wheel = tube([(0, -0.06, radius), (0, 0.06, radius)], radius, TYRE, sides=12)
    return wheel.repeated([[rear, 0, 0], [front, 0, 0]])


def _spoked_wheel(radius: float) -> Mesh:
    """Return a bicycle's wheel about its axle."""
    angle = np.linspace(0, 2 * np.pi, 17)
    circle = np.column_stack([np.cos(angle), np.zeros(17), np.sin(angle)])
    spokes = np.stack([circle[0:8:2], circle[8:16:2]], axis=1)
    tyre = tube((radius - 0.02) * circle, 0.022, TYRE, 4)
    return join(tyre, tube((radius - 0.03) * spokes, 0.008, FRAME, 3))


_PARKED = (
    *((lambda rng: bicycle(), BICYCLE),) * 3,
    *((scooter, MOTORCYCLE),) * 3,
    (motorcycle, MOTORCYCLE),
)
