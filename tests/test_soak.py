"""A short form of `make soak`; killed trainings are in test_trainer.py."""

import sys

import pytest
from conftest import ROOT

sys.path.insert(0, str(ROOT / "scripts"))
import soak
import soak_memory


def test_a_killed_job_leaves_what_an_undisturbed_one_does(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(soak, "NUM_SWEEPS", 10)
    assert soak.main(["--parts", "kills", "--kills", "2"]) == 0, capsys.readouterr().out
    row = capsys.readouterr().out.splitlines()[-1]
    assert row.startswith("| kills | 2 kills in ")
    assert ": 0 files differ, 0 leftovers | " in row


def test_memory_and_open_files_stay_flat(capsys: pytest.CaptureFixture[str]) -> None:
    assert soak.main(["--parts", "memory", "--sweeps", "40"]) == 0, capsys.readouterr().out
    assert "40 sweeps: at most " in capsys.readouterr().out


def test_growing_memory_is_reported(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(soak_memory, "MAX_MEMORY_MIB", 1)
    assert soak.main(["--parts", "memory", "--sweeps", "5"]) == 1
    assert "| WRONG |" in capsys.readouterr().out
