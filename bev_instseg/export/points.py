"""The points of a sweep as records: where they are, which object they belong to, what colour."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bev_instseg.colours import instance_colours
from bev_instseg.config import ClassConfig
from bev_instseg.structures import Float32, Instances, check_array

MARK = "written by bev_instseg"  # in the header of point files: tells ours from others
DARKEST_GREY, BRIGHTEST_GREY = 100, 200  # of points of no object, by intensity


@dataclass(frozen=True, eq=False)
class Cloud:
    """The N points of a sweep as its file has them.

    Attributes:
        xyz: (N, 3) float32 or float64, metres; may be NaN or infinite.
        intensity: (N,) float32 in 0..1.
    """

    xyz: NDArray[np.float32] | NDArray[np.float64]
    intensity: Float32

    def __post_init__(self) -> None:
        dtype = np.float64 if self.xyz.dtype == np.float64 else np.float32
        check_array("xyz", self.xyz, dtype, None, 3)
        check_array("intensity", self.intensity, np.float32, len(self.xyz))
        if not ((self.intensity >= 0) & (self.intensity <= 1)).all():
            raise ValueError("intensity must lie in 0..1")


def point_records(
    cloud: Cloud, instances: Instances, classes: Sequence[ClassConfig]
) -> NDArray[np.void]:
    """One packed little-endian record a point, in input order.

    Fields: ``x y z`` in the type of ``cloud.xyz``; ``intensity`` float32; ``instance`` int32, 0 for
    no object; ``class`` int32, the SemanticKITTI class, 0 for no object; ``score`` float32, 0 for
    no object; ``red green blue`` uint8, a colour for each instance and grey for the others.

    Args:
        cloud: N points.
        instances: the objects among them.
        classes: of ``instances.class_names``, in that order.

    Returns:
        (N,) records.
    """
    dtype = [(axis, cloud.xyz.dtype.newbyteorder("<").str) for axis in "xyz"]
    dtype += [("intensity", "<f4"), ("instance", "<i4"), ("class", "<i4"), ("score", "<f4")]
    dtype += [(colour, "u1") for colour in ("red", "green", "blue")]
    records = np.empty(len(cloud.xyz), dtype)
    labels = instances.labels
    for axis, column in zip("xyz", cloud.xyz.T, strict=True):
        records[axis] = column
    records["intensity"] = cloud.intensity
    records["instance"] = labels
    codes = np.array([c.label for c in classes], np.int32)
    records["class"] = np.append(np.int32(0), codes[instances.classes])[labels]
    records["score"] = np.append(np.float32(0), instances.scores)[labels]
    grey = np.rint(DARKEST_GREY + (BRIGHTEST_GREY - DARKEST_GREY) * cloud.intensity)
    own = np.rint(255 * instance_colours(len(instances)))
    rgb = np.vstack([np.zeros((1, 3)), own])
    for channel, column in zip(("red", "green", "blue"), rgb.T, strict=True):
        records[channel] = np.where(labels > 0, column[labels], grey)
    return records
