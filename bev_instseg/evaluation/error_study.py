"""A list of all missed objects and false alarms, and statistics of them.

Missed objects are the false negatives of `metrics` and false alarms its false positives: counted
segments without a match. An object is missed for one of three reasons:

- ``no prediction``: no prediction shares a judged point with it;
- ``other class``: a prediction of a different class has an IoU > 0.5 with it;
- ``poor mask``: predictions overlap it, but none matches.

A false alarm has one of three reasons, too:

- ``background``: less than half of its judged points are on objects;
- ``wrong class``: it has an IoU > 0.5 with an object of a different class;
- ``fragment``: all others: parts, merges, loose outlines.
"""

import csv
import io
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bev_instseg.evaluation.buckets import (
    LENGTHS,
    POINTS,
    RANGES_M,
    Buckets,
    Quality,
    Value,
    length_m,
    num_points,
    quality_by_bucket,
    range_m,
)
from bev_instseg.evaluation.metrics import Evaluator
from bev_instseg.evaluation.reliability import NUM_BINS, Reliability, reliability
from bev_instseg.evaluation.segments import (
    Comparison,
    Segments,
    is_background,
    is_error,
    is_match,
    is_wrong_class,
)
from bev_instseg.tables import markdown_table, table_cell

MISSED, FALSE_ALARM = "missed", "false alarm"
RATE_COLUMNS = ("found", "missed", "recall", "correct", "false", "precision")
NOTES = """\
Found and missed count objects: recall = found / (found + missed). Correct and false count
predictions: precision = correct / (correct + false). A match is an IoU above 0.5 with a segment of
the same class. Ratios and scores are in percent. Range is measured to the mean of a segment's
judged points; length is that of their box. Segments of fewer than 10 judged points are ignored
unless they match.

Reasons for missed objects: `no prediction`, nothing overlaps the object; `other class`, a
prediction of a different class has an IoU above 0.5; `poor mask`, predictions overlap the object
with an IoU of at most 0.5.
Reasons for false alarms: `background`, less than half of the points are on objects; `wrong class`,
it would match an object of a different class; `fragment`, all others."""


@dataclass(frozen=True)
class SegmentError:
    """A missed object or a false alarm.

    Attributes:
        kind: `MISSED` or `FALSE_ALARM`.
        class_name: Class of the segment itself.
        frame: Name of the frame.
        number: Number of the object in the ground truth or of the instance in the prediction, 1..K.
        x_m: Mean x of its judged points, sensor frame.
        y_m: Mean y of its judged points, sensor frame.
        points: Number of judged points.
        best_iou: Best IoU with a segment of the other side, whatever its class.
        score: Score of a false alarm, NaN for an object.
        reason: See the top of this module.
    """

    kind: str
    class_name: str
    frame: str
    number: int
    x_m: float
    y_m: float
    points: int
    best_iou: float
    score: float
    reason: str

    @property
    def range_m(self) -> float:
        """Horizontal distance from the sensor in metres."""
        return math.hypot(self.x_m, self.y_m)


def list_errors(comparison: Comparison, class_names: Sequence[str]) -> list[SegmentError]:
    """List the missed objects of a frame, then its false alarms, each in order of number.

    Args:
        comparison: The frame's objects and predictions.
        class_names: The C class names.
    """
    sides = (
        (MISSED, comparison.objects, _why_missed(comparison.objects)),
        (FALSE_ALARM, comparison.predictions, _why_false(comparison.predictions)),
    )
    return [
        _error(kind, int(k), segments[k], reasons[k], comparison.frame, class_names)
        for kind, segments, reasons in sides
        for k in np.flatnonzero(is_error(segments))
    ]


def worst_frames(comparisons: Sequence[Comparison], max_frames: int = 10) -> list[int]:
    """Return the positions of the frames with the most errors, worst first.

    Args:
        comparisons: All frames.
        max_frames: The most frames to return; frames without errors are left out.
    """
    num_errors = [sum(_count_errors(comparison)) for comparison in comparisons]
    order = sorted(range(len(num_errors)), key=lambda i: -num_errors[i])
    return [i for i in order[:max_frames] if num_errors[i]]


def class_reliability(evaluator: Evaluator) -> dict[str, Reliability]:
    """Compare the scores of each class's counted predictions with how often they are correct."""
    return {name: _reliability(sides[1]) for name, sides in evaluator.by_class().items()}


