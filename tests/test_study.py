"""Studies: variants trained alike and compared."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
from conftest import make_tiny_config, write_semantickitti

from bev_instseg.cli import study
from bev_instseg.config import Config, DataConfig, SourceConfig
from bev_instseg.config_files import save_config
from bev_instseg.evaluation.buckets import LENGTHS
from bev_instseg.file_io import reserved
from bev_instseg.study.report import quality_table, size_table

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def base(tmp_path: Path) -> Config:
    """A study on three streets, two of them for validation."""
    write_semantickitti(tmp_path / "data", {"00": ["a", "b"], "01": ["c", "a"], "02": ["b"]})
    sources = (
        SourceConfig(".", "semantickitti", ("00",), ("01",)),
        SourceConfig("../data", "semantickitti", (), ("02",)),
    )
    tiny = make_tiny_config()
    config = dataclasses.replace(tiny, data=DataConfig(sources=sources))
    save_config(config, tmp_path / "base.yaml")
    (tmp_path / "box.yaml").write_text("loss: {center: box}\n")
    return config


def command(tmp_path: Path, *options: str) -> list[str]:
    paths = "--config", tmp_path / "base.yaml", "--variants", tmp_path / "box.yaml"
    places = "--data", tmp_path / "data", "--out", tmp_path / "out"
    return [*map(str, paths + places), *options]


def test_a_study_trains_scores_and_reports_every_variant(
    base: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert study.main(command(tmp_path, "--seeds", "2")) == 0
    printed = capsys.readouterr().out
    scores = json.loads((tmp_path / "out" / "study.json").read_text())
    assert {name: len(runs) for name, runs in scores.items()} == {"base": 2, "box": 2}
    assert (tmp_path / "out" / "study.md").read_text() in printed
    assert (tmp_path / "out" / "study.png").stat().st_size > 5000
    for name, center in (("base", "embedding"), ("box", "box")):
        for seed in range(2):
            text = (tmp_path / "out" / f"{name}-{seed}" / "config.yaml").read_text()
            assert f"center: {center}" in text
            assert f"seed: {seed}" in text
    sources = scores["base"][0]["sources"]
    assert {name: found["frames"] for name, found in sources.items()} == {".": 1, "../data": 1}
    assert set(sources["."]["per_size"]) == set(LENGTHS)


def test_a_stopped_study_goes_on_and_finished_runs_are_kept(
    base: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert study.main(command(tmp_path, "--seeds", "1")) == 0
    weights = tmp_path / "out" / "base-0" / "weights.safetensors"
    before = weights.stat().st_mtime_ns
    (tmp_path / "out" / "box-0" / "scores.json").unlink()
    monkeypatch.setattr("bev_instseg.study.run.Trainer.run", lambda self: pytest.fail("trained"))
    assert study.main(command(tmp_path, "--seeds", "1")) == 0
    assert weights.stat().st_mtime_ns == before
    assert (tmp_path / "out" / "box-0" / "scores.json").exists()
    weights.unlink()
    (tmp_path / "out" / "base-0" / "last.pt").unlink()
    assert study.main(command(tmp_path, "--seeds", "1")) == 0  # its scores are enough


def test_runs_of_another_process_are_left_to_it(
    base: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = tmp_path / "out" / "base-0"
    theirs.mkdir(parents=True)
    with reserved(theirs, "other"):
        assert study.main(command(tmp_path, "--seeds", "1")) == 0
    printed = capsys.readouterr().out
    assert "base-0\n  another process is working on it\n" in printed
    assert "1 run(s) are left to other processes; repeat the command for the table" in printed
    assert not (theirs / "scores.json").exists()
    assert (tmp_path / "out" / "box-0" / "scores.json").exists()
    assert not (tmp_path / "out" / "study.md").exists()
    assert study.main(command(tmp_path, "--seeds", "1")) == 0
    assert (tmp_path / "out" / "study.md").exists()


def test_runs_of_a_different_configuration_are_not_taken_for_those_asked_for(
    base: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert study.main(command(tmp_path, "--seeds", "1")) == 0
    (tmp_path / "box.yaml").write_text("loss: {center: medoid}\n")
    assert study.main(command(tmp_path, "--seeds", "1")) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "box-0/config.yaml: the run has a different configuration; choose" in error


def test_runs_that_were_scored_on_other_frames_are_not_averaged(
    base: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert study.main(command(tmp_path, "--seeds", "1")) == 0
    one_more = tmp_path / "data" / "sequences" / "02"
    for path in (one_more / "velodyne" / "000000.bin", one_more / "labels" / "000000.label"):
        shutil.copy(path, path.with_stem("000001"))
    assert study.main(command(tmp_path, "--seeds", "2")) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "base-0/scores.json: the run was scored on other frames; restore those, or " in error
    for path in (tmp_path / "out").glob("*/scores.json"):  # as older versions wrote them
        scores = json.loads(path.read_text())
        for found in scores["sources"].values():
            assert len(found.pop("frames_sha256")) == 64
        path.write_text(json.dumps(scores))
    assert study.main(command(tmp_path, "--seeds", "1")) == 0


def test_a_signal_stops_the_study(
    base: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bev_instseg.study.run.Run.train", lambda self: 15)
    assert study.main(command(tmp_path)) == 143
    assert not (tmp_path / "out" / "study.md").exists()


def test_a_study_without_validation_or_with_equal_names_is_refused(
    base: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    again = tmp_path / "base" / "box.yaml"
    again.parent.mkdir()
    again.write_text("loss: {center: centroid}\n")
    same = command(tmp_path)
    same.insert(4, str(again))
    assert study.main(same) == 2
    assert "names must differ" in capsys.readouterr().err
    sources = tuple(dataclasses.replace(source, val=()) for source in base.data.sources)
    save_config(dataclasses.replace(base, data=DataConfig(sources=sources)), tmp_path / "base.yaml")
    assert study.main(command(tmp_path)) == 2
    assert "no source has val frames" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ("classes: [{name: lorry}, {}, {}]", "names or kinds of classes"),
        ("classes: [{kitti: [Car]}, {}, {}]", "names or kinds of classes"),
        ("data: {void_semantickitti: [0]}", "void kinds, boxes or validation frames"),
        ("data: {sources: [{val: ['00']}, {}]}", "void kinds, boxes or validation frames"),
        ("data: {sources: [{}, {unlabelled_is_background: true}]}", "void kinds, boxes or valid"),
    ],
)
def test_a_variant_that_is_scored_on_other_objects_is_refused(
    base: Config, tmp_path: Path, change: str, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "box.yaml").write_text(f"{change}\n")
    assert study.main(command(tmp_path)) == 2
    assert f"--variants: box has other {what}" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_variant_may_train_on_other_frames(base: Config, tmp_path: Path) -> None:
    (tmp_path / "box.yaml").write_text("data: {sources: [{train: ['02'], weight: 2}, {}]}\n")
    arguments = study.parse_arguments(command(tmp_path, "--seeds", "1"), "study")
    assert [one.variant for one in study.list_runs(arguments)] == ["base", "box"]


def test_a_first_source_with_one_frame_is_refused(
    base: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = base.data.sources
    data = DataConfig(sources=(dataclasses.replace(one, val=("01/000000",)), other))
    save_config(dataclasses.replace(base, data=data), tmp_path / "base.yaml")
    assert study.main(command(tmp_path)) == 2
    assert "data: only one val frame; a study needs two" in capsys.readouterr().err
    assert not list((tmp_path / "out").rglob("*.pt"))


def run_scores(pq: float | None, size_pq: float | None) -> dict:
    per_size = {name: {"pq": size_pq, "tp": 2, "fp": 0, "fn": 1} for name in LENGTHS}
    return {"sources": {"streets": {"per_class": {"car": {"pq": pq}}, "per_size": per_size}}}


def test_tables_show_mean_and_standard_deviation() -> None:
    scores = {
        "base": [run_scores(0.5, 0.3), run_scores(0.7, None)],
        "other": [run_scores(None, None), run_scores(None, None)],
    }
    assert "| base    | 60.0 ± 14.1 |" in quality_table(scores)
    assert "| other   |           - |" in quality_table(scores)
    assert size_table(scores).splitlines()[2].split("|")[2].strip() == "30.0"
    assert "(3)" in size_table(scores).splitlines()[0]


def test_differences_are_taken_with_the_same_seed() -> None:
    scores = {
        "base": [run_scores(0.5, 0.3), run_scores(0.7, None)],
        "better": [run_scores(0.52, 0.2), run_scores(0.74, 0.4)],
    }
    assert quality_table(scores, "base").splitlines()[2:] == ["| better - base |  +3.0 ± 1.4 |"]
    assert size_table(scores, "base").splitlines()[2].split("|")[2].strip() == "-10.0"
