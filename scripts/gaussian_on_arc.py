"""Print how long a curved line one Gaussian can cover without covering the lines beside it.

Example:
  python scripts/gaussian_on_arc.py

The line is an arc with a parallel line on either side, all made of points every 0.2 m. The points
do not move (offset 0), so a Gaussian's margin is an ellipse around some of them. By symmetry its
centre lies on the line's axis and its axes are parallel to the chord and to the axis. For each
radius and distance between the lines, the script searches for the longest arc for which an ellipse
covers points with an IoU of at least 0.9 and 0.5.
"""

import argparse

import numpy as np

RADII_M = (50, 100, 200, 500, 1000)
APART_M = {"two lanes": 3.5, "double line": 0.3}
MIN_IOU = (0.9, 0.5)
LENGTHS_M = np.arange(2.0, 201.0, 2.0)
STEP_M = 0.2
NUM_CENTRES, NUM_WIDTHS = 21, 30
STRETCH = (1.0, 1.3, 2.0)  # half-axes along the chord, in half chords


def best_iou(length_m: float, radius_m: float, apart_m: float) -> float:
    """Return the best IoU of an ellipse with an arc between two parallel lines.

    Args:
        length_m: Length of the arc.
        radius_m: Its radius; the neighbours are ``apart_m`` nearer to its centre and farther away.
        apart_m: Distance between neighbouring lines.
    """
    angle = np.arange(-length_m / 2, length_m / 2 + STEP_M / 2, STEP_M) / radius_m
    around = np.arange(-length_m, length_m, STEP_M) / radius_m  # the neighbours go on
    own = radius_m * np.stack([np.sin(angle), np.cos(angle) - 1], 1)
    others = np.concatenate(
        [
            np.stack([r * np.sin(around), r * np.cos(around) - radius_m], 1)
            for r in (radius_m - apart_m, radius_m + apart_m)
        ]
    )
    sagitta_m = -own[:, 1].min()
    half_chord_m = own[:, 0].max()
    best = 0.0
    for centre_m in np.linspace(-sagitta_m, 0, NUM_CENTRES):
        for width_m in np.geomspace(0.05, sagitta_m + apart_m, NUM_WIDTHS):
            for stretch in STRETCH:
                axes_m = np.array([stretch * half_chord_m, width_m])
                mine, foreign = (
                    np.count_nonzero((((p - [0, centre_m]) / axes_m) ** 2).sum(axis=1) < 1)
                    for p in (own, others)
                )
                best = max(best, mine / (len(own) + foreign))
    return best


def longest_m(radius_m: float, apart_m: float, min_iou: float) -> float:
    """Return the length up to which some ellipse reaches an IoU; infinite beyond `LENGTHS_M`."""
    low, high = 0, len(LENGTHS_M)
    while low < high:
        middle = (low + high) // 2
        if best_iou(LENGTHS_M[middle], radius_m, apart_m) >= min_iou:
            low = middle + 1
        else:
            high = middle
    if low == len(LENGTHS_M):
        return np.inf
    return float(LENGTHS_M[low - 1]) if low else 0.0


def main() -> None:
    """Print a Markdown table."""
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    heads = [f"{name}, IoU {iou}" for name in APART_M for iou in MIN_IOU]
    print(f"| radius (m) | {' | '.join(heads)} |\n| --: | {' | '.join(['--:'] * len(heads))} |")
    for radius_m in RADII_M:
        row = [
            f"above {LENGTHS_M[-1]:.0f} m" if np.isinf(length_m) else f"{length_m:.0f} m"
            for apart_m in APART_M.values()
            for iou in MIN_IOU
            for length_m in [longest_m(radius_m, apart_m, iou)]
        ]
        print(f"| {radius_m} | {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
