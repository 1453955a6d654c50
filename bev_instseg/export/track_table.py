"""All tracks of a sequence as a table, ``tracks.csv``: a row per object and sweep."""

import csv
from pathlib import Path
from typing import TextIO

from bev_instseg.export.sweep_result import SweepResult

TRACKS_CSV, TRACKS_PNG, TRACKS_HTML = "tracks.csv", "tracks.png", "tracks.html"
COLUMNS = (
    *("frame", "sweep", "stamp", "id", "class", "x", "y", "z", "vx", "vy", "heading"),
    *("length", "width", "height", "score", "moving"),
)


class TrackTable:
    """Writes the confirmed objects of a sequence, sweep by sweep.

    Seconds, metres, metres per second and radians in the world; ``moving`` is 1 or 0.
    """

    def __init__(self, file: TextIO) -> None:
        """Write the row with the names of the columns.

        Args:
            file: The open file.
        """
        self._writer = csv.writer(file, lineterminator="\n")
        self._writer.writerow(COLUMNS)

    def add(self, frame: int, name: str, result: SweepResult) -> None:
        """Write the objects of a sweep.

        Args:
            frame: Its position in the sequence.
            name: Its name.
            result: Its objects, with tracks.
        """
        assert result.sequence is not None
        for one in result.instances:
            if (t := one.track) is not None:
                place = *t.position_m, *t.velocity_mps, t.heading_rad
                size = one.length_m, one.width_m, one.height_m
                row = (frame, name, result.sequence.stamp_s, t.id, one.class_name, *place, *size)
                self._writer.writerow((*row, one.score, int(t.moving)))


def is_tracks_csv(path: Path) -> bool:
    """Return whether a file begins like a table of tracks.

    Args:
        path: An existing file.
    """
    with open(path, "rb") as file:
        return file.readline() == (",".join(COLUMNS) + "\n").encode()
