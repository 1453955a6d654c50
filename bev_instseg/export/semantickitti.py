"""Instances -> the words of a SemanticKITTI ``.label`` file."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bev_instseg.structures import Instances

MAX_16_BITS = 0xFFFF


def semantickitti_labels(instances: Instances, class_labels: Sequence[int]) -> NDArray[np.uint32]:
    """Class in the low, instance 1..K in the high 16 bits of each point; 0 for no object.

    Args:
        instances: the objects of a sweep of N points.
        class_labels: SemanticKITTI class of each of ``instances.class_names``, in that order.

    Returns:
        (N,) uint32, in the order of the points.

    Raises:
        ValueError: if the class labels are not one per class or do not fit 16 bits, or if there
            are more than 65535 instances.
    """
    if len(class_labels) != len(instances.class_names):
        raise ValueError(
            f"class_labels has {len(class_labels)} numbers for the classes {instances.class_names}"
        )
    if not all(0 <= label <= MAX_16_BITS for label in class_labels):
        raise ValueError(f"class_labels must lie in 0..{MAX_16_BITS}, got {tuple(class_labels)}")
    if len(instances) > MAX_16_BITS:
        raise ValueError(f"{len(instances)} instances; a .label file holds {MAX_16_BITS}")
    words = np.zeros(len(instances) + 1, np.uint32)
    words[1:] = np.asarray(class_labels, np.uint32)[instances.classes]
    words |= np.arange(len(words), dtype=np.uint32) << np.uint32(16)
    return words[instances.labels]
