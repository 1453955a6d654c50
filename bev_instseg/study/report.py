"""The outcome of a study: means and spreads over the seeds."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from bev_instseg.study.run import Scores
from bev_instseg.study.sizes import SIZES
from bev_instseg.tables import markdown_table

BY_VARIANT = Mapping[str, Sequence[Scores]]  # the scores of each seed


def quality_table(scores: BY_VARIANT) -> str:
    """Format PQ by source and class, in percent: a row per variant, mean ± standard deviation.

    Args:
        scores: Scores of the same sources and classes.
    """
    sources = next(iter(scores.values()))[0]["sources"]
    columns = [(name, kind) for name, found in sources.items() for kind in found["per_class"]]
    header = ["variant", *(f"{name} {kind}" for name, kind in columns)]
    rows = [
        [variant, *(_cell([_pq(run, *column) for run in runs]) for column in columns)]
        for variant, runs in scores.items()
    ]
    return markdown_table([header, *rows])


def size_table(scores: BY_VARIANT) -> str:
    """Format PQ by length of the object on the first source, in percent.

    Args:
        scores: As for `quality_table`.
    """
    first = next(iter(next(iter(scores.values()))[0]["sources"]))
    some = next(iter(scores.values()))[0]["sources"][first]["per_size"]
    header = ["variant", *(f"{size} ({some[size]['tp'] + some[size]['fn']})" for size in SIZES)]
    rows = [
        [variant, *(_cell([_size_pq(run, first, size) for run in runs]) for size in SIZES)]
        for variant, runs in scores.items()
    ]
    return markdown_table([header, *rows])


def draw_study(scores: BY_VARIANT, path: Path) -> None:
    """Draw PQ by size of every run of every variant, with the means, on the first source.

    Args:
        scores: As for `quality_table`.
        path: The ``.png`` to write.

    Raises:
        OSError: It cannot be written.
    """
    from matplotlib.figure import Figure

    first = next(iter(next(iter(scores.values()))[0]["sources"]))
    figure = Figure(figsize=(3 * len(SIZES), 1.2 + 0.32 * len(scores)), layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, len(SIZES), sharey=True))
    names = list(scores)
    for axes, size in zip(panels, SIZES, strict=True):
        for place, runs in enumerate(scores.values()):
            values = [100 * _size_pq(run, first, size) for run in runs]
            axes.plot(values, [place] * len(values), "o", color="tab:blue", alpha=0.5)
            axes.plot(np.mean(values), place, "|", color="black", markersize=14)
        axes.set_title(size)
        axes.set_xlabel("PQ, %")
        axes.grid(axis="x", alpha=0.3)
    panels[0].set_yticks(range(len(names)), names)
    panels[0].invert_yaxis()
    figure.savefig(path, dpi=110)


def _pq(run: Scores, source: str, kind: str) -> float:
    return _number(run["sources"][source]["per_class"][kind]["pq"])


def _size_pq(run: Scores, source: str, size: str) -> float:
    return _number(run["sources"][source]["per_size"][size]["pq"])


def _number(value: float | None) -> float:
    return np.nan if value is None else value


def _cell(values: Sequence[float]) -> str:
    known = 100 * np.array(values)[~np.isnan(values)]
    if not len(known):
        return "-"
    return f"{known.mean():.1f} ± {known.std(ddof=1):.1f}" if len(known) > 1 else f"{known[0]:.1f}"
