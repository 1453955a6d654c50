"""docs/configuration.md and configs/schema.json are made from the configuration's fields."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from bev_instseg.config import Config
from bev_instseg.config_files import config_to_dict, load_config

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = sorted((ROOT / "configs").rglob("*.yaml"))
PAGE = ROOT / "docs" / "configuration.md"
SCHEMA = ROOT / "configs" / "schema.json"

sys.path.insert(0, str(ROOT / "scripts"))
import config_docs  # noqa: E402


def leaves(tree: Any) -> set[str]:
    """Return every key of a tree of mappings and lists."""
    if isinstance(tree, dict):
        return {*tree, *(key for value in tree.values() for key in leaves(value))}
    return {key for item in tree for key in leaves(item)} if isinstance(tree, list) else set()


def test_the_page_and_the_schema_are_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    assert config_docs.main(["--check"]) == 0, capsys.readouterr().out


def test_files_out_of_date_are_reported_and_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(config_docs, "ROOT", tmp_path)
    monkeypatch.setattr(config_docs, "PAGE", tmp_path / "configuration.md")
    monkeypatch.setattr(config_docs, "SCHEMA", tmp_path / "schema.json")
    (tmp_path / "configuration.md").write_text("old")
    assert config_docs.main(["--check"]) == 1
    printed = capsys.readouterr().out
    assert "configuration.md: out of date" in printed
    assert "schema.json: out of date" in printed
    assert (tmp_path / "configuration.md").read_text() == "old"
    assert config_docs.main([]) == 0
    assert config_docs.main(["--check"]) == 0


def test_the_page_has_every_key_with_its_meaning() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.+) \| (.+) \| (.+) \|$", PAGE.read_text(), re.MULTILINE)
    sections = {"grid", "classes", "data", "model", "loss", "cluster", "augment", "train"}
    assert leaves(config_to_dict(Config())) - sections <= {key for key, *_ in rows}
    for key, _, _, meaning in rows:
        assert meaning.endswith("."), key
        assert len(meaning) > 20, key


def test_the_example_of_the_page_is_valid(tmp_path: Path) -> None:
    (example,) = re.findall(r"```yaml\n(# yaml-language-server.*?)```", PAGE.read_text(), re.DOTALL)
    (tmp_path / "my.yaml").write_text(example)
    assert load_config(tmp_path / "my.yaml").train.steps == 5000


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_configurations_name_the_schema_and_follow_it(path: Path) -> None:
    load_config(path)
    first = path.read_text().splitlines()[0]
    named = first.removeprefix("# yaml-language-server: $schema=")
    assert (path.parent / named).resolve() == SCHEMA
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.validate(yaml.safe_load(path.read_text()), json.loads(SCHEMA.read_text()))


@pytest.mark.parametrize(
    "text",
    [
        "train: {stpes: 3}",
        "grid: {cel_m: 0.2}",
        "train: {steps: 0}",
        "train: {steps: 3.5}",
        "grid: {x_range_m: [0, 1, 2]}",
        "augment: {paste: [1, 1, -1]}",
        "model: {bandwidth: round}",
        "data: {sources: [{layout: nuscenes}]}",
    ],
)
def test_the_schema_finds_mistakes(text: str) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(yaml.safe_load(text), json.loads(SCHEMA.read_text()))


def test_the_schema_allows_files_that_change_part_of_an_entry() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    tree = {"classes": [{"min_points": 20}, {}, {}]}
    jsonschema.validate(tree, json.loads(SCHEMA.read_text()))
