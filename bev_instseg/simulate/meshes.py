"""Triangle meshes from a few primitives: all that the simulated street is built of.

Own frames of objects: x forward, y left, z up, metres, standing on z = 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Float = NDArray[np.float64]
Int = NDArray[np.int64]
Vector = Sequence[float] | Float

_AXES = np.eye(3)


class Material(NamedTuple):
    """How a surface answers the laser.

    Attributes:
        reflectivity: intensity when hit squarely and near; number plates exceed 1.
        gloss: intensity falls with ``cos(incidence) ** gloss``.
        returns: probability 0..1 that a near pulse comes back at all (glass: low).
    """

    reflectivity: float
    gloss: float = 0.3
    returns: float = 1.0


@dataclass(frozen=True, eq=False)
class Mesh:
    """Triangles and what they are made of.

    Attributes:
        vertices: (V, 3) float64 metres.
        triangles: (T, 3) int64 vertex indices.
        surface: (T, 3) float64 columns of `Material`, one row per triangle.
    """

    vertices: Float
    triangles: Int
    surface: Float

    def moved(self, offset: ArrayLike) -> "Mesh":
        """The mesh shifted by (3,) metres."""
        return replace(self, vertices=self.vertices + np.asarray(offset, dtype=np.float64))

    def repeated(self, offsets: ArrayLike) -> "Mesh":
        """Copies of the mesh at (K, 3) offsets in metres, as one mesh."""
        shifts = np.asarray(offsets, dtype=np.float64)
        starts = np.arange(len(shifts)) * len(self.vertices)
        return Mesh(
            (self.vertices + shifts[:, None]).reshape(-1, 3),
            (self.triangles + starts[:, None, None]).reshape(-1, 3),
            np.tile(self.surface, (len(shifts), 1)),
        )


def join(*meshes: Mesh) -> Mesh:
    """One mesh of all triangles."""
    starts = np.cumsum([0, *(len(m.vertices) for m in meshes)])
    return Mesh(
        np.concatenate([m.vertices for m in meshes]),
        np.concatenate([m.triangles + s for m, s in zip(meshes, starts, strict=False)]),
        np.concatenate([m.surface for m in meshes]),
    )


def fitted(mesh: Mesh, size: Vector) -> Mesh:
    """The mesh stretched to (3,) length, width and height in metres, standing on z = 0."""
    low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
    base = np.array([*((low + high)[:2] / 2), low[2]])
    scale = np.asarray(size) / (high - low)
    return Mesh((mesh.vertices - base) * scale, mesh.triangles, mesh.surface)


def sheet_faces(rows: int, columns: int, closed: bool = False) -> Int:
    """Triangles of a sheet of ``rows x columns`` vertices, two per cell, cell by cell.

    Args:
        closed: the last column joins the first, as in a tube.

    Returns:
        (2 * (rows - 1) * cells, 3) int64, where cells is columns, one less if open.
    """
    row = np.arange(rows - 1)[:, None] * columns
    column = np.arange(columns if closed else columns - 1)
    a, b = row + column, row + (column + 1) % columns
    c, d = a + columns, b + columns
    return np.stack([a, b, d, a, d, c], axis=-1).reshape(-1, 3)


def tube(path: ArrayLike, radius: ArrayLike, material: Material, sides: int = 8) -> Mesh:
    """A capped tube along a path; also limbs, wheels, poles, heads and (closed path) tori.

    Args:
        path: (P, 3) centre line, metres, or (B, P, 3) for as many tubes in one mesh.
        radius: metres; a number, (P, 1) or, along two directions, (P, 2): the first is across
            and lies near the coordinate axis that the tube keeps away from most.
        sides: corners of the cross section.
    """
    line = np.asarray(path, dtype=np.float64)
    line = line.reshape(-1, *line.shape[-2:])
    steps = line[:, 1:] - line[:, :-1]
    along = _unit(
        np.concatenate([steps[:, :1], steps[:, 1:] + steps[:, :-1], steps[:, -1:]], axis=1)
    )
    level = _AXES[np.abs(along).sum(axis=1).argmin(axis=1)][:, None]
    across = _unit(level - along * (along * level).sum(axis=2, keepdims=True))
    spokes = np.asarray(radius) * _circle(sides)  # (sides, P, 2)
    rings = spokes[..., :1] * across[:, None] + spokes[..., 1:] * _cross(along, across)[:, None]
    vertices, triangles, _ = _capped(
        rings.swapaxes(1, 2) + line[:, :, None], line[:, 0], line[:, -1]
    )
    return Mesh(vertices, triangles, np.broadcast_to(material, (len(triangles), 3)))


def loft(
    x: ArrayLike,
    low: ArrayLike,
    high: ArrayLike,
    wide_low: ArrayLike,
    wide_high: ArrayLike,
    side: Material,
    top: Material | None = None,
) -> Mesh:
    """A closed body of four-cornered cross sections along x: car bodies, cabins, boxes, roofs.

    Args:
        x: (S,) positions, metres.
        low, high: (S,) or number; height of the lower and the upper edge, metres.
        wide_low, wide_high: (S,) or number; half width at those edges, metres.
        side, top: materials; ``top`` (default: ``side``) covers the upper face.
    """
    rings = np.empty((1, np.size(x), 4, 3))
    rings[..., 0] = np.asarray(x)[:, None]
    rings[..., 0, 1], rings[..., 1, 1] = wide_low, wide_high
    rings[..., 2:, 1] = -rings[..., 1::-1, 1]
    rings[..., 0, 2], rings[..., 1, 2] = low, high
    rings[..., 2:, 2] = rings[..., 1::-1, 2]
    ends = rings[0, [0, -1]].mean(axis=1)
    vertices, triangles, sides = _capped(rings, ends[:1], ends[1:])
    return Mesh(vertices, triangles, np.array([side, top or side, side, side])[sides])


def box(size: Vector, centre: Vector, material: Material) -> Mesh:
    """An upright box: (3,) size and (3,) centre of its bottom face, metres."""
    length, width, height = size
    ends = (-length / 2, length / 2)
    return loft(ends, 0, height, width / 2, width / 2, material).moved(centre)


def ball(centre: Vector, radii: Vector, material: Material) -> Mesh:
    """An ellipsoid: (3,) centre and (3,) half axes, metres."""
    polar = np.linspace(0.1, np.pi - 0.1, 6)
    path = np.column_stack([np.zeros((6, 2)), -np.cos(polar)])
    mesh = tube(path, np.sin(polar)[:, None], material)
    return replace(mesh, vertices=mesh.vertices * np.asarray(radii) + np.asarray(centre))


def leaves(rng: np.random.Generator, centres: Float, size_m: float) -> Mesh:
    """Loose randomly turned triangles about (L, 3) centres: what a laser sees of foliage."""
    corners = centres[:, None] + rng.uniform(-size_m, size_m, (len(centres), 3, 3))
    triangles = np.arange(3 * len(centres)).reshape(-1, 3)
    return Mesh(corners.reshape(-1, 3), triangles, leaf_surface(rng, len(centres)))


def leaf_surface(rng: np.random.Generator, count: int) -> Float:
    """(count, 3) `Material` of leaves, each of another green."""
    surface = np.tile(np.array(Material(0.5)), (count, 1))
    surface[:, 0] *= rng.uniform(0.6, 1.4, count)
    return surface


def _capped(rings: Float, start: Float, end: Float) -> tuple[Float, Int, Int]:
    """Close tubes of rings (B, P, S, 3) by points (B, 3): vertices, triangles, side of each."""
    batch, count, sides, _ = rings.shape
    vertices = np.empty((batch, count + 2, sides, 3))
    vertices[:, 0], vertices[:, 1:-1], vertices[:, -1] = start[:, None], rings, end[:, None]
    return vertices.reshape(-1, 3), *_tube_faces(batch, count + 2, sides)


@cache
def _tube_faces(batch: int, rings: int, sides: int) -> tuple[Int, Int]:
    """(T, 3) triangles of ``batch`` tubes of so many rings, and the (T,) side each lies on.

    The first and the last ring are points, so half of the triangles there are none.
    """
    faces = sheet_faces(rings, sides, closed=True)
    side = np.tile(np.repeat(np.arange(sides), 2), rings - 1)
    real = np.ones(len(faces), dtype=bool)
    real[: 2 * sides : 2] = real[1 - 2 * sides :: 2] = False
    starts = np.arange(batch)[:, None, None] * (rings * sides)
    return (faces[real] + starts).reshape(-1, 3), np.tile(side[real], batch)


@cache
def _circle(sides: int) -> Float:
    """(sides, 1, 2) corners of the unit circle."""
    angle = np.arange(sides) * (2 * np.pi / sides)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)[:, None]


def _unit(vectors: Float) -> Float:
    """(..., 3) at length 1."""
    return vectors / np.sqrt((vectors**2).sum(axis=-1, keepdims=True))


def _cross(a: Float, b: Float) -> Float:
    """(..., 3) cross product; ``np.cross`` takes several times as long on few vectors."""
    first, second = [1, 2, 0], [2, 0, 1]
    return a[..., first] * b[..., second] - a[..., second] * b[..., first]
