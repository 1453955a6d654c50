"""Pictures: looked at pixel by pixel, and a window that never keeps anybody waiting."""

import itertools
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.image import imread

from bev_instseg.structures import Frame, Instances
from bev_instseg.visualize import (
    box_corners,
    draw_bev,
    draw_training,
    instance_colours,
    view,
    window,
)
from bev_instseg.visualize.bev_map import (
    MAP_BOTTOM_PX,
    MAP_LEFT_PX,
    MAP_PX,
    PANEL_PX,
    VOID_RGB,
    fill_map,
    new_maps,
)

NAMES = ("vehicle", "pedestrian", "cyclist")
RANGE_M = 50.0
linux_only = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="X11 and Wayland")


def scene(boxes: list[list[float]], classes: list[int]) -> tuple[np.ndarray, Instances]:
    """Flat ground and 300 points in each box, the points of the boxes last."""
    rng = np.random.default_rng(0)
    k = len(boxes)
    box = np.array(boxes, np.float32).reshape(k, 7)
    ground = np.column_stack([rng.uniform(-RANGE_M, RANGE_M, (5000, 2)), np.full(5000, -1.7)])
    corners = box_corners(box)
    weights = rng.dirichlet(np.full(8, 0.2), (k, 300))
    xyz = np.concatenate([ground, np.einsum("knc,kcd->knd", weights, corners).reshape(-1, 3)])
    points = np.column_stack([xyz, rng.uniform(0, 1, len(xyz))]).astype(np.float32)
    labels = np.concatenate([np.zeros(5000), np.repeat(np.arange(k) + 1, 300)]).astype(np.int32)
    scores = np.linspace(0.99, 0.5, k, dtype=np.float32)
    return points, Instances(labels, np.array(classes, np.int32), scores, box, NAMES)


CAR, WALKER = [20.0, 10.0, -0.9, 4.2, 1.8, 1.6, 0.4], [-15.0, -25.0, -0.8, 0.6, 0.6, 1.8, 0.0]


def street() -> tuple[np.ndarray, Instances]:
    return scene([CAR, WALKER], [0, 1])


def truth_of(points: np.ndarray, instances: Instances, **changes: np.ndarray) -> Frame:
    parts = {
        "instance": instances.labels,
        "labelled": np.ones(len(points), bool),
        "classes": instances.classes,
        "centres_m": instances.boxes[:, :2],
    }
    return Frame("street", points, **(parts | changes))


def panels_of(path: Path) -> list[np.ndarray]:
    """The maps of a picture, rows from the near edge up, columns from the left, RGB 0..1."""
    picture = imread(path)[::-1, :, :3]
    assert picture.shape[0] == PANEL_PX
    assert picture.shape[1] % PANEL_PX == 0
    return [
        picture[MAP_BOTTOM_PX : MAP_BOTTOM_PX + MAP_PX, left : left + MAP_PX]
        for left in range(MAP_LEFT_PX, picture.shape[1], PANEL_PX)
    ]


def where(panel: np.ndarray, colour: np.ndarray | tuple[float, ...]) -> np.ndarray:
    """(M, 2) x, y in metres of the pixels of this colour."""
    row, column = np.nonzero(np.abs(panel - colour).max(axis=2) < 0.01)
    return np.column_stack([row + 0.5, MAP_PX - 0.5 - column]) * 2 * RANGE_M / MAP_PX - RANGE_M


def pixels_at(panel: np.ndarray, xy: np.ndarray) -> np.ndarray:
    """(N, 3) RGB of the pixels at (N, 2) x, y in metres."""
    row, column = np.clip((np.float32([1, -1]) * xy + RANGE_M).T * MAP_PX / 100, 0, MAP_PX - 1)
    return panel[row.astype(int), column.astype(int)]


def test_colours_are_distinct() -> None:
    for k, least in ((10, 0.15), (100, 0.08)):
        colours = instance_colours(k)
        assert colours.shape == (k, 3)
        assert colours.min() >= 0
        assert colours.max() <= 1
        pairs = itertools.combinations(colours, 2)
        assert min(np.linalg.norm(a - b) for a, b in pairs) > least
        assert np.ptp(colours, axis=1).min() > 0.3  # none is mistaken for the grey background
    assert instance_colours(0).shape == (0, 3)


def test_corners_of_boxes() -> None:
    corners = box_corners(np.float32([[1, 2, 3, 4, 2, 6, 0], [0, 0, 0, 4, 2, 6, np.pi / 2]]))
    flat = [(3, 3), (-1, 3), (-1, 1), (3, 1)]
    expected = [(*xy, z) for z in (0, 6) for xy in flat]
    np.testing.assert_allclose(corners[0], expected, atol=1e-6)
    turned = [(-1, 2), (-1, -2), (1, -2), (1, 2)]
    np.testing.assert_allclose(corners[1, :4, :2], turned, atol=1e-6)
    assert box_corners(np.zeros((0, 7), np.float32)).shape == (0, 8, 3)


