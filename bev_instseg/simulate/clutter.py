"""Models of clutter: objects the size of people or cars that a network may mistake for them.

Every function in `CLUTTER` returns an object of random shape as `Parts`.
"""

import numpy as np

from bev_instseg.simulate.meshes import (
    Edge,
    Material,
    Mesh,
    ball,
    box,
    join,
    leaves,
    loft,
    sheet_faces,
    tube,
)
from bev_instseg.simulate.surroundings import (
    BARK,
    BUILDING,
    FENCE,
    METAL,
    OTHER,
    SIGN,
    SIGN_FACE,
    STRUCTURE,
    TRUNK,
    VEGETATION,
    WINDOW,
    WOOD,
    Parts,
)


def topiary(rng: np.random.Generator) -> Parts:
    """Return a shrub the size of a person: a cone, column or ball, sometimes on a stem."""
    height, radius = rng.uniform((0.7, 0.18), (2.4, 0.6))
    stem = rng.choice([0.0, 0.0, 0.3 * height])
    turn, up = rng.uniform(0, 2 * np.pi, 700), rng.beta(1, 1.5, 700)
    shape = rng.choice(["cone", "column", "ball"])
    wide = {"cone": 1 - up, "column": np.ones(700), "ball": 2 * np.sqrt(up * (1 - up))}[shape]
    out = radius * wide * rng.uniform(0.7, 1.0, 700)
    z = stem + up * (height - stem)
    crown = leaves(rng, np.column_stack([out * np.cos(turn), out * np.sin(turn), z]), 0.07)
    core = tube([(0, 0, 0), (0, 0, 0.9 * height)], 0.05, BARK, sides=5)
    return {VEGETATION: crown, TRUNK: core}


def sapling(rng: np.random.Generator) -> Parts:
    """Return a young tree tied to stakes."""
    height, spread = rng.uniform((2.0, 0.3), (3.5, 0.7))
    stakes = tube([(0, 0, 0), (0, 0, 1.6)], 0.04, WOOD, sides=5)
    stem = tube([(0, 0, 0), (0, 0, 0.7 * height)], 0.03, BARK, sides=5)
    centres = rng.normal(0, 0.5, (250, 3)) * (spread, spread, 0.25 * height)
    crown = leaves(rng, centres + np.array([0, 0, 0.75 * height]), 0.1)
    return {
        TRUNK: join(stem, stakes.repeated([[0, 0.3, 0], [0, -0.3, 0]])),
        VEGETATION: crown,
    }


def stump(rng: np.random.Generator) -> Parts:
    """Return a stump, or a thick trunk whose crown is above the laser."""
    height, radius = rng.uniform((0.5, 0.15), (3.5, 0.45))
    lean = np.array([*rng.normal(0, 0.06 * height, 2), height])
    path = np.array([np.zeros(3), [0, 0, 0.25], 0.5 * lean, lean])
    return {TRUNK: tube(path, radius * np.array([[1.5], [1.1], [1.0], [0.9]]), BARK)}


def gatepost(rng: np.random.Generator) -> Parts:
    """Return a brick gatepost, or two with a gate between them."""
    width, height, gap = rng.uniform((0.3, 0.9, 1.0), (0.6, 1.9, 3.5))
    brick = Material(rng.uniform(0.3, 0.6))
    post = join(
        box((width, width, height), (0, 0, 0), brick),
        box((width + 0.1, width + 0.1, 0.08), (0, 0, height), brick),
    )
    if rng.random() < 0.4:
        return {FENCE: post}
    bars = box((0.03, 0.03, 0.8 * height), (0, 0, 0.08), METAL)
    across = np.arange(-gap / 2, gap / 2, 0.14)
    gate = bars.repeated(np.column_stack([across, 0 * across, 0 * across]))
    side = gap / 2 + width / 2
    return {FENCE: join(post.repeated([[side, 0, 0], [-side, 0, 0]]), gate)}


