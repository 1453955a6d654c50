"""Bird's-eye pictures, checked pixel by pixel, and the contents of the 3D views."""

import dataclasses
import itertools
import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.image import imread

from bev_instseg.colours import UNKNOWN_RGB, instance_colours
from bev_instseg.structures import UNKNOWN, Frame, Instances
from bev_instseg.visualize import box_corners, draw_bev, draw_comparison, draw_training
from bev_instseg.visualize.appearance import class_colours, point_greys
from bev_instseg.visualize.bev_map import (
    MAP_BOTTOM_PX,
    MAP_LEFT_PX,
    MAP_PX,
    PANEL_PX,
    VOID_RGB,
    MapContent,
    fill_map,
    new_maps,
)
from bev_instseg.visualize.box_corners import EDGES
from bev_instseg.visualize.camera import (
    EYE_M,
    FIELD_OF_VIEW_RAD,
    TARGET_M,
    place_above_boxes,
    start_camera,
)
from bev_instseg.visualize.scene3d import COLOURINGS, Colouring, make_scene

NAMES = ("vehicle", "pedestrian", "cyclist")
RANGE_M = 50.0


def scene(boxes: list[list[float]], classes: list[int]) -> tuple[np.ndarray, Instances]:
    """Flat ground, then 300 points in each box."""
    rng = np.random.default_rng(0)
    k = len(boxes)
    box = np.array(boxes, np.float32).reshape(k, 7)
    ground = np.column_stack([rng.uniform(-RANGE_M, RANGE_M, (5000, 2)), np.full(5000, -1.7)])
    corners = box_corners(box)
    weights = rng.dirichlet(np.full(8, 0.2), (k, 300))
    xyz = np.concatenate([ground, np.einsum("knc,kcd->knd", weights, corners).reshape(-1, 3)])
    points = np.column_stack([xyz, rng.uniform(0, 1, len(xyz))]).astype(np.float32)
    labels = np.concatenate([np.zeros(5000), np.repeat(np.arange(k) + 1, 300)]).astype(np.int32)
    scores = np.linspace(0.99, 0.5, k, dtype=np.float32)
    return points, Instances(labels, np.array(classes, np.int32), scores, box, NAMES)


CAR, WALKER = [20.0, 10.0, -0.9, 4.2, 1.8, 1.6, 0.4], [-15.0, -25.0, -0.8, 0.6, 0.6, 1.8, 0.0]


def street() -> tuple[np.ndarray, Instances]:
    return scene([CAR, WALKER], [0, 1])


def truth_of(points: np.ndarray, instances: Instances, **changes: np.ndarray) -> Frame:
    parts = {
        "instance": instances.labels,
        "labelled": np.ones(len(points), bool),
        "classes": instances.classes,
        "centres_m": instances.boxes[:, :2],
    }
    return Frame("street", points, **(parts | changes))


def panels_of(path: Path) -> list[np.ndarray]:
    """The maps of a picture, RGB 0..1: rows from the bottom up, columns from the left."""
    picture = imread(path)[::-1, :, :3]
    assert picture.shape[0] == PANEL_PX
    assert picture.shape[1] % PANEL_PX == 0
    return [
        picture[MAP_BOTTOM_PX : MAP_BOTTOM_PX + MAP_PX, left : left + MAP_PX]
        for left in range(MAP_LEFT_PX, picture.shape[1], PANEL_PX)
    ]


def where(panel: np.ndarray, colour: np.ndarray | tuple[float, ...]) -> np.ndarray:
    """(M, 2) x, y in metres of the pixels that have this colour."""
    row, column = np.nonzero(np.abs(panel - colour).max(axis=2) < 0.01)
    return np.column_stack([row + 0.5, MAP_PX - 0.5 - column]) * 2 * RANGE_M / MAP_PX - RANGE_M


def pixels_at(panel: np.ndarray, xy: np.ndarray) -> np.ndarray:
    """(N, 3) RGB of the pixels at (N, 2) x, y in metres."""
    row, column = np.clip((np.float32([1, -1]) * xy + RANGE_M).T * MAP_PX / 100, 0, MAP_PX - 1)
    return panel[row.astype(int), column.astype(int)]


