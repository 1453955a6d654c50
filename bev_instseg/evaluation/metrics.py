"""How well predicted instances match the truth: PQ, coverage, recall, precision and AP per class.

Every number comes from one overlap table per frame, counted over the judged points alone: labelled,
not void and within ``max_range_m`` of the sensor. A prediction matches an object of its own class
if their IoU exceeds 0.5; since neither predictions nor objects overlap among themselves, a segment
has at most one such partner and no assignment has to be searched.

A segment is *counted* if it has at least ``min_points`` judged points. At a threshold t:

- TP: every pair of one class with IoU > t, however small its segments;
- FN: counted objects without such a partner;
- FP: counted predictions without such a partner.

So a small segment helps if it is matched (a small matched object is among TP + FN) and is ignored
if it is not. A ratio with nothing to measure, 0 / 0, is NaN.
"""

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bev_instseg.structures import Frame, Instances
from bev_instseg.tables import markdown_table, table_cell

# An object or a prediction, compared with those of the other side.
SEGMENT = np.dtype(
    [
        ("class", np.int32),
        ("score", np.float32),  # 1 for objects
        ("points", np.int64),  # judged ones
        ("shared", np.int64),  # of these, those on any segment of the other side
        ("centre_m", np.float64, 2),  # mean x, y of the judged points; NaN if there are none
        ("iou", np.float64),  # the best with a segment of the own class
        ("iou_other", np.float64),  # the best with a segment of another class
        ("counted", np.bool_),
    ]
)


@dataclass(frozen=True, eq=False)
class Comparison:
    """One frame's objects and predictions, each compared with all of the other side.

    Attributes:
        frame: the frame's name.
        objects: (T,) of `SEGMENT`, in the order of ``Frame.classes``.
        predictions: (P,) of `SEGMENT`, in the order of ``Instances.classes``.
    """

    frame: str
    objects: NDArray[np.void]
    predictions: NDArray[np.void]


@dataclass(frozen=True)
class ClassResult:
    """The measures of one class; ratios in 0..1, NaN where there is nothing to measure.

    Attributes:
        pq: panoptic quality ``sq * rq`` = sum of matched IoU / (TP + FP / 2 + FN / 2).
            0 with predictions only or objects only, NaN with neither.
        sq: mean IoU of the matches; 0 if none of what there is matches.
        rq: TP / (TP + FP / 2 + FN / 2).
        coverage: mean over counted objects of the best IoU with any prediction of the class.
        precision: TP / (TP + FP).
        recall_50, recall_70: TP / (TP + FN) at IoU > 0.5 and > 0.7.
        ap_50, ap_70: average precision at IoU > 0.5 and > 0.7: the area under the precision-recall
            curve of all frames by falling score, each precision raised to the best one at the same
            or a higher recall. Equal scores are one point of the curve. NaN if TP + FN is 0.
        tp, fp, fn: counts at IoU > 0.5.
        fp_background: of ``fp``, those with less than half of their judged points on objects.
        fp_fragment: of ``fp``, those mostly on objects: parts, merges, loose outlines.
        fp_wrong_class: of ``fp``, those with IoU > 0.5 with an object of another class.
    """

    pq: float
    sq: float
    rq: float
    coverage: float
    precision: float
    recall_50: float
    recall_70: float
    ap_50: float
    ap_70: float
    tp: int
    fp: int
    fn: int
    fp_background: int
    fp_fragment: int
    fp_wrong_class: int


@dataclass(frozen=True)
class Result:
    """The measures of every class.

    Attributes:
        per_class: by class name, in the order of the class indices.
    """

    per_class: dict[str, ClassResult]

    @property
    def mean_pq(self) -> float:
        """Mean PQ over the classes that have truth (TP + FN > 0); NaN if none has."""
        pq = [result.pq for result in self.per_class.values() if result.tp + result.fn]
        return ratio(math.fsum(pq), len(pq))

    def table(self) -> str:
        """A Markdown table: ratios in percent, ``-`` where there is nothing to measure."""
        names = [column.name for column in dataclasses.fields(ClassResult)]
        rows = [["class", *names]]
        for name, result in self.per_class.items():
            rows.append([name, *(table_cell(getattr(result, column)) for column in names)])
        rows.append(["mean", table_cell(self.mean_pq), *[""] * (len(names) - 1)])
        return markdown_table(rows)

    def to_dict(self) -> dict:
        """``{"mean_pq": ..., "per_class": {name: {...}}}`` ready for JSON: None stands for NaN."""
        return {
            "mean_pq": _none_if_nan(self.mean_pq),
            "per_class": {
                name: {
                    key: _none_if_nan(value) for key, value in dataclasses.asdict(result).items()
                }
                for name, result in self.per_class.items()
            },
        }


