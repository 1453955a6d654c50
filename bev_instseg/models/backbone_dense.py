"""Dense U-Net over the grid. A sparse one takes its place with the same call."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from bev_instseg.models.norm import GlobalBatchNorm


def _conv(width_in: int, width_out: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(width_in, width_out, 3, stride, 1, bias=False), GlobalBatchNorm(width_out)
    )


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions around a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = _conv(width, width)
        self.second = _conv(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, H, W) -> the same shape."""
        return torch.relu(x + self.second(torch.relu(self.first(x))))


class DenseBackbone(nn.Module):
    """(P, stem) pillar features -> (P, 2 * stem) features that have seen their surroundings.

    The pillars are scattered onto the grid; a U-Net with residual blocks works at strides
    2, 4, 8, ...; each pillar reads back one of its parent's four sub-cells at stride 2, beside its
    own features, so that full resolution costs nothing where the grid is empty.
    """

    def __init__(self, stem: int, widths: tuple[int, ...], blocks: tuple[int, ...]) -> None:
        super().__init__()
        self.stem, self.stride = stem, 2 ** len(widths)
        before = (stem, *widths[:-1])
        self.down = nn.ModuleList(
            nn.Sequential(
                _conv(width_in, width, stride=2),
                nn.ReLU(),
                *(ResidualBlock(width) for _ in range(n)),
            )
            for width_in, width, n in zip(before, widths, blocks, strict=True)
        )
        self.lateral = nn.ModuleList(
            nn.Sequential(nn.Conv2d(deep, width, 1, bias=False), GlobalBatchNorm(width))
            for width, deep in pairwise(widths)
        )
        self.merge = nn.ModuleList(_conv(width, width) for width in widths[:-1])
        self.split = nn.Linear(widths[0], 4 * stem)

    @property
    def width(self) -> int:
        """Features that come out for each pillar."""
        return 2 * self.stem

    def forward(self, features: Tensor, cells: Tensor, shape: tuple[int, int, int]) -> Tensor:
        """Features in context.

        Args:
            features: (P, stem).
            cells: (P,) int64 flat index into (B, nx, ny).
            shape: (B, nx, ny); nx and ny are multiples of ``stride``.

        Raises:
            ValueError: a grid that is no multiple of the stride.
        """
        batch, nx, ny = shape
        if nx % self.stride or ny % self.stride:
            raise ValueError(f"the grid of {nx} x {ny} cells is no multiple of {self.stride}")
        canvas = features.new_zeros(batch * nx * ny, self.stem).index_copy(0, cells, features)
        x = canvas.view(batch, nx, ny, self.stem).permute(0, 3, 1, 2)  # channels last
        levels = []
        for down in self.down:
            x = down(x)
            levels.append(x)
        for lateral, merge, skip in zip(
            reversed(self.lateral), reversed(self.merge), reversed(levels[:-1]), strict=True
        ):
            up = nn.functional.interpolate(lateral(x), scale_factor=2.0, mode="nearest")
            x = torch.relu(merge(torch.relu(skip + up)))
        maps = x.permute(0, 2, 3, 1).reshape(batch * (nx // 2) * (ny // 2), -1)

        row, iy = cells // ny, cells % ny  # row = sweep * nx + ix, and nx is even
        parent = row // 2 * (ny // 2) + iy // 2
        child = row % 2 * 2 + iy % 2
        parts = self.split(maps[parent]).view(-1, 4, self.stem)
        own = parts.gather(1, child[:, None, None].expand(-1, 1, self.stem))[:, 0]
        return torch.cat([torch.relu(own), features.to(own.dtype)], dim=1)
