"""Every part of the benchmark on the bundled sweep, and reports of missing packages."""

import builtins
import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import ROOT

from bev_instseg import Segmenter, read_scan
from bev_instseg.benchmark import cold_start, decoders, growth, load, peers, runtimes, throughput
from bev_instseg.benchmark.growth import Growth
from bev_instseg.benchmark.measure import Machine, Timing, measure
from bev_instseg.benchmark.report import compare_results, number_table
from bev_instseg.benchmark.setup import Setup
from bev_instseg.cli import benchmark
from bev_instseg.config import ClusterConfig, Config
from bev_instseg.grid import BEVGrid
from bev_instseg.model_files import pretrained_8_bit_model, pretrained_weights
from bev_instseg.ops.cluster import cluster
from bev_instseg.ops.voxelize import voxelize
from bev_instseg.structures import PillarEmbeddings

DEMO = ROOT / "demo" / "sequences" / "00" / "velodyne" / "000000.bin"


def constant(ms):
    return Timing(ms, ms, ms)


@pytest.fixture(scope="module")
def segmenter():
    return Segmenter.from_pretrained(device="cpu")


def hide(monkeypatch, *packages):
    """Make these packages look as if they were not installed."""
    real = builtins.__import__

    def refuse(name, *rest):
        if name.split(".")[0] in packages:
            raise ImportError(f"No module named {name!r}")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)


def test_timing_is_median_and_percentiles():
    assert Timing.from_samples([3, 1, 2, 5, 4]) == Timing(
        3.0, pytest.approx(1.4), pytest.approx(4.6)
    )
    calls = []
    timing = measure(lambda: calls.append(0), repeats=7, warm_up=2)
    assert len(calls) == 9
    assert 0 <= timing.low_ms <= timing.median_ms <= timing.high_ms < 100


def test_slope_of_growth():
    sizes = (0, 1, 10, 100)
    linear = Growth("x", "y", sizes, tuple(constant(2.0 * n + (n == 0)) for n in sizes))
    square = Growth("x", "y", sizes, tuple(constant(3.0 * n * n + (n == 0)) for n in sizes))
    assert linear.slope == pytest.approx(1)
    assert square.slope == pytest.approx(2)


@pytest.mark.parametrize("count", [0, 10, 1000, 2500])
def test_resized_sweeps(count):
    sweep = np.random.default_rng(0).normal(size=(1000, 4)).astype(np.float32)
    points = growth.resized(sweep, count) if count else sweep[:0]
    assert points.shape == (count, 4)
    assert points.dtype == np.float32
    ranges = np.hypot(*points[:1000, :2].T)
    assert set(np.round(ranges, 3)) <= set(np.round(np.hypot(*sweep[:, :2].T), 3))


def test_objects_of_a_crowd_are_found():
    embeddings = growth.crowd(100)
    found = cluster(embeddings, 0.7, 0.2, 0.5)
    assert 80 <= len(found.classes) <= 110


def test_finer_cells_keep_the_range():
    grid = growth.with_cells_per_side(BEVGrid(), 1024)
    assert grid.shape == (1024, 1024)
    assert grid.x_range_m == (-51.2, 51.2)


def test_sequential_decoder_finds_the_same_instances(segmenter):
    pillars = voxelize(read_scan(DEMO), segmenter.config.grid)
    embeddings = segmenter.infer(pillars)
    ours, dense = (
        decode(pillars, embeddings, segmenter.config)
        for decode in (decoders.bandwidth_aware, decoders.sequential_dense)
    )
    assert len(ours.classes) > 10
    np.testing.assert_array_equal(ours.labels, dense.labels)
    np.testing.assert_array_equal(ours.classes, dense.classes)
    np.testing.assert_allclose(ours.scores, dense.scores, atol=1e-6)


def test_our_decoder_joins_pieces_as_the_segmenter_does():
    segmenter = Segmenter.from_pretrained("lanes", device="cpu")
    segmentation = segmenter.segment_with_maps(read_scan(DEMO))
    inputs = segmentation.pillars, segmentation.embeddings, segmenter.config
    labels = decoders.bandwidth_aware(*inputs).labels
    np.testing.assert_array_equal(labels, segmentation.clusters.labels)
    assert labels.max() < decoders.sequential_dense(*inputs).labels.max()


def test_clusters_without_a_seed_are_dropped():
    labels = decoders._drop_unseeded(
        np.array([1, 1, 2, 3, 3]), np.array([0.9, 0.1, 0.5, 0.1, 0.8]), 0.7
    )
    assert labels.tolist() == [1, 1, 0, 2, 2]


def pillars_and_embeddings(*centres_m, seeds=None):
    """A row of pillars that point to these centres, surely by default."""
    count = len(centres_m)
    seed = np.ones(count) if seeds is None else seeds
    cells = np.arange(count, dtype=np.int32)
    pillars = SimpleNamespace(cells=cells, grid=BEVGrid())
    embeddings = PillarEmbeddings(
        np.array(centres_m, np.float32).reshape(count, 2),
        np.ones((count, 3), np.float32),
        np.array(seed, np.float32).reshape(count, 1),
    )
    return pillars, embeddings


