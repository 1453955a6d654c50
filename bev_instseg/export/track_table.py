"""All tracks of a sequence as a table, ``tracks.csv``: a row per object and sweep."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from bev_instseg.export.sweep_result import SweepResult

TRACKS_CSV, TRACKS_PNG = "tracks.csv", "tracks.png"
COLUMNS = (
    *("frame", "sweep", "stamp", "id", "class", "x", "y", "z", "vx", "vy", "heading"),
    *("length", "width", "height", "score", "moving"),
)


def tracks_csv(sweeps: Sequence[tuple[str, SweepResult | None]]) -> str:
    """Format the confirmed objects of all sweeps.

    Seconds, metres, metres per second and radians in the world; ``moving`` is 1 or 0.

    Args:
        sweeps: Name and result of each sweep in the order of time; None for those without one.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for frame, (name, result) in enumerate(sweeps):
        if result is None or result.sequence is None:
            continue
        for one in result.instances:
            if (t := one.track) is not None:
                place = *t.position_m, *t.velocity_mps, t.heading_rad
                size = one.length_m, one.width_m, one.height_m
                row = (frame, name, result.sequence.stamp_s, t.id, one.class_name, *place, *size)
                writer.writerow((*row, one.score, int(t.moving)))
    return text.getvalue()


def is_tracks_csv(path: Path) -> bool:
    """Return whether a file begins like a table of tracks.

    Args:
        path: An existing file.
    """
    with open(path, "rb") as file:
        return file.readline() == (",".join(COLUMNS) + "\n").encode()
