"""Summarise the results of a folder: a table per class, and a CSV with a row per sweep."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from bev_instseg.export import InstanceRecord, SweepResult
from bev_instseg.structures import UNKNOWN
from bev_instseg.tables import markdown_table

DOUBTFUL_SCORE = 0.6  # flags a class of a sweep if its median score there is lower
CSV_START = "sweep,points"  # how every CSV begins
FEW_POINTS_RATIO = 0.5  # flags a sweep with fewer points than this share of the median


@dataclass(frozen=True)
class SweepSummary:
    """A sweep in numbers.

    Attributes:
        name: Name of its results.
        num_points: Number of points of the sweep.
        num_instances: Number of instances of each class.
        num_instance_points: Number of points of these instances, by class.
        ranges_m: Horizontal distance of each of these instances by class, metres.
        doubtful_classes: Classes whose median score is below `DOUBTFUL_SCORE`.
        error: Why there are no results; everything else is then empty.
    """

    name: str
    num_points: int
    num_instances: Mapping[str, int]
    num_instance_points: Mapping[str, int]
    ranges_m: Mapping[str, Sequence[float]]
    doubtful_classes: tuple[str, ...]
    error: str = ""

    @classmethod
    def of(cls, name: str, result: SweepResult) -> "SweepSummary":
        """Summarise the result of a sweep.

        Args:
            name: Name of its results.
            result: Content of its ``.json``.
        """
        by_class: dict[str, list[InstanceRecord]] = {n: [] for n in result.class_names}
        for one in result.instances:
            by_class[one.class_name].append(one)
        return cls(
            name,
            result.num_points,
            {n: len(some) for n, some in by_class.items()},
            {n: sum(one.num_points for one in some) for n, some in by_class.items()},
            {n: [_range_m(one) for one in some] for n, some in by_class.items()},
            tuple(
                n
                for n, some in by_class.items()
                if n != UNKNOWN and _is_doubtful([one.score for one in some])
            ),
        )

    @classmethod
    def of_failure(cls, name: str, error: str) -> "SweepSummary":
        """Summarise a sweep without results.

        Args:
            name: Name that its results would have.
            error: Why there are none.
        """
        return cls(name, 0, {}, {}, {}, (), error)


def _range_m(one: InstanceRecord) -> float:
    x, y, _ = one.centre_m
    range_m: float = (x**2 + y**2) ** 0.5
    return range_m


def _is_doubtful(scores: Sequence[float]) -> bool:
    return bool(scores) and median(scores) < DOUBTFUL_SCORE


def flags(sweeps: Sequence[SweepSummary]) -> list[str]:
    """Return the reasons to check each sweep, separated by semicolons; empty if there are none."""
    median_points = median([s.num_points for s in sweeps if not s.error] or [0])
    return ["; ".join(_reasons(sweep, FEW_POINTS_RATIO * median_points)) for sweep in sweeps]


def _reasons(sweep: SweepSummary, few_points: float) -> list[str]:
    if sweep.error:
        return [f"failed: {sweep.error}"]
    reasons = []
    if not sweep.num_points:
        reasons.append("no points")
    elif sweep.num_points < few_points:
        reasons.append("few points")
    if sweep.num_points and not any(sweep.num_instances.values()):
        reasons.append("nothing found")
    return reasons + [f"doubtful {name}" for name in sweep.doubtful_classes]


def summary_table(sweeps: Sequence[SweepSummary], class_names: Sequence[str]) -> str:
    """Format a Markdown table: instances, points, median range and flagged sweeps per class.

    A sweep is flagged in a class if its median score there is below `DOUBTFUL_SCORE`; the last
    line counts the sweeps with any of the `flags`.

    Args:
        sweeps: The sweeps of the job.
        class_names: The classes, in the order of the rows.
    """
    rows = [["class", "instances", "points", "median range, m", "flagged sweeps"]]
    for name in class_names:
        ranges = [metres for s in sweeps for metres in s.ranges_m.get(name, ())]
        rows.append(
            [
                name,
                str(sum(s.num_instances.get(name, 0) for s in sweeps)),
                str(sum(s.num_instance_points.get(name, 0) for s in sweeps)),
                _format_median(ranges),
                str(sum(name in s.doubtful_classes for s in sweeps)),
            ]
        )
    ranges = [metres for s in sweeps for some in s.ranges_m.values() for metres in some]
    rows.append(
        [
            "all",
            str(sum(sum(s.num_instances.values()) for s in sweeps)),
            str(sum(sum(s.num_instance_points.values()) for s in sweeps)),
            _format_median(ranges),
            str(sum(map(bool, flags(sweeps)))),
        ]
    )
    return markdown_table(rows)


def summary_csv(sweeps: Sequence[SweepSummary], class_names: Sequence[str]) -> str:
    """Format a CSV with a row per sweep: name, points, three columns per class, and flags.

    Args:
        sweeps: The sweeps of the job.
        class_names: The classes, in the order of the columns.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    parts = ("instances", "points", "median_range_m")
    columns = [f"{name}_{part}" for name in class_names for part in parts]
    writer.writerow([*CSV_START.split(","), *columns, "flags"])
    for sweep, reasons in zip(sweeps, flags(sweeps), strict=True):
        cells = [
            cell
            for name in class_names
            for cell in (
                sweep.num_instances.get(name, 0),
                sweep.num_instance_points.get(name, 0),
                _format_median(sweep.ranges_m.get(name, ()), ""),
            )
        ]
        writer.writerow([sweep.name, sweep.num_points, *cells, reasons])
    return text.getvalue()


def _format_median(metres: Sequence[float], if_empty: str = "-") -> str:
    return f"{median(metres):.1f}" if metres else if_empty
