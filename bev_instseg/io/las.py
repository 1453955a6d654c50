"""Read the points of LAS files (``.las``, ``.laz``): versions 1.0 to 1.4, point formats 0 to 10.

The points of an uncompressed file are a table behind a header, which NumPy reads. laspy is not
used: it trusts the counts of a damaged header and reads on for hours. lazrs unpacks compressed
points. It allocates whatever a damaged file asks for, which can end the process, so the sizes
inside the file are compared with the file first.
"""

import io
import re
import struct
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from bev_instseg.io.records import check_size

MIN_HEADER_BYTES = 227
LONG_COUNT_BYTES = 255  # a header with a 64-bit number of points is at least this long
WAVEFORMS_BYTES = 235  # a header with the place of the waveforms is at least this long
RECORD_BYTES = (20, 28, 26, 34, 57, 63, 30, 36, 38, 59, 67)  # of a point, by point format
LASZIP_VLR = 22204  # id of the record that describes the compression
VLR, EXTENDED_VLR = struct.Struct("<2x16sHH32x"), struct.Struct("<2x16sHQ32x")  # heads of records
MAX_RECORD_BYTES = 1 << 20
GEO_KEYS, WELL_KNOWN_TEXT = 34735, 2112  # ids of the records that describe the coordinate system
MODEL_TYPE_KEY, GEOGRAPHIC = 1024, 2
PROJECTION_KEY, USER_DEFINED = 3072, 32767
LENGTH_UNIT_KEYS = (3076, 4099)  # of x and y, and of z
NUMBER = r"((?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)"
FEET = {9002, 9003}  # international and US survey feet
GEOGRAPHIC_TEXT = re.compile(r"GEOG(RAPHIC)?(CS|CRS)|CS\s*\[\s*ellipsoidal")
PROJECTED_TEXT = re.compile(r"PROJ(ECTED)?(CS|CRS)")
LAYERED = 3  # compressor of point formats 6 to 10: the fields of a chunk lie one after the other
VARIABLE_CHUNKS = 0xFFFFFFFF
CHUNK_OFFSET_BYTES = 8
STEP = 50_000  # points that are unpacked at a time, so that Ctrl-C works
MAX_POINT_BYTES = 1 << 33
LAYERS = {10: 9, 11: 1, 12: 2, 13: 1}  # by item type; 14 (extra bytes) has one per byte
EXTRA_BYTES_ITEM = 14


