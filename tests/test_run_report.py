"""The report of a training run, which must not change the run's numbers, resumed or not."""

import csv
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from conftest import make_tiny_config, write_kitti, write_semantickitti
from matplotlib.image import imread
from test_trainer import AWKWARD, assert_same_run, trainer_of, variant

from bev_instseg.cli import train as train_command
from bev_instseg.config import Config
from bev_instseg.config_files import save_config
from bev_instseg.datasets.frames import FrameRef, list_frames
from bev_instseg.segmenter import Segmenter
from bev_instseg.training import run_report
from bev_instseg.training.losses import LOSSES
from bev_instseg.training.run_report import TrainingReport, open_events
from bev_instseg.training.trainer import Trainer

pytestmark = pytest.mark.usefixtures("one_thread")
PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x07\0\0\0\x03"  # up to the size, 7 x 3
NAMES = ("vehicle", "pedestrian", "cyclist")
ROWS, VALIDATED = [3, 4, 6, 8, 9, 11], [4, 8, 11]  # steps of AWKWARD


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write both data sets where the tiny configuration expects them."""
    root = tmp_path_factory.mktemp("data")
    write_kitti(root / "kitti", {"train": ["a", "b"], "val": ["c"]})
    write_semantickitti(root / "semantickitti", {"00": ["a", "b"], "01": ["c"]})
    return root


class Drawn(NamedTuple):
    """Title and name of the truth of each picture; path and last step of each plot of curves."""

    pictures: list[tuple[str, str]]
    curves: list[tuple[Path, int]]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Drawn:
    """Replace Matplotlib by pictures that contain only their size and name."""
    drawn = Drawn([], [])

    def draw_comparison(frame, instances, path, *, title):  # type: ignore[no-untyped-def]
        assert len(frame.points) == len(instances.labels) == len(frame.instance)
        drawn.pictures.append((title, frame.name))
        path.write_bytes(PNG + path.name.encode())

    def draw_training(log: Path, png: Path) -> None:
        with open(log, newline="") as file:
            drawn.curves.append((png, int(list(csv.DictReader(file))[-1]["step"])))

    monkeypatch.setattr(run_report, "draw_comparison", draw_comparison)
    monkeypatch.setattr(run_report, "draw_training", draw_training)
    return drawn


def awkward() -> Config:
    return variant(make_tiny_config(), **AWKWARD)


def arguments(config: Config, data: Path, out: Path, *more: str) -> list[str]:
    """Return the command line of a run."""
    path = out.with_suffix(".yaml")
    save_config(config, path)
    return ["--config", str(path), "--data", str(data), "--out", str(out), *more]


def stop_after(step: int, monkeypatch: pytest.MonkeyPatch, main_arguments: list[str]) -> None:
    """Run the command until it dies, as if killed, after a step whose row was written."""
    train_step = Trainer._train_step

    class KilledError(BaseException):
        pass

    def dying(self, samples):  # type: ignore[no-untyped-def]
        if self.progress.step == step:
            raise KilledError
        return train_step(self, samples)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_train_step", dying)
        with pytest.raises(KilledError):
            train_command.main(main_arguments)


def test_drawn_frames_are_spread_over_the_validation(
    data: Path, tmp_path: Path, tiny_config: Config
) -> None:
    ref = list_frames(data / "kitti", "kitti", ["val"])[0]

    def pictured(count: int) -> list[str]:
        refs = [FrameRef(ref.layout, ref.root, str(i)) for i in range(count)]
        return [shown.name for shown in TrainingReport(tmp_path, tiny_config, refs).frames]

    assert pictured(12) == ["2", "6", "10"]
    assert pictured(4) == ["0", "2", "3"]
    assert pictured(3) == ["0", "1", "2"]
    assert pictured(2) == ["0", "1"]
    assert pictured(1) == ["0"]
    assert pictured(0) == []


def test_curves_and_pictures_are_drawn_at_each_validation(
    data: Path, tmp_path: Path, drawn: Drawn
) -> None:
    out = tmp_path / "run"
    assert train_command.main(arguments(awkward(), data, out)) == 0
    assert drawn.curves == [(out / "log.png", step) for step in [*VALIDATED, 11]]
    frames = {"kitti/c": "c", "semantickitti/01/000000": "01/000000"}
    assert drawn.pictures == [
        (f"{name}, step {step}", truth) for step in VALIDATED for name, truth in frames.items()
    ]


def test_drawing_pictures_does_not_change_the_numbers(data: Path, tmp_path: Path) -> None:
    """Nor the state of the random generator in ``last.pt``."""
    config = variant(make_tiny_config(), steps=3, validate_every=2)
    trainer_of(config, data, tmp_path / "dark").run()
    assert train_command.main(arguments(config, data, tmp_path / "run")) == 0
    assert_same_run(tmp_path / "dark", tmp_path / "run")
    assert imread(tmp_path / "run" / "log.png").shape[1] > 1000
    frames = ("kitti_c", "semantickitti_01_000000")
    names = [f"step_{step:06}_{frame}.png" for step in (2, 3) for frame in frames]
    assert sorted(path.name for path in (tmp_path / "run" / "pictures").iterdir()) == names
    for name in names[:2]:
        picture = imread(tmp_path / "run" / "pictures" / name)
        assert picture.shape[:2] == (1600, 3200)
        for panel in (picture[:, :1600], picture[:, 1600:]):
            assert (panel[100:1500, 120:1500, :3].min(axis=2) < 0.8).mean() > 0.005  # points


def test_a_resumed_run_has_the_same_numbers_pictures_and_configuration(
    data: Path, tmp_path: Path, drawn: Drawn, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer_of(awkward(), data, tmp_path / "dark").run()
    out = tmp_path / "run"
    stop_after(9, monkeypatch, arguments(awkward(), data, out))
    with open(out / "config.yaml", "a") as file:
        file.write("# mine\n")
    text = (out / "config.yaml").read_bytes()
    again = ["--config", str(out / "config.yaml"), "--data", str(data), "--out", str(out)]
    assert train_command.main([*again, "--resume"]) == 0
    assert (out / "config.yaml").read_bytes() == text
    assert sorted(path.name for path in (out / "pictures").iterdir()) == [
        f"step_{step:06}_{name}.png"
        for step in VALIDATED
        for name in ("kitti_c", "semantickitti_01_000000")
    ]
    assert_same_run(tmp_path / "dark", out)


# TensorBoard


def scalars(out: Path) -> dict[str, list[tuple[int, float]]]:
    """Return the step and value of each curve as TensorBoard shows it."""
    events = read_events(out)
    return {
        tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]
    }


def images(out: Path) -> dict[str, list[tuple[int, int, int, bytes]]]:
    """Return the step, width, height and file of each picture as TensorBoard shows it."""
    events = read_events(out)
    return {
        tag: [(e.step, e.width, e.height, e.encoded_image_string) for e in events.Images(tag)]
        for tag in events.Tags()["images"]
    }


def read_events(out: Path):  # type: ignore[no-untyped-def]
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(
        str(out / "tensorboard"), size_guidance={"scalars": 0, "images": 0}
    )
    return events.Reload()


def assert_complete(out: Path) -> None:
    """Check that the event files hold each row of the log and each picture once."""
    with open(out / "log.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == ROWS
    tags = {"lr": "lr"} | {f"loss/{name}": name for name in LOSSES}
    tags |= {f"val_{k}/{name}": f"val_{k}_{name}" for k in ("pq", "recall") for name in NAMES}
    found = scalars(out)
    assert found.keys() == tags.keys()
    for tag, column in tags.items():
        expected = [(int(row["step"]), float(row[column])) for row in rows if row[column]]
        assert [step for step, _ in found[tag]] == [step for step, _ in expected], tag
        assert [v for _, v in found[tag]] == pytest.approx([v for _, v in expected], rel=1e-6)
    pictures = images(out)
    assert pictures.keys() == {"validation/kitti/c", "validation/semantickitti/01/000000"}
    for tag, shown in pictures.items():
        name = tag.removeprefix("validation/").replace("/", "_")
        paths = [out / "pictures" / f"step_{step:06}_{name}.png" for step in VALIDATED]
        assert shown == [
            (step, 7, 3, path.read_bytes()) for step, path in zip(VALIDATED, paths, strict=True)
        ]


@pytest.mark.parametrize("killed_at", [None, 6, 9])
def test_tensorboard_has_every_row_and_picture_once(
    data: Path,
    tmp_path: Path,
    drawn: Drawn,
    monkeypatch: pytest.MonkeyPatch,
    killed_at: int | None,
) -> None:
    """A run killed after step 9 was saved at step 5, so the steps since are repeated."""
    pytest.importorskip("tensorboard")
    out, option = tmp_path / "run", "--tensorboard"
    if killed_at:
        stop_after(killed_at, monkeypatch, arguments(awkward(), data, out, option))
        assert [step for step, _ in scalars(out)["lr"]] == [s for s in ROWS if s <= killed_at]
        option = "--resume"  # continues the existing files
    assert train_command.main(arguments(awkward(), data, out, option)) == 0
    assert_complete(out)


def test_a_restarted_run_hides_the_events_of_one_that_was_never_saved(
    data: Path, tmp_path: Path, drawn: Drawn, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorboard")
    out = tmp_path / "run"
    stop_after(4, monkeypatch, arguments(awkward(), data, out, "--tensorboard"))
    assert not (out / "last.pt").exists()
    assert train_command.main(arguments(awkward(), data, out, "--tensorboard")) == 0
    assert_complete(out)


def test_tensorboard_added_on_resume_has_curves_from_the_start(
    data: Path, tmp_path: Path, drawn: Drawn, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorboard")
    out = tmp_path / "run"
    stop_after(9, monkeypatch, arguments(awkward(), data, out))
    assert not (out / "tensorboard").exists()
    assert train_command.main(arguments(awkward(), data, out, "--resume", "--tensorboard")) == 0
    assert [step for step, _ in scalars(out)["loss/loss"]] == ROWS
    assert [step for step, *_ in images(out)["validation/kitti/c"]] == [8, 11]


def test_rows_become_curves_and_pictures_come_with_scores(
    data: Path, tmp_path: Path, drawn: Drawn, weights: str, tiny_config: Config
) -> None:
    pytest.importorskip("tensorboard")
    events = open_events(tmp_path / "tensorboard", 0, [])
    refs = list_frames(data / "kitti", "kitti", ["val"])
    report = TrainingReport(tmp_path, tiny_config, refs, events)
    (tmp_path / "log.csv").write_text("step,loss\n1,0.5\n")
    report({"step": 1, "time_s": 3.0, "loss": 0.5}, None)
    assert scalars(tmp_path) == {"loss/loss": [(1, 0.5)]}
    assert drawn == ([], [])
    row = {
        "step": 2,
        "loss": 0.25,
        "val_pq_traffic_cone": 0.75,
    }  # a class name with the separator in it
    report(row, Segmenter.from_checkpoint(weights, "cpu"))
    assert scalars(tmp_path) == {
        "loss/loss": [(1, 0.5), (2, 0.25)],
        "val_pq/traffic_cone": [(2, 0.75)],
    }
    assert [step for step, *_ in images(tmp_path)["validation/kitti/c"]] == [2]


def test_missing_tensorboard_is_reported_before_the_run_starts(
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    out = tmp_path / "run"
    assert train_command.main(arguments(awkward(), data, out, "--tensorboard")) == 2
    assert capsys.readouterr().err == (
        f"train_kitti: {out / 'tensorboard'} needs tensorboard: "
        "pip install 'bev-instseg[tensorboard]'\n"
    )
    assert not out.exists()
