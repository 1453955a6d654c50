"""Clustering with a learned bandwidth: greedy by seed, each seed with its own Gaussian.

Eq. numbers: D. Neven et al., Instance Segmentation by Jointly Optimizing Spatial Embeddings and
Clustering Bandwidth, CVPR 2019.
"""

import math

import numpy as np

from bev_instseg.ops.kernel import kernel
from bev_instseg.structures import Clusters, PillarEmbeddings

MARGIN_SQUARED = 2 * math.log(2)  # eq. 6: squared Mahalanobis distance at which phi = 0.5
BUCKET_M = 1.0  # about half the size of an object
MAX_BUCKETS = 256  # along x and along y; the outermost hold everything beyond


def cluster(
    embeddings: PillarEmbeddings, seed_threshold: float, member_threshold: float, min_free: float
) -> Clusters:
    """Group pillars into instances.

    A pillar's seed is the largest of its C seed maps. Pillars with a seed below
    ``member_threshold`` are ignored. In descending order of seed (ascending pillar number on ties)
    each unclaimed pillar i with a seed of at least ``seed_threshold`` considers the pillars j
    inside its margin, phi_i(e_j) > 0.5. If at least a share ``min_free`` of them is unclaimed, it
    opens an instance and claims those; otherwise it is skipped. A claimed pillar is never claimed
    again, and the number of instances is not limited.

    Membership is eq. 5, and eq. 7 for an elliptical bandwidth, with a full precision matrix W:
    phi_i(e_j) = exp(-1/2 d^T W_i d) with d = e_j - e_i. phi > 0.5, the margin of eq. 6, is tested
    as d^T W_i d < 2 ln 2.

    A pillar with a NaN seed is ignored; one with a NaN or infinite centre is never in an instance,
    and one with a NaN precision never opens one. Distances and sums are computed in float64, sums
    in the order of the pillars; thresholds apply to the float32 seeds.

    Args:
        embeddings: Embeddings of P pillars.
        seed_threshold: Smallest seed that opens an instance, 0..1.
        member_threshold: Smallest seed of a member, 0..1.
        min_free: Smallest unclaimed share of the pillars inside the margin, 0..1.

    Returns:
        The instance of each pillar, in the order in which instances were opened.
    """
    centre = np.ascontiguousarray(embeddings.centre_m)
    precision = np.ascontiguousarray(embeddings.precision)
    seed = np.ascontiguousarray(embeddings.seed)
    thresholds = np.float32(member_threshold), np.float32(seed_threshold)
    active, openers, best = _select_pillars(seed, *thresholds)
    order = openers[np.argsort(-best, kind="stable")]
    buckets = _sort_into_buckets(centre, active)
    labels, opened_by = _claim(centre, precision, active, order, float(min_free), *buckets)
    classes, scores = _classify(seed, active, labels, len(opened_by))
    return Clusters(labels, classes, scores, opened_by)


@kernel
def _select_pillars(seed, member_threshold, seed_threshold):  # type: ignore[no-untyped-def]
    """Return the pillars that may join an instance, those that may open one, and their seeds."""
    active, openers = np.empty(len(seed), np.int64), np.empty(len(seed), np.int64)
    best = np.empty(len(seed), np.float32)
    num_active, num_openers = 0, 0
    for i in range(len(seed)):
        top = np.float32(-np.inf)
        for value in seed[i]:
            top = value if value > top or np.isnan(value) else top
            if np.isnan(top):
                break
        if top >= member_threshold:
            active[num_active] = i
            num_active += 1
            if top >= seed_threshold:
                openers[num_openers] = i
                best[num_openers] = top
                num_openers += 1
    return active[:num_active].copy(), openers[:num_openers].copy(), best[:num_openers].copy()


