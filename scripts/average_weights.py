"""Average the weights of several trainings of one network.

Example:
  python scripts/average_weights.py --out mean.safetensors first.safetensors second.safetensors

The mean of networks whose training continued from the same weights is often better than each of
them (Wortsman et al., "Model soups", ICML 2022). Configuration and thresholds are those of the last
file; calibrate them again with bev-instseg calibrate. The other files may have fewer model.blocks;
weights that some files lack are averaged over the files that have them.
"""

import argparse
import dataclasses
from pathlib import Path

import torch

from bev_instseg.checkpoint import load_model, save_weights
from bev_instseg.config import check_same_network


def main() -> None:
    """Read the weights, average them and write the mean."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("weights", nargs="+", type=Path, help="at least two .safetensors or .pt")
    parser.add_argument("--out", required=True, type=Path, help="the .safetensors file to write")
    arguments = parser.parse_args()
    models, configs, hashes = zip(*map(load_model, arguments.weights), strict=True)
    last = configs[-1]
    for config in configs:
        model = dataclasses.replace(config.model, blocks=last.model.blocks)
        check_same_network(last, dataclasses.replace(config, model=model))
        if config.class_names != last.class_names:
            names, last_names = map(", ".join, (config.class_names, last.class_names))
            parser.error(
                f"classes differ: {names}, and {last_names} in the last weights; use weights with "
                "the same classes in the same order"
            )
    states = [model.state_dict() for model in models]
    if any(state.keys() - states[-1].keys() for state in states):
        parser.error("the last weights must have the most blocks; change the order")
    mean = {
        name: torch.stack([s[name].double() for s in states if name in s]).mean(0).to(tensor.dtype)
        for name, tensor in states[-1].items()
    }
    models[-1].load_state_dict(mean)
    save_weights(arguments.out, models[-1], last, {"mean_of_sha256": list(hashes)})


if __name__ == "__main__":
    main()
