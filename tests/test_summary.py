"""The summary of a folder, in numbers that can be checked by hand."""

import csv
import io

import pytest

from bev_instseg.export import InstanceRecord, SweepResult
from bev_instseg.jobs.summary import (
    SweepSummary,
    flags,
    summary_csv,
    summary_table,
)

NAMES = ("vehicle", "pedestrian")


def instance(name: str, score: float, num_points: int, x: float, y: float) -> InstanceRecord:
    return InstanceRecord(1, name, score, num_points, (x, y, -1.0), 4.0, 2.0, 1.5, 0.0)


def summary(name: str, num_points: int, *instances: InstanceRecord) -> SweepSummary:
    return SweepSummary.of(name, SweepResult(num_points, NAMES, instances))


@pytest.fixture
def sweeps() -> list[SweepSummary]:
    return [
        summary(
            "a",
            1000,
            instance("vehicle", 0.9, 100, 3, 4),
            instance("vehicle", 0.5, 50, 30, -40),
            instance("pedestrian", 0.55, 20, 0, 8),
        ),
        summary("b", 1200, instance("vehicle", 0.8, 60, -6, 8)),
        summary("c", 900),
        summary("d", 300, instance("vehicle", 0.59, 10, 1, 0)),
        summary("e", 0),
        SweepSummary.of_failure("f", "f.bin: cut short"),
    ]


def test_the_table_has_a_row_per_class(sweeps: list[SweepSummary]) -> None:
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


def test_flags_give_the_reasons(sweeps: list[SweepSummary]) -> None:
    assert flags(sweeps) == [
        "doubtful pedestrian",
        "",
        "nothing found",
        "few points; doubtful vehicle",
        "no points",
        "failed: f.bin: cut short",
    ]


def test_the_csv_has_a_row_per_sweep(sweeps: list[SweepSummary]) -> None:
    header, *rows = csv.reader(io.StringIO(summary_csv(sweeps, NAMES)))
    parts = ("instances", "points", "median_range_m")
    assert header == ["sweep", "points", *(f"{n}_{p}" for n in NAMES for p in parts), "flags"]
    assert rows[0] == ["a", "1000", "2", "150", "27.5", "1", "20", "8.0", "doubtful pedestrian"]
    assert rows[2] == ["c", "900", "0", "0", "", "0", "0", "", "nothing found"]
    assert rows[5] == ["f", "0", "0", "0", "", "0", "0", "", "failed: f.bin: cut short"]


def test_a_job_without_sweeps_has_an_empty_summary() -> None:
    last = summary_table([], NAMES).splitlines()[-1]
    assert "".join(last.split()) == "|all|0|0|-|0|"
    assert len(summary_csv([], NAMES).splitlines()) == 1
