"""The cut-objects command, and training with the file it writes."""

import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from scenes import crate

from bev_instseg.cli import cut_objects
from bev_instseg.cli import train as train_command
from bev_instseg.config import Config
from bev_instseg.config_files import save_config
from bev_instseg.structures import Float32, Frame, Instances
from bev_instseg.training.cutouts import DISTRACTOR, Cutout, load_objects, save_objects
from bev_instseg.training.training_set import TrainingSet


@pytest.fixture
def arguments(kitti_root: Path, semantickitti_root: Path, tiny_config: Config) -> list[str]:
    """Return options for the tiny configuration and its data."""
    path = kitti_root.parent / "tiny.yaml"
    save_config(tiny_config, path)
    return ["--config", str(path), "--data", str(kitti_root.parent)]


def test_objects_of_the_training_frames_are_written_and_counted(
    arguments: list[str],
    tmp_path: Path,
    tiny_config: Config,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for path in [*tmp_path.rglob("c.*"), *(tmp_path / "semantickitti/sequences/01").rglob("*.*")]:
        path.write_bytes(b"validation data, must not be read")
    out = tmp_path / "objects.npz"
    assert cut_objects.main([*arguments, "--out", str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line[:1] == "|"]
    rows = rows[[row[0] for row in rows].index("class") :]  # below the table of the labels
    del rows[1]  # the rule
    assert [row[:3] for row in rows] == [
        ["class", "objects", "frames"],
        ["vehicle", "6", "4"],
        ["pedestrian", "4", "4"],
        ["cyclist", "2", "2"],
        ["distractor", "0", "0"],
    ]
    assert rows[3][3] == "6 / 6 / 6"  # range in metres
    assert rows[1][5].split(" / ")[1] == "3.9"  # length in metres
    assert lines[-1] == f"12 object(s) of 4 frame(s) in {out}"
    objects = load_objects(out, tiny_config.class_names)
    frames = {"kitti/a", "kitti/b", "semantickitti/00/000000", "semantickitti/00/000001"}
    assert {cutout.origin for cutout in objects} == frames


def test_sources_can_be_left_out(
    arguments: list[str], tmp_path: Path, tiny_config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "objects.npz"
    assert cut_objects.main([*arguments, "--sources", "kitti", "--out", str(out)]) == 0
    origins = {cutout.origin for cutout in load_objects(out, tiny_config.class_names)}
    assert origins == {"kitti/a", "kitti/b"}
    assert cut_objects.main([*arguments, "--sources", "kitty", "--out", str(out)]) == 2
    message = "cut-objects: --sources kitty: the configuration has kitti, semantickitti\n"
    assert message in capsys.readouterr().err.replace("cut_objects", "cut-objects")


def test_false_positives_of_a_network_are_added(
    arguments: list[str],
    weights: str,
    tmp_path: Path,
    tiny_config: Config,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def found(frame: Frame, height_m: Float32, instances: Instances) -> list[Cutout]:
        assert len(instances) > 0, "these weights find objects everywhere"
        assert len(frame.points) == len(height_m) == len(instances.labels)
        return [crate(class_index=DISTRACTOR)] * 2

    monkeypatch.setattr(cut_objects, "cut_distractors", found)
    out = tmp_path / "objects.npz"
    assert cut_objects.main([*arguments, "--out", str(out), "--distractors", weights]) == 0
    objects = load_objects(out, tiny_config.class_names)
    assert [cutout.class_index for cutout in objects].count(DISTRACTOR) == 4 * 2
    assert re.search(r"\| distractor +\| +8 \| +1 \|", capsys.readouterr().out)


def test_a_class_without_objects_has_a_row(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.yaml").write_text('data: {sources: [{path: kitti}, {train: ["00/000000"]}]}')
    (tmp_path / "kitti/ImageSets/train.txt").write_text("a\n")
    config = [arguments[1], str(tmp_path / "a.yaml")]
    out = str(tmp_path / "objects.npz")
    assert cut_objects.main(["--config", *config, "--data", str(tmp_path), "--out", out]) == 0
    assert re.search(r"\| cyclist( +\| +0){2}( +\| +-){4} \|\n", capsys.readouterr().out)


def test_training_pastes_the_objects_of_the_file(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(tmp_path / "objects.npz")
    assert cut_objects.main([*arguments, "--out", path]) == 0
    given: list[Sequence[Sequence[Cutout]]] = []

    def trainer(config: Config, samples: TrainingSet, *_: object) -> None:
        given.append(samples.databases)
        raise ValueError("the test ends here")

    monkeypatch.setattr("bev_instseg.training.trainer.Trainer", trainer)
    for more in ([], ["--objects", path, path]):
        assert train_command.main([*arguments, "--out", str(tmp_path / "run"), *more]) == 2
    assert [[len(cutouts) for cutouts in databases] for databases in given] == [[], [12, 12]]


@pytest.mark.parametrize(
    ("names", "message"),
    [((), "cannot be read"), (("vehicle", "person", "cyclist"), "has the classes vehicle, person")],
)
def test_an_unsuitable_object_file_is_reported(
    names: tuple[str, ...],
    message: str,
    arguments: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "objects.npz"
    if names:
        save_objects(path, [], names)
    out = str(tmp_path / "run")
    assert train_command.main([*arguments, "--out", out, "--objects", str(path)]) == 2
    complaint = capsys.readouterr().err
    assert complaint.startswith(f"train_kitti: {path}: {message}")
    assert len(complaint.splitlines()) == 1


def test_missing_data_and_unwritable_output_are_reported(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for data, out, message in (
        (tmp_path / "absent", tmp_path / "objects.npz", "absent/kitti/ImageSets/train.txt: cannot"),
        (tmp_path, tmp_path / "tiny.yaml" / "objects.npz", "tiny.yaml: File exists"),
    ):
        where = ["--data", str(data), "--out", str(out)]
        assert cut_objects.main([*arguments[:2], *where]) == 2
        complaint = capsys.readouterr().err.splitlines()[-1]
        assert complaint.startswith("cut_objects: ")
        assert message in complaint
