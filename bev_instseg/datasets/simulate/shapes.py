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


class Material(NamedTuple):
    """How a surface answers the laser.

    Attributes:
        reflectivity: intensity 0..1 when hit squarely and near.
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


@cache
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
        path: (P, 3) centre line, metres.
        radius: metres; a number, (P, 1) or, across and along the normal of the bend, (P, 2).
        sides: corners of the cross section.
    """
    line = np.asarray(path, dtype=np.float64)
    along = np.gradient(line, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    level = np.eye(3)[np.abs(along).sum(axis=0).argmin()]
    across = level - along * (along @ level)[:, None]
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    ring = np.stack([across, _cross(along, across)], axis=1)  # (P, 2, 3)
    ring *= np.broadcast_to(radius, (len(line), 2))[:, :, None]
    angle = np.arange(sides) * (2 * np.pi / sides)
    rings = line[:, None] + np.stack([np.cos(angle), np.sin(angle)], axis=1) @ ring
    return _capped(rings, line[0], line[-1], np.broadcast_to(material, (sides, 3)))


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
        x, low, high: (S,) or number; position and height of the lower and upper edge, metres.
        wide_low, wide_high: (S,) or number; half width at those edges, metres.
        side, top: materials; ``top`` (default: ``side``) covers the upper face.
    """
    x, low, high, wl, wh = np.broadcast_arrays(x, low, high, wide_low, wide_high)
    corners = [(wl, low), (wh, high), (-wh, high), (-wl, low)]
    rings = np.stack([np.stack([x, y, z], axis=-1) for y, z in corners], axis=1)
    rings = rings.astype(np.float64)
    surface = np.array([side, top or side, side, side])
    return _capped(rings, rings[0].mean(axis=0), rings[-1].mean(axis=0), surface)


def box(size: Sequence[float], centre: Sequence[float], material: Material) -> Mesh:
    """An upright box: (3,) size and (3,) centre of its bottom face, metres."""
    (length, width, height), half = size, size[0] / 2
    return loft((-half, half), 0, height, width / 2, width / 2, material).moved(centre)


def ball(centre: Sequence[float], radii: Sequence[float], material: Material) -> Mesh:
    """An ellipsoid: (3,) centre and (3,) half axes, metres."""
    polar = np.linspace(0.1, np.pi - 0.1, 6)
    path = np.column_stack([np.zeros((6, 2)), -np.cos(polar)])
    mesh = tube(path, np.sin(polar)[:, None], material)
    return replace(mesh, vertices=mesh.vertices * np.asarray(radii) + np.asarray(centre))


def leaves(
    rng: np.random.Generator, centres: Float, size_m: float, reflectivity: float = 0.42
) -> Mesh:
    """Loose randomly turned triangles about (L, 3) centres: what a laser sees of foliage."""
    corners = centres[:, None] + rng.normal(0, size_m, (len(centres), 3, 3))
    surface = np.tile(np.array(Material(reflectivity)), (len(centres), 1))
    surface[:, 0] *= rng.uniform(0.6, 1.3, len(centres))
    return Mesh(corners.reshape(-1, 3), np.arange(3 * len(centres)).reshape(-1, 3), surface)


def _capped(rings: Float, start: Float, end: Float, surface: NDArray) -> Mesh:
    """Join (P, S, 3) rings to a tube closed by two points; ``surface`` (S, 3) is one per side."""
    count, sides, _ = rings.shape
    ends = [np.broadcast_to(point, (1, sides, 3)) for point in (start, end)]
    vertices = np.concatenate([ends[0], rings, ends[1]]).reshape(-1, 3)
    per_triangle = np.tile(np.repeat(surface, 2, axis=0), (count + 1, 1))
    return Mesh(vertices, sheet_faces(count + 2, sides, closed=True), per_triangle)


def _cross(a: Float, b: Float) -> Float:
    """Row-wise cross product; ``np.cross`` takes several times as long on few rows."""
    return a[:, [1, 2, 0]] * b[:, [2, 0, 1]] - a[:, [2, 0, 1]] * b[:, [1, 2, 0]]
