"""Equations 1-11 compared with values worked out by hand and with NumPy loops."""

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from typing import Literal, get_args

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd import gradcheck

from bev_instseg.config import LossConfig
from bev_instseg.models.heads import Bandwidth, Embeddings, margin_m, precision_matrix
from bev_instseg.training.batch_targets import BatchTargets
from bev_instseg.training.losses import (
    LOSSES,
    batch_losses,
    hinge_loss,
    lovasz_hinge,
    mean_per_object,
    membership,
    regression_loss,
    seed_loss,
    smoothness_loss,
)
from bev_instseg.training.targets import PillarTargets

Float = NDArray[np.float64]
InstanceLoss = Literal["regression", "hinge", "lovasz"]
Centre = Literal["centroid", "medoid", "embedding", "box"]

CHANNELS = {"fixed": 0, "scalar": 1, "elliptical": 2, "oriented": 3}
FIXED_SIGMA_M = 0.7
COMBINATIONS = list(product(get_args(InstanceLoss), get_args(Bandwidth), get_args(Centre)))
PARTS = LOSSES[1:]


def tensor(*rows: object) -> Tensor:
    return torch.from_numpy(np.array(rows, np.float64))


def config(instance: InstanceLoss = "lovasz", center: Centre = "embedding") -> LossConfig:
    return LossConfig(
        instance=instance,
        center=center,
        hinge_delta_m=0.3,
        instance_weight=2.0,
        smoothness_weight=0.5,
        seed_weight=7.0,
        foreground_weight=(2.0, 3.0, 5.0),
    )


def frame_losses(
    embeddings: Embeddings,
    cell_centres_m: Tensor,
    targets: PillarTargets,
    loss: LossConfig,
    fixed_sigma_m: float,
) -> dict[str, Tensor]:
    """Return the unweighted parts of the loss of one frame."""
    batch = BatchTargets.from_frames([targets])
    losses = batch_losses(embeddings, cell_centres_m, batch, loss, fixed_sigma_m)
    return {name: losses[name] for name in PARTS}


