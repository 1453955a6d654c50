"""The learned centre of each object: the mean embedding of its points."""

import numpy as np
from numpy.typing import NDArray

from bev_instseg.structures import Segmentation


def learned_centres(segmentation: Segmentation) -> NDArray[np.float64]:
    """Return the learned centre of each instance (equation 8), weighted by its points.

    While an object comes into view, the centre of its box shifts; the learned centre shifts less.
    Unknown objects have no learned centre; the centre of the box is used instead.

    Args:
        segmentation: A segmented sweep with K instances.

    Returns:
        (K, 2) float64 x, y in the sensor frame, metres.
    """
    labels = segmentation.instances.labels
    member = np.flatnonzero(labels)
    embedding = segmentation.embeddings.centre_m[segmentation.pillars.point_to_pillar[member]]
    index, k = labels[member] - 1, len(segmentation.instances)
    count = np.bincount(index, minlength=k)
    sums = [np.bincount(index, embedding[:, axis], minlength=k) for axis in (0, 1)]
    centres: NDArray[np.float64] = np.column_stack(sums) / count[:, None]
    unknown = segmentation.instances.is_unknown
    centres[unknown] = segmentation.instances.boxes[unknown, :2]
    return centres
