"""Reading, computing and writing at once: three stages over a stream of items."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

DEPTH = 2

Item = TypeVar("Item")
Read = TypeVar("Read")
Done = TypeVar("Done")
Written = TypeVar("Written")


def overlapped(
    items: Iterable[Item],
    read: Callable[[Item], Read],
    work: Callable[[Item, Read], Done],
    write: Callable[[Item, Done], Written],
) -> Generator[tuple[Item, "Future[Written]"], None, None]:
    """Each item read, worked on and written, while its neighbours are in the other stages.

    ``read`` and ``write`` run in a thread each, ``work`` in the caller's, all in the order of the
    items. At most `DEPTH` items are read ahead, and as many wait to be written, so memory does
    not grow with their number. Closing the iterator waits for what is being written.

    Yields:
        Each item, in order, with the outcome: its result is what ``write`` returned, its exception
        what the first stage to fail raised. The other items go on.
    """
    reading: deque[tuple[Item, Future[Read]]] = deque()
    writing: deque[tuple[Item, Future[Written]]] = deque()
    source = iter(items)
    with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
        try:
            while True:
                for item in islice(source, DEPTH - len(reading)):
                    reading.append((item, reader.submit(read, item)))
                if not reading:
                    break
                item, ahead = reading.popleft()
                try:
                    done = work(item, ahead.result())
                except Exception as error:
                    outcome: Future[Written] = Future()
                    outcome.set_exception(error)
                else:
                    outcome = writer.submit(write, item, done)
                writing.append((item, outcome))
                while len(writing) > DEPTH or (writing and writing[0][1].done()):
                    yield _finished(writing)
            while writing:
                yield _finished(writing)
        finally:
            reader.shutdown(wait=False, cancel_futures=True)


def _finished(
    writing: deque[tuple[Item, "Future[Written]"]],
) -> tuple[Item, "Future[Written]"]:
    item, outcome = writing.popleft()
    outcome.exception()  # waits
    return item, outcome
