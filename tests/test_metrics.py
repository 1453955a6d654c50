import json
import math

import numpy as np
import pytest

from bev_instseg.evaluation.metrics import ClassResult, Evaluator, Result
from bev_instseg.evaluation.segments import overlap_table
from bev_instseg.structures import Frame, Instances

NAMES = ("car", "person")
CAR, PERSON = 0, 1
VOID = -1


def scene(runs, truth_classes, predicted, distance_m=10.0):
    """Make a frame and its instances from runs of points.

    runs: (truth, prediction, number of points[, distance_m, labelled]).
    predicted: (class, score) of each instance.
    """
    runs = [(*run, distance_m, True)[:5] if len(run) == 3 else run for run in runs]
    truth, labels, counts, distance, labelled = (
        list(column) for column in (zip(*runs, strict=True) if runs else [()] * 5)
    )
    counts = np.array(counts, int)
    points = np.zeros((counts.sum(), 4), np.float32)
    points[:, 1] = np.repeat(distance, counts)
    frame = Frame(
        "test",
        points,
        np.repeat(np.array(truth, np.int32), counts),
        np.repeat(np.array(labelled, bool), counts),
        np.array(truth_classes, np.int32),
        np.zeros((len(truth_classes), 2), np.float32),
    )
    instances = Instances(
        np.repeat(np.array(labels, np.int32), counts),
        np.array([c for c, _ in predicted], np.int32),
        np.array([s for _, s in predicted], np.float32),
        np.zeros((len(predicted), 7), np.float32),
        NAMES,
    )
    return frame, instances


def evaluate(*scenes):
    evaluator = Evaluator(NAMES)
    for frame, instances in scenes:
        evaluator.add(frame, instances)
    return evaluator.result()


# Frame 1. Truth: cars 1 (20 points), 2 (20), 4 (9: small); person 3 (10).
FIRST = scene(
    [
        (1, 1, 16),  # car .9 has 16 points of car 1: IoU 16 / 20 = 0.8, a match
        (1, 0, 4),
        (2, 2, 10),  # car .8 has 10 of car 2: IoU 10 / 20 = 0.5, no match: FN and FP, a fragment
        (2, 0, 10),
        (3, 3, 10),  # person .7 has all of person 3: IoU 1;
        (VOID, 3, 5),  # void points do not count,
        (0, 3, 4, 10.0, False),  # nor do unlabelled points,
        (0, 3, 3, 50.5, True),  # nor do points out of range
        (3, 0, 7, 50.5, True),
        (0, 4, 12),  # car .6 on background: FP
        (0, 5, 9),  # car .5, small and unmatched: ignored
        (4, 0, 9),  # car 4, small and unmatched: ignored
        (0, 0, 30),
    ],
    [CAR, CAR, PERSON, CAR],
    [(CAR, 0.9), (CAR, 0.8), (PERSON, 0.7), (CAR, 0.6), (CAR, 0.5)],
)
# Frame 2. Truth: person 1 (10 points), cars 2 (8: small) and 3 (10).
SECOND = scene(
    [
        (1, 1, 10),  # car .95 on a person: FP with the wrong class; the person is FN
        (2, 2, 6),  # car .4 has 6 points of car 2: IoU 6 / 8 = 0.75; both small, yet a match
        (2, 0, 2),
        (3, 0, 10),  # car 3: FN
        (0, 0, 30),
    ],
    [PERSON, CAR, CAR],
    [(CAR, 0.95), (CAR, 0.4)],
)
# Frame 3. Truth: cars 1 (12 points) and 2 (12).
THIRD = scene(
    [
        (1, 1, 12),  # car .85 has car 1 and 8 background points: IoU 12 / 20 = 0.6
        (0, 1, 8),
        (2, 2, 12),  # car .3 has car 2: IoU 1
    ],
    [CAR, CAR],
    [(CAR, 0.85), (CAR, 0.3)],
)


