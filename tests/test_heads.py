"""The output channels and their decoding: order, initial values and the matrix exponential."""

import math
from pathlib import Path
from typing import get_args

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

import bev_instseg
from bev_instseg.models.heads import (
    ELONGATION_LIMIT,
    LOG_PRECISION_LIMIT,
    Bandwidth,
    Heads,
    margin_m,
    precision_matrix,
)
from bev_instseg.training.losses import membership

CHANNELS: dict[Bandwidth, int] = {"fixed": 0, "scalar": 1, "elliptical": 2, "oriented": 3}
LEARNED: tuple[Bandwidth, ...] = ("scalar", "elliptical", "oriented")


def random(*shape: int, scale: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return (torch.rand(*shape, dtype=torch.float64, generator=generator) * 2 - 1) * scale


def matrix(entries: Tensor) -> Tensor:
    """Return (..., 2, 2) from (..., 3) xx, xy, yy."""
    xx, xy, yy = entries.unbind(-1)
    return torch.stack([torch.stack([xx, xy], -1), torch.stack([xy, yy], -1)], -2)


def entries(square: Tensor) -> Tensor:
    """Return (..., 3) xx, xy, yy from (..., 2, 2)."""
    return torch.stack([square[..., 0, 0], square[..., 0, 1], square[..., 1, 1]], -1)


# ------------------------------------------------------------------------------ precision matrix


def test_precision_of_a_fixed_bandwidth() -> None:
    assert precision_matrix(torch.zeros(2, 0), 0.5).tolist() == [[4, 0, 4]] * 2


def test_precision_of_a_scalar_bandwidth() -> None:
    """The channel is ln(1 / sigma^2)."""
    actual = precision_matrix(torch.tensor([[0.0], [math.log(4)]]), 99.0)
    torch.testing.assert_close(actual, torch.tensor([[1.0, 0, 1], [4, 0, 4]]))


def test_precision_of_an_elliptical_bandwidth() -> None:
    actual = precision_matrix(torch.tensor([[math.log(4), math.log(0.25)]]), 99.0)
    torch.testing.assert_close(actual, torch.tensor([[4, 0, 0.25]]))


def test_precision_of_an_oriented_bandwidth() -> None:
    """Sigma 0.5 m along the heading of 30 degrees, 2 m across it."""
    c, s = math.cos(math.pi / 6), math.sin(math.pi / 6)
    rotation = torch.tensor([[c, -s], [s, c]], dtype=torch.float64)
    precision = torch.tensor([4, 0.25], dtype=torch.float64)
    logarithm = rotation @ torch.diag(precision.log()) @ rotation.T
    expected = rotation @ torch.diag(precision) @ rotation.T
    actual = precision_matrix(entries(logarithm), 99.0)
    torch.testing.assert_close(actual, entries(expected))
    assert expected[0, 1] > 1


@pytest.mark.parametrize(
    ("raw", "tolerance"),
    [
        (random(500, 3, scale=1), 1e-9),
        (random(500, 3, scale=4), 1e-9),
        (random(500, 3, scale=1e-3), 1e-9),
        (random(500, 3, scale=1e-6), 1e-9),
        (random(500, 1).expand(500, 3) * torch.tensor([1, 0, 1]), 1e-9),  # q = 0
        (random(500, 3, scale=2).float(), 1e-5),
    ],
    ids=["random", "long", "round", "rounder", "isotropic", "float32"],
)
def test_precision_is_the_matrix_exponential(raw: Tensor, tolerance: float) -> None:
    expected = entries(torch.linalg.matrix_exp(matrix(raw)))
    largest = expected.abs().amax(-1, keepdim=True)
    error = (precision_matrix(raw, 99.0) - expected).abs() / largest
    assert error.max() < tolerance


@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e-5, 0.0])
def test_precision_has_the_gradient_of_the_matrix_exponential(scale: float) -> None:
    weight = random(50, 3) + 2
    raw = random(50, 3) * torch.tensor([1, scale, 1])
    raw[:, 2] = raw[:, 0] + scale * raw[:, 2]
    raw.requires_grad_()
    (actual,) = torch.autograd.grad((weight * precision_matrix(raw, 99.0)).sum(), raw)
    exponential = entries(torch.linalg.matrix_exp(matrix(raw)))
    (expected,) = torch.autograd.grad((weight * exponential).sum(), raw)
    torch.testing.assert_close(actual, expected)


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("scale", [1.0, 1e-4, 0.0])
def test_precision_gradcheck(channels: int, scale: float) -> None:
    raw = (random(6, channels) * scale).requires_grad_()
    assert gradcheck(lambda given: precision_matrix(given, 99.0), raw)


def test_oriented_without_r_is_elliptical_and_scalar_is_round() -> None:
    two = random(100, 2, scale=3)
    three = torch.stack([two[:, 0], torch.zeros(100), two[:, 1]], 1)
    torch.testing.assert_close(precision_matrix(three, 99.0), precision_matrix(two, 99.0))
    one = two[:, :1]
    torch.testing.assert_close(precision_matrix(one, 99.0), precision_matrix(one.expand(-1, 2), 99))


