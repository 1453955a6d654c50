"""What a folder of results holds: a table per class, and a CSV with a line for each sweep."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bev_instseg.exceptions import ScanError
from bev_instseg.tables import markdown_table

DOUBTFUL = 0.6  # a class is flagged in a sweep where most of its instances score lower
FEW = 0.5  # a sweep is flagged that has less than this part of the median number of points


@dataclass(frozen=True)
class SweepSummary:
    """A sweep of a job in numbers.

    Attributes:
        name: of its results.
        points: of the sweep.
        counts: instances by class.
        members: points of these instances by class.
        ranges_m: horizontal distance of each of these instances by class, metres.
        doubtful: classes most of whose instances here score below `DOUBTFUL`.
        error: why there are no results; the rest is then empty.
    """

    name: str
    points: int
    counts: Mapping[str, int]
    members: Mapping[str, int]
    ranges_m: Mapping[str, Sequence[float]]
    doubtful: tuple[str, ...]
    error: str = ""


def failed(name: str, error: str) -> SweepSummary:
    """A sweep without results."""
    return SweepSummary(name, 0, {}, {}, {}, (), error)


def read_summary(name: str, json_path: Path) -> SweepSummary:
    """A sweep's ``.json`` in numbers.

    Raises:
        ScanError: no file as `bev_instseg.export.write_result` writes it.
    """
    try:
        tree = json.loads(json_path.read_bytes())
        names: list[str] = tree["class_names"]
        of_class = {n: [item for item in tree["instances"] if item["class"] == n] for n in names}
        return SweepSummary(
            name,
            tree["num_points"],
            {n: len(items) for n, items in of_class.items()},
            {n: sum(item["num_points"] for item in items) for n, items in of_class.items()},
            {n: [_range_m(item["centre_m"]) for item in items] for n, items in of_class.items()},
            tuple(n for n in names if _is_doubtful([item["score"] for item in of_class[n]])),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ScanError(f"{json_path}: no result of this package ({error})") from None


def _range_m(centre_m: Sequence[float]) -> float:
    return (centre_m[0] ** 2 + centre_m[1] ** 2) ** 0.5


def _is_doubtful(scores: Sequence[float]) -> bool:
    return bool(scores) and median(scores) < DOUBTFUL


def flags(sweeps: Sequence[SweepSummary]) -> list[str]:
    """Why to look at each sweep, in words; empty for no reason."""
    usual = median([s.points for s in sweeps if not s.error] or [0])
    reasons = []
    for sweep in sweeps:
        own = [f"failed: {sweep.error}"] if sweep.error else []
        if not sweep.error and not sweep.points:
            own.append("no points")
        elif not sweep.error and sweep.points < FEW * usual:
            own.append("few points")
        if sweep.points and not any(sweep.counts.values()):
            own.append("nothing found")
        own += [f"doubtful {name}" for name in sweep.doubtful]
        reasons.append("; ".join(own))
    return reasons


def summary_table(sweeps: Sequence[SweepSummary], class_names: Sequence[str]) -> str:
    """A Markdown table: instances, their points, median range and flagged sweeps of each class.

    A sweep is flagged in a class if most of its instances there score below `DOUBTFUL`; in the
    last line if `flags` has any reason.
    """
    rows = [["class", "instances", "points", "median range, m", "flagged sweeps"]]
    for name in class_names:
        ranges = [metres for s in sweeps for metres in s.ranges_m.get(name, ())]
        rows.append(
            [
                name,
                str(sum(s.counts.get(name, 0) for s in sweeps)),
                str(sum(s.members.get(name, 0) for s in sweeps)),
                _median(ranges),
                str(sum(name in s.doubtful for s in sweeps)),
            ]
        )
    rows.append(
        [
            "all",
            str(sum(sum(s.counts.values()) for s in sweeps)),
            str(sum(sum(s.members.values()) for s in sweeps)),
            _median([metres for s in sweeps for part in s.ranges_m.values() for metres in part]),
            str(sum(map(bool, flags(sweeps)))),
        ]
    )
    return markdown_table(rows)


def summary_csv(sweeps: Sequence[SweepSummary], class_names: Sequence[str]) -> str:
    """A line a sweep: name, points, of each class instances, points and median range, and flags."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    parts = ("instances", "points", "median_range_m")
    columns = [f"{name}_{part}" for name in class_names for part in parts]
    writer.writerow(["sweep", "points", *columns, "flags"])
    for sweep, why in zip(sweeps, flags(sweeps), strict=True):
        cells = [
            value
            for name in class_names
            for value in (
                sweep.counts.get(name, 0),
                sweep.members.get(name, 0),
                _median(sweep.ranges_m.get(name, ()), ""),
            )
        ]
        writer.writerow([sweep.name, sweep.points, *cells, why])
    return text.getvalue()


def _median(metres: Sequence[float], none: str = "-") -> str:
    return f"{median(metres):.1f}" if metres else none
