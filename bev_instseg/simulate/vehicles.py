"""Models of cars, vans and pick-ups; every function returns a mesh of random shape.

Heavier vehicles are in `lorries`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bev_instseg.simulate.meshes import Edge, Material, Mesh, box, join, loft, tube

GLASS = Material(0.10, gloss=3.0, returns=0.35)
RUBBER = Material(0.06, gloss=0.5, returns=0.9)
RIM = Material(0.45, gloss=1.0)
PLATE = Material(1.3, gloss=0.1)
UNDERBODY = Material(0.03, returns=0.8)
BODY_KINDS = ("hatchback", "saloon", "estate", "suv", "van")


@dataclass(frozen=True)
class _BodyShape:
    """Dimensions in metres of a body below the windows.

    Attributes:
        length: Bumper to bumper.
        half_width: Half of the greatest width, without mirrors.
        belt: Height of the lower edge of the windows.
        bonnet: Height of the bonnet at the windscreen.
        tail: Height of the boot lid or of the lower edge of the rear window.
        wheel_radius: Radius of the wheels, which the arches leave room for.
        axles: x of the rear and the front axle.
    """

    length: float
    half_width: float
    belt: float
    bonnet: float
    tail: float
    wheel_radius: float
    axles: tuple[float, float]


def car(rng: np.random.Generator) -> Mesh:
    """Return a car: body with wheel arches, glazed cabin, wheels, plates and mirrors."""
    return _car(rng, rng.choice(BODY_KINDS, p=[0.3, 0.2, 0.2, 0.18, 0.12]))


def van(rng: np.random.Generator) -> Mesh:
    """Return a people carrier or small van with windows all round."""
    return _car(rng, "van")


def _car(rng: np.random.Generator, kind: str) -> Mesh:
    length, width, height, belt = {
        "hatchback": (4.0, 1.73, 1.48, 0.92),
        "saloon": (4.65, 1.80, 1.44, 0.92),
        "estate": (4.65, 1.80, 1.48, 0.93),
        "suv": (4.45, 1.85, 1.68, 1.05),
        "van": (4.9, 1.92, 1.95, 1.12),
    }[kind] * rng.normal(1, [0.05, 0.02, 0.025, 0.02])
    # x of the foot and head of the rear window and of the windscreen, as fractions of the length.
    rear = {"hatchback": (-0.47, -0.40), "saloon": (-0.38, -0.22)}.get(kind, (-0.49, -0.45))
    front = (0.32, 0.20) if kind == "van" else (0.26, 0.08)
    bonnet = belt - (0.02 if kind == "van" else 0.1)
    tail = belt + (0.02 if kind == "saloon" else 0.0)
    paint = random_paint(rng)
    radius = 0.31 + 0.04 * (kind in ("suv", "van"))
    axles = (-0.30 * length, 0.305 * length)
    half = width / 2
    body = _car_body(_BodyShape(length, half, belt, bonnet, tail, radius, axles), paint)
    cabin = _cabin(np.array([*rear, *front[::-1]]) * length, half, belt, height, paint)
    mirrors = box((0.12, 0.2, 0.14), (front[0] * length - 0.25, 0, belt), paint).repeated(
        [[0, half, 0], [0, -half, 0]]
    )
    plates = box((0.02, 0.5, 0.11), (0, 0, 0.5), PLATE).repeated(
        [[-length / 2, 0, 0.2], [length / 2, 0, -0.05]]
    )
    return join(body, cabin, mirrors, plates, wheels(axles, half - 0.02, radius, 0.2))


def panel_van(rng: np.random.Generator) -> Mesh:
    """Return a delivery van, minibus or camper: a tall flat-sided body behind a short bonnet."""
    length, width, height = rng.uniform((4.7, 1.9, 1.9), (7.0, 2.1, 2.9))
    paint, half, nose, belt = random_paint(rng), width / 2, length / 2, 1.15
    radius, axles = 0.34, (-0.28 * length, length / 2 - 0.95)
    screen = nose - rng.uniform(0.75, 1.1)  # foot of the windscreen
    ridge = screen - rng.uniform(0.5, 0.9) * (height - belt)
    glazed = GLASS if rng.random() < 0.3 else paint
    sill, cab_back = Edge(belt, half), ridge - 0.9
    upper = loft((-nose + 0.02, cab_back), sill, Edge(height, 0.92 * half), glazed, paint)
    cab_top = Edge((height, height, belt + 0.03), (0.92 * half, 0.9 * half, 0.88 * half))
    cab = loft((cab_back, ridge, screen), sill, cab_top, GLASS)
    roof = loft(
        (ridge - 0.95, ridge),
        Edge(height - 0.04, 0.93 * half),
        Edge(height + 0.01, 0.9 * half),
        paint,
    )
    posts = box((0.1, width * 0.96, height - belt - 0.1), (0, 0, belt), paint)
    plates = box((0.02, 0.5, 0.11), (0, 0, 0.55), PLATE)
    return join(
        _car_body(_BodyShape(length, half, belt, belt - 0.05, belt, radius, axles), paint),
        *(upper, cab, posts.repeated([[-nose + 0.1, 0, 0], [cab_back, 0, 0]]), roof),
        plates.repeated([[-nose, 0, 0.2], [nose, 0, -0.05]]),
        wheels(axles, half - 0.02, radius, 0.22),
    )


def pickup(rng: np.random.Generator) -> Mesh:
    """Return a pick-up: cab in front, open bed behind, sometimes loaded."""
    length, width, height = rng.uniform((4.9, 1.8, 1.7), (5.6, 2.0, 1.9))
    paint, half, belt = random_paint(rng), width / 2, 1.1
    axles = (-0.3 * length, 0.31 * length)
    corners = np.array([-0.13, -0.1, 0.08, 0.24]) * length
    parts = [
        _car_body(_BodyShape(length, half, belt, belt - 0.05, belt, 0.38, axles), paint),
        _cabin(corners, half, belt, height, paint),
        wheels(axles, half - 0.02, 0.38, 0.24),
    ]
    if rng.random() < 0.4:
        load = Material(rng.uniform(0.2, 0.6))
        parts.append(box((0.28 * length, width * 0.7, 0.5), (-0.32 * length, 0, belt), load))
    return join(*parts)


def convertible(rng: np.random.Generator) -> Mesh:
    """Return an open car: windscreen, seats and no roof, sometimes with its driver."""
    length, width, belt = rng.uniform((3.9, 1.68, 0.85), (4.7, 1.85, 0.95))
    paint, half = random_paint(rng), width / 2
    axles = (-0.3 * length, 0.305 * length)
    shape = _BodyShape(length, half, belt, belt - 0.05, belt, 0.32, axles)
    screen, frame = (0.06 * length, 0.19 * length), 0.8 * half
    glass = loft(
        screen, Edge((belt + 0.42, belt), frame), Edge((belt + 0.45, belt + 0.03), frame), GLASS
    )
    seat = box((0.16, 0.5, belt + 0.25), (0, 0, 0), Material(rng.uniform(0.05, 0.3)))
    seats = seat.repeated([[x, y, 0] for x in (-0.1, -0.9) for y in (-0.38, 0.38)])
    head = box((0.2, 0.4, 0.6), (0.05, 0.38, belt - 0.1), Material(0.4))
    driver = [head] if rng.random() < 0.5 else []
    return join(_car_body(shape, paint), glass, seats, *driver, wheels(axles, half, 0.32, 0.2))


def random_paint(rng: np.random.Generator) -> Material:
    """Return a car paint; half of all paints are so dark that most echoes have intensity 0."""
    dark = rng.random() < 0.5
    return Material(rng.uniform(0.01, 0.08) if dark else rng.uniform(0.15, 0.6), gloss=2.0)


def wheels(axles: Sequence[float], half_track: float, radius: float, width: float) -> Mesh:
    """Return two wheels per axle.

    Args:
        axles: x of each axle, metres.
        half_track: Distance of the outer face of the tyres from the centre line, metres.
        radius: Radius of the tyres, metres.
        width: Width of the tyres, metres.
    """
    inner, outer = half_track - width, half_track + 0.01
    tyres = [[(0, side * inner, radius), (0, side * half_track, radius)] for side in (-1, 1)]
    rims = [[(0, side * inner, radius), (0, side * outer, radius)] for side in (-1, 1)]
    pair = join(tube(tyres, radius, RUBBER, sides=12), tube(rims, radius * 0.6, RIM))
    return pair.repeated([[x, 0, 0] for x in axles])


def _car_body(shape: _BodyShape, paint: Material) -> Mesh:
    """Return the shell below the windows, with wheel arches."""
    arch, nose = shape.wheel_radius + 0.07, shape.length / 2
    rear, front = shape.axles
    belt, bonnet, tail = shape.belt, shape.bonnet, shape.tail
    stations = [  # x, lower and upper edge, lower and upper half width (1 = half of the car's)
        (-nose, 0.45, tail - 0.30, 0.80, 0.78),
        (-nose + 0.08, 0.30, tail - 0.03, 0.94, 0.88),
        (rear - arch, 0.22, tail, 0.99, 0.93),
        (rear - arch, 2 * arch, tail, 0.99, 0.93),
        (rear + arch, 2 * arch, belt, 1.00, 0.95),
        (rear + arch, 0.20, belt, 1.00, 0.95),
        (front - arch, 0.20, belt, 1.00, 0.95),
        (front - arch, 2 * arch, belt, 1.00, 0.95),
        (front + arch, 2 * arch, bonnet - 0.08, 0.97, 0.88),
        (front + arch, 0.22, bonnet - 0.08, 0.97, 0.88),
        (nose - 0.10, 0.28, bonnet - 0.16, 0.92, 0.82),
        (nose, 0.40, bonnet - 0.32, 0.78, 0.72),
    ]
    x, low, high, wide_low, wide_high = np.array(stations).T
    low = np.minimum(low, high - 0.12)
    half = shape.half_width
    return loft(x, Edge(low, wide_low * half), Edge(high, wide_high * half), paint)


def _cabin(
    x: NDArray[np.float64], half_width: float, belt: float, height: float, paint: Material
) -> Mesh:
    """Return windows, roof and pillars; ``x`` has the 4 corners of the side view, rear to front."""
    wide, narrow = 0.93 * half_width, 0.72 * half_width
    window_top = Edge([belt, height, height, belt], [wide, narrow, narrow, wide])
    glass = loft(x, Edge(belt - 0.02, wide), window_top, GLASS)
    ridge = (x[1] - 0.05, x[2] + 0.05)
    roof = loft(ridge, Edge(height - 0.04, narrow + 0.03), Edge(height + 0.01, narrow), paint)
    middle = x[1:3].mean() - 0.1
    ends = ((x[0], x[1]), (middle, middle), (x[3], x[2]))
    pillars = [
        [(foot, side * wide, belt - 0.02), (head, side * narrow, height - 0.02)]
        for foot, head in ends
        for side in (-1, 1)
    ]
    return join(glass, roof, tube(pillars, 0.06, paint, sides=4))