def test_measures_worked_out_by_hand():
    result = evaluate(FIRST, SECOND, THIRD)
    # Cars at IoU > 0.5: TP .8 (car .9), .75 (.4), .6 (.85), 1 (.3); FP car .95, .8, .6;
    # FN cars 2 of frame 1 and 3 of frame 2.
    # Weight 4 + 3 / 2 + 2 / 2 = 6.5, IoU .8 + .75 + .6 + 1 = 3.15.
    # Coverage, without the small ones: (.8 + .5 + 0 + .6 + 1) / 5 = 2.9 / 5.
    # IoU > 0.7: car .85 no longer matches; TP 3 (one of them small) of 3 + 3 objects.
    # AP 50, score:  .95   .9    .85   .8    .6    .4    .3
    #        hit      0     1     1     0     0     1     1    of 6 objects
    #    precision    0    1/2   2/3   2/4   2/5   3/6   4/7
    #    best after  2/3   2/3   2/3   4/7   4/7   4/7   4/7
    #    AP = (2/3 + 2/3 + 4/7 + 4/7) / 6 = (52 / 21) / 6 = 26 / 63
    # AP 70  hit      0     1     0     0     0     1     1    of 6 objects
    #    precision    0    1/2   1/3   1/4   1/5   2/6   3/7
    #    AP = (1/2 + 3/7 + 3/7) / 6 = (19 / 14) / 6 = 19 / 84
    assert result.per_class["car"] == ClassResult(
        pq=3.15 / 6.5,
        sq=3.15 / 4,
        rq=4 / 6.5,
        coverage=2.9 / 5,
        precision=4 / 7,
        recall_50=4 / 6,
        recall_70=3 / 6,
        ap_50=pytest.approx(26 / 63, rel=1e-15),
        ap_70=pytest.approx(19 / 84, rel=1e-15),
        tp=4,
        fp=3,
        fn=2,
        fp_background=1,
        fp_fragment=1,
        fp_wrong_class=1,
    )
    # Persons: TP 1, FN 1 (frame 2); precision 1 up to recall 1/2.
    assert result.per_class["person"] == ClassResult(
        pq=1 / 1.5,
        sq=1.0,
        rq=1 / 1.5,
        coverage=0.5,
        precision=1.0,
        recall_50=0.5,
        recall_70=0.5,
        ap_50=0.5,
        ap_70=0.5,
        tp=1,
        fp=0,
        fn=1,
        fp_background=0,
        fp_fragment=0,
        fp_wrong_class=0,
    )
    assert result.mean_pq == (3.15 / 6.5 + 1 / 1.5) / 2


@pytest.mark.parametrize(("taken", "matches"), [(10, 0), (11, 1)])
def test_an_iou_of_half_is_not_a_match(taken, matches):
    result = evaluate(scene([(1, 1, taken), (1, 0, 20 - taken)], [CAR], [(CAR, 0.5)]))
    car = result.per_class["car"]
    assert (car.tp, car.fp, car.fn) == (matches, 1 - matches, 1 - matches)
    assert car.coverage == taken / 20


def test_an_iou_of_seven_tenths_is_not_a_match_at_70():
    car = evaluate(scene([(1, 1, 14), (1, 0, 6)], [CAR], [(CAR, 0.5)])).per_class["car"]
    assert (car.recall_50, car.recall_70, car.ap_50, car.ap_70) == (1, 0, 1, 0)


def test_segments_of_ten_points_are_counted():
    for points, false in [(9, 0), (10, 1)]:
        runs = [(1, 0, points), (0, 1, points)]
        car = evaluate(scene(runs, [CAR], [(CAR, 0.5)])).per_class["car"]
        assert (car.tp, car.fp, car.fn) == (0, false, false)


def test_a_small_object_matched_at_50_is_ignored_at_70():
    # The prediction has 6 of 9 points: IoU 2 / 3. At 70 neither counts, so there is no data.
    car = evaluate(scene([(1, 1, 6), (1, 0, 3)], [CAR], [(CAR, 0.5)])).per_class["car"]
    assert (car.tp, car.fp, car.fn, car.recall_50) == (1, 0, 0, 1)
    assert math.isnan(car.recall_70)
    assert math.isnan(car.ap_70)
    assert math.isnan(car.coverage)


