"""Models of people on two-wheelers: cyclists, couriers, riders of scooters and motorcycles.

`RIDERS` has the models of each kind of traffic with their classes.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from bev_instseg.simulate.meshes import Mesh, box, join
from bev_instseg.simulate.people import cloth, figure
from bev_instseg.simulate.street_builder import BICYCLIST, MOTORCYCLIST, PERSON
from bev_instseg.simulate.two_wheelers import (
    SEAT_M,
    bicycle,
    cargo_bicycle,
    kick_scooter,
    motorcycle,
    scooter,
)

_SIDES = np.array([[0, 1, 0], [0, -1, 0]])


def cyclist(rng: np.random.Generator) -> Mesh:
    """Return a rider on a bicycle, upright or leaning, with the pedals at any angle."""
    parts = [bicycle(), _pedalling(rng)]
    if rng.random() < 0.3:
        parts.append(box((0.35, 0.3, 0.3), (-0.6, 0, 0.75), cloth(rng)))
    if rng.random() < 0.08:
        parts.append(_passenger(rng, (-0.55, 0, 0.85)).scaled(0.62).moved((-0.2, 0, 0.42)))
    return join(*parts).scaled(rng.normal(1.0, 0.04))


def cargo_cyclist(rng: np.random.Generator) -> Mesh:
    """Return a rider on a cargo bicycle, sometimes with children in the box."""
    parts = [cargo_bicycle(rng), _pedalling(rng)]
    if rng.random() < 0.4:
        seated = _passenger(rng, (0, 0, 0.8)).scaled(0.6)
        parts.append(seated.moved((0.95, 0, 0.1)))
    return join(*parts)


def motorcyclist(rng: np.random.Generator) -> Mesh:
    """Return a rider on a motorcycle, leaning forward or upright, sometimes with a passenger."""
    lean = rng.uniform(0.05, 0.6)
    feet = np.array([0.1, 0, 0.36]) + 0.18 * _SIDES
    whole = join(motorcycle(rng), _astride(rng, lean, feet), *_load(rng, passenger=0.15))
    return whole.scaled(rng.uniform(0.88, 1.08))


def scooter_rider(rng: np.random.Generator) -> Mesh:
    """Return a rider on a scooter: knees together, feet on the floor; up to two passengers."""
    feet = np.array([rng.uniform(0.1, 0.25), 0, 0.42]) + rng.uniform(0.08, 0.16) * _SIDES
    parts = [scooter(rng), _astride(rng, rng.uniform(-0.05, 0.3), feet)]
    if rng.random() < 0.08:  # a child who stands in front
        parts.append(_passenger(rng, (0, 0, 0.75)).scaled(0.55).moved((0.12, 0, 0.45)))
    return join(*parts, *_load(rng, passenger=0.3)).scaled(rng.uniform(0.85, 1.05))


def courier(rng: np.random.Generator) -> Mesh:
    """Return a delivery rider on a scooter or bicycle with a cubic box, carried or mounted."""
    size = rng.uniform(0.38, 0.55)
    if rng.random() < 0.6:
        feet = np.array([0.15, 0, 0.42]) + 0.12 * _SIDES
        rider, back = join(scooter(rng), _astride(rng, rng.uniform(0, 0.3), feet)), -0.9
    else:
        rider, back = join(bicycle(), _pedalling(rng)), -0.62
    forward, height = (0.1, SEAT_M + 0.08) if rng.random() < 0.5 else (0.25, 1.02)
    cube = box((size, size, size), (back + forward, 0, height), cloth(rng))
    return join(rider, cube).scaled(rng.uniform(0.88, 1.05))


def kick_scooter_rider(rng: np.random.Generator) -> Mesh:
    """Return someone who stands on a kick scooter."""
    pelvis, lean = np.array([-0.12, 0, 1.03]), rng.uniform(0, 0.15)
    neck = pelvis + 0.54 * np.array([np.sin(lean), 0, np.cos(lean)])
    hands = np.array([0.36, 0, 1.05]) + 0.22 * _SIDES
    feet = np.array([[0.08, 0.04, 0.22], [-0.25, -0.04, 0.22]])
    whole = join(kick_scooter(rng), figure(rng, pelvis, neck, hands, feet))
    return whole.scaled(rng.uniform(0.85, 1.04))


def _pedalling(rng: np.random.Generator) -> Mesh:
    """Return the body of someone who rides a bicycle or waits with a foot on the ground."""
    lean, turn = rng.uniform(0.1, 0.85), rng.uniform(0, 2 * np.pi)
    pelvis = np.array([-0.24, 0, 0.98])
    neck = pelvis + 0.56 * np.array([np.sin(lean), 0, np.cos(lean)])
    crank = 0.17 * np.array([np.cos(turn), np.sin(turn)])
    feet = np.array([[crank[0], 0.12, 0.33 + crank[1]], [-crank[0], -0.12, 0.33 - crank[1]]])
    if rng.random() < 0.2:
        feet[0] = (0.05, 0.3, 0.05)
    return figure(rng, pelvis, neck, np.array([0.36, 0, 1.02]) + 0.24 * _SIDES, feet)


def _astride(rng: np.random.Generator, lean: float, feet: NDArray[np.float64]) -> Mesh:
    """Return the body on a seat `SEAT_M` high, sometimes with a foot on the ground."""
    pelvis = np.array([-0.3, 0, SEAT_M + 0.11])
    neck = pelvis + 0.55 * np.array([np.sin(lean), 0, np.cos(lean)])
    grips = np.array([0.4, 0, 1.02]) + 0.32 * _SIDES
    if rng.random() < 0.25:
        feet[rng.integers(2)] = (0.05, rng.choice([0.35, -0.35]), 0.05)
    return figure(rng, pelvis, neck, grips, feet)


def _load(rng: np.random.Generator, passenger: float) -> list[Mesh]:
    """Return one or two passengers with the given probability, else sometimes luggage."""
    if rng.random() < passenger:
        pillion = _passenger(rng, (-0.62, 0, SEAT_M + 0.14))
        if rng.random() < 0.15:
            return [pillion, _passenger(rng, (-0.88, 0, SEAT_M + 0.16))]
        return [pillion]
    if rng.random() < 0.2:  # bags or a parcel, on the seat or the floor
        size, x = rng.uniform((0.25, 0.3, 0.2), (0.5, 0.8, 0.6)), rng.choice([-0.75, 0.2])
        return [box(size, (x, 0, SEAT_M if x < 0 else 0.4), cloth(rng))]
    return []


def _passenger(rng: np.random.Generator, pelvis: tuple[float, float, float]) -> Mesh:
    """Return someone who sits at ``pelvis`` and holds on to whoever is in front."""
    hip, lean = np.array(pelvis), rng.uniform(0, 0.3)
    neck = hip + 0.52 * np.array([np.sin(lean), 0, np.cos(lean)])
    hands = hip + np.array([0.28, 0, 0.12]) + 0.2 * _SIDES
    return figure(rng, hip, neck, hands, hip + np.array([0.3, 0, -0.5]) + 0.2 * _SIDES)


_Model = tuple[int, Callable[[np.random.Generator], Mesh]]
BICYCLES: tuple[_Model, ...] = (  # equally likely within each of the two kinds of traffic
    *((BICYCLIST, cyclist),) * 7,
    *((BICYCLIST, cargo_cyclist), (BICYCLIST, courier), (PERSON, kick_scooter_rider)),
)
MOTORED: tuple[_Model, ...] = (
    *((MOTORCYCLIST, scooter_rider),) * 5,
    *((MOTORCYCLIST, motorcyclist),) * 2,
    (PERSON, kick_scooter_rider),
)
