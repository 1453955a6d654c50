"""The plan of a street: main road, side road, kerbs, pavements and the shape of the ground.

Plan coordinates ``(u, v)``, in metres, run along and across the main road. In world coordinates
``(x, y)`` the main road is a parabola.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bev_instseg.simulate.meshes import Material, Mesh, sheet_faces
from bev_instseg.simulate.street_kinds import RESIDENTIAL, StreetKind

ROAD, SIDEWALK, TERRAIN = 40, 48, 72
VIEW_M = 66.0
_KERB_FACE_M = 0.02  # horizontal width of the step from road to pavement
_BANK_WIDTH_M = 7.0

_SURFACES = {ROAD: Material(0.38, 0.15), SIDEWALK: Material(0.4, 0.15), TERRAIN: Material(0.5, 0.2)}


@dataclass(frozen=True)
class Kerb:
    """A straight kerb of the plan, with its own frame: x along the kerb, y away from the road.

    Attributes:
        u: Plan coordinate of the origin of the kerb's frame, metres.
        v: The other plan coordinate, metres.
        angle_rad: Direction of the kerb's x axis; traffic beside it runs the other way.
        half_width_m: Distance from the kerb to the centre line of the road.
        parking_m: Width of the parking lane beside the kerb, 0 for none.
        ends_m: Start and end of the kerb, along its x axis.
        num_lanes: Traffic lanes between the kerb and the middle of the road.
        median_m: Width of the strip between the two directions, 0 for none.
    """

    u: float
    v: float
    angle_rad: float
    half_width_m: float
    parking_m: float
    ends_m: tuple[float, float] = (-VIEW_M, VIEW_M)
    num_lanes: int = 1
    median_m: float = 0.0

    def at(self, along_m: float, out_m: float) -> tuple[float, float]:
        """Return the plan coordinates of (x, y) of the kerb's frame."""
        c, s = np.cos(self.angle_rad), np.sin(self.angle_rad)
        return self.u + along_m * c - out_m * s, self.v + along_m * s + out_m * c

    @property
    def lanes_m(self) -> tuple[float, ...]:
        """Centres of the traffic lanes, the one beside the kerb first, as y of its frame (< 0)."""
        width = (self.half_width_m - self.median_m / 2 - self.parking_m) / self.num_lanes
        return tuple(-self.parking_m - width * (k + 0.5) for k in range(self.num_lanes))


