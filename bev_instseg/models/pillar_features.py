"""From the raw statistics of each pillar to the features that enter the backbone."""

import numpy as np
import torch
from torch import Tensor, nn

from bev_instseg.models.norm import NormedLayer
from bev_instseg.ops.voxelize import FEATURES

# The first column of each kind of feature; the columns of a kind are adjacent.
_FIRST_COLUMNS = ("count", "height_min_m", "x_mean_m", "intensity_mean", "range_m")
_SIZES = np.diff([*map(FEATURES.index, _FIRST_COLUMNS), len(FEATURES)]).tolist()


class PillarFeatures(nn.Module):
    """From (P, F) raw features to (P, width): fixed scaling to order 1, linear, batch norm, ReLU.

    Counts enter as log(1 + n), heights are clipped to -2..6 m, and the range enters also as its
    logarithm, because the log of the expected number of returns from a surface is linear in it.

    Attributes:
        cell_m: Side of a cell, metres.
        linear: The layer after the scaling.
    """

    def __init__(self, width: int, cell_m: float) -> None:
        """Build the layer.

        Args:
            width: Output channels.
            cell_m: Side of a cell, metres.
        """
        super().__init__()
        self.cell_m = cell_m
        self.linear = NormedLayer(nn.Linear(len(FEATURES) + 1, width, bias=False), width)

    def forward(self, features: Tensor) -> Tensor:
        """Return the features of each pillar, in the type of the weights.

        Args:
            features: (P, F) float32 raw features, named by `FEATURES`.

        Returns:
            (P, width).
        """
        counts, heights, positions, intensities, distance = torch.split(features, _SIZES, 1)
        scaled = torch.cat(
            [
                counts.log1p(),
                heights.clamp(-2, 6),
                positions / self.cell_m * 2,
                intensities.clamp(0, 1),
                distance / 50,
                distance.clamp_min(1).log() / 2,
            ],
            dim=1,
        )
        return torch.relu(self.linear(scaled.to(self.linear.dtype)))
