"""A picture of all paths of a sequence, seen from above."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bev_instseg.colours import UNKNOWN_RGB, colours_of_ids
from bev_instseg.structures import UNKNOWN
from bev_instseg.visualize.bev_map import PANEL_PX
from bev_instseg.visualize.figure_png import DPI, encode_png

if TYPE_CHECKING:  # matplotlib is imported where it is needed
    from matplotlib.axes import Axes

MIN_SIDE_M = 20.0
MAX_NAMED = 100  # more names cover each other


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
    unknown = f"; {len(paths) - len(known)} unknown objects" if len(known) < len(paths) else ""
    return f"{len(known)} objects, {moved} of them moved{unknown}"


def tracks_png(paths: Sequence[ObjectPath], sensor_m: NDArray[np.float64], title: str) -> bytes:
    """Draw the paths of objects, x up and y to the left, as a PNG of 1600 x 1600 pixels.

    Objects that moved have a line in their own colour; the `MAX_NAMED` longest have id and class at
    their end. The others are dots. All unknown objects have the same colour.

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
    _draw_paths(axes, [path for path in paths if path.moved])
    standing = [path for path in paths if not path.moved]
    _draw_dots(axes, [np.median(path.xy_m, axis=0) for path in standing], _colours(standing), 2.5)
    axes.set_title(f"{title}: {counted(paths)}", fontsize=9, parse_math=False)
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


def _draw_paths(axes: "Axes", paths: Sequence[ObjectPath]) -> None:
    """Draw lines that end in a dot, and the names of the longest."""
    from matplotlib.collections import LineCollection

    colours = _colours(paths)
    lines = [path.xy_m[:, ::-1] for path in paths]
    axes.add_collection(LineCollection(lines, colors=colours, linewidths=1.2))
    _draw_dots(axes, [path.xy_m[-1] for path in paths], colours, 3.5)
    for path in sorted(paths, key=_extent_m)[-MAX_NAMED:]:
        x, y = path.xy_m[-1]
        axes.annotate(
            f"{path.id} {path.class_name}",
            (y, x),
            (3, 3),
            textcoords="offset points",
            fontsize=5,
            parse_math=False,
        )


def _draw_dots(
    axes: "Axes",
    places_m: Sequence[NDArray[np.float64]],
    colours: NDArray[np.float64],
    size_pt: float,
) -> None:
    if places_m:
        x, y = np.transpose(places_m)
        axes.scatter(y, x, size_pt**2, colours, linewidths=0, zorder=2)


def _colours(paths: Sequence[ObjectPath]) -> NDArray[np.float64]:
    """Return (K, 3) colours, one for each of K objects."""
    colours = colours_of_ids(np.array([path.id for path in paths], np.int64))
    colours[[path.is_unknown for path in paths]] = UNKNOWN_RGB
    return colours


def _extent_m(path: ObjectPath) -> float:
    return float(np.ptp(path.xy_m, axis=0).max())
