"""The outcome of a study: means and spreads over the seeds."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bev_instseg.evaluation.buckets import LENGTHS
from bev_instseg.study.run import Scores
from bev_instseg.tables import markdown_table

BY_VARIANT = Mapping[str, Sequence[Scores]]  # the scores of each seed


def quality_table(scores: BY_VARIANT, minus: str = "") -> str:
    """Format PQ by source and class, in percent: a row per variant, mean ± standard deviation.

    Args:
        scores: Scores of the same sources, classes and seeds.
        minus: A variant; its PQ with the same seed is subtracted from that of each other variant.
            All variants see the same windows, so the difference varies less than PQ itself.
    """
    sources = next(iter(scores.values()))[0]["sources"]
    columns = [(name, kind) for name, found in sources.items() for kind in found["per_class"]]
    values = {
        variant: np.array([[_pq(run, *column) for column in columns] for run in runs])
        for variant, runs in scores.items()
    }
    return _table([f"{name} {kind}" for name, kind in columns], values, minus)


def size_table(scores: BY_VARIANT, minus: str = "") -> str:
    """Format PQ by length of the object on the first source, in percent.

    Args:
        scores: As for `quality_table`.
        minus: As for `quality_table`.
    """
    first = next(iter(next(iter(scores.values()))[0]["sources"]))
    some = next(iter(scores.values()))[0]["sources"][first]["per_size"]
    values = {
        variant: np.array([[_size_pq(run, first, size) for size in LENGTHS] for run in runs])
        for variant, runs in scores.items()
    }
    return _table(
        [f"{size} ({some[size]['tp'] + some[size]['fn']})" for size in LENGTHS], values, minus
    )


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
    figure = Figure(figsize=(3 * len(LENGTHS), 1.2 + 0.32 * len(scores)), layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, len(LENGTHS), sharey=True))
    names = list(scores)
    for axes, size in zip(panels, LENGTHS, strict=True):
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


def _table(header: Sequence[str], values: Mapping[str, NDArray[np.float64]], minus: str) -> str:
    """Return a table of (seeds, columns) values of each variant, minus those of one of them."""
    if minus:
        values = {
            f"{variant} - {minus}": own - values[minus]
            for variant, own in values.items()
            if variant != minus
        }
    sign = "+" if minus else ""
    rows = [[name, *(_cell(column, sign) for column in own.T)] for name, own in values.items()]
    return markdown_table([["variant", *header], *rows])


def _cell(values: NDArray[np.float64], sign: str) -> str:
    known = 100 * values[~np.isnan(values)]
    if not len(known):
        return "-"
    mean = f"{known.mean():{sign}.1f}"
    return f"{mean} ± {known.std(ddof=1):.1f}" if len(known) > 1 else mean
