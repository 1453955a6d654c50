"""Runtimes give the results of PyTorch; exported models; numbers of threads; 8 bits."""

import json
import math
import os
import pickle
import subprocess
import sys
import sysconfig
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT, STREETS, street

from bev_instseg import CheckpointError, Segmenter, read_scan
from bev_instseg.checkpoint import save_weights
from bev_instseg.cli.main import main
from bev_instseg.engines import choose, torch_engine
from bev_instseg.engines.engine import Runtime, has_runtime
from bev_instseg.engines.onnx_engine import OnnxEngine
from bev_instseg.engines.openvino_engine import OpenVINOEngine
from bev_instseg.engines.threads import cpu_quota, num_threads
from bev_instseg.model_files import (
    pretrained_8_bit_model,
    pretrained_weights,
    stored_config,
)
from bev_instseg.models.onnx_export import export_float32, to_onnx
from bev_instseg.models.pillar_batch import PillarBatch
from bev_instseg.models.quantize import quantize
from bev_instseg.models.rounding import LEVELS, Rounding
from bev_instseg.ops.network_input import OUTPUT_NAMES, input_names
from bev_instseg.ops.voxelize import voxelize
from bev_instseg.structures import Float32

DEMO = ROOT / "demo/sequences/00/velodyne/000000.bin"
KITTI = Path(os.environ.get("KITTI_ROOT", ROOT / "../shared/data/kitti"))
OTHERS: tuple[Runtime, ...] = ("openvino", "onnxruntime")
PARTS = ("centre_m", "precision", "seed")


@pytest.fixture(params=OTHERS)
def runtime(request: pytest.FixtureRequest) -> Runtime:
    name: Runtime = request.param
    if not has_runtime(name):
        pytest.skip(f"{name} is not installed")
    return name


@pytest.fixture
def points() -> Float32:
    return street(STREETS["b"])[0]


@pytest.fixture(scope="module")
def exact() -> Segmenter:
    """The shipped weights in PyTorch and float32."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch_engine, "native_dtype", lambda device: torch.float32)
        return Segmenter.from_pretrained(device="cpu", runtime="torch")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped weights as ONNX in float32."""
    pytest.importorskip("onnx")
    out = tmp_path_factory.mktemp("exported")
    assert main(["export", "--format", "onnx", "--out", str(out)]) == 0
    return out / "model.onnx"


# ------------------------------------------------------------------------------ float32


def test_an_exported_model_gives_the_maps_and_labels_of_torch(
    exact: Segmenter, exported: Path, runtime: Runtime
) -> None:
    other = Segmenter.from_checkpoint(exported, runtime=runtime)
    assert other.engine.runtime == runtime
    assert other.config == exact.config
    sweeps = [read_scan(DEMO), read_scan(DEMO)[::7], np.zeros((0, 4), np.float32)]
    sweeps += [read_scan(path) for path in sorted(KITTI.glob("unlabelled/velodyne/*.bin"))[:3]]
    for points in sweeps:
        one, two = (segmenter.segment_with_maps(points) for segmenter in (exact, other))
        for part in PARTS:
            ours, theirs = getattr(one.embeddings, part), getattr(two.embeddings, part)
            np.testing.assert_allclose(theirs, ours, rtol=1e-3, atol=1e-3)
        np.testing.assert_array_equal(two.instances.labels, one.instances.labels)
        np.testing.assert_array_equal(two.instances.classes, one.instances.classes)


def test_a_network_in_memory_runs_in_every_runtime(runtime: Runtime, model, config, points):
    pytest.importorskip("onnx")
    one, other = Segmenter(model, config, "cpu"), Segmenter(model, config, runtime=runtime)
    pillars = voxelize(points, config.grid)
    for part in PARTS:
        ours, theirs = (getattr(each.infer(pillars), part) for each in (one, other))
        np.testing.assert_allclose(theirs, ours, rtol=0.05, atol=0.05)  # torch may use bfloat16


