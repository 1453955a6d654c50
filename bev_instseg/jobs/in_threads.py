"""Many sweeps at once: whole sweeps side by side, rather than the stages of one."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import TypeVar

import torch

QUEUED_PER_WORKER = 2  # sweeps in work or waiting to be taken, for each worker
MAX_WORKERS = 16  # more wait for Python's lock

Item = TypeVar("Item")
Done = TypeVar("Done")


def run_in_threads(
    items: Iterable[Item], count: int, work: Callable[[Item], Done], device: torch.device
) -> Generator[tuple[Item, "Future[Done]"], None, None]:
    """``work`` on every item in several threads, the outcomes in the order of the items.

    On a CPU several items get one of PyTorch's threads each: that wastes none on waiting for each
    other, one sweep is read or written while another is computed, and what comes out does not
    depend on the number of cores, as sums over several threads do. At most `QUEUED_PER_WORKER` items for each
    thread are begun before their turn, so memory does not grow with the number of items. Closing
    the generator waits for what is in work and drops the rest.

    Args:
        items: what to work on.
        count: of the whole job, which may have begun earlier; a job of one item gets all of
            PyTorch's threads.
        work: called with each of them; must be fit to run in several threads at once.
        device: what it computes on.

    Yields:
        Each item with its finished outcome: the result of ``work``, or the exception it raised.
    """
    threads = torch.get_num_threads()
    workers = min(threads, MAX_WORKERS) if device.type == "cpu" else 3  # read, compute, write
    workers = max(1, min(workers, count))
    share = partial(torch.set_num_threads, 1 if count > 1 else threads)  # of the calling thread
    pending: deque[tuple[Item, Future[Done]]] = deque()
    source = iter(items)
    pool = ThreadPoolExecutor(workers, initializer=share)
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
