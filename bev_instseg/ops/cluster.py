"""Bandwidth-aware clustering: greedy by seed, each seed with its own Gaussian."""

import math

import numpy as np

from bev_instseg.ops.kernel import kernel
from bev_instseg.structures import Clusters, PillarEmbeddings

MARGIN_SQUARED = 2 * math.log(2)  # squared Mahalanobis distance at which phi = 0.5
BUCKET_M = 1.0  # about the half size of an object
MAX_BUCKETS = 256  # along x and along y; what lies beyond is in the outermost


def cluster(
    embeddings: PillarEmbeddings, seed_threshold: float, member_threshold: float, min_free: float
) -> Clusters:
    """Group pillars into instances.

    A pillar's seed is the largest of its C seed maps. Only pillars with a seed of at least
    ``member_threshold`` take part. In falling order of seed (the lower pillar number first where
    equal), each unclaimed pillar i of at least ``seed_threshold`` looks at the pillars j inside
    its margin, phi_i(e_j) > 0.5, that is ``d^T W_i d < 2 ln 2`` with d = e_j - e_i. If at least
    ``min_free`` of them are unclaimed it opens an instance and claims those; else it is passed
    over. A claimed pillar is never claimed again, and there is no limit on the instances.

    A pillar with a NaN among its seeds takes no part; one with a NaN or infinite centre joins no
    instance, and neither it nor one with a NaN precision opens one. Distances and sums are
    computed in float64, sums in the order of the pillars; thresholds apply to the float32 seeds.

    Args:
        embeddings: of P pillars.
        seed_threshold, member_threshold, min_free: in 0..1.
    """
    centre = np.ascontiguousarray(embeddings.centre_m)
    precision = np.ascontiguousarray(embeddings.precision)
    seed = np.ascontiguousarray(embeddings.seed)
    thresholds = np.float32(member_threshold), np.float32(seed_threshold)
    active, openers, best = _take_part(seed, *thresholds)
    order = openers[np.argsort(-best, kind="stable")]
    buckets = _bucket(centre, active)
    labels, opened_by = _claim(centre, precision, active, order, float(min_free), *buckets)
    classes, scores = _classify(seed, active, labels, len(opened_by))
    return Clusters(labels, classes, scores, opened_by)


@kernel
def _take_part(seed, member_threshold, seed_threshold):  # type: ignore[no-untyped-def]
    """Pillars that may join, those that may open, and the seeds of the latter."""
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
def _bucket(centre, active):  # type: ignore[no-untyped-def]
    """Pillars with finite centres sorted into square buckets.

    Returns:
        members: pillars, one bucket after the other, row by row.
        start: (nx * ny + 1,) where each bucket begins in ``members``.
        corner: (2,) lower corner of the first bucket.
        shape: (2,) nx, ny.
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
            column = _along(np.float64(x), low[0], shape[0])
            at[n] = column * shape[1] + _along(np.float64(y), low[1], shape[1])
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
def _along(value, low, count):  # type: ignore[no-untyped-def]
    """Number of the bucket along an axis: never falls where the value rises."""
    return int(min(max((value - low) / BUCKET_M, 0.0), count - 1.0))


@kernel
def _claim(  # type: ignore[no-untyped-def]
    centre, precision, active, order, min_free, members, start, corner, shape
):
    """Labels of the pillars and the opener of each instance; ``order`` are the seeds to try.

    Only the buckets that the margin's bounding box touches are looked at: with precision W its half
    width along x is sqrt(2 ln 2 yy / det W). Nothing inside is missed. Where det W > 1e-6 xx yy,
    rounding moves the squared distance by less than 1e-8 of it, far less than the box is larger
    than need be; sums, differences and `_along` never fall where their arguments rise, so rounding
    moves no centre out of the buckets of the box that holds it.
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
        if xx > 0 and det > 1e-6 * xx * yy:  # an ellipse, and no needle that rounding would bend
            half_x = 1.000001 * np.sqrt(MARGIN_SQUARED * yy / det)
            half_y = 1.000001 * np.sqrt(MARGIN_SQUARED * xx / det)
            x_first, x_last = (
                _along(x - half_x, corner[0], shape[0]),
                _along(x + half_x, corner[0], shape[0]),
            )
            y_first, y_last = (
                _along(y - half_y, corner[1], shape[1]),
                _along(y + half_y, corner[1], shape[1]),
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
    """Class and score of each instance: the largest sum of seeds, the lower class where equal."""
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
