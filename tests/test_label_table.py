"""What labels hold is counted, shown and, where it cannot be what was meant, reported."""

import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from conftest import CALIBRATION

from bev_instseg.cli import evaluate as evaluate_command
from bev_instseg.cli import train as train_command
from bev_instseg.cli.train import pasted_classes, pasted_kinds
from bev_instseg.config import Config
from bev_instseg.config_files import save_config
from bev_instseg.datasets.frames import list_frames
from bev_instseg.datasets.label_table import (
    Source,
    count_source,
    label_warnings,
    require_objects,
    shared_frames,
)
from bev_instseg.exceptions import KittiError, ScanError
from bev_instseg.structures import Frame
from bev_instseg.training.cutouts import Cutout, save_objects

BOX = "0 0 0 500 100 600 200 1.5 1.8 4.0 {x} 1.7 {z} 0"


def enough(frame: Frame) -> np.ndarray:
    return frame.points_per_object() >= 5


def kitti_source(root: Path, config: Config, split: str = "train") -> Source:
    return count_source("kitti", list_frames(root, "kitti", [split]), config, enough)


def write_boxes(root: Path, name: str, lines: Sequence[str]) -> None:
    (root / "training" / "label_2" / f"{name}.txt").write_text("".join(f"{x}\n" for x in lines))


def rewrite_labels(root: Path, change) -> None:
    for path in root.rglob("*.label"):
        change(np.fromfile(path, np.uint32)).astype(np.uint32).tofile(path)


def train(config: Config, folder: Path, *options: str) -> int:
    save_config(config, folder / "tiny.yaml")
    return train_command.main(["--config", f"{folder}/tiny.yaml", "--data", f"{folder}", *options])


def with_source(config: Config, layout: str) -> Config:
    """The configuration with only its source of one layout."""
    sources = tuple(source for source in config.data.sources if source.layout == layout)
    return dataclasses.replace(config, data=dataclasses.replace(config.data, sources=sources))


def test_boxes_are_counted_by_kind(kitti_root: Path, tiny_config: Config) -> None:
    far = BOX.format(x=0, z=40)  # nothing was seen there
    write_boxes(kitti_root, "b", [f"Car {far}", f"bus {far}", f"Tram {far}", f"DontCare {far}"])
    counts = kitti_source(kitti_root, tiny_config).counts
    assert {
        kind: (c.taken_as, c.objects, c.usable, c.empty) for kind, c in counts.kinds.items()
    } == {
        "Car": ("vehicle", 3, 2, 1),
        "Pedestrian": ("pedestrian", 1, 1, 0),
        "bus": ("background", 1, 0, 0),
        "Tram": ("void", 1, 0, 0),
        "DontCare": ("void", 1, 0, 0),
    }
    assert counts.frames == 2
    frames = [
        r.read(tiny_config.classes, tiny_config.data)
        for r in list_frames(kitti_root, "kitti", ["train"])
    ]
    assert counts.kinds["Car"].points == int(
        (np.isin(frames[0].instance, (1, 2)) & frames[0].labelled).sum()
    )
    on_objects = sum(int(f.points_per_object().sum()) for f in frames)
    assert (
        on_objects + counts.void_points + counts.background_points + counts.unlabelled_points
        == sum(len(f.points) for f in frames)
    )


def test_words_are_counted_by_class_number(semantickitti_root: Path, tiny_config: Config) -> None:
    def change(words: np.ndarray) -> np.ndarray:
        words[words == 30 | 3 << 16] = 30  # a person without an instance id, in frame 0
        words[:4] = (99 | 7 << 16, 99 | 7 << 16, 99, 1)  # an object of no class; void
        return words

    rewrite_labels(semantickitti_root, change)
    refs = list_frames(semantickitti_root, "semantickitti", ["00"])
    counts = count_source("s", refs, tiny_config, enough).counts
    taken = {kind: (c.taken_as, c.objects, c.usable) for kind, c in counts.kinds.items()}
    assert taken == {
        "1": ("void", 0, 0),
        "10": ("vehicle", 3, 3),
        "30": ("pedestrian", 1, 1),
        "31": ("cyclist", 1, 1),
        "40": ("background", 0, 0),
        "99": ("background", 2, 0),
    }
    assert counts.kinds["99"].points == 6
    assert counts.kinds["30"].points_without_id > 0
    assert counts.unlabelled_points == 0


