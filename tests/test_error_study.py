"""Error studies worked out by hand, and their pictures."""

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from bev_instseg.evaluation.error_pictures import draw_errors, draw_reliability
from bev_instseg.evaluation.error_study import (
    FALSE_ALARM,
    MISSED,
    class_reliability,
    errors_csv,
    errors_markdown,
    list_errors,
    worst_frames,
)
from bev_instseg.evaluation.metrics import Evaluator
from bev_instseg.structures import Frame, Instances
from bev_instseg.visualize.bev import FALSE_POSITIVE_COLOUR, MISSED_COLOUR
from bev_instseg.visualize.bev_map import MAP_BOTTOM_PX, MAP_LEFT_PX, MAP_PX, PANEL_PX

NAMES = ("car", "person")
CAR, PERSON = 0, 1
Run = tuple[int, int, int, float]  # truth, prediction, number of points, their x in metres
Scene = tuple[Frame, Instances]


def scene(
    runs: list[Run], classes: list[int], predicted: list[tuple[int, float]], name: str = "f"
) -> Scene:
    """Make a frame and its instances; ``predicted`` has class and score of each instance."""
    counts = np.array([run[2] for run in runs], int)
    points = np.zeros((counts.sum(), 4), np.float32)
    points[:, 0] = np.repeat([run[3] for run in runs], counts)
    numbers = np.array([run[:2] for run in runs], np.int32).reshape(-1, 2)
    truth, labels = np.repeat(numbers, counts, axis=0).T
    boxes = np.zeros((len(predicted), 7), np.float32)
    for k in set(labels[labels > 0].tolist()):
        boxes[k - 1, 0] = points[labels == k, 0].mean()
    return (
        Frame(
            name,
            points,
            truth,
            np.ones(len(points), bool),
            np.array(classes, np.int32),
            np.zeros((len(classes), 2), np.float32),
        ),
        Instances(
            labels,
            np.array([c for c, _ in predicted], np.int32),
            np.array([s for _, s in predicted], np.float32),
            boxes,
            NAMES,
        ),
    )


def evaluated(*scenes: Scene) -> Evaluator:
    evaluator = Evaluator(NAMES)
    for frame, instances in scenes:
        evaluator.add(frame, instances)
    return evaluator


def rows_of(evaluator: Evaluator, section: str) -> list[list[str]]:
    """Return the rows of a table on the page, without its header."""
    page = errors_markdown(evaluator, "streets")
    table = page.split(f"\n## {section}\n\n")[1].split("\n\n")[0]
    rows = [[c.strip() for c in line.split("|")[1:-1]] for line in table.splitlines()]
    return rows[2:]


def row_of(evaluator: Evaluator, section: str, *begin: str) -> list[str]:
    """Return the rest of the one row that begins with these cells."""
    (row,) = (row for row in rows_of(evaluator, section) if row[: len(begin)] == [*begin])
    return row[len(begin) :]


EVERYTHING = scene(
    [
        (1, 0, 20, 5.0),  # car 1: no prediction
        (2, 1, 10, 10.0),  # car 2: 10 of 20 points, IoU 0.5, no match: car .9 is a fragment
        (2, 0, 10, 12.0),
        (3, 2, 16, 30.0),  # person 3 is predicted as car .8
        (0, 3, 11, 44.0),  # person .7 has 10 of its 21 points on car 4, IoU 10 / 31: background
        (4, 3, 10, 40.0),  # car 4: overlapped only by a poor mask of a different class
        (4, 0, 10, 40.0),
        (5, 4, 12, 20.0),  # car 5: found
        (6, 0, 9, 20.0),  # car 6 and car .5 are small and ignored
        (0, 5, 9, 20.0),
        (-1, 0, 50, 20.0),
    ],
    [CAR, CAR, PERSON, CAR, CAR, CAR],
    [(CAR, 0.9), (CAR, 0.8), (PERSON, 0.7), (CAR, 0.6), (CAR, 0.5)],
    "everything",
)
PERFECT = scene([(1, 1, 20, 5.0), (0, 0, 30, 5.0)], [CAR], [(CAR, 0.9)], "perfect")
NOTHING = scene([], [], [], "nothing")


