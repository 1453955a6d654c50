"""The network with sparse convolutions by plain PyTorch and by spconv."""

from functools import partial
from pathlib import Path
from typing import Any, get_args

import torch

from bev_instseg.benchmark.measure import Timing, measure
from bev_instseg.benchmark.report import TIMING_COLUMNS, Report, outcome_table, timing_cells
from bev_instseg.benchmark.setup import Setup
from bev_instseg.io.sweep import read_scan
from bev_instseg.models.pillar_batch import PillarBatch
from bev_instseg.models.sparse import SparseBackend, has_spconv
from bev_instseg.segmenter import Segmenter
from bev_instseg.stages import make_pillars


def report(setup: Setup) -> Report:
    """Measure both backends on the first sweep."""
    outcomes = compare_sparse_backends(setup.torch_segmenter(), setup.sweeps[0], setup.repeats)
    header = [f"network, one sweep, {setup.segmenter.engine.device}", *TIMING_COLUMNS]
    return Report(outcomes, outcome_table(header, outcomes, timing_cells))


def compare_sparse_backends(
    segmenter: Segmenter, path: Path, repeats: int
) -> dict[str, Timing | str]:
    """Time the network on one sweep, from pillars to embeddings in main memory.

    On a GPU the network alone is timed as well, by CUDA events.

    Args:
        segmenter: A segmenter with PyTorch.
        path: The sweep.
        repeats: Calls per measurement.

    Returns:
        The timing of each backend by its name, or the reason why it was not measured.
    """
    pillars = make_pillars(read_scan(path), segmenter.config)
    outcomes: dict[str, Timing | str] = {}
    for backend in get_args(SparseBackend):
        if backend == "spconv" and not has_spconv():
            outcomes[backend] = "not measured: not installed; pip install 'bev-instseg[gpu]'"
            continue
        switched = segmenter.with_sparse_backend(backend)
        outcomes[backend] = measure(partial(switched.infer, pillars), repeats)
        if segmenter.engine.device == "cuda":
            batch = PillarBatch.from_pillars([pillars], segmenter.config.model.sparse_levels)
            outcomes[f"{backend}, on the GPU alone"] = _time_on_gpu(switched, batch, repeats)
    return outcomes


@torch.inference_mode()
def _time_on_gpu(segmenter: Segmenter, batch: PillarBatch, repeats: int) -> Timing:
    engine: Any = segmenter.engine
    samples = []
    for _ in range(repeats + 3):
        start = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        end = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        on_gpu = batch.to(engine.device)  # a new batch makes spconv search neighbours each time
        start.record()
        engine.network(on_gpu)
        end.record()
        torch.cuda.synchronize()
        samples.append(start.elapsed_time(end))
    return Timing.from_samples(samples[3:])
