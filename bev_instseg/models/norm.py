"""Batch norm whose moments are those of the global batch, on CPU and GPU alike; folding it."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


class _SumOverProcesses(torch.autograd.Function):
    """A tensor summed over all processes; its gradient is summed likewise."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        dist.all_reduce(total)
        return total


class GlobalBatchNorm(nn.BatchNorm2d):
    """`nn.BatchNorm2d` over all processes of a distributed run (torch's own is for GPUs only).

    Takes (B, C, H, W) or (P, C). Alone, or in evaluation, it is plain batch norm; but where a
    channel has less than two values, and so no variance, training too uses the running moments.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalise over everything but channels."""
        if x.ndim == 2:
            return self.forward(x[:, :, None, None])[:, :, 0, 0]
        if self.training and dist.is_initialized() and dist.get_world_size() > 1:
            return self._forward_together(x)
        if self.training and x.numel() <= x.shape[1]:
            return nn.functional.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        return super().forward(x)

    def _forward_together(self, x: Tensor) -> Tensor:
        """Every process must call this, one without values too: they wait for each other."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        wide = x.to(self.weight.dtype)
        count = wide.new_tensor([x.numel() // x.shape[1]])
        sums = _SumOverProcesses.apply(torch.cat([wide.sum((0, 2, 3)), count]))
        total = sums[-1].detach()
        mean = sums[:-1] / total.clamp_min(1)
        squares = (wide - mean[:, None, None]).square().sum((0, 2, 3))
        variance = _SumOverProcesses.apply(squares) / total.clamp_min(1)
        enough = total > 1
        with torch.no_grad():
            momentum = self.momentum * enough
            self.running_mean.lerp_(mean, momentum)
            self.running_var.lerp_(variance * total / (total - 1).clamp_min(1), momentum)
            self.num_batches_tracked += enough
        mean = torch.where(enough, mean, self.running_mean)
        variance = torch.where(enough, variance, self.running_var)
        scale = self.weight * (variance + self.eps).rsqrt()
        shift = self.bias - mean * scale
        return (wide * scale[:, None, None] + shift[:, None, None]).to(x.dtype)


class Normed(nn.Module):
    """A convolution or linear layer without bias, then batch norm: one affine map when folded."""

    def __init__(self, layer: nn.Module, width: int) -> None:
        super().__init__()
        self.layer = layer
        self.norm: nn.Module = GlobalBatchNorm(width)

    @property
    def dtype(self) -> torch.dtype:
        """Of the layer's weights."""
        return next(self.layer.parameters()).dtype

    def forward(self, x: Tensor, *where: Any) -> Tensor:
        """What the layer makes of it, normalised; ``where`` is the layer's own affair."""
        return self.norm(self.layer(x, *where))

    @torch.no_grad()
    def fold(self) -> None:
        """Put the running moments into the layer's weights (output channels first) and a bias."""
        norm = self.norm
        assert isinstance(norm, GlobalBatchNorm)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        layer: Any = getattr(self.layer, "linear", self.layer)
        scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
        layer.weight.mul_(scale.view(-1, *[1] * (layer.weight.ndim - 1)))
        layer.bias = nn.Parameter(norm.bias - norm.running_mean * scale)
        self.norm = nn.Identity()
