"""Write all files of a segmented sweep so that they always belong together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bev_instseg.config import ClassConfig, DataConfig
from bev_instseg.datasets.kitti_files import CameraCalibration
from bev_instseg.export.kitti import kitti_lines
from bev_instseg.export.las import encode_laz
from bev_instseg.export.pcd import encode_pcd
from bev_instseg.export.picture import Picture
from bev_instseg.export.ply import encode_ply
from bev_instseg.export.points import POINT_FORMATS, Cloud, point_records
from bev_instseg.export.provenance import Provenance
from bev_instseg.export.replace import replace_result
from bev_instseg.export.semantickitti import semantickitti_labels
from bev_instseg.export.sweep_result import SweepResult
from bev_instseg.export.track_record import label_id
from bev_instseg.structures import Instances
from bev_instseg.tracking.tracked import TrackedInstances

_ENCODERS = dict(zip(POINT_FORMATS, (encode_ply, encode_pcd, encode_laz), strict=True))


@dataclass(frozen=True)
class ResultFiles:
    """The files that a sweep gets besides its ``.label`` and ``.json``.

    Attributes:
        formats: Point files, from `POINT_FORMATS`.
        calibration: Camera for the ``.txt`` with boxes in its image; None for no ``.txt``.
        image_size_px: Width and height of that camera's image.
        pictures: Content of each picture.
    """

    formats: tuple[str, ...] = ()
    calibration: CameraCalibration | None = None
    image_size_px: tuple[int, int] = DataConfig.image_size_px
    pictures: Mapping[Picture, bytes] = field(default_factory=dict)


LABEL_AND_JSON = ResultFiles()  # nothing else


def result_paths(
    target: str | Path, formats: Sequence[str] = (), has_calibration: bool = False
) -> list[Path]:
    """Return the paths that `write_result` writes, in its order: ``.label`` first, ``.json`` last.

    Pictures are not included.

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
    instances: Instances | TrackedInstances,
    classes: Sequence[ClassConfig],
    provenance: Provenance | None = None,
    files: ResultFiles = LABEL_AND_JSON,
) -> list[Path]:
    """Write the files of a sweep; missing folders are created.

    They are replaced together, and the ``.json`` last: a complete one proves that all files of the
    sweep exist and belong to it. Until everything has been written to the disk, the earlier result
    stays as it is. Its other files are kept if the new ``.json`` has the same instances and
    settings, and removed otherwise.

    Only files that the ``.json`` lists, with their size and hash, are ever replaced or removed.

    Args:
        target: Path of the files without suffix.
        cloud: The N points of the sweep.
        instances: The objects among them. If they are tracked, the confirmed ones are written with
            their ids over the sequence, and the ``.json`` lists the others separately.
        classes: The classes of ``instances.class_names``, in that order.
        provenance: What the instances were computed from, for the ``.json``.
        files: What to write besides the ``.label`` and ``.json``.

    Returns:
        The paths, as `result_paths` lists them.

    Raises:
        ValueError: The arguments do not fit together, a format is unknown, or a number is not
            finite. Nothing has been touched.
        ScanError: A file in the way was not written by bev-instseg. Nothing has been touched.
        TypeError: ``provenance`` holds a value that JSON cannot hold. Nothing has been touched.
        ImportError: ``laz`` needs a package that is missing. Nothing has been touched.
        OSError: A file cannot be written.
    """
    paths = result_paths(target, files.formats, files.calibration is not None)
    result = SweepResult.of(instances, provenance)
    result.to_bytes()  # raises before anything is touched
    contents = _encode(cloud, instances, classes, files)
    paths[-1].parent.mkdir(parents=True, exist_ok=True)
    replace_result(target, result, contents)
    return paths


def _encode(
    cloud: Cloud,
    found: Instances | TrackedInstances,
    classes: Sequence[ClassConfig],
    files: ResultFiles,
) -> dict[str, bytes]:
    """Return the content of each file next to the ``.json`` by its suffix."""
    ids = None
    if isinstance(found, TrackedInstances):
        found = found.confirmed()
        ids = found.tracks.ids.tolist()
    instances = found if isinstance(found, Instances) else found.instances
    names = tuple(c.name for c in classes)
    if names != instances.class_names:
        raise ValueError(f"classes are {names}, but the instances have {instances.class_names}")
    if len(cloud.xyz) != len(instances.labels):
        raise ValueError(f"{len(cloud.xyz)} points, but {len(instances.labels)} labels")
    label_ids = None if ids is None else [label_id(number) for number in ids]
    words = semantickitti_labels(instances, [c.label for c in classes], label_ids)
    contents = {".label": words.astype("<u4").tobytes()}
    if files.formats:
        records = point_records(cloud, instances, classes, ids)
        for name in POINT_FORMATS:
            if name in files.formats:
                contents[f".{name}"] = _ENCODERS[name](records)
    if files.calibration is not None:
        lines = kitti_lines(instances, classes, files.calibration, files.image_size_px)
        contents[".txt"] = "".join(line + "\n" for line in lines).encode()
    return contents | {picture.value: data for picture, data in files.pictures.items()}
