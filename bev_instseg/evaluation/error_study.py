"""Every missed object and every false alarm by itself, and what they have in common.

Both are those of `metrics`: counted segments without a partner of their class at IoU > 0.5. A
missed object has one of three reasons:

- ``no prediction``: no prediction shares a judged point with it;
- ``other class``: a prediction of another class has an IoU > 0.5 with it;
- ``poor mask``: predictions touch it, none of its class with an IoU > 0.5;

and so has a false alarm:

- ``background``: less than half of its judged points lie on objects;
- ``wrong class``: it has an IoU > 0.5 with an object of another class;
- ``fragment``: the others: parts, merges, loose outlines.
"""

import csv
import io
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bev_instseg.evaluation.metrics import (
    Comparison,
    Evaluator,
    is_background,
    is_error,
    is_match,
    is_wrong_class,
    ratio,
)
from bev_instseg.evaluation.reliability import BINS, Reliability, reliability
from bev_instseg.tables import markdown_table, table_cell

MISSED, FALSE_ALARM = "missed", "false alarm"
RANGES_M: dict[str, float] = {f"{start}-{start + 10}": start for start in range(0, 50, 10)}
POINTS: dict[str, float] = {
    "1-9": 0,
    "10-29": 10,
    "30-99": 30,
    "100-299": 100,
    "300-999": 300,
    "1000 or more": 1000,
}
RATES = ("found", "missed", "recall", "right", "false", "precision")
NOTES = """\
Found and missed are objects, recall is found / (found + missed); right and false are predictions,
precision is right / (right + false); a match is an IoU above 0.5 with the own class. Ratios and
scores are in percent. Range is that of the middle of a segment's judged points. A segment of fewer
than 10 judged points is there only if it matches.

Why missed: `no prediction` touches the object; one of an `other class` would match it; `poor mask`,
what touches it has an IoU of 0.5 at most. Why false: `background`, less than half of its points lie
on objects; `wrong class`, it would match an object of another class; `fragment`, the rest."""

Segments = NDArray[np.void]  # of `metrics.SEGMENT`


