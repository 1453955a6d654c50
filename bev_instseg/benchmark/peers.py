"""What people use today: ground removal, then clustering by density."""

from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from bev_instseg.benchmark.measure import Timing, measure
from bev_instseg.io.sweep import read_scan

DBSCAN_EPS_M = 0.5
MIN_POINTS = 10


def without_ground(points: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N, 4) -> the points that Patchwork++ with its defaults does not call ground.

    Raises:
        ImportError: pypatchworkpp is not installed.
    """
    patchwork = _patchwork()
    patchwork.estimateGround(points)
    return points[np.asarray(patchwork.getNongroundIndices())]


@cache
def _patchwork() -> Any:
    import pypatchworkpp

    return pypatchworkpp.patchworkpp(pypatchworkpp.Parameters())


def dbscan(points: NDArray[np.float32]) -> NDArray[np.int32]:
    """Cluster of each of (N, 4) points by Open3D's DBSCAN, -1 for none."""
    import open3d as o3d

    cloud = o3d.geometry.PointCloud(o3d.utility.Vector3dVector(points[:, :3].astype(np.float64)))
    return np.asarray(cloud.cluster_dbscan(DBSCAN_EPS_M, MIN_POINTS), np.int32)


def hdbscan(points: NDArray[np.float32]) -> NDArray[np.int32]:
    """The same by scikit-learn's HDBSCAN.

    Raises:
        ImportError: scikit-learn is not installed.
    """
    from sklearn.cluster import HDBSCAN

    return HDBSCAN(min_cluster_size=MIN_POINTS, n_jobs=-1, copy=True).fit_predict(points[:, :3])


def time_peers(paths: Sequence[Path]) -> dict[str, Timing | str]:
    """Timings over all sweeps; HDBSCAN, which takes seconds to minutes, on the first alone.

    Each is called once on a few points before, so importing its library does not count.

    Returns:
        A timing, or why there is none, by name.
    """
    ground, cluster, both = [], [], []
    rows: dict[str, Timing | str] = {}
    few = np.random.default_rng(0).normal(size=(1000, 4)).astype(np.float32)
    try:
        without_ground(few)
        dbscan(few)
        for path in tqdm(paths, desc="peers", unit="sweep"):
            points = read_scan(path)
            rest = without_ground(points)
            ground.append(measure(partial(without_ground, points), 3, 0).median_ms)
            cluster.append(measure(partial(dbscan, rest), 1, 0).median_ms)
            both.append(ground[-1] + cluster[-1])
    except ImportError as error:
        return {"ground removal + DBSCAN": f"not measured: {error}; pip install '.[peers]'"}
    rows["ground removal (pypatchworkpp)"] = Timing.of(ground)
    rows["DBSCAN (Open3D)"] = Timing.of(cluster)
    rows["ground removal + DBSCAN"] = Timing.of(both)
    rest = without_ground(read_scan(paths[0]))
    try:
        hdbscan(few)
        rows[f"HDBSCAN (scikit-learn), {len(rest)} points of one sweep"] = measure(
            lambda: hdbscan(rest), 1, 0
        )
    except ImportError as error:
        rows["HDBSCAN (scikit-learn)"] = f"not measured: {error}; pip install '.[peers]'"
    return rows
