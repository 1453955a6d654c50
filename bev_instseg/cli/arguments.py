"""What the tools' command lines share. Nothing here imports torch before it is needed."""

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from bev_instseg.config import override_config
from bev_instseg.exceptions import explain

if TYPE_CHECKING:
    from bev_instseg.segmenter import Segmenter


class Parser(argparse.ArgumentParser):
    """Says what is wrong with a command line in one line, and what was probably meant."""

    _words: Sequence[str] = ()

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As in argparse."""
        self._words = sys.argv[1:] if args is None else list(args)
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """Print the message, with a suggestion, and exit with code 2."""
        known = self._option_string_actions
        for word in self._words:
            name = word.split("=")[0]
            if name.startswith("--") and not any(option.startswith(name) for option in known):
                message = f"unknown option {name}" + _suggest(name, list(known))
                break
        else:
            if wrong := re.search(r"invalid choice: '(.*?)' \(choose from (.*)\)", message):
                message += _suggest(wrong[1], re.findall(r"[\w.-]+", wrong[2]))
        self.exit(2, f"{self.prog}: {message} (--help has examples)\n")


def _suggest(word: str, known: Sequence[str]) -> str:
    near = get_close_matches(word, known, 1, 0.6)
    return f"; did you mean {near[0]}?" if near else ""


def new_parser(doc: str | None, prog: str) -> Parser:
    """A parser whose help is the tool's docstring as it stands, %(prog)s filled in.

    What it parses to has the entry ``program``, the name that messages start with.

    Args:
        doc: the docstring.
        prog: how the user called the tool.
    """
    parser = Parser(
        prog=prog, description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.set_defaults(program=prog.removeprefix("python tools/").removesuffix(".py"))
    return parser


def run(program: str, main: Callable[[], int], *expected: type[Exception]) -> int:
    """Run a tool: what it cannot do is one line on stderr and exit code 2; Ctrl-C is 130.

    Args:
        program: what messages start with.
        main: does the work and returns the exit code.
        expected: errors beyond the usual ones that are the user's to mend, not the programmer's.
    """
    try:
        return main()
    except (*expected, ValueError, OSError, MemoryError, ImportError) as error:  # type: ignore[misc]
        print(f"{program}: {explain(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{program}: stopped; what was finished stays", file=sys.stderr)
        return 130


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
        segmenter = segmenter.with_config(override_config(segmenter.config, arguments.config))
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
