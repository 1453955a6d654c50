"""Paint on the roads and the kerbs beside them: lines with a class and a number of their own.

Lines are not made of triangles. A point that the sensor measures on the ground gets the paint,
class and number of the stripe that it falls on.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from bev_instseg.simulate.street_plan import ROAD, SIDEWALK, Kerb, StreetPlan

LANE_MARKING, KERB = 60, 61  # the first is SemanticKITTI's number; it has none for kerbs

Ends = tuple[float, float]
Dash = tuple[float, float]  # length and period, metres

_KERB_REACH_M = 0.12  # points up to this far from a kerb belong to it
_LOWEST_KERB_M = 0.03
_SOLID = (1.0, 1.0)
_DASHES = ((3.0, 6.0), (3.0, 9.0), (3.0, 12.0), (4.0, 12.0), (6.0, 18.0), (1.5, 3.0), (1.0, 2.0))
_WORN_WAVES_M = 7.3, 2.9  # worn places come and go along a line with these periods
_NARROW_M = 2.7  # no middle line on a road with lanes narrower than this


@dataclass(frozen=True)
class Stripe:
    """A straight stripe of the plan, in dashes or without a gap.

    Attributes:
        label: Its class; `ROAD` for a repaired place.
        line: Number of the line that it is part of, from 1; 0 for a repaired place.
        along_u: Whether it runs along u; else along v.
        across_m: Its middle on the other coordinate, metres.
        width_m: Its width.
        ends_m: Its ends on the coordinate that it runs along.
        dash_m: Length of a dash and distance from one to the next.
        reflectivity: As of a `Material`; NaN leaves that of the ground.
        wear: 0 for fresh paint, 1 for hardly any left.
    """

    label: int
    line: int
    along_u: bool
    across_m: float
    width_m: float
    ends_m: Ends
    dash_m: Dash = _SOLID
    reflectivity: float = np.nan
    wear: float = 0.0

    def holds(self, uv: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return (N,) bool: which of (N, 2) plan coordinates lie on it."""
        along, across = uv.T if self.along_u else uv.T[::-1]
        low, high = self.ends_m
        inside: NDArray[np.bool_] = np.abs(across - self.across_m) < self.width_m / 2
        inside &= (low < along) & (along < high)
        (near,) = np.nonzero(inside)
        along, (length, period) = along[near] - low, self.dash_m
        waves = sum(np.sin(2 * np.pi * along / wave + wave) for wave in _WORN_WAVES_M)
        inside[near] = (along % period < length) & (waves < 2.01 - 2 * self.wear)
        return inside


@dataclass(frozen=True)
class Markings:
    """Everything painted on a street's roads, and its kerbs; later stripes lie on earlier ones."""

    stripes: tuple[Stripe, ...]

    @classmethod
    def random(cls, rng: np.random.Generator, plan: StreetPlan) -> "Markings":
        """Paint the roads of a plan as such roads often are."""
        painter = _Painter(rng, plan)
        painter.repair()
        if rng.random() < plan.kind.markings:
            painter.paint_main_road()
            painter.paint_side_road()
            painter.paint_crossings()
        painter.mark_kerbs()
        return cls(tuple(painter.stripes))

    def find(
        self, uv: NDArray[np.float64], ground: NDArray[np.uint32]
    ) -> tuple[NDArray[np.uint32], NDArray[np.float32]]:
        """Look up points on the ground.

        Args:
            uv: (N, 2) plan coordinates, metres.
            ground: (N,) uint32 class of the ground there.

        Returns:
            label: (N,) uint32 class, plus the number of the line << 16; ``ground`` beside lines.
            reflectivity: (N,) float32; NaN where it is that of the ground.
        """
        label, reflectivity = ground.copy(), np.full(len(uv), np.nan, np.float32)
        on_road, paved = ground == ROAD, np.isin(ground, (ROAD, SIDEWALK))
        for stripe in self.stripes:
            on_it = stripe.holds(uv) & (paved if stripe.label == KERB else on_road)
            label[on_it] = stripe.label | stripe.line << 16
            reflectivity[on_it] = stripe.reflectivity
        return label, reflectivity


