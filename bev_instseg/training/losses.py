"""The training objective: equations 1-11 of Neven et al., CVPR 2019, on occupied pillars.

Every loss is a mean over the objects or judged pillars of one frame, then a mean over frames, so
that a batch split over processes gives the same numbers. Unjudged pillars enter nowhere. Frames are
computed all at once (`BatchTargets`): a GPU would wait for each one's hundred small operations.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bev_instseg.config import LossConfig
from bev_instseg.models.heads import Embeddings, precision_matrix
from bev_instseg.training.targets import PillarTargets


@dataclass(frozen=True, eq=False)
class BatchTargets:
    """Truth of the pillars of several frames, of which J are judged and M lie on one of K objects.

    Attributes:
        judged: (J,) int64 rows of the judged pillars, one frame after the other.
        pillar_share: (J,) float32 weight of each in the mean over its frame and over the frames.
        mine: (M,) int64 places among the judged of those on objects.
        owner: (M,) int64 object of each.
        classes: (K,) int64 class index of each object.
        centres_m: (K, 2) float32 box centre of each object.
        object_share: (K,) float32 weight of each in the mean over its frame and over the frames.
        start, count: (K,) int64 where the judged pillars of the object's frame lie, and how many.
        num_pillars: of all frames.
        most_judged: the largest of ``count``.
    """

    judged: Tensor
    pillar_share: Tensor
    mine: Tensor
    owner: Tensor
    classes: Tensor
    centres_m: Tensor
    object_share: Tensor
    start: Tensor
    count: Tensor
    num_pillars: int
    most_judged: int

    @staticmethod
    def of(frames: Sequence[PillarTargets]) -> "BatchTargets":
        """Stack the truth of frames; objects without pillars are left out."""
        columns: list[tuple[np.ndarray, ...]] = []
        row = first = objects = most = 0
        for frame in frames:
            judged = np.flatnonzero(frame.instance >= 0)
            label = frame.instance[judged]
            mine = np.flatnonzero(label)
            ids, owner = np.unique(label[mine], return_inverse=True)
            j, k = len(judged), len(ids)
            columns.append(
                (
                    row + judged,
                    np.full(j, 1 / (max(j, 1) * len(frames)), np.float32),
                    first + mine,
                    objects + owner,
                    frame.classes[ids - 1].astype(np.int64),
                    frame.centres_m[ids - 1],
                    np.full(k, 1 / (max(k, 1) * len(frames)), np.float32),
                    np.full(k, first),
                    np.full(k, j),
                )
            )
            row, first, objects = row + len(frame.instance), first + j, objects + k
            most = max(most, j if k else 0)
        stacked: Any = (torch.from_numpy(np.concatenate(c)) for c in zip(*columns, strict=True))
        return BatchTargets(*stacked, row, most)  # type: ignore[call-arg]

    def to(self, device: torch.device | str) -> "BatchTargets":
        """The same on a device."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> "BatchTargets":
        """The same where a GPU can fetch it by itself."""
        return self._each(Tensor.pin_memory)

    def _each(self, change: Callable[[Tensor], Tensor]) -> "BatchTargets":
        tensors = {k: change(v) for k, v in vars(self).items() if isinstance(v, Tensor)}
        return replace(self, **tensors)  # type: ignore[arg-type]


def mean_per_object(values: Tensor, owner: Tensor, num_objects: int) -> Tensor:
    """Means over each object: (M, D) values of pillars, (M,) owner in 0..K-1 -> (K, D)."""
    count = torch.bincount(owner, minlength=num_objects).clamp_min(1).to(values.dtype)
    total = values.new_zeros(num_objects, values.shape[1]).index_add(0, owner, values)
    return total / count[:, None]


def membership(centre_m: Tensor, object_centre_m: Tensor, precision: Tensor) -> Tensor:
    """Eq. 5 and 7: phi_k(e_i) = exp(-1/2 (e_i - C_k)^T W_k (e_i - C_k)).

    Args:
        centre_m: (M, 2) embeddings e_i, or (K, M, 2) others for each object.
        object_centre_m: (K, 2) centres C_k.
        precision: (K, 3) entries xx, xy, yy of W_k.

    Returns:
        (K, M) in 0..1.
    """
    dx, dy = (centre_m - object_centre_m[:, None]).unbind(-1)
    xx, xy, yy = (entry[:, None] for entry in precision.unbind(-1))
    return torch.exp(-0.5 * (xx * dx * dx + 2 * xy * dx * dy + yy * dy * dy))


