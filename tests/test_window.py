"""The Open3D window: its keys without a display, a real one in Xvfb, quick failure without one."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from test_visualize import scene, street

from bev_instseg.colours import instance_colours
from bev_instseg.structures import Instances
from bev_instseg.visualize import view_sweeps, window
from bev_instseg.visualize.scene3d import COLOURINGS, make_scene

linux_only = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="X11 and Wayland")
WAIT_S = 60


class FakeVisualizer:
    """Stands in for Open3D's visualizer and records the calls."""

    def __init__(self) -> None:
        self.keys: dict[int, Callable[[object], bool]] = {}
        self.shown: list[Any] = []
        self.options = SimpleNamespace()
        self.camera = self.camera_at(np.eye(4))

    @staticmethod
    def camera_at(motion: np.ndarray) -> Any:
        from open3d.camera import PinholeCameraIntrinsic, PinholeCameraParameters

        camera = PinholeCameraParameters()
        camera.extrinsic = motion
        camera.intrinsic = PinholeCameraIntrinsic(1600, 1000, 900, 900, 799.5, 499.5)
        return camera

    def press(self, keys: str) -> None:
        assert all(self.keys[ord(key)](self) for key in keys)

    def register_key_callback(self, key: int, callback: Callable[[object], bool]) -> None:
        self.keys[key] = callback

    def add_geometry(self, geometry: Any, reset_bounding_box: bool = True) -> None:
        self.shown.append(geometry)

    def remove_geometry(self, geometry: Any, reset_bounding_box: bool = True) -> None:
        self.shown.remove(geometry)

    def clear_geometries(self) -> None:
        self.shown.clear()

    def get_render_option(self) -> SimpleNamespace:
        return self.options

    def get_view_control(self) -> "FakeVisualizer":
        return self

    def set_constant_z_near(self, near_m: float) -> None: ...

    def set_constant_z_far(self, far_m: float) -> None: ...

    def convert_from_pinhole_camera_parameters(self, camera: Any, anyhow: bool) -> None:
        self.camera = camera

    def convert_to_pinhole_camera_parameters(self) -> Any:
        return self.camera


class Sweeps:
    """Three sweeps: a street, an unreadable one, one without objects; records which are read."""

    names = ("street", "broken", "empty")

    def __init__(self) -> None:
        self.read: list[int] = []

    def __call__(self, i: int) -> tuple[np.ndarray, Instances]:
        self.read.append(i)
        if i == 1:
            raise ValueError("cut short")
        return street() if i == 0 else scene([], [])


@pytest.fixture
def vis() -> FakeVisualizer:
    pytest.importorskip("open3d", exc_type=ImportError)
    return FakeVisualizer()


@pytest.fixture
def sweeps() -> Sweeps:
    return Sweeps()


def test_start(vis: FakeVisualizer, sweeps: Sweeps, capsys: pytest.CaptureFixture[str]) -> None:
    window.Viewer(vis, sweeps.names, sweeps)
    assert sweeps.read == [0]
    cloud, boxes, texts = vis.shown
    made = make_scene(*street())
    np.testing.assert_allclose(np.asarray(cloud.points), made.xyz_m)
    np.testing.assert_allclose(np.asarray(cloud.colors), made.rgb / 255)
    for k, corners in enumerate(made.corners_m):  # 12 beams of 8 vertices per box
        beams = np.asarray(boxes.vertices)[96 * k : 96 * (k + 1)]
        np.testing.assert_allclose(beams.min(axis=0), corners.min(axis=0), atol=0.05)
        np.testing.assert_allclose(beams.max(axis=0), corners.max(axis=0), atol=0.05)
        assert (
            np.asarray(boxes.vertex_colors)[96 * k : 96 * (k + 1)] * 255 == made.box_rgb[k]
        ).all()
    plate = np.isclose(np.asarray(texts.vertex_colors) * 255, made.box_rgb[0]).all(axis=1)
    assert plate.sum() == 4
    assert vis.options.light_on is False
    out = capsys.readouterr().out.splitlines()
    keys = "N next, P previous, B boxes on/off, Q close"
    colours = "1 instance, 2 class, 3 height, 4 score"
    assert out == [
        f"keys: {keys}; colour by: {colours}",
        "street: 1 vehicle, 1 pedestrian, 0 cyclist",
    ]


