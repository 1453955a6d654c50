"""What every 3D viewer shows of a sweep: coloured points, boxes and their texts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from bev_instseg.colours import instance_colours
from bev_instseg.structures import Float32, Instances
from bev_instseg.visualize.bev_map import outlines_of
from bev_instseg.visualize.boxes import EDGES, box_corners, grey_of, tallness

Colouring = Literal["instance", "class", "height", "score"]
COLOURINGS: tuple[Colouring, ...] = get_args(Colouring)

EDGE_M = 0.05  # thickness of the edges of boxes
SCORE_RGB = np.array([(0.73, 0.11, 0.11), (0.93, 0.58, 0.05), (0.08, 0.5, 0.24)])  # 0, 0.5, 1


@dataclass(frozen=True, eq=False)
class Scene3d:
    """A sweep as it is shown, its points in one colouring.

    Attributes:
        xyz_m: (N, 3) float32 points, all finite, sensor frame.
        rgb: (N, 3) uint8 their colours.
        corners_m: (K, 8, 3) float32 corners of the boxes, in the order of `box_corners`.
        box_rgb: (K, 3) uint8 colours of their classes.
        texts: K texts, such as "vehicle 0.93".
    """

    xyz_m: Float32
    rgb: NDArray[np.uint8]
    corners_m: Float32
    box_rgb: NDArray[np.uint8]
    texts: tuple[str, ...]

    @property
    def edges_m(self) -> Float32:
        """(K, 12, 2, 3) ends of the edges of the boxes."""
        return self.corners_m[:, EDGES]

    @property
    def tops_m(self) -> Float32:
        """(K, 3) middles of the upper faces, where a text belongs."""
        return self.corners_m[:, 4:].mean(axis=1)


def make_scene(points: Float32, instances: Instances, colouring: Colouring = "instance") -> Scene3d:
    """What to show of a sweep; points that are not finite are left out.

    Args:
        points: (N, 4) float32 x, y, z in metres and intensity 0..1.
        instances: the objects among these points.
        colouring: of the points, see `point_colours`.
    """
    finite = np.isfinite(points).all(axis=1)
    points, labels = points[finite], instances.labels[finite]
    names = [instances.class_names[c] for c in instances.classes]
    return Scene3d(
        points[:, :3],
        point_colours(points, labels, instances, colouring),
        box_corners(instances.boxes),
        _to_bytes(class_colours(instances.class_names)[instances.classes]),
        tuple(f"{n} {s:.2f}" for n, s in zip(names, instances.scores, strict=True)),
    )


def point_colours(
    points: Float32, labels: NDArray[np.int32], instances: Instances, colouring: Colouring
) -> NDArray[np.uint8]:
    """Colours of points: all by height, or objects by number, class or score and the rest grey.

    Args:
        points: (N, 4) float32, finite.
        labels: (N,) int32 their instances.
        instances: what the labels number.
        colouring: "height" is Matplotlib's viridis over `tallness`; "score" goes from red (0) by
            amber to green (1).

    Returns:
        (N, 3) uint8 RGB.
    """
    if colouring == "height":
        from matplotlib import colormaps

        return colormaps["viridis"](tallness(points), bytes=True)[:, :3]
    if colouring == "instance":
        colours = instance_colours(len(instances))
    elif colouring == "class":
        colours = class_colours(instances.class_names)[instances.classes]
    else:
        columns = [np.interp(instances.scores, (0, 0.5, 1), column) for column in SCORE_RGB.T]
        colours = np.stack(columns, axis=1)
    rgb = np.repeat(grey_of(points)[:, None], 3, axis=1)
    rgb[labels > 0] = colours[labels[labels > 0] - 1]
    return _to_bytes(rgb)


def class_colours(class_names: Sequence[str]) -> NDArray[np.float64]:
    """(C, 3) RGB 0..1 of the classes, as the outlines of their boxes in the bird's-eye picture."""
    from matplotlib.colors import to_rgb

    return np.array([to_rgb(colour) for colour in outlines_of(class_names)])


def _to_bytes(rgb: NDArray[np.floating]) -> NDArray[np.uint8]:
    return (255 * rgb + 0.5).astype(np.uint8)
