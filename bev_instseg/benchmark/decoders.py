"""Alternative decoders: from the same embeddings to instances, with their time and PQ."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from bev_instseg.benchmark.measure import Timing, measure
from bev_instseg.benchmark.report import TIMING_COLUMNS, Report, outcome_table, timing_cells
from bev_instseg.benchmark.setup import Setup
from bev_instseg.config import ClusterConfig, Config
from bev_instseg.datasets.frames import FrameRef, detect_layout, list_frames
from bev_instseg.evaluation.metrics import ClassResult, Evaluator
from bev_instseg.ops.assemble import assemble
from bev_instseg.segmenter import Segmenter
from bev_instseg.stages import assembly_rules, cluster_pillars, make_pillars
from bev_instseg.structures import Clusters, Float32, Int32, PillarEmbeddings, Pillars

# Each is the best of about ten values, by mean PQ on training frames of KITTI and SemanticKITTI.
DBSCAN_RADIUS_M = 0.2  # embeddings this close are joined
MEAN_SHIFT_BANDWIDTH_M = 0.7
HDBSCAN_MIN_PILLARS = 6  # of a cluster

PEAK_RADIUS_CELLS = 3  # a peak has the largest seed within this distance
MAX_PEAK_DISTANCE_M = 3.0  # from a pillar's embedding to its peak

Decoder = Callable[[Pillars, PillarEmbeddings, Config], Clusters]
DecoderScore = tuple[Timing, dict[str, ClassResult]]  # time per frame, measures by class


def report(setup: Setup) -> Report:
    """Measure time and PQ of each decoder on the labelled frames."""
    refs = list_labelled_frames(setup.truth, setup.sequences)
    outcomes = compare_decoders(setup.segmenter, refs, min(setup.repeats, 3))
    names = setup.segmenter.config.class_names
    table = outcome_table(
        ["decoder", *TIMING_COLUMNS, *(f"PQ {name}" for name in names)],
        outcomes,
        lambda outcome: [
            *timing_cells(outcome[0]),
            *(100 * outcome[1][name].pq for name in names),
        ],
    )
    return Report(outcomes, f"{table}\n\n{len(refs)} labelled frames of {setup.truth.name}")


def list_labelled_frames(root: Path, sequences: Sequence[str] = ()) -> list[FrameRef]:
    """List the ``val`` split of a data set in KITTI layout, or sequences in SemanticKITTI layout.

    Args:
        root: Folder of the data set.
        sequences: Sequences or frames of a SemanticKITTI layout, such as ``06`` or ``06/000003``;
            all sequences if empty.

    Raises:
        ValueError: It is not a data set, a frame is missing, or sequences are given for KITTI
            layout.
    """
    layout = detect_layout(root)
    if layout == "semantickitti":
        folders = (path.name for path in (root / "sequences").iterdir() if path.is_dir())
        return list_frames(root, layout, sequences or sorted(folders))
    if sequences:
        raise ValueError(
            f"{root}: a data set in KITTI layout has no sequences; leave out --sequences"
        )
    return list_frames(root, layout, ["val"])


def compare_decoders(
    segmenter: Segmenter, refs: Sequence[FrameRef], repeats: int
) -> dict[str, DecoderScore | str]:
    """Time and score each decoder on the same embeddings.

    Args:
        segmenter: The network and its configuration.
        refs: Labelled frames.
        repeats: Calls per frame and decoder.

    Returns:
        For each decoder, by its name, the time from embeddings to labelled pillars and the measures
        per class, or the reason why it was not measured.
    """
    config, rules = segmenter.config, assembly_rules(segmenter.config)
    evaluators = {name: Evaluator(config.class_names) for name in DECODERS}
    samples_ms: dict[str, list[float]] = {name: [] for name in DECODERS}
    missing: dict[str, str] = {}
    for ref in tqdm(refs, desc="decoders", unit="frame"):
        frame = ref.read(config.classes, config.data)
        pillars = make_pillars(frame.points, segmenter.config)
        embeddings = segmenter.infer(pillars)
        for name, decoder in DECODERS.items():
            decode = partial(decoder, pillars, embeddings, config)
            try:
                clusters = decode()
            except ImportError as error:
                missing[name] = f"not measured: {error}; pip install 'bev-instseg[peers]'"
                continue
            samples_ms[name].append(measure(decode, repeats, 0).median_ms)
            evaluators[name].add(frame, assemble(frame.points, pillars, clusters, rules))
    outcomes: dict[str, DecoderScore | str] = {}
    for name in DECODERS:
        if name in missing:
            outcomes[name] = missing[name]
        else:
            timing = Timing.from_samples(samples_ms[name])
            outcomes[name] = timing, evaluators[name].result().per_class
    return outcomes


def bandwidth_aware(pillars: Pillars, embeddings: PillarEmbeddings, config: Config) -> Clusters:
    """Cluster the occupied pillars with the learned bandwidths, as the segmenter does."""
    return cluster_pillars(embeddings, pillars, config)


def sequential_dense(pillars: Pillars, embeddings: PillarEmbeddings, config: Config) -> Clusters:
    """Run the procedure of the paper (section 3.4) with NumPy: a pass over the grid per instance.

    Later instances take no cells from earlier ones, as in `bandwidth_aware`; in the published code
    they do.
    """
    thresholds, (nx, ny) = config.cluster, pillars.grid.shape
    best = np.full((nx, ny), -1, np.float32)
    x, y = np.zeros((nx, ny), np.float32), np.zeros((nx, ny), np.float32)
    precision = np.zeros((nx, ny, 3), np.float32)
    at = np.unravel_index(pillars.cells, (nx, ny))
    best[at] = embeddings.seed.max(1)
    x[at], y[at] = embeddings.centre_m.T
    precision[at] = embeddings.precision
    member = best >= thresholds.member_threshold
    free = member.copy()
    openers = np.where(member, best, -1)
    labels = np.zeros((nx, ny), np.int32)
    count = 0
    while openers.max() >= thresholds.seed_threshold:
        i = np.unravel_index(openers.argmax(), openers.shape)
        openers[i] = -1
        xx, xy, yy = precision[i]
        dx, dy = x - x[i], y - y[i]
        phi = np.exp(-0.5 * (xx * dx * dx + 2 * xy * dx * dy + yy * dy * dy))
        inside = (phi > 0.5) & member
        new = inside & free
        if new.sum() >= max(1, thresholds.min_free * inside.sum()):
            count += 1
            labels[new] = count
            free &= ~new
            openers[new] = -1
    return _clusters(labels[at], embeddings)


def dbscan_on_embeddings(
    pillars: Pillars, embeddings: PillarEmbeddings, config: Config
) -> Clusters:
    """Cluster the embeddings with DBSCAN, without the learned bandwidths."""
    from sklearn.cluster import DBSCAN

    return _on_embeddings(DBSCAN(eps=DBSCAN_RADIUS_M, min_samples=1), embeddings, config.cluster)


def mean_shift_on_embeddings(
    pillars: Pillars, embeddings: PillarEmbeddings, config: Config
) -> Clusters:
    """Cluster the embeddings with mean shift, without the learned bandwidths.

    It starts once per occupied square of one bandwidth (``bin_seeding``) rather than at each
    embedding.
    """
    from sklearn.cluster import MeanShift

    method = MeanShift(bandwidth=MEAN_SHIFT_BANDWIDTH_M, bin_seeding=True)
    return _on_embeddings(method, embeddings, config.cluster)


def hdbscan_on_embeddings(
    pillars: Pillars, embeddings: PillarEmbeddings, config: Config
) -> Clusters:
    """Cluster the embeddings with HDBSCAN, without the learned bandwidths.

    If there are fewer active pillars than it needs for one cluster, no instance is found.
    """
    from sklearn.cluster import HDBSCAN

    method = HDBSCAN(HDBSCAN_MIN_PILLARS, allow_single_cluster=True, copy=True)
    return _on_embeddings(method, embeddings, config.cluster, HDBSCAN_MIN_PILLARS)


def nearest_peak(pillars: Pillars, embeddings: PillarEmbeddings, config: Config) -> Clusters:
    """Assign each pillar to the peak of the seed map nearest to its embedding."""
    from scipy.ndimage import maximum_filter
    from scipy.spatial import cKDTree

    seed_map = np.zeros(pillars.grid.shape, np.float32)
    at = np.unravel_index(pillars.cells, seed_map.shape)
    best = seed_map[at] = embeddings.seed.max(1)
    neighbourhood_max = maximum_filter(seed_map, 2 * PEAK_RADIUS_CELLS + 1)[at]
    peaks = np.flatnonzero((best == neighbourhood_max) & (best >= config.cluster.seed_threshold))
    labels = np.zeros(len(best), np.int32)
    active = np.flatnonzero(best >= config.cluster.member_threshold)
    if len(peaks) and len(active):
        tree = cKDTree(embeddings.centre_m[peaks])
        _, nearest = tree.query(
            embeddings.centre_m[active], distance_upper_bound=MAX_PEAK_DISTANCE_M
        )
        labels[active] = np.where(nearest < len(peaks), nearest + 1, 0)
    return _clusters(labels, embeddings)


DECODERS: dict[str, Decoder] = {
    "bandwidth-aware, bucketed (ours)": bandwidth_aware,
    "sequential over the full dense grid (NumPy)": sequential_dense,
    "DBSCAN on shifted pillars": dbscan_on_embeddings,
    "mean shift on shifted pillars": mean_shift_on_embeddings,
    "HDBSCAN on shifted pillars": hdbscan_on_embeddings,
    "nearest peak": nearest_peak,
}


def _on_embeddings(
    method: Any, embeddings: PillarEmbeddings, config: ClusterConfig, fewest: int = 1
) -> Clusters:
    """Cluster the embeddings of all classes together; the seed decides which pillars take part.

    Args:
        method: An estimator of scikit-learn, whose label -1 means none.
        embeddings: Embeddings of P pillars.
        config: Pillars below ``member_threshold`` are left out, clusters without a seed of
            ``seed_threshold`` dropped.
        fewest: Number of pillars below which there is no cluster.
    """
    best = embeddings.seed.max(1)
    labels = np.zeros(len(best), np.int32)
    active = np.flatnonzero(best >= config.member_threshold)
    if len(active) >= fewest:
        found = method.fit_predict(embeddings.centre_m[active])
        labels[active] = _drop_unseeded(found + 1, best[active], config.seed_threshold)
    return _clusters(labels, embeddings)


def _drop_unseeded(labels: Int32, best: Float32, seed_threshold: float) -> Int32:
    """Set clusters without a seed of at least the threshold to 0 and renumber the others."""
    top = np.zeros(labels.max() + 1, np.float32)
    np.maximum.at(top, labels, best)
    keep = top >= seed_threshold
    keep[0] = False
    renumbered: Int32 = (np.cumsum(keep) * keep).astype(np.int32)[labels]
    return renumbered


def _clusters(labels: Int32, embeddings: PillarEmbeddings) -> Clusters:
    """Describe labelled pillars as `cluster` does; the pillar of the highest seed is the opener."""
    count = int(labels.max(initial=0))
    sums = np.zeros((count + 1, embeddings.seed.shape[1]))
    np.add.at(sums, labels, embeddings.seed)
    classes = sums[1:].argmax(1).astype(np.int32)
    size = np.maximum(np.bincount(labels, minlength=count + 1)[1:], 1)
    scores = sums[1:][np.arange(count), classes] / size
    best = embeddings.seed.max(1)
    order = np.argsort(best, kind="stable")
    openers = np.zeros(count + 1, np.int32)
    openers[labels[order]] = order  # the last write wins: the highest seed
    return Clusters(labels.astype(np.int32), classes, scores.astype(np.float32), openers[1:])
