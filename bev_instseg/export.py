"""Instances -> files: SemanticKITTI ``.label`` and a ``.json`` that lists the objects."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bev_instseg.datasets.scan_io import write_atomic, write_labels
from bev_instseg.structures import Instances

MAX_16_BITS = 0xFFFF


def semantickitti_labels(instances: Instances, class_labels: Sequence[int]) -> NDArray[np.uint32]:
    """Class in the low, instance 1..K in the high 16 bits of each point; 0 for no object.

    Args:
        instances: the objects of a sweep of N points.
        class_labels: SemanticKITTI class of each of ``instances.class_names``, in that order.

    Returns:
        (N,) uint32, in the order of the points.

    Raises:
        ValueError: if the class labels are not one per class or do not fit 16 bits, or if there
            are more than 65535 instances.
    """
    if len(class_labels) != len(instances.class_names):
        raise ValueError(
            f"class_labels has {len(class_labels)} numbers for the classes {instances.class_names}"
        )
    if not all(0 <= label <= MAX_16_BITS for label in class_labels):
        raise ValueError(f"class_labels must lie in 0..{MAX_16_BITS}, got {tuple(class_labels)}")
    if len(instances) > MAX_16_BITS:
        raise ValueError(f"{len(instances)} instances; a .label file holds {MAX_16_BITS}")
    words = np.zeros(len(instances) + 1, np.uint32)
    words[1:] = np.asarray(class_labels, np.uint32)[instances.classes]
    words |= np.arange(len(words), dtype=np.uint32) << np.uint32(16)
    return words[instances.labels]


def instances_to_dict(instances: Instances, extra: Mapping[str, Any]) -> dict[str, Any]:
    """What the ``.json`` file holds: ``extra``, then the list ``instances`` by falling score.

    Metres are rounded to a millimetre, scores and radians to 1e-4. Instance ``id`` is the number
    in ``Instances.labels`` and in the high 16 bits of the ``.label`` file; the box is centred on
    ``centre_m`` and ``yaw_rad`` is the heading of its length.

    Args:
        instances: the objects of a sweep.
        extra: more top-level entries (grid, weights, timing); anything JSON can hold.

    Raises:
        ValueError: if ``extra`` has an entry ``instances``.
    """
    if "instances" in extra:
        raise ValueError("extra must not have an entry 'instances'")
    objects = []
    for k, num_points in enumerate(instances.num_points.tolist()):
        *metres, yaw_rad = instances.boxes[k].tolist()
        centre, size = ([round(v, 3) for v in part] for part in (metres[:3], metres[3:]))
        objects.append(
            {
                "id": k + 1,
                "class": instances.class_names[instances.classes[k]],
                "score": round(float(instances.scores[k]), 4),
                "num_points": num_points,
                "centre_m": centre,
                "box": {
                    "length_m": size[0],
                    "width_m": size[1],
                    "height_m": size[2],
                    "yaw_rad": round(yaw_rad, 4),
                },
            }
        )
    return {**extra, "instances": objects}


def write_result(
    out_dir: str | Path,
    stem: str,
    instances: Instances,
    class_labels: Sequence[int],
    extra: Mapping[str, Any],
) -> tuple[Path, Path]:
    """Write ``stem.label`` and ``stem.json`` into a folder, which is made if there is none.

    Args:
        out_dir: the folder.
        stem: name of the sweep without its suffix.
        instances, class_labels: as for `semantickitti_labels`.
        extra: as for `instances_to_dict`.

    Returns:
        The paths of both files, each written whole or not at all; the ``.json`` comes last, so
        where there is one the ``.label`` beside it belongs to it.

    Raises:
        ValueError: as the two functions above, or a number that is not finite (not valid JSON).
        TypeError: if ``extra`` holds what JSON cannot.
        OSError: if a file cannot be written.
    """
    labels = semantickitti_labels(instances, class_labels)
    tree = instances_to_dict(instances, extra)
    text = json.dumps(tree, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    out_dir = Path(out_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    label_path, json_path = out_dir / f"{stem}.label", out_dir / f"{stem}.json"
    json_path.unlink(missing_ok=True)
    write_labels(label_path, labels)
    write_atomic(json_path, text.encode())
    return label_path, json_path
