"""Receive sweeps in one thread, and segment and output them in another."""

import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Protocol, Self

import numpy as np

from bev_instseg.live.pipeline import LiveResult, Pipeline
from bev_instseg.live.slot import NewestSlot
from bev_instseg.live.source import Arrival, Source
from bev_instseg.live.state import LiveState

WAIT_S = 0.2


class Output(Protocol):
    """Publishes or records results."""

    def write(self, result: LiveResult) -> None:
        """Write the results of a sweep; raises OSError if this is no longer possible."""
        ...


class LiveSession:
    """Runs during its ``with`` block, in two threads: one receives, one computes.

    Attributes:
        state: Rate and latencies, from the first result on.
        num_failed: Number of sweeps that could not be used.
        error: The error that ended a thread; None so far.
    """

    def __init__(self, source: Source, pipeline: Pipeline, outputs: Sequence[Output]) -> None:
        """Prepare the threads.

        Args:
            source: Receives the sweeps.
            pipeline: Segments and tracks each sweep.
            outputs: Take the results, in this order.
        """
        self.state = LiveState()
        self.num_failed = 0
        self.error: Exception | None = None
        self._source, self._pipeline, self._outputs = source, pipeline, outputs
        self._slot = NewestSlot[Arrival]()
        self._before = 0, 0, 0  # dropped, lost and incomplete before the first result
        self._stop = threading.Event()
        works = self._receive, self._compute
        self._threads = [threading.Thread(target=self._guarded, args=(work,)) for work in works]

    def __enter__(self) -> Self:
        """Start both threads."""
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Finish the sweep in progress and end both threads."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def wait(self, seconds: float) -> None:
        """Wait; raises the error of a thread as soon as it occurs."""
        self._stop.wait(seconds)
        if self.error is not None:
            raise self.error

    @property
    def num_arrived(self) -> int:
        """Number of sweeps that have arrived."""
        return self._slot.num_put

    def line(self, window_s: float | None = None) -> str:
        """Return the state in one line.

        Args:
            window_s: Number of seconds before now that the rate covers; None for the whole session.
        """
        if not self.state.num_sweeps:
            return f"no results yet: {self.num_arrived} sweeps arrived, {self.num_failed} unusable"
        dropped, lost, incomplete = np.subtract(self._counts(), self._before).tolist()
        alone = f", {incomplete} incomplete" if incomplete else ""
        failed = f", {self.num_failed} unusable" if self.num_failed else ""
        counts = f"{self.state.rate(window_s)}, {dropped} dropped, {lost} lost{alone}{failed}"
        return f"{counts}; {self.state.latencies()}; {self.state.num_objects} objects"

    def _counts(self) -> tuple[int, int, int]:
        """Return the numbers of dropped, lost and incomplete sweeps."""
        return self._slot.num_dropped, self._source.num_lost, self._source.num_incomplete

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:
            self.error = self.error or error
            self._stop.set()

    def _receive(self) -> None:
        self._source.listen(self._slot.put, self._stop)

    def _compute(self) -> None:
        while not self._stop.is_set():
            arrival = self._slot.take(WAIT_S)
            if arrival is None:
                continue
            try:
                result = self._pipeline.process(arrival.raw)
            except ValueError as error:  # of this sweep only
                self.num_failed += 1
                self._pipeline.notice(str(error))
                continue
            if result is None:
                self._before = self._counts()
                continue
            for output in self._outputs:
                output.write(result)
            self.state.add(result.stamp_ns, arrival.arrived_s, result.num_objects)
