"""YAML -> frozen dataclasses, strictly: unknown keys, wrong types, keys given twice are errors."""

import dataclasses
import types
import typing
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml

from bev_instseg.exceptions import ConfigError

T = TypeVar("T")


class _UniqueKeyLoader(yaml.SafeLoader):
    """SafeLoader that refuses duplicate keys and aliases."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            raise yaml.constructor.ConstructorError(
                None, None, "aliases are not allowed", self.peek_event().start_mark
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key!r} is given twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def read_yaml(path: str | Path) -> object:
    """The tree of a YAML file; an empty file is an empty mapping.

    Raises:
        ConfigError: unreadable file, bad YAML, a key given twice, an alias.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise ConfigError(f"{path}: cannot read the configuration: {reason}") from None
    try:
        tree = yaml.load(text, _UniqueKeyLoader)
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    return {} if tree is None else tree


def merge(base: object, over: object) -> object:
    """Mappings key by key, lists of mappings entry by entry; anything else is replaced."""
    if isinstance(base, dict) and isinstance(over, dict):
        return base | {key: merge(base.get(key), value) for key, value in over.items()}
    if isinstance(base, list) and isinstance(over, list) and len(base) == len(over):
        return [merge(*pair) for pair in zip(base, over, strict=True)]
    return over


def plain(value: Any) -> Any:
    """Tuples as lists, all the way down: what YAML and JSON can write."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def build(kind: type[T], tree: object, key: str, source: str) -> T:
    """A dataclass from a tree; ``key`` and ``source`` say in errors where the tree stands.

    Raises:
        ConfigError: an unknown key, a wrong type, or a value that the dataclass refuses.
    """
    if not isinstance(tree, dict):
        raise ConfigError(f"{source}: {key or 'the top level'} must be a mapping, got {tree!r}")
    hints = typing.get_type_hints(kind)
    values = {}
    for name, value in tree.items():
        where = f"{key}.{name}" if key else str(name)
        if name not in hints:
            raise ConfigError(f"{source}: unknown key {where!r}; known here: {', '.join(hints)}")
        values[name] = _convert(hints[name], value, where, source)
    try:
        return kind(**values)
    except (TypeError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{source}: {key or 'configuration'}: {error}") from None


def _convert(hint: Any, value: object, key: str, source: str) -> Any:
    def fail(want: str) -> ConfigError:
        return ConfigError(f"{source}: {key} must be {want}, got {value!r}")

    if dataclasses.is_dataclass(hint):
        return build(typing.cast(type, hint), value, key, source)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        if value not in arguments:
            raise fail("one of " + ", ".join(map(str, arguments)))
        return value
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise fail("a list")
        if arguments[-1] is Ellipsis:
            arguments = arguments[:1] * len(value)
        if len(arguments) != len(value):
            raise fail(f"a list of {len(arguments)}")
        return tuple(
            _convert(item_hint, item, f"{key}[{i}]", source)
            for i, (item_hint, item) in enumerate(zip(arguments, value, strict=True))
        )
    if hint is float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise fail("a number (YAML reads 1e-3 as text: write 1.0e-3)")
        if not abs(value) < 1e300:
            raise fail("a finite number")
        return float(value)
    if (
        isinstance(hint, types.GenericAlias)
        or not isinstance(value, hint)
        or (hint is int and isinstance(value, bool))
    ):
        raise fail(f"of type {getattr(hint, '__name__', hint)}")
    return value
