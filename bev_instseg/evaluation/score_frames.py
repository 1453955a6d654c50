"""Segment labelled frames and score the result."""

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
    on_frame: Callable[[Frame, Instances], None] = lambda frame, instances: None,
    tolerance_m: float = 0.0,
) -> Evaluator:
    """Score a segmenter on labelled frames.

    Args:
        segmenter: The segmenter.
        refs: The frames; may be a progress bar over them.
        config: Maps the class names of the data sets to classes and void.
        on_frame: Called with the ground truth and the instances of each frame.
        tolerance_m: As for `Evaluator`.

    Returns:
        An evaluator that holds all frames; `Evaluator.result` computes the scores.

    Raises:
        ScanError: A frame cannot be read.
        KittiError: A frame in KITTI layout cannot be read.
        ValueError: The segmenter's classes differ from those of ``config``.
    """
    evaluator = Evaluator(segmenter.config.class_names, tolerance_m=tolerance_m)
    for ref in refs:
        frame = ref.read(config.classes, config.data)
        instances = segmenter.segment(frame.points)
        evaluator.add(frame, instances)
        on_frame(frame, instances)
    return evaluator
