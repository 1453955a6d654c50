"""Models of a street's surroundings: buildings, walls, hedges, trees, lamps, signs, benches.

Every public function returns an object of random shape as `Parts`.
"""

import numpy as np
from numpy.typing import NDArray

from bev_instseg.simulate.meshes import (
    Edge,
    Material,
    Mesh,
    ball,
    box,
    join,
    leaf_surface,
    leaves,
    loft,
    sheet_faces,
    tube,
)

BUILDING, FENCE, STRUCTURE, VEGETATION, TRUNK, POLE, SIGN, OTHER = 50, 51, 52, 70, 71, 80, 81, 99
Parts = dict[int, Mesh]  # SemanticKITTI class -> mesh, all in the object's frame
Group = list[tuple[int, Mesh]]  # several objects: class and mesh of each, in the group's frame

WINDOW = Material(0.2, gloss=1.0, returns=0.7)
METAL = Material(0.3, gloss=0.6)
BARK = Material(0.45)
WOOD = Material(0.38)
SIGN_FACE = Material(0.6, gloss=0.3)


def building(rng: np.random.Generator, length: float, depth: float, height: float) -> Parts:
    """Return a house of the given size in metres: walls, bays, windows and a saddle roof."""
    plaster = Material(rng.uniform(0.35, 0.7))
    half = length / 2
    eaves, ridge = Edge(height, depth / 2 + 0.3), Edge(height + depth * 0.35, 0.1)
    parts = [
        box((length, depth, height), (0, 0, 0), plaster),
        loft((-half, half), eaves, ridge, plaster),
    ]
    storeys = np.arange(0.9, height - 1.5, 2.8)
    columns = np.arange(-half + 1.5, half - 1, rng.uniform(1.8, 3.2))
    if len(storeys) and len(columns):
        places = np.array([[x, 0, z] for x in columns for z in storeys])
        pane = box((rng.uniform(0.8, 1.3), depth + 0.04, 1.35), (0, 0, 0), WINDOW)
        parts.append(pane.repeated(places[rng.random(len(places)) < 0.9]))
    for _ in range(rng.integers(0, 4)):  # bays, porches, steps
        width, out, high = rng.uniform((1, 0.4, 0.3), (length / 3, 1.2, height))
        parts.append(
            box((width, 2 * out, high), (rng.uniform(-0.8, 0.8) * half, -depth / 2, 0), plaster)
        )
    return {BUILDING: join(*parts)}


def wall(rng: np.random.Generator, length: float) -> Parts:
    """Return a garden wall."""
    size = (length, 0.25, rng.uniform(0.5, 2.0))
    return {FENCE: box(size, (0, 0, 0), Material(rng.uniform(0.3, 0.5)))}


def fence(rng: np.random.Generator, length: float) -> Parts:
    """Return a picket fence whose gaps let the laser through."""
    height, pitch = rng.uniform(0.9, 1.7), rng.uniform(0.12, 0.3)
    picket = box((rng.uniform(0.02, 0.1), 0.03, height), (0, 0, 0), WOOD)
    along = np.arange(-length / 2, length / 2, pitch)
    rail = box((length, 0.04, 0.07), (0, 0, 0), WOOD)
    rails = rail.repeated([[0, 0, 0.25], [0, 0, height - 0.25]])
    return {FENCE: join(rails, picket.repeated([[x, 0, 0] for x in along]))}


def hedge(rng: np.random.Generator, length: float) -> Parts:
    """Return a clipped hedge: a dense ragged hull with leaves that stick out."""
    depth, height, step = rng.uniform(0.5, 1.1), rng.uniform(0.7, 2.2), 0.25
    along = np.arange(-length / 2, length / 2, step)
    round_it = np.arange(0, 2 * height + depth, step)
    y = np.interp(round_it, [height, height + depth], [-depth / 2, depth / 2])
    z = np.interp(round_it, [0, height, height + depth, 2 * height + depth], [0, height, height, 0])
    hull = np.empty((len(along), len(round_it), 3))
    hull[..., 0], hull[..., 1], hull[..., 2] = along[:, None], y, z
    hull += rng.normal(0, 0.06, hull.shape)
    faces = sheet_faces(len(along), len(round_it))
    twigs = hull.reshape(-1, 3)[rng.random(len(along) * len(round_it)) < 0.5]
    foliage = join(
        Mesh(hull.reshape(-1, 3), faces, leaf_surface(rng, len(faces))), leaves(rng, twigs, 0.12)
    )
    return {VEGETATION: foliage}


