"""Infer what the floats of a ``.bin`` file mean: how many make a point, and which are x, y, z.

A ``.bin`` file has no header. With the right number of floats per point, each column holds numbers
of one kind: heights that hardly vary, intensities without a sign, ring numbers. With a wrong
number, the columns mix. The right number is therefore the one whose columns are described in the
fewest bits, which works for points in any order. Only the signs and exponents of about a thousand
floats are used.
"""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bev_instseg.io.columns import is_ring, looks_like_intensity, looks_like_x_y, not_an_intensity
from bev_instseg.io.foreign_content import describe_content
from bev_instseg.ops.kernel import kernel

UInt32 = NDArray[np.uint32]
Intp = NDArray[np.intp]

MIN_BYTES = 12  # of a file with a point
MAX_FOUND_FLOATS = 32  # per point
MAX_USUAL_FLOATS = 8  # more need evidence that they are not several points
COMMON = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12)  # always compared; the others only if the size fits
NUM_BLOCKS, BLOCK = 8, 160  # floats are looked at in blocks spread over the file; see `_sample`
CLASS_COST = 3.0  # nats for each class that occurs in a column
MIN_MARGIN = 15.0  # nats by which a number of floats must beat the others
STRONG_MARGIN = 5 * MIN_MARGIN  # nats against the layout that the user gave
SAME_DIRECTION = 0.1  # tangent of the angle between two points in the same direction
MAX_RATIO = 20.0  # of the distances of two such points
MIN_NEIGHBOURS, MIN_SHARE_SAME = 10, 0.7  # so many pairs, and this share of them, must be alike
MIN_SHARE_FOUND = 0.3  # of points; if fewer are not zero, they may not be points at all
MIN_TELLING = 400  # fewer floats may be points even if they do not look like it
MIN_PACKED_FLOATS = 7  # two points of x, y, z and a 16-bit number
MAX_PAIRS = 2000  # of points that are compared
MAX_FOURTH = 1000  # values of a file's fourth column that are looked at; at most twice as many
MIN_ROWS = 4  # columns of fewer values say nothing

NUM_CLASSES = 128  # of floats: 2 signs and 64 exponents, 2**-32 to 2**31
_EXPONENT = np.clip(np.arange(256) - 95, 0, 63)
_CLASS_OF = np.concatenate([_EXPONENT, _EXPONENT + 64]).astype(np.intp)  # by the 9 upper bits

HELP = "pass --format, such as xyzi or 5 (see --help)"
INTENSITY_FIRST = "the first column looks like an intensity: read as intensity, x, y, z"
FIVE_FLOATS = "5 floats per point: read as nuScenes x, y, z, intensity, ring"
ASSUMED = (
    "too few different values to infer the number of floats per point: assumed 4 (x, y, z, "
    "intensity); if this is wrong, pass --format"
)


class BinLayout(NamedTuple):
    """What the floats of a ``.bin`` file mean.

    Attributes:
        columns: A letter for each float of a point, such as ``xyzi``; a valid
            `SensorSetup.format`.
        notices: What was assumed, one line each, worded the same for every file.
    """

    columns: str
    notices: tuple[str, ...] = ()


def infer_bin_layout(files: Sequence[NDArray[np.uint8]], otherwise: str = "") -> BinLayout:
    """Infer the layout that one or several ``.bin`` files have in common.

    Args:
        files: (num_bytes,) uint8 content of each file, whole; empty ones say nothing. A layout must
            fit the size of more than half of them.
        otherwise: Columns of the other files of a recording: assumed if these files have as many
            floats per point, or if the values do not show how many.

    Returns:
        The layout; ``xyzi`` if all files are empty.

    Raises:
        ValueError: The files are not float32 points, are cut short, or several layouts are about
            equally plausible; the message gives the reason and the remedy, but names no file.
    """
    if not any(len(data) for data in files):
        return BinLayout("xyzi")
    files = [data for data in files if len(data) >= MIN_BYTES]
    if not files:
        raise ValueError("fewer bytes than one point needs; the file is cut short: copy it again")
    words, positions = _sample(files)
    sizes = np.array([len(data) for data in files])
    misfits = np.count_nonzero(sizes[:, None] % (4 * np.arange(1, MAX_FOUND_FLOATS + 1)), axis=0)
    fits = {n for n, count in enumerate(misfits.tolist(), 1) if count < len(sizes) / 2}
    best, rivals, is_4_next = _rank(words, positions, fits)
    _refuse_foreign(files[0], words, positions, 4 if rivals else max(best, 3))
    if best not in fits:
        raise ValueError(_misfit(int(sizes[0]), best if best > 2 else 4))
    if best > 2 and not rivals:
        _refuse_packed(files[0], best)
        if len(otherwise) == best:
            return BinLayout(otherwise)
        return _name_columns(files, words, positions, best)
    if otherwise and len(otherwise) in fits:
        return BinLayout(otherwise)
    few = len(words) < MIN_TELLING
    if (is_4_next and (few or best > 2)) or (4 in fits and (words == words[0]).all()):
        return BinLayout("xyzi", (ASSUMED,))
    if min(best, *rivals, 3) < 3:
        raise ValueError(f"the values do not show how many floats make a point; {HELP}")
    raise ValueError(f"could hold {rivals[0]} or {best} floats per point; {HELP}")