@pytest.mark.parametrize(
    ("kind", "hint"),
    [("car", " (did you mean 'Car'?)"), ("Cars", " (did you mean 'Car'?)"), ("bus", "")],
)
def test_an_unknown_kind_is_named(
    kitti_root: Path, tiny_config: Config, kind: str, hint: str
) -> None:
    write_boxes(kitti_root, "b", [f"{kind} {BOX.format(x=2, z=8)}"])
    assert list(label_warnings([kitti_source(kitti_root, tiny_config)], tiny_config)) == [
        f"kitti: label kind {kind!r}: its 1 object(s) match no class{hint} and are treated as "
        "background; add the kind to classes.kitti or data.void_kitti"
    ]


def test_boxes_that_miss_the_points_are_named(kitti_root: Path, tiny_config: Config) -> None:
    for name in "ab":
        write_boxes(kitti_root, name, [f"Car {BOX.format(x=0, z=40)}"])
    source = kitti_source(kitti_root, tiny_config)
    (warning,) = label_warnings([source], tiny_config)
    assert "label kind 'Car': 2 of 2 boxes contain no point; check that the boxes" in warning
    with pytest.raises(
        ScanError, match=r"in 2 frame.*no box contains a point; check that the boxes"
    ):
        require_objects([source], tiny_config, "to learn from")


def test_objects_without_instance_ids_are_named(
    semantickitti_root: Path, tiny_config: Config
) -> None:
    rewrite_labels(semantickitti_root, lambda words: words & 0xFFFF)
    refs = list_frames(semantickitti_root, "semantickitti", ["00"])
    source = count_source("s", refs, tiny_config, enough)
    warnings = list(label_warnings([source], tiny_config))
    assert len(warnings) == 3
    assert all("have no instance id and are void; put the number" in line for line in warnings)
    with pytest.raises(ScanError, match="their points have no instance id"):
        require_objects([source], tiny_config, "to learn from")


def test_labels_that_do_not_fit_the_order_of_the_points_are_named(
    semantickitti_root: Path, tiny_config: Config
) -> None:
    rng = np.random.default_rng(0)
    rewrite_labels(semantickitti_root, rng.permutation)
    for path in semantickitti_root.rglob("*.bin"):
        points = np.fromfile(path, np.float32).reshape(-1, 4)
        (points * np.float32([3, 3, 1, 1])).tofile(path)  # a larger street
    refs = list_frames(semantickitti_root, "semantickitti", ["00"])
    source = count_source("s", refs, tiny_config, enough)
    warnings = list(label_warnings([source], tiny_config))
    assert len(warnings) == 3
    assert "'10': 3 of 3 objects are longer than 30 m or lower than 0.35 m; check" in warnings[0]
    classes = tuple(dataclasses.replace(one, piece_m=8) for one in tiny_config.classes)
    lines = dataclasses.replace(tiny_config, classes=classes)  # may be as long as they like
    assert not list(label_warnings([count_source("s", refs, lines, enough)], lines))


def test_objects_that_lie_flat_on_the_ground_are_named(
    semantickitti_root: Path, tiny_config: Config
) -> None:
    for path in semantickitti_root.rglob("*.bin"):
        points = np.fromfile(path, np.float32).reshape(-1, 4)
        points[:, 2] *= 0.1  # as if the labels were those of the ground nearby
        points.tofile(path)
    refs = list_frames(semantickitti_root, "semantickitti", ["00"])
    warnings = list(label_warnings([count_source("s", refs, tiny_config, enough)], tiny_config))
    assert any("lower than 0.35 m; check that the labels are in the order" in w for w in warnings)


def test_numbers_of_objects_in_place_of_classes_are_one_warning(
    semantickitti_root: Path, tiny_config: Config
) -> None:
    def swap(words: np.ndarray) -> np.ndarray:
        words[:40] = np.arange(200, 240) << 16 | 10
        return words >> 16 | words << 16

    rewrite_labels(semantickitti_root, swap)
    refs = list_frames(semantickitti_root, "semantickitti", ["00"])
    warnings = list(label_warnings([count_source("s", refs, tiny_config, enough)], tiny_config))
    (line,) = [one for one in warnings if "match no class" in one]
    assert "and 3" in line
    assert line.endswith("into the low 16 bits of each label and the number into the high 16 bits")


def test_numbered_lines_of_the_road_are_no_objects(
    semantickitti_root: Path, tiny_config: Config
) -> None:
    rewrite_labels(semantickitti_root, lambda words: np.where(words == 40, 60 | 5 << 16, words))
    refs = list_frames(semantickitti_root, "semantickitti", ["00"])
    assert not list(label_warnings([count_source("s", refs, tiny_config, enough)], tiny_config))


