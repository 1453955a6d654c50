"""Pillars of several sweeps as tensors: the seam between NumPy and torch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bev_instseg.ops.neighbours import Shape, find_neighbours
from bev_instseg.structures import Int32, Pillars

Change = Callable[[Tensor], Tensor]

SPARSE_LEVELS = 2  # strides 1 and 2 of the grid are computed at occupied cells only


@dataclass(frozen=True, eq=False)
class Level:
    """The occupied cells at one stride, P of them; see `ops.sites.Sites`.

    Attributes:
        neighbours: (P, 9) int32 row of each neighbour, P where there is none.
        slot: (P,) int64 ``4 * parent + child``, with parents the rows of the next level.
        num_parents: occupied cells at twice the stride.
        cells: (P,) int32 flat index into ``shape``.
        shape: (B, nx, ny) of the grids at this stride.
        found: what spconv finds out about these cells in the first layer, for the next.
    """

    neighbours: Tensor
    slot: Tensor
    num_parents: int
    cells: Tensor
    shape: Shape
    found: dict[str, Any] = field(default_factory=dict)

    def each(self, change: Change) -> "Level":
        """With its tensors changed."""
        neighbours, slot, cells = map(change, (self.neighbours, self.slot, self.cells))
        return Level(neighbours, slot, self.num_parents, cells, self.shape)


@dataclass(frozen=True, eq=False)
class Pyramid:
    """Occupied cells at rising strides of a stack of grids.

    Attributes:
        levels: at strides 1, 2, .. of the grid.
        cells: (Q,) int64 flat index into ``shape`` of the occupied cells at the next stride.
        shape: (B, nx, ny) of the maps at that stride.
    """

    levels: tuple[Level, ...]
    cells: Tensor
    shape: Shape

    @staticmethod
    def build(cells: Int32, shape: Shape) -> "Pyramid":
        """From (P,) int32 flat indices of occupied cells into ``shape`` (B, nx, ny).

        Raises:
            ValueError: nx or ny that is no multiple of the stride of the coarsest level.
        """
        stride = 2**SPARSE_LEVELS
        if shape[1] % stride or shape[2] % stride:
            raise ValueError(f"a grid of {shape[1]} x {shape[2]} cells is no multiple of {stride}")
        levels = []
        for _ in range(SPARSE_LEVELS):
            sites = find_neighbours(cells, shape)
            levels.append(
                Level(
                    torch.from_numpy(sites.neighbours),
                    torch.from_numpy(sites.slot),
                    len(sites.parents),
                    torch.from_numpy(cells),
                    shape,
                )
            )
            cells, shape = sites.parents, (shape[0], shape[1] // 2, shape[2] // 2)
        return Pyramid(tuple(levels), torch.from_numpy(cells).long(), shape)

    def each(self, change: Change) -> "Pyramid":
        """With its tensors changed."""
        levels = tuple(level.each(change) for level in self.levels)
        return Pyramid(levels, change(self.cells), self.shape)


@dataclass(frozen=True, eq=False)
class PillarBatch:
    """Occupied pillars of B sweeps on grids of one shape.

    Attributes:
        features: (P, F) float32 raw pillar features.
        centres_m: (P, 2) float32 cell centres, metres.
        pyramid: where they lie.
        counts: pillars of each sweep; they lie one sweep after the other.
    """

    features: Tensor
    centres_m: Tensor
    pyramid: Pyramid
    counts: tuple[int, ...]

    @staticmethod
    def from_pillars(sweeps: Sequence[Pillars]) -> "PillarBatch":
        """Stack the pillars of sweeps whose grids have one shape.

        Raises:
            ValueError: no sweep, grids of different shapes, or of a shape that the network's
                levels do not divide, or more cells in all than int32 can count.
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
            tuple(len(pillars.cells) for pillars in sweeps),
        )

    def to(self, device: torch.device | str) -> "PillarBatch":
        """The same batch on a device."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> "PillarBatch":
        """The same where a GPU can fetch it by itself."""
        return self._each(Tensor.pin_memory)

    def _each(self, change: Change) -> "PillarBatch":
        features, centres_m = change(self.features), change(self.centres_m)
        return PillarBatch(features, centres_m, self.pyramid.each(change), self.counts)
