"""HTML pages: single files, checked in a headless Chromium without a network."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from test_visualize import scene, street

from bev_instseg.colours import instance_colours
from bev_instseg.structures import Instances
from bev_instseg.visualize import write_html
from bev_instseg.visualize.camera import start_camera

WIDTH_PX, HEIGHT_PX = 1000, 700
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
NAMES = ("vehicle", "pedestrian", "cyclist")


def crates() -> tuple[np.ndarray, Instances]:
    """Two walls of points across the road: 6 m ahead on the left and 12 m ahead on the right."""
    across, up = np.meshgrid(np.arange(0, 3, 0.03), np.arange(0, 2, 0.03))
    wall = np.column_stack([0 * across.ravel(), across.ravel(), up.ravel(), 0 * up.ravel()])
    points = np.concatenate([np.add(wall, (6, 1, -1.7, 0.5)), np.add(wall, (12, -4, -1.7, 0.5))])
    labels = np.repeat([1, 2], len(wall)).astype(np.int32)
    boxes = np.float32([(6, 2.5, -0.7, 1, 3.4, 2.4, 0), (12, -2.5, -0.7, 1, 3.4, 2.4, 0)])
    scores = np.float32([0.93, 0.61])
    return points.astype(np.float32), Instances(labels, np.int32([0, 1]), scores, boxes, NAMES)


def screenshot(page: Path, folder: Path, shows: np.ndarray | None = None) -> np.ndarray:
    """(H, W, 3) RGB 0..255 of a page in a browser that cannot resolve any host name.

    On a busy machine the browser may take the picture before the page has drawn its points: where
    a colour must show, it takes up to five pictures until the colour is there.
    """
    if CHROMIUM is None:
        pytest.skip("needs Chromium")
    picture = folder / f"{page.stem}.png"
    command = [CHROMIUM, "--headless", "--no-sandbox", "--no-first-run", "--disable-sync"]
    command += ["--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--disable-gpu"]
    command += ["--disable-background-networking", "--disable-component-update"]
    command += ["--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={folder / 'profile'}"]
    command += [f"--window-size={WIDTH_PX},{HEIGHT_PX}", "--virtual-time-budget=10000"]
    command += [f"--screenshot={picture}", page.as_uri()]
    for _ in range(5):
        subprocess.run(command, capture_output=True, timeout=300, check=True)
        pixels = np.round(255 * imread(picture)[..., :3])
        if shows is None or len(where(pixels, shows)):
            break
    return pixels


def where(picture: np.ndarray, rgb: np.ndarray, atol: float = 2) -> np.ndarray:
    """(M, 2) centres of the pixels of this colour 0..255, right and down."""
    return np.argwhere(np.abs(picture - rgb).max(axis=2) <= atol)[:, ::-1] + 0.5


@pytest.fixture(autouse=True)
def _viser() -> None:
    pytest.importorskip("viser")


def test_page_shows_objects_at_their_positions(tmp_path: Path) -> None:
    points, instances = crates()
    points[0] = np.nan
    write_html(points, instances, tmp_path / "a.html", title="crates")
    picture = screenshot(tmp_path / "a.html", tmp_path, 255 * instance_colours(2)[0])
    camera = start_camera((picture.shape[1], picture.shape[0]))
    for k, outline in enumerate([(0x1D, 0x4E, 0xD8), (0xC8, 0x1E, 0x3A)]):
        object_px, _ = camera.to_pixels(points[1:][instances.labels[1:] == k + 1, :3])
        low, high = object_px.min(axis=0), object_px.max(axis=0)
        pixels = where(picture, 255 * instance_colours(2)[k])
        area = np.prod(high - low)
        assert 0.6 * area < len(pixels) < 1.1 * area  # the label hides some
        np.testing.assert_allclose(pixels.min(axis=0), low, atol=4)
        np.testing.assert_allclose(pixels.max(axis=0), high, atol=4)
        edges = where(picture, np.array(outline), 35)  # viser draws lines slightly brighter
        assert 300 < len(edges) < 2000
        assert (np.abs(edges - (low + high) / 2) < 0.75 * (high - low) + 20).all()


def test_page_without_objects(tmp_path: Path) -> None:
    _, nothing = scene([], [])
    nothing = Instances(nothing.labels[:0], *_parts(nothing), NAMES)
    write_html(np.zeros((0, 4), np.float32), nothing, tmp_path / "a.html", title="nothing")
    picture = screenshot(tmp_path / "a.html", tmp_path)
    assert (picture[250:600] == 255).all()  # between the browser's warning and the caption
    for colour in instance_colours(2):
        assert len(where(picture, 255 * colour)) == 0


def _parts(instances: Instances) -> tuple[np.ndarray, ...]:
    return instances.classes, instances.scores, instances.boxes


def test_page_is_one_file_that_loads_nothing_else(tmp_path: Path) -> None:
    write_html(*street(), tmp_path / "a.html", title="5 < 6 & {street}")
    page = (tmp_path / "a.html").read_text()
    assert 5e5 < len(page) < 2e6
    assert "<title>5 &lt; 6 &amp; {street}</title>" in page
    assert "<b>5 &lt; 6 &amp; {street}</b>: 1 vehicle, 1 pedestrian, 0 cyclist" in page
    loads = re.findall(r"""(?:src|href)\s*=\s*["']([^"']{0,40})|url\(([^)]{0,40})|@import""", page)
    assert [a or b for a, b in loads if not (a or b).startswith("data:")] == []
    assert re.findall(r"""(?:fetch|import|open|Worker)\(\s*["'`](?:https?:)?//""", page) == []
    assert set(re.findall(r"https?://[\w.]+", page)) <= {
        "http://www.w3.org"
    }  # an XML namespace, never fetched
    assert os.listdir(tmp_path) == ["a.html"]


def test_writing_pages_prints_nothing_and_leaves_no_threads(tmp_path: Path) -> None:
    program = (
        "import sys, threading; sys.path[:0] = sys.argv[2:]\n"
        "from test_web import crates, write_html\n"
        "for name in 'ab':\n"
        "    write_html(*crates(), f'{sys.argv[1]}/{name}.html', title=name)\n"
        "import rich; assert not rich.get_console().quiet\n"
        "busy = [t.name for t in threading.enumerate() if not t.daemon]\n"
        "assert busy == ['MainThread'], busy\n"
    )
    here = Path(__file__).resolve().parent
    command = [sys.executable, "-c", program, str(tmp_path), str(here), str(here.parent)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert sorted(os.listdir(tmp_path)) == ["a.html", "b.html"]


def test_missing_folder_raises(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="none"):
        write_html(*street(), tmp_path / "none" / "a.html", title="street")


def test_without_viser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "viser", None)
    with pytest.raises(ImportError, match=r"pip install 'bev-instseg\[web\]'"):
        write_html(*street(), tmp_path / "a.html", title="street")
    assert os.listdir(tmp_path) == []
