import numpy as np
import pytest

from bev_instseg.config import AugmentConfig
from bev_instseg.datasets.augment import (
    CLEARANCE_M,
    OBSTACLE_M,
    Cutout,
    cut_objects,
    jitter,
    keep,
    paste,
    paste_some,
    random_window,
    rotate,
    turn_flip_scale,
)
from bev_instseg.grid import BEVGrid
from bev_instseg.ops.voxelize import voxelize
from bev_instseg.structures import Frame

GRID = BEVGrid((-25.6, 25.6), (-25.6, 25.6), (-5.0, 5.0), 0.4)  # 128 x 128
CAR, PERSON = 0, 1
SLOPE = 0.05  # of the ground: z = -1.7 + SLOPE * x


def frame_of(points, instance, classes=(), centres_m=(), labelled=None):
    points = np.array(points, np.float32).reshape(-1, 4)
    return Frame(
        "test",
        points,
        np.array(instance, np.int32).reshape(-1),
        np.ones(len(points), bool) if labelled is None else np.array(labelled, bool),
        np.array(classes, np.int32),
        np.array(centres_m, np.float32).reshape(-1, 2),
    )


def empty_frame():
    return frame_of([], [])


def slope(count=6000, seed=0):
    """A hillside all round, its ground 0.25 m below any bush: frame and heights."""
    rng = np.random.default_rng(seed)
    distance, azimuth = rng.uniform(3, 25, count), rng.uniform(-np.pi, np.pi, count)
    x, y = distance * np.cos(azimuth), distance * np.sin(azimuth)
    points = np.column_stack([x, y, -1.7 + SLOPE * x, np.full(count, 0.3)])
    return frame_of(points, np.zeros(count)), np.zeros(count, np.float32)


def crate(at=(10.0, 0.0), size_m=(1.6, 1.0, 1.2), count=300, kind=CAR):
    """A box of points on the ground: z is the height."""
    rng = np.random.default_rng(7)
    points = rng.uniform(-0.5, 0.5, (count, 3)) * size_m
    points[:, :2] += at
    points[:, 2] += size_m[2] / 2
    points = np.column_stack([points, np.full(count, 0.9)]).astype(np.float32)
    return Cutout(points, kind, np.array(at, np.float32))


def azimuth_of(points):
    return np.arctan2(points[:, 1], points[:, 0])


def range_of(points):
    return np.hypot(points[:, 0], points[:, 1])


def generator(seed=0):
    return np.random.default_rng(seed)


# Turning


def test_rotation_is_counter_clockwise():
    turned = rotate(np.array([[1, 0], [0, 2]], np.float32), np.pi / 2)
    np.testing.assert_allclose(turned, [[0, 1], [-2, 0]], atol=1e-7)


