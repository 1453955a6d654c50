"""Sweeps per second and memory over a long series of sweeps."""

import resource
import tempfile
import threading
import time
from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path

from tqdm import tqdm

from bev_instseg.benchmark.measure import peak_memory_mib, reset_peak_memory
from bev_instseg.benchmark.report import Report
from bev_instseg.benchmark.setup import Setup
from bev_instseg.export import Cloud, write_result
from bev_instseg.io.sweep import read_sweep
from bev_instseg.jobs.in_threads import run_in_threads
from bev_instseg.segmenter import Segmenter

NUM_SWEEPS = 2000
MAX_SERIAL_SWEEPS = 100


def report(setup: Setup) -> Report:
    """Measure the throughput over `NUM_SWEEPS` sweeps."""
    figures = measure_throughput(setup.segmenter, setup.sweeps, NUM_SWEEPS)
    text = (
        f"{NUM_SWEEPS} sweeps: {figures['sweeps_s']:.1f} per second "
        f"({figures['serial_sweeps_s']:.1f} one at a time); memory "
        f"{figures['early_mib']:.0f} MiB after a tenth, {figures['late_mib']:.0f} at the end, "
        f"{figures['peak_mib']:.0f} at most"
    )
    return Report(figures, text)


def measure_throughput(
    segmenter: Segmenter, sweeps: Sequence[Path], count: int
) -> dict[str, float]:
    """Segment sweeps as ``bev-instseg segment`` does, and write the results.

    Args:
        segmenter: The segmenter.
        sweeps: Files, used again and again.
        count: Number of sweeps.

    Returns:
        Sweeps per second with several at once (``sweeps_s``) and one after the other with all
        threads (``serial_sweeps_s``, over at most `MAX_SERIAL_SWEEPS`); resident memory in MiB
        after a tenth of the sweeps (``early_mib``), at the end (``late_mib``) and its peak
        (``peak_mib``).
    """
    segmenter.warm_up()
    with tempfile.TemporaryDirectory() as folder:

        def work(path: Path) -> None:
            sweep = read_sweep(path)
            instances = segmenter.segment(sweep.points)
            target = Path(folder, f"{path.stem}_{threading.get_ident()}")
            cloud = Cloud(sweep.xyz, sweep.points[:, 3])
            write_result(target, cloud, instances, segmenter.config.classes)

        serial = list(islice(cycle(sweeps), min(count, MAX_SERIAL_SWEEPS)))
        for path in set(serial):  # load it into the system's cache
            read_sweep(path)
        start = time.perf_counter()
        for path in serial:
            work(path)
        serial_rate = len(serial) / (time.perf_counter() - start)

        memory_mib = []
        reset_peak_memory()
        start = time.perf_counter()
        steps = run_in_threads(islice(cycle(sweeps), count), count, work, segmenter.engine)
        for number, (_, outcome) in enumerate(tqdm(steps, "stream", count, unit="sweep"), 1):
            outcome.result()
            if number in (max(1, count // 10), count):
                memory_mib.append(resident_memory_mib())
        rate = count / (time.perf_counter() - start)
    return {
        "sweeps_s": rate,
        "serial_sweeps_s": serial_rate,
        "early_mib": memory_mib[0],
        "late_mib": memory_mib[-1],
        "peak_mib": peak_memory_mib(),
    }


def resident_memory_mib() -> float:
    """Return the resident memory of this process in MiB; Linux only."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20
