"""The tracker: ids that last, velocities, headings, and false alarms that die."""

import time
from dataclasses import replace

import numpy as np
import pytest
from tracks import (
    CLASSES,
    instances_of,
    plain_correction,
    plain_filter,
    pose_of,
    straight,
)

from bev_instseg.tracking import evidence
from bev_instseg.tracking.association import associate
from bev_instseg.tracking.kalman import correct, predict, squared_distance
from bev_instseg.tracking.smooth import smooth
from bev_instseg.tracking.state import BEHAVIOURS
from bev_instseg.tracking.tracked import TrackedInstances
from bev_instseg.tracking.tracker import Tracker
from bev_instseg.tracking.whole_path import Sightings, whole_path


def drive(paths, sweeps=20, score=0.9, pose=None, hidden=(), noise_m=0.0):
    """Track things on paths of (class, path, yaw); hidden are pairs of thing and sweep.

    Returns the result of each sweep, and the id of each thing in each sweep, 0 for none.
    """
    rng = np.random.default_rng(0)
    tracker, results, ids = Tracker(), [], np.zeros((sweeps, len(paths)), int)
    for i in range(sweeps):
        now = pose(0.1 * i) if pose else np.eye(4)
        rows, things = [], []
        for k, (name, path, yaw) in enumerate(paths):
            if (k, i) in hidden:
                continue
            xy = np.array(path(0.1 * i)) + rng.normal(0, noise_m, 2)
            x, y = now[:2, :2].T @ (xy - now[:2, 3])
            turn = np.arctan2(now[1, 0], now[0, 0])
            # A weight too small to matter keeps the order of the rows that of the things.
            rows.append((name, x, y, yaw - turn, score - 1e-5 * k))
            things.append(k)
        results.append(tracker.update_instances(instances_of(rows), 0.1 * i, now))
        found = {}
        for one in results[-1]:
            place = np.array(one.instance.box[:2])
            distance = [np.hypot(*(place - row[1:3])) for row in rows]
            found[things[int(np.argmin(distance))]] = one.id
        ids[i] = [found.get(k, 0) for k in range(len(paths))]
    return results, ids


def test_the_filter_equals_a_plain_one() -> None:
    rng = np.random.default_rng(0)
    mean, root = rng.normal(0, 5, (7, 4)), rng.normal(0, 1, (7, 4, 4))
    covariance = root @ np.swapaxes(root, 1, 2) + np.eye(4)
    acceleration, noise = rng.uniform(1, 3, 7), np.tile(np.diag([0.3, 0.1]), (7, 1, 1))
    noise[:, 0, 1] = noise[:, 1, 0] = 0.05
    measured = mean[:, :2] + rng.normal(0, 1, (7, 2))
    ahead, wider = predict(mean, covariance, 0.13, acceleration)
    better, narrower = correct(ahead, wider, measured, noise)
    distance = squared_distance(ahead, wider, measured, noise)
    for t in range(7):
        one, spread = plain_filter(mean[t], covariance[t], 0.13, acceleration[t])
        np.testing.assert_allclose(ahead[t], one, rtol=1e-12)
        np.testing.assert_allclose(wider[t], spread, rtol=1e-12)
        corrected, narrow, _ = plain_correction(one, spread, measured[t], noise[t])
        np.testing.assert_allclose(better[t], corrected, rtol=1e-9)
        np.testing.assert_allclose(narrower[t], narrow, rtol=1e-8, atol=1e-10)
        for d in range(7):
            expected = plain_correction(one, spread, measured[d], noise[d])[2]
            assert distance[t, d] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", CLASSES)
def test_crossing_objects_keep_their_ids(name: str) -> None:
    speed = 8.0 if name == "vehicle" else 1.5
    way = speed * 1.0  # they pass each other, two metres apart, after one second
    paths = [
        (name, straight(15 - way, 4, speed, 0), 0.0),
        (name, straight(15 + way, 6.2, -speed, 0), 0.0),
    ]
    _, ids = drive(paths, noise_m=0.03)
    assert len(set(ids[:, 0])) == len(set(ids[:, 1])) == 1
    assert ids[0, 0] != ids[0, 1]