class _Painter:
    """Adds stripes to a plan; coordinates as in `Stripe`."""

    def __init__(self, rng: np.random.Generator, plan: StreetPlan) -> None:
        self.rng, self.plan = rng, plan
        self.stripes: list[Stripe] = []
        self._num_lines = 0
        self._reflectivity = np.exp(rng.uniform(np.log(0.35), np.log(0.95)))
        self._wear = rng.beta(1, 3)
        self._width_m = rng.uniform(0.1, 0.25)
        self._mouth = _mouth(plan)

    def repair(self) -> None:
        """Add repaired places of any size and spots, darker or brighter than the road."""
        rng = self.rng
        for is_spot in [False] * rng.poisson(3) + [True] * rng.poisson(8):
            start, across = rng.uniform(-40, 40), rng.normal(0, 5)
            along_u, width = bool(rng.random() < 0.7), rng.uniform(0.2, 0.8 if is_spot else 2)
            ends = start, start + (rng.uniform(0.2, 1.5) if is_spot else rng.uniform(0.5, 30))
            shade = rng.uniform(0.2, 0.6 if is_spot else 0.5)
            self.stripes.append(Stripe(ROAD, 0, along_u, across, width, ends, reflectivity=shade))

    def paint_main_road(self) -> None:
        """Paint the lines along the main road: between lanes, at its edges and in the middle."""
        rng, kerbs = self.rng, self.plan.kerbs[:2]
        dash, breaks = self._dash(), rng.random() < 0.6
        for kerb, sign in zip(kerbs, (1, -1), strict=True):
            lanes = [abs(lane + kerb.half_width_m) for lane in kerb.lanes_m]
            for one, other in pairwise(lanes):
                self._along_main(sign * (one + other) / 2, dash, breaks)
            edge = kerb.half_width_m - kerb.parking_m
            if rng.random() < (0.6 if kerb.parking_m else 0.4):
                inside = 0.0 if kerb.parking_m else rng.uniform(0.15, 0.5)
                style = _SOLID if rng.random() < 0.7 else self._dash()
                self._along_main(sign * (edge - inside), style, True)
            if kerb.median_m and rng.random() < 0.7:
                self._along_main(sign * (kerb.median_m / 2 + rng.uniform(0.2, 0.5)), _SOLID, True)
        if not self.plan.median_m and min(map(_lane_width, kerbs)) > _NARROW_M:
            middle = (kerbs[0].parking_m - kerbs[1].parking_m) / -2
            self._middle_line(middle, dash, breaks)

    def _middle_line(self, across_m: float, dash: Dash, breaks: bool) -> None:
        """Paint a dashed or solid line, a double one, or both side by side."""
        styles: tuple[tuple[Dash, ...], ...] = (dash,), (_SOLID,), (_SOLID, _SOLID), (dash, _SOLID)
        style = styles[int(self.rng.choice(4, p=(0.5, 0.2, 0.2, 0.1)))]
        apart = self._width_m + self.rng.uniform(0.1, 0.2) if len(style) == 2 else 0.0
        for ends in self._pieces(0.0 if breaks else None):
            self._num_lines += 1
            for side, dashes in zip((-1, 1), style, strict=False):
                self._add(True, across_m + side * apart / 2, ends, dashes)

    def paint_side_road(self) -> None:
        """Paint the middle of the side road and the lines where its traffic gives way."""
        if self._mouth is None:
            return
        side, half = self.plan.kerbs[2], self.plan.kerbs[0].half_width_m
        middle, width = side.u + side.half_width_m, side.half_width_m
        dash, has_middle = self._dash(), self.rng.random() < 0.6
        for sign in (1, -1):
            far = side.ends_m[1] if sign > 0 else -side.ends_m[0]
            if far <= half:
                continue
            start = half + self.rng.uniform(1, 4)
            ends = (start, far) if sign > 0 else (-far, -start)
            if has_middle:
                self._num_lines += 1
                self._add(False, middle, ends, dash)
            if self.rng.random() < 0.6:  # on the right for those who come to the junction
                self._num_lines += 1
                lane = (middle - width, middle) if sign > 0 else (middle, middle + width)
                style = _SOLID if self.rng.random() < 0.6 else (0.5, 0.8)
                self._add(True, sign * start, lane, style, self.rng.uniform(0.3, 0.6))

    def paint_crossings(self) -> None:
        """Paint zebra crossings over the main road; all bars of one are one line."""
        rng, half = self.rng, self.plan.kerbs[0].half_width_m
        for _ in range(rng.poisson(0.5)):
            at, length = rng.uniform(-35, 35), rng.uniform(2.5, 4.5)
            self._num_lines += 1
            for across in np.arange(-half + 0.5, half, rng.uniform(0.9, 1.1)):
                self._add(True, float(across), (at, at + length), _SOLID, 0.5)

    def mark_kerbs(self) -> None:
        """Number the kerbs that are high enough to be seen."""
        if self.plan.kerb_height_m < _LOWEST_KERB_M:
            return
        half, median = self.plan.kerbs[0].half_width_m, self.plan.median_m
        places = [half, -half] + ([median / 2, -median / 2] if median else [])
        for across in places:
            for ends in self._pieces(across if abs(across) == half else None):
                self._kerb(True, across, ends)
        if self._mouth is None:
            return
        for across in self._mouth:
            for kerb_end in self.plan.kerbs[2].ends_m:
                if kerb_end > half:
                    self._kerb(False, across, (half, kerb_end))
                elif kerb_end < -half:
                    self._kerb(False, across, (kerb_end, -half))

    def _kerb(self, along_u: bool, across_m: float, ends: Ends) -> None:
        self._num_lines += 1
        stripe = Stripe(KERB, self._num_lines, along_u, across_m, 2 * _KERB_REACH_M, ends)
        self.stripes.append(stripe)

    def _along_main(self, across_m: float, dash: Dash, breaks: bool) -> None:
        for ends in self._pieces(across_m if breaks else None):
            self._num_lines += 1
            self._add(True, across_m, ends, dash)

    def _add(
        self, along_u: bool, across_m: float, ends: Ends, dash: Dash, width_m: float | None = None
    ) -> None:
        self.stripes.append(
            Stripe(
                *(LANE_MARKING, self._num_lines, along_u, across_m, width_m or self._width_m, ends),
                *(dash, self._reflectivity * self.rng.uniform(0.85, 1.15), self._wear),
            )
        )

    def _dash(self) -> Dash:
        return _DASHES[int(self.rng.integers(len(_DASHES)))]

    def _pieces(self, across_m: float | None) -> Iterator[Ends]:
        """Yield the ends of a line's pieces along the main road, which a side road may interrupt.

        Args:
            across_m: v of the line; it is interrupted if the side road lies on that side of the
                main road. None for a line that is never interrupted.
        """
        low, high = self.plan.kerbs[0].ends_m
        if self._mouth is None or across_m is None or not self._meets_side_road(across_m):
            yield low, high
            return
        yield low, self._mouth[0]
        yield self._mouth[1], high

    def _meets_side_road(self, across_m: float) -> bool:
        ends = self.plan.kerbs[2].ends_m
        return ends[0] <= across_m <= ends[1]


def _mouth(plan: StreetPlan) -> Ends | None:
    """Return both edges of the side road as u coordinates."""
    if len(plan.kerbs) == 2:
        return None
    side = plan.kerbs[2]
    return side.u, side.u + 2 * side.half_width_m


def _lane_width(kerb: Kerb) -> float:
    return (kerb.half_width_m - kerb.median_m / 2 - kerb.parking_m) / kerb.num_lanes