def test_instances_are_drawn_where_they_are(tmp_path: Path) -> None:
    points, instances = street()
    draw_bev(points, instances, tmp_path / "a.png", title="street")
    (panel,) = panels_of(tmp_path / "a.png")
    for colour, box in zip(instance_colours(2), (CAR, WALKER), strict=True):
        pixels = where(panel, colour)
        assert len(pixels) > 15
        assert np.linalg.norm(pixels.mean(axis=0) - box[:2]) < 0.4
        assert np.linalg.norm(pixels - box[:2], axis=1).max() < box[3]
    assert np.mean(np.ptp(panel, axis=2) < 0.01) > 0.9  # the rest is grey
    assert os.listdir(tmp_path) == ["a.png"]


def test_tall_background_is_darker(tmp_path: Path) -> None:
    points, instances = scene([], [])
    points[points[:, 0] > 0, 2] = 2.0
    draw_bev(points, instances, tmp_path / "a.png", title="wall")
    (panel,) = panels_of(tmp_path / "a.png")
    assert panel[MAP_PX // 2 :].mean() < panel[: MAP_PX // 2].mean() - 0.003


def test_truth_stands_beside_it_in_the_same_colours(tmp_path: Path) -> None:
    points, instances = street()
    swapped = np.array([0, 2, 1], np.int32)[instances.labels]
    swapped[:50] = -1
    truth = truth_of(points, instances, instance=swapped, classes=instances.classes[::-1].copy())
    draw_bev(points, instances, tmp_path / "a.png", title="street", truth=truth)
    found, true = panels_of(tmp_path / "a.png")
    for colour in instance_colours(2):
        np.testing.assert_allclose(
            where(true, colour).mean(axis=0), where(found, colour).mean(axis=0), atol=0.2
        )
    assert len(where(found, VOID_RGB)) == 0
    assert 50 < len(where(true, VOID_RGB)) <= 4 * 50


def test_missed_objects_have_colours_of_their_own(tmp_path: Path) -> None:
    points, instances = street()
    nothing = scene([], [])[1]
    found = Instances(0 * instances.labels, *_parts(nothing), NAMES)
    seen = instances.labels != 0
    extra_class = np.append(instances.classes, np.int32(2))  # a third object without points
    truth = truth_of(
        points,
        instances,
        labelled=seen,
        classes=extra_class,
        centres_m=np.zeros((3, 2), np.float32),
    )
    draw_bev(points, found, tmp_path / "a.png", title="blind", truth=truth)
    blind, true = panels_of(tmp_path / "a.png")
    assert np.mean(np.ptp(blind, axis=2) < 0.01) > 0.999
    assert all(len(where(true, colour)) > 15 for colour in instance_colours(2))
    ground = points[:5000, :2]
    assert pixels_at(blind, ground).mean() < 0.9
    assert pixels_at(true, ground).mean() > 0.98  # points that nobody labelled are not shown


def _parts(instances: Instances) -> tuple[np.ndarray, ...]:
    return instances.classes, instances.scores, instances.boxes


@pytest.mark.parametrize("num_points", [0, 7])
def test_nothing_to_draw(tmp_path: Path, num_points: int) -> None:
    points = np.full((num_points, 4), np.nan, np.float32)
    nothing = Instances(np.zeros(num_points, np.int32), *_parts(scene([], [])[1]), NAMES)
    draw_bev(points, nothing, tmp_path / "a.png", title="", truth=truth_of(points, nothing))
    assert len(panels_of(tmp_path / "a.png")) == 2


def test_unknown_class_and_other_range(tmp_path: Path) -> None:
    points, instances = scene([[3, 4, 0, 1, 1, 1, 0]], [0])
    tram = Instances(instances.labels, *_parts(instances), ("tram",))
    draw_bev(points, tram, tmp_path / "a.png", title="x" * 200 + "$a_", range_m=8.0)
    (panel,) = panels_of(tmp_path / "a.png")
    pixels = where(panel, instance_colours(1)[0]) * 8.0 / RANGE_M
    np.testing.assert_allclose(pixels.mean(axis=0), [3, 4], atol=0.2)


def test_texts_cover_neither_each_other_nor_boxes() -> None:
    rng = np.random.default_rng(1)
    crowd = np.column_stack([rng.uniform(-20, 20, (60, 2)), np.zeros((60, 5))])
    crowd[:, 3:6], crowd[0, 0] = (2, 1, 1), 70  # the first one is outside the map
    points, instances = scene(crowd.tolist(), [0] * 60)
    figure, (axes,) = new_maps(1, RANGE_M)
    fill_map(
        axes,
        "crowd",
        points,
        instances,
        colours=instance_colours(60),
        corners=box_corners(instances.boxes),
        texts=[f"vehicle 0.{k:02}" for k in range(60)],
    )
    renderer = FigureCanvasAgg(figure).get_renderer()
    texts = [text for text in axes.texts if text.get_text().startswith("vehicle")]
    assert 40 < len(texts) < 60
    assert "vehicle 0.00" not in [text.get_text() for text in texts]
    frame = axes.get_window_extent(renderer)
    extents = [text.get_window_extent(renderer) for text in texts]
    for extent in extents:
        assert frame.x0 <= extent.x0
        assert extent.x1 <= frame.x1
    for a, b in itertools.combinations(extents, 2):
        assert not a.overlaps(b)
    centres = axes.transData.transform(instances.boxes[:, 1::-1])
    assert not any(extent.contains(*centre) for extent in extents for centre in centres)


def test_a_full_sweep_takes_little_time(tmp_path: Path) -> None:
    points, instances = street()
    points = np.tile(points[:5000], (24, 1))
    points[:, :2] += np.random.default_rng(0).normal(0, 1, (len(points), 2))
    sweep = Instances(np.zeros(len(points), np.int32), *_parts(instances), NAMES)
    start = time.process_time()
    draw_bev(points, sweep, tmp_path / "a.png", title="full")
    assert time.process_time() - start < 3


LOG = """step,time_s,lr,loss,instance,smoothness,seed,val_pq_vehicle,val_recall_vehicle
10,3,1e-3,1.5,1,0.2,0.3,,
20,6,1e-3,1.2,0.8,0.2,0.2,0.25,0.5
30,9,1e-3,1.1,0.7,0.2,0.2,,
"""


def test_training_curves(tmp_path: Path) -> None:
    log, png = tmp_path / "log.csv", tmp_path / "log.png"
    log.write_text(LOG)
    draw_training(log, png)
    picture = imread(png)
    assert picture.shape == (900, 2400, 4)
    blue = np.abs(picture[..., :3] - np.array([0x1F, 0x77, 0xB4]) / 255).max(axis=2) < 0.01
    assert blue[:, :1200].sum() > 500  # the loss
    assert 20 < blue[:, 1200:].sum() < 2000  # the one score: a marker and its entry


@pytest.mark.parametrize("text", ["", "\r\n", LOG.splitlines()[0]])
def test_training_curves_of_an_empty_log(tmp_path: Path, text: str) -> None:
    (tmp_path / "log.csv").write_text(text)
    draw_training(tmp_path / "log.csv", tmp_path / "log.png")
    assert imread(tmp_path / "log.png").shape == (900, 2400, 4)


@pytest.mark.parametrize(
    ("text", "reason"), [("a,b\n1,2\n", "no column 'step'"), ("step,loss\n1,high\n", "column loss")]
)
def test_training_log_that_is_none(tmp_path: Path, text: str, reason: str) -> None:
    log = tmp_path / "log.csv"
    log.write_text(text)
    with pytest.raises(ValueError, match=reason) as caught:
        draw_training(log, tmp_path / "log.png")
    assert str(caught.value).startswith(f"{log}: ")
    assert os.listdir(tmp_path) == ["log.csv"]


def test_drawing_on_a_full_disk(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="none"):
        draw_bev(*street(), tmp_path / "none" / "a.png", title="street")


def assert_no_window(capsys: pytest.CaptureFixture[str], reason: str) -> None:
    start = time.monotonic()
    assert view([("street", *street())]) is False
    assert time.monotonic() - start < 20
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("no display: ")
    assert reason in err
    assert "--png" in err


@linux_only
def test_no_display(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr(subprocess, "run", None)  # nothing is started
    assert_no_window(capsys, "neither DISPLAY nor WAYLAND_DISPLAY")


@linux_only
def test_display_that_is_gone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Open3D 0.20 reports success here and then renders into memory for ever."""
    monkeypatch.setenv("DISPLAY", ":7654")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert_no_window(capsys, "")


@pytest.mark.parametrize(
    ("probe", "reason"),
    [
        ("import time; time.sleep(60)", "no window in 1 s"),
        ("import os; os.abort()", "ended with"),
        ("raise ImportError('libusb-1.0.so.0')", "libusb-1.0.so.0"),
    ],
)
def test_open3d_that_hangs_crashes_or_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], probe: str, reason: str
) -> None:
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(window, "PROBE", probe)
    monkeypatch.setattr(window, "PROBE_TIME_S", 1)
    assert_no_window(capsys, reason)


@pytest.fixture
def x_server() -> Iterator[str]:
    """A display without a screen."""
    if not shutil.which("Xvfb"):
        pytest.skip("needs Xvfb")
    read, write = os.pipe()
    command = ["Xvfb", "-displayfd", str(write), "-screen", "0", "800x600x24"]
    server = subprocess.Popen(command, pass_fds=[write], stderr=subprocess.DEVNULL)
    os.close(write)
    with os.fdopen(read) as number:
        yield f":{number.readline().strip()}"
    server.terminate()
    server.wait()


def test_window_opens_and_closes(x_server: str) -> None:
    pytest.importorskip("open3d", exc_type=ImportError)
    program = (
        "import sys; sys.path[:0] = sys.argv[1:]\n"
        "from test_visualize import street, scene, view\n"
        "print(view([('street', *street()), ('empty', *scene([], []))], close_after_s=0.5))"
    )
    here = Path(__file__).resolve().parent
    environment = {**os.environ, "DISPLAY": x_server}
    environment.pop("WAYLAND_DISPLAY", None)
    done = subprocess.run(
        [sys.executable, "-c", program, str(here), str(here.parent)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "street: 1 vehicle, 1 pedestrian, 0 cyclist" in done.stdout
    assert done.stdout.splitlines()[-1] == "True"
