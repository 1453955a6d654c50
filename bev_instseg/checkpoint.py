"""Weights and training states on disk: written completely or not at all, verified when read."""

import hashlib
import io
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from bev_instseg.config import Config, check_same_network
from bev_instseg.exceptions import CheckpointError, ConfigError
from bev_instseg.file_io import read_bytes, write_atomic
from bev_instseg.model_files import (
    FORMAT,
    PRETRAINED,
    SIDECAR_KEYS,
    check_hash,
    read_sidecar,
    stored_config,
    write_sidecar,
    wrong_format,
)
from bev_instseg.models.network import BEVNet

RENAMED = {  # old and present names, since the number of sparse levels became a setting
    "backbone.to_middle.": "backbone.sparse_up.0.quarters.",
    "backbone.merge_middle.": "backbone.sparse_up.0.merge.",
}


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write a training state with its hash.

    Args:
        path: The file to write, ``.pt``.
        state: Tensors, numbers, strings, lists and dictionaries.

    Raises:
        OSError: The file cannot be written; an older file is left as it was.
    """
    body = io.BytesIO()
    torch.save(state, body)
    file = io.BytesIO()
    body_bytes = torch.frombuffer(bytearray(body.getvalue()), dtype=torch.uint8)
    sha256 = hashlib.sha256(body.getvalue()).hexdigest()
    torch.save({"format": FORMAT, "sha256": sha256, "body": body_bytes}, file)
    write_atomic(path, file.getvalue())


def load_state(path: Path) -> dict[str, Any]:
    """Read a training state written by `save_state`; only tensors and plain values are unpickled.

    Args:
        path: The file to read.

    Raises:
        CheckpointError: The file cannot be read, is damaged or is not a bev-instseg checkpoint.
    """
    try:
        data = read_bytes(path)
    except OSError as error:
        raise CheckpointError(
            f"{path}: cannot be read ({error.strerror or error}); give the name of shipped weights "
            f"({', '.join(PRETRAINED)}), a .safetensors, or a .pt from training"
        ) from None
    try:
        file = torch.load(io.BytesIO(data), weights_only=True, map_location="cpu")
        if not file["body"].is_contiguous():  # a stride of 0: one byte that claims to be terabytes
            raise CheckpointError(_not_a_checkpoint(path))
        body = file["body"].numpy().tobytes()
        if file["format"] != FORMAT:
            raise CheckpointError(wrong_format(path, file["format"]))
        if hashlib.sha256(body).hexdigest() != file["sha256"]:
            raise CheckpointError(
                f"{path}: damaged (its SHA-256 differs); use an earlier checkpoint"
            )
        state = torch.load(io.BytesIO(body), weights_only=True, map_location="cpu")
        if not isinstance(state, dict):
            raise CheckpointError(_not_a_checkpoint(path))
        return state
    except CheckpointError:
        raise
    except Exception:
        raise CheckpointError(_not_a_checkpoint(path)) from None


def save_weights(path: Path, model: BEVNet, config: Config, about: dict[str, Any]) -> None:
    """Write ``NAME.safetensors``, and ``NAME.json`` with its hash and configuration.

    Args:
        path: The ``.safetensors`` file to write.
        model: The network.
        config: Its configuration.
        about: Further entries for the ``.json``.

    Raises:
        OSError: A file cannot be written.
    """
    body = _weights_bytes(model.state_dict())
    write_atomic(path, body)
    write_sidecar(path, hashlib.sha256(body).hexdigest(), config, about)


def save_with_config(source: Path, target: Path, config: Config) -> None:
    """Copy weights with different thresholds, class names or range of the grid.

    Args:
        source: ``.safetensors`` with its ``.json`` next to it, or a training checkpoint ``.pt``.
        target: ``.safetensors`` to write.
        config: A configuration of the same network.

    Raises:
        CheckpointError: The source cannot be read, is damaged or was not written by bev-instseg.
        OSError: The target cannot be written.
        ValueError: The configuration is for a different network.
    """
    model, old_config, _ = load_model(source)
    check_same_network(old_config, config)
    about = {}
    if source.suffix == ".safetensors":
        about = {
            key: value for key, value in read_sidecar(source).items() if key not in SIDECAR_KEYS
        }
    save_weights(target, model, config, about)


def load_model(path: Path) -> tuple[BEVNet, Config, str]:
    """Load a network and its configuration.

    Args:
        path: ``.safetensors`` with its ``.json`` next to it, or a training checkpoint ``.pt``.

    Returns:
        The network in evaluation mode, its configuration and the SHA-256 of its weights.

    Raises:
        CheckpointError: The file cannot be read, is damaged or was not written by bev-instseg.
    """
    if path.suffix == ".safetensors":
        tree, weights, sha256 = _read_weights(path)
    else:
        state = load_state(path)
        tree, weights, sha256 = state.get("config"), state.get("model"), ""
    try:
        config = stored_config(tree, str(path))
        model = _with_weights(config, _renamed(weights))
    except ConfigError as error:
        raise CheckpointError(str(error)) from None
    except (
        RuntimeError,
        AttributeError,
        TypeError,
        ValueError,
        LookupError,
        ArithmeticError,
    ):
        raise CheckpointError(f"{path}: its weights do not fit its configuration") from None
    sha256 = sha256 or hashlib.sha256(_weights_bytes(model.state_dict())).hexdigest()
    return model.eval(), config, sha256


def _renamed(weights: Any) -> Any:
    """Return weights under their present names; those in files may be older, see `RENAMED`."""
    renamed = {}
    for name, value in weights.items():
        for old, new in RENAMED.items():
            name = name.replace(old, new)
        renamed[name] = value
    return renamed


def _with_weights(config: Config, weights: Any) -> BEVNet:
    """Return a network with these weights; allocate it only if they have its shapes.

    Raises:
        AttributeError: They are not tensors by name.
        ValueError: A tensor is missing, superfluous or has a different shape.
    """
    with torch.device("meta"):
        model = BEVNet(config)
    shapes = {name: value.shape for name, value in model.state_dict().items()}
    if {name: value.shape for name, value in weights.items()} != shapes:
        raise ValueError("different shapes")
    model.to_empty(device="cpu")
    model.load_state_dict(weights)
    return model


def _read_weights(path: Path) -> tuple[Any, Any, str]:
    """Return the configuration as plain values, the weights and their SHA-256."""
    try:
        body = read_bytes(path)
    except OSError as error:
        raise CheckpointError(
            f"{error.filename or path}: cannot be read ({error.strerror or error}); weights "
            "are a .safetensors file with its .json next to it"
        ) from None
    sidecar = read_sidecar(path)
    sha256 = check_hash(path, body, sidecar)
    try:
        return sidecar["config"], safetensors.torch.load(body), sha256
    except (ValueError, safetensors.SafetensorError):
        raise CheckpointError(
            f"{path}: not bev-instseg weights, or damaged; "
            "give a .safetensors with its .json next to it, or a .pt from training"
        ) from None


def _not_a_checkpoint(path: Path) -> str:
    return (
        f"{path}: not a bev-instseg checkpoint, or damaged; give a .safetensors, or a .pt from "
        "training"
    )


def _weights_bytes(weights: dict[str, torch.Tensor]) -> bytes:
    # contiguous: safetensors refuses the channels-last kernels of the network
    return safetensors.torch.save({name: value.contiguous() for name, value in weights.items()})