def test_an_object_keeps_its_id_behind_another_one() -> None:
    paths = [
        ("vehicle", straight(8, 0), 1.57),
        ("cyclist", straight(16, -6, 0, 5.0), 1.57),
    ]
    hidden = {(1, i) for i in range(10, 15)}
    _, ids = drive(paths, sweeps=25, hidden=hidden)
    seen = ids[:, 1][ids[:, 1] > 0]
    assert len(seen) == 20
    assert len(set(seen)) == 1


def test_an_object_that_is_gone_for_long_gets_a_new_id() -> None:
    _, ids = drive(
        [("pedestrian", straight(9, 2), 0.0)], 60, hidden={(0, i) for i in range(10, 50)}
    )
    assert ids[5, 0] != ids[55, 0]


@pytest.mark.parametrize(("period_s", "pause_s", "kept"), [(0.1, 60.0, 0), (3.0, 12.0, 1)])
def test_after_a_pause_objects_are_new(period_s: float, pause_s: float, kept: int) -> None:
    tracker, stamp_s, results = Tracker(), 0.0, []
    for i in range(8):
        stamp_s += pause_s if i == 4 else period_s
        rows = [("vehicle", 10.0, 3.0, 0.0, 0.9)]
        results.append(tracker.update_instances(instances_of(rows), stamp_s))
    ids = [int(one.tracks.ids[0]) for one in results]
    assert ids == ([1] * 8 if kept else [1] * 4 + [2] * 4)
    expected = () if kept else ("a pause of 60.0 s: all objects get new ids",)
    assert [one.notices for one in results] == [(), (), (), (), expected, (), (), ()]


def test_a_long_gap_after_the_first_sweep_is_a_pause() -> None:
    tracker = Tracker()
    for stamp_s, number in ((0.0, 1), (60.0, 2), (60.1, 2)):
        found = tracker.update_instances(instances_of([("vehicle", 9.0, 3.0, 0.0, 0.9)]), stamp_s)
        assert found.tracks.ids.tolist() == [number]


def test_where_the_pose_jumps_objects_are_new() -> None:
    tracker, results = Tracker(), []
    for i in range(12):  # 30 m/s, then full braking; odometry begins at 0 again in sweep 6
        x = 3.0 * i - 0.5 * 0.1 * max(0, i - 8) ** 2
        pose = pose_of(x if i < 6 else x - 15.0)
        rows = [("vehicle", 20 - x % 3.0, 3.0, 0.0, 0.9)]
        results.append(tracker.update_instances(instances_of(rows), 0.1 * i, pose))
    said = [one.notices for one in results]
    assert said.pop(6) == ("the pose of the sensor jumps by 15.0 m: all objects get new ids",)
    assert not any(said)
    before, after = ({i for r in part for i in r.tracks.ids} for part in (results[:6], results[6:]))
    assert not before & after


def test_a_false_alarm_that_flickers_dies_and_a_steady_object_lives() -> None:
    tracker, flickers, steady = Tracker(), [], []
    for i in range(30):
        rows = [("pedestrian", 12.0, 3.0, 0.0, 0.5)]
        if i % 4 == 0:
            rows.append(("pedestrian", 25.0, -8.0, 0.0, 0.47))
        result = tracker.update_instances(instances_of(rows), 0.1 * i).confirmed()
        near = [one.instance.box[0] < 20 for one in result]
        steady.append(any(near))
        flickers.append(not all(near))
    assert not any(flickers)
    assert all(steady[2:])
    assert not steady[0]  # a weak one needs support


def test_a_strong_object_is_there_at_once_and_scores_change_with_evidence() -> None:
    results, _ = drive([("vehicle", straight(10, 3), 0.0)], 5, score=0.9)
    assert len(results[0].confirmed()) == 1
    scores = [float(result.instances.scores[0]) for result in results]
    assert scores[0] == pytest.approx(0.9)
    assert scores == sorted(scores)
    assert scores[-1] > 0.98
    assert results[-1].tracks.seen_scores[0] == np.float32(0.9)


