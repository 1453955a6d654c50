"""Panoptic quality, coverage, recall, precision and AP per class.

All measures come from one overlap table per frame, over its judged points only: points that are
labelled, not void and within ``max_range_m`` of the sensor. With ``tolerance_m``, points of the
background that are horizontally closer than this to an object are not judged: a thin object, such
as a line, is narrower than the pillars that hold it. A segment is an object of the ground
truth or a predicted instance. Two segments match if they have the same class and an IoU above 0.5.
Objects do not overlap each other, nor do predictions, so a segment has at most one match and no
assignment problem has to be solved.

A segment is *counted* if it has at least ``min_points`` judged points. At an IoU threshold t:

- TP: pairs of the same class with IoU > t, whatever their size;
- FN: counted objects without a match;
- FP: counted predictions without a match.

A small segment is therefore ignored unless it is matched; a small matched object counts in TP + FN.
A ratio without data, 0 / 0, is NaN.
"""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bev_instseg.evaluation.segments import (
    SEGMENT,
    Comparison,
    Segments,
    is_background,
    is_error,
    is_match,
    is_wrong_class,
    overlap_table,
)
from bev_instseg.ops.boxes import principal_boxes
from bev_instseg.structures import Float32, Frame, Instances
from bev_instseg.tables import markdown_table, table_cell


