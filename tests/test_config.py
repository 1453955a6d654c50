"""Configurations round-trip; an error is one line that names the file and the key."""

import dataclasses
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bev_instseg import BEVGrid
from bev_instseg import config as config_module
from bev_instseg.config import CLASSES, ClusterConfig, Config, LossConfig, TrainConfig
from bev_instseg.config_files import (
    config_from_dict,
    config_to_dict,
    load_config,
    override_config,
    save_config,
)
from bev_instseg.exceptions import ConfigError, explain

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = sorted((ROOT / "configs").rglob("*.yaml"))


def load(folder: Path, text: str) -> Config:
    path = folder / "run.yaml"
    path.write_text(text, encoding="utf-8")
    return load_config(path)


def refusal(path: Path) -> str:
    """Return the error for a file, checked to be one line that starts with its path."""
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


def test_pieces_need_a_bandwidth_with_a_direction(tmp_path: Path) -> None:
    line = "{name: line, label: 60, kitti: [], semantickitti: [60], piece_m: 5.0}"
    text = f"classes: [{line}]\nloss: {{foreground_weight: [2.0]}}\naugment: {{paste: [0]}}\n"
    assert load(tmp_path, text).in_pieces == (True,)
    (tmp_path / "run.yaml").write_text(f"{text}model: {{bandwidth: elliptical}}\n")
    assert "piece_m needs model.bandwidth: oriented" in refusal(tmp_path / "run.yaml")


def test_later_files_override_earlier_ones(tmp_path: Path) -> None:
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


@pytest.mark.parametrize("text", ["", "# only a comment\n", "{}\n"])
def test_an_empty_file_gives_the_defaults(tmp_path: Path, text: str) -> None:
    assert load(tmp_path, text) == Config()


