"""Real positions of vehicles and people, read from KITTI label files and placed on a street."""

import lzma
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path, PurePosixPath

import numpy as np

from bev_instseg.datasets.kitti_files import BoxLabel, parse_boxes, read_boxes
from bev_instseg.exceptions import KittiError
from bev_instseg.simulate import lorries, people, riders, vehicles
from bev_instseg.simulate.meshes import Mesh, fitted
from bev_instseg.simulate.street_builder import BICYCLIST, CAR, PERSON, TRUCK, StreetBuilder

_CAMERA_AHEAD_M = 0.27  # distance from the LiDAR forward to the camera
_MAX_DISTANCE_M = 62.0
_CLASSES = {
    "Car": CAR,
    "Van": CAR,
    "Truck": TRUCK,
    "Pedestrian": PERSON,
    "Person_sitting": PERSON,
    "Cyclist": BICYCLIST,
}
# Width of both mirrors together, which KITTI's boxes exclude.
_MIRRORS_M = {vehicles.car: 0.2, vehicles.van: 0.2, lorries.lorry: 0.4}


@dataclass(frozen=True)
class RoadUser:
    """A vehicle, pedestrian or cyclist of a layout.

    Attributes:
        kind: KITTI object type.
        size_m: Length, width and height.
        centre_m: x and y of the centre in the sensor frame.
        yaw_rad: Heading in the sensor frame, counter-clockwise from x.
    """

    kind: str
    size_m: tuple[float, float, float]
    centre_m: tuple[float, float]
    yaw_rad: float


StreetLayout = tuple[RoadUser, ...]


@cache
def read_layouts_once(path: Path) -> list[StreetLayout]:
    """Return what `read_layouts` returns; each path is read once in a process."""
    return read_layouts(path)


def read_layouts(path: Path) -> list[StreetLayout]:
    """Read the label files of a folder or tar archive; files without road users are left out.

    Args:
        path: A folder of KITTI label files (.txt) or a tar archive of them.

    Raises:
        KittiError: The folder, archive or a label file cannot be read, or has no road users.
    """
    layouts = [_layout(labels) for labels in _label_files(path)]
    layouts = [layout for layout in layouts if layout]
    if not layouts:
        raise KittiError(
            f"{path}: no road users found; give a folder or .tar.gz of KITTI label files"
        )
    return layouts


def place_layout(
    builder: StreetBuilder, layout: StreetLayout, u: float, v: float, direction: int
) -> None:
    """Place the road users of a layout as seen by a sensor at ``(u, v)`` of the plan.

    Args:
        builder: Street to place them on.
        layout: Road users and their positions in the sensor frame.
        u: Plan coordinate of the sensor, metres.
        v: The other plan coordinate, metres.
        direction: 1 if the sensor looks along the main road, -1 if it looks back.
    """
    for road_user in layout:
        x, y = road_user.centre_m
        yaw_rad = road_user.yaw_rad + (0 if direction > 0 else np.pi)
        parts = {_CLASSES[road_user.kind]: _random_mesh(builder.rng, road_user)}
        builder.place(parts, u + direction * x, v + direction * y, yaw_rad)


def _random_mesh(rng: np.random.Generator, road_user: RoadUser) -> Mesh:
    """Return a random mesh of the road user's kind and size."""
    length, width, height = road_user.size_m
    if road_user.kind in ("Pedestrian", "Person_sitting"):
        build = people.pedestrian if road_user.kind == "Pedestrian" else people.seated_person
        mesh = build(rng)
        extent = np.ptp(mesh.vertices, axis=0)
        return fitted(mesh, extent * (height / extent[2]))
    if road_user.kind == "Cyclist":
        return fitted(riders.cyclist(rng), road_user.size_m)
    if road_user.kind == "Car":
        body = vehicles.pickup if rng.random() < 0.03 else vehicles.car
    elif road_user.kind == "Van":
        body = vehicles.panel_van if height > 1.95 or rng.random() < 0.4 else vehicles.van
    elif length > 11:
        body = lorries.articulated
    else:
        body = lorries.tipper if rng.random() < 0.35 else lorries.lorry
    return fitted(body(rng), (length, width + _MIRRORS_M.get(body, 0.0), height))


def _layout(labels: list[BoxLabel]) -> StreetLayout:
    """Convert KITTI labels from the camera frame to the sensor frame."""
    road_users = []
    for label in labels:
        right, _, forward = label.bottom_m
        is_near = np.hypot(right, forward) < _MAX_DISTANCE_M
        if label.kind in _CLASSES and min(label.size_m) > 0.1 and is_near:
            height, width, length = map(float, label.size_m)
            centre_m = (float(forward) + _CAMERA_AHEAD_M, -float(right))
            yaw = -label.yaw_rad - np.pi / 2
            road_users.append(RoadUser(label.kind, (length, width, height), centre_m, yaw))
    return tuple(road_users)


def _label_files(path: Path) -> Iterator[list[BoxLabel]]:
    """Yield the labels of each file that is not hidden, in the order of their names."""
    if path.is_dir():
        yield from (read_boxes(file) for file in sorted(path.glob("[!.]*.txt")))
        return
    try:
        with tarfile.open(path) as archive:
            for member in sorted(archive.getmembers(), key=lambda m: m.name):
                is_label = fnmatchcase(PurePosixPath(member.name).name, "[!.]*.txt")
                file = archive.extractfile(member) if is_label else None
                if file is not None:
                    lines = [line for line in file.read().decode().splitlines() if line.strip()]
                    yield parse_boxes(lines, f"{path}/{member.name}")
    except (
        *(OSError, EOFError, zlib.error, lzma.LZMAError),
        *(tarfile.TarError, UnicodeDecodeError),
    ) as error:
        reason = getattr(error, "strerror", None) or "not a tar archive of text files"
        raise KittiError(
            f"{path}: cannot be read ({reason}); give a folder or .tar.gz of KITTI label files"
        ) from None
