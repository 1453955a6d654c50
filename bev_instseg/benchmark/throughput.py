"""A long stream of sweeps, and the first sweep after a cold start."""

import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from functools import partial
from itertools import cycle, islice
from pathlib import Path

from tqdm import tqdm

from bev_instseg.benchmark.measure import forget_peak, peak_mb
from bev_instseg.export import Cloud, write_result
from bev_instseg.io.sweep import read_sweep
from bev_instseg.jobs.in_threads import run_in_threads
from bev_instseg.segmenter import Segmenter

COLD_START = """
import sys, time
start = time.perf_counter()
import torch
torch_s = time.perf_counter()
import bev_instseg.segmenter
import_s = time.perf_counter()
segmenter = bev_instseg.segmenter.Segmenter.from_pretrained("cpu")
loaded_s = time.perf_counter()
segmenter.segment(bev_instseg.read_scan(sys.argv[1]))
first_s = time.perf_counter()
segmenter.segment(bev_instseg.read_scan(sys.argv[1]))
second_s = time.perf_counter()
moments = (start, torch_s, import_s, loaded_s, first_s, second_s)
print(*(round(b - a, 3) for a, b in zip(moments, moments[1:])))
"""
COLD_STEPS = ("import torch", "import ours beyond it", "load weights", "first sweep", "second")


def stream(segmenter: Segmenter, paths: Sequence[Path], count: int) -> dict[str, float]:
    """Segment ``count`` sweeps, over and over the same files, as ``segment_scan`` does.

    Returns:
        ``sweeps_s`` and ``serial_sweeps_s``, the latter one after the other with all threads (over
        at most 100 sweeps); the resident memory ``early_mb`` after a tenth and ``late_mb`` at the
        end; ``peak_mb``, the most in between.
    """
    segmenter.warm_up()
    with tempfile.TemporaryDirectory() as folder:

        def work(path: Path) -> None:
            sweep = read_sweep(path)
            instances = segmenter.segment(sweep.points)
            stem = f"{path.stem}_{threading.get_ident()}"
            cloud = Cloud(sweep.xyz, sweep.points[:, 3])
            write_result(folder, stem, cloud, instances, segmenter.config.classes, {})

        few = list(islice(cycle(paths), min(count, 100)))
        for path in set(few):  # from disk into the system's cache
            read_sweep(path)
        start = time.perf_counter()
        for path in few:
            work(path)
        serial = len(few) / (time.perf_counter() - start)

        memory = []
        forget_peak()
        start = time.perf_counter()
        steps = run_in_threads(islice(cycle(paths), count), count, work, segmenter.device)
        for number, (_, outcome) in enumerate(tqdm(steps, "stream", count, unit="sweep"), 1):
            outcome.result()
            if number in (max(1, count // 10), count):
                memory.append(resident_mb())
        rate = count / (time.perf_counter() - start)
    return {
        "sweeps_s": rate,
        "serial_sweeps_s": serial,
        "early_mb": memory[0],
        "late_mb": memory[-1],
        "peak_mb": peak_mb(),
    }


def resident_mb() -> float:
    """What the process holds now, MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def cold_start(path: Path) -> dict[str, float]:
    """Seconds of each step in a new process: the package's weights, on the CPU.

    Numba's kernels were compiled by an earlier process.
    """
    run = partial(subprocess.run, [sys.executable, "-c", COLD_START, str(path)])
    run(capture_output=True)  # whatever is not yet compiled
    done = run(capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{path}: cold start failed: {done.stderr.strip().splitlines()[-1]}")
    words = done.stdout.split()
    return dict(zip(COLD_STEPS, map(float, words), strict=True))
