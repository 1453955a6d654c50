"""Pictures of an error study: what went wrong in a frame, and how far scores can be trusted."""

from pathlib import Path

import numpy as np

from bev_instseg.evaluation.error_study import MISSED, list_errors
from bev_instseg.evaluation.metrics import Comparison
from bev_instseg.evaluation.reliability import BINS, Reliability
from bev_instseg.structures import Frame, Instances
from bev_instseg.visualize.bev import Errors, draw_bev
from bev_instseg.visualize.bev_map import save_png


def draw_errors(
    frame: Frame, instances: Instances, comparison: Comparison, path: str | Path
) -> None:
    """Draw prediction beside truth with a ring and a reason at each error, as `draw_bev` does.

    Args:
        frame: the truth.
        instances: the prediction.
        comparison: of the two.
        path: the file, written whole or not at all.

    Raises:
        OSError: if the file cannot be written.
    """
    missed, false_alarms = {}, {}
    for error in list_errors(comparison, instances.class_names):
        if error.kind == MISSED:
            missed[error.number - 1] = f"missed: {error.reason}"
        else:
            false_alarms[error.number - 1] = f"false: {error.reason}"
    errors = Errors(missed, false_alarms)
    draw_bev(frame.points, instances, path, title=frame.name, truth=frame, errors=errors)


def draw_reliability(classes: dict[str, Reliability], path: str | Path) -> None:
    """Draw a reliability diagram for each class: the part that is right over the mean score.

    Bars beneath count the predictions of each bin. Scores that say how often they are right lie
    on the diagonal.

    Args:
        classes: by name.
        path: the PNG, written whole or not at all.

    Raises:
        OSError: if the file cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure((4 * len(classes), 5.2), layout="constrained")
    axes = figure.subplots(2, len(classes), sharex=True, squeeze=False, height_ratios=(3, 1))
    middles = (np.arange(BINS) + 0.5) / BINS
    for (above, below), (name, bins) in zip(axes.T, classes.items(), strict=True):
        filled = bins.count > 0
        above.plot([0, 1], [0, 1], color="0.6", lw=0.8, ls="--")
        above.plot(bins.score[filled], bins.right[filled], marker="o", ms=5, lw=1.4)
        above.set(title=name, xlim=(0, 1), ylim=(-0.03, 1.03))
        bars = below.bar(middles, bins.count, 0.09, color="0.7")
        below.bar_label(bars, [str(n or "") for n in bins.count], fontsize=7)
        below.margins(y=0.25)
        below.set_xlabel("score")
        for ax in (above, below):
            ax.grid(alpha=0.25)
            ax.spines[["top", "right"]].set_visible(False)
    axes[0, 0].set_ylabel("right (IoU > 0.5)")
    axes[1, 0].set_ylabel("predictions")
    save_png(figure, path)
