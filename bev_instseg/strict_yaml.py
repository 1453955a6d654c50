"""Strict reading of YAML into dataclasses: unknown keys, wrong types and duplicates are errors."""

import json
import math
import reprlib
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from bev_instseg.exceptions import ConfigError
from bev_instseg.file_io import read_bytes

T = TypeVar("T")
Tree = dict[str, Any]

# How dataclasses of settings check their fields; the docstring below a field describes it.
STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True)

MAX_BYTES = 1_000_000  # of a file
MAX = 10**9  # upper limit of numbers that have no natural limit
Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, le=MAX)]
NotNegative = Annotated[float, Field(ge=0, le=MAX)]
PositiveCount = Annotated[int, Field(ge=1, le=MAX)]
Count = Annotated[int, Field(ge=0, le=MAX)]


class _UniqueKeyLoader(yaml.SafeLoader):
    """SafeLoader that refuses duplicate keys, aliases and values that do not fit their tag."""

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
            # PyYAML's conversions of !!int "" and the like raise any of these.
            kind = node.tag.rpartition(":")[2]
            problem = f"{reprlib.repr(node.value)} is not a valid !!{kind}"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark) from None

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.constructor.ConstructorError(None, None, "aliases are not allowed", mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"duplicate key {key!r}", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def read_yaml(path: str | Path) -> object:
    """Read a YAML file; an empty file is an empty mapping.

    Args:
        path: The file.

    Returns:
        Mappings, lists, numbers and text, as YAML reads them.

    Raises:
        ConfigError: The file is unreadable, not valid YAML, or has a duplicate key or an alias.
    """
    try:
        text = read_bytes(path, MAX_BYTES).decode()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise ConfigError(
            f"{path}: cannot read the configuration: {reason}; check the path"
        ) from None
    try:
        tree = yaml.load(text, _UniqueKeyLoader)
    except RecursionError:
        raise ConfigError(f"{path}: not valid YAML: nested too deeply; check the path") from None
    except (yaml.YAMLError, TypeError, ValueError) as error:
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    return {} if tree is None else tree


def merge(base: object, over: object) -> object:
    """Merge two trees: mappings key by key, equally long lists entry by entry.

    Args:
        base: The tree with the lower priority.
        over: The tree with the higher priority.

    Returns:
        The merged tree; where the two are not mappings or equally long lists, ``over``.
    """
    if isinstance(base, dict) and isinstance(over, dict):
        return base | {key: merge(base.get(key), value) for key, value in over.items()}
    if isinstance(base, list) and isinstance(over, list) and len(base) == len(over):
        return [merge(*pair) for pair in zip(base, over, strict=True)]
    return over


def build(kind: type[T], tree: object, source: str) -> T:
    """Build a dataclass from mappings, lists, numbers and text.

    Lists become tuples and integers become floats where the field needs them; nothing else is
    converted.

    Args:
        kind: A dataclass whose fields pydantic can check.
        tree: Its fields by name; those left out have their default.
        source: Start of each error message, such as the file name.

    Returns:
        The dataclass.

    Raises:
        ConfigError: Unknown or missing key, wrong type or value; the message is one line.
    """
    try:
        # As JSON, because pydantic's strict mode accepts lists for tuples only there.
        text = json.dumps(tree, default=_refuse, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        bad = ascii(error.object[error.start])
        raise ConfigError(f"{source}: not valid text: the character {bad}; remove it") from None
    except RecursionError:
        raise ConfigError(f"{source}: nested too deeply") from None
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{source}: {error}") from None
    adapter = TypeAdapter(kind)
    try:
        return adapter.validate_json(text, strict=True)
    except ValidationError as error:
        raise ConfigError(f"{source}: {_one_line(error, adapter.json_schema())}") from None


def find(schema: Tree, path: tuple[str | int, ...]) -> Tree:
    """Return the part of a JSON schema that describes one value.

    Args:
        schema: The schema of a whole tree.
        path: Keys and list indices that lead to the value.

    Returns:
        The schema of that value.
    """
    node = schema
    for part in path:
        if isinstance(part, str):
            node = node["properties"][part]
        else:
            node = node["prefixItems"][part] if "prefixItems" in node else node["items"]
        if "$ref" in node:
            node = schema["$defs"][node["$ref"].rpartition("/")[2]]
    return node


def describe(node: Tree, many: bool = False) -> str:
    """Say in English which values a JSON schema allows.

    Args:
        node: The schema of one value, see `find`.
        many: Use the plural.

    Returns:
        For instance ``a number from 0 to 1`` or ``one of kitti, semantickitti``.
    """
    kind = node.get("type")
    if "enum" in node:
        return "one of " + ", ".join(map(str, node["enum"]))
    if kind == "array":
        fixed = node.get("prefixItems")
        count = f"{len(fixed)} " if fixed else ""
        items = describe(fixed[0] if fixed else node["items"], many=True)
        least = f", at least {node['minItems']}" if "minItems" in node and not fixed else ""
        return f"{'lists' if many else 'a list'} of {count}{items}{least}"
    one, several = {
        "boolean": ("true or false", "true or false"),
        "integer": ("an integer", "integers"),
        "number": ("a number", "numbers"),
        "string": ("a string", "strings"),
    }.get(str(kind), ("a mapping", "mappings"))
    limits = " that is not empty" if "minLength" in node else _limits(node)
    if kind == "number" and not limits:
        one, several = "a finite number", "finite numbers"
    return (several if many else one) + limits


def _limits(node: Tree) -> str:
    if "minimum" in node and "maximum" in node:
        return f" from {_number(node['minimum'])} to {_number(node['maximum'])}"
    words = {
        "minimum": "at least",
        "exclusiveMinimum": "above",
        "maximum": "at most",
        "exclusiveMaximum": "below",
    }
    limits = [f"{word} {_number(node[key])}" for key, word in words.items() if key in node]
    return " " + " and ".join(limits) if limits else ""


def _number(value: float) -> str:
    if value == MAX:
        return "1e9"
    return str(int(value) if value == int(value) else value)


def _refuse(value: object) -> None:
    """Raise for a value that YAML or a checkpoint can hold but JSON cannot, such as a date."""
    text = " ".join(reprlib.repr(value).split())
    raise TypeError(f"{text} is not allowed; put it in quotes if it is text")


def _one_line(error: ValidationError, schema: Tree) -> str:
    """Describe the first unknown key or, without one, the first wrong value."""
    errors = error.errors(include_url=False)
    unknown = [e for e in errors if e["type"] == "unexpected_keyword_argument"]
    first = (unknown or errors)[0]
    kind, path, value = first["type"], first["loc"], first["input"]
    key = _dotted(path)
    if unknown:
        known = list(find(schema, path[:-1])["properties"])
        near = get_close_matches(str(path[-1]), known, 1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        return f"unknown key {key!r}{hint}; known keys: {', '.join(known)}"
    if kind == "json_invalid":  # nested too deeply
        return first["msg"]
    if kind == "value_error":
        return f"{key}: {first['ctx']['error']}" if key else str(first["ctx"]["error"])
    if kind == "missing" and isinstance(path[-1], str):
        return f"{key} is missing"
    if kind == "missing":  # a list has too few entries
        path, key = path[:-1], _dotted(path[:-1])
    is_text = kind == "float_type" and _is_number(value)
    hint = " (YAML reads 1e-3 as text: write 1.0e-3)" if is_text else ""
    allowed = describe(find(schema, path))
    return f"{key or 'the top level'} must be {allowed}{hint}, got {reprlib.repr(value)}"


def _dotted(path: tuple[str | int, ...]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)[1:]


def _is_number(value: object) -> bool:
    try:
        return isinstance(value, str) and math.isfinite(float(value))
    except ValueError:
        return False
