"""Configurations round-trip, and what is wrong with one is said in one line with file and key."""

import dataclasses
from pathlib import Path

import pytest

from bev_instseg import BEVGrid
from bev_instseg.config import (
    CLASSES,
    Config,
    LossConfig,
    TrainConfig,
    config_from_dict,
    config_to_dict,
    load_config,
    override_config,
    save_config,
)
from bev_instseg.exceptions import ConfigError

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = sorted((ROOT / "configs").rglob("*.yaml"))


def load(folder: Path, text: str) -> Config:
    path = folder / "run.yaml"
    path.write_text(text, encoding="utf-8")
    return load_config(path)


def refusal(path: Path) -> str:
    """What `load_config` says of the file, checked to be one line that opens with its path."""
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message.removeprefix(f"{path}: ")


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_configurations_load_and_round_trip(path: Path, tmp_path: Path) -> None:
    config = load_config(path)
    save_config(config, tmp_path / "resolved.yaml")
    assert load_config(tmp_path / "resolved.yaml") == config


def test_later_files_lie_over_earlier_ones(tmp_path: Path) -> None:
    texts = ("train: {steps: 5, seed: 3}", "train: {steps: 7}", "grid: {cell_m: 0.4}")
    paths = [tmp_path / f"{number}.yaml" for number in range(len(texts))]
    for path, text in zip(paths, texts, strict=True):
        path.write_text(text)
    config = load_config(*paths)
    assert (config.train.steps, config.train.seed, config.grid.cell_m) == (7, 3, 0.4)
    paths[1].write_text("train: {stepps: 7}")
    with pytest.raises(ConfigError, match=r"0\.yaml, .*1\.yaml, .*unknown key 'train.stepps'"):
        load_config(*paths)


def test_round_trip_of_changed_values(tmp_path: Path) -> None:
    config = dataclasses.replace(
        Config(),
        grid=BEVGrid((0.0, 38.4), (-19.2, 19.2), (-3.0, 2.0), 0.4),
        classes=CLASSES[1:],
        loss=LossConfig(instance="hinge", foreground_weight=(2.5, 7.0)),
        augment=dataclasses.replace(Config().augment, enabled=False, paste=(0, 4)),
        train=TrainConfig(learning_rate=1e-05, steps=7),
    )
    save_config(config, tmp_path / "run.yaml")
    assert load_config(tmp_path / "run.yaml") == config
    assert config_from_dict(config_to_dict(config)) == config


@pytest.mark.parametrize("text", ["", "# nothing but a remark\n", "{}\n"])
def test_an_empty_file_is_the_defaults(tmp_path: Path, text: str) -> None:
    assert load(tmp_path, text) == Config()


def test_a_file_changes_what_it_names_and_nothing_else(tmp_path: Path) -> None:
    config = load(tmp_path, "train: {steps: 3}\ngrid: {x_range_m: [0, 51.2]}\n")
    assert config.train == TrainConfig(steps=3)
    assert config.grid == BEVGrid(x_range_m=(0.0, 51.2))
    assert isinstance(config.grid.x_range_m[0], float)
    assert config.classes == CLASSES


