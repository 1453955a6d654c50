"""The network as an ONNX model, from pillar features to seed, offset and precision."""

import io
import tempfile
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bev_instseg.grid import BEVGrid
from bev_instseg.models.network import BEVNet
from bev_instseg.models.pillar_batch import PillarBatch
from bev_instseg.ops.network_input import OUTPUT_NAMES, NetworkInput, input_names
from bev_instseg.ops.voxelize import voxelize

OPSET = 17
STEP = 8  # rows of the example: neither one, which tracing takes for a constant, nor many


def export_float32(network: BEVNet, grid: BEVGrid) -> bytes:
    """Fold a trained network and return it as an ONNX file in float32.

    Args:
        network: The network; it is not changed.
        grid: A grid that it is used on.

    Raises:
        ValueError: The package onnx is not installed.
    """
    return to_onnx(network.folded(torch.float32), grid)


def _example_input(grid: BEVGrid, sparse_levels: int) -> NetworkInput:
    """Return the input of a sweep of one point."""
    x_m, y_m, z_m = map(np.mean, (grid.x_range_m, grid.y_range_m, grid.z_range_m))
    point = np.array([[x_m, y_m, z_m, 0.0]], np.float32)
    return NetworkInput.from_pillars([voxelize(point, grid)], sparse_levels, STEP)


def to_onnx(network: BEVNet, grid: BEVGrid) -> bytes:
    """Return a folded float32 network as an ONNX file.

    Its inputs are those of `NetworkInput.arrays`, its outputs those of `PillarEmbeddings`; the
    numbers of rows, of sweeps and of cells of the grid are free. Batches are stacked grids.

    Args:
        network: A network made by `BEVNet.folded`, in float32; with 8-bit roundings, the model has
            QuantizeLinear and DequantizeLinear nodes in their place.
        grid: A grid that it is used on.

    Raises:
        ValueError: The package onnx is not installed.
    """
    if find_spec("onnx") is None:
        raise ValueError("onnx, which writes exported models, is not installed: pip install onnx")
    example = _example_input(grid, network.sparse_levels)
    tensors = tuple(torch.from_numpy(array) for array in example.arrays().values())
    body = io.BytesIO()
    _register_operators()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # torch.jit's, about values that never change here
        torch.onnx.export(
            _Exportable(network),
            tensors,
            body,  # type: ignore[arg-type]
            input_names=list(input_names(network.sparse_levels)),
            output_names=list(OUTPUT_NAMES),
            dynamic_axes=_free_axes(network.sparse_levels),
            opset_version=OPSET,
            dynamo=False,
        )
    return _with_stored_weights(body.getvalue())


def to_openvino(model: bytes) -> tuple[bytes, bytes]:
    """Convert an ONNX file to OpenVINO's own format, an ``.xml`` and a ``.bin`` file.

    Args:
        model: The ONNX file.

    Raises:
        ValueError: OpenVINO is not installed.
    """
    if find_spec("openvino") is None:
        raise ValueError("openvino is not installed: pip install openvino")
    import openvino

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.xml")
        openvino.save_model(openvino.Core().read_model(model), path, compress_to_fp16=False)
        return path.read_bytes(), path.with_suffix(".bin").read_bytes()


class _Exportable(nn.Module):
    def __init__(self, network: BEVNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, features: Tensor, centres_m: Tensor, *indices: Tensor) -> tuple[Tensor, ...]:
        return self.network.predict(PillarBatch.from_tensors(features, centres_m, *indices))


def _with_stored_weights(model: bytes) -> bytes:
    """Store rounded weights as the 8-bit integers that QuantizeLinear would make of them."""
    import onnx
    from onnx.reference import ReferenceEvaluator

    proto = onnx.load_from_string(model)
    graph = proto.graph
    constants = {weight.name: weight for weight in graph.initializer} | {
        node.output[0]: node.attribute[0].t for node in graph.node if node.op_type == "Constant"
    }
    for node in [node for node in graph.node if node.op_type == "QuantizeLinear"]:
        if node.input[0] not in constants:
            continue
        given = [onnx.numpy_helper.to_array(constants[name]) for name in node.input]
        feeds = dict(zip(node.input, given, strict=True))
        values: Any = ReferenceEvaluator(node).run(None, feeds)
        graph.initializer.append(onnx.numpy_helper.from_array(values[0], node.output[0]))
        if node.input[0] in {weight.name for weight in graph.initializer}:
            graph.initializer.remove(constants[node.input[0]])
        graph.node.remove(node)
    onnx.checker.check_model(proto)
    stored: bytes = proto.SerializeToString()
    return stored


def _free_axes(sparse_levels: int) -> dict[str, dict[int, str]]:
    axes = {"features": {0: "pillars"}, "centres_m": {0: "pillars"}}
    names = ["pillars", *(f"cells_{2 ** (level + 1)}" for level in range(sparse_levels))]
    for level in range(sparse_levels):
        axes[f"neighbours_{level}"] = axes[f"slot_{level}"] = {0: names[level]}
        axes[f"children_{level}"] = {0: names[level + 1]}
    axes["rows"] = {0: "sweeps", 1: "nx", 2: "ny"}
    axes["cells"] = {0: names[-1]}
    return axes | {name: {0: "pillars"} for name in OUTPUT_NAMES}


def _register_operators() -> None:
    """Name the operators that ONNX has but torch's exporter does not know."""
    register: Any = torch.onnx.register_custom_op_symbolic  # type: ignore[attr-defined]
    for name in ("Sinh", "Cosh"):

        def symbolic(graph: Any, x: Any, name: str = name) -> Any:
            return graph.op(name, x)

        register(f"aten::{name.lower()}", symbolic, 9)
