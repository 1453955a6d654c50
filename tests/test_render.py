"""3D pictures, checked pixel by pixel, and child processes that crash or never start."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from test_visualize import scene, street

from bev_instseg.colours import instance_colours
from bev_instseg.visualize import draw_3d, render, window
from bev_instseg.visualize.camera import start_camera
from bev_instseg.visualize.render import HEIGHT_PX, WIDTH_PX, Renderer
from bev_instseg.visualize.scene3d import make_scene

TITLE_PX = 30  # height of the title at the top


@pytest.fixture(scope="module")
def renderer() -> Iterator[Renderer]:
    """One child process for all pictures; skips where Open3D cannot render."""
    pytest.importorskip("open3d", exc_type=ImportError)
    environment = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY")}
    probe = [sys.executable, "-c", window.PROBE]
    if subprocess.run(probe, env=environment, capture_output=True, timeout=60).returncode:
        pytest.skip("Open3D cannot render on this machine: needs EGL")
    with Renderer() as renderer:
        yield renderer


def picture_of(path: Path) -> np.ndarray:
    """(H, W, 3) RGB 0..255."""
    picture = np.round(255 * imread(path)[..., :3])
    assert picture.shape == (HEIGHT_PX, WIDTH_PX, 3)
    return picture


def where(picture: np.ndarray, rgb: np.ndarray) -> np.ndarray:
    """(M, 2) centres of the pixels of this colour 0..255, right and down."""
    return np.argwhere(np.abs(picture - rgb).max(axis=2) <= 1)[:, ::-1] + 0.5


def test_objects_boxes_and_texts_are_at_their_positions(renderer: Renderer, tmp_path: Path) -> None:
    points, instances = street()
    instances.boxes[1, :2] = 5.0, -4.0  # ahead
    points[-300:, :2] += np.float32([20.0, 21.0])
    points[0] = np.nan
    renderer.draw(points, instances, tmp_path / "a.png", title="street")
    picture = picture_of(tmp_path / "a.png")
    camera, made = start_camera((WIDTH_PX, HEIGHT_PX)), make_scene(points, instances)
    for k in (0, 1):
        object_px, _ = camera.to_pixels(points[instances.labels == k + 1, :3])
        pixels = where(picture, 255 * instance_colours(2)[k])
        assert 100 < len(pixels) < 300 * 9  # 300 points of 2.5 pixels, some of them overlapping
        np.testing.assert_allclose(pixels.mean(axis=0), object_px.mean(axis=0), atol=6)
        assert (pixels > object_px.min(axis=0) - 2).all()
        assert (pixels < object_px.max(axis=0) + 2).all()

        corners_px, _ = camera.to_pixels(made.corners_m[k])
        low, high = corners_px.min(axis=0), corners_px.max(axis=0)
        outline = where(picture, made.box_rgb[k])
        box, plate = outline[outline[:, 1] > low[1] - 2], outline[outline[:, 1] < low[1] - 2]
        np.testing.assert_allclose(box.min(axis=0), low, atol=3)
        np.testing.assert_allclose(box.max(axis=0), high, atol=3)
        left, top = np.round(plate.min(axis=0) - 0.5).astype(int)
        right, bottom = np.round(plate.max(axis=0) + 0.5).astype(int)
        middle = corners_px.mean(axis=0)[0]
        assert (left + right) / 2 == pytest.approx(middle, abs=2)
        assert bottom - top == pytest.approx(19, abs=1)
        letters = (picture[top:bottom, left:right].min(axis=2) > 130).mean()
        assert 0.05 < letters < 0.4  # white on the plate
    grey = picture[(np.ptp(picture, axis=2) <= 1) & (picture[..., 0] < 230)]
    assert 3000 < len(grey) < 5000 * 12  # the ground
    assert picture[:TITLE_PX].min() < 100  # the title
    assert os.listdir(tmp_path) == ["a.png"]


@pytest.mark.parametrize("num_points", [0, 7])
def test_sweep_without_objects(renderer: Renderer, tmp_path: Path, num_points: int) -> None:
    points, nothing = scene([], [])
    points = np.full_like(points[:num_points], np.nan)
    nothing = type(nothing)(
        nothing.labels[:num_points],
        nothing.classes,
        nothing.scores,
        nothing.boxes,
        nothing.class_names,
    )
    renderer.draw(points, nothing, tmp_path / "a.png", title="nothing")
    picture = picture_of(tmp_path / "a.png")
    assert (picture[TITLE_PX:] == 255).all()
    assert picture[:TITLE_PX].min() < 100


def test_crashed_child_is_replaced(renderer: Renderer, tmp_path: Path) -> None:
    renderer.draw(*street(), tmp_path / "a.png", title="street")
    child = renderer._child
    assert child is not None
    child.kill()
    child.wait()
    renderer.draw(*street(), tmp_path / "b.png", title="street")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert renderer._child is not child


def test_missing_folder_raises(renderer: Renderer, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="none"):
        renderer.draw(*street(), tmp_path / "none" / "a.png", title="street")


@pytest.mark.parametrize(
    ("child", "reason"),
    [
        ("import time; time.sleep(60)", "no picture within 1 s"),
        ("import os; os.abort()", "its process crashed"),
        ("raise ImportError('libusb-1.0.so.0: cannot open')", "libusb-1.0.so.0"),
        ("print('GL')", "its process crashed"),
    ],
)
def test_open3d_that_hangs_crashes_or_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, child: str, reason: str
) -> None:
    path = tmp_path / "a.png"
    path.write_text("older")
    monkeypatch.setattr(render, "CHILD", child)
    monkeypatch.setattr(render, "TIME_LIMIT_S", 1)
    with pytest.raises(RuntimeError, match=reason) as caught:
        draw_3d(*street(), path, title="street")
    message = str(caught.value)
    assert message.startswith(f"{path}: Open3D cannot render here")
    assert "\n" not in message
    assert "libegl1" in message
    assert path.read_text() == "older"
    assert os.listdir(tmp_path) == ["a.png"]


def test_child_that_cannot_start_is_started_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(render, "CHILD", "raise SystemExit('no EGL')")
    with Renderer() as renderer:
        with pytest.raises(RuntimeError, match="no EGL"):
            renderer.draw(*street(), tmp_path / "a.png", title="street")
        monkeypatch.setattr(subprocess, "Popen", None)
        with pytest.raises(RuntimeError, match=r"b.png: Open3D cannot render here \(no EGL\)"):
            renderer.draw(*street(), tmp_path / "b.png", title="street")
