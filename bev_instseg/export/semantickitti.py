"""Encode instances as the words of a SemanticKITTI ``.label`` file, which `write_result` writes."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bev_instseg.config import GROUND_LABEL
from bev_instseg.structures import Instances

MAX_UINT16 = 0xFFFF


def semantickitti_labels(
    instances: Instances, class_labels: Sequence[int], ids: Sequence[int] | None = None
) -> NDArray[np.uint32]:
    """Return each point's class in the low and instance 1..K in the high 16 bits; 0: no object.

    Points of ``instances.ground`` get `GROUND_LABEL` and instance 0.

    Args:
        instances: The objects of a sweep of N points.
        class_labels: SemanticKITTI class of each of ``instances.class_names``, in that order.
        ids: A 16-bit number for each instance, written instead of 1..K.

    Returns:
        (N,) uint32 in the order of the points.

    Raises:
        ValueError: There is not one class label per class, a class label does not fit in 16 bits,
            or there are more than 65535 instances.
    """
    if len(class_labels) != len(instances.class_names):
        raise ValueError(
            f"class_labels has {len(class_labels)} entries for the classes {instances.class_names}"
        )
    if not all(0 <= label <= MAX_UINT16 for label in class_labels):
        raise ValueError(f"class_labels must be in 0..{MAX_UINT16}, got {tuple(class_labels)}")
    if len(instances) > MAX_UINT16:
        raise ValueError(
            f"{len(instances)} instances, but a .label file holds at most {MAX_UINT16}; cut the "
            "map into parts"
        )
    words = np.zeros(len(instances) + 1, np.uint32)
    words[1:] = np.asarray(class_labels, np.uint32)[instances.classes]
    numbers = range(1, len(words)) if ids is None else ids
    words[1:] |= np.array(numbers, np.uint32) << np.uint32(16)
    of_point: NDArray[np.uint32] = words[instances.labels]
    if instances.ground is not None:
        of_point[instances.ground] = GROUND_LABEL
    return of_point
