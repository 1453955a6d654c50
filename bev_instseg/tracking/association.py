"""Match the instances of a sweep to tracks: the assignment of lowest cost within the gates."""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from bev_instseg.structures import Float64
from bev_instseg.tracking.kalman import squared_distance
from bev_instseg.tracking.state import State

Index = NDArray[np.intp]

GATE = 13.8  # squared Mahalanobis distance that 99.9 % of matches in a plane stay below
OTHER_CLASS = 4.0  # cost of a match between different classes
SIZE_FACTOR = 2.0  # if length and width both differ by this factor, it costs 1
MAX_SIZE_COST = 4.0  # boxes of parts of an object are small


def associate(
    state: State,
    centres_m: Float64,
    noise: Float64,
    sizes_m: Float64,
    classes: Index,
    unknown: int = -1,
) -> tuple[Index, Index]:
    """Match instances to predicted tracks.

    The cost of a match is the squared Mahalanobis distance of the centres, plus penalties for
    different sizes and classes; it must be below `GATE`. Unknown objects never match known ones,
    so they do not change the matches of known objects.

    Args:
        state: T tracks, predicted to the time of the sweep.
        centres_m: (D, 2) centres of the instances in the world.
        noise: (D, 2, 2) their covariances.
        sizes_m: (D, 2) length and width of their boxes.
        classes: (D,) their classes.
        unknown: The class of unknown objects; -1 if there are none.

    Returns:
        (M,) rows of the tracks and (M,) of the instances that match.
    """
    if not len(state) or not len(centres_m):
        return np.zeros(0, np.intp), np.zeros(0, np.intp)
    cost = squared_distance(state.mean, state.covariance, centres_m, noise)
    area = np.log2(np.maximum(state.size_m.prod(axis=1), 0.01))
    seen_area = np.log2(np.maximum(sizes_m.prod(axis=1), 0.01))
    doublings = (area[:, None] - seen_area) / 2 / np.log2(SIZE_FACTOR)
    cost += np.minimum(doublings**2, MAX_SIZE_COST)
    cost += OTHER_CLASS * (state.classes[:, None] != classes)
    cost[(state.classes == unknown)[:, None] != (classes == unknown)] = np.inf
    near = cost < GATE
    # Most tracks have one candidate, which has no other track: the solver only gets the rest.
    alone = near & (near.sum(axis=1) == 1)[:, None] & (near.sum(axis=0) == 1)
    tracks, found = np.nonzero(alone)
    rows = np.flatnonzero(near.any(axis=1) & ~alone.any(axis=1))
    columns = np.flatnonzero(near.any(axis=0) & ~alone.any(axis=0))
    contested = np.minimum(cost[np.ix_(rows, columns)], GATE)
    i, j = linear_sum_assignment(contested)
    matched = contested[i, j] < GATE
    tracks = np.concatenate([tracks, rows[i[matched]]])
    found = np.concatenate([found, columns[j[matched]]])
    return tracks, found
