"""People on foot: walking, together, beside things, hidden by things, sitting and waiting."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from bev_instseg.simulate import gatherings, people
from bev_instseg.simulate.companions import COMPANIONS
from bev_instseg.simulate.meshes import Mesh
from bev_instseg.simulate.street_builder import PERSON, StreetBuilder
from bev_instseg.simulate.surroundings import Group

_STOPS = (
    gatherings.bus_stop,
    gatherings.stairs_with_people,
    gatherings.road_works,
    gatherings.getting_in,
)
_CROWDS = (gatherings.crowd, gatherings.crowd, gatherings.queue)


def add_people(builder: StreetBuilder, eye: NDArray[np.float64]) -> None:
    """Add everyone on foot.

    Args:
        builder: Street to place them on, with everything that they stand beside or behind.
        eye: (2,) position of the sensor in the world, metres.
    """
    rng, street = builder.rng, builder.plan.kind
    for mean, models in (
        (street.terraces, (gatherings.terrace,)),
        (street.stops, _STOPS),
        (street.stalls, (gatherings.stall,)),
        (street.benches, (gatherings.occupied_bench,)),
        (street.crowds, _CROWDS),
        (street.companions, COMPANIONS),
    ):
        for _ in range(rng.poisson(mean)):
            _add_group(builder, models[rng.integers(len(models))])
    for _ in range(rng.poisson(street.hidden)):
        _add_hidden(builder, eye)
    for _ in range(rng.poisson(street.beside)):
        _add_beside(builder, eye)
    for _ in range(rng.integers(street.walkers[0], street.walkers[1] + 1)):
        _add_walkers(builder)


def _add_group(builder: StreetBuilder, build: Callable[[np.random.Generator], Group]) -> None:
    """Add a group on a pavement or, where nothing drives, on the road; try three places."""
    rng, plan = builder.rng, builder.plan
    group = build(rng)
    for _ in range(3):
        kerb = plan.kerbs[rng.integers(len(plan.kerbs))]
        along = float(np.clip(rng.normal(0, 16), *kerb.ends_m))
        out = rng.uniform(0.6, plan.pavement_m + 2.0)
        turn = rng.choice([0, 0.5, 1, 1.5]) * np.pi + rng.normal(0, 0.1)
        if builder.place_at_kerb(kerb, group, along, out, turn, clear_m=-0.5):
            return


def _add_walkers(builder: StreetBuilder) -> None:
    """Add someone or a loose group on a pavement or crossing the road."""
    rng, plan = builder.rng, builder.plan
    kerb = plan.kerbs[rng.integers(len(plan.kerbs))]
    along = float(np.clip(rng.normal(0, 20), *kerb.ends_m))
    crossing = rng.random() < 0.2
    out = rng.uniform(-kerb.half_width_m, 0) if crossing else rng.uniform(0.3, plan.pavement_m + 2)
    turn = rng.choice([0, np.pi]) + np.pi / 2 * crossing
    for _ in range(rng.choice([1, 2, 3, 5], p=[0.6, 0.25, 0.1, 0.05])):
        heading = turn + rng.normal(0, 0.5)
        builder.place_at_kerb(kerb, {PERSON: _anyone(rng)}, along, out, heading)
        along, out = along + rng.normal(0, 0.6), out + rng.normal(0, 0.6)


def _add_hidden(builder: StreetBuilder, eye: NDArray[np.float64]) -> None:
    """Add someone whose upper part the sensor sees above a car, wall, hedge or tub."""
    rng, boxes = builder.rng, builder.boxes
    distance = np.linalg.norm(boxes[:, :2] - eye, axis=1)
    hides = (boxes[:, 5] < 0.4) & (boxes[:, 6] > 0.5) & (boxes[:, 6] < 1.65)
    hides &= (distance > 4) & (distance < 30) & (boxes[:, 2:4].max(axis=1) > 0.3)
    if not hides.any():
        return
    box = boxes[rng.choice(np.flatnonzero(hides))]
    along, across = _axes(box[4])
    nearest = box[:2] + rng.uniform(-0.8, 0.8) * box[2] * along
    away = (nearest - eye) / np.linalg.norm(nearest - eye)
    with np.errstate(divide="ignore"):
        to_edge = min(box[2] * 0.9 / abs(away @ along), box[3] / abs(away @ across))
    person = _anyone(rng)
    spot = nearest + away * (to_edge + 0.3 + rng.exponential(0.3))
    _place(builder, person, spot, rng.uniform(0, 2 * np.pi))


def _add_beside(builder: StreetBuilder, eye: NDArray[np.float64]) -> None:
    """Add someone within 0.3 m of the box around a post, wall, shrub, car or another person."""
    rng, boxes = builder.rng, builder.boxes
    near = np.linalg.norm(boxes[:, :2] - eye, axis=1)
    near_by = np.flatnonzero((near > 3) & (near < 28) & (boxes[:, 5] < 1.0))
    if not len(near_by):
        return
    box = boxes[rng.choice(near_by)]
    along, across = _axes(box[4])
    person = _anyone(rng)
    depth = -person.vertices[:, 0].min()  # with the back to the object
    turned, side = rng.random() < 0.5, rng.choice([-1, 1])
    ahead, beside, reach, width = (
        (along, across, box[2], box[3]) if turned else (across, along, box[3], box[2])
    )
    gap = reach + depth + rng.uniform(0.03, 0.3)
    spot = box[:2] + side * gap * ahead + rng.uniform(-0.9, 0.9) * width * beside
    _place(builder, person, spot, np.arctan2(*(side * ahead)[::-1]))


def _anyone(rng: np.random.Generator) -> Mesh:
    """Return an adult or child in any pose."""
    models = (people.pedestrian, people.child, people.seated_person, people.stooping_person)
    return models[rng.choice(4, p=(0.82, 0.09, 0.05, 0.04))](rng)


def _place(builder: StreetBuilder, person: Mesh, xy: NDArray[np.float64], yaw_rad: float) -> None:
    """Place someone at (2,) ``xy`` with a heading, both in the world."""
    u, v = map(float, builder.plan.to_plan(xy))
    builder.place({PERSON: person}, u, v, yaw_rad - np.arctan(builder.plan.curvature * u))


def _axes(yaw_rad: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the (2,) unit vectors along and across a heading."""
    c, s = np.cos(yaw_rad), np.sin(yaw_rad)
    return np.array([c, s]), np.array([-s, c])
