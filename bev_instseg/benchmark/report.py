"""What was measured as tables, a plot and JSON, and two such files compared."""

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bev_instseg.benchmark.growth import Growth
from bev_instseg.benchmark.measure import Timing
from bev_instseg.tables import markdown_table


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table, its columns aligned; all but the first to the right."""
    cells = [list(head), *([_cell(value) for value in row] for row in rows)]
    return markdown_table(cells)


def spread(timing: Timing) -> list[float]:
    """The three columns of a timing."""
    return [timing.median_ms, timing.low_ms, timing.high_ms]


def _cell(value: object) -> str:
    if isinstance(value, float):
        if math.isnan(value):
            return "-"
        return f"{value:.{2 if abs(value) < 10 else 1 if abs(value) < 100 else 0}f}"
    return str(value)


def draw_growth(growths: Sequence[Growth], path: Path) -> None:
    """A log-log plot of each, with its slope."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 7.5), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, growth in zip(figure.subplots(2, 2).flat, growths, strict=True):
        some = [(n, t) for n, t in zip(growth.sizes, growth.timings, strict=True) if n > 0]
        sizes = [n for n, _ in some]
        axes.fill_between(
            sizes, [t.low_ms for _, t in some], [t.high_ms for _, t in some], alpha=0.25
        )
        axes.loglog(sizes, [t.median_ms for _, t in some], "o-")
        axes.set(xlabel=growth.unit, ylabel="ms", title=f"{growth.name}: slope {growth.slope:.2f}")
        axes.grid(True, which="both", alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)


def to_json(results: Mapping[str, Any]) -> str:
    """Everything measured, as text; what is NaN or infinite becomes null."""
    return json.dumps(_plain(results), indent=1) + "\n"


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def compare(now: Any, before: Any) -> str:
    """Every median that two results share, and their ratio: below 1 is faster than before.

    Says first where they come from different machines.
    """
    differ = [
        f"{key}: {now['machine'][key]}, before {before['machine'].get(key)}"
        for key in ("cpu", "threads", "pytorch", "precision")
        if now["machine"][key] != before.get("machine", {}).get(key)
    ]
    rows = []
    old = dict(_medians(before))
    for name, value in _medians(now):
        if name in old and old[name] > 0:
            rows.append([name, value, old[name], value / old[name]])
    return "\n".join([*differ, table(["ms", "now", "before", "ratio"], rows)])


def _medians(tree: Any, name: str = "") -> Iterable[tuple[str, float]]:
    """Name and value of every timing in a tree, those of a growth by their sizes."""
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