def test_the_grid_and_the_number_of_sweeps_are_free(model, config, runtime: Runtime) -> None:
    pytest.importorskip("onnx")
    body = export_float32(model, config.grid)
    engine = OpenVINOEngine(body, b"", 2) if runtime == "openvino" else OnnxEngine(body, 2)
    exact = model.folded(torch.float32)
    rng = np.random.default_rng(0)
    points = rng.uniform((-9, -9, -1, 0), (9, 9, 1, 1), (3000, 4)).astype(np.float32)
    for nx, ny in ((64, 64), (32, 64), (64, 32)):
        pillars = voxelize(points, config.grid.window(0, 0, nx, ny))
        expected = exact.infer(PillarBatch.from_pillars([pillars], 2))
        np.testing.assert_allclose(engine.infer(pillars).seed, expected.seed, atol=1e-4)


def test_openvinos_own_format(exact: Segmenter, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    pytest.importorskip("onnx")
    assert main(["export", "--format", "openvino", "--out", str(tmp_path)]) == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.bin", "model.json", "model.xml"]
    other = Segmenter.from_checkpoint(tmp_path / "model.xml")
    points = read_scan(DEMO)
    np.testing.assert_array_equal(other.segment(points).labels, exact.segment(points).labels)
    with pytest.raises(ValueError, match="onnxruntime does not read"):
        Segmenter.from_checkpoint(tmp_path / "model.xml", runtime="onnxruntime")
    (tmp_path / "model.bin").write_bytes(b"\0" * 1000)
    with pytest.raises(CheckpointError, match=r"model\.xml: damaged"):
        Segmenter.from_checkpoint(tmp_path / "model.xml")


def test_the_sidecar_says_what_was_exported(exported: Path) -> None:
    sidecar = json.loads(exported.with_suffix(".json").read_text())
    source = json.loads(pretrained_weights().with_suffix(".json").read_text())
    assert sidecar["precision"] == "fp32"
    assert sidecar["exported_from_sha256"] == source["sha256"]
    one, other = (stored_config(found["config"], "json") for found in (sidecar, source))
    assert one == other


def test_inputs_and_outputs_have_their_names(exported: Path) -> None:
    onnx = pytest.importorskip("onnx")
    graph = onnx.load(exported).graph
    assert tuple(each.name for each in graph.input) == input_names(4)
    assert tuple(each.name for each in graph.output) == OUTPUT_NAMES


# ------------------------------------------------------------------------------ 8 bits


def test_the_packaged_8_bit_model_fits_the_weights() -> None:
    sidecar = json.loads(pretrained_8_bit_model().with_suffix(".json").read_text())
    source = json.loads(pretrained_weights().with_suffix(".json").read_text())
    assert sidecar["exported_from_sha256"] == source["sha256"], "export it again"
    assert sidecar["config"] == source["config"]
    assert sidecar["precision"] == "int8"
    assert pretrained_8_bit_model().stat().st_size < 1.8e6


def test_the_packaged_8_bit_model_finds_the_same_objects(exact, runtime: Runtime) -> None:
    """All but one at most, whose seeds are close to their threshold."""
    rough = Segmenter.from_pretrained(runtime=runtime)
    points = read_scan(DEMO)
    one, other = exact.segment(points), rough.segment(points)
    assert not np.array_equal(one.scores, other.scores)
    assert abs(len(one) - len(other)) <= 1
    found = 0
    for instance in range(1, len(one) + 1):
        mask = one.labels == instance
        best = other.labels == np.bincount(other.labels[mask]).argmax()
        found += (mask & best).sum() > 0.9 * (mask | best).sum()
    assert found >= len(one) - 1 > 20


def test_quantized_networks_round_weights_and_activations(model, config, points) -> None:
    network = model.folded(torch.float32)
    batch = PillarBatch.from_pillars([voxelize(points, config.grid)], 2)
    rounded = quantize(network, [batch])
    assert not any(module.step for module in network.modules() if isinstance(module, Rounding))
    nothing = PillarBatch.from_pillars([voxelize(points + np.float32(1000), config.grid)], 2)
    with pytest.raises(ValueError, match="no point of the sweeps is on the grid"):
        quantize(network, [nothing])
    assert all(module.step > 0 for module in rounded.modules() if isinstance(module, Rounding))
    weight = rounded.backbone.sparse_up[0].merge.layer.weight
    for channel, exact_channel in zip(
        weight, network.backbone.sparse_up[0].merge.layer.weight, strict=True
    ):
        step = exact_channel.abs().max() / 127
        assert len(channel.unique()) <= 255
        assert (channel - exact_channel).abs().max() <= step / 2 + 1e-7
    assert torch.equal(rounded.heads.out.weight, network.heads.out.weight)
    one, other = network.infer(batch), rounded.infer(batch)
    assert 0 < np.abs(one.seed - other.seed).max() < 0.2


def test_rounding_keeps_zero_and_the_largest() -> None:
    rounding = Rounding()
    x = torch.tensor([0.0, 0.3, 0.52, 2.55, 3.0])
    assert rounding(x) is x
    rounding.step = 2.55 / (LEVELS - 1)
    torch.testing.assert_close(rounding(x), torch.tensor([0.0, 0.3, 0.52, 2.55, 2.55]))


def test_8_bit_models_compute_what_they_round(model, config, points, runtime: Runtime) -> None:
    pytest.importorskip("onnx")
    pillars = voxelize(points, config.grid)
    batch = PillarBatch.from_pillars([pillars], 2)
    rounded = quantize(model.folded(torch.float32), [batch])
    body = to_onnx(rounded, config.grid)
    engine = OpenVINOEngine(body, b"", 2) if runtime == "openvino" else OnnxEngine(body, 2)
    expected, found = rounded.infer(batch), engine.infer(pillars)
    close = np.abs(found.seed - expected.seed) < 0.02  # a rounding may fall to the other side
    assert close.mean() > 0.99


# ------------------------------------------------------------------------------ choice


def test_the_fastest_runtime_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = {"openvino", "torch", "onnxruntime"}
    monkeypatch.setattr(choose, "has_runtime", lambda name: name in installed)
    monkeypatch.setattr("bev_instseg.engines.engine.has_runtime", lambda name: name in installed)
    monkeypatch.setattr(choose, "_has_gpu", lambda: False)
    assert choose.pretrained_file("default", "auto", "auto", "auto") == pretrained_8_bit_model()
    assert choose.pretrained_file("default", "auto", "auto", "torch") == pretrained_weights()
    assert choose.pretrained_file("default", "auto", "torch", "auto") == pretrained_weights()
    assert choose.pretrained_file("default", "cuda", "auto", "auto") == pretrained_weights()
    monkeypatch.setattr(choose, "_has_gpu", lambda: True)
    assert choose.pretrained_file("default", "auto", "auto", "auto") == pretrained_weights()
    assert choose.pretrained_file("default", "cpu", "auto", "auto") == pretrained_8_bit_model()
    installed.remove("openvino")
    assert choose.pretrained_file("default", "cpu", "auto", "auto") == pretrained_weights()
    installed.remove("torch")
    assert choose.pretrained_file("default", "cpu", "auto", "auto") == pretrained_8_bit_model()
    installed.clear()
    with pytest.raises(ValueError, match="torch is not installed: pip install torch"):
        choose.pretrained_file("default", "cuda", "auto", "auto")
    with pytest.raises(ValueError, match="no runtime is installed: pip install openvino"):
        choose.pretrained_file("default", "cpu", "auto", "auto")
    with pytest.raises(ValueError, match="openvino is not installed: pip install openvino"):
        choose.pretrained_file("default", "cpu", "auto", "openvino")


def test_options_that_do_not_go_together_raise(model, config, runtime: Runtime) -> None:
    with pytest.raises(ValueError, match="runtime must be one of auto, torch, openvino"):
        Segmenter(model, config, runtime="tensorrt")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="device must be one of auto, cpu, cuda, got 'cuda:0'"):
        Segmenter.from_pretrained(device="cuda:0", runtime=runtime)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="device must be one of auto, cpu, cuda, got 'gpu'"):
        Segmenter.from_pretrained(device="gpu")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=f"device cuda: {runtime} only runs on the CPU"):
        Segmenter(model, config, "cuda", runtime=runtime)
    with pytest.raises(ValueError, match="has no sparse backends"):
        Segmenter.from_pretrained(sparse_backend="torch", runtime=runtime)
    with pytest.raises(ValueError, match="torch does not run exported models"):
        Segmenter.from_checkpoint(pretrained_8_bit_model(), runtime="torch")
    with pytest.raises(ValueError, match="has no sparse backends"):
        Segmenter.from_pretrained(device="cpu", runtime=runtime).with_sparse_backend("torch")


