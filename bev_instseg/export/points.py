"""The points of a sweep as records: coordinates, instance, class, score and colour."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bev_instseg.colours import colours_of
from bev_instseg.config import GROUND_LABEL, ClassConfig
from bev_instseg.structures import Float32, Instances, check_array

POINT_FORMATS = ("ply", "pcd", "laz")  # the files that can hold the points
DARKEST_GREY, BRIGHTEST_GREY = 100, 200  # background points at intensity 0 and 1


@dataclass(frozen=True, eq=False)
class Cloud:
    """The N points of a sweep in the coordinates of its file.

    Attributes:
        xyz: (N, 3) float32 or float64, metres; may be NaN or infinite.
        intensity: (N,) float32, 0..1.

    Raises:
        ValueError: An array has the wrong dtype or shape, or an intensity is outside 0..1.
    """

    xyz: NDArray[np.float32] | NDArray[np.float64]
    intensity: Float32

    def __post_init__(self) -> None:
        dtype = np.float64 if self.xyz.dtype == np.float64 else np.float32
        check_array("xyz", self.xyz, dtype, None, 3)
        check_array("intensity", self.intensity, np.float32, len(self.xyz))
        if not ((self.intensity >= 0) & (self.intensity <= 1)).all():
            raise ValueError("intensity must be in 0..1")


def point_records(
    cloud: Cloud,
    instances: Instances,
    classes: Sequence[ClassConfig],
    ids: Sequence[int] | None = None,
) -> NDArray[np.void]:
    """Return a packed little-endian record for each point, in input order.

    Fields: ``x y z`` in the dtype of ``cloud.xyz``; ``intensity`` float32; ``instance`` int32;
    ``class`` int32, the SemanticKITTI class; ``score`` float32; ``red green blue`` uint8, a colour
    for each instance. Background points have instance, class and score 0, and are grey; those of
    ``instances.ground`` have class `GROUND_LABEL`.

    Args:
        cloud: N points.
        instances: The objects among them.
        classes: The classes of ``instances.class_names``, in that order.
        ids: A number for each instance, written instead of 1..K; it also chooses the colour.

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
    numbers = np.arange(1, len(instances) + 1) if ids is None else np.array(ids, np.int64)
    records["instance"] = np.append(0, numbers)[labels]
    codes = np.array([c.label for c in classes], np.int32)
    records["class"] = np.append(np.int32(0), codes[instances.classes])[labels]
    if instances.ground is not None:
        records["class"][instances.ground] = GROUND_LABEL
    records["score"] = np.append(np.float32(0), instances.scores)[labels]
    grey = np.rint(DARKEST_GREY + (BRIGHTEST_GREY - DARKEST_GREY) * cloud.intensity)
    own = np.rint(255 * colours_of(instances, ids))
    rgb = np.vstack([np.zeros((1, 3)), own])
    for channel, column in zip(("red", "green", "blue"), rgb.T, strict=True):
        records[channel] = np.where(labels > 0, column[labels], grey)
    return records
