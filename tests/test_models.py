"""The network: batches, the backbone's indexing and batch norm over processes."""

import datetime
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from bev_instseg.config import Config, ModelConfig
from bev_instseg.engines import torch_engine
from bev_instseg.grid import BEVGrid
from bev_instseg.models.backbone import Backbone
from bev_instseg.models.heads import Embeddings, precision_matrix
from bev_instseg.models.network import BEVNet
from bev_instseg.models.norm import GlobalBatchNorm, NormedLayer
from bev_instseg.models.pillar_batch import PillarBatch, Pyramid
from bev_instseg.models.pillar_features import PillarFeatures
from bev_instseg.ops.voxelize import FEATURES
from bev_instseg.structures import Pillars

GRID = BEVGrid((0.0, 12.8), (-3.2, 3.2), (-3.0, 3.0), 0.2)  # 64 x 32 cells
MODEL = ModelConfig(widths=(8, 8, 12, 16, 16), blocks=(1, 1, 1, 0, 1), dense_levels=3)
CONFIG = Config(grid=GRID, model=MODEL)


def sweep(seed: int, num_pillars: int = 300, grid: BEVGrid = GRID) -> Pillars:
    """Return pillars with random cells and features."""
    rng = np.random.default_rng(seed)
    cells = np.sort(rng.choice(grid.shape[0] * grid.shape[1], num_pillars, replace=False))
    return Pillars(
        grid,
        cells.astype(np.int32),
        rng.uniform(0, 3, (num_pillars, len(FEATURES))).astype(np.float32),
        np.zeros(0, np.int32),
        np.zeros(0, np.float32),
    )


def batch_of(*sweeps: Pillars) -> PillarBatch:
    return PillarBatch.from_pillars(sweeps, 2)


def randomise_norms(module: nn.Module) -> None:
    """Give every batch norm moments and weights as if it had been trained."""
    for norm in module.modules():
        if isinstance(norm, GlobalBatchNorm):
            assert norm.running_mean is not None
            assert norm.running_var is not None
            with torch.no_grad():
                for values, low, high in (
                    (norm.running_mean, -0.5, 0.5),
                    (norm.running_var, 0.5, 2.0),
                    (norm.weight, 0.5, 1.5),
                    (norm.bias, -0.5, 0.5),
                ):
                    values.uniform_(low, high)


def network(config: Config = CONFIG) -> BEVNet:
    torch.manual_seed(0)
    model = BEVNet(config)
    randomise_norms(model)
    with torch.no_grad():
        model.heads.out.weight.mul_(10)
        model.heads.out.bias.zero_()  # seeds near 0.5, where the sigmoid is steepest
    return model.eval()


def parts(embeddings: Embeddings) -> tuple[Tensor, Tensor, Tensor]:
    return embeddings.seed, embeddings.centre_m, embeddings.log_precision


# ------------------------------------------------------------------------------ batches


def test_hand_computed_batch() -> None:
    grid = BEVGrid((0.0, 4.0), (0.0, 8.0), (-1.0, 1.0), 1.0)
    none = np.zeros(0, np.int32), np.zeros(0, np.float32)
    first = Pillars(grid, np.array([0, 13], np.int32), np.array([[1], [2]], np.float32), *none)
    second = Pillars(grid, np.array([3], np.int32), np.array([[3]], np.float32), *none)
    batch = batch_of(first, second)
    assert batch.pyramid.levels[0].neighbours[:, 4].tolist() == [0, 1, 2]
    assert [level.slot.tolist() for level in batch.pyramid.levels] == [[0, 7, 9], [0, 4, 9]]
    assert batch.pyramid.cells.tolist() == [0, 1, 2]
    assert batch.pyramid.rows.shape == (2, 1, 2)
    assert batch.features.tolist() == [[1], [2], [3]]
    assert batch.centres_m.tolist() == [[0.5, 0.5], [1.5, 5.5], [0.5, 3.5]]


def test_batch_moves_to_a_device() -> None:
    batch = batch_of(sweep(0), sweep(1))
    moved = batch.to("meta")
    tensors = [moved.features, moved.centres_m, moved.pyramid.rows, moved.pyramid.cells]
    for level in moved.pyramid.levels:
        tensors += [level.neighbours, level.slot, level.children, level.cells]
        assert level.spconv_indices == {}
    assert {x.device.type for x in tensors} == {"meta"}
    assert moved.pyramid.rows.shape == batch.pyramid.rows.shape


