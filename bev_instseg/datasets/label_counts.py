"""Counts of labels: objects and points of each kind, and the class of each kind."""

from dataclasses import dataclass, field, fields

from bev_instseg.structures import Frame

VOID, BACKGROUND = "void", "background"
# An object whose class is not learned in pieces is implausible if it extends over more than
# MAX_OBJECT_M along x or y, or if it has at least MIN_SHAPE_POINTS points and is lower than
# MIN_OBJECT_HEIGHT_M.
MAX_OBJECT_M = 30.0
MIN_OBJECT_HEIGHT_M = 0.35
MIN_SHAPE_POINTS = 30


@dataclass
class KindCount:
    """How often one kind of label occurs: a KITTI object type or a SemanticKITTI class number.

    Attributes:
        taken_as: Name of its class, `VOID` or `BACKGROUND`.
        objects: Number of objects: boxes, or distinct instance ids in a frame.
        usable: Objects with enough points to learn from or to be judged.
        empty: Boxes without a labelled point.
        implausible: Usable objects that are too large or too flat, in SemanticKITTI layout; see
            `MAX_OBJECT_M`.
        points: Labelled points, 0 for KITTI boxes of no class.
        points_without_id: Those of the points without an instance id, in SemanticKITTI layout.
    """

    taken_as: str
    objects: int = 0
    usable: int = 0
    empty: int = 0
    implausible: int = 0
    points: int = 0
    points_without_id: int = 0

    def add(self, other: "KindCount") -> None:
        """Add the counts of other frames."""
        for name in (column.name for column in fields(self)[1:]):
            setattr(self, name, getattr(self, name) + getattr(other, name))


@dataclass
class LabelCounts:
    """The counts of the labels of some frames of one data set.

    Attributes:
        frames: Number of frames.
        kinds: Counts by kind of label.
        void_points: Points that are ignored.
        background_points: Points that are labelled and on no object.
        unlabelled_points: Points where nothing was labelled: KITTI, outside the camera image.
        unlabelled_frames: Names of the frames without any labelled point.
        frames_with_kinds: Number of frames whose labels tell kinds of background apart.
    """

    frames: int = 0
    kinds: dict[str, KindCount] = field(default_factory=dict)
    void_points: int = 0
    background_points: int = 0
    unlabelled_points: int = 0
    unlabelled_frames: list[str] = field(default_factory=list)
    frames_with_kinds: int = 0

    @staticmethod
    def of_points(frame: Frame) -> "LabelCounts":
        """Return the counts of a frame's points; the kinds have not been counted yet."""
        instance = frame.instance[frame.labelled]
        return LabelCounts(
            frames=1,
            void_points=int((instance < 0).sum()),
            background_points=int((instance == 0).sum()),
            unlabelled_points=len(frame.points) - len(instance),
            unlabelled_frames=[] if len(instance) else [frame.name],
            frames_with_kinds=int(frame.background is not None),
        )

    def kind(self, kind: str, taken_as: str) -> KindCount:
        """Return the counts of a kind, which may be new, to be added to."""
        return self.kinds.setdefault(kind, KindCount(taken_as))

    def add(self, other: "LabelCounts") -> None:
        """Add the counts of other frames of the same data set."""
        self.frames += other.frames
        for kind, count in other.kinds.items():
            self.kind(kind, count.taken_as).add(count)
        self.void_points += other.void_points
        self.background_points += other.background_points
        self.unlabelled_points += other.unlabelled_points
        self.unlabelled_frames += other.unlabelled_frames
        self.frames_with_kinds += other.frames_with_kinds

    def usable(self, taken_as: str) -> int:
        """Return the number of usable objects of a class."""
        return sum(kind.usable for kind in self.kinds.values() if kind.taken_as == taken_as)
