"""Results of the benchmark as tables and JSON, and the comparison of two such files."""

import dataclasses
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from bev_instseg.benchmark.measure import Timing
from bev_instseg.tables import markdown_table

TIMING_COLUMNS = ("median ms", "p10", "p90")

Outcome = TypeVar("Outcome")


@dataclass(frozen=True)
class Report:
    """The result of one part of the benchmark.

    Attributes:
        figures: What ``--json`` stores: numbers and text in dataclasses, mappings and lists.
        text: What the command prints.
    """

    figures: Any
    text: str


def number_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Format a Markdown table; floats get at most two decimals, fewer from 10 on, and NaN is ``-``.

    Args:
        header: The column names.
        rows: Cells of any type.
    """
    cells = [list(header), *([_number_cell(value) for value in row] for row in rows)]
    return markdown_table(cells)


def outcome_table(
    header: Sequence[str],
    outcomes: Mapping[str, Outcome | str],
    cells: Callable[[Outcome], Sequence[object]],
) -> str:
    """Format a table of outcomes, after one line for each that could not be measured.

    Args:
        header: The column names, the first for the names of the outcomes.
        outcomes: What was measured, or the reason why it was not.
        cells: Returns the cells of an outcome.
    """
    lines, rows = [], []
    for name, outcome in outcomes.items():
        if isinstance(outcome, str):
            lines.append(f"{name}: {outcome}")
        else:
            rows.append([name, *cells(outcome)])
    return "\n".join([*lines, number_table(header, rows)])


def timing_cells(timing: Timing) -> list[float]:
    """Return the cells below `TIMING_COLUMNS`."""
    return [timing.median_ms, timing.low_ms, timing.high_ms]


def to_json(results: Mapping[str, Any]) -> str:
    """Format results as JSON, with null for NaN and infinity."""
    return json.dumps(_to_tree(results), indent=1) + "\n"


def read_json(path: Path) -> dict[str, Any]:
    """Read the file that an earlier run wrote with ``--json``.

    Raises:
        OSError: The file cannot be read.
        ValueError: The file was not written by ``--json``.
    """
    try:
        tree = json.loads(path.read_bytes())
    except ValueError:
        tree = None
    if not isinstance(tree, dict) or "machine" not in tree:
        raise ValueError(
            f"{path}: not written by bev-instseg benchmark --json; give a file that it wrote"
        )
    return tree


def compare_results(now: dict[str, Any], before: dict[str, Any]) -> str:
    """Format a table of the medians that two results share, and their ratios (below 1: faster now).

    Lines above the table list differences between the machines, and of ``--tta``.

    Args:
        now: The tree of one result's JSON.
        before: The tree of an earlier result's JSON.
    """
    differences = [
        f"{key}: {now['machine'][key]}, before {before['machine'].get(key)}"
        for key in ("cpu", "threads", "pytorch", "precision")
        if now["machine"][key] != before.get("machine", {}).get(key)
    ]
    if now.get("tta", 1) != before.get("tta", 1):
        differences.append(f"tta: {now.get('tta', 1)}, before {before.get('tta', 1)}")
    rows = []
    old = dict(_medians(before))
    for name, value in _medians(now):
        if name in old and old[name] > 0:
            rows.append([name, value, old[name], value / old[name]])
    return "\n".join([*differences, number_table(["ms", "now", "before", "ratio"], rows)])


def _number_cell(value: object) -> str:
    if isinstance(value, float):
        if math.isnan(value):
            return "-"
        return f"{value:.{2 if abs(value) < 10 else 1 if abs(value) < 100 else 0}f}"
    return str(value)


def _to_tree(value: Any) -> Any:
    """Convert dataclasses to mappings and tuples to lists, at any depth."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    if isinstance(value, Mapping):
        return {str(key): _to_tree(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_to_tree(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _medians(tree: Any, name: str = "") -> Iterable[tuple[str, float]]:
    """Yield the path and the value of every median in a tree; a growth has one for each size."""
    if isinstance(tree, dict) and "median_ms" in tree:
        yield name, tree["median_ms"]
    elif isinstance(tree, dict) and "sizes" in tree:
        for size, timing in zip(tree["sizes"], tree["timings"], strict=True):
            yield f"{name}/{tree['name']}, {size} {tree['unit']}", timing["median_ms"]
    elif isinstance(tree, (dict, list)):
        items = tree.items() if isinstance(tree, dict) else enumerate(tree)
        for key, value in items:
            named = isinstance(value, dict) and "sizes" in value
            yield from _medians(value, name if named else f"{name}/{key}".lstrip("/"))
