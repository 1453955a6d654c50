"""Kinds of street: what each is made of and how often. Every simulated street draws its kind.

Values are drawn uniformly from a `Range`; a mean number is that of a Poisson distribution.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

Range = tuple[float, float]
Count = tuple[int, int]  # both ends included


@dataclass(frozen=True)
class Frontages:
    """Relative odds of what stands behind the pavements, piece by piece."""

    house: float = 0.25
    lot: float = 0.06
    garden: float = 0.17
    wall: float = 0.07
    fence: float = 0.06
    hedge: float = 0.16
    thicket: float = 0.2
    noise_wall: float = 0.0
    yard: float = 0.0


@dataclass(frozen=True)
class StreetKind:
    """Dimensions and contents of a kind of street; the defaults are those of a residential one."""

    name: str = "residential"
    share: float = 4.0
    """How often this kind is drawn, relative to the others."""

    lane_m: Range = (3.0, 4.0)
    """Width of a lane, metres."""
    num_lanes: tuple[int, ...] = (1,)
    """Lanes in each direction, equally likely."""
    parking: float = 0.6
    """Probability of a parking lane on either side."""
    median: float = 0.0
    """Probability of a planted strip between the directions, 1.5 to 5 m wide."""
    pavement_m: Range = (1.5, 4.0)
    """Width of the pavements, metres."""
    kerb_m: Range = (0.04, 0.15)
    """Height of the pavements above the road, metres."""
    side_road: float = 0.65
    """Probability of a side road or junction."""
    paved: float = 0.4
    """Probability that the ground behind the pavements is paved."""
    markings: float = 0.75
    """Probability that lines are painted on the roads."""

    setback_m: Range = (1.2, 7.0)
    """Distance of the houses from the pavement, metres."""
    gap_m: Range = (0.1, 4.0)
    """Distance between neighbouring houses or other frontages, metres."""
    frontages: Frontages = Frontages()

    parked: Range = (0.0, 0.75)
    """Occupied share of the parking lanes."""
    spacing_m: Range = (25.0, 150.0)
    """Mean distance between moving vehicles of a lane, metres."""
    heavy: float = 0.12
    """Share of lorries, buses, machines and trailers in the traffic."""
    queues: float = 0.15
    """Mean number of queues of waiting traffic."""
    swarms: float = 0.0
    """Mean number of swarms of 8 to 30 riders side by side."""
    riders: Count = (1, 9)
    """Number of single riders."""
    motored: float = 0.35
    """Share of scooters and motorcycles among riders."""
    racks: float = 2.5
    """Mean number of rows of parked two-wheelers."""

    furniture_m: Range = (4.0, 12.0)
    """Mean distance between pieces of street furniture, metres."""
    avenue: float = 0.4
    """Probability that trees line a pavement."""
    walkers: Count = (2, 11)
    """Number of pedestrians or small groups on foot."""
    companions: float = 1.5
    """Mean number of people with prams, suitcases, dogs, children or in wheelchairs."""
    hidden: float = 3.0
    """Mean number of people whose lower half is hidden from the sensor."""
    beside: float = 3.0
    """Mean number of people who stand within 0.3 m of an object."""
    crowds: float = 0.6
    """Mean number of groups and queues of people who stand close together."""
    terraces: float = 0.4
    """Mean number of terraces of cafés."""
    benches: float = 0.8
    """Mean number of benches with people on them."""
    stalls: float = 0.1
    """Mean number of market stalls with people."""
    stops: float = 0.4
    """Mean number of bus stops, stairs, building sites and open cars with people."""

    uprights: float = 5.0
    """Mean number of columns, posts, trunks and kiosks, or rows of four, near the sensor."""
    rows: float = 0.8
    """Mean number of rows of shrubs or young trees."""
    roadside: float = 5.0
    """Mean number of mounds, barriers, walls and containers, most at 20 to 50 m."""
    backdrop: int = 30
    """Houses, trees and shrubs farther off, where there is room."""


RESIDENTIAL = StreetKind()
OLD_TOWN = StreetKind(
    name="old town", markings=0.25,
    share=1.3, lane_m=(1.7, 2.6), parking=0.15, pavement_m=(0.3, 1.4),
    kerb_m=(0.0, 0.1), paved=1.0, setback_m=(0.0, 0.5), gap_m=(0.0, 0.4),
    frontages=Frontages(house=0.85, lot=0.0, garden=0.02, wall=0.08, fence=0.0, hedge=0.02,
                        thicket=0.0),
    spacing_m=(40, 200), heavy=0.05, riders=(1, 9), motored=0.4, racks=3.5, furniture_m=(5, 14),
    avenue=0.05, walkers=(5, 16), companions=2.0, crowds=0.8, terraces=1.0, benches=0.4,
    stalls=0.3, uprights=5.0, rows=0.2, roadside=1.0, backdrop=10,
)  # fmt: skip
PLAZA = StreetKind(
    name="plaza", markings=0.3, share=1.4, lane_m=(2.8, 4.5), parking=0.0, pavement_m=(5.0, 14.0),
    kerb_m=(0.0, 0.03), paved=1.0, setback_m=(0.0, 2.0), gap_m=(0.0, 1.5),
    frontages=Frontages(house=0.75, lot=0.0, garden=0.05, wall=0.05, fence=0.0, hedge=0.05,
                        thicket=0.02),
    spacing_m=(60, 300), heavy=0.08, queues=0.0, riders=(2, 9), motored=0.15, racks=3.0,
    furniture_m=(4, 10), avenue=0.3, walkers=(8, 22), companions=4.0, hidden=3.0, beside=4.0,
    crowds=2.0, terraces=2.6, benches=1.5, stalls=1.3, stops=0.5, uprights=7.0, rows=0.8,
    roadside=1.0, backdrop=10,
)  # fmt: skip
BOULEVARD = StreetKind(
    name="boulevard", markings=0.95, share=1.3, num_lanes=(1, 2, 2), parking=0.7, median=1.0,
    pavement_m=(2.5, 6.0), paved=0.8, setback_m=(0.0, 4.0),
    frontages=Frontages(house=0.5, hedge=0.12, thicket=0.08), spacing_m=(15, 70), queues=0.4,
    avenue=0.7, walkers=(3, 14), companions=1.5, terraces=0.6, benches=0.7, stops=0.5,
    uprights=5.0, rows=3.0, backdrop=20,
)  # fmt: skip
ARTERIAL = StreetKind(
    name="arterial", markings=0.95,
    share=1.2, lane_m=(3.2, 3.8), num_lanes=(2, 2, 3), parking=0.05, median=0.7,
    pavement_m=(0.8, 3.0), side_road=0.25, paved=0.15, setback_m=(4.0, 15.0),
    frontages=Frontages(house=0.1, garden=0.1, wall=0.08, hedge=0.1, thicket=0.3, noise_wall=0.3),
    spacing_m=(14, 60), heavy=0.3, queues=0.5, riders=(0, 3), motored=0.6, racks=0.2,
    furniture_m=(10, 25), avenue=0.15, walkers=(0, 3), companions=0.2, hidden=0.7, beside=0.4,
    crowds=0.1, terraces=0.0, benches=0.0, stalls=0.0, stops=0.4, uprights=3.0, rows=2.0,
    roadside=12.0, backdrop=24,
)  # fmt: skip
YARD = StreetKind(
    name="industrial", share=0.9, lane_m=(3.2, 5.0), parking=0.4, pavement_m=(0.5, 3.0),
    kerb_m=(0.0, 0.12), paved=0.8, setback_m=(2.0, 12.0),
    frontages=Frontages(house=0.2, lot=0.15, garden=0.05, wall=0.1, fence=0.15, hedge=0.04,
                        thicket=0.06, yard=0.35),
    parked=(0.1, 0.9), heavy=0.55, riders=(0, 3), motored=0.4, racks=0.8, furniture_m=(8, 20),
    avenue=0.05, walkers=(1, 7), companions=0.3, crowds=0.4, terraces=0.0, benches=0.1, stalls=0.0,
    stops=0.8, uprights=5.0, rows=0.2, roadside=12.0, backdrop=16,
)  # fmt: skip
PARK = StreetKind(
    name="park", markings=0.15, share=0.9, lane_m=(1.4, 2.6), parking=0.0, pavement_m=(0.3, 1.5),
    kerb_m=(0.0, 0.05), paved=0.0,
    frontages=Frontages(house=0.02, lot=0.0, garden=0.35, wall=0.03, fence=0.05, hedge=0.15,
                        thicket=0.4),
    spacing_m=(100, 400), heavy=0.1, queues=0.0, riders=(2, 10), motored=0.05, racks=1.5,
    furniture_m=(5, 14), avenue=0.8, walkers=(5, 16), companions=4.0, hidden=3.0, beside=3.0,
    crowds=1.0, terraces=0.4, benches=2.5, stalls=0.2, stops=0.1, uprights=5.0, rows=2.0,
    roadside=4.0,
)  # fmt: skip
JUNCTION = replace(
    RESIDENTIAL, name="junction", markings=0.9,
    share=1.2, num_lanes=(1, 2), side_road=1.0, paved=0.8,
    setback_m=(0.0, 5.0), frontages=Frontages(house=0.45), spacing_m=(15, 60), heavy=0.18,
    queues=2.2, swarms=0.3, riders=(2, 9), motored=0.4, walkers=(5, 16), companions=2.0,
    crowds=1.2, backdrop=20,
)  # fmt: skip
SCOOTER_CITY = replace(
    RESIDENTIAL, name="scooter city", share=1.1, num_lanes=(1, 1, 2), parking=0.4,
    pavement_m=(1.0, 3.5), paved=1.0, setback_m=(0.0, 1.5), gap_m=(0.0, 1.0),
    frontages=Frontages(house=0.8, wall=0.06, hedge=0.03, thicket=0.02), spacing_m=(18, 80),
    queues=0.5, swarms=1.3, riders=(10, 30), motored=0.85, racks=9.0, furniture_m=(4, 10),
    walkers=(4, 14), crowds=0.8, terraces=0.8, stalls=1.2, uprights=5.0, backdrop=12,
)  # fmt: skip
KINDS = (*(RESIDENTIAL, OLD_TOWN, PLAZA, BOULEVARD, ARTERIAL, YARD, PARK, JUNCTION, SCOOTER_CITY),)


def random_kind(rng: np.random.Generator, kinds: Sequence[StreetKind] = KINDS) -> StreetKind:
    """Draw one of several kinds of street by its share.

    Args:
        rng: Source of randomness.
        kinds: The kinds to choose from.
    """
    shares = np.array([kind.share for kind in kinds])
    return kinds[int(rng.choice(len(kinds), p=shares / shares.sum()))]
