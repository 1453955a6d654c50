"""What the tools' command lines share. Nothing here imports torch before it is needed."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from bev_instseg.config import override_config

if TYPE_CHECKING:
    from bev_instseg.segmenter import Segmenter


def new_parser(doc: str | None) -> argparse.ArgumentParser:
    """A parser whose help is the tool's docstring as it stands."""
    return argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def run(name: str, main: Callable[[], int], *expected: type[Exception]) -> int:
    """Run a tool: what it cannot do is one line on stderr and exit code 2; Ctrl-C is 130.

    Args:
        name: of the tool, for the message.
        main: does the work and returns the exit code.
        expected: errors beyond the usual ones that are the user's to mend, not the programmer's.
    """
    try:
        return main()
    except (*expected, ValueError, OSError, MemoryError, ImportError) as error:  # type: ignore[misc]
        print(f"{name}: {explain(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{name}: stopped; what was finished stays", file=sys.stderr)
        return 130


def explain(error: BaseException) -> str:
    """An error in one line: for the system's own, the file and what is wrong with it."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror}"
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__


def add_network_arguments(parser: argparse.ArgumentParser) -> None:
    """Options that choose the network; `make_segmenter` takes what they parse to."""
    parser.add_argument(
        "--weights", type=Path, metavar="FILE", help=".safetensors or .pt (default: the package's)"
    )
    parser.add_argument(
        "--config", type=Path, metavar="YAML", help="thresholds, names or range other than theirs"
    )
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument(
        "--sparse",
        choices=("auto", "torch", "spconv"),
        default="auto",
        help="who computes the sparse convolutions (default: torch; on a GPU the faster one)",
    )


def add_data_arguments(parser: argparse.ArgumentParser) -> None:
    """Options that name the frames of a training: configuration files and the data's folder."""
    parser.add_argument(
        "--config",
        required=True,
        nargs="+",
        type=Path,
        metavar="YAML",
        help="over the defaults, each over those before it",
    )
    parser.add_argument(
        "--data", required=True, type=Path, help="folder that the sources' paths start from"
    )


def make_segmenter(arguments: argparse.Namespace) -> "Segmenter":
    """The segmenter that the options of `add_network_arguments` ask for.

    Raises:
        CheckpointError, ConfigError, ValueError: what was asked for is not to be had; one line.
    """
    from bev_instseg.segmenter import Segmenter

    if arguments.weights is None:
        segmenter = Segmenter.from_pretrained(arguments.device, arguments.sparse)
    else:
        segmenter = Segmenter.from_checkpoint(arguments.weights, arguments.device, arguments.sparse)
    if arguments.config is not None:
        segmenter.config = override_config(segmenter.config, arguments.config)
    return segmenter


def positive_or_zero(text: str) -> int:
    """A whole number, 0 or more."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be a whole number, 0 or more, got {text}")
    return int(text)


def positive(text: str) -> int:
    """A whole number, 1 or more."""
    if positive_or_zero(text) == 0:
        raise argparse.ArgumentTypeError(f"must be 1 or more, got {text}")
    return int(text)
