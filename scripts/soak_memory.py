"""The part of `scripts/soak.py` that segments many sweeps in one process and watches its memory."""

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from bev_instseg import Cloud, Segmenter, read_sweep, write_result
from bev_instseg.simulate import SensorConfig, simulate_sweep

MAX_MEMORY_MIB = 700  # of the process, resident
MAX_GROWTH_MIB = 50  # from a fifth of the sweeps to the end
SAMPLES = 50  # times that memory and open files are looked at


def measure_memory(work: Path, count: int, sensor: SensorConfig) -> tuple[str, bool]:
    """Read, segment and write sweeps of varying size in a new process.

    Args:
        work: Folder for the files.
        count: Number of sweeps.
        sensor: What to simulate them with.

    Returns:
        The outcome in words, and whether memory and open files stayed flat.
    """
    sweeps = [simulate_sweep(seed, sensor)[0] for seed in range(8)]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context) as pool:
        memory_mib, files = pool.submit(_segment_many, work, count, sweeps).result().T
    settled = len(memory_mib) // 5
    growth_mib = memory_mib[settled:].max() - memory_mib[settled]
    outcome = (
        f"{count:,} sweeps: at most {memory_mib.max():.0f} MiB, {growth_mib:.0f} MiB more than "
        f"after {count // 5:,}; {files[settled:].min()} to {files[settled:].max()} open files"
    )
    flat = memory_mib.max() <= MAX_MEMORY_MIB and growth_mib <= MAX_GROWTH_MIB
    return outcome, bool(flat and np.ptp(files[settled:]) == 0)


def _segment_many(work: Path, count: int, sweeps: list[np.ndarray]) -> np.ndarray:
    """Return (n, 2) int64 resident memory in MiB and open files of this process, evenly spread."""
    rng = np.random.default_rng(0)
    segmenter = Segmenter.from_pretrained(device="cpu")
    path, samples = work / "sweep.bin", []
    for number in range(count):
        _varied(sweeps[number % len(sweeps)], rng).tofile(path)
        sweep = read_sweep(path)
        instances = segmenter.segment(sweep.points)
        cloud = Cloud(sweep.xyz, sweep.points[:, 3])
        write_result(work / "out" / "sweep", cloud, instances, segmenter.config.classes)
        if number % max(count // SAMPLES, 1) == 0:
            samples.append((_memory_mib(), len(os.listdir("/proc/self/fd"))))
    return np.array(samples)


def _varied(points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a random part of a sweep: half to all of its directions, a third to all points."""
    azimuth = np.arctan2(points[:, 1], points[:, 0]) + rng.uniform(0, 2 * np.pi)
    kept = azimuth % (2 * np.pi) < rng.uniform(np.pi, 2 * np.pi)
    kept &= rng.random(len(points)) < rng.uniform(0.3, 1)
    part: np.ndarray = points[kept]
    return part


def _memory_mib() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20