def _mean(values: Tensor, share: Tensor | None) -> Tensor:
    """Of (K,) values, each weighing its share of the whole; without shares all the same."""
    return values.mean() if share is None else (values * share.to(values.dtype)).sum()


def regression_loss(
    centre_m: Tensor, object_centre_m: Tensor, owner: Tensor, share: Tensor | None = None
) -> Tensor:
    """Eq. 1: distance of each embedding from its object's centre, mean over objects, metres."""
    return hinge_loss(centre_m, object_centre_m, owner, 0.0, share)


def hinge_loss(
    centre_m: Tensor,
    object_centre_m: Tensor,
    owner: Tensor,
    delta_m: float,
    share: Tensor | None = None,
) -> Tensor:
    """Eq. 2: what of that distance exceeds the fixed margin delta, mean over objects, metres."""
    distance = (centre_m - object_centre_m[owner]).norm(dim=1, keepdim=True)
    beyond = (distance - delta_m).clamp_min(0)
    return _mean(mean_per_object(beyond, owner, len(object_centre_m))[:, 0], share)


def lovasz_hinge(logits: Tensor, truth: Tensor, share: Tensor | None = None) -> Tensor:
    """Lovasz hinge (Berman et al., CVPR 2018): a convex surrogate of 1 - IoU, mean over rows.

    Args:
        logits: (K, M) scores, positive means member; minus infinity: not there.
        truth: (K, M) bool membership.
        share: (K,) weight of each row; None: all the same.
    """
    sign = truth.to(logits.dtype) * 2 - 1
    errors, order = (1 - logits * sign).sort(dim=1, descending=True)
    member = truth.gather(1, order).to(logits.dtype)
    size = member.sum(1, keepdim=True)
    intersection = size - member.cumsum(1)
    union = size + (1 - member).cumsum(1)
    jaccard = 1 - intersection / union
    steps = torch.cat([jaccard[:, :1], jaccard[:, 1:] - jaccard[:, :-1]], dim=1)
    return _mean((errors.clamp_min(0) * steps).sum(1), share)


def smoothness_loss(
    log_precision: Tensor, owner: Tensor, num_objects: int, share: Tensor | None = None
) -> Tensor:
    """Eq. 10: variance of the bandwidth within each object, in the space the network predicts.

    Of an oriented bandwidth (three channels a, r, b) that is the squared Frobenius norm of the
    matrix [[a, r], [r, b]], in which r stands twice, so that an object's heading does not matter.
    """
    mean = mean_per_object(log_precision, owner, num_objects)
    squares = (log_precision - mean[owner]).square()
    spread = squares.sum(1, keepdim=True)
    if squares.shape[1] == 3:
        spread = spread + squares[:, 1:2]
    return _mean(mean_per_object(spread, owner, num_objects)[:, 0], share)


def seed_loss(
    seed: Tensor,
    phi: Tensor,
    pillar_class: Tensor,
    foreground_weight: Sequence[float],
    share: Tensor | None = None,
) -> Tensor:
    """Eq. 11: seed maps regress to phi on their own class's objects and to 0 elsewhere.

    Args:
        seed: (M, C) seed maps at the judged pillars.
        phi: (M,) phi of each pillar towards its own object, taken as constant; 0 on background.
        pillar_class: (M,) class of each pillar, -1 on background.
        foreground_weight: C weights of an object's pillars.
        share: (M,) weight of each pillar in the mean; None: all the same.

    Returns:
        Weighted squared error, mean over pillars, sum over classes.
    """
    own = pillar_class[:, None] == torch.arange(seed.shape[1], device=seed.device)
    weight = torch.where(own, seed.new_tensor(list(foreground_weight)), seed.new_ones(()))
    target = torch.where(own, phi.detach()[:, None], seed.new_zeros(()))
    return _mean((weight * (seed - target).square()).sum(1), share)


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
    batch = BatchTargets.of([targets])
    losses = batch_losses(embeddings, cell_centres_m, batch, config, fixed_sigma_m)
    return {name: losses[name] for name in ("instance", "smoothness", "seed")}


