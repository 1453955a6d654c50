"""The plan of a street: a road, perhaps a side road, kerbs, pavements and the ground itself.

Plan coordinates ``(u, v)`` run along and across the main road; the world bends them.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bev_instseg.simulate.meshes import Float, Material, Mesh, sheet_faces

ROAD, SIDEWALK, TERRAIN = 40, 48, 72
VIEW_M = 66.0
_STEP_M = 0.02  # width of the kerb's face
_BANK_M = 7.0  # width of a bank

_SURFACES = {ROAD: Material(0.38, 0.15), SIDEWALK: Material(0.4, 0.15), TERRAIN: Material(0.5, 0.2)}


@dataclass(frozen=True)
class Kerb:
    """A kerb line of the plan; x of its frame runs along it, y away from the road.

    Attributes:
        u, v: a point on it, metres.
        angle: direction of its x axis, radians; traffic beside it runs the other way.
        half_width: from the kerb to the middle of its road, metres.
        parking: width of the parking lane beside it, metres, 0 for none.
        reach: its ends, metres along it.
    """

    u: float
    v: float
    angle: float
    half_width: float
    parking: float
    reach: tuple[float, float] = (-VIEW_M, VIEW_M)

    def at(self, along: float, out: float) -> tuple[float, float]:
        """Plan coordinates of a place ``along`` the kerb and ``out`` of the road, metres."""
        c, s = np.cos(self.angle), np.sin(self.angle)
        return self.u + along * c - out * s, self.v + along * s + out * c

    @property
    def lane(self) -> float:
        """Where the middle of its traffic lane lies, metres out of the road (negative)."""
        return -(self.parking + self.half_width) / 2


@dataclass(frozen=True, eq=False)
class Street:
    """Plan and relief.

    Attributes:
        kerbs: both sides of the main road, then those of the side road.
        pavement: width of the pavements, metres.
        kerb_height: metres.
        bend: the world's ``y = v + bend * u**2 / 2``, 1/m.
        slope: (2,) rise of the ground along x and y.
        waves: (W, 4) wave vector (1/m), amplitude (m) and phase of the bumps.
        urban: paved behind the pavements too.
        bank: slope of the ground behind the pavements, `_BANK_M` wide; negative where it falls.
    """

    kerbs: tuple[Kerb, ...]
    pavement: float
    kerb_height: float
    bend: float
    slope: Float
    waves: Float
    urban: bool
    bank: float

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> "Street":
        """A random street."""
        left, right = np.where(rng.random(2) < 0.6, 2.3, 0.0)
        half = rng.uniform(3.0, 4.0) + max(left, right)
        kerbs = [Kerb(0, half, 0, half, left), Kerb(0, -half, np.pi, half, right)]
        junction = rng.choice(["none", "left", "right", "both"], p=[0.35, 0.2, 0.2, 0.25])
        if junction != "none":
            at, width = rng.choice([-1, 1]) * rng.uniform(0, 35), rng.uniform(2.8, 4.0)
            low = -VIEW_M if junction in ("right", "both") else 0.0
            high = VIEW_M if junction in ("left", "both") else 0.0
            kerbs += [
                Kerb(at - width, 0, np.pi / 2, width, 0, (low, high)),
                Kerb(at + width, 0, -np.pi / 2, width, 0, (-high, -low)),
            ]
        length, turn = rng.uniform(12, 60, 3), rng.uniform(0, 2 * np.pi, 3)
        wave = 2 * np.pi / length * np.stack([np.cos(turn), np.sin(turn)])
        return cls(
            kerbs=tuple(kerbs),
            pavement=rng.uniform(1.5, 4.0),
            kerb_height=rng.uniform(0.04, 0.15),
            bend=rng.normal(0, 0.002),
            slope=rng.normal(0, 0.012, 2),
            waves=np.column_stack([*wave, 0.002 * length, rng.uniform(0, 2 * np.pi, 3)]),
            urban=bool(rng.random() < 0.4),
            bank=float(rng.choice([0, 0, rng.uniform(0.03, 0.45), rng.uniform(-0.2, -0.03)])),
        )

    def world(self, u: ArrayLike, v: ArrayLike) -> Float:
        """Plan coordinates -> (..., 2) world coordinates, metres."""
        u, v = np.broadcast_arrays(np.asarray(u, dtype=np.float64), v)
        return np.stack([u, v + self.bend * u**2 / 2], axis=-1)

    def plan(self, xy: Float) -> tuple[Float, Float]:
        """The inverse of `world`."""
        return xy[..., 0], xy[..., 1] - self.bend * xy[..., 0] ** 2 / 2

    def from_road(self, u: ArrayLike, v: ArrayLike) -> Float:
        """Distance to the nearest road, metres, for each place of the plan; negative on it."""
        u, v = np.broadcast_arrays(u, v)
        main = np.abs(v) - self.kerbs[0].half_width
        if len(self.kerbs) == 2:
            return main
        side = self.kerbs[2]
        beside = np.abs(u - side.u - side.half_width) - side.half_width
        beyond = np.maximum(side.reach[0] - v, v - side.reach[1])
        return np.minimum(main, np.maximum(beside, beyond))

    def relief(self, xy: Float) -> Float:
        """(...) height of the ground below (..., 2) world coordinates, without kerbs, metres."""
        wave = xy @ self.waves[:, :2].T + self.waves[:, 3]
        return xy @ self.slope + np.sin(wave) @ self.waves[:, 2]

    def raised(self, u: ArrayLike, v: ArrayLike) -> Float:
        """(...) what the pavement adds to the height of the ground, metres."""
        return np.where(self.from_road(u, v) > _STEP_M / 2, self.kerb_height, 0.0)

    def banked(self, u: ArrayLike, v: ArrayLike) -> Float:
        """(...) what the bank adds to the height of the ground, metres."""
        return self.bank * np.clip(self.from_road(u, v) - self.pavement - 0.3, 0, _BANK_M)

    def ground(self, rng: np.random.Generator) -> tuple[Mesh, NDArray[np.uint32]]:
        """The ground and (T,) uint32 classes of its triangles; grass is rough."""
        u, v = (self._lines(axis) for axis in (0, 1))
        plan_u, plan_v = np.meshgrid(u, v, indexing="ij")
        xy = self.world(plan_u, plan_v)
        height = self.relief(xy) + self.raised(plan_u, plan_v) + self.banked(plan_u, plan_v)
        behind = self.from_road(plan_u, plan_v) > self.pavement + 0.1
        rough = 0.01 if self.urban else 0.05
        height += np.where(behind, np.abs(rng.normal(0, rough, height.shape)), 0)
        middle = self.from_road((u[1:] + u[:-1])[:, None] / 2, ((v[1:] + v[:-1]) / 2)[None]).ravel()
        zone = np.repeat((middle >= 0).astype(int) + (middle >= self.pavement), 2)
        classes = np.array([ROAD, SIDEWALK, SIDEWALK if self.urban else TERRAIN], dtype=np.uint32)
        surface = np.array([_SURFACES[int(k)] for k in classes])[zone]
        vertices = np.concatenate([xy, height[..., None]], axis=-1).reshape(-1, 3)
        return Mesh(vertices, sheet_faces(len(u), len(v)), surface), classes[zone]

    def _lines(self, axis: int) -> Float:
        """Grid lines of the ground along u (0) or v (1): fine near the middle, exact at kerbs."""
        regular = 90 * np.sinh(np.linspace(-2.6, 2.6, 101)) / np.sinh(2.6)
        kerbs = self.kerbs[2:] if axis == 0 else self.kerbs[:2]
        lines = [regular]
        for kerb in kerbs:
            outward = (-np.sin(kerb.angle), np.cos(kerb.angle))[axis]
            place = (kerb.u, kerb.v)[axis]
            lines.append(place + outward * np.array([0, _STEP_M, self.pavement]))
        return np.unique(np.concatenate(lines))
