"""Oriented boxes against a NumPy reference and hand-computed cases."""

import math

import numpy as np
import pytest

from bev_instseg.ops.boxes import oriented_boxes

pytestmark = pytest.mark.kernel


def reference(points, labels, num_instances):
    """Fit the boxes one instance and one heading at a time."""
    boxes = np.empty((num_instances, 7), np.float32)
    for k in range(num_instances):
        x, y, z = points[labels == k + 1, :3].astype(np.float64).T
        least = np.inf
        for degrees in range(90):
            c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
            u, v = x * c + y * s, x * -s + y * c
            along, across = u.max() - u.min(), v.max() - v.min()
            edges = [u - u.min(), u.max() - u, v - v.min(), v.max() - v]
            total = np.cumsum(np.min(edges, axis=0))[-1]  # point after point
            if total < least:
                least = total
                um, vm = (u.min() + u.max()) / 2, (v.min() + v.max()) / 2
                yaw = np.deg2rad(degrees if along >= across else degrees - 90)
                boxes[k] = (
                    *(um * c - vm * s, um * s + vm * c, (z.min() + z.max()) / 2),
                    *(max(along, across), min(along, across), z.max() - z.min(), yaw),
                )
    return boxes


def rectangle(length, width, yaw, centre=(0.0, 0.0), n=400, seed=0):
    """Return points on the outline of a rectangle, including its corners."""
    rng = np.random.default_rng(seed)
    t, side = rng.uniform(-0.5, 0.5, n), rng.integers(0, 2, n) - 0.5
    on_long = rng.random(n) < 0.5
    u, v = np.where(on_long, t, side), np.where(on_long, side, t)
    u[:4], v[:4] = [-0.5, -0.5, 0.5, 0.5], [-0.5, 0.5, -0.5, 0.5]
    u, v = u * length, v * width
    c, s = np.cos(yaw), np.sin(yaw)
    x, y = centre[0] + u * c - v * s, centre[1] + u * s + v * c
    return np.stack([x, y, rng.uniform(-1.5, 0.1, n)], axis=1).astype(np.float32)


@pytest.mark.parametrize("seed", range(3))
def test_equals_reference_on_random_points(seed):
    rng = np.random.default_rng(seed)
    k = 12
    labels = rng.integers(0, k + 1, 2000).astype(np.int32)
    labels[:k] = np.arange(1, k + 1)
    points = rng.normal(0, 1, (2000, 4)).astype(np.float32)
    points[:, :2] += rng.uniform(-50, 50, (k + 1, 2)).astype(np.float32)[labels]
    np.testing.assert_array_equal(oriented_boxes(points, labels, k), reference(points, labels, k))


ADVERSARIAL = {
    "one point": [[3.0, -4.0, 1.0]],
    "the same point": [[3.0, -4.0, 1.0]] * 5,
    "two points": [[0.0, 0.0, 0.0], [1.0, 2.0, 0.0]],
    "along x": [[x, 7.0, 0.0] for x in range(5)],
    "along y": [[7.0, y, 0.0] for y in range(5)],
    "collinear": [[t, 0.3 * t + 1, 0.0] for t in np.linspace(0, 4, 9)],
    "falling diagonal": [[t, -t, 0.0] for t in range(4)],
    "square": [[0, 0, 0], [0, 1, 0], [1, 0, 0], [1, 1, 0]],
    "diamond": [[0, 1, 0], [1, 0, 0], [0, -1, 0], [-1, 0, 0]],
    "bare L": [*([t, 0, 0] for t in range(5)), [0, 1, 0], [0, 2, 0]],
    "circle": [[np.cos(a), np.sin(a), a] for a in np.linspace(0, 6.28, 40)],
    "far and thin": [[1e4, 1e4, 0], [1e4 + 5, 1e4 + 1e-3, 0], [1e4 + 2, 1e4, 1e3]],
}


@pytest.mark.parametrize("points", ADVERSARIAL.values(), ids=ADVERSARIAL.keys())
def test_equals_reference_on_adversarial_points(points):
    points = np.array(points, np.float32)
    labels = np.ones(len(points), np.int32)
    box = oriented_boxes(points, labels, 1)
    np.testing.assert_array_equal(box, reference(points, labels, 1))
    assert box[0, 3] >= box[0, 4] >= 0


def test_degenerate_boxes():
    labels = np.array([1, 2, 2, 3, 3], np.int32)
    points = np.array([[3, -4, 1], [0, 1, 0], [4, 1, 2], [1, 0, 0], [1, 4, 0]], np.float32)
    np.testing.assert_array_equal(
        oriented_boxes(points, labels, 3),
        np.array(
            [
                [3, -4, 1, 0, 0, 0, 0],
                [2, 1, 1, 4, 0, 2, 0],
                [1, 2, 0, 4, 0, 0, -np.pi / 2],  # never +pi/2
            ],
            np.float32,
        ),
    )


