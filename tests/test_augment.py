import numpy as np
import pytest
from scenes import (
    CAR,
    GRID,
    PERSON,
    azimuth_of,
    crate,
    empty_frame,
    frame_of,
    generator,
    range_of,
    slope,
)

from bev_instseg.config import AugmentConfig, TrainConfig
from bev_instseg.grid import BEVGrid
from bev_instseg.ops.voxelize import voxelize
from bev_instseg.training.augment import (
    change_intensity,
    jitter,
    random_window,
    rotate,
    select_points,
    thin_beams,
    turn_flip_scale,
)

pytestmark = pytest.mark.kernel

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
    np.testing.assert_array_equal(frame.points, points)  # the frame itself is not changed


def test_select_points_selects_labels_and_heights_too():
    frame = frame_of(
        np.arange(16).reshape(4, 4), [0, 1, 2, -1], [CAR] * 2, [[0, 0]] * 2, [1, 1, 0, 1]
    )
    some, height = select_points(
        frame, np.arange(4, dtype=np.float32), np.array([False, True, True, False])
    )
    assert some.points[:, 0].tolist() == [4, 8]
    assert (some.instance.tolist(), some.labelled.tolist()) == ([1, 2], [True, False])
    assert height.tolist() == [1, 2]
    assert len(some.classes) == 2


# Windows


def assert_aligned_inside(window, cells, stride):
    assert window.shape == (cells, cells)
    for (start, end), (low, high) in zip(
        (window.x_range_m, window.y_range_m), (GRID.x_range_m, GRID.y_range_m), strict=True
    ):
        step = (start - low) / (stride * GRID.cell_m)
        assert abs(step - round(step)) < 1e-6
        assert low - 1e-6 <= start
        assert end <= high + 1e-6
    assert window.cell_m == GRID.cell_m


@pytest.mark.parametrize("at", [(0, 0), (-25.5, -25.5), (25.5, 10), (3.3, -25.5)])
@pytest.mark.parametrize("instance", [0, 1])
def test_a_window_contains_the_only_point(at, instance):
    frame = frame_of([[*at, 0, 0]], [instance], [CAR], [at])
    starts = set()
    for seed in range(30):
        window = random_window(frame, GRID, TrainConfig(window_cells=48), 8, generator(seed))
        assert_aligned_inside(window, 48, 8)
        assert window.cell_of(frame.points)[0] >= 0
        starts.add((window.x_range_m[0], window.y_range_m[0]))
    assert len(starts) > 2 or max(map(abs, at)) > 20


def corners(numbers, classes):
    """Return a frame of three-point objects: cars where x, y > 0, others where x, y < 0."""
    points, centres = [], []
    for kind in classes:
        sign = 1 if kind == CAR else -1
        points += [[sign * 20, sign * 20, 0, 0]] * 3
        centres.append([sign * 20, sign * 20])
    road = [[20, -20, 0, 0]] * 1000
    return frame_of(points + road, [*np.repeat(numbers, 3), *[0] * 1000], classes, centres)


def test_three_of_four_windows_are_around_objects_with_classes_drawn_evenly():
    frame = corners(range(1, 11), [CAR] * 9 + [PERSON])
    hits = np.zeros(3)
    for seed in range(300):
        window = random_window(frame, GRID, TrainConfig(window_cells=32), 8, generator(seed))
        hits += [
            window.cell_of(frame.points[[i]])[0] >= 0 for i in (0, 29, 30)
        ]  # car, person, road
    assert hits.sum() == 300
    np.testing.assert_allclose(hits / 300, [0.375, 0.375, 0.25], atol=0.09)


def test_long_objects_attract_more_windows_by_the_square_of_their_length():
    """A lorry of 12 m counts as much as four cars, whatever their length."""
    ends = [(20, 12), (20, 24), *((-20, y) for y in (20, 21, -20, -24))]
    points = [[*end, 0, 0] for end in ends]
    frame = frame_of(points, [1, 1, 2, 2, 3, 3], [CAR] * 3, np.zeros((3, 2)))
    train = TrainConfig(window_cells=32, object_windows=1.0)
    hits = np.zeros(2)
    for seed in range(300):
        window = random_window(frame, GRID, train, 8, generator(seed))
        hits += [window.x_range_m[1] > 0, window.x_range_m[0] < 0]
    np.testing.assert_allclose(hits / 300, [4 / 6, 2 / 6], atol=0.08)