def test_grids_of_different_shapes_raise() -> None:
    with pytest.raises(ValueError, match=r"one shape.*\(32, 32\), \(64, 32\)"):
        batch_of(sweep(0), sweep(0, grid=GRID.window(0, 0, 32, 32)))
    with pytest.raises(ValueError, match="one shape"):
        batch_of()


def test_batch_of_windows_at_different_places() -> None:
    batch = batch_of(
        sweep(0, grid=GRID.window(0, 0, 32, 32)), sweep(0, grid=GRID.window(16, 0, 32, 32))
    )
    shift = batch.centres_m[300:] - batch.centres_m[:300]
    torch.testing.assert_close(shift, torch.tensor([[3.2, 0.0]]).expand(300, 2))


# ------------------------------------------------------------------------------ network


def test_batch_equals_its_sweeps_one_by_one() -> None:
    model, sweeps = network(), [sweep(0, 300), sweep(1, 200), sweep(2, 1)]
    with torch.no_grad():
        together = parts(model(batch_of(*sweeps)))
        alone = [parts(model(batch_of(one))) for one in sweeps]
    for batched, pieces in zip(together, zip(*alone, strict=True), strict=True):
        torch.testing.assert_close(batched, torch.cat(pieces), rtol=1e-5, atol=1e-5)
        assert batched.std() > 0.01


def test_pillar_order_does_not_matter() -> None:
    model, batch = network(), batch_of(sweep(0), sweep(1))
    order = torch.randperm(600, generator=torch.Generator().manual_seed(0))
    cells = np.concatenate([sweep(0).cells, sweep(1).cells + np.int32(64 * 32)])
    pyramid = Pyramid.build(cells[order], (2, 64, 32), 2)
    shuffled = PillarBatch(batch.features[order], batch.centres_m[order], pyramid)
    with torch.no_grad():
        for actual, expected in zip(parts(model(shuffled)), parts(model(batch)), strict=True):
            torch.testing.assert_close(actual, expected[order], rtol=1e-5, atol=1e-5)


def test_context_comes_from_the_same_sweep_only() -> None:
    model, batch = network(), batch_of(sweep(0), sweep(1))
    batch.features.requires_grad_()
    model(batch).seed[10].sum().backward()
    assert batch.features.grad is not None
    used = batch.features.grad.abs().sum(1) > 0
    assert used[:300].sum() > 100
    assert not used[300:].any()


def test_infer_returns_the_decoded_output() -> None:
    model, batch = network(), batch_of(sweep(0))
    out = model.infer(batch)
    with torch.no_grad():
        seed, centre_m, log_precision = parts(model(batch))
    np.testing.assert_array_equal(out.seed, seed.numpy())
    np.testing.assert_array_equal(out.centre_m, centre_m.numpy())
    np.testing.assert_array_equal(out.precision, precision_matrix(log_precision, 0.5).numpy())


