"""The packets of one sensor in a capture of network traffic (``.pcap``)."""

import struct
from collections import Counter
from collections.abc import Iterator
from importlib import import_module
from ipaddress import ip_address
from pathlib import Path
from typing import Any, NamedTuple

from bev_instseg.exceptions import ScanError
from bev_instseg.file_io import open_regular

# By the first bytes of a file: the byte order, and the units of its stamps in a second.
FORMATS = {
    b"\xd4\xc3\xb2\xa1": ("<", 1e6),
    b"\xa1\xb2\xc3\xd4": (">", 1e6),
    b"\x4d\x3c\xb2\xa1": ("<", 1e9),
    b"\xa1\xb2\x3c\x4d": (">", 1e9),
}
HEADER_BYTES, RECORD_HEADER_BYTES = 24, 16
ETHERNET = 1
MAX_LISTED = 5  # senders in a message


class Packet(NamedTuple):
    """A packet of a sensor.

    Attributes:
        stamp_s: When it was captured, seconds.
        data: What the sensor sent.
        record: Its record in the capture.
    """

    stamp_s: float
    data: bytes
    record: bytes


class Capture:
    """A capture of network traffic, of which only one sensor's packets are read.

    Attributes:
        path: The file.
        header: Its first bytes.
        losses: What the last pass has left out, one line each.
    """

    def __init__(self, path: Path, packet_bytes: int) -> None:
        """Open a capture.

        Args:
            path: The file.
            packet_bytes: Size of a sensor's packets; others are ignored.

        Raises:
            ScanError: It is not a ``.pcap`` of an Ethernet.
        """
        self.path = path
        self.losses: list[str] = []
        self._packet_bytes = packet_bytes
        try:
            with open_regular(path, 1 << 62) as file:
                self.header = file.read(HEADER_BYTES)
        except OSError as error:
            raise ScanError(f"{path}: cannot be read ({error.strerror}); check the file") from None
        if len(self.header) < HEADER_BYTES or self.header[:4] not in FORMATS:
            raise ScanError(f"{path}: not a .pcap capture; pcapng must be converted (editcap)")
        self._order, self._units_per_s = FORMATS[self.header[:4]]
        (link,) = struct.unpack_from(f"{self._order}H", self.header, 20 + 2 * (self._order == ">"))
        if link != ETHERNET:
            raise ScanError(
                f"{path}: a capture of link type {link}, not of an Ethernet; capture the interface "
                "that the sensor is connected to, not all of them"
            )

    def packets(self) -> Iterator[Packet]:
        """Yield the packets of the sensor that sends first; count those of others as losses."""
        self.losses.clear()
        first, others = "", Counter[str]()
        for stamp_s, record in self._records():
            sender, data = _datagram(record[RECORD_HEADER_BYTES:])
            if len(data) != self._packet_bytes:
                continue
            first = first or sender
            if sender == first:
                yield Packet(stamp_s, data, record)
            else:
                others[sender] += 1
        if others:
            listed = ", ".join(list(others)[:MAX_LISTED])
            self.losses.append(
                f"{others.total():,} packets from {listed} are left out, because those from {first}"
                " came first; copy them to a capture of their own (tcpdump -r CAPTURE -w OTHER src "
                f"host {next(iter(others)).replace(' to port', ' and dst port')})"
            )

    def _records(self) -> Iterator[tuple[float, bytes]]:
        """Yield stamp and bytes of each record, up to where the file is cut."""
        fields = struct.Struct(f"{self._order}III")
        with open_regular(self.path, 1 << 62) as file:
            end = file.seek(0, 2)
            at = file.seek(HEADER_BYTES)
            while at < end:
                header = file.read(RECORD_HEADER_BYTES)
                whole = len(header) == RECORD_HEADER_BYTES
                seconds, fraction, size = fields.unpack_from(header) if whole else (0, 0, 0)
                if not whole or size > end - file.tell():
                    self.losses.append(
                        f"the last {end - at:,} bytes of the capture are incomplete: left out"
                    )
                    return
                yield seconds + fraction / self._units_per_s, header + file.read(size)
                at = file.tell()


def _datagram(frame: bytes) -> tuple[str, bytes]:
    """Return sender and content of a frame with a UDP datagram; nothing for other frames."""
    dpkt: Any = import_module("dpkt")
    try:
        outer = layer = dpkt.ethernet.Ethernet(frame)
        while hasattr(layer, "data") and not isinstance(layer, dpkt.udp.UDP):
            outer, layer = layer, layer.data
    except dpkt.UnpackError:
        return "", b""
    if not isinstance(layer, dpkt.udp.UDP):
        return "", b""
    return f"{ip_address(outer.src)} to port {layer.dport}", layer.data
