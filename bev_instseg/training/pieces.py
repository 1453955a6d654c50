"""Cut long objects into short pieces: the network cannot see far enough to find their middle."""

import dataclasses

import numpy as np
from numpy.typing import NDArray

from bev_instseg.structures import Float32
from bev_instseg.training.targets import PillarTargets

SHORTEST = 0.3  # a remainder shorter than this share of a piece joins its neighbour


def cut_into_pieces(
    targets: PillarTargets, xy_m: Float32, piece_m: NDArray[np.float64], rng: np.random.Generator
) -> PillarTargets:
    """Cut objects into pieces of their class's length, across their longest axis.

    The position of an object's first cut is random, because no place along it is special. An object
    is never cut if it is shorter than 2 * `SHORTEST` of a piece.

    Args:
        targets: Truth of P pillars.
        xy_m: (P, 2) float32 centres of the pillars, metres.
        piece_m: (C,) length of a piece of each class, metres; 0 leaves objects whole.
        rng: Draws the cuts.

    Returns:
        The truth with the first piece of an object in its place and the others after all objects;
        centres of pieces are the means of their pillars.
    """
    instance = targets.instance.copy()
    classes, centres_m = [targets.classes], [targets.centres_m.copy()]
    count = len(targets.classes)
    for k in np.flatnonzero(piece_m[targets.classes] > 0) + 1:
        members = np.flatnonzero(targets.instance == k)
        piece = _pieces(xy_m[members].astype(np.float64), piece_m[targets.classes[k - 1]], rng)
        num_new = int(piece.max(initial=0))
        if num_new == 0:
            continue
        instance[members] = np.where(piece == 0, k, count + piece)
        sizes = np.bincount(piece)[:, None]
        means = np.stack([np.bincount(piece, axis) for axis in xy_m[members].T], 1) / sizes
        centres_m[0][k - 1] = means[0]
        centres_m.append(means[1:].astype(np.float32))
        classes.append(np.full(num_new, targets.classes[k - 1], np.int32))
        count += num_new
    return dataclasses.replace(
        targets,
        instance=instance,
        classes=np.concatenate(classes),
        centres_m=np.concatenate(centres_m),
    )


def _pieces(
    xy_m: NDArray[np.float64], length_m: float, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return (M,) the piece of each of M places, 0, 1, ... without gaps."""
    if not len(xy_m):
        return np.zeros(0, np.int64)
    apart = xy_m - xy_m.mean(axis=0)
    along = apart @ np.linalg.svd(apart, full_matrices=False)[2][0]
    along = (along - along.min()) / length_m
    first_cut = rng.uniform(SHORTEST, 1 + SHORTEST)
    num_cuts = max(np.floor(along.max() - SHORTEST - first_cut) + 1, 0)
    passed = np.clip(np.floor(along - first_cut) + 1, 0, num_cuts)  # cuts before each place
    pieces: NDArray[np.int64] = np.unique(passed, return_inverse=True)[1].astype(np.int64)
    return pieces
