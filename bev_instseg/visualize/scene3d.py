"""The content of every 3D view of a sweep: coloured points, boxes and their texts.

Matplotlib is imported by the functions that need it.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from bev_instseg.colours import UNKNOWN_RGB, colours_of
from bev_instseg.structures import Float32, Instances, Int32
from bev_instseg.visualize.appearance import (
    class_rgb,
    instance_texts,
    point_greys,
    relative_height,
)
from bev_instseg.visualize.box_corners import EDGES, Float, box_corners

UInt8 = NDArray[np.uint8]
Colouring = Literal["instance", "class", "height", "score"]
COLOURINGS: tuple[Colouring, ...] = get_args(Colouring)

EDGE_WIDTH_M = 0.05  # of the boxes
SCORE_RGB = np.array([(0.73, 0.11, 0.11), (0.93, 0.58, 0.05), (0.08, 0.5, 0.24)])  # 0, 0.5, 1


@dataclass(frozen=True, eq=False)
class Scene3d:
    """A sweep ready to be shown, its points in one colouring.

    Attributes:
        xyz_m: (N, 3) float32 points, all finite, sensor frame.
        rgb: (N, 3) uint8 colours of the points.
        corners_m: (K, 8, 3) float32 corners of the boxes, in the order of `box_corners`.
        edges_m: (E, 2, 3) float32 ends of the boxes' edges, and of each part of a line's course.
        edge_rgb: (E, 3) uint8 colours of these.
        box_rgb: (K, 3) uint8 colours of the boxes' classes.
        texts: K texts, such as "vehicle 0.93".
    """

    xyz_m: Float32
    rgb: UInt8
    corners_m: Float32
    edges_m: Float32
    edge_rgb: UInt8
    box_rgb: UInt8
    texts: tuple[str, ...]

    @property
    def tops_m(self) -> Float32:
        """(K, 3) centres of the boxes' top faces, where texts are attached."""
        tops: Float32 = self.corners_m[:, 4:].mean(axis=1)
        return tops


def make_scene(points: Float32, instances: Instances, colouring: Colouring = "instance") -> Scene3d:
    """Prepare a sweep for display, without the points whose coordinates are not finite.

    Args:
        points: (N, 4) float32 x, y, z in metres and intensity 0..1.
        instances: The objects among these points.
        colouring: The colours of the points, see `point_colours`.
    """
    finite = np.isfinite(points[:, :3]).all(axis=1)
    points, labels = points[finite], instances.labels[finite]
    corners_m = box_corners(instances.boxes)
    edges_m = list(corners_m[:, EDGES])
    for k, course_m in enumerate(instances.courses_m):
        if course_m is not None:
            edges_m[k] = np.stack([course_m[:-1], course_m[1:]], axis=1)
    rgb = _to_bytes(class_rgb(instances.class_names)[instances.classes])
    return Scene3d(
        points[:, :3],
        point_colours(points, labels, instances, colouring),
        corners_m,
        np.concatenate([np.zeros((0, 2, 3), np.float32), *edges_m]),
        np.repeat(rgb, [len(edges) for edges in edges_m], axis=0),
        rgb,
        tuple(instance_texts(instances)),
    )


def point_colours(
    points: Float32, labels: Int32, instances: Instances, colouring: Colouring
) -> UInt8:
    """Colour all points by height, or objects by number, class or score and the rest grey.

    Args:
        points: (N, 4) float32, finite.
        labels: (N,) int32 instance of each point, 0 for none.
        instances: The objects that the labels number.
        colouring: "height" applies Matplotlib's viridis to `relative_height`; "score" goes from
            red (0) through amber to green (1).

    Returns:
        (N, 3) uint8 RGB.
    """
    if colouring == "height":
        from matplotlib import colormaps

        return colormaps["viridis"](relative_height(points), bytes=True)[:, :3]
    if colouring == "instance":
        colours = colours_of(instances)
    elif colouring == "class":
        colours = class_rgb(instances.class_names)[instances.classes]
    else:
        columns = [np.interp(instances.scores, (0, 0.5, 1), column) for column in SCORE_RGB.T]
        colours = np.stack(columns, axis=1)
        colours[instances.is_unknown] = UNKNOWN_RGB  # they have no score
    rgb = np.repeat(point_greys(points)[:, None], 3, axis=1)
    rgb[labels > 0] = colours[labels[labels > 0] - 1]
    return _to_bytes(rgb)


def _to_bytes(rgb: Float) -> UInt8:
    return (255 * rgb + 0.5).astype(np.uint8)