ON_EMBEDDINGS = [
    decoders.dbscan_on_embeddings,
    decoders.mean_shift_on_embeddings,
    decoders.hdbscan_on_embeddings,
]


@pytest.mark.parametrize("decode", ON_EMBEDDINGS)
def test_blobs_of_embeddings_come_out_as_instances(decode):
    pytest.importorskip("sklearn")
    noise_m = np.random.default_rng(0).uniform(-0.1, 0.1, (40, 2))
    blob = np.repeat([0, 1], 20)
    centres_m = np.array([[3, 4], [9, -5]])[blob] + noise_m
    sure = np.where(np.arange(40) % 5, 0.5, 0.9)
    cluster = ClusterConfig(seed_threshold=0.8, member_threshold=0.2)
    config = dataclasses.replace(Config(), cluster=cluster)
    seeds = np.append(sure, [0.1] * 10)  # ten pillars of the background in between
    found = decode(*pillars_and_embeddings(*centres_m, *np.full((10, 2), 6), seeds=seeds), config)
    assert len(found.classes) == 2
    first = found.labels[0]
    assert found.labels.tolist() == [first] * 20 + [3 - first] * 20 + [0] * 10
    unseeded = np.where(blob == 1, 0.5, sure)
    found = decode(*pillars_and_embeddings(*centres_m, seeds=unseeded), config)
    assert found.labels.tolist() == [1] * 20 + [0] * 20


@pytest.mark.filterwarnings("ignore:Binning data failed")  # with so few: harmless
@pytest.mark.parametrize("decode", ON_EMBEDDINGS)
@pytest.mark.parametrize("count", [0, 1, 2, 6, 20])
def test_few_or_equal_embeddings_are_at_most_one_instance(decode, count):
    pytest.importorskip("sklearn")
    found = decode(*pillars_and_embeddings(*np.full((count, 2), 5.0)), Config())
    fewest = decoders.HDBSCAN_MIN_PILLARS if decode is decoders.hdbscan_on_embeddings else 1
    assert found.labels.tolist() == [int(count >= fewest)] * count


def test_missing_packages_are_reported(segmenter, monkeypatch):
    hide(monkeypatch, "pypatchworkpp", "sklearn", "scipy")
    [(name, reason)] = peers.time_peers([DEMO]).items()
    assert name == "ground removal + DBSCAN"
    assert "pypatchworkpp" in reason
    assert "pip install 'bev-instseg[peers]'" in reason
    refs = decoders.list_labelled_frames(ROOT / "demo")
    found = decoders.compare_decoders(segmenter, refs, 1)
    measured = [name for name, outcome in found.items() if not isinstance(outcome, str)]
    assert measured == list(decoders.DECODERS)[:2]
    assert "No module named 'sklearn" in found["mean shift on shifted pillars"]
    assert "pip install 'bev-instseg[peers]'" in found["HDBSCAN on shifted pillars"]


def test_throughput_measures_rate_and_memory(segmenter):
    found = throughput.measure_throughput(segmenter, [DEMO], 4)
    assert found["sweeps_s"] > 0
    assert found["serial_sweeps_s"] > 0
    assert 50 < found["early_mib"] <= found["peak_mib"] + 1


