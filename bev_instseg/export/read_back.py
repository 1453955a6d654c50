"""Read the instances of a sweep back from its ``.label`` and ``.json``."""

from pathlib import Path

import numpy as np

from bev_instseg.exceptions import ScanError
from bev_instseg.export.sweep_result import SweepResult
from bev_instseg.io.labels import read_labels
from bev_instseg.structures import Instances


def read_instances(label_path: str | Path, json_path: str | Path) -> Instances:
    """Read the instances that `write_result` wrote.

    Labels and classes are exact; scores and boxes are rounded as in the ``.json``.

    Args:
        label_path: The sweep's ``.label`` file.
        json_path: The sweep's ``.json`` file.

    Raises:
        ScanError: A file cannot be read or was not written by `write_result`, or the two differ in
            the number of points, in the points of an instance, or in the classes.
    """
    result = SweepResult.read(json_path)
    words = read_labels(label_path, result.num_points)
    labels, codes = (words >> 16).astype(np.int32), words & 0xFFFF
    mismatch = f"{label_path}: does not match {json_path}"
    remedy = "segment the sweep again"

    counts = np.bincount(labels, minlength=len(result.instances) + 1)[1:]
    if counts.tolist() != [one.num_points for one in result.instances]:
        raise ScanError(f"{mismatch}: different numbers of points per instance; {remedy}")
    num_classes = len(result.class_names)
    classes = [result.class_names.index(one.class_name) for one in result.instances]
    class_of_point = np.array([num_classes, *classes])[labels]  # num_classes: no object
    code_of_class = np.zeros(num_classes + 1, np.uint32)
    code_of_class[class_of_point] = codes
    if code_of_class[-1] or (code_of_class[class_of_point] != codes).any():
        raise ScanError(f"{mismatch}: different classes; {remedy}")
    boxes = [
        (*one.centre_m, one.length_m, one.width_m, one.height_m, one.yaw_rad)
        for one in result.instances
    ]
    return Instances(
        labels,
        np.array(classes, np.int32),
        np.array([one.score for one in result.instances], np.float32),
        np.array(boxes, np.float32).reshape(-1, 7),
        result.class_names,
    )