# ------------------------------------------------------------------------------ threads


def test_threads_share_an_engine_and_copies_travel(runtime: Runtime) -> None:
    segmenter = Segmenter.from_pretrained(runtime=runtime)
    points = read_scan(DEMO)
    expected, found = segmenter.segment(points).labels, []

    def work() -> None:
        segmenter.engine.use_one_thread()
        found.append(segmenter.segment(points).labels)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found.append(pickle.loads(pickle.dumps(segmenter)).segment(points).labels)
    assert len(found) == 5
    assert all(np.array_equal(labels, expected) for labels in found)


def test_the_number_of_threads_follows_environment_and_quota(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bev_instseg.engines.threads.CGROUP", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert num_threads() == 8
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    assert num_threads() == 2
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert num_threads() == 8
    monkeypatch.setenv("OMP_NUM_THREADS", "3,2")
    assert num_threads() == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "many")
    assert num_threads() == 8


def test_quota_of_an_outer_control_group_counts(tmp_path: Path) -> None:
    inner = tmp_path / "system.slice/robot.service"
    inner.mkdir(parents=True)
    (inner / "cpu.max").write_text("max 100000\n")
    (tmp_path / "system.slice/cpu.max").write_text("120000 100000\n")
    own = "1:name=systemd:/x\n0::/system.slice/robot.service\n"
    assert cpu_quota(tmp_path, own) == 1.2
    assert cpu_quota(tmp_path, "0::/system.slice/other\n") == 1.2
    assert cpu_quota(tmp_path, "0::/../outside\n") == math.inf
    assert cpu_quota(tmp_path) == math.inf


