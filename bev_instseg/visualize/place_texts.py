"""Where texts go on a map: beside their boxes, covering neither each other nor other boxes."""

from collections.abc import Sequence

import numpy as np

from bev_instseg.visualize.box_corners import Float
from bev_instseg.visualize.figure_png import DPI

NEAREST_GAP_PX, LARGER_GAPS_PX = 5, (30, 60, 90)  # between a box and its text


def text_sizes_m(texts: Sequence[str], size_pt: float, pixel_m: float) -> Float:
    """Estimate the room that texts take on a map.

    Args:
        texts: K texts; one with several lines is as wide as its longest line.
        size_pt: Font size.
        pixel_m: Side of a pixel.

    Returns:
        (K, 2) width and height in metres.
    """
    lines = [text.split("\n") for text in texts]
    sizes = [(0.58 * max(map(len, parts)), 1.2 * len(parts)) for parts in lines]
    return np.array(sizes).reshape(-1, 2) * (size_pt * DPI / 72) * pixel_m


def place_beside_boxes(
    low_m: Float,
    high_m: Float,
    sizes_m: Float,
    range_m: float,
    pixel_m: float,
    first: Sequence[int] = (),
) -> tuple[dict[int, Float], list[tuple[Float, Float]]]:
    """Place each text beside its box so that it covers no other text, no box and no map edge.

    Args:
        low_m: (K, 2) lower bounds y, x of the boxes in metres, relative to the middle of the map.
        high_m: (K, 2) upper bounds.
        sizes_m: (K, 2) sizes of the texts along y and x.
        range_m: Half the side of the map.
        pixel_m: Side of a pixel.
        first: The boxes whose texts are placed before the others.

    Returns:
        The middle (y, x) of each text by the index of its box, without boxes outside the map and
        texts that do not fit; and leader lines from the more distant texts to their boxes.
    """
    directions = np.array([(-1, 0), (1, 0), (0, 1), (0, -1), (-1, 1), (1, 1), (-1, -1), (1, -1)])
    taken = np.concatenate([low_m, high_m], axis=1)
    places, leaders = {}, []
    for k in dict.fromkeys([*first, *range(len(sizes_m))]):
        middle = (low_m[k] + high_m[k]) / 2
        if (np.abs(middle) > range_m).any():
            continue
        half = sizes_m[k] / 2
        reach = (high_m[k] - low_m[k]) / 2 + half
        for gap_px in (NEAREST_GAP_PX, *LARGER_GAPS_PX):
            spots = middle + directions * (reach + gap_px * pixel_m)
            inside = (np.abs(spots) + half <= range_m).all(axis=1)
            apart = (
                np.abs(spots[:, None] - (taken[:, :2] + taken[:, 2:]) / 2)
                > half + (taken[:, 2:] - taken[:, :2]) / 2
            )
            free = np.flatnonzero(inside & apart.any(axis=2).all(axis=1))
            if len(free):
                spot = spots[free[0]]
                places[k] = spot
                taken = np.vstack([taken, np.concatenate([spot - half, spot + half])])
                if gap_px != NEAREST_GAP_PX:
                    leaders.append((np.clip(middle, spot - half, spot + half), middle))
                break
    return places, leaders
