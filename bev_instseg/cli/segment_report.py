"""The messages of commands: notices, errors, times and a row for each sweep."""

import re
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from bev_instseg.exceptions import ScanError, explain, printable
from bev_instseg.jobs.summary import SweepSummary

if TYPE_CHECKING:  # torch: not for --help
    from bev_instseg.jobs.find_items import Item
    from bev_instseg.jobs.job import Job
    from bev_instseg.jobs.outcome import Outcome

MAX_SHOWN = 20  # errors that differ only in numbers
SLOW_S = 3.0  # what takes longer is announced
NUMBER = re.compile(r"-?\d+(\.\d+)?")  # notices that differ only in numbers are of one kind


class Report:
    """Prints lines on stderr, above the progress bar, each beginning with the program's name."""

    def __init__(self, program: str) -> None:
        """Print nothing yet.

        Args:
            program: The name that the lines begin with.
        """
        self._program = program
        self._num_sweeps: Counter[str] = Counter()  # by kind of notice
        self._first_of_kind: dict[str, str] = {}
        self._num_errors: Counter[str] = Counter()  # by kind
        self._last_error: dict[str, str] = {}

    def say(self, line: str) -> None:
        """Print a line."""
        tqdm.write(f"{self._program}: {line}", file=sys.stderr)

    def outcome(self, outcome: "Outcome") -> None:
        """Print the notices of a sweep of a kind that was not printed yet, and its error.

        Of many errors of a kind only the first are printed.
        """
        for notice in outcome.notices:
            self.notice(notice, outcome.item.path)
        if outcome.error:
            kind = NUMBER.sub("0", outcome.error)
            self._num_errors[kind] += 1
            self._last_error[kind] = outcome.error
            if self._num_errors[kind] <= MAX_SHOWN:
                self.say(outcome.error)

    def notice(self, notice: str, path: Path | None = None) -> None:
        """Print a notice unless one of its kind was printed already.

        Args:
            notice: What was assumed.
            path: The sweep that it is about, unless the notice names what it is about.
        """
        name = "" if path is None else printable(str(path))
        kind = NUMBER.sub("0", notice)
        self._num_sweeps[kind] += 1
        if kind not in self._first_of_kind:
            line = notice if name in notice else f"{name}: {notice}"
            self._first_of_kind[kind] = printable(line)
            self.say(f"note: {self._first_of_kind[kind]}")

    def totals(self) -> None:
        """Print of each kind of notice and of error how many sweeps it was about, if not shown."""
        for kind, first in self._first_of_kind.items():
            if self._num_sweeps[kind] > 1:
                self.say(f"note: {self._num_sweeps[kind]} sweeps, first {first}")
        for kind, last in self._last_error.items():
            if (more := self._num_errors[kind] - MAX_SHOWN) > 0:
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


def speed(timings: Sequence[Mapping[str, float]], seconds: float) -> str:
    """Return sweeps per second and the median time of each stage.

    Args:
        timings: Milliseconds of each stage, by sweep.
        seconds: Time that all of them took.
    """
    common = [stage for stage in timings[0] if all(stage in t for t in timings)]
    stages = [f"{stage} {np.median([t[stage] for t in timings]):.1f}" for stage in common]
    whole = np.median([sum(t.values()) for t in timings])
    return (
        f"{len(timings) / seconds:.1f} sweeps per second, several at once; median per sweep "
        f"{whole:.1f} ms ({', '.join(stages)})"
    )


def first_time(timing_ms: Mapping[str, float]) -> str:
    """Return the time of a job's only sweep, and how much of it went into reading and the like.

    Args:
        timing_ms: Milliseconds of each stage.
    """
    parts = ", ".join(
        f"{about} {timing_ms[stage]:.0f}"
        for stage, about in (("read", "reading"), ("draw", "drawing"), ("write", "writing"))
        if stage in timing_ms
    )
    return f"{sum(timing_ms.values()):.0f} ms for this first sweep, of which {parts}"


def summaries(
    job: "Job", items: Sequence["Item"], failed: Mapping[str, str], report: Report
) -> list[SweepSummary]:
    """Return the summary of each sweep, and print why results cannot be read.

    Args:
        job: The job.
        items: Its sweeps.
        failed: Why sweeps have no results, by name.
        report: Prints, for instance, that another job replaces a result at this moment.
    """
    sweeps = []
    for item in items:
        name = printable(item.name)
        if item.name in failed:
            sweeps.append(SweepSummary.of_failure(name, failed[item.name]))
            continue
        try:
            sweeps.append(SweepSummary.of(name, job.read_result(item)))
        except ScanError as error:
            report.say(explain(error))
            sweeps.append(SweepSummary.of_failure(name, explain(error)))
    return sweeps
