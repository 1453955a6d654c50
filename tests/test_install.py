"""What `make` installs is locked, and a failed installation names the remedy."""

import importlib.util
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from conftest import ROOT

LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
PIN = re.compile(r"^([a-z0-9-]+)==([^\s;\\]+)", re.MULTILINE)


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("install", ROOT / "scripts" / "install.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(module, "LOG", tmp_path / ".venv" / "install.log")
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    return module


def answering(output: str, code: int) -> Callable[[list[str]], subprocess.CompletedProcess[str]]:
    """Stand in for pip: ``pip --version`` works, ``pip install`` answers as given."""

    def run(command: list[str]) -> subprocess.CompletedProcess[str]:
        failed = "install" in command
        return subprocess.CompletedProcess(command, code if failed else 0, output)

    return run


def test_the_lock_agrees_with_the_constraints() -> None:
    pinned = set(PIN.findall((ROOT / "constraints.txt").read_text(encoding="utf-8")))
    locked = PIN.findall(LOCK)
    assert len(locked) > 80
    assert sorted(set(locked) - pinned) == []
    assert {"numpy", "numba", "setuptools", "pytest"} <= {name for name, _ in locked}


def test_every_locked_package_has_hashes_and_no_address() -> None:
    requirements = [text for text in re.split(r"\n(?=\S)", LOCK) if not text.startswith("#")]
    assert all("--hash=sha256:" in text for text in requirements)
    assert "://" not in LOCK
    assert "--index" not in LOCK


@pytest.mark.parametrize(
    ("output", "remedy"),
    [
        ("OSError: [Errno 28] No space left on device", "the disk is full"),
        ("Retrying: NewConnectionError: Name or service not known", "HTTPS_PROXY=http://host"),
        ("ProxyError: Tunnel connection failed: 407 Proxy Authentication", "user:password@host"),
        ("SSLError: CERTIFICATE_VERIFY_FAILED", "PIP_CERT="),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS", "another mirror"),
        ("ERROR: No matching distribution found for torch==2.13.0", "PYTHON=..."),
        ("something else", "see the log"),
    ],
)
def test_a_failed_installation_names_the_remedy(
    output: str,
    remedy: str,
    install: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(install, "run", answering(output, 1))
    assert install.main("dev") == 2
    printed = capsys.readouterr().out.splitlines()
    assert printed[-3] == f"pip install failed: {output.removeprefix('ERROR: ')}"
    assert printed[-2].startswith("remedy: ")
    assert remedy in printed[-2]
    assert printed[-1] == "log: .venv/install.log"
    assert output in install.LOG.read_text()


def test_an_installation_says_what_it_does(
    install: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(install, "run", answering("noise", 0))
    assert install.main("dev,web", "--index-url", "URL") == 0
    printed = capsys.readouterr().out
    assert "two minutes and 2 GB" in printed
    assert "noise" not in printed
    log = install.LOG.read_text()
    assert "--require-hashes --no-deps -r requirements.lock" in log
    assert "-e .[dev,web]" in log
    assert log.count("--index-url URL") == 2


def test_a_full_disk_is_noticed_before_anything_is_downloaded(
    install: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(install, "VENV", install.ROOT / "not yet")
    monkeypatch.setattr(install, "NEEDED_GB", 1e9)
    assert install.main("dev") == 2
    assert "free some space" in capsys.readouterr().out
