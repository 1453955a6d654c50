"""A stopwatch with a median and a spread, and what the machine can do at best."""

import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bev_instseg.models.network import native_dtype


@dataclass(frozen=True)
class Timing:
    """Milliseconds: median, 10th and 90th percentile."""

    median_ms: float
    low_ms: float
    high_ms: float

    @staticmethod
    def of(samples_ms: Sequence[float]) -> "Timing":
        """From single measurements."""
        low, median, high = np.percentile(samples_ms, (10, 50, 90)).tolist()
        return Timing(median, low, high)


def measure(run: Callable[[], object], repeats: int = 15, warm_up: int = 2) -> Timing:
    """Time a call ``repeats`` times, after ``warm_up`` calls that do not count."""
    for _ in range(warm_up):
        run()
    samples = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        samples.append(1000 * (time.perf_counter() - start))
    return Timing.of(samples)


@dataclass(frozen=True)
class Machine:
    """Where it was measured, and the rates that floors are made of.

    Attributes:
        copy_gb_s: bytes read and written per second when copying 64 MiB, in GB/s, one thread: the
            rate of memory; what lies in a cache can be faster.
        gemm_gflop_s: rate of a matrix product of 2048 x 2048 on the network's device and in its
            precision.
    """

    cpu: str
    cores: int
    threads: int
    python: str
    pytorch: str
    precision: str
    copy_gb_s: float
    gemm_gflop_s: float

    @staticmethod
    def here(device: torch.device) -> "Machine":
        """Measured now, the products on ``device``; takes about a second."""
        source = np.ones(1 << 26, np.uint8)
        target = np.empty_like(source)
        copy = measure(lambda: np.copyto(target, source), 9)
        dtype = native_dtype(device)
        a = torch.randn(2048, 2048).to(device, dtype)
        with torch.inference_mode():
            gemm = measure(lambda: (a @ a)[0, 0].item(), 15)  # waits for a GPU
        return Machine(
            _cpu_name(),
            os.cpu_count() or 1,
            torch.get_num_threads(),
            platform.python_version(),
            torch.__version__,
            str(dtype).removeprefix("torch."),
            2 * source.nbytes / copy.median_ms / 1e6,
            2 * 2048**3 / gemm.median_ms / 1e6,
        )


def forget_peak() -> None:
    """Start anew to look for the process's largest memory; Linux."""
    Path("/proc/self/clear_refs").write_text("5")


def peak_mb() -> float:
    """The most resident memory since `forget_peak`, MiB; Linux."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) / 1024


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    found: dict[str, Any] = {key.strip(): value.strip() for key, value in fields.items()}
    name = found.get("model name", platform.machine())
    family, model = found.get("cpu family"), found.get("model")
    return f"{name} (family {family}, model {model})" if family else name
