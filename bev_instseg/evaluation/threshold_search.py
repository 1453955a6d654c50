"""Search for the thresholds with the highest mean PQ, on frames that the network runs on once."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from tqdm import tqdm

from bev_instseg.config import Config
from bev_instseg.datasets.frames import FrameRef
from bev_instseg.evaluation.metrics import Evaluator, Result
from bev_instseg.evaluation.score_calibration import Predictions, balance, counted_predictions
from bev_instseg.ops.assemble import assemble
from bev_instseg.segmenter import Segmenter
from bev_instseg.stages import assembly_rules, cluster_pillars, make_pillars
from bev_instseg.structures import Frame, Instances, PillarEmbeddings, Pillars

# If settings score equally, the first one is kept; a higher seed threshold is faster.
SEED_THRESHOLDS = (0.9, 0.8, 0.7, 0.5, 0.3)
SCORE_THRESHOLDS = (0.0, 0.2, 0.3, 0.4, 0.45, 0.5, 0.6)
MIN_HEIGHTS_M = (0.02, 0.05, 0.08, 0.12)
MIN_POINTS = (8, 10, 15, 20, 30)  # false positives of fewer than 10 points are not counted
MIN_OBJECTS = 10  # counted objects that a class needs in a data set for its PQ to be used
MIN_GAIN = 0.002  # a threshold is changed only if mean PQ rises by this much; less is noise

SearchStep = Callable[[Config], list[Config]]  # the configurations to compare with a given one


@dataclass(frozen=True, eq=False)
class InferredFrame:
    """A labelled sweep and the output of the network; about 5 MB.

    Attributes:
        frame: The sweep with its ground truth.
        pillars: The P occupied cells.
        embeddings: The network's predictions for these pillars.
    """

    frame: Frame
    pillars: Pillars
    embeddings: PillarEmbeddings

    def instances(self, config: Config) -> Instances:
        """Find the instances under the thresholds of a configuration."""
        clusters = cluster_pillars(self.embeddings, self.pillars, config)
        return assemble(self.frame.points, self.pillars, clusters, assembly_rules(config))


@dataclass(frozen=True)
class Trial:
    """The scores of one configuration.

    Attributes:
        results: Measures of each data set.
        mean_pq: The value that the search maximises; see `mean_pq`.
    """

    results: list[Result]
    mean_pq: float


DataSets = Sequence[Sequence[InferredFrame]]


def infer_frames(segmenter: Segmenter, refs: Iterable[FrameRef]) -> list[InferredFrame]:
    """Run the network once on each frame.

    Args:
        segmenter: The network; its configuration maps class names and sets the grid.
        refs: The frames; may be a progress bar over them.
    """
    config, inferred = segmenter.config, []
    for ref in refs:
        frame = ref.read(config.classes, config.data)
        pillars = make_pillars(frame.points, segmenter.config)
        inferred.append(InferredFrame(frame, pillars, segmenter.infer(pillars)))
    return inferred


def balanced_predictions(data_sets: DataSets, config: Config) -> Predictions:
    """Return the counted predictions of all frames, weighted so that each data set counts equally.

    Args:
        data_sets: Frames of each data set.
        config: Thresholds.
    """
    return balance(
        [
            Predictions.concatenate(
                [counted_predictions(f.frame, f.instances(config)) for f in frames]
            )
            for frames in data_sets
        ]
    )


def uncalibrated(config: Config) -> Config:
    """Return a configuration with mean seeds as scores and the lowest score and seed thresholds."""
    return with_cluster(
        config, calibration=(), score_threshold=0.0, seed_threshold=min(SEED_THRESHOLDS)
    )


def search_thresholds(data_sets: DataSets, start: Config) -> tuple[Config, dict[Config, Trial]]:
    """Search for the thresholds with the highest mean PQ, with a progress bar.

    Args:
        data_sets: Frames of each data set.
        start: Configuration to start from.

    Returns:
        The best configuration, and all that were tried.
    """
    steps = search_steps(len(start.classes))
    classes = scored_classes(data_sets, len(start.classes))
    trials: dict[Config, Trial] = {}

    def score(config: Config) -> float:
        if config not in trials:
            results = [score_inferred(frames, config) for frames in data_sets]
            trials[config] = Trial(results, mean_pq(results, classes))
        progress.update()
        return trials[config].mean_pq

    with tqdm(total=1 + sum(len(step(start)) for step in steps), unit="setting") as progress:
        best = search(score, start, steps)
    return best, trials


def search_steps(num_classes: int) -> list[SearchStep]:
    """Return the steps of the search.

    Seed and score threshold depend on each other and are searched together; then come the fewest
    points of each class, then the lowest height.
    """
    points = [partial(_min_points_values, index) for index in range(num_classes)]
    return [_threshold_values, *points, _min_height_values]


def search(score: Callable[[Config], float], start: Config, steps: Sequence[SearchStep]) -> Config:
    """Take the best configuration of each step in turn, or none if it gains less than `MIN_GAIN`.

    Args:
        score: Rates a configuration; higher is better.
        start: Configuration to start from.
        steps: The steps, in order.
    """
    best, highest = start, score(start)
    for step in steps:
        scores = {config: score(config) for config in step(best)}
        config = max(scores, key=scores.__getitem__)
        if scores[config] >= highest + MIN_GAIN:
            best, highest = config, scores[config]
    return best


def scored_classes(data_sets: DataSets, num_classes: int) -> list[set[int]]:
    """Return the classes of each data set with at least `MIN_OBJECTS` counted objects.

    Args:
        data_sets: Frames of each data set.
        num_classes: C.
    """
    scored = []
    for frames in data_sets:
        counted = np.zeros(num_classes, np.int64)
        for inferred in frames:
            nothing = _no_instances(len(inferred.frame.points), num_classes)
            objects = Evaluator(nothing.class_names).compare(inferred.frame, nothing).objects
            counted += np.bincount(objects["class"][objects["counted"]], minlength=num_classes)
        scored.append(set(np.flatnonzero(counted >= MIN_OBJECTS).tolist()))
    return scored


def mean_pq(results: Sequence[Result], scored: Sequence[set[int]]) -> float:
    """Average PQ over the scored classes of each data set, then over the data sets.

    Args:
        results: Measures of each data set.
        scored: Class indices of each data set, see `scored_classes`.

    Returns:
        The mean, or NaN if no class is scored.
    """
    means = []
    for result, classes in zip(results, scored, strict=True):
        pq = [m.pq for index, m in enumerate(result.per_class.values()) if index in classes]
        means += [np.mean(pq)] if pq else []
    return float(np.mean(means)) if means else np.nan


def score_inferred(frames: Sequence[InferredFrame], config: Config) -> Result:
    """Score the instances of frames under the thresholds of a configuration.

    Args:
        frames: The frames.
        config: Thresholds.
    """
    evaluator = Evaluator(config.class_names)
    for inferred in frames:
        evaluator.add(inferred.frame, inferred.instances(config))
    return evaluator.result()


def _no_instances(num_points: int, num_classes: int) -> Instances:
    """Return an empty prediction for a sweep."""
    none = np.zeros(0, np.int32)
    names = tuple(map(str, range(num_classes)))
    labels, boxes = np.zeros(num_points, np.int32), np.zeros((0, 7), np.float32)
    return Instances(labels, none, none.astype(np.float32), boxes, names)


def _threshold_values(config: Config) -> list[Config]:
    return [
        with_cluster(config, seed_threshold=seed, score_threshold=score)
        for seed in SEED_THRESHOLDS
        for score in SCORE_THRESHOLDS
    ]


def _min_height_values(config: Config) -> list[Config]:
    return [with_cluster(config, min_height_m=value) for value in MIN_HEIGHTS_M]


def _min_points_values(index: int, config: Config) -> list[Config]:
    def with_value(value: int) -> Config:
        classes = list(config.classes)
        classes[index] = replace(classes[index], min_points=value)
        return replace(config, classes=tuple(classes))

    return [with_value(value) for value in MIN_POINTS]


def with_cluster(config: Config, **changes: object) -> Config:
    """Return a configuration with other values of some fields of `ClusterConfig`.

    Args:
        config: The configuration.
        **changes: The new values.
    """
    return replace(config, cluster=replace(config.cluster, **changes))  # type: ignore[arg-type]