def errors_csv(evaluator: Evaluator) -> str:
    """Format all errors of all frames as CSV: a header, then a line for each."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = "kind class frame number x_m y_m range_m points best_iou score reason"
    writer.writerow(columns.split())
    for error in _all_errors(evaluator):
        writer.writerow(
            [
                *(error.kind, error.class_name, error.frame, error.number),
                *(f"{value:.2f}" for value in (error.x_m, error.y_m, error.range_m)),
                *(error.points, f"{error.best_iou:.3f}"),
                "" if math.isnan(error.score) else f"{error.score:.3f}",
                error.reason,
            ]
        )
    return text.getvalue()


def errors_markdown(evaluator: Evaluator, data_name: str) -> str:
    """Format the study as a Markdown page: kinds of errors, rates, scores, worst frames.

    Args:
        evaluator: All frames.
        data_name: Name of the data set, for the title.
    """
    sections = {
        "Kinds": _kinds_table(evaluator),
        "By class": _class_table(evaluator),
        "By range": _bucket_table(evaluator, "range (m)", RANGES_M, range_m),
        "By judged points": _bucket_table(evaluator, "points", POINTS, num_points),
        "By length": _bucket_table(evaluator, "length", LENGTHS, length_m),
        "Are the scores calibrated?": _reliability_table(evaluator),
        "Worst frames": _worst_table(evaluator.comparisons),
    }
    parts = [f"# Errors: {data_name}, frames: {len(evaluator.comparisons)}", NOTES]
    for title, table in sections.items():
        parts += [f"## {title}", table]
    return "\n\n".join(parts) + "\n"


def _error(
    kind: str, k: int, segment: np.void, reason: str, frame: str, class_names: Sequence[str]
) -> SegmentError:
    """Describe segment ``k``, counted from 0, as an error."""
    x_m, y_m = segment["centre_m"].tolist()
    return SegmentError(
        kind,
        class_names[segment["class"]],
        frame,
        number=k + 1,
        x_m=x_m,
        y_m=y_m,
        points=int(segment["points"]),
        best_iou=float(max(segment["iou"], segment["iou_other"])),
        score=float(segment["score"]) if kind == FALSE_ALARM else math.nan,
        reason=reason,
    )


def _why_missed(objects: Segments) -> NDArray[np.str_]:
    """Return the reason of each of (T,) objects, matched ones included."""
    overlapped = (objects["iou"] > 0) | (objects["iou_other"] > 0)
    conditions = [is_wrong_class(objects), overlapped]
    return np.select(conditions, ["other class", "poor mask"], "no prediction")


def _why_false(predictions: Segments) -> NDArray[np.str_]:
    """Return the reason of each of (P,) predictions, matched ones included."""
    conditions = [is_wrong_class(predictions), is_background(predictions)]
    return np.select(conditions, ["wrong class", "background"], "fragment")


def _all_errors(evaluator: Evaluator) -> list[SegmentError]:
    names = evaluator.class_names
    return [error for c in evaluator.comparisons for error in list_errors(c, names)]


def _count_errors(comparison: Comparison) -> tuple[int, int]:
    """Count the missed objects and the false alarms of a frame."""
    return int(is_error(comparison.objects).sum()), int(is_error(comparison.predictions).sum())


def _reliability(predictions: Segments) -> Reliability:
    counted = predictions[predictions["counted"]]
    return reliability(counted["score"], is_match(counted))


def _kinds_table(evaluator: Evaluator) -> str:
    """Count errors by class, kind and reason, the most frequent first."""
    errors = _all_errors(evaluator)
    groups = Counter((error.class_name, error.kind, error.reason) for error in errors)
    rows = [["class", "kind", "reason", "errors", "% of all", "median range (m)", "median points"]]
    for (name, kind, reason), count in groups.most_common():
        group = [e for e in errors if (e.class_name, e.kind, e.reason) == (name, kind, reason)]
        range_m, points = (np.median([getattr(e, a) for e in group]) for a in ("range_m", "points"))
        share = table_cell(count / len(errors))
        rows.append([name, kind, reason, str(count), share, f"{range_m:.0f}", f"{points:.0f}"])
    return markdown_table(rows)


def _class_table(evaluator: Evaluator) -> str:
    """Count hits and errors of each class."""
    rows = [["class", *RATE_COLUMNS]]
    rows += [[name, *_rates(Quality.of(*sides))] for name, sides in _all_and_each(evaluator)]
    return markdown_table(rows)


def _bucket_table(evaluator: Evaluator, heading: str, buckets: Buckets, value_of: Value) -> str:
    """Count hits and errors of each class in buckets of a value of the segments."""
    rows = [["class", heading, *RATE_COLUMNS]]
    for name, sides in _all_and_each(evaluator):
        found = quality_by_bucket(sides, value_of, buckets)
        rows += [[name, label, *_rates(quality)] for label, quality in found.items()]
    return markdown_table(rows)


def _all_and_each(evaluator: Evaluator) -> list[tuple[str, tuple[Segments, Segments]]]:
    """Return name, objects and predictions of all classes together, then of each class."""
    return [("all", (evaluator.objects, evaluator.predictions)), *evaluator.by_class().items()]


def _rates(quality: Quality) -> list[str]:
    """Return the cells below `RATE_COLUMNS`."""
    found = [str(quality.tp), str(quality.fn), table_cell(quality.recall)]
    return [*found, str(quality.correct), str(quality.fp), table_cell(quality.precision)]


def _reliability_table(evaluator: Evaluator) -> str:
    rows = [["class", "score", "predictions", "mean score", "correct"]]
    for name, bins in class_reliability(evaluator).items():
        for k in np.flatnonzero(bins.num_predictions):
            label, count = f"{k / NUM_BINS}-{(k + 1) / NUM_BINS}", str(bins.num_predictions[k])
            ratios = (float(bins.mean_score[k]), float(bins.precision[k]))
            rows.append([name, label, count, *map(table_cell, ratios)])
    return markdown_table(rows)


def _worst_table(comparisons: Sequence[Comparison]) -> str:
    rows = [["picture", "frame", "missed", "false alarms"]]
    for place, i in enumerate(worst_frames(comparisons), 1):
        missed, false = _count_errors(comparisons[i])
        picture = f"[worst_{place}.png](worst_{place}.png)"
        rows.append([picture, comparisons[i].frame, str(missed), str(false)])
    return markdown_table(rows)