def test_turning_keeps_ranges_heights_and_labels():
    frame, _ = slope()
    frame = frame_of(frame.points, np.arange(6000) % 3, [CAR, PERSON], [[5, 1], [0, -9]])
    height = np.linspace(0, 3, 6000, dtype=np.float32)
    config = AugmentConfig(scale=0.0)
    seen = []
    for seed in range(40):
        turned, turned_height = turn_flip_scale(frame, height, config, generator(seed))
        np.testing.assert_allclose(range_of(turned.points), range_of(frame.points), rtol=1e-5)
        np.testing.assert_array_equal(turned.points[:, 2:], frame.points[:, 2:])
        np.testing.assert_array_equal(turned_height, height)
        np.testing.assert_array_equal(turned.instance, frame.instance)
        turn = azimuth_of(turned.points[:2]) - azimuth_of(frame.points[:2])
        mirrored = abs((turn[0] - turn[1] + np.pi) % (2 * np.pi) - np.pi) > 1e-4
        seen.append((mirrored, turn[0] % (2 * np.pi)))
    assert 10 < sum(mirrored for mirrored, _ in seen) < 30
    quarters = {int(turn // (np.pi / 2)) for mirrored, turn in seen if not mirrored}
    assert quarters == {0, 1, 2, 3}  # the full circle


def test_centres_turn_and_scale_with_their_points():
    crates = [crate(), crate((-4.0, 7.0))]
    points = np.concatenate([c.points for c in crates])
    centres = np.stack([c.points[:, :2].mean(0) for c in crates])
    frame = frame_of(points, np.repeat([1, 2], 300), [CAR, CAR], centres)
    height = points[:, 2].copy()
    factors = []
    for seed in range(20):
        turned, turned_height = turn_flip_scale(
            frame, height, AugmentConfig(scale=0.1), generator(seed)
        )
        for k in (1, 2):
            own = turned.points[turned.instance == k]
            np.testing.assert_allclose(own[:, :2].mean(0), turned.centres_m[k - 1], atol=1e-4)
        factor = turned_height[0] / height[0]
        np.testing.assert_allclose(turned_height, height * factor, rtol=1e-5)
        np.testing.assert_allclose(range_of(turned.points), range_of(points) * factor, rtol=1e-4)
        factors.append(factor)
    assert 0.9 <= min(factors) < 0.95
    assert 1.05 < max(factors) <= 1.1
    assert frame.points is not turned.points
    np.testing.assert_array_equal(frame.points, points)  # the frame itself is left alone


def test_keep_takes_points_with_all_that_is_theirs():
    frame = frame_of(
        np.arange(16).reshape(4, 4), [0, 1, 2, -1], [CAR] * 2, [[0, 0]] * 2, [1, 1, 0, 1]
    )
    some, height = keep(frame, np.arange(4, dtype=np.float32), np.array([False, True, True, False]))
    assert some.points[:, 0].tolist() == [4, 8]
    assert (some.instance.tolist(), some.labelled.tolist()) == ([1, 2], [True, False])
    assert height.tolist() == [1, 2]
    assert len(some.classes) == 2


# Windows


def assert_aligned_inside(window, cells, align):
    assert window.shape == (cells, cells)
    for (start, end), (low, high) in zip(
        (window.x_range_m, window.y_range_m), (GRID.x_range_m, GRID.y_range_m), strict=True
    ):
        step = (start - low) / (align * GRID.cell_m)
        assert abs(step - round(step)) < 1e-6
        assert low - 1e-6 <= start
        assert end <= high + 1e-6
    assert window.cell_m == GRID.cell_m


@pytest.mark.parametrize("at", [(0, 0), (-25.5, -25.5), (25.5, 10), (3.3, -25.5)])
@pytest.mark.parametrize("instance", [0, 1])
def test_a_window_holds_the_one_point_there_is(at, instance):
    frame = frame_of([[*at, 0, 0]], [instance], [CAR], [at])
    starts = set()
    for seed in range(30):
        window = random_window(frame, GRID, 48, 8, generator(seed))
        assert_aligned_inside(window, 48, 8)
        assert window.cell_of(frame.points)[0] >= 0
        starts.add((window.x_range_m[0], window.y_range_m[0]))
    assert len(starts) > 2 or max(map(abs, at)) > 20


def corners(numbers, classes):
    """Objects of three points in the corner x > 0, y > 0 for cars and x < 0, y < 0 for others."""
    points, centres = [], []
    for kind in classes:
        sign = 1 if kind == CAR else -1
        points += [[sign * 20, sign * 20, 0, 0]] * 3
        centres.append([sign * 20, sign * 20])
    road = [[20, -20, 0, 0]] * 1000
    return frame_of(points + road, [*np.repeat(numbers, 3), *[0] * 1000], classes, centres)


def test_three_windows_of_four_show_an_object_of_a_class_drawn_evenly():
    frame = corners(range(1, 11), [CAR] * 9 + [PERSON])
    hits = np.zeros(3)
    for seed in range(300):
        window = random_window(frame, GRID, 32, 8, generator(seed))
        hits += [
            window.cell_of(frame.points[[i]])[0] >= 0 for i in (0, 29, 30)
        ]  # car, person, road
    assert hits.sum() == 300
    np.testing.assert_allclose(hits / 300, [0.375, 0.375, 0.25], atol=0.09)


def test_objects_that_nobody_labelled_or_off_the_grid_draw_no_window():
    points = [[20, 20, 0, 0], [-20, 20, 0, 0], [60, 0, 0, 0], [20, -20, 0, 0]]
    frame = frame_of(points, [1, 2, 3, 0], [CAR] * 3, np.zeros((3, 2)), [0, 0, 1, 1])
    for seed in range(30):
        window = random_window(frame, GRID, 32, 8, generator(seed))
        assert window.cell_of(frame.points[[3]])[0] >= 0


def test_without_points_the_window_is_the_middle():
    window = random_window(empty_frame(), GRID, 64, 8, generator())
    np.testing.assert_allclose([window.x_range_m, window.y_range_m], [[-12.8, 12.8]] * 2, atol=1e-9)


@pytest.mark.parametrize("cells", [128, 500])
def test_a_window_as_large_as_the_grid_is_the_grid(cells):
    assert random_window(slope()[0], GRID, cells, 8, generator()) is GRID


# Cutting and pasting


def test_cutouts_are_the_known_points_of_objects_with_enough():
    points = np.zeros((30, 4), np.float32)
    points[:, 0] = np.arange(30)
    points[:, 2] = -9
    instance = np.repeat([1, 2, 0], 10)
    labelled = np.arange(30) % 10 < 8
    height = np.arange(30, dtype=np.float32) / 10
    height[0] = np.nan
    frame = frame_of(points, instance, [PERSON, CAR], [[1, 2], [3, 4]], labelled)
    first, second = cut_objects(frame, height, 7)
    assert first.points[:, 0].tolist() == [1, 2, 3, 4, 5, 6, 7]
    np.testing.assert_array_equal(first.points[:, 2], height[1:8])
    assert (first.class_index, first.centre_m.tolist()) == (PERSON, [1, 2])
    assert (second.class_index, len(second.points)) == (CAR, 8)
    assert [c.class_index for c in cut_objects(frame, height, 8)] == [CAR]
    assert cut_objects(frame, height, 9) == []
    assert cut_objects(empty_frame(), np.zeros(0, np.float32), 1) == []
    assert (frame.points[:, 2] == -9).all()


@pytest.mark.parametrize("at", [(10.0, 0.0), (-6.0, 8.0), (-12.0, -0.01)])
def test_a_pasted_object_keeps_its_range_and_stands_on_the_ground(at):
    frame, height = slope()
    cutout = crate(at)
    directions = []
    for seed in range(12):
        pasted, pasted_height = paste(frame, height, cutout, generator(seed))
        own = pasted.points[pasted.instance == 1]
        assert len(own) == 300
        assert pasted.classes.tolist() == [CAR]
        centre = pasted.centres_m[0]
        assert abs(np.hypot(*centre) - np.hypot(*at)) < 1e-4
        np.testing.assert_allclose(own[:, :2].mean(0), centre, atol=0.15)
        # Every point as far from the sensor, and the same side to it, as before.
        np.testing.assert_allclose(range_of(own), range_of(cutout.points), atol=1e-4)
        turn = azimuth_of(own) - azimuth_of(cutout.points)
        np.testing.assert_allclose(np.exp(1j * turn), np.exp(1j * turn[0]), atol=1e-4)
        # Its foot is on the hillside, to the slope times the distance to the chosen point.
        ground = own[:, 2] - cutout.points[:, 2]
        np.testing.assert_allclose(ground, ground[0], atol=1e-5)
        assert abs(ground[0] - (-1.7 + SLOPE * centre[0])) < SLOPE * 0.5 + 1e-4
        np.testing.assert_array_equal(pasted_height[pasted.instance == 1], cutout.points[:, 2])
        np.testing.assert_array_equal(own[:, 3], cutout.points[:, 3])
        assert pasted.labelled.all()
        directions.append(np.arctan2(*centre[::-1]))
    assert np.ptp(directions) > np.pi / 2  # anywhere around


def test_a_pasted_object_hides_what_is_behind_it_and_nothing_in_front():
    frame, height = slope(20000)
    fence = ring(5.0, 500, 0.9)  # in front, seen under 0.16: at half the crate's height
    frame = frame_of(np.concatenate([frame.points, fence]), np.zeros(20500))
    height = np.append(height, np.full(500, 0.9, np.float32))
    cutout = crate((8.0, 0.0))
    pasted, _ = paste(frame, height, cutout, generator())
    own = pasted.points[pasted.instance == 1]
    rest = pasted.points[pasted.instance == 0]
    assert (pasted.points[: len(rest)] == rest).all()
    kept = np.isin(frame.points.view("V16"), rest.view("V16"))[:, 0]
    middle = np.arctan2(*pasted.centres_m[0][::-1])
    off = (azimuth_of(frame.points) - middle + np.pi) % (2 * np.pi) - np.pi
    half_width = np.abs((azimuth_of(own) - middle + np.pi) % (2 * np.pi) - np.pi).max()
    distance = range_of(frame.points)
    assert kept[distance < range_of(own).min()].all()
    assert kept[np.abs(off) > half_width + np.deg2rad(0.5)].all()
    # The ground behind: the crate's foot is seen under arctan(1.7 / 8), its head under
    # arctan(0.5 / 8), so the shadow reaches from 8 m to 8 * 1.7 / 0.5 = 27 m, the whole rest.
    shadow = (np.abs(off) < half_width / 2) & (distance > 9.2) & (distance < 20)
    assert shadow.sum() > 50
    assert kept[shadow].mean() < 0.1


def test_what_stands_higher_than_the_object_stays_visible_above_it():
    frame, height = slope(20000)
    tall = frame.points[range_of(frame.points) > 15].copy()
    tall[:, 2] = 3.0  # a canopy behind, well above the crate's head
    points = np.concatenate([frame.points, tall])
    full = frame_of(points, np.zeros(len(points)))
    heights = np.concatenate([height, np.full(len(tall), 4.5, np.float32)])
    pasted, _ = paste(full, heights, crate((8.0, 0.0)), generator())
    assert (pasted.points[:, 2] == 3.0).sum() == len(tall)


def ring(distance, count, height_m):
    azimuth = np.linspace(-np.pi, np.pi, count, endpoint=False)
    xy = distance * np.column_stack([np.cos(azimuth), np.sin(azimuth)])
    return np.column_stack([xy, np.full(count, -1.7 + height_m), np.zeros(count)])


def test_no_object_is_pasted_over_an_obstacle():
    frame, height = slope(20000)
    rng = generator(3)
    bushes = ring(10.0, 12, 0.5)
    bushes[:, :2] += rng.uniform(-0.3, 0.3, (12, 2))
    points = np.concatenate([frame.points, bushes])
    heights = np.append(height, np.full(12, OBSTACLE_M + 0.01)).astype(np.float32)
    full = frame_of(points, np.zeros(len(points)))
    cutout = crate((10.0, 0.0))
    reach = np.hypot(*(cutout.points[:, :2] - cutout.centre_m).T).max()
    places = 0
    for seed in range(30):
        done = paste(full, heights, cutout, generator(seed))
        if done:
            places += 1
            gaps = np.hypot(*(bushes[:, :2] - done[0].centres_m[0]).T)
            assert gaps.min() >= reach + CLEARANCE_M - 1e-5
    assert places > 20


@pytest.mark.parametrize("instance", [-1, 1])
def test_objects_and_void_are_obstacles_however_low(instance):
    frame, _ = slope()
    points = np.concatenate([frame.points, ring(10.0, 60, 0.0)])
    full = frame_of(points, [0] * 6000 + [instance] * 60, [CAR], [[10, 0]])
    assert paste(full, np.zeros(6060, np.float32), crate((10.0, 0.0)), generator()) is None


@pytest.mark.parametrize("why", ["high", "unlabelled", "void", "far"])
def test_without_a_place_nothing_is_pasted(why):
    frame, height = slope()
    labelled = np.full(6000, why != "unlabelled")
    full = frame_of(frame.points, np.full(6000, -1 if why == "void" else 0), labelled=labelled)
    heights = height + np.float32(0.25 if why == "high" else 0)
    at = (40.0, 0.0) if why == "far" else (10.0, 0.0)
    assert paste(full, heights, crate(at), generator()) is None


def test_an_empty_frame_takes_no_object():
    assert paste(empty_frame(), np.zeros(0, np.float32), crate(), generator()) is None


def test_objects_are_pasted_up_to_the_number_of_their_class():
    frame, height = slope(20000)
    bank = [
        [crate((8.0, 2.0)), crate((12.0, 0.0))],
        [crate((9.0, 0.0), (0.5, 0.5, 1.8), 80, PERSON)],
    ]
    counts = []
    for seed in range(30):
        full, full_height = paste_some(frame, height, bank, (2, 4), generator(seed))
        assert len(full.points) == len(full_height)
        assert full.instance.max() == len(full.classes) == len(full.centres_m)
        counts.append(np.bincount(full.classes, minlength=2))
        # A later object may hide an earlier one, but no point has two owners.
        sizes = np.bincount(full.instance, minlength=len(full.classes) + 1)[1:]
        assert all(n <= (300, 80)[kind] for n, kind in zip(sizes, full.classes, strict=True))
    counts = np.array(counts)
    assert counts.max(axis=0).tolist() == [2, 4]
    assert counts.min(axis=0).tolist() == [0, 0]


def test_an_empty_bank_pastes_nothing():
    frame, height = slope(500)
    for bank, most in (([[], []], (3, 3)), ([[crate()], []], (0, 3))):
        same, same_height = paste_some(frame, height, bank, most, generator())
        assert same is frame
        assert same_height is height


# Jitter


def test_jitter_keeps_its_bounds():
    frame, _ = slope(4000)
    frame.points[:, 3] = np.linspace(0, 1, 4000)
    frame.points[:, 0] = np.arange(4000)  # tells which points are left
    frame = frame_of(frame.points, np.arange(4000) % 2, [CAR], [[0, 0]])
    config = AugmentConfig(height_m=0.3, height_noise_m=0, intensity=0.2, dropout=0.3)
    lifts, factors, kept = [], [], []
    for seed in range(40):
        changed = jitter(frame, config, generator(seed))
        index = changed.points[:, 0].astype(int)
        assert (np.diff(index) > 0).all()
        np.testing.assert_array_equal(changed.instance, frame.instance[index])
        np.testing.assert_array_equal(changed.points[:, 1], frame.points[index, 1])
        lift = changed.points[:, 2] - frame.points[index, 2]
        assert np.ptp(lift) < 1e-5
        assert changed.points[:, 3].min() >= 0
        assert changed.points[:, 3].max() <= 1
        lifts.append(lift[0])
        factors.append(changed.points[len(index) // 4, 3] / frame.points[index[len(index) // 4], 3])
        kept.append(len(index) / 4000)
    for values, low, high in ((lifts, -0.3, 0.3), (factors, 0.8, 1.2), (kept, 0.7, 1)):
        margin = (high - low) / 5
        assert low - 0.02 <= min(values) < low + margin
        assert high - margin < max(values) <= high + 0.02


def test_jitter_of_nothing_changes_nothing():
    frame, _ = slope(300)
    off = AugmentConfig(height_m=0, height_noise_m=0, intensity=0, dropout=0)
    same = jitter(frame, off, generator())
    np.testing.assert_array_equal(same.points, frame.points)
    nothing = jitter(empty_frame(), AugmentConfig(), generator())
    assert len(nothing.points) == 0


def test_height_noise_is_each_points_own_and_reaches_the_features():
    frame, _ = slope(4000)
    config = AugmentConfig(height_m=0, height_noise_m=0.05, intensity=0, dropout=0)
    changed = jitter(frame, config, generator())
    lift = changed.points[:, 2] - frame.points[:, 2]
    assert abs(lift.mean()) < 0.005
    assert lift.std() == pytest.approx(0.05, rel=0.1)
    np.testing.assert_array_equal(changed.points[:, [0, 1, 3]], frame.points[:, [0, 1, 3]])
    before, after = (voxelize(f.points, GRID).point_height_m for f in (frame, changed))
    assert np.nanstd(after - before) > 0.02  # a shift of the whole sweep would be 0


# Everything together


def everything(frame, height, seed):
    rng = generator(seed)
    config = AugmentConfig()
    frame, height = turn_flip_scale(frame, height, config, rng)
    window = random_window(frame, GRID, 64, 8, rng)
    frame, height = keep(frame, height, window.cell_of(frame.points) >= 0)
    bank = [[crate()], [crate((6.0, 1.0), (0.5, 0.5, 1.7), 60, PERSON)]]
    frame, height = paste_some(frame, height, bank, (2, 3), rng)
    return window, jitter(frame, config, rng)


def test_the_generator_alone_decides():
    frame, height = slope()
    before = frame.points.copy()
    for seed in range(5):
        (window, one), (same_window, other) = (everything(frame, height, seed) for _ in range(2))
        assert window == same_window
        for name in ("points", "instance", "labelled", "classes", "centres_m"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert everything(frame, height, 5)[0] != everything(frame, height, 6)[0]
    np.testing.assert_array_equal(frame.points, before)


def test_an_empty_frame_stays_empty():
    _, frame = everything(empty_frame(), np.zeros(0, np.float32), 0)
    assert frame.points.shape == (0, 4)
    assert frame.instance.shape == (0,)
