"""Joining the pieces of long objects, such as lines, which the network never sees whole."""

import numpy as np
from numpy.typing import NDArray

from bev_instseg.ops.kernel import kernel
from bev_instseg.structures import Clusters, Float32, PillarEmbeddings

MAX_GAP_M = 15.0  # from one piece to the next: between two dashes, or behind a parked car
MAX_ASIDE_M = 0.8  # of the next piece's near end from the line through this piece,
ASIDE_PER_M = 0.05  # and this much more for each metre of the gap
MAX_BESIDE_M = 0.35  # of a piece beside this one: farther away it is a parallel line
MIN_COSINE = np.cos(0.2)  # of the angle between the directions of two pieces, radians


def join_pieces(
    clusters: Clusters,
    embeddings: PillarEmbeddings,
    xy_m: Float32,
    in_pieces: NDArray[np.bool_],
) -> Clusters:
    """Join clusters that are pieces of one long object.

    The direction of a piece is the long axis of the margin that opened it. Two pieces of a class
    belong together if their directions agree, the near end of each lies on the line through the
    other, and the gap between them is short. All pieces linked by such pairs are one object.

    Args:
        clusters: K clusters of P pillars.
        embeddings: The embeddings that were clustered.
        xy_m: (P, 2) float32 centres of the pillars, metres.
        in_pieces: (C,) bool, the classes whose objects come in pieces.

    Returns:
        The objects, in the order of their first pieces. A joined object has the mean score of its
        pieces, weighted by their pillars, and the opener of the first.
    """
    from scipy.sparse.csgraph import connected_components  # not needed for classes without pieces

    pieces = np.flatnonzero(in_pieces[clusters.classes])
    if len(pieces) < 2:
        return clusters
    row_of = np.full(len(clusters.classes) + 1, -1, np.int32)
    row_of[pieces + 1] = np.arange(len(pieces))
    along = _directions(embeddings.precision[clusters.openers[pieces]].astype(np.float64))
    middle, half_m = _extent(row_of[clusters.labels], xy_m, along)
    linked = np.eye(len(clusters.classes), dtype=bool)
    linked[np.ix_(pieces, pieces)] |= _links(along, middle, half_m, clusters.classes[pieces])
    group = connected_components(linked, directed=False)[1]  # numbered in order of appearance
    first = np.unique(group, return_index=True)[1]
    size = np.bincount(clusters.labels, minlength=len(group) + 1)[1:].astype(np.float64)
    scores = np.bincount(group, size * clusters.scores) / np.bincount(group, size)
    labels = np.append(0, group + 1)[clusters.labels].astype(np.int32)
    return Clusters(
        labels, clusters.classes[first], scores.astype(np.float32), clusters.openers[first]
    )


@kernel
def _directions(precision):  # type: ignore[no-untyped-def]
    """Return (K', 2) the direction in which each piece's precision is lowest, a unit vector.

    The angle of the highest precision is half that of the vector (xx - yy, 2 xy). Half-angle
    formulas need square roots only, which every library rounds in the same way.
    """
    along = np.empty((len(precision), 2))
    for k in range(len(precision)):
        xx, xy, yy = precision[k]
        size = np.sqrt((xx - yy) * (xx - yy) + 4 * xy * xy)
        cosine = (xx - yy) / size if size > 0 else 1.0
        along[k, 0] = -np.sqrt(max(1 - cosine, 0.0) / 2)
        along[k, 1] = np.sqrt(max(1 + cosine, 0.0) / 2)
        if xy < 0:
            along[k, 0] = -along[k, 0]
    return along


@kernel
def _extent(row, xy, along):  # type: ignore[no-untyped-def]
    """Return the (K', 2) middle and the (K',) half length of each piece along its direction.

    Args:
        row: (P,) int32 the piece of each pillar, -1 for none.
        xy: (P, 2) float32 centres of the pillars, metres.
        along: (K', 2) directions of the pieces.
    """
    mean, size = np.zeros(along.shape), np.zeros(len(along))
    for p in range(len(row)):
        if row[p] >= 0:
            mean[row[p], 0] += xy[p, 0]
            mean[row[p], 1] += xy[p, 1]
            size[row[p]] += 1
    for k in range(len(along)):
        mean[k, 0] /= size[k]
        mean[k, 1] /= size[k]
    low, high = np.full(len(along), np.inf), np.full(len(along), -np.inf)
    for p in range(len(row)):
        k = row[p]
        if k >= 0:
            reach = (xy[p, 0] - mean[k, 0]) * along[k, 0] + (xy[p, 1] - mean[k, 1]) * along[k, 1]
            low[k], high[k] = min(low[k], reach), max(high[k], reach)
    for k in range(len(along)):
        mean[k, 0] += along[k, 0] * ((low[k] + high[k]) / 2)
        mean[k, 1] += along[k, 1] * ((low[k] + high[k]) / 2)
    return mean, (high - low) / 2


@kernel
def _links(along, middle, half, kind):  # type: ignore[no-untyped-def]
    """Return (K', K') bool: which two of the pieces belong together."""
    linked = np.zeros((len(along), len(along)), np.bool_)
    for i in range(len(along)):
        for j in range(i):
            if kind[i] != kind[j]:
                continue
            cosine = along[i, 0] * along[j, 0] + along[i, 1] * along[j, 1]
            if not abs(cosine) > MIN_COSINE:  # also true for NaN
                continue
            gap_i, aside_i = _gap(middle[j] - middle[i], along[i], along[j], half[i], half[j])
            gap_j, aside_j = _gap(middle[i] - middle[j], along[j], along[i], half[j], half[i])
            limit = min(_limit(gap_i), _limit(gap_j))
            if max(gap_i, gap_j) < MAX_GAP_M and max(aside_i, aside_j) < limit:
                linked[i, j] = linked[j, i] = True
    return linked


@kernel
def _gap(apart, along, other, half, other_half):  # type: ignore[no-untyped-def]
    """Return how far another piece begins ahead of this one, and how far aside its near end is.

    Args:
        apart: (2,) from the middle of this piece to that of the other.
        along: (2,) direction of this piece.
        other: (2,) direction of the other.
        half: Half length of this piece.
        other_half: Half length of the other.
    """
    cosine = along[0] * other[0] + along[1] * other[1]
    ahead = apart[0] * along[0] + apart[1] * along[1]
    gap = abs(ahead) - half - other_half * abs(cosine)
    back = -other_half if apart[0] * other[0] + apart[1] * other[1] > 0 else other_half
    x, y = apart[0] + back * other[0], apart[1] + back * other[1]
    return gap, abs(x * along[1] - y * along[0])


@kernel
def _limit(gap):  # type: ignore[no-untyped-def]
    return MAX_BESIDE_M if gap < 0 else MAX_ASIDE_M + ASIDE_PER_M * gap