def test_command_measures_compares_and_plots(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(growth, "POINT_COUNTS", (1000, 3000))
    monkeypatch.setattr(growth, "INSTANCE_COUNTS", (0, 5, 10))
    monkeypatch.setattr(growth, "CELLS_PER_SIDE", (128, 256))
    monkeypatch.setattr(throughput, "NUM_SWEEPS", 4)
    result, plot = tmp_path / "now.json", tmp_path / "plots" / "growth.png"
    parts = ["stages", "decoders", "growth", "sparse", "stream"]
    arguments = ["--only", *parts, "--repeats", "1", "--json", str(result)]
    assert benchmark.main([*arguments, "--plot", str(plot)]) == 0
    printed = capsys.readouterr().out
    for word in ("voxelize", "bytes to labels", "floor", "full dense grid", "size^", "per second"):
        assert word in printed
    found = json.loads(result.read_text())
    assert set(parts) < set(found)
    stages = found["stages"]["timings"]
    one_by_one = ("read", "voxelize", "network", "cluster", "assemble")
    whole = stages["bytes to labels"]["median_ms"]
    assert whole == pytest.approx(sum(stages[s]["median_ms"] for s in one_by_one), rel=0.1)
    floors, machine = found["stages"]["floors"], found["machine"]
    assert floors["points"] == DEMO.stat().st_size // 16
    rates = machine["copy_gb_s"], machine["gemm_gflop_s"]
    assert min(rates) > 0.1
    assert floors["voxelize_floor_ms"] == pytest.approx(floors["voxelize_mb"] / rates[0])
    assert floors["network_floor_ms"] == pytest.approx(1000 * floors["network_gflop"] / rates[1])
    assert floors["voxelize_mb"] > DEMO.stat().st_size / 1e6
    assert 1 < floors["network_gflop"] < 100
    assert 50 < found["stages"]["peak_mib"] < 4000
    assert plot.read_bytes()[:4] == b"\x89PNG"

    again = ["--only", "decoders", "--repeats", "1", "--against", str(result)]
    assert benchmark.main(again) == 0
    assert "| decoders/" in capsys.readouterr().out


def test_results_are_compared_as_ratios():
    machine = {"cpu": "x", "threads": 2, "pytorch": "2", "precision": "bfloat16"}
    now = {"a": {"median_ms": 3.0}, "c": {"median_ms": 9.0}, "machine": machine}
    now["b"] = [{"name": "b", "unit": "points", "sizes": [7], "timings": [{"median_ms": 1.0}]}]
    before = {"a": {"median_ms": 6.0}, "d": {"median_ms": 9.0}, "machine": machine}
    before["b"] = [now["b"][0] | {"sizes": [5, 7], "timings": [{"median_ms": 0.5}] * 2}]
    other = compare_results(now, before | {"machine": machine | {"threads": 4}})
    assert other.splitlines()[0] == "threads: 2, before 4"
    assert compare_results(now | {"tta": 4}, before).splitlines()[0] == "tta: 4, before 1"
    lines = compare_results(now, before).splitlines()
    assert [line.split(" | ") for line in lines[2:]] == [
        ["| a            ", "3.00", "  6.00", " 0.50 |"],
        ["| b/b, 7 points", "1.00", "  0.50", " 2.00 |"],
    ]


def test_number_table_is_aligned():
    assert number_table(
        ["x", "ms"], [["long name", 3.14159], ["b", float("nan")]]
    ).splitlines() == [
        "| x         |   ms |",
        "| --------- | ---: |",
        "| long name | 3.14 |",
        "| b         |    - |",
    ]


def test_folder_without_sweeps_is_reported(tmp_path, capsys):
    assert benchmark.main(["--data", str(tmp_path)]) == 2
    assert f"benchmark: {tmp_path}: no .bin files" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "sparse", "--plot", "a.png"], "--plot needs the part growth"),
        (["--only", "sparse", "--sequences", "06"], "--sequences needs the part decoders or"),
        (["--truth", "boxed", "--sequences", "06"], "boxed: a data set in KITTI layout"),
        (["--sequences", "00/000009"], "00/000009"),
        (["--truth", "absent"], "absent: not a data set"),
        (
            ["--truth", "absent"],
            "the parts decoders and runtimes need labelled frames: choose them with",
        ),
        (["--config", "any.yaml"], "--config has no effect on the part runtimes"),
        (["--against", "absent.json"], "absent.json: No such file"),
        (["--against", "other.json"], "other.json: not written by bev-instseg benchmark --json"),
    ],
)
def test_errors_are_reported_in_one_line(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other.json").write_text("[1]")
    (tmp_path / "boxed" / "training").mkdir(parents=True)
    assert benchmark.main(arguments) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("benchmark: ")
    assert message in printed
    assert len(printed.splitlines()) == 1
    with pytest.raises(SystemExit):
        benchmark.main(["--repeats", "0"])


def test_runtimes_are_measured_with_their_quality(segmenter, monkeypatch):
    pytest.importorskip("onnx")
    setup = Setup(
        segmenter,
        pretrained_weights(),
        [DEMO],
        ROOT / "demo",
        ["00"],
        1,
        Machine.measure(torch.device("cpu")),
        None,
    )
    every = runtimes._combinations
    chosen = ("torch, native, AVX2", "openvino, float32, all", "openvino, 8 bits, AVX2")
    monkeypatch.setattr(
        runtimes, "_combinations", lambda files: (c for c in every(files) if c[0] in chosen)
    )
    found = runtimes.compare_runtimes(setup)
    assert set(found) == set(chosen)
    for outcome in found.values():
        assert 0 < outcome.network.median_ms < outcome.whole.median_ms
        assert all(80 < pq <= 100 for pq in outcome.pq.values())
    exported = dataclasses.replace(setup, weights=pretrained_8_bit_model())
    assert "default.int8.onnx has one precision" in runtimes.report(exported).text
    text = runtimes.report(setup).text
    assert "openvino, 8 bits, AVX2" in text
    assert "PQ vehicle" in text


def test_cold_start_is_timed_step_by_step(tmp_path, monkeypatch):
    found = cold_start.time_cold_start(DEMO)
    assert list(found) == list(cold_start.STEPS)
    assert all(0 <= seconds < 60 for seconds in found.values())
    program = "import bev_instseg, sys; bev_instseg.read_scan(sys.argv[1])"
    monkeypatch.setattr(cold_start, "PROGRAM", program)
    with pytest.raises(ValueError, match=r"absent\.bin: cold start failed: .*no such"):
        cold_start.time_cold_start(tmp_path / "absent.bin")


def test_load_is_measured_beside_busy_processes(segmenter):
    found = load.measure_load(segmenter, [DEMO], 3)
    assert list(found) == [
        "one free core",
        "all cores, free",
        "all cores, each busy",
        "the same, ten sweeps a second",
        "one thread, ten sweeps a second",
        "the same, the others at nice 10",
    ]
    for times in found.values():
        assert 0 < times["median_ms"] <= times["p99_ms"]