@dataclass(frozen=True)
class SegmentError:
    """A missed object or a false alarm.

    Attributes:
        kind: `MISSED` or `FALSE_ALARM`.
        class_name: of the segment itself.
        frame: the frame's name.
        number: of the object in the truth or of the instance in the prediction, 1..K.
        x_m, y_m: mean of its judged points, sensor frame.
        points: judged ones.
        best_iou: the best with any segment of the other side, whatever its class.
        score: of a false alarm, NaN for an object.
        reason: see the top of this module.
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
        """Horizontal distance from the sensor."""
        return math.hypot(self.x_m, self.y_m)


def list_errors(comparison: Comparison, class_names: Sequence[str]) -> list[SegmentError]:
    """The missed objects of a frame, then its false alarms, each in the order of their numbers."""
    sides = (
        (MISSED, comparison.objects, _why_missed(comparison.objects)),
        (FALSE_ALARM, comparison.predictions, _why_false(comparison.predictions)),
    )
    return [
        _error(kind, int(k), segments[k], reasons[k], comparison.frame, class_names)
        for kind, segments, reasons in sides
        for k in np.flatnonzero(is_error(segments))
    ]


def worst_frames(comparisons: Sequence[Comparison], most: int = 10) -> list[int]:
    """Positions of the ``most`` frames with the most errors, worst first; none without errors."""
    errors = [_count_errors(comparison) for comparison in comparisons]
    order = sorted(range(len(errors)), key=lambda i: -sum(errors[i]))
    return [i for i in order[:most] if sum(errors[i])]


def class_reliability(evaluator: Evaluator) -> dict[str, Reliability]:
    """How many of the counted predictions of each score are right, by class, in all frames."""
    return {name: _reliability(predictions) for name, _, predictions in _by_class(evaluator)[1:]}


def errors_csv(evaluator: Evaluator) -> str:
    """One line for each error of all frames, with a header."""
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


def errors_markdown(evaluator: Evaluator, data: str) -> str:
    """The study as a page: kinds of error, rates per bucket, scores, worst frames.

    Args:
        evaluator: of all frames.
        data: what to call the data set.
    """
    sections = {
        "Kinds": _kinds_table(evaluator),
        "By class": _class_table(evaluator),
        "By range": _bucket_table(evaluator, "range (m)", RANGES_M, _range_m),
        "By judged points": _bucket_table(evaluator, "points", POINTS, lambda s: s["points"]),
        "Are the scores right?": _reliability_table(evaluator),
        "Worst frames": _worst_table(evaluator.comparisons),
    }
    parts = [f"# Errors: {data}, frames: {len(evaluator.comparisons)}", NOTES]
    for title, table in sections.items():
        parts += [f"## {title}", table]
    return "\n\n".join(parts) + "\n"


def _error(
    kind: str, k: int, segment: np.void, reason: str, frame: str, class_names: Sequence[str]
) -> SegmentError:
    """Segment ``k`` (of `metrics.SEGMENT`, counted from 0) as an error."""
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


def _why_missed(objects: Segments) -> list[str]:
    touched = (objects["iou"] > 0) | (objects["iou_other"] > 0)
    which = [is_wrong_class(objects), touched]
    return np.select(which, ["other class", "poor mask"], "no prediction").tolist()


def _why_false(predictions: Segments) -> list[str]:
    which = [is_wrong_class(predictions), is_background(predictions)]
    return np.select(which, ["wrong class", "background"], "fragment").tolist()


def _all_errors(evaluator: Evaluator) -> list[SegmentError]:
    names = evaluator.class_names
    return [error for c in evaluator.comparisons for error in list_errors(c, names)]


def _count_errors(comparison: Comparison) -> tuple[int, int]:
    """Missed objects and false alarms of a frame."""
    return int(is_error(comparison.objects).sum()), int(is_error(comparison.predictions).sum())


def _range_m(segments: Segments) -> NDArray[np.float64]:
    return np.hypot(*segments["centre_m"].T)


def _bucket_of(values: NDArray, starts: dict[str, float]) -> NDArray[np.int64]:
    """(K,) number of the bucket; each holds its start, the last all beyond it."""
    edges = np.array(list(starts.values())[1:], values.dtype)
    return np.searchsorted(edges, values, side="right")


def _reliability(predictions: Segments) -> Reliability:
    counted = predictions[predictions["counted"]]
    return reliability(counted["score"], is_match(counted))


def _kinds_table(evaluator: Evaluator) -> str:
    """Errors by kind, class and reason, the most frequent first."""
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
    """Hits and errors of each class."""
    rows = [["class", *RATES]]
    rows += [[name, *_rates(*sides)] for name, *sides in _by_class(evaluator)]
    return markdown_table(rows)


def _bucket_table(
    evaluator: Evaluator,
    heading: str,
    starts: dict[str, float],
    value_of: Callable[[Segments], NDArray],
) -> str:
    """Hits and errors of each class in buckets of one value of a segment."""
    rows = [["class", heading, *RATES]]
    for name, *sides in _by_class(evaluator):
        which = [_bucket_of(value_of(side), starts) for side in sides]
        for k, label in enumerate(starts):
            inside = (side[w == k] for side, w in zip(sides, which, strict=True))
            rows.append([name, label, *_rates(*inside)])
    return markdown_table(rows)


def _by_class(evaluator: Evaluator) -> list[tuple[str, Segments, Segments]]:
    """Name, objects and predictions of all classes together and of each by itself."""
    sides = evaluator.objects, evaluator.predictions
    each = [
        (name, *(side[side["class"] == index] for side in sides))
        for index, name in enumerate(evaluator.class_names)
    ]
    return [("all", *sides), *each]


def _rates(objects: Segments, predictions: Segments) -> list[str]:
    """What stands below `RATES`."""
    cells = []
    for side in (objects, predictions):
        hits, errors = int(is_match(side).sum()), int(is_error(side).sum())
        cells += [str(hits), str(errors), table_cell(ratio(hits, hits + errors))]
    return cells


def _reliability_table(evaluator: Evaluator) -> str:
    rows = [["class", "score", "predictions", "mean score", "right"]]
    for name, bins in class_reliability(evaluator).items():
        for k in np.flatnonzero(bins.count):
            label, mean, right = f"{k / BINS}-{(k + 1) / BINS}", bins.score[k], bins.right[k]
            rows.append(
                [name, label, str(bins.count[k]), table_cell(float(mean)), table_cell(float(right))]
            )
    return markdown_table(rows)


def _worst_table(comparisons: Sequence[Comparison]) -> str:
    rows = [["picture", "frame", "missed", "false alarms"]]
    for place, i in enumerate(worst_frames(comparisons), 1):
        missed, false = _count_errors(comparisons[i])
        picture = f"[worst_{place}.png](worst_{place}.png)"
        rows.append([picture, comparisons[i].frame, str(missed), str(false)])
    return markdown_table(rows)
