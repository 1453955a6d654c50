"""A page that plays a sequence in any browser, seen from above: one file that loads nothing."""

import base64
import html
import json
from collections.abc import Callable, Iterable
from importlib.resources import files
from string import Template
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bev_instseg.colours import NUM_COLOURS, UNKNOWN_RGB, instance_colours
from bev_instseg.visualize.played import PlayedSweep

MAX_SWEEPS, MAX_BYTES = 500, 24_000_000  # MAX_BYTES of points; objects and paths take a few more
POINT_BYTES = 8  # that a point takes in the page, in base64
MAX_POINTS = 20_000  # per sweep
CELL_M = 0.2
UNIT_M = 0.05  # of the coordinates, also in play.html


def play_page(
    sweeps: Iterable[tuple[str, Callable[[], PlayedSweep]]], num_sweeps: int, title: str
) -> bytes:
    """Return an HTML page that plays a sequence: points, boxes, ids, velocities and trails.

    The page has at most `MAX_SWEEPS` sweeps and about `MAX_BYTES`. For longer sequences it shows
    every second sweep or fewer, and only some of the points of each sweep, and says so.

    Args:
        sweeps: Name of each sweep, in the order of time, and what reads it if it is shown.
        num_sweeps: How many there are, at least one.
        title: Title of the page.
    """
    step = max(1, -(-num_sweeps // MAX_SWEEPS))
    num_shown = max(1, -(-num_sweeps // step))
    most = min(MAX_POINTS, MAX_BYTES // POINT_BYTES // num_shown)
    frames: list[dict[str, Any]] = []
    has_fewer_points = False
    for i, (name, load) in enumerate(sweeps):
        if i % step:
            continue
        sweep = load()
        thinned = sweep.thinned(CELL_M, most)
        has_fewer_points |= len(thinned.ids) < len(sweep.ids)
        frames.append(_frame(name, thinned))
    for frame in frames[::-1]:
        frame["time"] = round(frame["time"] - frames[0]["time"], 3)
    parts = [f"one sweep in {step}"] if step > 1 else []
    parts += ["only some of the points"] if has_fewer_points else []
    data = {
        "frames": frames,
        "colours": _hexadecimal(np.vstack([instance_colours(NUM_COLOURS), UNKNOWN_RGB])),
        "note": f"{title}: {', '.join(parts) or 'all points of all sweeps'}",
    }
    text = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    template = Template((files("bev_instseg.visualize") / "play.html").read_text("utf-8"))
    return template.substitute(title=html.escape(title), data=text).encode()


def _frame(name: str, sweep: PlayedSweep) -> dict[str, Any]:
    tracked, tracks = sweep.tracked, sweep.tracked.tracks
    pose = tracked.pose
    columns = (
        *(tracks.ids, tracks.position_m.round(2), tracks.velocity_mps.round(2), tracks.moving),
        *(sweep.world_centres_m.round(2), sweep.world_yaw_rad.round(3)),
        _numbers_of_colours(tracks.ids.astype(np.int64), tracked.instances.is_unknown),
    )
    objects = [
        {
            "id": number,
            "class": one.name,
            "colour": colour,
            "box": [*centre[:2], *one.box[3:5].astype(np.float64).round(2).tolist(), yaw],
            "track": place[:2],
            "velocity": velocity,
            "moving": moving,
        }
        for one, number, place, velocity, moving, centre, yaw, colour in zip(
            tracked.instances, *(column.tolist() for column in columns), strict=True
        )
    ]
    sweep = sweep.within(UNIT_M * np.iinfo(np.int16).max)
    xy = np.round(sweep.xyz_m[:, :2] / UNIT_M).astype("<i2")
    colours = np.where(sweep.ids > 0, 1 + _numbers_of_colours(sweep.ids, sweep.is_unknown), 0)
    yaw_rad = round(float(np.arctan2(pose[1, 0], pose[0, 0])), 4)
    return {
        "name": name,
        "time": tracked.stamp_s,
        "pose": [*pose[:2, 3].round(2).tolist(), yaw_rad],
        "xy": _base64(xy),
        "colours": _base64(colours.astype("<u2")),
        "objects": objects,
    }


def _numbers_of_colours(ids: NDArray[np.int64], is_unknown: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the index of each colour in the page's list; that of unknown objects is the last."""
    return np.where(is_unknown, NUM_COLOURS, (ids - 1) % NUM_COLOURS)


def _base64(values: NDArray[Any]) -> str:
    return base64.b64encode(values.tobytes()).decode()


def _hexadecimal(rgb: NDArray[np.float64]) -> list[str]:
    return ["#" + bytes(row).hex() for row in np.round(255 * rgb).astype(np.uint8)]
