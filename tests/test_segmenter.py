"""Segmenter: NumPy in, NumPy out, with any weights, device and sparse backend."""

import dataclasses
import time
import warnings

import numpy as np
import pytest
import torch
from conftest import STREETS, street

from bev_instseg.checkpoint import save_state, save_weights
from bev_instseg.config import ClusterConfig
from bev_instseg.config_files import config_to_dict
from bev_instseg.datasets.frames import list_frames
from bev_instseg.engines import torch_engine
from bev_instseg.engines.torch_engine import TorchEngine
from bev_instseg.evaluation.score_frames import score_frames
from bev_instseg.exceptions import CheckpointError
from bev_instseg.models.network import BEVNet
from bev_instseg.models.pillar_batch import PillarBatch
from bev_instseg.models.sparse import has_spconv
from bev_instseg.ops.assemble import assemble
from bev_instseg.ops.voxelize import voxelize
from bev_instseg.segmenter import Segmenter
from bev_instseg.stages import assembly_rules, cluster_pillars


@pytest.fixture
def config(tiny_config):
    """Thresholds at which even an untrained network finds something."""
    return dataclasses.replace(tiny_config, cluster=ClusterConfig(0.0, 0.0, 0.0))


@pytest.fixture
def model(config):
    torch.manual_seed(0)
    return BEVNet(config)


@pytest.fixture
def segmenter(model, config, one_thread):
    return Segmenter(model, config, "cpu", "abc")


@pytest.fixture
def points():
    return street(STREETS["b"])[0]


def assert_same(one, other):
    for name in ("labels", "classes", "scores", "boxes"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_numpy_in_numpy_out(segmenter, points):
    before = points.copy()
    instances = segmenter.segment(points)
    assert len(instances) > 0  # else the rest tests nothing
    for name, dtype, shape in (
        ("labels", np.int32, (len(points),)),
        ("classes", np.int32, (len(instances),)),
        ("scores", np.float32, (len(instances),)),
        ("boxes", np.float32, (len(instances), 7)),
    ):
        array = getattr(instances, name)
        assert type(array) is np.ndarray
        assert (array.dtype, array.shape) == (dtype, shape)
    assert instances.class_names == ("vehicle", "pedestrian", "cyclist")
    assert set(instances.labels.tolist()) == set(range(len(instances) + 1))
    assert (np.diff(instances.scores) <= 0).all()
    assert (instances.scores > 0).all()
    assert (instances.scores <= 1).all()
    np.testing.assert_array_equal(points, before)


def test_instances_obey_the_heights_and_sizes_of_their_class(segmenter, points):
    instances = segmenter.segment(points)
    z = points[:, 2] + 1.7
    for k, kind in enumerate(instances.classes, 1):
        own = instances.labels == k
        assert own.sum() >= segmenter.config.classes[kind].min_points
        assert z[own].min() > segmenter.config.cluster.min_height_m - 0.05
        assert z[own].max() < segmenter.config.classes[kind].max_height_m + 0.05


def test_the_given_network_is_unchanged(model, config, points, one_thread):
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    Segmenter(model, config, "cpu").segment(points)
    assert model.training
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_results_are_deterministic(segmenter, model, config, points):
    first = segmenter.segment(points)
    segmenter.segment(points[::2].copy())  # keeps no state
    assert_same(first, segmenter.segment(points))
    assert_same(first, Segmenter(model, config, "cpu").segment(points))


def test_thresholds_can_be_changed(segmenter, points):
    before = segmenter.config
    strict = dataclasses.replace(before, cluster=ClusterConfig(1.0, 0.0, 0.0))
    assert len(segmenter.with_config(strict).segment(points)) == 0
    assert segmenter.config is before  # the first segmenter is unchanged
    assert len(segmenter.segment(points)) > 0
    other = dataclasses.replace(before, model=dataclasses.replace(before.model, bandwidth="scalar"))
    with pytest.raises(ValueError, match="are fixed by the weights"):
        segmenter.with_config(other)


def test_segmentation_holds_the_result_of_each_stage(segmenter, points):
    found = segmenter.segment_with_maps(points)
    pillars = voxelize(points, segmenter.config.grid)
    np.testing.assert_array_equal(found.pillars.features, pillars.features)
    np.testing.assert_array_equal(found.embeddings.seed, segmenter.infer(pillars).seed)
    clusters = cluster_pillars(found.embeddings, pillars, segmenter.config)
    np.testing.assert_array_equal(found.clusters.labels, clusters.labels)
    np.testing.assert_array_equal(found.clusters.openers, clusters.openers)
    assert (clusters.labels[clusters.openers] == np.arange(1, len(clusters.openers) + 1)).all()
    assert_same(found.instances, segmenter.segment(points))
    rules = assembly_rules(segmenter.config)
    assert_same(found.instances, assemble(points, pillars, clusters, rules))


def test_scores_can_be_calibrated_and_thresholded(segmenter, points):
    before = segmenter.segment(points)
    a_b_c = (-3.0, 1.0, 1.0)  # odds e^-3 s / (1 - s) n

    def with_cluster(**changes):
        cluster = dataclasses.replace(segmenter.config.cluster, **changes)
        return dataclasses.replace(segmenter.config, cluster=cluster)

    segmenter = segmenter.with_config(with_cluster(calibration=(a_b_c,) * 3))
    after = segmenter.segment(points)
    s = before.scores.astype(np.float64)
    odds = np.exp(-3) * s / (1 - s) * before.num_points
    np.testing.assert_allclose(after.scores, np.sort(odds / (1 + odds))[::-1], rtol=1e-5)

    middle = float(np.median(after.scores))
    high = segmenter.with_config(with_cluster(score_threshold=middle)).segment(points)
    assert 0 < len(high) < len(after)
    np.testing.assert_array_equal(high.scores, after.scores[after.scores >= np.float32(middle)])
    np.testing.assert_array_equal(high.labels, np.where(after.labels <= len(high), after.labels, 0))


@pytest.mark.parametrize("count", [0, 1, 2])
def test_a_sweep_of_few_points_has_no_instances(segmenter, count):
    instances = segmenter.segment(np.ones((count, 4), np.float32))
    assert instances.labels.tolist() == [0] * count
    assert instances.boxes.shape == (0, 7)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
def test_a_sweep_outside_the_grid_has_no_instances(segmenter, value):
    instances = segmenter.segment(np.full((50, 4), value, np.float32))
    assert instances.labels.tolist() == [0] * 50
    assert len(instances) == 0


def test_nan_points_are_in_no_instance_and_change_nothing(segmenter, points):
    instances = segmenter.segment(points)
    nan_points = np.full((100, 4), np.nan, np.float32)
    mixed = segmenter.segment(np.concatenate([nan_points, points]))
    assert (mixed.labels[:100] == 0).all()
    np.testing.assert_array_equal(mixed.labels[100:], instances.labels)


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((5, 4), np.float64),
        np.zeros((5, 4), np.int32),
        np.zeros((5, 3), np.float32),
        np.zeros((5, 5), np.float32),
        np.zeros(20, np.float32),
    ],
)
def test_wrong_dtype_or_shape_raises(segmenter, wrong):
    with pytest.raises(ValueError, match=r"points must be float32 \(N, 4\)"):
        segmenter.segment(wrong)


