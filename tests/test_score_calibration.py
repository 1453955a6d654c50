"""Calibrated scores worked out by hand, their fit, and the search for thresholds."""

import dataclasses
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from bev_instseg.cli.calibrate import too_few
from bev_instseg.config import Config
from bev_instseg.config_files import load_config
from bev_instseg.evaluation.metrics import ClassResult, Result
from bev_instseg.evaluation.reliability import reliability
from bev_instseg.evaluation.score_calibration import (
    IDENTITY,
    RIDGE,
    Predictions,
    balance,
    counted_predictions,
    fit_calibration,
)
from bev_instseg.evaluation.threshold_search import (
    MIN_GAIN,
    MIN_POINTS,
    SCORE_THRESHOLDS,
    SEED_THRESHOLDS,
    mean_pq,
    scored_classes,
    search,
    search_steps,
)
from bev_instseg.exceptions import ConfigError
from bev_instseg.ops.score import log_odds_terms, probability
from bev_instseg.structures import Frame, Instances

SAME = (0.0, 1.0, 0.0)


def predictions(scores, correct, num_points=None, classes=None, weights=None):
    count = len(scores)
    return Predictions(
        np.array(scores, np.float32),
        np.zeros(count, np.int32) if classes is None else np.array(classes, np.int32),
        np.full(count, 20, np.int32) if num_points is None else np.array(num_points, np.int32),
        np.array(correct, bool),
        np.ones(count) if weights is None else np.array(weights, np.float64),
    )


def probability_of(seeds, num_points, classes, calibration):
    result = probability(
        np.array(seeds, np.float32),
        np.array(classes, np.int32),
        np.array(num_points, np.int32),
        calibration,
    )
    assert result.dtype == np.float32
    return result


def test_probabilities_worked_out_by_hand():
    # Odds are e^a (s / (1 - s))^b n^c. Class 0: e^a = 1/4, b = 2, c = 0.5; class 1: 1, 0, -1.
    calibration = ((-np.log(4), 2.0, 0.5), (0.0, 0.0, -1.0))
    seeds, num_points, classes = [0.5, 0.8, 0.8, 0.2, 0.9], [16, 16, 1, 64, 3], [0, 0, 0, 0, 1]
    # 1/4 * 1 * 4 = 1; 1/4 * 16 * 4 = 16; 1/4 * 16 * 1 = 4; 1/4 * 1/16 * 8 = 1/8; 1/3
    expected = [1 / 2, 16 / 17, 4 / 5, 1 / 9, 1 / 4]
    result = probability_of(seeds, num_points, classes, calibration)
    np.testing.assert_allclose(result, expected, rtol=1e-6)


def test_identity_calibration_returns_the_clipped_seed():
    seeds = [0.0, 1e-5, 0.01, 0.3, 0.999, 1.0]
    result = probability_of(seeds, [1, 2, 3, 4, 5, 0], [0] * 6, (SAME,))
    np.testing.assert_allclose(result, np.clip(seeds, 1e-4, 1 - 1e-4), rtol=1e-5)


def test_extreme_calibrations_stay_finite():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        calibration = ((1e6,) * 3, (-1e6,) * 3, SAME)
        result = probability_of([0.9, 0.9, 0.5], [0, 100, 5], [0, 1, 2], calibration)
        assert result.tolist() == [1.0, 0.0, 0.5]
        assert len(probability_of([], [], [], (SAME,))) == 0


def drawn(rng, count, theta, index=0):
    """Draw predictions that are correct with the probability that theta gives."""
    seeds = rng.uniform(0.2, 0.99, count)
    num_points = np.exp(rng.uniform(np.log(10), np.log(2000), count)).astype(int)
    odds = np.exp(theta[0]) * (seeds / (1 - seeds)) ** theta[1] * num_points ** theta[2]
    correct = rng.uniform(size=count) < odds / (1 + odds)
    return predictions(seeds, correct, num_points, [index] * count)


def test_fit_recovers_the_coefficients_that_predictions_were_drawn_with():
    rng = np.random.default_rng(0)
    thetas = ((-3.0, 1.5, 0.4), (1.0, 0.5, -0.3))
    joined = Predictions.concatenate(
        [drawn(rng, 40_000, theta, k) for k, theta in enumerate(thetas)]
    )
    np.testing.assert_allclose(fit_calibration(joined, 2), thetas, atol=0.12)


