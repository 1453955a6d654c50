"""The command line: commands by name, help with examples that run, suggestions for typos."""

import re
import shlex
import subprocess
import sys
import warnings
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest
from conftest import ROOT

from bev_instseg import __version__
from bev_instseg.cli.arguments import PACKAGE, run
from bev_instseg.cli.main import COMMANDS, main

MODULES = sorted(module for module, _ in COMMANDS.values())
TOOLS = {  # script in tools/: its module
    path.stem: path.read_text().split("from bev_instseg.cli.")[1].split()[0]
    for path in (ROOT / "tools").glob("*.py")
}


def command(name: str) -> ModuleType:
    return import_module(f"bev_instseg.cli.{name}")


def examples(doc: str) -> list[str]:
    """The example command lines in a docstring, continued lines joined."""
    joined = doc.replace("\\\n", " ")
    return [line.split("%(prog)s", 1)[1] for line in joined.splitlines() if "%(prog)s" in line]


def test_every_tool_is_a_command() -> None:
    assert sorted(TOOLS.values()) == MODULES


@pytest.mark.parametrize(("tool", "name"), TOOLS.items())
def test_help_shows_two_examples_that_parse(
    tool: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    doc = command(name).__doc__
    assert doc is not None
    lines = examples(doc)
    assert len(lines) >= 2
    for line in lines:
        command(name).parse_arguments(shlex.split(line), "tool")
    with pytest.raises(SystemExit) as caught:
        command(name).main(["--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert text.count(f"\n  python tools/{tool}.py ") >= 2
    assert "%(prog)s" not in text


@pytest.mark.parametrize("tool", TOOLS)
def test_the_script_in_tools_runs_the_command(tool: str) -> None:
    run = subprocess.run(
        [sys.executable, str(ROOT / "tools" / f"{tool}.py"), "--nonsense"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == 2
    assert run.stderr.startswith(f"python tools/{tool}.py: unknown option --nonsense")
    assert len(run.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["segmnt"], "unknown command segmnt; did you mean segment?"),
        (["self_label"], "did you mean self-label?"),
        (["xyz"], "unknown command xyz; choose from segment, live, "),
    ],
)
def test_an_unknown_command_is_reported(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["segment", "a.bin", "--ouput", "x"], "unknown option --ouput; did you mean --out?"),
        (["segment", "a.bin", "--out", "x", "--pgn"], "unknown option --pgn; did you mean --png?"),
        (["segment", "a.bin", "--wieghts=x"], "unknown option --wieghts; did you mean --weights?"),
        (["segment", "a.bin", "--out", "x", "--device", "cud"], "'cud' (choose from"),
        (["segment", "a.bin", "--out", "x", "--device", "cud"], "; did you mean cuda?"),
        (["train", "--zzz"], "unknown option --zzz (--help has examples)"),
        (["segment", "a.bin"], "the following arguments are required: --out"),
    ],
)
def test_a_wrong_option_suggests_the_right_one(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    line = capsys.readouterr().err
    assert line.startswith(f"bev-instseg {words[0]}: ")
    assert message in line
    assert len(line.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["segment", "a.bin", "--out", "FILE"], "argument --out: FILE is a file; name a folder"),
        (["segment", "a.bin", "--out", ""], "argument --out: must not be empty"),
        (["evaluate", "--json", "DIR"], "argument --json: DIR is a folder; name a file in it"),
        (["calibrate", "--out", "DIR"], "argument --out: DIR is a folder; name a file in it"),
        (["cut-objects", "--out", "DIR"], "argument --out: DIR is a folder; name a file in it"),
        (["train", "--data", ""], "argument --data: must not be empty"),
    ],
)
def test_paths_that_cannot_be_are_refused_before_the_work(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, folder = tmp_path / "file", tmp_path / "folder"
    file.touch()
    folder.mkdir()
    names = {"FILE": str(file), "DIR": str(folder)}
    with pytest.raises(SystemExit) as caught:
        main([names.get(word, word) for word in words])
    assert caught.value.code == 2
    for word, name in names.items():
        message = message.replace(word, name)
    assert message in capsys.readouterr().err


def test_help_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    for name in COMMANDS:
        assert re.search(rf"^  {name} +\w+", text, re.MULTILINE)
    assert main([]) == 2
    assert capsys.readouterr().out == text


def test_the_program_is_installed(tmp_path: Path) -> None:
    program = Path(sys.executable).parent / "bev-instseg"
    if not program.exists():
        pytest.skip("the package is not installed beside this Python")
    run = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=60)
    assert run.stdout == f"{__version__}\n"
    run = subprocess.run(
        [program, "segment", tmp_path / "absent.bin", "--out", tmp_path / "out"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 2
    assert "absent.bin: " in run.stderr


def test_messages_begin_with_the_command_as_typed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["segment", "none.bin", "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.startswith("bev-instseg segment: none.bin: no such sweep")


def test_notices_that_differ_in_numbers_are_printed_for_each_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = [tmp_path / name for name in ("00", "01")]
    for folder in folders:
        folder.mkdir()

    def work() -> int:
        notices = [f"{folder}: intensity 0..{full}" for folder in folders for full in (255, 4095)]
        for line, about in enumerate([*notices, "intensity of no folder"]):
            warnings.warn_explicit(about, UserWarning, str(PACKAGE / "io.py"), line)
        return 0

    assert run("program", work) == 0
    assert capsys.readouterr().err.splitlines() == [
        f"program: note: {folders[0]}: intensity 0..255",
        f"program: note: {folders[1]}: intensity 0..4095",  # 0..255 is printed already
        "program: note: intensity of no folder",
        f"program: note: 3 times, first {folders[0]}: intensity 0..255",
    ]
