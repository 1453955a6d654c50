"""The network in PyTorch, on a CPU or a GPU."""

import copy
import time
from typing import get_args

import numpy as np
import torch

from bev_instseg.engines.cuda_graph import GRAPH_ROWS, GraphedNetwork
from bev_instseg.engines.engine import (
    STEP_ROWS,
    Device,
    Runtime,
    SparseBackendChoice,
    check_device,
)
from bev_instseg.engines.threads import num_threads
from bev_instseg.forking import no_fork
from bev_instseg.grid import BEVGrid
from bev_instseg.models.network import BEVNet, native_dtype, split_outputs
from bev_instseg.models.pillar_batch import PillarBatch
from bev_instseg.models.sparse import SparseBackend, has_spconv
from bev_instseg.ops.network_input import NetworkInput
from bev_instseg.ops.voxelize import voxelize
from bev_instseg.structures import PillarEmbeddings, Pillars


class TorchEngine:
    """Runs a network in PyTorch, in bfloat16 where the hardware supports it.

    Attributes:
        device: ``cpu`` or ``cuda``.
        sparse_backend: The library that computes the sparse convolutions.
        network: The network, folded for inference.
    """

    runtime: Runtime = "torch"

    def __init__(
        self, model: BEVNet, grid: BEVGrid, device: Device, sparse_backend: SparseBackendChoice
    ) -> None:
        """Copy a network and fold it for inference.

        Args:
            model: The network; it is not changed.
            grid: The grid on which sparse backends are timed.
            device: ``auto`` takes a GPU if there is one.
            sparse_backend: As for `Segmenter`.

        Raises:
            ValueError: ``cuda`` or ``spconv`` is not available, or the name is unknown.
        """
        _check_sparse_backend(sparse_backend, get_args(SparseBackendChoice))
        check_device(device)
        if device == "cuda" and not torch.cuda.is_available():
            raise ValueError("device cuda: no CUDA device found; use --device cpu or auto")
        use_cuda = device == "cuda" or (device == "auto" and torch.cuda.is_available())
        self.device: str = "cuda" if use_cuda else "cpu"
        if not use_cuda and torch.get_num_threads() > num_threads():
            torch.set_num_threads(num_threads())  # PyTorch does not know the quota of a container
        where = torch.device(self.device)
        self.network = model.folded(native_dtype(where)).to(where)
        self._use(sparse_backend if sparse_backend != "auto" else "torch")
        if sparse_backend == "auto" and use_cuda and has_spconv():
            self._use(self._faster_sparse_backend(grid))

    def with_sparse_backend(self, sparse_backend: SparseBackend) -> "TorchEngine":
        """Return an engine with a copy of the network that uses the given sparse library.

        Args:
            sparse_backend: ``torch`` or ``spconv``.

        Raises:
            ValueError: ``spconv`` is not installed, or the name is unknown.
        """
        _check_sparse_backend(sparse_backend, get_args(SparseBackend))
        other = copy.copy(self)
        other.network = copy.deepcopy(self.network)
        other._use(sparse_backend)
        return other

    def infer(self, pillars: Pillars) -> PillarEmbeddings:
        """Run the network; see `Engine.infer`.

        Args:
            pillars: The P pillars of a sweep.

        Raises:
            RuntimeError: The engine uses a GPU and this process was forked from its maker.
        """
        if self.device == "cuda" and not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            raise RuntimeError(
                "CUDA cannot be used in a forked process: start processes with "
                "multiprocessing.get_context('spawn') and make the Segmenter there, "
                "or make it with device='cpu'"
            )
        sweeps, sparse_levels = [pillars], self.network.sparse_levels
        if self._graphed is not None:
            given = NetworkInput.from_pillars(sweeps, sparse_levels, GRAPH_ROWS)
            with no_fork():
                found = split_outputs(self._graphed(given))
        else:
            step = STEP_ROWS if self.device == "cpu" and self.sparse_backend == "torch" else 1
            given = NetworkInput.from_pillars(sweeps, sparse_levels, step)
            with no_fork():
                found = self.network.infer(PillarBatch.from_numpy(given).to(self.device))
        parts = (found.centre_m, found.precision, found.seed)
        return PillarEmbeddings(*(part[: given.num_pillars] for part in parts))

    def use_one_thread(self) -> None:
        """See `Engine.use_one_thread`."""
        torch.set_num_threads(1)  # of the calling thread only

    def _use(self, sparse_backend: SparseBackend) -> None:
        self.sparse_backend: SparseBackend = sparse_backend
        self.network.set_sparse_backend(sparse_backend)
        self._graphed: GraphedNetwork | None = None
        # spconv waits for the GPU while it computes, which a graph cannot record.
        if self.device == "cuda" and sparse_backend == "torch":
            self._graphed = GraphedNetwork(self.network, torch.device(self.device))

    def _faster_sparse_backend(self, grid: BEVGrid) -> SparseBackend:
        """Return the faster sparse backend, timed on input of a sweep's size.

        Returns torch if spconv is installed but does not work.
        """
        rng = np.random.default_rng(0)
        points = rng.uniform((-40, -40, -1, 0), (40, 40, 1, 1), (16_000, 4)).astype(np.float32)
        pillars = voxelize(points, grid)
        seconds: dict[SparseBackend, float] = {}
        for backend in get_args(SparseBackend):
            self._use(backend)
            samples = []
            for _ in range(6):
                start = time.perf_counter()
                try:
                    self.infer(pillars)
                except (ImportError, OSError, RuntimeError):
                    if backend == "torch":
                        raise
                    return "torch"
                samples.append(time.perf_counter() - start)
            seconds[backend] = min(samples)
        return min(seconds, key=seconds.__getitem__)


def _check_sparse_backend(sparse_backend: str, choices: tuple[str, ...]) -> None:
    if sparse_backend not in choices:
        names = ", ".join(choices)
        raise ValueError(f"sparse_backend must be one of {names}, got {sparse_backend!r}")
    if sparse_backend == "spconv" and not has_spconv():
        raise ValueError("spconv is not installed: pip install 'bev-instseg[gpu]'")
