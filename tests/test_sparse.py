"""Sparse layers equal dense convolutions, and their indices equal a NumPy reference."""

from functools import partial

import numpy as np
import pytest
import reference
import torch
from torch import Tensor, nn

from bev_instseg.models.pillar_batch import Level, Pyramid
from bev_instseg.models.sparse import SparseDown, SubmanifoldConv, has_spconv
from bev_instseg.ops.neighbours import find_neighbours

pytestmark = pytest.mark.kernel

SHAPES = [(1, 4, 4), (2, 8, 4), (3, 12, 20), (1, 4, 40)]


def random_cells(shape: tuple[int, int, int], part: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.flatnonzero(rng.random(np.prod(shape)) < part).astype(np.int32)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("part", [0.0, 0.1, 0.6, 1.0])
@pytest.mark.parametrize("shuffled", [False, True])
@pytest.mark.parametrize("step", [1, 8])
def test_neighbours_equal_the_reference(shape, part, shuffled, step):
    cells = random_cells(shape, part)
    if shuffled:
        np.random.default_rng(1).shuffle(cells)
    ours, theirs = (
        find_neighbours(cells, shape, step),
        reference.find_neighbours(cells, shape, step),
    )
    for name in ("neighbours", "slot", "children", "parents"):
        assert getattr(ours, name).dtype == getattr(theirs, name).dtype
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name), err_msg=name)


def test_hand_computed_neighbours():
    """Cells (0, 1), (1, 1) and (3, 3) of a grid of 4 x 4, and (0, 1) of a second one."""
    found = find_neighbours(np.array([1, 5, 15, 17], np.int32), (2, 4, 4))
    expected = np.full((4, 9), 4)
    expected[:, 4] = [0, 1, 2, 3]
    expected[0, 7], expected[1, 1] = 1, 0
    assert found.neighbours.tolist() == expected.tolist()
    assert found.parents.tolist() == [0, 3, 4]
    assert found.slot.tolist() == [1, 3, 4 + 3, 8 + 1]
    assert found.children.tolist() == [[4, 0, 4, 1], [4, 4, 4, 2], [4, 3, 4, 4]]


def level_of(cells: np.ndarray, shape: tuple[int, int, int]) -> Level:
    return Pyramid.build(cells, shape, 2).levels[0]


def dense_map(x: Tensor, cells: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Scatter (P, C) at flat cells to (B, C, nx, ny) maps, 0 elsewhere."""
    batch, nx, ny = shape
    canvas = x.new_zeros(batch * nx * ny, x.shape[1]).index_put((cells,), x)
    return canvas.view(batch, nx, ny, -1).permute(0, 3, 1, 2)


def at_cells(maps: Tensor, cells: Tensor) -> Tensor:
    return maps.permute(0, 2, 3, 1).flatten(0, 2)[cells]


BACKENDS = [
    "torch",
    pytest.param(
        "spconv",
        marks=pytest.mark.skipif(not has_spconv(), reason="spconv is not installed"),
    ),
]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("part", [0.1, 0.6, 1.0])
def test_submanifold_is_a_dense_convolution_at_occupied_cells(shape, part, backend):
    torch.manual_seed(0)
    cells = random_cells(shape, part)
    where = torch.from_numpy(cells).long()
    dtype = torch.float64 if backend == "torch" else torch.float32  # spconv has no float64
    tolerance = 1e-7 if backend == "torch" else 1e-4
    close = partial(torch.testing.assert_close, rtol=tolerance, atol=tolerance)
    layer = SubmanifoldConv(3, 5).to(dtype)
    layer.backend = backend
    x = torch.randn(len(cells), 3, dtype=dtype, requires_grad=True)
    ours = layer(x, level_of(cells, shape))
    with torch.no_grad():
        close(layer(x, level_of(cells, shape)), ours)
    kernel = layer.weight.view(5, 3, 3, 3).permute(0, 3, 1, 2)
    dense = at_cells(nn.functional.conv2d(dense_map(x, where, shape), kernel, padding=1), where)
    close(ours, dense)
    weight = torch.randn_like(ours)
    for a, b in zip(
        torch.autograd.grad((ours * weight).sum(), (x, layer.weight)),
        torch.autograd.grad((dense * weight).sum(), (x, layer.weight)),
        strict=True,
    ):
        assert a.abs().sum() > 0
        close(a, b)
    layer.bias = nn.Parameter(torch.arange(5).to(dtype))
    close(layer(x, level_of(cells, shape)), ours + layer.bias)


@pytest.mark.parametrize("shape", SHAPES)
def test_sparse_down_is_a_dense_convolution_of_stride_2(shape):
    torch.manual_seed(0)
    cells = random_cells(shape, 0.3)
    found = find_neighbours(cells, shape)
    where, parents = torch.from_numpy(cells).long(), torch.from_numpy(found.parents).long()
    layer = SparseDown(3, 5).double()
    x = torch.randn(len(cells), 3, dtype=torch.float64, requires_grad=True)
    ours = layer(x, level_of(cells, shape))
    kernel = layer.linear.weight.view(5, 2, 2, 3).permute(0, 3, 1, 2)
    maps = nn.functional.conv2d(dense_map(x, where, shape), kernel, stride=2)
    torch.testing.assert_close(ours, at_cells(maps, parents))
    # The maps are 0 everywhere but at parents.
    assert maps.abs().sum().item() == pytest.approx(ours.abs().sum().item())
    for a, b in zip(
        torch.autograd.grad(ours.square().sum(), (x, layer.linear.weight)),
        torch.autograd.grad(maps.square().sum(), (x, layer.linear.weight)),
        strict=True,
    ):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("backend", BACKENDS)
def test_no_cells(backend):
    level = level_of(np.zeros(0, np.int32), (1, 4, 4))
    submanifold = SubmanifoldConv(3, 5)
    submanifold.backend = backend
    for layer in (submanifold, SparseDown(3, 5)):
        x = torch.zeros(0, 3, requires_grad=True)
        y = layer(x, level)
        assert y.shape == (0, 5)
        y.sum().backward()
        assert x.grad is not None
        assert x.grad.shape == (0, 3)
        assert all(p.grad is not None and not p.grad.any() for p in layer.parameters())
