"""The messages of commands while they run: notices and errors."""

import re
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from bev_instseg.exceptions import printable

if TYPE_CHECKING:  # torch: not for --help
    from bev_instseg.jobs.outcome import Outcome

MAX_SHOWN = 20  # errors that differ only in numbers
SLOW_S = 3.0  # what takes longer is announced
NUMBER = re.compile(r"-?\d+(\.\d+)?")
# Notices of a folder that differ only in numbers are of one kind, and so are equal ones anywhere.
Kind = tuple[Path | None, str]


class Report:
    """Prints lines on stderr, above the progress bar, each beginning with the program's name."""

    def __init__(self, program: str) -> None:
        """Prepare to print.

        Args:
            program: The name that the lines begin with.
        """
        self._program = program
        self._kind_of: dict[str, Kind] = {}  # of each notice that was printed
        self._num_concerned: Counter[Kind] = Counter()
        self._first_of_kind: dict[Kind, str] = {}
        self._num_errors: Counter[str] = Counter()  # by kind
        self._last_error: dict[str, str] = {}

    def say(self, line: str) -> None:
        """Print a line."""
        tqdm.write(f"{self._program}: {line}", file=sys.stderr)

    def outcome(self, outcome: "Outcome") -> None:
        """Print the sweep's notices of new kinds, and its error.

        If there are many errors of a kind, only the first ones are printed.
        """
        item = outcome.item
        for notice in outcome.notices:
            self.notice(notice, item.path, item.path.parent / Path(item.name).parent)
        if outcome.error:
            kind = NUMBER.sub("0", outcome.error)
            self._num_errors[kind] += 1
            self._last_error[kind] = outcome.error
            if self._num_errors[kind] <= MAX_SHOWN:
                self.say(outcome.error)

    def notice(self, notice: str, path: Path | None = None, folder: Path | None = None) -> None:
        """Print a notice unless one of its kind was printed already.

        Args:
            notice: The notice.
            path: The sweep that it concerns, unless the notice names it.
            folder: The folder or recording that the sweep is from.
        """
        name = "" if path is None else printable(str(path))
        kind = self._kind_of.get(notice, (folder, NUMBER.sub("0", notice)))
        self._num_concerned[kind] += 1
        if kind not in self._first_of_kind:
            line = notice if name in notice else f"{name}: {notice}"
            self._first_of_kind[kind], self._kind_of[notice] = printable(line), kind
            self.say(f"note: {self._first_of_kind[kind]}")

    def totals(self, unit: str = "sweeps") -> None:
        """Print how many sweeps each kind of notice and error concerned, if not all were shown.

        Args:
            unit: What was counted.
        """
        for kind, first in self._first_of_kind.items():
            if self._num_concerned[kind] > 1:
                self.say(f"note: {self._num_concerned[kind]} {unit}, first {first}")
        for error, last in self._last_error.items():
            if (more := self._num_errors[error] - MAX_SHOWN) > 0:
                self.say(f"{more} more errors of this kind, the last: {last}")

    @contextmanager
    def announced(self, line: str) -> Iterator[None]:
        """Print a line if a ``with`` block takes more than `SLOW_S` and a person is waiting.

        Args:
            line: What the block does.
        """
        timer = threading.Timer(SLOW_S, self.say, [line])
        if sys.stderr.isatty():
            timer.start()
        try:
            yield
        finally:
            timer.cancel()
