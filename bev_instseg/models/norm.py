"""Batch norm whose moments are those of the global batch, on CPU and GPU alike."""

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce


class GlobalBatchNorm(nn.BatchNorm2d):
    """`nn.BatchNorm2d` over all processes of a distributed run (torch's own is for GPUs only).

    Takes (B, C, H, W) or (P, C). Alone, or in evaluation, it is plain batch norm.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalise over everything but channels."""
        if x.ndim == 2:
            return self.forward(x[:, :, None, None])[:, :, 0, 0] if len(x) else x
        if not (self.training and dist.is_initialized() and dist.get_world_size() > 1):
            if self.training and x.numel() == x.shape[1]:  # one value a channel has no variance
                return nn.functional.batch_norm(
                    x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
                )
            return super().forward(x)
        wide = x.float()
        count = torch.tensor([float(x.numel() // x.shape[1])], device=x.device)
        moments = torch.cat([wide.sum((0, 2, 3)), wide.square().sum((0, 2, 3)), count])
        moments = all_reduce(moments)
        total = moments[-1]
        mean, square = moments[:-1].view(2, -1) / total
        variance = (square - mean.square()).clamp_min(0)
        if self.running_mean is not None and self.running_var is not None:
            with torch.no_grad():
                momentum = self.momentum or 0.1
                self.running_mean.lerp_(mean.detach(), momentum)
                unbiased = variance.detach() * total / (total - 1).clamp_min(1)
                self.running_var.lerp_(unbiased, momentum)
                if self.num_batches_tracked is not None:
                    self.num_batches_tracked.add_(1)
        scale = self.weight * (variance + self.eps).rsqrt()
        shift = self.bias - mean * scale
        return (wide * scale[:, None, None] + shift[:, None, None]).to(x.dtype)
