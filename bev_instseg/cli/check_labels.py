"""Print a table of the labels before a command computes anything, and refuse what cannot work."""

import os
import sys
from collections.abc import Collection, Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from bev_instseg.config import Config
from bev_instseg.datasets.frames import FrameRef
from bev_instseg.datasets.label_table import (
    Source,
    Usable,
    count_source,
    label_table,
    label_warnings,
    require_kinds_of_background,
    require_objects,
    shared_frames,
)
from bev_instseg.evaluation.metrics import Evaluator
from bev_instseg.ops.voxelize import on_grid
from bev_instseg.structures import Frame

Frames = Mapping[str, Sequence[FrameRef]]  # by name of the source


def check_training(train: Frames, val: Frames, config: Config, pasted: Collection[str]) -> None:
    """Print the table for a training run on stdout, and warnings on stderr.

    Args:
        train: Training frames.
        val: Validation frames.
        config: Classes, grid and ``train.min_object_points``.
        pasted: Classes whose objects will be pasted from databases.

    Raises:
        ScanError: There is no object or, with a semantic loss, no kind of background to learn from,
            or a file cannot be used.
        KittiError: A KITTI calibration or label file cannot be used.
    """
    least, evaluator = config.train.min_object_points, Evaluator(config.class_names)
    sources = _count(train, "train", config, lambda frame: _on_grid(frame, config) >= least)
    validation = _count(val, "val", config, evaluator.counted_objects)
    _report(
        [*sources, *validation],
        config,
        f"{least} labelled points on the grid (val: {_judged(evaluator)})",
    )
    if shared := shared_frames(sources, validation):
        warn(
            f"{len(shared)} validation frame(s) are also training frames, such as {shared[0]}: "
            "their scores will be too good"
        )
    if not pasted:
        require_objects(sources, config, "to learn from")
    if config.loss.semantic_weight:
        require_kinds_of_background(sources)
    for name in config.class_names:
        if name not in pasted and not any(s.counts.usable(name) for s in sources):
            warn(f"class {name!r} has no object to learn from: the network will not find any")
        if validation and not any(s.counts.usable(name) for s in validation):
            warn(f"class {name!r} has no object in the validation frames: it cannot be scored")


def check_evaluation(frames: Frames, config: Config) -> None:
    """Print the table for frames to be scored on stdout, and warnings on stderr.

    Args:
        frames: The frames.
        config: Classes.

    Raises:
        ScanError: There is no object to judge, or a file cannot be used.
        KittiError: A KITTI calibration or label file cannot be used.
    """
    evaluator = Evaluator(config.class_names)
    sources = _count(frames, "", config, evaluator.counted_objects)
    _report(sources, config, _judged(evaluator))
    for name in require_objects(sources, config, "to score"):
        warn(f"class {name!r} has no object to score")


def check_cutting(frames: Frames, config: Config, least: int) -> None:
    """Print the table for frames to cut objects from on stdout, and warnings on stderr.

    Args:
        frames: The frames.
        config: Classes and grid.
        least: Fewest points of an object that is cut out.

    Raises:
        ScanError: There is no object to cut out, or a file cannot be used.
        KittiError: A KITTI calibration or label file cannot be used.
    """
    sources = _count(frames, "", config, lambda frame: _on_grid(frame, config) >= least)
    _report(sources, config, f"{least} labelled points on the grid")
    require_objects(sources, config, "to cut out")


def by_path(
    sources: Sequence[tuple[float, Sequence[FrameRef]]],
    config: Config,
    part: Literal["train", "val"] = "train",
) -> dict[str, list[FrameRef]]:
    """Return the frames by the path of their source.

    Args:
        sources: Weight and frames of each source of the configuration.
        config: The configuration.
        part: Training leaves out sources of weight 0, validation does not.
    """
    frames: dict[str, list[FrameRef]] = {}
    for source, (weight, refs) in zip(config.data.sources, sources, strict=True):
        if refs and (weight or part == "val"):
            folder = os.path.basename(os.path.realpath(refs[0].root))
            frames.setdefault(folder if source.path == "." else source.path, []).extend(refs)
    return frames


def _count(frames: Frames, part: str, config: Config, usable: Usable) -> list[Source]:
    return [
        count_source(f"{name} ({part})" if part else name, refs, config, usable)
        for name, refs in frames.items()
        if refs
    ]


def _report(sources: Sequence[Source], config: Config, rule: str) -> None:
    print(label_table(sources, config))
    print(f"usable objects have at least {rule}\n", flush=True)
    for warning in label_warnings(sources, config):
        warn(warning)


def warn(line: str) -> None:
    """Print a warning on stderr, above a progress bar if there is one."""
    tqdm.write(f"warning: {line}", file=sys.stderr)


def _on_grid(frame: Frame, config: Config) -> NDArray[np.int64]:
    """Return the number of labelled points on the grid of each object, (K,) int64."""
    on_object = frame.labelled & (frame.instance > 0) & on_grid(frame.points, config.grid)
    return np.bincount(frame.instance[on_object], minlength=len(frame.classes) + 1)[1:]


def _judged(evaluator: Evaluator) -> str:
    return f"{evaluator.min_points} labelled points within {evaluator.max_range_m:g} m"
