"""Bad files, odd names and bad output folders on the command line: nothing lost, nothing torn.

A refusal is exit code 2 and one line; what can be done is done, and no file is half-written.
"""

import csv
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from conftest import STREETS, one_thread_environment, street
from test_bad_inputs import BAD_SWEEPS, write

from bev_instseg import SweepResult, read_instances, read_sweep
from bev_instseg.cli import segment as segment_command

POINTS = street(STREETS["a"])[0]
NAMES = [
    *("plain", "with space", 'it\'s "quoted"', "Straße 街 🚗", "-dash", "50%", "#hash", "a,b;c"),
    *("two\nlines", "tab\there", "x" * 246),  # NAME.label is then 252 bytes long
]
# Reading these is another file system's business, or takes long.
FOLDERS = [name for name in BAD_SWEEPS if name not in ("missing", "folder", "dangling", "bomb npz")]
Segment = Callable[..., tuple[int, list[str]]]


@pytest.fixture
def segment(weights: str, capsys: pytest.CaptureFixture[str]) -> Segment:
    """Run the command; return its exit code and the lines on stderr that are not notes."""

    def run(*words: object) -> tuple[int, list[str]]:
        code = segment_command.main([*map(str, words), "--weights", weights], "bev-instseg segment")
        lines = capsys.readouterr().err.replace("\r", "\n").splitlines()
        assert not any(line.startswith("Traceback") for line in lines)
        mine = [line for line in lines if line.startswith("bev-instseg segment: ")]
        return code, [line for line in mine if ": note: " not in line]

    return run