def check_bin_layout(data: NDArray[np.uint8], columns: str) -> tuple[str, ...]:
    """Compare a file with the layout that the user gave.

    Args:
        data: (num_bytes,) uint8 content of the file.
        columns: A letter for each float of a point.

    Returns:
        A notice if the values clearly speak for a different number of floats per point.

    Raises:
        ValueError: The content is not float32 points at all, or the size does not fit.
    """
    num_floats = len(columns)
    if len(data) % (4 * num_floats):
        raise ValueError(_misfit(len(data), num_floats))
    if not len(data):
        return ()
    words, positions = _sample([data])
    _refuse_foreign(data, words, positions, num_floats)
    costs = _costs(words, positions, sorted({*COMMON, num_floats}))
    best, _ = _points_in(words, positions, min(costs, key=costs.__getitem__))
    if best > 2 and num_floats % best and costs[num_floats] - costs[best] >= STRONG_MARGIN:
        return (f"looks like {best} floats per point, but is read as {columns}: check --format",)
    return ()


def _sample(files: Sequence[NDArray[np.uint8]]) -> tuple[UInt32, Intp]:
    """Pick blocks of floats spread over each file, preferably where its floats vary.

    Returns:
        (n,) uint32 bits of the floats and (n,) intp positions of them in their files. Blocks start
        at even positions, so that pairs of floats can be viewed as float64.
    """
    block = max(BLOCK // len(files), 2 * MAX_FOUND_FLOATS)
    words, positions = [], []
    for data in files:
        values = data[: len(data) // 4 * 4].view("<u4")
        starts = np.linspace(0, max(len(values) - block, 0), NUM_BLOCKS).astype(np.intp)
        picked = _blocks(values, starts, block)
        if len(values) > len(picked) and not (values[picked] != values[0]).any():
            starts = np.flatnonzero(values != values[0])
            picked = _blocks(values, starts[:: max(len(starts) // NUM_BLOCKS, 1)], block)
        words.append(values[picked])
        positions.append(picked)
    return np.concatenate(words), np.concatenate(positions)


def _blocks(values: UInt32, starts: Intp, block: int) -> Intp:
    """Return the positions in blocks at some starts; all positions if the file is hardly longer."""
    if len(values) <= NUM_BLOCKS * block or not len(starts):
        return np.arange(min(len(values), NUM_BLOCKS * block))
    starts = np.minimum(starts, len(values) - block) // 2 * 2
    return (starts[:, None] + np.arange(block)).ravel()


def _rank(words: UInt32, positions: Intp, fits: set[int]) -> tuple[int, list[int], bool]:
    """Find the number of floats per point that explains the values best.

    Args:
        words: (n,) uint32 bits of floats.
        positions: (n,) intp positions of them in their files.
        fits: Numbers of floats per point that fit the files' sizes.

    Returns:
        The best number: one that is not among ``fits`` only if it explains the values much better
        than those, and 1 or 2 if they do not look like points. Then the numbers that are about as
        good. And whether 4 is the best of the numbers from 3 on that fit.
    """
    candidates = {n for n in {*COMMON, *fits} if n <= max(len(words) // MIN_ROWS, 4)}
    costs = _costs(words, positions, sorted(candidates))
    ranked = sorted(costs, key=costs.__getitem__)
    fitting = [n for n in ranked if n in fits]
    best, doubt = _points_in(words, positions, ranked[0])
    if best not in fits:
        if not fitting or costs[fitting[0]] - costs[ranked[0]] >= MIN_MARGIN:
            return best, [], False
        best, doubt = _points_in(words, positions, fitting[0])
    usual = next((n for n in fitting if 2 < n <= MAX_USUAL_FLOATS), best)
    if best > MAX_USUAL_FLOATS and best % usual and costs[1] - costs[usual] > STRONG_MARGIN:
        doubt = usual
    if doubt:
        return best, [doubt], False
    close = [n for n in fitting if costs[n] - costs[fitting[0]] < MIN_MARGIN]
    rivals = [n for n in close if _points_in(words, positions, n)[0] != best]
    return best, rivals, next((n for n in fitting if n > 2), 0) == 4


def _costs(words: UInt32, positions: Intp, candidates: Sequence[int]) -> dict[int, float]:
    """Return the length of the shortest description of the floats, in nats, by floats per point.

    NaN and infinity are left out: where returns are missing says nothing.
    """
    bits = words >> 23
    finite = bits & 255 != 255
    classes = _CLASS_OF[bits[finite]]
    costs = _description_lengths(classes, positions[finite], np.array(candidates))
    return dict(zip(candidates, costs.tolist(), strict=True))


@kernel
def _description_lengths(classes, positions, candidates):  # type: ignore[no-untyped-def]
    """Return the cost of each candidate: the classes in each column, and the class of each float.

    Args:
        classes: (n,) intp class of each float.
        positions: (n,) intp position of each float in its file.
        candidates: (C,) int64 numbers of floats per point.

    Returns:
        (C,) float64 nats.
    """
    costs = np.zeros(len(candidates))
    for k, num_floats in enumerate(candidates):
        counts = np.zeros((num_floats, NUM_CLASSES), np.int64)
        for i in range(len(classes)):
            counts[positions[i] % num_floats, classes[i]] += 1
        for column in range(num_floats):
            total = 0
            for count in counts[column]:
                if count > 0:
                    total += count
                    costs[k] += CLASS_COST - count * np.log(count)
            if total > 0:
                costs[k] += total * np.log(total)
    return costs


@np.errstate(invalid="ignore", over="ignore")
def _points_in(words: UInt32, positions: Intp, num_floats: int) -> tuple[int, int]:
    """Distinguish one point from several successive ones, which may look like a longer point.

    If a sensor fires its upper and lower beams in turn, every other point is alike. Such neighbours
    lie in the same direction, unlike x, y of a point and its other columns. If one of two
    neighbours is nearly always missing, this cannot be decided.

    Returns:
        The smallest number of floats that is not several points, and a smaller one that is as
        plausible, or 0.
    """
    if num_floats < 6:
        return num_floats, 0
    values, columns = words.view("<f4"), positions % num_floats
    first = np.flatnonzero(columns[: len(columns) - num_floats + 1] == 0)
    first = first[positions[first + num_floats - 1] == positions[first] + num_floats - 1]
    rows = np.nan_to_num(values[first[:, None] + np.arange(num_floats)], posinf=0, neginf=0)
    rows = rows[rows.any(axis=1)]
    doubt = 0
    for fewer in range(3, num_floats // 2 + 1):
        if num_floats % fewer or not len(rows):
            continue
        num_same, num_known = _count_neighbours(rows[:, :2].T, rows[:, fewer : fewer + 2].T)
        alike = num_same > MIN_SHARE_SAME * num_known
        if alike and num_same >= MIN_NEIGHBOURS:
            return _points_in(words, positions, fewer)
        found = min(rows[:, k : k + 3].any(axis=1).mean() for k in (0, fewer))
        differ = num_known >= MIN_NEIGHBOURS and num_same < MIN_SHARE_FOUND * num_known
        long = num_floats > MAX_USUAL_FLOATS
        if alike or (long and not differ) or found < MIN_SHARE_FOUND:
            doubt = doubt or fewer
    return num_floats, doubt


def _count_neighbours(a: NDArray[np.float32], b: NDArray[np.float32]) -> tuple[int, int]:
    """Count how often pairs of columns x, y point in the same direction and about as far.

    Returns:
        The number of these rows, and that of all rows that can tell. Those near the x or y axis
        cannot: columns that are mostly zero would look alike there.
    """
    (x, y), (u, v) = a.astype(np.float64), b.astype(np.float64)
    oblique = np.minimum(np.abs(x), np.abs(y)) > SAME_DIRECTION * (np.abs(x) + np.abs(y))
    known = oblique & ((u != 0) | (v != 0))
    along, across = (x * u + y * v)[known], np.abs(x * v - y * u)[known]
    ratio = along / (x**2 + y**2)[known]
    same = (across < SAME_DIRECTION * along) & (ratio > 1 / MAX_RATIO) & (ratio < MAX_RATIO)
    return int(np.count_nonzero(same)), len(same)


@np.errstate(invalid="ignore")
def _name_columns(
    files: Sequence[NDArray[np.uint8]], words: UInt32, positions: Intp, num_floats: int
) -> BinLayout:
    """Return the layout with this number of floats per point; x, y, z come first."""
    values, column = words.view("<f4"), positions % num_floats
    if num_floats == 3:
        return BinLayout("xyz", ("3 floats per point: read as x, y, z",))
    rest = "_" * (num_floats - 4)
    if looks_like_intensity(values[column == 0]) and looks_like_x_y(
        values[column == 1], values[column == 2]
    ):
        if num_floats > 4:
            raise ValueError(
                f"the first of {num_floats} floats per point is not a coordinate; {HELP}"
            )
        return BinLayout("ixyz", (f"{INTENSITY_FIRST}; if this is wrong, {HELP}",))
    is_intensity, doubt = _judge_fourth(files, num_floats)
    if not is_intensity:
        notice = f"{num_floats} floats per point, {doubt}: read as x, y, z; or {HELP}"
        return BinLayout(f"xyz_{rest}", (notice,))
    doubts = (f"{doubt}, but is read as the intensity; or {HELP}",) if doubt else ()
    if num_floats == 4:
        return BinLayout("xyzi", doubts)
    ring = values[column == 4]
    if num_floats == 5 and ring.any() and is_ring(ring):
        return BinLayout("xyzir", (FIVE_FLOATS, *doubts))
    notice = f"{num_floats} floats per point: read the first four as x, y, z, intensity; or {HELP}"
    return BinLayout(f"xyzi{rest}", (notice, *doubts))


def _judge_fourth(files: Sequence[NDArray[np.uint8]], num_floats: int) -> tuple[bool, str]:
    """Let each file say whether the fourth float of its points can be the intensity.

    Args:
        files: (num_bytes,) uint8 content of each file; those of another size say nothing.
        num_floats: Number of floats per point.

    Returns:
        Whether it is the intensity in most files, and in which files it cannot be, and why; an
        empty string if there are none.
    """
    size, reasons = 4 * num_floats, []
    for data in files:
        fourth = data[: len(data) // size * size].view("<f4")[3::num_floats]
        some = fourth[:: max(len(fourth) // MAX_FOURTH, 1)]
        if len(data) % size == 0 and some.any():
            reasons.append(not_an_intensity(some, can_be_negative=num_floats == 4))
    odd = Counter(reason for reason in reasons if reason)
    if not odd:
        return True, ""
    where = "" if odd.total() == len(reasons) else f" in {odd.total()} of {len(reasons)} files"
    return 2 * odd.total() < len(reasons), f"the fourth {odd.most_common(1)[0][0]}{where}"


def _refuse_foreign(
    data: NDArray[np.uint8], words: UInt32, positions: Intp, num_floats: int
) -> None:
    """Raise ValueError if the content is not points."""
    if reason := describe_content(data, words, words[positions % num_floats < 3]):
        raise ValueError(reason)


def _refuse_packed(data: NDArray[np.uint8], num_floats: int) -> None:
    """Raise ValueError if an odd number of floats is two points with a 16-bit number each.

    Args:
        data: (num_bytes,) uint8 content of the file.
        num_floats: Number of floats that seem to make a point.
    """
    if num_floats % 2 == 0 or num_floats < MIN_PACKED_FLOATS:
        return
    size = 4 * num_floats
    pairs = data[: min(len(data) // size, MAX_PAIRS) * size].reshape(-1, size)
    halves = np.nan_to_num(pairs.reshape(-1, 2, size // 2)[:, :, :8].copy().view("<f4"))
    num_same, num_known = _count_neighbours(halves[:, 0].T, halves[:, 1].T)
    if num_same >= MIN_NEIGHBOURS and num_same > MIN_SHARE_SAME * num_known:
        raise ValueError(
            f"looks like points of {size // 2} bytes, floats packed with 16-bit numbers; write "
            "x, y, z and the intensity as float32, or use .npy or .pcd with named fields"
        )


def _misfit(num_bytes: int, num_floats: int) -> str:
    size = 4 * num_floats
    return (
        f"{num_bytes} bytes are {num_bytes % size} more than a whole number of points ({size} "
        f"bytes each: {num_floats} floats); the file is cut short or has a different format: "
        f"copy it again, {HELP} or convert it"
    )
