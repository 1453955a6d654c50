"""The commands segment, evaluate and calibrate, run as a user runs them."""

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import STREETS, street, write_semantickitti

from bev_instseg.checkpoint import load_model, save_weights
from bev_instseg.cli import calibrate, evaluate
from bev_instseg.cli import segment as segment_command
from bev_instseg.config_files import override_config
from bev_instseg.jobs import one_sweep
from bev_instseg.model_files import pretrained_8_bit_model
from bev_instseg.segmenter import Segmenter


def test_a_folder_gives_labels_json_and_pictures(
    sweeps: Path, weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "out"
    code = segment_command.main([str(sweeps), "--out", str(out), "--weights", weights, "--png"])
    assert code == 0
    printed = capsys.readouterr()
    assert "3 of 3 sweeps segmented" in printed.out
    assert re.search(r"median per sweep \d+\.\d ms \(read .*, draw \d+\.\d, write ", printed.out)
    assert "segmenting and drawing: 100%" in printed.err
    assert "| pedestrian |" in printed.out
    names = {f"{name}.{kind}" for name in STREETS for kind in ("label", "json", "png")}
    found = {path.name for path in out.iterdir()} - {"summary.csv"}
    in_3d = {f"{name}_3d.png" for name in STREETS}
    assert found == names | in_3d or (found == names and "note: " in printed.err)
    rows = (out / "summary.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["sweep", *STREETS]
    for name, things in STREETS.items():
        points = street(things)[0]
        words = np.fromfile(out / f"{name}.label", np.uint32)
        tree = json.loads((out / f"{name}.json").read_text())
        assert len(words) == len(points) == tree["num_points"]
        assert tree["instances"], "this network finds something everywhere"
        assert len(tree["weights_sha256"]) == 64
        assert tree["grid"]["cell_m"] == 0.4
        code_of = {"vehicle": 10, "pedestrian": 30, "cyclist": 31}
        for entry in tree["instances"]:
            own = words == entry["id"] << 16 | code_of[entry["class"]]
            assert own.sum() == entry["num_points"]
            centre = (points[own, :3].min(0) + points[own, :3].max(0)) / 2
            assert entry["centre_m"][2] == pytest.approx(centre[2], abs=2e-3)
        scores = [entry["score"] for entry in tree["instances"]]
        assert scores == sorted(scores, reverse=True)
        in_instances = sum(entry["num_points"] for entry in tree["instances"])
        assert (words == 0).sum() == len(points) - in_instances
        assert (out / f"{name}.png").read_bytes()[:4] == b"\x89PNG"


def test_one_sweep_is_summarised_in_a_line(
    sweeps: Path, weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(sweeps / "a.bin"), "--out", str(tmp_path / "out"), "--weights", weights]
    assert segment_command.main(arguments) == 0
    line = capsys.readouterr().out
    assert re.fullmatch(
        r"a: \d+ vehicle, \d+ pedestrian, \d+ cyclist; \d+ ms for this first sweep, of which "
        r"reading \d+, writing \d+; \d+ ms from file to labels once warm\n",
        line,
    )
    assert segment_command.main(arguments) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed == ["1 of 1 sweeps already have results", line.split(";")[0]]


def test_a_bad_sweep_is_reported_and_the_others_finished(
    sweeps: Path, weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (sweeps / "b.bin").write_bytes(b"cut short")
    out = tmp_path / "out"
    assert segment_command.main([str(sweeps), "--out", str(out), "--weights", weights]) == 2
    printed = capsys.readouterr()
    assert "2 of 3 sweeps segmented" in printed.out
    errors = [line for line in printed.err.splitlines() if line.startswith("segment_scan: ")]
    assert len(errors) == 1
    assert "b.bin" in errors[0]
    names = {"a.label", "a.json", "c.label", "c.json", "summary.csv"}
    assert {path.name for path in out.iterdir()} == names
    assert "b,0," in (out / "summary.csv").read_text()


def test_any_failure_names_its_sweep(
    sweeps: Path,
    weights: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write = one_sweep.write_result

    def fails_on_b(target: Path, *rest: Any) -> None:
        if target.name == "b":
            raise MemoryError
        write(target, *rest)

    monkeypatch.setattr(one_sweep, "write_result", fails_on_b)
    assert (
        segment_command.main([str(sweeps), "--out", str(tmp_path / "o"), "--weights", weights]) == 2
    )
    printed = capsys.readouterr()
    assert f"segment_scan: {sweeps / 'b.bin'}: MemoryError" in printed.err.splitlines()
    assert "2 of 3 sweeps segmented" in printed.out


def test_a_sweep_given_twice_is_processed_once(
    sweeps: Path, weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs = [str(sweeps), str(sweeps / "a.bin"), str(sweeps / ".." / "velodyne" / "b.bin")]
    assert segment_command.main([*inputs, "--out", str(tmp_path / "o"), "--weights", weights]) == 0
    assert "3 of 3 sweeps segmented" in capsys.readouterr().out


def test_ctrl_c_is_reported_in_one_line(
    sweeps: Path,
    weights: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("bev_instseg.jobs.in_threads.run_in_threads", interrupted)
    arguments = [str(sweeps), "--out", str(tmp_path / "o"), "--weights", weights]
    assert segment_command.main(arguments) == 130
    assert capsys.readouterr().err.splitlines()[-1].startswith("segment_scan: stopped")


def test_an_empty_sweep_gets_empty_results(weights: str, tmp_path: Path) -> None:
    (tmp_path / "none.bin").write_bytes(b"")
    arguments = [str(tmp_path / "none.bin"), "--out", str(tmp_path), "--weights", weights, "--png"]
    assert segment_command.main(arguments) == 0
    assert (tmp_path / "none.label").read_bytes() == b""
    assert json.loads((tmp_path / "none.json").read_text())["instances"] == []


def test_config_overrides_thresholds(sweeps: Path, weights: str, tmp_path: Path) -> None:
    (tmp_path / "strict.yaml").write_text("cluster: {seed_threshold: 1.0}\n")
    arguments = [str(sweeps), "--out", str(tmp_path / "out"), "--weights", weights]
    assert segment_command.main([*arguments, "--config", str(tmp_path / "strict.yaml")]) == 0
    for name in STREETS:
        assert not np.fromfile(tmp_path / "out" / f"{name}.label", np.uint32).any()


def test_existing_results_are_skipped(
    sweeps: Path, weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    arguments = [str(sweeps), "--out", str(out), "--weights", weights]
    assert segment_command.main([str(sweeps / "b.bin"), *arguments[1:]]) == 0
    before = (out / "b.json").stat().st_mtime_ns
    capsys.readouterr()
    assert segment_command.main(arguments) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("1 of 3 sweeps already have results\n3 of 3 sweeps segmented")
    assert (out / "b.json").stat().st_mtime_ns == before
    table = printed[printed.index("| class") :]
    assert segment_command.main(arguments) == 0
    assert capsys.readouterr().out.endswith(table)
    assert (out / "b.json").stat().st_mtime_ns == before
    assert segment_command.main([*arguments, "--overwrite"]) == 0
    assert (out / "b.json").stat().st_mtime_ns > before
    (tmp_path / "strict.yaml").write_text("cluster: {seed_threshold: 1.0}\n")
    assert segment_command.main([*arguments, "--config", str(tmp_path / "strict.yaml")]) == 0
    assert not np.fromfile(out / "b.label", np.uint32).any()


def test_shards_split_the_sweeps(
    sweeps: Path, weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    arguments = [str(sweeps), "--out", str(out), "--weights", weights]
    assert segment_command.main([*arguments, "--shard", "1/2"]) == 0
    assert {path.name for path in out.glob("*.label")} == {"a.label", "c.label"}
    assert segment_command.main([*arguments, "--shard", "2/2"]) == 0
    assert {path.name for path in out.glob("*.label")} == {"a.label", "b.label", "c.label"}
    assert segment_command.main([*arguments, "--shard", "4/4"]) == 0  # no sweeps
    summaries = {"summary_1_of_2.csv", "summary_2_of_2.csv", "summary_4_of_4.csv"}
    assert {path.name for path in out.glob("*.csv")} == summaries
    assert "shard 2/2: 1 of 3 sweeps" in capsys.readouterr().out
    for wrong in ("0/2", "3/2", "2", "a/b"):
        with pytest.raises(SystemExit):
            segment_command.main([*arguments, "--shard", wrong])
        assert "must be I/N with I from 1 to N" in capsys.readouterr().err


def test_each_notice_is_printed_once(
    tmp_path: Path, weights: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "drive" / "lidar"
    folder.mkdir(parents=True)
    for name, things in STREETS.items():
        points = street(things)[0] * np.float32([1, 1, 1, 255])
        points.tofile(folder / f"{name}.bin")
    arguments = [str(tmp_path / "drive"), "--out", str(tmp_path / "out"), "--weights", weights]
    assert segment_command.main(arguments) == 0
    notes = [line for line in capsys.readouterr().err.splitlines() if "note: " in line]
    first = f"{folder / 'a.bin'}: intensity 0..255: divided by 255"
    assert notes == [f"segment_scan: note: {first}", f"segment_scan: note: 3 sweeps, first {first}"]
    assert (tmp_path / "out" / "lidar" / "a.label").exists()


def test_notices_of_each_folder_are_printed(
    tmp_path: Path, weights: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, full in (("dark", 255), ("darker", 255), ("bright", 65535)):
        folder = tmp_path / "drives" / name
        folder.mkdir(parents=True)
        for i in range(2):
            points = street(STREETS["a"])[0] * np.float32([1, 1, 1, full])
            points.tofile(folder / f"{i}.bin")
    arguments = [str(tmp_path / "drives"), "--out", str(tmp_path / "out"), "--weights", weights]
    assert segment_command.main(arguments) == 0
    notes = [line for line in capsys.readouterr().err.splitlines() if "note: " in line]
    assert sorted(line.partition("intensity ")[2] for line in notes) == [
        "0..255: divided by 255",
        "0..255: divided by 255",
        "0..65535: divided by 65535",
        "0..65535: divided by 65535",
    ]
    assert sum("note: 4 sweeps" in line for line in notes) == 1
    assert sum("note: 2 sweeps" in line for line in notes) == 1


def test_reading_options_reach_the_reader(sweeps: Path, weights: str, tmp_path: Path) -> None:
    points = street(STREETS["a"])[0]
    turned = tmp_path / "turned"
    turned.mkdir()
    points[:, [1, 0, 2, 3]].copy().tofile(turned / "a.bin")
    left_to_right = np.fromfile(turned / "a.bin", np.float32).reshape(-1, 4)
    left_to_right[:, 0] *= -1  # x right, y forward, z up
    left_to_right.tofile(turned / "a.bin")
    results = []
    for path, more in (
        (sweeps / "a.bin", []),
        (turned / "a.bin", ["--axes", "rfu"]),
        (turned / "a.bin", ["--sensor", "nuscenes", "--format", "kitti"]),
    ):
        out = tmp_path / f"out{len(results)}"
        assert (
            segment_command.main([str(path), "--out", str(out), "--weights", weights, *more]) == 0
        )
        results.append((out / "a.label").read_bytes())
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent.bin"], "absent.bin: "),
        (["empty"], "empty: no sweeps in this folder"),
        (
            ["velodyne/a.bin", "other/a.bin"],
            "other/a.bin: its results would have the same name as those of velodyne/a.bin",
        ),
        (["velodyne", "--weights", "absent.pt"], "absent.pt: cannot be read"),
        (
            ["velodyne", "--weights", "velodyne/a.bin"],
            "velodyne/a.bin: not a bev-instseg checkpoint",
        ),
        (["velodyne", "--config", "model.yaml"], "model.yaml: model, grid.cell_m and"),
        (["velodyne", "--config", "typo.yaml"], "typo.yaml: unknown key 'cluster.seed'"),
        (["velodyne", "--device", "cuda"], "device cuda"),
        (["velodyne", "--axes", "lfu"], "axes 'lfu' are left-handed"),
        (["velodyne", "--height", "-1"], "height_m, the sensor's height above the ground, must be"),
        (["velodyne", "--calib", "gone"], "gone: no such file or folder"),
    ],
)
def test_errors_are_one_line(
    sweeps: Path,
    weights: str,
    tmp_path: Path,
    arguments: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    Path("empty").mkdir()
    Path("other").mkdir()
    Path("other/a.bin").write_bytes(b"")
    Path("model.yaml").write_text("model: {widths: [16, 16, 16]}\n")
    Path("typo.yaml").write_text("cluster: {seed: 0.5}\n")
    if "--weights" not in arguments:
        arguments = [*arguments, "--weights", weights]
    assert segment_command.main([*arguments, "--out", "out"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("segment_scan: ")
    assert message in error
    assert len(error.splitlines()) == 1
    assert not list(Path("out").glob("*"))


def test_view_without_a_display_is_reported(
    sweeps: Path,
    weights: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    arguments = [str(sweeps / "a.bin"), "--out", str(tmp_path / "out"), "--weights", weights]
    assert segment_command.main([*arguments, "--view"]) == 2
    printed = capsys.readouterr()
    [line] = printed.err.splitlines()
    assert line.startswith("segment_scan: --view: no display: neither DISPLAY nor WAYLAND_DISPLAY")
    assert line.endswith("leave it out, or use --png instead")
    assert not (tmp_path / "out").exists()  # said before anything is computed


@pytest.mark.parametrize("layout", ["kitti", "semantickitti"])
def test_evaluate_prints_the_table_and_writes_json_and_pictures(
    layout: str,
    kitti_root: Path,
    semantickitti_root: Path,
    weights: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    where = {
        "kitti": [str(kitti_root), "--split", "val"],
        "semantickitti": [str(semantickitti_root), "--sequences", "01"],
    }[layout]
    arguments = ["--data", *where, "--weights", weights, "--json", str(tmp_path / "scores.json")]
    assert evaluate.main([*arguments, "--png", str(tmp_path / "png")]) == 0
    table = capsys.readouterr().out
    assert all(f"| {name}" in table for name in ("vehicle", "pedestrian", "cyclist", "mean"))
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["frames"] == {"kitti": ["c"], "semantickitti": ["01/000000"]}[layout]
    truth = {name: s["tp"] + s["fn"] for name, s in scores["per_class"].items()}
    assert truth == {"vehicle": 2, "pedestrian": 1, "cyclist": 1}
    for key, heading in (
        ("per_points", "points"),
        ("per_range_m", "range (m)"),
        ("per_length", "length"),
    ):
        assert f" {heading} |" in table
        buckets = {name: found.values() for name, found in scores[key].items()}
        counts = {name: sum(b["tp"] + b["fn"] for b in each) for name, each in buckets.items()}
        assert counts == truth
    assert len(list((tmp_path / "png").glob("*.png"))) == 1


def test_evaluate_studies_errors(
    kitti_root: Path, weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--data", str(kitti_root), "--split", "train", "--weights", weights]
    assert evaluate.main(arguments) == 0
    table = capsys.readouterr().out
    out = tmp_path / "new" / "errors"
    out.mkdir(parents=True)
    (out / "worst_7.png").write_bytes(b"an earlier study")
    scores = tmp_path / "scores.json"
    assert evaluate.main([*arguments, "--errors", str(out), "--json", str(scores)]) == 0
    assert capsys.readouterr().out == table
    pictures = ["worst_1.png", "worst_2.png"]  # an untrained network errs in both
    names = ["errors.csv", "errors.md", "reliability.png", *pictures]
    assert sorted(path.name for path in out.iterdir()) == names
    per_class = json.loads(scores.read_text())["per_class"].values()
    rows = (out / "errors.csv").read_text().splitlines()[1:]
    missed = sum(row.startswith("missed,") for row in rows)
    assert missed == sum(scores["fn"] for scores in per_class)
    assert len(rows) - missed == sum(scores["fp"] for scores in per_class)
    assert (out / "errors.md").read_text().startswith("# Errors: kitti, frames: 2\n")
    assert all((out / name).read_bytes()[:4] == b"\x89PNG" for name in names[2:])


def test_evaluate_reports_wrong_arguments(
    kitti_root: Path,
    semantickitti_root: Path,
    weights: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for data, more, message in (
        (tmp_path / "absent", [], "not a data set"),
        (semantickitti_root, [], "choose --sequences"),
        (semantickitti_root, ["--sequences", "77"], "'77'"),
        (kitti_root, ["--split", "test"], "test.txt: cannot be read"),
        (kitti_root, ["--sequences", "01"], "this is KITTI layout"),
        (kitti_root, ["--unlabelled-is-background"], "this is KITTI layout"),
        (semantickitti_root, ["--sequences", "01", "--split", "val"], "use --sequences"),
        (kitti_root, ["--points"], "--points needs SemanticKITTI layout"),
        (semantickitti_root, ["--sequences", "01", "--points", "--check"], "combined with --check"),
        (semantickitti_root, ["--sequences", "01", "--points", "--unknown"], "choose one"),
        (
            semantickitti_root,
            ["--sequences", "01", "--unknown", "--unlabelled-is-background"],
            "--unknown cannot be combined with --unlabelled-is-background",
        ),
        (kitti_root, ["--split", ""], "ImageSets/.txt: cannot be read"),
        (semantickitti_root, ["--sequences", "01", "--split", ""], "use --sequences"),
    ):
        assert evaluate.main(["--data", str(data), "--weights", weights, *more]) == 2
        error = capsys.readouterr().err.splitlines()[-1]
        assert error.startswith("evaluate: ")
        assert message in error


def test_calibrate_writes_a_configuration_that_evaluate_accepts(
    kitti_root: Path,
    semantickitti_root: Path,
    weights: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    simulated = write_semantickitti(tmp_path / "sim", {"00": ["a"], "07": ["b", "c"]})
    out = tmp_path / "new" / "calibration.yaml"
    arguments = ["--data", str(tmp_path), "--weights", weights, "--out", str(out)]
    ready = tmp_path / "ready.safetensors"
    more = ["--simulated", str(simulated), "--save", str(ready)]
    assert calibrate.main([*arguments, *more]) == 0
    printed = capsys.readouterr().out
    for text in ("kitti vehicle/pedestrian/cyclist", "sim vehicle", "expected calibration error"):
        assert text in printed
    assert out.read_text().splitlines()[0].endswith("2 of kitti, 2 of semantickitti, 3 of sim")
    base = load_model(Path(weights))[1]
    found = override_config(base, out)
    assert load_model(ready)[1] == found
    assert ready.read_bytes() == Path(weights).read_bytes()
    assert len(found.cluster.calibration) == len(base.classes)
    # An untrained network's instances are wrong: they are less probable than their seeds.
    segmenter = Segmenter.from_checkpoint(weights, "cpu")
    points = street(STREETS["c"])[0]
    seeds = segmenter.segment(points).scores
    cluster = dataclasses.replace(base.cluster, calibration=found.cluster.calibration)
    segmenter = segmenter.with_config(dataclasses.replace(base, cluster=cluster))
    assert segmenter.segment(points).scores.mean() < seeds.mean() - 0.2
    # No class has ten objects here, too few to choose thresholds, so those are kept.
    assert dataclasses.replace(found, cluster=base.cluster) == base
    assert dataclasses.replace(found.cluster, calibration=()) == base.cluster
    assert calibrate.main([*arguments, "--sources", "semantickitti"]) == 0
    assert out.read_text().splitlines()[0].endswith("frames: 2 of semantickitti")
    arguments = ["--data", str(simulated), "--sequences", "00", "--weights", weights]
    assert evaluate.main([*arguments, "--config", str(out)]) == 0


def test_calibrate_scores_each_fold_with_the_network_that_has_not_seen_it(
    kitti_root: Path,
    semantickitti_root: Path,
    weights: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    frames = "data: {sources: [{path: semantickitti, layout: semantickitti, train: [%s]}]}"
    for name, entries in (("first", '"00"'), ("second", '"01"')):
        (tmp_path / f"{name}.yaml").write_text(frames % entries)
    model, config, _ = load_model(Path(weights))
    with torch.no_grad():
        model.heads.out.bias[:3] = -30.0  # finds nothing
    blind = tmp_path / "blind.safetensors"
    save_weights(blind, model, config, {})
    out = tmp_path / "calibration.yaml"
    arguments = ["--data", str(tmp_path), "--weights", weights, "--out", str(out)]
    folds = [["--fold", str(tmp_path / "first.yaml"), str(blind)]]
    assert calibrate.main([*arguments, *folds[0]]) == 0
    assert out.read_text().splitlines()[0].endswith("2 of semantickitti")
    assert predictions_in(capsys.readouterr().out) == 0
    folds.append(["--fold", str(tmp_path / "second.yaml"), weights])
    assert calibrate.main([*arguments, *folds[0], *folds[1]]) == 0
    assert out.read_text().splitlines()[0].endswith("3 of semantickitti")
    assert predictions_in(capsys.readouterr().out) > 0


def predictions_in(printed: str) -> int:
    """Return how many predictions the table of `calibrate` counts."""
    rows = [line.split("|") for line in printed.splitlines() if re.match(r"\| 0\.\d\.\.", line)]
    assert len(rows) == 10
    return sum(int(row[2]) for row in rows)


@pytest.mark.parametrize(
    ("option", "name"),
    [
        ("--out", "mine.yaml"),
        ("--out", "link.yaml"),
        ("--out", "fold.yaml"),
        ("--save", "own.safetensors"),
        ("--save", "fold.safetensors"),
    ],
)
def test_calibrate_overwrites_nothing_that_it_reads(
    option: str, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for file in ("mine.yaml", "fold.yaml", "own.safetensors", "fold.safetensors"):
        (tmp_path / file).write_text(file)
    (tmp_path / "link.yaml").symlink_to("mine.yaml")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    arguments = ["--data", tmp_path, "--config", tmp_path / "mine.yaml", "--out", tmp_path / "new"]
    arguments += ["--weights", tmp_path / "own.safetensors"]
    arguments += ["--fold", tmp_path / "fold.yaml", tmp_path / "fold.safetensors"]
    assert calibrate.main([*map(str, arguments), option, str(tmp_path / name)]) == 2
    [line] = capsys.readouterr().err.splitlines()
    complaint = "would overwrite an input; choose a different file"
    assert line == f"calibrate: {option} {tmp_path / name}: {complaint}"
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_calibrate_reports_wrong_arguments(
    kitti_root: Path,
    semantickitti_root: Path,
    weights: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "none.yaml").write_text("data: {sources: []}")
    twice = write_semantickitti(tmp_path / "other" / "kitti", {"00": ["a"]})
    for data, more, message in (
        (tmp_path / "absent", [], "absent/kitti/ImageSets/train.txt: cannot be read"),
        (tmp_path, ["--simulated", str(tmp_path / "gone")], "gone/sequences: No such file"),
        (tmp_path, ["--simulated", str(twice)], "another data set has the name 'kitti'"),
        (tmp_path, ["--config", str(tmp_path / "none.yaml")], "no training frames"),
        (
            tmp_path,
            ["--weights", str(pretrained_8_bit_model())],
            "torch does not run exported models",
        ),
        (
            tmp_path,
            [
                *("--weights", str(pretrained_8_bit_model()), "--runtime", "onnxruntime"),
                *("--save", str(tmp_path / "saved.safetensors")),
            ],
            "is an exported model, which has no weights to save",
        ),
    ):
        arguments = ["--data", str(data), "--weights", weights, "--out", str(tmp_path / "c.yaml")]
        assert calibrate.main([*arguments, *more]) == 2
        error = capsys.readouterr().err.splitlines()[-1]
        assert error.startswith("calibrate: ")
        assert message in error
        assert not (tmp_path / "c.yaml").exists()
