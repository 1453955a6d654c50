"""Kinds of background, and SemanticKITTI's class numbers for them."""

import numpy as np
from numpy.typing import NDArray

from bev_instseg.structures import UInt8

POLE = 80
# Lane marking and, in simulated sweeps, kerb: with instance ids, but background by default.
LINES = (60, 61)
KINDS: dict[str, tuple[int, ...]] = {
    "ground": (40, 44, 48, 49, 60, 72),  # road, parking, sidewalk, other, lane marking, terrain
    "structure": (50, 51, 52),  # building, fence, other structure
    "vegetation": (70,),
    "pole": (71, POLE, 81),  # trunk, pole, traffic sign
    "other": (11, 15, 99),  # parked bicycle, parked motorcycle, other object
}
GROUND = 1 + list(KINDS).index("ground")

_KIND_OF = np.zeros(0x10000, np.uint8)
for _kind, _numbers in enumerate(KINDS.values(), 1):
    _KIND_OF[list(_numbers)] = _kind


def background_kinds(semantic: NDArray[np.integer]) -> UInt8 | None:
    """Return the kind of background of each point of a sweep.

    Labels without any ground do not tell kinds of background apart: in them, 99 or 0 stands for all
    background. Labels without any pole may count poles as 99, so 99 is then of unknown kind.

    Args:
        semantic: (N,) class numbers.

    Returns:
        (N,) uint8, 1 for the first of `KINDS` and so on, 0 for all other numbers; None if the
        labels do not tell kinds apart.
    """
    kinds: UInt8 = _KIND_OF[semantic]
    if not (kinds == GROUND).any():
        return None
    if not (semantic == POLE).any():
        kinds[semantic == 99] = 0
    return kinds
