"""Pillars of several sweeps as tensors: where NumPy ends and torch begins."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bev_instseg.ops.neighbours import Shape, find_neighbours
from bev_instseg.structures import Int32, Pillars

SPARSE_LEVELS = 2  # strides 1 and 2 of the grid are computed at occupied cells only


@dataclass(frozen=True, eq=False)
class Level:
    """The P occupied cells at one stride, with `CellNeighbours` as tensors.

    Attributes:
        neighbours: (P, 9) int32 row of each neighbour, P if there is none.
        slot: (P,) int64 ``4 * parent + child``; parents are rows of the next level.
        num_parents: The number of occupied cells at twice the stride.
        cells: (P,) int32 flat index into ``shape``.
        shape: (B, nx, ny) of the grids at this stride.
        spconv_indices: Index pairs that spconv computes in the first layer and reuses afterwards.
    """

    neighbours: Tensor
    slot: Tensor
    num_parents: int
    cells: Tensor
    shape: Shape
    spconv_indices: dict[str, Any] = field(default_factory=dict)

    def map_tensors(self, function: Callable[[Tensor], Tensor]) -> "Level":
        """Return the level with a function applied to each tensor.

        Args:
            function: Moves a tensor, say.
        """
        neighbours, slot, cells = map(function, (self.neighbours, self.slot, self.cells))
        return Level(neighbours, slot, self.num_parents, cells, self.shape)


@dataclass(frozen=True, eq=False)
class Pyramid:
    """Occupied cells of a stack of grids, at strides 1, 2, 4, ...

    Attributes:
        levels: The sparse levels, from stride 1 on.
        cells: (Q,) int64 occupied cells at the next stride, flat index into ``shape``.
        shape: (B, nx, ny) of the maps at that stride.
    """

    levels: tuple[Level, ...]
    cells: Tensor
    shape: Shape

    @staticmethod
    def build(cells: Int32, shape: Shape) -> "Pyramid":
        """Find the neighbours and parents of occupied cells at each sparse level.

        Args:
            cells: (P,) int32 flat indices of the occupied cells into ``shape``.
            shape: (B, nx, ny) of the grids.

        Raises:
            ValueError: nx or ny is not a multiple of the stride after the last sparse level.
        """
        stride = 2**SPARSE_LEVELS
        batch, nx, ny = shape
        if nx % stride or ny % stride:
            raise ValueError(
                f"the sides of a grid of {nx} x {ny} cells must be multiples of {stride}"
            )
        levels = []
        for _ in range(SPARSE_LEVELS):
            found = find_neighbours(cells, shape)
            levels.append(
                Level(
                    torch.from_numpy(found.neighbours),
                    torch.from_numpy(found.slot),
                    len(found.parents),
                    torch.from_numpy(cells),
                    shape,
                )
            )
            cells, shape = found.parents, (batch, shape[1] // 2, shape[2] // 2)
        return Pyramid(tuple(levels), torch.from_numpy(cells).long(), shape)

    def map_tensors(self, function: Callable[[Tensor], Tensor]) -> "Pyramid":
        """Return the pyramid with a function applied to each tensor.

        Args:
            function: Moves a tensor, say.
        """
        levels = tuple(level.map_tensors(function) for level in self.levels)
        return Pyramid(levels, function(self.cells), self.shape)


@dataclass(frozen=True, eq=False)
class PillarBatch:
    """Occupied pillars of B sweeps on grids of one shape, sweep after sweep.

    Attributes:
        features: (P, F) float32 raw pillar features.
        centres_m: (P, 2) float32 cell centres, metres.
        pyramid: The pillars' cells and their neighbours.
    """

    features: Tensor
    centres_m: Tensor
    pyramid: Pyramid

    @staticmethod
    def from_pillars(sweeps: Sequence[Pillars]) -> "PillarBatch":
        """Stack the pillars of sweeps whose grids have the same shape.

        Args:
            sweeps: The pillars of each sweep; at least one.

        Raises:
            ValueError: There is no sweep, the grids differ in shape, their sides are not multiples
                of 4, or they have more cells in all than int32 can index.
        """
        shapes = {pillars.grid.shape for pillars in sweeps}
        if len(shapes) != 1:
            raise ValueError(f"a batch needs grids of one shape, got {sorted(shapes)}")
        nx, ny = shapes.pop()
        if len(sweeps) * nx * ny > np.iinfo(np.int32).max:
            raise ValueError(f"{len(sweeps)} grids of {nx} x {ny} cells are too many for a batch")
        cells = [pillars.cells + np.int32(b * nx * ny) for b, pillars in enumerate(sweeps)]
        return PillarBatch(
            torch.from_numpy(np.concatenate([pillars.features for pillars in sweeps])),
            torch.from_numpy(np.concatenate([pillars.centres_m for pillars in sweeps])),
            Pyramid.build(np.concatenate(cells), (len(sweeps), nx, ny)),
        )

    def to(self, device: torch.device | str) -> "PillarBatch":
        """Return the batch on a device.

        Args:
            device: As for `Tensor.to`.
        """
        return self._map_tensors(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> "PillarBatch":
        """Return the batch in page-locked memory, from which a GPU copies without waiting."""
        return self._map_tensors(Tensor.pin_memory)

    def _map_tensors(self, function: Callable[[Tensor], Tensor]) -> "PillarBatch":
        pyramid = self.pyramid.map_tensors(function)
        return PillarBatch(function(self.features), function(self.centres_m), pyramid)
