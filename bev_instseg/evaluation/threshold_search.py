"""The thresholds of the highest mean PQ, from maps that are computed once."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from bev_instseg.config import Config
from bev_instseg.datasets.frames import FrameRef
from bev_instseg.evaluation.metrics import Evaluator, Result
from bev_instseg.evaluation.score_calibration import Predictions, balance, judge
from bev_instseg.ops.assemble import assemble
from bev_instseg.ops.voxelize import voxelize
from bev_instseg.segmenter import Segmenter, assembly_rules, cluster_pillars
from bev_instseg.structures import Frame, Instances, PillarEmbeddings, Pillars

SEED_THRESHOLDS = (0.9, 0.8, 0.7, 0.5, 0.3)  # the higher is the faster, and taken of equals
SCORE_THRESHOLDS = (0.0, 0.2, 0.3, 0.4, 0.45, 0.5, 0.6)
MIN_HEIGHTS_M = (0.02, 0.05, 0.08, 0.12)
MIN_POINTS = (8, 10, 15, 20, 30)  # false alarms of fewer than 10 are not counted
MIN_OBJECTS = 10  # of a class in a data set, for its PQ to have a say
MIN_GAIN = 0.002  # of mean PQ, for a threshold to be moved: less is noise

SearchStep = Callable[[Config], list[Config]]  # from one configuration, those to compare it with


@dataclass(frozen=True, eq=False)
class InferredFrame:
    """A labelled sweep and what the network says of it; some 5 MB."""

    frame: Frame
    pillars: Pillars
    maps: PillarEmbeddings


def read_samples(segmenter: Segmenter, refs: Iterable[FrameRef]) -> list[InferredFrame]:
    """Run the network on each frame, once."""
    config, samples = segmenter.config, []
    for ref in refs:
        frame = ref.read(config.classes, config.data)
        pillars = voxelize(frame.points, config.grid)
        samples.append(InferredFrame(frame, pillars, segmenter.infer(pillars)))
    return samples


def decode(sample: InferredFrame, config: Config) -> Instances:
    """The instances of a sample under a configuration."""
    clusters = cluster_pillars(sample.maps, config)
    return assemble(sample.frame.points, sample.pillars, clusters, assembly_rules(config))


def judge_all(data_sets: Sequence[Sequence[InferredFrame]], config: Config) -> Predictions:
    """The counted predictions of all samples, each data set weighted equally."""
    return balance(
        [
            Predictions.join([judge(s.frame, decode(s, config)) for s in samples])
            for samples in data_sets
        ]
    )


def score_all(data_sets: Sequence[Sequence[InferredFrame]], config: Config) -> list[Result]:
    """The measures of each data set under a configuration."""
    evaluators = [Evaluator(config.class_names) for _ in data_sets]
    for evaluator, samples in zip(evaluators, data_sets, strict=True):
        for sample in samples:
            evaluator.add(sample.frame, decode(sample, config))
    return [evaluator.result() for evaluator in evaluators]


def scored_classes(
    data_sets: Sequence[Sequence[InferredFrame]], num_classes: int
) -> list[set[int]]:
    """The classes of each data set with `MIN_OBJECTS` counted objects there."""
    votes = []
    for samples in data_sets:
        counted = np.zeros(num_classes, np.int64)
        for sample in samples:
            nothing = no_instances(len(sample.frame.points), num_classes)
            objects = Evaluator(nothing.class_names).compare(sample.frame, nothing).objects
            counted += np.bincount(objects["class"][objects["counted"]], minlength=num_classes)
        votes.append(set(np.flatnonzero(counted >= MIN_OBJECTS).tolist()))
    return votes


def no_instances(num_points: int, num_classes: int) -> Instances:
    """Nothing found in a sweep of so many points."""
    none = np.zeros(0, np.int32)
    names = tuple(map(str, range(num_classes)))
    labels, boxes = np.zeros(num_points, np.int32), np.zeros((0, 7), np.float32)
    return Instances(labels, none, none.astype(np.float32), boxes, names)


def mean_pq(results: Sequence[Result], votes: Sequence[set[int]]) -> float:
    """Mean over data sets of the mean over the classes that have a vote there; NaN if none has."""
    means = []
    for result, classes in zip(results, votes, strict=True):
        pq = [m.pq for index, m in enumerate(result.per_class.values()) if index in classes]
        means += [np.mean(pq)] if pq else []
    return float(np.mean(means)) if means else np.nan


def fit_settings(config: Config) -> Config:
    """Under which predictions are fitted: whatever opens an instance, with its mean seed."""
    return _with_cluster(
        config, calibration=(), score_threshold=0.0, seed_threshold=min(SEED_THRESHOLDS)
    )


def search_steps(num_classes: int) -> list[SearchStep]:
    """What `search` turns, in this order: seed and score threshold, which depend on each other,
    together; then the points asked for of each class, then the least height.
    """
    points = [partial(_min_points_values, index) for index in range(num_classes)]
    return [_threshold_values, *points, _min_height_values]


def search(score: Callable[[Config], float], start: Config, turn: Sequence[SearchStep]) -> Config:
    """Set one knob after the other to its best value, or leave it if none gains `MIN_GAIN`.

    Args:
        score: of a configuration, the higher the better.
        start: where to begin.
        turn: the knobs, in order.
    """
    best, highest = start, score(start)
    for knob in turn:
        scores = {config: score(config) for config in knob(best)}
        config = max(scores, key=scores.__getitem__)
        if scores[config] >= highest + MIN_GAIN:
            best, highest = config, scores[config]
    return best


def _threshold_values(config: Config) -> list[Config]:
    return [
        _with_cluster(config, seed_threshold=seed, score_threshold=score)
        for seed in SEED_THRESHOLDS
        for score in SCORE_THRESHOLDS
    ]


def _min_height_values(config: Config) -> list[Config]:
    return [_with_cluster(config, min_height_m=value) for value in MIN_HEIGHTS_M]


def _min_points_values(index: int, config: Config) -> list[Config]:
    def with_value(value: int) -> Config:
        classes = list(config.classes)
        classes[index] = replace(classes[index], min_points=value)
        return replace(config, classes=tuple(classes))

    return [with_value(value) for value in MIN_POINTS]


def _with_cluster(config: Config, **changes: object) -> Config:
    return replace(config, cluster=replace(config.cluster, **changes))  # type: ignore[arg-type]
