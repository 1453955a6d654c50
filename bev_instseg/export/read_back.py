"""``.label`` and ``.json`` files -> the instances that were written."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from bev_instseg.exceptions import ScanError
from bev_instseg.io.labels import read_labels
from bev_instseg.structures import Instances

AGAIN = "segment the sweep again"


def read_instances(label_path: str | Path, json_path: str | Path) -> Instances:
    """The instances of a sweep as `write_result` wrote them, without a network.

    Labels and classes are what they were; scores and boxes are rounded as in the ``.json`` file.

    Raises:
        ScanError: a file that cannot be read or is of another kind, or two that do not belong
            together: another number of points, of points of an instance, or of classes.
    """
    try:
        num_points, names, classes, numbers = _parse(Path(json_path).read_bytes())
    except OSError as error:
        raise ScanError(f"{json_path}: cannot be read ({error.strerror}); check the path") from None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ScanError(
            f"{json_path}: does not list instances as this package writes them; {AGAIN}"
        ) from None
    words = read_labels(label_path, num_points)
    labels, codes = (words >> 16).astype(np.int32), words & 0xFFFF

    counts = np.bincount(labels, minlength=len(classes) + 1)[1:]
    if counts.tolist() != numbers[:, 0].tolist():
        raise ScanError(
            f"{label_path}: its instances do not have the numbers of points that {json_path} "
            f"lists, so the two do not belong together; {AGAIN}"
        )
    kinds = np.array([len(names), *classes])[labels]  # the last kind: no object
    code_of = np.zeros(len(names) + 1, np.uint32)
    code_of[kinds] = codes
    if code_of[-1] or (code_of[kinds] != codes).any():
        raise ScanError(
            f"{label_path}: its classes are not those that {json_path} lists, so the two do not "
            f"belong together; {AGAIN}"
        )
    return Instances(
        labels,
        np.array(classes, np.int32),
        numbers[:, 1].astype(np.float32),
        numbers[:, 2:].astype(np.float32),
        names,
    )


def _parse(data: bytes) -> tuple[int, tuple[str, ...], list[int], np.ndarray]:
    """Points of the sweep, class names, class of each instance, (K, 9) points, score and box.

    Raises:
        ValueError, KeyError, TypeError: another content.
    """
    tree: Any = json.loads(data)
    num_points, names = tree["num_points"], tuple(tree["class_names"])
    objects = tree["instances"]
    if type(num_points) is not int or not all(type(name) is str for name in names):
        raise TypeError
    if [item["id"] for item in objects] != list(range(1, len(objects) + 1)):
        raise ValueError
    classes = [names.index(item["class"]) for item in objects]
    size = ("length_m", "width_m", "height_m", "yaw_rad")
    rows = [
        [
            *(item["num_points"], item["score"], *item["centre_m"]),
            *(item["box"][key] for key in size),
        ]
        for item in objects
    ]
    numbers = np.array(rows, np.float64).reshape(len(objects), 9)
    if not np.isfinite(numbers).all():
        raise ValueError
    return num_points, names, classes, numbers
