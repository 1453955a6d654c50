"""Choosing the runtime of a network."""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bev_instseg.engines.engine import (
    Device,
    Engine,
    Runtime,
    RuntimeChoice,
    SparseBackendChoice,
    check_device,
    check_runtime,
    has_runtime,
)
from bev_instseg.engines.onnx_engine import OnnxEngine
from bev_instseg.engines.openvino_engine import OpenVINOEngine, refuse_fork
from bev_instseg.grid import BEVGrid
from bev_instseg.model_files import ExportedModel, pretrained_8_bit_model, pretrained_weights

if TYPE_CHECKING:
    from bev_instseg.models.network import BEVNet

GPU_FILES = ("/dev/nvidiactl", "/dev/dxg")  # on Linux, and on Linux inside Windows


def pretrained_file(
    name: str, device: Device, sparse_backend: SparseBackendChoice, runtime: RuntimeChoice
) -> Path:
    """Return the packaged file that suits the runtime: weights for PyTorch, else the 8-bit model.

    Args:
        name: As for `Segmenter.from_pretrained`.
        device: As for `Segmenter`.
        sparse_backend: As for `Segmenter`.
        runtime: As for `Segmenter.from_pretrained`.

    Raises:
        ValueError: The network, device or runtime is unknown, or the runtime is not installed.
    """
    check_device(device)
    check_runtime(runtime)
    if runtime == "auto":
        wants_torch = device == "cuda" or sparse_backend != "auto"
        use_torch = wants_torch or (device == "auto" and _has_gpu())
        runtime = "torch" if use_torch else _fastest_on_cpu()
        check_runtime(runtime)
    return pretrained_weights(name) if runtime == "torch" else pretrained_8_bit_model(name)


def engine_for_network(
    model: "BEVNet",
    grid: BEVGrid,
    device: Device,
    sparse_backend: SparseBackendChoice,
    runtime: RuntimeChoice,
) -> Engine:
    """Return an engine for a network in memory.

    Args:
        model: The network; it is not changed.
        grid: A grid that it is used on.
        device: As for `Segmenter`.
        sparse_backend: As for `Segmenter`.
        runtime: As for `Segmenter`.

    Raises:
        ValueError: As for `Segmenter`.
    """
    check_runtime(runtime)
    if runtime in ("auto", "torch"):
        from bev_instseg.engines.torch_engine import TorchEngine

        return TorchEngine(model, grid, device, sparse_backend)
    _check_cpu_only(device, sparse_backend, runtime)
    from bev_instseg.models.onnx_export import export_float32

    body = export_float32(model, grid)
    if runtime == "onnxruntime":
        return OnnxEngine(body, model.sparse_levels)
    return _openvino_engine(body, b"", model.sparse_levels, pretrained_name="")


def engine_for_export(
    exported: ExportedModel,
    device: Device,
    sparse_backend: SparseBackendChoice,
    runtime: RuntimeChoice,
) -> Engine:
    """Return an engine for an exported model.

    Args:
        exported: The model.
        device: As for `Segmenter`; exported models compute on the CPU.
        sparse_backend: As for `Segmenter`; exported models have none.
        runtime: As for `Segmenter.from_checkpoint`.

    Raises:
        ValueError: The runtime is not installed or does not read the model, or an option is for
            PyTorch only.
    """
    check_runtime(runtime)
    if runtime == "auto":
        runtime = "openvino" if has_runtime("openvino") else "onnxruntime"
        check_runtime(runtime)
    if runtime == "torch":
        raise ValueError("torch does not run exported models; use openvino or onnxruntime")
    if runtime == "onnxruntime" and not exported.is_onnx:
        raise ValueError("onnxruntime does not read OpenVINO's .xml; export with --format onnx")
    _check_cpu_only(device, sparse_backend, runtime)
    if runtime == "onnxruntime":
        return OnnxEngine(exported.model, exported.config.model.sparse_levels)
    return _openvino_engine(
        exported.model,
        exported.weights,
        exported.config.model.sparse_levels,
        exported.pretrained_name,
    )


def _openvino_engine(
    model: bytes, weights: bytes, sparse_levels: int, pretrained_name: str
) -> Engine:
    """Return an OpenVINO engine; in a forked process another runtime takes over, if possible."""
    after_fork: Callable[[], Engine] = refuse_fork
    if not weights and has_runtime("onnxruntime"):
        after_fork = partial(OnnxEngine, model, sparse_levels)
    elif pretrained_name and has_runtime("torch"):
        after_fork = partial(_pretrained_torch_engine, pretrained_name)
    return OpenVINOEngine(model, weights, sparse_levels, after_fork)


def _pretrained_torch_engine(name: str) -> Engine:
    from bev_instseg.checkpoint import load_model

    model, config, _ = load_model(pretrained_weights(name))
    return engine_for_network(model, config.grid, "cpu", "auto", "torch")


def _fastest_on_cpu() -> Runtime:
    runtimes: tuple[Runtime, ...] = ("openvino", "torch", "onnxruntime")
    for runtime in runtimes:
        if has_runtime(runtime):
            return runtime
    raise ValueError("no runtime is installed: pip install openvino")


def _check_cpu_only(device: Device, sparse_backend: SparseBackendChoice, runtime: str) -> None:
    check_device(device)
    if device == "cuda":
        raise ValueError(f"device cuda: {runtime} only runs on the CPU; use runtime torch")
    if sparse_backend != "auto":
        raise ValueError(f"{runtime} has no sparse backends; use runtime torch")


def _has_gpu() -> bool:
    """Return whether PyTorch finds a GPU, without importing it where there is surely none."""
    if not has_runtime("torch"):
        return False
    if sys.platform == "linux" and not any(Path(name).exists() for name in GPU_FILES):
        return False
    import torch

    return torch.cuda.is_available()