@dataclass(frozen=True)
class ClassResult:
    """The measures of one class; ratios are in 0..1, or NaN without data.

    Attributes:
        pq: Panoptic quality ``sq * rq`` = sum of matched IoU / (TP + FP / 2 + FN / 2); 0 with only
            objects or only predictions, NaN with neither.
        sq: Segmentation quality: mean IoU of the matches; 0 if nothing matches.
        rq: Recognition quality: TP / (TP + FP / 2 + FN / 2).
        coverage: Mean over the counted objects of their best IoU with a prediction of the class.
        precision: TP / (TP + FP).
        recall_50: TP / (TP + FN) at IoU > 0.5.
        recall_70: TP / (TP + FN) at IoU > 0.7.
        ap_50: Average precision at IoU > 0.5: the area under the precision-recall curve over all
            frames, with each precision raised to the best one at the same or a higher recall. Equal
            scores are one point of the curve. NaN if TP + FN is 0.
        ap_70: Average precision at IoU > 0.7.
        tp: True positives at IoU > 0.5.
        fp: False positives at IoU > 0.5.
        fn: False negatives at IoU > 0.5.
        fp_background: False positives with less than half of their judged points on objects.
        fp_fragment: False positives mostly on objects: parts, merges, loose outlines.
        fp_wrong_class: False positives with IoU > 0.5 with an object of a different class.
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
    """The measures of all classes.

    Attributes:
        per_class: Measures by class name, in the order of the class indices.
    """

    per_class: dict[str, ClassResult]

    @property
    def mean_pq(self) -> float:
        """Mean PQ over the classes with objects (TP + FN > 0); NaN without any."""
        pq = [result.pq for result in self.per_class.values() if result.tp + result.fn]
        return ratio(math.fsum(pq), len(pq))

    def table(self) -> str:
        """Format a Markdown table: ratios in percent, ``-`` without data."""
        names = [column.name for column in dataclasses.fields(ClassResult)]
        rows = [["class", *names]]
        for name, result in self.per_class.items():
            rows.append([name, *(table_cell(getattr(result, column)) for column in names)])
        rows.append(["mean", table_cell(self.mean_pq), *[""] * (len(names) - 1)])
        return markdown_table(rows)

    def to_dict(self) -> dict[str, Any]:
        """Return ``{"mean_pq": ..., "per_class": {name: {...}}}`` for JSON, with None for NaN."""
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
    """Compares frames one by one and computes the measures of all of them.

    The result depends neither on the order of the frames nor on the numbering of instances.
    Evaluators of several processes can be merged.

    Attributes:
        class_names: The C classes.
        max_range_m: Largest horizontal distance of a judged point from the sensor.
        min_points: Fewest judged points of a counted segment.
        tolerance_m: Background points closer than this to an object are not judged.
        comparisons: One for each frame added so far.
    """

    def __init__(
        self,
        class_names: tuple[str, ...],
        max_range_m: float = 50.0,
        min_points: int = 10,
        tolerance_m: float = 0.0,
    ) -> None:
        """Start without frames.

        Args:
            class_names: The C classes that ``Frame.classes`` and ``Instances.classes`` index.
            max_range_m: Points farther than this from the sensor, horizontally, are not judged.
            min_points: Unmatched segments with fewer judged points are ignored.
            tolerance_m: Background points closer than this to an object are not judged, metres.
        """
        self.class_names = tuple(class_names)
        self.max_range_m = max_range_m
        self.min_points = min_points
        self.tolerance_m = tolerance_m
        self.comparisons: list[Comparison] = []

    def add(self, frame: Frame, instances: Instances) -> None:
        """Compare one frame and add it to the result.

        Args:
            frame: The ground truth.
            instances: The prediction for the same points.

        Raises:
            ValueError: As for `compare`.
        """
        self.comparisons.append(self.compare(frame, instances))

    def compare(self, frame: Frame, instances: Instances) -> Comparison:
        """Compare the instances of one frame with its ground truth, without adding the frame.

        Args:
            frame: The ground truth.
            instances: The prediction for the same points.

        Raises:
            ValueError: Their numbers of points differ, or their classes are not the evaluator's.
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
            raise ValueError(f"{frame.name}: class indices must be below {len(self.class_names)}")

        judged = self._judged(frame)
        truth, labels = frame.instance[judged], instances.labels[judged]
        xyz_m = frame.points[judged, :3]
        table = overlap_table(truth, labels, len(frame.classes), len(instances))
        objects = self._segments(frame.classes, instances.classes, table, truth, xyz_m)
        predictions = self._segments(instances.classes, frame.classes, table.T, labels, xyz_m)
        objects["score"], predictions["score"] = 1, instances.scores
        return Comparison(frame.name, objects, predictions)

    def counted_objects(self, frame: Frame) -> NDArray[np.bool_]:
        """Return which objects have enough judged points to be counted.

        Args:
            frame: The ground truth, with K objects.

        Returns:
            (K,) bool.
        """
        truth = frame.instance[self._judged(frame)]
        counts = np.bincount(truth, minlength=len(frame.classes) + 1)[1:]
        counted: NDArray[np.bool_] = counts >= self.min_points
        return counted

    def _judged(self, frame: Frame) -> NDArray[np.bool_]:
        xy_m = frame.points[:, :2].astype(np.float64)
        judged: NDArray[np.bool_] = frame.judged & (
            np.square(xy_m).sum(axis=1) <= self.max_range_m**2
        )
        if self.tolerance_m:
            judged &= ~_beside_objects(frame, xy_m, judged, self.tolerance_m)
        return judged

    def _segments(
        self,
        classes: NDArray[np.int32],
        other_classes: NDArray[np.int32],
        table: NDArray[np.int64],
        labels: NDArray[np.int32],
        xyz_m: Float32,
    ) -> Segments:
        """Describe the K segments of one side, all but their scores.

        Args:
            classes: (K,) class of each segment.
            other_classes: (L,) class of each segment of the other side.
            table: (K + 1, L + 1) points that each pair of segments shares.
            labels: (N,) segment of each judged point, 0 for none.
            xyz_m: (N, 3) float32 position of each judged point.

        Returns:
            (K,) array of `SEGMENT`.
        """
        points, shared = table[1:].sum(axis=1), table[1:, 1:]
        union = points[:, None] + table[:, 1:].sum(axis=0) - shared
        iou = shared / np.maximum(union, 1)  # an empty union shares nothing: 0
        same_class = classes[:, None] == other_classes
        xy_m = xyz_m[:, :2].astype(np.float64)
        sums_m = [np.bincount(labels, axis, minlength=len(table))[1:] for axis in xy_m.T]
        segments = np.empty(len(classes), SEGMENT)
        segments["class"] = classes
        segments["points"] = points
        segments["shared"] = shared.sum(axis=1)
        segments["centre_m"] = np.transpose(sums_m / np.where(points, points, np.nan))
        segments["length_m"] = _lengths_m(xyz_m, labels, points)
        segments["iou"] = np.where(same_class, iou, 0.0).max(axis=1, initial=0.0)
        segments["iou_other"] = np.where(same_class, 0.0, iou).max(axis=1, initial=0.0)
        segments["counted"] = points >= self.min_points
        return segments

    def merge(self, other: "Evaluator") -> None:
        """Add the frames of another evaluator, as if they had been added here.

        Args:
            other: An evaluator with the same classes, range, ``min_points`` and tolerance.

        Raises:
            ValueError: The two evaluators measure differently.
        """
        own, others = (
            (e.class_names, e.max_range_m, e.min_points, e.tolerance_m) for e in (self, other)
        )
        if own != others:
            raise ValueError(
                "only evaluators with the same classes, range, min_points and tolerance can be "
                "merged"
            )
        self.comparisons += other.comparisons

    @property
    def objects(self) -> Segments:
        """(T,) array of `SEGMENT`: the objects of all frames so far."""
        return np.concatenate([np.empty(0, SEGMENT), *(c.objects for c in self.comparisons)])

    @property
    def predictions(self) -> Segments:
        """(P,) array of `SEGMENT`: the predictions of all frames so far."""
        return np.concatenate([np.empty(0, SEGMENT), *(c.predictions for c in self.comparisons)])

    def by_class(self) -> dict[str, tuple[Segments, Segments]]:
        """Return the objects and the predictions of each class, of all frames so far."""
        objects, predictions = self.objects, self.predictions
        return {
            name: (objects[objects["class"] == index], predictions[predictions["class"] == index])
            for index, name in enumerate(self.class_names)
        }

    def result(self) -> Result:
        """Compute the measures of all frames so far."""
        return Result({name: _class_result(*sides) for name, sides in self.by_class().items()})


