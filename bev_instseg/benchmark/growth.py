"""How times grow with points, instances and cells."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from tqdm import tqdm

from bev_instseg.benchmark.measure import Timing, measure
from bev_instseg.grid import BEVGrid
from bev_instseg.ops.cluster import cluster
from bev_instseg.ops.voxelize import voxelize
from bev_instseg.segmenter import Segmenter
from bev_instseg.structures import Float32, PillarEmbeddings

POINTS = (10_000, 30_000, 120_000, 300_000, 1_000_000, 3_000_000, 10_000_000)
INSTANCES = (0, 10, 30, 100, 300, 1000, 2000)
CELLS_A_SIDE = (256, 512, 1024, 2048)
PILLARS_OF_AN_INSTANCE, PILLARS_OF_THE_BACKGROUND = 20, 20_000


@dataclass(frozen=True)
class Growth:
    """Times of one thing at rising sizes.

    Attributes:
        name, unit: what was timed, and what the sizes count.
        sizes: rising.
        timings: one for each size.
    """

    name: str
    unit: str
    sizes: tuple[int, ...]
    timings: tuple[Timing, ...]

    @property
    def slope(self) -> float:
        """Of log time over log size, least squares over the sizes above 0; 1 is linear."""
        some = [k for k, size in enumerate(self.sizes) if size > 0]
        x = np.log([self.sizes[k] for k in some])
        y = np.log([self.timings[k].median_ms for k in some])
        return float(np.polyfit(x, y, 1)[0])


def measure_growth(segmenter: Segmenter, sweep: Float32, repeats: int) -> list[Growth]:
    """All of them.

    Args:
        segmenter: its grid and network are used.
        sweep: (N, 4) points of a real sweep.
        repeats: of each measurement.
    """
    grid, thresholds = segmenter.config.grid, segmenter.config.cluster
    bar = tqdm(desc="growth", total=len(POINTS) + len(INSTANCES) + 2 * len(CELLS_A_SIDE))

    def grow(
        name: str, unit: str, sizes: Sequence[int], run: Callable[[int], Callable[[], object]]
    ) -> Growth:
        timings = []
        for size in sizes:
            timings.append(measure(run(size), repeats))
            bar.update()
        return Growth(name, unit, tuple(sizes), tuple(timings))

    def voxelizing(count: int) -> Callable[[], object]:
        points = resized(sweep, count)
        return lambda: voxelize(points, grid)

    def clustering(count: int) -> Callable[[], object]:
        maps = crowd(count)
        return lambda: cluster(
            maps, thresholds.seed_threshold, thresholds.member_threshold, thresholds.min_free
        )

    def voxelizing_finer(cells: int) -> Callable[[], object]:
        finer = with_cells(grid, round(cells**0.5))
        return lambda: voxelize(sweep, finer)

    def network(cells: int) -> Callable[[], object]:
        pillars = voxelize(sweep, with_cells(grid, round(cells**0.5)))
        return lambda: segmenter.infer(pillars)

    cells = [side * side for side in CELLS_A_SIDE]
    growths = [
        grow("voxelize", "points", POINTS, voxelizing),
        grow("cluster", "instances", INSTANCES, clustering),
        grow("voxelize, finer cells", "cells", cells, voxelizing_finer),
        grow("network, finer cells", "cells", cells, network),
    ]
    bar.close()
    return growths


def resized(sweep: Float32, count: int) -> Float32:
    """``count`` points like a sweep: every n-th of it, or turned copies of it one after another."""
    if count <= len(sweep):
        return np.ascontiguousarray(sweep[np.linspace(0, len(sweep) - 1, count).astype(int)])
    return np.concatenate(list(_turned(sweep, count)))


def _turned(sweep: Float32, count: int) -> Iterator[Float32]:
    rng = np.random.default_rng(0)
    while count > 0:
        cos, sin = np.cos(yaw := rng.uniform(0, 2 * np.pi)), np.sin(yaw)
        copy = sweep[:count].copy()
        copy[:, :2] = copy[:, :2] @ np.array([[cos, sin], [-sin, cos]], np.float32)
        count -= len(copy)
        yield copy


def with_cells(grid: BEVGrid, cells: int) -> BEVGrid:
    """The range of x, for y too, in ``cells`` x ``cells`` cells."""
    low, high = grid.x_range_m
    return replace(grid, y_range_m=(low, high), cell_m=(high - low) / cells)


def crowd(count: int) -> PillarEmbeddings:
    """Maps of ``count`` objects of some size at random places, and of background."""
    rng = np.random.default_rng(0)
    on, off = count * PILLARS_OF_AN_INSTANCE, PILLARS_OF_THE_BACKGROUND
    hearts = rng.uniform(-50, 50, (count, 2)).repeat(PILLARS_OF_AN_INSTANCE, axis=0)
    centre = np.concatenate([hearts + rng.normal(0, 0.1, (on, 2)), rng.uniform(-50, 50, (off, 2))])
    margin = rng.uniform(0.4, 2.0, count).repeat(PILLARS_OF_AN_INSTANCE)
    precision = np.zeros((on + off, 3))
    precision[:, [0, 2]] = (2 * np.log(2) / np.append(margin, np.ones(off)) ** 2)[:, None]
    seed = np.zeros((on + off, 3))
    kind = rng.integers(0, 3, count).repeat(PILLARS_OF_AN_INSTANCE)
    seed[np.arange(on), kind] = rng.uniform(0.3, 1.0, on)
    order = rng.permutation(on + off)
    return PillarEmbeddings(
        *(array[order].astype(np.float32) for array in (centre, precision, seed))
    )
