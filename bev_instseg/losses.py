"""The training objective: equations 1-11 of Neven et al., CVPR 2019, on occupied pillars.

Every loss is a mean over the objects or judged pillars of one frame, then a mean over frames, so
that a batch split over processes gives the same numbers. Unjudged pillars enter nowhere.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from bev_instseg.config import LossConfig
from bev_instseg.models.heads import Embeddings, precision_matrix
from bev_instseg.targets import PillarTargets


def mean_per_object(values: Tensor, owner: Tensor, num_objects: int) -> Tensor:
    """Means over each object: (M, D) values of pillars, (M,) owner in 0..K-1 -> (K, D)."""
    count = torch.bincount(owner, minlength=num_objects).clamp_min(1).to(values.dtype)
    total = values.new_zeros(num_objects, values.shape[1]).index_add(0, owner, values)
    return total / count[:, None]


def membership(centre_m: Tensor, object_centre_m: Tensor, precision: Tensor) -> Tensor:
    """Eq. 5 and 7: phi_k(e_i) = exp(-1/2 (e_i - C_k)^T W_k (e_i - C_k)).

    Args:
        centre_m: (M, 2) embeddings e_i.
        object_centre_m: (K, 2) centres C_k.
        precision: (K, 3) entries xx, xy, yy of W_k.

    Returns:
        (K, M) in 0..1.
    """
    dx, dy = (centre_m[None] - object_centre_m[:, None]).unbind(-1)
    xx, xy, yy = (entry[:, None] for entry in precision.unbind(-1))
    return torch.exp(-0.5 * (xx * dx * dx + 2 * xy * dx * dy + yy * dy * dy))


def regression_loss(centre_m: Tensor, object_centre_m: Tensor, owner: Tensor) -> Tensor:
    """Eq. 1: distance of each embedding from its object's centre, mean over objects, metres."""
    distance = (centre_m - object_centre_m[owner]).norm(dim=1, keepdim=True)
    return mean_per_object(distance, owner, len(object_centre_m)).mean()


def hinge_loss(centre_m: Tensor, object_centre_m: Tensor, owner: Tensor, delta_m: float) -> Tensor:
    """Eq. 2: what of that distance exceeds the fixed margin delta, mean over objects, metres."""
    distance = (centre_m - object_centre_m[owner]).norm(dim=1, keepdim=True)
    return mean_per_object((distance - delta_m).clamp_min(0), owner, len(object_centre_m)).mean()


def lovasz_hinge(logits: Tensor, truth: Tensor) -> Tensor:
    """Lovasz hinge (Berman et al., CVPR 2018): a convex surrogate of 1 - IoU, mean over rows.

    Args:
        logits: (K, M) scores, positive means member.
        truth: (K, M) bool membership.
    """
    sign = truth.to(logits.dtype) * 2 - 1
    errors, order = (1 - logits * sign).sort(dim=1, descending=True)
    member = truth.gather(1, order).to(logits.dtype)
    size = member.sum(1, keepdim=True)
    intersection = size - member.cumsum(1)
    union = size + (1 - member).cumsum(1)
    jaccard = 1 - intersection / union
    steps = torch.cat([jaccard[:, :1], jaccard[:, 1:] - jaccard[:, :-1]], dim=1)
    return (errors.clamp_min(0) * steps).sum(1).mean()


def smoothness_loss(log_precision: Tensor, owner: Tensor, num_objects: int) -> Tensor:
    """Eq. 10: variance of the bandwidth within each object, in the space the network predicts.

    Of an oriented bandwidth (three channels a, r, b) that is the squared Frobenius norm of the
    matrix [[a, r], [r, b]], in which r stands twice, so that an object's heading does not matter.
    """
    mean = mean_per_object(log_precision, owner, num_objects)
    squares = (log_precision - mean[owner]).square()
    spread = squares.sum(1, keepdim=True)
    if squares.shape[1] == 3:
        spread = spread + squares[:, 1:2]
    return mean_per_object(spread, owner, num_objects).mean()


