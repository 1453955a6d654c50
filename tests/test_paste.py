import numpy as np
import pytest
import reference
from scenes import (
    CAR,
    GRID,
    PERSON,
    SLOPE,
    azimuth_of,
    crate,
    empty_frame,
    frame_of,
    generator,
    range_of,
    ring,
    slope,
)

from bev_instseg.config import AugmentConfig, TrainConfig
from bev_instseg.training import occlusion
from bev_instseg.training import paste as paste_module
from bev_instseg.training.augment import (
    jitter,
    random_window,
    rotate,
    select_points,
    thin_beams,
    turn_flip_scale,
)
from bev_instseg.training.cutouts import DISTRACTOR, MIN_CUTOUT_POINTS, Cutout
from bev_instseg.training.occlusion import (
    BEAM_RAD,
    MAX_IN_FRONT,
    NO_POINTS,
    beam_of,
    range_m_of,
)
from bev_instseg.training.paste import (
    CLEARANCE_M,
    MAX_RANGE_FACTOR,
    OBSTACLE_M,
    Composition,
    paste_some,
    set_down,
)

pytestmark = pytest.mark.kernel

GROUND_M = -1.7


def paste(frame, height, cutout, rng, outside=NO_POINTS):
    """Return the frame with the object, or None if the object does not fit anywhere."""
    scene = Composition(frame, height)
    return scene.composed() if paste_module.paste(scene, cutout, rng, outside) else None


def board(at=(10.0, 0.0), half_width_deg=4.0, height_m=1.6):
    """Return a board across the line of sight, with one point for each beam that meets it."""
    distance, yaw_rad = np.hypot(*at), np.arctan2(at[1], at[0])
    across, up = BEAM_RAD
    half = np.deg2rad(half_width_deg)
    low, high = np.arctan(GROUND_M / distance), np.arctan((GROUND_M + height_m) / distance)
    azimuth = across * (np.arange(int(-half / across), int(half / across)) + 0.5)
    elevation = up * (np.arange(int(low / up), int(high / up)) + 0.5)
    azimuth, elevation = (part.ravel() for part in np.meshgrid(azimuth, elevation))
    y = distance * np.tan(azimuth)
    z = np.hypot(distance, y) * np.tan(elevation)
    xy = rotate(np.column_stack([np.full(len(y), distance), y]).astype(np.float32), yaw_rad)
    points = np.column_stack([xy, z - GROUND_M, np.linspace(0, 1, len(y))]).astype(np.float32)
    return Cutout(points, CAR, np.array(at, np.float32), np.ones(3, np.float32), "yard")


def road(count=20000):
    """Return the frame and heights of flat ground all around the sensor."""
    frame, height = slope(count)
    frame.points[:, 2] = GROUND_M
    return frame, height


def with_points(frame, height, points, points_height, instance=0, **objects):
    points = np.asarray(points, np.float32)
    instances = np.append(frame.instance, np.full(len(points), instance))
    full = frame_of(np.concatenate([frame.points, points]), instances, **objects)
    return full, np.append(height, np.full(len(points), points_height)).astype(np.float32)


# Setting down


@pytest.mark.parametrize("at", [(10.0, 0.0), (-6.0, 8.0), (-12.0, -0.01)])
@pytest.mark.parametrize("azimuth", [0.3, -3.1])
def test_at_its_own_range_an_object_keeps_every_point(at, azimuth):
    cutout = crate(at)
    points = set_down(cutout, 1.0, False, azimuth, GROUND_M)
    # Every point as far from the sensor, and the same side to it, as before.
    np.testing.assert_allclose(range_of(points), range_of(cutout.points), atol=1e-4)
    turn = azimuth_of(points) - azimuth_of(cutout.points)
    expected = azimuth - np.arctan2(at[1], at[0])
    np.testing.assert_allclose(np.exp(1j * turn), np.exp(1j * expected), atol=1e-4)
    np.testing.assert_allclose(points[:, 2], cutout.points[:, 2] + GROUND_M, atol=1e-6)
    np.testing.assert_array_equal(points[:, 3], cutout.points[:, 3])


