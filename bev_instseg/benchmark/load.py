"""The time of a sweep while other processes keep each core busy, as on a robot."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle, islice
from pathlib import Path

import numpy as np

from bev_instseg.benchmark.report import Report, number_table
from bev_instseg.benchmark.setup import Setup
from bev_instseg.engines.threads import num_threads
from bev_instseg.io.sweep import read_scan
from bev_instseg.segmenter import Segmenter

NUM_SWEEPS = 100  # timed in each situation
PERIOD_S = 0.1  # of a sensor
BUSY = "import os, sys; os.nice(int(sys.argv[1]))\nwhile True: pass"
LOW_PRIORITY = 10


def report(setup: Setup) -> Report:
    """Measure sweeps on one free core, on all free cores, and with a busy process on each core."""
    figures = measure_load(setup.segmenter, setup.sweeps, NUM_SWEEPS)
    alone = figures["one free core"]
    rows = [
        [name, *found.values(), *(found[key] / alone["median_ms"] for key in found)]
        for name, found in figures.items()
    ]
    header = ["from points to labels", "median ms", "p99", "median / one core", "p99 / one core"]
    text = f"{number_table(header, rows)}\n\n{NUM_SWEEPS} sweeps, {num_threads()} cores"
    return Report(figures, text)


def measure_load(
    segmenter: Segmenter, sweeps: Sequence[Path], count: int
) -> dict[str, dict[str, float]]:
    """Time sweeps on free and on busy cores.

    Args:
        segmenter: The segmenter.
        sweeps: Files of sweeps, used over and over.
        count: Number of sweeps timed in each situation.

    Returns:
        ``median_ms`` and ``p99_ms`` of each situation.
    """
    points = [read_scan(path) for path in sweeps]

    def time_sweeps(period_s: float = 0) -> dict[str, float]:
        samples = []
        for sweep in islice(cycle(points), count + len(points)):
            start = time.perf_counter()
            segmenter.segment_with_maps(sweep)
            seconds = time.perf_counter() - start
            samples.append(1000 * seconds)
            time.sleep(max(0.0, period_s - seconds))
        median, p99 = np.percentile(samples[len(points) :], (50, 99)).tolist()
        return {"median_ms": median, "p99_ms": p99}

    def ten_a_second() -> dict[str, float]:
        return time_sweeps(PERIOD_S)

    found = {"one free core": _alone(segmenter, time_sweeps), "all cores, free": time_sweeps()}
    with busy_processes(num_threads()):
        found["all cores, each busy"] = time_sweeps()
        found["the same, ten sweeps a second"] = ten_a_second()
        found["one thread, ten sweeps a second"] = _alone(segmenter, ten_a_second)
    with busy_processes(num_threads(), LOW_PRIORITY):
        found[f"the same, the others at nice {LOW_PRIORITY}"] = _alone(segmenter, ten_a_second)
    return found


def _alone(segmenter: Segmenter, call: Callable[[], dict[str, float]]) -> dict[str, float]:
    """Call a function in a thread that computes without helpers."""
    results = []

    def work() -> None:
        segmenter.engine.use_one_thread()
        results.append(call())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return results[0]


@contextmanager
def busy_processes(count: int, niceness: int = 0) -> Iterator[None]:
    """Keep some processes busy.

    Args:
        count: Their number.
        niceness: By how much their priority is lower than that of this process.
    """
    command = [sys.executable, "-c", BUSY, str(niceness)]
    processes = [subprocess.Popen(command) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()
