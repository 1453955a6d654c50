"""The page that plays a sequence and the file for Rerun: what they hold, and what is seen."""

import base64
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import CAR, Thing, street
from test_track_recordings import NUM_SWEEPS, SWEEPS, as_folder, run, table, write_drive
from test_web import HEIGHT_PX, WIDTH_PX, screenshot, where
from tracks import CLASSES, instances_of, pose_of

from bev_instseg.colours import NUM_COLOURS, UNKNOWN_RGB, colours_of_ids
from bev_instseg.structures import UNKNOWN
from bev_instseg.tracking.tracker import Tracker
from bev_instseg.visualize import PlayedSweep, play_page
from bev_instseg.visualize.play import UNIT_M
from bev_instseg.visualize.rerun_file import write_rrd
from bev_instseg.visualize.track_map import ObjectPath, counted, tracks_png


def content(page: bytes) -> Any:
    """The data of a page."""
    found = re.search(r"^const data = (.*);$", page.decode(), re.MULTILINE)
    assert found
    return json.loads(found[1])


def points_of(frame: Any) -> tuple[np.ndarray, np.ndarray]:
    """Places in the sensor frame and colours of a frame's points."""
    xy = np.frombuffer(base64.b64decode(frame["xy"]), "<i2").reshape(-1, 2)
    return UNIT_M * xy, np.frombuffer(base64.b64decode(frame["colours"]), "<u2")


def one_sweep(points: np.ndarray, ids: np.ndarray, pose: np.ndarray | None = None) -> PlayedSweep:
    """A sweep with a car at 10, 5 that is turned by 0.4."""
    tracker = Tracker()
    row = [("vehicle", 10.0, 5.0, 0.4, 0.9)]
    tracked = tracker.update_instances(instances_of(row), 3.0, pose)
    return PlayedSweep(points[:, :3].astype(np.float32), ids.astype(np.int64), tracked)


def test_the_page_of_a_recording_holds_its_tracks(weights: str, tmp_path: Path) -> None:
    path, out = write_drive(tmp_path / "in"), tmp_path / "out"
    assert run(path, out, weights, "--poses", "odom", "--play") == 0
    frames = content((out / "drive_tracks.html").read_bytes())["frames"]
    assert [frame["time"] for frame in frames] == [i / 10 for i in range(NUM_SWEEPS)]
    rows = table(out / "drive_tracks.csv")
    for i, frame in enumerate(frames):
        here = [row for row in rows if row["frame"] == str(i)]
        assert [one["id"] for one in frame["objects"]] == [int(row["id"]) for row in here]
        for one, row in zip(frame["objects"], here, strict=True):
            np.testing.assert_allclose(one["track"], (float(row["x"]), float(row["y"])), atol=0.006)
            assert one["moving"] == (row["moving"] == "1")
        np.testing.assert_allclose(frame["pose"], (0.4 * i, 0, 0), atol=1e-3)
        xy, colours = points_of(frame)
        near = np.abs(SWEEPS[i][:, None, :2] - xy[::20]).max(axis=2).min(axis=0)
        assert near.max() <= UNIT_M / 2 + 1e-6
        assert set(colours.tolist()) - {0} <= {one["id"] for one in frame["objects"]}


def test_a_folder_has_the_same_page(weights: str, tmp_path: Path) -> None:
    folder = as_folder(tmp_path, weights, "--play")
    path, out = write_drive(tmp_path / "in"), tmp_path / "out"
    assert run(path, out, weights, "--poses", "odom", "--play") == 0
    mine = content((out / "drive_tracks.html").read_bytes())["frames"]
    theirs = content((folder / "tracks.html").read_bytes())["frames"]
    for frame, other in zip(mine, theirs, strict=True):
        for left, right in zip(points_of(frame), points_of(other), strict=True):
            np.testing.assert_array_equal(left, right)
        assert [one["id"] for one in frame["objects"]] == [one["id"] for one in other["objects"]]


def test_a_long_sequence_is_thinned_and_the_page_says_so() -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform(-50, 50, (8000, 3))
    ids = np.where(np.hypot(points[:, 0] - 10, points[:, 1] - 5) < 9, 1, 0)
    sweep = one_sweep(points, ids)
    page = play_page(((f"{i:06}", lambda: sweep) for i in range(1200)), 1200, "long <drive>")
    assert 20e6 < len(page) < 30e6
    assert b"<title>long &lt;drive&gt;</title>" in page
    found = content(page)
    assert found["note"] == "long <drive>: one sweep in 3, only some of the points"
    assert [frame["name"] for frame in found["frames"][:3]] == ["000000", "000003", "000006"]
    xy, colours = points_of(found["frames"][0])
    assert len(xy) == 7500
    assert (colours == 1).sum() > 150


def with_a_post() -> PlayedSweep:
    """A sweep with a car and an unknown thing, a point of each and one of the road."""
    rows = [("vehicle", 10.0, 5.0, 0.4, 0.9), (UNKNOWN, 4.0, 2.0, 0.0, 0.0)]
    tracked = Tracker().update_instances(instances_of(rows, (*CLASSES, UNKNOWN)), 3.0)
    return PlayedSweep(np.float32([[10, 5, 0], [4, 2, 0], [0, 9, 0]]), np.array([1, 2, 0]), tracked)


