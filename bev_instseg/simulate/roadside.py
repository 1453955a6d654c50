"""Models of objects that look like vehicles from afar: mounds, rocks, barriers, containers."""

import numpy as np

from bev_instseg.simulate.meshes import Edge, Material, Mesh, box, join, loft, sheet_faces
from bev_instseg.simulate.street_plan import TERRAIN
from bev_instseg.simulate.surroundings import FENCE, METAL, OTHER, STRUCTURE, WOOD, Parts


def mound(rng: np.random.Generator) -> Parts:
    """Return a piece of embankment or earth wall, ragged and covered with grass."""
    length, width, height = rng.uniform((3.0, 1.5, 0.4), (16.0, 5.0, 2.4))
    x, y = np.meshgrid(np.linspace(-1, 1, 13), np.linspace(-1, 1, 9), indexing="ij")
    rise = np.clip(1.3 * (1 - x**4) * (1 - y**2), 0, 1)
    z = height * rise * rng.uniform(0.8, 1.1, rise.shape)
    vertices = np.stack([x * length / 2, y * width / 2, z], axis=-1).reshape(-1, 3)
    faces = sheet_faces(13, 9)
    surface = np.tile(np.array(Material(rng.uniform(0.3, 0.6))), (len(faces), 1))
    return {TERRAIN: Mesh(vertices, faces, surface)}


def rocks(rng: np.random.Generator) -> Parts:
    """Return one to four boulders."""
    stone, parts = Material(rng.uniform(0.25, 0.6)), []
    for _ in range(rng.integers(1, 5)):
        size = rng.uniform((0.4, 0.4, 0.3), (2.5, 2.0, 1.6))
        turn = np.linspace(0, 2 * np.pi, 7, endpoint=False)
        rings = np.array([(1.0, 0.0), (1.05, 0.4), (0.8, 0.8), (0.05, 1.0)])
        hull = np.stack(
            [np.outer(rings[:, 0], np.cos(turn)), np.outer(rings[:, 0], np.sin(turn)),
             np.repeat(rings[:, 1:], 7, axis=1)], axis=-1,
        ).reshape(-1, 3)  # fmt: skip
        hull *= rng.uniform(0.75, 1.15, hull.shape) * (size / (2, 2, 1))
        faces = sheet_faces(4, 7, closed=True)
        surface = np.tile(np.array(stone), (len(faces), 1))
        parts.append(Mesh(hull, faces, surface).moved((*rng.normal(0, 1.0, 2), 0)))
    return {OTHER: join(*parts)}


def crash_barrier(rng: np.random.Generator) -> Parts:
    """Return 4 to 20 m of guard rail on posts, or of concrete wall."""
    length = rng.uniform(4.0, 20.0)
    ends = (-length / 2, length / 2)
    if rng.random() < 0.4:
        height = rng.uniform(0.7, 1.2)
        return {FENCE: loft(ends, Edge(0, 0.3), Edge(height, 0.1), Material(0.4))}
    rail = box((length, 0.08, 0.31), (0, 0, 0.45), METAL)
    posts = box((0.1, 0.1, 0.75), (0, 0.08, 0), METAL)
    return {FENCE: join(rail, posts.repeated([[x, 0, 0] for x in np.arange(*ends, 2.0)]))}


def low_wall(rng: np.random.Generator) -> Parts:
    """Return a piece of wall, kerb stones or a ruin, 1 to 8 m long."""
    length, width, height = rng.uniform((1.0, 0.2, 0.3), (8.0, 0.9, 1.7))
    ends = (-length / 2, rng.uniform(-0.3, 0.3) * length, length / 2)
    heights = height * np.array([rng.uniform(0.5, 1), 1, rng.uniform(0.5, 1)])
    stone = Material(rng.uniform(0.3, 0.6))
    return {FENCE: loft(ends, Edge(0, width / 2), Edge(heights, width / 2), stone)}


def noise_wall(rng: np.random.Generator, length: float) -> Parts:
    """Return a noise wall of panels between posts."""
    height, pitch = rng.uniform(2.0, 5.0), 4.0
    panel = box((length, 0.15, height), (0, 0, 0), Material(rng.uniform(0.25, 0.5)))
    posts = box((0.25, 0.3, height), (0, 0, 0), METAL)
    along = np.arange(-length / 2, length / 2, pitch)
    return {STRUCTURE: join(panel, posts.repeated([[x, 0, 0] for x in along]))}


def containers(rng: np.random.Generator) -> Parts:
    """Return one to three freight or site containers, stacked or alone."""
    length, skin = rng.choice([2.9, 6.06, 6.06, 12.2]), Material(rng.uniform(0.2, 0.5))
    one = box((length, 2.44, 2.5), (0, 0, 0.05), skin)
    sills = box((0.2, 2.44, 0.2), (0, 0, 0), skin)
    feet = sills.repeated([[x * length, 0, 0] for x in (-0.48, 0.48)])
    stack = [[rng.normal(0, 0.05), 0, 2.55 * k] for k in range(int(rng.choice([1, 1, 2, 3])))]
    return {STRUCTURE: join(feet, one.repeated(stack))}


def pallets(rng: np.random.Generator) -> Parts:
    """Return stacks of pallets, crates, pipes or bales as high as people and cars."""
    parts = []
    for k in range(rng.integers(1, 6)):
        size = rng.uniform((0.8, 0.8, 0.3), (1.3, 1.2, 2.0))
        skin = WOOD if rng.random() < 0.5 else Material(rng.uniform(0.2, 0.6))
        parts.append(box(size, (1.4 * k, rng.normal(0, 0.1), 0), skin))
    return {OTHER: join(*parts)}


ROADSIDE = (  # equally likely
    *(mound, mound, rocks, crash_barrier, crash_barrier, low_wall, low_wall),
    *(containers, pallets),
)
