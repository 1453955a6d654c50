"""Which part of a sweep the maps of `bev_instseg.visualize.maps` show large."""

import numpy as np

from bev_instseg.grid import BEVGrid
from bev_instseg.structures import Instances
from bev_instseg.visualize.box_corners import Float, box_corners

SQUARE_M = 24.0  # side of the square that maps 2 to 6 show
CLEARANCE_M = 1.0  # from a box inside the square to the edge of the square


def busiest_centre_m(instances: Instances, grid: BEVGrid) -> Float:
    """Find the square of side `SQUARE_M` with the most to show.

    It is the square with the most classes; on a tie, the one with the most instances. Only boxes
    that are at least `CLEARANCE_M` inside it count. Further ties go to the square with the fewest
    other boxes that reach into it, then to the one whose counted boxes are nearest to the sensor
    and to its own centre. Its centre is a whole number of metres from the centre of the grid. It
    stays inside the grid unless the grid is smaller.

    Args:
        instances: The objects of a sweep.
        grid: The grid of the sweep's pillars.

    Returns:
        (2,) x, y of the centre of the square in metres.
    """
    corners = box_corners(instances.boxes)[:, :4, :2]
    low, high = corners.min(axis=1), corners.max(axis=1)
    axes_m, held_along, touched_along = [], [], []
    for axis, (first, last) in enumerate((grid.x_range_m, grid.y_range_m)):
        reach = max((last - first - SQUARE_M) / 2, 0) // 1
        at = np.arange(-reach, reach + 1)[:, None] + (first + last) / 2
        inner, outer = SQUARE_M / 2 - CLEARANCE_M, SQUARE_M / 2
        axes_m.append(at[:, 0])
        held_along.append((low[:, axis] >= at - inner) & (high[:, axis] <= at + inner))
        touched_along.append((low[:, axis] < at + outer) & (high[:, axis] > at - outer))
    middles = np.stack(np.meshgrid(*axes_m, indexing="ij"), axis=-1).reshape(-1, 2)
    shape = len(middles), len(instances)
    held = (held_along[0][:, None] & held_along[1]).reshape(shape)
    touched = (touched_along[0][:, None] & touched_along[1]).reshape(shape)
    of_class = instances.classes[:, None] == np.unique(instances.classes)  # (K, classes)
    mean_m = held @ instances.boxes[:, :2] / np.maximum(held.sum(axis=1, keepdims=True), 1)
    keys = (  # the last one counts most
        -np.linalg.norm(mean_m, axis=1) - np.linalg.norm(middles - mean_m, axis=1),
        -(touched & ~held).sum(axis=1),
        held.sum(axis=1),
        (held @ of_class).sum(axis=1),  # a product of booleans: any instance of the class
    )
    best: Float = middles[np.lexsort(keys)[-1]]
    return best