def test_reasons_of_errors() -> None:
    (comparison,) = evaluated(EVERYTHING).comparisons
    found = [
        (e.kind, e.class_name, e.number, e.x_m, e.y_m, e.points, e.best_iou, e.reason)
        for e in list_errors(comparison, NAMES)
    ]
    mean_x = (11 * 44 + 10 * 40) / 21
    assert found == [
        (MISSED, "car", 1, 5, 0, 20, 0, "no prediction"),
        (MISSED, "car", 2, 11, 0, 20, 0.5, "poor mask"),
        (MISSED, "person", 3, 30, 0, 16, 1, "other class"),
        (MISSED, "car", 4, 40, 0, 20, 10 / 31, "poor mask"),
        (FALSE_ALARM, "car", 1, 10, 0, 10, 0.5, "fragment"),
        (FALSE_ALARM, "car", 2, 30, 0, 16, 1, "wrong class"),
        (FALSE_ALARM, "person", 3, pytest.approx(mean_x), 0, 21, 10 / 31, "background"),
    ]


def test_errors_as_csv() -> None:
    lines = errors_csv(evaluated(NOTHING, EVERYTHING)).splitlines()
    assert lines[0] == "kind,class,frame,number,x_m,y_m,range_m,points,best_iou,score,reason"
    assert lines[1] == "missed,car,everything,1,5.00,0.00,5.00,20,0.000,,no prediction"
    assert lines[5] == "false alarm,car,everything,1,10.00,0.00,10.00,10,0.500,0.900,fragment"
    assert len(lines) == 1 + 7


def test_range_is_measured_from_the_sensor() -> None:
    frame, instances = scene([(1, 0, 10, 3.0)], [CAR], [])
    frame.points[:, 1] = -4
    (row,) = csv.DictReader(io.StringIO(errors_csv(evaluated((frame, instances)))))
    assert (row["x_m"], row["y_m"], row["range_m"]) == ("3.00", "-4.00", "5.00")


@pytest.mark.parametrize("scenes", [[], [NOTHING], [PERFECT], [NOTHING, PERFECT]])
def test_study_without_errors(scenes: list[Scene]) -> None:
    evaluator = evaluated(*scenes)
    assert len(errors_csv(evaluator).splitlines()) == 1
    assert worst_frames(evaluator.comparisons) == []
    assert rows_of(evaluator, "Kinds") == rows_of(evaluator, "Worst frames") == []
    right = str(scenes.count(PERFECT))
    rates = [right, "0", "100.0" if right == "1" else "-"]
    assert row_of(evaluator, "By class", "all") == rates * 2


def test_kinds_are_sorted_by_frequency() -> None:
    empty = scene([(1, 0, 10, 9.0), (2, 0, 40, 25.0)], [CAR, CAR], [])
    rows = rows_of(evaluated(EVERYTHING, empty), "Kinds")
    # Missed cars without prediction: 20 points at 5 m, 10 at 9 m, 40 at 25 m.
    assert rows[0] == ["car", "missed", "no prediction", "3", "33.3", "9", "20"]
    assert rows[1][:4] == ["car", "missed", "poor mask", "2"]
    assert sorted(row[3] for row in rows[2:]) == ["1"] * 4


def test_rates_by_class() -> None:
    evaluator = evaluated(EVERYTHING, PERFECT)
    assert row_of(evaluator, "By class", "all") == ["2", "4", "33.3", "2", "3", "40.0"]
    assert row_of(evaluator, "By class", "car") == ["2", "3", "40.0", "2", "2", "50.0"]
    assert row_of(evaluator, "By class", "person") == ["0", "1", "0.0", "0", "1", "0.0"]


@pytest.mark.parametrize(
    ("x_m", "bucket"),
    [(0, "0-10"), (9.99, "0-10"), (10, "10-20"), (39.99, "30-40"), (40, "40-50"), (50, "40-50")],
)
def test_range_buckets_include_their_lower_end(x_m: float, bucket: str) -> None:
    evaluator = evaluated(scene([(1, 0, 10, x_m), (0, 1, 10, x_m)], [CAR], [(CAR, 0.9)]))
    for row in rows_of(evaluator, "By range"):
        here = row[0] in ("all", "car") and row[1] == bucket
        assert row[2:] == (["0", "1", "0.0"] if here else ["0", "0", "-"]) * 2