@kernel
def _sort_into_buckets(centre, active):  # type: ignore[no-untyped-def]
    """Sort the pillars with finite centres into square buckets.

    Returns:
        Pillars bucket by bucket and row by row; (nx * ny + 1,) position of each bucket's first
        pillar; (2,) lower corner of the first bucket; (2,) nx, ny.
    """
    low, high = np.full(2, np.inf), np.full(2, -np.inf)
    for i in active:
        if np.isfinite(centre[i, 0]) and np.isfinite(centre[i, 1]):
            for axis in range(2):
                low[axis] = min(low[axis], centre[i, axis])
                high[axis] = max(high[axis], centre[i, axis])
    shape = np.ones(2, np.int64)
    for axis in range(2):
        if low[axis] <= high[axis]:
            shape[axis] = int(min((high[axis] - low[axis]) // BUCKET_M + 1, MAX_BUCKETS))
    start = np.zeros(shape[0] * shape[1] + 1, np.int64)
    at = np.full(len(active), -1, np.int64)
    for n in range(len(active)):
        x, y = centre[active[n], 0], centre[active[n], 1]
        if np.isfinite(x) and np.isfinite(y):
            column = _bucket_index(np.float64(x), low[0], shape[0])
            at[n] = column * shape[1] + _bucket_index(np.float64(y), low[1], shape[1])
            start[at[n] + 1] += 1
    for b in range(shape[0] * shape[1]):
        start[b + 1] += start[b]
    fill = start[:-1].copy()
    members = np.empty(start[-1], np.int64)
    for n in range(len(active)):
        if at[n] >= 0:
            members[fill[at[n]]] = active[n]
            fill[at[n]] += 1
    return members, start, low, shape


@kernel
def _bucket_index(value, low, count):  # type: ignore[no-untyped-def]
    """Return the number of the bucket along an axis; it is monotonic in the value."""
    return int(min(max((value - low) / BUCKET_M, 0.0), count - 1.0))


@kernel
def _claim(  # type: ignore[no-untyped-def]
    centre, precision, active, order, min_free, members, start, corner, shape
):
    """Return the labels of the pillars and the opener of each instance; try seeds in ``order``.

    Only buckets that overlap the margin's bounding box are searched: with precision W its half
    width along x is sqrt(2 ln 2 yy / det W). No member is missed: where det W > 1e-6 xx yy,
    rounding moves the squared distance by less than 1e-8 of itself, and the box is enlarged by more
    than that; sums, differences and `_bucket_index` are monotonic, so rounding moves no centre
    out of the buckets of the box that holds it.
    """
    labels = np.zeros(len(centre), np.int32)
    unclaimed = np.empty(len(active), np.int64)
    openers = np.empty(len(order), np.int32)
    num = 0
    for i in order:
        x, y = np.float64(centre[i, 0]), np.float64(centre[i, 1])
        if labels[i] > 0 or not (np.isfinite(x) and np.isfinite(y)):
            continue
        xx, xy, yy = (
            np.float64(precision[i, 0]),
            np.float64(precision[i, 1]),
            np.float64(precision[i, 2]),
        )
        x_first, x_last, y_first, y_last = 0, shape[0] - 1, 0, shape[1] - 1
        det = xx * yy - xy * xy
        if xx > 0 and det > 1e-6 * xx * yy:  # else too thin an ellipse: search all buckets
            half_x = 1.000001 * np.sqrt(MARGIN_SQUARED * yy / det)
            half_y = 1.000001 * np.sqrt(MARGIN_SQUARED * xx / det)
            x_first, x_last = (
                _bucket_index(x - half_x, corner[0], shape[0]),
                _bucket_index(x + half_x, corner[0], shape[0]),
            )
            y_first, y_last = (
                _bucket_index(y - half_y, corner[1], shape[1]),
                _bucket_index(y + half_y, corner[1], shape[1]),
            )
        inside, count = 0, 0
        for column in range(x_first, x_last + 1):
            row = column * shape[1]
            for m in range(start[row + y_first], start[row + y_last + 1]):
                j = members[m]
                dx, dy = np.float64(centre[j, 0]) - x, np.float64(centre[j, 1]) - y
                if xx * dx * dx + 2 * xy * dx * dy + yy * dy * dy < MARGIN_SQUARED:
                    inside += 1
                    if labels[j] == 0:
                        unclaimed[count] = j
                        count += 1
        if count > 0 and count >= min_free * inside:
            openers[num] = i
            num += 1
            for n in range(count):
                labels[unclaimed[n]] = num
    return labels, openers[:num].copy()


@kernel
def _classify(seed, active, labels, num):  # type: ignore[no-untyped-def]
    """Return each instance's class, with the largest sum of seeds (ties: the lower), and score."""
    sums = np.zeros((num, seed.shape[1]))
    size = np.zeros(num, np.int64)
    for i in active:
        if labels[i] > 0:
            size[labels[i] - 1] += 1
            for c in range(seed.shape[1]):
                sums[labels[i] - 1, c] += seed[i, c]
    classes, scores = np.zeros(num, np.int32), np.zeros(num, np.float32)
    for k in range(num):
        for c in range(1, seed.shape[1]):
            if sums[k, c] > sums[k, classes[k]]:
                classes[k] = c
        scores[k] = sums[k, classes[k]] / size[k]
    return classes, scores