def test_all_that_is_unknown_has_the_same_colour() -> None:
    found = content(play_page([("0", with_a_post)], 1, "one"))
    grey = "#" + bytes(np.round(255 * np.array(UNKNOWN_RGB)).astype(np.uint8)).hex()
    assert found["colours"].index(grey) == NUM_COLOURS
    [frame] = found["frames"]
    assert [(one["class"], one["colour"]) for one in frame["objects"]] == [
        *(("vehicle", 0), (UNKNOWN, NUM_COLOURS))
    ]
    assert sorted(points_of(frame)[1].tolist()) == [0, 1, NUM_COLOURS + 1]


def test_the_file_for_rerun_has_unknown_things_in_their_colour(tmp_path: Path) -> None:
    pytest.importorskip("rerun.chunk")
    write_rrd(tmp_path / "one.rrd", [("0", with_a_post)], "one")
    [cloud], [box] = (
        rerun_columns(tmp_path / "one.rrd", f"/world/{k}") for k in ("points", "boxes")
    )
    rgba = [*np.round(255 * np.array(UNKNOWN_RGB)).astype(int).tolist(), 255]
    packed = int.from_bytes(bytes(rgba), "big")
    assert [colour == packed for colour in cloud["Points3D:colors"]] == [False, True, False]
    assert [colour == packed for colour in box["Boxes3D:colors"]] == [False, True]


def test_paths_are_counted_by_kind() -> None:
    xy = np.zeros((2, 2))
    paths = [ObjectPath(1, "vehicle", xy, True), ObjectPath(2, "vehicle", xy, False)]
    assert counted(paths) == "2 objects, 1 of them moved"
    paths.append(ObjectPath(3, UNKNOWN, xy, False))
    assert counted(paths) == "2 objects, 1 of them moved; 1 unknown objects"
    for title in ("one", "a$_$b"):  # no formula
        assert tracks_png(paths, xy, title).startswith(b"\x89PNG")


def test_a_browser_shows_boxes_where_they_are(tmp_path: Path) -> None:
    points, owner = street((Thing(CAR, 10.0, 5.0, 0.4),))
    sweep = one_sweep(points, owner, pose_of(20.0, -7.0, 0.5))
    page = tmp_path / "page.html"
    page.write_bytes(play_page([("0", lambda: sweep)], 1, "one"))
    picture = screenshot(page, tmp_path)
    assert picture.shape[:2] == (HEIGHT_PX, WIDTH_PX)
    [rgb] = colours_of_ids(np.array([1]))
    found = where(picture, np.round(255 * rgb), atol=40)
    [black] = np.median(where(picture[: HEIGHT_PX - 60], np.zeros(3)), axis=0, keepdims=True)
    scale = 2 * 55 / 2 / min(WIDTH_PX, black[1] * 2) * 2  # metres per pixel; the sensor is centred
    ahead, left = scale * (black[1] - found[:, 1]), scale * (black[0] - found[:, 0])
    cos, sin = np.cos(0.5), np.sin(0.5)
    expected = cos * 10 - sin * 5, sin * 10 + cos * 5
    box = (np.abs(ahead - expected[0]) < 2.4) & (np.abs(left - expected[1]) < 1.8)
    assert box.sum() > 60


def rerun_columns(path: Path, entity: str) -> list[dict[str, Any]]:
    """A row for each moment of an entity."""
    chunk = pytest.importorskip("rerun.chunk")
    rows = []
    for one in chunk.RrdReader(path).stream().to_chunks():
        if one.entity_path == entity:
            rows += one.to_record_batch().to_pylist()
    return sorted(rows, key=lambda row: row["stamp"])


def test_the_file_for_rerun_holds_the_tracks(weights: str, tmp_path: Path) -> None:
    pytest.importorskip("rerun.chunk")
    path, out, rrd = write_drive(tmp_path / "in"), tmp_path / "out", tmp_path / "drive.rrd"
    assert run(path, out, weights, "--poses", "odom", "--rerun", str(rrd)) == 0
    assert [one.name for one in tmp_path.glob("*.rrd*")] == ["drive.rrd"]
    rows = table(out / "drive_tracks.csv")
    boxes = rerun_columns(rrd, "/world/boxes")
    points = rerun_columns(rrd, "/world/points")
    assert len(boxes) == len(points) == NUM_SWEEPS
    assert "log_time" not in boxes[0]
    for i, (box, cloud) in enumerate(zip(boxes, points, strict=True)):
        here = [row for row in rows if row["frame"] == str(i)]
        assert box["stamp"].timestamp() == pytest.approx(1_700_000_000 + 0.1 * i)
        ids = [text.split()[0] for text in box["Boxes3D:labels"]]
        assert ids == [row["id"] for row in here]
        world = np.array(cloud["Points3D:positions"])
        np.testing.assert_allclose(world, SWEEPS[i][:, :3] + np.float32([0.4 * i, 0, 0]), atol=1e-3)
    trails = rerun_columns(rrd, "/world/trails")[-1]["LineStrips3D:strips"]
    last = [row for row in rows if row["frame"] == str(NUM_SWEEPS - 1)]
    for trail, row in zip(trails, last, strict=True):
        np.testing.assert_allclose(trail[-1], [float(row[axis]) for axis in "xyz"], atol=1e-3)
    assert run(path, out, weights, "--poses", "odom", "--rerun", str(rrd)) == 0  # replaced


@pytest.mark.parametrize("name", ["drive.txt", "none/drive.rrd", "mine.rrd"])
def test_files_for_rerun_that_cannot_be_are_refused(
    name: str, weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.rrd").write_text("mine")
    path = write_drive(tmp_path / "in")
    assert run(path, tmp_path / "out", weights, "--rerun", str(tmp_path / name)) == 2
    assert f"--rerun {tmp_path / name}: " in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert (tmp_path / "mine.rrd").read_text() == "mine"
