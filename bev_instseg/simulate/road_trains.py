"""Models of the longest vehicles: coaches, articulated buses, lorries with trailers."""

import numpy as np

from bev_instseg.simulate.lorries import bus, lorry
from bev_instseg.simulate.meshes import Edge, Material, Mesh, box, fitted, join, loft, tube
from bev_instseg.simulate.vehicles import GLASS, PLATE, UNDERBODY, car, random_paint, wheels


def coach(rng: np.random.Generator) -> Mesh:
    """Return a coach or double-decker: a high floor below one or two bands of windows."""
    length, width, height = rng.uniform((10.0, 2.5, 3.3), (14.0, 2.55, 4.1))
    paint, half, nose = random_paint(rng), width / 2, length / 2
    ends = (-nose, nose - 0.25, nose)
    glass_top = Edge((height - 0.35, height - 0.35, 2.2), half - 0.03)
    mirror = box((0.15, 0.2, 0.5), (nose + 0.15, half, 1.9), paint)
    return join(
        loft(ends, Edge(0.35, half), Edge((1.7, 1.7, 1.4), half), paint),
        loft(ends, Edge((1.7, 1.7, 1.4), half - 0.03), glass_top, GLASS),
        loft(ends[:2], Edge(height - 0.35, half), Edge(height, half - 0.2), paint),
        mirror.repeated([[0, 0, 0], [0, -width, 0]]),
        box((0.02, 0.5, 0.11), (-nose, 0, 0.6), PLATE),
        wheels([-nose + 3.4, -nose + 2.2, nose - 2.7], half + 0.01, 0.5, 0.32),
    )


def articulated_bus(rng: np.random.Generator) -> Mesh:
    """Return a bus of two halves with bellows between them, straight or in a bend."""
    front, rear, bend = bus(rng), bus(rng), rng.normal(0, 0.12)
    front = fitted(front, (10.0, 2.55, 3.1)).moved((5.3, 0, 0))
    rear = fitted(rear, (7.2, 2.55, 3.1)).moved((-3.9, 0, 0)).turned(bend)
    bellows = tube([(-0.4, 0, 1.7), (0.4, 0, 1.7)], [[1.35, 1.2]], UNDERBODY)
    return join(front, rear, bellows)


def lorry_with_trailer(rng: np.random.Generator) -> Mesh:
    """Return a lorry that pulls a box or flatbed trailer, straight or in a bend."""
    front, bend = lorry(rng), rng.normal(0, 0.08)
    tail = front.vertices[:, 0].min()
    length, width, height = rng.uniform((5.0, 2.3, 1.2), (7.5, 2.5, 3.8))
    x = -1.0 - length / 2
    trailer = join(
        box((length, width, height - 0.95), (x, 0, 0.95), Material(rng.uniform(0.25, 0.6), 0.8)),
        box((length - 0.3, 0.9, 0.2), (x, 0, 0.75), UNDERBODY),
        tube([(0, 0, 0.7), (-1.2, 0, 0.8)], 0.08, UNDERBODY, sides=4),
        box((0.02, 0.5, 0.11), (-1.0 - length, 0, 0.85), PLATE),
        wheels([-1.8, -length - 0.2, x], width / 2, 0.46, 0.3),
    )
    return join(front, trailer.turned(bend).moved((tail, 0, 0)))


def car_transporter(rng: np.random.Generator) -> Mesh:
    """Return a transporter with cars on two decks, which all belong to it."""
    front = fitted(lorry(rng), (5.5, 2.5, 2.9)).moved((8.0, 0, 0))
    decks = box((11.5, 2.4, 0.12), (-0.6, 0, 0.8), Material(0.3))
    decks = join(decks, decks.moved((0, 0, 1.6)))
    posts = box((0.15, 0.1, 1.7), (0, 0, 0.85), Material(0.3))
    stands = [[x, y, 0] for x in (-6.0, -2.0, 2.0, 5.0) for y in (-1.15, 1.15)]
    places = [(x, 0, z) for x in (-4.0, 1.5) for z in (0.92, 2.52) if rng.random() < 0.75]
    cars = [fitted(car(rng), (4.3, 1.9, 1.45)).moved(place) for place in places]
    running_gear = wheels([-5.0, -3.9], 1.2, 0.42, 0.3)
    return join(front, decks, posts.repeated(stands), *cars, running_gear)
