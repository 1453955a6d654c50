"""Panoptic quality by the length of the objects, whatever their class."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bev_instseg.evaluation.metrics import ratio
from bev_instseg.evaluation.segments import Comparison, is_error, is_match
from bev_instseg.ops.boxes import oriented_boxes
from bev_instseg.structures import Frame, Instances

# Label and shortest length in metres of what the sensor sees of an object; the last has no limit.
SIZES: dict[str, float] = {
    "below 1.2 m": 0.0,
    "1.2 to 2.5 m": 1.2,
    "2.5 to 6 m": 2.5,
    "6 to 10 m": 6.0,
    "10 m or more": 10.0,
}


@dataclass(frozen=True, eq=False)
class SizedComparison:
    """A frame's comparison and the lengths of its segments.

    Attributes:
        comparison: T objects and P predictions.
        objects_m: (T,) lengths of the objects, metres.
        predictions_m: (P,) lengths of the predictions.
    """

    comparison: Comparison
    objects_m: NDArray[np.float64]
    predictions_m: NDArray[np.float64]

    @staticmethod
    def of(comparison: Comparison, frame: Frame, instances: Instances) -> "SizedComparison":
        """Measure the objects and predictions of a compared frame.

        Args:
            comparison: Their comparison.
            frame: The ground truth.
            instances: The prediction.
        """
        return SizedComparison(
            comparison, _lengths(frame), instances.boxes[:, 3].astype(np.float64)
        )


@dataclass(frozen=True)
class SizeResult:
    """The measures of the objects of one size.

    Attributes:
        pq: Panoptic quality as in `ClassResult`; an object counts with its own length, a false
            positive with that of the prediction. NaN without either.
        tp: Matched objects.
        fp: Predictions without a match.
        fn: Missed objects.
    """

    pq: float
    tp: int
    fp: int
    fn: int


def quality_by_size(frames: Iterable[SizedComparison]) -> dict[str, SizeResult]:
    """Compute the panoptic quality of each size over all frames and classes.

    Args:
        frames: The compared frames.

    Returns:
        Measures by the labels of `SIZES`.
    """
    iou = np.zeros(len(SIZES))
    counts = np.zeros((3, len(SIZES)), np.int64)
    for frame in frames:
        objects, predictions = frame.comparison.objects, frame.comparison.predictions
        own, predicted = _bucket(frame.objects_m), _bucket(frame.predictions_m)
        matched = is_match(objects)
        np.add.at(iou, own[matched], objects["iou"][matched])
        wrong = own[matched], predicted[is_error(predictions)], own[is_error(objects)]
        for row, buckets in zip(counts, wrong, strict=True):
            np.add.at(row, buckets, 1)
    return {
        label: SizeResult(ratio(float(iou[k]), tp + fp / 2 + fn / 2), tp, fp, fn)
        for k, (label, (tp, fp, fn)) in enumerate(zip(SIZES, counts.T.tolist(), strict=True))
    }


def _lengths(frame: Frame) -> NDArray[np.float64]:
    """Return the (T,) lengths of the boxes around the objects' points; 0 without points."""
    instance = np.where(frame.judged, frame.instance, 0)
    present = np.unique(instance[instance > 0])
    number = np.zeros(len(frame.classes) + 1, np.int32)
    number[present] = np.arange(1, len(present) + 1)
    lengths = np.zeros(len(frame.classes))
    lengths[present - 1] = oriented_boxes(frame.points, number[instance], len(present))[:, 3]
    return lengths


def _bucket(lengths_m: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.searchsorted(list(SIZES.values()), lengths_m, side="right") - 1
