"""The whole network with its sparse convolutions by plain torch and by spconv."""

from pathlib import Path
from typing import get_args

import torch

from bev_instseg.benchmark.measure import Timing, measure
from bev_instseg.io.sweep import read_scan
from bev_instseg.models.pillar_batch import PillarBatch
from bev_instseg.models.sparse import Sparse, has_spconv
from bev_instseg.ops.voxelize import voxelize
from bev_instseg.segmenter import Segmenter


def compare_sparse(segmenter: Segmenter, path: Path, repeats: int) -> dict[str, Timing | str]:
    """Network times on one sweep, from the host's pillars to the host's embeddings.

    On a GPU also of the network alone, by CUDA events.
    """
    pillars = voxelize(read_scan(path), segmenter.config.grid)
    rows: dict[str, Timing | str] = {}
    chosen = segmenter.sparse
    for sparse in get_args(Sparse):
        if sparse == "spconv" and not has_spconv():
            rows[sparse] = "not measured: not installed; pip install '.[gpu]'"
            continue
        segmenter.sparse = sparse
        rows[sparse] = measure(lambda: segmenter.infer(pillars), repeats)
        if segmenter.device.type == "cuda":
            batch = PillarBatch.from_pillars([pillars])
            rows[f"{sparse}, on the GPU alone"] = _by_events(segmenter, batch, repeats)
    segmenter.sparse = chosen
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
