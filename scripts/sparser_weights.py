"""Carry weights over to a network with fewer dense levels, to train it further from there.

Example:
  python scripts/sparser_weights.py old.safetensors --dense-levels 1 --out start.safetensors

Blocks and merges keep their 3 x 3 kernels, which from then on see occupied cells only. A 3 x 3
convolution of stride 2 keeps the four taps of a parent's own quarters, and what was copied to the
four cells of a finer map is given to the four quarters of a parent. The result needs training.
"""

import argparse
import dataclasses
from pathlib import Path

import torch
from torch import Tensor

from bev_instseg.checkpoint import load_model, save_weights
from bev_instseg.config import Config
from bev_instseg.models.network import BEVNet

QUARTERS = 4


def main() -> None:
    """Read the weights, convert them and write the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("weights", type=Path, help=".safetensors or .pt")
    parser.add_argument("--dense-levels", required=True, type=int, help="fewer than it has")
    parser.add_argument("--out", required=True, type=Path, help=".safetensors to write")
    arguments = parser.parse_args()
    model, config, sha256 = load_model(arguments.weights)
    converted, config = with_dense_levels(model, config, arguments.dense_levels)
    save_weights(arguments.out, converted, config, {"converted_from_sha256": sha256})


def with_dense_levels(model: BEVNet, config: Config, dense_levels: int) -> tuple[BEVNet, Config]:
    """Return a network with fewer dense levels, and its configuration.

    Args:
        model: The network; it is not changed.
        config: Its configuration.
        dense_levels: Fewer than it has.

    Raises:
        SystemExit: It has not more.
    """
    shift = config.model.dense_levels - dense_levels
    if shift < 1:
        raise SystemExit(f"it has {config.model.dense_levels} dense levels; give fewer")
    first_dense = config.model.sparse_levels
    changed = dataclasses.replace(config.model, dense_levels=dense_levels)
    config = dataclasses.replace(config, model=changed)
    converted, old = BEVNet(config), model.state_dict()
    weights = {
        name: _carried_over(name, old, first_dense, shift) for name in converted.state_dict()
    }
    converted.load_state_dict(weights)
    return converted.eval(), config


def _carried_over(name: str, old: dict[str, Tensor], first_dense: int, shift: int) -> Tensor:
    """Return the weights for a name of the new network.

    Args:
        name: The name.
        old: The weights of the old network.
        first_dense: The first level that was dense.
        shift: How many of its levels become sparse.
    """
    part, _, rest = name.removeprefix("backbone.").partition(".")
    number, _, rest = rest.partition(".")
    if not name.startswith("backbone.") or not number.isdigit():
        return old[name]
    index = int(number)
    dense = index - first_dense  # the index that a level that becomes sparse had among dense ones
    if part in ("dense_blocks", "dense_down", "lateral", "merge"):
        return old[f"backbone.{part}.{index + shift}.{rest}"]
    if part == "sparse_blocks" and dense >= 0:
        return _taps_in_rows(old[f"backbone.dense_blocks.{dense}.{rest}"])
    if part == "sparse_down" and dense >= 0:
        weight = old[f"backbone.dense_down.{dense}.{rest.replace('layer.linear', 'layer')}"]
        return _taps_in_rows(weight[:, :, 1:, 1:]).flatten(1) if weight.ndim == 4 else weight
    if part == "sparse_up" and dense >= -1:
        layer, _, rest = rest.partition(".")
        if layer == "merge":
            return _taps_in_rows(old[f"backbone.merge.{dense + 1}.{rest}"])
        weight = old[f"backbone.lateral.{dense + 1}.{rest}"]
        weight = weight.flatten(1) if weight.ndim == 4 else weight
        return torch.cat([weight] * QUARTERS) if weight.ndim else weight
    return old[name]


def _taps_in_rows(weight: Tensor) -> Tensor:
    """Return (out, taps, in) weights of (out, in, n, n) ones, and others as they are."""
    return weight.flatten(2).transpose(1, 2) if weight.ndim == 4 else weight


if __name__ == "__main__":
    main()
