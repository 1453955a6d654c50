"""Models of people on foot or seated: tapered limbs posed by hands and feet."""

import numpy as np
from numpy.typing import NDArray

from bev_instseg.simulate.meshes import Material, Mesh, ball, box, join, tube

SKIN = Material(0.5)
FRAME = Material(0.3, gloss=1.0)
TYRE = Material(0.08, returns=0.9)

_LEFT_RIGHT = np.array([1.0, -1.0])


def pedestrian(rng: np.random.Generator) -> Mesh:
    """Return a standing or walking adult or child, sometimes with a coat, rucksack or bag."""
    is_adult = rng.random() < 0.87
    parts, hand = _upright(rng)
    if rng.random() < 0.06:
        parts.append(_umbrella(rng, hand))
    return join(*parts).scaled(_adult_size(rng) if is_adult else rng.uniform(0.6, 0.85))


def child(rng: np.random.Generator) -> Mesh:
    """Return a standing or walking child of about two to ten years."""
    parts, _ = _upright(rng)
    return join(*parts).scaled(rng.uniform(0.47, 0.78))


def sitter(rng: np.random.Generator, seat_m: float) -> Mesh:
    """Return an adult or child who sits upright, slumped or leaning forward.

    Args:
        rng: Source of all random numbers.
        seat_m: Height of the seat, which is above the origin; 0 for someone on the ground.
    """
    size = min(_adult_size(rng), 1.05) if rng.random() < 0.88 else rng.uniform(0.6, 0.8)
    floor = 0.05 - min(seat_m / size, 0.45)
    pelvis, lean = np.array([0, 0, 0.1]), rng.normal(0.15, 0.22)
    neck = pelvis + rng.uniform(0.44, 0.51) * np.array([np.sin(lean), 0, np.cos(lean)])
    reach = rng.uniform(0.3, 0.55, 2) + max(0, 0.25 + floor)
    feet = np.column_stack([reach, 0.12 * _LEFT_RIGHT, [floor, floor]])
    hands = np.column_stack(
        [rng.uniform(0.2, 0.4, 2), 0.2 * _LEFT_RIGHT, rng.uniform(0.12, 0.38, 2)]
    )
    return figure(rng, pelvis, neck, hands, feet).scaled(size).moved((0, 0, seat_m))


def seated_person(rng: np.random.Generator) -> Mesh:
    """Return a seated person, with or without a chair."""
    seat = rng.uniform(0.35, 0.55)
    person = sitter(rng, seat)
    if rng.random() < 0.5:
        return join(person, box((0.4, 0.42, seat), (-0.05, 0, 0), FRAME))
    return person


def stooping_person(rng: np.random.Generator) -> Mesh:
    """Return someone who bends down or crouches, as workers do."""
    drop, lean = rng.uniform(0, 1), rng.uniform(0.3, 1.2)
    pelvis = np.array([-0.1, 0, 0.88 - 0.5 * drop])
    neck = pelvis + 0.54 * np.array([np.sin(lean), 0, np.cos(lean)])
    hands = neck + np.column_stack([rng.uniform(0.1, 0.35, 2), 0.2 * _LEFT_RIGHT, [-0.4, -0.4]])
    hands[:, 2] = np.maximum(hands[:, 2], 0.1)
    feet = np.column_stack([rng.uniform(-0.1, 0.15, 2), 0.14 * _LEFT_RIGHT, [0.05, 0.05]])
    return figure(rng, pelvis, neck, hands, feet).scaled(_adult_size(rng))


def wheelchair_user(rng: np.random.Generator) -> Mesh:
    """Return someone in a wheelchair."""
    small, large = (
        tube([[(x, side * y, radius), (x, side * (y + 0.03), radius)] for side in (-1, 1)],
             radius, TYRE)
        for x, y, radius in ((0.35, 0.2, 0.09), (-0.05, 0.28, 0.3))
    )  # fmt: skip
    seat = box((0.45, 0.45, 0.05), (0, 0, 0.44), FRAME)
    back = box((0.05, 0.45, 0.45), (-0.24, 0, 0.48), FRAME)
    return join(sitter(rng, 0.49), small, large, seat, back)


def figure(
    rng: np.random.Generator,
    pelvis: NDArray[np.float64],
    neck: NDArray[np.float64],
    hands: NDArray[np.float64],
    feet: NDArray[np.float64],
) -> Mesh:
    """Return a body 1.75 m tall from (3,) pelvis and neck, (2, 3) hands and feet, left first."""
    shirt, trousers, girth = cloth(rng), cloth(rng), rng.normal(1, 0.1)
    head = SKIN if rng.random() < 0.6 else cloth(rng)  # hat or helmet
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


def pushing_person(rng: np.random.Generator) -> Mesh:
    """Return someone who walks with both hands on a handle 1 m high, 0.45 m in front."""
    stride = rng.uniform(0.0, 0.35)
    feet = np.column_stack([stride * _LEFT_RIGHT, 0.1 * _LEFT_RIGHT, [0.05, 0.05 + 0.3 * stride]])
    hands = np.column_stack([[0.45, 0.45], 0.2 * _LEFT_RIGHT, [1.0, 1.0]])
    neck = np.array([rng.uniform(0.02, 0.2), 0, 1.46])
    return figure(rng, np.array([0, 0, 0.93]), neck, hands, feet).scaled(_adult_size(rng))


def cloth(rng: np.random.Generator) -> Material:
    """Return the material of clothes, luggage or paint."""
    return Material(rng.uniform(0.2, 0.75))


def _upright(rng: np.random.Generator) -> tuple[list[Mesh], NDArray[np.float64]]:
    """Return the parts of a standing or walking adult, and the (3,) left hand."""
    walking = rng.random() < 0.65
    stride = rng.uniform(0.12, 0.38) if walking else rng.uniform(0.0, 0.06)
    swing = stride * _LEFT_RIGHT
    lean = rng.normal(0.06, 0.04) if walking else rng.normal(0, 0.04)
    pelvis, neck = np.array([0, 0, 0.93]), np.array([lean, 0, 1.47])
    feet = np.column_stack([swing, [0.1, -0.1], [0.05, 0.05 + 0.3 * stride]])
    hands = np.column_stack([-0.9 * swing + lean, [0.27, -0.27], [0.86, 0.86]])
    for hand in np.flatnonzero(rng.random(2) < 0.25):  # a hand at a phone or a strap
        hands[hand] = (0.28 + lean, 0.06 * (1 - 2 * hand), rng.uniform(1.05, 1.4))
    parts, coat = [figure(rng, pelvis, neck, hands, feet)], cloth(rng)
    if rng.random() < 0.3:
        parts.append(
            tube([(0, 0, rng.uniform(0.4, 0.75)), (0, 0, 1.0)], [[0.23, 0.18], [0.18, 0.14]], coat)
        )
    if rng.random() < 0.25:
        parts.append(box((0.18, 0.3, 0.42), (lean - 0.22, 0, 1.0), coat))
    if rng.random() < 0.15:
        parts.append(box((0.35, 0.14, 0.3), (hands[0, 0], 0.3, 0.5), coat))
    return parts, hands[0]


def _adult_size(rng: np.random.Generator) -> float:
    """Return a factor for the 1.75 m of `figure`: two standard deviations from 1.56 to 1.9 m."""
    return float(np.clip(rng.normal(0.99, 0.05), 0.86, 1.14))


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
    roof = tube([top - [0, 0, 0.2], top], np.array([[0.5], [0.05]]), cloth(rng), sides=8)
    return join(tube([hand, top], 0.012, FRAME, sides=3), roof)
