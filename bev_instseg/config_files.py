"""Configurations as YAML files and as dictionaries: read, merged and written."""

from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter

from bev_instseg.config import Config, check_same_network
from bev_instseg.exceptions import ConfigError
from bev_instseg.file_io import write_atomic
from bev_instseg.strict_yaml import build, merge, read_yaml


def load_config(*paths: str | Path) -> Config:
    """Merge YAML files into the defaults; later files override earlier ones.

    Mappings are merged key by key, and lists of mappings (classes, sources) of equal length entry
    by entry; any other list replaces the one before it.

    Args:
        paths: The files, the one with the highest priority last.

    Returns:
        The resolved configuration.

    Raises:
        ConfigError: A file is unreadable or not valid YAML, or a key is unknown or has a wrong
            value; the message is one line.
    """
    tree: object = {}
    for path in paths:
        tree = merge(tree, read_yaml(path))
    return config_from_dict(tree, ", ".join(map(str, paths)))


def override_config(base: Config, path: str | Path) -> Config:
    """Merge a YAML file into the configuration of trained weights.

    It may change everything that `check_same_network` allows, for instance thresholds, class names
    and the range of the grid. Files are merged as in `load_config`.

    Args:
        base: The configuration of the weights.
        path: The YAML file.

    Returns:
        The merged configuration.

    Raises:
        ConfigError: As for `load_config`, or the file changes what the weights fix.
    """
    config = config_from_dict(merge(config_to_dict(base), read_yaml(path)), str(path))
    try:
        check_same_network(base, config)
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from None
    return config


def config_from_dict(tree: object, source: str = "configuration") -> Config:
    """Build a Config from nested dictionaries and lists.

    Args:
        tree: What `config_to_dict` returns; keys left out have their default.
        source: Start of each error message, such as a file name.

    Returns:
        The configuration.

    Raises:
        ConfigError: Unknown or missing key, wrong type or value; the message is one line.
    """
    return build(Config, tree, source)


def config_to_dict(config: Config) -> dict[str, Any]:
    """Return plain dictionaries, lists, numbers and text: the inverse of `config_from_dict`."""
    tree: dict[str, Any] = TypeAdapter(Config).dump_python(config, mode="json")
    return tree


def save_config(config: Config, path: str | Path) -> None:
    """Write the resolved configuration as YAML that `load_config` reads back.

    Args:
        config: The configuration.
        path: The file to write.

    Raises:
        OSError: The file cannot be written.
    """
    write_atomic(path, yaml.safe_dump(config_to_dict(config), sort_keys=False).encode())
