"""The documentation is true: its commands run or parse, its links work, the site builds."""

import contextlib
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from bags import write_drive
from conftest import ROOT, one_thread_environment

import bev_instseg
from bev_instseg.cli.main import COMMANDS

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TOOL = re.compile(r"(?:^|[\s/])(?:bev-instseg\s+([a-z-]+)|tools/(\w+)\.py)(?=\s)(.*)", re.DOTALL)
MODULE_OF_TOOL = {"segment_scan": "segment", "train_kitti": "train"}
CONSOLE = "import sys; from bev_instseg.cli.main import main; sys.exit(main())"
# The test runs the tutorial with fewer sweeps, pulses and steps, and changes nothing else.
SMALLER = (
    (r"--count \d+", "--count 1 --azimuths 450"),
    (r" --workers \d+", ""),
    (r"\bsteps: \d+", "steps: 1"),
    (r"\bvalidate_every: \d+", "validate_every: 1"),
)


def read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def test_the_tutorial_runs(tmp_path: Path) -> None:
    blocks = [body for kind, body in FENCE.findall(read(ROOT / "docs/tutorial.md")) if kind == "sh"]
    script = "\n".join(blocks)
    for long, short in SMALLER:
        assert re.search(long, script), f"{long} is no longer in the tutorial: update SMALLER"
        script = re.sub(long, short, script)
    environment = one_thread_environment()
    programs = tmp_path / "bin"  # the command of this checkout, installed or not
    programs.mkdir()
    for name, code in (("python", ""), ("bev-instseg", f"-c '{CONSOLE}'")):
        (programs / name).write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {code} "$@"\n')
        (programs / name).chmod(0o755)
    environment["PATH"] = f"{programs}{os.pathsep}{environment['PATH']}"
    work = tmp_path / "work"
    work.mkdir()
    run = subprocess.run(
        ["bash", "-e", "-u", "-c", script],
        cwd=work,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    assert "1 sweeps, objects by class: [(10, " in run.stdout
    for name in (
        "before/01_000000.png",
        "runs/own/weights.safetensors",
        "runs/own/weights.json",
        "runs/own/log.png",
        "runs/own/log.csv",
        "runs/own/best.pt",
        "runs/own/last.pt",
        "runs/own/config.yaml",
        "runs/tuned/weights.safetensors",
        "errors/errors.csv",
        "results/000000.label",
        "results/000000.json",
        "results/000000.ply",
        "data/mine/sequences/00/velodyne/000000.bin",
    ):
        assert (work / name).stat().st_size > 0, name
    assert list((work / "runs/own/pictures").glob("step_*_01_000000.png"))
    mine, theirs = (
        (work / name / "velodyne/000000.bin").stat().st_size
        for name in ("data/mine/sequences/00", "data/streets/sequences/01")
    )
    assert mine == theirs  # through .ply and back, no point got lost


def test_the_lines_of_python_in_the_readme_run(tmp_path: Path) -> None:
    blocks = [body for kind, body in FENCE.findall(read(ROOT / "README.md")) if kind == "python"]
    [sweep] = (ROOT / "demo").rglob("*.bin")
    shutil.copy(sweep, tmp_path / "sweep.bin")
    write_drive(tmp_path, "mcap_lz4", [np.fromfile(sweep, np.float32).reshape(-1, 4)] * 3)
    environment = one_thread_environment()
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        environment.pop(name, None)
    runs = [
        subprocess.run(
            [sys.executable, "-c", lines],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
        )
        for lines in blocks
    ]
    assert [run.returncode for run in runs] == [0, 0], [run.stderr[-2000:] for run in runs]
    one_sweep, recording = runs
    assert re.match(r"\[0 .*\]\n1 \w+ [01]\.\d\d [1-9]\d* \[.*\]\n2 ", one_sweep.stdout)
    assert one_sweep.stderr.startswith("no display: ")
    ids = [line.split()[0] for line in recording.stdout.splitlines() if " vehicle " in line]
    assert len(set(ids)) >= 15
    assert all(ids.count(one) == 3 for one in set(ids))  # nothing moves


def command_lines(page: str) -> Iterator[tuple[ModuleType, str, bool]]:
    """Tool, the words after it, and whether they are a whole command line."""
    for _, body in FENCE.findall(page):
        for line in body.replace("\\\n", " ").splitlines():
            yield from _commands(line, True)
    for span in re.findall(r"`([^`]+)`", FENCE.sub("", page)):
        yield from _commands(span, False)


def _commands(line: str, whole: bool) -> Iterator[tuple[ModuleType, str, bool]]:
    if found := TOOL.search(line):
        command, tool, words = found.groups()
        name = COMMANDS[command][0] if command else MODULE_OF_TOOL.get(tool, tool)
        yield import_module(f"bev_instseg.cli.{name}"), words, whole


@cache
def options(tool: ModuleType) -> set[str]:
    """The options in a tool's help."""
    text = io.StringIO()
    with contextlib.redirect_stdout(text), pytest.raises(SystemExit):
        tool.parse_arguments(["--help"], "tool")
    return set(re.findall(r"--[a-z][\w-]*", text.getvalue().split("\noptions:")[1]))


def words_of(line: str) -> list[str]:
    """The words of a command up to the first shell operator, without [brackets]."""
    lexer = shlex.shlex(re.sub(r"[][]", "", line), posix=True, punctuation_chars="();<>&")
    lexer.whitespace_split = True
    words = []
    for word in lexer:
        if set(word) <= set("();<>&|"):
            break
        words.append(word)
    return words


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_command_lines_parse(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for tool, line, whole in command_lines(read(page)):
        words = words_of(line)
        if not whole or "..." in words:  # a mention: its options exist
            unknown = {word for word in words if word.startswith("--")} - options(tool)
            assert not unknown, f"{tool.__name__}: {line}"
            continue
        try:
            tool.parse_arguments(words, "tool")
        except SystemExit:
            pytest.fail(f"{tool.__name__}{line}: {capsys.readouterr().err}")


def test_command_lines_are_found() -> None:
    """The test above can fail: it sees commands, mentions and continued lines."""
    page = "```\npython tools/evaluate.py --data x \\\n  --split val  # now\n```\n"
    page += "Or `bev-instseg\nsegment --pgn` and `tools/train_kitti.py`, `bev-instseg train ...`.\n"
    found = [
        (tool.__name__.split(".")[-1], words_of(line), w) for tool, line, w in command_lines(page)
    ]
    assert found == [
        ("evaluate", ["--data", "x", "--split", "val"], True),
        ("segment", ["--pgn"], False),
        ("train", ["..."], False),
    ]
    assert "--png" in options(import_module("bev_instseg.cli.segment"))
    assert sum(whole for page in PAGES for _, _, whole in command_lines(read(page))) > 15


def anchors(page: str) -> set[str]:
    """The fragments of a page's headings, as GitHub builds them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_work(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", read(page))):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, fragment = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), f"{page.name}: {link}"
        if fragment:
            assert fragment in anchors(read(target)), f"{page.name}: {link}"


def test_public_names_exist_and_are_documented() -> None:
    page = read(ROOT / "docs" / "api.md")
    assert dir(bev_instseg) == sorted({*vars(bev_instseg), *bev_instseg.__all__})
    for name in bev_instseg.__all__:
        assert getattr(bev_instseg, name).__name__ == name
        assert f"::: bev_instseg.{name}\n" in page, f"{name} is missing in docs/api.md"
    documented = re.findall(r"^::: bev_instseg\.(\w+)$", page, re.MULTILINE)
    assert sorted(documented) == sorted(bev_instseg.__all__)


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    pytest.importorskip("mkdocstrings")
    site = tmp_path / "site"
    run = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    api = (site / "api" / "index.html").read_text(encoding="utf-8")
    for text in ("segment_with_maps", "BevInstsegError", "(N, 4) float32"):
        assert text in api
