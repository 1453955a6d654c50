"""Sweeps of a Velodyne's network capture (``.pcap``), by ``velodyne-decoder``."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from bev_instseg.exceptions import ScanError, explain
from bev_instseg.io.recordings.point_cloud2 import StampedSweep, missing

TOPIC, FRAME = "/velodyne_points", "velodyne"
MAGICS = (b"\xd4\xc3\xb2\xa1", b"\xa1\xb2\xc3\xd4", b"\x4d\x3c\xb2\xa1", b"\xa1\xb2\x3c\x4d")


def read_capture(path: Path) -> Iterator[StampedSweep]:
    """Yield the sweeps of a capture: a turn of the sensor each.

    x is forward and y left: the decoder uses ROS's axes. The extras are ``time``, ``column``,
    ``ring`` and ``return_type``.

    Args:
        path: The file. The model is recognised from its packets.

    Raises:
        ScanError: It is not a capture of a Velodyne, or is damaged from some packet on.
        ImportError: ``velodyne-decoder`` is not installed.
    """
    try:
        import velodyne_decoder
    except ImportError:
        raise ImportError(
            ".pcap needs velodyne-decoder: pip install 'bev-instseg[velodyne]'"
        ) from None
    try:
        with open(path, "rb") as file:
            if file.read(4) not in MAGICS:
                raise ScanError(f"{path}: not a .pcap capture; pcapng must be converted (editcap)")
        names = [one.name for one in velodyne_decoder.PointField]
        for stamp, array in velodyne_decoder.read_pcap(str(path)):
            points = np.ascontiguousarray(array[:, :4], np.float32)
            extras = {name: array[:, k] for k, name in enumerate(names) if k > 3}
            host_s = getattr(stamp, "host", stamp)
            num_missing = int(np.count_nonzero(missing(points)))
            yield StampedSweep(
                round(float(host_s) * 1e9), FRAME, TOPIC, points, True, extras, num_missing
            )
    except (OSError, ValueError, RuntimeError) as error:
        if isinstance(error, ScanError):
            raise
        raise ScanError(
            f"{path}: cannot be read as a Velodyne's capture: {explain(error)}"
        ) from None