def test_range_is_horizontal_and_includes_its_end():
    for distance_m, found in [(50.0, 1), (50.001, 0)]:
        frame, instances = scene([(1, 1, 10, distance_m, True)], [CAR], [(CAR, 0.5)])
        frame.points[:, 2] = 30
        assert evaluate((frame, instances)).per_class["car"].tp == found
    frame.points[:] = np.nan
    assert evaluate((frame, instances)).per_class["car"].tp == 0


def test_the_tolerance_ignores_background_beside_objects_and_nothing_else():
    runs = [
        (1, 1, 20, 10.0, True),
        (0, 1, 15, 10.15, True),  # too wide a prediction
        (0, 1, 5, 10.35, True),
        (2, 1, 5, 10.1, True),  # another object
        (2, 0, 20, 20.0, True),  # missed
    ]
    frame, instances = scene(runs, [CAR, CAR], [(CAR, 0.9)])
    for tolerance_m, counted in ((0.0, 45), (0.2, 30)):
        comparison = Evaluator(NAMES, tolerance_m=tolerance_m).compare(frame, instances)
        assert comparison.predictions["points"].tolist() == [counted]
        assert comparison.objects["points"].tolist() == [20, 25]
        assert comparison.predictions["iou"] == pytest.approx(20 / counted)


def test_a_merge_counts_as_a_fragment():
    runs = [(1, 1, 10), (2, 1, 10), (0, 1, 5)]  # IoU 10 / 25 with each
    car = evaluate(scene(runs, [CAR, CAR], [(CAR, 0.5)])).per_class["car"]
    assert (car.fp_background, car.fp_fragment, car.fp_wrong_class) == (0, 1, 0)
    assert (car.tp, car.fp, car.fn) == (0, 1, 2)


def test_half_on_objects_is_not_background():
    for off, background in [(10, 0), (11, 1)]:
        runs = [(1, 1, 10), (1, 0, 10), (0, 1, off)]
        car = evaluate(scene(runs, [CAR], [(CAR, 0.5)])).per_class["car"]
        assert (car.fp_background, car.fp_fragment) == (background, 1 - background)


def test_perfect_prediction():
    runs = [(0, 0, 50), (1, 1, 20), (2, 2, 15), (3, 3, 10), (VOID, 1, 5)]
    scored = [(CAR, 0.9), (PERSON, 0.8), (CAR, 0.7)]
    result = evaluate(scene(runs, [CAR, PERSON, CAR], scored))
    for name, count in (("car", 2), ("person", 1)):
        assert result.per_class[name] == ClassResult(*[1.0] * 9, count, 0, 0, 0, 0, 0)
    assert result.mean_pq == 1


def test_equal_scores_are_one_point_of_the_curve():
    hit, miss = (1, 1, 10), (0, 2, 10)
    for runs in ([hit, miss], [miss, hit]):
        car = evaluate(scene(runs, [CAR], [(CAR, 0.5), (CAR, 0.5)])).per_class["car"]
        assert car.ap_50 == 0.5
    for scores, expected in [((0.9, 0.8), 1.0), ((0.8, 0.9), 0.5)]:
        car = evaluate(scene([hit, miss], [CAR], [(CAR, s) for s in scores])).per_class["car"]
        assert car.ap_50 == expected


NOTHING = ClassResult(*[math.nan] * 9, 0, 0, 0, 0, 0, 0)


def same(a, b):
    """Compare with NaN equal to NaN."""
    return repr(a) == repr(b)


@pytest.mark.parametrize("scenes", [[], [scene([], [], [])], [scene([(0, 0, 40)], [], [])]])
def test_no_truth_and_no_prediction(scenes):
    result = evaluate(*scenes)
    assert same(result, Result({"car": NOTHING, "person": NOTHING}))
    assert math.isnan(result.mean_pq)


