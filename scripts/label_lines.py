"""Prepare recordings for training on lines if their lane markings have a class but no ids.

Example:
  python scripts/label_lines.py DATA/pandaset --sequences 001 002 003 --out DATA/pandaset_lines

Writes a data set in SemanticKITTI layout with links to the same sweeps and new labels: points of
lane markings (60) within 1.8 m of each other belong to one line, whose number is their id. Points
within 0.5 m of both the road and what lies beside it become void (0), because such labels do not
mark kerbs.
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from bev_instseg.datasets.semantickitti import frame_names
from bev_instseg.io.labels import read_labels, write_labels
from bev_instseg.io.sweep import read_scan

LANE_MARKING, VOID = 60, 0
ROAD = 40, 44, LANE_MARKING  # SemanticKITTI's road, parking and lane markings
BESIDE = VOID, 48, 49, 72, 99  # unlabelled, sidewalk, other ground, terrain, other
LINK_M, KERB_M, CELL_M = 1.8, 0.5, 0.2


def main() -> None:
    """Read the labels of each sequence and write the new ones."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="data set in SemanticKITTI layout")
    parser.add_argument("--sequences", nargs="+", required=True, metavar="NAME")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="data set to write")
    arguments = parser.parse_args()
    if arguments.out.resolve() == arguments.data.resolve():
        parser.error("--out is the data set itself; choose a new folder")
    names = frame_names(arguments.data, arguments.sequences)
    for sequence in arguments.sequences:
        for folder in ("velodyne", "labels"):
            (arguments.out / "sequences" / sequence / folder).mkdir(parents=True, exist_ok=True)
    for name in names:
        sequence, _, frame = name.partition("/")
        source, out = (root / "sequences" / sequence for root in (arguments.data, arguments.out))
        sweep = source / "velodyne" / f"{frame}.bin"
        points = read_scan(sweep)
        labels = read_labels(source / "labels" / f"{frame}.label", len(points))
        write_labels(out / "labels" / f"{frame}.label", label_lines(points[:, :3], labels))
        link = out / "velodyne" / sweep.name
        if not link.is_symlink():
            link.symlink_to(sweep.resolve())
    print(f"{len(names)} sweep(s) in {arguments.out}")


def label_lines(xyz: NDArray[np.float32], labels: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Return the labels with ids for lane markings and with void at kerbs.

    Args:
        xyz: (N, 3) float32 positions, metres.
        labels: (N,) uint32 class in the low 16 bits, instance in the high 16.
    """
    kind, out = labels & 0xFFFF, labels.copy()
    finite = np.isfinite(xyz).all(axis=1)
    (paint,) = np.nonzero(finite & (kind == LANE_MARKING))
    out[paint] = LANE_MARKING | _lines(xyz[paint, :2]) << np.uint32(16)
    road, beside = (finite & np.isin(kind, kinds) for kinds in (ROAD, BESIDE))
    (ground,) = np.nonzero((road | beside) & (kind != LANE_MARKING))
    at_kerb = np.ones(len(ground), np.bool_)
    for side in (road, beside):
        distance_m, _ = cKDTree(xyz[side]).query(xyz[ground], distance_upper_bound=KERB_M)
        at_kerb &= distance_m < np.inf
    out[ground[at_kerb]] = VOID
    return out


def _lines(xy: NDArray[np.float32]) -> NDArray[np.uint32]:
    """Return (P,) the line of each point, from 1."""
    cells, cell_of = np.unique(np.floor(xy / CELL_M), axis=0, return_inverse=True)
    pairs = cKDTree(cells * CELL_M).query_pairs(LINK_M, output_type="ndarray")
    linked = coo_matrix((np.ones(len(pairs)), tuple(pairs.T)), (len(cells), len(cells)))
    line = connected_components(linked, directed=False)[1]
    numbers: NDArray[np.uint32] = line[cell_of.ravel()].astype(np.uint32) + np.uint32(1)
    return numbers


if __name__ == "__main__":
    main()
