"""Models of construction and farm machines and three-wheelers, all of class other-vehicle."""

import numpy as np

from bev_instseg.simulate.meshes import Edge, Material, Mesh, box, join, loft, tube
from bev_instseg.simulate.people import cloth, figure
from bev_instseg.simulate.vehicles import GLASS, UNDERBODY, wheels


def wheel_loader(rng: np.random.Generator) -> Mesh:
    """Return a wheel loader with its bucket low or raised."""
    skin, lift = _yellow(rng), rng.uniform(0.1, 2.0)
    bucket = loft((3.0, 3.3, 4.0), Edge((0.4, 0, 0), 1.2), Edge((0.8, 0.9, 0.1), 1.2), skin)
    arms = tube([[(1.0, y, 1.5), (3.1, y, 0.5 + lift)] for y in (-0.5, 0.5)], 0.14, skin, sides=4)
    return join(
        loft((-2.4, -0.3), Edge(0.7, 0.7), Edge((1.7, 1.9), 0.65), skin),
        box((1.8, 1.0, 0.8), (0.6, 0, 0.7), skin),
        _cab(-0.2, 1.4, skin),
        *(arms, bucket.moved((0, 0, lift))),
        wheels([-1.5, 1.5], 1.15, 0.7, 0.5),
    ).scaled(rng.uniform(0.6, 1.15))


def roller(rng: np.random.Generator) -> Mesh:
    """Return a road roller with one or two drums."""
    skin, radius = _yellow(rng), rng.uniform(0.45, 0.7)
    drum = tube([(0, -0.85, radius), (0, 0.85, radius)], radius, Material(0.35), sides=14)
    parts = [drum.moved((1.5, 0, 0)), box((3.6, 0.3, 0.3), (0, 0, radius + 0.1), UNDERBODY)]
    parts.append(
        drum.moved((-1.5, 0, 0)) if rng.random() < 0.5 else wheels([-1.5], 0.9, radius, 0.45)
    )
    parts += [box((2.2, 1.4, 0.9), (-0.7, 0, 0.75), skin), _cab(0.1, 1.3, skin)]
    return join(*parts).scaled(rng.uniform(0.6, 1.05))


def tractor(rng: np.random.Generator) -> Mesh:
    """Return a tractor, sometimes with a loaded trailer."""
    skin = _yellow(rng)
    parts = [
        *(_cab(-0.5, 1.2, skin), wheels([-0.6], 1.0, 0.8, 0.45), wheels([1.7], 0.9, 0.5, 0.3)),
        loft((0.0, 2.2), Edge(0.7, 0.4), Edge((1.6, 1.4), 0.35), skin),
        box((1.4, 0.9, 0.5), (-0.4, 0, 0.8), skin),
    ]
    if rng.random() < 0.4:
        length, height = rng.uniform((2.5, 0.5), (5.0, 1.6))
        middle = -2.2 - length / 2
        parts += [
            box((length, 2.1, height), (middle, 0, 0.9), cloth(rng)),
            box((1.3, 0.12, 0.12), (-1.7, 0, 0.7), UNDERBODY),
            wheels([middle], 1.0, 0.45, 0.3),
        ]
    return join(*parts)


def forklift(rng: np.random.Generator) -> Mesh:
    """Return a forklift with its driver, its mast and sometimes a pallet."""
    skin = _yellow(rng)
    mast = tube([[(1.2, y, 0.1), (1.2, y, 2.2)] for y in (-0.35, 0.35)], 0.07, UNDERBODY, sides=4)
    forks = box((1.1, 0.12, 0.06), (1.8, 0, 0.1), UNDERBODY).repeated([[0, -0.3, 0], [0, 0.3, 0]])
    parts = [
        *(box((2.0, 1.1, 0.75), (0, 0, 0.25), skin), mast, forks),
        *(_frame(-0.1, 0.55, 1.0, 2.1, skin), _driver(rng, (-0.2, 0, 1.05))),
        wheels([-0.7, 0.8], 0.57, 0.28, 0.2),
    ]
    if rng.random() < 0.5:
        load = box((1.0, 1.0, rng.uniform(0.3, 1.2)), (1.8, 0, 0.17), cloth(rng))
        parts.append(load)
    return join(*parts).scaled(rng.uniform(0.85, 1.15))


def tuk_tuk(rng: np.random.Generator) -> Mesh:
    """Return a three-wheeler with driver and passengers: open below its hood, or with a bed."""
    skin, half = cloth(rng), rng.uniform(0.6, 0.75)
    nose = loft((0.55, 1.0, 1.35), Edge((0.35, 0.3, 0.45), (half, 0.4, 0.2)),
                Edge((1.05, 0.95, 0.7), (half * 0.95, 0.4, 0.15)), skin)  # fmt: skip
    front = wheels([0.0], 0.08, 0.24, 0.15).moved((1.1, 0, 0))
    parts = [
        *(nose, front, wheels([-0.85], half, 0.25, 0.15)),
        box((1.9, 2 * half, 0.15), (-0.4, 0, 0.3), skin),
        _driver(rng, (0.1, 0, 0.75)),
    ]
    if rng.random() < 0.7:
        hood = loft((-1.3, 0.7), Edge(1.6, half), Edge((1.75, 1.8), half * 0.8), skin)
        back = box((0.08, 2 * half, 1.3), (-1.28, 0, 0.4), skin)
        posts = _frame(-0.3, half - 0.05, 1.0, 1.65, skin)
        bench = box((0.5, 2 * half - 0.1, 0.45), (-0.9, 0, 0.35), skin)
        parts += [hood, back, posts, bench]
        if rng.random() < 0.6:
            parts.append(_driver(rng, (-0.8, rng.uniform(-0.25, 0.25), 0.85)))
    else:
        height = rng.uniform(0.4, 1.2)
        parts.append(box((1.5, 2 * half, height), (-0.7, 0, 0.45), skin))
    return join(*parts).scaled(rng.uniform(0.9, 1.15))


def _yellow(rng: np.random.Generator) -> Material:
    return Material(rng.uniform(0.3, 0.6))


def _cab(x: float, floor: float, skin: Material) -> Mesh:
    """Return a glazed cab 1.3 m long above ``floor``."""
    glass = box((1.2, 1.2, 1.2), (x, 0, floor), GLASS)
    return join(glass, box((1.35, 1.35, 0.1), (x, 0, floor + 1.2), skin))


def _frame(x: float, half: float, reach: float, height: float, skin: Material) -> Mesh:
    """Return four posts at ``x +- reach`` and ``y = +- half`` that carry a roof."""
    roof = box((2 * reach, 2 * half, 0.06), (x, 0, height), skin)
    post = box((0.06, 0.06, height - 0.4), (x, 0, 0.4), skin)
    corners = [[dx, dy, 0] for dx in (-0.9 * reach, 0.9 * reach) for dy in (-half, half)]
    return join(roof, post.repeated(corners))


def _driver(rng: np.random.Generator, hip: tuple[float, float, float]) -> Mesh:
    """Return someone seated at ``hip``, who is part of the vehicle."""
    pelvis, sides = np.array(hip), np.array([[0, 1, 0], [0, -1, 0]])
    neck = pelvis + np.array([rng.normal(0.05, 0.05), 0, 0.52])
    hands = pelvis + np.array([0.4, 0, 0.3]) + 0.22 * sides
    return figure(rng, pelvis, neck, hands, pelvis + np.array([0.45, 0, -0.35]) + 0.12 * sides)
