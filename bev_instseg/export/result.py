"""Write all files of a segmented sweep so that they always belong together."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bev_instseg.config import ClassConfig, DataConfig
from bev_instseg.datasets.kitti import CameraCalibration
from bev_instseg.exceptions import ScanError
from bev_instseg.export.kitti import kitti_lines
from bev_instseg.export.las import encode_laz
from bev_instseg.export.mark import has_mark
from bev_instseg.export.pcd import encode_pcd
from bev_instseg.export.picture import Picture
from bev_instseg.export.ply import encode_ply
from bev_instseg.export.points import Cloud, point_records
from bev_instseg.export.semantickitti import semantickitti_labels
from bev_instseg.export.sweep_result import UNFINISHED, Provenance, SweepResult
from bev_instseg.file_io import write_atomic
from bev_instseg.structures import Instances

POINT_FORMATS = ("ply", "pcd", "laz")
_ENCODERS = dict(zip(POINT_FORMATS, (encode_ply, encode_pcd, encode_laz), strict=True))


@dataclass(frozen=True)
class ResultFiles:
    """The files that a sweep gets besides its ``.label`` and ``.json``.

    Attributes:
        formats: Point files, from `POINT_FORMATS`.
        calibration: Camera for the ``.txt`` with boxes in its image; None for no ``.txt``.
        image_size_px: Width and height of that camera's image.
        pictures: Pictures that the caller draws afterwards; older ones are removed.
    """

    formats: tuple[str, ...] = ()
    calibration: CameraCalibration | None = None
    image_size_px: tuple[int, int] = DataConfig.image_size_px
    pictures: tuple[Picture, ...] = ()


LABEL_AND_JSON = ResultFiles()  # nothing else


def result_paths(
    target: str | Path, formats: Sequence[str] = (), has_calibration: bool = False
) -> list[Path]:
    """Return the paths that `write_result` writes, in its order: ``.label`` first, ``.json`` last.

    Args:
        target: Path of the sweep's results without suffix.
        formats: Point files, from `POINT_FORMATS`.
        has_calibration: Whether there is a camera calibration, and so a ``.txt``.

    Raises:
        ValueError: A format is unknown.
    """
    for name in formats:
        if name not in POINT_FORMATS:
            raise ValueError(f"format must be one of {', '.join(POINT_FORMATS)}, got '{name}'")
    chosen = [name for name in POINT_FORMATS if name in formats]
    suffixes = ["label", *chosen, *(["txt"] if has_calibration else []), "json"]
    return [Path(f"{target}.{suffix}") for suffix in suffixes]


def write_result(
    target: str | Path,
    cloud: Cloud,
    instances: Instances,
    classes: Sequence[ClassConfig],
    provenance: Provenance | None = None,
    files: ResultFiles = LABEL_AND_JSON,
) -> list[Path]:
    """Write the files of a sweep; missing folders are created.

    Each file is written completely or not at all, and the ``.json`` last: a complete one proves
    that all files of the sweep exist and belong to it. Until then a ``.json`` marked
    ``unfinished`` takes its place. Point files, ``.txt`` and pictures of an earlier run are kept
    if the new ``.json`` equals the old one, and removed otherwise.

    Files that bev-instseg did not write are never touched. Point files and ``.json`` carry its
    mark; a ``.label``, ``.txt`` or picture is replaced or removed only next to a marked ``.json``.

    Args:
        target: Path of the files without suffix.
        cloud: The N points of the sweep.
        instances: The objects among them.
        classes: The classes of ``instances.class_names``, in that order.
        provenance: What the instances were computed from, for the ``.json``.
        files: What to write besides the ``.label`` and ``.json``.

    Returns:
        The paths, as `result_paths` lists them.

    Raises:
        ValueError: The arguments do not fit together, a format is unknown, a number is not finite,
            or a file in the way was not written by bev-instseg. Nothing has been touched.
        TypeError: ``provenance`` holds a value that JSON cannot. Nothing has been touched.
        ImportError: ``laz`` needs a package that is missing. Nothing has been touched.
        OSError: A file cannot be written.
    """
    result = SweepResult.of(instances, provenance)
    contents = _encode(result, cloud, instances, classes, files)
    paths = result_paths(target, files.formats, files.calibration is not None)
    pictures = [picture.path(target) for picture in files.pictures]
    json_path = paths[-1]
    json_is_ours = has_mark(json_path)
    for path in [*paths, *pictures]:
        if path.exists() and not _is_ours(path, json_is_ours):
            raise ValueError(
                f"{path}: already exists and was not written by bev-instseg; "
                "choose another output folder"
            )
    json_path.parent.mkdir(parents=True, exist_ok=True)
    outdated = pictures
    if not (json_is_ours and _is_same_result(json_path, result)):
        outdated = [picture.path(target) for picture in Picture]
        outdated += result_paths(target, POINT_FORMATS, has_calibration=True)
    write_atomic(json_path, UNFINISHED)
    for path in outdated:
        if path not in paths and path.exists() and _is_ours(path, json_is_ours):
            path.unlink(missing_ok=True)  # another process may remove it first
    for path in paths:
        write_atomic(path, contents[path.suffix[1:]])
    return paths


def _encode(
    result: SweepResult,
    cloud: Cloud,
    instances: Instances,
    classes: Sequence[ClassConfig],
    files: ResultFiles,
) -> dict[str, bytes]:
    """Return the content of each file by its suffix."""
    names = tuple(c.name for c in classes)
    if names != instances.class_names:
        raise ValueError(f"classes are {names}, but the instances have {instances.class_names}")
    if len(cloud.xyz) != len(instances.labels):
        raise ValueError(f"{len(cloud.xyz)} points, but {len(instances.labels)} labels")
    words = semantickitti_labels(instances, [c.label for c in classes])
    contents = {"label": words.astype("<u4").tobytes(), "json": result.to_bytes()}
    if files.formats:
        records = point_records(cloud, instances, classes)
        contents |= {
            name: _ENCODERS[name](records) for name in POINT_FORMATS if name in files.formats
        }
    if files.calibration is not None:
        lines = kitti_lines(instances, classes, files.calibration, files.image_size_px)
        contents["txt"] = "".join(line + "\n" for line in lines).encode()
    return contents


def _is_ours(path: Path, json_is_ours: bool) -> bool:
    """Return whether bev-instseg wrote a file, given whether it wrote the ``.json`` next to it."""
    return has_mark(path) if path.suffix[1:] in (*POINT_FORMATS, "json") else json_is_ours


def _is_same_result(json_path: Path, result: SweepResult) -> bool:
    """Return whether a file holds this result, whatever calibration its ``.txt`` was made with."""
    try:
        earlier = SweepResult.read(json_path)
    except ScanError:
        return False
    return _without_calibration(earlier) == _without_calibration(result)


def _without_calibration(result: SweepResult) -> SweepResult:
    if result.provenance is None:
        return result
    return replace(result, provenance=replace(result.provenance, calibration=None))
