"""Print how bright lane markings are, and whether anything above them could hide it.

Example:
  python scripts/line_intensities.py DATA/lanes/sequences/* DATA/semantickitti/sequences/00

The first table counts pillars of 0.1 m with points of markings: how many also have points higher
than 0.15 m above the ground, and in how many the brightest point is one of those. Only in these
would intensities by height slice tell a network more than those of whole pillars. The second table
has the mean intensity of markings divided by that of the road at the same range, as the median over
the sweeps: if paint reflected light back to where it comes from, as signs do, this would grow with
range.
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bev_instseg.config_files import load_config
from bev_instseg.io.labels import read_labels
from bev_instseg.io.sweep import read_scan
from bev_instseg.ops.voxelize import FEATURES, FIRST_SLICE_EDGE_M, voxelize

MARKING, ROAD = 60, (40, 44)  # SemanticKITTI's numbers; roads and parking areas
GRID = load_config(Path(__file__).parent.parent / "configs/lanes.yaml").grid
RANGES_M = (5, 10, 15, 20, 30, 40)
MIN_MARKING, MIN_ROAD = 8, 50  # points that a sweep needs at a range
HIGHEST, BRIGHTEST = FEATURES.index("height_max_m"), FEATURES.index("intensity_max")


def count_hidden(points: NDArray[np.float32], classes: NDArray[np.uint32]) -> tuple[int, int, int]:
    """Count the pillars with points of markings.

    Args:
        points: (N, 4) float32 points.
        classes: (N,) uint32 class of each.

    Returns:
        Their number; how many of them have points higher than the lowest slice; in how many of
        them one of those points is brighter than all others.
    """
    pillars = voxelize(points, GRID)
    own = pillars.point_to_pillar
    marked = np.unique(own[(classes == MARKING) & (own >= 0)])
    low = pillars.point_height_m < FIRST_SLICE_EDGE_M  # false for NaN: outside the grid
    brightest_low = np.full(len(pillars.cells), -np.inf, np.float32)
    np.maximum.at(brightest_low, own[low], points[low, 3])
    features = pillars.features[marked]
    overhung = features[:, HIGHEST] >= FIRST_SLICE_EDGE_M
    hidden = overhung & (features[:, BRIGHTEST] > brightest_low[marked])
    return len(marked), int(overhung.sum()), int(hidden.sum())


def contrast(points: NDArray[np.float32], classes: NDArray[np.uint32]) -> NDArray[np.float64]:
    """Return the intensity of markings as a multiple of the road's, for each range.

    Args:
        points: (N, 4) float32 points.
        classes: (N,) uint32 class of each.

    Returns:
        (R - 1,) float64, NaN where there are too few points.
    """
    range_m = np.hypot(points[:, 0], points[:, 1])
    ratios = np.full(len(RANGES_M) - 1, np.nan)
    for k in range(len(ratios)):
        near = (range_m >= RANGES_M[k]) & (range_m < RANGES_M[k + 1])
        paint = points[near & (classes == MARKING), 3]
        road = points[near & np.isin(classes, ROAD), 3]
        if len(paint) >= MIN_MARKING and len(road) >= MIN_ROAD and road.mean() > 0:
            ratios[k] = paint.mean(dtype=np.float64) / road.mean(dtype=np.float64)
    return ratios


def main() -> None:
    """Print two Markdown tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "sequences", nargs="+", type=Path, metavar="SEQUENCE", help="folder with velodyne/, labels/"
    )
    hidden_rows, contrast_rows = [], []
    for folder in parser.parse_args().sequences:
        counts, ratios = [], []
        for sweep in sorted((folder / "velodyne").glob("*.bin")):
            points = read_scan(sweep)
            labels = read_labels(folder / "labels" / f"{sweep.stem}.label", len(points))
            classes = labels & np.uint32(0xFFFF)
            if (classes == MARKING).any():
                counts.append(count_hidden(points, classes))
                ratios.append(contrast(points, classes))
        if not counts:
            continue
        name = f"{folder.parents[1].name} {folder.name}"
        marked, overhung, hidden = np.sum(counts, axis=0)
        shares = f"{100 * overhung / marked:.1f} | {100 * hidden / marked:.1f}"
        hidden_rows.append(f"| {name} | {len(counts)} | {marked} | {shares} |")
        known = [column[np.isfinite(column)] for column in np.stack(ratios, axis=1)]
        cells = [f"{np.median(column):.2f}" if len(column) else "-" for column in known]
        contrast_rows.append(f"| {name} | {' | '.join(cells)} |")
    print("| | sweeps | pillars | with points above 0.15 m, % | the brightest is above, % |")
    print("|---|--:|--:|--:|--:|", *hidden_rows, sep="\n")
    heads = [f"{RANGES_M[k]}-{RANGES_M[k + 1]} m" for k in range(len(RANGES_M) - 1)]
    print(f"\n| | {' | '.join(heads)} |\n|---|{'--:|' * len(heads)}", *contrast_rows, sep="\n")


if __name__ == "__main__":
    main()