def test_fit_minimises_the_loss():
    joined = drawn(np.random.default_rng(1), 30, (-2.0, 1.0, 0.3))
    weights = np.random.default_rng(2).uniform(0.1, 3, 30)
    joined = dataclasses.replace(joined, weights=weights)
    x, y = log_odds_terms(joined.scores, joined.num_points), joined.correct

    def loss(theta):
        p = 1 / (1 + np.exp(-x @ theta))
        data = -np.sum(weights * np.where(y, np.log(p), np.log(1 - p)))
        return data + RIDGE / 2 * np.sum((theta - IDENTITY) ** 2)

    (theta,) = fit_calibration(joined, 1)
    for step in 1e-3 * np.concatenate([np.eye(3), -np.eye(3)]):
        assert loss(np.array(theta)) < loss(np.array(theta) + step)


@pytest.mark.parametrize("correct", [True, False])
def test_fit_stays_finite_if_all_are_correct_or_all_wrong(correct):
    seeds = np.linspace(0.3, 0.99, 500)
    joined = predictions(seeds, [correct] * 500, np.arange(10, 510))
    (theta,) = fit_calibration(joined, 1)
    assert np.abs(theta).max() < 20
    after = probability_of(seeds, joined.num_points, [0] * 500, (theta,))
    assert (after > 0.95).all() if correct else (after < 0.05).all()


def test_class_without_predictions_keeps_its_seeds():
    nothing = predictions([], [])
    assert fit_calibration(nothing, 2) == (SAME, SAME)
    some = predictions([0.9, 0.5, 0.7], [True, False, True], classes=[1, 1, 1])
    fitted = fit_calibration(some, 3)
    assert fitted[0] == fitted[2] == SAME
    # A single prediction changes the score only a little.
    (theta,) = fit_calibration(predictions([0.9], [True]), 1)
    assert 0.9 < probability_of([0.9], [20], [0], (theta,))[0] < 0.99


def test_classes_with_few_examples_are_named():
    correct = [True] * 6 + [False] * 5 + [True] * 9 + [False] * 4
    known = predictions([0.5] * 24, correct, classes=[0] * 11 + [1] * 13)
    lines = too_few(known, ["car", "person", "lorry"])
    assert [line.split(":")[0] for line in lines] == [
        "class 'person' has only 9 correct and 4 wrong predictions",
        "class 'lorry' has only 0 correct and 0 wrong predictions",
    ]


def test_weight_of_two_equals_the_prediction_twice():
    twice = predictions([0.9, 0.9, 0.4, 0.6], [True, True, False, True])
    weighted = predictions([0.9, 0.4, 0.6], [True, False, True], weights=[2, 1, 1])
    np.testing.assert_allclose(fit_calibration(twice, 1), fit_calibration(weighted, 1), atol=1e-6)


def test_data_sets_have_equal_weight():
    one, other = predictions([0.1], [False]), predictions([0.9, 0.8, 0.7], [True] * 3)
    joined = balance([one, predictions([], []), other])
    assert joined.weights.tolist() == pytest.approx([2, 2 / 3, 2 / 3, 2 / 3])
    assert joined.correct.tolist() == [False, True, True, True]
    assert len(balance([predictions([], [])]).scores) == 0


def test_reliability_worked_out_by_hand():
    scores, correct = [0.25, 0.2, 0.95, 1.0, 0.9], [True, False, True, True, False]
    weights = np.array([1.0, 3, 2, 1, 1])
    result = reliability(np.array(scores, np.float32), np.array(correct), weights)
    assert result.num_predictions.tolist() == [0, 0, 2, 0, 0, 0, 0, 0, 0, 3]
    assert result.mean_score[2] == pytest.approx((0.25 + 0.6) / 4)
    assert result.precision[2] == pytest.approx(1 / 4)
    assert result.mean_score[9] == pytest.approx((1.9 + 1.0 + 0.9) / 4)
    assert result.precision[9] == pytest.approx(3 / 4)
    assert np.isnan(result.mean_score[[0, 1, 3, 8]]).all()
    # Both bins have half of the weight: (|0.2125 - 0.25| + |0.95 - 0.75|) / 2
    assert result.calibration_error == pytest.approx((0.0375 + 0.2) / 2)
    assert np.isnan(reliability(np.zeros(0, np.float32), np.zeros(0, bool)).calibration_error)


