"""What the network needs of the pillars of several sweeps, as NumPy arrays for any runtime."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from bev_instseg.ops.neighbours import CellNeighbours, Shape, find_neighbours
from bev_instseg.structures import Float32, Int32, Pillars

Scalar = TypeVar("Scalar", bound=np.generic)

OUTPUT_NAMES = ("centre_m", "precision", "seed")  # of an exported network: `PillarEmbeddings`


def input_names(sparse_levels: int) -> tuple[str, ...]:
    """Return the names of the inputs of an exported network, in their order.

    Args:
        sparse_levels: Its number of sparse levels.
    """
    kinds = ("neighbours", "slot", "children")
    indices = (f"{kind}_{level}" for level in range(sparse_levels) for kind in kinds)
    return ("features", "centres_m", *indices, "rows", "cells")


@dataclass(frozen=True, eq=False)
class CellPyramid:
    """Occupied cells of a stack of B grids at the sparse levels, and the maps after them.

    Attributes:
        levels: Neighbours and parents of the occupied cells at strides 1, 2, ...
        level_cells: Their flat indices into the grids of their stride, (P,) int32 each.
        rows: (B, mx, my) int32 row of each cell of the maps; the number of rows if empty.
        cells: (R',) int32 occupied cell of each row, flat index into ``rows``; 0 in the padding.
    """

    levels: tuple[CellNeighbours, ...]
    level_cells: tuple[Int32, ...]
    rows: Int32
    cells: Int32

    @staticmethod
    def build(cells: Int32, shape: Shape, sparse_levels: int, step: int = 1) -> "CellPyramid":
        """Find the neighbours and parents of occupied cells at each sparse level.

        Args:
            cells: (P,) int32 flat indices of the occupied cells into ``shape``.
            shape: (B, nx, ny) of the grids.
            sparse_levels: Number of sparse levels.
            step: The number of rows of each level is rounded up to a multiple of this.

        Raises:
            ValueError: nx or ny is not a multiple of the stride after the last sparse level.
        """
        stride = 2**sparse_levels
        batch, nx, ny = shape
        if nx % stride or ny % stride:
            raise ValueError(
                f"the sides of a grid of {nx} x {ny} cells must be multiples of {stride}"
            )
        levels, level_cells = [], []
        for _ in range(sparse_levels):
            levels.append(find_neighbours(cells, shape, step))
            level_cells.append(cells)
            cells, shape = levels[-1].parents, (batch, shape[1] // 2, shape[2] // 2)
        num_rows = len(levels[-1].children)
        rows = np.full(shape, num_rows, np.int32)
        rows.flat[cells] = np.arange(len(cells))
        return CellPyramid(tuple(levels), tuple(level_cells), rows, pad_rows(cells, num_rows))


@dataclass(frozen=True, eq=False)
class NetworkInput:
    """Occupied pillars of B sweeps on grids of one shape, sweep after sweep, and padding.

    Attributes:
        features: (P', F) float32 raw pillar features; 0 in the padding.
        centres_m: (P', 2) float32 cell centres, metres; 0 in the padding.
        pyramid: The pillars' cells and their neighbours.
        num_pillars: The number of pillars, P; rows beyond it are padding.
    """

    features: Float32
    centres_m: Float32
    pyramid: CellPyramid
    num_pillars: int

    @staticmethod
    def from_pillars(
        sweeps: Sequence[Pillars], sparse_levels: int, step: int = 1
    ) -> "NetworkInput":
        """Stack the pillars of sweeps whose grids have the same shape.

        Args:
            sweeps: The pillars of each sweep; at least one.
            sparse_levels: The network's number of sparse levels.
            step: The number of rows of each level is rounded up to a multiple of this: runtimes
                compile code for each number of rows that they meet.

        Raises:
            ValueError: There is no sweep, the grids differ in shape, their sides are not multiples
                of the maps' stride, or they have more cells in all than int32 can index.
        """
        shapes = {pillars.grid.shape for pillars in sweeps}
        if len(shapes) != 1:
            raise ValueError(f"a batch needs grids of one shape, got {sorted(shapes)}")
        nx, ny = shapes.pop()
        if len(sweeps) * nx * ny > np.iinfo(np.int32).max:
            raise ValueError(f"{len(sweeps)} grids of {nx} x {ny} cells are too many for a batch")
        cells = [pillars.cells + np.int32(b * nx * ny) for b, pillars in enumerate(sweeps)]
        pyramid = CellPyramid.build(
            np.concatenate(cells), (len(sweeps), nx, ny), sparse_levels, step
        )
        num_rows = len(pyramid.levels[0].slot)
        return NetworkInput(
            pad_rows(np.concatenate([pillars.features for pillars in sweeps]), num_rows),
            pad_rows(np.concatenate([pillars.centres_m for pillars in sweeps]), num_rows),
            pyramid,
            sum(len(pillars.cells) for pillars in sweeps),
        )

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return the arrays by the names of the inputs of an exported network."""
        pyramid = self.pyramid
        indices = (
            array
            for level in pyramid.levels
            for array in (level.neighbours, level.slot, level.children)
        )
        arrays = (self.features, self.centres_m, *indices, pyramid.rows, pyramid.cells)
        return dict(zip(input_names(len(pyramid.levels)), arrays, strict=True))


def pad_rows(array: NDArray[Scalar], num_rows: int) -> NDArray[Scalar]:
    """Return an array with zeros appended along its first axis.

    Args:
        array: (P, ...) array.
        num_rows: Length of the result, P or more.
    """
    if len(array) == num_rows:
        return array
    padded = np.zeros((num_rows, *array.shape[1:]), array.dtype)
    padded[: len(array)] = array
    return padded