def test_a_class_that_flips_is_outvoted() -> None:
    tracker = Tracker()
    for i in range(12):
        name = "pedestrian" if i in (4, 8) else "cyclist"
        rows = [(name, 10 + 0.4 * i, 2.0, 0.0, 0.8)]
        [one] = tracker.update_instances(instances_of(rows), 0.1 * i)
        assert one.instance.name == "cyclist"
        assert one.id == 1


def test_a_turning_sensor_does_not_make_parked_cars_move() -> None:
    parked = [("vehicle", straight(x, y), 0.0) for x in (5, 11, 17, 23) for y in (-4, 4)]

    def pose(time_s: float) -> np.ndarray:
        return pose_of(4 * time_s, 0.5 * time_s, 0.6 * time_s)  # 34 degrees a second

    results, ids = drive(parked, 30, pose=pose, noise_m=0.05)
    assert all(len(set(column)) == 1 for column in ids.T)
    for result in results:
        assert not result.tracks.moving.any()
        assert not result.tracks.front_known.any()
    speed = np.hypot(*results[-1].tracks.velocity_mps.T)
    assert speed.max() < 0.5
    lengthwise = np.abs(np.sin(results[-1].tracks.heading_rad))
    assert lengthwise.max() < 0.02  # the axis of the box


@pytest.mark.parametrize("course", [0.3, 2.5, -1.2])
def test_velocity_and_heading_of_a_mover(course: float) -> None:
    vx, vy = 9 * np.cos(course), 9 * np.sin(course)
    start = straight(20 - 1.5 * vx, 5 - 1.5 * vy, vx, vy)
    yaw = course if abs(course) < np.pi / 2 else course - np.pi  # boxes have no front
    results, ids = drive(
        [("vehicle", start, yaw)], 30, pose=lambda t: pose_of(3 * t, 0, 0.2 * t), noise_m=0.04
    )
    assert len(set(ids[:, 0])) == 1
    [last] = results[-1]
    assert np.hypot(*(np.array(last.velocity_mps) - (vx, vy))) < 0.05 * 9
    assert abs(np.angle(np.exp(1j * (last.heading_rad - course)))) < 0.02
    assert last.moving
    pose = results[-1].pose
    seen = results[-1].velocity_in_sensor_frame_mps[0]
    np.testing.assert_allclose(pose[:2, :2] @ seen, last.velocity_mps, atol=1e-9)
    place = results[-1].position_in_sensor_frame_m[0]
    np.testing.assert_allclose(place[:2], last.instance.box[:2], atol=0.2)


def test_a_car_that_stops_stands_and_keeps_its_front() -> None:
    def braking(time_s: float) -> tuple[float, float]:
        t = min(time_s, 2.0)
        return 25 - (8 * t - 2 * t * t), 3.0  # drives towards -x, stands after 2 s

    results, _ = drive([("vehicle", braking, 0.0)], 40)
    assert results[10].tracks.moving[0]
    assert not results[-1].tracks.moving[0]
    assert results[-1].tracks.front_known[0]
    assert abs(abs(results[-1].tracks.heading_rad[0]) - np.pi) < 0.05


def test_times_and_poses_that_cannot_be_are_refused() -> None:
    tracker, one = Tracker(), instances_of([("vehicle", 9.0, 0.0, 0.0, 0.9)])
    tracker.update_instances(one, 5.0)
    for stamp_s in (5.0, 4.9):
        with pytest.raises(ValueError, match="stamp_s must be later"):
            tracker.update_instances(one, stamp_s)
    for stamp_s in (np.nan, np.inf, 1.5e12, 1.5e18):
        with pytest.raises(ValueError, match="stamp_s must be in seconds, got"):
            tracker.update_instances(one, stamp_s)
    for pose in (
        np.eye(3),
        np.diag([2.0, 1, 1, 1]),
        np.full((4, 4), np.nan),
        np.diag([-1.0, 1, 1, 1]),
    ):
        with pytest.raises(ValueError, match="pose must be"):
            tracker.update_instances(one, 5.1, pose)
    with pytest.raises(ValueError, match="no segmenter"):
        tracker.update(np.zeros((1, 4), np.float32), 6.0)
    [result] = tracker.update_instances(one, 5.1)  # nothing was changed by the refused ones
    assert result.id == 1
    assert result.age_s == pytest.approx(0.1)