def test_infer_with_a_fixed_bandwidth() -> None:
    config = Config(grid=GRID, model=ModelConfig((8, 8, 8), (1, 1, 1), "fixed", fixed_sigma_m=0.25))
    assert network(config).infer(batch_of(sweep(0))).precision[7].tolist() == [16, 0, 16]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_number_of_rows_is_rounded_up(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise oneDNN compiles and keeps code for every number of pillars."""
    monkeypatch.setattr(torch_engine, "native_dtype", lambda device: dtype)
    engine = torch_engine.TorchEngine(network(), GRID, "cpu", "auto")
    rows: list[int] = []
    plain = nn.functional.linear

    def recorded(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        rows.append(len(x))
        return plain(x, weight, bias)

    monkeypatch.setattr(nn.functional, "linear", recorded)
    sweeps = [sweep(count, count) for count in (1, 200, 512, 700)]
    rounded = [engine.infer(pillars) for pillars in sweeps]
    assert set(rows) == {512, 1024}
    monkeypatch.setattr(torch_engine, "STEP_ROWS", 1)
    for pillars, ours in zip(sweeps, rounded, strict=True):
        exact = engine.infer(pillars)
        for part in ("centre_m", "precision", "seed"):
            assert len(getattr(ours, part)) == len(pillars.cells)
            assert np.allclose(getattr(ours, part), getattr(exact, part))
    assert len(set(rows)) > 6


def test_bf16_is_close_to_fp32() -> None:
    model, batch = network(), batch_of(sweep(0))
    exact = model.infer(batch)
    with torch.autocast("cpu", torch.bfloat16):
        rough = model.infer(batch)
    assert np.abs(rough.seed - exact.seed).max() < 0.05
    assert np.abs(rough.centre_m - exact.centre_m).max() < 0.1


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("bf16", [True, False])
def test_empty_sweeps(training: bool, bf16: bool) -> None:
    model = network().train(training)
    before = {name: value.clone() for name, value in model.named_buffers()}
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        for sweeps in ([sweep(0, 0)], [sweep(0, 0), sweep(1, 0)]):
            assert [len(x) for x in parts(model(batch_of(*sweeps)))] == [0, 0, 0]
        one = parts(model(batch_of(sweep(0, 0), sweep(1, 50), sweep(2, 0))))
    assert [len(x) for x in one] == [50] * 3
    assert all(x.isfinite().all() for x in one)
    assert all(value.isfinite().all() for value in model.buffers())
    assert training or all(torch.equal(value, before[n]) for n, value in model.named_buffers())


@pytest.mark.parametrize("pillars", [0, 1])
def test_gradients_of_a_sweep_with_at_most_one_pillar(pillars: int) -> None:
    model = network().train()
    torch.cat(parts(model(batch_of(sweep(0, pillars)))), 1).sum().backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert len(gradients) == len(list(model.parameters()))  # distributed training waits for all
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_every_parameter_learns() -> None:
    model = network().train()
    seed, centre_m, log_precision = parts(model(batch_of(sweep(0), sweep(1))))
    (seed.square().sum() + centre_m.square().sum() + log_precision.square().sum()).backward()
    idle = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert idle == []


def test_default_network_fits_the_budget() -> None:
    config = Config()
    sweeps = [sweep(0, 1000, config.grid)]
    batch = PillarBatch.from_pillars(sweeps, config.model.sparse_levels)
    model = BEVNet(config).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(batch)
    assert batch.pyramid.rows.shape == (1, 32, 32)
    assert 1e9 < counter.get_total_flops() <= 5e9


def test_pillar_features_are_scaled() -> None:
    """Hand-computed values of one pillar, with identity weights and batch norm."""
    raw = dict.fromkeys(FEATURES, 0.0) | {
        "count": np.e - 1,
        "height_min_m": -5.0,
        "height_max_m": 9.0,
        "height_mean_m": 1.5,
        "height_std_m": 0.5,
        "x_mean_m": 0.05,
        "y_mean_m": -0.1,
        "intensity_mean": 0.25,
        "intensity_max": 7.0,
        "range_m": 25.0,
        "slice_9": 3.0,
    }
    expected = [1] + [0] * 9 + [np.log(4)] + [-2, 6, 1.5, 0.5] + [0.5, -1] + [0.25, 1]
    expected += [0.5, np.log(25) / 2]
    module = PillarFeatures(len(expected), cell_m=0.2).eval()
    with torch.no_grad():
        module.linear.layer.weight.copy_(torch.eye(len(expected)))
        module.linear.norm.bias.add_(10)  # keeps negative values through the ReLU
    features = module(torch.tensor([[raw[name] for name in FEATURES]], dtype=torch.float32))
    assert (features[0] - 10).tolist() == pytest.approx(expected, abs=1e-4)


# ------------------------------------------------------------------------------ backbone


def test_grid_that_is_not_a_multiple_of_the_stride_raises() -> None:
    backbone = Backbone((4, 4, 4, 4), (0, 0, 0, 0), 2)
    for shape in ((1, 8, 12), (1, 12, 8)):
        pyramid = Pyramid.build(np.zeros(1, np.int32), shape, 2)
        with pytest.raises(
            ValueError, match=f"{shape[1]} x {shape[2]} cells must be multiples of 8"
        ):
            backbone(torch.zeros(1, 4), pyramid)
    with pytest.raises(ValueError, match="8 x 6 cells must be multiples of 4"):
        Pyramid.build(np.zeros(1, np.int32), (1, 8, 6), 2)


@pytest.mark.parametrize(
    ("level", "blocks", "reach"), [(1, 1, 2), (1, 2, 6), (1, 3, 10), (0, 3, 6)]
)
def test_blocks_on_the_coarsest_maps_after_the_first_look_twice_as_far(
    level: int, blocks: int, reach: int
) -> None:
    torch.manual_seed(0)
    layers = Backbone((4, 4, 4), (0, blocks, blocks), 1).dense_blocks[level].eval().double()
    maps = torch.rand(1, 4, 31, 31, dtype=torch.float64) + 1
    other = maps.clone()
    other[:, :, 15, 15] += 1
    with torch.no_grad():
        changed = (layers(maps) != layers(other)).any(1)[0].nonzero() - 15
    assert changed.abs().max() == reach


@pytest.mark.parametrize("sparse_levels", [1, 2, 3])
def test_backbone_against_dense_layers(sparse_levels: int) -> None:
    """The whole backbone on dense maps: masked convolutions and pixel shuffles."""
    torch.manual_seed(0)
    batch, nx, ny = shape = (2, 16, 24)
    widths = (5, 6, 7, 8)
    backbone = Backbone(widths, (1, 1, 1, 1), sparse_levels).eval().double()
    randomise_norms(backbone)
    cells = torch.randperm(batch * nx * ny)[:150].sort().values
    features = torch.rand(150, widths[0], dtype=torch.float64)

    def submanifold(layer: NormedLayer, x: Tensor, mask: Tensor) -> Tensor:
        weight = layer.layer.weight.unflatten(1, (3, 3)).permute(0, 3, 1, 2)
        return layer.norm(nn.functional.conv2d(x, weight, padding=1)) * mask

    def block(layers: nn.Module, x: Tensor, mask: Tensor) -> Tensor:
        inner = submanifold(layers.first, x, mask).relu()
        return (x + submanifold(layers.second, inner, mask)).relu()

    def down(layer: NormedLayer, x: Tensor, mask: Tensor) -> Tensor:
        weight = layer.layer.linear.weight.unflatten(1, (2, 2, -1)).permute(0, 3, 1, 2)
        return layer.norm(nn.functional.conv2d(x, weight, stride=2)).relu() * mask

    def unpack(x: Tensor) -> Tensor:
        """Return (B, C, 2 n, 2 m) from (B, 4 * C, n, m), quarter before channel."""
        return nn.functional.pixel_shuffle(x.unflatten(1, (4, -1)).transpose(1, 2).flatten(1, 2), 2)

    with torch.no_grad():
        pyramid = Pyramid.build(cells.numpy().astype(np.int32), shape, sparse_levels)
        ours = backbone(features, pyramid)

        canvas = torch.zeros(batch * nx * ny, widths[0], dtype=torch.float64)
        canvas[cells] = features
        x = canvas.view(batch, nx, ny, widths[0]).permute(0, 3, 1, 2)
        mask = torch.zeros(batch * nx * ny, dtype=torch.float64)
        mask[cells] = 1
        mask = mask.view(batch, 1, nx, ny)
        skips, masks = [], [mask]
        for blocks, layer in zip(backbone.sparse_blocks, backbone.sparse_down, strict=True):
            skips.append(block(blocks[0], x, masks[-1]))
            masks.append(nn.functional.max_pool2d(masks[-1], 2))
            x = down(layer, skips[-1], masks[-1])
        maps = [backbone.dense_blocks[0](x)]
        for layer, blocks in zip(backbone.dense_down, backbone.dense_blocks[1:], strict=True):
            maps.append(blocks(layer(maps[-1]).relu()))
        x = maps.pop()
        for lateral, merge in reversed(list(zip(backbone.lateral, backbone.merge, strict=True))):
            up = nn.functional.interpolate(lateral(x), scale_factor=2)
            x = merge((maps.pop() + up).relu()).relu()
        for level in reversed(range(1, sparse_levels)):
            layers = backbone.sparse_up[level - 1]
            weight = layers.quarters.layer.weight[:, :, None, None]
            up = unpack(layers.quarters.norm(nn.functional.conv2d(x, weight)))
            x = (skips[level] + up).relu() * masks[level]
            x = submanifold(layers.merge, x, masks[level]).relu()
        weight = backbone.to_fine.weight[:, :, None, None]
        back = unpack(nn.functional.conv2d(x, weight, backbone.to_fine.bias)).relu()
        maps = torch.cat([back, skips[0]], 1).permute(0, 2, 3, 1).flatten(0, 2)
    torch.testing.assert_close(ours, maps[cells])
    assert ours.shape == (150, backbone.width)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_folded_network_equals_the_network(dtype: torch.dtype) -> None:
    model, batch = network(), batch_of(sweep(0), sweep(1))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    folded = model.folded(dtype)
    assert not any(isinstance(module, GlobalBatchNorm) for module in folded.modules())
    assert {p.dtype for p in folded.backbone.parameters()} == {dtype}
    assert not any(p.requires_grad for p in folded.parameters())
    tolerance = 1e-4 if dtype == torch.float32 else 0.1
    exact, ours = model.infer(batch), folded.infer(batch)
    for name in ("seed", "centre_m"):
        np.testing.assert_allclose(
            getattr(ours, name), getattr(exact, name), atol=tolerance, err_msg=name
        )
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


# ------------------------------------------------------------------------------ batch norm


def norms(channels: int, kind: type[nn.BatchNorm2d] = GlobalBatchNorm) -> nn.BatchNorm2d:
    """Return a batch norm with non-initial weights and running moments."""
    norm = kind(channels)
    generator = torch.Generator().manual_seed(1)
    for name, value in norm.state_dict().items():
        if value.is_floating_point():
            value.uniform_(0.5, 2, generator=generator)
            assert torch.equal(norm.state_dict()[name], value)
    return norm


def step(norm: Callable[[Tensor], Tensor], x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return the output, and the input's gradient for the loss ``sum(weight * output)``."""
    x = x.clone().requires_grad_()
    y = norm(x)
    (y * weight).sum().backward()
    assert x.grad is not None
    return y.detach(), x.grad


def as_4d(norm: nn.Module, x: Tensor) -> Tensor:
    """Apply nn.BatchNorm2d to (P, C) or maps."""
    return norm(x[:, :, None, None])[:, :, 0, 0] if x.ndim == 2 else norm(x)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", [(3, 5, 4, 6), (1, 5, 2, 1), (40, 5), (2, 5)])
def test_norm_in_one_process_is_batch_norm(shape: tuple[int, ...], training: bool) -> None:
    ours, theirs = norms(5).train(training), norms(5, nn.BatchNorm2d).train(training)
    generator = torch.Generator().manual_seed(2)
    for _ in range(3):
        x = torch.randn(shape, generator=generator) * 3 + 1
        weight = torch.randn(shape, generator=generator)
        actual = step(ours, x, weight)
        expected = step(lambda x: as_4d(theirs, x), x, weight)
        torch.testing.assert_close(actual, expected, rtol=0, atol=0)
    for name, value in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[name], value)
    for ours_p, theirs_p in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(ours_p.grad, theirs_p.grad, rtol=0, atol=0)