def seed_loss(
    seed: Tensor, phi: Tensor, pillar_class: Tensor, foreground_weight: Sequence[float]
) -> Tensor:
    """Eq. 11: seed maps regress to phi on their own class's objects and to 0 elsewhere.

    Args:
        seed: (M, C) seed maps at the judged pillars.
        phi: (M,) phi of each pillar towards its own object, taken as constant; 0 on background.
        pillar_class: (M,) class of each pillar, -1 on background.
        foreground_weight: C weights of an object's pillars.

    Returns:
        Weighted squared error, mean over pillars, sum over classes.
    """
    own = pillar_class[:, None] == torch.arange(seed.shape[1], device=seed.device)
    weight = torch.where(own, seed.new_tensor(list(foreground_weight)), seed.new_ones(()))
    target = torch.where(own, phi.detach()[:, None], seed.new_zeros(()))
    return (weight * (seed - target).square()).sum(1).mean()


def frame_losses(
    embeddings: Embeddings,
    cell_centres_m: Tensor,
    targets: PillarTargets,
    config: LossConfig,
    fixed_sigma_m: float,
) -> dict[str, Tensor]:
    """The named parts of the loss of one frame, unweighted.

    Args:
        embeddings: of the frame's P pillars.
        cell_centres_m: (P, 2) cell centres x_i.
        targets: truth of the same pillars.
        config: which equations.
        fixed_sigma_m: sigma of ``bandwidth: fixed``.

    Returns:
        Scalars ``instance``, ``smoothness`` and ``seed``, finite and differentiable for every
        frame, one without objects or judged pillars included.
    """
    device = embeddings.seed.device
    label = torch.from_numpy(targets.instance).to(device)
    judged = torch.nonzero(label >= 0)[:, 0]
    label = label[judged].long()
    seed = embeddings.seed[judged]
    centre_m, log_precision = embeddings.centre_m[judged], embeddings.log_precision[judged]
    nothing = 0 * (centre_m.sum() + log_precision.sum() + seed.sum())

    mine = torch.nonzero(label > 0)[:, 0]
    ids, owner = torch.unique(label[mine], return_inverse=True)
    classes = torch.from_numpy(targets.classes).to(device).long()[ids - 1]
    phi = seed.new_zeros(len(label))
    pillar_class = torch.full_like(label, -1)
    parts = {"instance": nothing, "smoothness": nothing, "seed": nothing}

    if len(ids):
        match config.center:
            case "centroid":
                centres = mean_per_object(cell_centres_m[judged][mine], owner, len(ids))
            case "embedding":  # eq. 8
                centres = mean_per_object(centre_m[mine], owner, len(ids))
            case "box":
                centres = torch.from_numpy(targets.centres_m).to(device)[ids - 1]
        mean_log = mean_per_object(log_precision[mine], owner, len(ids))  # eq. 9
        precision = precision_matrix(mean_log, fixed_sigma_m)
        belongs = membership(centre_m, centres, precision)
        match config.instance:
            case "regression":
                parts["instance"] = regression_loss(centre_m[mine], centres, owner)
            case "hinge":
                parts["instance"] = hinge_loss(centre_m[mine], centres, owner, config.hinge_delta_m)
            case "lovasz":
                parts["instance"] = lovasz_hinge(2 * belongs - 1, label == ids[:, None])
        parts["smoothness"] = smoothness_loss(log_precision[mine], owner, len(ids))
        phi = phi.index_put((mine,), belongs[owner, mine])
        pillar_class = pillar_class.index_put((mine,), classes[owner])
    if len(label):
        parts["seed"] = seed_loss(seed, phi, pillar_class, config.foreground_weight)
    return {name: part + nothing for name, part in parts.items()}


def batch_losses(
    embeddings: Embeddings,
    cell_centres_m: Tensor,
    counts: Sequence[int],
    targets: Sequence[PillarTargets],
    config: LossConfig,
    fixed_sigma_m: float,
) -> dict[str, Tensor]:
    """Named losses of a batch: the mean over its frames of each part, and their weighted ``loss``.

    Args:
        embeddings, cell_centres_m: of the pillars of all frames, one frame after the other.
        counts: pillars of each frame.
        targets: truth of each frame.
    """
    totals: dict[str, Tensor] = {}
    start = 0
    for count, target in zip(counts, targets, strict=True):
        part = slice(start, start + count)
        start += count
        frame = Embeddings(
            embeddings.seed[part], embeddings.centre_m[part], embeddings.log_precision[part]
        )
        losses = frame_losses(frame, cell_centres_m[part], target, config, fixed_sigma_m)
        for name, value in losses.items():
            totals[name] = totals.get(name, 0) + value / len(counts)
    totals["loss"] = (
        config.instance_weight * totals["instance"]
        + config.smoothness_weight * totals["smoothness"]
        + config.seed_weight * totals["seed"]
    )
    return totals