def test_quota_of_old_control_groups(tmp_path: Path) -> None:
    assert cpu_quota(tmp_path) == math.inf
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu/cpu.cfs_quota_us").write_text("50000\n")
    (tmp_path / "cpu/cpu.cfs_period_us").write_text("100000\n")
    assert cpu_quota(tmp_path) == 0.5
    (tmp_path / "cpu/cpu.cfs_quota_us").write_text("-1\n")
    assert cpu_quota(tmp_path) == math.inf


# ------------------------------------------------------------------------------ export


def test_8_bits_from_given_sweeps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnx")
    arguments = ["export", "--format", "onnx", "--precision", "int8", "--sweeps", str(DEMO)]
    assert main([*arguments, "--out", str(tmp_path)]) == 0
    assert "model.onnx: int8, 1.7 MB; settings in model.json" in capsys.readouterr().out
    assert json.loads((tmp_path / "model.json").read_text())["precision"] == "int8"


def test_8_bits_are_chosen_from_the_intensities_that_the_network_sees(
    model, config, points, tmp_path: Path, one_thread
) -> None:
    pytest.importorskip("onnx")
    command = ["export", "--format", "onnx", "--precision", "int8", "--weights"]
    points[:, 3] = np.random.default_rng(0).uniform(0, 0.5, len(points))
    for relative, same in ((True, True), (False, False)):
        settings = replace(config.model, relative_intensity=relative)
        weights = tmp_path / f"{relative}.safetensors"
        save_weights(weights, model, replace(config, model=settings), {})
        hashes = set()
        for gain in (1, 0.25):
            sweep = tmp_path / f"{gain}.npy"
            np.save(sweep, points * np.float32([1, 1, 1, gain]))
            out = tmp_path / f"{relative} {gain}"
            main([*command, str(weights), "--sweeps", str(sweep), "--out", str(out)])
            hashes.add(json.loads((out / "model.json").read_text())["sha256"])
        assert (len(hashes) == 1) == same


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--weights", str(pretrained_8_bit_model())], "already exported"),
        (["--sweeps", str(DEMO)], "--sweeps is for --precision int8"),
        (["--precision", "int8", "--sweeps", str(ROOT / "configs")], "no sweeps here"),
    ],
)
def test_what_export_refuses(options, message, tmp_path, capsys) -> None:
    assert main(["export", "--format", "onnx", "--out", str(tmp_path / "x"), *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "x").exists()


def test_an_export_does_not_replace_the_json_of_weights(model, config, tmp_path, capsys) -> None:
    weights = tmp_path / "model.safetensors"
    save_weights(weights, model, config, {})
    before = (tmp_path / "model.json").read_bytes()
    command = ["export", "--format", "onnx", "--weights", str(weights), "--out", str(tmp_path)]
    assert main(command) == 2
    assert "model.safetensors: needs model.json, which model.onnx would" in capsys.readouterr().err
    assert (tmp_path / "model.json").read_bytes() == before


# ------------------------------------------------------------------------------ without torch

NEEDED = (  # by every sweep; the runtime comes on top
    *("numpy", "numpy.libs", "numba", "llvmlite", "yaml", "tqdm", "pydantic", "pydantic_core"),
    *("annotated_types", "typing_extensions.py", "typing_inspection"),
)
RUNTIME_PACKAGES = {
    "openvino": ("openvino", "openvino_telemetry"),
    "onnxruntime": ("onnxruntime", "flatbuffers", "google", "packaging"),
}


def test_a_sweep_is_segmented_without_torch_and_open3d(runtime: Runtime, tmp_path: Path) -> None:
    """In an environment that has nothing but what the README's line installs."""
    packages = tmp_path / "packages"
    packages.mkdir()
    present = [Path(sysconfig.get_path("purelib")), *map(Path, sys.path)]
    for name in (*NEEDED, *RUNTIME_PACKAGES[runtime]):
        found = next((folder / name for folder in present if (folder / name).exists()), None)
        if found:
            (packages / name).symlink_to(found)
    (packages / "bev_instseg").symlink_to(ROOT / "bev_instseg")
    code = (
        "import sys; from bev_instseg.cli.main import main; code = main(sys.argv[1:]); "
        "assert not {'torch', 'open3d', 'matplotlib', 'safetensors'} & set(sys.modules); "
        "sys.exit(code)"
    )
    command = ["segment", str(DEMO), "--out", str(tmp_path / "out"), "--pcd"]
    done = subprocess.run(
        [sys.executable, "-S", "-c", code, *command],
        env={"PYTHONPATH": str(packages), "HOME": str(tmp_path), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    expected = Segmenter.from_pretrained(runtime=runtime).segment(read_scan(DEMO))
    counts = np.bincount(expected.classes)
    assert "{} vehicle, {} pedestrian, {} cyclist".format(*counts) in done.stdout
    assert {path.suffix for path in (tmp_path / "out").iterdir()} == {".json", ".label", ".pcd"}
