"""Three stages at once: order, what fails, how far they run ahead."""

import threading
import time

import pytest

from bev_instseg.streaming import DEPTH, overlapped


def test_all_stages_in_order():
    steps = overlapped(range(20), lambda n: n * 10, lambda n, x: (n, x), lambda n, y: (n, *y))
    assert [(n, outcome.result()) for n, outcome in steps] == [
        (n, (n, n, 10 * n)) for n in range(20)
    ]
    assert list(overlapped([], abs, max, max)) == []


@pytest.mark.parametrize("stage", ["read", "work", "write"])
def test_what_fails_is_told_and_the_rest_goes_on(stage):
    def maybe(name):
        def run(n, *_):
            if name == stage and n % 3 == 1:
                raise ValueError(f"{name} {n}")
            return n

        return run

    steps = list(overlapped(range(8), maybe("read"), maybe("work"), maybe("write")))
    assert [n for n, _ in steps] == list(range(8))
    failed = {n: str(outcome.exception()) for n, outcome in steps if outcome.exception()}
    assert failed == {n: f"{stage} {n}" for n in (1, 4, 7)}


def test_stages_overlap():
    """Each waits for the next item's stage before it: one after the other would never end."""
    read, worked = [threading.Event() for _ in range(6)], [threading.Event() for _ in range(6)]

    def work(n, _):
        if n + 1 < 6:
            assert read[n + 1].wait(10)
        worked[n].set()

    def write(n, _):
        if n + 1 < 6:
            assert worked[n + 1].wait(10)

    for _, outcome in overlapped(range(6), lambda n: read[n].set(), work, write):
        outcome.result()


def test_it_does_not_run_ahead_without_bound():
    started, finished, most = [], [], []

    def read(n):
        started.append(n)
        most.append(len(started) - len(finished))

    for n, _ in overlapped(range(50), read, lambda n, _: time.sleep(0.001), lambda n, _: None):
        finished.append(n)
    assert (
        max(most) <= DEPTH + 1 + DEPTH + 1
    )  # ahead, in work, waiting to be written, just finished


def test_closing_early_leaves_nothing_half_done():
    written = []

    def write(n, _):
        time.sleep(0.02)
        written.append(n)

    steps = overlapped(range(100), lambda n: n, lambda n, x: x, write)
    next(steps)
    before = threading.active_count()
    steps.close()
    assert written == list(range(len(written)))
    assert 1 <= len(written) <= 4
    assert threading.active_count() < before
