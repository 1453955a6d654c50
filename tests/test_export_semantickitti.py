"""``.label`` files scored by the rules of SemanticKITTI's panoptic evaluation.

The evaluation below is written from those rules. Labels have 32 bits: the lower 16 are mapped to a
learning class, and all 32 identify the instance. Points whose true class is void do not count.
Within a class, a pair with IoU > 0.5 matches; an unmatched instance counts if it has enough points.
"""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bev_instseg.config import CLASSES
from bev_instseg.export import Cloud, write_result
from bev_instseg.structures import Instances

CAR, PERSON, CYCLIST = 1, 6, 7  # learning classes
LEARNING_MAP = {
    **{0: 0, 1: 0, 10: 1, 11: 2, 13: 5, 15: 3, 16: 5, 18: 4, 20: 5, 30: 6, 31: 7, 32: 8, 40: 9},
    **{44: 10, 48: 11, 49: 12, 50: 13, 51: 14, 52: 0, 60: 9, 70: 15, 71: 16, 72: 17, 80: 18},
    **{81: 19, 99: 0, 252: 1, 253: 7, 254: 6, 255: 8, 256: 5, 257: 5, 258: 4, 259: 5},
}  # SemanticKITTI's configuration for single sweeps
Words = NDArray[np.uint32]
Int64 = NDArray[np.int64]


def panoptic_quality(
    found: tuple[Int64, Int64], truth: tuple[Int64, Int64], num_classes: int, min_points: int
) -> dict[int, tuple[float, int, int, int]]:
    """PQ, TP, FP and FN of each class except 0; both arguments are (class, instance) per point."""
    counted = truth[0] != 0
    results = {}
    for c in range(1, num_classes):
        sides = []
        for classes, numbers in (found, truth):
            ids = np.where(classes == c, numbers + 1, 0)[counted]
            sides.append(
                (ids, dict(zip(*np.unique(ids[ids > 0], return_counts=True), strict=True)))
            )
        (found_ids, found_areas), (true_ids, true_areas) = sides
        both = (found_ids > 0) & (true_ids > 0)
        pairs, shared = np.unique(
            np.stack([found_ids[both], true_ids[both]]), axis=1, return_counts=True
        )
        matches = []
        for p, t, n in zip(*pairs, shared, strict=True):
            iou = n / (found_areas[p] + true_areas[t] - n)
            if iou > 0.5:
                matches.append((p, t, iou))
        found_alone = found_areas.keys() - {p for p, _, _ in matches}
        true_alone = true_areas.keys() - {t for _, t, _ in matches}
        tp = len(matches)
        fp = sum(found_areas[p] >= min_points for p in found_alone)
        fn = sum(true_areas[t] >= min_points for t in true_alone)
        quality = sum(iou for *_, iou in matches) / max(tp + fp / 2 + fn / 2, 1e-15)
        results[c] = (quality, tp, fp, fn)
    return results


def evaluate_files(
    found: Path, truth: Path, min_points: int = 50
) -> dict[int, tuple[float, int, int, int]]:
    """Compute `panoptic_quality` for two ``.label`` files."""

    def side(path: Path) -> tuple[Int64, Int64]:
        words = np.fromfile(path, np.uint32).astype(np.int64)
        classes = np.array([LEARNING_MAP[c] for c in (words & 0xFFFF).tolist()], np.int64)
        return classes, words

    return panoptic_quality(side(found), side(truth), 20, min_points)


def written(out: Path, labels: list[int], classes: list[int]) -> Path:
    """Write the ``.label`` file of a sweep with these labels and classes of the instances."""
    k, n = len(classes), len(labels)
    found = Instances(
        np.array(labels, np.int32),
        np.array(classes, np.int32),
        np.linspace(0.9, 0.5, k, dtype=np.float32),
        np.ones((k, 7), np.float32),
        tuple(c.name for c in CLASSES),
    )
    points = Cloud(np.zeros((n, 3), np.float32), np.zeros(n, np.float32))
    return write_result(out / "000000", points, found, CLASSES)[0]


