"""The whole network with its sparse convolutions by plain torch and by spconv."""

from functools import partial
from pathlib import Path
from typing import get_args

import torch

from bev_instseg.benchmark.measure import Timing, measure
from bev_instseg.io.sweep import read_scan
from bev_instseg.models.pillar_batch import PillarBatch
from bev_instseg.models.sparse import SparseBackend, has_spconv
from bev_instseg.ops.voxelize import voxelize
from bev_instseg.segmenter import Segmenter


def compare_sparse(segmenter: Segmenter, path: Path, repeats: int) -> dict[str, Timing | str]:
    """Network times on one sweep, from the host's pillars to the host's embeddings.

    On a GPU also of the network alone, by CUDA events.
    """
    pillars = voxelize(read_scan(path), segmenter.config.grid)
    rows: dict[str, Timing | str] = {}
    for backend in get_args(SparseBackend):
        if backend == "spconv" and not has_spconv():
            rows[backend] = "not measured: not installed; pip install '.[gpu]'"
            continue
        this = segmenter.with_sparse_backend(backend)
        rows[backend] = measure(partial(this.infer, pillars), repeats)
        if segmenter.device.type == "cuda":
            batch = PillarBatch.from_pillars([pillars])
            rows[f"{backend}, on the GPU alone"] = _by_events(this, batch, repeats)
    return rows


@torch.inference_mode()
def _by_events(segmenter: Segmenter, batch: PillarBatch, repeats: int) -> Timing:
    samples = []
    for _ in range(repeats + 3):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        there = batch.to(segmenter.device)  # anew: spconv has to find its neighbours every time
        start.record()
        segmenter.network(there)
        end.record()
        torch.cuda.synchronize()
        samples.append(start.elapsed_time(end))
    return Timing.of(samples[3:])
