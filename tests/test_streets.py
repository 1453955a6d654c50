"""The objects and streets of the simulator: sizes, classes, contents of each kind of street."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from bev_instseg.simulate import HDL64, THINGS
from bev_instseg.simulate.clutter import CLUTTER
from bev_instseg.simulate.companions import COMPANIONS
from bev_instseg.simulate.crowds import add_people
from bev_instseg.simulate.gatherings import (
    bus_stop,
    crowd,
    getting_in,
    occupied_bench,
    queue,
    road_works,
    stairs_with_people,
    stall,
    terrace,
)
from bev_instseg.simulate.lorries import articulated, bus, digger, lorry, tipper, trailer
from bev_instseg.simulate.machines import forklift, roller, tractor, tuk_tuk, wheel_loader
from bev_instseg.simulate.meshes import Mesh, box
from bev_instseg.simulate.open_cars import car_with_open_doors, loaded_pickup, open_van
from bev_instseg.simulate.people import (
    SKIN,
    child,
    pedestrian,
    seated_person,
    sitter,
    stooping_person,
    wheelchair_user,
)
from bev_instseg.simulate.planting import PLANTS
from bev_instseg.simulate.populate import random_scene
from bev_instseg.simulate.raycast import cast_rays
from bev_instseg.simulate.riders import (
    cargo_cyclist,
    courier,
    cyclist,
    kick_scooter_rider,
    motorcyclist,
    scooter_rider,
)
from bev_instseg.simulate.road_trains import (
    articulated_bus,
    car_transporter,
    coach,
    lorry_with_trailer,
)
from bev_instseg.simulate.roadside import ROADSIDE
from bev_instseg.simulate.street_builder import (
    BICYCLIST,
    BUS,
    CAR,
    MOTORCYCLIST,
    OTHER_VEHICLE,
    PERSON,
    TRUCK,
    StreetBuilder,
    StreetScene,
)
from bev_instseg.simulate.street_kinds import KINDS, RESIDENTIAL, StreetKind, random_kind
from bev_instseg.simulate.street_plan import StreetPlan
from bev_instseg.simulate.surroundings import Group, Parts
from bev_instseg.simulate.two_wheelers import BICYCLE, MOTORCYCLE, leaning_bicycle, parked_row
from bev_instseg.simulate.uprights import UPRIGHTS
from bev_instseg.simulate.vehicles import car, convertible, panel_van, pickup, van

ROOT = Path(__file__).resolve().parent.parent
BACKGROUND = {0, 40, 48, 50, 51, 52, 70, 71, 72, 80, 81, 99}
STREETS_PER_KIND = 4
SEATED_BELOW_M = 1.45

Range = tuple[float, float]
Build = Callable[[np.random.Generator], Mesh]


# Single objects


def on_the_ground(rng: np.random.Generator) -> Mesh:
    return sitter(rng, 0.0)


def at_a_table(rng: np.random.Generator) -> Mesh:
    return sitter(rng, 0.46)


@pytest.mark.parametrize(
    ("build", "length", "width", "height"),
    [
        (car, (3.4, 5.7), (1.6, 2.3), (1.3, 2.2)),
        (convertible, (3.8, 4.8), (1.6, 1.9), (1.2, 1.5)),
        (van, (4.2, 5.7), (1.7, 2.3), (1.7, 2.2)),
        (panel_van, (4.6, 7.1), (1.8, 2.2), (1.8, 3.0)),
        (pickup, (4.8, 5.7), (1.79, 2.2), (1.6, 2.0)),
        (car_with_open_doors, (3.4, 6.3), (1.6, 3.8), (1.3, 2.6)),
        (open_van, (4.7, 8.3), (1.8, 4.1), (1.8, 3.0)),
        (loaded_pickup, (4.8, 6.2), (1.79, 2.3), (1.6, 2.1)),
        (lorry, (5.9, 10.6), (2.3, 3.0), (2.8, 3.9)),
        (bus, (9.4, 12.7), (2.4, 2.7), (2.8, 3.3)),
        (trailer, (3.0, 6.8), (1.5, 2.4), (1.7, 2.8)),
        (articulated, (12.4, 16.2), (2.3, 2.7), (3.0, 4.1)),
        (tipper, (5.4, 8.7), (1.9, 2.6), (2.0, 3.3)),
        (digger, (2.2, 7.0), (1.5, 3.0), (2.0, 4.6)),
        (coach, (9.9, 14.5), (2.4, 3.0), (3.2, 4.2)),
        (articulated_bus, (16.0, 18.5), (2.5, 6.0), (3.0, 3.2)),
        (lorry_with_trailer, (11.0, 19.6), (2.2, 5.0), (2.5, 3.9)),
        (car_transporter, (15.5, 18.0), (2.3, 3.0), (2.5, 4.1)),
        (wheel_loader, (3.5, 7.6), (1.3, 3.0), (1.5, 3.9)),
        (roller, (1.9, 4.9), (0.9, 2.0), (1.4, 2.9)),
        (tractor, (3.4, 10.0), (1.8, 2.4), (2.0, 2.8)),
        (forklift, (2.4, 4.0), (0.9, 1.4), (1.8, 2.6)),
        (tuk_tuk, (2.2, 3.3), (1.0, 1.8), (1.2, 2.1)),
        (pedestrian, (0.2, 1.4), (0.2, 1.1), (0.95, 2.35)),
        (child, (0.15, 0.9), (0.15, 0.7), (0.75, 1.4)),
        (seated_person, (0.3, 1.1), (0.3, 0.9), (0.75, SEATED_BELOW_M + 0.1)),
        (at_a_table, (0.3, 1.1), (0.3, 0.9), (0.75, SEATED_BELOW_M)),
        (on_the_ground, (0.4, 1.4), (0.2, 0.8), (0.45, 1.05)),
        (stooping_person, (0.3, 1.3), (0.3, 0.8), (0.6, 1.75)),
        (wheelchair_user, (0.5, 1.2), (0.5, 0.8), (0.9, SEATED_BELOW_M)),
        (cyclist, (1.5, 2.1), (0.5, 0.9), (1.3, 2.1)),
        (cargo_cyclist, (2.0, 2.8), (0.5, 0.9), (1.3, 2.1)),
        (courier, (1.5, 2.2), (0.45, 0.9), (1.3, 2.1)),
        (motorcyclist, (1.7, 2.4), (0.6, 1.0), (1.3, 2.0)),
        (scooter_rider, (1.45, 2.2), (0.55, 1.0), (1.35, 1.9)),
        (kick_scooter_rider, (0.9, 1.3), (0.4, 0.8), (1.5, 2.0)),
    ],
)
def test_an_object_has_the_size_of_its_kind_and_stands_on_the_ground(
    build: Build, length: Range, width: Range, height: Range
) -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        mesh = build(rng)
        dangling = 0.25 if build in (seated_person, at_a_table) else 0.0  # a child's feet
        assert -0.08 < mesh.vertices[:, 2].min() < 0.08 + dangling
        assert mesh.triangles.max() < len(mesh.vertices)
        assert mesh.surface.shape == mesh.triangles.shape
        assert np.isfinite(mesh.vertices).all()
        sizes = np.ptp(mesh.vertices, axis=0)
        for size, (low, high) in zip(sizes, (length, width, height), strict=True):
            assert low < size < high


@pytest.mark.parametrize(
    "build",
    dict.fromkeys((*CLUTTER, *UPRIGHTS, *PLANTS, *ROADSIDE)),
    ids=lambda build: build.__name__,
)
def test_background_stands_on_the_ground_and_has_background_classes(
    build: Callable[[np.random.Generator], Parts],
) -> None:
    rng = np.random.default_rng(1)
    for _ in range(10):
        parts = build(rng)
        assert set(parts) <= BACKGROUND
        lowest = min(mesh.vertices[:, 2].min() for mesh in parts.values())
        assert -0.3 < lowest < 0.35
        assert max(np.abs(mesh.vertices).max() for mesh in parts.values()) < 16


def test_many_uprights_end_above_the_beams_of_a_nearby_sensor() -> None:
    rng = np.random.default_rng(2)
    built = [UPRIGHTS[k % len(UPRIGHTS)](rng) for k in range(5 * len(UPRIGHTS))]
    tops = np.array([max(m.vertices[:, 2].max() for m in parts.values()) for parts in built])
    beam_m = HDL64.height_m + 8 * np.tan(np.radians(max(HDL64.elevations_deg)))
    assert (tops > beam_m).mean() > 0.75


def test_parked_two_wheelers_have_no_instances() -> None:
    rng = np.random.default_rng(0)
    rows = [parked_row(rng) for _ in range(60)]
    assert {label for row in rows for label in row} == {BICYCLE, MOTORCYCLE}
    assert not {BICYCLE, MOTORCYCLE} & set(THINGS)
    lengths = [np.ptp(mesh.vertices[:, 1]) for row in rows for mesh in row.values()]
    assert min(lengths) < 1.0
    assert max(lengths) > 5.0
    assert set(leaning_bicycle(rng)) == {BICYCLE}


# Groups


@pytest.mark.parametrize(
    ("build", "fewest", "most"),
    [
        (crowd, 2, 8),
        (queue, 2, 9),
        (terrace, 0, 17),
        (occupied_bench, 1, 4),
        (bus_stop, 1, 9),
        (stall, 1, 5),
        (stairs_with_people, 1, 6),
        (road_works, 1, 5),
        (getting_in, 1, 3),
        *((build, 1, 3) for build in dict.fromkeys(COMPANIONS)),
    ],
)
def test_the_people_of_a_group_are_instances_that_do_not_touch(
    build: Callable[[np.random.Generator], Group], fewest: int, most: int
) -> None:
    rng = np.random.default_rng(0)
    counts = []
    for _ in range(20):
        group = build(rng)
        labels = [label for label, _ in group]
        assert set(labels) <= {PERSON, CAR, BICYCLE, *BACKGROUND}
        things = [mesh.vertices for label, mesh in group if label in (PERSON, CAR)]
        assert separate(things).all()
        for label, mesh in group:
            low, high = mesh.vertices[:, 2].min(), mesh.vertices[:, 2].max()
            if label == PERSON:
                assert 0.45 < high - low < 2.35
                assert -0.08 < low < 1.5  # on stairs, above the ground
        counts.append(labels.count(PERSON))
    assert fewest <= min(counts)
    assert max(counts) <= most
    assert max(counts) > fewest or most == fewest or build in COMPANIONS


def test_most_people_on_a_terrace_are_seated() -> None:
    rng = np.random.default_rng(0)
    tops = [m.vertices[:, 2].max() for _ in range(30) for k, m in terrace(rng) if k == PERSON]
    assert len(tops) > 75
    assert (np.array(tops) < SEATED_BELOW_M).mean() > 0.85
    assert np.quantile(tops, 0.1) < 1.15


# Streets


class Census(NamedTuple):
    """What four streets of one kind contain; means per street."""

    scenes: list[StreetScene]
    things: dict[int, float]
    short_people: float

    def count(self, *labels: int) -> float:
        return sum(self.things[label] for label in labels)


@pytest.fixture(scope="module")
def streets() -> dict[str, Census]:
    return {kind.name: take_census(kind) for kind in KINDS}


def take_census(kind: StreetKind) -> Census:
    scenes = [
        random_scene(np.random.default_rng((seed, 9)), HDL64.height_m, kinds=[kind])
        for seed in range(STREETS_PER_KIND)
    ]
    things = dict.fromkeys(THINGS, 0.0)
    short = 0
    for scene in scenes:
        for word, vertices in instances(scene):
            things[word & 0xFFFF] += 1 / STREETS_PER_KIND
            short += word & 0xFFFF == PERSON and np.ptp(vertices[:, 2]) < SEATED_BELOW_M
    return Census(scenes, things, short / STREETS_PER_KIND)


def instances(scene: StreetScene) -> list[tuple[int, NDArray[np.float64]]]:
    """Label with instance number, and (V, 3) vertices, of each instance of a scene."""
    order = np.argsort(scene.labels, kind="stable")
    words, starts = np.unique(scene.labels[order], return_index=True)
    pieces = np.split(scene.mesh.triangles[order], starts[1:])
    return [
        (int(word), scene.mesh.vertices[np.unique(piece)])
        for word, piece in zip(words, pieces, strict=True)
        if word >> 16
    ]


def separate(bodies: list[NDArray[np.float64]]) -> NDArray[np.bool_]:
    """Return (B, B) bool: whether an upright or level plane separates two (V, 3) bodies."""
    angle = np.linspace(0, np.pi, 180, endpoint=False)
    normals = np.vstack([np.column_stack([np.cos(angle), np.sin(angle), 0 * angle]), [0, 0, 1]])
    low, high = (
        np.array([edge(body @ normals.T, axis=0) for body in bodies]).reshape(-1, len(normals))
        for edge in (np.min, np.max)
    )
    apart = (high[:, None] < low).any(axis=2)
    return apart | apart.T | np.eye(len(bodies), dtype=bool)


def test_every_kind_of_street_is_drawn_by_its_share() -> None:
    rng = np.random.default_rng(0)
    drawn = [random_kind(rng).name for _ in range(2000)]
    total = sum(kind.share for kind in KINDS)
    for kind in KINDS:
        assert abs(drawn.count(kind.name) / 2000 - kind.share / total) < 0.03
    assert {random_kind(rng, KINDS[1:3]).name for _ in range(50)} == {"old town", "plaza"}


def test_the_documents_name_every_kind_with_its_share() -> None:
    page = (ROOT / "docs/streets.md").read_text(encoding="utf-8")
    for kind in KINDS:
        assert f"| {kind.name} | {kind.share} | " in page


def test_streets_are_labelled_and_instances_do_not_overlap(streets: dict[str, Census]) -> None:
    for census in streets.values():
        for scene in census.scenes:
            classes, numbers = scene.labels & 0xFFFF, scene.labels >> 16
            assert set(np.unique(classes)) <= {*THINGS, BICYCLE, MOTORCYCLE, *BACKGROUND}
            np.testing.assert_array_equal(numbers > 0, np.isin(classes, THINGS))
            bodies = instances(scene)
            assert len({word >> 16 for word, _ in bodies}) == len(bodies)
            assert separate([vertices for _, vertices in bodies]).all()


def test_kinds_of_street_differ_in_what_they_contain(streets: dict[str, Census]) -> None:
    people = {name: census.count(PERSON) for name, census in streets.items()}
    assert people["plaza"] > 25 > people["junction"] > people["arterial"]
    assert streets["plaza"].short_people > 8
    assert streets["park"].short_people > 4
    assert streets["scooter city"].count(MOTORCYCLIST) > 8
    assert streets["junction"].count(BICYCLIST, MOTORCYCLIST) > 5
    assert streets["arterial"].count(TRUCK, BUS, OTHER_VEHICLE) > 3
    assert streets["industrial"].count(TRUCK, BUS, OTHER_VEHICLE) > 2
    assert streets["boulevard"].count(CAR) > 15


def test_all_classes_are_common_over_all_streets(streets: dict[str, Census]) -> None:
    shares = np.array([kind.share for kind in KINDS]) / sum(kind.share for kind in KINDS)
    for label, at_least in (
        *((CAR, 12), (TRUCK, 0.4), (BUS, 0.1), (OTHER_VEHICLE, 0.4)),
        *((PERSON, 10), (BICYCLIST, 1.5), (MOTORCYCLIST, 1)),
    ):
        means = [streets[kind.name].count(label) for kind in KINDS]
        assert shares @ means > at_least


def test_the_walls_of_an_old_town_are_near_on_both_sides(streets: dict[str, Census]) -> None:
    nearest = []
    for scene in streets["old town"].scenes:
        house = scene.mesh.vertices[np.unique(scene.mesh.triangles[scene.labels == 50])]
        along, across = (house - scene.origin)[:, :2].T
        beside = across[np.abs(along) < 40]
        nearest += [beside[beside > 0].min(), -beside[beside < 0].max()]
    assert 1.0 < np.median(nearest) < 4.5


def test_the_strip_of_a_boulevard_is_raised_and_not_part_of_the_road() -> None:
    boulevard = next(kind for kind in KINDS if kind.name == "boulevard")
    for seed in range(10):
        plan = StreetPlan.random(np.random.default_rng(seed), replace(boulevard, side_road=0.0))
        assert 1.5 < plan.median_m < 5
        assert plan.distance_to_road(0, 0) == plan.median_m / 2
        assert plan.kerb_rise(0, 0) == plan.kerb_height_m
        for kerb in plan.kerbs:
            lanes = [kerb.at(0, out) for out in kerb.lanes_m]
            assert len(lanes) == kerb.num_lanes
            assert (plan.distance_to_road(*np.transpose(lanes)) < -1).all()


# People beside and behind things

NOBODY = replace(
    RESIDENTIAL,
    **{"walkers": (0, 0), "companions": 0.0, "hidden": 0.0, "beside": 0.0, "crowds": 0.0},
    **dict.fromkeys(("terraces", "benches", "stalls", "stops"), 0.0),
)


def street_with_a_wall(kind: StreetKind, height_m: float) -> StreetScene:
    """A street with nothing but a wall 9 m beside the sensor and the people of its kind."""
    rng = np.random.default_rng(4)
    plan = replace(StreetPlan.random(rng, kind), curvature=0.0, bank_slope=0.0)
    builder = StreetBuilder(rng, plan)
    assert builder.place({51: box((14, 0.3, height_m), (0, 0, 0), SKIN)}, 0, 9)
    add_people(builder, np.zeros(2))
    return builder.finish(0, 0, HDL64.height_m, 0)


def test_hidden_people_show_only_their_upper_part() -> None:
    scene = street_with_a_wall(replace(NOBODY, hidden=8.0), 1.1)
    bodies = instances(scene)
    assert 2 <= len(bodies) <= 14
    origins, directions = HDL64.rays(np.random.default_rng(0))
    distance, triangle, _ = cast_rays(scene, origins, directions)
    hit = np.isfinite(distance)
    seen = scene.labels[triangle[hit]] & 0xFFFF == PERSON
    height = directions[hit][seen, 2] * distance[hit][seen] + HDL64.height_m
    assert len(height) > 50
    assert np.quantile(height, 0.02) > 0.7


def test_people_beside_a_wall_are_within_reach_of_it() -> None:
    scene = street_with_a_wall(replace(NOBODY, beside=8.0), 1.1)
    bodies = [vertices for _, vertices in instances(scene)]
    assert len(bodies) >= 2
    wall = np.array([[7, 9.15], [-7, 8.85]])
    outside = [
        np.maximum(body[:, :2].min(axis=0) - wall[0], wall[1] - body[:, :2].max(axis=0)).max()
        for body in bodies
    ]
    assert min(outside) > 0
    assert min(outside) < 0.32  # others stand beside each other