def test_the_evaluation_agrees_with_the_original() -> None:
    """The example of Kirillov et al. (Panoptic Segmentation) that the original is tested with.

    Grass and sky have 40 of 50 points right each; a dog is found as a person; people of 150, 50 and
    100 points are found as one of 200 and one of 100.
    """
    runs = np.array(
        [  # predicted class, instance; true class, instance; number of points
            (0, 0, 0, 0, 50),
            *((1, 0, 1, 0, 40), (2, 0, 1, 0, 10), (2, 0, 2, 0, 40), (1, 0, 2, 0, 10)),
            (3, 35, 4, 22, 50),
            *((3, 8, 3, 33, 150), (3, 8, 3, 42, 50), (3, 95, 3, 11, 100)),
        ]
    )
    columns = np.repeat(runs[:, :4], runs[:, 4], axis=0).T
    results = panoptic_quality((columns[0], columns[1]), (columns[2], columns[3]), 5, 1)
    expected = {1: 2 / 3, 2: 2 / 3, 3: 0.58333333, 4: 0}
    assert {c: quality for c, (quality, *_) in results.items()} == pytest.approx(expected)
    assert np.mean([quality for quality, *_ in results.values()]) == pytest.approx(0.47916666666666)


def test_a_file_against_itself_is_perfect(tmp_path: Path) -> None:
    labels = np.repeat(range(6), (300, 200, 60, 90, 70, 50)).tolist()
    path = written(tmp_path, labels, [0, 1, 2, 0, 1])
    assert path.stat().st_size == 4 * len(labels)
    results = evaluate_files(path, path)
    things = {CAR: (1.0, 2, 0, 0), PERSON: (1.0, 2, 0, 0), CYCLIST: (1.0, 1, 0, 0)}
    assert results == {c: things.get(c, (0.0, 0, 0, 0)) for c in range(1, 20)}
    words = np.fromfile(path, np.uint32)
    assert len(np.unique(words)) == 6, "a label of its own for each instance"


def test_quality_of_a_doctored_file_equals_that_by_hand(tmp_path: Path) -> None:
    # Ground truth: road, cars of 200 and 90 points, people of 60, 70 and 49, a cyclist of 50.
    sizes = (300, 200, 90, 60, 70, 49, 50)
    truth = np.repeat(range(7), sizes)
    truth_path = written(tmp_path / "truth", truth.tolist(), [0, 0, 1, 1, 1, 2])
    words = np.fromfile(truth_path, np.uint32)
    words[:300] = 40
    words.tofile(truth_path)

    found = truth.copy()
    starts = np.cumsum((0, *sizes))
    found[starts[1] : starts[1] + 40] = 0  # car 1: 160 of 200 found, IoU 0.8
    found[starts[2] : starts[2] + 45] = 1  # half of car 2 goes to car 1 (205 points in all)
    # so car 1 has IoU 160 / (205 + 200 - 160) = 32 / 49, and car 2 has 45 / 90 = 0.5: no match
    found[starts[4] : starts[5]] = 3  # people 3 and 4 become one of 130: IoU 70 / 130 with 4
    found[starts[5] : starts[6]] = 0  # the person of 49 points is missed: too few to count
    classes = [0, 0, 1, 1, 1, 0]  # and the cyclist is found as a car
    results = evaluate_files(written(tmp_path / "found", found.tolist(), classes), truth_path)
    # The other half of car 2 has 45 points, too few to count; the false car has 50.
    assert results[CAR] == (pytest.approx(32 / 49 / (1 + 0.5 + 0.5)), 1, 1, 1)
    assert results[PERSON] == (pytest.approx(7 / 13 / (1 + 0.5)), 1, 0, 1)
    assert results[CYCLIST] == (0.0, 0, 0, 1)
    assert all(results[c] == (0.0, 0, 0, 0) for c in (2, 3, 4, 5, 8)), "no other class appears"
    assert results[9] == (0.0, 0, 0, 1), "road: only objects are written"


def test_default_classes_are_in_the_learning_map() -> None:
    codes = {c.name: LEARNING_MAP[c.label] for c in CLASSES}
    assert codes == {"vehicle": CAR, "pedestrian": PERSON, "cyclist": CYCLIST}
