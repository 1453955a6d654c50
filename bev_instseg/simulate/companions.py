"""People with things that they push, pull or lead: prams, suitcases, trolleys, bicycles, dogs.

Data sets disagree about who owns a pram or a suitcase on wheels, so these are unlabelled (void);
an object that is carried, or a wheelchair, belongs to the person. Every function returns a
`Group` with the person first.
"""

import numpy as np

from bev_instseg.simulate.meshes import Edge, Mesh, ball, box, join, loft, tube
from bev_instseg.simulate.people import (
    FRAME,
    TYRE,
    child,
    cloth,
    pedestrian,
    pushing_person,
    sitter,
    wheelchair_user,
)
from bev_instseg.simulate.street_builder import PERSON
from bev_instseg.simulate.surroundings import OTHER, Group
from bev_instseg.simulate.two_wheelers import BICYCLE, bicycle

UNLABELLED = 0


def with_pram(rng: np.random.Generator) -> Group:
    """Return someone who pushes a pram or pushchair."""
    hood, x = cloth(rng), np.array([0.5, 0.65, 1.1, 1.3])
    width = rng.uniform(0.2, 0.3)
    tops = Edge(np.array([0.75, 1.05, 0.95, 0.6]) * rng.uniform(0.85, 1.1), width * 0.9)
    tub = loft(x, Edge([0.5, 0.35, 0.35, 0.5], width), tops, hood)
    tyre = tube([(0, -0.03, 0.13), (0, 0.03, 0.13)], 0.13, TYRE)
    tyres = [[at, side * width, 0] for at in (0.7, 1.2) for side in (-1, 1)]
    handle = tube([(0.6, 0, 0.6), (0.46, 0, 1.0)], 0.03, FRAME, sides=4)
    return [(PERSON, pushing_person(rng)), (UNLABELLED, join(tub, tyre.repeated(tyres), handle))]


def with_trolley(rng: np.random.Generator) -> Group:
    """Return someone who pushes a shopping trolley, barrow or handcart."""
    length, half, height = rng.uniform((0.6, 0.22, 0.7), (1.2, 0.4, 1.1))
    ends = (0.5, 0.5 + length)
    tub = loft(ends, Edge(0.35, half * 0.8), Edge(height, half), cloth(rng))
    legs = box((0.05, 0.05, 0.4), (0, 0, 0), FRAME)
    corners = [[x, side * half * 0.7, 0] for x in (0.6, 0.4 + length) for side in (-1, 1)]
    return [(PERSON, pushing_person(rng)), (UNLABELLED, join(tub, legs.repeated(corners)))]


def with_suitcase(rng: np.random.Generator) -> Group:
    """Return a traveller with one or two suitcases on wheels."""
    size = rng.uniform((0.2, 0.35, 0.5), (0.32, 0.55, 0.8))
    case = box(size, (-0.62, 0.3, 0.03), cloth(rng))
    handle = tube([(-0.6, 0.3, size[2]), (-0.4, 0.3, 0.95)], 0.025, FRAME, sides=4)
    cases = join(case, handle)
    if rng.random() < 0.3:
        cases = join(cases, cases.moved((0, -0.6, 0)))
    return [(PERSON, pedestrian(rng)), (UNLABELLED, cases)]


def with_dog(rng: np.random.Generator) -> Group:
    """Return someone who walks a dog."""
    size, coat = rng.uniform(0.45, 1.1), cloth(rng)
    legs = box((0.07, 0.07, 0.4), (0, 0, 0), coat)
    dog = join(
        tube([(-0.35, 0, 0.48), (0.3, 0, 0.5)], [[0.13], [0.15]], coat),
        ball((0.48, 0, 0.68), (0.15, 0.09, 0.1), coat),
        legs.repeated([[x, y, 0] for x in (-0.3, 0.25) for y in (-0.08, 0.08)]),
    )
    place = (rng.uniform(0.2, 1.2), rng.choice([-1, 1]) * rng.uniform(0.5, 0.8), 0)
    return [(PERSON, pedestrian(rng)), (OTHER, dog.scaled(size).moved(place))]


def with_bicycle(rng: np.random.Generator) -> Group:
    """Return someone who pushes a bicycle, which is void; the person counts as on foot."""
    beside = rng.choice([-1, 1]) * 0.5
    return [(PERSON, pedestrian(rng)), (BICYCLE, bicycle().moved((0.2, beside, 0)))]


def with_child(rng: np.random.Generator) -> Group:
    """Return an adult and one or two children side by side: an instance each."""
    adult = pedestrian(rng)
    group = [(PERSON, adult)]
    for side in (-1, 1) if rng.random() < 0.3 else (1,):
        small, gap = child(rng), rng.uniform(0.03, 0.2)
        reach = (side * adult.vertices[:, 1]).max() - (side * small.vertices[:, 1]).min()
        group.append((PERSON, small.moved((rng.normal(0, 0.1), side * (reach + gap), 0))))
    return group


def with_wheelchair(rng: np.random.Generator) -> Group:
    """Return someone in a wheelchair, alone or pushed."""
    group = [(PERSON, wheelchair_user(rng))]
    if rng.random() < 0.5:
        group.append((PERSON, pushing_person(rng).moved((-0.95, 0, 0))))
    return group


def sitting_on_the_ground(rng: np.random.Generator) -> Group:
    """Return someone who sits on the ground, a kerb, a step or a low wall of their own."""
    seat = rng.choice([0.0, 0.15, 0.4])
    person: Mesh = sitter(rng, seat)
    if seat == 0:
        return [(PERSON, person)]
    return [(PERSON, person), (OTHER, box((0.4, 0.9, seat), (-0.1, 0, 0), cloth(rng)))]


COMPANIONS = (  # equally likely
    *(with_pram, with_suitcase, with_child) * 2,
    *(with_trolley, with_dog, with_bicycle, with_wheelchair, sitting_on_the_ground),
)