class Evaluator:
    """Compares frames one by one and sums up; evaluators of several processes can be merged.

    The result depends neither on the order of the frames nor on the numbering of instances.

    Args:
        class_names: the C classes that ``Frame.classes`` and ``Instances.classes`` index.
        max_range_m: points farther than this from the sensor, horizontally, are not judged.
        min_points: unmatched segments with fewer judged points are ignored.
    """

    def __init__(
        self, class_names: tuple[str, ...], max_range_m: float = 50.0, min_points: int = 10
    ) -> None:
        self.class_names = tuple(class_names)
        self.max_range_m = max_range_m
        self.min_points = min_points
        self.comparisons: list[Comparison] = []  # of the frames so far

    def add(self, frame: Frame, instances: Instances) -> None:
        """Take in one frame.

        Args:
            frame: the truth.
            instances: what was predicted for the same points.

        Raises:
            ValueError: see `compare`.
        """
        self.comparisons.append(self.compare(frame, instances))

    def compare(self, frame: Frame, instances: Instances) -> Comparison:
        """Compare one frame's instances with its truth; the evaluator does not change.

        Args:
            frame: the truth.
            instances: what was predicted for the same points.

        Raises:
            ValueError: if the two differ in their number of points or in what class indices mean.
        """
        if instances.class_names != self.class_names:
            raise ValueError(
                f"{frame.name}: classes must be {self.class_names}, got {instances.class_names}"
            )
        if len(instances.labels) != len(frame.points):
            raise ValueError(
                f"{frame.name}: {len(instances.labels)} labels for {len(frame.points)} points"
            )
        classes = np.concatenate([frame.classes, instances.classes])
        if np.any((classes < 0) | (classes >= len(self.class_names))):
            raise ValueError(f"{frame.name}: class indices must lie below {len(self.class_names)}")

        xy_m = frame.points[:, :2].astype(np.float64)
        judged = frame.judged & (np.square(xy_m).sum(axis=1) <= self.max_range_m**2)
        truth, labels, xy_m = frame.instance[judged], instances.labels[judged], xy_m[judged]
        table = overlap_table(truth, labels, len(frame.classes), len(instances))
        same_class = frame.classes[:, None] == instances.classes
        no_scores = np.ones(len(frame.classes))
        return Comparison(
            frame.name,
            self._segments(frame.classes, no_scores, table, same_class, truth, xy_m),
            self._segments(
                instances.classes, instances.scores, table.T, same_class.T, labels, xy_m
            ),
        )

    def _segments(
        self,
        classes: NDArray[np.int32],
        scores: NDArray[np.floating],
        table: NDArray[np.int64],
        same_class: NDArray[np.bool_],
        labels: NDArray[np.int32],
        xy_m: NDArray[np.float64],
    ) -> NDArray[np.void]:
        """(K,) of `SEGMENT`: one side of a comparison.

        Args:
            classes, scores: (K,) of the segments of this side.
            table: (K + 1, L + 1) points that they share with the L segments of the other side.
            same_class: (K, L) bool.
            labels: (N,) segment of this side of each judged point, 0 none.
            xy_m: (N, 2) float64 position of each judged point.
        """
        points, shared = table[1:].sum(axis=1), table[1:, 1:]
        union = points[:, None] + table[:, 1:].sum(axis=0) - shared
        iou = shared / np.maximum(union, 1)  # an empty union shares nothing: 0
        sums_m = [np.bincount(labels, along, minlength=len(table))[1:] for along in xy_m.T]
        segments = np.empty(len(classes), SEGMENT)
        segments["class"] = classes
        segments["score"] = scores
        segments["points"] = points
        segments["shared"] = shared.sum(axis=1)
        segments["centre_m"] = np.transpose(sums_m / np.where(points, points, np.nan))
        segments["iou"] = np.where(same_class, iou, 0.0).max(axis=1, initial=0.0)
        segments["iou_other"] = np.where(same_class, 0.0, iou).max(axis=1, initial=0.0)
        segments["counted"] = points >= self.min_points
        return segments

    def merge(self, other: "Evaluator") -> None:
        """Take in the frames of ``other``, as if they had been added here.

        Raises:
            ValueError: if the two evaluators measure differently.
        """
        if (self.class_names, self.max_range_m, self.min_points) != (
            other.class_names,
            other.max_range_m,
            other.min_points,
        ):
            raise ValueError("only evaluators of equal classes, range and min_points can be merged")
        self.comparisons += other.comparisons

    @property
    def objects(self) -> NDArray[np.void]:
        """(T,) of `SEGMENT`: the objects of all frames so far."""
        return np.concatenate([np.empty(0, SEGMENT), *(c.objects for c in self.comparisons)])

    @property
    def predictions(self) -> NDArray[np.void]:
        """(P,) of `SEGMENT`: the predictions of all frames so far."""
        return np.concatenate([np.empty(0, SEGMENT), *(c.predictions for c in self.comparisons)])

    def result(self) -> Result:
        """The measures of all frames so far."""
        objects, predictions = self.objects, self.predictions
        return Result(
            {
                name: _class_result(
                    objects[objects["class"] == index], predictions[predictions["class"] == index]
                )
                for index, name in enumerate(self.class_names)
            }
        )