def cielab(rgb: np.ndarray) -> np.ndarray:
    """Convert (N, 3) sRGB 0..1 to L, a, b (CIE 15: white D65, 2 degrees)."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    primaries = [
        (0.4123908, 0.3575843, 0.1804808),
        (0.2126390, 0.7151687, 0.0721923),
        (0.0193308, 0.1191948, 0.9505322),
    ]
    t = linear @ np.transpose(primaries) / (0.9504559, 1, 1.0890578)
    f = np.where(t > (6 / 29) ** 3, np.cbrt(t), t / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], 1)


def test_cielab_of_known_colours() -> None:
    lab = cielab(np.array([(1, 1, 1), (0, 0, 0), (1, 0, 0), (0, 0, 1)], float))
    known = [(100, 0, 0), (0, 0, 0), (53.24, 80.09, 67.20), (32.30, 79.19, -107.86)]
    np.testing.assert_allclose(lab, known, atol=0.05)


def test_colours_are_distinct() -> None:
    """Distances of 2.3 are just noticeable. The colours show on white and do not look grey."""
    for k, min_distance in ((10, 45), (20, 33), (100, 15)):
        colours = instance_colours(k)
        assert colours.shape == (k, 3)
        assert colours.min() >= 0
        assert colours.max() <= 1
        lab = cielab(colours)
        assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(lab, 2)) > min_distance
        assert lab[:, 0].max() < 73
        assert np.hypot(lab[:, 1], lab[:, 2]).min() > 35
    assert instance_colours(0).shape == (0, 3)


def test_colours_do_not_depend_on_the_number_of_instances() -> None:
    colours = instance_colours(1200)
    np.testing.assert_array_equal(instance_colours(7), colours[:7])
    assert len(np.unique(colours[:500], axis=0)) == 500
    np.testing.assert_array_equal(colours[500:1000], colours[:500])


def test_box_corners() -> None:
    corners = box_corners(np.float32([[1, 2, 3, 4, 2, 6, 0], [0, 0, 0, 4, 2, 6, np.pi / 2]]))
    flat = [(3, 3), (-1, 3), (-1, 1), (3, 1)]
    expected = [(*xy, z) for z in (0, 6) for xy in flat]
    np.testing.assert_allclose(corners[0], expected, atol=1e-6)
    turned = [(-1, 2), (-1, -2), (1, -2), (1, 2)]
    np.testing.assert_allclose(corners[1, :4, :2], turned, atol=1e-6)
    assert box_corners(np.zeros((0, 7), np.float32)).shape == (0, 8, 3)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_points_without_an_intensity_are_drawn_as_those_of_intensity_0(bad: float) -> None:
    points, instances = street()
    dark = points.copy()
    points[::2, 3], dark[::2, 3] = bad, 0
    drawn, expected = make_scene(points, instances), make_scene(dark, instances)
    np.testing.assert_array_equal(drawn.xyz_m, expected.xyz_m)
    np.testing.assert_array_equal(drawn.rgb, expected.rgb)
    np.testing.assert_array_equal(point_greys(points), point_greys(dark))


def test_scene_coloured_by_instance_class_height_and_score() -> None:
    points, instances = street()
    points[:3, 2], points[3], points[4, 3] = (0.0, 1.0, 9.0), np.nan, np.inf
    kept = np.delete(np.arange(len(points)), 3)
    car, walker = (np.flatnonzero(instances.labels[kept] == k) for k in (1, 2))
    shown = {colouring: make_scene(points, instances, colouring) for colouring in COLOURINGS}
    for made in shown.values():
        np.testing.assert_array_equal(made.xyz_m, points[kept, :3])
        np.testing.assert_array_equal(made.box_rgb, [(0x1D, 0x4E, 0xD8), (0xC8, 0x1E, 0x3A)])
        np.testing.assert_array_equal(made.corners_m, box_corners(instances.boxes))
        assert made.texts == ("vehicle 0.99", "pedestrian 0.50")
    by_instance = np.round(255 * instance_colours(2))
    np.testing.assert_array_equal(np.unique(shown["instance"].rgb[car], axis=0), by_instance[:1])
    np.testing.assert_array_equal(np.unique(shown["instance"].rgb[walker], axis=0), by_instance[1:])
    assert (shown["class"].rgb[car] == shown["class"].box_rgb[0]).all()
    assert (shown["class"].rgb[walker] == shown["class"].box_rgb[1]).all()
    red, green = shown["score"].rgb[car[0], :2]
    assert green > 2 * red  # score 0.99
    red, green, blue = shown["score"].rgb[walker[0]]
    assert red > green > 2 * blue  # amber: score 0.5
    for colouring in ("instance", "class", "score"):
        assert (np.ptp(shown[colouring].rgb[3:4998], axis=1) == 0).all()  # the ground is grey
    viridis = [colormaps["viridis"](share)[:3] for share in (0.0, 2.7 / 3.5, 1.0)]
    heights = shown["height"].rgb[[10, 1, 2]]  # 0, 2.7 and 10.7 m above the ground
    np.testing.assert_allclose(heights, 255 * np.array(viridis), atol=2)


def test_unknown_things_have_no_score_to_be_coloured_by() -> None:
    points, instances = street()
    names = (*instances.class_names, UNKNOWN)
    classes = np.array([0, len(names) - 1], np.int32)
    shown = make_scene(points, replace(instances, classes=classes, class_names=names), "score")
    [rgb] = np.unique(shown.rgb[instances.labels == 2], axis=0)
    np.testing.assert_allclose(rgb, 255 * np.array(UNKNOWN_RGB), atol=1)


def test_many_classes_have_different_colours() -> None:
    names = ("vehicle", *(f"class {k}" for k in range(12)), UNKNOWN)
    assert len(set(class_colours(names))) == len(names)


@pytest.mark.parametrize("colouring", COLOURINGS)
def test_scene_without_points(colouring: Colouring) -> None:
    nothing = Instances(np.zeros(2, np.int32), *_parts(scene([], [])[1]), NAMES)
    made = make_scene(np.full((2, 4), np.nan, np.float32), nothing, colouring)
    assert made.xyz_m.shape == made.rgb.shape == made.box_rgb.shape == (0, 3)
    assert made.edges_m.shape == (0, 2, 3)
    assert made.texts == ()


def test_edges_and_tops_of_boxes() -> None:
    points, instances = scene([[1, 2, 3, 4, 2, 6, 0]], [0])
    made = make_scene(points, instances)
    lengths = np.linalg.norm(made.edges_m[:, 0] - made.edges_m[:, 1], axis=1)
    np.testing.assert_allclose(np.sort(lengths), [2] * 4 + [4] * 4 + [6] * 4)
    np.testing.assert_allclose(made.tops_m, [(1, 2, 6)])


def test_lines_are_drawn_by_their_courses(tmp_path: Path) -> None:
    """Seen from above, a quarter of a circle; its box would be a square."""
    angles = np.linspace(0, np.pi / 2, 40)
    course_m = np.column_stack([20 * np.cos(angles), 20 * np.sin(angles), 0 * angles])
    points, instances = scene([[10, 10, 0, 20, 20, 0.2, 0], [-20, -20, 0, 4, 2, 1.5, 0]], [0, 1])
    courses_m = (course_m.astype(np.float32), None)
    instances = dataclasses.replace(instances, courses_m=courses_m)
    made = make_scene(points, instances)
    assert len(made.edges_m) == len(made.edge_rgb) == 39 + 12
    np.testing.assert_array_equal(made.edges_m[:39, 1], courses_m[0][1:])
    np.testing.assert_array_equal(made.edges_m[39:], box_corners(instances.boxes)[1, EDGES])
    line = dataclasses.replace(instances.take(np.array([0])), labels=np.zeros(0, np.int32))
    draw_bev(points[:0], line, tmp_path / "line.png", title="")
    (panel,) = panels_of(tmp_path / "line.png")
    x, y = where(panel, made.box_rgb[0] / 255).T
    near = np.abs(np.hypot(x, y) - 20) < 0.3
    assert near.sum() > 400
    assert not (np.hypot(x - 20, y - 20) < 3).any()  # the corner of the box


def test_camera_looks_forward_from_behind_the_sensor() -> None:
    camera = start_camera((1600, 1000))
    pixels, depth_m = camera.to_pixels(np.array([TARGET_M, (30, 0, 0), (11, 1, -2), (-16, 0, 10)]))
    np.testing.assert_allclose(pixels[0], (800, 500))
    np.testing.assert_allclose(depth_m[0], np.linalg.norm(np.subtract(TARGET_M, EYE_M)))
    assert pixels[1, 0] == pytest.approx(800)
    assert 0 < pixels[1, 1] < 500  # farther away is higher up
    assert pixels[2, 0] < 800  # left stays left
    assert np.isnan(pixels[3]).all()  # behind the camera
    places = np.array([(0.0, 0.0), (1600.0, 1000.0), (12.0, 700.0)])
    back, depth_m = camera.to_pixels(camera.to_world(places, 2.5))
    np.testing.assert_allclose(back, places, atol=1e-9)
    np.testing.assert_allclose(depth_m, 2.5)
    upper = camera.to_world(np.array([(800.0, 0.0)]), 1.0)[0] - EYE_M
    angle = np.arccos(upper @ camera.world_to_camera[2, :3] / np.linalg.norm(upper))
    assert angle == pytest.approx(FIELD_OF_VIEW_RAD / 2)


def test_texts_are_above_their_boxes_without_overlaps() -> None:
    camera = start_camera((1600, 1000))
    box = (4, 2, 2, 0)
    corners = box_corners(np.float32([(9, 0, 0, *box), (8, 0, 0, *box), (-30, 0, 0, *box)]))
    corners = np.concatenate([corners, np.repeat(corners[:1], 9, axis=0)])
    sizes = np.tile((120.0, 19.0), (len(corners), 1))
    places = place_above_boxes(corners, sizes, camera)
    assert 2 not in places
    assert 1 < len(places) < 11  # no room for all
    pixels = camera.to_pixels(corners[1])[0]
    np.testing.assert_allclose(places[1], (pixels[:, 0].mean() - 60, pixels[:, 1].min() - 21))
    for a, b in itertools.combinations(places.values(), 2):
        assert (np.abs(a - b) >= (120, 19)).any()
    assert place_above_boxes(corners[:0], sizes[:0], camera) == {}


def test_instances_are_drawn_at_their_positions(tmp_path: Path) -> None:
    points, instances = street()
    draw_bev(points, instances, tmp_path / "a.png", title="street")
    (panel,) = panels_of(tmp_path / "a.png")
    for colour, box in zip(instance_colours(2), (CAR, WALKER), strict=True):
        pixels = where(panel, colour)
        assert len(pixels) > 15
        assert np.linalg.norm(pixels.mean(axis=0) - box[:2]) < 0.4
        assert np.linalg.norm(pixels - box[:2], axis=1).max() < box[3]
    assert np.mean(np.ptp(panel, axis=2) < 0.01) > 0.9  # the rest is grey
    assert os.listdir(tmp_path) == ["a.png"]


def test_tall_background_is_darker(tmp_path: Path) -> None:
    points, instances = scene([], [])
    points[points[:, 0] > 0, 2] = 2.0
    draw_bev(points, instances, tmp_path / "a.png", title="wall")
    (panel,) = panels_of(tmp_path / "a.png")
    assert panel[MAP_PX // 2 :].mean() < panel[: MAP_PX // 2].mean() - 0.003


def test_matched_objects_share_the_colours_of_their_instances(tmp_path: Path) -> None:
    points, instances = street()
    swapped = np.array([0, 2, 1], np.int32)[instances.labels]
    swapped[:50] = -1
    truth = truth_of(points, instances, instance=swapped, classes=instances.classes[::-1].copy())
    draw_comparison(truth, instances, tmp_path / "a.png", title="street")
    found, true = panels_of(tmp_path / "a.png")
    for colour in instance_colours(2):
        np.testing.assert_allclose(
            where(true, colour).mean(axis=0), where(found, colour).mean(axis=0), atol=0.2
        )
    assert len(where(found, VOID_RGB)) == 0
    assert 50 < len(where(true, VOID_RGB)) <= 4 * 50


def test_missed_objects_have_their_own_colours(tmp_path: Path) -> None:
    points, instances = street()
    nothing = scene([], [])[1]
    found = Instances(0 * instances.labels, *_parts(nothing), NAMES)
    seen = instances.labels != 0
    extra_class = np.append(instances.classes, np.int32(2))  # a third object without points
    truth = truth_of(
        points,
        instances,
        labelled=seen,
        classes=extra_class,
        centres_m=np.zeros((3, 2), np.float32),
    )
    draw_comparison(truth, found, tmp_path / "a.png", title="blind")
    blind, true = panels_of(tmp_path / "a.png")
    assert np.mean(np.ptp(blind, axis=2) < 0.01) > 0.999
    assert all(len(where(true, colour)) > 15 for colour in instance_colours(2))
    ground = points[:5000, :2]
    assert pixels_at(blind, ground).mean() < 0.9
    assert pixels_at(true, ground).mean() > 0.98  # unlabelled points are not shown


def _parts(instances: Instances) -> tuple[np.ndarray, ...]:
    return instances.classes, instances.scores, instances.boxes


@pytest.mark.parametrize("num_points", [0, 7])
def test_comparison_without_objects(tmp_path: Path, num_points: int) -> None:
    points = np.full((num_points, 4), np.nan, np.float32)
    nothing = Instances(np.zeros(num_points, np.int32), *_parts(scene([], [])[1]), NAMES)
    draw_comparison(truth_of(points, nothing), nothing, tmp_path / "a.png", title="")
    assert len(panels_of(tmp_path / "a.png")) == 2


def test_unknown_class_and_other_range(tmp_path: Path) -> None:
    points, instances = scene([[3, 4, 0, 1, 1, 1, 0]], [0])
    tram = Instances(instances.labels, *_parts(instances), ("tram",))
    draw_bev(points, tram, tmp_path / "a.png", title="x" * 200 + "$a_", range_m=8.0)
    (panel,) = panels_of(tmp_path / "a.png")
    pixels = where(panel, instance_colours(1)[0]) * 8.0 / RANGE_M
    np.testing.assert_allclose(pixels.mean(axis=0), [3, 4], atol=0.2)


def test_names_that_the_font_lacks_cause_no_warning(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    points, instances = scene([[3, 4, 0, 1, 1, 1, 0]], [0])
    draw_bev(points, instances, tmp_path / "a.png", title="北京 \N{AUTOMOBILE}")
    assert not [warning for warning in recwarn if "Glyph" in str(warning.message)]


def test_texts_overlap_neither_each_other_nor_boxes() -> None:
    rng = np.random.default_rng(1)
    crowd = np.column_stack([rng.uniform(-20, 20, (60, 2)), np.zeros((60, 5))])
    crowd[:, 3:6], crowd[0, 0] = (2, 1, 1), 70  # the first one is outside the map
    points, instances = scene(crowd.tolist(), [0] * 60)
    figure, (axes,) = new_maps(1, RANGE_M)
    numbered = [f"vehicle 0.{k:02}" for k in range(60)]
    fill_map(axes, MapContent("crowd", points, instances, instance_colours(60), numbered))
    renderer = FigureCanvasAgg(figure).get_renderer()
    texts = [text for text in axes.texts if text.get_text().startswith("vehicle")]
    assert 40 < len(texts) < 60
    assert "vehicle 0.00" not in [text.get_text() for text in texts]
    frame = axes.get_window_extent(renderer)
    extents = [text.get_window_extent(renderer) for text in texts]
    for extent in extents:
        assert frame.x0 <= extent.x0
        assert extent.x1 <= frame.x1
    for a, b in itertools.combinations(extents, 2):
        assert not a.overlaps(b)
    centres = axes.transData.transform(instances.boxes[:, 1::-1])
    assert not any(extent.contains(*centre) for extent in extents for centre in centres)


def test_full_sweep_is_drawn_within_three_seconds(tmp_path: Path) -> None:
    points, instances = street()
    points = np.tile(points[:5000], (24, 1))
    points[:, :2] += np.random.default_rng(0).normal(0, 1, (len(points), 2))
    sweep = Instances(np.zeros(len(points), np.int32), *_parts(instances), NAMES)
    start = time.process_time()
    draw_bev(points, sweep, tmp_path / "a.png", title="full")
    assert time.process_time() - start < 3


LOG = """step,time_s,lr,loss,instance,smoothness,seed,val_pq_vehicle,val_recall_vehicle
10,3,1e-3,1.5,1,0.2,0.3,,
20,6,1e-3,1.2,0.8,0.2,0.2,0.25,0.5
30,9,1e-3,1.1,0.7,0.2,0.2,,
"""


def test_training_curves(tmp_path: Path) -> None:
    log, png = tmp_path / "log.csv", tmp_path / "log.png"
    log.write_text(LOG)
    draw_training(log, png)
    picture = imread(png)
    assert picture.shape == (900, 2400, 4)
    blue = np.abs(picture[..., :3] - np.array([0x1F, 0x77, 0xB4]) / 255).max(axis=2) < 0.01
    assert blue[:, :1200].sum() > 500  # the loss
    assert 20 < blue[:, 1200:].sum() < 2000  # the single score: a marker and its legend entry


@pytest.mark.parametrize("text", ["", "\r\n", LOG.splitlines()[0]])
def test_training_curves_of_an_empty_log(tmp_path: Path, text: str) -> None:
    (tmp_path / "log.csv").write_text(text)
    draw_training(tmp_path / "log.csv", tmp_path / "log.png")
    assert imread(tmp_path / "log.png").shape == (900, 2400, 4)


@pytest.mark.parametrize(
    ("text", "reason"), [("a,b\n1,2\n", "no column 'step'"), ("step,loss\n1,high\n", "column loss")]
)
def test_invalid_training_log_raises(tmp_path: Path, text: str, reason: str) -> None:
    log = tmp_path / "log.csv"
    log.write_text(text)
    with pytest.raises(ValueError, match=reason) as caught:
        draw_training(log, tmp_path / "log.png")
    assert str(caught.value).startswith(f"{log}: ")
    assert os.listdir(tmp_path) == ["log.csv"]


def test_missing_folder_raises(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="none"):
        draw_bev(*street(), tmp_path / "none" / "a.png", title="street")
