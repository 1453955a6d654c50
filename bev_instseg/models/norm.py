"""Batch norm over the batch of all processes, on CPU and GPU, and its folding into weights."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


class _SumOverProcesses(torch.autograd.Function):
    """Sum of a tensor over all processes; its gradient is summed likewise."""

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


def _sum_over_processes(x: Tensor) -> Tensor:
    total: Tensor = _SumOverProcesses.apply(x)  # type: ignore[no-untyped-call]
    return total


class GlobalBatchNorm(nn.BatchNorm2d):
    """`nn.BatchNorm2d` over all processes of a distributed run (torch's own needs GPUs).

    Takes (B, C, H, W) or (P, C). In a single process, or in evaluation, it is plain batch norm,
    except that training also uses the running moments if a channel has fewer than two values and
    so no variance.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalise over all dimensions but the channels.

        Args:
            x: (B, C, H, W) or (P, C).

        Returns:
            The same shape.
        """
        if x.ndim == 2:
            return self.forward(x[:, :, None, None])[:, :, 0, 0]
        if self.training and dist.is_initialized() and dist.get_world_size() > 1:
            return self._forward_distributed(x)
        if self.training and x.numel() <= x.shape[1]:
            return nn.functional.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        return super().forward(x)

    def _forward_distributed(self, x: Tensor) -> Tensor:
        """Normalise with global moments. Every process must call this, even one without values."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        wide = x.to(self.weight.dtype)
        count = wide.new_tensor([x.numel() // x.shape[1]])
        sums = _sum_over_processes(torch.cat([wide.sum((0, 2, 3)), count]))
        total = sums[-1].detach()
        mean = sums[:-1] / total.clamp_min(1)
        squares = (wide - mean[:, None, None]).square().sum((0, 2, 3))
        variance = _sum_over_processes(squares) / total.clamp_min(1)
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


class NormedLayer(nn.Module):
    """A layer without bias followed by batch norm; `fold` turns them into one layer.

    Attributes:
        layer: The convolution or linear layer.
        norm: The batch norm; the identity once folded.
    """

    def __init__(self, layer: nn.Module, width: int) -> None:
        """Add a batch norm to a layer.

        Args:
            layer: A convolution or linear layer without bias.
            width: Its output channels.
        """
        super().__init__()
        self.layer = layer
        self.norm: nn.Module = GlobalBatchNorm(width)

    @property
    def dtype(self) -> torch.dtype:
        """Type of the layer's weights."""
        return next(self.layer.parameters()).dtype

    def forward(self, x: Tensor, *args: Any) -> Tensor:
        """Return the normalised output of the layer.

        Args:
            x: Input of the layer.
            *args: Further arguments of the layer.
        """
        y: Tensor = self.norm(self.layer(x, *args))
        return y

    @torch.no_grad()
    def fold(self) -> None:
        """Fold the running moments into the layer's weights (output channels first) and a bias."""
        norm = self.norm
        assert isinstance(norm, GlobalBatchNorm)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        layer: Any = getattr(self.layer, "linear", self.layer)
        scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
        layer.weight.mul_(scale.view(-1, *[1] * (layer.weight.ndim - 1)))
        layer.bias = nn.Parameter(norm.bias - norm.running_mean * scale)
        self.norm = nn.Identity()
