"""Files of networks: weights and exported models, each with a ``.json`` that verifies it."""

import hashlib
import json
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from bev_instseg.config import Config
from bev_instseg.config_files import config_from_dict, config_to_dict
from bev_instseg.exceptions import CheckpointError, ConfigError
from bev_instseg.file_io import read_bytes, write_atomic

FORMAT = "bev_instseg/1"
PRETRAINED = ("default", "clean", "lanes")  # networks of the package; see the model card
EXPORTED_SUFFIXES = (".onnx", ".xml")  # of ONNX and of OpenVINO's own format
SIDECAR_KEYS = ("format", "sha256", "network_sha256", "class_names", "config")


def pretrained_weights(name: str = "default") -> Path:
    """Return the path of float weights, ``.safetensors``, that come with the package.

    Args:
        name: One of `PRETRAINED`.

    Raises:
        ValueError: There are no such weights.
    """
    return _packaged(name, "safetensors")


def pretrained_8_bit_model(name: str = "default") -> Path:
    """Return the path of the same network as an 8-bit ONNX model.

    Args:
        name: As for `pretrained_weights`.

    Raises:
        ValueError: As for `pretrained_weights`.
    """
    return _packaged(name, "int8.onnx")


def _packaged(name: str, suffix: str) -> Path:
    if name not in PRETRAINED:
        raise ValueError(
            f"there are no shipped weights {name!r}; choose from {', '.join(PRETRAINED)}"
        )
    return Path(str(resources.files("bev_instseg") / "weights" / f"{name}.{suffix}"))


@dataclass(frozen=True)
class ExportedModel:
    """An exported network.

    Attributes:
        model: The ``.onnx`` file, or the ``.xml`` of OpenVINO.
        weights: The ``.bin`` of OpenVINO; else empty.
        config: Its configuration.
        sha256: Hash of the files.
    """

    model: bytes
    weights: bytes
    config: Config
    sha256: str

    @property
    def is_onnx(self) -> bool:
        """Whether it is an ONNX model, which ONNX Runtime and OpenVINO both read."""
        return not self.weights

    @property
    def pretrained_name(self) -> str:
        """Which shipped 8-bit model this is; empty if it is a different one."""
        for name in PRETRAINED:
            if self.sha256 == read_sidecar(pretrained_8_bit_model(name))["sha256"]:
                return name
        return ""

    @staticmethod
    def from_parts(model: bytes, weights: bytes, config: Config) -> "ExportedModel":
        """Return an exported model with its hash.

        Args:
            model: The ``.onnx`` or ``.xml`` file.
            weights: The ``.bin`` file of an ``.xml``; else empty.
            config: Its configuration.
        """
        sha256 = hashlib.sha256(model + weights).hexdigest()
        return ExportedModel(model, weights, config, sha256)

    def write(self, path: Path, about: dict[str, Any]) -> None:
        """Write the model and its ``.json``.

        Args:
            path: The ``.onnx`` or ``.xml`` to write; the ``.bin`` of an ``.xml`` is next to it.
            about: Further entries for the ``.json``.

        Raises:
            OSError: A file cannot be written.
        """
        if self.weights:
            write_atomic(path.with_suffix(".bin"), self.weights)
        write_atomic(path, self.model)
        write_sidecar(path, self.sha256, self.config, about)


def read_exported(path: Path) -> ExportedModel:
    """Read an exported model and check it against its ``.json``.

    Args:
        path: ``.onnx``, or ``.xml`` with its ``.bin`` next to it.

    Raises:
        CheckpointError: A file cannot be read, is damaged or was not written by bev-instseg.
    """
    sidecar = read_sidecar(path)
    try:
        model = read_bytes(path)
        weights = read_bytes(path.with_suffix(".bin")) if path.suffix == ".xml" else b""
    except OSError as error:
        raise CheckpointError(_cannot_be_read(path, error)) from None
    sha256 = check_hash(path, model + weights, sidecar)
    try:
        return ExportedModel(model, weights, stored_config(sidecar["config"], str(path)), sha256)
    except ConfigError as error:
        raise CheckpointError(str(error)) from None


