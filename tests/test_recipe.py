"""The script that trains the shipped model, run with a stub that only records its arguments."""

import os
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT

from bev_instseg.config_files import load_config

SCRIPT = ROOT / "scripts" / "train_shipped.sh"
STUB = """#!/bin/sh
echo "$(basename "$1" .py) $*" >> "$NOTES"
[ -z "$FAIL" ] || case "$*" in *$FAIL*) exit 3;; esac
case $1 in *train_kitti*) stop=$STOP;; *) stop=;; esac
while [ $# -gt 1 ]; do
	case $1 in
	--save) : > "${2%.safetensors}.json";;
	--out) case $2 in *.npz | *.yaml | *.safetensors) : > "$2";;
		*) mkdir -p "$2"; : > "$2/last.pt"; [ -z "$stop" ] || exit "$stop"
			: > "$2/weights.safetensors";;
		esac;;
	esac
	shift
done
"""


STEMS = ("0000_000003", "0012_000001", "object_000016", "object_000027")


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Return a function that runs the script: exit code, commands called, text printed."""
    (tmp_path / "bin").mkdir()
    stub, notes = tmp_path / "bin" / "python", tmp_path / "notes"
    stub.write_text(STUB)
    stub.chmod(0o755)
    for name in ("kitti/ImageSets", "semantickitti", "pandaset", "nuscenes"):
        (tmp_path / "data" / name).mkdir(parents=True)
    (tmp_path / "data/kitti/ImageSets/train.txt").write_text("".join(f"{s}\n" for s in STEMS))
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
    assert "train_shipped.sh DATA OUT" in printed


def test_missing_data_is_reported(recipe, tmp_path: Path) -> None:
    (tmp_path / "data" / "pandaset").rmdir()
    assert recipe("data", "runs") == (2, [], "data/pandaset: not found\n")


def test_steps_run_in_order_and_finished_ones_are_skipped(recipe, tmp_path: Path) -> None:
    arguments = ("data", "my runs")
    code, called, printed = recipe(*arguments, stop="143")  # as after SIGTERM
    assert code == 143
    assert printed.endswith("stopped; run this again to continue\n")
    names = [line.split()[0] for line in called]
    assert names == ["simulate"] * 6 + ["cut_objects"] * 2 + ["train_kitti"]
    assert not {"--resume", "--init"} & set(called[-1].split())
    code, called, _ = recipe(*arguments, fail="run-1")
    assert code == 3
    names = [line.split()[0] for line in called]
    assert names == ["train_kitti", "calibrate", "cut_objects", "train_kitti"]
    assert "--resume --config" in called[0]
    clean = "my runs/run-clean/weights.safetensors"
    assert f"--sources kitti semantickitti pandaset nuscenes --distractors {clean}" in called[2]
    assert f"--init {clean} --config" in called[3]
    code, called, _ = recipe(*arguments)
    assert code == 0
    names = [line.split()[0] for line in called]
    assert names == [
        *["train_kitti", "average_weights"] * 3,
        *("cut_objects", "train_kitti", "average_weights", "calibrate"),
    ]
    assert "legs/2.yaml --objects my runs/real.npz my runs/simulated.npz" in called[2]
    assert "configs/default.yaml --objects my runs/real.npz my runs/simulated.npz" in called[4]
    assert "--init my runs/mean-2.safetensors" in called[4]
    assert "mean-2.safetensors my runs/run-3/weights.safetensors" in called[5]
    assert "folds/first.yaml --objects my runs/first.npz my runs/simulated.npz" in called[7]
    assert "--weights my runs/mean-3.safetensors" in called[9]
    assert "folds/second.yaml my runs/first.safetensors" in called[9]
    assert recipe(*arguments)[:2] == (0, [])


def test_the_folds_share_no_frame(recipe, tmp_path: Path) -> None:
    assert recipe("data", "runs", fail="simulate")[0] == 3
    lists = tmp_path / "runs/data/kitti/ImageSets"
    assert (lists / "first.txt").read_text().split() == [STEMS[0], STEMS[2]]
    assert (lists / "second.txt").read_text().split() == [STEMS[1], STEMS[3]]
    folds = [load_config(ROOT / "configs/folds" / f"{name}.yaml") for name in ("first", "second")]
    frames = [
        {(source.path, name) for source in fold.data.sources for name in source.train}
        for fold in folds
    ]
    assert not frames[0] & frames[1]


def test_the_script_simulates_what_the_configurations_train_on() -> None:
    text = SCRIPT.read_text()
    for name in ("clean", "default", "legs/1", "legs/2"):
        for source in load_config(ROOT / "configs" / f"{name}.yaml").data.sources:
            if source.path == "simulated":
                for sequence in (*source.train, *source.val):
                    assert f"simulate {source.path} {sequence} " in text
