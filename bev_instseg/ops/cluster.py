"""Bandwidth-aware clustering: greedy by seed, each seed with its own Gaussian."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bev_instseg.ops.compile import kernel
from bev_instseg.structures import Float32, Int32, PillarEmbeddings

MARGIN_SQUARED = 2 * np.log(2.0)  # squared Mahalanobis distance at which phi = 0.5


@dataclass(frozen=True, eq=False)
class Clusters:
    """Pillars grouped into instances.

    Attributes:
        labels: (P,) int32; 0 none, 1..K in the order in which instances were opened.
        classes: (K,) int32 class with the largest sum of seeds over the instance's pillars.
        scores: (K,) float32 mean seed of that class over the instance's pillars, 0..1.
    """

    labels: Int32
    classes: Int32
    scores: Float32


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
    best = embeddings.seed.max(axis=1)
    active = np.flatnonzero(best >= member_threshold)
    order = active[np.argsort(-best[active], kind="stable")]
    order = order[best[order] >= seed_threshold]
    centre = np.ascontiguousarray(embeddings.centre_m, np.float64)
    precision = np.ascontiguousarray(embeddings.precision, np.float64)
    labels, num = _claim(centre, precision, active, order, float(min_free))
    sums = np.zeros((num, embeddings.seed.shape[1]))
    own = labels > 0
    np.add.at(sums, labels[own] - 1, embeddings.seed[own].astype(np.float64))
    classes = sums.argmax(axis=1)
    scores = sums[np.arange(num), classes] / np.bincount(labels, minlength=num + 1)[1:]
    return Clusters(labels, classes.astype(np.int32), scores.astype(np.float32))


@kernel
def _claim(
    centre: NDArray, precision: NDArray, active: NDArray, order: NDArray, min_free: float
) -> tuple[Int32, int]:
    """Labels of the pillars and the number of instances; ``order`` are the seeds to try."""
    labels = np.zeros(len(centre), np.int32)
    unclaimed = np.empty(len(active), np.int64)
    num = 0
    for i in order:
        if labels[i] > 0:
            continue
        xx, xy, yy = precision[i]
        inside, count = 0, 0
        for j in active:
            dx, dy = centre[j, 0] - centre[i, 0], centre[j, 1] - centre[i, 1]
            if xx * dx * dx + 2 * xy * dx * dy + yy * dy * dy < MARGIN_SQUARED:
                inside += 1
                if labels[j] == 0:
                    unclaimed[count] = j
                    count += 1
        if count > 0 and count >= min_free * inside:
            num += 1
            for n in range(count):
                labels[unclaimed[n]] = num
    return labels, num