def test_irregular_times_are_handled() -> None:
    tracker, stamps = Tracker(), np.cumsum([0.0, 0.1, 0.1, 0.3, 0.05, 0.1, 0.2, 0.1, 0.1, 0.1])
    for stamp in stamps:
        rows = [("vehicle", 5 + 8 * stamp, 3.0, 0.0, 0.9)]
        [one] = tracker.update_instances(instances_of(rows), float(stamp))
        assert one.id == 1
    assert one.velocity_mps[0] == pytest.approx(8, rel=0.05)


def test_empty_sweeps_and_sweeps_without_points() -> None:
    tracker = Tracker()
    nothing = instances_of([])
    assert len(tracker.update_instances(nothing, 0.0)) == 0
    first = tracker.update_instances(instances_of([("vehicle", 9.0, 0.0, 0.0, 0.9)]), 0.1)
    assert len(tracker.update_instances(nothing, 0.2).confirmed()) == 0
    again = tracker.update_instances(instances_of([("vehicle", 9.0, 0.0, 0.0, 0.9)]), 0.3)
    assert first.tracks.ids[0] == again.tracks.ids[0]


def test_points_get_the_ids_of_their_tracks() -> None:
    rows = [("vehicle", 9.0, 0.0, 0.0, 0.9), ("pedestrian", 5.0, 5.0, 0.0, 0.4)]
    result = Tracker().update_instances(instances_of(rows), 0.0)
    np.testing.assert_array_equal(result.track_ids, result.tracks.ids[result.instances.labels - 1])
    kept = result.confirmed()
    assert kept.instances.labels.tolist() == [1, 0]
    assert kept.track_ids.tolist() == [int(kept.tracks.ids[0]), 0]


def crowd(count: int = 300) -> list:
    places = np.stack(np.meshgrid(np.arange(20) - 9.5, np.arange(15) - 7.0), -1).reshape(-1, 2)
    return [
        (CLASSES[k % 3], straight(4 * x, 4 * y, 0.3 * (k % 5), 0), 0.2 * k)
        for k, (x, y) in enumerate(places[:count])
    ]


def test_300_objects_are_tracked_in_milliseconds() -> None:
    paths, tracker, times = crowd(), Tracker(), []
    for i in range(12):
        rows = [(name, *path(0.1 * i), yaw, 0.9) for name, path, yaw in paths]
        one = instances_of(rows)
        start = time.perf_counter()
        result = tracker.update_instances(one, 0.1 * i)
        times.append(time.perf_counter() - start)
    assert set(result.tracks.ids.tolist()) == set(range(1, 301))
    assert min(times) < 0.05  # 5 ms on an idle core


