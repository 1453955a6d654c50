"""Labels that a network gives to sweeps nobody labelled, void wherever it is in doubt."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bev_instseg.export import semantickitti_labels
from bev_instseg.structures import Segmentation

BACKGROUND = 99  # SemanticKITTI's "other-object": of no class, and not void


def self_labels(
    segmentation: Segmentation,
    class_labels: Sequence[int],
    sure: float,
    empty: float,
) -> NDArray[np.uint32]:
    """SemanticKITTI labels of a sweep of N points, from what a network said of it.

    Args:
        segmentation: what the network finds in the sweep.
        class_labels: SemanticKITTI class of each class.
        sure: an object of a lower score is void.
        empty: a point of no object is background where no seed map reaches this, else void.

    Returns:
        (N,) uint32 class in the low, instance in the high 16 bits; 0 is void.
    """
    instances, pillars = segmentation.instances, segmentation.pillars
    labels = semantickitti_labels(instances, class_labels)
    certain = np.concatenate([[True], instances.scores >= sure])
    labels[~certain[instances.labels]] = 0
    on_grid = pillars.point_to_pillar >= 0
    quiet = np.append(segmentation.embeddings.seed.max(axis=1, initial=0) < empty, False)
    labels[on_grid & quiet[pillars.point_to_pillar] & (instances.labels == 0)] = BACKGROUND
    return labels
