"""Several items at once: order, failures, and how far the work runs ahead."""

import threading
import time

import pytest
import torch

from bev_instseg.jobs.in_threads import QUEUED_PER_WORKER, run_in_threads

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    assert torch.get_num_threads() == 2  # the caller's threads are unchanged
    torch.set_num_threads(before)


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
    barrier, num_threads = threading.Barrier(2, timeout=20), []

    def work(n):
        barrier.wait()  # times out if items run one after the other
        num_threads.append(torch.get_num_threads())

    for _, outcome in run_in_threads(range(6), 6, work, CPU):
        outcome.result()
    assert num_threads == [1] * 6


def test_a_single_item_gets_all_threads():
    [(_, outcome)] = run_in_threads([0], 1, lambda n: torch.get_num_threads(), CPU)
    assert outcome.result() == 2


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