def read_las(data: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the points of a LAS or LAZ file in the file's order.

    Args:
        data: (num_bytes,) uint8 content of the file.

    Returns:
        (N, 4) float64 x, y, z and intensity 0..65535; (N, 3) if no intensity differs from zero.

    Raises:
        ValueError: The bytes are not a LAS file, or do not match its header, or the coordinates are
            in feet or degrees.
        ImportError: The points are compressed and lazrs is not installed.
    """
    head = data[:375].tobytes()
    if len(head) < MIN_HEADER_BYTES or not head.startswith(b"LASF"):
        raise ValueError("no LAS header")
    header_bytes, start, _, kind, size = struct.unpack_from("<HIIBH", head, 94)
    point_format, compressed = kind & 0x3F, bool(kind & 0xC0)
    if point_format >= len(RECORD_BYTES) or size < RECORD_BYTES[point_format]:
        raise ValueError(f"LAS point format {point_format} of {size} bytes is unknown; convert it")
    if not MIN_HEADER_BYTES <= header_bytes <= start <= len(data):
        raise ValueError("cut short or damaged: the LAS header is longer than the file")
    _check_unit(data)
    num_points = _num_points(head, header_bytes)
    if num_points * size > MAX_POINT_BYTES:
        raise ValueError(f"{num_points} points are more than a sweep may have; split it")
    if compressed:
        records = _unpack(data, _laszip_record(data), num_points, size)
    else:
        check_size(len(data) - start, num_points, size)
        num_stored = (_end_of_points(head, len(data)) - start) // size
        if num_stored > num_points:
            raise ValueError(
                f"the header announces {num_points} points, but there are {num_stored}; write the "
                "file again"
            )
        records = data[start : start + num_points * size].reshape(num_points, size)
    return _columns(records, head)


def _num_points(head: bytes, header_bytes: int) -> int:
    """Return the header's number of points, which LAS 1.4 states twice if 32 bits hold it."""
    (num_points,) = struct.unpack_from("<I", head, 107)
    if head[25] < 4 or header_bytes < LONG_COUNT_BYTES:
        return int(num_points)
    (long_count,) = struct.unpack_from("<Q", head, 247)
    if num_points and num_points != long_count:
        raise ValueError(f"damaged: the header announces {num_points} and {long_count} points")
    return int(long_count)


def _end_of_points(head: bytes, num_bytes: int) -> int:
    """Return where the points end at the latest; their start if the header does not show it.

    Waveforms and extended records may follow the points.
    """
    header_bytes, start = struct.unpack_from("<HI", head, 94)
    behind: list[int] = []
    if head[25] >= 3 and header_bytes >= WAVEFORMS_BYTES:
        behind += struct.unpack_from("<Q", head, 227)
    if head[25] >= 4 and header_bytes >= LONG_COUNT_BYTES:
        place, count = struct.unpack_from("<QI", head, 235)
        behind += [place] if count else []
    behind = [place for place in behind if place]
    if not all(start <= place < num_bytes for place in behind):
        return int(start)
    return min(num_bytes, *behind) if behind else num_bytes


@np.errstate(over="ignore", invalid="ignore")
def _columns(records: NDArray[np.uint8], head: bytes) -> NDArray[np.float64]:
    scales = struct.unpack_from("<3d", head, 131)
    offsets = struct.unpack_from("<3d", head, 155)
    if not all(np.isfinite(scale) and scale for scale in scales) or not np.isfinite(offsets).all():
        raise ValueError("damaged: a scale or offset of the LAS header is zero or not finite")
    stored = np.ascontiguousarray(records[:, :12]).view("<i4")
    intensity = np.ascontiguousarray(records[:, 12:14]).view("<u2")[:, 0]
    columns = np.empty((len(records), 4 if intensity.any() else 3))
    for k, (scale, offset) in enumerate(zip(scales, offsets, strict=True)):
        columns[:, k] = stored[:, k] * scale + offset
    columns[:, 3:] = intensity[:, None]
    return columns


def _check_unit(data: NDArray[np.uint8]) -> None:
    """Refuse coordinates that are not in metres, if the file names their unit.

    GeoTIFF keys have codes for units. Well-known text has names and factors; a geographic
    coordinate system is in degrees, unless it is only the base of a projected one.
    """
    for user, record_id, content in _records(data):
        if user != b"LASF_Projection":
            continue
        unit = ""
        if record_id == GEO_KEYS:
            values = _geo_keys(content)
            codes = {values.get(key) for key in LENGTH_UNIT_KEYS}
            unit = "feet" if codes & FEET else ""
            if values.get(MODEL_TYPE_KEY) == GEOGRAPHIC:
                unit = "degrees"
        elif record_id == WELL_KNOWN_TEXT:
            text = content.decode("utf-8", "replace")
            factors = re.findall(r'UNIT\s*\[\s*"[^"]*"\s*,\s*' + NUMBER, text)
            if any(0.304 <= float(factor) < 0.305 for factor in factors):
                unit = "feet"
            if GEOGRAPHIC_TEXT.search(text) and not PROJECTED_TEXT.search(text):
                unit = "degrees"
        if unit:
            raise ValueError(f"its coordinate system is in {unit}; convert it to metres")


def doubt_unit(data: NDArray[np.uint8]) -> tuple[str, ...]:
    """Return a notice if a file names its coordinate system by number only, which may be in feet.

    Args:
        data: (num_bytes,) uint8 content of a file that `read_las` reads.
    """
    for user, record_id, content in _records(data):
        if user == b"LASF_Projection" and record_id == GEO_KEYS:
            keys = _geo_keys(content)
            number = keys.get(PROJECTION_KEY, USER_DEFINED)
            if number != USER_DEFINED and LENGTH_UNIT_KEYS[0] not in keys:
                return (f"its coordinate system EPSG:{number} names no unit: metres assumed",)
    return ()


def _geo_keys(content: bytes) -> dict[int, int]:
    """Return the GeoTIFF keys that have a number."""
    keys = np.frombuffer(content[: len(content) // 8 * 8], "<u2").reshape(-1, 4)[1:]
    return {int(key): int(value) for key, place, _, value in keys if place == 0}


def _records(data: NDArray[np.uint8]) -> Iterator[tuple[bytes, int, bytes]]:
    """Yield user, id and content of the records before the points, and in LAS 1.4 also after them.

    The file may announce more records than it has. Of long ones only the beginning is read.
    """
    head = data[:LONG_COUNT_BYTES].tobytes()
    header_bytes, _, num_vlrs = struct.unpack_from("<HII", head, 94)
    places = [(VLR, header_bytes, num_vlrs)]
    if head[25] >= 4 and header_bytes >= LONG_COUNT_BYTES:
        places.append((EXTENDED_VLR, *struct.unpack_from("<QI", head, 235)))
    for record, at, count in places:
        for _ in range(count):
            packed = data[at : at + record.size].tobytes()
            if len(packed) < record.size:
                break
            user, record_id, length = record.unpack(packed)
            at += record.size
            content = data[at : at + min(length, MAX_RECORD_BYTES)].tobytes()
            yield user.rstrip(b"\0"), record_id, content
            at += length


def _laszip_record(data: NDArray[np.uint8]) -> bytes:
    """Return the record that describes the compression."""
    for user, record_id, content in _records(data):
        if record_id == LASZIP_VLR and user.startswith(b"laszip encoded"):
            return content
    raise ValueError("damaged: no description of the compression")


def _unpack(
    data: NDArray[np.uint8], laszip: bytes, num_points: int, size: int
) -> NDArray[np.uint8]:
    """Return (num_points, size) uint8 records."""
    import lazrs

    (start,) = struct.unpack("<I", data[96:100].tobytes())
    _check_chunks(data, start, laszip, num_points, size)
    records = np.zeros((num_points, size), np.uint8)
    file = io.BytesIO(data.data)
    file.seek(start)
    try:
        unpack = lazrs.LasZipDecompressor(file, laszip).decompress_many
        for first in range(0, num_points, STEP):
            unpack(records[first : first + STEP])
    except BaseException as error:
        # lazrs is written in Rust, whose panics do not derive from Exception.
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            raise ValueError(f"cut short or damaged: lazrs cannot unpack it: {error}") from None
        raise
    return records


def _check_chunks(
    data: NDArray[np.uint8], start: int, laszip: bytes, num_points: int, size: int
) -> None:
    """Raise ValueError if lazrs would allocate memory for more than the file can hold."""
    items = [struct.unpack_from("<HHH", laszip, at) for at in range(34, len(laszip) - 5, 6)]
    if len(laszip) < 34 or not items or sum(item[1] for item in items) != size:
        raise ValueError("damaged: the description of the compression does not fit the points")
    compressor, chunk_points = struct.unpack_from("<H", laszip)[0], _uint32(laszip, 12)
    body = data[start:]
    if len(body) < CHUNK_OFFSET_BYTES:
        raise ValueError("cut short: no compressed points")
    (table,) = struct.unpack("<q", body[:CHUNK_OFFSET_BYTES].tobytes())
    if table == -1:  # written as a stream: the offset is at the end
        (table,) = struct.unpack("<q", data[-CHUNK_OFFSET_BYTES:].tobytes())
    if not start + CHUNK_OFFSET_BYTES <= table <= len(data) - 8:
        raise ValueError("cut short: the table of compressed points is missing")
    num_chunks = _uint32(data[table + 4 : table + 8].tobytes(), 0)
    most = num_points if chunk_points == VARIABLE_CHUNKS else -(-num_points // max(chunk_points, 1))
    if not chunk_points or num_chunks > min(most, len(data) // size):
        raise ValueError(f"damaged: {num_chunks} chunks of compressed points")
    if compressor == LAYERED:
        _check_layers(data, start + CHUNK_OFFSET_BYTES, table, items, num_points)


def _check_layers(
    data: NDArray[np.uint8], at: int, end: int, items: list[tuple[int, ...]], num_points: int
) -> None:
    """Follow the chunks: a raw point, the number of points, the size of each layer, the layers."""
    num_layers = sum(
        item_bytes if kind == EXTRA_BYTES_ITEM else LAYERS.get(kind, 0)
        for kind, item_bytes, _ in items
    )
    raw_bytes = sum(item_bytes for _, item_bytes, _ in items)
    found = 0
    while at < end:
        head = data[at + raw_bytes : min(at + raw_bytes + 4 + 4 * num_layers, end)]
        if len(head) < 4 + 4 * num_layers:
            break
        count, *sizes = (int(word) for word in head.view("<u4"))
        found += count
        at += raw_bytes + len(head) + sum(sizes)
    if at != end or found != num_points:
        raise ValueError(f"cut short or damaged: compressed points end after {found}")


def _uint32(data: bytes, at: int) -> int:
    (value,) = struct.unpack_from("<I", data, at)
    return int(value)
