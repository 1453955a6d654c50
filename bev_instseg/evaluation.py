"""Segments labelled frames and scores the result."""

from collections.abc import Iterable

from bev_instseg.config import Config
from bev_instseg.datasets.sources import FrameRef
from bev_instseg.metrics import Evaluator
from bev_instseg.segmenter import Segmenter


def evaluate(segmenter: Segmenter, refs: Iterable[FrameRef], data: Config) -> Evaluator:
    """Score a segmenter on labelled frames.

    Args:
        segmenter: any classes and thresholds.
        refs: the frames; wrap them in a progress bar where they are many.
        data: says which names of the data sets are which class and which are void.
    """
    evaluator = Evaluator(segmenter.config.class_names)
    for ref in refs:
        frame = ref.read(data.classes, data.data)
        evaluator.add(frame, segmenter.segment(frame.points))
    return evaluator
