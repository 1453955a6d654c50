"""Boxes in KITTI's label_2 format, read back by the reader of its labels."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_export import CAMERA, cloud, instances

from bev_instseg.config import CLASSES, ClassConfig
from bev_instseg.datasets.kitti_files import BoxLabel, CameraCalibration, parse_boxes, points_in_box
from bev_instseg.export import ResultFiles, write_result
from bev_instseg.export.kitti import kitti_lines
from bev_instseg.structures import Instances

SIZE_PX = (1242, 375)


def found(boxes: list[tuple[float, ...]], classes: list[int] | None = None) -> Instances:
    """Instances with these boxes, by descending score."""
    k = len(boxes)
    return Instances(
        np.zeros(0, np.int32),
        np.array(classes or [0] * k, np.int32),
        np.linspace(0.9, 0.3, k, dtype=np.float32),
        np.array(boxes, np.float32).reshape(k, 7),
        tuple(c.name for c in CLASSES),
    )


def lines_of(boxes: list[tuple[float, ...]], camera: CameraCalibration = CAMERA) -> list[str]:
    return kitti_lines(found(boxes), CLASSES, camera, SIZE_PX)


def test_a_line_equals_one_computed_by_hand() -> None:
    """A car 20 m ahead and 4 m to the left, its length along x, on the road 1.7 m below."""
    (line,) = lines_of([(20, 4, -0.95, 4, 2, 1.5, 0)])
    # Camera: x = -4, y = 0.95 + 0.75 (bottom), z = 20; rotation_y -pi/2: along z.
    # Its nearest face, z = 18: x from -5 to -3, y from 0.2 to 1.7.
    left, top = 620 - 700 * 5 / 18, 180 + 700 * 0.2 / 22
    right, bottom = 620 - 700 * 3 / 22, 180 + 700 * 1.7 / 18
    alpha = -np.pi / 2 + np.arctan2(4, 20)
    assert line == (
        f"Car -1 -1 {alpha:.4f} {left:.2f} {top:.2f} {right:.2f} {bottom:.2f} "
        "1.500 2.000 4.000 -4.000 1.700 20.000 -1.5708 0.9000"
    )


def turned_camera() -> CameraCalibration:
    """A camera away from the sensor, turned slightly about all three axes."""
    turn = np.eye(3)
    for axis, angle in ((0, 0.02), (1, 0.03), (2, -0.01)):
        i, j = (axis + 1) % 3, (axis + 2) % 3
        step = np.eye(3)
        step[[i, j], [i, j]] = np.cos(angle)
        step[i, j], step[j, i] = -np.sin(angle), np.sin(angle)
        turn = step @ turn
    projection = np.array([(721.5, 0, 609.6, 44.9), (0, 721.5, 172.9, 0.2), (0, 0, 1, 0.003)])
    return CameraCalibration(turn @ CAMERA.rotation, np.array([0.01, -0.07, -0.27]), projection)


@pytest.mark.parametrize("yaw_rad", [-3.0, -1.57, -0.4, 0.0, 0.9, 2.5, 3.14])
@pytest.mark.parametrize("camera", [CAMERA, turned_camera()], ids=["straight", "turned"])
def test_a_label_survives_the_round_trip(camera: CameraCalibration, yaw_rad: float) -> None:
    label = BoxLabel(
        "Van", np.zeros(4), np.array([1.9, 1.7, 4.2]), np.array([-3.2, 1.6, 14.0]), yaw_rad
    )
    height, width, length = label.size_m
    centre = camera.to_sensor(label.bottom_m - (0, height / 2, 0))
    nose = np.array([np.cos(yaw_rad), 0, -np.sin(yaw_rad)]) @ camera.rotation  # camera -> sensor
    box = (*centre, length, width, height, np.arctan2(nose[1], nose[0]))
    (back,) = parse_boxes(lines_of([box], camera), "written")
    np.testing.assert_allclose(back.size_m, label.size_m, atol=1e-2)
    np.testing.assert_allclose(back.bottom_m, label.bottom_m, atol=1e-2)
    turn = back.yaw_rad - yaw_rad
    assert abs(np.arctan2(np.sin(turn), np.cos(turn))) < 1e-2

    points = np.random.default_rng(1).uniform(-4, 4, (4000, 3)) + label.bottom_m
    inside, outside = points_in_box(points, label, -0.03), ~points_in_box(points, label, 0.03)
    assert inside.sum() > 50
    assert outside.sum() > 1000
    assert points_in_box(points, back)[inside].all()
    assert not points_in_box(points, back)[outside].any()


def test_rectangles_bound_the_corners() -> None:
    rng = np.random.default_rng(0)
    boxes = [
        (*rng.uniform((12, -3, -1.5), (25, 3, -0.5)), 4, 1.8, 1.5, rng.uniform(-1.5, 1.5))
        for _ in range(20)
    ]
    camera = turned_camera()
    for label in parse_boxes(lines_of(boxes, camera), "written"):
        height, width, length = label.size_m
        corners = []
        for along in (-length / 2, length / 2):
            for across in (-width / 2, width / 2):
                cos, sin = np.cos(label.yaw_rad), np.sin(label.yaw_rad)
                x, z = along * cos + across * sin, across * cos - along * sin
                corners += [np.add(label.bottom_m, (x, up, z)) for up in (0, -height)]
        pixels, in_front = camera.to_pixels(np.array(corners))
        assert in_front.all()
        expected = [*pixels.min(axis=0), *pixels.max(axis=0)]
        last = np.array(SIZE_PX * 2) - 1
        np.testing.assert_allclose(label.rectangle_px, np.clip(expected, 0, last), atol=0.5)


def test_only_visible_boxes_are_written() -> None:
    size = (4, 2, 1.5, 0)
    boxes = {
        "ahead": (20, 0, -1, *size),
        "behind": (-20, 0, -1, *size),
        "far to the left": (5, 20, -1, *size),
        "above": (10, 0, 20, *size),
        "cut by the left edge": (20, 18, -1, *size),
        "centre behind": (-1, 0, -1, *size),
        "around the lens": (1, 0, 0, *size),
    }
    written = parse_boxes(lines_of(list(boxes.values())), "written")
    assert [label.bottom_m[[2, 0]].tolist() for label in written] == [[20, 0], [20, -18], [1, 0]]
    _, cut, around = (label.rectangle_px.tolist() for label in written)
    # The right edge is that of the rear: x = -17 at z = 22. The left edge is outside.
    assert cut[0] == 0
    assert cut[2] == pytest.approx(620 - 700 * 17 / 22, abs=0.01)
    assert around == [0, 0, 1241, 374]


def test_boxes_are_cut_at_the_image_plane() -> None:
    """A wall on the right, from 9 m behind the camera to 11 m ahead, reaches the right edge only.

    The corners behind the camera would be projected to the left.
    """
    (line,) = lines_of([(1, -3, 0, 20, 1, 1, 0)])
    left, top, right, bottom = parse_boxes([line], "written")[0].rectangle_px
    assert left == pytest.approx(620 + 700 * 2.5 / 11, abs=0.01)
    assert (top, right, bottom) == (0, 1241, 374)


def test_types_are_the_kitti_names_of_the_classes() -> None:
    classes = (*CLASSES[:2], ClassConfig("shopping cart", 31))
    instances = replace(
        found([(20, 0, -1, 4, 2, 1.5, 0)] * 3, [2, 0, 1]),
        class_names=tuple(c.name for c in classes),
    )
    lines = kitti_lines(instances, classes, CAMERA, SIZE_PX)
    assert [line.split()[0] for line in lines] == ["shopping_cart", "Car", "Pedestrian"]
    assert {len(line.split()) for line in lines} == {16}
    assert [float(line.split()[-1]) for line in lines] == pytest.approx([0.9, 0.6, 0.3])


def test_a_calibration_adds_a_txt(tmp_path: Path) -> None:
    target, *arguments = tmp_path / "a", cloud(), instances(), CLASSES
    files = ResultFiles(calibration=CAMERA)
    text = write_result(target, *arguments, files=files)[1].read_text()
    expected = kitti_lines(instances(), CLASSES, CAMERA, SIZE_PX)
    assert len(expected) == 2
    assert text == "".join(line + "\n" for line in expected)
    small = replace(files, image_size_px=(600, 375))  # the cyclist is at u = 771
    write_result(target, *arguments, files=small)
    assert (tmp_path / "a.txt").read_text() == ""
