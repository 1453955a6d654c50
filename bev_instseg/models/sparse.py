"""Convolutions that compute at occupied cells only, in plain torch or with spconv."""

import importlib.util
import math
import warnings
from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor, nn

from bev_instseg.models.pillar_batch import Level
from bev_instseg.models.rounding import Rounding
from bev_instseg.ops.neighbours import QUARTERS, TAPS

SparseBackend = Literal["torch", "spconv"]


def has_spconv() -> bool:
    """Return whether spconv is installed, without importing it (which takes seconds)."""
    return importlib.util.find_spec("spconv") is not None


@cache
def _import_spconv() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # from torch, about calls in spconv
        import spconv.pytorch
    return spconv.pytorch


def append_zeros(x: Tensor) -> Tensor:
    """Append a row of zeros, which stands for empty cells, to (P, C) features.

    Args:
        x: (P, C) features.
    """
    return torch.cat([x, x.new_zeros(1, x.shape[1])])


def _patches(x: Tensor, rows: Tensor) -> Tensor:
    """Gather (P + 1, C) features to (Q, taps * C) features of the cells at (Q, taps) rows."""
    return x.index_select(0, rows.flatten()).view(-1, rows.shape[1] * x.shape[1])


class _GatherOnce(torch.autograd.Function):
    """`_patches` of rows that each occur once, so that its gradient is a gather, too."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, rows: Tensor, place: Tensor) -> Tensor:
        ctx.save_for_backward(place)
        ctx.width = x.shape[1]
        return _patches(append_zeros(x), rows)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (place,) = ctx.saved_tensors
        return gradients[0].reshape(-1, ctx.width).index_select(0, place), None, None


class GatherOnce(nn.Module):
    """Gathers the features of cells to rows of several taps; every cell goes to one place.

    Attributes:
        rounding: Rounds the features in an 8-bit network.
    """

    def __init__(self) -> None:
        """Start without rounding."""
        super().__init__()
        self.rounding = Rounding()

    def forward(self, x: Tensor, rows: Tensor, place: Tensor) -> Tensor:
        """Gather features; empty cells are 0.

        Args:
            x: (P, C) features.
            rows: (Q, taps) int32 row of each tap, P if empty.
            place: (P,) int32 ``taps * row + tap`` of each row of ``x``.

        Returns:
            (Q, taps * C).
        """
        if torch.is_grad_enabled():
            y: Tensor = _GatherOnce.apply(self.rounding(x), rows, place)  # type: ignore[no-untyped-call]
            return y
        return _patches(self.rounding(append_zeros(x)), rows)


class _Submanifold(torch.autograd.Function):
    """A matrix product of the gathered neighbours and (out, 9, in) weights.

    If j is i's neighbour at tap t, then i is j's neighbour at tap 8 - t. So the gradient of the
    input is the same convolution of the output's gradient, with the taps reversed, and needs no
    scatter.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, neighbours: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight, neighbours)
        return _patches(append_zeros(x), neighbours) @ weight.flatten(1).T

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        x, weight, neighbours = ctx.saved_tensors
        patches = _patches(append_zeros(gradients[0]), neighbours)
        into_x = patches @ weight.flip(1).permute(1, 0, 2).flatten(0, 1)
        into_weight = (x.T @ patches).view(x.shape[1], TAPS, -1).flip(1).permute(2, 1, 0)
        return into_x, into_weight, None


class SubmanifoldConv(nn.Module):
    """3 x 3 convolution of stride 1 from occupied cells to the same cells.

    Equals a dense convolution without bias at these cells if empty cells are zero (B. Graham,
    L. van der Maaten: Submanifold Sparse Convolutional Networks, 2017).

    Attributes:
        weight: (out, 9, in): taps row by row, then input channels; (out, 9 * in) once batch norm is
            folded into the layer.
        bias: (out,) once batch norm is folded into the layer, else None.
        rounding: Rounds the input in an 8-bit network.
        backend: The library that computes the convolution; the weights are the same for both.
    """

    backend: SparseBackend = "torch"
    bias: Tensor | None

    def __init__(self, width_in: int, width_out: int) -> None:
        """Draw random weights.

        Args:
            width_in: Input channels.
            width_out: Output channels.
        """
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width_out, TAPS, width_in))
        self.register_parameter("bias", None)
        self.rounding = Rounding()
        nn.init.kaiming_uniform_(self.weight.flatten(1), a=math.sqrt(5))
        self._spconv_layer: list[Any] = []  # made on first use; in a list it is not a submodule

    def forward(self, x: Tensor, level: Level) -> Tensor:
        """Convolve features.

        Args:
            x: (P, width_in) features.
            level: The P occupied cells.

        Returns:
            (P, width_out).
        """
        if self.backend == "spconv":
            return self._forward_spconv(x, level)
        if torch.is_grad_enabled():
            weight = self.weight.to(x.dtype).view(len(self.weight), TAPS, -1)
            y: Tensor = _Submanifold.apply(self.rounding(x), weight, level.neighbours)  # type: ignore[no-untyped-call]
            return y if self.bias is None else y + self.bias
        patches = _patches(self.rounding(append_zeros(x)), level.neighbours)
        return nn.functional.linear(patches, self.weight.flatten(1), self.bias)

    def _forward_spconv(self, x: Tensor, level: Level) -> Tensor:
        """Convolve with spconv; it lacks bfloat16, so use float16 on a GPU and float32 on a CPU."""
        if not len(x):
            return x.new_zeros(0, len(self.weight)) + 0 * (x.sum() + self.weight.sum())
        spconv = _import_spconv()
        out, width_in = len(self.weight), x.shape[1]
        on_cpu = x.device.type == "cpu"
        dtype = torch.float16 if x.dtype == torch.bfloat16 and not on_cpu else torch.float32
        if not self._spconv_layer:
            with torch.random.fork_rng():  # its random weights are thrown away
                layer = spconv.SubMConv2d(
                    width_in,
                    out,
                    3,
                    bias=False,
                    indice_key="neighbours",
                    algo=spconv.ConvAlgo.Native if on_cpu else None,
                )
            del layer.weight
            self._spconv_layer.append(layer)
        layer = self._spconv_layer[0]  # two threads may have made one each: both are equal
        layer.weight = self.weight.view(out, 3, 3, width_in).to(dtype)
        batch, nx, ny = level.shape
        row = level.cells // ny
        indices = torch.stack([row // nx, row % nx, level.cells % ny], 1)
        tensor = spconv.SparseConvTensor(x.to(dtype), indices.int(), [nx, ny], batch)
        tensor.indice_dict = level.spconv_indices
        with torch.autocast(x.device.type, enabled=False):
            result = layer(tensor)
        level.spconv_indices.update(result.indice_dict)
        y: Tensor = result.features.to(x.dtype)
        return y if self.bias is None else y + self.bias


class SparseDown(nn.Module):
    """2 x 2 convolution of stride 2 from occupied cells to their parents.

    Attributes:
        gather: Puts the four quarters of a parent side by side.
        linear: Maps them to its features.
    """

    def __init__(self, width_in: int, width_out: int) -> None:
        """Draw random weights.

        Args:
            width_in: Input channels.
            width_out: Output channels.
        """
        super().__init__()
        self.gather = GatherOnce()
        self.linear = nn.Linear(QUARTERS * width_in, width_out, bias=False)

    def forward(self, x: Tensor, level: Level) -> Tensor:
        """Convolve features.

        Args:
            x: (P, width_in) features.
            level: The P occupied cells and their Q parents.

        Returns:
            (Q, width_out).
        """
        y: Tensor = self.linear(self.gather(x, level.children, level.slot))
        return y
