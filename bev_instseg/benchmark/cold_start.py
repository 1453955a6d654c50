"""The time until a new process has segmented its first sweep, step by step."""

import subprocess
import sys
from pathlib import Path

from bev_instseg.benchmark.report import Report, number_table
from bev_instseg.benchmark.setup import Setup

PROGRAM = """
import sys, time
start = time.perf_counter()
import bev_instseg.segmenter
import_s = time.perf_counter()
segmenter = bev_instseg.segmenter.Segmenter.from_pretrained(device="cpu")
loaded_s = time.perf_counter()
segmenter.segment(bev_instseg.read_scan(sys.argv[1]))
first_s = time.perf_counter()
segmenter.segment(bev_instseg.read_scan(sys.argv[1]))
second_s = time.perf_counter()
moments = (start, import_s, loaded_s, first_s, second_s)
print(*(round(b - a, 3) for a, b in zip(moments, moments[1:])))
"""
STEPS = ("import", "load weights", "read and segment the first sweep", "the second")


def report(setup: Setup) -> Report:
    """Measure a cold start with the package's weights on the CPU."""
    figures = time_cold_start(setup.sweeps[0])
    return Report(figures, number_table(["cold start", "seconds"], figures.items()))


def time_cold_start(path: Path) -> dict[str, float]:
    """Time each step of a new process, once Numba's kernels are compiled and cached.

    Args:
        path: The sweep.

    Returns:
        Seconds by the name of the step.

    Raises:
        ValueError: The process failed.
    """
    for _ in range(2):  # the first time, the kernels may be compiled
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, str(path)], capture_output=True, text=True
        )
        if done.returncode:
            lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
            raise ValueError(f"{path}: cold start failed: {lines[-1]}")
    return dict(zip(STEPS, map(float, done.stdout.split()), strict=True))
