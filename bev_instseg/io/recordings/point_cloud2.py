"""A ROS ``PointCloud2`` as NumPy arrays, whatever the order and types of its fields."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bev_instseg.exceptions import ScanError, printable
from bev_instseg.io.recordings.decode import parse
from bev_instseg.io.recordings.source import POINT_CLOUD, Message
from bev_instseg.io.records import INTENSITY_NAMES, xyz_and_intensity
from bev_instseg.io.units import BLURRED_M

TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 8: "f8"}


@dataclass(frozen=True, eq=False)
class StampedSweep:
    """The points of a ``PointCloud2`` as they were recorded, in its order.

    Attributes:
        stamp_ns: Stamp of the message, nanoseconds; the time of recording if it has none.
        frame_id: The coordinate frame of the points.
        topic: Topic of the message; if several were merged, their names joined by ``+``.
        points: (N, 4) float32 x, y, z and intensity as recorded, neither rotated nor scaled; for
            organised clouds row by row. Missing returns are kept: they are NaN, or x = y = z = 0.
        has_intensity: Whether an intensity was recorded; if not, its column is 0.
        extras: The other fields by name, such as ``ring`` and ``time``: (N,) or (N, count).
        num_missing: Number of points that are missing returns.
        notices: Anything unusual about it, one line each.
    """

    stamp_ns: int
    frame_id: str
    topic: str
    points: NDArray[np.float32]
    has_intensity: bool = True
    extras: Mapping[str, NDArray[np.generic]] = field(default_factory=dict)
    num_missing: int = 0
    notices: tuple[str, ...] = ()

    @property
    def is_missing(self) -> NDArray[np.bool_]:
        """Which points are missing returns, (N,) bool."""
        return missing(self.points)


def missing(points: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return which of (N, 3 or more) points are not finite or exactly at the sensor: (N,) bool."""
    x, y, z = points[:, 0], points[:, 1], points[:, 2]
    is_missing: NDArray[np.bool_] = ~np.isfinite(x + y + z) | ((x == 0) & (y == 0) & (z == 0))
    return is_missing


def parse_cloud(message: Message) -> StampedSweep:
    """Return the points of a message.

    Args:
        message: A ``sensor_msgs/PointCloud2``.

    Raises:
        ScanError: The message is damaged, or its fields do not make points; the error names topic
            and stamp.
    """
    if message.type != POINT_CLOUD:
        raise ScanError(f"{message.topic}: has {message.type}, not {POINT_CLOUD}; see --topic")
    try:
        cloud = parse(message)
        records = records_of(cloud)
        columns = xyz_and_intensity(records) if len(records) else np.zeros((0, 4), "f4")
        points = _as_float32(columns)
    except ValueError as error:
        stamp = stamp_text(message.stamp_ns)
        raise ScanError(f"{message.topic} at {stamp}: {error}") from None
    names = records.dtype.names or ()
    intensity = next((name for name in INTENSITY_NAMES if name in map(str.lower, names)), "")
    others = [name for name in names if name.lower() not in ("x", "y", "z", intensity)]
    is_missing = missing(points)
    return StampedSweep(
        stamp_ns=message.stamp_ns,
        frame_id=printable(cloud.header.frame_id).lstrip("/"),
        topic=message.topic,
        points=points,
        has_intensity=columns.shape[1] == 4,
        extras={name: records[name] for name in others},
        num_missing=int(np.count_nonzero(is_missing)),
    )


def require_frame(sweep: StampedSweep, frame_id: str) -> None:
    """Raise ScanError if the points of a sweep are not in this frame."""
    if sweep.frame_id != frame_id:
        raise ScanError(
            f"{sweep.topic} at {stamp_text(sweep.stamp_ns)}: in the frame "
            f"{sweep.frame_id or 'without a name'}, not in {frame_id or 'one without a name'} as "
            "the first sweep: left out; --frame transforms all to one frame"
        )


def stamp_text(stamp_ns: int) -> str:
    """Return a stamp in seconds, as ROS tools print it."""
    return f"{stamp_ns // 10**9}.{stamp_ns % 10**9:09}"


def records_of(cloud: Any) -> np.ndarray:
    """Return the points of a parsed message as records that share its memory.

    Args:
        cloud: A ``PointCloud2``.

    Returns:
        (N,) structured array, row by row. Without points its fields may be missing.

    Raises:
        ValueError: Fields, sizes and data do not fit together.
    """
    width, height, step = cloud.width, cloud.height, cloud.point_step
    num_points = width * height
    if not num_points:
        with suppress(ValueError):  # drivers may leave out the fields, too
            return np.zeros(0, _dtype(cloud))
        return np.zeros(0, [])
    dtype = _dtype(cloud)
    row_step = cloud.row_step if height > 1 else width * step
    if row_step < width * step:
        raise ValueError(
            f"a row of {width} points of {step} bytes takes {row_step} bytes; record it again"
        )
    needed = (height - 1) * row_step + width * step
    if len(cloud.data) < needed:
        raise ValueError(
            f"cut short: {num_points} points need {needed} bytes, not {len(cloud.data)}; record it "
            "again"
        )
    data = np.ascontiguousarray(cloud.data, np.uint8)
    return np.ndarray((height, width), dtype, data, strides=(row_step, step)).reshape(num_points)


def _dtype(cloud: Any) -> np.dtype:
    """Return the structured type of a point; of fields with the same name the first counts."""
    order = ">" if cloud.is_bigendian else "<"
    names, formats, offsets = list[str](), list[Any](), list[int]()
    for one in cloud.fields:
        name, count = printable(one.name), max(one.count, 1)  # some drivers write 0 for 1
        if one.datatype not in TYPES:
            raise ValueError(
                f"field {name} has the unknown data type {one.datatype}; record it again"
            )
        size = int(TYPES[one.datatype][1])
        if one.offset + size * count > cloud.point_step:
            raise ValueError(
                f"field {name} ends at byte {one.offset + size * count} of a point of "
                f"{cloud.point_step} bytes; record it again"
            )
        if name and name != "_" and name not in names:
            names.append(name)
            formats.append((order + TYPES[one.datatype], (count,) if count > 1 else ()))
            offsets.append(one.offset)
    return np.dtype(
        {"names": names, "formats": formats, "offsets": offsets, "itemsize": cloud.point_step}
    )


def _as_float32(columns: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return (N, 4) float32 from (N, 3 or 4) columns."""
    if columns.dtype != np.float32 and len(columns):
        sizes = np.abs(columns[:, :3]).max(axis=1)
        known = sizes[np.isfinite(sizes) & (sizes > 0)]
        usual = np.median(known) if len(known) else 0.0  # a few may stand for missing returns
        if usual < 1e12 and np.spacing(np.float32(usual)) > BLURRED_M:
            raise ValueError(
                "coordinates too far from the origin for float32; pass the sensor's frame as "
                "--frame, or subtract an offset"
            )
    if columns.dtype == np.float32 and columns.shape[1] == 4:
        return columns
    points = np.zeros((len(columns), 4), np.float32)
    with np.errstate(over="ignore"):
        points[:, : columns.shape[1]] = columns
    return points
