"""Velodyne packets on a UDP port as a source of live sweeps, decoded by ``velodyne-decoder``."""

import socket
import time
import warnings
from collections.abc import Callable
from threading import Event
from typing import Any

from bev_instseg.exceptions import explain, printable
from bev_instseg.io.recordings.velodyne import decoded_sweep, import_decoder
from bev_instseg.live.source import Arrival

WAIT_S = 0.2
RECEIVE_BYTES = 4 << 20  # for packets that wait during decoding; the system may allow less
MAX_PACKET = 1 << 16


class VelodynePackets:
    """Receives packets and assembles them into sweeps.

    Only the first sensor that sends is used; packets from others are ignored.
    """

    def __init__(self, port: int, model: str = "") -> None:
        """Open the port.

        Args:
            port: UDP port to which the sensor sends; Velodyne's default is 2368.
            model: Such as ``VLP-16``; if empty, detected from the packets.

        Raises:
            ImportError: ``velodyne-decoder`` is not installed.
            ValueError: The model is unknown, or each of its sensors needs its own calibration.
            OSError: The port is in use, or not allowed.
        """
        self._decoder = import_decoder("--pcap-udp")
        chosen = chosen_model(self._decoder, model)
        try:
            self._stream = self._decoder.StreamDecoder(self._decoder.Config(model=chosen))
        except RuntimeError as error:  # each HDL-64E has its own calibration
            raise ValueError(
                f"--model {model}: {explain(error)}; use the sensor's ROS driver and --ros2"
            ) from None
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
        self._socket.settimeout(WAIT_S)
        try:
            self._socket.bind(("", port))
        except OSError as error:
            self._socket.close()
            raise OSError(error.errno, error.strerror, f"UDP port {port}") from None
        self.name = f"UDP port {self.port}"
        self._sensor = ""
        self._num_other = 0
        self._trouble = ""

    @property
    def port(self) -> int:
        """The port; if 0 was given, a free one."""
        return int(self._socket.getsockname()[1])

    def listen(self, put: Callable[[Arrival], None], stop: Event) -> None:
        """Pass on each sweep as soon as it is complete; see `Source`."""
        with self._socket:
            while not stop.is_set():
                try:
                    data, sender = self._socket.recvfrom(MAX_PACKET)
                except TimeoutError:
                    continue
                found = self._decode(data, sender[0])
                if found is not None:
                    put(Arrival(decoded_sweep(*found), time.perf_counter()))

    def _decode(self, data: bytes, sender: str) -> tuple[Any, Any] | None:
        """Return stamp and points of a sweep if this packet completes one."""
        if len(data) != self._decoder.PACKET_SIZE:  # the sensor's position, or something else
            self._num_other += 1
            return None
        self._sensor = self._sensor or sender
        if sender != self._sensor:
            warnings.warn(
                f"{self.name}: packets from {sender} are ignored, because those from "
                f"{self._sensor} came first; use a different port for each sensor",
                stacklevel=1,
            )
            return None
        try:
            found: tuple[Any, Any] | None = self._stream.decode(time.time(), data)
        except (ValueError, RuntimeError) as error:
            self._trouble = explain(error)
            return None
        return found

    @property
    def num_lost(self) -> int:
        """0: lost packets leave gaps in sweeps, but no sweep is lost; see `Source`."""
        return 0

    @property
    def num_incomplete(self) -> int:
        """0: there is only one sensor; see `Source`."""
        return 0

    def advice(self) -> str:
        """Return what has arrived instead of sweeps; see `Source`."""
        if self._trouble:
            return f"packets on {self.name} cannot be decoded: {printable(self._trouble)}"
        if self._num_other:
            size = self._decoder.PACKET_SIZE
            return f"{self._num_other} packets on {self.name} do not have a Velodyne's {size} bytes"
        return f"no packets on {self.name} yet; check the sensor's destination port and address"


def chosen_model(decoder: Any, name: str) -> Any:
    """Return the decoder's model for a name such as ``VLP-16`` or ``hdl32e``; None for no name.

    Args:
        decoder: The module ``velodyne_decoder``.
        name: As the user typed it.

    Raises:
        ValueError: The decoder does not know the model.
    """
    if not name:
        return None
    models = decoder.Model.__members__
    plain = {_plain(known): model for known, model in models.items()}
    if _plain(name) not in plain:
        raise ValueError(f"--model {printable(name)}: choose from {', '.join(models)}")
    return plain[_plain(name)]


def _plain(name: str) -> str:
    return name.replace("-", "").replace("_", "").replace(" ", "").casefold()
