"""The optimizer, its learning rate, and the moving average of the weights."""

import math

import torch
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel

from bev_instseg.config import TrainConfig

Tensors = list[Tensor] | tuple[Tensor, ...]


def new_optimizer(model: nn.Module, train: TrainConfig) -> tuple[AdamW, LambdaLR]:
    """Return AdamW for a model, and the schedule of its learning rate."""
    fused = next(model.parameters()).device.type == "cuda"
    optimizer = AdamW(
        model.parameters(), train.learning_rate, weight_decay=train.weight_decay, fused=fused
    )
    return optimizer, LambdaLR(optimizer, lambda step: learning_rate_factor(step, train))


def learning_rate_factor(step: int, train: TrainConfig) -> float:
    """Return the factor on the learning rate: linear warm-up, then a half cosine to 0."""
    if step < train.warmup_steps:
        return (step + 1) / train.warmup_steps
    done = (step - train.warmup_steps) / max(train.steps - train.warmup_steps, 1)
    return 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


def new_average(model: nn.Module, decay: float) -> AveragedModel:
    """Return a moving average of a model's weights and buffers, starting from these.

    After n updates the newest weights count 1 - decay, but at least 1 / (1 + n / 10), so that the
    first, useless weights are soon forgotten.

    Args:
        model: The model in training; pass it to ``update_parameters`` after each step.
        decay: The share of itself that the average keeps at each late update.
    """

    def update(averaged: Tensors, weights: Tensors, _: Tensor | int) -> None:
        count = float(average.n_averaged)  # on the CPU, unlike the argument: no wait for a GPU
        if averaged[0].is_floating_point():
            torch._foreach_lerp_(averaged, weights, max(1 - decay, 1 / (1 + 0.1 * count)))
        else:  # counters
            torch._foreach_copy_(averaged, weights)

    average = AveragedModel(model, multi_avg_fn=update, use_buffers=True)
    return average
