"""What a folder of results holds, in numbers that can be counted by hand."""

import csv
import io
import json
from pathlib import Path

import pytest

from bev_instseg.exceptions import ScanError
from bev_instseg.jobs.summary import (
    SweepSummary,
    failed,
    flags,
    read_summary,
    summary_csv,
    summary_table,
)

NAMES = ["vehicle", "pedestrian"]


def thing(name: str, score: float, points: int, x: float, y: float) -> dict[str, object]:
    return {"class": name, "score": score, "num_points": points, "centre_m": [x, y, -1.0]}


def summary(path: Path, points: int, *things: dict[str, object]) -> SweepSummary:
    tree = {"num_points": points, "class_names": NAMES, "instances": things}
    path.write_text(json.dumps(tree))
    return read_summary(path.stem, path)


@pytest.fixture
def sweeps(tmp_path: Path) -> list[SweepSummary]:
    return [
        summary(
            tmp_path / "a.json",
            1000,
            thing("vehicle", 0.9, 100, 3, 4),
            thing("vehicle", 0.5, 50, 30, -40),
            thing("pedestrian", 0.55, 20, 0, 8),
        ),
        summary(tmp_path / "b.json", 1200, thing("vehicle", 0.8, 60, -6, 8)),
        summary(tmp_path / "c.json", 900),
        summary(tmp_path / "d.json", 300, thing("vehicle", 0.59, 10, 1, 0)),
        summary(tmp_path / "e.json", 0),
        failed("f", "f.bin: cut short"),
    ]


def test_the_table_counts(sweeps: list[SweepSummary]) -> None:
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in summary_table(sweeps, NAMES).splitlines()
    ]
    assert rows[0] == ["class", "instances", "points", "median range, m", "flagged sweeps"]
    assert rows[2:] == [
        ["vehicle", "4", "220", "7.5", "1"],
        ["pedestrian", "1", "20", "8.0", "1"],
        ["all", "5", "240", "8.0", "5"],
    ]


def test_flags_say_why_to_look(sweeps: list[SweepSummary]) -> None:
    assert flags(sweeps) == [
        "doubtful pedestrian",
        "",
        "nothing found",
        "few points; doubtful vehicle",
        "no points",
        "failed: f.bin: cut short",
    ]


def test_the_csv_has_a_line_for_each_sweep(sweeps: list[SweepSummary]) -> None:
    header, *rows = csv.reader(io.StringIO(summary_csv(sweeps, NAMES)))
    parts = ("instances", "points", "median_range_m")
    assert header == ["sweep", "points", *(f"{n}_{p}" for n in NAMES for p in parts), "flags"]
    assert rows[0] == ["a", "1000", "2", "150", "27.5", "1", "20", "8.0", "doubtful pedestrian"]
    assert rows[2] == ["c", "900", "0", "0", "", "0", "0", "", "nothing found"]
    assert rows[5] == ["f", "0", "0", "0", "", "0", "0", "", "failed: f.bin: cut short"]


def test_no_sweeps_are_no_instances() -> None:
    last = summary_table([], NAMES).splitlines()[-1]
    assert "".join(last.split()) == "|all|0|0|-|0|"
    assert len(summary_csv([], NAMES).splitlines()) == 1


@pytest.mark.parametrize("text", ["", "[]", '{"num_points": 3}', '{"class_names": ["a"]}'])
def test_what_is_no_result_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(ScanError, match=r"x\.json: no result of this package"):
        read_summary("x", tmp_path / "x.json")
