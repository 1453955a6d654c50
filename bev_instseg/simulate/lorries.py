"""Models of lorries, buses, trailers and diggers; every function returns a mesh of random shape."""

import numpy as np

from bev_instseg.simulate.meshes import Edge, Material, Mesh, box, join, loft, tube
from bev_instseg.simulate.vehicles import (
    GLASS,
    PLATE,
    RUBBER,
    UNDERBODY,
    random_paint,
    wheels,
)

WOODEN = Material(0.38)


def lorry(rng: np.random.Generator) -> Mesh:
    """Return a lorry: cab and box body on a frame with two or three axles."""
    length, width, height = rng.uniform((6.0, 2.2, 2.9), (10.5, 2.5, 3.8))
    paint, cargo = random_paint(rng), Material(rng.uniform(0.25, 0.6), 0.8)
    half, nose, cab = width / 2, length / 2, 1.9
    radius = 0.48
    parts = [
        _lorry_cab(nose, cab, half, 2.6, paint),
        box((length - 0.4, 0.9, 0.25), (-0.2, 0, 0.65), UNDERBODY),
        box((length - cab - 0.35, width, height - 1.0), (-(cab + 0.35) / 2, 0, 1.0), cargo),
        box((0.08, width - 0.1, 0.12), (-nose + 0.05, 0, 0.5), UNDERBODY),
        box((0.02, 0.5, 0.11), (-nose, 0, 0.75), PLATE),
        box((0.1, 0.2, 0.4), (nose - 0.2, half + 0.1, 1.8), paint).repeated(
            [[0, 0, 0], [0, -width - 0.2, 0]]
        ),
        wheels([-nose + 1.6, nose - 1.2], half, radius, 0.3),
    ]
    if length > 8.5:
        parts.append(wheels([-nose + 2.8], half, radius, 0.3))
    return join(*parts)


def articulated(rng: np.random.Generator) -> Mesh:
    """Return a tractor with a semi-trailer: box, tanker or flatbed."""
    length, width, height = rng.uniform((12.5, 2.4, 3.5), (16.0, 2.55, 4.0))
    paint, cargo = random_paint(rng), Material(rng.uniform(0.25, 0.6), 0.8)
    half, nose, cab = width / 2, length / 2, 2.2
    back, middle = -nose, (-cab - 0.6) / 2
    bed = nose - cab - 0.6 - back
    kind = rng.choice(["box", "tank", "flat"], p=[0.6, 0.2, 0.2])
    if kind == "box":
        body = box((bed, width, height - 1.15), (middle, 0, 1.15), cargo)
    elif kind == "tank":
        ends = [(back + 0.2, 0, 2.3), (back + bed - 0.2, 0, 2.3)]
        body = tube(ends, 1.15, cargo, sides=14)
    else:
        load_size = (bed * rng.uniform(0.3, 0.9), width * 0.85, rng.uniform(0.3, 1.6))
        load = box(load_size, (middle, 0, 1.4), WOODEN)
        body = join(box((bed, width, 0.25), (middle, 0, 1.15), cargo), load)
    return join(
        *(body, _lorry_cab(nose, cab, half, min(height, 3.4), paint)),
        box((length - 0.6, 0.9, 0.25), (0, 0, 0.75), UNDERBODY),
        box((0.08, width - 0.1, 0.12), (back + 0.05, 0, 0.5), UNDERBODY),
        box((0.02, 0.5, 0.11), (back, 0, 0.85), PLATE),
        wheels([back + 1.4, back + 2.7, back + 4.0, nose - 4.3, nose - 1.3], half, 0.5, 0.35),
    )


def tipper(rng: np.random.Generator) -> Mesh:
    """Return a tipper or flatbed lorry with low sides, sometimes loaded."""
    length, width = rng.uniform((5.5, 2.0), (8.5, 2.5))
    half, nose, cab = width / 2, length / 2, 1.8
    paint, skin = random_paint(rng), Material(rng.uniform(0.2, 0.5))
    bed, sides = length - cab - 0.3, rng.uniform(0.4, 1.3)
    middle = -(cab + 0.3) / 2
    parts = [
        _lorry_cab(nose, cab, half, rng.uniform(2.2, 2.8), paint),
        box((length - 0.4, 0.9, 0.25), (-0.2, 0, 0.65), UNDERBODY),
        box((bed, width, sides), (middle, 0, 0.95), skin),
        wheels([-nose + 1.4, nose - 1.1], half, 0.46, 0.3),
    ]
    if rng.random() < 0.5:
        heap = np.array([-0.5, 0, 0.5]) * bed * 0.9 + middle
        top = 0.95 + sides + np.array([0.05, rng.uniform(0.2, 0.8), 0.05])
        edges = Edge(0.9 + sides, half * 0.9), Edge(top, half * 0.3)
        parts.append(loft(heap, *edges, Material(0.35)))
    return join(*parts)


