"""A folder job: which sweeps, what each is to become, what is done already, and one sweep's work.

`segment_item` does the work; who calls it, threads of this process or actors of a cluster
(`bev_instseg.jobs.on_ray`), makes no difference to the bytes it writes.
"""

import hashlib
import json
import os
import threading
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from bev_instseg.datasets.kitti import CameraCalibration, read_calibration
from bev_instseg.exceptions import ScanError, explain
from bev_instseg.export import (
    PICTURES,
    POINT_FORMATS,
    Cloud,
    is_result,
    result_paths,
    write_result,
)
from bev_instseg.io.formats import SUFFIXES
from bev_instseg.io.sensor_setup import SensorSetup, axes_rotation
from bev_instseg.io.sweep import Sweep, read_sweep, stem_of
from bev_instseg.segmenter import Segmenter
from bev_instseg.structures import Float32, Instances, Segmentation
from bev_instseg.visualize import Renderer, draw_bev, draw_maps, write_html

POINT_SUFFIXES = tuple(f".{name}" for name in POINT_FORMATS)
DRAWING = threading.Lock()  # one picture at a time


@dataclass(frozen=True)
class Item:
    """A sweep of the job.

    Attributes:
        path: its file.
        name: of its results below the output folder, without suffix.
    """

    path: Path
    name: str


@dataclass(frozen=True)
class Job:
    """What every sweep is to become; can be sent to other machines.

    Attributes:
        out: the folder of the results.
        settings: fingerprint of everything that decides what is found; see `fingerprint`.
        mounting: how the sweeps are stored.
        formats: point files, out of `bev_instseg.export.POINT_FORMATS`.
        pictures: out of `PICTURES`.
        calibration: of a camera, for boxes in its image: a file for all sweeps or a folder of
            ``NAME.txt``; None for no boxes.
    """

    out: Path
    settings: str
    setup: SensorSetup
    formats: tuple[str, ...] = ()
    pictures: tuple[str, ...] = ()
    calibration: Path | None = None

    def paths(self, item: Item) -> list[Path]:
        """What a sweep that is done has; the ``.json`` comes first."""
        *others, tree = result_paths(
            self.out, item.name, self.formats, self.calibration is not None
        )
        pictures = [self.picture(item, kind) for kind in self.pictures if kind != "3d"]
        return [tree, *others, *pictures]

    def picture(self, item: Item, kind: str) -> Path:
        """Where a picture of a sweep goes."""
        return self.out / f"{item.name}{PICTURES[kind]}"

    def is_done(self, item: Item) -> bool:
        """Whether the files of a sweep are there: of the same file, calibration and settings.

        The sweep's file must be as large as it was, and older than the results. The picture ``3d``
        may be missing: not every machine can draw it.
        """
        paths = self.paths(item)
        if not all(path.exists() for path in paths):
            return False
        try:
            tree = json.loads(paths[0].read_bytes())
            sweep = item.path.stat()
            wanted = {
                "settings": self.settings,
                "sweep_bytes": sweep.st_size,
                "calibration": _calibration_sha256(self, item),
            }
            return (
                wanted.items() <= tree.items()
                and paths[1].stat().st_size == 4 * tree["num_points"]
                and paths[0].stat().st_mtime_ns >= sweep.st_mtime_ns
            )
        except (OSError, ValueError, KeyError, AttributeError):
            return False


@dataclass(frozen=True)
class Outcome:
    """What became of a sweep; can be sent between machines.

    Attributes:
        item: the sweep.
        notices: what was recognised in its file.
        timing_ms: milliseconds by stage, without those of pictures; empty if it failed.
        error: why it failed, one line; empty if it did not.
    """

    item: Item
    notices: tuple[str, ...] = ()
    timing_ms: dict[str, float] = field(default_factory=dict)
    error: str = ""


def find_items(inputs: Sequence[Path], out: Path) -> list[Item]:
    """The sweeps named or lying anywhere in the folders named, in order.

    Results of a folder's sweep are named by its path below that folder, those of a file by its
    stem. In folders, hidden files and folders are left out, and points that this package wrote.

    Raises:
        ScanError: nothing to do, results that a link in ``out`` would lead out of it, or two files
            whose results would have the same name.
    """
    items: dict[Path, Item] = {}  # by real path: a file named twice is done once
    for source in inputs:
        if source.suffix in POINT_SUFFIXES and source.resolve().parent == out.resolve():
            raise ScanError(f"{source}: lies where results go; choose another --out")
        if not source.exists():
            raise ScanError(f"{source}: no such sweep or folder; check the path")
        found = _sweeps_in(source) if source.is_dir() else [source]
        if not found:
            raise ScanError(
                f"{source}: no sweeps in this folder ({', '.join(SUFFIXES)}; results do not count)"
            )
        for path in found:
            below = path.relative_to(source).parent if source.is_dir() else Path()
            items.setdefault(path.resolve(), Item(path, (below / stem_of(path)).as_posix()))
    first: dict[str, Item] = {}
    for item in items.values():
        target = (out / item.name).parent.resolve()
        if not target.is_relative_to(out.resolve()):
            raise ScanError(
                f"{item.path}: its results would go to {target}, behind a link; "
                "choose another --out"
            )
        if first.setdefault(item.name, item) is not item:
            raise ScanError(
                f"{item.path}: named like {first[item.name].path}; "
                "do one of them by itself, to another --out"
            )
    return list(items.values())


