"""The network on a GPU as CUDA graphs: one launch, one copy in and one copy out."""

import threading
from collections import OrderedDict
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bev_instseg.models.network import BEVNet
from bev_instseg.models.pillar_batch import PillarBatch
from bev_instseg.ops.network_input import NetworkInput
from bev_instseg.structures import Float32

GRAPH_ROWS = 4096  # rows are padded to multiples of this, so that a sensor needs few graphs
MAX_GRAPHS = 16
WARM_UPS = 3  # runs before a graph is recorded, in which libraries allocate and choose kernels

Sizes = tuple[tuple[int, ...], ...]


class PackedInput:
    """The arrays of a `NetworkInput` side by side in one buffer, copied in one go.

    Attributes:
        batch: Views of the copy on the device.
    """

    def __init__(self, given: NetworkInput, device: torch.device) -> None:
        """Make buffers for inputs of one size.

        Args:
            given: An input of this size.
            device: Where the copy is.
        """
        arrays = given.arrays().values()  # every value has four bytes
        ends = np.cumsum([array.size for array in arrays]).tolist()
        self._host = torch.empty(ends[-1], dtype=torch.int32, pin_memory=device.type == "cuda")
        self._device = torch.empty_like(self._host, device=device)
        self._parts, tensors = [], []
        for array, end in zip(arrays, ends, strict=True):
            part = slice(end - array.size, end)
            self._parts.append(self._host.numpy()[part].view(array.dtype).reshape(array.shape))
            tensor = self._device[part].view(torch.from_numpy(array).dtype)
            tensors.append(tensor.view(array.shape))
        self.batch = PillarBatch.from_tensors(*tensors)

    def fill(self, given: NetworkInput) -> None:
        """Start to copy an input to the device, queued after the work of the current stream.

        Nothing may use the buffers until the copy is done.

        Args:
            given: An input of the same size.
        """
        for part, array in zip(self._parts, given.arrays().values(), strict=True):
            part[...] = array
        self._device.copy_(self._host, non_blocking=True)


class _Graph:
    """The recorded graph for inputs of one size."""

    def __init__(
        self, network: BEVNet, given: NetworkInput, device: torch.device, pool: Any
    ) -> None:
        self._input = PackedInput(given, device)
        self._input.fill(given)
        aside = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(WARM_UPS):
                network.outputs(self._input.batch)
        torch.cuda.current_stream().wait_stream(aside)
        self._graph = torch.cuda.CUDAGraph()
        # Other threads may use the GPU meanwhile.
        with torch.cuda.graph(self._graph, pool, capture_error_mode="thread_local"):
            self._output: Tensor = network.outputs(self._input.batch)
        self._host = torch.empty(self._output.shape, pin_memory=True)

    def run(self, given: NetworkInput) -> Float32:
        self._input.fill(given)
        self._graph.replay()
        self._host.copy_(self._output, non_blocking=True)
        torch.cuda.current_stream().synchronize()
        copied: Float32 = self._host.numpy().copy()
        return copied


class GraphedNetwork:
    """Runs a network as CUDA graphs, one for each size of input; the latest sizes are kept."""

    def __init__(self, network: BEVNet, device: torch.device) -> None:
        """Record nothing yet.

        Args:
            network: The network on the GPU, made by `BEVNet.folded`.
            device: The GPU.
        """
        self._network, self._device = network, device
        self._pool = torch.cuda.graph_pool_handle()  # one for all: only one graph runs at a time
        self._graphs: OrderedDict[Sizes, _Graph] = OrderedDict()
        self._lock = threading.Lock()

    @torch.inference_mode()
    def __call__(self, given: NetworkInput) -> Float32:
        """Return what `BEVNet.outputs` returns for an input; several threads may call.

        Args:
            given: The input, its rows padded to multiples of `GRAPH_ROWS`.
        """
        sizes = tuple(array.shape for array in given.arrays().values())
        with self._lock:
            if sizes not in self._graphs:
                if len(self._graphs) == MAX_GRAPHS:
                    self._graphs.popitem(last=False)
                self._graphs[sizes] = _Graph(self._network, given, self._device, self._pool)
            self._graphs.move_to_end(sizes)
            return self._graphs[sizes].run(given)

    def __reduce__(self) -> tuple[Any, ...]:
        return GraphedNetwork, (self._network, self._device)