def test_a_file_changes_only_the_keys_it_names(tmp_path: Path) -> None:
    config = load(tmp_path, "train: {steps: 3}\ngrid: {x_range_m: [0, 51.2]}\n")
    assert config.train == TrainConfig(steps=3)
    assert config.grid == BEVGrid(x_range_m=(0.0, 51.2))
    assert isinstance(config.grid.x_range_m[0], float)
    assert config.classes == CLASSES


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # keys
        (
            "trian: {steps: 3}",
            "unknown key 'trian' (did you mean 'train'?); known keys: grid, classes, data",
        ),
        (
            "train: {stpes: 3}",
            "unknown key 'train.stpes' (did you mean 'steps'?); known keys: steps, batch_size",
        ),
        ("train: {xyzzy: 3}", "unknown key 'train.xyzzy'; known keys: steps, batch_size"),
        (
            "data: {sources: [{path: a, layout: kitti}, {path: b, layuot: kitti}]}",
            "unknown key 'data.sources[1].layuot' (did you mean 'layout'?); known keys: path, ",
        ),
        (
            "grid: {cel_m: 0.3}",
            "unknown key 'grid.cel_m' (did you mean 'cell_m'?); known keys: x_range_m, y_range_m",
        ),
        ("1: 2", "unknown key '1'"),
        ("train: {steps: 3}\nmodel: {}\ntrain: {seed: 1}", "duplicate key 'train'"),
        ("train: {steps: 3, seed: 1, steps: 4}", "duplicate key 'steps'"),
        ("classes: [{name: car}]", "classes[0].label is missing"),
        # types
        ("train: {steps: 3.0}", "train.steps must be an integer from 1 to 1e9, got 3.0"),
        ("train: {steps: 3.5}", "train.steps must be an integer from 1 to 1e9, got 3.5"),
        ("train: {steps: '3'}", "train.steps must be an integer from 1 to 1e9, got '3'"),
        ("train: {steps: true}", "train.steps must be an integer from 1 to 1e9, got True"),
        ("train: {steps: null}", "train.steps must be an integer from 1 to 1e9, got None"),
        ("augment: {enabled: 1}", "augment.enabled must be true or false, got 1"),
        ("augment: {enabled: 'yes'}", "augment.enabled must be true or false, got 'yes'"),
        ("train: {learning_rate: true}", "train.learning_rate must be a number from 0 to 1e9, got"),
        ("train: {learning_rate: [1.0]}", "train.learning_rate must be a number from 0 to 1e9"),
        ("grid: {cell_m: true}", "grid.cell_m must be a finite number, got True"),
        ("grid: {x_range_m: [0, five]}", "grid.x_range_m[1] must be a finite number, got 'five'"),
        (
            "model: {widths: 32}",
            "model.widths must be a list of integers from 1 to 4096, at least 3, got 32",
        ),
        (
            "model: {widths: [32, wide, 96, 128]}",
            "model.widths[1] must be an integer from 1 to 4096, got 'wide'",
        ),
        (
            "grid: {x_range_m: [0, 10, 20]}",
            "grid.x_range_m must be a list of 2 finite numbers, got [0, 10, 20]",
        ),
        ("grid: {x_range_m: [0]}", "grid.x_range_m must be a list of 2 finite numbers, got [0]"),
        ("data: {void_kitti: [1]}", "data.void_kitti[0] must be a string, got 1"),
        ("data: {void_kitti: !!set {a}}", "is not allowed"),
        ("data: {void_kitti: [2001-01-01]}", "datetime.date(2001, 1, 1) is not allowed; put it in"),
        ("train: 3", "train must be a mapping, got 3"),
        ("train:", "train must be a mapping, got None"),
        ("classes: [car]", "classes[0] must be a mapping, got 'car'"),
        (
            "model: {bandwidth: round}",
            "model.bandwidth must be one of fixed, scalar, elliptical, oriented, got 'round'",
        ),
        # values
        ("grid: {cell_m: 0.3}", "grid: x_range_m -51.2..51.2 m is not a whole number of 0.3 m"),
        ("grid: {cell_m: .inf}", "grid: cell_m must be positive and finite, got inf"),
        ("classes: []", "classes must be a list of mappings, at least 1, got []"),
        ("classes: [{name: '', label: 1}]", "classes[0].name must be a string that is not empty"),
        ("classes: [{}, {}, {label: 1.5}]", "classes[0].name is missing"),
        ("augment: {paste: [1]}", "augment.paste has 1 entries for 3 classes"),
        ("loss: {foreground_weight: [1]}", "loss.foreground_weight has 1 entries for 3 classes"),
        (
            "cluster: {calibration: [[0, 1, 0]]}",
            "cluster.calibration has 1 entries for 3 classes",
        ),
        (
            "cluster: {calibration: [[0, 1]]}",
            "cluster.calibration[0] must be a list of 3 finite numbers, got [0, 1]",
        ),
        ("model: {widths: [8, 8, 8]}", "model: widths has 3 levels, blocks 5"),
        (
            "model: {widths: [8, 8, 8], blocks: [1, 1, 1]}\ntrain: {window_cells: 62}",
            "train.window_cells: 62 cells",
        ),
        ("grid: {x_range_m: [0, 51.0]}", "grid: 255 x 512 cells is not a multiple of the network"),
        ("train: {steps: 0}", "train.steps must be an integer from 1 to 1e9, got 0"),
        ("train: {steps: 1000000001}", "train.steps must be an integer from 1 to 1e9, got 10000"),
        ("train: {seed: 9223372036854775808}", "train.seed must be an integer from 0 to 92233"),
        ("cluster: {seed_threshold: 7}", "cluster.seed_threshold must be a number from 0 to 1, g"),
        (
            "cluster: {min_height_m: -.inf}",
            "min_height_m must be a finite number, got -inf",
        ),
        ("train: {learning_rate: .nan}", "train.learning_rate must be a number from 0 to 1e9, got"),
        ("train: {learning_rate: " + "9" * 400 + "}", "must be a number from 0 to 1e9, got 999"),
        (
            "train: {clip_norm: 0}",
            "clip_norm must be a number above 0 and at most 1e9, got 0",
        ),
        ("train: {window_cells: -256}", "train.window_cells must be an integer from 0 to 1e9, got"),
        ("augment: {dropout: 3}", "augment.dropout must be a number from 0 to 1, got 3"),
        ("augment: {paste: [1, 1, -1]}", "augment.paste[2] must be an integer from 0 to 1000, got"),
        (
            "model: {widths: [8, 8], blocks: [1, 1]}",
            "model.widths must be a list of integers from 1 to 4096, at least 3, got [8, 8]",
        ),
        (
            "model: {dense_levels: 5}",
            "model: dense_levels is 5, but the first of the 5 levels is not dense; give 4 or less",
        ),
        (
            "model: {initial_margin_m: 0}",
            "model.initial_margin_m must be a number from 0.02 to 64, got 0",
        ),
        (
            "data: {sources: [{path: a, layout: kitti, weight: -1}]}",
            "data.sources[0].weight must be a number from 0 to 1e9, got -1",
        ),
        # not a mapping at all
        ("- 1", "the top level must be a mapping, got [1]"),
        ("steps", "the top level must be a mapping, got 'steps'"),
        # YAML
        ("data: &a {}\nmodel: *a", "aliases are not allowed"),
        ("train: {steps: 3\ngrid: {}", "not valid YAML: "),
        ("? [a]\n: 1", "not valid YAML: "),
        ("train: 2001-13-45", "not valid YAML: "),
        ("train: {steps: 0x_}", "not valid YAML: "),
        ("[" * 5000, "not valid YAML: nested too deeply"),
        ('train: {steps: !!int ""}', "'' is not a valid !!int in"),
        ("train: {steps: !!float }", "'' is not a valid !!float in"),
        ("train: {steps: !!timestamp x}", "'x' is not a valid !!timestamp in"),
        ("train: {steps: !!bool x}", "'x' is not a valid !!bool in"),
        ("train: {steps: !!map x}", "not valid YAML: "),
        ("train: {steps: !!binary é}", "not valid YAML: "),
        ("train: {steps: 1" + "0" * 5000 + "}", "is not a valid !!int in"),
        ("train: {steps: 0x" + "f" * 5000 + "}", "Exceeds the limit"),
        ("#" * 1_000_001, "too large: 1,000,001 bytes, more than 1,000,000; check the path"),
        # memory
        (
            "grid: {x_range_m: [-6553.6, 6553.6], y_range_m: [-6553.6, 6553.6]}",
            "a grid of 65,536 x 65,536 cells with model.widths of up to 128 needs about 335.0 GB "
            "of memory, but there are 32.0 GB; choose a smaller range",
        ),
        (
            "model: {widths: [4096, 4096, 4096], blocks: [64, 64, 64]}",
            "with model.widths of up to 4096 needs about",
        ),
        # labels
        (
            "classes: [{name: a, label: 1, kitti: [Car]}, {name: b, label: 2, kitti: [Car]}]\n"
            "loss: {foreground_weight: [1, 1]}\naugment: {paste: [1, 1]}",
            "classes: two have the kitti kind 'Car'; choose one",
        ),
        (
            "classes: [{name: a, label: 1}, {name: b, label: 1}]\n"
            "loss: {foreground_weight: [1, 1]}\naugment: {paste: [1, 1]}",
            "classes: two have the label 1; give each its own",
        ),
        ("classes: [{name: unknown, label: 1}]", "classes: the name 'unknown' is that of objects"),
        (
            "augment: {intensity_none: 0.6, intensity_map: 0.5}",
            "intensity_none and intensity_map add up to more than 1; lower one",
        ),
        ("[" * 230 + "]" * 230, "recursion limit"),
        ("train:\n\tsteps: 3", "not valid YAML: "),
        ("train: !!python/object:os.system {}", "not valid YAML: "),
        ("train: {}\n---\ntrain: {}", "not valid YAML: "),
        ("grid: {x_range_m: [-1.0e+308, 1.0e+308]}", "is not a whole number of 0.2 m cells"),
        ("grid: {cell_m: 1.0e-308}", "is not a whole number of 1e-308 m cells"),
        ('train: {"\\uD800": 3}', "not valid text"),
    ],
)
def test_an_error_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, expected: str
) -> None:
    monkeypatch.setattr(config_module, "machine_bytes", lambda: 32 * 10**9)
    path = tmp_path / "run.yaml"
    path.write_text(text, encoding="utf-8")
    assert expected in refusal(path)