def _sweeps_in(folder: Path) -> list[Path]:
    """In order; what a link leads to is left out if it is there without the link, too."""
    found: dict[Path, Path] = {}
    seen = set()
    for parent, below, names in os.walk(folder, followlinks=True):
        real = Path(parent).resolve()
        below[:] = sorted(name for name in below if not name.startswith("."))
        if real in seen:  # a link leads back up
            below.clear()
            continue
        seen.add(real)
        for path in (Path(parent) / name for name in names if not name.startswith(".")):
            if not path.name.lower().endswith(SUFFIXES) or not path.is_file():
                continue
            if path.suffix in POINT_SUFFIXES and is_result(path):
                continue
            if not path.is_symlink() or path.resolve() not in found:
                found[path.resolve()] = path
    return sorted(found.values())


def fingerprint(segmenter: Segmenter, setup: SensorSetup) -> str:
    """A hash of weights, grid, classes, thresholds and mounting: 16 hexadecimal digits."""
    config = segmenter.config
    decisive: list[Any] = [segmenter.weights_sha256, asdict(setup), asdict(config.grid)]
    decisive += [asdict(config.cluster), [asdict(c) for c in config.classes]]
    return hashlib.sha256(json.dumps(decisive).encode()).hexdigest()[:16]


def new_renderer(job: Job) -> AbstractContextManager[Renderer | None]:
    """What draws the pictures ``3d`` of a job, if it has any: a process of its own."""
    return Renderer() if "3d" in job.pictures else nullcontext()


def segment_item(segmenter: Segmenter, job: Job, renderer: Renderer | None, item: Item) -> Outcome:
    """Read, segment and write one sweep, and draw it; what goes wrong with it is in the outcome.

    Args:
        segmenter: finds the instances.
        job: what to write.
        renderer: of `new_renderer`.
        item: the sweep.
    """
    try:
        start = time.perf_counter()
        sweep = read_sweep(item.path, job.setup)
        timing_ms = {"read": 1000 * (time.perf_counter() - start)}
        segmentation = segmenter.segment_with_maps(sweep.points)
        timing_ms |= segmentation.timing_ms
        start = time.perf_counter()
        _write(segmenter, job, item, sweep, segmentation.instances)
        timing_ms["write"] = 1000 * (time.perf_counter() - start)
        with DRAWING:
            notices = _draw(job, renderer, item, sweep.points, segmentation)
    except (ValueError, OSError, RuntimeError, MemoryError, ImportError) as error:
        reason = explain(error)
        about = "" if str(item.path) in reason else f"{item.path}: "
        return Outcome(item, error=f"{about}{reason}")
    return Outcome(item, (*sweep.notices, *notices), timing_ms)


def _write(segmenter: Segmenter, job: Job, item: Item, sweep: Sweep, instances: Instances) -> None:
    calibration = _calibration(job, item, sweep)
    extra = {
        "sweep": item.path.name,
        "sweep_bytes": item.path.stat().st_size,
        "axes": sweep.axes,
        "origin_m": list(sweep.origin_m),
        "notices": list(sweep.notices),
        "grid": asdict(segmenter.config.grid),
        "weights_sha256": segmenter.weights_sha256,
        "settings": job.settings,
        "calibration": _calibration_sha256(job, item),
    }
    target = job.out / item.name
    write_result(
        target.parent,
        target.name,
        Cloud(sweep.xyz, sweep.points[:, 3]),
        instances,
        segmenter.config.classes,
        extra,
        job.formats,
        calibration,
        segmenter.config.data.image_size_px,
        job.pictures,
    )


def _calibration(job: Job, item: Item, sweep: Sweep) -> CameraCalibration | None:
    """From the sensor frame to the camera: a calibration starts from the file's coordinates."""
    path = _calibration_path(job, item)
    if path is None:
        return None
    given = read_calibration(path)
    from_file = axes_rotation(sweep.axes).T
    translation = given.to_camera(np.array([sweep.origin_m]))[0]
    return replace(given, rotation=given.rotation @ from_file, translation=translation)


def _calibration_path(job: Job, item: Item) -> Path | None:
    path = job.calibration
    return path / f"{Path(item.name).name}.txt" if path and path.is_dir() else path


def _calibration_sha256(job: Job, item: Item) -> str | None:
    path = _calibration_path(job, item)
    return None if path is None else hashlib.sha256(path.read_bytes()).hexdigest()


def _draw(
    job: Job, renderer: Renderer | None, item: Item, points: Float32, segmentation: Segmentation
) -> list[str]:
    """Draw what the job wants; says what cannot be drawn on this machine."""
    notices, instances = [], segmentation.instances
    for kind in job.pictures:
        path = job.picture(item, kind)
        if kind == "png":
            draw_bev(points, instances, path, title=item.name)
        elif kind == "html":
            write_html(points, instances, path, title=item.name)
        elif kind == "maps":
            draw_maps(points, segmentation, path, title=item.name)
        elif renderer is not None:
            try:
                renderer.draw(points, instances, path, title=item.name)
            except RuntimeError as error:
                notices.append(str(error).removeprefix(f"{path}: "))
    return notices