def batch_losses(
    embeddings: Embeddings,
    cell_centres_m: Tensor,
    targets: BatchTargets,
    config: LossConfig,
    fixed_sigma_m: float,
) -> dict[str, Tensor]:
    """Named losses of a batch: the mean over its frames of each part, and their weighted ``loss``.

    Nothing here waits for a GPU.

    Args:
        embeddings, cell_centres_m: of the pillars of all frames, one frame after the other.
        targets: truth of the same pillars, on the same device.

    Raises:
        ValueError: truth of another number of pillars.
    """
    if targets.num_pillars != len(embeddings.seed):
        raise ValueError(f"truth of {targets.num_pillars} pillars for {len(embeddings.seed)}")
    judged, mine, owner = targets.judged, targets.mine, targets.owner
    num_objects, share = len(targets.classes), targets.object_share
    seed, centre_m, log_precision = (
        part.index_select(0, judged)
        for part in (embeddings.seed, embeddings.centre_m, embeddings.log_precision)
    )
    nothing = 0 * (centre_m.sum() + log_precision.sum() + seed.sum())
    phi = seed.new_zeros(len(judged))
    pillar_class = torch.full_like(judged, -1)
    parts = {"instance": nothing, "smoothness": nothing, "seed": nothing}

    if num_objects:
        own_centre_m, own_log = centre_m.index_select(0, mine), log_precision.index_select(0, mine)
        match config.center:
            case "centroid":
                cells = cell_centres_m.index_select(0, judged.index_select(0, mine))
                centres = mean_per_object(cells, owner, num_objects)
            case "embedding":  # eq. 8
                centres = mean_per_object(own_centre_m, owner, num_objects)
            case "box":
                centres = targets.centres_m
        mean_log = mean_per_object(own_log, owner, num_objects)  # eq. 9
        precision = precision_matrix(mean_log, fixed_sigma_m)
        own_phi = _own_membership(own_centre_m, centres, precision, owner)
        match config.instance:
            case "regression":
                parts["instance"] = regression_loss(own_centre_m, centres, owner, share)
            case "hinge":
                delta_m = config.hinge_delta_m
                parts["instance"] = hinge_loss(own_centre_m, centres, owner, delta_m, share)
            case "lovasz":
                parts["instance"] = _lovasz(centre_m, centres, precision, targets)
        parts["smoothness"] = smoothness_loss(own_log, owner, num_objects, share)
        phi = phi.index_copy(0, mine, own_phi.detach().to(phi.dtype))
        pillar_class = pillar_class.index_copy(0, mine, targets.classes.index_select(0, owner))
    if len(judged):
        weights = config.foreground_weight
        parts["seed"] = seed_loss(seed, phi, pillar_class, weights, targets.pillar_share)
    parts = {name: part + nothing for name, part in parts.items()}
    parts["loss"] = (
        config.instance_weight * parts["instance"]
        + config.smoothness_weight * parts["smoothness"]
        + config.seed_weight * parts["seed"]
    )
    return parts


def _own_membership(
    centre_m: Tensor, object_centre_m: Tensor, precision: Tensor, owner: Tensor
) -> Tensor:
    """(M,) phi of each pillar towards its own object."""
    each = object_centre_m.index_select(0, owner), precision.index_select(0, owner)
    return membership(centre_m[:, None], *each)[:, 0]


def _lovasz(
    centre_m: Tensor, object_centre_m: Tensor, precision: Tensor, targets: BatchTargets
) -> Tensor:
    """Lovasz hinge of each object against the judged pillars of its frame: K rows at once."""
    place = torch.arange(targets.most_judged, device=centre_m.device)
    there = place < targets.count[:, None]
    row = torch.where(there, targets.start[:, None] + place, 0)
    points = centre_m.index_select(0, row.flatten()).view(*row.shape, 2)
    belongs = membership(points, object_centre_m, precision)
    owner = torch.full_like(targets.judged, -1).index_copy(0, targets.mine, targets.owner)
    number = torch.arange(len(targets.classes), device=centre_m.device)
    truth = there & (owner[row] == number[:, None])
    logits = torch.where(there, 2 * belongs - 1, -torch.inf)
    return lovasz_hinge(logits, truth, targets.object_share)
