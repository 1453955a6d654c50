"""Sweeps of a Velodyne capture (``.pcap``), decoded by ``velodyne-decoder``."""

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bev_instseg.exceptions import ScanError, explain
from bev_instseg.io.recordings.point_cloud2 import StampedSweep, missing

TOPIC, FRAME = "/velodyne_points", "velodyne"
MAGICS = (b"\xd4\xc3\xb2\xa1", b"\xa1\xb2\xc3\xd4", b"\x4d\x3c\xb2\xa1", b"\xa1\xb2\x3c\x4d")


def import_decoder(wanted: str) -> Any:
    """Return the module ``velodyne_decoder``; raises ImportError if it is not installed.

    Args:
        wanted: What needs it, for the message.
    """
    try:
        return import_module("velodyne_decoder")
    except ImportError:
        raise ImportError(
            f"{wanted} needs velodyne-decoder: pip install 'bev-instseg[velodyne]'"
        ) from None


def decoded_sweep(stamp: Any, array: NDArray[np.float32]) -> StampedSweep:
    """Return a decoded sweep, one turn of the sensor.

    Args:
        stamp: Its stamp, seconds, by the host's clock if there are two.
        array: (N, 8) the decoder's columns.
    """
    names = [one.name for one in import_decoder("a capture").PointField]
    points = np.ascontiguousarray(array[:, :4], np.float32)
    extras = {name: array[:, k] for k, name in enumerate(names) if k > 3}
    stamp_ns = round(float(getattr(stamp, "host", stamp)) * 1e9)
    num_missing = int(np.count_nonzero(missing(points)))
    return StampedSweep(stamp_ns, FRAME, TOPIC, points, True, extras, num_missing)


def read_capture(path: Path) -> Iterator[StampedSweep]:
    """Yield the sweeps of a capture, one for each turn of the sensor.

    x is forward and y left: the decoder uses ROS's axes. The extras are ``time``, ``column``,
    ``ring`` and ``return_type``.

    Args:
        path: The file. The model is recognised from its packets.

    Raises:
        ScanError: It is not a capture of a Velodyne, or is damaged from some packet on.
        ImportError: ``velodyne-decoder`` is not installed.
    """
    velodyne_decoder = import_decoder(".pcap")
    try:
        with open(path, "rb") as file:
            if file.read(4) not in MAGICS:
                raise ScanError(f"{path}: not a .pcap capture; pcapng must be converted (editcap)")
        for stamp, array in velodyne_decoder.read_pcap(str(path)):
            yield decoded_sweep(stamp, array)
    except (OSError, ValueError, RuntimeError) as error:
        if isinstance(error, ScanError):
            raise
        raise ScanError(f"{path}: cannot be read as a Velodyne capture: {explain(error)}") from None
