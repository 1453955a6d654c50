"""Sweeps of a Velodyne capture (``.pcap``), decoded by ``velodyne-decoder``."""

from collections.abc import Iterator
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bev_instseg.exceptions import explain
from bev_instseg.io.recordings.capture import Capture
from bev_instseg.io.recordings.point_cloud2 import StampedSweep, missing

TOPIC, FRAME = "/velodyne_points", "velodyne"


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


def read_capture(capture: Capture) -> Iterator[StampedSweep]:
    """Yield the sweeps of a capture, one for each turn of the sensor.

    x is forward and y left: the decoder uses ROS's axes. The extras are ``time``, ``column``,
    ``ring`` and ``return_type``.

    Args:
        capture: The capture. The model is recognised from its packets. Packets that cannot be
            decoded end it, and are added to its losses.

    Raises:
        ImportError: ``velodyne-decoder`` is not installed.
    """
    velodyne_decoder = import_decoder(".pcap")
    try:
        for stamp, array in velodyne_decoder.read_pcap(_OneSensor(capture)):
            yield decoded_sweep(stamp, array)
    except (ValueError, RuntimeError) as error:
        capture.losses.append(f"cannot be decoded ({explain(error)}): the rest is left out")


class _OneSensor:
    """A file for the decoder, which ignores who sent a packet: a capture of one sensor only."""

    def __init__(self, capture: Capture) -> None:
        self._capture = capture
        self.seek(0)

    def seek(self, position: int) -> None:
        """Start again: the decoder seeks only the beginning."""
        assert position == 0
        self._packets, self._rest = self._capture.packets(), self._capture.header

    def read(self, num_bytes: int) -> bytes:
        """Return the next bytes of the file; the decoder never asks for more than a record."""
        if not self._rest:
            packet = next(self._packets, None)
            self._rest = b"" if packet is None else packet.record
        found, self._rest = self._rest[:num_bytes], self._rest[num_bytes:]
        return found
