"""U-Net over the pillars: sparse at strides 1 and 2, where few cells are occupied, then dense."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from bev_instseg.models.norm import NormedLayer
from bev_instseg.models.pillar_batch import Level, Pyramid
from bev_instseg.models.rounding import Rounding
from bev_instseg.models.sparse import GatherOnce, SparseDown, SubmanifoldConv
from bev_instseg.ops.network_input import SPARSE_LEVELS


class SparseBlock(nn.Module):
    """Two sparse 3 x 3 convolutions with a shortcut around them."""

    def __init__(self, width: int) -> None:
        """Draw random weights.

        Args:
            width: Number of channels.
        """
        super().__init__()
        self.first = NormedLayer(SubmanifoldConv(width, width), width)
        self.second = NormedLayer(SubmanifoldConv(width, width), width)

    def forward(self, x: Tensor, level: Level) -> Tensor:
        """Return features of the same shape.

        Args:
            x: (P, width) features.
            level: The occupied cells.
        """
        return torch.relu(x + self.second(torch.relu(self.first(x, level)), level))


class DenseBlock(nn.Module):
    """Two dense 3 x 3 convolutions with a shortcut around them."""

    def __init__(self, width: int) -> None:
        """Draw random weights.

        Args:
            width: Number of channels.
        """
        super().__init__()
        self.first = NormedLayer(_dense_conv(width, width), width)
        self.round_first = Rounding()
        self.second = NormedLayer(_dense_conv(width, width), width)
        self.round_second = Rounding()

    def forward(self, x: Tensor) -> Tensor:
        """Return maps of the same shape.

        Args:
            x: (B, width, nx, ny) maps.
        """
        inner = self.round_first(torch.relu(self.first(x)))
        rounded: Tensor = self.round_second(torch.relu(x + self.second(inner)))
        return rounded


def _dense_conv(width_in: int, width_out: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(width_in, width_out, 3, stride, 1, bias=False)


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
            nn.ModuleList(SparseBlock(width) for _ in range(count))
            for width, count in zip(widths[:SPARSE_LEVELS], blocks[:SPARSE_LEVELS], strict=True)
        )
        self.sparse_down = nn.ModuleList(
            NormedLayer(SparseDown(width_in, width), width)
            for width_in, width in pairwise(widths[: SPARSE_LEVELS + 1])
        )
        self.to_maps = GatherOnce()
        self.dense_blocks = nn.ModuleList(
            nn.Sequential(*(DenseBlock(width) for _ in range(count)))
            for width, count in zip(dense, dense_blocks, strict=True)
        )
        self.dense_down = nn.ModuleList(
            NormedLayer(_dense_conv(width_in, width, stride=2), width)
            for width_in, width in pairwise(dense)
        )
        self.round_down = nn.ModuleList(Rounding() for _ in self.dense_down)
        self.lateral = nn.ModuleList(
            NormedLayer(nn.Conv2d(deep, width, 1, bias=False), width)
            for width, deep in pairwise(dense)
        )
        self.round_sum = nn.ModuleList(Rounding() for _ in self.lateral)
        self.merge = nn.ModuleList(
            NormedLayer(_dense_conv(width, width), width) for width, _ in pairwise(dense)
        )
        self.round_merge = nn.ModuleList(Rounding() for _ in self.merge)
        self.to_middle = NormedLayer(nn.Linear(dense[0], 4 * middle, bias=False), 4 * middle)
        self.merge_middle = NormedLayer(SubmanifoldConv(middle, middle), middle)
        self.round_middle = Rounding()
        self.to_fine = nn.Linear(middle, 4 * fine)
        self.round_fine = Rounding()

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
        skips, x = [], features
        for blocks, down, level in zip(
            self.sparse_blocks, self.sparse_down, pyramid.levels, strict=True
        ):
            for block in blocks:  # type: ignore[attr-defined]
                x = block(x, level)
            skips.append(x)
            x = torch.relu(down(x, level))

        width = x.shape[1]
        x = self.to_maps(x, pyramid.rows.view(-1, 1), pyramid.cells)
        maps = x.view(*pyramid.rows.shape, width).permute(0, 3, 1, 2)  # channels last
        maps = self.dense(maps).permute(0, 2, 3, 1)
        x = maps.reshape(-1, width).index_select(0, pyramid.cells)

        (fine, middle), (fine_level, middle_level) = skips, pyramid.levels
        quarters = self.to_middle(x).view(-1, middle.shape[1])
        x = torch.relu(middle + quarters.index_select(0, middle_level.slot))
        x = self.round_middle(torch.relu(self.merge_middle(x, middle_level)))
        quarters = self.to_fine(x).view(-1, fine.shape[1])
        context = quarters.index_select(0, fine_level.slot)
        both: Tensor = self.round_fine(torch.relu(torch.cat([context, fine], 1)))  # fine is >= 0
        return both

    def dense(self, x: Tensor) -> Tensor:
        """Run the dense levels.

        Args:
            x: (B, widths[2], nx, ny) maps at stride 4.

        Returns:
            Maps of the same shape.
        """
        levels = [self.dense_blocks[0](x)]
        for down, rounding, blocks in zip(
            self.dense_down, self.round_down, self.dense_blocks[1:], strict=True
        ):
            levels.append(blocks(rounding(torch.relu(down(levels[-1])))))
        x = levels.pop()
        for i in reversed(range(len(levels))):
            up = nn.functional.interpolate(self.lateral[i](x), scale_factor=2.0, mode="nearest")
            x = self.round_sum[i](torch.relu(levels[i] + up))
            x = self.round_merge[i](torch.relu(self.merge[i](x)))
        return x