def cone(rng: np.random.Generator) -> Parts:
    """Return a row of one to four traffic cones or beacons."""
    height = rng.uniform(0.45, 1.1)
    body = tube([(0, 0, 0), (0, 0, height)], np.array([[0.16], [0.04]]), SIGN_FACE)
    foot = box((0.4, 0.4, 0.05), (0, 0, 0), Material(0.1))
    count = rng.integers(1, 5)
    places = np.column_stack([1.5 * np.arange(count), rng.normal(0, 0.1, count), np.zeros(count)])
    return {OTHER: join(body, foot).repeated(places)}


def barrier(rng: np.random.Generator) -> Parts:
    """Return a concrete or plastic barrier, or a guard rail on posts."""
    length = rng.uniform(1.5, 9.0)
    ends = (-length / 2, length / 2)
    if rng.random() < 0.5:
        height = rng.uniform(0.7, 1.1)
        skin = Material(rng.uniform(0.3, 0.6))
        return {STRUCTURE: loft(ends, Edge(0, 0.3), Edge(height, 0.1), skin)}
    rail = box((length, 0.06, 0.3), (0, 0, 0.5), METAL)
    along = np.arange(-length / 2 + 0.1, length / 2, 2.0)
    posts = box((0.1, 0.1, 0.7), (0, 0.06, 0), METAL)
    return {FENCE: join(rail, posts.repeated(np.column_stack([along, 0 * along, 0 * along])))}


def shelter(rng: np.random.Generator) -> Parts:
    """Return a bus shelter, kiosk or garden shed, as large as a van."""
    length, width, height = rng.uniform((1.8, 1.2, 2.1), (5.0, 2.6, 2.9))
    skin = Material(rng.uniform(0.2, 0.6))
    roof = box((length, width, 0.12), (0, 0, height - 0.12), skin)
    if rng.random() < 0.5:
        return {BUILDING: join(box((length, width, height - 0.12), (0, 0, 0), skin), roof)}
    posts = box((0.08, 0.08, height), (0, 0, 0), METAL)
    corners = [[x * length / 2.1, y * width / 2.1, 0] for x in (-1, 1) for y in (-1, 1)]
    back = box((length, 0.04, 1.7), (0, -width / 2.1, 0.25), WINDOW)
    seat = box((0.7 * length, 0.35, 0.06), (0, -width / 3, 0.45), WOOD)
    return {STRUCTURE: join(roof, posts.repeated(corners), back, seat)}


def skip(rng: np.random.Generator) -> Parts:
    """Return a skip or container, the size of a car."""
    length, width, height = rng.uniform((2.2, 1.4, 1.0), (6.2, 2.5, 2.6))
    x = np.array([-0.5, -0.36, 0.36, 0.5]) * length
    slanted = height < 1.7
    low = np.array([0.7, 0.05, 0.05, 0.7]) * height if slanted else 0.1
    skin = Material(rng.uniform(0.15, 0.5))
    bottom = Edge(low, width / 2 * (0.8 if slanted else 1))
    return {OTHER: loft(x, bottom, Edge(height, width / 2), skin)}


def heap(rng: np.random.Generator) -> Parts:
    """Return a heap of earth or rubble, or a rock."""
    radii = rng.uniform((0.3, 0.3, 0.2), (2.6, 1.5, 1.3))
    turn = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    rings = np.linspace(1.15, 0.05, 7)
    x, y = rings[:, None] * np.cos(turn), rings[:, None] * np.sin(turn)
    z = np.clip(1.1 * (1 - rings[:, None] ** 2), 0, 1) * np.ones(16)
    vertices = np.stack([x, y, z], axis=-1).reshape(-1, 3) * radii
    vertices += rng.normal(0, 0.06, vertices.shape) * (vertices[:, 2:] > 0)
    faces = sheet_faces(7, 16, closed=True)
    surface = np.tile(np.array(Material(rng.uniform(0.2, 0.6))), (len(faces), 1))
    return {OTHER: Mesh(vertices, faces, surface)}


