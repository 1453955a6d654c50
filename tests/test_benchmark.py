"""The benchmark measures what it says, on the bundled sweep, and says what is missing."""

import builtins
import json

import numpy as np
import pytest
from conftest import ROOT
from test_tools import tool

from bev_instseg import Segmenter, read_scan
from bev_instseg.benchmark import decoders, growth, peers, streaming
from bev_instseg.benchmark.growth import Growth
from bev_instseg.benchmark.measure import Timing, measure
from bev_instseg.benchmark.report import compare, table
from bev_instseg.grid import BEVGrid
from bev_instseg.ops.voxelize import voxelize

DEMO = ROOT / "demo" / "sequences" / "00" / "velodyne" / "000000.bin"
benchmark = tool("benchmark")


def same(ms):
    return Timing(ms, ms, ms)


@pytest.fixture(scope="module")
def segmenter():
    return Segmenter.from_pretrained("cpu")


def hide(monkeypatch, *packages):
    """As if these were not installed."""
    real = builtins.__import__

    def refuse(name, *rest):
        if name.split(".")[0] in packages:
            raise ImportError(f"No module named {name!r}")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)


def test_a_timing_is_median_and_percentiles():
    assert Timing.of([3, 1, 2, 5, 4]) == Timing(3.0, pytest.approx(1.4), pytest.approx(4.6))
    calls = []
    timing = measure(lambda: calls.append(0), repeats=7, warm_up=2)
    assert len(calls) == 9
    assert 0 <= timing.low_ms <= timing.median_ms <= timing.high_ms < 100


def test_slope_of_a_growth():
    sizes = (0, 1, 10, 100)
    linear = Growth("x", "y", sizes, tuple(same(2.0 * n + (n == 0)) for n in sizes))
    square = Growth("x", "y", sizes, tuple(same(3.0 * n * n + (n == 0)) for n in sizes))
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


def test_a_crowd_is_found():
    maps = growth.crowd(100)
    found = decoders.cluster(maps, 0.7, 0.2, 0.5)
    assert 80 <= len(found.classes) <= 110


def test_finer_cells_keep_the_range():
    grid = growth.with_cells(BEVGrid(), 1024)
    assert grid.shape == (1024, 1024)
    assert grid.x_range_m == (-51.2, 51.2)


def test_the_sequential_decoder_is_the_same_procedure(segmenter):
    """One pass over the dense grid per instance finds what the bucketed one finds."""
    pillars = voxelize(read_scan(DEMO), segmenter.config.grid)
    maps = segmenter.infer(pillars)
    ours, dense = (
        decode(pillars, maps, segmenter.config.cluster)
        for decode in (decoders.ours, decoders.sequential_dense)
    )
    assert len(ours.classes) > 10
    np.testing.assert_array_equal(ours.labels, dense.labels)
    np.testing.assert_array_equal(ours.classes, dense.classes)
    np.testing.assert_allclose(ours.scores, dense.scores, atol=1e-6)


def test_seeds_open_clusters_and_others_are_dropped():
    labels = decoders._with_a_seed(
        np.array([1, 1, 2, 3, 3]), np.array([0.9, 0.1, 0.5, 0.1, 0.8]), 0.7
    )
    assert labels.tolist() == [1, 1, 0, 2, 2]


def test_what_is_missing_is_said(segmenter, monkeypatch):
    hide(monkeypatch, "pypatchworkpp", "sklearn", "scipy")
    [(name, said)] = peers.time_peers([DEMO], 1).items()
    assert name == "ground removal + DBSCAN"
    assert "pypatchworkpp" in said
    assert "pip install '.[peers]'" in said
    refs = benchmark.labelled_frames(ROOT / "demo")
    found = decoders.compare_decoders(segmenter, refs, 1)
    assert [isinstance(outcome, str) for outcome in found.values()] == [False, False, True, True]


def test_streaming_measures_rate_and_memory(segmenter):
    found = streaming.stream(segmenter, [DEMO], 12)
    assert found["sweeps_s"] > 0
    assert found["serial_sweeps_s"] > 0
    assert 50 < found["early_mb"] <= found["peak_mb"] + 1


def test_the_tool_measures_compares_and_draws(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(growth, "POINTS", (1000, 3000))
    monkeypatch.setattr(growth, "INSTANCES", (0, 5, 10))
    monkeypatch.setattr(growth, "CELLS", (128, 256))
    monkeypatch.setattr(benchmark, "STREAM", 4)
    result, plot = tmp_path / "now.json", tmp_path / "plots" / "growth.png"
    parts = ["stages", "decoders", "growth", "sparse", "stream"]
    arguments = ["--only", *parts, "--repeats", "1", "--json", str(result)]
    assert benchmark.main([*arguments, "--plot", str(plot)]) == 0
    said = capsys.readouterr().out
    for word in ("voxelize", "bytes to labels", "floor", "nearest peak", "size^", "a second"):
        assert word in said
    found = json.loads(result.read_text())
    assert set(parts) < set(found)
    stages = found["stages"]["timings"]
    one_by_one = ("read", "voxelize", "network", "cluster", "assemble")
    whole = stages["bytes to labels"]["median_ms"]
    assert whole == pytest.approx(sum(stages[s]["median_ms"] for s in one_by_one), rel=0.1)
    assert found["stages"]["floors"]["points"] == DEMO.stat().st_size // 16
    assert plot.read_bytes()[:4] == b"\x89PNG"

    again = ["--only", "sparse", "--repeats", "1", "--against", str(result)]
    assert benchmark.main(again) == 0
    assert "sparse/torch" in capsys.readouterr().out


def test_two_results_are_compared_as_ratios():
    now = {"a": {"median_ms": 3.0}, "b": [{"median_ms": 1.0}], "c": {"median_ms": 9.0}}
    before = {"a": {"median_ms": 6.0}, "b": [{"median_ms": 0.5}], "d": {"median_ms": 9.0}}
    lines = compare(now, before).splitlines()
    assert [line.split() for line in lines[2:]] == [
        ["|", "a", "|", "3.00", "|", "6.00", "|", "0.50", "|"],
        ["|", "b/0", "|", "1.00", "|", "0.50", "|", "2.00", "|"],
    ]


def test_a_table_is_aligned():
    assert table(["x", "ms"], [["long name", 3.14159], ["b", float("nan")]]).splitlines() == [
        "| x         |   ms |",
        "| --------- | ---: |",
        "| long name | 3.14 |",
        "| b         |    - |",
    ]


def test_a_folder_without_sweeps_is_named(tmp_path, capsys):
    assert benchmark.main(["--data", str(tmp_path)]) == 2
    assert f"benchmark: {tmp_path}: no .bin files" in capsys.readouterr().err


def test_help_shows_two_examples(capsys):
    with pytest.raises(SystemExit):
        benchmark.main(["--help"])
    assert capsys.readouterr().out.count("python tools/benchmark.py") == 2
