"""Pillars of several sweeps as tensors: where NumPy ends and torch begins."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from bev_instseg.ops.neighbours import Shape
from bev_instseg.ops.network_input import CellPyramid, NetworkInput
from bev_instseg.structures import Int32, Pillars


@dataclass(frozen=True, eq=False)
class Level:
    """The occupied cells at one stride, as `CellNeighbours`; all tensors are int32.

    Attributes:
        neighbours: (P, 9) row of each neighbour, P if there is none.
        slot: (P,) ``4 * parent + quarter``; parents are rows of the next level.
        children: (Q, 4) row of each quarter of the Q parents, P if empty.
        cells: (P,) flat index into ``shape``, without padding; only spconv needs it.
        shape: (B, nx, ny) of the grids at this stride.
        spconv_indices: Index pairs that spconv computes in the first layer and reuses afterwards.
    """

    neighbours: Tensor
    slot: Tensor
    children: Tensor
    cells: Tensor
    shape: Shape
    spconv_indices: dict[str, Any] = field(default_factory=dict)

    def map_tensors(self, function: Callable[[Tensor], Tensor]) -> "Level":
        """Return the level with a function applied to each tensor.

        Args:
            function: For example, one that moves a tensor to a device.
        """
        return Level(
            function(self.neighbours),
            function(self.slot),
            function(self.children),
            function(self.cells),
            self.shape,
        )


@dataclass(frozen=True, eq=False)
class Pyramid:
    """Occupied cells of a stack of grids, as `CellPyramid`; all tensors are int32.

    Attributes:
        levels: The sparse levels, from stride 1 on.
        rows: (B, mx, my) row of each cell of the maps at the next stride; R if empty.
        cells: (R,) flat index of each row into ``rows``.
    """

    levels: tuple[Level, ...]
    rows: Tensor
    cells: Tensor

    @staticmethod
    def build(cells: Int32, shape: Shape, sparse_levels: int) -> "Pyramid":
        """Find the neighbours and parents of occupied cells at each sparse level.

        Args:
            cells: (P,) int32 flat indices of the occupied cells into ``shape``.
            shape: (B, nx, ny) of the grids.
            sparse_levels: Number of sparse levels.

        Raises:
            ValueError: As for `CellPyramid.build`.
        """
        return Pyramid.from_numpy(CellPyramid.build(cells, shape, sparse_levels))

    @staticmethod
    def from_numpy(pyramid: CellPyramid) -> "Pyramid":
        """Share the memory of NumPy arrays.

        Args:
            pyramid: The occupied cells and their neighbours.
        """
        batch, nx, ny = pyramid.rows.shape
        levels = []
        for i, (found, cells) in enumerate(zip(pyramid.levels, pyramid.level_cells, strict=True)):
            scale = 2 ** (len(pyramid.levels) - i)
            levels.append(
                Level(
                    torch.from_numpy(found.neighbours),
                    torch.from_numpy(found.slot),
                    torch.from_numpy(found.children),
                    torch.from_numpy(cells),
                    (batch, scale * nx, scale * ny),
                )
            )
        return Pyramid(
            tuple(levels), torch.from_numpy(pyramid.rows), torch.from_numpy(pyramid.cells)
        )

    def map_tensors(self, function: Callable[[Tensor], Tensor]) -> "Pyramid":
        """Return the pyramid with a function applied to each tensor.

        Args:
            function: For example, one that moves a tensor to a device.
        """
        levels = tuple(level.map_tensors(function) for level in self.levels)
        return Pyramid(levels, function(self.rows), function(self.cells))


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
    def from_pillars(sweeps: Sequence[Pillars], sparse_levels: int) -> "PillarBatch":
        """Stack the pillars of sweeps whose grids have the same shape.

        Args:
            sweeps: The pillars of each sweep; at least one.
            sparse_levels: The network's number of sparse levels.

        Raises:
            ValueError: As for `NetworkInput.from_pillars`.
        """
        return PillarBatch.from_numpy(NetworkInput.from_pillars(sweeps, sparse_levels))

    @staticmethod
    def from_numpy(arrays: NetworkInput) -> "PillarBatch":
        """Share the memory of NumPy arrays.

        Args:
            arrays: The pillars, with or without padding.
        """
        return PillarBatch(
            torch.from_numpy(arrays.features),
            torch.from_numpy(arrays.centres_m),
            Pyramid.from_numpy(arrays.pyramid),
        )

    @staticmethod
    def from_tensors(features: Tensor, centres_m: Tensor, *indices: Tensor) -> "PillarBatch":
        """Return the batch of the tensors in the order of `NetworkInput.arrays`.

        Its levels lack their ``cells``, which only spconv needs.

        Args:
            features: (P, F) float32 raw pillar features.
            centres_m: (P, 2) float32 cell centres, metres.
            *indices: int32 neighbours, slot and children of each sparse level, rows and cells.
        """
        *of_levels, rows, cells = indices
        batch, nx, ny = rows.shape
        levels = []
        for first in range(0, len(of_levels), 3):
            neighbours, slot, children = of_levels[first : first + 3]
            scale = 2 ** ((len(of_levels) - first) // 3)
            shape = (batch, scale * nx, scale * ny)
            levels.append(Level(neighbours, slot, children, slot[:0], shape))
        return PillarBatch(features, centres_m, Pyramid(tuple(levels), rows, cells))

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
