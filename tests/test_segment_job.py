"""The command segment where things go wrong: names, files in the way, disks, signals."""

import csv
import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from conftest import STREETS, one_thread_environment, street

from bev_instseg.cli import report as report_module
from bev_instseg.cli import segment
from bev_instseg.exceptions import ScanError
from bev_instseg.export import SweepResult
from bev_instseg.file_io import (
    TEMPORARY,
    in_use,
    remove_leftovers,
    reserved,
    staged,
    temporary_name,
)
from bev_instseg.jobs import job as job_module
from bev_instseg.jobs import one_sweep
from bev_instseg.jobs.find_items import Item
from bev_instseg.jobs.outcome import Outcome

CONSOLE = "import sys; from bev_instseg.cli.main import main; sys.exit(main())"


@pytest.fixture
def other_settings(tmp_path: Path) -> list[str]:
    path = tmp_path / "strict.yaml"
    path.write_text("cluster: {seed_threshold: 1.0}\n")
    return ["--config", str(path)]


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system that holds 100 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True)
    except OSError as error:
        pytest.skip(f"cannot mount a small file system here: {error}")
    if done.returncode:
        pytest.skip(f"cannot mount a small file system here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def run(inputs: Path, out: Path, weights: str, *more: str) -> int:
    return segment.main([str(inputs), "--out", str(out), "--weights", weights, *more])


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The lines on stderr, without the progress bar."""
    return [
        line for line in capsys.readouterr().err.splitlines() if line.startswith("segment_scan: ")
    ]


def rows(out: Path) -> dict[str, str]:
    """The last column of each row of the CSV by the first."""
    with open(out / "summary.csv", newline="", encoding="utf-8") as file:
        return {row[0]: row[-1] for row in csv.reader(file)}


@pytest.mark.parametrize("suffix", [".png", "_maps.png", ".html", ".txt", ".ply"])
def test_files_of_the_user_beside_the_sweeps_are_never_touched(
    sweeps: Path,
    weights: str,
    suffix: str,
    other_settings: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    mine = sweeps / f"b{suffix}"
    mine.write_bytes(b"mine")
    option = {"_maps.png": "--maps", ".png": "--maps"}.get(suffix, "--ply")
    assert run(sweeps, sweeps, weights) == (2 if suffix == ".ply" else 0)  # an input, then
    assert run(sweeps, sweeps, weights, option, *other_settings) == (
        2 if suffix in ("_maps.png", ".ply") else 0
    )
    assert mine.read_bytes() == b"mine"
    if suffix == "_maps.png":
        [error] = lines(capsys)
        assert error.startswith(f"segment_scan: {sweeps / 'b.bin'}: {mine}: already exists and")
        assert (sweeps / "c_maps.png").exists()
        assert not [path for path in sweeps.iterdir() if path.name.startswith(TEMPORARY)]
        assert rows(sweeps)["b"].startswith("failed: ")


def test_a_csv_of_the_user_is_not_replaced(
    sweeps: Path, weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "summary.csv").write_text("mine,1\n")
    assert run(sweeps, out, weights) == 2
    [line] = lines(capsys)
    assert line.startswith(f"segment_scan: {out / 'summary.csv'}: already exists and was not")
    assert [path.name for path in out.iterdir()] == ["summary.csv"]
    assert (out / "summary.csv").read_text() == "mine,1\n"


def test_files_of_one_stem_are_both_done(
    sweeps: Path, weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(sweeps / "a.npy", street(STREETS["a"])[0])
    out = tmp_path / "out"
    assert run(sweeps, out, weights) == 0
    [note] = lines(capsys)
    assert note == (
        "segment_scan: note: 2 sweeps would share the names of results, so they keep their "
        f"suffix: {sweeps / 'a.bin'} gives a.bin.label"
    )
    assert {path.name for path in out.glob("*.label")} == {
        *("a.bin.label", "a.npy.label", "b.label", "c.label")
    }
    assert (out / "a.bin.label").read_bytes() == (out / "a.npy.label").read_bytes()
    assert [*rows(out)] == ["sweep", "a.bin", "a.npy", "b", "c"]


def test_unusual_names_are_processed_and_printed(
    sweeps: Path, weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unusual = [
        *(b"caf\xe9", "\N{SNOWMAN}".encode(), b"a\nb", b"$a$ ' \" ;,", b"\\x", b"n" * 246),
        *(b"tab\t", b"-x", b"%s{0}"),
    ]
    content = (sweeps / "a.bin").read_bytes()
    for name in unusual:
        with open(os.fsencode(sweeps) + b"/" + name + b".bin", "wb") as file:
            file.write(content)
    with open(os.fsencode(sweeps) + b"/bad\n\xff.bin", "wb") as file:
        file.write(b"cut short")
    out = tmp_path / "out"
    assert run(sweeps, out, weights, "--ply") == 2
    [error] = lines(capsys)
    assert error.startswith(f"segment_scan: {sweeps}/bad\\n\\udcff.bin: ")
    for name in unusual:
        stem = os.fsencode(out) + b"/" + name
        assert os.path.exists(stem + b".label")
        assert os.path.exists(stem + b".ply")
        tree = json.loads(Path(os.fsdecode(stem + b".json")).read_text(encoding="utf-8"))
        assert tree["sweep"].isprintable()
    table = rows(out)
    assert len(table) == 1 + 3 + len(unusual) + 1
    assert {"caf\\udce9", "a\\nb", "$a$ ' \" ;,", "\N{SNOWMAN}", "n" * 246} < table.keys()
    assert table["bad\\n\\udcff"].startswith("failed: ")
    capsys.readouterr()
    assert run(sweeps, out, weights, "--ply") == 2
    assert f"{len(table) - 2} of {len(table) - 1} sweeps already" in capsys.readouterr().out
    for path in sweeps.iterdir():
        if path.name not in ("$a$ ' \" ;,.bin", "caf\udce9.bin"):
            path.unlink()
    assert run(sweeps, out, weights, "--maps") == 0  # the name is the title
    assert len(list(out.glob("*_maps.png"))) == 2


def test_a_name_too_long_for_its_results_is_one_error(
    sweeps: Path, weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (sweeps / f"{'n' * 251}.ply").write_bytes((sweeps / "a.bin").read_bytes())
    assert run(sweeps, tmp_path / "out", weights) == 2
    (sweeps / f"{'n' * 251}.ply").unlink()
    street(STREETS["a"])[0].tofile(sweeps / f"{'n' * 251}.bin")
    capsys.readouterr()
    assert run(sweeps, tmp_path / "out", weights) == 2
    [error] = lines(capsys)
    assert error.endswith(": File name too long")
    assert len(list((tmp_path / "out").glob("?.label"))) == 3


def test_links_that_lead_nowhere_and_unreadable_folders_are_reported(
    sweeps: Path,
    weights: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (sweeps / "loop.bin").symlink_to(sweeps / "loop.bin")
    (sweeps / "gone.bin").symlink_to(sweeps / "absent")
    assert run(sweeps, tmp_path / "out", weights) == 2
    errors = lines(capsys)
    assert [error.split(": ")[1] for error in errors] == [
        *(str(sweeps / "gone.bin"), str(sweeps / "loop.bin"))
    ]
    assert run(sweeps / "loop.bin", tmp_path / "out", weights) == 2
    assert len(lines(capsys)) == 1
    scandir = os.scandir

    def refuse(folder: Path) -> object:
        if Path(folder).name == "secret":
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(folder)

    (sweeps / "loop.bin").unlink()
    (sweeps / "gone.bin").unlink()
    (sweeps / "secret").mkdir()
    monkeypatch.setattr(os, "scandir", refuse)
    assert run(sweeps, tmp_path / "out", weights) == 2
    [error] = lines(capsys)
    assert error.startswith(f"segment_scan: {sweeps / 'secret'}: cannot be searched (Permission")


def test_a_full_disk_stops_the_job(
    sweeps: Path,
    weights: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for i in range(40):
        street(STREETS["a"], i)[0].tofile(sweeps / f"d{i:02}.bin")
    out, begun, write = tmp_path / "out", [], one_sweep.write_result

    def write_until_full(target: Path, *rest: object) -> None:
        begun.append(target.name)
        if target.name not in "ab":
            raise OSError(errno.ENOSPC, "No space left on device", f"{target}.label")
        write(target, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(one_sweep, "write_result", write_until_full)
    assert run(sweeps, out, weights) == 2
    [line] = lines(capsys)
    assert line == (
        f"segment_scan: {sweeps / 'c.bin'}: {out / 'c.label'}: No space left on device; stopped: "
        "finished results are kept, and the same command continues when the disk is writable again"
    )
    assert len(begun) < 40
    monkeypatch.undo()
    assert run(sweeps, out, weights) == 0
    assert "2 of 43 sweeps already have results" in capsys.readouterr().out


def test_a_disk_that_fills_up_leaves_finished_results_finished(
    sweeps: Path, weights: str, tiny_disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tiny_disk / "out"
    assert run(sweeps, out, weights) == 0
    before = {path: path.read_bytes() for path in out.iterdir()}
    capsys.readouterr()
    assert run(sweeps, out, weights, "--ply", "--pcd") == 2  # 70 kB a file
    [line] = lines(capsys)
    assert "No space left on device; stopped: finished results are kept" in line
    assert {path: path.read_bytes() for path in out.iterdir()} == before
    assert run(sweeps, out, weights) == 0
    assert "3 of 3 sweeps already have results" in capsys.readouterr().out


def test_an_output_folder_that_is_read_only_is_reported_before_computing(
    sweeps: Path,
    weights: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out, access = tmp_path / "out", os.access
    monkeypatch.setattr(  # root may write anywhere
        os, "access", lambda path, *rest, **more: path != out and access(path, *rest, **more)
    )
    assert run(sweeps, out, weights) == 2
    assert lines(capsys) == [
        f"segment_scan: {out}: cannot be written; choose another output folder"
    ]


def test_a_subfolder_that_cannot_be_written_is_reported_before_computing(
    sweeps: Path,
    weights: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (sweeps / "night").mkdir()
    (sweeps / "b.bin").rename(sweeps / "night" / "b.bin")
    locked, access, read = tmp_path / "out" / "night", os.access, []
    locked.mkdir(parents=True)
    monkeypatch.setattr(  # root may write anywhere
        os, "access", lambda path, *rest, **more: path != locked and access(path, *rest, **more)
    )
    usual = job_module.read_sweep
    monkeypatch.setattr(
        job_module, "read_sweep", lambda path, *rest: read.append(path.name) or usual(path, *rest)
    )
    assert run(sweeps, tmp_path / "out", weights) == 2
    assert lines(capsys) == [
        f"segment_scan: {sweeps / 'night/b.bin'}: {locked}: cannot be written; choose another "
        "output folder"
    ]
    assert "b.bin" not in read
    assert rows(tmp_path / "out")["night/b"].startswith("failed: ")


def test_results_of_an_earlier_version_are_left_alone_and_nothing_is_computed(
    sweeps: Path,
    weights: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    assert run(sweeps / "a.bin", out, weights) == 0
    tree = json.loads((out / "a.json").read_bytes())
    del tree["files"], tree["sha256"]
    (out / "a.json").write_text(json.dumps(tree))
    before = {path: path.read_bytes() for path in out.iterdir()}
    monkeypatch.setattr(one_sweep, "_segment", None)
    capsys.readouterr()
    assert run(sweeps / "a.bin", out, weights) == 2
    [error] = lines(capsys)
    assert error == (
        f"segment_scan: {sweeps / 'a.bin'}: {out / 'a.label'}: already exists, and a.json, written "
        "by an earlier version, does not list it; move both or choose another output folder"
    )
    assert {path: path.read_bytes() for path in out.iterdir()} == before


def test_a_result_that_cannot_be_read_costs_only_its_row(
    sweeps: Path,
    weights: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    assert run(sweeps, out, weights) == 0
    capsys.readouterr()
    read = SweepResult.read

    def read_while_another_job_writes(path: Path) -> SweepResult:
        if path.name == "b.json" and sys._getframe(2).f_code.co_name == "summaries":
            raise ScanError(f"{path}: not a complete result of bev-instseg")
        return read(path)

    monkeypatch.setattr(SweepResult, "read", read_while_another_job_writes)
    assert run(sweeps, out, weights) == 2
    printed = capsys.readouterr()
    assert "2 of 3 sweeps segmented" in printed.out
    assert "| vehicle" in printed.out
    assert f"segment_scan: {out / 'b.json'}: not a complete result" in printed.err
    assert rows(out)["b"].startswith("failed: ")


@pytest.mark.parametrize(
    "content", ["{", "[]", "[" * 100_000, '{"about": "written by bev', "another score"]
)
def test_an_edited_json_is_an_error_of_its_sweep(
    sweeps: Path, weights: str, tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run(sweeps, out, weights) == 0
    if content == "another score":
        text = (out / "b.json").read_text()
        content = text.replace('"score": 0.', '"score": 0.1', 1)
    (out / "b.json").write_text(content)
    capsys.readouterr()
    assert run(sweeps, out, weights) == 2
    [error] = lines(capsys)
    assert "already exists and was not written by bev-instseg, or was changed since" in error
    assert (out / "b.json").read_text() == content
    assert rows(out)["b"].startswith("failed: ")


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)]
)
def test_signals_stop_a_job_as_ctrl_c_does(
    sweeps: Path,
    weights: str,
    tmp_path: Path,
    number: signal.Signals,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for i in range(40):
        street(STREETS["a"], i)[0].tofile(sweeps / f"d{i:02}.bin")
    out, write = tmp_path / "out", one_sweep.write_result

    def write_and_stop(target: Path, *rest: object) -> None:
        write(target, *rest)  # type: ignore[arg-type]
        if target.name == "b":
            os.kill(os.getpid(), number)

    usual = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
    before = signal.signal(number, usual)  # another test may have left a handler of Ray's
    monkeypatch.setattr(one_sweep, "write_result", write_and_stop)
    try:
        assert run(sweeps, out, weights) == code
        assert signal.getsignal(number) == usual
    finally:
        signal.signal(number, before)
    assert lines(capsys) == ["segment_scan: stopped; finished results are kept"]
    finished = [SweepResult.read(path) for path in out.glob("*.json")]
    assert 2 <= len(finished) < 40
    assert not [path for path in out.iterdir() if path.name.startswith(TEMPORARY)]


def test_a_signal_that_is_ignored_stays_ignored(
    sweeps: Path, weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = one_sweep.write_result

    def write_and_hang_up(target: Path, *rest: object) -> None:
        write(target, *rest)  # type: ignore[arg-type]
        os.kill(os.getpid(), signal.SIGHUP)

    monkeypatch.setattr(one_sweep, "write_result", write_and_hang_up)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as under nohup
    try:
        assert run(sweeps, tmp_path / "out", weights) == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_temporary_files_of_killed_jobs_are_removed_and_those_of_living_ones_kept(
    sweeps: Path, weights: str, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    killed = (
        "import os, signal, sys; from bev_instseg.file_io import staged\n"
        "with staged(sys.argv[1], b'half'): os.kill(os.getpid(), signal.SIGKILL)"
    )
    command = [sys.executable, "-c", killed, str(out / "a.label")]
    assert subprocess.run(command, env=one_thread_environment()).returncode == -signal.SIGKILL
    [left] = out.iterdir()
    with staged(out / "x", b"living"):
        [living] = set(out.iterdir()) - {left}
        (out / ".a.label.tmp").touch()  # somebody else's
        assert run(sweeps, out, weights) == 0
        temporary = {path for path in out.iterdir() if path.name.startswith(".")}
        assert temporary == {living, out / ".a.label.tmp"}


def test_a_temporary_file_removed_before_it_was_locked_is_written_again(tmp_path: Path) -> None:
    opened = []

    def remove(event: str, arguments: tuple[object, ...]) -> None:
        if event == "fcntl.flock" and not opened:
            opened.append(1)
            [path] = tmp_path.iterdir()
            path.unlink()

    sys.addaudithook(remove)
    with staged(tmp_path / "a", b"content") as move:
        move()
    assert (tmp_path / "a").read_bytes() == b"content"
    assert opened
    remove_leftovers(tmp_path / "absent")


def test_what_takes_long_is_announced(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(report_module, "SLOW_S", 0.05)
    report = report_module.Report("segment_scan")
    with report.announced("only said in a terminal"):
        time.sleep(0.2)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with report.announced("never said"):
        pass
    with report.announced("loading the network"):
        time.sleep(0.5)
    assert lines(capsys) == ["segment_scan: loading the network"]


def test_notices_that_differ_in_numbers_only_are_counted_together(
    capsys: pytest.CaptureFixture[str],
) -> None:
    report = report_module.Report("segment_scan")
    for i in range(3):
        item = Item(Path(f"drive/{i}.bin"), str(i))
        notices = (f"{50 + i} % of the points are off the grid", *(("odd",) if i == 1 else ()))
        report.outcome(Outcome(item, notices))
    report.totals()
    first = "drive/0.bin: 50 % of the points are off the grid"
    assert lines(capsys) == [
        f"segment_scan: note: {first}",
        "segment_scan: note: drive/1.bin: odd",
        f"segment_scan: note: 3 sweeps, first {first}",
    ]


def test_of_many_errors_of_a_kind_the_first_and_the_last_are_shown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    report = report_module.Report("segment_scan")
    errors = [f"/points at {i}.5: not later than the previous sweep" for i in range(100)]
    for error in [*errors, "drive/1.bin: no such file"]:
        report.outcome(Outcome(Item(Path("drive.mcap"), "drive"), error=error))
    report.totals()
    assert lines(capsys) == [
        *(f"segment_scan: {error}" for error in errors[:20]),
        "segment_scan: drive/1.bin: no such file",
        f"segment_scan: 80 more errors of this kind, the last: {errors[-1]}",
    ]


def test_a_job_with_other_settings_is_refused_while_one_writes_to_the_same_folder(
    sweeps: Path,
    weights: str,
    tmp_path: Path,
    other_settings: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out, write, codes = tmp_path / "out", one_sweep.write_result, []

    def write_beside_others(target: Path, *rest: object) -> None:
        write(target, *rest)  # type: ignore[arg-type]
        if target.name == "b":
            monkeypatch.setattr(one_sweep, "write_result", write)
            codes.append(run(sweeps, out, weights, *other_settings))
            codes.append(run(sweeps, out, weights, "--ply"))  # the same instances

    monkeypatch.setattr(one_sweep, "write_result", write_beside_others)
    assert run(sweeps, out, weights) == 0
    assert codes == [2, 0]
    assert (
        f"segment_scan: {out}: another job is writing there that has other weights or settings, "
        "or is for recordings; wait until it is done or choose another output folder\n"
    ) in capsys.readouterr().err
    assert run(sweeps, out, weights, *other_settings) == 0
    assert not [path for path in out.iterdir() if path.name.startswith(TEMPORARY)]


def test_temporary_files_of_other_libraries_stay_while_they_are_written(tmp_path: Path) -> None:
    path = temporary_name(tmp_path / "drive.bag")
    path.write_bytes(b"half")
    with in_use(path):
        remove_leftovers(tmp_path)
        assert path.exists()
    remove_leftovers(tmp_path)
    assert not path.exists()


def test_a_reservation_of_a_killed_process_does_not_count(tmp_path: Path) -> None:
    (tmp_path / f"{TEMPORARY}job-other.tmp").touch()
    with reserved(tmp_path, "mine"), reserved(tmp_path, "mine"):
        [path] = tmp_path.iterdir()
        assert path.name == f"{TEMPORARY}job-mine.tmp"
        with pytest.raises(BlockingIOError, match="other weights"), reserved(tmp_path, "other"):
            pytest.fail("reserved twice")
        remove_leftovers(tmp_path)
        assert path.exists()
    assert not list(tmp_path.iterdir())


def test_without_locks_a_folder_is_not_reserved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with reserved(tmp_path, "mine"), reserved(tmp_path, "other"):
        assert not list(tmp_path.iterdir())


def test_two_jobs_on_one_folder_give_the_results_of_one(
    sweeps: Path, weights: str, tmp_path: Path
) -> None:
    for i in range(6):
        street(STREETS["a"], i)[0].tofile(sweeps / f"d{i:02}.bin")

    def start(name: str) -> int:
        command = [sys.executable, "-c", CONSOLE, "segment", str(sweeps), "--weights", weights]
        command += ["--out", str(tmp_path / name)]
        return subprocess.run(command, capture_output=True, env=one_thread_environment()).returncode

    assert run(sweeps, tmp_path / "one", weights) == 0
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(start, ["two", "two"])) == [0, 0]
    files = [
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()}
        for name in ("one", "two")
    ]
    assert files[0] == files[1]