@pytest.mark.parametrize("wrong", [None, "sweep.bin", [[1.0, 2.0, 3.0, 0.5]], torch.zeros(5, 4)])
def test_what_is_no_array_raises(segmenter, wrong):
    with pytest.raises(ValueError, match="points must be a NumPy array, got "):
        segmenter.segment(wrong)


def test_intensities_above_1_are_said(segmenter, points):
    bright = points * np.float32([1, 1, 1, 255])
    with pytest.warns(UserWarning, match=r"intensities are above 1: scale them to 0\.\.1"):
        segmenter.segment(bright)
    with pytest.warns(UserWarning, match="intensities are above 1"):
        segmenter.segment_with_maps(bright)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        segmenter.segment(points)
    assert not [one for one in caught if "intensities" in str(one.message)]


def test_a_strided_sweep_gives_the_same_instances(segmenter, points):
    wide = np.zeros((len(points), 8), np.float32)
    wide[:, ::2] = points
    assert_same(segmenter.segment(wide[:, ::2]), segmenter.segment(points))


def test_each_stage_is_timed(segmenter, points):
    timing_ms = segmenter.segment_with_maps(points).timing_ms
    assert list(timing_ms) == ["voxelize", "network", "cluster", "assemble"]
    assert all(0 < value < 60_000 for value in timing_ms.values())


def test_both_formats_of_weights_give_the_same_segmenter(
    tmp_path, model, config, points, one_thread
):
    save_state(tmp_path / "a.pt", {"config": config_to_dict(config), "model": model.state_dict()})
    save_weights(tmp_path / "a.safetensors", model, config, {})
    one, other = (Segmenter.from_checkpoint(tmp_path / f"a.{end}") for end in ("pt", "safetensors"))
    assert_same(one.segment(points), other.segment(points))
    assert_same(one.segment(points), Segmenter(model, config).segment(points))
    assert one.weights_sha256 == other.weights_sha256
    assert len(one.weights_sha256) == 64
    assert one.config == other.config == config
    assert_same(
        one.segment(points), Segmenter.from_checkpoint(str(tmp_path / "a.pt")).segment(points)
    )


def test_missing_weights_are_reported(tmp_path):
    with pytest.raises(CheckpointError, match=r"none\.safetensors"):
        Segmenter.from_checkpoint(tmp_path / "none.safetensors")


