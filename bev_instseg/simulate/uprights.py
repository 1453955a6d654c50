"""Models of columns, posts, trunks and kiosks that a network may mistake for people.

Most of them end above the highest beam of a nearby sensor, which sees a piece as tall as a person.
"""

import numpy as np

from bev_instseg.simulate.meshes import Edge, Material, Mesh, ball, box, join, leaves, loft, tube
from bev_instseg.simulate.surroundings import (
    BARK,
    BUILDING,
    METAL,
    OTHER,
    POLE,
    SIGN,
    SIGN_FACE,
    STRUCTURE,
    TRUNK,
    VEGETATION,
    WINDOW,
    WOOD,
    Parts,
)


def thick_pole(rng: np.random.Generator) -> Parts:
    """Return a mast, catenary post or lamp post 0.15 to 0.5 m thick, round or square."""
    height, thick = rng.uniform((3.0, 0.15), (10.0, 0.5))
    sides = int(rng.choice([4, 6, 12]))
    base = rng.uniform(1.0, 1.6)
    radii = thick / 2 * np.array([[base], [base], [1.0], [rng.uniform(0.5, 1.0)]])
    path = [(0, 0, 0), (0, 0, 0.5), (0, 0, 0.8), (0, 0, height)]
    parts = {POLE: tube(path, radii, _stone(rng) if rng.random() < 0.5 else METAL, sides)}
    if rng.random() < 0.4:
        size = rng.uniform((0.06, 0.4, 0.4), (0.3, 0.9, 1.2))
        parts[SIGN] = box(size, (thick / 2 + 0.15, 0, rng.uniform(1.0, 2.6)), SIGN_FACE)
    return parts


def column(rng: np.random.Generator) -> Parts:
    """Return a stone or concrete column or pier, 2.5 to 7 m tall."""
    height, radius = rng.uniform((2.5, 0.15), (7.0, 0.5))
    stone, sides = _stone(rng), int(rng.choice([4, 10]))
    plinth = box((2.4 * radius, 2.4 * radius, rng.uniform(0.1, 0.6)), (0, 0, 0), stone)
    shaft = tube([(0, 0, 0), (0, 0, height)], radius * np.array([[1.0], [0.85]]), stone, sides)
    return {STRUCTURE: join(shaft, plinth)}


def bare_trunk(rng: np.random.Generator) -> Parts:
    """Return a trunk 0.2 to 0.8 m thick, whose crown begins above 2.2 m."""
    height, radius = rng.uniform((2.4, 0.1), (4.5, 0.4))
    bend = np.array([*rng.normal(0, 0.15, 2), 0])
    path = np.array([[0, 0, 0], [0, 0, 0.3], [0, 0, height / 2], [0, 0, height + 1.0]])
    path[2:] += [bend * 0.5, bend]
    trunk = tube(path, radius * np.array([[1.5], [1.1], [0.95], [0.8]]), BARK)
    centres = rng.normal(0, 1, (220, 3)) * (1.2, 1.2, 0.6) + path[-1] + [0, 0, 0.8]
    centres[:, 2] = np.maximum(centres[:, 2], height)
    return {TRUNK: trunk, VEGETATION: leaves(rng, centres, 0.3)}


def advertising(rng: np.random.Generator) -> Parts:
    """Return an advertising column, stele or illuminated panel."""
    height, width = rng.uniform((1.5, 0.35), (3.6, 1.3))
    paper = Material(rng.uniform(0.3, 0.6))
    if rng.random() < 0.5:
        shaft = tube([(0, 0, 0), (0, 0, height)], width / 2, paper, sides=14)
        return {OTHER: join(shaft, ball((0, 0, height), (width / 2, width / 2, 0.2), paper))}
    foot = rng.choice([0.0, 0.0, 0.7])
    panel = box((rng.uniform(0.1, 0.35), width, height - foot), (0, 0, foot), paper)
    return {OTHER: join(panel, box((0.1, 0.15, height), (0, 0, 0), METAL))}


