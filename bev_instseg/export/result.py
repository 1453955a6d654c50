"""All the files of a segmented sweep, written so that what is there belongs together."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bev_instseg.config import ClassConfig, DataConfig
from bev_instseg.datasets.kitti import Calibration
from bev_instseg.datasets.scan_io import write_atomic
from bev_instseg.export.kitti import kitti_lines
from bev_instseg.export.las import encode_laz
from bev_instseg.export.pcd import encode_pcd
from bev_instseg.export.ply import encode_ply
from bev_instseg.export.points import MARK, Cloud, point_records
from bev_instseg.export.semantickitti import semantickitti_labels
from bev_instseg.export.summary import encode_json
from bev_instseg.structures import Instances

POINT_FORMATS = ("ply", "pcd", "laz")
_ENCODERS = dict(zip(POINT_FORMATS, (encode_ply, encode_pcd, encode_laz), strict=True))
HEADER_BYTES = 256  # MARK stands in these


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
    calibration: Calibration | None = None,
    image_size_px: tuple[int, int] = DataConfig.image_size_px,
) -> list[Path]:
    """Write the files of a sweep into a folder; folders that are missing are made.

    Each is written whole or not at all, and the ``.json`` comes last: where there is one, all files
    of the sweep are there and belong to it. So an older ``.json`` is removed first, and then the
    older point files and the ``.txt`` that are not written anew. A recording is safe: of
    ``.ply``, ``.pcd``, ``.laz``, ``.txt`` and ``.json``, only files that this function wrote are
    removed or replaced.

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
    files = {"label": words.astype("<u4").tobytes(), "json": encode_json(instances, extra)}
    if formats:
        records = point_records(cloud, instances, classes)
        files |= {name: _ENCODERS[name](records) for name in POINT_FORMATS if name in formats}
    if calibration is not None:
        lines = kitti_lines(instances, classes, calibration, image_size_px)
        files["txt"] = "".join(line + "\n" for line in lines).encode()

    for path in paths[1:]:
        if path.exists() and not _is_ours(path):
            raise ValueError(
                f"{path}: is there already and is no result of this package; "
                "give another output folder"
            )
    paths[0].parent.mkdir(parents=True, exist_ok=True)
    paths[-1].unlink(missing_ok=True)
    for path in result_paths(out_dir, stem, POINT_FORMATS, calibrated=True):
        if path not in paths and path.exists() and _is_ours(path):
            path.unlink()
    for path in paths:
        write_atomic(path, files[path.suffix[1:]])
    return paths


def _is_ours(path: Path) -> bool:
    """Whether `write_result` wrote a file, or one that is as good as the same."""
    if path.suffix == ".json":
        return b'"instances": [' in path.read_bytes()
    if path.suffix == ".txt":  # labels of KITTI have 15 fields, detections 16
        return all(len(line.split()) == 16 for line in path.read_bytes().splitlines())
    with open(path, "rb") as file:
        return MARK.encode() in file.read(HEADER_BYTES)