def test_next_and_previous(
    vis: FakeVisualizer, sweeps: Sweeps, capsys: pytest.CaptureFixture[str]
) -> None:
    window.Viewer(vis, sweeps.names, sweeps)
    capsys.readouterr()
    vis.press("P")
    assert capsys.readouterr().out == "empty: 0 vehicle, 0 pedestrian, 0 cyclist\n"
    assert len(vis.shown[0].points) == 5000
    assert vis.shown[1].is_empty()
    assert vis.shown[2].is_empty()
    vis.press("N")  # still cached
    assert sweeps.read == [0, 2]
    assert len(vis.shown[0].points) == 5600
    capsys.readouterr()
    vis.press("N")
    assert capsys.readouterr() == ("", "broken: cut short\n")
    assert vis.shown == []
    vis.press("1B")
    assert vis.shown == []
    vis.press("N")
    assert len(vis.shown) == 1  # still without boxes


def test_boxes(vis: FakeVisualizer, sweeps: Sweeps) -> None:
    viewer = window.Viewer(vis, sweeps.names, sweeps)
    vis.press("B")
    assert len(vis.shown) == 1
    vis.camera = vis.camera_at(np.diag([0.5, 0.5, 0.5, 1]))
    assert viewer.turn_texts() is False
    vis.press("B")
    assert len(vis.shown) == 3
    assert sweeps.read == [0]


def test_colours(vis: FakeVisualizer, sweeps: Sweeps) -> None:
    window.Viewer(vis, sweeps.names, sweeps)
    seen = set()
    for key, colouring in zip("1234", COLOURINGS, strict=True):
        vis.press(key)
        colours = np.asarray(vis.shown[0].colors)
        np.testing.assert_allclose(colours, make_scene(*street(), colouring).rgb / 255)
        seen.add(colours.tobytes())
    assert len(seen) == 4
    vis.press("3P")
    expected = make_scene(*scene([], []), "height").rgb / 255
    np.testing.assert_allclose(np.asarray(vis.shown[0].colors), expected)


def test_texts_turn_with_the_camera(vis: FakeVisualizer, sweeps: Sweeps) -> None:
    viewer = window.Viewer(vis, sweeps.names, sweeps)
    assert viewer.turn_texts() is False
    before = np.asarray(vis.shown[2].vertices).copy()
    start = np.array(vis.camera.extrinsic)
    moved = start + np.outer([0, 0, 5, 0], [0, 0, 0, 1])  # back by 5 m
    vis.camera = vis.camera_at(moved)
    assert viewer.turn_texts() is True
    assert viewer.turn_texts() is False
    assert len(vis.shown) == 3
    after = np.asarray(vis.shown[2].vertices)
    for vertices, motion in ((before, start), (after, moved)):
        depth_m = vertices @ motion[2, :3] + motion[2, 3]
        np.testing.assert_allclose(depth_m, 0.8, atol=0.01)  # in front of each camera


def assert_no_display(capsys: pytest.CaptureFixture[str], reason: str) -> None:
    start = time.monotonic()
    assert view_sweeps(["street"], lambda _: street()) is False
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
    assert_no_display(capsys, "neither DISPLAY nor WAYLAND_DISPLAY")


