"""Unpack the chunks of bags without trusting the sizes in the file."""

import bz2
from contextlib import suppress

import lz4.frame
import zstandard

ZSTD = b"\x28\xb5\x2f\xfd"  # what zstd begins with; no message in CDR does
MAX_CHUNK_BYTES = 1 << 30  # writers make chunks of one message or of a few megabytes


def unpack(data: bytes, compression: str, num_bytes: int) -> bytes:
    """Return the content of a chunk.

    Args:
        data: The packed bytes.
        compression: ``""`` or ``none``, ``lz4``, ``zstd`` or ``bz2``.
        num_bytes: Size of the content as the file gives it.

    Raises:
        ValueError: The data are damaged, or their size differs from ``num_bytes``.
    """
    if num_bytes > MAX_CHUNK_BYTES:
        raise ValueError(f"a chunk of {num_bytes:,} bytes, more than {MAX_CHUNK_BYTES:,}")
    try:
        match compression:
            case "" | "none":
                content = data
            case "lz4":
                content = lz4.frame.LZ4FrameDecompressor().decompress(data, num_bytes)
            case "bz2":
                content = bz2.BZ2Decompressor().decompress(data, num_bytes)
            case "zstd":
                # A size in the data would take precedence over the given limit.
                if zstandard.frame_content_size(data) > num_bytes:
                    raise ValueError("a chunk is larger than it claims")
                content = zstandard.ZstdDecompressor().decompress(data, num_bytes)
            case _:
                raise ValueError(f"unknown compression '{compression}'")
    except (RuntimeError, OSError, EOFError, zstandard.ZstdError) as error:
        raise ValueError(f"a chunk cannot be unpacked: {error}") from None
    if len(content) != num_bytes:
        raise ValueError(f"a chunk has {len(content):,} bytes instead of {num_bytes:,}")
    return content


def unpack_message(data: bytes) -> bytes:
    """Return a message in CDR, unpacked if the recorder has compressed it.

    Args:
        data: The message as it is stored.

    Returns:
        The message; if it cannot be unpacked, an empty one, so that it is refused by itself.
    """
    if not data.startswith(ZSTD):
        return data
    with suppress(zstandard.ZstdError):
        size = zstandard.frame_content_size(data)
        if size <= MAX_CHUNK_BYTES:
            limit = MAX_CHUNK_BYTES if size < 0 else 0
            return zstandard.ZstdDecompressor().decompress(data, limit)
    return b""
