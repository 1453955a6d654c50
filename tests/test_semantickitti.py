import dataclasses

import numpy as np
import pytest
from conftest import STREETS, street

from bev_instseg.config import CLASSES, DataConfig
from bev_instseg.datasets.semantickitti import frame_names, read_frame, write_frame
from bev_instseg.exceptions import ScanError
from bev_instseg.io.survey import reading_of_folder

pytestmark = pytest.mark.filterwarnings("ignore:.*too few different values")  # in few points
DATA = DataConfig()
VEHICLE, PEDESTRIAN, CYCLIST = 0, 1, 2


def frame_of(root, words, data=DATA, points=None):
    """Write a sweep with one point per label, (class, instance) or just a class, and read it."""
    pairs = [word if isinstance(word, tuple) else (word, 0) for word in words]
    if points is None:
        points = np.zeros((len(pairs), 4), np.float32)
        points[:, 0] = 5 + np.arange(len(pairs)) / 10
    folder = root / "sequences" / "00"
    for part in ("velodyne", "labels"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    points.astype(np.float32).tofile(folder / "velodyne" / "000000.bin")
    labels = np.array([kind | number << 16 for kind, number in pairs], np.uint32)
    labels.tofile(folder / "labels" / "000000.label")
    return read_frame(root, "00/000000", CLASSES, data)


@pytest.mark.parametrize(
    ("kind", "class_index"),
    [
        *((kind, VEHICLE) for kind in (10, 13, 18, 20)),  # car, bus, truck, other vehicle
        *((kind, VEHICLE) for kind in (252, 257, 258, 259)),  # the same, moving
        *((kind, PEDESTRIAN) for kind in (30, 254)),
        *((kind, CYCLIST) for kind in (31, 32, 253, 255)),  # bicyclist, motorcyclist
    ],
)
def test_every_thing_has_its_class(tmp_path, kind, class_index):
    frame = frame_of(tmp_path, [(kind, 7), 40, (kind, 7)])
    assert frame.instance.tolist() == [1, 0, 1]
    assert frame.classes.tolist() == [class_index]
    assert frame.labelled.all()


def test_no_number_is_in_two_classes_or_void():
    kinds = [kind for c in CLASSES for kind in c.semantickitti]
    assert len(set(kinds)) == len(kinds)
    assert not set(kinds) & set(DATA.void_semantickitti)


@pytest.mark.parametrize("kind", [0, 1, 11, 15, 16, 256])
@pytest.mark.parametrize("number", [0, 3])
def test_void_classes_are_void(tmp_path, kind, number):
    # unlabelled, outlier, riderless bicycle and motorcycle, on-rails, moving on-rails
    frame = frame_of(tmp_path, [(kind, number), 40])
    assert frame.instance.tolist() == [-1, 0]
    assert len(frame.classes) == 0


@pytest.mark.parametrize("kind", [40, 44, 48, 49, 50, 51, 52, 60, 70, 71, 72, 80, 81, 99])
def test_stuff_is_background(tmp_path, kind):
    assert frame_of(tmp_path, [kind]).instance.tolist() == [0]


def test_a_thing_without_an_instance_id_is_void(tmp_path):
    frame = frame_of(tmp_path, [(10, 0), (10, 1), (30, 0), (252, 0)])
    assert frame.instance.tolist() == [-1, 1, -1, -1]


def test_one_id_in_two_classes_is_two_objects(tmp_path):
    frame = frame_of(tmp_path, [(10, 5), (30, 5), (10, 5), (10, 65535)])
    # numbered by the whole word: (10, 5), (30, 5), (10, 65535)
    assert frame.instance.tolist() == [1, 2, 1, 3]
    assert frame.classes.tolist() == [VEHICLE, PEDESTRIAN, VEHICLE]


def test_centres_are_box_centres(tmp_path):
    points = np.zeros((6, 4), np.float32)
    points[:, :2] = [(10, 5), (14, 5), (14, 7), (10, 7), (10, 5), (-3, -8)]  # a corner twice
    frame = frame_of(tmp_path, [(10, 1)] * 5 + [(30, 1)], points=points)
    np.testing.assert_allclose(frame.centres_m, [[12, 6], [-3, -8]], atol=1e-5)


def test_points_that_are_not_finite_are_void(tmp_path):
    words = [(10, 1), (10, 1), 40, (30, 2), 40, 40, 40]
    points = np.ones((7, 4), np.float32)
    points[1, 0], points[2, 2] = np.nan, np.inf
    frame = frame_of(tmp_path, words, points=points)
    assert frame.instance.tolist() == [1, -1, -1, 2, 0, 0, 0]
    points[0, 1] = np.nan  # the whole car
    frame = frame_of(tmp_path, words, points=points)
    assert frame.instance.tolist() == [-1, -1, -1, 1, 0, 0, 0]


def test_void_takes_precedence_over_a_class(tmp_path):
    data = dataclasses.replace(DATA, void_semantickitti=(0, 32))
    frame = frame_of(tmp_path, [(32, 1), (31, 1)], data)
    assert frame.instance.tolist() == [-1, 1]
    assert frame.classes.tolist() == [CYCLIST]


def test_a_sweep_without_points(tmp_path):
    frame = frame_of(tmp_path, [])
    assert frame.points.shape == (0, 4)
    assert frame.centres_m.shape == (0, 2)


def test_every_object_of_a_street_is_labelled(semantickitti_root):
    frame = read_frame(semantickitti_root, "00/000001", CLASSES, DATA)
    points, owner = street(STREETS["b"])
    np.testing.assert_array_equal(frame.points, points)
    assert frame.judged.all()
    for k, thing in enumerate(STREETS["b"], 1):
        number = frame.instance[owner == k][0]
        assert (frame.instance[owner == k] == number).all()
        assert frame.classes[number - 1] == thing.kind
        assert np.hypot(*(frame.centres_m[number - 1] - (thing.x, thing.y))) < 0.1
    assert (frame.instance[owner == 0] == 0).all()


# Files


def test_frames_are_listed_in_order(semantickitti_root):
    assert frame_names(semantickitti_root, ["01", "00"]) == ["01/000000", "00/000000", "00/000001"]
    assert frame_names(semantickitti_root, ["00/000001"]) == ["00/000001"]
    assert frame_names(semantickitti_root, []) == []


def test_hidden_files_are_no_frames(semantickitti_root):
    hidden = semantickitti_root / "sequences" / "01" / "velodyne" / "._000000.bin"
    hidden.write_bytes(b"\0\5\x16\7" + bytes(4092))  # as macOS writes them to other disks
    assert frame_names(semantickitti_root, ["01"]) == ["01/000000"]
    assert reading_of_folder(hidden.parent) is None  # a single sweep


@pytest.mark.parametrize("entry", ["07", "00/000009", "00//etc/passwd", "00/*"])
def test_an_entry_without_sweeps_is_refused(semantickitti_root, entry):
    with pytest.raises(ScanError, match="no sweep for") as caught:
        frame_names(semantickitti_root, [entry])
    assert str(caught.value).startswith(str(semantickitti_root / "sequences" / entry[:2]))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("part", ["velodyne", "labels"])
def test_a_missing_file_is_reported(semantickitti_root, part):
    path = next((semantickitti_root / "sequences" / "00" / part).glob("000001.*"))
    path.unlink()
    with pytest.raises(ScanError, match="no such") as caught:
        read_frame(semantickitti_root, "00/000001", CLASSES, DATA)
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize("change", [-4, -1, 4])
def test_labels_of_the_wrong_length_are_refused(semantickitti_root, change):
    path = semantickitti_root / "sequences" / "00" / "labels" / "000001.label"
    data = path.read_bytes()
    path.write_bytes(data[:change] if change < 0 else data + bytes(change))
    with pytest.raises(ScanError, match="but a sweep of") as caught:
        read_frame(semantickitti_root, "00/000001", CLASSES, DATA)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_points_and_labels_that_do_not_fit_are_not_written(tmp_path):
    points, labels = np.zeros((5, 4), np.float32), np.zeros(5, np.uint32)
    for wrong in ((points[:, :3], labels), (points, labels[:4]), (labels, labels)):
        with pytest.raises(ValueError, match=r"points must be \(N, 4\) with N labels, got \("):
            write_frame(tmp_path, "00", 0, *wrong)
    assert not list(tmp_path.iterdir())
    write_frame(str(tmp_path), "00", 0, points, labels)
    assert len(list(tmp_path.rglob("*.*"))) == 2