@pytest.mark.parametrize(
    ("points", "bucket"),
    [(10, "1-19"), (19, "1-19"), (20, "20-49"), (299, "100-299"), (300, "300 or more")],
)
def test_point_buckets_include_their_lower_end(points: int, bucket: str) -> None:
    evaluator = evaluated(scene([(1, 0, points, 5.0)], [CAR], []))
    for row in rows_of(evaluator, "By judged points"):
        here = row[0] in ("all", "car") and row[1] == bucket
        assert row[2:5] == (["0", "1", "0.0"] if here else ["0", "0", "-"])


def test_small_segments_are_counted_only_if_matched() -> None:
    evaluator = evaluated(scene([(1, 1, 9, 5.0), (2, 0, 9, 5.0)], [CAR, CAR], [(CAR, 0.9)]))
    assert row_of(evaluator, "By judged points", "car", "1-19") == ["1", "0", "100.0"] * 2


def test_object_and_prediction_can_be_in_different_buckets() -> None:
    # The object is at 9.6 m, the prediction with 8 of its 10 points at 10.0 m.
    runs: list[Run] = [(1, 1, 8, 10.0), (1, 0, 2, 8.0)]
    evaluator = evaluated(scene(runs, [CAR], [(CAR, 0.9)]))
    nothing = ["0", "0", "-"]
    assert row_of(evaluator, "By range", "car", "0-10") == ["1", "0", "100.0", *nothing]
    assert row_of(evaluator, "By range", "car", "10-20") == [*nothing, "1", "0", "100.0"]


def test_worst_frames_come_first() -> None:
    one = scene([(0, 1, 10, 5.0)], [], [(CAR, 0.9)])
    two = scene([(0, 1, 10, 5.0), (1, 0, 10, 9.0)], [CAR], [(CAR, 0.9)])
    evaluator = evaluated(NOTHING, one, two, PERFECT, two, one)
    assert worst_frames(evaluator.comparisons) == [2, 4, 1, 5]
    assert worst_frames(evaluator.comparisons, 3) == [2, 4, 1]
    assert rows_of(evaluator, "Worst frames")[2] == ["[worst_3.png](worst_3.png)", "f", "0", "1"]
    assert len(worst_frames(evaluated(*[one] * 11).comparisons)) == 10


def test_reliability_of_scores() -> None:
    scored = [(0.95, 1), (1.0, 0), (0.3, 1), (0.29, 0), (0.0, 0)]
    runs: list[Run] = [(i * hit, i, 10, 5.0) for i, (_, hit) in enumerate(scored, 1)]
    runs.append((0, 6, 9, 5.0))  # a small false alarm is ignored
    predicted = [(CAR, score) for score, _ in scored] + [(CAR, 0.95)]
    evaluator = evaluated(scene(runs, [CAR] * 5, predicted))
    bins = class_reliability(evaluator)["car"]
    assert bins.num_predictions.tolist() == [1, 0, 1, 1, 0, 0, 0, 0, 0, 2]
    assert bins.mean_score[[0, 2, 3, 9]] == pytest.approx([0, 0.29, 0.3, 0.975])
    assert np.isnan(bins.mean_score[[1, 4]]).all()
    assert bins.precision[[0, 3, 9]].tolist() == [0, 1, 0.5]
    section = "Are the scores calibrated?"
    assert row_of(evaluator, section, "car", "0.9-1.0") == ["2", "97.5", "50.0"]
    assert len(rows_of(evaluator, section)) == 4
    assert class_reliability(evaluator)["person"].num_predictions.tolist() == [0] * 10


