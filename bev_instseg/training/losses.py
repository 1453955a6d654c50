"""The training objective: the equations of Neven et al. (CVPR 2019), on occupied pillars.

========== ================================================= ===================
Equation   Content                                           Where
========== ================================================= ===================
1          regression to the object's centre                 `regression_loss`
2, 3       hinge with a fixed margin                         `hinge_loss`
4, 5       phi, a pillar's membership in an object           `membership`
-          Lovasz hinge: phi > 0.5 for members only          `lovasz_hinge`
6          the margin, where phi is 0.5                      `heads.margin_m`
7          phi with a bandwidth per axis                     `membership`
8          centre of an object                               `object_centres`
9          bandwidth of an object                            `object_precision`
10         smoothness of the bandwidth within an object      `smoothness_loss`
11         seed maps                                         `seed_loss`
========== ================================================= ===================

`batch_losses` puts them together. Every loss is a mean over the objects or judged pillars of a
frame, then over frames, so that a batch split over processes gives the same numbers. Pillars that
are not judged have no effect. All frames of a batch are computed at once, since a GPU would
otherwise wait for the hundred small operations of each frame; it waits only for the number of pairs
of an object and a pillar near it.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from bev_instseg.config import LossConfig
from bev_instseg.models.heads import Embeddings, precision_matrix
from bev_instseg.training.batch_targets import BatchTargets

LOSSES = ("loss", "instance", "smoothness", "seed")  # what `batch_losses` returns, the total first
NEGLIGIBLE_PHI = 1e-6  # below it, a pillar outside an object has no effect on the object's loss
SEMANTIC = "semantic"  # name of `semantic_loss` among the losses


def regression_loss(
    centre_m: Tensor, object_centre_m: Tensor, owner: Tensor, weight: Tensor | None = None
) -> Tensor:
    """Return eq. 1: distance of embeddings from their object's centre, mean over objects, metres.

    Args:
        centre_m: (M, 2) embeddings e_i of the pillars on objects.
        object_centre_m: (K, 2) centres C_k.
        owner: (M,) int64 object of each pillar, 0..K-1.
        weight: (K,) weight of each object; None weighs them equally.
    """
    return hinge_loss(centre_m, object_centre_m, owner, 0.0, weight)


def hinge_loss(
    centre_m: Tensor,
    object_centre_m: Tensor,
    owner: Tensor,
    delta_m: float,
    weight: Tensor | None = None,
) -> Tensor:
    """Return eq. 2: as eq. 1, but only the distance beyond the fixed margin of eq. 3, metres.

    Args:
        centre_m: (M, 2) embeddings e_i of the pillars on objects.
        object_centre_m: (K, 2) centres C_k.
        owner: (M,) int64 object of each pillar, 0..K-1.
        delta_m: The margin delta, metres.
        weight: (K,) weight of each object; None weighs them equally.
    """
    distance = (centre_m - object_centre_m[owner]).norm(dim=1, keepdim=True)
    excess = (distance - delta_m).clamp_min(0)
    return _weighted_mean(mean_per_object(excess, owner, len(object_centre_m))[:, 0], weight)


def lovasz_hinge(
    logits: Tensor,
    truth: Tensor,
    owner: Tensor,
    num_objects: int,
    weight: Tensor | None = None,
) -> Tensor:
    """Return the Lovasz hinge (Berman et al., CVPR 2018), a convex surrogate of 1 - IoU.

    With the logits 2 phi - 1 it trains the members of each object, and no other pillars, to fulfil
    phi > 0.5 (eq. 4 and 5). A pair of an object and a pillar outside it has no effect if its
    logit is -1 or less, and may be left out.

    Args:
        logits: (N,) scores of pairs of an object and a pillar; positive means member.
        truth: (N,) bool membership.
        owner: (N,) int64 object of each pair, 0..K-1.
        num_objects: K.
        weight: (K,) weight of each object in the mean; None weighs them equally.
    """
    errors = 1 - logits * (truth.to(logits.dtype) * 2 - 1)
    order = errors.detach().argsort(descending=True)
    order = order[owner[order].argsort(stable=True)]  # object by object, largest error first
    errors, owner, member = errors[order], owner[order], truth[order].long()
    count = torch.bincount(owner, minlength=num_objects)
    start = (count.cumsum(0) - count)[owner]  # where the pairs of the same object begin
    rank = torch.arange(1, len(owner) + 1, device=owner.device) - start
    found = nn.functional.pad(member.cumsum(0), (1, 0))
    size = torch.zeros_like(count).index_add(0, owner, member)[owner]
    missed = size - (found[1:] - found[start])
    jaccard = 1 - missed.to(logits.dtype) / (missed + rank)
    before = torch.where(rank > 1, jaccard.roll(1), 0)
    terms = errors.clamp_min(0) * (jaccard - before)
    return _weighted_mean(terms.new_zeros(num_objects).index_add(0, owner, terms), weight)


def membership(centre_m: Tensor, object_centre_m: Tensor, precision: Tensor) -> Tensor:
    """Return phi_k(e_i) = exp(-1/2 (e_i - C_k)^T W_k (e_i - C_k)), eq. 5 and 7.

    The precision matrix W_k is that of a circle in eq. 5, of an ellipse along the axes in eq. 7,
    and of any ellipse beyond the paper. Members are pillars with phi > 0.5 (eq. 4).

    Args:
        centre_m: (M, 2) embeddings e_i, or (K, M, 2) different ones for each object.
        object_centre_m: (K, 2) centres C_k.
        precision: (K, 3) entries xx, xy, yy of W_k.

    Returns:
        (K, M) in 0..1.
    """
    x, y = centre_m.unbind(-1)
    return torch.exp(-0.5 * _squared_distance(x, y, object_centre_m, precision))


def _squared_distance(x: Tensor, y: Tensor, object_centre_m: Tensor, precision: Tensor) -> Tensor:
    """Return the (K, M) squared distances from each centre in units of its bandwidth."""
    dx, dy = x - object_centre_m[:, :1], y - object_centre_m[:, 1:]
    xx, xy, yy = (entry[:, None] for entry in precision.unbind(-1))
    return xx * dx * dx + 2 * xy * dx * dy + yy * dy * dy


def object_centres(
    centre_m: Tensor, cell_centres_m: Tensor, targets: BatchTargets, config: LossConfig
) -> Tensor:
    """Return eq. 8: the centre C_k of each object, by default the mean of its embeddings.

    Args:
        centre_m: (M, 2) embeddings e_i of the pillars on objects.
        cell_centres_m: (M, 2) cell centres x_i of the same pillars.
        targets: Owner of each of these pillars, and the boxes.
        config: ``center`` chooses embeddings, cell centres (their mean or medoid) or boxes.

    Returns:
        (K, 2) centres, metres.
    """
    match config.center:
        case "embedding":
            return mean_per_object(centre_m, targets.owner, len(targets.classes))
        case "centroid":
            return mean_per_object(cell_centres_m, targets.owner, len(targets.classes))
        case "medoid":
            return medoids(cell_centres_m, targets.owner, len(targets.classes))
        case "box":
            return targets.centres_m


def medoids(values: Tensor, owner: Tensor, num_objects: int) -> Tensor:
    """Return the value of each object with the smallest sum of distances to its other values.

    Args:
        values: (M, 2) values of the pillars on objects.
        owner: (M,) int64 object of each pillar, 0..K-1; every object has at least one.
        num_objects: K.

    Returns:
        (K, 2); if sums are equal, the first value is taken.
    """
    found = [values[owner == k] for k in range(num_objects)]
    return torch.stack([own[torch.cdist(own, own).sum(1).argmin()] for own in found])


def object_precision(
    log_precision: Tensor, owner: Tensor, num_objects: int, fixed_sigma_m: float
) -> Tensor:
    """Return eq. 9: the bandwidth of each object, the mean of what its pillars predict.

    Args:
        log_precision: (M, 0..3) predictions of the pillars on objects; they are averaged as they
            are, in the logarithm.
        owner: (M,) int64 object of each pillar, 0..K-1.
        num_objects: K.
        fixed_sigma_m: Sigma of ``bandwidth: fixed``, metres.

    Returns:
        (K, 3) entries xx, xy, yy of the precision matrix W_k, 1/m^2.
    """
    return precision_matrix(mean_per_object(log_precision, owner, num_objects), fixed_sigma_m)


def smoothness_loss(
    log_precision: Tensor, owner: Tensor, num_objects: int, weight: Tensor | None = None
) -> Tensor:
    """Return eq. 10: variance of the predicted bandwidth within each object, mean over objects.

    For an oriented bandwidth (channels a, r, b) the deviation is measured by the squared Frobenius
    norm of [[a, r], [r, b]]: r counts twice, and the object's heading does not matter.

    Args:
        log_precision: (M, 0..3) predictions of the pillars on objects.
        owner: (M,) int64 object of each pillar, 0..K-1.
        num_objects: K.
        weight: (K,) weight of each object; None weighs them equally.
    """
    mean = mean_per_object(log_precision, owner, num_objects)
    squares = (log_precision - mean[owner]).square()
    spread = squares.sum(1, keepdim=True)
    if squares.shape[1] == 3:
        spread = spread + squares[:, 1:2]
    return _weighted_mean(mean_per_object(spread, owner, num_objects)[:, 0], weight)


def seed_loss(
    seed: Tensor,
    phi: Tensor,
    pillar_class: Tensor,
    foreground_weight: Sequence[float],
    weight: Tensor | None = None,
) -> Tensor:
    """Return eq. 11: seed maps regress to phi on objects of their class and to 0 elsewhere.

    Args:
        seed: (J, C) seed maps at the judged pillars.
        phi: (J,) phi of each pillar for its own object, 0 on background; no gradient flows here.
        pillar_class: (J,) class of each pillar, -1 on background.
        foreground_weight: Weight of an object's pillars for each of the C classes.
        weight: (J,) weight of each pillar in the mean; None weighs them equally.

    Returns:
        Weighted squared error, summed over classes, mean over pillars.
    """
    own = pillar_class[:, None] == torch.arange(seed.shape[1], device=seed.device)
    map_weight = torch.where(own, seed.new_tensor(list(foreground_weight)), seed.new_ones(()))
    target = torch.where(own, phi.detach()[:, None], seed.new_zeros(()))
    return _weighted_mean((map_weight * (seed - target).square()).sum(1), weight)


def batch_losses(
    embeddings: Embeddings,
    cell_centres_m: Tensor,
    targets: BatchTargets,
    config: LossConfig,
    fixed_sigma_m: float,
) -> dict[str, Tensor]:
    """Compute all losses of a batch.

    Args:
        embeddings: Predictions at the P pillars of all frames, frame by frame.
        cell_centres_m: (P, 2) cell centres x_i.
        targets: Truth of the same pillars, on the same device.
        config: Which equations, and their weights.
        fixed_sigma_m: Sigma of ``bandwidth: fixed``, metres.

    Returns:
        The scalars named in `LOSSES`: the parts ``instance``, ``smoothness`` and ``seed``, each a
        mean over frames, and ``loss``, their weighted sum. They are finite and differentiable even
        without objects or judged pillars.

    Raises:
        ValueError: The truth is for a different number of pillars.
    """
    if targets.num_pillars != len(embeddings.seed):
        raise ValueError(
            f"targets are for {targets.num_pillars} pillars, embeddings for {len(embeddings.seed)}"
        )
    seed, centre_m, log_precision = (
        part.index_select(0, targets.judged)
        for part in (embeddings.seed, embeddings.centre_m, embeddings.log_precision)
    )
    zero = 0 * (centre_m.sum() + log_precision.sum() + seed.sum())
    instance = smoothness = seeds = zero
    phi = seed.new_zeros(len(targets.judged))
    pillar_class = torch.full_like(targets.judged, -1)
    if num_objects := len(targets.classes):
        on_object, owner = targets.on_object, targets.owner
        own_centre_m = centre_m.index_select(0, on_object)
        own_log = log_precision.index_select(0, on_object)
        own_cells_m = cell_centres_m.index_select(0, targets.judged.index_select(0, on_object))
        centres_m = object_centres(own_centre_m, own_cells_m, targets, config)
        precision = object_precision(own_log, owner, num_objects, fixed_sigma_m)
        instance = _instance_loss(centre_m, own_centre_m, centres_m, precision, targets, config)
        smoothness = smoothness_loss(own_log, owner, num_objects, targets.object_weight)
        own_phi = _membership_of_pairs(own_centre_m, centres_m, precision, owner)
        if config.seed_target == "one":
            own_phi = torch.ones_like(own_phi)
        phi = phi.index_copy(0, on_object, own_phi.detach().to(phi.dtype))
        pillar_class = pillar_class.index_copy(0, on_object, targets.classes.index_select(0, owner))
    if len(targets.judged):
        seeds = seed_loss(seed, phi, pillar_class, config.foreground_weight, targets.pillar_weight)
    parts = {"instance": instance + zero, "smoothness": smoothness + zero, "seed": seeds + zero}
    loss = (
        config.instance_weight * parts["instance"]
        + config.smoothness_weight * parts["smoothness"]
        + config.seed_weight * parts["seed"]
    )
    return {"loss": loss, **parts}


def semantic_loss(logits: Tensor, targets: BatchTargets) -> Tensor:
    """Return the cross-entropy of what stands in the pillars, where it is known.

    Args:
        logits: (P, B + C) predictions at the P pillars of all frames, frame by frame.
        targets: Truth of the same pillars, on the same device.

    Returns:
        Mean over the pillars of known kind of a frame, then over all frames; 0 without any.
    """
    known = logits.index_select(0, targets.known).float()
    by_kind = known.T.contiguous()[None]  # rows of P: four times as fast on a CPU
    entropy = nn.functional.cross_entropy(by_kind, targets.kind[None], reduction="none")[0]
    return _weighted_mean(entropy, targets.kind_weight)


def _instance_loss(
    centre_m: Tensor,
    own_centre_m: Tensor,
    object_centre_m: Tensor,
    precision: Tensor,
    targets: BatchTargets,
    config: LossConfig,
) -> Tensor:
    """Return eq. 1 or 2, or the Lovasz hinge, of (J, 2) embeddings, (M, 2) of them on objects."""
    owner, weight = targets.owner, targets.object_weight
    match config.instance:
        case "regression":
            return regression_loss(own_centre_m, object_centre_m, owner, weight)
        case "hinge":
            return hinge_loss(own_centre_m, object_centre_m, owner, config.hinge_delta_m, weight)
        case "lovasz":
            return _lovasz_loss(centre_m, object_centre_m, precision, targets)


def mean_per_object(values: Tensor, owner: Tensor, num_objects: int) -> Tensor:
    """Return the mean of each object's values: (M, D) and (M,) owner in 0..K-1 -> (K, D)."""
    count = torch.bincount(owner, minlength=num_objects).clamp_min(1).to(values.dtype)
    total = values.new_zeros(num_objects, values.shape[1]).index_add(0, owner, values)
    return total / count[:, None]


