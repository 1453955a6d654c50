"""Pictures of an error study: the errors in a frame, and a reliability diagram of the scores."""

from pathlib import Path

import numpy as np

from bev_instseg.evaluation.error_study import MISSED, list_errors
from bev_instseg.evaluation.reliability import NUM_BINS, Reliability
from bev_instseg.evaluation.segments import Comparison
from bev_instseg.structures import Frame, Instances
from bev_instseg.visualize.bev import Errors, draw_comparison
from bev_instseg.visualize.figure_png import save_png


def draw_errors(
    frame: Frame, instances: Instances, comparison: Comparison, path: str | Path
) -> None:
    """Draw prediction and ground truth side by side, with a ring and a reason at each error.

    Args:
        frame: The ground truth.
        instances: The prediction.
        comparison: Their comparison.
        path: The PNG file, replaced atomically.

    Raises:
        OSError: The file cannot be written.
    """
    missed: dict[int, str] = {}
    false_positives: dict[int, str] = {}
    for error in list_errors(comparison, instances.class_names):
        if error.kind == MISSED:
            missed[error.number - 1] = f"missed: {error.reason}"
        else:
            false_positives[error.number - 1] = f"false: {error.reason}"
    errors = Errors(missed, false_positives)
    draw_comparison(frame, instances, path, title=frame.name, errors=errors)


def draw_reliability(reliabilities: dict[str, Reliability], path: str | Path) -> None:
    """Draw a reliability diagram of each class: precision over mean score.

    Calibrated scores are on the diagonal. The bars below count the predictions of each bin.

    Args:
        reliabilities: Scores against precision, by class name.
        path: The PNG file, replaced atomically.

    Raises:
        OSError: The file cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure((4 * len(reliabilities), 5.2), layout="constrained")
    axes = figure.subplots(2, len(reliabilities), sharex=True, squeeze=False, height_ratios=(3, 1))
    middles = (np.arange(NUM_BINS) + 0.5) / NUM_BINS
    for (curve, counts), (name, bins) in zip(axes.T, reliabilities.items(), strict=True):
        filled = bins.num_predictions > 0
        curve.plot([0, 1], [0, 1], color="0.6", lw=0.8, ls="--")
        curve.plot(bins.mean_score[filled], bins.precision[filled], marker="o", ms=5, lw=1.4)
        curve.set(title=name, xlim=(0, 1), ylim=(-0.03, 1.03))
        bars = counts.bar(middles, bins.num_predictions, 0.09, color="0.7")
        counts.bar_label(bars, [str(n or "") for n in bins.num_predictions], fontsize=7)
        counts.margins(y=0.25)
        counts.set_xlabel("score")
        for ax in (curve, counts):
            ax.grid(alpha=0.25)
            ax.spines[["top", "right"]].set_visible(False)
    axes[0, 0].set_ylabel("precision (IoU > 0.5)")
    axes[1, 0].set_ylabel("predictions")
    save_png(figure, path)
