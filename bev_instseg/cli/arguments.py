"""Shared by the commands: parsing, error messages and common options; torch is imported late."""

import argparse
import io
import math
import os
import re
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn, TextIO, get_args

from bev_instseg.cli.report import Report
from bev_instseg.config_files import override_config
from bev_instseg.engines.engine import RuntimeChoice, TtaChoice
from bev_instseg.exceptions import BevInstsegError, explain
from bev_instseg.model_files import PRETRAINED, pretrained_weights

if TYPE_CHECKING:
    from bev_instseg.segmenter import Segmenter


PACKAGE = Path(__file__).resolve().parent.parent
END_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


class Parser(argparse.ArgumentParser):
    """Reports a mistake in the command line in one line, with a suggestion if one is close."""

    _words: Sequence[str] = ()

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse as argparse does, and remember the words for `error`.

        Args:
            args: The words; those of the process by default.
            namespace: Where argparse stores what it parses.
        """
        self._words = sys.argv[1:] if args is None else list(args)
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """Print a message, with a suggestion, and exit with code 2.

        Args:
            message: What argparse reports.
        """
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
    """Return a parser whose help is a command's docstring, with %(prog)s filled in.

    Parsed arguments have the attribute ``program``, the name that messages begin with.

    Args:
        doc: The docstring.
        prog: The command as the user typed it.
    """
    parser = Parser(
        prog=prog, description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.set_defaults(program=prog.removeprefix("python tools/").removesuffix(".py"))
    return parser


def run(program: str, main: Callable[[], int]) -> int:
    """Run a command and return its exit code; print expected errors as one line.

    Args:
        program: The name that messages begin with.
        main: Does the work and returns the exit code.

    Returns:
        The code of ``main``, 2 after an expected error, or 128 and the number of the signal after
        Ctrl-C (130), SIGTERM (143) or SIGHUP (129).
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names that the terminal cannot show
    try:
        with _signals_interrupt(), _warnings_as_notices(Report(program)):
            return main()
    except (BevInstsegError, ValueError, OSError, MemoryError, ImportError) as error:
        print(f"{program}: {explain(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        print(f"{program}: stopped; finished results are kept", file=sys.stderr)
        return 128 + (stop.args[0] if stop.args else signal.SIGINT)


@contextmanager
def _warnings_as_notices(report: Report) -> Iterator[None]:
    """Print this package's warnings, which are for Python users, as the commands' notices."""
    usual = warnings.showwarning

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if category is UserWarning and Path(filename).resolve().is_relative_to(PACKAGE):
            name, _, notice = str(message).partition(": ")  # most begin with a file or folder
            path = Path(name)
            if notice and os.path.exists(name):
                report.notice(notice, path, path if path.is_dir() else path.parent)
            else:
                report.notice(str(message))
        else:
            usual(message, category, filename, lineno, file, line)

    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = usual
        report.totals("times")


@contextmanager
def _signals_interrupt() -> Iterator[None]:
    """Make SIGTERM and SIGHUP raise KeyboardInterrupt as Ctrl-C does; a second one is ignored.

    Signals that are ignored, as SIGHUP is under ``nohup``, or handled already stay so.
    """

    def interrupt(number: int, frame: FrameType | None) -> NoReturn:
        for other in handled:
            signal.signal(other, signal.SIG_IGN)
        raise KeyboardInterrupt(number)

    handled = []
    if threading.current_thread() is threading.main_thread():
        handled = [n for n in END_SIGNALS if signal.getsignal(n) is signal.SIG_DFL]
    for number in handled:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number in handled:
            signal.signal(number, signal.SIG_DFL)


def add_network_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose the network; `make_segmenter` uses them."""
    parser.add_argument(
        "--weights",
        type=name_or_file,
        default=PRETRAINED[0],
        metavar="NAME|FILE",
        help=f"shipped weights ({', '.join(PRETRAINED)}; see the model card), or a file: "
        ".safetensors, .pt, or an exported .onnx or .xml (default: %(default)s)",
    )
    parser.add_argument(
        "--config",
        type=to_path,
        metavar="YAML",
        help="YAML file that overrides the weights' thresholds, class names or range",
    )
    parser.add_argument(
        "--device",
        choices=("auto", "cpu", "cuda"),
        default="auto",
        help="where to compute (default: a GPU if there is one)",
    )
    parser.add_argument(
        "--sparse",
        choices=("auto", "torch", "spconv"),
        default="auto",
        help="library for PyTorch's sparse convolutions (default: the faster one; on a CPU torch)",
    )
    parser.add_argument(
        "--runtime",
        choices=get_args(RuntimeChoice),
        default="auto",
        help="runtime of the network (default: torch on a GPU and for your own weights; for "
        "shipped or exported ones on a CPU the fastest one installed)",
    )
    parser.add_argument(
        "--tta",
        type=int,
        choices=get_args(TtaChoice),
        default=1,
        help="run the network N times, on rotated and mirrored copies of the sweep, and average "
        "its maps; for what this gains and costs, see docs/method.md (default: 1)",
        metavar="N",
    )


def add_data_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that define the training frames: configuration files and data folder."""
    parser.add_argument(
        "--config",
        required=True,
        nargs="+",
        type=to_path,
        metavar="YAML",
        help="configuration; later files override earlier ones, and all override the defaults",
    )
    parser.add_argument(
        "--data", required=True, type=to_path, help="folder that the sources' paths are relative to"
    )


def add_sources_argument(parser: argparse.ArgumentParser) -> None:
    """Add the option that leaves out sources; see `only_sources`."""
    parser.add_argument(
        "--sources",
        nargs="+",
        default=[],
        metavar="PATH",
        help="use only these of the configuration's sources (default: all)",
    )


def make_segmenter(arguments: argparse.Namespace, tracks: bool = False) -> "Segmenter":
    """Create the segmenter that the options of `add_network_arguments` describe.

    Args:
        arguments: The parsed command line.
        tracks: Whether a tracker takes its instances. Then a warning says if ``--config`` raises
            the score threshold, because trackers ignore that.

    Raises:
        CheckpointError: The weights cannot be used.
        ConfigError: The configuration cannot be used.
        ValueError: The device, sparse backend or runtime is not available, or the grid is not
            square and would have to be.
    """
    from bev_instseg.segmenter import Segmenter

    options = arguments.device, arguments.sparse, arguments.runtime
    if isinstance(arguments.weights, str):
        segmenter = Segmenter.from_pretrained(arguments.weights, *options)
    else:
        segmenter = Segmenter.from_checkpoint(arguments.weights, *options)
    if arguments.config is not None:
        config = override_config(segmenter.config, arguments.config)
        if tracks and config.cluster.score_threshold > segmenter.config.cluster.score_threshold:
            warnings.warn(
                f"{arguments.config}: cluster.score_threshold has no effect with tracking, which "
                "decides by the scores of several sweeps",
                stacklevel=2,
            )
        segmenter = segmenter.with_config(config)
    return segmenter.with_tta(arguments.tta)


def name_or_file(text: str) -> str | Path:
    """Parse the name of a shipped network, or else a path."""
    return text if text in PRETRAINED else to_path(text)


def weights_file(weights: str | Path) -> Path:
    """Return the path of weights; for the name of a shipped network, that of its float weights."""
    return pretrained_weights(str(weights)) if weights in PRETRAINED else Path(weights)


def positive_or_zero(text: str) -> int:
    """Parse a whole number, 0 or more."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be a whole number, 0 or more, got {text}")
    return int(text)


def positive(text: str) -> int:
    """Parse a whole number, 1 or more."""
    if positive_or_zero(text) == 0:
        raise argparse.ArgumentTypeError(f"must be 1 or more, got {text}")
    return int(text)


def not_empty(text: str) -> str:
    """Refuse an empty word, such as an unset shell variable leaves."""
    if not text:
        raise argparse.ArgumentTypeError("must not be empty")
    return text


def to_path(text: str) -> Path:
    """Parse a path; an empty one would be the current folder."""
    return Path(not_empty(text))


def to_folder(text: str) -> Path:
    """Parse the path of a folder to write to; refuse a file now rather than after the work."""
    if to_path(text).exists() and not Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"{text} is a file; name a folder")
    return Path(text)


def to_file(text: str) -> Path:
    """Parse the path of a file to write; refuse a folder now rather than after the work."""
    if to_path(text).is_dir():
        raise argparse.ArgumentTypeError(f"{text} is a folder; name a file in it")
    return Path(text)


def not_negative_number(text: str) -> float:
    """Parse a finite number, 0 or more."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number, 0 or more, got {text}")
    return number
