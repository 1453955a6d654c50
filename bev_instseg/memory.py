"""The memory that a network needs, estimated before any of it is allocated."""

import os
from itertools import pairwise
from pathlib import Path

BYTES_OF_CELL = 6  # in the tables of cells that voxelizing needs
MAPS_AT_ONCE = 3  # dense maps of one level that are alive together
MAPS_PER_BLOCK = 6  # that a residual block keeps for the backward pass
COPIES_IN_TRAINING = 5  # of the weights: gradient, two moments, average
CONTAINER_LIMIT = Path("/sys/fs/cgroup/memory.max")
DENSE_LEVEL = 2  # the first level that counts; at finer strides few cells are occupied


def num_weights(widths: tuple[int, ...], blocks: tuple[int, ...]) -> int:
    """Return about how many weights a network has: those of its 3 x 3 convolutions.

    Args:
        widths: Channels at each level.
        blocks: Residual blocks at each level.
    """
    within = sum(9 * w * w * (2 * n + 1) for w, n in zip(widths, blocks, strict=True))
    return within + sum(10 * a * b for a, b in pairwise(widths))


def inference_bytes(cells: int, widths: tuple[int, ...], blocks: tuple[int, ...]) -> int:
    """Return about how much memory it takes to segment one sweep.

    Args:
        cells: Number of cells of the grid.
        widths: Channels at each level.
        blocks: Residual blocks at each level.
    """
    maps = sum(_dense_maps(cells, widths))
    return cells * BYTES_OF_CELL + MAPS_AT_ONCE * maps + 2 * 4 * num_weights(widths, blocks)


def training_bytes(
    cells: int, widths: tuple[int, ...], blocks: tuple[int, ...], frames: int
) -> int:
    """Return about how much memory one training process takes, besides the frames of the data set.

    Args:
        cells: Number of cells of a training crop.
        widths: Channels at each level.
        blocks: Residual blocks at each level.
        frames: Crops in a batch of this process.
    """
    dense = zip(_dense_maps(cells, widths), blocks[DENSE_LEVEL:], strict=True)
    kept = sum(MAPS_PER_BLOCK * (count + 1) * size for size, count in dense)
    weights = 4 * num_weights(widths, blocks)
    return frames * (cells * BYTES_OF_CELL + kept) + COPIES_IN_TRAINING * weights


def machine_bytes() -> int:
    """Return this machine's memory, or the limit of the container it runs in if that is lower."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        limit = CONTAINER_LIMIT.read_text("ascii")
        return min(physical, int(limit))
    except (OSError, ValueError):  # no such file, or "max"
        return physical


def shortage(needed: int, available: int) -> str:
    """Return how much memory is needed and how much there is; empty if it is enough.

    Args:
        needed: Bytes.
        available: Bytes.
    """
    if needed <= available:
        return ""
    return f"needs about {needed / 1e9:,.1f} GB of memory, but there are {available / 1e9:,.1f} GB"


def _dense_maps(cells: int, widths: tuple[int, ...]) -> list[int]:
    """Return the bytes of one float32 map at each level that counts, all cells occupied."""
    dense = widths[DENSE_LEVEL:]
    return [4 * w * cells // 4 ** (level + DENSE_LEVEL) for level, w in enumerate(dense)]