def thicket(rng: np.random.Generator, length: float) -> Parts:
    """Return a wild strip of shrubs, ragged on all sides."""
    depth, height = rng.uniform(1.5, 4.0), rng.uniform(1.2, 4.0)
    clumps = rng.uniform(-0.5, 0.5, (int(1.5 * length) + 1, 3)) * (length - 1.5, depth - 1, 0)
    clumps[:, 2] = rng.uniform(0.2, 0.6, len(clumps)) * height
    centres = _scatter(rng, clumps, np.array([0.9, 0.7, 0.4 * height]), int(200 * length))
    centres[:, 2] = np.abs(centres[:, 2])
    return {VEGETATION: leaves(rng, centres, 0.19)}


def bush(rng: np.random.Generator) -> Parts:
    """Return a shrub: a few clumps of leaves on the ground."""
    size = rng.uniform(0.35, 1.6)
    radii = np.array([size, size * rng.uniform(0.6, 1.0), size * rng.uniform(0.6, 1.4)])
    clumps = _clumps(rng, int(rng.integers(2, 7)), radii * 0.7) + _up(radii[2])
    centres = _scatter(rng, clumps, radii * 0.5, int(500 * size**2) + 40)
    centres[:, 2] -= centres[:, 2].min()
    return {VEGETATION: leaves(rng, centres, 0.12)}


def tree(rng: np.random.Generator) -> Parts:
    """Return a tree: leaning trunk, boughs and a crown of clumps of leaves."""
    height = rng.uniform(4.0, 11.0)
    stem, radius = rng.uniform(0.12, 0.35) * height, rng.uniform(0.06, 0.03 * height)
    spread = np.array([0.28, 0.28, 0.3]) * height * rng.uniform(0.7, 1.1, 3)
    fork = np.array([*rng.normal(0, 0.04 * stem, 2), stem])
    trunk = [tube([_up(0), _up(0.3), fork], radius * np.array([[1.4], [1], [0.7]]), BARK)]
    clumps = _clumps(rng, int(rng.integers(6, 14)), spread) + fork + _up(0.6 * spread[2])
    clumps[:, 2] = np.maximum(clumps[:, 2], fork[2])
    boughs = np.stack([np.broadcast_to(fork, (4, 3)), clumps[:4]], axis=1)
    trunk.append(tube(boughs, radius * 0.3, BARK, sides=4))
    centres = _scatter(rng, clumps, spread * 0.45, int(110 * height))
    return {TRUNK: join(*trunk), VEGETATION: leaves(rng, centres, 0.22)}


def lamp(rng: np.random.Generator) -> Parts:
    """Return a lamp post with an arm."""
    height, reach, radius = rng.uniform(4, 9), rng.uniform(0.2, 1.8), rng.uniform(0.05, 0.11)
    top, arm = _up(height), np.array([0, reach, 0.25])
    return {
        POLE: join(
            tube([_up(0), _up(1.0), top], radius * np.array([[1.4], [1.1], [0.7]]), METAL),
            tube([top, top + arm], radius * 0.5, METAL, sides=6),
            box((0.25, 0.6, 0.12), top + arm, METAL),
        )
    }


def sign(rng: np.random.Generator) -> Parts:
    """Return a round or square traffic sign on a post."""
    height, radius = rng.uniform(1.8, 2.6), rng.uniform(0.25, 0.42)
    front, sides = (0.05, 0, height), 12 if rng.random() < 0.5 else 4
    face = tube([front, (0.07, 0, height)], radius, SIGN_FACE, sides)
    return {POLE: tube([_up(0), _up(height + radius)], 0.035, METAL, 6), SIGN: face}


