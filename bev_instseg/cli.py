"""What the tools' command lines share."""

import argparse
from pathlib import Path

from bev_instseg.config import override_config
from bev_instseg.segmenter import Segmenter


def new_parser(doc: str | None) -> argparse.ArgumentParser:
    """A parser whose help is the tool's docstring as it stands."""
    return argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def add_network_arguments(parser: argparse.ArgumentParser) -> None:
    """Options that choose the network; `make_segmenter` takes what they parse to."""
    parser.add_argument(
        "--weights", type=Path, metavar="FILE", help=".safetensors or .pt (default: the package's)"
    )
    parser.add_argument(
        "--config", type=Path, metavar="YAML", help="thresholds, names or range other than theirs"
    )
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")


def make_segmenter(arguments: argparse.Namespace) -> Segmenter:
    """The segmenter that the options of `add_network_arguments` ask for.

    Raises:
        CheckpointError, ConfigError, ValueError: what was asked for is not to be had; one line.
    """
    if arguments.weights is None:
        segmenter = Segmenter.from_pretrained(arguments.device)
    else:
        segmenter = Segmenter.from_checkpoint(arguments.weights, arguments.device)
    if arguments.config is not None:
        segmenter.config = override_config(segmenter.config, arguments.config)
    return segmenter