def overlap_table(
    truth: NDArray[np.integer], prediction: NDArray[np.integer], num_truth: int, num_pred: int
) -> NDArray[np.int64]:
    """Count the points that each pair of segments shares.

    Args:
        truth: (N,) segment of each point, 0 none, 1..T.
        prediction: (N,) segment of each point, 0 none, 1..P.
        num_truth: T.
        num_pred: P.

    Returns:
        (T + 1, P + 1) int64 counts; its sum is N.

    Raises:
        ValueError: if the arrays differ in length or hold a number out of range.
    """
    for name, labels, count in (("truth", truth, num_truth), ("prediction", prediction, num_pred)):
        if len(labels) and not (labels.min() >= 0 and labels.max() <= count):
            raise ValueError(f"{name} must lie in 0..{count}")
    pairs = truth.astype(np.int64) * (num_pred + 1) + prediction
    counts = np.bincount(pairs, minlength=(num_truth + 1) * (num_pred + 1))
    return counts.reshape(num_truth + 1, num_pred + 1)


def is_match(segments: NDArray[np.void], threshold: float = 0.5) -> NDArray[np.bool_]:
    """Which segments have a partner of their class: objects found, or predictions that are TP.

    Args:
        segments: (K,) of `SEGMENT`.
        threshold: the IoU that a partner must exceed.

    Returns:
        (K,) bool.
    """
    return segments["iou"] > threshold


def is_error(segments: NDArray[np.void]) -> NDArray[np.bool_]:
    """(K,) bool: counted segments without a partner at IoU > 0.5, so objects missed or FP."""
    return segments["counted"] & ~is_match(segments)


def is_wrong_class(segments: NDArray[np.void]) -> NDArray[np.bool_]:
    """(K,) bool: segments that would have a partner at IoU > 0.5 if its class were theirs."""
    return segments["iou_other"] > 0.5


def is_background(segments: NDArray[np.void]) -> NDArray[np.bool_]:
    """(K,) bool: segments with less than half of their points on any of the other side."""
    return 2 * segments["shared"] < segments["points"]


def ratio(part: float, whole: float) -> float:
    """``part / whole``, NaN where ``whole`` is 0."""
    return part / whole if whole else math.nan


def _class_result(truth: NDArray[np.void], predictions: NDArray[np.void]) -> ClassResult:
    """Sum up the records of one class. ``fsum`` makes the sums independent of their order."""
    matched = is_match(predictions)
    false = predictions[is_error(predictions)]
    tp, fp = int(matched.sum()), len(false)
    fn = _positives(truth, 0.5) - tp
    weight = tp + fp / 2 + fn / 2
    iou = math.fsum(predictions["iou"][matched])
    counted_iou = truth["iou"][truth["counted"]]
    wrong_class, background = int(is_wrong_class(false).sum()), int(is_background(false).sum())
    return ClassResult(
        pq=ratio(iou, weight),
        sq=ratio(iou, tp) if tp else ratio(0, weight),
        rq=ratio(tp, weight),
        coverage=ratio(math.fsum(counted_iou), len(counted_iou)),
        precision=ratio(tp, tp + fp),
        recall_50=ratio(tp, tp + fn),
        recall_70=ratio(int(is_match(truth, 0.7).sum()), _positives(truth, 0.7)),
        ap_50=_average_precision(truth, predictions, 0.5),
        ap_70=_average_precision(truth, predictions, 0.7),
        tp=tp,
        fp=fp,
        fn=fn,
        fp_background=background,
        fp_fragment=fp - background - wrong_class,
        fp_wrong_class=wrong_class,
    )


def _positives(truth: NDArray[np.void], threshold: float) -> int:
    """TP + FN of one class at this threshold."""
    return int((truth["counted"] | is_match(truth, threshold)).sum())


def _average_precision(
    truth: NDArray[np.void], predictions: NDArray[np.void], threshold: float
) -> float:
    """Area under the interpolated precision-recall curve of one class; see `ClassResult`."""
    hit = is_match(predictions, threshold)
    kept = predictions["counted"] | hit
    score, hit = predictions["score"][kept], hit[kept]
    order = np.argsort(-score)
    score, tp = score[order], np.cumsum(hit[order])
    last = np.flatnonzero(np.diff(score, append=-np.inf))  # of each run of equal scores
    precision = tp[last] / (last + 1)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    return ratio(float(np.sum(np.diff(tp[last], prepend=0) * best)), _positives(truth, threshold))


def _none_if_nan(value: float) -> float | None:
    return None if math.isnan(value) else value
