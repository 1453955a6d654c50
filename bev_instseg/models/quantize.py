"""An 8-bit copy of the network, whose ranges come from weights and observed activations."""

import copy
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from bev_instseg.models.network import BEVNet
from bev_instseg.models.pillar_batch import PillarBatch
from bev_instseg.models.rounding import LEVELS, Rounding
from bev_instseg.models.sparse import SubmanifoldConv

WEIGHT_LIMIT = 127  # weights are rounded to -127..127 steps


class _RoundedWeight(nn.Module):
    """Rounds weights to 8 bits, with a step for each output channel."""

    step: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        largest = weight.abs().flatten(1).amax(1)
        self.register_buffer("step", largest.clamp_min(1e-12) / WEIGHT_LIMIT)

    def forward(self, weight: Tensor) -> Tensor:
        zeros = torch.zeros(len(weight), dtype=torch.int32)
        # -128 never occurs, but ONNX allows no range that ends at -127.
        return torch.fake_quantize_per_channel_affine(
            weight, self.step, zeros, 0, -WEIGHT_LIMIT - 1, WEIGHT_LIMIT
        )


@torch.no_grad()
def quantize(network: BEVNet, batches: Iterable[PillarBatch]) -> BEVNet:
    """Return a copy that computes as an 8-bit network does, in float32.

    The first layer, whose inputs have physical units, and the last layer, whose outputs have
    physical units, stay in float. The range of an activation ends at the largest one that is
    observed.

    Args:
        network: A network made by `BEVNet.folded`, in float32.
        batches: Typical input.

    Raises:
        ValueError: It has no pillars.
    """
    rounded = copy.deepcopy(network)
    found = _largest_activations(rounded, batches)
    if not any(found.values()):
        raise ValueError("no point of the sweeps is on the grid; give others for the calibration")
    for module, largest in found.items():
        module.step = largest / (LEVELS - 1)
    for layer in _eight_bit_layers(rounded):
        parametrize.register_parametrization(layer, "weight", _RoundedWeight(layer.weight))
    return rounded.requires_grad_(False)


def _eight_bit_layers(network: BEVNet) -> Iterator[Any]:
    for part in (network.backbone, network.heads.hidden):
        for module in part.modules():
            if isinstance(module, nn.Linear | nn.Conv2d | SubmanifoldConv):
                yield module


def _largest_activations(network: BEVNet, batches: Iterable[PillarBatch]) -> dict[Rounding, float]:
    largest: dict[Rounding, float] = defaultdict(float)

    def observe(module: Rounding, _: object, y: Tensor) -> None:
        if y.numel():
            largest[module] = max(largest[module], y.max().item())

    hooks = [
        module.register_forward_hook(observe)  # type: ignore[arg-type]
        for module in network.modules()
        if isinstance(module, Rounding)
    ]
    for batch in batches:
        network(batch)
    for hook in hooks:
        hook.remove()
    return largest
