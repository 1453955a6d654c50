"""3D pictures by Open3D, without a display and in a process of its own, which may crash or hang."""

import io
import os
import pickle
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bev_instseg.file_io import write_atomic
from bev_instseg.structures import Float32, Instances
from bev_instseg.visualize.camera import start_camera
from bev_instseg.visualize.open3d_scene import (
    box_mesh,
    cloud,
    set_camera,
    show_plainly,
    text_mesh,
)
from bev_instseg.visualize.scene3d import Scene3d, make_scene

WIDTH_PX, HEIGHT_PX = 1600, 1000
FINER = 2  # drawn so many times larger and then averaged: without that texts cannot be read
POINT_PX = 2.5
TIME_LIMIT_S = 60  # to start, and for a picture
REMEDY = "on Debian and Ubuntu: apt-get install libusb-1.0-0 libegl1 libgl1 libgl1-mesa-dri"
CHILD = """
import sys
sys.path[:] = sys.argv[1:]
from bev_instseg.visualize.render import serve
serve()
"""


def draw_3d(points: Float32, instances: Instances, path: str | Path, *, title: str) -> None:
    """Draw one sweep in 3D, see `Renderer.draw`; a `Renderer` draws many in less time.

    Raises:
        RuntimeError: if Open3D cannot draw on this machine.
        OSError: if the file cannot be written.
    """
    with Renderer() as renderer:
        renderer.draw(points, instances, path, title=title)


class Renderer:
    """Draws sweeps in 3D, one at a time; as a context manager it ends its process at the end."""

    def __init__(self) -> None:
        self._child: subprocess.Popen[bytes] | None = None
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - of the child's words, until `close`
        self._broken = ""  # why no child can start

    def draw(self, points: Float32, instances: Instances, path: str | Path, *, title: str) -> None:
        """Draw a sweep from behind and above the sensor as a PNG of 1600 x 1000 pixels.

        Instances are coloured and the rest is grey; the boxes and their texts, class and score,
        have the colours of the classes.

        Args:
            points: (N, 4) float32 x, y, z in metres and intensity 0..1; NaN is left out.
            instances: the objects among these points.
            path: the file, written whole or not at all.
            title: what to write above the picture, before how many objects of each class there are.

        Raises:
            RuntimeError: if Open3D cannot draw on this machine.
            OSError: if the file cannot be written.
        """
        request = make_scene(points, instances), f"{title}: {instances}"
        try:
            png = self._ask(request)
        except RuntimeError as error:
            raise RuntimeError(f"{path}: {error}") from None
        write_atomic(path, png)

    def close(self) -> None:
        """End the process."""
        self._end_child()
        self._log.close()

    def __enter__(self) -> "Renderer":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _ask(self, request: tuple[Scene3d, str]) -> bytes:
        """The PNG of a scene and its title; a child that fails at it is replaced once."""
        for last_try in (False, True):
            self._start_child()
            try:
                return self._exchange(request)
            except RuntimeError:
                if last_try:
                    raise
        raise AssertionError

    def _start_child(self) -> None:
        if self._broken:
            raise RuntimeError(self._broken)
        if self._child is not None:
            return
        hidden = {"DISPLAY", "WAYLAND_DISPLAY"}  # or a hidden window is drawn into, perhaps covered
        self._log.seek(0)
        self._log.truncate()
        self._child = subprocess.Popen(
            [sys.executable, "-c", CHILD, *sys.path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={name: value for name, value in os.environ.items() if name not in hidden},
        )
        try:
            self._exchange(None)
        except RuntimeError as error:
            self._broken = str(error)
            raise

    def _exchange(self, request: object) -> Any:
        """What the child answers."""
        child = self._child
        assert child is not None
        assert child.stdin is not None
        assert child.stdout is not None
        end = time.monotonic() + TIME_LIMIT_S
        timer = threading.Timer(TIME_LIMIT_S, child.kill)
        timer.start()
        try:
            pickle.dump(request, child.stdin, protocol=pickle.HIGHEST_PROTOCOL)
            child.stdin.flush()
            return pickle.load(child.stdout)
        except (OSError, EOFError, pickle.UnpicklingError):
            late = time.monotonic() >= end
            self._end_child()
            raise RuntimeError(f"Open3D cannot draw here ({self._why(late)}); {REMEDY}") from None
        finally:
            timer.cancel()

    def _why(self, late: bool) -> str:
        """What a child that was ``late`` or died has to say."""
        if late:
            return f"no picture in {TIME_LIMIT_S} s"
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "its process died"

    def _end_child(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child.communicate()
            self._child = None


def serve() -> None:
    """The child: answers each pickled request on stdin with a pickled PNG on stdout."""
    with os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)  # what Open3D prints is no answer
        import open3d as o3d

        vis = o3d.visualization.Visualizer()
        if not vis.create_window("", FINER * WIDTH_PX, FINER * HEIGHT_PX, visible=False):
            raise SystemExit("it opened no window")
        show_plainly(vis, FINER * POINT_PX)
        while True:
            try:
                request = pickle.load(sys.stdin.buffer)
            except EOFError:
                return
            pickle.dump(_png(vis, *request) if request else None, answers)
            answers.flush()


def _png(vis: Any, scene: Scene3d, title: str) -> bytes:
    from matplotlib.image import imsave

    camera = start_camera((WIDTH_PX, HEIGHT_PX))
    vis.clear_geometries()
    for geometry in (cloud(scene), box_mesh(scene), text_mesh(scene, camera, title)):
        vis.add_geometry(geometry, reset_bounding_box=False)
    set_camera(vis, start_camera((FINER * WIDTH_PX, FINER * HEIGHT_PX)))
    fine = np.asarray(vis.capture_screen_float_buffer(do_render=True))
    rgb = _smaller(_smaller(fine, FINER).swapaxes(0, 1), FINER).swapaxes(0, 1)
    buffer = io.BytesIO()
    imsave(
        buffer, (255 * rgb + 0.5).astype(np.uint8), format="png", pil_kwargs={"compress_level": 3}
    )
    return buffer.getvalue()


def _smaller(image: NDArray[np.floating], by: int) -> NDArray[np.floating]:
    """Means of so many rows each."""
    return np.add.reduce([image[i::by] for i in range(by)]) / by
