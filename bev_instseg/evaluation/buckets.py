"""Quality in buckets of a value of the segments, such as their number of points.

Objects and predictions count in their own buckets, so the two sides of a match may be in different
ones.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bev_instseg.evaluation.metrics import Evaluator, ratio
from bev_instseg.evaluation.segments import Segments, is_error, is_match
from bev_instseg.tables import markdown_table, table_cell

Buckets = Mapping[str, float]  # label and lower end of each; the last has no upper end
Value = Callable[[Segments], NDArray[Any]]  # of each of (K,) segments

RANGES_M: Buckets = {f"{start}-{start + 10}": start for start in range(0, 50, 10)}
LENGTHS: Buckets = {
    "below 1.2 m": 0.0,
    "1.2 to 2.5 m": 1.2,
    "2.5 to 6 m": 2.5,
    "6 to 10 m": 6.0,
    "10 m or more": 10.0,
}
POINTS: Buckets = {"1-19": 0, "20-49": 20, "50-99": 50, "100-299": 100, "300 or more": 300}


@dataclass(frozen=True)
class Quality:
    """How well the objects in a bucket are found, and how often its predictions are right.

    Attributes:
        pq: Panoptic quality as in `ClassResult`, with the matches of the objects; NaN without
            objects and false positives.
        tp: Matched objects.
        fn: Missed objects.
        correct: Matched predictions.
        fp: Predictions without a match.
    """

    pq: float
    tp: int
    fn: int
    correct: int
    fp: int

    @staticmethod
    def of(objects: Segments, predictions: Segments) -> "Quality":
        """Measure the objects and the predictions of a bucket.

        Args:
            objects: (T,) array of `SEGMENT`.
            predictions: (P,) array of `SEGMENT`.
        """
        found = is_match(objects)
        tp, fn = int(found.sum()), int(is_error(objects).sum())
        correct, fp = int(is_match(predictions).sum()), int(is_error(predictions).sum())
        pq = ratio(math.fsum(objects["iou"][found]), tp + fp / 2 + fn / 2)
        return Quality(pq, tp, fn, correct, fp)

    @property
    def recall(self) -> float:
        """Share of the objects that are found; NaN without objects."""
        return ratio(self.tp, self.tp + self.fn)

    @property
    def precision(self) -> float:
        """Share of the predictions that are right; NaN without predictions."""
        return ratio(self.correct, self.correct + self.fp)

    def to_dict(self) -> dict[str, float | None]:
        """Return the attributes for JSON, with None for NaN."""
        return asdict(self) | {"pq": None if math.isnan(self.pq) else self.pq}


def range_m(segments: Segments) -> NDArray[np.float64]:
    """Return the horizontal distance of each of (K,) segments from the sensor, metres."""
    x_m, y_m = segments["centre_m"].T
    distance_m: NDArray[np.float64] = np.hypot(x_m, y_m)
    return distance_m


def num_points(segments: Segments) -> NDArray[np.int64]:
    """Return the number of judged points of each of (K,) segments."""
    points: NDArray[np.int64] = segments["points"]
    return points


def length_m(segments: Segments) -> NDArray[np.float64]:
    """Return the length of the judged, so visible, part of each of (K,) segments, metres."""
    lengths: NDArray[np.float64] = segments["length_m"]
    return lengths


def quality_by_bucket(
    sides: Sequence[Segments], value_of: Value, buckets: Buckets
) -> dict[str, Quality]:
    """Measure each bucket.

    Args:
        sides: Objects and predictions, (T,) and (P,) arrays of `SEGMENT`.
        value_of: The value of the segments that chooses their bucket.
        buckets: Labels and lower ends, which belong to the bucket, in ascending order.
    """
    edges = list(buckets.values())[1:]
    bucket_of = [np.searchsorted(edges, value_of(side), side="right") for side in sides]
    return {
        label: Quality.of(*(side[own == k] for side, own in zip(sides, bucket_of, strict=True)))
        for k, label in enumerate(buckets)
    }


def class_quality(
    evaluator: Evaluator, value_of: Value, buckets: Buckets
) -> dict[str, dict[str, Quality]]:
    """Measure each bucket of each class.

    Args:
        evaluator: All frames.
        value_of: The value of the segments that chooses their bucket.
        buckets: As for `quality_by_bucket`.
    """
    return {
        name: quality_by_bucket(sides, value_of, buckets)
        for name, sides in evaluator.by_class().items()
    }


def bucket_table(per_class: Mapping[str, Mapping[str, Quality]], heading: str) -> str:
    """Format the number of objects, recall and PQ by class: a column for each bucket.

    Args:
        per_class: What `class_quality` returned, for at least one class.
        heading: Name of the value.
    """
    rows = [["class", heading, *next(iter(per_class.values()))]]
    for name, by_bucket in per_class.items():
        found = by_bucket.values()
        rows.append([name, "objects", *(str(each.tp + each.fn) for each in found)])
        rows.append([name, "recall", *(table_cell(each.recall) for each in found)])
        rows.append([name, "PQ", *(table_cell(each.pq) for each in found)])
    return markdown_table(rows)
