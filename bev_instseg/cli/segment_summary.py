"""What the segment command says at the end: times, and a row for each sweep."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from bev_instseg.cli.report import Report
from bev_instseg.exceptions import ScanError, explain, printable
from bev_instseg.jobs.summary import SweepSummary

if TYPE_CHECKING:  # torch: not for --help
    from bev_instseg.jobs.find_items import Item
    from bev_instseg.jobs.job import Job


def speed(timings: Sequence[Mapping[str, float]], seconds: float) -> str:
    """Return sweeps per second and the median time of each stage.

    Args:
        timings: Milliseconds of each stage, by sweep.
        seconds: Time that all of them took.
    """
    common = [stage for stage in timings[0] if all(stage in t for t in timings)]
    stages = [f"{stage} {np.median([t[stage] for t in timings]):.1f}" for stage in common]
    whole = np.median([sum(t.values()) for t in timings])
    return (
        f"{len(timings) / seconds:.1f} sweeps per second, several at once; median per sweep "
        f"{whole:.1f} ms ({', '.join(stages)})"
    )


def first_time(timing_ms: Mapping[str, float]) -> str:
    """Return the time of a job's only sweep, and how it divides into reading and other stages.

    Args:
        timing_ms: Milliseconds of each stage.
    """
    parts = ", ".join(
        f"{about} {timing_ms[stage]:.0f}"
        for stage, about in (("read", "reading"), ("draw", "drawing"), ("write", "writing"))
        if stage in timing_ms
    )
    return f"{sum(timing_ms.values()):.0f} ms for this first sweep, of which {parts}"


def summaries(
    job: "Job", items: Sequence["Item"], failed: Mapping[str, str], report: Report
) -> list[SweepSummary]:
    """Return the summary of each sweep, and print why results cannot be read.

    Args:
        job: The job.
        items: Its sweeps.
        failed: Why sweeps have no results, by name.
        report: Prints, for instance, that a different job is replacing a result.
    """
    sweeps = []
    for item in items:
        name = printable(item.name)
        if item.name in failed:
            sweeps.append(SweepSummary.of_failure(name, failed[item.name]))
            continue
        try:
            sweeps.append(SweepSummary.of(name, job.read_result(item)))
        except ScanError as error:
            report.say(explain(error))
            sweeps.append(SweepSummary.of_failure(name, explain(error)))
    return sweeps
