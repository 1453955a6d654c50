"""Common alternatives without learning: ground removal, then clustering by density."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from bev_instseg.benchmark.measure import Timing, measure
from bev_instseg.benchmark.report import TIMING_COLUMNS, Report, outcome_table, timing_cells
from bev_instseg.benchmark.setup import Setup
from bev_instseg.benchmark.stages import WHOLE, time_stages
from bev_instseg.io.sweep import read_scan
from bev_instseg.structures import Float32, Int32

DBSCAN_RADIUS_M = 0.5
DBSCAN_MIN_NEIGHBOURS = 10
HDBSCAN_MIN_CLUSTER_POINTS = 10


def report(setup: Setup) -> Report:
    """Measure the peers and, on the same sweeps, the segmenter."""
    peers = time_peers(setup.sweeps)
    ours = time_stages(setup.segmenter, setup.sweeps, min(setup.repeats, 3))[0][WHOLE]
    text = outcome_table(
        ["over all sweeps", *TIMING_COLUMNS, "times ours"],
        {f"ours, {WHOLE}": ours, **peers},
        lambda timing: [*timing_cells(timing), timing.median_ms / ours.median_ms],
    )
    return Report({"ours": ours, **peers}, text)


def time_peers(sweeps: Sequence[Path]) -> dict[str, Timing | str]:
    """Time each method over all sweeps; HDBSCAN, which takes seconds to minutes, on the first only.

    Each method is first called on a few points, so that importing its library is not timed.

    Args:
        sweeps: Files of sweeps.

    Returns:
        The timing of each method by its name, or the reason why it was not measured.
    """
    ground, cluster, both = [], [], []
    outcomes: dict[str, Timing | str] = {}
    few = np.random.default_rng(0).normal(size=(1000, 4)).astype(np.float32)
    try:
        patchwork = new_patchwork()
        remove_ground(patchwork, few)
        dbscan(few)
        for path in tqdm(sweeps, desc="peers", unit="sweep"):
            points = read_scan(path)
            rest = remove_ground(patchwork, points)
            ground.append(measure(partial(remove_ground, patchwork, points), 3, 0).median_ms)
            cluster.append(measure(partial(dbscan, rest), 1, 0).median_ms)
            both.append(ground[-1] + cluster[-1])
    except ImportError as error:
        return {
            "ground removal + DBSCAN": f"not measured: {error}; pip install 'bev-instseg[peers]'"
        }
    outcomes["ground removal (pypatchworkpp)"] = Timing.from_samples(ground)
    outcomes["DBSCAN (Open3D)"] = Timing.from_samples(cluster)
    outcomes["ground removal + DBSCAN"] = Timing.from_samples(both)
    rest = remove_ground(patchwork, read_scan(sweeps[0]))
    try:
        hdbscan(few)
        outcomes[f"HDBSCAN (scikit-learn), {len(rest)} points of one sweep"] = measure(
            lambda: hdbscan(rest), 1, 0
        )
    except ImportError as error:
        outcomes["HDBSCAN (scikit-learn)"] = (
            f"not measured: {error}; pip install 'bev-instseg[peers]'"
        )
    return outcomes


def new_patchwork() -> Any:
    """Return a Patchwork++ object with default parameters; it adapts to the sweeps it has seen.

    Raises:
        ImportError: pypatchworkpp is not installed.
    """
    import pypatchworkpp

    return pypatchworkpp.patchworkpp(pypatchworkpp.Parameters())


def remove_ground(patchwork: Any, points: Float32) -> Float32:
    """Return the points that Patchwork++ does not classify as ground.

    Args:
        patchwork: See `new_patchwork`.
        points: (N, 4) float32.
    """
    rest: Float32 = points[non_ground(patchwork, points)]
    return rest


def non_ground(patchwork: Any, points: Float32) -> Int32:
    """Return the numbers of the points that `remove_ground` keeps."""
    patchwork.estimateGround(points)
    return np.asarray(patchwork.getNongroundIndices(), np.int32)


def dbscan(points: Float32) -> Int32:
    """Cluster (N, 4) points with Open3D's DBSCAN; returns (N,) clusters, -1 for none."""
    import open3d as o3d

    cloud = o3d.geometry.PointCloud(o3d.utility.Vector3dVector(points[:, :3].astype(np.float64)))
    labels: Int32 = np.asarray(
        cloud.cluster_dbscan(DBSCAN_RADIUS_M, DBSCAN_MIN_NEIGHBOURS), np.int32
    )
    return labels


def hdbscan(points: Float32) -> Int32:
    """Cluster (N, 4) points with scikit-learn's HDBSCAN; returns (N,) clusters, -1 for none.

    Raises:
        ImportError: scikit-learn is not installed.
    """
    from sklearn.cluster import HDBSCAN

    method = HDBSCAN(min_cluster_size=HDBSCAN_MIN_CLUSTER_POINTS, n_jobs=-1, copy=True)
    labels: Int32 = method.fit_predict(points[:, :3])
    return labels
