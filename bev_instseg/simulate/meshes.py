"""Triangle meshes and the primitives that every simulated object is built from.

`tube`, `loft`, `box`, `ball` and `leaves` make a `Mesh`; `join` merges several.
Object frames: x forward, y left, z up, in metres; objects stand on z = 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

_Float = NDArray[np.float64]
_Int = NDArray[np.int64]
_Vector = Sequence[float] | _Float

_AXES = np.eye(3)


class Material(NamedTuple):
    """How a surface reflects the laser.

    Attributes:
        reflectivity: Intensity at normal incidence and short range; above 1 for number plates.
        gloss: Exponent: intensity falls with ``cos(incidence) ** gloss``.
        returns: Probability 0..1 that a pulse returns at short range; low for glass.
    """

    reflectivity: float
    gloss: float = 0.3
    returns: float = 1.0


class Edge(NamedTuple):
    """Lower or upper edge of the cross sections of a `loft`.

    Attributes:
        height: (S,) or number, metres above z = 0.
        half_width: (S,) or number, metres to either side of y = 0.
    """

    height: ArrayLike
    half_width: ArrayLike


@dataclass(frozen=True, eq=False)
class Mesh:
    """Triangles and their materials.

    Attributes:
        vertices: (V, 3) float64 positions in metres.
        triangles: (T, 3) int64 vertex indices.
        surface: (T, 3) float64, the fields of each triangle's `Material`.
    """

    vertices: _Float
    triangles: _Int
    surface: _Float

    def moved(self, offset: ArrayLike) -> "Mesh":
        """Return the mesh shifted by (3,) metres."""
        return replace(self, vertices=self.vertices + np.asarray(offset, dtype=np.float64))

    def turned(self, angle_rad: float) -> "Mesh":
        """Return the mesh turned counter-clockwise about the z axis."""
        c, s = np.cos(angle_rad), np.sin(angle_rad)
        return replace(self, vertices=self.vertices @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]]))

    def leaning(self, slope: float) -> "Mesh":
        """Return the mesh sheared to the left: by ``slope`` metres per metre of height."""
        return replace(self, vertices=self.vertices + self.vertices[:, 2:] * [[0, slope, 0]])

    def scaled(self, factor: float) -> "Mesh":
        """Return the mesh scaled about its origin."""
        return replace(self, vertices=self.vertices * factor)

    def repeated(self, offsets: ArrayLike) -> "Mesh":
        """Return one mesh of copies at (K, 3) offsets in metres."""
        shifts = np.asarray(offsets, dtype=np.float64)
        starts = np.arange(len(shifts)) * len(self.vertices)
        return Mesh(
            (self.vertices + shifts[:, None]).reshape(-1, 3),
            (self.triangles + starts[:, None, None]).reshape(-1, 3),
            np.tile(self.surface, (len(shifts), 1)),
        )


def join(*meshes: Mesh) -> Mesh:
    """Merge meshes into one."""
    starts = np.cumsum([0, *(len(m.vertices) for m in meshes)])
    return Mesh(
        np.concatenate([m.vertices for m in meshes]),
        np.concatenate([m.triangles + s for m, s in zip(meshes, starts, strict=False)]),
        np.concatenate([m.surface for m in meshes]),
    )


def fitted(mesh: Mesh, size: _Vector) -> Mesh:
    """Stretch a mesh to a length, width and height in metres, centred and standing on z = 0."""
    low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
    base = np.array([*((low + high)[:2] / 2), low[2]])
    scale = np.asarray(size) / (high - low)
    return Mesh((mesh.vertices - base) * scale, mesh.triangles, mesh.surface)


def sheet_faces(rows: int, columns: int, closed: bool = False) -> _Int:
    """Return the triangles of a sheet of ``rows x columns`` vertices, two per cell, cell by cell.

    Args:
        rows: Number of rows of vertices.
        columns: Number of vertices per row.
        closed: Join the last column to the first, as in a tube.

    Returns:
        (2 * (rows - 1) * C, 3) int64 vertex indices, where C is ``columns``, or one less if open.
    """
    row = np.arange(rows - 1)[:, None] * columns
    column = np.arange(columns if closed else columns - 1)
    a, b = row + column, row + (column + 1) % columns
    c, d = a + columns, b + columns
    return np.stack([a, b, d, a, d, c], axis=-1).reshape(-1, 3)


def tube(path: ArrayLike, radius: ArrayLike, material: Material, sides: int = 8) -> Mesh:
    """Sweep a polygon along a path and cap it: limbs, wheels, poles, heads, tori (closed path).

    Args:
        path: (P, 3) centre line in metres, or (B, P, 3) for B tubes in one mesh.
        radius: Metres: a number, (P, 1), or (P, 2) for two directions of the cross section. The
            first is close to the coordinate axis most nearly perpendicular to the path.
        material: Material of the whole tube.
        sides: Number of corners of the cross section.
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
    x: ArrayLike, bottom: Edge, top: Edge, material: Material, top_material: Material | None = None
) -> Mesh:
    """Join four-cornered cross sections along x to a closed body: car bodies, cabins, boxes, roofs.

    Args:
        x: (S,) positions of the cross sections, metres.
        bottom: Lower edge of each cross section.
        top: Upper edge of each cross section.
        material: Material of the body.
        top_material: Material of the upper face, if different.
    """
    rings = np.empty((1, np.size(x), 4, 3))
    rings[..., 0] = np.asarray(x)[:, None]
    rings[..., 0, 1], rings[..., 1, 1] = bottom.half_width, top.half_width
    rings[..., 2:, 1] = -rings[..., 1::-1, 1]
    rings[..., 0, 2], rings[..., 1, 2] = bottom.height, top.height
    rings[..., 2:, 2] = rings[..., 1::-1, 2]
    ends = rings[0, [0, -1]].mean(axis=1)
    vertices, triangles, sides = _capped(rings, ends[:1], ends[1:])
    materials = np.array([material, top_material or material, material, material])
    return Mesh(vertices, triangles, materials[sides])


