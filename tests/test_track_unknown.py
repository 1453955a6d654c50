"""Unknown things over time: their ids, and that they leave the known objects alone."""

import numpy as np
import pytest
from conftest import ROOT
from tracks import CLASSES, instances_of

from bev_instseg import Segmenter, read_scan
from bev_instseg.structures import UNKNOWN
from bev_instseg.tracking.learned_centres import learned_centres
from bev_instseg.tracking.smooth import smooth
from bev_instseg.tracking.tracked import TrackedInstances
from bev_instseg.tracking.tracker import Tracker

NAMES = (*CLASSES, UNKNOWN)
Row = tuple[str, float, float, float, float]


def street(i: int, rng: np.random.Generator) -> tuple[list[Row], list[Row]]:
    """Known objects, some in doubt, and unknown things close to them."""
    known = [
        ("vehicle", 5 + 0.8 * i + rng.normal(0, 0.1), 4.0, 0.0, 0.9),
        ("vehicle", 12.0, -5 + rng.normal(0, 0.1), 1.5, rng.uniform(0.3, 0.9)),
        ("pedestrian", 8.0, 0.15 * i, 0.0, rng.uniform(0.3, 0.7)),
    ]
    if i % 4 == 2:
        known.append(("pedestrian", 20.0, 9.0, 0.0, 0.35))
    posts = [(UNKNOWN, x + rng.normal(0, 0.05), y, 0.0, 0.0) for x in range(4, 22, 3)
             for y in (-4.0, 0.7, 4.5)]  # fmt: skip
    return known, posts


def followed(has_unknown: bool, both_ways: bool) -> list[TrackedInstances]:
    tracker, rng, results = Tracker(), np.random.default_rng(5), {}
    for i in range(15):
        known, posts = street(i, rng)
        rows = known + posts if has_unknown else known
        results[i] = tracker.update_instances(
            instances_of(rows, NAMES if has_unknown else CLASSES), 0.1 * i
        )
    return list((smooth(results) if both_ways else results).values())


@pytest.mark.parametrize("both_ways", [False, True])
def test_known_objects_are_the_same_with_and_without_unknown_things(both_ways: bool) -> None:
    new_id: dict[int, int] = {}
    for alone, among in zip(followed(False, both_ways), followed(True, both_ways), strict=True):
        sure = alone.confirmed()
        known = among.take(np.flatnonzero(~among.instances.is_unknown))
        np.testing.assert_array_equal(known.instances.classes, sure.instances.classes)
        np.testing.assert_array_equal(known.instances.scores, sure.instances.scores)
        for column in ("position_m", "velocity_mps", "heading_rad", "moving", "age_s"):
            np.testing.assert_array_equal(
                getattr(known.tracks, column), getattr(sure.tracks, column)
            )
        for old, new in zip(sure.tracks.ids.tolist(), known.tracks.ids.tolist(), strict=True):
            assert new_id.setdefault(old, new) == new
    assert len(new_id) == len(set(new_id.values())) == 3


@pytest.mark.parametrize("both_ways", [False, True])
def test_unknown_things_keep_their_ids_and_never_move(both_ways: bool) -> None:
    results = followed(True, both_ways)
    for result in results:
        assert result.tracks.confirmed.all()
        assert len(set(result.tracks.ids.tolist())) == len(result)
        posts = result.take(np.flatnonzero(result.tracks.seen_classes == NAMES.index(UNKNOWN)))
        assert posts.tracks.ids.tolist() == list(range(4, 22))  # after the three objects
        assert not posts.tracks.moving.any()
        assert not posts.instances.scores.any()
        assert posts.instances.is_unknown.all()
        last = posts.tracks.velocity_mps
    assert np.hypot(*last.T).max() < 0.5


def test_what_is_in_doubt_is_unknown_and_keeps_its_id() -> None:
    tracker, kinds = Tracker(), []
    for i in range(6):
        rows = [("pedestrian", 7.0, 1.0, 0.0, 0.5)]
        result = tracker.update_instances(instances_of(rows, NAMES), 0.1 * i)
        [one] = result.confirmed()
        assert one.id == 1
        kinds.append(one.instance.name)
        assert (one.instance.score == 0) == (one.instance.name == UNKNOWN)
        np.testing.assert_array_equal(result.as_seen().scores, np.float32([0.5]))
        assert result.as_seen().class_names[result.as_seen().classes[0]] == "pedestrian"
    assert kinds == sorted(kinds, reverse=True)  # unknown, then pedestrian
    assert set(kinds) == {UNKNOWN, "pedestrian"}


def test_what_is_in_doubt_does_not_move() -> None:
    tracker = Tracker()
    for i in range(25):
        rows = [("vehicle", 5 + 1.0 * i, 1.0, 0.0, 0.3)]
        result = tracker.update_instances(instances_of(rows, NAMES), 0.1 * i)
        assert result.instances.is_unknown.all()
        assert not result.tracks.moving.any()


def test_a_thing_that_becomes_known_is_another_track() -> None:
    """A box that belongs to something known is not where its unknown part was."""
    tracker = Tracker()
    for i in range(4):
        name, score = (UNKNOWN, 0.0) if i < 2 else ("pedestrian", 0.9)
        result = tracker.update_instances(
            instances_of([(name, 6.0, 2.0, 0.0, score)], NAMES), 0.1 * i
        )
        assert result.tracks.ids.tolist() == [1 if i < 2 else 2]


def test_the_centre_of_an_unknown_thing_is_that_of_its_box() -> None:
    points = read_scan(ROOT / "demo" / "sequences" / "00" / "velodyne" / "000000.bin")
    found = Segmenter.from_pretrained(device="cpu", unknown=True).segment_with_maps(points)
    boxes, unknown = found.instances.boxes, found.instances.is_unknown
    centres_m = learned_centres(found)
    np.testing.assert_array_equal(centres_m[unknown], boxes[unknown, :2])
    assert (centres_m[~unknown] != boxes[~unknown, :2]).all()
    assert 0 < unknown.sum() < len(unknown)
