"""The data passed from a sweep to its instances: frozen records that check their arrays.

Conventions: sensor frame, x forward, y left, z up; metres and radians. Instance 0 is "no object",
1..K are objects, -1 is void (in ground truth only).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bev_instseg.grid import BEVGrid

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Int32 = NDArray[np.int32]
UInt8 = NDArray[np.uint8]

UNKNOWN = "unknown"  # class of other objects that stand on the ground


def check_array(
    name: str, array: NDArray[np.generic], dtype: type[np.generic], *shape: int | None
) -> None:
    """Check the dtype and shape of an array.

    Args:
        name: Name of the array, for the message.
        array: The array to check.
        dtype: The expected dtype.
        *shape: The expected length of each dimension; None for any.

    Raises:
        ValueError: It is not a NumPy array, or has a different dtype or shape.
    """
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{name} must be a NumPy array, got {type(array).__name__}")
    fits = array.ndim == len(shape) and all(
        expected is None or expected == length
        for expected, length in zip(shape, array.shape, strict=True)
    )
    if not fits or array.dtype != dtype:
        lengths = tuple("any" if n is None else n for n in shape)
        raise ValueError(
            f"{name} must be {np.dtype(dtype).name} {lengths}, got {array.dtype} {array.shape}"
        )


@dataclass(frozen=True, eq=False)
class Frame:
    """A sweep with its ground truth.

    Attributes:
        name: Where the frame comes from, for messages and pictures.
        points: (N, 4) float32 x, y, z in metres and intensity 0..1.
        instance: (N,) int32; 0 background, 1..K object, -1 void.
        labelled: (N,) bool; False where nothing was annotated (with KITTI's boxes, outside the
            camera image).
        classes: (K,) int32 class index of instance ``k`` at position ``k - 1``.
        centres_m: (K, 2) float32 horizontal centre of each object's box, metres.
        background: (N,) uint8 kind of background of each point, 1 for the first kind; 0 on objects
            and where it is unknown. None if the labels do not tell kinds of background apart.

    Raises:
        ValueError: An array has the wrong dtype or shape, or an instance is out of range.
    """

    name: str
    points: Float32
    instance: Int32
    labelled: NDArray[np.bool_]
    classes: Int32
    centres_m: Float32
    background: UInt8 | None = None

    def __post_init__(self) -> None:
        n, k = len(self.points), len(self.classes)
        check_array("points", self.points, np.float32, None, 4)
        check_array("instance", self.instance, np.int32, n)
        check_array("labelled", self.labelled, np.bool_, n)
        check_array("classes", self.classes, np.int32, k)
        check_array("centres_m", self.centres_m, np.float32, k, 2)
        if self.background is not None:
            check_array("background", self.background, np.uint8, n)
        if n and (self.instance.min() < -1 or self.instance.max() > k):
            raise ValueError(f"instance must be in -1..{k}, where {k} is the number of objects")

    def points_per_object(self) -> NDArray[np.int64]:
        """Return the number of labelled points of each object, (K,) int64."""
        on_object = self.labelled & (self.instance > 0)
        return np.bincount(self.instance[on_object], minlength=len(self.classes) + 1)[1:]

    @property
    def judged(self) -> NDArray[np.bool_]:
        """Points that count in training and evaluation: (N,) bool, labelled and not void."""
        return self.labelled & (self.instance >= 0)


@dataclass(frozen=True, eq=False)
class Pillars:
    """The occupied cells of a sweep, in ascending order of their flat index.

    Attributes:
        grid: The grid of the cells.
        cells: (P,) int32 flat cell index ``ix * ny + iy``.
        features: (P, F) float32 raw statistics; ``ops.voxelize.FEATURES`` names the columns.
        point_to_pillar: (N,) int32 pillar of each point, -1 outside the grid.
        point_height_m: (N,) float32 height above the estimated ground, NaN outside the grid.

    Raises:
        ValueError: An array has the wrong dtype or shape.
    """

    grid: BEVGrid
    cells: Int32
    features: Float32
    point_to_pillar: Int32
    point_height_m: Float32

    def __post_init__(self) -> None:
        p, n = len(self.cells), len(self.point_to_pillar)
        check_array("cells", self.cells, np.int32, p)
        check_array("features", self.features, np.float32, p, None)
        check_array("point_to_pillar", self.point_to_pillar, np.int32, n)
        check_array("point_height_m", self.point_height_m, np.float32, n)

    @property
    def centres_m(self) -> Float32:
        """Centres of the cells, (P, 2) float32 x, y in metres."""
        return self.grid.centres_m(self.cells)


@dataclass(frozen=True, eq=False)
class PillarEmbeddings:
    """The network's prediction for each pillar: the input of the clustering.

    Attributes:
        centre_m: (P, 2) float32 embedding e_i = x_i + o_i, where the pillar points to, metres.
        precision: (P, 3) float32 entries (xx, xy, yy) of the inverse covariance, 1/m^2.
        seed: (P, C) float32 seed map of each class, 0..1.

    Raises:
        ValueError: An array has the wrong dtype or shape.
    """

    centre_m: Float32
    precision: Float32
    seed: Float32

    def __post_init__(self) -> None:
        p = len(self.centre_m)
        check_array("centre_m", self.centre_m, np.float32, p, 2)
        check_array("precision", self.precision, np.float32, p, 3)
        check_array("seed", self.seed, np.float32, p, None)


@dataclass(frozen=True, eq=False)
class Clusters:
    """Pillars grouped into instances.

    Attributes:
        labels: (P,) int32; 0 for none, 1..K in the order in which instances were opened.
        classes: (K,) int32 class with the largest sum of seeds over the instance's pillars.
        scores: (K,) float32 mean seed of that class over the instance's pillars, 0..1.
        openers: (K,) int32 pillar whose seed and margin opened each instance.

    Raises:
        ValueError: An array has the wrong dtype or shape.
    """

    labels: Int32
    classes: Int32
    scores: Float32
    openers: Int32

    def __post_init__(self) -> None:
        k = len(self.classes)
        check_array("labels", self.labels, np.int32, None)
        check_array("classes", self.classes, np.int32, k)
        check_array("scores", self.scores, np.float32, k)
        check_array("openers", self.openers, np.int32, k)


@dataclass(frozen=True, eq=False)
class Instance:
    """One object of a sweep: an item of `Instances`.

    Attributes:
        number: 1..K; its points are ``points[instances.labels == number]``.
        name: Name of its class.
        score: 0..1; a probability if the weights are calibrated.
        num_points: The number of its points.
        box: (7,) float32 oriented box: centre x, y, z, length, width, height (m), yaw (rad).
        course_m: (V, 3) float32 its course, if its class comes in pieces; see `Instances`.
    """

    number: int
    name: str
    score: float
    num_points: int
    box: Float32
    course_m: Float32 | None = None

    @property
    def title(self) -> str:
        """Its text in pictures, such as "vehicle 0.93"; unknown objects have no score."""
        return self.name if self.name == UNKNOWN else f"{self.name} {self.score:.2f}"


@dataclass(frozen=True, eq=False)
class Instances:
    """The objects of a sweep, by descending score; iterate to get each `Instance`.

    Attributes:
        labels: (N,) int32 for each point, in input order: 0 no object, 1..K instance.
        classes: (K,) int32 index into ``class_names``.
        scores: (K,) float32 in 0..1.
        boxes: (K, 7) float32 oriented box: centre x, y, z, length, width, height (m), yaw (rad).
        class_names: The C names that ``classes`` indexes.
        ground: (N,) bool: the points on the ground, none of them in an instance; None if the
            segmenter was not asked for them.
        courses_m: For each instance, the (V, 3) float32 points of the line through it, in order,
            metres; None if its class does not come in pieces. Empty if no class does.

    Raises:
        ValueError: An array has the wrong dtype or shape, or a label is out of range.
    """

    labels: Int32
    classes: Int32
    scores: Float32
    boxes: Float32
    class_names: tuple[str, ...]
    ground: NDArray[np.bool_] | None = None
    courses_m: tuple[Float32 | None, ...] = ()

    def __post_init__(self) -> None:
        k = len(self.classes)
        check_array("labels", self.labels, np.int32, None)
        check_array("classes", self.classes, np.int32, k)
        check_array("scores", self.scores, np.float32, k)
        check_array("boxes", self.boxes, np.float32, k, 7)
        if self.ground is not None:
            check_array("ground", self.ground, np.bool_, len(self.labels))
        if len(self.labels) and not (self.labels.min() >= 0 and self.labels.max() <= k):
            raise ValueError(f"labels must be in 0..{k}, where {k} is the number of instances")

    def __len__(self) -> int:
        return len(self.classes)

    def __iter__(self) -> Iterator[Instance]:
        """Iterate over the objects by descending score."""
        courses_m = self.courses_m or (None,) * len(self)
        columns = self.classes, self.scores, self.num_points, self.boxes, courses_m
        for number, (kind, score, count, *shape) in enumerate(zip(*columns, strict=True), 1):
            yield Instance(number, self.class_names[kind], float(score), int(count), *shape)

    def __str__(self) -> str:
        """Return the number of each class: ``3 vehicle, 0 pedestrian, 1 cyclist``."""
        counts = np.bincount(self.classes, minlength=len(self.class_names)).tolist()
        return ", ".join(map("{} {}".format, counts, self.class_names))

    @property
    def num_points(self) -> Int32:
        """Number of points of each instance, (K,) int32."""
        return np.bincount(self.labels, minlength=len(self) + 1)[1:].astype(np.int32)

    @property
    def is_unknown(self) -> NDArray[np.bool_]:
        """Which of the instances are of the class `UNKNOWN`, (K,) bool."""
        return np.isin(self.classes, [c for c, n in enumerate(self.class_names) if n == UNKNOWN])

    def known(self) -> "Instances":
        """Return only the objects of the network's classes, without the unknown objects."""
        known = self.take(np.flatnonzero(~self.is_unknown))
        return replace(known, class_names=tuple(n for n in self.class_names if n != UNKNOWN))

    def take(self, rows: NDArray[np.intp]) -> "Instances":
        """Return only some of the objects, renumbered in this order.

        Args:
            rows: (M,) their positions, counted from 0, each at most once.
        """
        number = np.zeros(len(self) + 1, np.int32)
        number[rows + 1] = np.arange(1, len(rows) + 1)
        return Instances(
            number[self.labels],
            self.classes[rows],
            self.scores[rows],
            self.boxes[rows],
            self.class_names,
            self.ground,
            tuple(self.courses_m[row] for row in rows) if self.courses_m else (),
        )


@dataclass(frozen=True, eq=False)
class Segmentation:
    """Everything computed for one sweep on the way from its points to its instances.

    Attributes:
        pillars: The P occupied cells.
        embeddings: The network's prediction for these pillars.
        clusters: The pillars grouped into instances.
        instances: The objects, with a label for each point.
        timing_ms: Time of each stage in milliseconds: ``voxelize``, ``network``, ``cluster``,
            ``assemble``.
    """

    pillars: Pillars
    embeddings: PillarEmbeddings
    clusters: Clusters
    instances: Instances
    timing_ms: dict[str, float]
