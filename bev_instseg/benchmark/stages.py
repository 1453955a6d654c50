"""Each stage of a sweep, from the bytes of a file to the files of its labels, and their floors."""

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from bev_instseg.benchmark.measure import Machine, Timing
from bev_instseg.export import Cloud, write_result
from bev_instseg.io.sweep import read_sweep
from bev_instseg.models.pillar_batch import PillarBatch
from bev_instseg.ops.voxelize import voxelize
from bev_instseg.segmenter import Segmenter

WHOLE = "bytes to labels"


def time_stages(
    segmenter: Segmenter, paths: Sequence[Path], repeats: int
) -> tuple[dict[str, Timing], list[float]]:
    """Stages over all sweeps and repeats; and the median of the whole for each sweep.

    The whole is from the bytes of the file to the label of each point, as `Segmenter.segment`
    returns them; writing them to disk comes on top.
    """
    segmenter.warm_up()
    samples: dict[str, list[float]] = {}
    whole_of: list[float] = []
    with tempfile.TemporaryDirectory() as out:
        for path in tqdm(paths, desc="stages", unit="sweep"):
            whole = []
            for repeat in range(repeats + 1):
                start = time.perf_counter()
                sweep = read_sweep(path)
                read = time.perf_counter()
                segmentation = segmenter.segment_with_maps(sweep.points)
                end = time.perf_counter()
                cloud = Cloud(sweep.xyz, sweep.points[:, 3])
                write_result(
                    out, path.stem, cloud, segmentation.instances, segmenter.config.classes, {}
                )
                written = time.perf_counter()
                if not repeat:
                    continue  # the first of a sweep finds cold caches
                row = {"read": 1000 * (read - start), **segmentation.timing_ms}
                row |= {WHOLE: 1000 * (end - start), "write": 1000 * (written - end)}
                whole.append(row[WHOLE])
                for stage, value in row.items():
                    samples.setdefault(stage, []).append(value)
            whole_of.append(float(np.median(whole)))
    return {stage: Timing.of(values) for stage, values in samples.items()}, whole_of


def floors(segmenter: Segmenter, paths: Sequence[Path], machine: Machine) -> dict[str, Any]:
    """What voxelizer and network would take at the machine's own rates, medians over the sweeps.

    Voxelizer: each byte of points in, each byte of its results out, once, at the copying rate.
    Network: its multiplications and additions at the rate of a large matrix product.
    """
    voxel_bytes, flops, pillars_of, points_of = [], [], [], []
    model = segmenter.with_sparse_backend("torch").network  # spconv's work is not counted
    for path in paths:
        points = read_sweep(path).points
        pillars = voxelize(points, segmenter.config.grid)
        arrays = (pillars.cells, pillars.features, pillars.point_to_pillar, pillars.point_height_m)
        voxel_bytes.append(points.nbytes + sum(array.nbytes for array in arrays))
        batch = PillarBatch.from_pillars([pillars]).to(segmenter.device)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(batch)
        flops.append(counter.get_total_flops())
        pillars_of.append(len(pillars.cells))
        points_of.append(len(points))
    return {
        "points": float(np.median(points_of)),
        "pillars": float(np.median(pillars_of)),
        "voxelize_mb": float(np.median(voxel_bytes)) / 1e6,
        "voxelize_floor_ms": float(np.median(voxel_bytes)) / machine.copy_gb_s / 1e6,
        "network_gflop": float(np.median(flops)) / 1e9,
        "network_floor_ms": float(np.median(flops)) / machine.gemm_gflop_s / 1e6,
    }