def test_a_missing_gpu_raises(model, config, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="device cuda: no CUDA device found") as caught:
        Segmenter(model, config, "cuda")
    assert "\n" not in str(caught.value)
    assert Segmenter(model, config, "auto").engine.device == "cpu"


def test_an_unknown_device_raises(model, config):
    with pytest.raises(ValueError, match="device must be one of auto, cpu, cuda, got 'cuda:0'"):
        Segmenter(model, config, "cuda:0")  # type: ignore[arg-type]


def test_evaluation_covers_the_given_frames(segmenter, config, kitti_root):
    refs = list_frames(kitti_root, "kitti", ["train", "val"])
    result = score_frames(segmenter, refs, config).result()
    counted = [r.tp + r.fn for r in result.per_class.values()]
    assert counted == [5, 3, 2]  # the things of streets a, b and c
    nothing = score_frames(segmenter, [], config).result()
    assert np.isnan(nothing.mean_pq)


def test_the_sparse_backend_can_be_chosen(model, config, points, monkeypatch):
    with pytest.raises(
        ValueError, match="sparse_backend must be one of auto, torch, spconv, got 'dense'"
    ):
        Segmenter(model, config, "cpu", sparse_backend="dense")  # type: ignore[arg-type]
    monkeypatch.setattr(torch_engine, "has_spconv", lambda: False)
    with pytest.raises(ValueError, match=r"spconv is not installed: pip install .*gpu"):
        Segmenter(model, config, "cpu", sparse_backend="spconv")
    segmenter = Segmenter(model, config, "cpu")
    assert segmenter.engine.sparse_backend == "torch"
    assert segmenter.with_sparse_backend("torch").engine.sparse_backend == "torch"
    with pytest.raises(ValueError, match="sparse_backend must be one of torch, spconv, got 'auto'"):
        segmenter.with_sparse_backend("auto")
    with pytest.raises(ValueError, match=r"spconv is not installed: pip install .*gpu"):
        segmenter.with_sparse_backend("spconv")


def test_the_faster_sparse_backend_is_chosen(model, config, monkeypatch):
    engine = TorchEngine(model, config.grid, "cpu", "auto")
    seconds = {"torch": 0.02, "spconv": 0.01}

    def infer(pillars):
        assert 5_000 < len(pillars.cells) < 50_000 or config.grid.cell_m != 0.2
        time.sleep(seconds[chosen[-1]])
        if broken and chosen[-1] == "spconv":
            raise ImportError("libcudart")

    broken, chosen = False, []
    monkeypatch.setattr(engine, "infer", infer)
    monkeypatch.setattr(engine.network, "set_sparse_backend", chosen.append)
    assert engine._faster_sparse_backend(config.grid) == "spconv"
    broken = True
    assert engine._faster_sparse_backend(config.grid) == "torch"
    broken, seconds["torch"] = False, 0.0
    assert engine._faster_sparse_backend(config.grid) == "torch"


@pytest.mark.skipif(not has_spconv(), reason="spconv is not installed")
def test_spconv_gives_the_same_instances(model, config, points, one_thread):
    one, other = (Segmenter(model, config, "cpu", sparse_backend=s) for s in ("torch", "spconv"))
    pillars = voxelize(points, config.grid)
    for name in ("seed", "centre_m", "precision"):
        np.testing.assert_allclose(
            getattr(one.infer(pillars), name), getattr(other.infer(pillars), name), atol=0.02
        )
    assert other.engine.sparse_backend == "spconv"
    assert len(other.segment(points)) > 0
    assert len(other.segment(np.zeros((0, 4), np.float32))) == 0
    state = torch.get_rng_state()
    other.segment(points)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.skipif(not has_spconv(), reason="spconv is not installed")
def test_spconv_agrees_on_a_gpu_and_the_faster_is_chosen(model, config, points):
    cpu = Segmenter(model, config, "cpu")
    gpu = Segmenter(model, config, "cuda", sparse_backend="spconv")
    pillars = voxelize(points, config.grid)
    for name in ("seed", "centre_m"):
        one, other = (getattr(s.infer(pillars), name) for s in (cpu, gpu))
        np.testing.assert_allclose(one, other, atol=0.05)
    assert Segmenter(model, config, "cuda").engine.sparse_backend in ("torch", "spconv")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cpu_and_gpu_agree(model, config, points, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    batch = PillarBatch.from_pillars([voxelize(points, config.grid)], 2)
    cpu = model.eval().infer(batch)
    gpu = model.to("cuda").infer(batch.to("cuda"))
    for name in ("seed", "centre_m", "precision"):
        np.testing.assert_allclose(getattr(gpu, name), getattr(cpu, name), rtol=1e-3, atol=1e-4)
    assert Segmenter(model, config, "auto").engine.device == "cuda"
    assert len(Segmenter(model, config, "cuda").segment(points)) > 0
