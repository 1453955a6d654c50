"""Real street scenes without their sweeps: who stood where, out of KITTI label files."""

import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bev_instseg.datasets.kitti import Label, parse_labels, read_labels
from bev_instseg.exceptions import KittiError
from bev_instseg.simulate import lorries, people, vehicles
from bev_instseg.simulate.meshes import Float, Mesh, fitted
from bev_instseg.simulate.street_builder import BICYCLIST, CAR, PERSON, TRUCK, Site

_CAMERA_AHEAD_M = 0.27  # of the LiDAR
_FAR_M = 62.0
_CLASS = {"Car": CAR, "Van": CAR, "Truck": TRUCK, "Pedestrian": PERSON, "Cyclist": BICYCLIST}
_CLASS["Person_sitting"] = PERSON
# Both mirrors of a vehicle, which KITTI's boxes leave out.
_MIRRORS_M = {vehicles.car: 0.2, vehicles.van: 0.2, lorries.lorry: 0.4}


@dataclass(frozen=True)
class Thing:
    """A road user of a layout.

    Attributes:
        kind: KITTI object type.
        size_m: length, width and height.
        place_m: x and y of its centre in the sensor's frame.
        yaw_rad: heading there, counter-clockwise from x.
    """

    kind: str
    size_m: tuple[float, float, float]
    place_m: tuple[float, float]
    yaw_rad: float


StreetLayout = tuple[Thing, ...]


def read_layouts(path: Path) -> list[StreetLayout]:
    """The layouts of a folder or tar archive of KITTI label files that show road users.

    Raises:
        KittiError: not there, not an archive, a file that holds no labels, or no layout at all.
    """
    layouts = [_layout(labels) for labels in _label_files(path)]
    layouts = [layout for layout in layouts if layout]
    if not layouts:
        raise KittiError(f"{path}: no label file with road users; give a folder or .tar.gz of them")
    return layouts


def put_layout(site: Site, layout: StreetLayout, u: float, v: float, ahead: int) -> None:
    """Put the road users of a layout where they stood, seen from ``(u, v)`` of the plan.

    Args:
        ahead: 1 looks along the road, -1 back.
    """
    for thing in layout:
        x, y = thing.place_m
        yaw = thing.yaw_rad + (0 if ahead > 0 else np.pi)
        mesh = _body(site.rng, thing)
        site.put({_CLASS[thing.kind]: mesh}, u + ahead * x, v + ahead * y, yaw)


def _body(rng: np.random.Generator, thing: Thing) -> Mesh:
    length, width, height = thing.size_m
    if thing.kind in ("Pedestrian", "Person_sitting"):
        build = people.pedestrian if thing.kind == "Pedestrian" else people.sitter
        mesh = build(rng)
        scale: Float = np.full(3, height / np.ptp(mesh.vertices[:, 2]))
        return fitted(mesh, np.ptp(mesh.vertices, axis=0) * scale)
    if thing.kind == "Cyclist":
        return fitted(people.cyclist(rng), thing.size_m)
    if thing.kind == "Car":
        body = vehicles.pickup if rng.random() < 0.03 else vehicles.car
    elif thing.kind == "Van":
        body = vehicles.panel_van if height > 1.95 or rng.random() < 0.4 else vehicles.van
    elif length > 11:
        body = lorries.articulated
    else:
        body = lorries.tipper if rng.random() < 0.35 else lorries.lorry
    return fitted(body(rng), (length, width + _MIRRORS_M.get(body, 0.0), height))


def _layout(labels: list[Label]) -> StreetLayout:
    things = []
    for label in labels:
        right, _, forward = label.bottom_m
        if label.kind in _CLASS and min(label.size_m) > 0.1 and np.hypot(right, forward) < _FAR_M:
            height, width, length = map(float, label.size_m)
            place_m = (float(forward) + _CAMERA_AHEAD_M, -float(right))
            yaw = -label.yaw_rad - np.pi / 2
            things.append(Thing(label.kind, (length, width, height), place_m, yaw))
    return tuple(things)


def _label_files(path: Path) -> Iterator[list[Label]]:
    if path.is_dir():
        yield from (read_labels(file) for file in sorted(path.glob("*.txt")))
        return
    try:
        with tarfile.open(path) as archive:
            for member in sorted(archive.getmembers(), key=lambda m: m.name):
                file = archive.extractfile(member) if member.name.endswith(".txt") else None
                if file is not None:
                    lines = [line for line in file.read().decode().splitlines() if line.strip()]
                    yield parse_labels(lines, f"{path}/{member.name}")
    except (OSError, EOFError, zlib.error, tarfile.TarError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "no tar archive of text files"
        raise KittiError(f"{path}: cannot be read ({reason})") from None
