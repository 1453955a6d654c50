"""Convolutions that compute at occupied cells only, in plain torch or by spconv."""

import importlib.util
import math
import warnings
from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor, nn

from bev_instseg.models.pillar_batch import Level
from bev_instseg.ops.neighbours import TAPS

SparseBackend = Literal["torch", "spconv"]


def has_spconv() -> bool:
    """Whether spconv is installed; it is not imported yet (that takes seconds)."""
    return importlib.util.find_spec("spconv") is not None


@cache
def _import_spconv() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of torch, for what spconv calls
        import spconv.pytorch
    return spconv.pytorch


def _patches(x: Tensor, neighbours: Tensor) -> Tensor:
    """(P, C) features -> (P, 9 * C) of each cell's neighbours, 0 where there is none."""
    nothing = x.new_zeros(1, x.shape[1])
    rows = torch.cat([x, nothing]).index_select(0, neighbours.flatten())
    return rows.view(len(x), TAPS * x.shape[1])


class _Submanifold(torch.autograd.Function):
    """One matrix product of gathered neighbours with (out, 9, in) weights.

    If j is i's neighbour at tap t, then i is j's at tap 8 - t. So the gradient of the input is such
    a convolution of the gradient of the output, with the taps in reverse, and nothing is scattered.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, neighbours: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight, neighbours)
        return _patches(x, neighbours) @ weight.flatten(1).T

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        x, weight, neighbours = ctx.saved_tensors
        patches = _patches(gradients[0], neighbours)
        into_x = patches @ weight.flip(1).permute(1, 0, 2).flatten(0, 1)
        into_weight = (x.T @ patches).view(x.shape[1], TAPS, -1).flip(1).permute(2, 1, 0)
        return into_x, into_weight, None


class SubmanifoldConv(nn.Module):
    """3 x 3 convolution of stride 1 from occupied cells to the same cells.

    What a dense convolution without bias has there if the empty cells are zero (B. Graham,
    L. van der Maaten: Submanifold Sparse Convolutional Networks, 2017). The weights are
    (out, 9, in): taps row by row, before channels.

    Attributes:
        backend: The library that computes it; the weights are the same for both.
    """

    backend: SparseBackend = "torch"
    bias: Tensor | None

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width_out, TAPS, width_in))
        self.register_parameter("bias", None)
        nn.init.kaiming_uniform_(self.weight.flatten(1), a=math.sqrt(5))
        self._layer: list[Any] = []  # spconv's, made at first use; in a list it is no submodule

    def forward(self, x: Tensor, level: Level) -> Tensor:
        """(P, width_in) -> (P, width_out)."""
        if self.backend == "spconv":
            return self._by_spconv(x, level)
        if torch.is_grad_enabled():
            y = _Submanifold.apply(x, self.weight.to(x.dtype), level.neighbours)
            return y if self.bias is None else y + self.bias
        return nn.functional.linear(
            _patches(x, level.neighbours), self.weight.flatten(1), self.bias
        )

    def _by_spconv(self, x: Tensor, level: Level) -> Tensor:
        """The same by spconv, which knows no bfloat16: float32 on a CPU, there float16 on a GPU."""
        if not len(x):
            return x.new_zeros(0, len(self.weight)) + 0 * (x.sum() + self.weight.sum())
        spconv = _import_spconv()
        out, _, width_in = self.weight.shape
        on_cpu = x.device.type == "cpu"
        dtype = torch.float16 if x.dtype == torch.bfloat16 and not on_cpu else torch.float32
        if not self._layer:
            with torch.random.fork_rng():  # it draws weights, which it then does not keep
                layer = spconv.SubMConv2d(
                    width_in,
                    out,
                    3,
                    bias=False,
                    indice_key="neighbours",
                    algo=spconv.ConvAlgo.Native if on_cpu else None,
                )
            del layer.weight
            self._layer.append(layer)
        layer = self._layer[0]  # two threads may both have made one: either will do
        layer.weight = self.weight.view(out, 3, 3, width_in).to(dtype)
        batch, nx, ny = level.shape
        row = level.cells // ny
        indices = torch.stack([row // nx, row % nx, level.cells % ny], 1)
        tensor = spconv.SparseConvTensor(x.to(dtype), indices.int(), [nx, ny], batch)
        tensor.indice_dict = level.found
        with torch.autocast(x.device.type, enabled=False):
            result = layer(tensor)
        level.found.update(result.indice_dict)
        y = result.features.to(x.dtype)
        return y if self.bias is None else y + self.bias


class SparseDown(nn.Module):
    """2 x 2 convolution of stride 2: occupied cells to their parents."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.linear = nn.Linear(4 * width_in, width_out, bias=False)

    def forward(self, x: Tensor, level: Level) -> Tensor:
        """(P, width_in) -> (num_parents, width_out)."""
        quarters = x.new_zeros(4 * level.num_parents, x.shape[1]).index_copy(0, level.slot, x)
        return self.linear(quarters.view(level.num_parents, 4 * x.shape[1]))