def bus(rng: np.random.Generator) -> Mesh:
    """Return a city bus: low body, band of windows, roof."""
    length, width, height = rng.uniform((9.5, 2.45, 2.9), (12.5, 2.55, 3.2))
    paint, half, nose = random_paint(rng), width / 2, length / 2
    posts = box((0.12, width, 1.2), (0, 0, 1.05), paint)
    return join(
        box((length, width, 0.75), (0, 0, 0.3), paint),
        box((length - 0.05, width - 0.03, 1.2), (0, 0, 1.05), GLASS),
        posts.repeated([[x, 0, 0] for x in np.linspace(-nose + 0.1, nose - 0.2, 8)]),
        loft((-nose, nose), Edge(2.25, half), Edge(height, half - 0.15), paint),
        box((0.02, 0.5, 0.11), (-nose, 0, 0.5), PLATE),
        wheels([-nose + 3.2, nose - 2.6], half + 0.01, 0.48, 0.3),
    )


def trailer(rng: np.random.Generator) -> Mesh:
    """Return a caravan or box trailer with one axle and a drawbar."""
    length, width, height = rng.uniform((2.6, 1.6, 1.8), (5.5, 2.3, 2.7))
    skin, half = Material(rng.uniform(0.3, 0.6), 0.8), width / 2
    x = np.array([-0.5, -0.44, 0.40, 0.5]) * length
    low, high = np.array([0.75, 0.45, 0.45, 0.9]), np.array([0.9, 1.0, 1.0, 0.75]) * height
    bar = tube([(length / 2, 0, 0.45), (length / 2 + 1.1, 0, 0.45)], 0.05, UNDERBODY, sides=4)
    body = loft(x, Edge(low, half), Edge(high, half - 0.05), skin)
    return join(body, bar, wheels([0], half, 0.32, 0.2))


def digger(rng: np.random.Generator) -> Mesh:
    """Return a digger on tracks with its arm, or a tractor."""
    size, skin = rng.uniform(0.8, 1.3), Material(rng.uniform(0.3, 0.6))
    cab = join(
        box((1.3, 1.3, 0.5), (0, 0, 1.0), skin),
        box((1.1, 1.2, 1.1), (0, 0, 1.5), GLASS),
        box((1.3, 1.3, 0.08), (0, 0, 2.6), skin),
    )
    if rng.random() < 0.5:
        tracks = box((2.8, 0.45, 0.75), (0, 0, 0), RUBBER).repeated([[0, 0.85, 0], [0, -0.85, 0]])
        elbow, hand = (2.1, 0, rng.uniform(2.6, 3.4)), (3.2, 0, rng.uniform(0.6, 1.6))
        arm = tube([(0.7, 0.4, 1.2), elbow, hand], 0.16, skin, sides=4)
        counterweight = box((1.6, 1.9, 1.0), (-0.9, 0, 0.9), skin)
        bucket = box((0.6, 0.8, 0.5), (3.2, 0, hand[2] - 0.5), skin)
        parts = [cab, tracks, counterweight, arm, bucket]
    else:
        rear = wheels([-0.5], 1.0, 0.75, 0.45)
        front = wheels([1.7], 0.85, 0.45, 0.3)
        parts = [cab, rear, front, box((1.7, 0.8, 0.9), (1.4, 0, 0.8), skin)]
    return join(*parts).scaled(size)


def _lorry_cab(nose: float, cab: float, half: float, height: float, paint: Material) -> Mesh:
    """Return a cab from ``nose - cab`` to ``nose``, with windows above 1.7 m."""
    rear, belt, wide = nose - cab, (1.75, 1.65), half - 0.05
    roof = Edge(height - 0.1, half - 0.12)
    return join(
        loft((rear, nose), Edge(0.55, wide), Edge(belt, half - 0.08), paint),
        loft((rear, nose - 0.12), Edge(belt, wide), roof, GLASS, paint),
        box((cab * 0.75, 2 * half - 0.2, 0.12), (nose - cab * 0.6, 0, height - 0.12), paint),
    )
