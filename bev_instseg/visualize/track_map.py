"""A picture of all paths of a sequence, seen from above."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bev_instseg.colours import UNKNOWN_RGB, colours_of_ids
from bev_instseg.structures import UNKNOWN
from bev_instseg.visualize.bev_map import DPI, PANEL_PX, encode_png

MIN_SIDE_M = 20.0


@dataclass(frozen=True, eq=False)
class ObjectPath:
    """The path of an object.

    Attributes:
        id: Its id.
        class_name: Its class.
        xy_m: (S, 2) its places in the world, in the order of time.
        moved: Whether it moved.
    """

    id: int
    class_name: str
    xy_m: NDArray[np.float64]
    moved: bool

    @property
    def is_unknown(self) -> bool:
        """Whether it is an unknown thing."""
        return self.class_name == UNKNOWN


def counted(paths: Sequence[ObjectPath]) -> str:
    """Return how many objects there are, how many of them moved, and how many things are unknown.

    Args:
        paths: All of them.
    """
    known = [path for path in paths if not path.is_unknown]
    moved = sum(path.moved for path in known)
    unknown = f"; {len(paths) - len(known)} unknown things" if len(known) < len(paths) else ""
    return f"{len(known)} objects, {moved} of them moved{unknown}"


def tracks_png(paths: Sequence[ObjectPath], sensor_m: NDArray[np.float64], title: str) -> bytes:
    """Draw the paths of objects, x up and y to the left, as a PNG of 1600 x 1600 pixels.

    Objects that moved have a line in their own colour, with id and class at its end; the others are
    dots. All unknown objects have the same colour.

    Args:
        paths: The objects.
        sensor_m: (M, 2) places of the sensor in the world.
        title: Title of the picture.
    """
    from matplotlib.figure import Figure

    figure = Figure((PANEL_PX / DPI, PANEL_PX / DPI), dpi=DPI, layout="constrained")
    axes = figure.add_subplot()
    axes.plot(sensor_m[:, 1], sensor_m[:, 0], color="black", lw=1.4, label="sensor", zorder=3)
    if len(sensor_m):
        axes.plot(*sensor_m[-1, ::-1], marker=(3, 0, 0), markersize=6, color="black", zorder=3)
    for path in paths:
        colour = UNKNOWN_RGB if path.is_unknown else colours_of_ids(np.array([path.id]))[0]
        if not path.moved:
            axes.plot(*np.median(path.xy_m, axis=0)[::-1], "o", ms=2.5, color=colour)
            continue
        axes.plot(path.xy_m[:, 1], path.xy_m[:, 0], color=colour, lw=1.2)
        axes.plot(*path.xy_m[-1, ::-1], "o", ms=3.5, color=colour)
        x, y = path.xy_m[-1]
        axes.annotate(
            f"{path.id} {path.class_name}", (y, x), (3, 3), textcoords="offset points", fontsize=5
        )
    axes.set_title(f"{title}: {counted(paths)}", fontsize=9)
    places = np.concatenate([sensor_m, *(path.xy_m for path in paths)])
    low, high = (places.min(axis=0), places.max(axis=0)) if len(places) else (0.0, 0.0)
    middle = np.broadcast_to(np.add(low, high) / 2, 2)
    half = max(float(np.max(np.subtract(high, low))) / 2 + 5, MIN_SIDE_M / 2)
    axes.set(xlim=(middle[1] + half, middle[1] - half), ylim=(middle[0] - half, middle[0] + half))
    axes.set_aspect("equal")
    axes.set_xlabel("y (m)", fontsize=8)
    axes.set_ylabel("x (m)", fontsize=8)
    axes.tick_params(labelsize=7)
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, fontsize=7, loc="upper right")
    return encode_png(figure)