@pytest.mark.parametrize("scale", [1, 5, 10, 100])
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_precision_is_positive_definite_in_float32(channels: int, scale: float) -> None:
    raw = random(20_000, channels).float() * scale
    signs = torch.cartesian_prod(*[torch.tensor([-1.0, 0, 1])] * channels).view(-1, channels)
    raw = torch.cat([raw, signs * scale]).requires_grad_()
    precision = precision_matrix(raw, 99.0)
    assert precision.isfinite().all()
    assert torch.linalg.eigvalsh(matrix(precision.double())).min() > 0
    (gradient,) = torch.autograd.grad(precision.log1p().sum(), raw)
    assert gradient.isfinite().all()


def test_precision_is_limited() -> None:
    largest = math.exp(LOG_PRECISION_LIMIT)
    actual = precision_matrix(torch.tensor([[100.0], [-100.0]]), 99.0)
    torch.testing.assert_close(
        actual, torch.tensor([[largest, 0, largest], [1 / largest, 0, 1 / largest]])
    )
    actual = precision_matrix(torch.tensor([[100.0, -100.0]]), 99.0)
    torch.testing.assert_close(actual, torch.tensor([[largest, 0, 1 / largest]]))
    long = math.exp(ELONGATION_LIMIT)
    actual = precision_matrix(torch.tensor([[100.0, 0, -100.0]], dtype=torch.float64), 99.0)
    expected = torch.tensor([[long, 0, 1 / long]], dtype=torch.float64)
    torch.testing.assert_close(actual, expected)


# ------------------------------------------------------------------------------ heads


@pytest.mark.parametrize("bandwidth", get_args(Bandwidth))
@pytest.mark.parametrize("num_classes", [1, 3])
def test_channels(bandwidth: Bandwidth, num_classes: int) -> None:
    heads = Heads(8, num_classes, bandwidth, 1.0)
    raw = heads(torch.randn(5, 8))
    assert raw.shape == (5, num_classes + 2 + CHANNELS[bandwidth])
    embeddings = heads.decode(raw, torch.zeros(5, 2))
    assert embeddings.seed.shape == (5, num_classes)
    assert embeddings.centre_m.shape == (5, 2)
    assert embeddings.log_precision.shape == (5, CHANNELS[bandwidth])


def test_decode() -> None:
    heads = Heads(8, 2, "oriented", 1.0)
    raw = torch.tensor([[0, math.log(3), 0.5, -2, 1, 2, 3], [-math.log(3), 0, 0, 0, 4, 5, 6]])
    embeddings = heads.decode(raw, torch.tensor([[10.0, 20.0], [-1.0, -2.0]]))
    torch.testing.assert_close(embeddings.seed, torch.tensor([[0.5, 0.75], [0.25, 0.5]]))
    assert embeddings.centre_m.tolist() == [[10.5, 18], [-1, -2]]
    assert embeddings.log_precision.tolist() == [[1, 2, 3], [4, 5, 6]]


def test_only_heads_decodes() -> None:
    """Of the files that import torch, only ``heads.py`` uses squashing functions."""
    package = Path(bev_instseg.__file__).parent
    texts = {path: path.read_text(encoding="utf-8") for path in package.rglob("*.py")}
    decoders = {
        path.relative_to(package).as_posix()
        for path, text in texts.items()
        for name in ("sigmoid", "tanh", "sinh", "cosh", "softplus")
        if "import torch" in text and name in text
    }
    assert decoders == {"models/heads.py"}


@pytest.mark.parametrize("bandwidth", LEARNED)
@pytest.mark.parametrize("initial_margin_m", [0.4, 1.0, 2.5])
def test_initial_margin(bandwidth: Bandwidth, initial_margin_m: float) -> None:
    """With zero features phi falls to 0.5 at the initial margin in every direction."""
    heads = Heads(8, 3, bandwidth, initial_margin_m).eval()
    embeddings = heads.decode(heads(torch.zeros(1, 8)), torch.zeros(1, 2))
    precision = precision_matrix(embeddings.log_precision, 99.0)
    angle = torch.linspace(0, 6, 7)
    circle = initial_margin_m * torch.stack([angle.cos(), angle.sin()], 1)
    phi = membership(circle, torch.zeros(1, 2), precision)
    torch.testing.assert_close(phi, torch.full((1, 7), 0.5))


def test_fixed_margin_follows_from_the_fixed_sigma() -> None:
    heads = Heads(8, 3, "fixed", 1.0).eval()
    embeddings = heads.decode(heads(torch.zeros(1, 8)), torch.zeros(1, 2))
    precision = precision_matrix(embeddings.log_precision, 0.5)
    phi = membership(torch.tensor([[margin_m(0.5), 0]]), torch.zeros(1, 2), precision)
    assert phi.item() == pytest.approx(0.5)


@pytest.mark.parametrize("bandwidth", get_args(Bandwidth))
def test_initial_pillars_are_background_and_point_at_themselves(bandwidth: Bandwidth) -> None:
    heads = Heads(8, 3, bandwidth, 1.0).eval()
    embeddings = heads.decode(heads(torch.zeros(1, 8)), torch.tensor([[3.0, 4.0]]))
    assert embeddings.centre_m.tolist() == [[3, 4]]
    assert embeddings.seed.max() < 0.05


def test_raw_channels_are_float32_under_autocast() -> None:
    heads = Heads(8, 3, "oriented", 1.0)
    features = torch.randn(20, 8, generator=torch.Generator().manual_seed(0))
    expected = heads(features)
    with torch.autocast("cpu", torch.bfloat16):
        raw = heads(features.bfloat16())
    assert raw.dtype == torch.float32
    torch.testing.assert_close(raw, expected, rtol=0, atol=0.02)
