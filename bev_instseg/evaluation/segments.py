"""Segments compared: the objects and the predictions of a frame, by the points they share."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# A segment compared with the segments of the other side: predictions for an object, objects for a
# prediction.
SEGMENT = np.dtype(
    [
        ("class", np.int32),
        ("score", np.float32),  # 1 for objects
        ("points", np.int64),  # judged points
        ("shared", np.int64),  # judged points that are on any segment of the other side
        ("centre_m", np.float64, 2),  # mean x, y of the judged points; NaN without any
        ("length_m", np.float64),  # of their box along the principal axis; NaN without any
        ("iou", np.float64),  # best IoU with a segment of the same class
        ("iou_other", np.float64),  # best IoU with a segment of a different class
        ("counted", np.bool_),
    ]
)
Segments = NDArray[np.void]  # of dtype `SEGMENT`


@dataclass(frozen=True, eq=False)
class Comparison:
    """The objects and predictions of one frame, compared with each other.

    Attributes:
        frame: Name of the frame.
        objects: (T,) array of `SEGMENT`, in the order of ``Frame.classes``.
        predictions: (P,) array of `SEGMENT`, in the order of ``Instances.classes``.
    """

    frame: str
    objects: Segments
    predictions: Segments


def overlap_table(
    truth: NDArray[np.integer], prediction: NDArray[np.integer], num_truth: int, num_pred: int
) -> NDArray[np.int64]:
    """Count the points that each pair of segments shares.

    Args:
        truth: (N,) object of each point, 1..T, 0 for none.
        prediction: (N,) prediction of each point, 1..P, 0 for none.
        num_truth: T, the number of objects.
        num_pred: P, the number of predictions.

    Returns:
        (T + 1, P + 1) int64 counts, which sum up to N.

    Raises:
        ValueError: The arrays differ in length or hold a number out of range.
    """
    for name, labels, count in (("truth", truth, num_truth), ("prediction", prediction, num_pred)):
        if len(labels) and not (labels.min() >= 0 and labels.max() <= count):
            raise ValueError(f"{name} must be in 0..{count}")
    pairs = truth.astype(np.int64) * (num_pred + 1) + prediction
    counts = np.bincount(pairs, minlength=(num_truth + 1) * (num_pred + 1))
    return counts.reshape(num_truth + 1, num_pred + 1)


def is_match(segments: Segments, iou_threshold: float = 0.5) -> NDArray[np.bool_]:
    """Return which segments have a match: objects that were found, or predictions that are TP.

    Args:
        segments: (K,) array of `SEGMENT`.
        iou_threshold: The IoU that a match must exceed.

    Returns:
        (K,) bool.
    """
    matched: NDArray[np.bool_] = segments["iou"] > iou_threshold
    return matched


def is_error(segments: Segments) -> NDArray[np.bool_]:
    """Return which of (K,) segments are counted but unmatched: FN among objects, FP otherwise."""
    unmatched: NDArray[np.bool_] = segments["counted"] & ~is_match(segments)
    return unmatched


def is_wrong_class(segments: Segments) -> NDArray[np.bool_]:
    """Return which of (K,) segments have an IoU above 0.5 with a segment of a different class."""
    wrong: NDArray[np.bool_] = segments["iou_other"] > 0.5
    return wrong


def is_background(segments: Segments) -> NDArray[np.bool_]:
    """Return which of (K,) segments share less than half of their points with the other side."""
    background: NDArray[np.bool_] = 2 * segments["shared"] < segments["points"]
    return background
