"""Bird's-eye pictures: the instances of a sweep, alone or next to the ground truth."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bev_instseg.colours import colours_of, instance_colours
from bev_instseg.file_io import write_atomic
from bev_instseg.structures import Float32, Frame, Instances, Pillars
from bev_instseg.visualize.appearance import instance_texts
from bev_instseg.visualize.bev_map import MapContent, Rings, fill_map, new_maps
from bev_instseg.visualize.box_corners import Float
from bev_instseg.visualize.figure_png import encode_png, save_png

RANGE_M = 50.0
AROUND_SENSOR = RANGE_M, (0.0, 0.0)  # half the side and the middle of the square that is shown
MISSED_COLOUR, FALSE_POSITIVE_COLOUR = "#9333ea", "#f97316"


@dataclass(frozen=True)
class Errors:
    """The errors to ring in a picture, each with the reason to write beside it.

    Attributes:
        missed: Reasons by the object's position in ``Frame.classes``.
        false_positives: Reasons by the instance's position in ``Instances.classes``.
    """

    missed: Mapping[int, str]
    false_positives: Mapping[int, str]


NO_ERRORS = Errors({}, {})


def draw_bev(
    points: Float32,
    instances: Instances,
    path: str | Path,
    *,
    title: str,
    range_m: float = RANGE_M,
    middle_m: tuple[float, float] = (0.0, 0.0),
) -> None:
    """Draw a sweep from above, x forward up and y left, as a PNG of 1600 x 1600 pixels.

    Background points are grey (darker if taller or brighter), instances coloured; each box has the
    colour of its class. The counts in the legend are those of the whole sweep. Class and score are
    written beside each box unless the square is larger than 400 m x 400 m.

    Args:
        points: (N, 4) float32 x, y, z in metres and intensity 0..1; NaN points are skipped.
        instances: The objects among these points.
        path: The PNG file, replaced atomically.
        title: Title of the picture.
        range_m: Half the side of the square shown.
        middle_m: x, y of the middle of that square; the sensor's place by default.

    Raises:
        OSError: The file cannot be written.
    """
    png = bev_png(points, instances, title=title, range_m=range_m, middle_m=middle_m)
    write_atomic(path, png)


def bev_png(
    points: Float32,
    instances: Instances,
    *,
    title: str,
    range_m: float = RANGE_M,
    middle_m: tuple[float, float] = (0.0, 0.0),
) -> bytes:
    """Return the PNG that `draw_bev` writes.

    Args:
        points: See `draw_bev`.
        instances: See `draw_bev`.
        title: See `draw_bev`.
        range_m: See `draw_bev`.
        middle_m: See `draw_bev`.
    """
    figure, (axes,) = new_maps(1, range_m, middle_m)
    colours = colours_of(instances)
    fill_map(axes, MapContent(title, points, instances, colours, instance_texts(instances)))
    return encode_png(figure)


def square_around(pillars: Pillars) -> tuple[float, tuple[float, float]]:
    """Return half the side and the middle of a square to draw that shows all pillars.

    Args:
        pillars: The pillars, for example those of a map.

    Returns:
        ``range_m``, at least `RANGE_M`, and ``middle_m`` for `draw_bev`.
    """
    if not len(pillars.cells):
        return AROUND_SENSOR
    low, high = pillars.centres_m.min(axis=0), pillars.centres_m.max(axis=0)
    x, y = ((low + high) / 2).tolist()
    return max(float((high - low).max()) / 2 + pillars.grid.cell_m, RANGE_M), (x, y)


def draw_comparison(
    frame: Frame,
    instances: Instances,
    path: str | Path,
    *,
    title: str,
    errors: Errors = NO_ERRORS,
    range_m: float = RANGE_M,
) -> None:
    """Draw predicted instances next to the ground truth, as a PNG of 3200 x 1600 pixels.

    The left half is the picture of `draw_bev`. In the right half, an object whose IoU with an
    instance is above 0.5 has the colour of that instance; void points are pale yellow, unlabelled
    points are left out. Errors are ringed; a dashed ring marks the same place in the other half.

    Args:
        frame: The points and their ground truth.
        instances: The objects predicted for ``frame.points``.
        path: The PNG file, replaced atomically.
        title: Title of the left half.
        errors: The errors to ring.
        range_m: Half the side of the square shown.

    Raises:
        OSError: The file cannot be written.
    """
    figure, maps = new_maps(2, range_m)
    colours = colours_of(instances)
    present = np.unique(frame.instance[frame.instance > 0]) - 1
    objects = _true_objects(frame, present, instances.class_names)
    reasons = {k: errors.missed[i] for k, i in enumerate(present.tolist()) if i in errors.missed}
    missed = _ring_boxes("missed", MISSED_COLOUR, objects.boxes, reasons)
    false_positives = _ring_boxes(
        "false", FALSE_POSITIVE_COLOUR, instances.boxes, errors.false_positives
    )
    predicted = MapContent(
        title,
        frame.points,
        instances,
        colours,
        _with_reasons(instance_texts(instances), errors.false_positives),
        rings=(false_positives, missed.on_other_map()),
    )
    names = [instances.class_names[c] for c in objects.classes]
    seen = frame.labelled
    truth = MapContent(
        "ground truth",
        frame.points[seen],
        replace(objects, labels=objects.labels[seen]),
        _matched_colours(objects, instances, colours),
        _with_reasons(names, reasons),
        void=frame.instance[seen] < 0,
        rings=(missed, false_positives.on_other_map()),
    )
    fill_map(maps[0], predicted)
    fill_map(maps[1], truth)
    save_png(figure, path)


def _ring_boxes(name: str, colour: str, boxes: Float32, reasons: Mapping[int, str]) -> Rings:
    """Return a ring around each of the (K, 7) boxes that has a reason."""
    ringed = boxes[list(reasons)]
    radii = np.maximum(np.hypot(ringed[:, 3], ringed[:, 4]) / 2 + 0.7, 1.5)
    circles_m = np.column_stack([ringed[:, :2], radii])
    return Rings(name, circles_m, colour, box_indices=tuple(reasons))


def _with_reasons(texts: list[str], reasons: Mapping[int, str]) -> list[str]:
    return [f"{text}\n{reasons[k]}" if k in reasons else text for k, text in enumerate(texts)]


def _true_objects(
    frame: Frame, present: NDArray[np.integer], class_names: tuple[str, ...]
) -> Instances:
    """Return the objects of a frame that have points, with boxes around them and score 1.

    Args:
        frame: The labelled frame.
        present: (K,) their positions in ``frame.classes``, in ascending order.
        class_names: The names that ``frame.classes`` indexes.
    """
    from bev_instseg.ops.boxes import oriented_boxes

    number = np.searchsorted(present, frame.instance - 1) + 1
    labels = np.where(frame.instance > 0, number, 0).astype(np.int32)
    boxes = oriented_boxes(frame.points, labels, len(present))
    scores = np.ones(len(present), np.float32)
    return Instances(labels, frame.classes[present], scores, boxes, class_names)


def _matched_colours(objects: Instances, instances: Instances, colours: Float) -> Float:
    """Return (K, 3): the colour of the instance with IoU > 0.5, otherwise an unused one."""
    matched = instance_colours(len(instances) + len(objects))[len(instances) :]
    shape = len(objects) + 1, len(instances) + 1
    flat = np.ravel_multi_index((objects.labels, instances.labels), shape)
    overlap = np.bincount(flat, minlength=shape[0] * shape[1]).reshape(shape)
    union = overlap.sum(1, keepdims=True) + overlap.sum(0, keepdims=True) - overlap
    rows, columns = np.nonzero(overlap[1:, 1:] > 0.5 * union[1:, 1:])
    matched[rows] = colours[columns]
    return matched
