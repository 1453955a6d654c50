"""Joining the pieces of long objects, such as lines, which the network never sees whole."""

import numpy as np
from numpy.typing import NDArray

from bev_instseg.structures import Clusters, Float32, PillarEmbeddings

MAX_GAP_M = 15.0  # from one piece to the next: between two dashes, or behind a parked car
MAX_ASIDE_M = 0.8  # of the next piece's near end from the line through this piece;
MAX_BESIDE_M = 0.35  # of a piece beside this one: farther away it is a parallel line
ASIDE_PER_M = 0.05  # so much more for each metre of the gap
MAX_TURN_RAD = 0.2  # between the directions of two pieces


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
    linked = np.eye(len(clusters.classes), dtype=bool)
    linked[np.ix_(pieces, pieces)] |= _continue_each_other(clusters, embeddings, xy_m, pieces)
    group = connected_components(linked, directed=False)[1]  # numbered in order of appearance
    first = np.unique(group, return_index=True)[1]
    size = np.bincount(clusters.labels, minlength=len(group) + 1)[1:].astype(np.float64)
    scores = np.bincount(group, size * clusters.scores) / np.bincount(group, size)
    labels = np.append(0, group + 1)[clusters.labels].astype(np.int32)
    return Clusters(
        labels, clusters.classes[first], scores.astype(np.float32), clusters.openers[first]
    )


def _continue_each_other(
    clusters: Clusters,
    embeddings: PillarEmbeddings,
    xy_m: Float32,
    pieces: NDArray[np.intp],
) -> NDArray[np.bool_]:
    """Return (K', K') bool: which two of the pieces belong together."""
    xx, xy, yy = embeddings.precision[clusters.openers[pieces]].astype(np.float64).T
    narrow = np.arctan2(2 * xy, xx - yy) / 2  # direction in which the precision is highest
    along = np.column_stack([-np.sin(narrow), np.cos(narrow)])
    middle, half_m = _extent(clusters.labels, xy_m, pieces, along)

    apart = middle[None] - middle[:, None]  # from piece i (row) to piece j (column)
    cosine = along @ along.T
    ahead = np.einsum("ijk,ik->ij", apart, along)
    gap = np.abs(ahead) - half_m[:, None] - half_m * np.abs(cosine)
    towards = np.where(np.einsum("ijk,jk->ij", apart, along) > 0, -1, 1)
    near_end = apart + (towards * half_m)[..., None] * along[None]
    aside = np.abs(near_end[..., 0] * along[:, None, 1] - near_end[..., 1] * along[:, None, 0])
    found = (np.maximum(gap, gap.T) < MAX_GAP_M) & (np.abs(cosine) > np.cos(MAX_TURN_RAD))
    limit = np.where(gap < 0, MAX_BESIDE_M, MAX_ASIDE_M + ASIDE_PER_M * gap)
    found &= np.maximum(aside, aside.T) < limit
    kind = clusters.classes[pieces]
    result: NDArray[np.bool_] = found & found.T & (kind[:, None] == kind)
    return result


def _extent(
    labels: NDArray[np.int32],
    xy_m: Float32,
    pieces: NDArray[np.intp],
    along: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the (K', 2) middle and the (K',) half length of each piece, metres."""
    row_of = np.full(labels.max() + 1, -1)
    row_of[pieces + 1] = np.arange(len(pieces))
    row, members = row_of[labels], xy_m.astype(np.float64)
    members, row = members[row >= 0], row[row >= 0]
    size = np.bincount(row, minlength=len(pieces))[:, None]
    mean = np.stack([np.bincount(row, axis, len(pieces)) for axis in members.T], 1) / size
    reach = np.einsum("nk,nk->n", members - mean[row], along[row])
    low, high = np.full(len(pieces), np.inf), np.full(len(pieces), -np.inf)
    np.minimum.at(low, row, reach)
    np.maximum.at(high, row, reach)
    return mean + along * ((low + high) / 2)[:, None], (high - low) / 2