class Case:
    """A frame of random predictions; objects 1, 3 and 4 of 5 have pillars, some are not judged."""

    def __init__(
        self,
        bandwidth: Bandwidth = "oriented",
        seed: int = 0,
        instance: tuple[int, ...] = (1, 0, 3, 3, -1, 1, 4, 0, 3, 4, -1, 1, 4),
        dtype: torch.dtype = torch.float64,
    ) -> None:
        rng = np.random.default_rng(seed)
        num = len(instance)
        self.targets = PillarTargets(
            np.array(instance, np.int32),
            np.array([2, 0, 1, 0, 2], np.int32),
            rng.uniform(-1, 1, (5, 2)).astype(np.float32),
            np.full(num, -1, np.int32),
        )
        self.cell_centres_m = torch.from_numpy(rng.uniform(-1, 1, (num, 2))).to(dtype)
        self.embeddings = Embeddings(
            *(
                torch.from_numpy(values).to(dtype).requires_grad_()
                for values in (
                    rng.uniform(0.05, 0.95, (num, 3)),
                    rng.uniform(-1.5, 1.5, (num, 2)),
                    rng.uniform(-1, 1, (num, CHANNELS[bandwidth])),
                )
            )
        )

    @property
    def predictions(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.embeddings.seed, self.embeddings.centre_m, self.embeddings.log_precision

    def losses(self, loss: LossConfig, embeddings: Embeddings | None = None) -> dict[str, Tensor]:
        return frame_losses(
            embeddings or self.embeddings, self.cell_centres_m, self.targets, loss, FIXED_SIGMA_M
        )


def lovasz_reference(scores: Float, truth: NDArray[np.bool_]) -> float:
    """Return the Lovász extension of 1 - IoU at the hinge errors of one row, set by set."""
    members = set(np.flatnonzero(truth).tolist())
    errors = 1 - scores * np.where(truth, 1, -1)
    total, wrong, before = 0.0, set[int](), 0.0
    for i in sorted(range(len(errors)), key=lambda i: -errors[i]):
        wrong.add(i)
        predicted = members ^ wrong
        jaccard_loss = 1 - len(members & predicted) / len(members | predicted)
        total += max(errors[i], 0.0) * (jaccard_loss - before)
        before = jaccard_loss
    return total


def precision_reference(mean_log: Float) -> Float:
    """Return exp of the symmetric matrix that the channels describe, by its eigenvectors."""
    match len(mean_log):
        case 0:
            return np.eye(2) / FIXED_SIGMA_M**2
        case 1:
            return np.eye(2) * np.exp(mean_log[0])
        case 2:
            return np.diag(np.exp(mean_log))
    a, r, b = mean_log
    values, vectors = np.linalg.eigh(np.array([[a, r], [r, b]]))
    return vectors @ np.diag(np.exp(values)) @ vectors.T


def frame_reference(case: Case, loss: LossConfig) -> dict[str, float]:
    """Return all parts of the loss of a frame, pillar by pillar."""
    seed, e, log_precision = (prediction.detach().numpy() for prediction in case.predictions)
    x, label = case.cell_centres_m.numpy(), case.targets.instance
    judged = np.flatnonzero(label >= 0)
    target = np.zeros((len(label), 3))
    weight = np.ones((len(label), 3))
    instance, smoothness = [], []
    for k in sorted(set(label[label > 0].tolist())):
        own = np.flatnonzero(label == k)
        centre = {
            "centroid": x[own].mean(0),
            "medoid": x[own][np.argmin([np.hypot(*(x[own] - at).T).sum() for at in x[own]])],
            "embedding": e[own].mean(0),
            "box": case.targets.centres_m[k - 1],
        }[loss.center]
        mean_log = log_precision[own].mean(0)
        precision = precision_reference(mean_log)
        phi = np.array([np.exp(-0.5 * (e_i - centre) @ precision @ (e_i - centre)) for e_i in e])
        distance = np.array([np.hypot(*(e[i] - centre)) for i in own])
        match loss.instance:
            case "regression":
                instance.append(distance.mean())
            case "hinge":
                instance.append(np.maximum(distance - loss.hinge_delta_m, 0).mean())
            case "lovasz":
                instance.append(lovasz_reference(2 * phi[judged] - 1, label[judged] == k))
        spread = (log_precision[own] - mean_log) ** 2
        if spread.shape[1] == 3:
            spread = spread * [1, 2, 1]  # [[a, r], [r, b]]: r counts twice
        smoothness.append(spread.sum(1).mean())
        c = case.targets.classes[k - 1]
        target[own, c] = phi[own] if loss.seed_target == "phi" else 1
        weight[own, c] = loss.foreground_weight[c]
    squares = weight * (seed - target) ** 2
    return {
        "instance": float(np.mean(instance)),
        "smoothness": float(np.mean(smoothness)),
        "seed": float(squares[judged].sum(1).mean()),
    }


# ------------------------------------------------------------------------------ single equations

# Object 0 owns pillars 0 and 2, object 1 owns pillar 1.
OWNER = torch.tensor([0, 1, 0])
CENTRES = tensor([0, 0], [1, 3])
EMBEDDED = tensor([3, 4], [1, 1], [0, 0])  # 5 m, 2 m and 0 m from their centres


def test_regression_is_the_mean_distance() -> None:  # eq. 1
    expected = ((5 + 0) / 2 + 2) / 2
    assert regression_loss(EMBEDDED, CENTRES, OWNER).item() == pytest.approx(expected)


def test_hinge_is_the_mean_excess_over_the_margin() -> None:  # eq. 2 and 3
    expected = ((4 + 0) / 2 + 1) / 2
    assert hinge_loss(EMBEDDED, CENTRES, OWNER, delta_m=1.0).item() == pytest.approx(expected)
    assert hinge_loss(EMBEDDED, CENTRES, OWNER, delta_m=5.0).item() == 0


def test_mean_per_object() -> None:  # eq. 8 and 9
    values = tensor([1, 10], [5, 50], [3, 20])
    assert mean_per_object(values, OWNER, 2).tolist() == [[2, 15], [5, 50]]


def test_membership_scalar() -> None:  # eq. 5: sigma 2 m, 0 m and 2 m away
    phi = membership(tensor([0, 0], [0, 2]), tensor([0, 0]), tensor([0.25, 0, 0.25]))
    assert phi.tolist() == [pytest.approx([1, np.exp(-0.5)])]


def test_membership_elliptical() -> None:  # eq. 7: sigma 1 m along x, 2 m along y
    phi = membership(tensor([1, 0], [0, 1], [1, 2]), tensor([0, 0]), tensor([1, 0, 0.25]))
    assert phi.tolist() == [pytest.approx([np.exp(-1 / 2), np.exp(-1 / 8), np.exp(-1)])]


def test_membership_oriented() -> None:
    """Sigma 3 m along the heading of 30 degrees and 1 m across it."""
    along, across = np.array([np.sqrt(3), 1]) / 2, np.array([-1, np.sqrt(3)]) / 2
    w = np.linalg.inv(9 * np.outer(along, along) + np.outer(across, across))
    centre = np.array([5.0, -2.0])
    phi = membership(
        tensor(centre + 3 * along, centre + across, centre - 6 * along + 2 * across),
        tensor(centre, centre + along),
        tensor(*[[w[0, 0], w[0, 1], w[1, 1]]] * 2),
    )
    assert phi[0].tolist() == pytest.approx([np.exp(-0.5), np.exp(-0.5), np.exp(-4)])
    assert phi[1, 0].item() == pytest.approx(np.exp(-0.5 * (2 / 3) ** 2))


@pytest.mark.parametrize("sigma", [0.1, 1.0, 2.5])
def test_phi_is_half_at_the_margin(sigma: float) -> None:  # eq. 6
    assert margin_m(sigma) == pytest.approx(1.1774100 * sigma)
    at_margin = tensor([margin_m(sigma), 0], [0, -margin_m(sigma)])
    phi = membership(at_margin, tensor([0, 0]), tensor([sigma**-2, 0, sigma**-2]))
    assert phi.tolist() == [pytest.approx([0.5, 0.5])]


@pytest.mark.parametrize("scale", [1.0, 10.0, 100.0])
def test_phi_of_extreme_bandwidths_stays_in_range(scale: float) -> None:
    """Rounding to float32 must not make a precision indefinite; tested on a circle of 50 m."""
    rng = np.random.default_rng(0)
    signs = [*product([-1, 0, 1], repeat=3), *rng.uniform(-1, 1, (50, 3))]
    precision = precision_matrix(tensor(*signs).float() * scale, 1.0)
    angle = np.linspace(0, 2 * np.pi, 721)
    circle = 50 * tensor(*zip(np.cos(angle), np.sin(angle), strict=True)).float()
    phi = membership(circle, torch.zeros(len(precision), 2), precision)
    assert phi.min() >= 0
    assert phi.max() <= 1


def hinge_of_rows(scores: Tensor, truth: Tensor) -> Tensor:
    """Return the Lovász hinge of (K, M) scores, passed as pairs in no particular order."""
    order = torch.from_numpy(np.random.default_rng(0).permutation(scores.numel()))
    owner = torch.arange(len(scores)).repeat_interleave(scores.shape[1])
    pairs = (values.flatten()[order] for values in (scores, truth, owner))
    return lovasz_hinge(*pairs, len(scores))


def test_lovasz_hinge_of_a_perfect_frame_is_zero() -> None:
    truth = torch.tensor([[True, True, False], [False, False, True]])
    assert hinge_of_rows(truth.double() * 2 - 1, truth).item() == 0


def test_lovasz_hinge_of_confident_predictions_is_twice_one_minus_iou() -> None:
    """Logits of 1 and -1: each wrong pillar errs by 2, and the extension meets 1 - IoU."""
    truth = torch.tensor([[1, 1, 1, 0, 0, 0], [1, 0, 0, 0, 0, 0]]).bool()
    found = torch.tensor([[1, 1, 0, 1, 0, 0], [0, 1, 0, 0, 0, 0]]).bool()
    expected = 2 * ((1 - 2 / 4) + (1 - 0)) / 2
    assert hinge_of_rows(found.double() * 2 - 1, truth).item() == pytest.approx(expected)


@pytest.mark.parametrize("members", [0, 1, 4, 9])
def test_lovasz_hinge_is_the_lovasz_extension(members: int) -> None:
    rng = np.random.default_rng(members)
    scores = rng.uniform(-1.5, 1.5, (6, 9))
    scores[0] = np.round(scores[0])  # equal errors
    truth = rng.permuted(np.tile(np.arange(9) < members, (6, 1)), axis=1)
    expected = np.mean([lovasz_reference(*row) for row in zip(scores, truth, strict=True)])
    actual = hinge_of_rows(torch.from_numpy(scores), torch.from_numpy(truth))
    assert actual.item() == pytest.approx(expected)


def test_lovasz_hinge_of_pairs_that_are_left_out() -> None:
    """A pillar beyond the object whose logit is -1 or less has no effect."""
    scores = torch.tensor([[0.5, -1.0, 0.2, -3.0], [-1.0, 0.9, -1.0, 0.1]]).double()
    truth = torch.tensor([[1, 0, 0, 0], [0, 1, 0, 1]]).bool()
    kept = truth | (scores > -1)
    few = lovasz_hinge(scores[kept], truth[kept], torch.nonzero(kept)[:, 0], 2)
    assert few.item() == pytest.approx(hinge_of_rows(scores, truth).item())
    assert few.item() > 0


def test_smoothness_is_the_variance_within_objects() -> None:  # eq. 10
    log_precision = tensor([1, 0], [9, 9], [3, 4])  # means (2, 2) and (9, 9)
    expected = (((1 + 4) + (1 + 4)) / 2 + 0) / 2
    assert smoothness_loss(log_precision, OWNER, 2).item() == pytest.approx(expected)


def test_smoothness_of_an_oriented_bandwidth_does_not_depend_on_the_heading() -> None:
    matrices = torch.tensor([[[1.0, 0.5], [0.5, -2.0]], [[0.0, -1.0], [-1.0, 3.0]]])
    found = []
    for yaw in (0.0, 0.4, 2.0):
        turn = tensor([np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]).float()
        a, r, _, b = (turn @ matrices @ turn.T).flatten(1).unbind(1)
        found.append(smoothness_loss(torch.stack([a, r, b], 1), torch.tensor([0, 0]), 1).item())
    assert found == pytest.approx([found[0]] * 3)
    assert found[0] == pytest.approx(0.5**2 + 2 * 0.75**2 + 2.5**2)


def test_seed_regresses_to_phi_on_its_own_class_and_to_zero_elsewhere() -> None:  # eq. 11
    seed = tensor([0.5, 0.25], [0.5, 0.5], [0.125, 0.75])
    phi = tensor(*[1.0, 0.5, 0.0])
    pillar_class = torch.tensor([0, 1, -1])
    expected = (
        (2 * 0.5**2 + 0.25**2)  # class 0: weight 2, target 1; the other map to 0
        + (0.5**2 + 3 * 0.0**2)  # class 1: weight 3, target 0.5
        + (0.125**2 + 0.75**2)  # background
    ) / 3
    actual = seed_loss(seed, phi, pillar_class, foreground_weight=(2.0, 3.0))
    assert actual.item() == pytest.approx(expected)


# ------------------------------------------------------------------------------ gradients


def random(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    values = torch.rand(*shape, dtype=torch.float64, generator=generator) * 2 - 1
    return values.requires_grad_()


@pytest.mark.parametrize(
    ("function", "inputs"),
    [
        (lambda e, c: regression_loss(e, c, OWNER), (random(3, 2), random(2, 2, seed=1))),
        (lambda e, c: hinge_loss(e, c, OWNER, 0.5), (random(3, 2), random(2, 2, seed=1))),
        (membership, (random(4, 2), random(2, 2, seed=1), random(2, 3, seed=2))),
        (lambda v: mean_per_object(v, OWNER, 2), (random(3, 2),)),
        (lambda s: hinge_of_rows(s, torch.arange(10).view(2, 5) % 3 == 0), (random(2, 5),)),
        (lambda s: smoothness_loss(s, OWNER, 2), (random(3, 3),)),
        (
            lambda s: seed_loss(s, random(3).detach(), OWNER, (2.0, 3.0)),
            (random(3, 2),),
        ),
    ],
    ids=["regression", "hinge", "membership", "mean", "lovasz", "smoothness", "seed"],
)
def test_gradients(function: Callable[..., Tensor], inputs: tuple[Tensor, ...]) -> None:
    assert gradcheck(function, inputs)


@pytest.mark.parametrize(("instance", "bandwidth", "center"), COMBINATIONS)
def test_gradients_of_a_frame(instance: InstanceLoss, bandwidth: Bandwidth, center: Centre) -> None:
    case, loss = Case(bandwidth), config(instance, center)
    inputs = case.predictions[1:] if bandwidth != "fixed" else case.predictions[1:2]

    def parts(centre_m: Tensor, *log_precision: Tensor) -> tuple[Tensor, Tensor]:
        given = Embeddings(
            case.embeddings.seed.detach(), centre_m, *log_precision or [case.predictions[2]]
        )
        losses = case.losses(loss, given)
        return losses["instance"], losses["smoothness"]

    assert gradcheck(parts, inputs)


def test_seeds_may_be_taught_one_on_the_whole_object() -> None:
    case = Case("oriented")
    loss = replace(config(), seed_target="one")
    expected = frame_reference(case, loss)
    assert case.losses(loss)["seed"].item() == pytest.approx(expected["seed"])
    assert expected["seed"] != pytest.approx(frame_reference(case, config())["seed"])


def test_seed_loss_does_not_move_phi() -> None:
    case = Case()
    gradients = torch.autograd.grad(case.losses(config())["seed"], case.predictions)
    of_seed, of_centre, of_log_precision = gradients
    assert of_centre.abs().max() == 0
    assert of_log_precision.abs().max() == 0
    assert (of_seed[case.targets.instance >= 0] != 0).all()


def test_instance_and_smoothness_do_not_move_the_seed() -> None:
    case = Case()
    losses = case.losses(config())
    (of_seed,) = torch.autograd.grad(losses["instance"] + losses["smoothness"], case.predictions[0])
    assert of_seed.abs().max() == 0


# ------------------------------------------------------------------------------ whole frames


@pytest.mark.parametrize(("instance", "bandwidth", "center"), COMBINATIONS)
def test_frame_losses_match_the_equations(
    instance: InstanceLoss, bandwidth: Bandwidth, center: Centre
) -> None:
    loss = config(instance, center)
    for seed in range(3):
        case = Case(bandwidth, seed)
        losses = {name: value.item() for name, value in case.losses(loss).items()}
        assert losses == pytest.approx(frame_reference(case, loss))


@pytest.mark.parametrize(("instance", "bandwidth", "center"), COMBINATIONS)
def test_a_float32_frame_is_finite(
    instance: InstanceLoss, bandwidth: Bandwidth, center: Centre
) -> None:
    case = Case(bandwidth, dtype=torch.float32)
    losses = case.losses(config(instance, center))
    sum(losses.values(), torch.zeros(())).backward()
    for value in (*losses.values(), *(prediction.grad for prediction in case.predictions)):
        assert value is not None
        assert value.dtype == torch.float32
        assert value.isfinite().all()


@pytest.mark.parametrize("bandwidth", ["scalar", "elliptical", "oriented"])
def test_losses_of_extreme_predictions_are_finite(bandwidth: Bandwidth) -> None:
    case = Case(bandwidth, dtype=torch.float32)
    seed, centre_m, log_precision = (prediction.detach() for prediction in case.predictions)
    wild = Embeddings(
        seed, (centre_m * 100).requires_grad_(), (log_precision * 100).requires_grad_()
    )
    losses = case.losses(config(), wild)
    sum(losses.values(), torch.zeros(())).backward()
    for value in (*losses.values(), wild.centre_m.grad, wild.log_precision.grad):
        assert value is not None
        assert value.isfinite().all()


@pytest.mark.parametrize(
    ("center", "expected"),
    [
        ("centroid", (3 + 4) / 2),  # from (1, 0)
        ("medoid", (4 + np.hypot(1, 4)) / 2),  # from (0, 0), the first of two
        ("embedding", 2.5),  # from (2.5, 2): half of the 5 m between the embeddings
        ("box", (5 + 0) / 2),  # from the box, (1, 4)
    ],
)
def test_centre_of_an_object(center: Centre, expected: float) -> None:  # eq. 8
    """Pillars at (0, 0) and (2, 0) with the embeddings (4, 0) and (1, 4)."""
    targets = PillarTargets(
        np.array([1, 1], np.int32),
        np.array([0], np.int32),
        np.array([[1, 4]], np.float32),
        np.array([-1, -1], np.int32),
    )
    embeddings = Embeddings(torch.zeros(2, 3), tensor([4, 0], [1, 4]).float(), torch.zeros(2, 1))
    centres_m = torch.tensor([[0.0, 0.0], [2.0, 0.0]])
    losses = frame_losses(embeddings, centres_m, targets, config("regression", center), 1.0)
    assert losses["instance"].item() == pytest.approx(expected)


@pytest.mark.parametrize("angle", [0.3, 1.6, 2.9])
def test_turning_a_frame_changes_neither_phi_nor_loss(angle: float) -> None:
    """Embeddings e -> R e and log precisions S -> R S R^T, before the average of eq. 9."""
    turn = tensor([np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)])
    case = Case("oriented")
    seed, centre_m, log_precision = case.predictions
    a, r, b = log_precision.unbind(1)
    matrix = torch.stack([torch.stack([a, r], 1), torch.stack([r, b], 1)], 1)
    turned = turn @ matrix @ turn.T
    turned_log = torch.stack([turned[:, 0, 0], turned[:, 0, 1], turned[:, 1, 1]], 1)

    phi = membership(centre_m, centre_m[:3], precision_matrix(log_precision[:3], 1.0))
    turned_phi = membership(
        centre_m @ turn.T, centre_m[:3] @ turn.T, precision_matrix(turned_log[:3], 1.0)
    )
    torch.testing.assert_close(turned_phi, phi)
    assert phi.min() < 0.5 < phi.max()

    losses = case.losses(config())
    turned_losses = case.losses(config(), Embeddings(seed, centre_m @ turn.T, turned_log))
    for name in ("instance", "seed"):
        torch.testing.assert_close(turned_losses[name], losses[name])


@pytest.mark.parametrize(("instance", "bandwidth", "center"), COMBINATIONS)
def test_only_judged_pillars_have_an_effect(
    instance: InstanceLoss, bandwidth: Bandwidth, center: Centre
) -> None:
    case, loss = Case(bandwidth), config(instance, center)
    unjudged = torch.from_numpy(case.targets.instance < 0)
    losses = case.losses(loss)
    gradients = torch.autograd.grad(sum(losses.values(), torch.zeros(())), case.predictions)
    for gradient in gradients:
        assert (gradient[unjudged] == 0).all()

    other = [prediction.detach().clone() for prediction in case.predictions]
    for prediction in other:
        prediction[unjudged] = torch.nan
    case.cell_centres_m[unjudged] = torch.nan
    changed = case.losses(loss, Embeddings(*other))
    assert all(torch.equal(losses[name], changed[name]) for name in PARTS)


def test_every_judged_pillar_has_an_effect() -> None:
    """Background pillars too, since they may be inside an object's margin."""
    case = Case()
    losses = case.losses(config())
    gradients = torch.autograd.grad(losses["instance"] + losses["seed"], case.predictions[:2])
    for gradient in gradients:
        assert (gradient[case.targets.instance >= 0] != 0).any(1).all()


@pytest.mark.parametrize("bandwidth", get_args(Bandwidth))
@pytest.mark.parametrize("instance", [(0, 0, -1), (-1, -1), ()], ids=["bare", "unjudged", "empty"])
def test_a_frame_without_objects(bandwidth: Bandwidth, instance: tuple[int, ...]) -> None:
    case = Case(bandwidth, instance=instance)
    losses = case.losses(config())
    gradients = torch.autograd.grad(sum(losses.values(), torch.zeros(())), case.predictions)
    assert losses["instance"].item() == losses["smoothness"].item() == 0
    judged = case.targets.instance >= 0
    seed = case.embeddings.seed[judged]
    expected = seed.square().sum(1).mean() if len(seed) else torch.zeros(())
    assert losses["seed"].item() == pytest.approx(expected.item())
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert all((gradient == 0).all() for gradient in gradients[1:])


def test_objects_without_pillars_do_not_shift_classes_or_boxes() -> None:
    """Only objects 1, 3 and 4 of 5 have pillars; the losses equal those of these three alone."""
    case, loss = Case(), config(center="box")
    dense = {1: 1, 3: 2, 4: 3}
    instance = np.array([dense.get(k, k) for k in case.targets.instance.tolist()], np.int32)
    kept = [k - 1 for k in dense]
    targets = replace(
        case.targets,
        instance=instance,
        classes=case.targets.classes[kept],
        centres_m=case.targets.centres_m[kept],
    )
    losses = frame_losses(case.embeddings, case.cell_centres_m, targets, loss, FIXED_SIGMA_M)
    with_gaps = case.losses(loss)
    assert all(torch.equal(losses[name], with_gaps[name]) for name in PARTS)


# ------------------------------------------------------------------------------ batches


def test_batch_is_the_mean_of_its_frames() -> None:
    loss = config()
    cases = [Case(seed=1), Case(instance=()), Case(seed=2, instance=(0, 2, 2)), Case(seed=3)]
    stacked = Embeddings(*map(torch.cat, zip(*(case.predictions for case in cases), strict=True)))
    batch = batch_losses(
        stacked,
        torch.cat([case.cell_centres_m for case in cases]),
        BatchTargets.from_frames([case.targets for case in cases]),
        loss,
        FIXED_SIGMA_M,
    )
    singles = [case.losses(loss) for case in cases]
    mean = {name: np.mean([single[name].item() for single in singles]) for name in PARTS}
    mean["loss"] = 2.0 * mean["instance"] + 0.5 * mean["smoothness"] + 7.0 * mean["seed"]
    assert {name: value.item() for name, value in batch.items()} == pytest.approx(mean)


def test_batch_needs_targets_for_every_frame() -> None:
    case = Case()
    twice = BatchTargets.from_frames([case.targets] * 2)
    with pytest.raises(ValueError, match="targets are for 26 pillars, embeddings for 13"):
        batch_losses(case.embeddings, case.cell_centres_m, twice, config(), 1.0)


def test_weights_scale_the_parts() -> None:
    case = Case()
    only_seed = replace(config(), instance_weight=0.0, smoothness_weight=0.0)
    batch = batch_losses(
        case.embeddings,
        case.cell_centres_m,
        BatchTargets.from_frames([case.targets]),
        only_seed,
        FIXED_SIGMA_M,
    )
    assert batch["loss"].item() == pytest.approx(7.0 * batch["seed"].item())
