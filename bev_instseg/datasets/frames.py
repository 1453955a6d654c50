"""List the labelled frames of a data set in either layout, and read any of them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bev_instseg.config import ClassConfig, DataConfig, Layout
from bev_instseg.datasets import kitti, semantickitti
from bev_instseg.datasets.label_counts import LabelCounts
from bev_instseg.exceptions import ScanError
from bev_instseg.structures import Frame


@dataclass(frozen=True)
class FrameRef:
    """A labelled frame that has not been read yet.

    Attributes:
        layout: Layout of its data set.
        root: Folder of the data set.
        name: Name of the frame in the data set.
        unlabelled_is_background: Whether SemanticKITTI class 0 means "no object" rather than void,
            as in data sets that only label boxes.
    """

    layout: Layout
    root: str
    name: str
    unlabelled_is_background: bool = False

    def read(self, classes: Sequence[ClassConfig], data: DataConfig) -> Frame:
        """Read the points and the ground truth.

        Args:
            classes: Classes of the network and the data sets' names for them.
            data: Image size, box margins and void classes.

        Returns:
            The frame.

        Raises:
            KittiError: A KITTI calibration or label file is missing or malformed.
            ScanError: A sweep or a SemanticKITTI label file is missing or malformed.
        """
        if self.layout == "kitti":
            return kitti.read_frame(self.root, self.name, classes, data)
        return semantickitti.read_frame(self.root, self.name, classes, self.own(data))

    def count_labels(
        self,
        frame: Frame,
        usable: NDArray[np.bool_],
        classes: Sequence[ClassConfig],
        data: DataConfig,
    ) -> LabelCounts:
        """Count the frame's labels.

        Args:
            frame: What `read` returned.
            usable: (K,) bool: which of its objects count as usable.
            classes: As for `read`.
            data: As for `read`.

        Returns:
            Objects and points of each kind of label.

        Raises:
            KittiError: The KITTI label file is missing or malformed.
            ScanError: The SemanticKITTI label file is missing or malformed.
        """
        if self.layout == "kitti":
            return kitti.count_labels(self.root, frame, usable, classes, data)
        return semantickitti.count_labels(self.root, frame, usable, classes, self.own(data))

    def own(self, data: DataConfig) -> DataConfig:
        """Return the settings as they apply to this frame's data set."""
        if not self.unlabelled_is_background:
            return data
        void = tuple(kind for kind in data.void_semantickitti if kind != 0)
        return replace(data, void_semantickitti=void)


def list_frames(
    root: str | Path,
    layout: Layout,
    entries: Sequence[str],
    unlabelled_is_background: bool = False,
) -> list[FrameRef]:
    """List the frames of one data set, entry by entry.

    Args:
        root: Folder of the data set.
        layout: Layout of the data set.
        entries: KITTI splits, or SemanticKITTI sequences (``00``) or frames (``00/000003``).
        unlabelled_is_background: See `FrameRef`.

    Returns:
        One reference per frame.

    Raises:
        KittiError: A split file cannot be read or is empty.
        ScanError: A sequence or frame has no sweep, or a frame is listed twice.
    """
    module = kitti if layout == "kitti" else semantickitti
    names = module.frame_names(root, entries)
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise ScanError(
            f"{root}: {len(twice)} frame(s) listed twice in {', '.join(entries)}, such as "
            f"{twice[0]}; remove one of the two"
        )
    return [FrameRef(layout, str(root), name, unlabelled_is_background) for name in names]


def detect_layout(root: str | Path) -> Layout:
    """Return the layout of a data set, judged by its folders.

    Args:
        root: Folder of the data set.

    Returns:
        ``semantickitti`` if it has a folder ``sequences``, ``kitti`` if it has ``training``.

    Raises:
        ValueError: The folder has neither.
    """
    if (Path(root) / "sequences").is_dir():
        return "semantickitti"
    if (Path(root) / "training").is_dir():
        return "kitti"
    raise ValueError(
        f"{root}: not a data set; it needs folders 'training' and 'ImageSets' (KITTI) "
        "or 'sequences' (SemanticKITTI)"
    )