@pytest.mark.parametrize(
    "fields",
    [
        {"steps": True},
        {"steps": 3.0},
        {"steps": 0},
        {"learning_rate": "0.1"},
        {"learning_rate": math.nan},
        {"clip_norm": math.inf},
        {"precision": "fp8"},
        {"stpes": 3},
    ],
)
def test_invalid_fields_are_refused_in_python_too(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(fields))):
        TrainConfig(**fields)
    with pytest.raises((ValueError, TypeError), match=next(iter(fields))):
        dataclasses.replace(TrainConfig(), **fields)


def test_configurations_behave_like_frozen_dataclasses() -> None:
    config = Config()
    assert {config: 1}[Config()] == 1
    assert pickle.loads(pickle.dumps(config)) == config
    assert dataclasses.asdict(config)["grid"]["cell_m"] == config.grid.cell_m
    assert len(dataclasses.fields(config.cluster)) == 6
    assert ClusterConfig(0.0, 0.0, 0.0) == dataclasses.replace(
        config.cluster, seed_threshold=0, member_threshold=0, min_free=0
    )
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.grid = BEVGrid()  # type: ignore[misc]


def test_numbers_survive_a_round_trip_exactly() -> None:
    rng = np.random.default_rng(0)
    for values in rng.normal(size=(100, 3, 3)) * 10.0 ** rng.integers(-300, 300, (100, 3, 3)):
        calibration = tuple(map(tuple, values.tolist()))
        config = dataclasses.replace(Config(), cluster=ClusterConfig(calibration=calibration))
        assert config_from_dict(config_to_dict(config)) == config


