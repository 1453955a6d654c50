"""Raw pillar statistics -> stem features of each pillar."""

import torch
from torch import Tensor, nn

from bev_instseg.models.norm import GlobalBatchNorm
from bev_instseg.ops.voxelize import FEATURES

_COUNTS = [i for i, name in enumerate(FEATURES) if name == "count" or name.startswith("slice_")]
_HEIGHTS = [i for i, name in enumerate(FEATURES) if name.startswith("height_")]
_OFFSETS = [FEATURES.index("x_mean_m"), FEATURES.index("y_mean_m")]
_INTENSITIES = [FEATURES.index("intensity_mean"), FEATURES.index("intensity_max")]
_RANGE = FEATURES.index("range_m")


class PillarFeatures(nn.Module):
    """(P, F) raw features -> (P, stem): fixed scaling to order one, linear, batch norm, ReLU.

    Counts enter as log(1 + n), heights clipped to -2..6 m, and the range also as its logarithm, in
    which the expected number of returns of a surface is a straight line.
    """

    def __init__(self, stem: int, cell_m: float) -> None:
        super().__init__()
        self.cell_m = cell_m
        width = len(_COUNTS) + len(_HEIGHTS) + len(_OFFSETS) + len(_INTENSITIES) + 2
        self.linear = nn.Linear(width, stem, bias=False)
        self.norm = GlobalBatchNorm(stem)

    def forward(self, features: Tensor) -> Tensor:
        """Stem features of each pillar."""
        distance = features[:, [_RANGE]]
        scaled = torch.cat(
            [
                features[:, _COUNTS].log1p(),
                features[:, _HEIGHTS].clamp(-2, 6),
                features[:, _OFFSETS] / self.cell_m * 2,
                features[:, _INTENSITIES].clamp(0, 1),
                distance / 50,
                distance.clamp_min(1).log() / 2,
            ],
            dim=1,
        )
        return torch.relu(self.norm(self.linear(scaled)))
