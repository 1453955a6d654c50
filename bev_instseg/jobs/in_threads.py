"""Process several sweeps at once: a thread per sweep, rather than several threads for each."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Generic, TypeVar

from bev_instseg.engines.engine import Engine
from bev_instseg.engines.threads import num_threads

QUEUED_PER_WORKER = 2  # items in progress or queued, per worker
MAX_WORKERS = 16  # more would wait for Python's global lock
GPU_WORKERS = 3  # one reads, one computes, one writes

Input = TypeVar("Input")
Output = TypeVar("Output")


def run_in_threads(
    items: Iterable[Input],
    num_items: int,
    work: Callable[[Input], Output],
    engine: Engine,
) -> Generator[tuple[Input, "Future[Output]"], None, None]:
    """Process items in several threads and yield the outcomes in the order of the items.

    On a CPU each worker computes with one thread: no thread waits for another, sweeps are read and
    written while others are computed, and results do not depend on the number of cores, as they
    would with sums over several threads. At most `QUEUED_PER_WORKER` items per worker are started
    ahead of their turn, so memory does not grow with the number of items. Closing the generator
    waits for the items in progress and drops the rest.

    Args:
        items: What to process.
        num_items: Number of items of the whole job, of which ``items`` may be a part. A job of a
            single item gets all threads.
        work: Called with each item; must be thread-safe.
        engine: Computes the network in ``work``.

    Yields:
        Each item with its finished outcome: the result of ``work``, or the exception it raised.
    """
    workers = min(num_threads(), MAX_WORKERS) if engine.device == "cpu" else GPU_WORKERS
    workers = max(1, min(workers, num_items))
    pending: deque[tuple[Input, Future[Output]]] = deque()
    source = iter(items)
    pool = ThreadPoolExecutor(workers, initializer=engine.use_one_thread if workers > 1 else None)
    try:
        while True:
            for item in islice(source, QUEUED_PER_WORKER * workers - len(pending)):
                pending.append((item, pool.submit(work, item)))
            if not pending:
                return
            item, outcome = pending.popleft()
            outcome.exception()  # waits
            yield item, outcome
    finally:
        pool.shutdown(cancel_futures=True)


class InOrder(Generic[Output]):
    """A bounded queue of work in threads, whose outcomes come in order."""

    def __init__(self, pool: ThreadPoolExecutor, max_pending: int) -> None:
        """Begin with an empty queue.

        Args:
            pool: Does the work.
            max_pending: Maximum number of outcomes that have not been taken.
        """
        self._pool, self._max_pending = pool, max_pending
        self._pending: deque[Future[Output]] = deque()

    def put(self, work: Callable[..., Output], *arguments: object) -> Iterator[Output]:
        """Queue work, then yield outcomes that are finished or that the queue has no room for."""
        self._pending.append(self._pool.submit(work, *arguments))
        while self._pending and (len(self._pending) > self._max_pending or self._pending[0].done()):
            yield self._pending.popleft().result()

    def put_done(self, outcome: Output) -> Iterator[Output]:
        """Queue a finished outcome."""
        return self.put(lambda: outcome)

    def rest(self) -> Iterator[Output]:
        """Yield all remaining outcomes."""
        while self._pending:
            yield self._pending.popleft().result()
