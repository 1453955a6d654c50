"""U-Net over the pillars: sparse at the fine strides, where few cells are occupied, then dense."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from bev_instseg.models.norm import NormedLayer
from bev_instseg.models.pillar_batch import Level, Pyramid
from bev_instseg.models.rounding import Rounding
from bev_instseg.models.sparse import GatherOnce, SparseDown, SubmanifoldConv
from bev_instseg.ops.neighbours import QUARTERS

NEW_BLOCK_SCALE = 0.3  # of the output of a block added to a trained network, at first


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

    def __init__(self, width: int, dilation: int) -> None:
        """Draw random weights.

        Args:
            width: Number of channels.
            dilation: Distance between the cells that a convolution reads, in cells.
        """
        super().__init__()
        self.first = NormedLayer(_dense_conv(width, width, dilation=dilation), width)
        self.round_first = Rounding()
        self.second = NormedLayer(_dense_conv(width, width, dilation=dilation), width)
        self.round_second = Rounding()

    def forward(self, x: Tensor) -> Tensor:
        """Return maps of the same shape.

        Args:
            x: (B, width, nx, ny) maps.
        """
        inner = self.round_first(torch.relu(self.first(x)))
        rounded: Tensor = self.round_second(torch.relu(x + self.second(inner)))
        return rounded


def _dense_conv(width_in: int, width_out: int, stride: int = 1, dilation: int = 1) -> nn.Conv2d:
    return nn.Conv2d(width_in, width_out, 3, stride, dilation, dilation, bias=False)


class SparseUp(nn.Module):
    """Adds the features of the next coarser level to the cells of a sparse level.

    Attributes:
        quarters: From the features of a parent to those of its four quarters.
        merge: Mixes the sums of neighbouring cells.
    """

    def __init__(self, width_in: int, width_out: int) -> None:
        """Draw random weights.

        Args:
            width_in: Channels of the coarser level.
            width_out: Channels of this level.
        """
        super().__init__()
        width = QUARTERS * width_out
        self.quarters = NormedLayer(nn.Linear(width_in, width, bias=False), width)
        self.merge = NormedLayer(SubmanifoldConv(width_out, width_out), width_out)
        self.rounding = Rounding()

    def forward(self, x: Tensor, skip: Tensor, level: Level) -> Tensor:
        """Return (P, width_out) features with context.

        Args:
            x: (Q, width_in) features of the parents.
            skip: (P, width_out) features of this level on the way down.
            level: The P occupied cells and their Q parents.
        """
        quarters = self.quarters(x).view(-1, skip.shape[1])
        x = torch.relu(skip + quarters.index_select(0, level.slot))
        merged: Tensor = self.rounding(torch.relu(self.merge(x, level)))
        return merged


class Backbone(nn.Module):
    """U-Net from (P, widths[0]) pillar features to (P, 2 * widths[0]) features with context.

    Down: residual blocks at occupied cells on the first, sparse levels, then on dense maps. Up: the
    maps are merged level by level, then the sparse levels: each occupied cell reads its quarter of
    its parent and adds its own features; at stride 1 the two are concatenated instead. So nothing
    is computed at fine strides where the grid is empty, while empty cells of the maps still pass
    context on. On the coarsest maps, blocks after the first look twice as far (dilation 2): the
    ends of a lorry have to know where its middle is.

    Attributes:
        width: Channels of the output.
        stride: Stride of the coarsest maps; the sides of the grid must be multiples of it.
    """

    def __init__(
        self, widths: tuple[int, ...], blocks: tuple[int, ...], sparse_levels: int
    ) -> None:
        """Build the layers.

        Args:
            widths: Channels at strides 1, 2, 4, ...; at least one level more than the sparse ones.
            blocks: Number of residual blocks on the way down at these strides.
            sparse_levels: How many of the levels, from stride 1 on, are sparse; 1 or more.
        """
        super().__init__()
        dense, dense_blocks = widths[sparse_levels:], blocks[sparse_levels:]
        self.width = 2 * widths[0]
        self.stride = 2 ** (len(widths) - 1)
        self.sparse_blocks = nn.ModuleList(
            nn.ModuleList(SparseBlock(width) for _ in range(count))
            for width, count in zip(widths[:sparse_levels], blocks[:sparse_levels], strict=True)
        )
        self.sparse_down = nn.ModuleList(
            NormedLayer(SparseDown(width_in, width), width)
            for width_in, width in pairwise(widths[: sparse_levels + 1])
        )
        self.to_maps = GatherOnce()
        self.dense_blocks = nn.ModuleList(
            nn.Sequential(
                *(DenseBlock(width, 2 if k and level == len(dense) else 1) for k in range(count))
            )
            for level, (width, count) in enumerate(zip(dense, dense_blocks, strict=True), 1)
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
        self.sparse_up = nn.ModuleList(
            SparseUp(deep, width) for width, deep in pairwise(widths[1 : sparse_levels + 1])
        )
        self.to_fine = nn.Linear(widths[1], QUARTERS * widths[0])
        self.round_fine = Rounding()

    def start_from(self, trained: "Backbone") -> None:
        """Copy the weights of a trained backbone, which may have fewer blocks.

        Blocks that it does not have start with a small effect, so that the result changes little.

        Args:
            trained: A backbone of the same widths, with as many or fewer blocks at each level.
        """
        for name in ("sparse_blocks", "dense_blocks"):
            for own, other in zip(getattr(self, name), getattr(trained, name), strict=True):
                for block in own[len(other) :]:
                    nn.init.constant_(block.second.norm.weight, NEW_BLOCK_SCALE)
        self.load_state_dict(self.state_dict() | trained.state_dict())

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

        (fine, *coarse), (fine_level, *coarse_levels) = skips, pyramid.levels
        for up, skip, level in zip(
            reversed(self.sparse_up), reversed(coarse), reversed(coarse_levels), strict=True
        ):
            x = up(x, skip, level)
        quarters = self.to_fine(x).view(-1, fine.shape[1])
        context = quarters.index_select(0, fine_level.slot)
        both: Tensor = self.round_fine(torch.relu(torch.cat([context, fine], 1)))  # fine is >= 0
        return both

    def dense(self, x: Tensor) -> Tensor:
        """Run the dense levels.

        Args:
            x: (B, C, nx, ny) maps at the finest dense stride.

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
