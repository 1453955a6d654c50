"""A sequence as a file for the Rerun viewer: points by object, boxes and trails over time."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from bev_instseg.colours import UNKNOWN_RGB, colours_of, colours_of_ids
from bev_instseg.file_io import in_use, temporary_name
from bev_instseg.visualize.played import PlayedSweep

CLOCK = "stamp"
GREY = (150, 150, 150)
TRAIL_SWEEPS = 50
POINT_M, LINE_M = 0.03, 0.04
MISSING = "--rerun needs rerun-sdk: pip install 'bev-instseg[rerun]'"


def write_rrd(
    path: Path, sweeps: Iterable[tuple[str, Callable[[], PlayedSweep]]], title: str
) -> None:
    """Write a sequence for the Rerun viewer, on the clock of its sweeps.

    ``world/points`` are coloured by object, ``world/boxes`` have id, class and speed, and
    ``world/trails`` connect the last `TRAIL_SWEEPS` positions of each object since it came into
    view.

    Args:
        path: The ``.rrd`` file; it is replaced when it is complete.
        sweeps: Name of each sweep, in the order of time, and what reads it.
        title: Name of the sequence in the viewer.

    Raises:
        ImportError: rerun-sdk is not installed.
        OSError: The file cannot be written.
    """
    try:
        import rerun as rr
    except ImportError:
        raise ImportError(MISSING) from None

    temporary = temporary_name(path)
    stream = rr.RecordingStream("bev_instseg", recording_id=title)
    stream.set_log_time_enabled(False)  # the only clock is that of the sweeps
    trails: dict[int, list[list[float]]] = {}
    try:
        with open(temporary, "wb"):  # an error here names the file; one of Rerun would not
            stream.save(temporary)
        with in_use(temporary):
            stream.log("world", rr.ViewCoordinates.RIGHT_HAND_Z_UP, static=True)
            for _, load in sweeps:
                sweep = load()
                stream.set_time(CLOCK, timestamp=sweep.tracked.stamp_s)
                _log(rr, stream, sweep, trails)
            stream.flush()
            stream.disconnect()
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _log(rr: Any, stream: Any, sweep: PlayedSweep, trails: dict[int, list[list[float]]]) -> None:
    tracked, tracks, pose = sweep.tracked, sweep.tracked.tracks, sweep.tracked.pose
    seen = np.isfinite(sweep.xyz_m).all(axis=1)
    xyz_m, ids = sweep.xyz_m[seen] @ pose[:3, :3].T + pose[:3, 3], sweep.ids[seen]
    rgb = np.where(ids[:, None] > 0, _bytes(colours_of_ids(ids)), np.array(GREY, np.uint8))
    rgb[sweep.is_unknown[seen]] = _bytes(np.array(UNKNOWN_RGB))
    stream.log("world/points", rr.Points3D(xyz_m, colors=rgb, radii=POINT_M))
    stream.log("world/sensor", rr.Transform3D(translation=pose[:3, 3], mat3x3=pose[:3, :3]))
    names = [one.name for one in tracked.instances]
    speeds = np.where(tracks.moving, np.hypot(*tracks.velocity_mps.T), 0.0).tolist()
    texts = [
        f"{number} {name}" + (f" {speed:.1f} m/s" if speed else "")
        for number, name, speed in zip(tracks.ids.tolist(), names, speeds, strict=True)
    ]
    colours = _bytes(colours_of(tracked.instances, tracks.ids.tolist()))
    half = sweep.world_yaw_rad / 2
    turns = np.column_stack([0 * half, 0 * half, np.sin(half), np.cos(half)])
    boxes = rr.Boxes3D(
        centers=sweep.world_centres_m,
        half_sizes=tracked.instances.boxes[:, 3:6] / 2,
        quaternions=turns,
        colors=colours,
        labels=texts,
    )
    stream.log("world/boxes", boxes)
    for number, place in zip(tracks.ids.tolist(), tracks.position_m.tolist(), strict=True):
        trails[number] = [*trails.get(number, []), place][-TRAIL_SWEEPS:]
    for number in set(trails) - set(tracks.ids.tolist()):
        del trails[number]
    lines = [trails[number] for number in tracks.ids.tolist()]
    stream.log("world/trails", rr.LineStrips3D(lines, colors=colours, radii=LINE_M))


def _bytes(rgb: np.ndarray) -> np.ndarray:
    return np.round(255 * rgb).astype(np.uint8)
