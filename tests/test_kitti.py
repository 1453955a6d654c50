import dataclasses
import os
import re
from pathlib import Path

import numpy as np
import pytest
from conftest import CAR, ROOT, SIZES_M, STREETS, Thing, kitti_label, street, write_kitti

from bev_instseg.config import CLASSES, DataConfig
from bev_instseg.datasets.kitti import frame_names, read_frame
from bev_instseg.datasets.kitti_files import (
    BoxLabel,
    CameraCalibration,
    points_in_box,
    read_boxes,
    read_calibration,
)
from bev_instseg.exceptions import KittiError, ScanError

# Few points, all of one intensity.
pytestmark = pytest.mark.filterwarnings("ignore:.*(too few different values|are all the same)")
DATA = DataConfig()
VEHICLE, PEDESTRIAN, CYCLIST = 0, 1, 2
REAL = Path(os.environ.get("KITTI_ROOT", ROOT / "../shared/data/kitti"))
needs_kitti = pytest.mark.skipif(
    not (REAL / "ImageSets").is_dir(), reason=f"no KITTI below KITTI_ROOT ({REAL})"
)

# Camera axes: x right = -y, y down = -z, z forward = x; at the sensor.
# Focal length 700 px, principal point (620, 180).
CALIBRATION = """P0: 100 0 0 0 0 100 0 0 0 0 1 0
P2: 700 0 620 0 0 700 180 0 0 0 1 0
R0_rect: 1 0 0 0 1 0 0 0 1
Tr_velo_to_cam: 0 -1 0 0 0 0 -1 0 1 0 0 0
Tr_imu_to_velo: 1 0 0 0 0 1 0 0 0 0 1 0
"""
# A rotated and shifted camera: R0_rect turns by 90 degrees about z, so that every matrix matters.
TURNED = """P2: 700 0 600 70 0 700 200 7 0 0 1 0.5
R0_rect: 0 -1 0 1 0 0 0 0 1
Tr_velo_to_cam: 0 -1 0 0.1 0 0 -1 0.2 1 0 0 0.3
"""


