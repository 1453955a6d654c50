"""The script that trains the shipped model, with a Python that only notes what it is told."""

import os
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT

from bev_instseg.config import load_config

SCRIPT = ROOT / "scripts" / "train_shipped.sh"
STUB = """#!/bin/sh
echo "$(basename "$1" .py) $*" >> "$NOTES"
[ -z "$FAIL" ] || case "$*" in *$FAIL*) exit 3;; esac
while [ $# -gt 1 ]; do
	case $1 in
	--out) case $2 in *.npz | *.yaml) : > "$2";; *) mkdir -p "$2"; : > "$2/last.pt";; esac;;
	esac
	shift
done
"""


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Run the script; returns exit code, tools called since and what was printed."""
    (tmp_path / "bin").mkdir()
    stub, notes = tmp_path / "bin" / "python", tmp_path / "notes"
    stub.write_text(STUB)
    stub.chmod(0o755)
    for name in ("kitti", "semantickitti", "pandaset"):
        (tmp_path / "data" / name).mkdir(parents=True)
    (tmp_path / "labels").mkdir()
    monkeypatch.setenv("PATH", f"{stub.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("NOTES", str(notes))

    def run(*arguments: str, fail: str = "") -> tuple[int, list[str], str]:
        notes.write_text("")
        monkeypatch.setenv("FAIL", fail)
        result = subprocess.run(
            ["sh", str(SCRIPT), *arguments], cwd=tmp_path, capture_output=True, text=True
        )
        return result.returncode, notes.read_text().splitlines(), result.stdout + result.stderr

    return run


def test_it_explains_itself(recipe) -> None:
    code, called, said = recipe()
    assert (code, called) == (2, [])
    assert "train_shipped.sh DATA LAYOUTS OUT" in said


def test_a_missing_data_set_is_named(recipe, tmp_path: Path) -> None:
    (tmp_path / "data" / "pandaset").rmdir()
    code, called, said = recipe("data", "labels", "runs")
    assert (code, called) == (2, [])
    assert said.endswith("pandaset: not there\n")


def test_steps_follow_each_other_and_are_not_done_twice(recipe, tmp_path: Path) -> None:
    arguments = ("data", "labels", "runs")
    code, called, _ = recipe(*arguments, fail="finetune.yaml")
    names = [line.split()[0] for line in called]
    order = ["cut_objects"] * 2 + ["train_kitti", "cut_objects", "train_kitti"]
    assert (code, names) == (3, ["simulate"] * 6 + order)
    assert "--resume" not in called[8] + called[10]
    assert "--init runs/pretrain/weights.safetensors" in called[10]
    (tmp_path / "runs" / "pretrain" / "weights.safetensors").touch()  # that leg is through
    code, called, _ = recipe(*arguments)
    assert code == 0
    assert [line.split()[0] for line in called] == ["train_kitti", "calibrate"]
    assert "--init" in called[0]
    code, called, _ = recipe(*arguments)
    assert "--resume" in called[0]
    assert "--init" not in called[0]
    assert "--objects runs/hard.npz runs/simulated.npz" in called[0]


def test_the_configurations_train_on_what_the_script_makes() -> None:
    text = SCRIPT.read_text()
    for name in ("pretrain", "finetune"):
        for source in load_config(ROOT / "configs" / f"{name}.yaml").data.sources:
            if source.path in ("simulated", "heldout"):
                for sequence in (*source.train, *source.val):
                    assert f"simulate {source.path} {sequence} " in text