def traffic_light(rng: np.random.Generator) -> Parts:
    """Return a traffic light on a post."""
    height = rng.uniform(2.2, 3.0)
    head = box((0.2, 0.3, 0.9), (0.14, 0, height), Material(0.15))
    return {POLE: tube([_up(0), _up(height + 0.9)], 0.06, METAL), SIGN: head}


def bollard(rng: np.random.Generator) -> Parts:
    """Return a bollard."""
    height, radius = rng.uniform(0.6, 1.1), rng.uniform(0.04, 0.14)
    return {OTHER: tube([_up(0), _up(height)], radius, METAL)}


def wheelie_bin(rng: np.random.Generator) -> Parts:
    """Return a wheeled rubbish bin with a lid."""
    size, skin = rng.uniform((0.45, 0.5, 0.9), (0.8, 1.2, 1.25)), Material(rng.uniform(0.1, 0.4))
    ends = (-size[0] / 2, size[0] / 2)
    body = loft(ends, Edge(0.08, size[1] * 0.4), Edge(size[2], size[1] / 2), skin)
    return {OTHER: join(body, box((size[0] + 0.1, size[1], 0.06), (0, 0, size[2]), skin))}


def cabinet(rng: np.random.Generator) -> Parts:
    """Return a switch cabinet, letter box or parking meter."""
    size = rng.uniform((0.25, 0.35, 0.9), (0.5, 1.4, 1.7))
    return {OTHER: box(size, (0, 0, 0), Material(rng.uniform(0.2, 0.6)))}


def column(rng: np.random.Generator) -> Parts:
    """Return an advertising column."""
    radius, height = rng.uniform(0.45, 0.7), rng.uniform(2.4, 3.4)
    paper = Material(rng.uniform(0.3, 0.6))
    shaft = tube([_up(0), _up(height)], radius, paper, sides=14)
    return {OTHER: join(shaft, ball((0, 0, height), (radius + 0.1, radius + 0.1, 0.3), paper))}


def bench(rng: np.random.Generator) -> Parts:
    """Return a bench with a back rest."""
    length = rng.uniform(1.2, 2.2)
    legs = box((0.06, 0.4, 0.42), (0, 0, 0), METAL)
    return {
        OTHER: join(
            legs.repeated([[0.4 * length, 0, 0], [-0.4 * length, 0, 0]]),
            box((length, 0.45, 0.06), (0, 0, 0.42), WOOD),
            box((length, 0.05, 0.35), (0, -0.22, 0.5), WOOD),
        )
    }


def planter(rng: np.random.Generator) -> Parts:
    """Return a concrete tub with a shrub in it."""
    width, height = rng.uniform(0.5, 1.0), rng.uniform(0.35, 0.6)
    tub = box((width, width, height), (0, 0, 0), Material(0.4))
    centres = rng.normal(0, 0.25, (150, 3)) * (width, width, 1) + _up(height + 0.35)
    centres[:, 2] = np.maximum(centres[:, 2], height)
    return {OTHER: tub, VEGETATION: leaves(rng, centres, 0.1)}


def _up(height: float) -> NDArray[np.float64]:
    """Return the (3,) vector that points ``height`` upwards."""
    return np.array([0.0, 0.0, height])


def _clumps(
    rng: np.random.Generator, count: int, radii: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return (count, 3) points spread evenly over an ellipsoid of (3,) half axes."""
    direction = rng.normal(size=(count, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    return direction * np.cbrt(rng.random((count, 1))) * radii


def _scatter(
    rng: np.random.Generator, clumps: NDArray[np.float64], radii: NDArray[np.float64], count: int
) -> NDArray[np.float64]:
    """Return (count, 3) centres of leaves in clumps of (3,) half axes ``radii``."""
    return clumps[rng.integers(len(clumps), size=count)] + _clumps(rng, count, radii)
