"""Prepare recordings whose lane markings have a class but no ids for training on lines.

Example:
  python scripts/label_lines.py DATA/pandaset --sequences 001 002 003 --out DATA/pandaset_lines

Writes a data set in SemanticKITTI layout with links to the same sweeps and new labels: points of
lane markings (60) within 1.8 m of each other are one line and get its number as their id. Points
within 0.5 m of both the road and other ground become void (0), because kerbs have no class there.
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from bev_instseg.io.labels import read_labels, write_labels
from bev_instseg.io.sweep import read_scan

LANE_MARKING, VOID = 60, 0
ROAD = 40, 44, LANE_MARKING  # SemanticKITTI's road, parking and lane markings
BESIDE = VOID, 48, 49, 72, 99  # unlabelled, sidewalk, other ground, terrain, other
LINK_M, KERB_M = 1.8, 0.5


def main() -> None:
    """Read the labels of each sequence and write the new ones."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="data set in SemanticKITTI layout")
    parser.add_argument("--sequences", nargs="+", required=True, metavar="NAME")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="data set to write")
    arguments = parser.parse_args()
    for sequence in arguments.sequences:
        source, out = (root / "sequences" / sequence for root in (arguments.data, arguments.out))
        for folder in ("velodyne", "labels"):
            (out / folder).mkdir(parents=True)
        for sweep in sorted((source / "velodyne").glob("*.bin")):
            points = read_scan(sweep)
            labels = read_labels(source / "labels" / f"{sweep.stem}.label", len(points))
            write_labels(out / "labels" / f"{sweep.stem}.label", label_lines(points, labels))
            (out / "velodyne" / sweep.name).symlink_to(sweep.resolve())


def label_lines(points: NDArray[np.float32], labels: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Return the labels with ids of lane markings, and kerbs as void.

    Args:
        points: (N, 4) float32 x, y, z in metres and intensity.
        labels: (N,) uint32 class in the low 16 bits, instance in the high 16.
    """
    kind, xy, out = labels & 0xFFFF, points[:, :2], labels.copy()
    near_both = np.isin(kind, (*ROAD, *BESIDE)) & (kind != LANE_MARKING)
    for ground in (ROAD, BESIDE):
        of_ground = np.isin(kind, ground)
        if of_ground.any():
            near_both &= cKDTree(xy[of_ground]).query(xy, distance_upper_bound=KERB_M)[0] < np.inf
        else:
            near_both[:] = False
    (paint,) = np.nonzero(kind == LANE_MARKING)
    pairs = cKDTree(xy[paint]).query_pairs(LINK_M, output_type="ndarray")
    shape = len(paint), len(paint)
    linked = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape)
    line = connected_components(linked, directed=False)[1]
    out[paint] = LANE_MARKING | (line + 1).astype(np.uint32) << 16
    out[near_both] = VOID
    return out


if __name__ == "__main__":
    main()
