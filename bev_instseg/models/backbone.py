"""U-Net over the pillars: sparse at strides 1 and 2, where few cells are occupied, then dense."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from bev_instseg.models.linear import Linear
from bev_instseg.models.norm import NormedLayer
from bev_instseg.models.pillar_batch import SPARSE_LEVELS, Level, Pyramid
from bev_instseg.models.sparse import SparseDown, SubmanifoldConv


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions with a shortcut around them, both sparse or both dense."""

    def __init__(self, first: nn.Module, second: nn.Module, width: int) -> None:
        """Add a batch norm to each convolution.

        Args:
            first: A convolution without bias from ``width`` to ``width`` channels.
            second: Another one.
            width: Number of channels.
        """
        super().__init__()
        self.first, self.second = NormedLayer(first, width), NormedLayer(second, width)

    def forward(self, x: Tensor, *level: Level) -> Tensor:
        """Return features of the same shape.

        Args:
            x: (P, width) features, or (B, width, nx, ny) maps.
            *level: The occupied cells, for sparse convolutions only.
        """
        return torch.relu(x + self.second(torch.relu(self.first(x, *level)), *level))


def _sparse_blocks(width: int, count: int) -> nn.ModuleList:
    return nn.ModuleList(
        ResidualBlock(SubmanifoldConv(width, width), SubmanifoldConv(width, width), width)
        for _ in range(count)
    )


def _dense_conv(width_in: int, width_out: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(width_in, width_out, 3, stride, 1, bias=False)


def _dense_blocks(width: int, count: int) -> nn.Sequential:
    return nn.Sequential(
        *(
            ResidualBlock(_dense_conv(width, width), _dense_conv(width, width), width)
            for _ in range(count)
        )
    )


class Backbone(nn.Module):
    """U-Net from (P, widths[0]) pillar features to (P, 2 * widths[0]) features with context.

    Down: residual blocks at occupied cells at strides 1 and 2, then on dense maps at 4, 8, ... Up:
    the maps are merged level by level; each occupied cell reads its quarter of its parent and keeps
    its own features beside it. So nothing is computed at full resolution where the grid is empty,
    while cells that are empty at stride 4 still pass context on.

    Attributes:
        width: Channels of the output.
        stride: Stride of the coarsest maps; the sides of the grid must be multiples of it.
    """

    def __init__(self, widths: tuple[int, ...], blocks: tuple[int, ...]) -> None:
        """Build the layers.

        Args:
            widths: Channels at strides 1, 2, 4, ...; three levels or more.
            blocks: Number of residual blocks on the way down at these strides.
        """
        super().__init__()
        fine, middle, *_ = widths
        dense, dense_blocks = widths[SPARSE_LEVELS:], blocks[SPARSE_LEVELS:]
        self.width = 2 * fine
        self.stride = 2 ** (len(widths) - 1)
        self.sparse_blocks = nn.ModuleList(
            _sparse_blocks(width, count)
            for width, count in zip(widths[:SPARSE_LEVELS], blocks[:SPARSE_LEVELS], strict=True)
        )
        self.sparse_down = nn.ModuleList(
            NormedLayer(SparseDown(width_in, width), width)
            for width_in, width in pairwise(widths[: SPARSE_LEVELS + 1])
        )
        self.dense_blocks = nn.ModuleList(map(_dense_blocks, dense, dense_blocks))
        self.dense_down = nn.ModuleList(
            NormedLayer(_dense_conv(width_in, width, stride=2), width)
            for width_in, width in pairwise(dense)
        )
        self.lateral = nn.ModuleList(
            NormedLayer(nn.Conv2d(deep, width, 1, bias=False), width)
            for width, deep in pairwise(dense)
        )
        self.merge = nn.ModuleList(
            NormedLayer(_dense_conv(width, width), width) for width, _ in pairwise(dense)
        )
        self.to_middle = NormedLayer(Linear(dense[0], 4 * middle, bias=False), 4 * middle)
        self.merge_middle = NormedLayer(SubmanifoldConv(middle, middle), middle)
        self.to_fine = Linear(middle, 4 * fine)

    def forward(self, features: Tensor, pyramid: Pyramid) -> Tensor:
        """Return features with context.

        Args:
            features: (P, widths[0]) pillar features.
            pyramid: The pillars' cells; nx and ny of the grid are multiples of ``stride``.

        Returns:
            (P, 2 * widths[0]) features.

        Raises:
            ValueError: The sides of the grid are not multiples of the stride.
        """
        _, nx, ny = pyramid.levels[0].shape
        if nx % self.stride or ny % self.stride:
            raise ValueError(
                f"the sides of a grid of {nx} x {ny} cells must be multiples of {self.stride}"
            )
        batch, nx, ny = pyramid.shape
        skips, x = [], features
        for blocks, down, level in zip(
            self.sparse_blocks, self.sparse_down, pyramid.levels, strict=True
        ):
            for block in blocks:  # type: ignore[attr-defined]
                x = block(x, level)
            skips.append(x)
            x = torch.relu(down(x, level))

        canvas = x.new_zeros(batch * nx * ny, x.shape[1]).index_copy(0, pyramid.cells, x)
        maps = self.dense(canvas.view(batch, nx, ny, -1).permute(0, 3, 1, 2))  # channels last
        flat = maps.permute(0, 2, 3, 1).reshape(batch * nx * ny, -1)
        x = flat.index_select(0, pyramid.cells)

        (fine, middle), (fine_level, middle_level) = skips, pyramid.levels
        quarters = self.to_middle(x).view(-1, middle.shape[1])
        x = torch.relu(middle + quarters.index_select(0, middle_level.slot))
        x = torch.relu(self.merge_middle(x, middle_level))
        quarters = self.to_fine(x).view(-1, fine.shape[1])
        context = torch.relu(quarters.index_select(0, fine_level.slot))
        return torch.cat([context, fine], dim=1)

    def dense(self, x: Tensor) -> Tensor:
        """Run the dense levels.

        Args:
            x: (B, widths[2], nx, ny) maps at stride 4.

        Returns:
            Maps of the same shape.
        """
        levels = [self.dense_blocks[0](x)]
        for down, blocks in zip(self.dense_down, self.dense_blocks[1:], strict=True):
            levels.append(blocks(torch.relu(down(levels[-1]))))
        x = levels.pop()
        for lateral, merge, skip in zip(
            reversed(self.lateral), reversed(self.merge), reversed(levels), strict=True
        ):
            up = nn.functional.interpolate(lateral(x), scale_factor=2.0, mode="nearest")
            x = torch.relu(merge(torch.relu(skip + up)))
        return x
