"""Which points of a sweep are on the ground."""

import numpy as np
from numpy.typing import NDArray

from bev_instseg.ops.kernel import kernel
from bev_instseg.ops.voxelize import FEATURES
from bev_instseg.structures import Int32, Pillars

GROUND_M = 0.25  # lower points are ground, as grass is
TALL_M = 0.5  # in a pillar that reaches higher than this, something stands on the ground:
FOOT_M = 0.1  # there only points lower than this are ground
HIGHEST = FEATURES.index("height_max_m")


def find_ground(pillars: Pillars, labels: Int32) -> NDArray[np.bool_]:
    """Return which points are on the ground.

    A point is on the ground if it is in no instance and lower than `GROUND_M` above the local
    ground, or lower than `FOOT_M` where its pillar reaches higher than `TALL_M`.

    Args:
        pillars: The pillars of N points.
        labels: (N,) int32 instance of each point, 0 for none.

    Returns:
        (N,) bool; False outside the grid.
    """
    is_tall = pillars.features[:, HIGHEST] > np.float32(TALL_M)
    limit_m = np.where(is_tall, np.float32(FOOT_M), np.float32(GROUND_M))
    ground: NDArray[np.bool_] = _find_ground(
        pillars.point_to_pillar, pillars.point_height_m, labels, limit_m
    )
    return ground


@kernel
def _find_ground(point_to_pillar, height, labels, limit):  # type: ignore[no-untyped-def]
    ground = np.zeros(len(labels), np.bool_)
    for i in range(len(labels)):
        p = point_to_pillar[i]
        if p >= 0:
            ground[i] = (labels[i] == 0) & (height[i] < limit[p])
    return ground