def board(rng: np.random.Generator) -> Parts:
    """Return a sandwich board, banner or advertising stand."""
    width, height = rng.uniform((0.5, 0.8), (1.3, 1.9))
    face = loft((-0.03, 0.03), Edge(0.05, width / 2), Edge(height, width / 2), SIGN_FACE)
    back = face.moved([0.25 if rng.random() < 0.5 else 0.03, 0, 0])
    return {SIGN: join(face, back)}


def terrace(rng: np.random.Generator) -> Parts:
    """Return the empty tables and chairs of a café, sometimes with parasols."""
    count = rng.integers(1, 4)
    table = join(
        tube([(0, 0, 0), (0, 0, 0.72)], 0.04, METAL, sides=5),
        tube([(0, 0, 0.7), (0, 0, 0.74)], 0.4, WOOD, sides=10),
    )
    chair = join(
        box((0.42, 0.42, 0.05), (0, 0, 0.44), WOOD),
        box((0.04, 0.42, 0.45), (-0.2, 0, 0.48), WOOD),
        box((0.36, 0.36, 0.44), (0, 0, 0), Material(0.3, returns=0.5)),
    )
    parts = []
    for k in range(count):
        parts.append(table.moved([2.2 * k, 0, 0]))
        seats = rng.normal(0, 0.08, (2, 3)) * (1, 1, 0) + [
            [2.2 * k - 0.7, 0, 0],
            [2.2 * k, 0.75, 0],
        ]
        parts.append(chair.repeated(seats))
        if rng.random() < 0.35:
            pole = tube([(2.2 * k, 0, 0), (2.2 * k, 0, 2.4)], 0.025, METAL, sides=4)
            top = [(2.2 * k, 0, 2.1), (2.2 * k, 0, 2.5)]
            parts += [pole, tube(top, np.array([[1.3], [0.05]]), Material(0.5), sides=8)]
    return {OTHER: join(*parts)}


def bags(rng: np.random.Generator) -> Parts:
    """Return a small pile of rubbish bags and boxes."""
    parts = []
    for place in rng.normal(0, 0.35, (rng.integers(2, 6), 2)):
        size = rng.uniform(0.15, 0.4, 3)
        if rng.random() < 0.5:
            parts.append(ball((*place, size[2]), size, Material(rng.uniform(0.1, 0.5))))
        else:
            parts.append(box(2 * size, (*place, 0), Material(rng.uniform(0.3, 0.6))))
    return {OTHER: join(*parts)}


def hydrant(rng: np.random.Generator) -> Parts:
    """Return a hydrant, parking meter or charging post."""
    height, radius = rng.uniform((0.6, 0.08), (1.5, 0.2))
    shaft = tube([(0, 0, 0), (0, 0, 0.8 * height)], radius * 0.8, METAL)
    return {OTHER: join(shaft, ball((0, 0, 0.85 * height), (radius, radius, 0.15), METAL))}


def stairs(rng: np.random.Generator) -> Parts:
    """Return steps to a door, with or without a hand rail."""
    width, count = rng.uniform(1.0, 2.5), rng.integers(2, 7)
    stone = Material(rng.uniform(0.3, 0.6))
    steps = [
        box((0.3 * (count - k), width, 0.17), (0.15 * k, 0, 0.17 * k), stone) for k in range(count)
    ]
    if rng.random() < 0.5:
        reach = 0.15 * count
        rail = np.array([(-reach, width / 2, 0.9), (reach, width / 2, 0.9 + 0.17 * count)])
        steps.append(tube(rail, 0.025, METAL, sides=4))
    return {STRUCTURE: join(*steps)}


CLUTTER = (  # all equally likely, so what is listed twice is twice as common
    *(topiary, sapling, stump, gatepost, cone, barrier, shelter, skip, heap, board, terrace),
    *(bags, hydrant, stairs, topiary, gatepost, heap),
)
