"""Read the instances of a sweep back from its ``.label`` and ``.json``."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from bev_instseg.config import GROUND_LABEL
from bev_instseg.exceptions import ScanError
from bev_instseg.export.instance_record import InstanceRecord
from bev_instseg.export.sweep_result import SweepResult
from bev_instseg.io.labels import read_labels
from bev_instseg.structures import Instances, Int32
from bev_instseg.tracking.tracked import TrackedInstances, Tracks


def read_instances(label_path: str | Path, json_path: str | Path) -> Instances:
    """Read the instances that `write_result` wrote.

    Labels, classes and ground are exact; scores and boxes are rounded as in the ``.json``.

    Args:
        label_path: The sweep's ``.label`` file.
        json_path: The sweep's ``.json`` file.

    Raises:
        ScanError: A file cannot be read or was not written by `write_result`, or the two differ in
            the number of points, in the points of an instance or the ground, or in the classes.
    """
    result = SweepResult.read(json_path)
    words = read_labels(label_path, result.num_points)
    numbers = np.full(1 << 16, len(result.instances) + 1, np.int32)  # a number that no instance has
    numbers[0] = 0
    for one in result.instances:
        numbers[one.label_id] = one.id
    labels, codes = numbers[words >> 16], words & 0xFFFF
    mismatch = f"{label_path}: does not match {json_path}"
    remedy = "segment the sweep again"

    ground = None
    if result.num_ground_points is not None:
        ground = words == GROUND_LABEL
        codes[ground] = 0
        if ground.sum() != result.num_ground_points:
            raise ScanError(f"{mismatch}: different numbers of points on the ground; {remedy}")
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
    return replace(instances_of(result.instances, result.class_names, labels), ground=ground)


def instances_of(
    records: Sequence[InstanceRecord], class_names: tuple[str, ...], labels: Int32
) -> Instances:
    """Return the instances of a ``.json``.

    Args:
        records: The instances, in the order of their numbers in ``labels``.
        class_names: Names of the classes that the network knows.
        labels: (N,) int32 instance of each point.
    """
    boxes = [
        (*one.centre_m, one.length_m, one.width_m, one.height_m, one.yaw_rad) for one in records
    ]
    courses_m = tuple(
        None if one.course_m is None else np.array(one.course_m, np.float32) for one in records
    )
    return Instances(
        labels,
        np.array([class_names.index(one.class_name) for one in records], np.int32),
        np.array([one.score for one in records], np.float32),
        np.array(boxes, np.float32).reshape(-1, 7),
        class_names,
        courses_m=courses_m if any(course is not None for course in courses_m) else (),
    )


def tracked_of(result: SweepResult) -> TrackedInstances:
    """Return the instances of a sweep's ``.json`` with their tracks, the doubtful ones last.

    The ``.json`` does not say which point belongs to which instance, so each instance gets the
    right number of arbitrary points; the first points of the sweep belong to none.

    Args:
        result: The result, of a sweep that was tracked.
    """
    assert result.sequence is not None
    records = (*result.instances, *result.sequence.tentative)
    tracks = [one.track for one in records if one.track is not None]
    seen = [track.seen for track in tracks]
    counts = [one.num_points for one in records]
    labels = np.repeat(
        np.arange(len(counts) + 1, dtype=np.int32), [result.num_points - sum(counts), *counts]
    )
    columns = Tracks(
        ids=np.array([track.id for track in tracks], np.uint32),
        position_m=np.array([track.position_m for track in tracks]).reshape(-1, 3),
        velocity_mps=np.array([track.velocity_mps for track in tracks]).reshape(-1, 2),
        heading_rad=np.array([track.heading_rad for track in tracks]),
        front_known=np.array([track.front_known for track in tracks], bool),
        moving=np.array([track.moving for track in tracks], bool),
        age_s=np.array([track.age_s for track in tracks]),
        num_sweeps=np.array([track.num_sweeps for track in tracks], np.int32),
        confirmed=np.arange(len(records)) < len(result.instances),
        seen_numbers=np.array([one.number for one in seen], np.int32),
        seen_classes=np.array([result.class_names.index(one.class_name) for one in seen], np.int32),
        seen_scores=np.array([one.score for one in seen], np.float32),
        seen_centres_m=np.array([one.centre_m for one in seen]).reshape(-1, 2),
    )
    pose = np.vstack([np.reshape(result.sequence.pose, (3, 4)), [0, 0, 0, 1]])
    instances = instances_of(records, result.class_names, labels)
    return TrackedInstances(instances, columns, result.sequence.stamp_s, pose)
