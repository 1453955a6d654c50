"""Several items at once: order, failures, and how far the work runs ahead."""

import threading
import time

import pytest

from bev_instseg.jobs.in_threads import QUEUED_PER_WORKER, run_in_threads


class Threads:
    """Stands for an engine: notes which threads are to compute alone."""

    device = "cpu"

    def __init__(self):
        self.alone = set()

    def use_one_thread(self):
        self.alone.add(threading.get_ident())


CPU = Threads()


@pytest.fixture(autouse=True)
def two_cores(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")


def test_outcomes_come_in_order():
    def work(n):
        time.sleep(0.002 * (n % 3))
        return n * 10

    steps = run_in_threads(range(20), 20, work, CPU)
    assert [(n, outcome.result()) for n, outcome in steps] == [(n, 10 * n) for n in range(20)]
    assert list(run_in_threads([], 0, work, CPU)) == []


def test_failures_are_reported_and_the_rest_continues():
    def work(n):
        if n % 3 == 1:
            raise ValueError(f"no {n}")
        return n

    steps = list(run_in_threads(range(8), 8, work, CPU))
    failed = {n: str(outcome.exception()) for n, outcome in steps if outcome.exception()}
    assert failed == {n: f"no {n}" for n in (1, 4, 7)}
    assert [n for n, _ in steps] == list(range(8))


def test_items_run_at_the_same_time_with_one_thread_each():
    barrier, engine, alone = threading.Barrier(2, timeout=20), Threads(), []

    def work(n):
        barrier.wait()  # times out if items run one after the other
        alone.append(threading.get_ident() in engine.alone)

    for _, outcome in run_in_threads(range(6), 6, work, engine):
        outcome.result()
    assert alone == [True] * 6


def test_a_single_item_gets_all_threads():
    engine = Threads()
    [(_, outcome)] = run_in_threads([0], 1, lambda n: n, engine)
    assert outcome.result() == 0
    assert not engine.alone


def test_work_runs_ahead_only_so_far():
    started, finished, ahead = [], [], []

    def work(n):
        started.append(n)
        ahead.append(len(started) - len(finished))

    for n, _ in run_in_threads(range(50), 50, work, CPU):
        finished.append(n)
        time.sleep(0.001)
    assert max(ahead) <= QUEUED_PER_WORKER * 2 + 1


def test_closing_early_finishes_what_was_begun():
    begun, done = [], []

    def work(n):
        begun.append(n)
        time.sleep(0.02)
        done.append(n)

    steps = run_in_threads(range(100), 100, work, CPU)
    next(steps)
    steps.close()
    assert sorted(begun) == sorted(done)
    assert 1 <= len(done) <= QUEUED_PER_WORKER * 2
