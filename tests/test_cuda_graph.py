"""The packed input of CUDA graphs anywhere, the graphs themselves on a GPU."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from bev_instseg import Segmenter
from bev_instseg.config import Config
from bev_instseg.engines.cuda_graph import GRAPH_ROWS, MAX_GRAPHS, PackedInput
from bev_instseg.models.network import BEVNet, split_outputs
from bev_instseg.models.pillar_batch import PillarBatch
from bev_instseg.ops.network_input import NetworkInput
from bev_instseg.ops.voxelize import voxelize
from bev_instseg.structures import Float32, Pillars

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
PARTS = ("centre_m", "precision", "seed")


def sweep(seed: int, count: int, config: Config) -> Pillars:
    rng = np.random.default_rng(seed)
    points = rng.uniform((-6, -6, -1, 0), (6, 6, 1, 1), (count, 4))
    return voxelize(points.astype(np.float32), config.grid)


def packed_outputs(network: BEVNet, packed: PackedInput, given: NetworkInput) -> Float32:
    packed.fill(given)
    with torch.inference_mode():
        found: Float32 = network.outputs(packed.batch).numpy()
    return found[: given.num_pillars]


def test_packed_inputs_give_what_the_sweeps_give(model: BEVNet, config: Config) -> None:
    """Also when the buffers are filled again, and with as much padding as graphs have."""
    network = model.folded(torch.float32)
    levels = network.sparse_levels
    packed: PackedInput | None = None
    for seed in (0, 1, 0):
        pillars = sweep(seed, 500, config)
        given = NetworkInput.from_pillars([pillars], levels, GRAPH_ROWS)
        packed = packed or PackedInput(given, torch.device("cpu"))
        found = split_outputs(packed_outputs(network, packed, given))
        expected = network.infer(PillarBatch.from_pillars([pillars], levels))
        for part in PARTS:
            np.testing.assert_allclose(
                getattr(found, part), getattr(expected, part), rtol=1e-4, atol=1e-5
            )


def test_an_input_of_another_size_does_not_fit(model: BEVNet, config: Config) -> None:
    levels = model.sparse_levels
    small = NetworkInput.from_pillars([sweep(0, 20, config)], levels, 16)
    large = NetworkInput.from_pillars([sweep(0, 900, config)], levels, 16)
    with pytest.raises(ValueError, match="broadcast"):
        PackedInput(small, torch.device("cpu")).fill(large)


@pytest.mark.gpu
@needs_gpu
def test_graphs_give_what_the_cpu_gives(model: BEVNet, config: Config) -> None:
    """In several threads at once, with more sizes than graphs are kept."""
    gpu = Segmenter(model, config, "cuda", sparse_backend="torch")
    cpu = Segmenter(model, config, "cpu", runtime="torch")
    sweeps = [sweep(seed, 200 + 400 * (seed % 3), config) for seed in range(24)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(gpu.infer, sweeps))
    for one, pillars in zip(found, sweeps, strict=True):
        for part in PARTS:
            expected = getattr(cpu.infer(pillars), part)
            np.testing.assert_allclose(getattr(one, part), expected, atol=0.05, rtol=0.05)


@pytest.mark.gpu
@needs_gpu
def test_graphs_are_recorded_anew_when_there_are_many(model: BEVNet, config: Config) -> None:
    gpu = Segmenter(model, config, "cuda", sparse_backend="torch")
    shapes = [(16 * (1 + k % 5), 16 * (1 + k // 5)) for k in range(MAX_GRAPHS + 4)]
    for _ in range(2):
        for nx, ny in shapes:
            rng = np.random.default_rng(0)
            points = rng.uniform((-6, -6, -1, 0), (6, 6, 1, 1), (300, 4)).astype(np.float32)
            pillars = voxelize(points, config.grid.window(0, 0, nx, ny))
            assert len(gpu.infer(pillars).seed) == len(pillars.cells)


@pytest.mark.gpu
@needs_gpu
def test_an_engine_on_a_gpu_can_be_copied_and_pickled(model: BEVNet, config: Config) -> None:
    engine = Segmenter(model, config, "cuda", sparse_backend="torch").engine
    pillars = sweep(0, 500, config)
    expected = engine.infer(pillars)
    for other in (copy.deepcopy(engine), pickle.loads(pickle.dumps(engine))):
        np.testing.assert_allclose(other.infer(pillars).seed, expected.seed, atol=1e-3)
