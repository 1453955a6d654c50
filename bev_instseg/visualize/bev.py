"""The bird's-eye picture: what was found and, beside it, the truth."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bev_instseg.colours import instance_colours
from bev_instseg.structures import Frame, Instances
from bev_instseg.visualize.bev_map import Rings, fill_map, new_maps, save_png
from bev_instseg.visualize.boxes import box_corners

MISSED, FALSE = "#9333ea", "#f97316"  # of the rings


@dataclass(frozen=True)
class Errors:
    """What to ring in a picture, and what to write below its name.

    Attributes:
        missed: objects of the truth, by position in ``Frame.classes``.
        false_alarms: instances, by position in ``Instances.classes``.
    """

    missed: Mapping[int, str]
    false_alarms: Mapping[int, str]


NO_ERRORS = Errors({}, {})


def draw_bev(
    points: NDArray[np.float32],
    instances: Instances,
    path: str | Path,
    *,
    title: str,
    truth: Frame | None = None,
    errors: Errors = NO_ERRORS,
    range_m: float = 50.0,
) -> None:
    """Draw a sweep from above, x forward up and y left, as a PNG of 1600 x 1600 pixels.

    Background points are grey (darker: taller or brighter), instances coloured, with their box in
    the colour of their class; the counts are those of the whole sweep. With ``truth`` a second
    panel of the same size shows it to the right: objects in the colour of the instance they share
    an IoU above 0.5 with, void points pale yellow, points that nobody labelled left out. Errors are
    ringed, with a dashed line on the other panel.

    Args:
        points: (N, 4) float32 x, y, z in metres and intensity 0..1; NaN is left out.
        instances: the objects among these points.
        path: the file, written whole or not at all.
        title: what to write above the picture.
        truth: the labelled frame of the sweep.
        errors: what to ring; missed objects want a ``truth``.
        range_m: the picture shows this far in the four directions.

    Raises:
        OSError: if the file cannot be written.
    """
    figure, maps = new_maps(1 if truth is None else 2, range_m)
    colours = instance_colours(len(instances))
    texts = [f"{n} {s:.2f}" for n, s in zip(_names(instances), instances.scores, strict=True)]
    false_alarms = _rings("false", FALSE, instances.boxes, errors.false_alarms)
    missed = _rings("missed", MISSED, np.zeros((0, 7), np.float32), {})
    if truth is not None:
        seen, present = truth.labelled, np.unique(truth.instance[truth.instance > 0]) - 1
        objects = _truth_objects(truth, present, instances.class_names)
        why = {k: errors.missed[i] for k, i in enumerate(present.tolist()) if i in errors.missed}
        missed = _rings("missed", MISSED, objects.boxes, why)
        fill_map(
            maps[1],
            "truth",
            truth.points[seen],
            replace(objects, labels=objects.labels[seen]),
            colours=_truth_colours(objects, instances, colours),
            corners=box_corners(objects.boxes),
            texts=_with_reasons(_names(objects), why),
            void=truth.instance[seen] < 0,
            rings=(missed, false_alarms.dashed()),
        )
    fill_map(
        maps[0],
        title,
        points,
        instances,
        colours=colours,
        corners=box_corners(instances.boxes),
        texts=_with_reasons(texts, errors.false_alarms),
        rings=(false_alarms, missed.dashed()),
    )
    save_png(figure, path)


def _rings(name: str, colour: str, boxes: NDArray[np.float32], why: Mapping[int, str]) -> Rings:
    """A ring around each of the (K, 7) boxes that has something wrong with it."""
    ringed = boxes[list(why)]
    radii = np.maximum(np.hypot(ringed[:, 3], ringed[:, 4]) / 2 + 0.7, 1.5)
    return Rings(name, np.column_stack([ringed[:, :2], radii]), colour, boxes=tuple(why))


def _with_reasons(texts: list[str], why: Mapping[int, str]) -> list[str]:
    return [f"{text}\n{why[k]}" if k in why else text for k, text in enumerate(texts)]


def _names(instances: Instances) -> list[str]:
    return [instances.class_names[c] for c in instances.classes]


def _truth_objects(
    truth: Frame, present: NDArray[np.integer], class_names: tuple[str, ...]
) -> Instances:
    """The objects of a frame that have points, with boxes around them and score 1.

    Args:
        truth: the frame.
        present: (K,) their rising positions in ``truth.classes``.
        class_names: what ``truth.classes`` indexes.
    """
    from bev_instseg.ops.boxes import oriented_boxes

    number = np.searchsorted(present, truth.instance - 1) + 1
    labels = np.where(truth.instance > 0, number, 0)
    labels = labels.astype(np.int32)
    boxes = oriented_boxes(truth.points, labels, len(present))
    scores = np.ones(len(present), np.float32)
    return Instances(labels, truth.classes[present], scores, boxes, class_names)


def _truth_colours(
    truth: Instances, found: Instances, colours: NDArray[np.floating]
) -> NDArray[np.floating]:
    """(len(truth), 3): the colour of the instance with IoU > 0.5, else one that nothing has."""
    fresh = instance_colours(len(found) + len(truth))[len(found) :]
    if len(truth.labels) != len(found.labels):
        return fresh
    shape = len(truth) + 1, len(found) + 1
    flat = np.ravel_multi_index((truth.labels, found.labels), shape)
    overlap = np.bincount(flat, minlength=shape[0] * shape[1]).reshape(shape)
    union = overlap.sum(1, keepdims=True) + overlap.sum(0, keepdims=True) - overlap
    rows, columns = np.nonzero(overlap[1:, 1:] > 0.5 * union[1:, 1:])
    fresh[rows] = colours[columns]
    return fresh