def test_a_kind_that_is_of_a_class_and_void_is_named(
    semantickitti_root: Path, tiny_config: Config
) -> None:
    data = dataclasses.replace(tiny_config.data, void_semantickitti=(0, 10))
    config = dataclasses.replace(tiny_config, data=data)
    refs = list_frames(semantickitti_root, "semantickitti", ["00"])
    (warning,) = label_warnings([count_source("s", refs, config, enough)], config)
    assert "label kind '10': belongs to class 'vehicle' but is void" in warning
    assert "data.void_semantickitti" in warning


def test_void_takes_precedence_in_both_layouts(kitti_root: Path, tiny_config: Config) -> None:
    data = dataclasses.replace(tiny_config.data, void_kitti=("Car",))
    (frame,) = (
        ref.read(tiny_config.classes, data) for ref in list_frames(kitti_root, "kitti", ["val"])
    )
    assert frame.classes.tolist() == [1, 2]
    assert (frame.instance == -1).any()


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        ([], "the labels contain no object at all; label some"),
        (["bus " + BOX.format(x=2, z=8)], "the labels contain bus (2, background); name these"),
    ],
)
def test_labels_without_any_object_of_a_class_are_refused(
    kitti_root: Path,
    tiny_config: Config,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    labels: list[str],
    reason: str,
) -> None:
    for name in "ab":
        write_boxes(kitti_root, name, labels)
    config = with_source(tiny_config, "kitti")
    for options in (["--check"], ["--out", str(tmp_path / "run")]):
        assert train(config, tmp_path, *options) == 2
        printed = capsys.readouterr()
        last = printed.err.splitlines()[-1]
        assert last.startswith("train_kitti: kitti (train): no object of any class to learn from")
        assert reason in last
        assert "| kitti (train) |" in printed.out
    assert not (tmp_path / "run").exists()


def test_check_prints_the_table_and_stops(
    kitti_root: Path,
    semantickitti_root: Path,
    tiny_config: Config,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert train(tiny_config, tmp_path, "--check") == 0
    printed = capsys.readouterr()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in printed.out.splitlines()]
    shown = {(row[0], row[2]): row[3:6] for row in rows if len(row) == 9}
    assert shown["kitti (train)", "vehicle"] == ["3", "3", "0"]
    assert shown["kitti (val)", "cyclist"] == ["1", "1", "0"]
    assert shown["semantickitti (train)", "pedestrian"] == ["2", "2", "0"]
    assert ("kitti (train)", "unlabelled") in shown
    assert "warning" not in printed.err
    assert train(tiny_config, tmp_path) == 2
    assert "--out RUN_DIR is missing" in capsys.readouterr().err


def test_what_is_assumed_about_folders_is_said_once_and_counted(
    kitti_root: Path,
    semantickitti_root: Path,
    tiny_config: Config,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for root in (kitti_root, semantickitti_root):
        for path in root.rglob("*.bin"):
            points = np.fromfile(path, np.float32).reshape(-1, 4)
            points[:, 3] = np.rint(255 * points[:, 3])
            points.tofile(path)
    assert train(tiny_config, tmp_path, "--check") == 0
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if line.startswith("train_kitti: ")] == [
        f"train_kitti: note: {many}{kitti_root}/training/velodyne: intensity 0..255: divided by 255"
        for many in ("", "3 times, first ")
    ]


