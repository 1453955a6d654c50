"""People together: at café tables, on benches, at stalls and stops, on stairs, at work.

Every function returns a `Group`: each person is an instance, furniture is background.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bev_instseg.simulate.meshes import Edge, Material, Mesh, ball, box, join, leaves, loft, tube
from bev_instseg.simulate.open_cars import car_with_open_doors
from bev_instseg.simulate.people import child, cloth, pedestrian, sitter, stooping_person
from bev_instseg.simulate.street_builder import CAR, PERSON
from bev_instseg.simulate.surroundings import (
    METAL,
    OTHER,
    SIGN_FACE,
    STRUCTURE,
    TRUNK,
    VEGETATION,
    WINDOW,
    WOOD,
    Group,
)

_CLOSEST_M = 0.02  # between the boxes around two people of a group


def crowd(rng: np.random.Generator) -> Group:
    """Return two to eight people who stand close together, adults or mainly children."""
    count, young = rng.integers(2, 9), 0.8 if rng.random() < 0.2 else 0.1
    group = Group()
    spread, facing = 0.33 * np.sqrt(count), rng.uniform(0, 2 * np.pi)
    for _ in range(3 * count):
        x, y = rng.normal(0, spread, 2)
        inward = np.arctan2(-y, -x)
        turn = inward if rng.random() < 0.6 else facing
        person = child(rng) if rng.random() < young else pedestrian(rng)
        _add(group, person, (x, y, 0), turn + rng.normal(0, 0.4))
        if len(group) == count:
            break
    return group


def queue(rng: np.random.Generator) -> Group:
    """Return three to nine people in a line."""
    group = Group()
    pitch = rng.uniform(0.6, 1.1)
    for k in range(rng.integers(3, 10)):
        _add(group, pedestrian(rng), (-pitch * k, rng.normal(0, 0.15), 0), rng.normal(0, 0.4))
    return group


def terrace(rng: np.random.Generator) -> Group:
    """Return one to four café tables, most chairs taken, most tables below a parasol."""
    group = Group()
    furniture = []
    pitch, full = rng.uniform(1.7, 2.6), rng.uniform(0.3, 1.0)
    seats = rng.permutation(4)[: rng.integers(2, 5)]
    for k in range(rng.integers(1, 5)):
        centre = np.array([pitch * k, rng.normal(0, 0.15), 0])
        radius = rng.uniform(0.28, 0.45)
        furniture.append(
            join(
                tube([(0, 0, 0), (0, 0, 0.72)], 0.04, METAL, sides=5),
                tube([(0, 0, 0.7), (0, 0, 0.74)], radius, WOOD, sides=8),
            ).moved(centre)
        )
        for seat in seats:
            inward = seat * np.pi / 2 + np.pi + rng.normal(0, 0.15)
            place = centre - (radius + 0.36) * np.array([np.cos(inward), np.sin(inward), 0])
            furniture.append(_chair().turned(inward).moved(place))
            if rng.random() < full:
                _add(group, sitter(rng, 0.46), place, inward)
        if rng.random() < 0.6:
            furniture.append(_parasol(rng).moved(centre + np.array([0, radius, 0])))
    if rng.random() < 0.3:
        _add(group, pedestrian(rng), (pitch / 2, rng.normal(0, 0.3), 0), rng.uniform(0, 6))
    return [*group, (OTHER, join(*furniture))]


def occupied_bench(rng: np.random.Generator) -> Group:
    """Return a bench with one to three people on it, often beside a tree or a shrub."""
    length, seat = rng.uniform(1.3, 2.4), rng.uniform(0.4, 0.48)
    legs = box((0.4, 0.06, seat), (0, 0, 0), METAL)
    parts = [
        legs.repeated([[0, 0.4 * length, 0], [0, -0.4 * length, 0]]),
        box((0.45, length, 0.06), (0, 0, seat - 0.04), WOOD),
    ]
    if rng.random() < 0.7:
        parts.append(box((0.05, length, 0.35), (-0.24, 0, seat + 0.05), WOOD))
    group = Group()
    for y in np.linspace(-0.5, 0.5, 3) * (length - 0.5):
        if rng.random() < 0.6 or not group:
            _add(group, sitter(rng, seat + 0.02), (0, y, 0), rng.normal(0, 0.1))
    if rng.random() < 0.3:
        _add(group, pedestrian(rng), (0.95, rng.normal(0, 0.5), 0), np.pi + rng.normal(0, 0.3))
    group.append((OTHER, join(*parts)))
    edge = (0, length / 2 + rng.uniform(0.2, 0.5), 0)
    if rng.random() < 0.5:
        radius = rng.uniform(0.08, 0.3)
        trunk = tube([(0, 0, 0), (0, 0, 4)], radius * np.array([[1.2], [0.8]]), WOOD)
        group.append((TRUNK, trunk.moved(edge)))
    elif rng.random() < 0.5:
        centres = rng.normal((0, 0, rng.uniform(0.5, 0.9)), 0.25, (120, 3))
        group.append((VEGETATION, leaves(rng, np.abs(centres), 0.1).moved(edge)))
    return group


def bus_stop(rng: np.random.Generator) -> Group:
    """Return a glass shelter with people who sit in it or wait in front of it and beside it."""
    length = rng.uniform(2.5, 4.5)
    back = box((0.04, length, 1.7), (-0.7, 0, 0.3), WINDOW)
    roof = box((1.6, length + 0.2, 0.1), (0, 0, 2.35), METAL)
    posts = box((0.08, 0.08, 2.4), (0, 0, 0), METAL)
    corners = [[x, side * length / 2, 0] for x in (-0.7, 0.7) for side in (-1, 1)]
    seat = box((0.4, length * 0.7, 0.06), (-0.42, 0, 0.42), WOOD)
    group = Group()
    for y in rng.uniform(-0.3, 0.3, rng.integers(0, 4)) * length:
        _add(group, sitter(rng, 0.47), (-0.38, y, 0), rng.normal(0, 0.1))
    for _ in range(rng.integers(1, 7)):
        x, y = rng.uniform((0.2, -0.8), (1.6, 0.8)) * (1, length)
        _add(group, pedestrian(rng), (x, y, 0), rng.normal(0, 0.8))
    return [*group, (STRUCTURE, join(back, roof, posts.repeated(corners), seat))]


def stall(rng: np.random.Generator) -> Group:
    """Return a market stall with goods below an awning, a seller and up to four customers."""
    length = rng.uniform(1.8, 3.5)
    counter = box((0.8, length, rng.uniform(0.7, 0.95)), (0, 0, 0), WOOD)
    posts = box((0.05, 0.05, 2.3), (0, 0, 0), METAL)
    corners = [[x, side * length / 2, 0] for x in (-0.9, 0.9) for side in (-1, 1)]
    awning = loft(
        (-1.1, 1.1), Edge((2.2, 2.0), length / 2 + 0.2), Edge((2.5, 2.1), 0.3), cloth(rng)
    )
    crates = box((0.4, 0.5, 0.25), (0, 0, 0.9), cloth(rng))
    heaps = rng.uniform((-0.2, -0.4, 0), (0.2, 0.4, 0), (3, 3)) * (1, length, 1)
    group = Group()
    _add(group, pedestrian(rng), (-0.85, rng.normal(0, 0.3), 0), rng.normal(0, 0.3))
    for _ in range(rng.integers(0, 5)):
        place = (rng.uniform(0.75, 1.2), rng.uniform(-0.5, 0.5) * length, 0)
        _add(group, pedestrian(rng), place, np.pi + rng.normal(0, 0.5))
    whole = join(counter, awning, posts.repeated(corners), crates.repeated(heaps))
    return [*group, (OTHER, whole)]


def stairs_with_people(rng: np.random.Generator) -> Group:
    """Return broad steps with people who sit, stand and walk on them."""
    width, count = rng.uniform(2.0, 5.0), rng.integers(3, 8)
    rise, tread, stone = 0.16, 0.34, Material(rng.uniform(0.3, 0.6))
    steps = [
        box((tread * (count - k), width, rise), (tread * (count + k) / 2, 0, rise * k), stone)
        for k in range(count)
    ]
    group = Group()
    for _ in range(rng.integers(1, 7)):
        step, y = rng.integers(0, count), rng.uniform(-0.45, 0.45) * width
        foot = np.array([tread * (step + 0.5), y, rise * (step + 1)])
        if rng.random() < 0.5 and step >= 2:
            _add(group, sitter(rng, 2 * rise), foot - [0, 0, 2 * rise], np.pi)
        else:
            _add(group, pedestrian(rng), foot, rng.choice([0, np.pi]) + rng.normal(0, 0.3))
    return [*group, (STRUCTURE, join(*steps))]


def road_works(rng: np.random.Generator) -> Group:
    """Return barriers, cones, a heap and one to five workers, upright or bent down."""
    length = rng.uniform(2.5, 6.0)
    plank = box((length, 0.05, 0.25), (0, 0, 0.75), SIGN_FACE)
    feet = box((0.08, 0.5, 1.0), (0, 0, 0), METAL)
    legs = feet.repeated([[-0.4 * length, 0, 0], [0.4 * length, 0, 0]])
    fence = join(plank, legs).repeated([[0, -1.3, 0], [0, 1.3, 0]])
    cones = tube([(0, 0, 0), (0, 0, 0.75)], [[0.18], [0.04]], SIGN_FACE).repeated(
        [[side * (length / 2 + 0.5), y, 0] for side in (-1, 1) for y in (-0.9, 0.4)]
    )
    earth = ball((length / 4, 0.3, 0), (0.9, 0.6, rng.uniform(0.3, 0.9)), Material(0.4))
    group = Group()
    for _ in range(rng.integers(1, 6)):
        x, y = rng.uniform((-0.5 * length, -0.75), (0.1 * length, 0.75))
        person = stooping_person(rng) if rng.random() < 0.5 else pedestrian(rng)
        _add(group, person, (x, y, 0), rng.uniform(0, 2 * np.pi))
    return [*group, (OTHER, join(fence, cones, earth))]


def getting_in(rng: np.random.Generator) -> Group:
    """Return a car with open doors and people who get in, get out or load it."""
    car = car_with_open_doors(rng)
    group: Group = [(CAR, car)]
    (rear, right, _), (_, left, _) = car.vertices.min(axis=0), car.vertices.max(axis=0)
    for _ in range(rng.integers(1, 4)):
        person = stooping_person(rng) if rng.random() < 0.3 else pedestrian(rng)
        towards = rng.choice([0, np.pi / 2, -np.pi / 2])  # from the tail, the right, the left
        person = person.turned(towards + rng.normal(0, 0.5))
        low, high = person.vertices.min(axis=0), person.vertices.max(axis=0)
        gap, x = rng.uniform(0.03, 0.3), rng.uniform(-1.4, 0.6)
        if towards == 0:
            place = (rear - high[0] - gap, rng.normal(0, 0.4), 0)
        else:
            place = (x, right - high[1] - gap if towards > 0 else left - low[1] + gap, 0)
        _add(group, person, place, 0.0)
    return group


def _add(group: Group, person: Mesh, place: ArrayLike, turn: float) -> None:
    """Add a person, unless it would touch another one of the group."""
    new = person.turned(turn).moved(place)
    low, high = _extent(new)
    for label, other in group:
        if label == PERSON:
            other_low, other_high = _extent(other)
            if ((low < other_high + _CLOSEST_M) & (high > other_low - _CLOSEST_M)).all():
                return
    group.append((PERSON, new))


def _extent(mesh: Mesh) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the (5,) lowest and highest x, y, z, x + y and x - y of a mesh."""
    x, y, z = mesh.vertices.T
    along = np.stack([x, y, z, x + y, x - y])
    return along.min(axis=1), along.max(axis=1)


def _chair() -> Mesh:
    """Return a chair that faces along x."""
    legs = box((0.03, 0.03, 0.6), (0, 0, 0), METAL)
    return join(
        box((0.42, 0.42, 0.04), (-0.02, 0, 0.41), WOOD),
        box((0.03, 0.4, 0.26), (-0.24, 0, 0.58), WOOD),
        legs.repeated([[x, y, 0] for x in (-0.22, 0.17) for y in (-0.19, 0.19)]),
    )


def _parasol(rng: np.random.Generator) -> Mesh:
    """Return a parasol with its foot at the origin."""
    edge, radius = rng.uniform((1.9, 1.0), (2.3, 1.8))
    return join(
        tube([(0, 0, 0), (0, 0, edge + 0.4)], 0.03, METAL, sides=4),
        tube([(0, 0, edge), (0, 0, edge + 0.4)], np.array([[radius], [0.05]]), cloth(rng)),
    )