@pytest.mark.parametrize("range_factor", [1.2, 1.4, 1.5])
@pytest.mark.parametrize("at", [(10.0, 0.0), (-6.0, 8.0)])
def test_fewer_beams_see_an_object_farther_away(range_factor, at):
    cutout = board(at)
    points = set_down(cutout, range_factor, False, 0.0, GROUND_M)
    assert len(points) / len(cutout.points) == pytest.approx(1 / range_factor**2, rel=0.12)
    beam = np.floor(
        np.column_stack([azimuth_of(points), np.arctan2(points[:, 2], range_of(points))]) / BEAM_RAD
    )
    assert len(np.unique(beam, axis=0)) == len(points)
    # What is left are points of the object, moved straight back.
    index = np.searchsorted(cutout.points[:, 3], points[:, 3])
    np.testing.assert_array_equal(cutout.points[index, 3], points[:, 3])
    np.testing.assert_allclose(points[:, 0], range_factor * 10, atol=1e-4)
    ahead = rotate(cutout.points[index, :2], -np.arctan2(at[1], at[0]))
    np.testing.assert_allclose(points[:, 1], ahead[:, 1], atol=1e-4)
    np.testing.assert_allclose(points[:, 2] - GROUND_M, cutout.points[index, 2], atol=1e-5)


def test_an_object_of_a_denser_sensor_is_thinned_to_the_beams():
    dense = board()
    points = np.repeat(dense.points, 3, axis=0)
    points[:, 1] += np.tile([0, 0.002, 0.004], len(dense.points))
    thick = Cutout(points, CAR, dense.centre_m, dense.size_m, "yard")
    assert len(set_down(thick, 1.0, False, 0.0, GROUND_M)) == len(points)
    thinned = len(set_down(thick, 1.4, False, 0.0, GROUND_M))
    assert thinned / len(dense.points) == pytest.approx(1 / 1.4**2, rel=0.2)


def test_mirroring_swaps_left_and_right_of_the_line_of_sight():
    cutout = crate((-6.0, 8.0))
    plain, mirrored = (set_down(cutout, 1.0, side, 0.0, 0.0) for side in (False, True))
    np.testing.assert_allclose(mirrored * [1, -1, 1, 1], plain, atol=1e-6)
    assert abs(plain[:, 1]).max() > 0.3


# Pasting


@pytest.mark.parametrize("at", [(10.0, 0.0), (-6.0, 8.0)])
def test_a_pasted_object_stands_on_the_ground_at_its_range_or_farther(at):
    frame, height = slope()
    cutout = crate(at)
    directions, ranges, mirrors = [], [], 0
    for seed in range(60):
        pasted, pasted_height = paste(frame, height, cutout, generator(seed))
        own = pasted.points[pasted.instance == 1]
        assert MIN_CUTOUT_POINTS <= len(own) <= 300
        assert pasted.classes.tolist() == [CAR]
        centre = pasted.centres_m[0]
        ranges.append(np.hypot(*centre) / 10)
        np.testing.assert_allclose(own[:, :2].mean(0), centre, atol=0.2)
        # Its foot is on the hillside, to the slope times the distance to the chosen point.
        own_height = pasted_height[pasted.instance == 1]
        ground = own[:, 2] - own_height
        np.testing.assert_allclose(ground, ground[0], atol=1e-5)
        assert abs(ground[0] - (-1.7 + SLOPE * centre[0])) < SLOPE * 0.5 + 1e-4
        assert pasted.labelled.all()
        assert len(pasted.points) == len(pasted_height) == len(pasted.instance)
        directions.append(np.arctan2(*centre[::-1]))
        # Points of the crate are matched by height; on which side of the centre line are they?
        index = np.argmin(np.abs(cutout.points[:, 2][:, None] - own_height), 0)
        before = rotate(cutout.points[index, :2], -np.arctan2(at[1], at[0]))[:, 1]
        after = rotate(own[:, :2], -directions[-1])[:, 1]
        mirrors += np.corrcoef(before, after)[0, 1] < 0
    assert np.ptp(directions) > np.pi / 2  # anywhere around
    assert 1 - 1e-4 <= min(ranges) < 1.1
    assert MAX_RANGE_FACTOR - 0.1 < max(ranges) <= MAX_RANGE_FACTOR + 1e-4
    assert 18 < mirrors < 42


