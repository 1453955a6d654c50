"""Models of planted strips: rows of shrubs and young trees, hedges cut into blocks and cones."""

import numpy as np

from bev_instseg.simulate.clutter import sapling, topiary
from bev_instseg.simulate.meshes import Material, Mesh, box, join, leaves
from bev_instseg.simulate.surroundings import OTHER, VEGETATION, Parts, bush, tree
from bev_instseg.simulate.uprights import bare_trunk


def block(rng: np.random.Generator) -> Parts:
    """Return a hedge cut into a block the size of a person, a child or a sofa."""
    size = rng.uniform((0.4, 0.4, 0.4), (1.8, 1.0, 1.9))
    places = rng.uniform(-0.5, 0.5, (300, 3))
    face = rng.integers(0, 3, 300)
    places[np.arange(300), face] = np.where(rng.random(300) < 0.5, 0.5, -0.5)
    places[:, 2] = np.abs(places[:, 2] + 0.5)
    core = box(0.9 * size, (0, 0, 0), Material(0.35, returns=0.8))
    return {VEGETATION: join(core, leaves(rng, places * size, 0.07))}


def flower_bed(rng: np.random.Generator) -> Parts:
    """Return tall grass, reeds or perennials in a clump or a raised bed."""
    length, depth, height = rng.uniform((0.5, 0.4, 0.3), (4.0, 1.2, 1.5))
    rim = rng.choice([0.0, 0.0, 0.45])
    centres = rng.uniform(-0.5, 0.5, (220, 3)) * (length, depth, 0)
    centres[:, 2] = rim + height * rng.beta(1.2, 1.5, 220)
    parts: dict[int, Mesh] = {VEGETATION: leaves(rng, centres, 0.1)}
    if rim:
        parts[OTHER] = box((length, depth, rim), (0, 0, 0), Material(0.4))
    return parts


PLANTS = (  # equally likely; a row usually has only one of them
    *(bush, bush, topiary, topiary, sapling, block, block, flower_bed, bare_trunk, tree),
)