def test_correct_predictions_are_those_of_the_evaluator():
    truth = np.repeat([1, 1, 2, 0, 0, 2], [12, 8, 10, 15, 5, 2]).astype(np.int32)
    labels = np.repeat([1, 0, 2, 3, 4, 0], [12, 8, 10, 15, 5, 2]).astype(np.int32)
    frame = Frame(
        *("street", np.ones((52, 4), np.float32), truth, np.ones(52, bool)),
        *(np.array([0, 1], np.int32), np.zeros((2, 2), np.float32)),
    )
    scores = np.array([0.9, 0.8, 0.7, 0.6], np.float32)
    instances = Instances(
        *(labels, np.array([0, 0, 1, 1], np.int32), scores),
        *(np.zeros((4, 7), np.float32), ("car", "person")),
    )
    counted = counted_predictions(frame, instances)
    # 12 of 20 points: correct; different class: wrong; background: wrong; 5 points: not counted.
    assert counted.correct.tolist() == [True, False, False]
    assert counted.num_points.tolist() == [12, 10, 15]
    assert counted.classes.tolist() == [0, 0, 1]
    assert counted.scores.tolist() == scores[:3].tolist()
    assert counted.weights.tolist() == [1, 1, 1]


def result_of(*pqs):
    """Make a result from the PQ of each class."""
    nothing = ClassResult(*[0] * len(dataclasses.fields(ClassResult)))
    return Result({str(k): dataclasses.replace(nothing, pq=pq) for k, pq in enumerate(pqs)})


def test_mean_pq_is_over_the_scored_classes():
    results = [result_of(0.9, 0.5, 0.0), result_of(0.5, 0.0, 0.7), result_of(0.1, 0.1, 0.1)]
    assert mean_pq(results, [{0, 1}, {0}, set()]) == pytest.approx((0.7 + 0.5) / 2)
    assert np.isnan(mean_pq(results, [set(), set(), set()]))


def test_classes_with_ten_counted_objects_are_scored():
    def frame_with(objects, kind, points_each):
        instance = np.repeat(np.arange(1, objects + 1), points_each).astype(np.int32)
        points, known = np.ones((len(instance), 4), np.float32), np.ones(len(instance), bool)
        classes, centres = np.full(objects, kind, np.int32), np.zeros((objects, 2), np.float32)
        return SimpleNamespace(frame=Frame("f", points, instance, known, classes, centres))

    data_sets = [
        [frame_with(6, 0, 10), frame_with(4, 0, 12), frame_with(9, 1, 20), frame_with(30, 2, 9)],
        [frame_with(9, 0, 10), frame_with(10, 1, 10)],
        [],
    ]
    assert scored_classes(data_sets, 3) == [{0}, {1}, set()]


def test_search_finds_thresholds_that_depend_on_each_other():
    def score(config):
        c, points = config.cluster, [kind.min_points for kind in config.classes]
        together = -abs((1 - c.seed_threshold) - c.score_threshold) - abs(c.score_threshold - 0.5)
        return together - abs(points[1] - 20) / 10 + (c.min_height_m == 0.05)

    best = search(score, Config(), search_steps(3))
    assert (best.cluster.seed_threshold, best.cluster.score_threshold) == (0.5, 0.5)
    assert best.cluster.min_height_m == 0.05
    assert [kind.min_points for kind in best.classes] == [10, 20, 8]  # the others are unchanged
    assert len(search_steps(3)[0](Config())) == len(SEED_THRESHOLDS) * len(SCORE_THRESHOLDS)
    assert len(search_steps(3)[1](Config())) == len(MIN_POINTS)


@pytest.mark.parametrize("gain", [0.0, MIN_GAIN / 2, np.nan])
def test_search_keeps_the_start_without_enough_gain(gain):
    start = Config()
    assert search(lambda config: 0.5 + gain * (config != start), start, search_steps(3)) == start


def test_configuration_has_a_triple_for_each_class(tmp_path: Path):
    path = tmp_path / "calibration.yaml"
    path.write_text("cluster: {calibration: [[0, 1, 0], [-2, 1.5, 0.25], [1, 2, 3]]}")
    assert load_config(path).cluster.calibration == (SAME, (-2.0, 1.5, 0.25), (1.0, 2.0, 3.0))
    for text, message in (
        ("cluster: {calibration: [[0, 1, 0]]}", "cluster.calibration has 1 entries for 3 classes"),
        ("cluster: {calibration: [[0, 1], [0, 1], [0, 1]]}", "must be a list of 3"),
        (
            "cluster: {score_threshold: 1.5}",
            "cluster.score_threshold must be a number from 0 to 1, got 1.5",
        ),
    ):
        path.write_text(text)
        with pytest.raises(ConfigError, match=message):
            load_config(path)
