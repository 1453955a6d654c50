"""Quality by number of points, range and length, against sums over single segments."""

import numpy as np
import pytest
from scenes import frame_of

from bev_instseg.evaluation.buckets import (
    LENGTHS,
    POINTS,
    RANGES_M,
    Quality,
    bucket_table,
    class_quality,
    length_m,
    num_points,
    quality_by_bucket,
    range_m,
)
from bev_instseg.evaluation.metrics import Evaluator
from bev_instseg.evaluation.segments import SEGMENT, Comparison, Segments
from bev_instseg.structures import Instances


def segments(rng: np.random.Generator, count: int) -> Segments:
    """Return random segments of two classes; half of them match."""
    found = np.zeros(count, SEGMENT)
    found["class"] = rng.integers(0, 2, count)
    found["points"] = np.exp(rng.uniform(0, 7, count))
    found["centre_m"] = rng.uniform(-33, 33, (count, 2))
    found["length_m"] = np.exp(rng.uniform(-1, 3, count))
    found["iou"] = rng.random(count)
    found["counted"] = found["points"] >= 10
    return found


@pytest.fixture
def evaluator() -> Evaluator:
    rng, made = np.random.default_rng(3), Evaluator(("car", "person"))
    made.comparisons = [Comparison(f"{i}", segments(rng, 30), segments(rng, 40)) for i in range(5)]
    return made


def test_quality_of_a_few_segments() -> None:
    objects, predictions = np.zeros(4, SEGMENT), np.zeros(2, SEGMENT)
    objects["iou"], objects["counted"] = [0.9, 0.6, 0.5, 0.1], [True, False, True, False]
    predictions["iou"], predictions["counted"] = [0.9, 0.2], True
    quality = Quality.of(objects, predictions)
    assert quality == Quality(pytest.approx(1.5 / (2 + 0.5 + 0.5)), tp=2, fn=1, correct=1, fp=1)
    assert (quality.recall, quality.precision) == (2 / 3, 1 / 2)
    nothing = Quality.of(objects[:0], predictions[:0])
    assert nothing.to_dict() == {"pq": None, "tp": 0, "fn": 0, "correct": 0, "fp": 0}
    assert np.isnan([nothing.recall, nothing.precision]).all()


@pytest.mark.parametrize(
    ("value_of", "buckets"),
    [(num_points, POINTS), (range_m, RANGES_M), (length_m, LENGTHS)],
    ids=["points", "range", "length"],
)
def test_each_segment_counts_in_its_bucket(evaluator: Evaluator, value_of, buckets) -> None:
    ends = [*list(buckets.values())[1:], np.inf]
    per_class = class_quality(evaluator, value_of, buckets)
    for index, (name, by_bucket) in enumerate(per_class.items()):
        assert list(by_bucket) == list(buckets)
        for (label, start), end in zip(buckets.items(), ends, strict=True):
            objects, predictions = (
                [
                    one
                    for comparison in evaluator.comparisons
                    for one in getattr(comparison, side)
                    if one["class"] == index and start <= value_of(np.array([one]))[0] < end
                ]
                for side in ("objects", "predictions")
            )
            iou = [one["iou"] for one in objects if one["iou"] > 0.5]
            fn = sum(bool(one["counted"]) and one["iou"] <= 0.5 for one in objects)
            fp = sum(bool(one["counted"]) and one["iou"] <= 0.5 for one in predictions)
            quality = by_bucket[label]
            assert (quality.tp, quality.fn, quality.fp) == (len(iou), fn, fp)
            assert quality.correct == sum(one["iou"] > 0.5 for one in predictions)
            assert quality.pq == pytest.approx(sum(iou) / (len(iou) + fn / 2 + fp / 2))
        result = evaluator.result().per_class[name]
        assert sum(each.fp for each in by_bucket.values()) == result.fp
        assert sum(each.correct for each in by_bucket.values()) == result.tp


def test_a_bucket_includes_its_lower_end() -> None:
    objects = np.zeros(5, SEGMENT)
    objects["points"], objects["counted"] = [10, 19, 20, 299, 300], True
    found = quality_by_bucket((objects, objects[:0]), num_points, POINTS)
    assert [quality.fn for quality in found.values()] == [2, 1, 0, 1, 1]


def test_the_length_is_that_of_the_judged_points_whatever_their_heading() -> None:
    rng = np.random.default_rng(0)
    lorry = rng.uniform(-0.5, 0.5, (400, 2)) * (12, 2.4)
    heading = np.deg2rad(37)
    turn = np.array([[np.cos(heading), np.sin(heading)], [-np.sin(heading), np.cos(heading)]])
    person = rng.uniform(-0.5, 0.5, (100, 2)) * (0.5, 0.3)
    wall = rng.uniform(-0.5, 0.5, (100, 2)) * (9, 0.2) + [0, 20]
    xy = np.concatenate([lorry @ turn + (10, 5), person - (8, 3), wall])
    instance = np.repeat([1, 3, 0], [400, 100, 100])  # object 2 has no points
    points = np.column_stack([xy, np.zeros((600, 2))])
    frame = frame_of(points, instance, [0, 0, 0], np.zeros((3, 2)))
    none, boxes, score = np.zeros(1, np.int32), np.zeros((1, 7), np.float32), np.ones(1, np.float32)
    on_wall = np.where(np.arange(600) >= 500, 1, 0).astype(np.int32)
    evaluator = Evaluator(("vehicle",))
    evaluator.add(frame, Instances(on_wall, none, score, boxes, evaluator.class_names))
    lengths = length_m(evaluator.objects)
    np.testing.assert_allclose(lengths[[0, 2]], [12, 0.5], rtol=0.1)
    assert np.isnan(lengths[1])
    sides = evaluator.objects, evaluator.predictions
    found = quality_by_bucket(sides, length_m, LENGTHS)
    assert [(q.fn, q.fp) for q in found.values()] == [(1, 0), (0, 0), (0, 0), (0, 1), (1, 0)]


def test_table_has_a_column_for_each_bucket() -> None:
    one = {"near": Quality(0.81, 9, 1, 9, 1), "far": Quality(np.nan, 0, 0, 0, 0)}
    lines = bucket_table({"car": one}, "metres").splitlines()
    assert [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[:1] + lines[2:]] == [
        ["class", "metres", "near", "far"],
        ["car", "objects", "10", "0"],
        ["car", "recall", "90.0", "-"],
        ["car", "PQ", "81.0", "-"],
    ]
