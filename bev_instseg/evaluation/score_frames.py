"""Segments labelled frames and scores the result."""

from collections.abc import Callable, Iterable

from bev_instseg.config import Config
from bev_instseg.datasets.frames import FrameRef
from bev_instseg.evaluation.metrics import Evaluator
from bev_instseg.segmenter import Segmenter
from bev_instseg.structures import Frame, Instances


def score_frames(
    segmenter: Segmenter,
    refs: Iterable[FrameRef],
    config: Config,
    each: Callable[[Frame, Instances], None] = lambda frame, instances: None,
) -> Evaluator:
    """Score a segmenter on labelled frames.

    Args:
        segmenter: any classes and thresholds.
        refs: the frames; wrap them in a progress bar where they are many.
        config: says which names of the data sets are which class and which are void.
        each: called with the truth and the instances of each frame.

    Returns:
        The evaluator with all frames in it; `Evaluator.result` has the scores.

    Raises:
        ScanError, KittiError: a frame that cannot be read.
        ValueError: classes of ``config`` that are not those of the segmenter, by name.
    """
    evaluator = Evaluator(segmenter.config.class_names)
    for ref in refs:
        frame = ref.read(config.classes, config.data)
        instances = segmenter.segment(frame.points)
        evaluator.add(frame, instances)
        each(frame, instances)
    return evaluator
