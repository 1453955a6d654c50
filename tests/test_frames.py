import dataclasses
import pickle

import numpy as np
import pytest

from bev_instseg.config import CLASSES, DataConfig
from bev_instseg.datasets.frames import FrameRef, detect_layout, list_frames
from bev_instseg.exceptions import KittiError, ScanError

DATA = DataConfig()


def test_frames_of_both_layouts_are_listed_and_read(kitti_root, semantickitti_root):
    kitti = list_frames(kitti_root, "kitti", ["val", "train"])
    assert [ref.name for ref in kitti] == ["c", "a", "b"]
    semantic = list_frames(semantickitti_root, "semantickitti", ["01", "00/000001"])
    assert [ref.name for ref in semantic] == ["01/000000", "00/000001"]
    for one, other in ((kitti[0], semantic[0]), (kitti[2], semantic[1])):  # the same streets
        one_frame, other_frame = one.read(CLASSES, DATA), other.read(CLASSES, DATA)
        np.testing.assert_array_equal(one_frame.points, other_frame.points)
        assert sorted(one_frame.classes) == sorted(other_frame.classes)
        assert one_frame.name == one.name
    assert kitti == [pickle.loads(pickle.dumps(ref)) for ref in kitti]


def test_missing_entries_raise_the_data_sets_error(kitti_root, semantickitti_root):
    with pytest.raises(KittiError, match=r"test\.txt"):
        list_frames(kitti_root, "kitti", ["test"])
    with pytest.raises(ScanError, match="sequences"):
        list_frames(semantickitti_root, "semantickitti", ["21"])


def test_unlabelled_points_are_void_or_background(semantickitti_root):
    path = semantickitti_root / "sequences" / "00" / "labels" / "000000.label"
    words = np.fromfile(path, np.uint32)
    words[:3] = 0, 1, 11  # unlabelled, outlier, riderless bicycle
    words.tofile(path)
    (ref,) = list_frames(semantickitti_root, "semantickitti", ["00/000000"])
    assert ref.read(CLASSES, DATA).instance[:3].tolist() == [-1, -1, -1]
    background = dataclasses.replace(ref, unlabelled_is_background=True)
    assert background.read(CLASSES, DATA).instance[:3].tolist() == [0, -1, -1]
    assert DATA.void_semantickitti[0] == 0  # the configuration is not modified
    (listed,) = list_frames(semantickitti_root, "semantickitti", ["00/000000"], True)
    assert listed == background


def test_detect_layout(kitti_root, semantickitti_root, tmp_path):
    assert detect_layout(kitti_root) == "kitti"
    assert detect_layout(semantickitti_root) == "semantickitti"
    with pytest.raises(ValueError, match="not a data set") as caught:
        detect_layout(tmp_path / "nowhere")
    assert str(caught.value).startswith(str(tmp_path / "nowhere"))


def test_an_unreadable_file_is_named(tmp_path):
    ref = FrameRef("kitti", str(tmp_path), "000007")
    with pytest.raises(ScanError, match=r"000007\.bin"):
        ref.read(CLASSES, DATA)