def _beside_objects(
    frame: Frame, xy_m: NDArray[np.float64], judged: NDArray[np.bool_], distance_m: float
) -> NDArray[np.bool_]:
    """Return (N,) bool: judged background points closer than a distance to an object's point."""
    from scipy.spatial import cKDTree  # only thin objects need it

    beside, background = np.zeros(len(xy_m), bool), np.flatnonzero(judged & (frame.instance == 0))
    on_object = judged & (frame.instance > 0)
    if len(background) and on_object.any():
        nearest_m, _ = cKDTree(xy_m[on_object]).query(
            xy_m[background], distance_upper_bound=distance_m
        )
        beside[background] = np.isfinite(nearest_m)
    return beside


def _lengths_m(
    xyz_m: Float32, labels: NDArray[np.int32], points: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the (K,) lengths of segments with these numbers of points; NaN without points."""
    present, own = points > 0, labels > 0
    number = np.append(0, np.cumsum(present)).astype(np.int32)  # 1, 2, ... of those with points
    boxes = principal_boxes(xyz_m[own], number[labels[own]], int(number[-1]))
    lengths = np.full(len(points), np.nan)
    lengths[present] = boxes[:, 3]
    return lengths


def ratio(part: float, whole: float) -> float:
    """Return ``part / whole``, or NaN if ``whole`` is 0."""
    return part / whole if whole else math.nan


def _class_result(objects: Segments, predictions: Segments) -> ClassResult:
    """Compute the measures of one class; ``fsum`` makes sums independent of their order."""
    matched = is_match(predictions)
    false = predictions[is_error(predictions)]
    tp, fp = int(matched.sum()), len(false)
    fn = _num_positives(objects, 0.5) - tp
    weight = tp + fp / 2 + fn / 2
    matched_iou = math.fsum(predictions["iou"][matched])
    counted_iou = objects["iou"][objects["counted"]]
    wrong_class, background = int(is_wrong_class(false).sum()), int(is_background(false).sum())
    return ClassResult(
        pq=ratio(matched_iou, weight),
        sq=ratio(matched_iou, tp) if tp else ratio(0, weight),
        rq=ratio(tp, weight),
        coverage=ratio(math.fsum(counted_iou), len(counted_iou)),
        precision=ratio(tp, tp + fp),
        recall_50=ratio(tp, tp + fn),
        recall_70=ratio(int(is_match(objects, 0.7).sum()), _num_positives(objects, 0.7)),
        ap_50=_average_precision(objects, predictions, 0.5),
        ap_70=_average_precision(objects, predictions, 0.7),
        tp=tp,
        fp=fp,
        fn=fn,
        fp_background=background,
        fp_fragment=fp - background - wrong_class,
        fp_wrong_class=wrong_class,
    )


def _num_positives(objects: Segments, iou_threshold: float) -> int:
    """Return TP + FN of one class at this threshold."""
    return int((objects["counted"] | is_match(objects, iou_threshold)).sum())


def _average_precision(objects: Segments, predictions: Segments, iou_threshold: float) -> float:
    """Return the area under the precision-recall curve of one class; see `ClassResult`."""
    hit = is_match(predictions, iou_threshold)
    kept = predictions["counted"] | hit
    score, hit = predictions["score"][kept], hit[kept]
    order = np.argsort(-score)
    score, tp = score[order], np.cumsum(hit[order])
    last = np.flatnonzero(np.diff(score, append=-np.inf))  # the last of each run of equal scores
    precision = tp[last] / (last + 1)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    area = float(np.sum(np.diff(tp[last], prepend=0) * best))
    return ratio(area, _num_positives(objects, iou_threshold))


def _none_if_nan(value: float) -> float | None:
    return None if math.isnan(value) else value