@pytest.mark.parametrize("shape", [(1, 5), (0, 5), (1, 5, 1, 1)])
def test_norm_without_a_variance_uses_the_running_moments(shape: tuple[int, ...]) -> None:
    norm = norms(5)
    before = {name: value.clone() for name, value in norm.state_dict().items()}
    x, weight = torch.randn(shape), torch.randn(shape)
    actual = step(norm.train(), x, weight)
    torch.testing.assert_close(actual, step(norm.eval(), x, weight))
    assert all(torch.equal(value, before[name]) for name, value in norm.state_dict().items())
    assert all(p.grad is not None for p in norm.parameters())


# Shapes of the shares of one batch in process 0 and process 1.
SHARES: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "maps": ((2, 5, 4, 6), (2, 5, 4, 6)),
    "uneven maps": ((1, 5, 4, 6), (3, 5, 4, 6)),
    "pillars": ((30, 5), (50, 5)),
    "no pillar in the second": ((30, 5), (0, 5)),
    "no pillar in the first": ((0, 5), (30, 5)),
    "one pillar each": ((1, 5), (1, 5)),
    "one pillar": ((0, 5), (1, 5)),
    "no pillar": ((0, 5), (0, 5)),
}
STEPS = 2


def shares(name: str, number: int) -> list[tuple[Tensor, Tensor]]:
    """Return the input and the output weights of each process at a step."""
    generator = torch.Generator().manual_seed(number)
    return [
        (torch.randn(s, generator=generator) * 3 + 1, torch.randn(s, generator=generator))
        for s in SHARES[name]
    ]