def test_truth_without_prediction():
    result = evaluate(scene([(1, 0, 10), (0, 0, 5)], [CAR], []))
    expected = ClassResult(0.0, 0.0, 0.0, 0.0, math.nan, 0.0, 0.0, 0.0, 0.0, 0, 0, 1, 0, 0, 0)
    assert same(result, Result({"car": expected, "person": NOTHING}))
    assert result.mean_pq == 0


def test_prediction_without_truth():
    result = evaluate(scene([(0, 1, 10), (0, 0, 5)], [], [(CAR, 0.9)]))
    nan = math.nan
    expected = ClassResult(0.0, 0.0, 0.0, nan, 0.0, nan, nan, nan, nan, 0, 1, 0, 1, 0, 0)
    assert same(result, Result({"car": expected, "person": NOTHING}))
    assert math.isnan(result.mean_pq)  # no class has truth


def test_segments_without_judged_points_are_ignored():
    runs = [(1, 0, 20, 60.0, True), (VOID, 1, 20)]
    result = evaluate(scene(runs, [CAR, CAR], [(CAR, 0.9), (CAR, 0.8)]))
    assert same(result, Result({"car": NOTHING, "person": NOTHING}))


def random_scene(rng):
    """Make blocks of truth and shifted predictions, with void and distant points among them."""
    n, k = 3000, 12
    truth = np.repeat(rng.integers(-1, k + 1, n // 20), 20).astype(np.int32)
    labels = np.where(rng.random(n) < 0.8, np.roll(truth, rng.integers(0, 9)), 0).clip(0)
    scores = np.round(rng.random(k), 1)  # many of them equal
    points = rng.uniform(-45, 45, (n, 4)).astype(np.float32)
    classes = rng.integers(0, 2, k).astype(np.int32)
    centres = np.zeros((k, 2), np.float32)
    return (
        Frame("test", points, truth, rng.random(n) < 0.9, classes, centres),
        Instances(
            labels.astype(np.int32),
            np.where(rng.random(k) < 0.8, classes, 1 - classes).astype(np.int32),
            scores.astype(np.float32),
            np.zeros((k, 7), np.float32),
            NAMES,
        ),
    )


def renumbered(rng, frame, instances):
    """Renumber the instances on both sides of a scene."""
    t, p = rng.permutation(len(frame.classes)), rng.permutation(len(instances))
    new_truth = np.concatenate([[0], np.argsort(t) + 1, [VOID]]).astype(np.int32)
    new_label = np.concatenate([[0], np.argsort(p) + 1]).astype(np.int32)
    return (
        Frame(
            frame.name,
            frame.points,
            new_truth[frame.instance],
            frame.labelled,
            frame.classes[t],
            frame.centres_m[t],
        ),
        Instances(
            new_label[instances.labels],
            instances.classes[p],
            instances.scores[p],
            instances.boxes[p],
            NAMES,
        ),
    )


def test_numbering_and_order_of_frames_do_not_matter():
    rng = np.random.default_rng(0)
    scenes = [random_scene(rng) for _ in range(8)]
    result = evaluate(*scenes)
    assert result.per_class["car"].tp > 5
    assert result.per_class["car"].fp > 5
    assert result == evaluate(*[renumbered(rng, *pair) for pair in scenes[::-1]])


def test_merging_equals_adding_all_frames():
    rng = np.random.default_rng(1)
    scenes = [random_scene(rng) for _ in range(5)]
    parts = [Evaluator(NAMES) for _ in range(3)]
    for i, pair in enumerate(scenes):
        parts[i % 2].add(*pair)  # the third has no frames
    for part in parts[1:]:
        parts[0].merge(part)
    assert parts[0].result() == evaluate(*scenes)


def test_evaluators_with_different_settings_cannot_be_merged():
    others = Evaluator(("car",)), Evaluator(NAMES, 40.0), Evaluator(NAMES, min_points=5)
    for other in (*others, Evaluator(NAMES, tolerance_m=0.2)):
        with pytest.raises(ValueError, match="can be merged"):
            Evaluator(NAMES).merge(other)


def test_mismatched_predictions_are_rejected():
    frame, instances = FIRST
    with pytest.raises(ValueError, match="classes must be"):
        Evaluator(("person", "car")).add(frame, instances)
    with pytest.raises(ValueError, match="labels for"):
        Evaluator(NAMES).add(frame, SECOND[1])
    for pair in (
        scene([(1, 0, 5)], [2], []),
        scene([(1, 0, 5)], [-1], []),
        scene([(0, 1, 5)], [], [(2, 0.5)]),
    ):
        with pytest.raises(ValueError, match="class indices"):
            Evaluator(NAMES).add(*pair)


def test_overlap_table():
    truth = np.array([0, 0, 1, 1, 1, 3], np.int32)
    prediction = np.array([0, 2, 2, 2, 0, 1], np.int32)
    table = overlap_table(truth, prediction, 3, 2)
    assert table.dtype == np.int64
    assert table.tolist() == [[1, 0, 1], [1, 0, 2], [0, 0, 0], [0, 1, 0]]
    assert overlap_table(truth[:0], prediction[:0], 0, 0).tolist() == [[0]]
    for bad in (
        (truth - 1, prediction, 3, 2),
        (truth, prediction, 2, 2),
        (truth, prediction, 3, 1),
    ):
        with pytest.raises(ValueError, match=r"must be in 0\.\."):
            overlap_table(*bad)
    with pytest.raises(ValueError):  # noqa: PT011 - NumPy's message
        overlap_table(truth, prediction[:-1], 3, 2)


def test_comparison_describes_both_sides():
    frame, instances = scene(
        [
            (1, 1, 6, 10.0, True),
            (1, 1, 2, 20.0, True),
            (1, 2, 2, 15.0, True),
            (0, 2, 8, 15.0, True),
            (0, 2, 5, 60.0, True),  # out of range
        ],
        [CAR, CAR],  # the second has no points
        [(CAR, 0.75), (PERSON, 0.5)],
    )
    comparison = Evaluator(NAMES).compare(frame, instances)
    assert comparison.frame == "test"
    objects, predictions = comparison.objects, comparison.predictions
    assert objects["points"].tolist() == [10, 0]
    assert objects["shared"].tolist() == [10, 0]
    assert objects["iou"].tolist() == [0.8, 0]
    assert objects["iou_other"].tolist() == [2 / 18, 0]
    assert objects["counted"].tolist() == [True, False]
    assert objects["centre_m"][0].tolist() == [0, 13]
    assert np.isnan(objects["centre_m"][1]).all()
    assert predictions["class"].tolist() == [CAR, PERSON]
    assert predictions["score"].tolist() == [0.75, 0.5]
    assert predictions["points"].tolist() == [8, 10]
    assert predictions["shared"].tolist() == [8, 2]
    assert predictions["iou"].tolist() == [0.8, 0]
    assert predictions["iou_other"].tolist() == [0, 2 / 18]
    assert predictions["counted"].tolist() == [False, True]
    assert predictions["centre_m"].tolist() == [[0, 12.5], [0, 15]]


def test_table_and_dict():
    result = evaluate(FIRST, SECOND, THIRD)
    lines = [[c.strip() for c in line.split("|")[1:-1]] for line in result.table().splitlines()]
    assert len({len(line) for line in result.table().splitlines()}) == 1
    assert lines[0][:4] == ["class", "pq", "sq", "rq"]
    assert lines[2][:4] == ["car", "48.5", "78.8", "61.5"]
    assert lines[2][-6:] == ["4", "3", "2", "1", "1", "1"]
    assert lines[-1][:2] == ["mean", "57.6"]
    assert json.loads(json.dumps(result.to_dict())) == result.to_dict()
    assert result.to_dict()["per_class"]["person"]["pq"] == 1 / 1.5
    empty = evaluate()
    assert empty.table().splitlines()[2].split("|")[2].strip() == "-"
    assert empty.to_dict()["mean_pq"] is None
    assert empty.to_dict()["per_class"]["car"]["ap_50"] is None
