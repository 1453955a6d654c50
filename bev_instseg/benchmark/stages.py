"""The time of each stage, from the bytes of a file to label files, and lower bounds."""

import math
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from bev_instseg.benchmark.measure import Machine, Timing, peak_memory_mib, reset_peak_memory
from bev_instseg.benchmark.report import TIMING_COLUMNS, Report, number_table, timing_cells
from bev_instseg.benchmark.setup import Setup
from bev_instseg.export import Cloud, write_result
from bev_instseg.io.sweep import read_sweep
from bev_instseg.models.pillar_batch import PillarBatch
from bev_instseg.segmenter import Segmenter
from bev_instseg.stages import make_pillars

WHOLE = "bytes to labels"


def report(setup: Setup) -> Report:
    """Measure the stages of all sweeps, their lower bounds and the peak memory."""
    reset_peak_memory()
    timings, whole_ms = time_stages(setup.segmenter, setup.sweeps, setup.repeats)
    peak_mib = peak_memory_mib()
    floors = measure_floors(setup.torch_segmenter(), setup.sweeps, setup.machine)
    floor_ms = {
        "voxelize": floors["voxelize_floor_ms"],
        "network": setup.segmenter.tta * floors["network_floor_ms"],
    }
    rows = []
    for stage, timing in timings.items():
        floor = floor_ms.get(stage, math.nan)
        rows.append([stage, *timing_cells(timing), floor, timing.median_ms / floor])
    text = (
        f"{number_table(['stage', *TIMING_COLUMNS, 'floor ms', 'times floor'], rows)}\n\n"
        f"{len(setup.sweeps)} sweeps, {floors['points']:.0f} points and {floors['pillars']:.0f} "
        f"pillars (medians), {setup.repeats} repeats; slowest sweep {max(whole_ms):.1f} ms; "
        f"peak memory {peak_mib:.0f} MiB\n"
        f"floors: {floors['voxelize_mb']:.1f} MB moved once, "
        f"{floors['network_gflop']:.1f} GFLOP; {WHOLE} is all before 'write'"
    )
    return Report({"timings": timings, "floors": floors, "peak_mib": peak_mib}, text)


def time_stages(
    segmenter: Segmenter, sweeps: Sequence[Path], repeats: int
) -> tuple[dict[str, Timing], list[float]]:
    """Time each stage over all sweeps and repeats.

    `WHOLE` is the time from the bytes of the file to the label of each point, as
    `Segmenter.segment` returns them; writing them to disk comes on top.

    Args:
        segmenter: The segmenter.
        sweeps: Files of sweeps.
        repeats: Repeats of each sweep, after one with cold caches that is not counted.

    Returns:
        The timing of each stage, and the median of `WHOLE` for each sweep in milliseconds.
    """
    segmenter.warm_up()
    samples: dict[str, list[float]] = {}
    whole_ms: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        for path in tqdm(sweeps, desc="stages", unit="sweep"):
            runs = [_time_sweep(segmenter, path, folder) for _ in range(repeats + 1)][1:]
            for run in runs:
                for stage, value in run.items():
                    samples.setdefault(stage, []).append(value)
            whole_ms.append(float(np.median([run[WHOLE] for run in runs])))
    return {stage: Timing.from_samples(values) for stage, values in samples.items()}, whole_ms


def _time_sweep(segmenter: Segmenter, path: Path, folder: str) -> dict[str, float]:
    """Segment a file once, write the result and return the milliseconds of each stage."""
    start = time.perf_counter()
    sweep = read_sweep(path)
    read = time.perf_counter()
    segmentation = segmenter.segment_with_maps(sweep.points)
    end = time.perf_counter()
    cloud = Cloud(sweep.xyz, sweep.points[:, 3])
    target = Path(folder, path.stem)
    write_result(target, cloud, segmentation.instances, segmenter.config.classes)
    written = time.perf_counter()
    return {
        "read": 1000 * (read - start),
        **segmentation.timing_ms,
        WHOLE: 1000 * (end - start),
        "write": 1000 * (written - end),
    }


def measure_floors(
    segmenter: Segmenter, sweeps: Sequence[Path], machine: Machine
) -> dict[str, float]:
    """Compute lower bounds for voxelizer and network from the machine's rates.

    Voxelizer: each byte of points is read and each byte of its results written once, at the copying
    rate. Network: its multiplications and additions run at the rate of a large matrix product.

    Args:
        segmenter: A segmenter with PyTorch.
        sweeps: Files of sweeps.
        machine: The rates.

    Returns:
        Medians over the sweeps: sizes, work and times.
    """
    num_bytes, flops, num_pillars, num_points = [], [], [], []
    engine: Any = segmenter.with_sparse_backend("torch").engine  # spconv's work cannot be counted
    for path in sweeps:
        points = read_sweep(path).points
        pillars = make_pillars(points, segmenter.config)
        arrays = (pillars.cells, pillars.features, pillars.point_to_pillar, pillars.point_height_m)
        num_bytes.append(points.nbytes + sum(array.nbytes for array in arrays))
        batch = PillarBatch.from_pillars([pillars], engine.network.sparse_levels).to(engine.device)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            engine.network(batch)
        flops.append(counter.get_total_flops())
        num_pillars.append(len(pillars.cells))
        num_points.append(len(points))
    return {
        "points": float(np.median(num_points)),
        "pillars": float(np.median(num_pillars)),
        "voxelize_mb": float(np.median(num_bytes)) / 1e6,
        "voxelize_floor_ms": float(np.median(num_bytes)) / machine.copy_gb_s / 1e6,
        "network_gflop": float(np.median(flops)) / 1e9,
        "network_floor_ms": float(np.median(flops)) / machine.gemm_gflop_s / 1e6,
    }