def test_study_agrees_with_the_measures() -> None:
    rng = np.random.default_rng(0)
    scenes = []
    for _ in range(10):
        truth, labels = rng.integers(-1, 9, 60), rng.integers(0, 9, 60)
        labels = np.where(rng.random(60) < 0.7, truth.clip(0), labels)
        truth[labels > 6] = 0
        sizes, xs = rng.integers(1, 30, 60), rng.uniform(0, 55, 60)
        runs = list(zip(truth.tolist(), labels.tolist(), sizes.tolist(), xs.tolist(), strict=True))
        predicted = [(int(rng.integers(2)), float(rng.random())) for _ in range(8)]
        scenes.append(scene(runs, rng.integers(0, 2, 8).tolist(), predicted))
    evaluator = evaluated(*scenes)
    errors = [e for c in evaluator.comparisons for e in list_errors(c, NAMES)]
    for name, result in evaluator.result().per_class.items():
        reasons = [e.reason for e in errors if (e.class_name, e.kind) == (name, FALSE_ALARM)]
        counts = [reasons.count(reason) for reason in ("background", "fragment", "wrong class")]
        assert counts == [result.fp_background, result.fp_fragment, result.fp_wrong_class]
        assert min(counts) > 0
        assert sum((e.class_name, e.kind) == (name, MISSED) for e in errors) == result.fn
        bins = class_reliability(evaluator)[name]
        assert np.nansum((1 - bins.precision) * bins.num_predictions) == pytest.approx(result.fp)
        assert result.fp < bins.num_predictions.sum() <= result.fp + result.tp
        for section in ("By range", "By judged points", "By length"):
            rows = [row for row in rows_of(evaluator, section) if row[0] == name]
            sums = [sum(int(row[column]) for row in rows) for column in (2, 3, 5, 6)]
            assert sums == [result.tp, result.fn, result.tp, result.fp]


def ring_of(path: Path, panel: int, colour: str) -> np.ndarray:
    """Return (M, 2) x, y in metres of the pixels with this colour on a map of a picture."""
    left = panel * PANEL_PX + MAP_LEFT_PX
    picture = imread(path)[::-1][MAP_BOTTOM_PX : MAP_BOTTOM_PX + MAP_PX, left : left + MAP_PX, :3]
    row, column = np.nonzero(np.abs(picture - to_rgb(colour)).max(axis=2) < 0.05)
    return np.column_stack([row, MAP_PX - column]) * 100 / MAP_PX - 50


def sectors_with(xy: np.ndarray) -> int:
    """Count the sectors of 5 degrees around the origin that contain one of these positions."""
    return len(np.unique(np.floor(np.degrees(np.arctan2(*xy.T)) / 5) % 72))


def test_false_alarms_are_ringed(tmp_path: Path) -> None:
    frame, instances = scene([(0, 1, 12, 20.0), (1, 2, 12, 5.0)], [CAR], [(CAR, 0.9)] * 2)
    comparison = Evaluator(NAMES).compare(frame, instances)
    draw_errors(frame, instances, comparison, tmp_path / "a.png")
    found, dashed = (ring_of(tmp_path / "a.png", panel, FALSE_POSITIVE_COLOUR) for panel in (0, 1))
    for pixels, radius_m in ((found, 1.5), (dashed, 2.0)):  # and no ring at 5 m
        np.testing.assert_allclose(np.hypot(*(pixels - (20, 0)).T), radius_m, atol=0.25)
    assert sectors_with(found - (20, 0)) == 72
    assert 30 < sectors_with(dashed - (20, 0)) < 65


def test_the_right_missed_objects_are_ringed(tmp_path: Path) -> None:
    # Object 1 has no points and is not drawn; object 2 is found, object 3 is missed.
    frame, instances = scene([(2, 1, 12, 5.0), (3, 0, 12, -20.0)], [CAR] * 3, [(CAR, 0.9)])
    comparison = Evaluator(NAMES).compare(frame, instances)
    draw_errors(frame, instances, comparison, tmp_path / "a.png")
    pixels = ring_of(tmp_path / "a.png", 1, MISSED_COLOUR)
    assert len(pixels) > 100
    np.testing.assert_allclose(np.hypot(*(pixels - (-20, 0)).T), 1.5, atol=0.25)


def test_reliability_diagram(tmp_path: Path) -> None:
    for evaluator in (evaluated(), evaluated(EVERYTHING)):
        draw_reliability(class_reliability(evaluator), tmp_path / "a.png")
        assert imread(tmp_path / "a.png").shape[1] == 2 * 4 * 200