@pytest.fixture
def tmpfs(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mount a small file system; only root may."""
    mounted: list[Path] = []

    def mount(options: str) -> Path:
        path = tmp_path / "small"
        path.mkdir(exist_ok=True)
        run = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path)])
        if run.returncode:
            pytest.skip("only root can mount a small file system")
        mounted.append(path)
        return path

    yield mount
    for path in mounted:
        subprocess.run(["umount", str(path)], check=True)


def assert_nothing_is_torn(out: Path) -> None:
    """Each result is complete, and no temporary file is left."""
    for path in out.rglob("*"):
        assert not path.name.endswith(".tmp")
        if path.suffix == ".json":
            SweepResult.read(path)
            read_instances(path.with_suffix(".label"), path)


def test_bad_files_are_named_and_the_others_done(segment: Segment, tmp_path: Path) -> None:
    folder, out = tmp_path / "sweeps", tmp_path / "out"
    folder.mkdir()
    POINTS.tofile(folder / "good.bin")
    for number, name in enumerate(FOLDERS):
        bad = BAD_SWEEPS[name]
        write(folder / f"{number:02}{Path(bad.file).suffix}", bad.content)
    code, errors = segment(folder, "--out", out)
    assert code == 2
    read = {path.stem for path in out.glob("*.json")}
    assert "good" in read
    assert_nothing_is_torn(out)
    for number, name in enumerate(FOLDERS):
        path = folder / f"{number:02}{Path(BAD_SWEEPS[name].file).suffix}"
        if path.is_file() and path.suffix != ".xyz":
            assert path.stem not in read, name
            assert sum(str(path) in line for line in errors) == 1, name


@pytest.mark.parametrize("name", ["cut bin", "text", "pipe", "endless", "loop", "evil laz"])
def test_a_bad_file_alone_leaves_nothing_behind(
    name: str, segment: Segment, tmp_path: Path
) -> None:
    bad = BAD_SWEEPS[name]
    path = write(tmp_path / bad.file, bad.content)
    code, errors = segment(path, "--out", tmp_path / "out", "--ply")
    assert code == 2
    assert len(errors) == 1
    assert str(path) in errors[0]
    assert not list((tmp_path / "out").rglob("*"))


def test_odd_names(segment: Segment, tmp_path: Path) -> None:
    folder, out = tmp_path / "sweeps", tmp_path / "out"
    folder.mkdir()
    for name in NAMES:
        POINTS.tofile(folder / f"{name}.bin")
    POINTS.tofile(os.fsencode(folder) + b"/not utf-8 \xff.bin")
    assert segment(folder, "--out", out, "--ply") == (0, [])
    assert_nothing_is_torn(out)
    assert len(list(out.glob("*.label"))) == len(list(out.glob("*.ply"))) == len(NAMES) + 1
    with open(out / "summary.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(NAMES) + 1
    for path in out.glob("*.json"):
        json.loads(path.read_text("utf-8"))
    before = {path: path.stat().st_mtime_ns for path in out.glob("*.label")}
    assert segment(folder, "--out", out, "--ply") == (0, [])
    assert before == {path: path.stat().st_mtime_ns for path in out.glob("*.label")}


@pytest.mark.parametrize("name", ['it\'s "quoted"', "Straße 街 🚗", "-dash", "two\nlines"])
def test_odd_names_alone(name: str, segment: Segment, tmp_path: Path) -> None:
    POINTS.tofile(tmp_path / f"{name}.bin")
    assert segment(tmp_path / f"{name}.bin", "--out", tmp_path / "out") == (0, [])
    assert np.array_equal(read_sweep(tmp_path / f"{name}.bin").points, POINTS)
    assert_nothing_is_torn(tmp_path / "out")


def test_a_full_disk_ends_the_job(
    segment: Segment, tmpfs: Callable[[str], Path], tmp_path: Path
) -> None:
    folder, out = tmp_path / "sweeps", tmpfs("size=300k")
    folder.mkdir()
    for number in range(8):
        POINTS.tofile(folder / f"{number}.bin")
    code, errors = segment(folder, "--out", out, "--ply")
    assert code == 2
    assert any("space" in line or "full" in line for line in errors)
    assert len(errors) <= 3  # not one for each sweep
    finished = list(out.glob("*.ply"))
    assert 0 < len(finished) < 8
    assert not list(out.rglob("*.tmp"))
    subprocess.run(["mount", "-o", "remount,size=9m", str(out)], check=True)
    assert segment(folder, "--out", out, "--ply") == (0, [])
    assert_nothing_is_torn(out)
    assert len(list(out.glob("*.ply"))) == 8


def test_a_read_only_output_folder(
    segment: Segment, tmpfs: Callable[[str], Path], tmp_path: Path
) -> None:
    POINTS.tofile(tmp_path / "a.bin")
    code, errors = segment(tmp_path / "a.bin", "--out", tmpfs("ro"))
    assert code == 2
    assert len(errors) == 1
    assert "small: " in errors[0]
    assert re.search("read-only|writ", errors[0].lower())


def test_an_output_below_a_device(segment: Segment, tmp_path: Path) -> None:
    POINTS.tofile(tmp_path / "a.bin")
    code, errors = segment(tmp_path / "a.bin", "--out", "/dev/null/out")
    assert code == 2
    assert len(errors) == 1
    assert "/dev/null" in errors[0]


@pytest.mark.parametrize("command", ["evaluate", "cut-objects", "train"])
def test_labels_of_another_sweep(
    command: str, semantickitti_root: Path, weights: str, capsys: pytest.CaptureFixture[str]
) -> None:
    label = semantickitti_root / "sequences/00/labels/000000.label"
    label.write_bytes(label.read_bytes()[:-3])
    config, out = semantickitti_root / "config.yaml", semantickitti_root / "out.npz"
    config.write_text(
        'data: {sources: [{path: ., layout: semantickitti, train: ["00"], val: ["01"]}]}\n'
    )
    words = ["--data", str(semantickitti_root)]
    if command == "evaluate":
        words += ["--sequences", "00", "--weights", weights]
    else:
        words += ["--config", str(config), "--out", str(out)]
    module = import_module(f"bev_instseg.cli.{command.replace('-', '_')}")
    code = module.main(words, "tool")
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("tool: ")]
    assert code == 2
    assert len(errors) == 1
    assert "000000.label" in errors[0]
    assert not out.is_file()
    assert not list(semantickitti_root.rglob("*.pt"))


def test_columns_of_bin_files_are_refused_where_there_are_none(
    segment: Segment, tmp_path: Path
) -> None:
    np.save(tmp_path / "a.npy", POINTS)
    code, errors = segment(tmp_path / "a.npy", "--out", tmp_path / "out", "--format", "5")
    assert code == 2
    assert [line.split(": ", 1)[1] for line in errors] == [
        "--format is for .bin files, and there is none: leave it out"
    ]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("words", [["segment", "a.bin", "--out", "b"], ["segmnt"], ["train"]])
def test_a_wrong_command_line(words: list[str], tmp_path: Path) -> None:
    console = "import sys; from bev_instseg.cli.main import main; sys.exit(main())"
    command = [sys.executable, "-c", console, *words]
    run = subprocess.run(
        command, cwd=tmp_path, env=one_thread_environment(), capture_output=True, text=True
    )
    assert run.returncode == 2
    assert "Traceback" not in run.stderr