def stored_config(tree: object, source: str) -> Config:
    """Build the configuration that is kept with a network.

    Args:
        tree: As for `config_from_dict`. If ``model.dense_levels`` is missing, because the network
            is older than this setting, the first two levels are sparse.
        source: As for `config_from_dict`.

    Raises:
        ConfigError: As for `config_from_dict`.
    """
    if isinstance(tree, dict) and isinstance(model := tree.get("model"), dict):
        widths = model.get("widths")
        if "dense_levels" not in model and isinstance(widths, list):
            tree = tree | {"model": model | {"dense_levels": len(widths) - 2}}
    return config_from_dict(tree, source)


def read_sidecar(path: Path) -> dict[str, Any]:
    """Read the ``.json`` of a file.

    Args:
        path: The weights or model.

    Raises:
        CheckpointError: It cannot be read or was not written by bev-instseg.
    """
    beside = path.with_suffix(".json")
    try:
        sidecar = json.loads(read_bytes(beside))
        found, _, tree = sidecar["format"], sidecar["sha256"], sidecar["config"]
        is_own = sidecar.get("network_sha256", "") in ("", _network_sha256(tree))  # "": older file
    except OSError as error:
        raise CheckpointError(_cannot_be_read(beside, error)) from None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise CheckpointError(
            f"{beside}: not written by bev-instseg, or damaged; copy it and {path.name} again"
        ) from None
    if found != FORMAT:
        raise CheckpointError(wrong_format(beside, found))
    if not is_own:
        raise CheckpointError(
            f"{beside}: its model, grid.cell_m or number of classes were changed and no longer fit "
            f"{path.name}; copy both files again"
        )
    return sidecar  # type: ignore[no-any-return]


def require_own_sidecar(path: Path) -> None:
    """Check that the ``.json`` of a file to be written does not belong to another one.

    Args:
        path: The weights or model.

    Raises:
        ValueError: There is another one of this name.
    """
    for suffix in (".safetensors", *EXPORTED_SUFFIXES):
        other = path.with_suffix(suffix)
        if other != path and other.exists():
            raise ValueError(
                f"{other}: needs {path.stem}.json, which {path.name} would replace; choose another "
                "folder or name"
            )


def write_sidecar(path: Path, sha256: str, config: Config, about: dict[str, Any]) -> None:
    """Write the ``.json`` of a file.

    Args:
        path: The weights or model.
        sha256: Hash of its content.
        config: Configuration of the network.
        about: Further entries.

    Raises:
        OSError: The file cannot be written.
    """
    sidecar = {
        "format": FORMAT,
        "sha256": sha256,
        "network_sha256": _network_sha256(config_to_dict(config)),
        "class_names": list(config.class_names),
        **about,
        "config": config_to_dict(config),
    }
    write_atomic(path.with_suffix(".json"), (json.dumps(sidecar, indent=1) + "\n").encode())


def _network_sha256(tree: Any) -> str:
    """Return the hash of the settings, as plain values, that the weights fix."""
    fixed = [tree["model"], tree["grid"]["cell_m"], len(tree["classes"])]
    return hashlib.sha256(json.dumps(fixed, sort_keys=True).encode()).hexdigest()


def check_hash(path: Path, body: bytes, sidecar: dict[str, Any]) -> str:
    """Return the SHA-256 of a file's content, which must be the one in its ``.json``.

    Args:
        path: The file.
        body: Its content.
        sidecar: Its ``.json``.

    Raises:
        CheckpointError: The hashes differ.
    """
    sha256 = hashlib.sha256(body).hexdigest()
    if sha256 != sidecar["sha256"]:
        raise CheckpointError(
            f"{path}: damaged (its SHA-256 differs from the one in "
            f"{path.with_suffix('.json').name}); copy both files again"
        )
    return sha256


def wrong_format(path: Path, found: object) -> str:
    """Return the message for a file of another version."""
    return f"{path}: format {found}, expected {FORMAT}; use the bev-instseg version that wrote it"


def _cannot_be_read(path: Path, error: OSError) -> str:
    return (
        f"{error.filename or path}: cannot be read ({error.strerror or error}); weights and "
        "exported models have a .json next to them"
    )
