"""How the time of a stage grows with points, instances and cells."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from bev_instseg.benchmark.measure import Timing, measure
from bev_instseg.benchmark.report import TIMING_COLUMNS, Report, number_table, timing_cells
from bev_instseg.benchmark.setup import Setup
from bev_instseg.grid import BEVGrid
from bev_instseg.io.sweep import read_scan
from bev_instseg.ops.cluster import cluster
from bev_instseg.ops.voxelize import voxelize
from bev_instseg.segmenter import Segmenter
from bev_instseg.structures import Float32, PillarEmbeddings

POINT_COUNTS = (10_000, 30_000, 120_000, 300_000, 1_000_000, 3_000_000, 10_000_000)
INSTANCE_COUNTS = (0, 10, 30, 100, 300, 1000, 2000)
CELLS_PER_SIDE = (256, 512, 1024, 2048)
PILLARS_PER_INSTANCE, BACKGROUND_PILLARS = 20, 20_000


@dataclass(frozen=True)
class Growth:
    """The time of one stage at increasing sizes.

    Attributes:
        name: The stage.
        unit: What ``sizes`` counts.
        sizes: Increasing sizes.
        timings: One for each size.
    """

    name: str
    unit: str
    sizes: tuple[int, ...]
    timings: tuple[Timing, ...]

    @property
    def slope(self) -> float:
        """Slope of log time over log size by least squares, without size 0; 1 is linear."""
        filled = [k for k, size in enumerate(self.sizes) if size > 0]
        x = np.log([self.sizes[k] for k in filled])
        y = np.log([self.timings[k].median_ms for k in filled])
        return float(np.polyfit(x, y, 1)[0])


def report(setup: Setup) -> Report:
    """Measure the growth on the first sweep, and plot it if a file for it is given."""
    growths = measure_growth(setup.segmenter, read_scan(setup.sweeps[0]), min(setup.repeats, 5))
    parts = []
    for growth in growths:
        rows = [
            [f"{size:,}", *timing_cells(time), 1e6 * time.median_ms / size if size else math.nan]
            for size, time in zip(growth.sizes, growth.timings, strict=True)
        ]
        table = number_table([growth.unit, *TIMING_COLUMNS, "ns each"], rows)
        parts.append(f"{growth.name}: time ~ size^{growth.slope:.2f}\n\n{table}\n")
    if setup.growth_plot:
        plot_growth(growths, setup.growth_plot)
    return Report(growths, "\n".join(parts))


def measure_growth(segmenter: Segmenter, sweep: Float32, repeats: int) -> list[Growth]:
    """Time voxelizer, clustering and network at increasing sizes.

    Args:
        segmenter: Provides the network, its grid and the thresholds.
        sweep: (N, 4) points of a real sweep.
        repeats: Calls per measurement.
    """
    own, grid = segmenter.config.cluster, segmenter.config.grid
    thresholds = own.seed_threshold, own.member_threshold, own.min_free
    cells = [side * side for side in CELLS_PER_SIDE]

    def finer(num_cells: int) -> BEVGrid:
        return with_cells_per_side(grid, math.isqrt(num_cells))

    cases: list[tuple[str, str, Sequence[int], Callable[[int], Callable[[], object]]]] = [
        ("voxelize", "points", POINT_COUNTS, lambda n: partial(voxelize, resized(sweep, n), grid)),
        (
            "cluster",
            "instances",
            INSTANCE_COUNTS,
            lambda n: partial(cluster, crowd(n), *thresholds),
        ),
        ("voxelize, finer cells", "cells", cells, lambda n: partial(voxelize, sweep, finer(n))),
        (
            *("network, finer cells", "cells", cells),
            lambda n: partial(segmenter.infer, voxelize(sweep, finer(n))),
        ),
    ]
    growths = []
    with tqdm(desc="growth", total=sum(len(sizes) for _, _, sizes, _ in cases)) as progress:
        for name, unit, sizes, prepare in cases:
            timings = []
            for size in sizes:
                timings.append(measure(prepare(size), repeats))
                progress.update()
            growths.append(Growth(name, unit, tuple(sizes), tuple(timings)))
    return growths


def plot_growth(growths: Sequence[Growth], path: Path) -> None:
    """Draw a log-log plot of each of four growths, with its slope.

    Args:
        growths: What to plot.
        path: The PNG file.

    Raises:
        OSError: The file cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 7.5), layout="constrained")
    for axes, growth in zip(figure.subplots(2, 2).flat, growths, strict=True):
        some = [(n, t) for n, t in zip(growth.sizes, growth.timings, strict=True) if n > 0]
        sizes = [n for n, _ in some]
        axes.fill_between(
            sizes, [t.low_ms for _, t in some], [t.high_ms for _, t in some], alpha=0.25
        )
        axes.loglog(sizes, [t.median_ms for _, t in some], "o-")
        axes.set(xlabel=growth.unit, ylabel="ms", title=f"{growth.name}: slope {growth.slope:.2f}")
        axes.grid(True, which="both", alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)


def resized(sweep: Float32, count: int) -> Float32:
    """Return ``count`` points like those of a sweep: a regular sample, or rotated copies of it."""
    if count <= len(sweep):
        return np.ascontiguousarray(sweep[np.linspace(0, len(sweep) - 1, count).astype(int)])
    return np.concatenate(list(_rotated_copies(sweep, count)))


def _rotated_copies(sweep: Float32, count: int) -> Iterator[Float32]:
    rng = np.random.default_rng(0)
    while count > 0:
        cos, sin = np.cos(yaw := rng.uniform(0, 2 * np.pi)), np.sin(yaw)
        copy = sweep[:count].copy()
        copy[:, :2] = copy[:, :2] @ np.array([[cos, sin], [-sin, cos]], np.float32)
        count -= len(copy)
        yield copy


def with_cells_per_side(grid: BEVGrid, cells: int) -> BEVGrid:
    """Return a square grid of ``cells`` x ``cells`` cells over the x range of ``grid``."""
    low, high = grid.x_range_m
    return replace(grid, y_range_m=(low, high), cell_m=(high - low) / cells)


def crowd(count: int) -> PillarEmbeddings:
    """Return embeddings of ``count`` objects at random places, and of background."""
    rng = np.random.default_rng(0)
    on, off = count * PILLARS_PER_INSTANCE, BACKGROUND_PILLARS
    centres = rng.uniform(-50, 50, (count, 2)).repeat(PILLARS_PER_INSTANCE, axis=0)
    centre = np.concatenate([centres + rng.normal(0, 0.1, (on, 2)), rng.uniform(-50, 50, (off, 2))])
    margin = rng.uniform(0.4, 2.0, count).repeat(PILLARS_PER_INSTANCE)
    precision = np.zeros((on + off, 3))
    precision[:, [0, 2]] = (2 * np.log(2) / np.append(margin, np.ones(off)) ** 2)[:, None]
    seed = np.zeros((on + off, 3))
    kind = rng.integers(0, 3, count).repeat(PILLARS_PER_INSTANCE)
    seed[np.arange(on), kind] = rng.uniform(0.3, 1.0, on)
    order = rng.permutation(on + off)
    return PillarEmbeddings(
        *(array[order].astype(np.float32) for array in (centre, precision, seed))
    )