@linux_only
def test_display_that_does_not_exist(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Open3D 0.20 reports success here and then renders offscreen for ever."""
    monkeypatch.setenv("DISPLAY", ":7654")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert_no_display(capsys, "")


@pytest.mark.parametrize(
    ("probe", "reason"),
    [
        ("import time; time.sleep(60)", "no window within 1 s"),
        ("import os; os.abort()", "exited with"),
        ("raise ImportError('libusb-1.0.so.0')", "libusb-1.0.so.0"),
    ],
)
def test_open3d_that_hangs_crashes_or_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], probe: str, reason: str
) -> None:
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(window, "PROBE", probe)
    monkeypatch.setattr(window, "PROBE_TIME_LIMIT_S", 1)
    assert_no_display(capsys, reason)


class Screen:
    """An Xvfb display, whose screen is a file."""

    def __init__(self, number: str, folder: Path) -> None:
        self.environment = {**os.environ, "DISPLAY": number}
        self.environment.pop("WAYLAND_DISPLAY", None)
        self._file = folder / "Xvfb_screen0"

    def pixels(self) -> np.ndarray:
        """(H, W, 3) uint8 RGB from the X window dump: header, colour map, then BGRX pixels."""
        data = self._file.read_bytes()
        header = np.frombuffer(data, ">u4", 25)
        height, line = int(header[5]), int(header[12])
        start = int(header[0] + 12 * header[19])
        rows = np.frombuffer(data, np.uint8, height * line, start).reshape(height, -1, 4)
        return rows[:, : header[4], 2::-1]

    def count(self, rgb: np.ndarray) -> int:
        """Count the pixels of a colour 0..255."""
        return int((np.abs(self.pixels() - np.round(rgb)) < 2).all(axis=2).sum())

    def press(self, key: str) -> None:
        for command in (["search", "--name", "bev_instseg", "windowfocus"], ["key", key]):
            subprocess.run(["xdotool", *command], env=self.environment, check=True, timeout=WAIT_S)


@pytest.fixture
def screen(tmp_path: Path) -> Iterator[Screen]:
    if not shutil.which("Xvfb"):
        pytest.skip("needs Xvfb")
    read, write = os.pipe()
    command = ["Xvfb", "-displayfd", str(write), "-screen", "0", "800x500x24"]
    command += ["-fbdir", str(tmp_path)]
    server = subprocess.Popen(command, pass_fds=[write], stderr=subprocess.DEVNULL)
    os.close(write)
    with os.fdopen(read) as number:
        yield Screen(f":{number.readline().strip()}", tmp_path)
    server.terminate()
    server.wait()


PROGRAM = """
import sys
sys.path[:0] = sys.argv[2:]
from test_window import Sweeps, view_sweeps, window
window.WIDTH_PX, window.HEIGHT_PX = 800, 500
print(view_sweeps(["street", "broken", "empty"], Sweeps(), close_after_s=float(sys.argv[1])))
"""


def open_window(screen: Screen, close_after_s: float) -> "subprocess.Popen[str]":
    here = Path(__file__).resolve().parent
    command = [sys.executable, "-c", PROGRAM, str(close_after_s), str(here), str(here.parent)]
    return subprocess.Popen(
        command,
        env=screen.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_window_closes_after_the_given_time(screen: Screen) -> None:
    pytest.importorskip("open3d", exc_type=ImportError)
    program = open_window(screen, 0.5)
    out, err = program.communicate(timeout=2 * WAIT_S)
    assert program.returncode == 0, err
    assert "street: 1 vehicle, 1 pedestrian, 0 cyclist" in out
    assert out.splitlines()[-1] == "True"


def test_keys_in_a_real_window(screen: Screen) -> None:
    pytest.importorskip("open3d", exc_type=ImportError)
    if not shutil.which("xdotool"):
        pytest.skip("needs xdotool")

    def wait_until(name: str, holds: Callable[[], bool]) -> None:
        end = time.monotonic() + WAIT_S
        while not holds():
            assert time.monotonic() < end, name
            assert program.poll() is None, program.communicate()
            time.sleep(0.2)

    car, vehicle = 255 * instance_colours(1)[0], np.array([0x1D, 0x4E, 0xD8])
    program = open_window(screen, 4 * WAIT_S)
    try:
        wait_until("a car in its colour", lambda: screen.count(car) > 300)
        edges = screen.count(vehicle)
        assert edges > 300  # with a box
        screen.press("2")
        wait_until("a car in the colour of its class", lambda: screen.count(car) == 0)
        assert screen.count(vehicle) > edges + 300
        screen.press("1")
        wait_until("a car in its colour again", lambda: screen.count(car) > 300)
        screen.press("b")
        wait_until("a car without a box", lambda: screen.count(vehicle) == 0)
        assert screen.count(car) > 300
        screen.press("p")
        wait_until("no car", lambda: screen.count(car) == 0)
        screen.press("q")
        out, err = program.communicate(timeout=WAIT_S)
    finally:
        program.kill()
    assert program.returncode == 0, err
    shown = [line.split(":")[0] for line in out.splitlines()]
    assert shown == ["keys", "street", "empty", "True"]