@pytest.mark.parametrize("degrees", range(-90, 90, 7))
def test_rectangle_at_any_heading(degrees):
    points = rectangle(4.5, 1.8, np.deg2rad(degrees), (20.0, -7.0), seed=degrees + 90)
    box = oriented_boxes(points, np.ones(len(points), np.int32), 1)[0]
    np.testing.assert_allclose(box[:2], [20, -7], atol=1e-4)
    np.testing.assert_allclose(box[3:5], [4.5, 1.8], atol=1e-4)
    assert box[2] == pytest.approx((points[:, 2].min() + points[:, 2].max()) / 2)
    assert box[5] == pytest.approx(points[:, 2].max() - points[:, 2].min())
    assert box[6] == np.float32(np.deg2rad(degrees))


@pytest.mark.parametrize("degrees", range(-90, 90, 9))
@pytest.mark.parametrize("noise_m", [0.0, 0.02])
def test_heading_of_a_bare_l(degrees, noise_m):
    """Two visible sides and nothing between, where minimum area may pick the diagonal."""
    rng = np.random.default_rng(degrees + 90)
    u = np.concatenate([np.linspace(0, 4.5, 60), np.zeros(25)]) - 2.25
    v = np.concatenate([np.zeros(60), np.linspace(0, 1.8, 25)]) - 0.9
    u, v = u + rng.normal(0, noise_m, 85), v + rng.normal(0, noise_m, 85)
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    points = np.stack([12 + u * c - v * s, -5 + u * s + v * c, rng.uniform(-1.5, 0.1, 85)], axis=1)
    points, labels = points.astype(np.float32), np.ones(85, np.int32)
    box = oriented_boxes(points, labels, 1)
    np.testing.assert_array_equal(box, reference(points, labels, 1))
    off = (np.rad2deg(box[0, 6]) - degrees + 90) % 180 - 90
    assert abs(off) < 1e-4 if noise_m == 0 else abs(off) <= 2.001
    np.testing.assert_allclose(box[0, :2], [12, -5], atol=1e-4 + 5 * noise_m)
    np.testing.assert_allclose(box[0, 3:5], [4.5, 1.8], atol=1e-4 + 8 * noise_m)


def test_hand_computed_cross():
    """The ends are on the edges at any heading, so the middle point decides.

    At 0 degrees it is 1 m from each edge, at 45 degrees sqrt(1/2) m.
    """
    cross = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 0]], np.float32)
    box = oriented_boxes(cross, np.ones(5, np.int32), 1)[0]
    np.testing.assert_allclose(box, [0, 0, 0, 2**0.5, 2**0.5, 0, box[6]], atol=1e-6)
    assert np.rad2deg(box[6]) % 90 == pytest.approx(45)


def test_ties_go_to_the_smaller_heading():
    """Two points are corners of a rectangle of any heading: all sums are exactly 0."""
    pairs = np.array(
        [[0, 0, 0], [3, 1, 0], [9, 9, 0], [8, 12, 0], [5, 5, 5], [5, 5, 6]], np.float32
    )
    boxes = oriented_boxes(pairs, np.array([1, 1, 2, 2, 3, 3], np.int32), 3)
    np.testing.assert_array_equal(
        boxes,
        np.array(
            [
                [1.5, 0.5, 0, 3, 1, 0, 0],
                [8.5, 10.5, 0, 3, 1, 0, -np.pi / 2],
                [5, 5, 5.5, 0, 0, 1, 0],
            ],
            np.float32,
        ),
    )


def test_point_order_and_unlabelled_points_do_not_matter():
    rng = np.random.default_rng(4)
    points = np.concatenate([rectangle(4, 2, 0.3), rectangle(1, 0.5, -1.2, (9, 9))])
    labels = np.repeat(np.array([1, 2], np.int32), 400)
    boxes = oriented_boxes(points, labels, 2)
    order = rng.permutation(800)
    np.testing.assert_array_equal(oriented_boxes(points[order], labels[order], 2), boxes)
    points = np.concatenate([points, np.full((5, 3), np.nan, np.float32)])
    labels = np.concatenate([labels, np.zeros(5, np.int32)])
    np.testing.assert_array_equal(oriented_boxes(points, labels, 2), boxes)
    np.testing.assert_array_equal(oriented_boxes(np.asfortranarray(points), labels, 2), boxes)


@pytest.mark.parametrize("n", [0, 3])
def test_no_instances(n):
    boxes = oriented_boxes(np.zeros((n, 4), np.float32), np.zeros(n, np.int32), 0)
    assert boxes.shape == (0, 7)
    assert boxes.dtype == np.float32


@pytest.mark.parametrize(
    ("points", "labels", "num_instances", "message"),
    [
        (np.zeros((2, 3)), [1, 3], 3, "instance 2 of 3 has no points"),
        (np.zeros((0, 3)), [], 1, "instance 1 of 1 has no points"),
        (np.zeros((2, 3)), [1, 2], 1, r"labels must be in 0\.\.1"),
        (np.zeros((2, 3)), [1, -1], 1, r"labels must be in 0\.\.1"),
        (np.zeros((2, 3)), [1], 1, "points must be"),
        (np.zeros((2, 2)), [1, 1], 1, "points must be"),
        (np.full((1, 3), np.nan), [1], 1, "finite"),
        (np.full((1, 3), np.inf), [1], 1, "finite"),
    ],
)
def test_invalid_input_raises(points, labels, num_instances, message):
    with pytest.raises(ValueError, match=message):
        oriented_boxes(points.astype(np.float32), np.array(labels, np.int32), num_instances)
