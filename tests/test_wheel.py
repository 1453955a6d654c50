"""The wheel holds all that a user needs, even where nothing but the output can be written."""

import importlib.metadata
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT

MAIN = "import sys; from bev_instseg.cli.main import main; sys.exit(main())"


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that every user can enter, unlike ``tmp_path``."""
    path = Path(tempfile.mkdtemp())
    path.chmod(0o755)
    yield path
    for below, _, _ in os.walk(path):
        os.chmod(below, 0o755)
    shutil.rmtree(path)


def build_wheel(folder: Path) -> Path:
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    without = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "bev_instseg", source / "bev_instseg", ignore=without)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    offline = ["--no-deps", "--no-index"]
    subprocess.run(
        [*pip, "wheel", *offline, "--no-build-isolation", "-w", str(folder), str(source)],
        check=True,
    )
    (wheel,) = folder.glob("*.whl")
    subprocess.run(
        [*pip, "install", *offline, "--no-compile", "--target", str(folder / "site"), str(wheel)],
        check=True,
    )
    return folder / "site"


def without_privileges() -> list[str] | None:
    """The command prefix that takes from root the right to write anywhere; None if it stays."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return []
    if shutil.which("setpriv"):
        return ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
    return None


def test_the_wheel_runs_from_a_read_only_place_without_a_home(folder: Path) -> None:
    try:
        if int(importlib.metadata.version("setuptools").split(".")[0]) < 77:
            pytest.skip("building a wheel needs setuptools 77")
        importlib.metadata.version("pip")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("building a wheel needs pip and setuptools")
    site, work = build_wheel(folder), folder / "work"
    work.mkdir()
    work.chmod(0o777)
    sweep = shutil.copy(ROOT / "demo/sequences/00/velodyne/000000.bin", folder)
    for path in (*site.rglob("*"), site):
        path.chmod(path.stat().st_mode & ~(stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH))
    environment = {
        k: v for k, v in os.environ.items() if k not in ("NUMBA_CACHE_DIR", "MPLCONFIGDIR")
    }
    home = str(site / "home")  # there is none, and none can be made
    environment |= {"HOME": home, "TMPDIR": str(work), "PYTHONPATH": str(site)}
    environment |= {"XDG_CACHE_HOME": home, "PYTHONDONTWRITEBYTECODE": "1"}
    prefix = without_privileges()

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [*(prefix or []), sys.executable, "-c", MAIN, *words]
        return subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True)

    done = run("segment", sweep, "--out", "out")
    assert done.returncode == 0, done.stderr
    assert " vehicle, " in done.stdout
    assert (work / "out" / "000000.label").stat().st_size == Path(sweep).stat().st_size // 4
    if prefix is not None:
        (cache,) = work.glob("bev_instseg_kernels_*")
        assert list(cache.rglob("*.nbi"))
        assert not list(site.rglob("*.nbi"))
    measured = run("benchmark")
    assert measured.returncode == 2
    assert len(measured.stderr.splitlines()) == 1
    assert "no .bin files in this folder; choose one with --data" in measured.stderr
