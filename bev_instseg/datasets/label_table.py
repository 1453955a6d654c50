"""A table of the labels of data sets, with warnings about labels that look like mistakes."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from bev_instseg.config import Config, Layout
from bev_instseg.datasets.background import KINDS, LINES
from bev_instseg.datasets.frames import FrameRef
from bev_instseg.datasets.label_counts import (
    BACKGROUND,
    MAX_OBJECT_M,
    MIN_OBJECT_HEIGHT_M,
    VOID,
    KindCount,
    LabelCounts,
)
from bev_instseg.exceptions import ScanError
from bev_instseg.structures import Frame
from bev_instseg.tables import markdown_table

MOST_KINDS = 6  # named in a cell of the table
MANY = 0.5  # share of empty boxes or of points without instance id that is worth a warning
IMPLAUSIBLE = 0.1  # share of implausible objects that is worth a warning

Usable = Callable[[Frame], NDArray[np.bool_]]  # (K,) which objects count as usable


@dataclass(frozen=True)
class Source:
    """Frames of one data set and the counts of their labels.

    Attributes:
        name: Name in the table, such as ``kitti (train)``.
        layout: Layout of the data set.
        counts: Sums over its frames.
        sweeps: The frames' folders and names by the hash of their points.
    """

    name: str
    layout: Layout
    counts: LabelCounts
    sweeps: dict[bytes, str] = field(default_factory=dict)


def count_source(name: str, refs: Sequence[FrameRef], config: Config, usable: Usable) -> Source:
    """Read frames of one data set and count their labels, with a progress bar if it takes long.

    Args:
        name: Name of the source in the table.
        refs: Its frames, at least one.
        config: Classes and void kinds.
        usable: Tells which objects of a frame count as usable.

    Raises:
        KittiError: A KITTI calibration or label file is missing or malformed.
        ScanError: A sweep or a SemanticKITTI label file is missing or malformed.
    """
    counts, sweeps = LabelCounts(), {}
    for ref in tqdm(refs, desc=f"labels of {name}", unit="frame", disable=None, leave=False):
        frame = ref.read(config.classes, config.data)
        counts.add(ref.count_labels(frame, usable(frame), config.classes, config.data))
        if len(frame.points):
            sweeps[hashlib.sha256(frame.points.tobytes()).digest()] = f"{ref.root}/{ref.name}"
    return Source(name, refs[0].layout, counts, sweeps)


def label_table(sources: Sequence[Source], config: Config) -> str:
    """Format a Markdown table: a row for each class of each source, and for other points.

    Args:
        sources: The sources.
        config: Classes of the network.
    """
    head = ["source", "frames", "taken as", "objects", "usable", "empty boxes", "points"]
    rows = [[*head, "points without id", "label kinds"]]
    for source in sources:
        counts = source.counts
        totals = {VOID: counts.void_points, BACKGROUND: counts.background_points}
        for name in (*config.class_names, VOID, BACKGROUND):
            kinds = {k: c for k, c in counts.kinds.items() if c.taken_as == name}
            sums = KindCount(name)
            for count in kinds.values():
                sums.add(count)
            cells = [sums.objects, sums.usable, sums.empty, totals.get(name, sums.points)]
            cells.append(0 if name in totals else sums.points_without_id)
            texts = [f"{cell:,}" for cell in cells]
            if name in totals:
                texts[1] = texts[2] = ""
            rows.append([source.name, str(counts.frames), name, *texts, _names(kinds)])
        if counts.unlabelled_points:
            number = f"{counts.unlabelled_points:,}"
            why = "outside the camera image"
            rows.append(
                [source.name, str(counts.frames), "unlabelled", "", "", "", number, "", why]
            )
    return markdown_table(rows)


def label_warnings(sources: Sequence[Source], config: Config) -> Iterator[str]:
    """Yield a line for each kind of label that looks like a mistake.

    Args:
        sources: The sources.
        config: Classes of the network, and void kinds.
    """
    for source in sources:
        counts = source.counts
        unknown = _unknown_kinds(source)
        if len(unknown) > MOST_KINDS:
            yield (
                f"{source.name}: {len(unknown)} label kinds ({_names(unknown)}) match no class and "
                "are treated as background; if these are numbers of objects, write the class into "
                "the low 16 bits of each label and the number into the high 16 bits"
            )
        for kind, count in counts.kinds.items():
            if kind in unknown and len(unknown) > MOST_KINDS:
                continue
            for problem in _problems_of_kind(source.layout, kind, count, config):
                yield f"{source.name}: label kind {kind!r}: {problem}"
        if missing := counts.unlabelled_frames:
            yield (
                f"{source.name}: {len(missing)} of {counts.frames} frames have no labelled point, "
                f"such as {missing[0]}; check calib and data.image_size_px, or the sweeps"
            )


def require_objects(sources: Sequence[Source], config: Config, purpose: str) -> list[str]:
    """Return the classes without a usable object.

    Args:
        sources: The sources.
        config: Classes of the network.
        purpose: What the objects are needed for, such as ``to learn from``.

    Raises:
        ScanError: There is no usable object of any class.
    """
    lacking = [
        name for name in config.class_names if not any(s.counts.usable(name) for s in sources)
    ]
    if len(lacking) < len(config.classes):
        return lacking
    frames = sum(source.counts.frames for source in sources)
    names = ", ".join(source.name for source in sources)
    raise ScanError(
        f"{names}: no object of any class {purpose} in {frames} frame(s); "
        f"{_remedy(sources, config)}"
    )


def require_kinds_of_background(sources: Sequence[Source]) -> None:
    """Check that the labels of some frame tell kinds of background apart.

    Args:
        sources: The sources.

    Raises:
        ScanError: No frame has such labels.
    """
    if not any(source.counts.frames_with_kinds for source in sources):
        names = ", ".join(source.name for source in sources)
        raise ScanError(
            f"{names}: loss.semantic_weight needs .label files that tell kinds of background "
            f"apart, with ground as {', '.join(map(str, KINDS['ground']))}; set it to 0"
        )


def shared_frames(one: Sequence[Source], other: Sequence[Source]) -> list[str]:
    """Return the frames of ``other`` whose sweeps are also in ``one``, whatever their names.

    Args:
        one: Sources to compare with.
        other: Sources whose frames are returned, as ``FOLDER/NAME``.
    """
    known = {digest for source in one for digest in source.sweeps}
    return [name for source in other for digest, name in source.sweeps.items() if digest in known]


def _problems_of_kind(layout: Layout, kind: str, count: KindCount, config: Config) -> Iterator[str]:
    """Yield what is wrong with the objects of one kind, and the remedy."""
    names = {c.name: map(str, getattr(c, layout)) for c in config.classes}
    owner = next((name for name, kinds in names.items() if kind in kinds), None)
    if _is_unknown(layout, kind, count):
        known = {str(k).lower(): str(k) for c in config.classes for k in getattr(c, layout)}
        near = get_close_matches(kind.lower(), known, 1, 0.75) if layout == "kitti" else []
        hint = f" (did you mean {known[near[0]]!r}?)" if near else ""
        yield (
            f"its {count.objects} object(s) match no class{hint} and are treated as background; "
            f"add the kind to classes.{layout} or data.void_{layout}"
        )
    elif count.taken_as == VOID and owner is not None:
        yield (
            f"belongs to class {owner!r} but is void, because data.void_{layout}, which takes "
            "precedence, lists it too; remove it from one of the two"
        )
    elif count.taken_as not in (VOID, BACKGROUND):
        if count.points_without_id > MANY * count.points:
            yield (
                f"{count.points_without_id:,} of {count.points:,} points have no instance id and "
                "are void; put the number of the object into the high 16 bits of each label"
            )
        if count.implausible > IMPLAUSIBLE * count.usable:
            yield (
                f"{count.implausible} of {count.usable} objects are longer than {MAX_OBJECT_M:g} m "
                f"or lower than {MIN_OBJECT_HEIGHT_M:g} m; check that the labels are in the order "
                "of the points and that each object has its own number"
            )
        if count.empty > MANY * count.objects:
            yield (
                f"{count.empty} of {count.objects} boxes contain no point; check that the boxes "
                "are in KITTI's camera frame and fit the sweeps and calib"
            )


def _unknown_kinds(source: Source) -> dict[str, KindCount]:
    kinds = source.counts.kinds.items()
    return {kind: count for kind, count in kinds if _is_unknown(source.layout, kind, count)}


def _is_unknown(layout: Layout, kind: str, count: KindCount) -> bool:
    """Return whether objects of a kind match no class, though they might be meant to."""
    is_line = layout == "semantickitti" and int(kind) in LINES
    return count.taken_as == BACKGROUND and count.objects > 0 and not is_line


def _remedy(sources: Sequence[Source], config: Config) -> str:
    """Return why no object is usable, as far as the counts tell, and what to do."""
    of_class: list[KindCount] = []
    others: list[str] = []
    for source in sources:
        for kind, count in source.counts.kinds.items():
            if count.taken_as in config.class_names:
                of_class.append(count)
            elif count.objects:
                others.append(f"{kind} ({count.objects}, {count.taken_as})")
    if any(count.objects > count.empty for count in of_class):
        return (
            "all objects have too few points on the grid; check grid, train.min_object_points and "
            "that the sweeps are in metres around the sensor"
        )
    if any(count.points_without_id for count in of_class):
        return "their points have no instance id; put one into the high 16 bits of each label"
    if any(count.objects for count in of_class):
        return "no box contains a point; check that the boxes fit the sweeps and calib"
    if others:
        return (
            f"the labels contain {', '.join(others[:MOST_KINDS])}; name these kinds in the classes "
            "of the configuration or rename them"
        )
    return "the labels contain no object at all; label some, or choose other frames"


def _names(kinds: dict[str, KindCount]) -> str:
    """Return the names of the most frequent kinds."""
    by_size = sorted(kinds, key=lambda kind: (-kinds[kind].points, -kinds[kind].objects, kind))
    rest = len(by_size) - MOST_KINDS
    return ", ".join(by_size[:MOST_KINDS]) + (f" and {rest} more" if rest > 0 else "")
