"""Weights and training state on disk: written whole or not at all, checked when read."""

import hashlib
import io
import json
import os
from importlib import resources
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from bev_instseg.config import Config, check_same_network, config_from_dict, config_to_dict
from bev_instseg.exceptions import CheckpointError, ConfigError
from bev_instseg.file_io import write_atomic
from bev_instseg.models.network import BEVNet

FORMAT = "bev_instseg/1"
_CARD = ("format", "sha256", "class_names", "config")  # what `save_weights` puts there itself


def default_weights() -> Path:
    """The ``.safetensors`` file that comes with the package."""
    return Path(str(resources.files("bev_instseg") / "weights" / "default.safetensors"))


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write a training state (tensors, numbers, strings, lists and dictionaries) with its hash."""
    body = io.BytesIO()
    torch.save(state, body)
    whole = io.BytesIO()
    body_bytes = torch.frombuffer(bytearray(body.getvalue()), dtype=torch.uint8)
    digest = hashlib.sha256(body.getvalue()).hexdigest()
    torch.save({"format": FORMAT, "sha256": digest, "body": body_bytes}, whole)
    write_atomic(path, whole.getvalue())


def load_state(path: Path) -> dict[str, Any]:
    """Read what `save_state` wrote; only tensors and plain values are ever unpickled.

    Raises:
        CheckpointError: unreadable, damaged or foreign file.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror or error})") from None
    try:
        whole = torch.load(io.BytesIO(data), weights_only=True, map_location="cpu")
        body = whole["body"].numpy().tobytes()
        if whole["format"] != FORMAT:
            raise CheckpointError(f"{path}: format {whole['format']}, expected {FORMAT}")
        if hashlib.sha256(body).hexdigest() != whole["sha256"]:
            raise CheckpointError(f"{path}: damaged (SHA-256 differs); take an earlier checkpoint")
        state = torch.load(io.BytesIO(body), weights_only=True, map_location="cpu")
        if not isinstance(state, dict):
            raise CheckpointError(f"{path}: no checkpoint of bev_instseg")
        return state
    except CheckpointError:
        raise
    except Exception:
        raise CheckpointError(f"{path}: no checkpoint of bev_instseg, or damaged") from None


def save_weights(path: Path, model: BEVNet, config: Config, about: dict[str, Any]) -> None:
    """Write ``NAME.safetensors`` and, beside it, ``NAME.json``.

    The latter holds the hash of the former, class names, ``about`` and configuration.
    """
    body = _weights_bytes(model.state_dict())
    card = {
        "format": FORMAT,
        "sha256": hashlib.sha256(body).hexdigest(),
        "class_names": list(config.class_names),
        **about,
        "config": config_to_dict(config),
    }
    write_atomic(path, body)
    write_atomic(path.with_suffix(".json"), (json.dumps(card, indent=1) + "\n").encode())


def save_with_config(source: Path, target: Path, config: Config) -> None:
    """Write the weights of ``source`` once more, with another configuration of the same network.

    Args:
        source: ``.safetensors`` with its ``.json`` beside it, or a training checkpoint ``.pt``.
        target: ``.safetensors`` to write.
        config: other thresholds, names or range.

    Raises:
        CheckpointError: unreadable, damaged or foreign file.
        ValueError: a configuration of another network.
    """
    model, before, _ = load_model(source)
    check_same_network(before, config)
    about = {}
    if source.suffix == ".safetensors":
        card = json.loads(source.with_suffix(".json").read_bytes())
        about = {key: value for key, value in card.items() if key not in _CARD}
    save_weights(target, model, config, about)


def load_model(path: Path) -> tuple[BEVNet, Config, str]:
    """Network in evaluation mode, its configuration and the SHA-256 of its weights.

    Args:
        path: ``.safetensors`` with its ``.json`` beside it, or a training checkpoint ``.pt``.

    Raises:
        CheckpointError: unreadable, damaged or foreign file.
    """
    if path.suffix == ".safetensors":
        tree, weights, digest = _read_weights(path)
    else:
        state = load_state(path)
        tree, weights, digest = state.get("config"), state.get("model"), ""
    try:
        config = config_from_dict(tree, str(path))
        model = BEVNet(config)
        model.load_state_dict(weights)
    except ConfigError as error:
        raise CheckpointError(str(error)) from None
    except (RuntimeError, TypeError, ValueError, LookupError, ArithmeticError):
        raise CheckpointError(f"{path}: its weights do not fit its configuration") from None
    digest = digest or hashlib.sha256(_weights_bytes(model.state_dict())).hexdigest()
    return model.eval(), config, digest


def _read_weights(path: Path) -> tuple[Any, Any, str]:
    card_path = path.with_suffix(".json")
    try:
        body, card = path.read_bytes(), json.loads(card_path.read_bytes())
        if card["format"] != FORMAT:
            raise CheckpointError(f"{card_path}: format {card['format']}, expected {FORMAT}")
        digest = hashlib.sha256(body).hexdigest()
        if digest != card["sha256"]:
            raise CheckpointError(f"{path}: damaged (SHA-256 differs from {card_path.name})")
        return card["config"], safetensors.torch.load(body), digest
    except OSError as error:
        raise CheckpointError(
            f"{error.filename or path}: cannot be read ({os.strerror(error.errno or 0)}); weights "
            "are a .safetensors with its .json beside it"
        ) from None
    except CheckpointError:
        raise
    except (ValueError, KeyError, TypeError, safetensors.SafetensorError):
        raise CheckpointError(
            f"{path}: no weights of bev_instseg, or damaged; "
            "give a .safetensors with its .json beside it, or a .pt that training left"
        ) from None


def _weights_bytes(weights: dict[str, torch.Tensor]) -> bytes:
    # contiguous: safetensors refuses the channels-last kernels of the network
    return safetensors.torch.save({name: value.contiguous() for name, value in weights.items()})
