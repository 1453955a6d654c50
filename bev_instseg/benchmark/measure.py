"""A stopwatch with median and spread, the machine's peak rates, and memory use."""

import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from bev_instseg.models.network import native_dtype


@dataclass(frozen=True)
class Timing:
    """The distribution of a duration.

    Attributes:
        median_ms: Median in milliseconds.
        low_ms: 10th percentile.
        high_ms: 90th percentile.
    """

    median_ms: float
    low_ms: float
    high_ms: float

    @staticmethod
    def from_samples(samples_ms: Sequence[float]) -> "Timing":
        """Compute the distribution of single measurements in milliseconds."""
        low, median, high = np.percentile(samples_ms, (10, 50, 90)).tolist()
        return Timing(median, low, high)


def measure(call: Callable[[], object], repeats: int = 15, warm_up: int = 2) -> Timing:
    """Time a call.

    Args:
        call: The function to time.
        repeats: Calls that are timed.
        warm_up: Calls before them that are not.
    """
    for _ in range(warm_up):
        call()
    samples = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        samples.append(1000 * (time.perf_counter() - start))
    return Timing.from_samples(samples)


@dataclass(frozen=True)
class Machine:
    """A machine and its peak rates, from which lower bounds are computed.

    Attributes:
        cpu: Name of the processor.
        cores: Number of logical cores.
        threads: Number of PyTorch's threads.
        python: Version of Python.
        pytorch: Version of PyTorch.
        precision: dtype in which the network computes.
        copy_gb_s: Bytes read and written per second when one thread copies 64 MiB, in GB/s. This is
            the rate of memory; data in a cache can be faster.
        gemm_gflop_s: Rate of a product of 2048 x 2048 matrices on the network's device, in its
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
    def measure(device: torch.device) -> "Machine":
        """Measure this machine, with matrix products on ``device``; takes about a second."""
        source = np.ones(1 << 26, np.uint8)
        target = np.empty_like(source)
        copy = measure(lambda: np.copyto(target, source), 9)
        dtype = native_dtype(device)
        a = torch.randn(2048, 2048).to(device, dtype)
        with torch.inference_mode():
            gemm = measure(lambda: (a @ a)[0, 0].item(), 15)  # item() waits for a GPU
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

    def __str__(self) -> str:
        return (
            f"{self.cpu}, {self.cores} cores, {self.threads} threads, torch {self.pytorch}: "
            f"copies {self.copy_gb_s:.1f} GB/s, multiplies {self.gemm_gflop_s:.0f} GFLOP/s in "
            f"{self.precision}"
        )


def reset_peak_memory() -> None:
    """Reset the peak that `peak_memory_mib` reports; Linux only."""
    Path("/proc/self/clear_refs").write_text("5")


def peak_memory_mib() -> float:
    """Return the peak resident memory since `reset_peak_memory`, in MiB; Linux only."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) / 1024


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    pairs = (line.split(":", 1) for line in lines if ":" in line)
    fields = {key.strip(): value.strip() for key, value in pairs}
    name = fields.get("model name", platform.machine())
    family, model = fields.get("cpu family"), fields.get("model")
    return f"{name} (family {family}, model {model})" if family else name