def test_yaml_errors_name_the_line(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("train:\n  steps: 3\n  steps: 4\n", encoding="utf-8")
    assert "line 3" in refusal(path)


def test_an_exponent_without_a_point_is_refused_with_a_hint(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("train: {learning_rate: 1e-3}", encoding="utf-8")
    assert refusal(path) == (
        "train.learning_rate must be a number from 0 to 1e9 (YAML reads 1e-3 as text: write 1.0e-3)"
        ", got '1e-3'"
    )
    assert load(tmp_path, "train: {learning_rate: 1.0e-3}").train.learning_rate == 1e-3


def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "absent.yaml")
    assert "cannot read" in refusal(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"train: \xff")
    assert "cannot read" in refusal(tmp_path / "latin.yaml")


def test_a_file_overrides_the_configuration_of_weights(tmp_path: Path) -> None:
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
    with pytest.raises(
        ConfigError, match=r"classes\[0\]\.label must be an integer from 1 to 65535, got 0"
    ):
        override_config(base, path)
    for text in ("model: {widths: [8, 8, 8, 8, 8]}", "grid: {cell_m: 0.4}"):
        path.write_text(text)
        with pytest.raises(ConfigError, match=r"over\.yaml: model, grid\.cell_m and the number"):
            override_config(base, path)


def test_errors_of_a_dictionary_name_its_source() -> None:
    with pytest.raises(ConfigError, match=r"^checkpoint\.pt: unknown key 'x'"):
        config_from_dict({"x": 1}, "checkpoint.pt")


def test_an_error_begins_where_there_are_words() -> None:
    assert explain(ValueError("\n \nno parse\n^")) == "no parse"
    assert explain(ValueError("\n")) == "ValueError"


def test_an_error_of_a_setting_made_in_python_has_a_plain_line() -> None:
    with pytest.raises(ValueError, match="seed_threshold") as caught:
        ClusterConfig(seed_threshold=7.0)
    expected = "ClusterConfig.seed_threshold: Input should be less than or equal to 1"
    assert explain(caught.value) == expected


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_config(Config(), tmp_path / "run.yaml")
    before = (tmp_path / "run.yaml").read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        save_config(Config(train=TrainConfig(seed=7)), tmp_path / "run.yaml")
    assert (tmp_path / "run.yaml").read_bytes() == before
