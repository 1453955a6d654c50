"""The six maps of a segmentation: each helper against the plain formula, then the picture."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from bev_instseg.colours import instance_colours
from bev_instseg.grid import BEVGrid
from bev_instseg.ops.assemble import AssemblyRules, assemble
from bev_instseg.ops.cluster import cluster
from bev_instseg.ops.voxelize import voxelize
from bev_instseg.structures import Clusters, Instances, PillarEmbeddings, Segmentation
from bev_instseg.visualize import maps
from bev_instseg.visualize.busiest_square import SQUARE_M, busiest_centre_m
from bev_instseg.visualize.maps import (
    COLUMNS,
    GAP_PX,
    HEADER_PX,
    MAP_PX,
    MAX_ARROWS,
    NO_INSTANCE_RGB,
    ROWS,
    draw_maps,
    draw_offsets,
    instance_of_cluster,
    margin_ellipses,
    seed_colours,
)

GRID = BEVGrid((-51.2, 51.2), (-51.2, 51.2), (-10.0, 10.0), 0.4)
NAMES = ("vehicle", "pedestrian", "cyclist")
SEED, MEMBER, FREE = 0.5, 0.2, 0.6
OBLIQUE = np.float32([0.4, -0.4, 1.2])  # precision; long axis of its margin at 22.5 degrees
LONG_AXIS = np.array([np.cos(np.pi / 8), np.sin(np.pi / 8)])
CARS, DROPPED = np.array([(20.0, 10.0), (14.0, 4.0)]), np.array([20.0, -2.0])


def random_embeddings(seed: int) -> PillarEmbeddings:
    """Pillars scattered so widely around centres that instances overlap and seeds are skipped."""
    rng = np.random.default_rng(seed)
    centre = rng.uniform(-4, 4, (12, 2))[rng.integers(0, 12, 300)]
    root = rng.normal(0, 1, (300, 2, 2))
    precision = (root @ root.transpose(0, 2, 1)).reshape(300, 4)[:, [0, 1, 3]] + (0.3, 0, 0.3)
    return PillarEmbeddings(
        (centre + rng.normal(0, 0.5, (300, 2))).astype(np.float32),
        precision.astype(np.float32),
        rng.uniform(0, 1, (300, 2)).round(2).astype(np.float32),
    )


def phi(precision: np.ndarray, offset_m: np.ndarray) -> np.ndarray:
    """exp(-1/2 d^T W d) of (..., 3) precisions and (..., 2) offsets."""
    xx, xy, yy = np.moveaxis(np.asarray(precision, np.float64), -1, 0)
    matrix = np.stack([np.stack([xx, xy], -1), np.stack([xy, yy], -1)], -2)
    return np.exp(-np.einsum("...i,...ij,...j->...", offset_m, matrix, offset_m) / 2)


def test_phi_is_one_half_all_along_the_margin() -> None:
    precision = random_embeddings(0).precision
    semi_axes_m, yaw_rad = margin_ellipses(precision)
    turn = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    along, across = semi_axes_m[:, :1] * np.cos(turn), semi_axes_m[:, 1:] * np.sin(turn)
    cos, sin = np.cos(yaw_rad)[:, None], np.sin(yaw_rad)[:, None]
    outline = np.stack([along * cos - across * sin, along * sin + across * cos], axis=-1)
    np.testing.assert_allclose(phi(precision[:, None], outline), 0.5, atol=1e-9)
    assert (semi_axes_m[:, 0] >= semi_axes_m[:, 1]).all()


def test_margins_computed_by_hand() -> None:
    semi_axes_m, yaw_rad = margin_ellipses(np.float32([[0.25, 0, 1], [1, 0, 0.25], [1, -0.5, 1]]))
    reach = np.sqrt(2 * np.log(2))
    expected = reach * np.array([[2, 1], [2, 1], [np.sqrt(2), np.sqrt(2 / 3)]])
    np.testing.assert_allclose(semi_axes_m, expected, rtol=1e-6)
    np.testing.assert_allclose(yaw_rad % np.pi, [0, np.pi / 2, np.pi / 4], atol=1e-6)
    assert [part.shape for part in margin_ellipses(np.zeros((0, 3), np.float32))] == [(0, 2), (0,)]


def replay(embeddings: PillarEmbeddings, clusters: Clusters) -> tuple[list[int], int]:
    """Replay the clustering: the pillars that opened the clusters, the number of skipped seeds."""
    best = embeddings.seed.max(axis=1)
    taken, opened, skipped = np.zeros(len(best), bool), [], 0
    for i in np.argsort(-best, kind="stable"):
        if taken[i] or best[i] < np.float32(SEED):
            continue
        offset_m = embeddings.centre_m.astype(np.float64) - embeddings.centre_m[i]
        inside = (phi(embeddings.precision[i], offset_m) > 0.5) & (best >= np.float32(MEMBER))
        if (inside & ~taken).sum() < FREE * inside.sum():
            skipped += 1
            continue
        opened.append(int(i))
        np.testing.assert_array_equal(clusters.labels == len(opened), inside & ~taken)
        taken |= inside
    return opened, skipped


def test_openers_match_the_replayed_clustering() -> None:
    skipped = 0
    for seed in range(20):
        embeddings = random_embeddings(seed)
        clusters = cluster(embeddings, SEED, MEMBER, FREE)
        opened, count = replay(embeddings, clusters)
        assert clusters.openers.tolist() == opened
        skipped += count
    assert skipped > 20


def test_opener_is_not_a_larger_seed_that_was_skipped() -> None:
    """Pillar 0 takes 0 and 1. Then 2 reaches all four, half of them free, and 3 reaches 2 and 3."""
    rows = [(0.0, 0.9, 1.1), (1.0, 0.6, 1.1), (2.0, 0.8, 2.1), (3.0, 0.7, 1.1)]
    x, seed, margin_m = (list(column) for column in zip(*rows, strict=True))
    embeddings = PillarEmbeddings(
        np.float32([(at, 0) for at in x]),
        np.float32([(2 * np.log(2) / m**2, 0, 2 * np.log(2) / m**2) for m in margin_m]),
        np.float32(seed)[:, None],
    )
    clusters = cluster(embeddings, SEED, MEMBER, FREE)
    assert clusters.labels.tolist() == [1, 1, 2, 2]
    assert clusters.openers.tolist() == [0, 3]
    assert cluster(embeddings, SEED, MEMBER, 0.5).openers.tolist() == [0, 2]


def instances_at(boxes: list[tuple[float, float, float]], classes: list[int]) -> Instances:
    """Cubes given by x, y and side."""
    box = np.zeros((len(boxes), 7), np.float32)
    box[:, :2] = np.array(boxes, np.float32).reshape(-1, 3)[:, :2]
    box[:, 3:6] = np.array(boxes, np.float32).reshape(-1, 3)[:, 2:]
    scores = np.ones(len(boxes), np.float32)
    return Instances(np.zeros(0, np.int32), np.array(classes, np.int32), scores, box, NAMES)


@pytest.mark.parametrize(
    ("boxes", "classes", "middle"),
    [
        ([], [], (0, 0)),
        ([(30, -20, 2)], [0], (30, -20)),
        # more classes beat more instances
        ([(30, -20, 2), (30, -18, 2), (32, -20, 2), (-30, 8, 1), (-30, 10, 1)], [0, 0, 0, 0, 1],
         (-30, 9)),
        # then more instances win
        ([(10, 8, 2), (-30, -20, 2), (-30, -24, 2)], [0, 0, 0], (-30, -22)),
        # then the nearest ones
        ([(10, -20, 2), (10, 20, 2), (18, -20, 1)], [1, 1, 0], (14, -20)),
        ([(10, -20, 2), (10, 21, 2)], [0, 0], (10, -20)),
        # a 12 m long bus, from x = 30 or 33, does not fit: the square avoids cutting it
        ([(20, 0, 2), (20, 2, 2), (36, 1, 12)], [0, 0, 0], (18, 1)),
        ([(20, 0, 2), (20, 2, 2), (39, 1, 12)], [0, 0, 0], (20, 1)),
        # a 23 m box leaves less than 1 m of clearance, a 22 m box fits
        ([(10, 0, 23), (-13, 0, 2)], [0, 0], (-14, 0)),
        ([(10, 0, 22), (-13, 0, 2)], [0, 1], (10, 0)),
        # the square stays inside the grid
        ([(49, 49, 1)], [0], (39, 39)),
    ],
)  # fmt: skip
def test_square_with_most_to_show(
    boxes: list[tuple[float, float, float]], classes: list[int], middle: tuple[float, float]
) -> None:
    assert busiest_centre_m(instances_at(boxes, classes), GRID).tolist() == list(middle)


def test_square_on_other_grids() -> None:
    ahead = BEVGrid((0.0, 70.0), (-40.0, 40.0), cell_m=0.5)
    assert busiest_centre_m(instances_at([(60, 3, 1)], [0]), ahead).tolist() == [58, 3]
    small = BEVGrid((0.0, 10.0), (-5.0, 5.0), cell_m=0.5)
    assert busiest_centre_m(instances_at([(9, 3, 1)], [0]), small).tolist() == [5, 0]


def test_seed_colours() -> None:
    seed = np.float32([[0, 0, 0], [1, 0.2, 0], [0, 0.5, 0.1]])
    rgb = 255 * seed_colours(seed, np.full((3, 1), 0.8), NAMES)
    np.testing.assert_allclose(rgb[0], 3 * [204])
    np.testing.assert_allclose(rgb[1], [0x1D, 0x4E, 0xD8])
    np.testing.assert_allclose(rgb[2], (204 + np.array([0xC8, 0x1E, 0x3A])) / 2)


def street() -> tuple[np.ndarray, Segmentation]:
    """Ground, two cars whose pillars point at their centres, and a cluster too small to keep."""
    rng = np.random.default_rng(0)
    ground = np.column_stack([rng.uniform(-50, 50, (4000, 2)), np.full(4000, -1.7)])
    middles = np.vstack([CARS, [DROPPED]])
    sides = (4.0, 4.0, 1.0)
    tops = [
        np.column_stack([middle + rng.uniform(-s / 2, s / 2, (n, 2)), rng.uniform(-1.2, -0.2, n)])
        for middle, s, n in zip(middles, sides, (400, 300, 20), strict=True)
    ]
    xyz = np.vstack([ground, *tops])
    points = np.column_stack([xyz, rng.uniform(0, 1, len(xyz))]).astype(np.float32)
    pillars = voxelize(points, GRID)
    centre = pillars.centres_m.copy()
    seed = np.zeros((len(centre), 3), np.float32)
    for k, (middle, side) in enumerate(zip(middles, sides, strict=True)):
        member = (np.abs(centre - middle) < side / 2).all(axis=1)
        centre[member] = middle + rng.uniform(-0.2, 0.2, (member.sum(), 2))
        seed[member, 0] = 0.9 - 0.1 * k
    precision = np.tile(OBLIQUE, (len(centre), 1))
    embeddings = PillarEmbeddings(centre, precision, seed)
    clusters = cluster(embeddings, SEED, MEMBER, FREE)
    instances = assemble(
        points, pillars, clusters, AssemblyRules(NAMES, 0.2, (4.0,) * 3, (50,) * 3)
    )
    return points, Segmentation(pillars, embeddings, clusters, instances, {})


def test_instance_of_each_cluster() -> None:
    _, segmentation = street()
    instances = segmentation.instances
    assert len(segmentation.clusters.classes) == 3
    assert len(instances) == 2
    assert instance_of_cluster(segmentation).tolist() == [0, 1, 2, 0]
    swapped = replace(instances, labels=np.array([0, 2, 1], np.int32)[instances.labels])
    assert instance_of_cluster(replace(segmentation, instances=swapped)).tolist() == [0, 2, 1, 0]


def maps_of(path: Path) -> list[np.ndarray]:
    """The six maps of a picture, RGB 0..1: rows from the bottom up, columns from the left."""
    picture = imread(path)[::-1, :, :3]
    width = COLUMNS * (MAP_PX + GAP_PX) + GAP_PX
    assert picture.shape == (ROWS * (MAP_PX + HEADER_PX) + GAP_PX, width, 3)
    maps = []
    for row, column in np.ndindex(ROWS, COLUMNS):
        bottom = GAP_PX + (ROWS - 1 - row) * (MAP_PX + HEADER_PX)
        left = GAP_PX + column * (MAP_PX + GAP_PX)
        maps.append(picture[bottom : bottom + MAP_PX, left : left + MAP_PX])
    return maps


def where(
    image: np.ndarray, colour: np.ndarray | float, middle: np.ndarray, above: bool = False
) -> np.ndarray:
    """(M, 2) x, y in metres of the pixels of a map that have this colour, or are above it."""
    found = image > colour if above else np.abs(image - colour) < 0.01
    row, column = np.nonzero(found.all(axis=2))
    at = np.column_stack([row + 0.5, MAP_PX - 0.5 - column]) / MAP_PX - 0.5
    return at * SQUARE_M + middle


def test_picture_shows_objects_at_their_positions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    points, segmentation = street()
    embeddings, opener = segmentation.embeddings, segmentation.clusters.openers
    middle = np.array([17.0, 4.0])
    monkeypatch.setattr(maps, "busiest_centre_m", lambda *_: middle)
    draw_maps(points, segmentation, tmp_path / "a.png", title="street")
    assert os.listdir(tmp_path) == ["a.png"]
    _, cells, seeds, offsets, sigmas, found = maps_of(tmp_path / "a.png")

    assert np.ptp(cells, axis=2).max() < 0.01  # greys
    blue = where(seeds[..., 2:] - seeds[..., :1], 0.4, middle, above=True)
    distance_m = np.abs(blue[:, None] - [*CARS, DROPPED]).max(axis=2)
    assert (distance_m.min(axis=1) < 2.3).all()
    assert (np.count_nonzero(distance_m < 2.3, axis=0) > [9000, 9000, 200]).all()

    margin_m = margin_ellipses(OBLIQUE[None])[0][0]
    for k, (car, rgb) in enumerate(zip(CARS, instance_colours(2), strict=True)):
        offset = where(sigmas, rgb, middle) - embeddings.centre_m[opener[k]]
        ring = offset[np.linalg.norm(offset, axis=1) > 0.75]  # beyond the dots of its embeddings
        assert len(ring) > 500
        np.testing.assert_allclose(phi(OBLIQUE, ring), 0.5, atol=0.06)
        np.testing.assert_allclose((ring @ LONG_AXIS).max(), margin_m[0], atol=0.08)
        for image in (offsets, found):
            pixels = where(image, rgb, middle)
            assert len(pixels) > 300
            assert np.abs(pixels - car).max() < 2.3
    assert len(where(sigmas, np.array(NO_INSTANCE_RGB), middle)) > 500
    assert len(where(found, np.array(NO_INSTANCE_RGB), middle)) < 200  # only grey points


def test_arrows_end_at_embeddings() -> None:
    _, segmentation = street()
    pillars, clusters = segmentation.pillars, segmentation.clusters
    axes = Figure().add_subplot()
    arrows = draw_offsets(axes, segmentation, np.zeros((4, 3)))
    begin, end = np.stack([arrows.Y, arrows.X], 1), np.stack([arrows.V, arrows.U], 1)
    apart = np.abs(begin[:, None] - pillars.centres_m).max(axis=2)
    pillar = apart.argmin(axis=1)
    assert apart.min(axis=1).max() < 1e-6
    np.testing.assert_allclose(begin + end, segmentation.embeddings.centre_m[pillar], atol=1e-5)
    size = np.bincount(clusters.labels)[1:]
    assert size.max() > 2 * MAX_ARROWS > MAX_ARROWS > size.min()
    num_arrows = np.bincount(clusters.labels[pillar], minlength=4)
    assert num_arrows[0] == 0
    assert (num_arrows[1:] <= MAX_ARROWS).all()
    assert (num_arrows[1:] >= np.minimum(size, MAX_ARROWS / 2)).all()


@pytest.mark.parametrize("num_points", [0, 500])
def test_sweep_without_objects(tmp_path: Path, num_points: int) -> None:
    points = np.random.default_rng(0).uniform(-9, 9, (num_points, 4)).astype(np.float32)
    points[: num_points // 2] = np.nan
    pillars = voxelize(points, GRID)
    nothing = np.zeros((len(pillars.cells), 3), np.float32)
    embeddings = PillarEmbeddings(pillars.centres_m, nothing, nothing)
    clusters = cluster(embeddings, SEED, MEMBER, FREE)
    instances = assemble(
        points, pillars, clusters, AssemblyRules(NAMES, 0.2, (4.0,) * 3, (50,) * 3)
    )
    segmentation = Segmentation(pillars, embeddings, clusters, instances, {})
    draw_maps(points, segmentation, tmp_path / "a.png", title="x" * 200 + "$a_")
    cells = maps_of(tmp_path / "a.png")[1]
    assert (np.mean(cells == 1) > 0.98) == (num_points == 0)  # except the sensor and the scale


def test_missing_folder_raises(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="none"):
        draw_maps(*street(), tmp_path / "none" / "a.png", title="street")
    assert os.listdir(tmp_path) == []
