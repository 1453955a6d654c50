"""Lines painted on simulated roads, and their kerbs."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from bev_instseg.simulate.markings import KERB, LANE_MARKING, Markings, Stripe
from bev_instseg.simulate.measure import measure
from bev_instseg.simulate.populate import random_scene
from bev_instseg.simulate.sensor_models import HDL64
from bev_instseg.simulate.street_builder import THINGS, StreetScene
from bev_instseg.simulate.street_kinds import ARTERIAL, JUNCTION, OLD_TOWN
from bev_instseg.simulate.street_plan import ROAD, SIDEWALK, StreetPlan

SENSOR = replace(HDL64, azimuths=600, range_noise_m=0.0)


def scene(seed: int) -> StreetScene:
    return random_scene(np.random.default_rng(seed), SENSOR.height_m, kinds=[ARTERIAL])


def plan_coordinates(street: StreetScene, points: NDArray[np.float32]) -> NDArray[np.float64]:
    c, s = np.cos(street.yaw_rad), np.sin(street.yaw_rad)
    world = points[:, :2] @ np.array([[c, s], [-s, c]]) + street.origin[:2]
    return np.column_stack(street.plan.to_plan(world))


@pytest.mark.parametrize("along_u", [True, False])
def test_a_stripe_holds_its_dashes(along_u: bool) -> None:
    stripe = Stripe(LANE_MARKING, 1, along_u, 2.0, 0.2, (-10.0, 19.5), (3.0, 9.0))
    along = np.array([-10.1, -9.9, -7.1, -6.9, -1.1, -0.9, 1.9, 2.1, 19.4, 19.6])
    uv = np.column_stack([along, np.full(len(along), 2.09)])
    uv = uv if along_u else uv[:, ::-1]
    expected = [False, True, True, False, False, True, True, False, True, False]
    assert stripe.holds(uv).tolist() == expected
    assert not stripe.holds(uv + ([0, 0.02] if along_u else [0.02, 0])).any()


def test_wear_takes_paint_away() -> None:
    uv = np.column_stack([np.linspace(-60, 60, 5000), np.zeros(5000)])
    left = [
        Stripe(LANE_MARKING, 1, True, 0, 1, (-60, 60), wear=wear).holds(uv).mean()
        for wear in (0.0, 0.3, 0.7, 1.0)
    ]
    assert left[0] > 0.999
    assert np.all(np.diff(left) < 0)
    assert left[-1] < 0.6


def test_paint_is_on_the_road_and_a_line_is_a_line() -> None:
    num_lines = 0
    for seed in range(6):
        street = scene(seed)
        points, labels = measure(street, SENSOR, np.random.default_rng(seed))
        uv = plan_coordinates(street, points)
        paint = (labels & 0xFFFF) == LANE_MARKING
        assert (street.plan.distance_to_road(*uv[paint].T) < 0.01).all()
        kerbs = (labels & 0xFFFF) == KERB
        assert (np.abs(street.plan.distance_to_road(*uv[kerbs].T)) < 0.13).all()
        for word in np.unique(labels[paint | kerbs]):
            on_it = uv[labels == word]
            narrow = np.ptp(on_it, axis=0).min()
            assert narrow < (0.25 if word & 0xFFFF == KERB else 4.5)
            num_lines += 1
    assert num_lines > 30


def test_lines_are_numbered_after_the_objects() -> None:
    street = scene(1)
    _, labels = measure(street, SENSOR, np.random.default_rng(1))
    classes, number = labels & 0xFFFF, labels >> 16
    is_line = np.isin(classes, (LANE_MARKING, KERB))
    count = len(street.headings_rad)
    assert number[is_line].min() > count
    assert number[np.isin(classes, THINGS)].max() <= count


def test_fresh_paint_is_brighter_than_the_road() -> None:
    street = scene(2)
    paint = tuple(
        replace(stripe, reflectivity=0.9) if stripe.label == LANE_MARKING else stripe
        for stripe in street.markings.stripes
    )
    street = replace(street, markings=Markings(paint))
    points, labels = measure(street, SENSOR, np.random.default_rng(2))
    near = np.hypot(*points[:, :2].T) < 10
    is_paint = near & ((labels & 0xFFFF) == LANE_MARKING)
    assert np.median(points[is_paint, 3]) > 2 * np.median(points[near & (labels == ROAD), 3])


def test_far_away_a_spot_mixes_paint_and_road() -> None:
    street = scene(2)
    paint = tuple(
        replace(stripe, reflectivity=0.9, wear=0.0)
        for stripe in street.markings.stripes
        if stripe.label == LANE_MARKING and stripe.along_u
    )
    street = replace(street, markings=Markings(paint))
    bright = {}
    for divergence_mrad in (0.0, 3.0):
        sensor = replace(SENSOR, divergence_mrad=divergence_mrad, intensity_noise=0.0)
        points, labels = measure(street, sensor, np.random.default_rng(2))
        is_paint, range_m = (labels & 0xFFFF) == LANE_MARKING, np.hypot(*points[:, :2].T)
        bright[divergence_mrad] = [
            np.median(points[is_paint & (range_m >= low) & (range_m < low + 5), 3])
            for low in (5, 15)
        ]
    (near, far), (spotted_near, spotted_far) = bright[0.0], bright[3.0]
    assert spotted_near > 0.9 * near
    assert spotted_far < 0.9 * far


def test_the_side_road_breaks_lines_and_kerbs_on_its_side() -> None:
    plan = next(
        plan
        for seed in range(50)
        if len((plan := StreetPlan.random(np.random.default_rng(seed), JUNCTION)).kerbs) > 2
        and plan.kerb_height_m > 0.03
    )
    side = plan.kerbs[2]
    markings = Markings.random(np.random.default_rng(0), plan)
    half = plan.kerbs[0].half_width_m
    for v in (half, -half):
        u = np.linspace(side.u - 5, side.u + 2 * side.half_width_m + 5, 400)
        label, _ = markings.find(
            np.column_stack([u, np.full(400, v)]), np.full(400, SIDEWALK, np.uint32)
        )
        beside_m = np.abs(u - side.u - side.half_width_m) - side.half_width_m
        is_kerb = label & 0xFFFF == KERB
        open_here = side.ends_m[0] <= v <= side.ends_m[1]
        assert is_kerb[beside_m < -0.2].any() != open_here
        assert is_kerb[beside_m > 0].all()


def test_markings_differ_by_kind_of_street() -> None:
    painted = {}
    for kind in (ARTERIAL, OLD_TOWN):
        rng = np.random.default_rng(0)
        streets = [Markings.random(rng, StreetPlan.random(rng, kind)) for _ in range(60)]
        paint = [sum(stripe.label == LANE_MARKING for stripe in m.stripes) for m in streets]
        painted[kind.name] = np.mean(np.array(paint) > 0)
    assert painted["arterial"] > 0.8
    assert painted["old town"] < 0.5
