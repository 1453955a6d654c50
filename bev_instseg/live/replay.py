"""Send recorded sweeps like a running sensor."""

import socket
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bev_instseg.exceptions import ScanError
from bev_instseg.export.ros_messages import FLOAT32, POINTS, message_types
from bev_instseg.io.find_recordings import is_recording
from bev_instseg.io.formats import SUFFIXES
from bev_instseg.io.recordings.capture import Capture
from bev_instseg.io.recordings.recording import Recording, Selection
from bev_instseg.io.recordings.velodyne import FRAME, import_decoder
from bev_instseg.io.sensor_setup import SensorSetup
from bev_instseg.io.survey import survey_sweeps
from bev_instseg.io.sweep import read_scan
from bev_instseg.jobs.find_items import is_result
from bev_instseg.jobs.sequences import temporal_order
from bev_instseg.structures import Float32

CLOUD_TYPE = POINTS[1]
USUAL_HZ = 10.0


class Replayed(NamedTuple):
    """A sweep to send.

    Attributes:
        due_s: Seconds after the first sweep.
        frame_id: Its coordinate frame.
        points: (N, 4) float32 x, y, z and intensity as recorded.
    """

    due_s: float
    frame_id: str
    points: Float32


def recorded_sweeps(
    path: Path, topic: str = "", rate_hz: float | None = None
) -> Iterator[Replayed]:
    """Yield the sweeps of a recording or of a folder, in their order.

    Args:
        path: The recording, or a folder of sweeps in files, which are sent in the order of the
            times or numbers in their names: ``2.bin`` before ``10.bin``. Hidden files, and point
            files that bev-instseg wrote, are skipped.
        topic: Topic of the recording; if empty, the only one with points.
        rate_hz: Sweeps per second; None for the rate of the recording, or for folders `USUAL_HZ`.

    Raises:
        ScanError: The input cannot be read. Damaged sweeps are left out, with a warning.
    """
    if not is_recording(path):
        files = list(filter(_is_sweep, path.glob("*")))
        files = [files[i] for i in temporal_order(files)]
        if not files:
            raise ScanError(f"{path}: not a recording or a folder of sweeps; check the path")
        survey = survey_sweeps(files, SensorSetup())
        for i, file in enumerate(files):
            try:
                points = read_scan(file, survey.reading_of(file))
            except ScanError as error:
                warnings.warn(f"{error}: left out", stacklevel=2)
                continue
            yield Replayed(i / (rate_hz or USUAL_HZ), FRAME, points)
        return
    with Recording(path, Selection((topic,) if topic else ())) as recording:
        first_ns = 0
        for i, raw in enumerate(recording):
            first_ns = first_ns or raw.stamp_ns
            due_s = i / rate_hz if rate_hz else (raw.stamp_ns - first_ns) / 1e9
            try:
                sweep = recording.sweep(raw)
            except ScanError as error:
                warnings.warn(f"{path}: {error}", stacklevel=2)
                continue
            yield Replayed(due_s, sweep.frame_id, sweep.points)


def _is_sweep(path: Path) -> bool:
    is_visible = not path.name.startswith(".") and path.name.lower().endswith(SUFFIXES)
    return is_visible and path.is_file() and not is_result(path)


def cloud_message(stamp_ns: int, frame_id: str, points: Float32) -> bytes:
    """Return a serialised ROS 2 ``PointCloud2``.

    Args:
        stamp_ns: Its stamp.
        frame_id: Its coordinate frame.
        points: (N, 4) float32 x, y, z and intensity.
    """
    types = message_types().types
    stamp = types["builtin_interfaces/msg/Time"](*divmod(stamp_ns, 10**9))
    header = types["std_msgs/msg/Header"](stamp, frame_id)
    field = types["sensor_msgs/msg/PointField"]
    fields = [field(name, 4 * k, FLOAT32, 1) for k, name in enumerate(("x", "y", "z", "intensity"))]
    size, data = 16, points.astype("<f4").reshape(-1).view(np.uint8)
    sizes = False, size, size * len(points), data, False
    cloud = types[CLOUD_TYPE](header, 1, len(points), fields, *sizes)
    return bytes(message_types().serialize_cdr(cloud, CLOUD_TYPE))


def send_packets(path: Path, port: int) -> int:
    """Send the packets of a Velodyne capture to a port of this machine, at their original rate.

    Args:
        path: The ``.pcap``. Of several sensors, only the first is sent; a warning says so.
        port: The UDP port.

    Returns:
        The number of packets sent.

    Raises:
        ScanError: It is not a capture.
        ImportError: ``velodyne-decoder`` is not installed.
    """
    capture = Capture(path, import_decoder("--udp").PACKET_SIZE)
    num_sent, start_s, first_s = 0, time.monotonic(), None
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for packet in capture.packets():
            first_s = packet.stamp_s if first_s is None else first_s
            wait_until(start_s + packet.stamp_s - first_s)
            sender.sendto(packet.data, ("127.0.0.1", port))
            num_sent += 1
    for loss in capture.losses:
        warnings.warn(f"{path}: {loss}", stacklevel=2)
    return num_sent


def wait_until(moment_s: float) -> None:
    """Sleep until a moment of ``time.monotonic``."""
    time.sleep(max(0.0, moment_s - time.monotonic()))
