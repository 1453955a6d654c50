"""Models of pedestrians, cyclists and motorcyclists: tapered limbs posed by hands and feet."""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from bev_instseg.simulate.meshes import Edge, Material, Mesh, ball, box, join, loft, tube

SKIN = Material(0.5)
FRAME = Material(0.3, gloss=1.0)
TYRE = Material(0.08, returns=0.9)


def pedestrian(rng: np.random.Generator) -> Mesh:
    """Return a standing or walking adult or child, sometimes with a coat, rucksack or bag."""
    size = rng.normal(0.99, 0.05) if rng.random() < 0.85 else rng.uniform(0.6, 0.85)
    walking = rng.random() < 0.65
    stride = rng.uniform(0.12, 0.38) if walking else rng.uniform(0.0, 0.06)
    swing = stride * np.array([1.0, -1.0])
    lean = rng.normal(0.06, 0.04) if walking else rng.normal(0, 0.04)
    pelvis, neck = np.array([0, 0, 0.93]), np.array([lean, 0, 1.47])
    feet = np.column_stack([swing, [0.1, -0.1], [0.05, 0.05 + 0.3 * stride]])
    hands = np.column_stack([-0.9 * swing + lean, [0.27, -0.27], [0.86, 0.86]])
    for hand in np.flatnonzero(rng.random(2) < 0.25):  # a hand at a phone or a strap
        hands[hand] = (0.28 + lean, 0.06 * (1 - 2 * hand), rng.uniform(1.05, 1.4))
    parts = [_figure(rng, pelvis, neck, hands, feet)]
    cloth = _cloth(rng)
    if rng.random() < 0.3:
        parts.append(
            tube([(0, 0, rng.uniform(0.5, 0.75)), (0, 0, 1.0)], [[0.23, 0.18], [0.18, 0.14]], cloth)
        )
    if rng.random() < 0.25:
        parts.append(box((0.18, 0.3, 0.42), (lean - 0.22, 0, 1.0), cloth))
    if rng.random() < 0.15:
        parts.append(box((0.35, 0.14, 0.3), (hands[0, 0], 0.3, 0.5), cloth))
    if rng.random() < 0.06:
        parts.append(_umbrella(rng, hands[0]))
    return join(*parts).scaled(size)


def seated_person(rng: np.random.Generator) -> Mesh:
    """Return a seated person, with or without a chair."""
    seat = rng.uniform(0.35, 0.55)
    pelvis = np.array([0, 0, seat + 0.1])
    neck = pelvis + np.array([rng.normal(0, 0.12), 0, 0.54])
    reach = rng.uniform(0.3, 0.55, 2)
    feet = np.column_stack([reach, [0.12, -0.12], [0.05, 0.05]])
    hands = np.column_stack(
        [rng.uniform(0.2, 0.4, 2), [0.2, -0.2], seat + rng.uniform(0.15, 0.4, 2)]
    )
    parts = [_figure(rng, pelvis, neck, hands, feet)]
    if rng.random() < 0.5:
        parts.append(box((0.4, 0.42, seat), (-0.05, 0, 0), FRAME))
    return join(*parts).scaled(rng.normal(0.98, 0.05))


def motorcyclist(rng: np.random.Generator) -> Mesh:
    """Return a rider on a motorcycle or scooter."""
    lean = rng.uniform(0.1, 0.6)
    pelvis = np.array([-0.3, 0, 0.9])
    neck = pelvis + 0.56 * np.array([np.sin(lean), 0, np.cos(lean)])
    grips, pegs = np.array([[0.4, 0.33, 1.0], [0.4, -0.33, 1.0]]), np.array([0.0, 0.0, 0.36])
    feet = pegs + np.array([[0.1, 0.18, 0], [0.1, -0.18, 0]])
    return join(motorcycle(rng), _figure(rng, pelvis, neck, grips, feet))


def motorcycle(rng: np.random.Generator) -> Mesh:
    """Return a motorcycle or scooter without a rider."""
    paint, half = _cloth(rng), rng.uniform(0.14, 0.22)
    wheels = tube([[(0, -0.06, 0.3), (0, 0.06, 0.3)]], 0.3, TYRE, sides=12)
    ends = np.array([-0.95, -0.5, 0.0, 0.35, 0.62])
    bottom = Edge([0.6, 0.4, 0.28, 0.4, 0.7], half)
    body = loft(ends, bottom, Edge([0.8, 0.82, 0.78, 0.95, 1.0], half * 0.7), paint)
    bars = tube([(0.42, -0.35, 1.02), (0.42, 0.35, 1.02)], 0.03, FRAME, sides=4)
    parts = [wheels.repeated([[-0.7, 0, 0], [0.75, 0, 0]]), body, bars]
    parts.append(tube([(0.75, 0, 0.3), (0.45, 0, 1.0)], 0.05, FRAME, sides=4))
    if rng.random() < 0.5:
        parts.append(box((0.1, 0.4, 0.45), (0.5, 0, 0.95), Material(0.1, returns=0.5)))
    if rng.random() < 0.3:
        parts.append(box((0.4, 0.4, 0.35), (-0.85, 0, 0.85), paint))
    return join(*parts)