@pytest.mark.parametrize(
    ("text", "says"),
    [
        # keys
        ("trian: {steps: 3}", "unknown key 'trian'; known here: grid, classes, data"),
        ("train: {stpes: 3}", "unknown key 'train.stpes'; known here: steps, batch_size"),
        (
            "data: {sources: [{path: a, layout: kitti}, {path: b, layuot: kitti}]}",
            "unknown key 'data.sources[1].layuot'; known here: path, layout",
        ),
        ("1: 2", "unknown key '1'"),
        ("train: {steps: 3}\nmodel: {}\ntrain: {seed: 1}", "key 'train' is given twice"),
        ("train: {steps: 3, seed: 1, steps: 4}", "key 'steps' is given twice"),
        ("classes: [{name: car}]", "classes[0]: "),
        # types
        ("train: {steps: 3.0}", "train.steps must be of type int, got 3.0"),
        ("train: {steps: '3'}", "train.steps must be of type int, got '3'"),
        ("train: {steps: true}", "train.steps must be of type int, got True"),
        ("train: {steps: null}", "train.steps must be of type int, got None"),
        ("augment: {enabled: 1}", "augment.enabled must be of type bool, got 1"),
        ("train: {learning_rate: true}", "train.learning_rate must be a number"),
        ("train: {learning_rate: [1.0]}", "train.learning_rate must be a number"),
        ("model: {widths: 32}", "model.widths must be a list, got 32"),
        ("model: {widths: [32, wide, 96, 128]}", "model.widths[1] must be of type int, got 'wide'"),
        ("grid: {x_range_m: [0, 10, 20]}", "grid.x_range_m must be a list of 2, got [0, 10, 20]"),
        ("train: 3", "train must be a mapping, got 3"),
        ("train:", "train must be a mapping, got None"),
        ("classes: [car]", "classes[0] must be a mapping, got 'car'"),
        (
            "model: {bandwidth: round}",
            "model.bandwidth must be one of fixed, scalar, elliptical, oriented, got 'round'",
        ),
        # values
        ("grid: {cell_m: 0.3}", "grid: x_range_m -51.2..51.2 m is no whole number of 0.3 m cells"),
        ("classes: []", "classes must name at least one class"),
        ("augment: {paste: [1]}", "augment.paste has 1 numbers for 3 classes"),
        ("loss: {foreground_weight: [1]}", "loss.foreground_weight has 1 numbers for 3 classes"),
        ("model: {widths: [8, 8]}", "model.widths and model.blocks differ in length"),
        (
            "model: {widths: [8, 8, 8], blocks: [1, 1, 1]}\ntrain: {window_cells: 62}",
            "train: 62 cells",
        ),
        ("grid: {x_range_m: [0, 51.0]}", "grid: 255 x 512 cells are no multiple of the network"),
        ("train: {steps: 0}", "train.steps must lie in 1..1000000000, got 0"),
        ("cluster: {seed_threshold: 7}", "cluster.seed_threshold must lie in 0..1, got 7.0"),
        ("train: {learning_rate: .nan}", "train.learning_rate must be a finite number"),
        ("train: {learning_rate: " + "9" * 400 + "}", "must be a finite number"),
        ("train: {window_cells: -256}", "train.window_cells must lie in 0.."),
        ("augment: {dropout: 3}", "augment.dropout must lie in 0..1, got 3.0"),
        ("augment: {paste: [1, 1, -1]}", "augment.paste must lie in 0..1000, got -1"),
        ("model: {widths: [8, 8], blocks: [1, 1]}", "model.widths must name at least three levels"),
        ("model: {initial_margin_m: 0}", "model.initial_margin_m must lie in 0.02..64, got 0.0"),
        ("data: {sources: [{path: a, layout: kitti, weight: -1}]}", "weight must be at least 0"),
        # not a mapping at all
        ("- 1", "the top level must be a mapping, got [1]"),
        ("steps", "the top level must be a mapping, got 'steps'"),
        # YAML
        ("data: &a {}\nmodel: *a", "aliases are not allowed"),
        ("train: {steps: 3\ngrid: {}", "not valid YAML: "),
        ("? [a]\n: 1", "not valid YAML: "),
        ("train: 2001-13-45", "not valid YAML: "),
        ("train: {steps: 0x_}", "not valid YAML: "),
        ("[" * 5000, "not valid YAML: "),
        ("train:\n\tsteps: 3", "not valid YAML: "),
        ("train: !!python/object:os.system {}", "not valid YAML: "),
        ("train: {}\n---\ntrain: {}", "not valid YAML: "),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(text, encoding="utf-8")
    assert says in refusal(path)


def test_yaml_errors_name_the_line(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("train:\n  steps: 3\n  steps: 4\n", encoding="utf-8")
    assert "line 3" in refusal(path)


def test_an_exponent_without_a_point_is_refused_with_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("train: {learning_rate: 1e-3}", encoding="utf-8")
    assert refusal(path) == (
        "train.learning_rate must be a number (YAML reads 1e-3 as text: write 1.0e-3), got '1e-3'"
    )
    assert load(tmp_path, "train: {learning_rate: 1.0e-3}").train.learning_rate == 1e-3


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "absent.yaml")
    assert "cannot read" in refusal(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"train: \xff")
    assert "cannot read" in refusal(tmp_path / "latin.yaml")


def test_a_file_over_a_networks_own_configuration(tmp_path: Path) -> None:
    path = tmp_path / "over.yaml"
    path.write_text("cluster: {seed_threshold: 0.5}\ngrid: {x_range_m: [0, 102.4]}\n")
    base = dataclasses.replace(Config(), train=TrainConfig(steps=7))
    config = override_config(base, path)
    assert config.cluster == dataclasses.replace(base.cluster, seed_threshold=0.5)
    assert config.grid == BEVGrid(x_range_m=(0.0, 102.4))
    assert config.train == base.train
    path.write_text("classes: [{min_points: 50}, {}, {name: rider}]")
    classes = override_config(base, path).classes
    assert classes[0] == dataclasses.replace(base.classes[0], min_points=50)
    assert classes[1] == base.classes[1]
    assert classes[2] == dataclasses.replace(base.classes[2], name="rider")
    path.write_text("classes: [{label: 0}, {}, {}]")
    with pytest.raises(ConfigError, match=r"classes\.label must lie in 1\.\.65535, got 0"):
        override_config(base, path)
    for text in ("model: {widths: [8, 8, 8, 8, 8]}", "grid: {cell_m: 0.4}"):
        path.write_text(text)
        with pytest.raises(ConfigError, match=r"over\.yaml: model, grid\.cell_m and the number"):
            override_config(base, path)


def test_a_dictionary_is_named_by_its_source() -> None:
    with pytest.raises(ConfigError, match=r"^checkpoint\.pt: unknown key 'x'"):
        config_from_dict({"x": 1}, "checkpoint.pt")