def test_an_object_that_would_lose_too_many_points_keeps_its_range():
    frame, height = road()
    cutout = board(half_width_deg=0.4, height_m=0.25)
    assert len(cutout.points) == 16
    ranges = []
    for seed in range(60):
        if done := paste(frame, height, cutout, generator(seed)):
            assert (done[0].instance == 1).sum() >= MIN_CUTOUT_POINTS
            ranges.append(np.hypot(*done[0].centres_m[0]) / 10)
    stayed = sum(factor < 1.0001 for factor in ranges)
    assert 20 < stayed < len(ranges) - 5
    assert max(ranges) < 1.3  # four columns of four points; farther away a row is lost


def test_a_pasted_object_hides_what_is_behind_it_and_nothing_in_front():
    frame, height = slope(20000)
    # In front, at half the crate's height (slope 0.16), but not dense enough to hide it.
    frame, height = with_points(frame, height, ring(5.0, 500, 0.9), 0.9)
    cutout = crate((8.0, 0.0))
    for seed in range(4):
        pasted, _ = paste(frame, height, cutout, generator(seed))
        own = pasted.points[pasted.instance == 1]
        rest = pasted.points[pasted.instance == 0]
        assert (pasted.points[: len(rest)] == rest).all()
        kept = np.isin(frame.points.view("V16"), rest.view("V16"))[:, 0]
        centre = pasted.centres_m[0]
        middle = np.arctan2(*centre[::-1])
        off = (azimuth_of(frame.points) - middle + np.pi) % (2 * np.pi) - np.pi
        half_width = np.abs((azimuth_of(own) - middle + np.pi) % (2 * np.pi) - np.pi).max()
        distance = range_of(frame.points)
        assert kept[distance < range_of(own).min()].all()
        assert kept[np.abs(off) > half_width + np.deg2rad(0.5)].all()
        # The ground behind: at 8 m the crate's bottom is arctan(1.7 / 8) below the horizon, its top
        # arctan(0.5 / 8), so the shadow reaches from 8 m to 8 * 1.7 / 0.5 = 27 m, and farther if
        # the crate is farther away: all the rest.
        beyond = np.hypot(*centre) + 1.2
        shadow = (np.abs(off) < half_width / 2) & (distance > beyond) & (distance < 20)
        assert shadow.sum() > 30
        assert kept[shadow].mean() < 0.15


def test_higher_points_behind_an_object_stay_visible():
    frame, height = slope(20000)
    tall = frame.points[range_of(frame.points) > 15].copy()
    tall[:, 2] = 3.0  # a canopy behind, well above the crate's head
    full, heights = with_points(frame, height, tall, 4.5)
    pasted, _ = paste(full, heights, crate((8.0, 0.0)), generator())
    assert (pasted.points[:, 2] == 3.0).sum() == len(tall)


def wall(distance=6.0, half_rad=0.6, per_rad=400, top_m=2.5):
    """Return a wall across the x axis, up to ``top_m`` above the ground."""
    azimuth = np.arange(-half_rad, half_rad, 1 / per_rad)
    azimuth, height = (part.ravel() for part in np.meshgrid(azimuth, np.arange(0.4, top_m, 0.1)))
    x, y = distance * np.cos(azimuth), distance * np.sin(azimuth)
    return np.column_stack([x, y, height + GROUND_M, np.zeros(len(x))]).astype(np.float32)


