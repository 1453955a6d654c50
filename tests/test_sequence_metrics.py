"""LSTQ, HOTA, MOTA, IDF1 and id switches: equal to trackeval, and to plain loops."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from tracks import instances_of, pose_of

from bev_instseg import Segmenter, read_scan
from bev_instseg.cli import evaluate
from bev_instseg.config import Config
from bev_instseg.datasets.semantickitti import read_frame, write_frame
from bev_instseg.evaluation.metrics import Evaluator
from bev_instseg.evaluation.motion_errors import TrueMotion, motion_errors
from bev_instseg.evaluation.score_sequences import (
    SequenceResult,
    TrackEvaluator,
    TrueSweep,
    object_ids,
)
from bev_instseg.evaluation.sequence_metrics import Lstq, Step, track_scores
from bev_instseg.exceptions import ScanError
from bev_instseg.io.sensor_setup import sensor_rotation
from bev_instseg.simulate import HDL64
from bev_instseg.simulate.sequence import write_sequence
from bev_instseg.structures import Frame
from bev_instseg.tracking.tracker import Tracker


def random_sequence(seed: int, num_steps: int = 12) -> list[Step]:
    """Objects that are found, missed, swapped and doubled at random."""
    rng = np.random.default_rng(seed)
    steps = []
    for t in range(num_steps):
        objects = rng.permutation(6)[: rng.integers(0, 7)]
        tracks = rng.permutation(9)[: rng.integers(0, 8)]
        similarity = rng.uniform(0, 0.45, (len(objects), len(tracks)))
        for i, number in enumerate(objects):
            wanted = number + 3 * (t > 6)  # the track that follows it changes
            similarity[i, tracks == wanted] = rng.uniform(0.4, 1)
        steps.append(Step(objects, tracks, similarity))
    # ids count from 0 without gaps over the sequence
    everything = [np.arange(6), np.arange(9)]
    steps.append(Step(*everything, rng.uniform(0, 1, (6, 9)) ** 3))
    return steps


def by_trackeval(sequences: list[list[Step]]) -> dict[str, float]:
    trackeval = pytest.importorskip("trackeval", reason="compares with trackeval")
    metrics = trackeval.metrics
    quiet = {"PRINT_CONFIG": False, "THRESHOLD": 0.5}
    scores = {}
    for metric in (metrics.HOTA(), metrics.CLEAR(quiet), metrics.Identity(quiet)):
        results = {
            str(k): metric.eval_sequence(
                {
                    "num_gt_dets": sum(len(s.objects) for s in steps),
                    "num_tracker_dets": sum(len(s.tracks) for s in steps),
                    "num_gt_ids": 6,
                    "num_tracker_ids": 9,
                    "num_timesteps": len(steps),
                    "gt_ids": [s.objects for s in steps],
                    "tracker_ids": [s.tracks for s in steps],
                    "similarity_scores": [s.similarity for s in steps],
                }
            )
            for k, steps in enumerate(sequences)
        }
        scores |= metric.combine_sequences(results)
    return {name: float(np.mean(scores[name])) for name in KEYS.values()}


KEYS = {
    "hota": "HOTA",
    "deta": "DetA",
    "assa": "AssA",
    "mota": "MOTA",
    "idf1": "IDF1",
    "switches": "IDSW",
}


@pytest.mark.parametrize("seed", range(5))
def test_scores_equal_those_of_trackeval(seed: int) -> None:
    sequences = [random_sequence(10 * seed + k) for k in range(3)]
    expected = by_trackeval(sequences)
    ours = track_scores(sequences)
    for name, key in KEYS.items():
        assert getattr(ours, name) == pytest.approx(expected[key], rel=1e-9), name
    assert ours.switches > 0


def test_perfect_tracks_and_none() -> None:
    steps = [Step(np.arange(3), np.arange(3), np.eye(3)) for _ in range(4)]
    best = track_scores([steps])
    assert (best.hota, best.mota, best.idf1, best.switches) == (1, 1, 1, 0)
    missed = [Step(s.objects, s.tracks[:0], s.similarity[:, :0]) for s in steps]
    worst = track_scores([missed])
    assert (worst.hota, worst.mota, worst.idf1, worst.switches) == (0, 0, 0, 0)
    nothing = track_scores([[]])
    assert np.isnan([nothing.hota, nothing.deta, nothing.assa, nothing.mota, nothing.idf1]).all()
    only_false = [Step(s.objects[:0], s.tracks, s.similarity[:0]) for s in steps]
    assert np.isnan(track_scores([only_false]).mota)


def test_a_swap_of_two_tracks_halfway() -> None:
    """Two objects, ten sweeps; the tracks change places after five."""
    swapped = np.eye(2)[::-1]
    steps = [Step(np.arange(2), np.arange(2), np.eye(2) if t < 5 else swapped) for t in range(10)]
    scores = track_scores([steps])
    assert scores.switches == 2
    assert scores.mota == pytest.approx(1 - 2 / 20)
    assert scores.idf1 == pytest.approx(0.5)
    assert scores.deta == 1
    assert scores.assa == pytest.approx(5 / 15)
    assert scores.hota == pytest.approx(np.sqrt(1 / 3))


def plain_lstq(points: list[tuple[str, int, int, int, int]], num_classes: int) -> float:
    """LSTQ point by point, as its definition reads."""
    objects = {(s, o) for s, o, _, _, _ in points if o}
    total = 0.0
    for s, o in objects:
        mine = [p for p in points if p[:2] == (s, o)]
        inner = 0.0
        for t in {p[2] for p in mine if p[2]}:
            track = [p for p in points if p[0] == s and p[2] == t]
            shared = sum(p[2] == t for p in mine)
            inner += shared * shared / (len(mine) + len(track) - shared)
        total += inner / len(mine)
    ious = []
    for c in range(1, num_classes + 1):
        both = sum(p[3] == c and p[4] == c for p in points)
        either = sum(c in (p[3], p[4]) for p in points)
        ious += [both / either] if either else []
    return float(np.sqrt(total / len(objects) * np.mean(ious)))


def test_lstq_equals_plain_loops() -> None:
    rng = np.random.default_rng(3)
    lstq, points = Lstq(3), []
    for sequence in ("00", "01"):
        for _ in range(3):
            objects, tracks = rng.integers(0, 4, 200), rng.integers(0, 5, 200)
            tracks = np.where(rng.random(200) < 0.7, objects, tracks)
            true, seen = (objects % 3 + 1) * (objects > 0), (tracks % 3 + 1) * (tracks > 0)
            lstq.add(sequence, objects, tracks, true, seen)
            columns = (c.tolist() for c in (objects, tracks, true, seen))
            points += [(sequence, *row) for row in zip(*columns, strict=True)]
    value, association, classes = lstq.result()
    assert value == pytest.approx(plain_lstq(points, 3), rel=1e-12)
    assert value == pytest.approx(np.sqrt(association * classes))


def test_lstq_of_one_object_in_two_halves() -> None:
    lstq, one = Lstq(1), np.ones(10, np.int64)
    lstq.add("00", one, one, one, one)
    lstq.add("00", one, 2 * one, one, one)  # the same object, under another id
    assert lstq.result() == pytest.approx((np.sqrt(0.5), 0.5, 1.0))


def test_sweeps_become_scores() -> None:
    """A car is tracked over four sweeps; a person is found only once."""
    evaluator, tracker = TrackEvaluator(Config()), Tracker()
    untracked = Evaluator(Config().class_names)
    evaluator.begin()
    for i in range(4):
        rows = [("vehicle", 8.0, 2.0, 0.0, 0.9)] + [("pedestrian", 5.0, -2.0, 0.0, 0.8)] * (i == 0)
        single = instances_of(rows)
        tracked = tracker.update_instances(single, 0.1 * i)
        few = len(rows)
        points = np.tile(np.array([[8, 2, 0, 0]], np.float32), (20 * 2, 1))
        owner = np.repeat([1, 2], 20).astype(np.int32)
        labels = np.where(owner <= few, owner, 0).astype(np.int32)
        single = single.__class__(labels, *(getattr(single, n) for n in FIELDS))
        whole = tracked.instances.__class__(
            labels, *(getattr(tracked.instances, n) for n in FIELDS)
        )
        tracked = tracked.__class__(whole, tracked.tracks, tracked.stamp_s, tracked.pose)
        classes, centres = np.array([0, 1], np.int32), np.zeros((2, 2), np.float32)
        frame = Frame(f"00/{i}", points, owner, np.ones(40, bool), classes, centres)
        untracked.add(frame, single)
        motion = np.array([[8.3, 1.6, 0.0, 0.0], [5.0, -2.0, 0.0, 2.0]])
        evaluator.add(TrueSweep(frame, np.array([7, 65536 + 3]), motion), tracked)
    result = evaluator.result()
    assert result.tracks["vehicle"].hota == result.tracks["vehicle"].mota == 1
    assert result.tracks["pedestrian"].mota == pytest.approx(0.25)
    assert result.tracks["pedestrian"].idf1 == pytest.approx(2 / 5)
    assert result.motion["vehicle"] == pytest.approx((0.5, 0, np.nan), abs=1e-6, nan_ok=True)
    assert result.motion["pedestrian"] == pytest.approx((0, 2, 2), abs=1e-6)
    assert not result.motion["cyclist"].is_known
    assert result.lstq[1] == pytest.approx((1 + 0.25**2) / 2)
    table = SequenceResult(untracked.result(), result).table()
    assert "| vehicle    | 100.0 |" in table
    assert "smoothed" not in table
    both = SequenceResult(untracked.result(), result, result).table().splitlines()
    assert [row.split("|")[1].strip() for row in both if "|" in row][2:] == [
        *("vehicle", "vehicle, smoothed", "pedestrian", "pedestrian, smoothed"),
        *("cyclist", "cyclist, smoothed"),
    ]


FIELDS = ("classes", "scores", "boxes", "class_names")


def test_the_command_scores_sequences(
    semantickitti_root: Path, weights: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = semantickitti_root / "sequences" / "00"
    (folder / "poses.txt").write_text("1 0 0 0 0 1 0 0 0 0 1 0\n" * 2)
    (folder / "times.txt").write_text("0\n0.1\n")
    command = ["--data", str(semantickitti_root), "--sequences", "00", "--weights", weights]
    assert evaluate.main([*command, "--runtime", "torch", "--sequence"]) == 0
    table = capsys.readouterr().out
    assert "HOTA" in table
    assert "velocity" not in table  # of which nothing is known
    assert evaluate.main([*command, "--smooth"]) == 2
    assert "add --sequence" in capsys.readouterr().err


def test_smoothing_is_scored_with_the_motion_of_simulated_objects(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_sequence(tmp_path, "00", 10, 41, replace(HDL64, azimuths=700))
    command = ["--data", str(tmp_path), "--sequences", "00", "--sequence", "--smooth"]
    assert evaluate.main(command) == 0
    printed = capsys.readouterr()
    assert "times from" in printed.err
    lines = printed.out.splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if "|" in line]
    first = next(i for i, row in enumerate(rows) if "IDF1" in row)
    head, scores = rows[first], rows[first + 2 :]
    table = {row[0]: dict(zip(head[1:], row[1:], strict=True)) for row in scores}
    one, other = table["vehicle"], table["vehicle, smoothed"]
    assert 0 < float(other["velocity, m/s"]) < float(one["velocity, m/s"])
    assert 0 < float(one["position, m"]) < 1
    assert one["PQ"] == other["PQ"]


def test_errors_of_motion_are_means_over_what_is_known() -> None:
    found = np.array([[0, 0, 1, 0], [5, 5, 0, 0], [9, 9, 9, 9.0]])
    truth = np.array([[3, 4, 1, 2], [5, 5, 0, 0.4], [np.nan] * 4])
    assert motion_errors([np.stack([found, truth])]) == pytest.approx((2.5, 1.2, 2.0))
    assert motion_errors([np.stack([found, truth])]).cells() == ["2.50", "1.20", "2.00"]
    assert motion_errors([]).cells() == ["-", "-", "-"]


def test_true_motion_is_turned_into_the_world_of_the_tracks(tmp_path: Path) -> None:
    assert np.isnan(TrueMotion(tmp_path).at(0, np.array([1]), np.eye(4))).all()
    table = tmp_path / "objects.csv"
    table.write_text("frame,id,class,x,y,vx,vy\n3,7,10,1,2,3,0\n")
    states = TrueMotion(tmp_path).at(3, np.array([7, 8]), pose_of(10, 0, np.pi / 2))
    np.testing.assert_allclose(states[0], [8, 1, 0, 3], atol=1e-12)
    assert np.isnan(states[1]).all()
    table.write_text("frame,id,x\n3,7,1\n")
    with pytest.raises(ScanError, match=r"objects\.csv: not a table of objects"):
        TrueMotion(tmp_path)


def test_poses_are_turned_with_sweeps_that_are_levelled(
    weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sensor that looks down by 15 degrees drives ahead: the poses in the world are level."""
    to_file = np.eye(4)
    to_file[:3, :3] = sensor_rotation("flu", (15.0, 0.0)).T
    points = read_scan(ROOT / "demo" / "sequences" / "00" / "velodyne" / "000000.bin")
    words = np.fromfile(ROOT / "demo" / "sequences" / "00" / "labels" / "000000.label", np.uint32)
    folder, rows = tmp_path / "sequences" / "00", []
    for i in range(3):
        ahead = points - np.float32([0.5 * i, 0, 0, 0])
        ahead[:, :3] = ahead[:, :3] @ to_file[:3, :3].T
        write_frame(tmp_path, "00", i, ahead, words)
        rows.append((pose_of(0.5 * i) @ np.linalg.inv(to_file))[:3].ravel())
    np.savetxt(folder / "poses.txt", rows)
    np.savetxt(folder / "times.txt", [0, 0.1, 0.2])
    used = []
    update = Tracker.update

    def noted(self: Tracker, points: np.ndarray, stamp_s: float, pose: np.ndarray) -> object:
        used.append(pose)
        return update(self, points, stamp_s, pose)

    monkeypatch.setattr(Tracker, "update", noted)
    command = ["--data", str(tmp_path), "--sequences", "00", "--weights", weights]
    assert evaluate.main([*command, "--runtime", "torch", "--sequence"]) == 0
    for i, pose in enumerate(used):
        np.testing.assert_allclose(
            pose, pose_of(0.5 * i), atol=0.05
        )  # its ground is not quite level


