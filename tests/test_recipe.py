"""The script that trains the shipped model, run with a stub that only records its arguments."""

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
case $1 in *train_kitti*) stop=$STOP;; *) stop=;; esac
while [ $# -gt 1 ]; do
	case $1 in
	--out) case $2 in *.npz | *.yaml) : > "$2";;
		*) mkdir -p "$2"; : > "$2/last.pt"; [ -z "$stop" ] || exit "$stop"
			: > "$2/weights.safetensors";;
		esac;;
	esac
	shift
done
"""


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Return a function that runs the script: exit code, commands called, text printed."""
    (tmp_path / "bin").mkdir()
    stub, notes = tmp_path / "bin" / "python", tmp_path / "notes"
    stub.write_text(STUB)
    stub.chmod(0o755)
    for name in ("kitti", "semantickitti", "pandaset"):
        (tmp_path / "data" / name).mkdir(parents=True)
    (tmp_path / "labels").mkdir()
    monkeypatch.setenv("PATH", f"{stub.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("NOTES", str(notes))

    def run(*arguments: str, fail: str = "", stop: str = "") -> tuple[int, list[str], str]:
        notes.write_text("")
        monkeypatch.setenv("FAIL", fail)
        monkeypatch.setenv("STOP", stop)
        result = subprocess.run(
            ["sh", str(SCRIPT), *arguments], cwd=tmp_path, capture_output=True, text=True
        )
        return result.returncode, notes.read_text().splitlines(), result.stdout + result.stderr

    return run


def test_without_arguments_the_usage_is_printed(recipe) -> None:
    code, called, printed = recipe()
    assert (code, called) == (2, [])
    assert "train_shipped.sh DATA LAYOUTS OUT" in printed


def test_missing_data_is_reported(recipe, tmp_path: Path) -> None:
    (tmp_path / "data" / "pandaset").rmdir()
    assert recipe("data", "labels", "runs") == (2, [], "data/pandaset: not found\n")
    assert recipe("data", "label", "runs") == (2, [], "data/pandaset: not found\n")
    (tmp_path / "data" / "pandaset").mkdir()
    assert recipe("data", "label", "runs") == (2, [], "label: not found\n")


def test_steps_run_in_order_and_finished_ones_are_skipped(recipe, tmp_path: Path) -> None:
    arguments = ("data", "labels", "my runs")
    code, called, printed = recipe(*arguments, stop="143")  # as after SIGTERM
    assert code == 143
    assert printed.endswith("stopped; run this again to continue\n")
    names = [line.split()[0] for line in called]
    assert names == ["simulate"] * 6 + ["cut_objects"] * 2 + ["train_kitti"]
    assert "--resume" not in called[-1]
    code, called, _ = recipe(*arguments, fail="finetune.yaml")
    assert code == 3
    assert [line.split()[0] for line in called] == ["train_kitti", "cut_objects", "train_kitti"]
    assert "--resume --objects my runs/real.npz" in called[0]
    assert "--distractors my runs/pretrain/weights.safetensors" in called[1]
    assert "--init my runs/pretrain/weights.safetensors --objects my runs/hard.npz" in called[2]
    (tmp_path / "my runs" / "finetune").mkdir()
    (tmp_path / "my runs" / "finetune" / "last.pt").touch()
    code, called, _ = recipe(*arguments)
    assert code == 0
    assert [line.split()[0] for line in called] == ["train_kitti", "calibrate"]
    assert "--resume --objects my runs/hard.npz my runs/simulated.npz" in called[0]
    assert "--init" not in called[0]
    (tmp_path / "my runs" / "shipped.json").touch()
    assert recipe(*arguments)[:2] == (0, [])


def test_the_script_simulates_what_the_configurations_train_on() -> None:
    text = SCRIPT.read_text()
    for name in ("pretrain", "finetune"):
        for source in load_config(ROOT / "configs" / f"{name}.yaml").data.sources:
            if source.path in ("simulated", "heldout"):
                for sequence in (*source.train, *source.val):
                    assert f"simulate {source.path} {sequence} " in text