@dataclass(frozen=True, eq=False)
class StreetPlan:
    """Roads, pavements and relief of a street.

    Attributes:
        kind: What kind of street this is.
        kerbs: Both kerbs of the main road, then those of the side road, if there is one.
        pavement_m: Width of the pavements.
        kerb_height_m: Height of the pavements above the road.
        curvature: Curvature of the main road in 1/m: ``y = v + curvature * u**2 / 2``.
        slope: (2,) rise of the ground along x and y.
        waves: (W, 4) wave vector (1/m), amplitude (m) and phase (rad) of the ground's undulations.
        urban: Whether the ground behind the pavements is paved.
        bank_slope: Rise of the bank behind the pavements, `_BANK_WIDTH_M` wide; negative if it
            falls away.
    """

    kind: StreetKind
    kerbs: tuple[Kerb, ...]
    pavement_m: float
    kerb_height_m: float
    curvature: float
    slope: NDArray[np.float64]
    waves: NDArray[np.float64]
    urban: bool
    bank_slope: float

    @classmethod
    def random(cls, rng: np.random.Generator, kind: StreetKind = RESIDENTIAL) -> "StreetPlan":
        """Return a random plan of a kind of street."""
        length, turn = rng.uniform(12, 60, 3), rng.uniform(0, 2 * np.pi, 3)
        wave = 2 * np.pi / length * np.stack([np.cos(turn), np.sin(turn)])
        return cls(
            kind=kind,
            kerbs=_random_kerbs(rng, kind),
            pavement_m=rng.uniform(*kind.pavement_m),
            kerb_height_m=rng.uniform(*kind.kerb_m),
            curvature=rng.normal(0, 0.002),
            slope=rng.normal(0, 0.012, 2),
            waves=np.column_stack([*wave, 0.002 * length, rng.uniform(0, 2 * np.pi, 3)]),
            urban=bool(rng.random() < kind.paved),
            bank_slope=float(rng.choice([0, 0, rng.uniform(0.03, 0.45), rng.uniform(-0.2, -0.03)])),
        )

    def to_world(self, u: ArrayLike, v: ArrayLike) -> NDArray[np.float64]:
        """Convert plan coordinates to (..., 2) world coordinates."""
        u, v = np.broadcast_arrays(np.asarray(u, dtype=np.float64), v)
        return np.stack([u, v + self.curvature * u**2 / 2], axis=-1)

    def to_plan(self, xy: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Convert (..., 2) world coordinates to plan coordinates."""
        return xy[..., 0], xy[..., 1] - self.curvature * xy[..., 0] ** 2 / 2

    @property
    def median_m(self) -> float:
        """Width of the strip in the middle of the main road, 0 for none."""
        return self.kerbs[0].median_m

    def distance_to_road(self, u: ArrayLike, v: ArrayLike) -> NDArray[np.float64]:
        """Return the (...) distances to the nearest road in metres, negative on a road."""
        u, v = np.broadcast_arrays(u, v)
        main: NDArray[np.float64] = np.abs(v) - self.kerbs[0].half_width_m
        if self.median_m:
            main = np.maximum(main, self.median_m / 2 - np.abs(v))
        if len(self.kerbs) == 2:
            return main
        side = self.kerbs[2]
        beside = np.abs(u - side.u - side.half_width_m) - side.half_width_m
        beyond = np.maximum(side.ends_m[0] - v, v - side.ends_m[1])
        return np.minimum(main, np.maximum(beside, beyond))

    def relief(self, xy: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the (...) heights in metres at (..., 2) world points, without kerb and bank."""
        wave = xy @ self.waves[:, :2].T + self.waves[:, 3]
        height: NDArray[np.float64] = xy @ self.slope + np.sin(wave) @ self.waves[:, 2]
        return height

    def kerb_rise(self, u: ArrayLike, v: ArrayLike) -> NDArray[np.float64]:
        """Return the (...) heights in metres that kerbs add to the relief."""
        behind_kerb = self.distance_to_road(u, v) > _KERB_FACE_M / 2
        return np.where(behind_kerb, self.kerb_height_m, 0.0)

    def bank_rise(self, u: ArrayLike, v: ArrayLike) -> NDArray[np.float64]:
        """Return the (...) heights in metres that the bank adds to the relief."""
        behind_m = self.distance_to_road(u, v) - self.pavement_m - 0.3
        return self.bank_slope * np.clip(behind_m, 0, _BANK_WIDTH_M)

    def ground_mesh(self, rng: np.random.Generator) -> tuple[Mesh, NDArray[np.uint32]]:
        """Return the ground and the (T,) uint32 classes of its triangles; grass is rough."""
        u, v = (self._grid_lines(axis) for axis in (0, 1))
        plan_u, plan_v = np.meshgrid(u, v, indexing="ij")
        xy = self.to_world(plan_u, plan_v)
        height = self.relief(xy) + self.kerb_rise(plan_u, plan_v) + self.bank_rise(plan_u, plan_v)
        behind = self.distance_to_road(plan_u, plan_v) > self.pavement_m + 0.1
        rough = 0.01 if self.urban else 0.05
        height += np.where(behind, np.abs(rng.normal(0, rough, height.shape)), 0)
        middle = self.distance_to_road(
            (u[1:] + u[:-1])[:, None] / 2, ((v[1:] + v[:-1]) / 2)[None]
        ).ravel()
        zone = np.repeat((middle >= 0).astype(int) + (middle >= self.pavement_m), 2)
        classes = np.array([ROAD, SIDEWALK, SIDEWALK if self.urban else TERRAIN], dtype=np.uint32)
        surface = np.array([_SURFACES[int(k)] for k in classes])[zone]
        vertices = np.concatenate([xy, height[..., None]], axis=-1).reshape(-1, 3)
        return Mesh(vertices, sheet_faces(len(u), len(v)), surface), classes[zone]

    def _grid_lines(self, axis: int) -> NDArray[np.float64]:
        """Return grid lines along u (0) or v (1), dense near the middle and exact at kerbs."""
        regular = 90 * np.sinh(np.linspace(-2.6, 2.6, 101)) / np.sinh(2.6)
        kerbs = self.kerbs[2:] if axis == 0 else self.kerbs[:2]
        lines = [regular]
        if axis == 1 and self.median_m:
            edge = self.median_m / 2
            lines.append(np.array([-edge, _KERB_FACE_M - edge, edge - _KERB_FACE_M, edge]))
        for kerb in kerbs:
            outward = (-np.sin(kerb.angle_rad), np.cos(kerb.angle_rad))[axis]
            place = (kerb.u, kerb.v)[axis]
            lines.append(place + outward * np.array([0, _KERB_FACE_M, self.pavement_m]))
        return np.unique(np.concatenate(lines))


def _random_kerbs(rng: np.random.Generator, kind: StreetKind) -> tuple[Kerb, ...]:
    """Return the kerbs of the main road and, if there is one, those of the side road."""
    left, right = np.where(rng.random(2) < kind.parking, 2.3, 0.0)
    num_lanes = int(rng.choice(kind.num_lanes))
    median = rng.uniform(1.5, 5.0) if rng.random() < kind.median else 0.0
    half = num_lanes * rng.uniform(*kind.lane_m) + median / 2 + max(left, right)
    ends = (-VIEW_M, VIEW_M)
    kerbs = [
        Kerb(0, half, 0, half, left, ends, num_lanes, median),
        Kerb(0, -half, np.pi, half, right, ends, num_lanes, median),
    ]
    if rng.random() < kind.side_road:
        reach = rng.choice(["left", "right", "both"], p=[0.31, 0.31, 0.38])
        at, width = rng.choice([-1, 1]) * rng.uniform(0, 35), rng.uniform(2.8, 4.0)
        low = -VIEW_M if reach in ("right", "both") else 0.0
        high = VIEW_M if reach in ("left", "both") else 0.0
        kerbs += [
            Kerb(at - width, 0, np.pi / 2, width, 0, (low, high)),
            Kerb(at + width, 0, -np.pi / 2, width, 0, (-high, -low)),
        ]
    return tuple(kerbs)
