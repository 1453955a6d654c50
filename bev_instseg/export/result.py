"""All the files of a segmented sweep, written so that what is there belongs together."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bev_instseg.config import ClassConfig, DataConfig
from bev_instseg.datasets.kitti import CameraCalibration
from bev_instseg.export.instances_json import instances_to_dict, json_bytes
from bev_instseg.export.kitti import kitti_lines
from bev_instseg.export.las import encode_laz
from bev_instseg.export.pcd import encode_pcd
from bev_instseg.export.ply import encode_ply
from bev_instseg.export.points import MARK, Cloud, point_records
from bev_instseg.export.semantickitti import semantickitti_labels
from bev_instseg.file_io import write_atomic
from bev_instseg.structures import Instances

POINT_FORMATS = ("ply", "pcd", "laz")
_ENCODERS = dict(zip(POINT_FORMATS, (encode_ply, encode_pcd, encode_laz), strict=True))
PICTURES = {"png": ".png", "3d": "_3d.png", "maps": "_maps.png", "html": ".html"}
HEADER_BYTES = 256  # MARK stands in these
UNFINISHED = {"about": MARK, "unfinished": True}  # the .json while the other files are written


def result_paths(
    out_dir: str | Path, stem: str, formats: Sequence[str] = (), calibrated: bool = False
) -> list[Path]:
    """What `write_result` writes, in its order: the last one, the ``.json``, stands for all.

    Args:
        out_dir: the folder.
        stem: name of the sweep without its suffix, folders below ``out_dir`` included.
        formats: point files beside the ``.label``, out of `POINT_FORMATS`.
        calibrated: whether there is a camera's calibration, and so a ``.txt``.

    Raises:
        ValueError: for another format.
    """
    for name in formats:
        if name not in POINT_FORMATS:
            raise ValueError(f"format {name!r}: choose out of {', '.join(POINT_FORMATS)}")
    chosen = [name for name in POINT_FORMATS if name in formats]
    suffixes = ["label", *chosen, *(["txt"] if calibrated else []), "json"]
    return [Path(out_dir) / f"{stem}.{suffix}" for suffix in suffixes]


def write_result(
    out_dir: str | Path,
    stem: str,
    cloud: Cloud,
    instances: Instances,
    classes: Sequence[ClassConfig],
    extra: Mapping[str, Any],
    formats: Sequence[str] = (),
    calibration: CameraCalibration | None = None,
    image_size_px: tuple[int, int] = DataConfig.image_size_px,
    pictures: Sequence[str] = (),
) -> list[Path]:
    """Write the files of a sweep into a folder; folders that are missing are made.

    Each is written whole or not at all, and the ``.json`` comes last: where it is whole, all files
    of the sweep are there and belong to it. Until then one that says ``unfinished`` stands there.
    Point files, ``.txt`` and pictures of an earlier run stay if the new ``.json`` says the same as
    the old one, and go if not. Files of others are safe: point files and ``.json`` tell whose they
    are; a ``.label``, ``.txt`` or picture is replaced or removed only beside a ``.json`` of ours.

    Args:
        out_dir: the folder.
        stem: name of the sweep without its suffix, folders below ``out_dir`` included.
        cloud: its N points.
        instances: the objects among them.
        classes: of ``instances.class_names``, in that order.
        extra: more entries of the ``.json``; see `instances_to_dict`.
        formats: point files beside the ``.label``, out of `POINT_FORMATS`.
        calibration: of a camera, for the ``.txt``; None writes none.
        image_size_px: width and height of the camera's image.
        pictures: that the caller draws next, out of `PICTURES`; older ones are removed.

    Returns:
        The paths, as `result_paths` has them.

    Raises:
        ValueError: input that does not fit together, a format unknown, a number that is not
            finite in ``extra``, or a file of somebody else where one would be written.
        TypeError: if ``extra`` holds what JSON cannot.
        ImportError: ``laz`` without the package it needs.
        OSError: if a file cannot be written. In all other cases nothing has been touched.
    """
    paths = result_paths(out_dir, stem, formats, calibration is not None)
    if tuple(c.name for c in classes) != instances.class_names:
        raise ValueError(
            f"classes are {tuple(c.name for c in classes)}, instances have {instances.class_names}"
        )
    if len(cloud.xyz) != len(instances.labels):
        raise ValueError(f"{len(cloud.xyz)} points, but labels for {len(instances.labels)}")
    words = semantickitti_labels(instances, [c.label for c in classes])
    tree = instances_to_dict(instances, extra)
    files = {"label": words.astype("<u4").tobytes(), "json": json_bytes(tree)}
    if formats:
        records = point_records(cloud, instances, classes)
        files |= {name: _ENCODERS[name](records) for name in POINT_FORMATS if name in formats}
    if calibration is not None:
        lines = kitti_lines(instances, classes, calibration, image_size_px)
        files["txt"] = "".join(line + "\n" for line in lines).encode()

    last = paths[-1]
    known = _is_marked(last)
    drawn = [Path(out_dir) / f"{stem}{PICTURES[kind]}" for kind in pictures]
    for path in [*paths, *drawn]:
        if path.exists() and not _is_ours(path, known):
            raise ValueError(
                f"{path}: is there already and is no result of this package; "
                "give another output folder"
            )
    last.parent.mkdir(parents=True, exist_ok=True)
    same = known and _says(last, tree)
    write_atomic(last, json_bytes(UNFINISHED))
    possible = [Path(out_dir) / f"{stem}{suffix}" for suffix in PICTURES.values()]
    possible += result_paths(out_dir, stem, POINT_FORMATS, calibrated=True)
    for path in drawn if same else possible:
        if path not in paths and path.exists() and _is_ours(path, known):
            path.unlink(missing_ok=True)  # two may run at once
    for path in paths:
        write_atomic(path, files[path.suffix[1:]])
    return paths


def _is_ours(path: Path, known: bool) -> bool:
    """Whether this package wrote a file; ``known`` if it wrote the ``.json`` beside it."""
    return _is_marked(path) if path.suffix[1:] in (*POINT_FORMATS, "json") else known


def _is_marked(path: Path) -> bool:
    return path.is_file() and is_result(path)


def _says(path: Path, tree: Mapping[str, Any]) -> bool:
    """Whether a ``.json`` holds the same; the calibration is of no account but to the ``.txt``."""
    try:
        old = json.loads(path.read_bytes())
    except ValueError:
        return False
    return {**old, "calibration": None} == {**json.loads(json_bytes(tree)), "calibration": None}


def is_result(path: Path) -> bool:
    """Whether a point file or ``.json`` says that this package wrote it.

    Raises:
        OSError: if it cannot be read.
    """
    with open(path, "rb") as file:
        return MARK.encode() in file.read(HEADER_BYTES)
