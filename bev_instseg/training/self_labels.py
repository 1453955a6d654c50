"""Labels that a network gives to unlabelled sweeps, void wherever it is in doubt."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bev_instseg.config import Config
from bev_instseg.export import semantickitti_labels
from bev_instseg.structures import Segmentation

BACKGROUND = 99  # SemanticKITTI's "other-object": neither one of our classes nor void


def require_trainable_labels(config: Config, path: str) -> None:
    """Refuse classes whose numbers would not mean the same in training.

    Args:
        config: Names the classes and the numbers that are void.
        path: Where it is from, for messages.

    Raises:
        ValueError: The number of a class is not one of those that it is learned from, or is that of
            background, or is void.
    """
    for kind in config.classes:
        if kind.label == BACKGROUND or BACKGROUND in kind.semantickitti:
            reason = f"uses {BACKGROUND}, which stands for background here; choose another number"
        elif kind.label not in kind.semantickitti:
            reason = f"has label {kind.label}, but is not learned from it; add it to semantickitti"
        elif kind.label in config.data.void_semantickitti:
            reason = f"has label {kind.label}, which void_semantickitti makes void; remove it there"
        else:
            continue
        raise ValueError(f"{path}: class {kind.name!r} {reason} with --config")


def self_labels(
    segmentation: Segmentation,
    class_labels: Sequence[int],
    min_score: float,
    max_background_seed: float,
) -> NDArray[np.uint32]:
    """Turn the segmentation of a sweep of N points into SemanticKITTI labels to train on.

    Args:
        segmentation: What the network found in the sweep.
        class_labels: SemanticKITTI's number of each class.
        min_score: An object with a lower score is void.
        max_background_seed: A point of no object is background if every seed map is below this at
            its pillar, and void otherwise.

    Returns:
        (N,) uint32 class in the low, instance in the high 16 bits; 0 is void.
    """
    instances, pillars = segmentation.instances, segmentation.pillars
    labels = semantickitti_labels(instances, class_labels)
    confident = np.concatenate([[True], instances.scores >= min_score])
    labels[~confident[instances.labels]] = 0
    on_grid = pillars.point_to_pillar >= 0
    highest_seed = segmentation.embeddings.seed.max(axis=1, initial=0)
    empty = np.append(
        highest_seed < max_background_seed, False
    )  # one more, for points off the grid
    labels[on_grid & empty[pillars.point_to_pillar] & (instances.labels == 0)] = BACKGROUND
    return labels