def box(size: _Vector, base: _Vector, material: Material) -> Mesh:
    """Return an upright box of (3,) size, centred above (3,) ``base``, metres."""
    length, width, height = size
    ends = (-length / 2, length / 2)
    return loft(ends, Edge(0, width / 2), Edge(height, width / 2), material).moved(base)


def ball(centre: _Vector, radii: _Vector, material: Material) -> Mesh:
    """Return an ellipsoid of (3,) centre and (3,) half axes, metres."""
    polar = np.linspace(0.1, np.pi - 0.1, 6)
    path = np.column_stack([np.zeros((6, 2)), -np.cos(polar)])
    mesh = tube(path, np.sin(polar)[:, None], material)
    return replace(mesh, vertices=mesh.vertices * np.asarray(radii) + np.asarray(centre))


def leaves(rng: np.random.Generator, centres: _Float, size_m: float) -> Mesh:
    """Return foliage: one randomly turned triangle at each of (L, 3) centres."""
    corners = centres[:, None] + rng.uniform(-size_m, size_m, (len(centres), 3, 3))
    triangles = np.arange(3 * len(centres)).reshape(-1, 3)
    return Mesh(corners.reshape(-1, 3), triangles, leaf_surface(rng, len(centres)))


def leaf_surface(rng: np.random.Generator, num_leaves: int) -> _Float:
    """Return the (num_leaves, 3) `Mesh.surface` of leaves of varying reflectivity."""
    surface = np.tile(np.array(Material(0.5)), (num_leaves, 1))
    surface[:, 0] *= rng.uniform(0.6, 1.4, num_leaves)
    return surface


def _capped(rings: _Float, start: _Float, end: _Float) -> tuple[_Float, _Int, _Int]:
    """Close (B, P, S, 3) tubes by (B, 3) end points; return vertices, triangles and their sides."""
    num_tubes, num_rings, sides, _ = rings.shape
    vertices = np.empty((num_tubes, num_rings + 2, sides, 3))
    vertices[:, 0], vertices[:, 1:-1], vertices[:, -1] = start[:, None], rings, end[:, None]
    return vertices.reshape(-1, 3), *_tube_faces(num_tubes, num_rings + 2, sides)


@cache
def _tube_faces(num_tubes: int, num_rings: int, sides: int) -> tuple[_Int, _Int]:
    """Return the (T, 3) triangles of capped tubes and the (T,) side that each belongs to.

    The first and last ring are points, so half of their triangles are degenerate and left out.
    """
    faces = sheet_faces(num_rings, sides, closed=True)
    side = np.tile(np.repeat(np.arange(sides), 2), num_rings - 1)
    real = np.ones(len(faces), dtype=bool)
    real[: 2 * sides : 2] = real[1 - 2 * sides :: 2] = False
    starts = np.arange(num_tubes)[:, None, None] * (num_rings * sides)
    return (faces[real] + starts).reshape(-1, 3), np.tile(side[real], num_tubes)


@cache
def _circle(sides: int) -> _Float:
    """Return the (sides, 1, 2) corners of a polygon inscribed in the unit circle."""
    angle = np.arange(sides) * (2 * np.pi / sides)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)[:, None]


def _unit(vectors: _Float) -> _Float:
    """Scale (..., 3) vectors to length 1."""
    length: _Float = np.sqrt((vectors**2).sum(axis=-1, keepdims=True))
    return vectors / length


def _cross(a: _Float, b: _Float) -> _Float:
    """Return the (..., 3) cross product; much faster than ``np.cross`` on few vectors."""
    first, second = [1, 2, 0], [2, 0, 1]
    return a[..., first] * b[..., second] - a[..., second] * b[..., first]