def test_classes_without_an_example_and_shared_frames_are_named(
    kitti_root: Path, tiny_config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (kitti_root / "ImageSets" / "train.txt").write_text("a\n")
    (kitti_root / "ImageSets" / "val.txt").write_text("a\n")
    assert train(with_source(tiny_config, "kitti"), tmp_path, "--check") == 0
    warnings = capsys.readouterr().err
    assert "class 'cyclist' has no object to learn from: the network will not find any" in warnings
    assert "class 'cyclist' has no object in the validation frames" in warnings
    assert "1 validation frame(s) are also training frames, such as " in warnings
    assert "kitti/a: their scores will be too good" in warnings


def test_validation_frames_of_weight_0_are_checked(
    kitti_root: Path, tiny_config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (kitti_root / "ImageSets" / "val.txt").write_text("a\n")
    one = with_source(tiny_config, "kitti").data.sources[0]
    sources = dataclasses.replace(one, val=()), dataclasses.replace(one, train=(), weight=0.0)
    data = dataclasses.replace(tiny_config.data, sources=sources)
    assert train(dataclasses.replace(tiny_config, data=data), tmp_path, "--check") == 0
    printed = capsys.readouterr()
    assert "| kitti (val) " in printed.out
    assert "1 validation frame(s) are also training frames, such as " in printed.err


def test_pasted_objects_count_as_examples(tiny_config: Config) -> None:
    def cutout(index: int) -> Cutout:
        return Cutout(np.zeros((1, 4), np.float32), index, np.zeros(2), np.zeros(3), "")

    database = [cutout(2), cutout(-1)]
    assert pasted_classes([database], tiny_config) == {"cyclist"}
    assert pasted_kinds([database], tiny_config) == {2, -1}
    only = dataclasses.replace(tiny_config.augment, paste=(0, 0, 0), distractors=6)
    assert pasted_kinds([database], dataclasses.replace(tiny_config, augment=only)) == {-1}
    off = dataclasses.replace(tiny_config.augment, enabled=False)
    assert pasted_classes([database], dataclasses.replace(tiny_config, augment=off)) == set()


def test_a_frame_listed_twice_is_refused(kitti_root: Path, semantickitti_root: Path) -> None:
    (kitti_root / "ImageSets" / "train.txt").write_text("a\nb\na\n")
    with pytest.raises(ScanError, match=r"1 frame\(s\) listed twice in train, such as a; remove"):
        list_frames(kitti_root, "kitti", ["train"])
    with pytest.raises(ScanError, match="listed twice in 00, 00/000001, such as 00/000001"):
        list_frames(semantickitti_root, "semantickitti", ["00", "00/000001"])


def test_copies_of_training_frames_are_found_under_any_name(
    kitti_root: Path, tiny_config: Config
) -> None:
    for folder, suffix in (("velodyne", "bin"), ("label_2", "txt"), ("calib", "txt")):
        shutil.copy(*(kitti_root / "training" / folder / f"{name}.{suffix}" for name in "bd"))
    one = kitti_source(kitti_root, tiny_config)
    assert shared_frames([one], [kitti_source(kitti_root, tiny_config, "val")]) == []
    (kitti_root / "ImageSets" / "val.txt").write_text("c\nd\n")
    other = kitti_source(kitti_root, tiny_config, "val")
    assert shared_frames([one], [other]) == [f"{kitti_root}/d"]


def test_a_resumed_run_can_be_checked(
    kitti_root: Path, tiny_config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = with_source(tiny_config, "kitti")
    assert train(config, tmp_path, "--check", "--resume") == 0
    assert "| vehicle |" in " ".join(capsys.readouterr().out.split())


def test_objects_of_validation_frames_are_named(
    kitti_root: Path, tiny_config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = with_source(tiny_config, "kitti")
    points = np.zeros((20, 4), np.float32)
    crates = [Cutout(points, 0, points[0, :2], points[0, :3], f"kitti/{name}") for name in "ac"]
    save_objects(tmp_path / "objects.npz", crates, config.class_names)
    options = ["--check", "--objects", f"{tmp_path}/objects.npz"]
    assert train(config, tmp_path, *options) == 0
    assert "1 of the --objects are from validation frames, such as kitti/c" in (
        capsys.readouterr().err
    )
    augment = dataclasses.replace(config.augment, paste=(0, 0, 0))
    assert train(dataclasses.replace(config, augment=augment), tmp_path, *options) == 2
    assert "--objects: no object is pasted, because of augment" in capsys.readouterr().err


def test_frames_outside_the_image_are_named(kitti_root: Path, tiny_config: Config) -> None:
    behind = CALIBRATION.replace("0 -1 0 0 0 0 -1 0 1 0 0 0", "0 1 0 0 0 0 -1 0 -1 0 0 0")
    (kitti_root / "training" / "calib" / "a.txt").write_text(behind)
    warnings = list(label_warnings([kitti_source(kitti_root, tiny_config)], tiny_config))
    assert any(
        "1 of 2 frames have no labelled point, such as a; check calib" in w for w in warnings
    )


def test_evaluation_shows_the_table_and_refuses_frames_without_objects(
    kitti_root: Path, weights: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--data", str(kitti_root), "--weights", weights, "--check"]
    assert evaluate_command.main(arguments) == 0
    assert "usable objects have at least 10 labelled points within 50 m" in capsys.readouterr().out
    write_boxes(kitti_root, "c", ["car " + BOX.format(x=2, z=8)])
    assert evaluate_command.main(arguments[:-1]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert "did you mean 'Car'?" in lines[-2]
    assert "kitti: no object of any class to score in 1 frame(s)" in lines[-1]


def test_a_data_set_that_is_a_circle_of_links_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ImageSets").symlink_to("ImageSets")
    with pytest.raises(KittiError, match="cannot be read"):
        list_frames(tmp_path, "kitti", ["train"])
    (tmp_path / "sequences").symlink_to("sequences")
    with pytest.raises((ScanError, OSError)):
        list_frames(tmp_path, "semantickitti", ["00"])
