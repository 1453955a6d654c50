"""Models of cars and vans that are open: doors, tailgates, loaded beds."""

import numpy as np

from bev_instseg.simulate.meshes import Edge, Material, Mesh, box, join, loft
from bev_instseg.simulate.people import cloth
from bev_instseg.simulate.vehicles import UNDERBODY, car, panel_van, pickup

_DARK = Material(0.05, returns=0.7)


def car_with_open_doors(rng: np.random.Generator) -> Mesh:
    """Return a car with one to four open doors or an open tailgate."""
    body = car(rng)
    low, high = body.vertices.min(axis=0), body.vertices.max(axis=0)
    half, skin = high[1] - 0.15, cloth(rng)
    door = box((0.95, 0.08, 0.75), (-0.48, 0, 0.3), skin)
    parts = [body]
    for hinge in (0.8, -0.15):
        for side in (-1, 1):
            if rng.random() < 0.4 or (len(parts) == 1 and hinge < 0 < side):
                angle = -side * rng.uniform(0.5, 1.2)
                parts.append(door.turned(angle).moved((hinge, side * half, 0)))
    if rng.random() < 0.3:
        gate = (low[0] - 0.5, low[0] + 0.5)
        tail = Edge((high[2] + 0.25, high[2] - 0.1), half * 0.8)
        parts.append(loft(gate, tail, Edge((high[2] + 0.32, high[2]), half * 0.8), skin))
    return join(*parts)


def open_van(rng: np.random.Generator) -> Mesh:
    """Return a delivery van whose tail doors are open and show a dark hold with parcels."""
    body = panel_van(rng)
    low, high = body.vertices.min(axis=0), body.vertices.max(axis=0)
    half, height, skin = high[1] - 0.05, high[2], cloth(rng)
    hold = box((0.1, 2 * half - 0.3, height - 0.9), (low[0] - 0.02, 0, 0.7), _DARK)
    leaf = box((half, 0.06, height - 0.7), (-half / 2, 0, 0.55), skin)
    angle = rng.uniform(0.0, 1.3)
    doors = [
        leaf.turned(-side * angle).moved((low[0], side * (half - 0.03), 0)) for side in (-1, 1)
    ]
    parcels = box((0.3, 0.5, rng.uniform(0.3, 1.0)), (low[0] - 0.1, 0.2, 0.75), cloth(rng))
    step = box((0.3, 1.2, 0.08), (low[0] - 0.15, 0, 0.4), UNDERBODY)
    return join(body, hold, *doors, parcels, step)


def loaded_pickup(rng: np.random.Generator) -> Mesh:
    """Return a pick-up whose bed is piled with goods."""
    body = pickup(rng)
    rear = body.vertices[:, 0].min()
    crates = [
        box(rng.uniform((0.3, 0.4, 0.2), (0.9, 1.0, 0.9)), (rear + x, y, 1.05), cloth(rng))
        for x, y in rng.uniform((0.5, -0.35), (1.5, 0.35), (rng.integers(2, 6), 2))
    ]
    return join(body, *crates)
