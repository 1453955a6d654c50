"""The dense part of the network in other runtimes than plain PyTorch."""

import io
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from bev_instseg.benchmark.measure import Timing, measure
from bev_instseg.benchmark.report import TIMING_COLUMNS, Report, outcome_table, timing_cells
from bev_instseg.benchmark.setup import Setup
from bev_instseg.checkpoint import load_model
from bev_instseg.config import Config
from bev_instseg.models.backbone import Backbone
from bev_instseg.models.network import BEVNet
from bev_instseg.models.pillar_batch import SPARSE_LEVELS

Inference = Callable[[], Tensor]


def report(setup: Setup) -> Report:
    """Measure the network's dense part in every runtime, on the CPU."""
    net, config, _ = load_model(setup.weights)
    outcomes = compare_runtimes(net, config, setup.repeats)
    text = outcome_table(
        ["dense part", *TIMING_COLUMNS, "error"],
        outcomes,
        lambda outcome: [*timing_cells(outcome[0]), f"{outcome[1]:.1e}"],
    )
    return Report(outcomes, text)


@torch.inference_mode()
def compare_runtimes(
    net: BEVNet, config: Config, repeats: int
) -> dict[str, tuple[Timing, float] | str]:
    """Time each runtime on random maps of the grid's size.

    Args:
        net: The network as trained, not folded.
        config: Its configuration.
        repeats: Calls per measurement.

    Returns:
        By name the timing and the largest error relative to the largest value of the float32
        result, or the reason why it was not measured.
    """
    nx, ny = (n // 2**SPARSE_LEVELS for n in config.grid.shape)
    x = torch.rand(1, config.model.widths[SPARSE_LEVELS], nx, ny)
    channels_last = x.to(memory_format=torch.channels_last)
    bfloat16 = channels_last.bfloat16()
    exact = _DenseLevels(net.folded(torch.float32).backbone)
    rough = _DenseLevels(net.folded(torch.bfloat16).backbone)
    expected = exact(channels_last)
    runtimes: dict[str, Callable[[], Inference]] = {
        "torch, float32": lambda: partial(exact, channels_last),
        "torch, bfloat16": lambda: partial(rough, bfloat16),
        "torch.compile, bfloat16": partial(_compile, rough, bfloat16),
        "ONNX Runtime, float32": partial(_load_onnx_runtime, exact, x),
        "OpenVINO, bfloat16": partial(_load_openvino, exact, x),
    }
    outcomes: dict[str, tuple[Timing, float] | str] = {}
    for name, load in runtimes.items():
        try:
            infer = load()
            error = (infer().float() - expected).abs().max() / expected.abs().max()
        except Exception as reason:  # an optional package may raise anything
            first = next(iter(str(reason).splitlines()), type(reason).__name__)
            outcomes[name] = f"not measured: {first[:100]}"
            continue
        outcomes[name] = measure(infer, repeats), float(error)
    return outcomes


class _DenseLevels(nn.Module):
    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, x: Tensor) -> Tensor:
        return self.backbone.dense(x)


def _compile(model: nn.Module, x: Tensor) -> Inference:
    import torch._inductor.config as inductor

    inductor.freezing = True
    return partial(torch.compile(model), x)


def _load_onnx_runtime(model: nn.Module, x: Tensor) -> Inference:
    import onnxruntime

    body = io.BytesIO()
    torch.onnx.export(model, (x,), body, dynamo=False)  # type: ignore[arg-type]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(body.getvalue(), options)
    name = session.get_inputs()[0].name
    return lambda: torch.from_numpy(session.run(None, {name: x.numpy()})[0])


def _load_openvino(model: nn.Module, x: Tensor) -> Inference:
    """Load the model into OpenVINO, which uses bfloat16 only where it can."""
    import openvino

    converted = openvino.convert_model(model, example_input=x)
    converted.reshape(list(x.shape))
    options = {
        "INFERENCE_PRECISION_HINT": "bf16",
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
    }
    request = openvino.Core().compile_model(converted, "CPU", options).create_infer_request()

    def infer() -> Tensor:
        request.infer({0: x.numpy()})
        return torch.from_numpy(np.array(request.get_output_tensor().data))

    return infer