def test_ids_of_objects_are_those_of_the_label_file(semantickitti_root: Path) -> None:
    config = Config()
    frame = read_frame(semantickitti_root, "00/000000", config.classes, config.data)
    ids = object_ids(semantickitti_root, frame)
    words = np.fromfile(semantickitti_root / "sequences/00/labels/000000.label", np.uint32)
    for k, number in enumerate(ids.tolist()):
        assert set((words[frame.instance == k + 1] >> 16).tolist()) == {number & 0xFFFF}
    assert len(set(ids.tolist())) == len(ids) == 3


@pytest.mark.filterwarnings("ignore:.*too few different values")
def test_ids_that_each_class_number_counts_anew_stay_apart(tmp_path: Path) -> None:
    """A car and a lorry, both of them number 1 and vehicles, are two objects."""
    points = np.zeros((4, 4), np.float32)
    points[:, 0] = np.arange(4)
    words = np.uint32([10 | 1 << 16, 18 | 1 << 16, 252 | 1 << 16, 40])
    write_frame(tmp_path, "00", 0, points, words)
    config = Config()
    frame = read_frame(tmp_path, "00/000000", config.classes, config.data)
    ids = object_ids(tmp_path, frame)
    assert len(set(ids.tolist())) == len(ids) == 3
    assert (ids & 0xFFFF).tolist() == [1, 1, 1]