@pytest.mark.parametrize("outside", [False, True])
def test_no_object_is_pasted_behind_a_wall(outside):
    frame, height = road()
    ahead = np.abs(azimuth_of(frame.points)) < 0.5
    frame, height = select_points(frame, height, ahead)  # ground nowhere but behind the wall
    cutout = board((8.0, 0.0), 3.0)
    assert paste(frame, height, cutout, generator()) is not None
    around = np.zeros((0, 4), np.float32)
    if outside:
        around = wall()
    else:
        frame, height = with_points(frame, height, wall(), 1.0)
    for seed in range(10):
        assert paste(frame, height, cutout, generator(seed), around) is None


def test_a_wall_beside_behind_or_below_does_not_prevent_pasting():
    frame, height = road()
    frame, height = select_points(frame, height, np.abs(azimuth_of(frame.points)) < 0.1)
    cutout = board((8.0, 0.0), 3.0)
    beside = wall()
    beside[:, :2] = rotate(beside[:, :2], 1.0)
    for around in (beside, wall(20.0), wall(3.0, top_m=0.5)):
        assert all(paste(frame, height, cutout, generator(seed), around) for seed in range(5))


def test_a_pole_in_front_hides_part_of_the_object():
    frame, height = select_points(*road(), np.abs(azimuth_of(road()[0].points)) < 0.02)
    cutout = board((8.0, 0.0), 6.0)
    across, up = BEAM_RAD
    azimuth, elevation = np.meshgrid(across * np.array([0.5, 1.5]), up * (np.arange(-60, 10) + 0.5))
    pole = np.stack(
        [np.cos(azimuth), np.sin(azimuth), np.tan(elevation), np.zeros_like(azimuth)], -1
    )
    pole = (5 * pole).reshape(-1, 4).astype(np.float32)
    seen = 0
    for seed in range(10):
        pasted, _ = paste(frame, height, cutout, generator(seed), pole)
        own = pasted.points[pasted.instance == 1]
        whole, _ = paste(frame, height, cutout, generator(seed))
        gone = (whole.instance == 1).sum() - len(own)
        assert 0 < gone < MAX_IN_FRONT * len(cutout.points)
        behind = (azimuth_of(own) > 0) & (azimuth_of(own) < 2 * across)
        assert behind.sum() <= 4  # but for its upper and lower edge
        seen += len(own)
    assert seen > 10 * MIN_CUTOUT_POINTS


def test_no_object_is_pasted_over_an_obstacle():
    frame, height = slope(20000)
    rng = generator(3)
    bushes = ring(12.0, 24, 0.5)
    bushes[:, :2] += rng.uniform(-1.5, 1.5, (24, 2))
    full, heights = with_points(frame, height, bushes, OBSTACLE_M + 0.01)
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
    frame, height = slope()
    low = np.concatenate([ring(distance, 60, 0.0) for distance in range(9, 17)])
    full, heights = with_points(
        frame, height, low, 0.0, instance, classes=[CAR], centres_m=[[10, 0]]
    )
    assert paste(full, heights, crate((10.0, 0.0)), generator()) is None


@pytest.mark.parametrize("why", ["high", "unlabelled", "void", "far"])
def test_nothing_is_pasted_without_a_suitable_place(why):
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
        assert all(n <= (300, 80)[c] for n, c in zip(sizes, full.classes, strict=True))
    counts = np.array(counts)
    assert counts.max(axis=0).tolist() == [2, 4]
    assert counts.min(axis=0).tolist() == [0, 0]


