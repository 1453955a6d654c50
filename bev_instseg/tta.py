"""Test-time augmentation: average the network's maps of a sweep that is turned and mirrored.

A grid is rotated by quarter turns and mirrored, so that cells fall on cells. The pillars are
therefore computed only once; only their cells and positions change. Training turns and mirrors
sweeps, too.
"""

from collections.abc import Callable
from typing import NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from bev_instseg.engines.engine import TtaChoice
from bev_instseg.grid import BEVGrid
from bev_instseg.ops.voxelize import FEATURES
from bev_instseg.structures import Float32, PillarEmbeddings, Pillars

X_MEAN, Y_MEAN = FEATURES.index("x_mean_m"), FEATURES.index("y_mean_m")


class Symmetry(NamedTuple):
    """One of the eight ways to turn and mirror a square: swap x and y, then change signs."""

    swap: bool
    sign_x: int
    sign_y: int


# Unchanged, mirrored, turned by half, and both; the last four need a square grid.
SYMMETRIES = (
    Symmetry(False, 1, 1),
    Symmetry(False, 1, -1),
    Symmetry(False, -1, -1),
    Symmetry(False, -1, 1),
    Symmetry(True, -1, 1),
    Symmetry(True, 1, -1),
    Symmetry(True, 1, 1),
    Symmetry(True, -1, -1),
)


def check_count(count: int, grid: BEVGrid) -> None:
    """Check that a grid can be turned and mirrored in a number of ways.

    Args:
        count: A `TtaChoice`.
        grid: The grid.

    Raises:
        ValueError: It is a different number, or it is 8 and the grid is not square.
    """
    if type(count) is not int or count not in get_args(TtaChoice):
        choices = ", ".join(map(str, get_args(TtaChoice)))
        raise ValueError(f"tta must be one of {choices}, got {count}")
    nx, ny = grid.shape
    if count == 8 and nx != ny:
        raise ValueError(f"tta 8 needs a square grid, this one has {nx} x {ny} cells; use tta 4")


def infer_averaged(
    infer: Callable[[Pillars], PillarEmbeddings], pillars: Pillars, count: int
) -> PillarEmbeddings:
    """Run a network on a sweep in several symmetries, and average its maps.

    Before that, embeddings and precision matrices are turned back.

    Args:
        infer: Runs the network on pillars.
        pillars: The P pillars of the sweep.
        count: The number of symmetries, a `TtaChoice`.

    Returns:
        The mean embeddings of the pillars, in their order.
    """
    found = []
    for symmetry in SYMMETRIES[:count]:
        turned, order = turn(pillars, symmetry)
        found.append(turn_back(infer(turned), order, symmetry, pillars.grid))
    return PillarEmbeddings(
        _mean([each.centre_m for each in found]),
        _mean([each.precision for each in found]),
        _mean([each.seed for each in found]),
    )


def turn(pillars: Pillars, symmetry: Symmetry) -> tuple[Pillars, NDArray[np.intp]]:
    """Turn pillars, without their points, about the middle of their grid.

    The range of each pillar remains its distance from the sensor.

    Args:
        pillars: The P pillars.
        symmetry: How to turn them.

    Returns:
        The turned pillars in ascending order of their cells, and (P,) which of the given pillars
        each of them was.
    """
    nx, ny = pillars.grid.shape
    ix, iy = np.divmod(pillars.cells, np.int32(ny))
    if symmetry.swap:
        ix, iy = iy, ix
    ix = ix if symmetry.sign_x > 0 else nx - 1 - ix
    iy = iy if symmetry.sign_y > 0 else ny - 1 - iy
    cells = ix * np.int32(ny) + iy
    order = np.argsort(cells)
    features = pillars.features[order]
    features[:, [X_MEAN, Y_MEAN]] = _turned(features[:, [X_MEAN, Y_MEAN]], symmetry)
    no_points = np.zeros(0, np.int32), np.zeros(0, np.float32)
    return Pillars(pillars.grid, cells[order], features, *no_points), order


def turn_back(
    embeddings: PillarEmbeddings, order: NDArray[np.intp], symmetry: Symmetry, grid: BEVGrid
) -> PillarEmbeddings:
    """Turn the embeddings of turned pillars back.

    Args:
        embeddings: Embeddings of P turned pillars.
        order: (P,) which of the pillars before the turn each of them was.
        symmetry: How the pillars had been turned.
        grid: Their grid.

    Returns:
        The embeddings of the pillars before the turn, in their order.
    """
    middle = np.array([sum(grid.x_range_m) / 2, sum(grid.y_range_m) / 2], np.float32)
    back = np.argsort(order)
    swap, sign_x, sign_y = symmetry
    # The inverse: first the signs, then the swap.
    inverse = Symmetry(swap, sign_y, sign_x) if swap else symmetry
    xx, xy, yy = embeddings.precision[back].T
    xy = xy * np.float32(sign_x * sign_y)
    precision = np.stack([yy, xy, xx] if swap else [xx, xy, yy], axis=1)
    centre_m = middle + _turned(embeddings.centre_m[back] - middle, inverse)
    return PillarEmbeddings(centre_m, precision, embeddings.seed[back])


def _turned(xy: Float32, symmetry: Symmetry) -> Float32:
    """Turn (P, 2) float32 vectors."""
    xy = xy[:, ::-1] if symmetry.swap else xy
    return xy * np.array([symmetry.sign_x, symmetry.sign_y], np.float32)


def _mean(values: list[Float32]) -> Float32:
    mean: Float32 = np.mean(values, axis=0, dtype=np.float32)
    return mean