def test_sweeps_may_have_names_and_breaks_are_printed(
    semantickitti_root: Path, weights: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = semantickitti_root / "sequences" / "00"
    for part in ("velodyne", "labels"):
        for path in sorted((folder / part).iterdir()):
            path.rename(path.with_stem(f"scan_{path.stem[-1]}"))
        shutil.copy(folder / part / path.with_stem("scan_0").name, path.with_stem("scan_2"))
    rows = (f"1 0 0 {x} 0 1 0 0 0 0 1 0\n" for x in (0, 0, 500))
    (folder / "poses.txt").write_text("".join(rows))
    (folder / "times.txt").write_text("0\n0.1\n0.2\n")
    command = ["--data", str(semantickitti_root), "--sequences", "00", "--weights", weights]
    assert evaluate.main([*command, "--runtime", "torch", "--sequence"]) == 0
    printed = capsys.readouterr()
    assert "HOTA" in printed.out
    assert "note: 00/scan_2: the pose of the sensor jumps by 500.0 m" in printed.err


@pytest.mark.parametrize("option", ["--png", "--errors", "--json"])
def test_what_tracks_have_no_files_for_is_refused(
    semantickitti_root: Path, weights: str, option: str, tmp_path: Path, capsys
) -> None:
    command = ["--data", str(semantickitti_root), "--sequences", "00", "--weights", weights]
    assert evaluate.main([*command, "--sequence", option, str(tmp_path / "out")]) == 2
    assert f"--sequence cannot be combined with {option}" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_what_was_seen_is_what_the_network_found_alone() -> None:
    segmenter = Segmenter.from_pretrained(device="cpu")
    points = read_scan(ROOT / "demo" / "sequences" / "00" / "velodyne" / "000000.bin")
    expected = segmenter.segment(points)
    tracker = Tracker(segmenter)
    for stamp_s in (0.0, 0.1):
        seen = tracker.update(points, stamp_s, np.eye(4)).as_seen()
    enough = seen.scores >= np.float32(segmenter.config.cluster.score_threshold)
    assert len(expected) <= len(seen)
    alone = seen.take(np.flatnonzero(enough))
    for part in ("labels", "classes", "scores", "boxes"):
        np.testing.assert_array_equal(getattr(alone, part), getattr(expected, part))
