"""Quality by the length of the objects, whatever their class."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bev_instseg.evaluation.buckets import Buckets, Quality, quality_by_bucket
from bev_instseg.evaluation.segments import Comparison
from bev_instseg.ops.boxes import oriented_boxes
from bev_instseg.structures import Frame, Instances

# Label and shortest length in metres of the visible part of an object; the last has no limit.
SIZES: Buckets = {
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


def quality_by_size(frames: Sequence[SizedComparison]) -> dict[str, Quality]:
    """Compute the quality of each size over all frames and classes.

    Args:
        frames: The compared frames, at least one.

    Returns:
        Measures by the labels of `SIZES`.
    """
    objects = np.concatenate([frame.comparison.objects for frame in frames])
    predictions = np.concatenate([frame.comparison.predictions for frame in frames])
    objects_m = np.concatenate([frame.objects_m for frame in frames])
    predictions_m = np.concatenate([frame.predictions_m for frame in frames])
    return quality_by_bucket((objects, predictions), (objects_m, predictions_m), SIZES)


def _lengths(frame: Frame) -> NDArray[np.float64]:
    """Return the (T,) lengths of the boxes around the objects' points; 0 without points."""
    instance = np.where(frame.judged, frame.instance, 0)
    present = np.unique(instance[instance > 0])
    number = np.zeros(len(frame.classes) + 1, np.int32)
    number[present] = np.arange(1, len(present) + 1)
    lengths = np.zeros(len(frame.classes))
    lengths[present - 1] = oriented_boxes(frame.points, number[instance], len(present))[:, 3]
    return lengths