def sweeps_of(rank: int) -> list[Pillars]:
    """Return the sweeps of a process; process 1 has only empty ones."""
    return [sweep(0), sweep(1, 200)] if rank == 0 else [sweep(2, 0), sweep(3, 0)]


def train_network(batch: PillarBatch) -> dict[str, Tensor]:
    """Return features of a float64 training step, gradients and running moments."""
    model = network().double().train()
    out = model.backbone(model.pillar_features(batch.features.double()), batch.pyramid)
    out.square().sum().backward()
    found = {f"gradient {n}": p.grad for n, p in model.named_parameters() if p.grad is not None}
    return found | dict(model.named_buffers()) | {"out": out.detach()}


def process(rank: int, folder: Path) -> None:
    """Run one of two processes and save its results to ``folder/<rank>.pt``."""
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/meet",
        rank=rank,
        world_size=2,
        timeout=datetime.timedelta(seconds=60),
    )
    results: dict[str, object] = {}
    for name in SHARES:
        norm = norms(5)
        outputs = [step(norm, *shares(name, number)[rank]) for number in range(STEPS)]
        gradients = [p.grad.clone() for p in norm.parameters() if p.grad is not None]
        evaluated = step(norm.eval(), *shares(name, STEPS)[rank])
        results[name] = outputs, evaluated, gradients, norm.state_dict()
    results["network"] = train_network(batch_of(*sweeps_of(rank)))
    torch.save(results, folder / f"{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    """The results of both processes."""
    folder = tmp_path_factory.mktemp("processes")
    torch.multiprocessing.spawn(process, (folder,), nprocs=2)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.parametrize("name", SHARES)
def test_norm_over_processes_equals_batch_norm_of_the_whole_batch(
    name: str, two_processes: list[dict]
) -> None:
    few = sum(np.prod(s) for s in SHARES[name]) <= 5  # torch's own rejects one value per channel
    whole = norms(5, GlobalBatchNorm if few else nn.BatchNorm2d)
    for number in range(STEPS + 1):
        whole.train(number < STEPS)
        if number == STEPS:
            gradients = [p.grad.clone() for p in whole.parameters() if p.grad is not None]
        xs, weights = zip(*shares(name, number), strict=True)
        expected = step(lambda x: as_4d(whole, x), torch.cat(xs), torch.cat(weights))
        for which in range(2):  # output, gradient of the input
            actual = [
                (result[name][0][number] if number < STEPS else result[name][1])[which]
                for result in two_processes
            ]
            torch.testing.assert_close(torch.cat(actual), expected[which], rtol=1e-4, atol=1e-5)
    for first, second, both in zip(*(r[name][2] for r in two_processes), gradients, strict=True):
        torch.testing.assert_close(first + second, both, rtol=1e-4, atol=1e-4)
    for result in two_processes:
        torch.testing.assert_close(result[name][3], dict(whole.state_dict()))


def test_network_over_processes_equals_the_network_on_the_whole_batch(
    two_processes: list[dict],
) -> None:
    """Features, running moments and gradients, although one process has no pillars."""
    first, second = (result["network"] for result in two_processes)
    expected = train_network(batch_of(*sweeps_of(0), *sweeps_of(1)))
    assert len(second["out"]) == 0
    assert first.keys() == second.keys() == expected.keys()
    torch.testing.assert_close(first["out"], expected["out"])
    for name, value in expected.items():
        if name.startswith("gradient"):
            torch.testing.assert_close(first[name] + second[name], value, rtol=1e-6, atol=1e-9)
        elif name != "out":
            torch.testing.assert_close(first[name], value)
            torch.testing.assert_close(second[name], value)


@pytest.mark.parametrize("limit", ["ONEDNN_MAX_CPU_ISA=AVX2", "ATEN_CPU_CAPABILITY=avx2"])
def test_limits_of_the_instruction_set_are_respected(limit: str) -> None:
    code = (
        "import torch; from bev_instseg.models.network import native_dtype; "
        "print(native_dtype(torch.device('cpu')))"
    )
    name, value = limit.split("=")
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, name: value},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "torch.float32"