def test_unlabelled_objects_and_objects_off_the_grid_attract_no_window():
    points = [[20, 20, 0, 0], [-20, 20, 0, 0], [60, 0, 0, 0], [20, -20, 0, 0]]
    frame = frame_of(points, [1, 2, 3, 0], [CAR] * 3, np.zeros((3, 2)), [0, 0, 1, 1])
    for seed in range(30):
        window = random_window(frame, GRID, TrainConfig(window_cells=32), 8, generator(seed))
        assert window.cell_of(frame.points[[3]])[0] >= 0


def test_without_points_the_window_is_the_middle():
    window = random_window(empty_frame(), GRID, TrainConfig(window_cells=64), 8, generator())
    np.testing.assert_allclose([window.x_range_m, window.y_range_m], [[-12.8, 12.8]] * 2, atol=1e-9)


def test_a_window_larger_than_one_side_of_the_grid_has_all_of_that_side():
    grid = BEVGrid((0, 51.2), (-6.4, 6.4), (-4, 2.4), 0.2)  # 256 x 64 cells
    for frame in (empty_frame(), frame_of([[20, 6, 0, 0]], [0], [], np.zeros((0, 2)))):
        window = random_window(frame, grid, TrainConfig(window_cells=128), 32, generator())
        assert window.shape == (128, 64)
        assert window.y_range_m == pytest.approx((-6.4, 6.4))
        assert 0 <= window.x_range_m[0] < window.x_range_m[1] <= 51.2 + 1e-6


@pytest.mark.parametrize("cells", [128, 500])
def test_a_window_as_large_as_the_grid_is_the_grid(cells):
    assert random_window(slope()[0], GRID, TrainConfig(window_cells=cells), 8, generator()) is GRID


# Beams


def sky(count=20000):
    """Return points at even elevations of -20 to 5 degrees; the intensity numbers them."""
    rng = np.random.default_rng(5)
    azimuth = rng.uniform(-np.pi, np.pi, count)
    elevation = np.deg2rad(rng.uniform(-20, 5, count))
    distance = rng.uniform(3, 25, count)
    x, y, z = distance * np.cos(azimuth), distance * np.sin(azimuth), distance * np.tan(elevation)
    return frame_of(
        np.column_stack([x, y, z, np.arange(count)]), np.arange(count) % 2, [CAR], [[0, 0]]
    )


def test_thinning_keeps_every_other_stripe_of_elevation():
    frame = sky()
    elevation = np.rad2deg(np.arctan2(frame.points[:, 2], range_of(frame.points)))
    for seed in range(8):
        thin = thin_beams(frame, AugmentConfig(thin=1.0), generator(seed))
        index = thin.points[:, 3].astype(int)
        np.testing.assert_array_equal(thin.points, frame.points[index])
        np.testing.assert_array_equal(thin.instance, frame.instance[index])
        assert 0.45 < len(index) / len(frame.points) < 0.55
        # Sorted by elevation, the runs of kept and of dropped points are the stripes.
        kept = np.isin(np.arange(len(frame.points)), index)[np.argsort(elevation)]
        edges = np.sort(elevation)[1:][np.diff(kept.astype(int)) != 0]
        widths = np.diff(edges)
        assert 0.3 - 0.02 < widths.mean() < 0.6 + 0.02
        np.testing.assert_allclose(widths, widths.mean(), atol=0.02)


def test_sweeps_are_thinned_as_often_as_the_configuration_says():
    frame = sky(500)
    thinned = [
        thin_beams(frame, AugmentConfig(thin=0.25), generator(seed)) is not frame
        for seed in range(400)
    ]
    assert np.mean(thinned) == pytest.approx(0.25, abs=0.06)
    assert len(thin_beams(empty_frame(), AugmentConfig(thin=1.0), generator()).points) == 0


# Jitter