def kiosk(rng: np.random.Generator) -> Parts:
    """Return a kiosk, guard's hut, telephone box or portable lavatory."""
    length, width, height = rng.uniform((0.8, 0.8, 2.1), (3.0, 2.2, 2.8))
    skin, sill = Material(rng.uniform(0.2, 0.6)), rng.uniform(0.2, 1.1)
    roof = box((length + 0.3, width + 0.3, 0.12), (0, 0, height), skin)
    return {
        BUILDING: join(
            box((length, width, sill), (0, 0, 0), skin),
            box((length, width, height - sill), (0, 0, sill), WINDOW),
            roof,
        )
    }


def arcade(rng: np.random.Generator) -> Parts:
    """Return a portal or arcade: two to eight columns that carry a storey or a lintel."""
    count, pitch = rng.integers(2, 9), rng.uniform(1.8, 3.6)
    height, radius = rng.uniform((2.4, 0.14), (4.0, 0.4))
    stone, reach = _stone(rng), pitch * (count - 1) / 2
    shaft = tube([(0, 0, 0), (0, 0, height)], radius, stone, sides=int(rng.choice([4, 8])))
    columns = shaft.repeated([[x, 0, 0] for x in np.linspace(-reach, reach, count)])
    storey = rng.uniform(0.4, 5.0)
    upper = box((2 * (reach + radius), 2 * radius + 0.1, storey), (0, 0, height), stone)
    return {BUILDING: join(columns, upper)}


def scaffolding(rng: np.random.Generator) -> Parts:
    """Return a scaffold: posts, planks at every storey and braces."""
    bays, storeys = rng.integers(2, 6), rng.integers(2, 4)
    length, pitch = 2.5 * bays, 2.0
    x = np.linspace(-length / 2, length / 2, bays + 1)
    top = storeys * pitch + 1
    posts = tube([(0, 0, 0), (0, 0, top)], rng.uniform(0.03, 0.06), METAL, sides=5)
    stands = [[at, y, 0] for at in x for y in (-0.45, 0.45)]
    planks = box((length, 0.9, 0.06), (0, 0, 0), WOOD)
    levels = [[0.0, 0.0, pitch * (k + 1)] for k in range(storeys)]
    rails = tube([(-length / 2, 0.45, 1.0), (length / 2, 0.45, 1.0)], 0.025, METAL, sides=4)
    braces = tube([(-length / 2, -0.45, 0), (-length / 2 + 2.5, -0.45, 2)], 0.025, METAL, sides=4)
    rails = rails.repeated([[0.0, 0.0, 0.0], *levels])
    return {OTHER: join(posts.repeated(stands), planks.repeated(levels), rails, braces)}


def statue(rng: np.random.Generator) -> Parts:
    """Return a monument: a pedestal with a bust, an obelisk or a bowl."""
    width, height = rng.uniform((0.4, 0.6), (1.4, 1.6))
    stone = _stone(rng)
    parts: list[Mesh] = [box((width, width, height), (0, 0, 0), stone)]
    kind = rng.choice(["bust", "obelisk", "bowl"])
    if kind == "bust":
        parts.append(ball((0, 0, height + 0.3), (0.25, 0.3, 0.4), stone))
    elif kind == "obelisk":
        ends = [(0, 0, height), (0, 0, height + rng.uniform(1, 4))]
        parts.append(tube(ends, 0.4 * width * np.array([[1.0], [0.5]]), stone, sides=4))
    else:
        bowl = np.array([[0.2], [0.9]]) * width
        parts.append(tube([(0, 0, height), (0, 0, height + 0.5)], bowl, stone))
    return {OTHER: join(*parts)}


def gantry(rng: np.random.Generator) -> Parts:
    """Return a sign bridge: two thick posts and a board above the road's edge."""
    reach, thick, height = rng.uniform((1.0, 0.1, 2.4), (3.0, 0.35, 5.0))
    post = tube([(0, 0, 0), (0, 0, height)], thick / 2, METAL)
    board = loft((-0.05, 0.05), Edge(height - 1.0, reach), Edge(height, reach), SIGN_FACE)
    return {POLE: post.repeated([[0, reach, 0], [0, -reach, 0]]), SIGN: board}


def _stone(rng: np.random.Generator) -> Material:
    return Material(rng.uniform(0.3, 0.65))


UPRIGHTS = (  # equally likely
    *(thick_pole, thick_pole, thick_pole, column, column, bare_trunk, bare_trunk),
    *(advertising, kiosk, arcade, scaffolding, statue, gantry),
)