def _weighted_mean(values: Tensor, weight: Tensor | None) -> Tensor:
    """Return the mean of (K,) values by weights that add up to 1, or the plain mean."""
    return values.mean() if weight is None else (values * weight.to(values.dtype)).sum()


def _membership_of_pairs(
    centre_m: Tensor, object_centre_m: Tensor, precision: Tensor, owner: Tensor
) -> Tensor:
    """Return (N,) phi of each of (N, 2) embeddings for its (N,) object ``owner``."""
    each = object_centre_m.index_select(0, owner), precision.index_select(0, owner)
    return membership(centre_m[:, None], *each)[:, 0]


def _lovasz_loss(
    centre_m: Tensor, object_centre_m: Tensor, precision: Tensor, targets: BatchTargets
) -> Tensor:
    """Return the Lovasz hinge of each object over all judged pillars of its frame.

    Pillars outside an object with phi below `NEGLIGIBLE_PHI`, which are nearly all, are left out:
    together they would add at most twice that to the object's loss.
    """
    with torch.no_grad():
        of, row = _others_nearby(centre_m, object_centre_m, precision, targets)
    members = torch.arange(len(of) + len(targets.owner), device=of.device) >= len(of)
    of, row = torch.cat([of, targets.owner]), torch.cat([row, targets.on_object])
    phi = _membership_of_pairs(centre_m.index_select(0, row), object_centre_m, precision, of)
    return lovasz_hinge(2 * phi - 1, members, of, len(targets.classes), targets.object_weight)


def _others_nearby(
    centre_m: Tensor, object_centre_m: Tensor, precision: Tensor, targets: BatchTargets
) -> tuple[Tensor, Tensor]:
    """Return the pairs of an object and a judged pillar outside it whose phi is not negligible."""
    start, frame = torch.unique_consecutive(targets.frame_start, return_inverse=True)
    rows = start[:, None] + torch.arange(targets.max_frame_count, device=start.device)
    rows = rows.clamp_max(len(centre_m) - 1)  # those of the next frame are taken out below
    x, y = (axis[rows].index_select(0, frame) for axis in centre_m.unbind(-1))
    distance = _squared_distance(x, y, object_centre_m, precision)
    of, place = torch.nonzero(distance < -2 * math.log(NEGLIGIBLE_PHI)).unbind(1)
    row = targets.frame_start[of] + place
    own_frame = place < targets.frame_count[of]
    of, row = of[own_frame], row[own_frame]
    owner = torch.full_like(targets.judged, -1).index_copy(0, targets.on_object, targets.owner)
    beyond = owner[row] != of
    return of[beyond], row[beyond]
