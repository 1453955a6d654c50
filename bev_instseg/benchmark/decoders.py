"""Other ways from the same network maps to instances, each with its time and its PQ."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from tqdm import tqdm

from bev_instseg.benchmark.measure import Timing, measure
from bev_instseg.config import ClusterConfig
from bev_instseg.datasets.frames import FrameRef
from bev_instseg.evaluation.metrics import ClassResult, Evaluator
from bev_instseg.ops.assemble import assemble
from bev_instseg.ops.cluster import cluster
from bev_instseg.ops.voxelize import voxelize
from bev_instseg.segmenter import Segmenter, assembly_rules
from bev_instseg.structures import Clusters, Int32, PillarEmbeddings, Pillars

DBSCAN_EPS_M = 0.4
PEAK_RADIUS_CELLS = 3  # a peak is the largest seed this far around
PEAK_REACH_M = 3.0  # a pillar that points farther than this from every peak has none

Decoder = Callable[[Pillars, PillarEmbeddings, ClusterConfig], Clusters]


def ours(pillars: Pillars, maps: PillarEmbeddings, config: ClusterConfig) -> Clusters:
    """Bandwidth-aware clustering of the occupied pillars, bucketed."""
    return cluster(maps, config.seed_threshold, config.member_threshold, config.min_free)


def sequential_dense(pillars: Pillars, maps: PillarEmbeddings, config: ClusterConfig) -> Clusters:
    """The procedure of the paper (section 3.4) on the full grid: one pass over it per instance.

    In NumPy, as array operations. Later instances take no pixel from earlier ones, as here; the
    published code lets them.
    """
    nx, ny = pillars.grid.shape
    best = np.full((nx, ny), -1, np.float32)
    x, y = np.zeros((nx, ny), np.float32), np.zeros((nx, ny), np.float32)
    precision = np.zeros((nx, ny, 3), np.float32)
    at = np.unravel_index(pillars.cells, (nx, ny))
    best[at] = maps.seed.max(1)
    x[at], y[at] = maps.centre_m.T
    precision[at] = maps.precision
    member = best >= config.member_threshold
    free = member.copy()
    openers = np.where(member, best, -1)
    labels = np.zeros((nx, ny), np.int32)
    count = 0
    while openers.max() >= config.seed_threshold:
        i = np.unravel_index(openers.argmax(), openers.shape)
        openers[i] = -1
        xx, xy, yy = precision[i]
        dx, dy = x - x[i], y - y[i]
        phi = np.exp(-0.5 * (xx * dx * dx + 2 * xy * dx * dy + yy * dy * dy))
        inside = (phi > 0.5) & member
        new = inside & free
        if new.sum() >= max(1, config.min_free * inside.sum()):
            count += 1
            labels[new] = count
            free &= ~new
            openers[new] = -1
    return _clusters(labels[at], maps)


def dbscan_on_embeddings(
    pillars: Pillars, maps: PillarEmbeddings, config: ClusterConfig
) -> Clusters:
    """DBSCAN of the shifted pillars; the learned bandwidth is not used."""
    from sklearn.cluster import DBSCAN

    labels = np.zeros(len(pillars.cells), np.int32)
    active = np.flatnonzero(maps.seed.max(1) >= config.member_threshold)
    if len(active):
        found = DBSCAN(eps=DBSCAN_EPS_M, min_samples=1).fit_predict(maps.centre_m[active])
        labels[active] = _with_a_seed(found + 1, maps.seed[active].max(1), config.seed_threshold)
    return _clusters(labels, maps)


def nearest_peak(pillars: Pillars, maps: PillarEmbeddings, config: ClusterConfig) -> Clusters:
    """Each pillar to the peak of the seed map nearest to its embedding, as for object centres."""
    from scipy.ndimage import maximum_filter
    from scipy.spatial import cKDTree

    grid_seed = np.zeros(pillars.grid.shape, np.float32)
    at = np.unravel_index(pillars.cells, grid_seed.shape)
    best = grid_seed[at] = maps.seed.max(1)
    around = maximum_filter(grid_seed, 2 * PEAK_RADIUS_CELLS + 1)[at]
    peaks = np.flatnonzero((best == around) & (best >= config.seed_threshold))
    labels = np.zeros(len(best), np.int32)
    active = np.flatnonzero(best >= config.member_threshold)
    if len(peaks) and len(active):
        tree = cKDTree(maps.centre_m[peaks])
        _, nearest = tree.query(maps.centre_m[active], distance_upper_bound=PEAK_REACH_M)
        labels[active] = np.where(nearest < len(peaks), nearest + 1, 0)
    return _clusters(labels, maps)


DECODERS: dict[str, Decoder] = {
    "bandwidth-aware, bucketed (ours)": ours,
    "sequential over the full dense grid (NumPy)": sequential_dense,
    "DBSCAN on shifted pillars": dbscan_on_embeddings,
    "nearest peak": nearest_peak,
}


def compare_decoders(
    segmenter: Segmenter, refs: Sequence[FrameRef], repeats: int
) -> dict[str, tuple[Timing, dict[str, ClassResult]] | str]:
    """Time and score of each decoder over labelled frames, all from the same maps.

    Returns:
        By name: the time from maps to labelled pillars and the measures per class, or why not.
    """
    config, names = segmenter.config, segmenter.config.class_names
    evaluators = {name: Evaluator(names) for name in DECODERS}
    samples: dict[str, list[float]] = {name: [] for name in DECODERS}
    missing: dict[str, str] = {}
    rules = assembly_rules(config)
    for ref in tqdm(refs, desc="decoders", unit="frame"):
        frame = ref.read(config.classes, config.data)
        pillars = voxelize(frame.points, config.grid)
        maps = segmenter.infer(pillars)
        for name, decode in DECODERS.items():
            try:
                clusters = decode(pillars, maps, config.cluster)
            except ImportError as error:
                missing[name] = f"not measured: {error}; pip install '.[peers]'"
                continue
            run = partial(decode, pillars, maps, config.cluster)
            samples[name].append(measure(run, repeats, 0).median_ms)
            evaluators[name].add(frame, assemble(frame.points, pillars, clusters, rules))
    return {
        name: missing[name]
        if name in missing
        else (Timing.of(samples[name]), evaluators[name].result().per_class)
        for name in DECODERS
    }


def _with_a_seed(labels: Int32, best: np.ndarray, seed_threshold: float) -> Int32:
    """Clusters without a pillar of a sufficient seed become 0; the others are numbered anew."""
    top = np.zeros(labels.max() + 1, np.float32)
    np.maximum.at(top, labels, best)
    keep = top >= seed_threshold
    keep[0] = False
    return (np.cumsum(keep) * keep).astype(np.int32)[labels]


def _clusters(labels: Int32, maps: PillarEmbeddings) -> Clusters:
    """Class and score by the mean seed, as `cluster` has them."""
    count = int(labels.max(initial=0))
    sums = np.zeros((count + 1, maps.seed.shape[1]))
    np.add.at(sums, labels, maps.seed)
    classes = sums[1:].argmax(1).astype(np.int32)
    size = np.maximum(np.bincount(labels, minlength=count + 1)[1:], 1)
    scores = sums[1:][np.arange(count), classes] / size
    best = maps.seed.max(1)
    order = np.argsort(best, kind="stable")
    openers = np.zeros(count + 1, np.int32)
    openers[labels[order]] = order  # the last write wins: the highest seed
    return Clusters(labels.astype(np.int32), classes, scores.astype(np.float32), openers[1:])