def write_text(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def frame_of(tmp_path, points, labels, data=DATA):
    """Write a frame of (x, y, z) points in the sensor frame and label lines, and read it."""
    points = np.array(points, np.float32).reshape(-1, 3)
    folder = tmp_path / "training"
    (folder / "velodyne").mkdir(parents=True, exist_ok=True)
    np.column_stack([points, np.full(len(points), 0.5)]).astype(np.float32).tofile(
        folder / "velodyne" / "x.bin"
    )
    write_text(folder / "calib" / "x.txt", CALIBRATION)
    write_text(folder / "label_2" / "x.txt", "".join(line + "\n" for line in labels))
    return read_frame(tmp_path, "x", CLASSES, data)


def label_line(kind, height, width, length, x, y, z, yaw_rad, rectangle="0 0 1 1"):
    """A ``label_2`` line; the box is in the camera frame."""
    return f"{kind} 0 0 0 {rectangle} {height} {width} {length} {x} {y} {z} {yaw_rad}"


# Calibration and projection


def test_projection_matches_a_calculation_by_hand(tmp_path):
    calibration = read_calibration(write_text(tmp_path / "c.txt", TURNED))
    # Sensor (10, 2, 1): velo_to_cam gives (-2 + .1, -1 + .2, 10 + .3) = (-1.9, -0.8, 10.3);
    # R0_rect turns that into (0.8, -1.9, 10.3).
    camera = calibration.to_camera(np.array([[10, 2, 1]], np.float32))
    np.testing.assert_allclose(camera, [[0.8, -1.9, 10.3]], atol=1e-12)
    # u = (700 * .8 + 600 * 10.3 + 70) / 10.8, v = (700 * -1.9 + 200 * 10.3 + 7) / 10.8
    pixels, in_front = calibration.to_pixels(camera)
    np.testing.assert_allclose(pixels, [[6810 / 10.8, 737 / 10.8]])
    assert in_front.tolist() == [True]
    np.testing.assert_allclose(calibration.to_sensor(camera), [[10, 2, 1]], atol=1e-12)


def test_points_behind_the_camera_are_not_in_front(tmp_path):
    calibration = read_calibration(write_text(tmp_path / "c.txt", CALIBRATION))
    camera = calibration.to_camera(np.array([[-5, 0, 0], [0, 0, 0], [0.2, 0, 0]]))
    pixels, in_front = calibration.to_pixels(camera)
    assert in_front.tolist() == [False, False, True]
    assert np.isfinite(pixels).all()


def test_tracking_calibrations_read_like_object_calibrations(tmp_path):
    tracking = (
        TURNED.replace("R0_rect:", "R_rect").replace("Tr_velo_to_cam:", "Tr_velo_cam")
        + "\nTr_imu_velo 1 2 3\n"
    )
    one = read_calibration(write_text(tmp_path / "object.txt", TURNED))
    other = read_calibration(write_text(tmp_path / "tracking.txt", tracking))
    for name in ("rotation", "translation", "projection"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_odometry_calibrations_have_rectified_axes(tmp_path):
    lines = CALIBRATION.replace("Tr_velo_to_cam", "Tr").splitlines()
    text = "\n".join(line for line in lines if not line.startswith("R0_rect"))
    one = read_calibration(
        write_text(tmp_path / "object.txt", CALIBRATION)
    )  # R0_rect is the identity
    other = read_calibration(write_text(tmp_path / "odometry.txt", text))
    for name in ("rotation", "translation", "projection"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no matrix R0_rect or R_rect of 3 x 3 finite numbers"),
        (CALIBRATION.replace("P2", "P9"), "no matrix P2 of 3 x 4"),
        (CALIBRATION.replace("1 0 0 0 1 0 0 0 1", "1 0 0 0 1 0 0 0"), "no matrix R0_rect"),
        (CALIBRATION.replace("Tr_velo_to_cam: 0", "Tr_velo_to_cam: zero"), "is not a number"),
        (CALIBRATION.replace("P2: 700", "P2: nan"), "no matrix P2"),
        (CALIBRATION.replace("R0_rect: 1", "R0_rect: 0"), "is not a rotation"),
        # a volume of 1, but a stretched frame; a mirrored frame
        (CALIBRATION.replace("R0_rect: 1 0 0 0 1", "R0_rect: 2 0 0 0 0.5"), "is not a rotation"),
        (CALIBRATION.replace("R0_rect: 1", "R0_rect: -1"), "is not a rotation"),
        (CALIBRATION.replace("P2: 700", "P2: 1e300"), "no matrix P2 of 3 x 4 finite numbers below"),
        (re.sub("P2: .*", "P2:" + " 0" * 12, CALIBRATION), "P2 is not a projection"),
        (CALIBRATION.replace("0 0 1 0\nR0", "0 0 0 0\nR0"), "P2 is not a projection"),
    ],
)
def test_a_bad_calibration_is_refused(tmp_path, text, reason):
    path = write_text(tmp_path / "c.txt", text)
    with pytest.raises(KittiError, match=reason) as caught:
        read_calibration(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


# Box labels


def test_fields_of_a_box_label(tmp_path):
    lines = [
        "Car 0.5 1 -1.2 100 110 220 230 1.5 1.6 4.0 2 1.7 20 0.3",
        "",
        "Pedestrian 0 0 0 1 2 3 4 1.8 0.5 0.6 -3 1.6 9 -1.5 0.97",  # with a score
    ]
    car, pedestrian = read_boxes(write_text(tmp_path / "l.txt", "\n".join(lines)))
    assert (car.kind, car.yaw_rad) == ("Car", 0.3)
    assert car.rectangle_px.tolist() == [100, 110, 220, 230]
    assert car.size_m.tolist() == [1.5, 1.6, 4.0]
    assert car.bottom_m.tolist() == [2, 1.7, 20]
    assert (pedestrian.kind, pedestrian.yaw_rad) == ("Pedestrian", -1.5)


@pytest.mark.parametrize(
    "line",
    [
        "Car 0 0 0 1 2 3 4 1.5 1.6 4 2 1.7 20",  # 14 fields
        "Car 0 0 0 1 2 3 4 1.5 1.6 4 2 1.7 20 west",
        "Car 0 0 0 1 2 3 4 1.5 1.6 4 nan 1.7 20 0",
        "Car",
    ],
)
def test_a_bad_label_is_refused_with_its_line_number(tmp_path, line):
    path = write_text(tmp_path / "l.txt", f"{kitti_label(Thing(CAR, 9, 0))}\n{line}\n")
    with pytest.raises(KittiError, match="line 2 is not a KITTI label of 15 fields") as caught:
        read_boxes(path)
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize(
    ("size_and_place", "fault"),
    [
        ("0 1.6 4 2 1.7 20 0", "Car measures 0 x 1.6 x 4 m; all must be above 0 and at most 200 m"),
        ("-1 -1 -1 -1000 -1000 -1000 -10", "Car measures -1 x -1 x -1 m"),
        ("1.5 1.6 1e300 2 1.7 20 0", "a number is beyond ±1e+06"),
        ("1.5 1.6 400 2 1.7 20 0", "Car measures 1.5 x 1.6 x 400 m"),
        ("1.5 1.6 4 2 1.7 -1e300 0", "a number is beyond ±1e+06"),
        ("1.5 1.6 4 2 1.7 20 90", "Car has the angle 90, which is not in radians"),
    ],
)
def test_an_impossible_box_is_refused_with_its_line_number(tmp_path, size_and_place, fault):
    dont_care = "DontCare -1 -1 -10 1 2 3 4 -1 -1 -1 -1000 -1000 -1000 -10"
    path = write_text(tmp_path / "l.txt", f"{dont_care}\nCar 0 0 0 1 2 3 4 {size_and_place}\n")
    with pytest.raises(KittiError) as caught:
        read_boxes(path)
    assert str(caught.value).startswith(f"{path}: line 2: {fault}")
    assert str(caught.value).endswith("; fix or remove the line")


@pytest.mark.parametrize(
    ("point", "inside"),
    [
        # bottom centre (2, 1.5, 20), height 1.5, width 1.6, length 4, yaw 0.5: the length runs
        # along (cos 0.5, 0, -sin 0.5) = (0.878, 0, -0.479), the width along (0.479, 0, 0.878).
        ((2, 1.0, 20), True),
        ((2 + 1.9 * 0.8776, 1.0, 20 - 1.9 * 0.4794), True),  # 1.9 m ahead
        ((2 + 2.1 * 0.8776, 1.0, 20 - 2.1 * 0.4794), False),
        ((2 - 1.9 * 0.8776, 1.0, 20 + 1.9 * 0.4794), True),  # 1.9 m behind
        ((2 + 1.9 * 0.8776, 1.0, 20 + 1.9 * 0.4794), False),  # inside if the yaw had the wrong sign
        ((2 + 0.75 * 0.4794, 1.0, 20 + 0.75 * 0.8776), True),  # 0.75 m to the side
        ((2 + 0.85 * 0.4794, 1.0, 20 + 0.85 * 0.8776), False),
        ((2, 1.49, 20), True),
        ((2, 1.51, 20), False),  # below the floor: y points down
        ((2, 0.01, 20), True),
        ((2, -0.01, 20), False),  # above the roof
    ],
)
def test_points_in_box(point, inside):
    box = BoxLabel("Car", np.zeros(4), np.array([1.5, 1.6, 4.0]), np.array([2, 1.5, 20.0]), 0.5)
    assert points_in_box(np.array([point], float), box).tolist() == [inside]


def test_a_margin_grows_a_box_on_all_sides():
    box = BoxLabel("Car", np.zeros(4), np.array([1.5, 1.6, 4.0]), np.array([0, 0, 0.0]), 0.0)
    middle = np.array([0, -0.75, 0])
    half = np.array([2.0, 0.75, 0.8])  # along x, y, z at yaw 0
    for axis in range(3):
        for side in (-1, 1):
            point = middle.copy()
            point[axis] += side * (half[axis] + 0.1)
            assert not points_in_box(point[None], box, 0.09)[0]
            assert points_in_box(point[None], box, 0.11)[0]


# Frames

# Camera (2, 1.5, 20) is sensor (20, -2, -1.5); at yaw 0 the length runs along the sensor's y.
CAR_LINE = label_line("Car", 1.5, 1.6, 4.0, 2, 1.5, 20, 0)


@pytest.mark.parametrize(
    ("point", "instance"),
    [
        ((20, -2, -1.0), 1),
        ((20, -0.1, -1.0), 1),  # 1.9 m along the length
        ((20, -2, -1.31), -1),  # 0.19 m above the floor
        ((20, -2, -1.29), 1),  # 0.21 m
        ((20, -2, -1.49), -1),
        ((20, -2, -1.64), -1),  # 0.14 m below it
        ((20, -2, -1.66), 0),
        ((20, -2, 0.14), -1),  # the roof is at 0; in the band
        ((20, -2, 0.16), 0),
        ((20, 0.14, -1.0), -1),  # 2.14 m along the length; the band ends at 2.15
        ((20, 0.16, -1.0), 0),
        ((20.94, -2, -1.0), -1),  # 0.94 m across; the band ends at 0.95
        ((20.96, -2, -1.0), 0),
    ],
)
def test_points_become_instance_void_or_background(tmp_path, point, instance):
    frame = frame_of(tmp_path, [point], [CAR_LINE])
    assert frame.instance.tolist() == [instance]
    assert frame.labelled.tolist() == [True]
    assert frame.classes.tolist() == [VEHICLE]
    np.testing.assert_allclose(frame.centres_m, [[20, -2]], atol=1e-6)


def test_band_and_floor_come_from_the_configuration(tmp_path):
    data = dataclasses.replace(DATA, box_floor_m=0.5, box_band_m=0.3)
    points = [(20, -2, -1.01), (20, -2, -0.99), (20, 0.29, -0.5), (20, 0.31, -0.5)]
    frame = frame_of(tmp_path, points, [CAR_LINE], data)
    assert frame.instance.tolist() == [-1, 1, -1, 0]


def test_points_outside_the_image_are_unlabelled(tmp_path):
    # Focal length 700 px, principal point (620, 180), image 1242 x 375: at 10 m u runs over
    # y = 620 / 70 .. -622 / 70 m and v over z = 180 / 70 .. -195 / 70 m.
    points = [
        *[(10, 8.85, 0), (10, 8.87, 0)],
        *[(10, -8.87, 0), (10, -8.89, 0)],
        *[(10, 0, 2.56), (10, 0, 2.58)],
        *[(10, 0, -2.77), (10, 0, -2.79)],
        *[(-10, 0, 0), (np.inf, 0, 0), (np.nan, 0, 0), (10, np.nan, 0)],
    ]
    frame = frame_of(tmp_path, points, [])
    assert frame.labelled.tolist() == [True, False] * 4 + [False] * 4
    assert (frame.instance == 0).all()
    assert len(frame.classes) == 0
    assert frame.centres_m.shape == (0, 2)


def test_a_dont_care_rectangle_is_void_at_any_depth(tmp_path):
    # The rectangle spans y = -1..1 m and z = 0..1 m at 10 m.
    rectangle = label_line("DontCare", -1, -1, -1, -1000, -1000, -1000, -10, "550 110 690 180")
    points = [(10, 0, 0.5), (40, 0, 2), (10, 1.01, 0.5), (10, 0, 1.01), (-10, 0, -0.5)]
    frame = frame_of(tmp_path, points, [rectangle])
    assert frame.instance.tolist() == [-1, -1, 0, 0, 0]
    assert len(frame.classes) == 0


@pytest.mark.parametrize("order", [1, -1])
def test_an_object_in_a_dont_care_rectangle_stays_an_object(tmp_path, order):
    rectangle = label_line("DontCare", -1, -1, -1, -1000, -1000, -1000, -10, "0 0 1242 375")
    points = [(20, -2, -1.0), (20, -2, -1.4), (30, 0, 0)]
    frame = frame_of(tmp_path, points, [CAR_LINE, rectangle][::order])
    assert frame.instance.tolist() == [1, -1, -1]


@pytest.mark.parametrize("kind", ["Tram", "Misc"])
def test_void_types_are_void_including_their_band(tmp_path, kind):
    points = [(20, -2, -1.0), (20, -2, -1.4), (20, 0.14, -1.0), (20, 0.16, -1.0)]
    frame = frame_of(tmp_path, points, [CAR_LINE.replace("Car", kind)])
    assert frame.instance.tolist() == [-1, -1, -1, 0]
    assert len(frame.classes) == 0


def test_an_unknown_type_is_background(tmp_path):
    frame = frame_of(tmp_path, [(20, -2, -1.0)], [CAR_LINE.replace("Car", "Unicorn")])
    assert frame.instance.tolist() == [0]


def test_every_type_has_its_class(tmp_path):
    kinds = ["Car", "Van", "Truck", "Pedestrian", "Person_sitting", "Cyclist"]
    lines = [label_line(kind, 2, 2, 2, 0, 1.5, 10 + 5 * i, 0) for i, kind in enumerate(kinds)]
    frame = frame_of(tmp_path, [(10 + 5 * i, 0, -0.5) for i in range(6)], lines)
    assert frame.instance.tolist() == [1, 2, 3, 4, 5, 6]
    assert frame.classes.tolist() == [VEHICLE] * 3 + [PEDESTRIAN] * 2 + [CYCLIST]


@pytest.mark.parametrize("order", [1, -1])
def test_the_nearer_centre_wins_where_boxes_overlap(tmp_path, order):
    # A person (0.6 m square, at y = -0.2) beside a car whose box reaches to y = 0.
    person = label_line("Pedestrian", 1.7, 0.6, 0.6, 0.2, 1.5, 20, 0)
    points = [
        (20, -0.4, -1.0),  # in both boxes; 0.54 m from the person, 1.7 m from the car
        (20, 0.05, -1.0),  # in the person's box, in the car's band
        (20, -2, -1.0),  # in the car only
        (20, -1.98, -1.35),  # 0.15 m above both floors
    ]
    frame = frame_of(tmp_path, points, [CAR_LINE, person][::order])
    car, human = (1, 2) if order == 1 else (2, 1)
    assert frame.instance.tolist() == [human, human, car, -1]
    assert frame.classes[human - 1] == PEDESTRIAN


def test_a_box_without_points_keeps_its_number(tmp_path):
    far = label_line("Car", 1.5, 1.6, 4.0, 2, 1.5, 60, 0)
    frame = frame_of(tmp_path, [(20, -2, -1.0)], [far, CAR_LINE])
    assert frame.instance.tolist() == [2]
    assert frame.classes.tolist() == [VEHICLE, VEHICLE]
    np.testing.assert_allclose(frame.centres_m, [[60, -2], [20, -2]], atol=1e-6)


def test_a_sweep_without_points(tmp_path):
    frame = frame_of(tmp_path, [], [CAR_LINE])
    assert frame.points.shape == (0, 4)
    assert frame.judged.shape == (0,)


@pytest.mark.parametrize("name", ["a", "b", "c"])
def test_every_object_of_a_street_is_labelled(kitti_root, name):
    frame = read_frame(kitti_root, name, CLASSES, DATA)
    owner = street(STREETS[name])[1]
    for k, thing in enumerate(STREETS[name], 1):
        own = frame.instance[owner == k]
        assert set(own.tolist()) == {-1, k}  # void below 0.2 m
        assert (own == k).mean() > 0.8
        assert frame.classes[k - 1] == thing.kind
        np.testing.assert_allclose(frame.centres_m[k - 1], [thing.x, thing.y], atol=1e-5)
    assert (frame.instance[owner == 0] < 1).all()
    sizes = [SIZES_M[thing.kind] for thing in STREETS[name]]
    grown = sum((length + 0.3) * (width + 0.3) for length, width, _ in sizes)
    share = grown / (8.4 * 16)  # of the road
    assert abs((frame.instance[owner == 0] == -1).mean() - share) < 0.02


# Files


@pytest.mark.parametrize("name", ["000123", "0001_000004", "object-16", "a.b"])
def test_frame_names_may_have_any_form(tmp_path, name, monkeypatch):
    monkeypatch.setitem(STREETS, name, STREETS["a"])
    root = write_kitti(tmp_path, {"odd": [name]})
    assert frame_names(root, ["odd"]) == [name]
    frame = read_frame(root, name, CLASSES, DATA)
    assert (frame.name, len(frame.classes)) == (name, 3)


def test_splits_are_listed_in_order(tmp_path):
    write_text(tmp_path / "ImageSets" / "one.txt", "b\n\n  a \n")
    write_text(tmp_path / "ImageSets" / "two.txt", "c")
    assert frame_names(tmp_path, ["one", "two"]) == ["b", "a", "c"]
    assert frame_names(tmp_path, []) == []


@pytest.mark.parametrize("read", [read_boxes, read_calibration])
def test_a_pipe_is_refused_without_waiting(tmp_path, read):
    os.mkfifo(tmp_path / "pipe.txt")
    with pytest.raises(KittiError, match=r"pipe\.txt: cannot be read: not a regular file"):
        read(tmp_path / "pipe.txt")


def test_the_full_sweep_is_preferred(kitti_root):
    full = read_frame(kitti_root, "a", CLASSES, DATA)
    reduced = kitti_root / "training" / "velodyne_reduced" / "a.bin"
    reduced.parent.mkdir()
    full.points[:100].tofile(reduced)
    assert len(read_frame(kitti_root, "a", CLASSES, DATA).points) == len(full.points)
    (kitti_root / "training" / "velodyne" / "a.bin").unlink()
    assert len(read_frame(kitti_root, "a", CLASSES, DATA).points) == 100


@pytest.mark.parametrize("folder", ["velodyne", "calib", "label_2"])
def test_a_missing_file_is_reported(kitti_root, folder):
    path = next((kitti_root / "training" / folder).glob("a.*"))
    path.unlink()
    with pytest.raises((KittiError, ScanError)) as caught:
        read_frame(kitti_root, "a", CLASSES, DATA)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("folder", ["velodyne", "calib", "label_2"])
@pytest.mark.parametrize("content", [b"\xff\xfe\x00 broken", None])
def test_a_malformed_file_is_reported(kitti_root, folder, content):
    path = next((kitti_root / "training" / folder).glob("a.*"))
    path.unlink()
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    with pytest.raises((KittiError, ScanError)) as caught:
        read_frame(kitti_root, "a", CLASSES, DATA)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("text", "reason"), [(None, "No such file"), ("\n \n", "lists no frames")])
def test_a_bad_split_is_reported(tmp_path, text, reason):
    path = tmp_path / "ImageSets" / "train.txt"
    if text is not None:
        write_text(path, text)
    with pytest.raises(KittiError, match=reason) as caught:
        frame_names(tmp_path, ["train"])
    assert str(caught.value).startswith(f"{path}: ")


def test_all_sweeps_of_a_folder_have_the_same_scale_of_intensities(kitti_root):
    """A sweep whose brightest points are missing is read like its neighbours."""
    for k, path in enumerate(sorted((kitti_root / "training" / "velodyne").glob("*.bin"))):
        points = np.fromfile(path, np.float32).reshape(-1, 4)
        points[:, 3] = np.random.default_rng(k).integers(0, 200 if k == 1 else 40_000, len(points))
        points.tofile(path)
    with pytest.warns(UserWarning, match="divided by 65535"):
        frames = [read_frame(kitti_root, name, CLASSES, DATA) for name in "abc"]
    assert frames[1].points[:, 3].max() < 0.01
    assert frames[0].points[:, 3].max() > 0.5


@pytest.mark.filterwarnings("ignore:.*higher than on any vehicle")
def test_boxes_fit_a_sweep_whose_ground_is_outside_the_grid(kitti_root):
    """A sensor high on a mast: the sweep is lifted into the grid, and its objects stay the same."""
    usual = read_frame(kitti_root, "a", CLASSES, DATA)
    lower_m, folder = 12, kitti_root / "training"
    points = usual.points - np.float32([0, 0, lower_m, 0])
    points.tofile(folder / "velodyne" / "a.bin")
    lines = [line.split() for line in (folder / "label_2" / "a.txt").read_text().splitlines()]
    for fields in lines:
        fields[12] = str(float(fields[12]) + lower_m)  # y points down
    write_text(folder / "label_2" / "a.txt", "".join(" ".join(f) + "\n" for f in lines))
    with pytest.warns(UserWarning, match="shifted the ground"):
        frame = read_frame(kitti_root, "a", CLASSES, DATA)
    assert (usual.instance > 0).any()
    np.testing.assert_array_equal(frame.instance > 0, usual.instance > 0)
    np.testing.assert_array_equal(frame.classes, usual.classes)
    assert np.abs(frame.points[:, 2] - usual.points[:, 2]).max() < 1


# Real recordings


@needs_kitti
def test_real_boxes_hold_points():
    """Every box in val taller than 40 px has points, and most points in the image are judged."""
    counted = [0, 0, 0]
    class_of = {kind: i for i, c in enumerate(CLASSES) for kind in c.kitti}
    for name in frame_names(REAL, ["val"]):
        frame = read_frame(REAL, name, CLASSES, DATA)
        boxes = read_boxes(REAL / "training" / "label_2" / f"{name}.txt")
        objects = [box for box in boxes if box.kind in class_of]
        assert frame.classes.tolist() == [class_of[box.kind] for box in objects]
        points_of = np.bincount(frame.instance[frame.judged], minlength=len(objects) + 1)[1:]
        for box, count, index in zip(objects, points_of, frame.classes, strict=True):
            counted[index] += int(count >= 10)
            if box.rectangle_px[3] - box.rectangle_px[1] > 40:
                assert count > 0, f"{name}: {box}"
        # About a sixth of a full sweep is in the image; little of that is void.
        assert 0.1 < frame.labelled.mean() < 0.3
        assert 0.8 < frame.judged.sum() / frame.labelled.sum() <= 1
        assert 0 < (frame.instance > 0).sum() / frame.judged.sum() < 0.7
    assert counted == [41, 32, 5]


@needs_kitti
def test_real_objects_are_near_the_ground_and_their_centres():
    for name in frame_names(REAL, ["val"]):
        frame = read_frame(REAL, name, CLASSES, DATA)
        for k in range(1, len(frame.classes) + 1):
            own = frame.points[frame.instance == k]
            if len(own) < 50:
                continue
            reach = np.hypot(*(own[:, :2] - frame.centres_m[k - 1]).T)
            assert np.median(reach) < 6
            assert -2.5 < own[:, 2].min() < 0.5


def test_to_sensor_inverts_to_camera():
    angle = 0.4
    rotation = np.array(
        [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    )
    calibration = CameraCalibration(rotation, np.array([1.0, -2, 3]), np.eye(3, 4))
    xyz = np.random.default_rng(0).normal(size=(50, 3))
    np.testing.assert_allclose(calibration.to_sensor(calibration.to_camera(xyz)), xyz, atol=1e-12)