def test_jitter_keeps_its_bounds():
    frame, _ = slope(4000)
    frame.points[:, 3] = np.linspace(0, 1, 4000)
    frame.points[:, 0] = np.arange(4000)  # identifies the points that are left
    frame = frame_of(frame.points, np.arange(4000) % 2, [CAR], [[0, 0]])
    config = AugmentConfig(
        height_m=0.3, height_noise_m=0, intensity=0.2, intensity_gamma=0, dropout=0.3
    )
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


def test_jitter_with_everything_off_changes_nothing():
    frame, _ = slope(300)
    off = AugmentConfig(height_m=0, height_noise_m=0, intensity=0, intensity_gamma=0, dropout=0)
    same = jitter(frame, off, generator())
    np.testing.assert_array_equal(same.points, frame.points)
    nothing = jitter(empty_frame(), AugmentConfig(), generator())
    assert len(nothing.points) == 0


def test_gamma_bends_intensities_between_0_and_1():
    frame, _ = slope(5)
    frame.points[:, 3] = [0, 0.1, 0.5, 0.9, 1]
    config = AugmentConfig(height_noise_m=0, intensity=0, intensity_gamma=0.4, dropout=0)
    powers = []
    for seed in range(60):
        bent = jitter(frame, config, generator(seed)).points[:, 3]
        assert (bent[0], bent[4]) == (0, 1)
        power = np.log(bent[1:4]) / np.log(frame.points[1:4, 3])
        np.testing.assert_allclose(power, power[0], rtol=1e-4)
        powers.append(np.log(power[0]))
    assert -0.4 <= min(powers) < -0.3
    assert 0.3 < max(powers) <= 0.4
    assert abs(np.mean(powers)) < 0.1  # as often up as down


def test_height_noise_differs_by_point_and_reaches_the_features():
    frame, _ = slope(4000)
    config = AugmentConfig(
        height_m=0, height_noise_m=0.05, intensity=0, intensity_gamma=0, dropout=0
    )
    changed = jitter(frame, config, generator())
    lift = changed.points[:, 2] - frame.points[:, 2]
    assert abs(lift.mean()) < 0.005
    assert lift.std() == pytest.approx(0.05, rel=0.1)
    np.testing.assert_array_equal(changed.points[:, [0, 1, 3]], frame.points[:, [0, 1, 3]])
    before, after = (voxelize(f.points, GRID).point_height_m for f in (frame, changed))
    assert np.nanstd(after - before) > 0.02  # a shift of the whole sweep would be 0


# Intensity


def changed_intensities(config, count=400):
    before = np.linspace(0, 1, 101, dtype=np.float32)
    after = [change_intensity(before, config, generator(seed)) for seed in range(count)]
    assert all(values.dtype == np.float32 for values in after)
    assert all(values.min() >= 0 and values.max() <= 1 for values in after)
    np.testing.assert_array_equal(before, np.linspace(0, 1, 101, dtype=np.float32))  # untouched
    return before, after


def test_some_sweeps_lose_all_information_in_their_intensities():
    _, after = changed_intensities(AugmentConfig(intensity_none=0.3))
    constants = [values[0] for values in after if np.ptp(values) == 0]
    assert len(constants) / len(after) == pytest.approx(0.3, abs=0.06)
    assert np.mean(np.equal(constants, 0)) == pytest.approx(0.9, abs=0.07)


def test_a_random_map_keeps_the_order_of_intensities():
    before, after = changed_intensities(AugmentConfig(intensity_map=1.0))
    assert all((np.diff(values) >= 0).all() and values[0] == 0 for values in after)
    middle = [values[50] for values in after]
    assert min(middle) < 0.1
    assert max(middle) > 0.7
    powers = [np.log(values[[20, 50, 80]]) / np.log(before[[20, 50, 80]]) for values in after]
    assert np.median([np.ptp(power) for power in powers]) > 0.3  # no mere power of the intensity


def test_sweeps_are_mapped_as_often_as_the_configuration_says():
    _, after = changed_intensities(
        AugmentConfig(intensity=0, intensity_gamma=0, intensity_none=0.2, intensity_map=0.3)
    )
    before = np.linspace(0, 1, 101, dtype=np.float32)
    same = np.mean([np.array_equal(values, before) for values in after])
    assert same == pytest.approx(0.5, abs=0.07)
    assert len(change_intensity(before[:0], AugmentConfig(intensity_map=1.0), generator())) == 0
