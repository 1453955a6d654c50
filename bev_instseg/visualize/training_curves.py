"""The curves of a training run: losses and validation scores over the steps."""

import csv
from pathlib import Path

import numpy as np

from bev_instseg.structures import Float64
from bev_instseg.visualize.figure_png import save_png

NOT_LOSSES = ("step", "time_s", "lr")
VALIDATION, PQ = "val_", "val_pq_"  # prefixes of columns


def draw_training(csv_path: str | Path, png_path: str | Path) -> None:
    """Draw the log of a training run as a PNG: losses on the left, validation PQ on the right.

    Args:
        csv_path: The log. Its columns are ``step``, ``time_s``, ``lr``, validation scores
            ``val_*``, of which ``val_pq_NAME`` are drawn, and losses; cells may be empty.
        png_path: The PNG file, replaced atomically.

    Raises:
        ValueError: The log has no column ``step``, or a cell is not a number.
        OSError: A file cannot be read or written.
    """
    from matplotlib.figure import Figure

    columns = _read_log(csv_path)
    figure = Figure((12, 4.5), layout="constrained")
    losses, scores = figure.subplots(1, 2)
    loss_names = [n for n in columns if n not in NOT_LOSSES and not n.startswith(VALIDATION)]
    for i, name in enumerate(loss_names):
        steps, values = columns[name]
        losses.plot(steps, values, color=f"C{i}", alpha=0.25, lw=0.8)
        losses.plot(steps, _smooth(values), color=f"C{i}", lw=1.6, label=name)
    losses.set(title="loss", yscale="log")
    for name in (name for name in columns if name.startswith(PQ)):
        scores.plot(*columns[name], marker="o", ms=3, lw=1.4, label=name.removeprefix(PQ))
    scores.set(title="validation PQ", ylim=(0, None))
    for axes in (losses, scores):
        axes.set_xlabel("step")
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        if axes.has_data():
            axes.legend(frameon=False)
        else:
            axes.text(0.5, 0.5, "nothing logged yet", ha="center", transform=axes.transAxes)
    save_png(figure, png_path)


def _read_log(path: str | Path) -> dict[str, tuple[Float64, Float64]]:
    """Return steps and values of each column that has values, without the empty cells."""
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if rows and "step" not in rows[0]:
        raise ValueError(f"{path}: no column 'step'; is it the log.csv of a training run?")
    columns = {}
    for name in rows[0] if rows else ():
        try:
            pairs = [(float(row["step"]), float(row[name])) for row in rows if row[name]]
        except ValueError as error:
            raise ValueError(f"{path}: column {name}: {error}") from None
        if pairs:
            steps, values = np.array(pairs).T
            columns[name] = steps, values
    return columns


def _smooth(values: Float64) -> Float64:
    """Return the centred moving mean over about a twentieth of the values."""
    window = np.ones(2 * (len(values) // 40) + 1)
    weight = np.convolve(np.ones_like(values), window, "same")
    return np.convolve(values, window, "same") / weight