def test_a_distractor_is_pasted_as_background():
    frame, height = slope(20000)
    full, full_height = paste(frame, height, crate(class_index=DISTRACTOR), generator(1))
    assert len(full.classes) == len(full.centres_m) == 0
    pasted = full.points[:, 3] == np.float32(0.9)  # the crate's intensity
    assert pasted.sum() > 50
    assert (full.instance == 0).all()
    assert full.labelled[pasted].all()
    assert len(full_height) == len(full.points) < len(frame.points) + pasted.sum()  # it hides some
    bank = [[], [crate(class_index=DISTRACTOR)]]
    some = [paste_some(frame, height, bank, (3, 1), generator(seed))[0] for seed in range(20)]
    assert {bool((more.points[:, 3] == np.float32(0.9)).any()) for more in some} == {False, True}


def test_an_empty_bank_pastes_nothing():
    frame, height = slope(500)
    for bank, most in (([[], []], (3, 3)), ([[crate()], []], (0, 3))):
        same, same_height = paste_some(frame, height, bank, most, generator())
        assert same is frame
        assert same_height is height


# Everything together


def everything(frame, height, seed):
    rng = generator(seed)
    config = AugmentConfig()
    frame, height = turn_flip_scale(frame, height, config, rng)
    window = random_window(frame, GRID, TrainConfig(window_cells=64), 8, rng)
    frame, height = select_points(frame, height, window.cell_of(frame.points) >= 0)
    bank = [[crate()], [crate((6.0, 1.0), (0.5, 0.5, 1.7), 60, PERSON)]]
    frame, height = paste_some(frame, height, bank, (2, 3), rng)
    return window, jitter(thin_beams(frame, config, rng), config, rng)


def test_results_depend_on_the_generator_alone():
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


# The kernels


def around_the_sensor(rng, count, reach_m=30.0):
    """Return points in all directions, some of them next to the sensor."""
    points = rng.uniform(-reach_m, reach_m, (count, 4)).astype(np.float32)
    points[:, 2] = rng.uniform(-2, 2, count)
    points[: count // 20] *= np.float32(0.001)
    return points


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("count", [0, 1, 3000])
def test_kernels_equal_their_references(seed, count):
    rng = generator(seed)
    scene = around_the_sensor(rng, count)
    beams, clear = reference.beam(scene)
    assert clear.mean() > 0.99 if count else True
    np.testing.assert_array_equal(beam_of(scene)[clear], beams[clear])
    np.testing.assert_array_equal(range_m_of(scene), reference.range_of(scene))
    numbers = rng.integers(0, 1 + count // 3, count)
    first = np.isin(np.arange(count), np.unique(numbers, return_index=True)[1])
    np.testing.assert_array_equal(paste_module._first_of_each(numbers), first)
    range_m, chosen = reference.range_of(scene), rng.random(count) < 0.5
    distance = np.float32(rng.uniform(0, 30))
    near = np.flatnonzero(chosen & (np.abs(range_m - distance) < 0.5))
    np.testing.assert_array_equal(paste_module._at_range(range_m, chosen, distance), near)
    x, y, reach2 = rng.uniform(-10, 10, 3)
    inside = (scene[:, 0] - x) ** 2 + (scene[:, 1] - y) ** 2 < reach2
    assert paste_module._occupied(scene, chosen, x, y, reach2) == (chosen & inside).any()

    thing = around_the_sensor(rng, int(rng.integers(1, 300)), 1.0)
    thing[:, :2] += rng.uniform(-12, 12, 2).astype(np.float32)
    outline, expected = occlusion._outline(thing), reference.outline(thing)
    assert outline.start_rad == pytest.approx(expected[0], rel=0, abs=1e-12)
    for ours, theirs in zip((outline.low, outline.high, outline.near_m), expected[1:], strict=True):
        np.testing.assert_array_equal(ours, theirs)
    *sides, doubtful = reference.occlusion(*expected, scene)
    assert len(doubtful) <= 0.01 * count
    for ours, theirs in zip(occlusion._occlusion(outline, scene), sides, strict=True):
        np.testing.assert_array_equal(np.setdiff1d(ours, doubtful), np.setdiff1d(theirs, doubtful))