def cyclist(rng: np.random.Generator) -> Mesh:
    """Return a rider on a bicycle, upright or leaning, with the pedals at any angle."""
    lean, turn = rng.uniform(0.15, 0.85), rng.uniform(0, 2 * np.pi)
    pelvis = np.array([-0.24, 0, 0.98])
    neck = pelvis + 0.56 * np.array([np.sin(lean), 0, np.cos(lean)])
    crank = 0.17 * np.array([np.cos(turn), np.sin(turn)])
    pedals = np.array([[crank[0], 0.12, 0.29 + crank[1]], [-crank[0], -0.12, 0.29 - crank[1]]])
    grips = np.array([[0.36, 0.24, 1.02], [0.36, -0.24, 1.02]])
    rider = _figure(rng, pelvis, neck, grips, pedals + np.array([0, 0, 0.04]))
    parts = [bicycle(), rider]
    if rng.random() < 0.3:
        parts.append(box((0.35, 0.3, 0.3), (-0.6, 0, 0.75), _cloth(rng)))
    return join(*parts).scaled(rng.normal(1.0, 0.04))


def _figure(
    rng: np.random.Generator,
    pelvis: NDArray[np.float64],
    neck: NDArray[np.float64],
    hands: NDArray[np.float64],
    feet: NDArray[np.float64],
) -> Mesh:
    """Return a body 1.75 m tall from (3,) pelvis and neck, (2, 3) hands and feet, left first."""
    shirt, trousers, girth = _cloth(rng), _cloth(rng), rng.normal(1, 0.1)
    head = SKIN if rng.random() < 0.6 else _cloth(rng)  # hat or helmet
    spine = pelvis + np.linspace(-0.05, 1, 5)[:, None] * (neck - pelvis)
    torso = np.array([[0.15, 0.12], [0.16, 0.12], [0.16, 0.12], [0.19, 0.12], [0.08, 0.07]])
    parts = [
        tube(spine, torso * girth, shirt),
        tube([neck, neck + np.array([0.02, 0, 0.1])], 0.06, SKIN, sides=6),
        ball(neck + np.array([0.04, 0, 0.17]), (0.1, 0.08, 0.13), head),
    ]
    sides = np.array([[0, 1, 0], [0, -1, 0]])
    shoulders, hips = neck + 0.19 * sides - [0, 0, 0.06], pelvis + 0.09 * sides
    elbows = _joints(shoulders, hands, 0.31, 0.4 * sides - [1, 0, 0.3])
    knees = _joints(hips, feet, 0.45, 0.1 * sides + [1, 0, 0.1])
    thick = girth * np.array([[0.085], [0.065], [0.05]])
    parts += [
        tube(np.stack([shoulders, elbows, hands], axis=1), [[0.055], [0.045], [0.04]], shirt, 6),
        tube(np.stack([hips, knees, feet], axis=1), thick, trousers, 6),
        box((0.26, 0.09, 0.08), (0.06, 0, -0.05), TYRE).repeated(feet),
    ]
    return join(*parts)


def _joints(
    start: NDArray[np.float64],
    end: NDArray[np.float64],
    bone_m: float,
    towards: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the (L, 3) elbows or knees of limbs of two equal bones, bent ``towards``."""
    reach = end - start
    squared = (reach**2).sum(axis=1, keepdims=True)
    sideways = towards - reach * ((towards * reach).sum(axis=1, keepdims=True) / squared)
    bend = np.sqrt(np.maximum(bone_m**2 - squared / 4, 0))
    joints: NDArray[np.float64] = (start + end) / 2 + sideways * (
        bend / np.linalg.norm(sideways, axis=1, keepdims=True)
    )
    return joints


def _umbrella(rng: np.random.Generator, hand: NDArray[np.float64]) -> Mesh:
    """Return an open umbrella held in a (3,) hand."""
    top = np.array([0.1, 0, 2.05])
    roof = tube([top - [0, 0, 0.2], top], np.array([[0.5], [0.05]]), _cloth(rng), sides=8)
    return join(tube([hand, top], 0.012, FRAME, sides=3), roof)


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
    angle = np.linspace(0, 2 * np.pi, 17)
    circle = np.column_stack([np.cos(angle), np.zeros(17), np.sin(angle)])
    spokes = np.stack([circle[0:8:2], circle[8:16:2]], axis=1)
    wheel = join(tube(0.32 * circle, 0.022, TYRE, 4), tube(0.31 * spokes, 0.008, FRAME, 3))
    return join(
        wheel.repeated([rear, front]),
        tube(np.array(ends), 0.018, FRAME, sides=4),
        tube([bar - sideways, bar + sideways], 0.02, FRAME, sides=4),
        box((0.26, 0.14, 0.08), (-0.22, 0, 0.86), TYRE),
    )


def _cloth(rng: np.random.Generator) -> Material:
    return Material(rng.uniform(0.2, 0.75))