def test_the_same_sweeps_give_the_same_tracks() -> None:
    def columns(results: list[TrackedInstances]) -> list[np.ndarray]:
        return [
            column
            for result in results
            for column in (result.tracks.ids, result.tracks.velocity_mps, result.instances.scores)
        ]

    once, twice = (columns(drive(crowd(60), 10, noise_m=0.2)[0]) for _ in range(2))
    for one, other in zip(once, twice, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_cheapest_assignment_is_taken_as_a_whole() -> None:
    """The nearest pair first would leave the other track without an instance."""
    tracker = Tracker()
    rows = [("pedestrian", 10.0, 0.0, 0.0, 0.9), ("pedestrian", 10.0, 0.6, 0.0, 0.8)]
    tracker.update_instances(instances_of(rows), 0.0)
    state = tracker._state
    assert state is not None
    centres = np.array([[10.0, 0.5], [10.0, 1.0]])
    tracks, found = associate(
        state, centres, np.tile(0.04 * np.eye(2), (2, 1, 1)), state.size_m, np.array([1, 1])
    )
    assert dict(zip(tracks.tolist(), found.tolist(), strict=True)) == {0: 0, 1: 1}


def test_evidence_is_a_probability_and_forgets() -> None:
    scores = np.array([0.2, 0.5, 0.9])
    np.testing.assert_allclose(evidence.probability(evidence.log_odds(scores)), scores, rtol=1e-6)
    belief = np.array([6.0])
    for _ in range(5):
        belief = evidence.missed(belief)
    assert belief[0] < evidence.DOUBT


def test_looking_both_ways() -> None:
    """A weak start is accepted, and the class is that of the majority."""
    tracker, causal = Tracker(), {}
    for i in range(12):
        name = "pedestrian" if i < 3 else "cyclist"
        rows = [(name, 8 + 0.1 * i, 2.0, 0.0, 0.5 if i < 3 else 0.9)]
        rows += [("pedestrian", 20.0, -9.0, 0.0, 0.5)] * (i == 5)  # never seen again
        causal[i] = tracker.update_instances(instances_of(rows), 0.1 * i)
    both = smooth(causal)
    assert list(both) == list(range(12))
    assert not len(causal[0].confirmed())
    for i in range(12):
        [one] = both[i].confirmed()
        assert one.instance.name == "cyclist"
        assert one.id == 1
    assert both[0].instances.scores[0] > causal[0].instances.scores[0]
    np.testing.assert_array_equal(both[5].tracks.seen_scores, causal[5].tracks.seen_scores)
    assert smooth({}) == {}


@pytest.mark.parametrize(
    ("x", "gaps", "is_hidden", "expected"),
    [
        (20.0, range(3, 10), True, 5),  # a van stands in front of it
        (47.0, range(1, 12, 2), False, 6),  # too far away to be seen in each sweep
        (37.0, range(1, 12, 2), False, 0),  # a false alarm
    ],
)
def test_looking_both_ways_keeps_what_could_not_be_seen(
    x: float, gaps: range, is_hidden: bool, expected: int
) -> None:
    tracker, causal = Tracker(), {}
    for i in range(12):
        rows = [("vehicle", 8.0, 0.0, 1.57, 0.95)] * (is_hidden and i in gaps)
        rows += [("pedestrian", x, 0.0, 0.0, 0.5 if x < 30 else 0.6)] * (i not in gaps)
        causal[i] = tracker.update_instances(
            instances_of(rows), 0.1 * i, pose_of(100 + 0.1 * i, 50, 0.7)
        )
    found = [one for sweep in smooth(causal).values() for one in sweep.confirmed()]
    assert sum(one.instance.name == "pedestrian" for one in found) == expected


def one_of_class(name: str, speed_mps: float) -> dict[int, TrackedInstances]:
    """The results for a thing as small as a person that moves ahead for three seconds."""
    tracker, causal = Tracker(), {}
    for i in range(30):
        rows = [("pedestrian", 5 + 0.1 * i * speed_mps, 2.0, 0.0, 0.9)]
        named = replace(instances_of(rows), class_names=("a", name, "b"))
        causal[i] = tracker.update_instances(named, 0.1 * i)
    assert causal[29].tracks.ids.tolist() == [1]
    return causal


@pytest.mark.parametrize(
    ("name", "moves"),
    [
        *(("pedestrian", True), ("Person", True), ("people", True), ("Pedestrians", True)),
        *(("cyclist", True), ("Motorcycle", True), ("vehicle", False), ("robot", False)),
    ],
)
def test_whether_a_slow_object_moves_depends_on_the_name_of_its_class(
    name: str, moves: bool
) -> None:
    assert one_of_class(name, 1.3)[29].tracks.moving.tolist() == [moves]


@pytest.mark.parametrize(("name", "moves"), [("marking", False), ("Kerbs", False), ("robot", True)])
def test_lines_never_move(name: str, moves: bool) -> None:
    """The part of a line that the sensor sees moves along with the sensor."""
    causal = one_of_class(name, 8.0)
    assert causal[29].tracks.moving.tolist() == [moves]
    assert smooth(causal)[15].tracks.moving.tolist() == [moves]


def test_a_smoothed_path_is_the_most_probable_one() -> None:
    """The same as the solution of all equations of motion and measurement at once."""
    rng = np.random.default_rng(3)
    stamps_s = np.cumsum(rng.uniform(0.05, 0.3, 9))
    xy_m = np.column_stack([4 * stamps_s, 2 - stamps_s]) + rng.normal(0, 0.2, (9, 2))
    roots = rng.normal(0, 0.2, (9, 2, 2)) + 0.3 * np.eye(2)
    noise = roots @ np.swapaxes(roots, 1, 2)
    seen = Sightings(stamps_s, xy_m, noise, np.zeros(9), 1.7, "cyclist")
    path = whole_path(seen)

    start, push = BEHAVIOURS["cyclist"].start_mps, BEHAVIOURS["cyclist"].acceleration_mps2
    rows, values = [], []  # unknowns: a state at the start, then an acceleration for each step
    to_state = np.zeros((4, 4 + 2 * 8))
    to_state[:, :4] = np.eye(4)
    for k in range(9):
        if k:
            t = stamps_s[k] - stamps_s[k - 1]
            to_state[:2] += t * to_state[2:]
            for axis in (0, 1):
                to_state[axis, 4 + 2 * (k - 1) + axis] += t**2 / 2
                to_state[2 + axis, 4 + 2 * (k - 1) + axis] += t
        white = np.linalg.inv(np.linalg.cholesky(noise[k]))
        rows.append(white @ to_state[:2])
        values.append(white @ xy_m[k])
    prior = np.diag([0, 0, 1 / start, 1 / start, *np.full(16, 1 / push)])
    solved = np.linalg.lstsq(
        np.concatenate([*rows, prior]), np.concatenate([*values, np.zeros(20)]), rcond=None
    )[0]
    np.testing.assert_allclose(path.xy_m[0], solved[:2], atol=1e-6)
    np.testing.assert_allclose(path.velocity_mps[0], solved[2:4], atol=1e-6)
    np.testing.assert_allclose(path.xy_m[-1], (to_state @ solved)[:2], atol=1e-6)
    np.testing.assert_allclose(path.velocity_mps[-1], (to_state @ solved)[2:], atol=1e-6)


def test_looking_both_ways_knows_velocities_from_the_first_sweep_on() -> None:
    rng = np.random.default_rng(0)
    tracker, causal = Tracker(), {}
    for i in range(20):
        x, y = 5 + 0.5 * i + rng.normal(0, 0.1), rng.normal(0, 0.1)
        parked = ("vehicle", 12 + rng.normal(0, 0.1), 7.0, 0.0, 0.9)
        causal[i] = tracker.update_instances(
            instances_of([("cyclist", x, y, 0.1, 0.9), parked]), 0.1 * i
        )

    def errors(sweeps: dict[int, TrackedInstances]) -> np.ndarray:
        found = [one for sweep in sweeps.values() for one in sweep if one.id == cyclist]
        return np.array([np.hypot(one.velocity_mps[0] - 5, one.velocity_mps[1]) for one in found])

    [cyclist] = [one.id for one in causal[0] if one.instance.name == "cyclist"]
    both = smooth(causal)
    assert errors(causal)[0] == pytest.approx(5)  # nothing is known yet
    assert errors(both).max() < 0.8
    assert np.sqrt((errors(both) ** 2).mean()) < 0.5 * np.sqrt((errors(causal)[3:] ** 2).mean())
    for one in (one for sweep in both.values() for one in sweep):
        assert one.moving == (one.id == cyclist)
    assert all(abs(one.heading_rad) < 0.3 for one in both[0] if one.id == cyclist)
    assert both[0].tracks.front_known.sum() == 1
