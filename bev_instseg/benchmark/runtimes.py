"""The dense part of the network in other runtimes than plain torch."""

import io
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from bev_instseg.benchmark.measure import Timing, measure
from bev_instseg.config import Config
from bev_instseg.models.network import BEVNet
from bev_instseg.models.pillar_batch import SPARSE_LEVELS


class _Dense(nn.Module):
    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, x: Tensor) -> Tensor:
        return self.backbone.dense(x)  # type: ignore[operator]


@torch.inference_mode()
def compare_runtimes(
    net: BEVNet, config: Config, repeats: int
) -> dict[str, tuple[Timing, float] | str]:
    """Time of each on maps of a grid, and its largest error relative to the largest value.

    The network computes in bfloat16 where the CPU multiplies it, else in float32; OpenVINO is asked
    for bfloat16 and takes what it can.

    Args:
        net: as it was trained.
        config: its configuration.
        repeats: of each measurement.

    Returns:
        By name, or why it was not measured.
    """
    nx, ny = (n // 2**SPARSE_LEVELS for n in config.grid.shape)
    x = torch.rand(1, config.model.widths[SPARSE_LEVELS], nx, ny)
    last = x.to(memory_format=torch.channels_last)
    half = last.bfloat16()
    exact = _Dense(net.folded(torch.float32).backbone)
    rough = _Dense(net.folded(torch.bfloat16).backbone)
    want = exact(last)

    def compiled() -> Callable[[], Tensor]:
        import torch._inductor.config as inductor

        inductor.freezing = True
        fast = torch.compile(rough)
        return lambda: fast(half)

    def onnx_runtime() -> Callable[[], Tensor]:
        import onnxruntime

        body = io.BytesIO()
        torch.onnx.export(exact, (x,), body, dynamo=False)  # type: ignore[arg-type]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        session = onnxruntime.InferenceSession(body.getvalue(), options)
        name = session.get_inputs()[0].name
        return lambda: torch.from_numpy(session.run(None, {name: x.numpy()})[0])

    def openvino() -> Callable[[], Tensor]:
        import openvino

        model = openvino.convert_model(exact, example_input=x)
        model.reshape(list(x.shape))
        options = {
            "INFERENCE_PRECISION_HINT": "bf16",
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        }
        request = openvino.Core().compile_model(model, "CPU", options).create_infer_request()

        def run() -> Tensor:
            request.infer({0: x.numpy()})
            return torch.from_numpy(np.array(request.get_output_tensor().data))

        return run

    candidates: dict[str, Callable[[], Callable[[], Tensor]]] = {
        "torch, float32": lambda: lambda: exact(last),
        "torch, bfloat16": lambda: lambda: rough(half),
        "torch.compile, bfloat16": compiled,
        "ONNX Runtime, float32": onnx_runtime,
        "OpenVINO, bfloat16": openvino,
    }
    rows: dict[str, tuple[Timing, float] | str] = {}
    for name, prepare in candidates.items():
        try:
            run = prepare()
            error = (run().float() - want).abs().max() / want.abs().max()
        except Exception as reason:  # whatever an optional package may raise
            first = next(iter(str(reason).splitlines()), type(reason).__name__)
            rows[name] = f"not measured: {first[:100]}"
            continue
        rows[name] = measure(run, repeats), float(error)
    return rows
