"""Lists the frames of a mixture of data sets and reads any of them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bev_instseg.config import ClassConfig, DataConfig, Layout
from bev_instseg.datasets import kitti, semantickitti
from bev_instseg.structures import Frame


@dataclass(frozen=True)
class FrameRef:
    """Where a labelled frame lies.

    Attributes:
        layout: how the files of its data set lie.
        root: folder of the data set.
        name: its name there.
        unlabelled_is_background: class 0 means "no object", as in data sets that label boxes only.
    """

    layout: Layout
    root: str
    name: str
    unlabelled_is_background: bool = False

    def read(self, classes: Sequence[ClassConfig], data: DataConfig) -> Frame:
        """Read points and truth."""
        if self.layout == "kitti":
            return kitti.read_frame(self.root, self.name, classes, data)
        if self.unlabelled_is_background:
            void = tuple(kind for kind in data.void_semantickitti if kind != 0)
            data = replace(data, void_semantickitti=void)
        return semantickitti.read_frame(self.root, self.name, classes, data)


def list_frames(
    root: str | Path,
    layout: Layout,
    entries: Sequence[str],
    unlabelled_is_background: bool = False,
) -> list[FrameRef]:
    """Frames of one data set; entries are KITTI splits, or SemanticKITTI sequences or frames."""
    module = kitti if layout == "kitti" else semantickitti
    names = module.frame_names(root, entries)
    return [FrameRef(layout, str(root), name, unlabelled_is_background) for name in names]


def detect_layout(root: str | Path) -> Layout:
    """Tell the layout of a data set from its folders.

    Raises:
        ValueError: the folder has neither ``sequences`` nor ``training`` in it.
    """
    if (Path(root) / "sequences").is_dir():
        return "semantickitti"
    if (Path(root) / "training").is_dir():
        return "kitti"
    raise ValueError(
        f"{root}: no data set here; expected a folder with 'training' and 'ImageSets' "
        "(KITTI) or 'sequences' (SemanticKITTI)"
    )
