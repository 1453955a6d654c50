"""Pillars of several sweeps as tensors: the seam between NumPy and torch."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bev_instseg.structures import Pillars


@dataclass(frozen=True, eq=False)
class PillarBatch:
    """Occupied pillars of B sweeps on grids of one shape.

    Attributes:
        features: (P, F) float32 raw pillar features.
        cells: (P,) int64 flat index into a (B, nx, ny) map.
        centres_m: (P, 2) float32 cell centres, metres.
        shape: (B, nx, ny).
        counts: pillars of each sweep; they lie one sweep after the other.
    """

    features: Tensor
    cells: Tensor
    centres_m: Tensor
    shape: tuple[int, int, int]
    counts: tuple[int, ...]

    @staticmethod
    def from_pillars(sweeps: Sequence[Pillars]) -> "PillarBatch":
        """Stack the pillars of sweeps whose grids have one shape.

        Raises:
            ValueError: no sweep, or grids of different shapes.
        """
        shapes = {pillars.grid.shape for pillars in sweeps}
        if len(shapes) != 1:
            raise ValueError(f"a batch needs grids of one shape, got {sorted(shapes)}")
        nx, ny = shapes.pop()
        cells = [pillars.cells.astype(np.int64) + b * nx * ny for b, pillars in enumerate(sweeps)]
        return PillarBatch(
            torch.from_numpy(np.concatenate([pillars.features for pillars in sweeps])),
            torch.from_numpy(np.concatenate(cells)),
            torch.from_numpy(np.concatenate([pillars.centres_m for pillars in sweeps])),
            (len(sweeps), nx, ny),
            tuple(len(pillars.cells) for pillars in sweeps),
        )

    def to(self, device: torch.device | str) -> "PillarBatch":
        """The same batch on a device."""
        return PillarBatch(
            self.features.to(device),
            self.cells.to(device),
            self.centres_m.to(device),
            self.shape,
            self.counts,
        )
