"""Raw pillar statistics -> the features of each pillar that enter the backbone."""

import numpy as np
import torch
from torch import Tensor, nn

from bev_instseg.models.norm import Normed
from bev_instseg.ops.voxelize import FEATURES

# Features of one kind lie together.
_KINDS = ("count", "height_min_m", "x_mean_m", "intensity_mean", "range_m")
_SIZES = np.diff([*map(FEATURES.index, _KINDS), len(FEATURES)]).tolist()


class PillarFeatures(nn.Module):
    """(P, F) raw features -> (P, width): fixed scaling to order one, linear, batch norm, ReLU.

    Counts enter as log(1 + n), heights clipped to -2..6 m, and the range also as its logarithm, in
    which the expected number of returns of a surface is a straight line.
    """

    def __init__(self, width: int, cell_m: float) -> None:
        super().__init__()
        self.cell_m = cell_m
        self.linear = Normed(nn.Linear(len(FEATURES) + 1, width, bias=False), width)

    def forward(self, features: Tensor) -> Tensor:
        """Features of each pillar, in the precision of the weights."""
        counts, heights, offsets, intensities, distance = features.split(_SIZES, 1)
        scaled = torch.cat(
            [
                counts.log1p(),
                heights.clamp(-2, 6),
                offsets / self.cell_m * 2,
                intensities.clamp(0, 1),
                distance / 50,
                distance.clamp_min(1).log() / 2,
            ],
            dim=1,
        )
        return torch.relu(self.linear(scaled.to(self.linear.dtype)))
