"""Find the ground as the plane that most points near the sensor lie on."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bev_instseg.ops.kernel import kernel

RING_M = (1.0, 25.0)  # horizontal distances of the points that are used
NUM_PLANES = 128  # planes through three random points that are usually tried
MAX_COUNTED = 512  # points that each of them is judged by
NUM_FITS = 3
MAX_TILT_DEG = 30.0  # steeper planes are not ground
TOLERANCE_M = 0.15  # a point this close to the plane lies on it
BELOW_M = 0.45  # a point this far below the plane speaks against it,
BELOW_COST = 2  # as much as this many points on it speak for it
MIN_POINTS = 50  # fewer near points say too little
MIN_TRIANGLE_M2 = 1.0  # area of the triangle that a plane is first put through
MIN_WIDTH_M = 2.0  # standard deviation of the ground's points in their narrower direction
MIN_SHARE = 0.25  # of the near points lie on the ground
MAX_BELOW_SHARE = 0.1  # of the near points lie below it


@dataclass(frozen=True)
class GroundPlane:
    """The plane of the ground near the sensor.

    Attributes:
        normal: (3,) float64 unit vector that points up from the ground.
        height_m: Height of the origin above the plane, metres.
        share: Share of the near points that lie on the plane.
        below_share: Share of the near points below the plane.
        above_share: Share of the near points above the plane.
        width_m: Standard deviation of the points on the plane in their narrower direction, metres.
    """

    normal: NDArray[np.float64]
    height_m: float
    share: float
    below_share: float
    above_share: float
    width_m: float

    @property
    def score(self) -> float:
        """Share of the points on the plane, less `BELOW_COST` times that of those below it."""
        return self.share - BELOW_COST * self.below_share

    @property
    def is_clear(self) -> bool:
        """Whether the plane is clearly the ground, and not a wall, a roof or a slope beside it."""
        return (
            self.share >= MIN_SHARE
            and self.below_share <= MAX_BELOW_SHARE
            and self.width_m >= MIN_WIDTH_M
        )

    @property
    def tilt_deg(self) -> float:
        """Angle between the plane and the horizontal, degrees."""
        return float(np.degrees(np.arccos(min(self.normal[2], 1.0))))


def fit_ground_plane(xyz: NDArray[np.float64]) -> GroundPlane | None:
    """Find the ground near the sensor.

    Args:
        xyz: (n, 3) points relative to the sensor, z roughly up.

    Returns:
        The ground; None if no plane is clearly the ground.
    """
    plane = fit_best_plane(xyz)
    return plane if plane is not None and plane.is_clear else None


def fit_best_plane(
    xyz: NDArray[np.float64], max_tilt_deg: float = MAX_TILT_DEG, num_planes: int = NUM_PLANES
) -> GroundPlane | None:
    """Find the plane with the highest score: most points on it, few below it.

    Planes through random triples of points are tried, always the same ones, and the best is fitted
    to its points. `GroundPlane.is_clear` says whether it is the ground.

    Args:
        xyz: (n, 3) points relative to the sensor, z roughly up.
        max_tilt_deg: Steeper planes are not tried, degrees.
        num_planes: Number of random planes.

    Returns:
        The plane; None if there are too few points or it is steeper than ``max_tilt_deg``.
    """
    near = _pick_near(xyz)
    if len(near) < MIN_POINTS:
        return None
    middle = near.mean(axis=0)
    near -= middle  # the height of a map may be large
    plane = _best_plane(near, np.cos(np.radians(max_tilt_deg)), num_planes)
    for _ in range(NUM_FITS):
        if not _fit_plane(near, plane):
            return None
    ground = GroundPlane(plane[:3], float(-plane[3] - middle @ plane[:3]), *_describe(near, plane))
    return ground if ground.tilt_deg <= max_tilt_deg else None


@kernel
def _pick_near(xyz):  # type: ignore[no-untyped-def]
    """Return (m, 3) float64 those of (n, 3) points whose horizontal distance is in `RING_M`."""
    near = np.empty((len(xyz), 3))
    m = 0
    for i in range(len(xyz)):
        if RING_M[0] ** 2 < xyz[i, 0] ** 2 + xyz[i, 1] ** 2 < RING_M[1] ** 2:
            near[m] = xyz[i]
            m += 1
    return near[:m]


@kernel
def _describe(xyz, plane):  # type: ignore[no-untyped-def]
    """Return the shares of points on, below and above a plane, and the width of those on it.

    Args:
        xyz: (n, 3) float64 points, n > 0.
        plane: (4,) float64 unit normal and distance.

    Returns:
        The shares, and the standard deviation along the narrower of the horizontal directions.
    """
    on, below, above, x, y, xx, xy, yy = 0, 0, 0, 0.0, 0.0, 0.0, 0.0, 0.0
    for i in range(len(xyz)):
        u, v, w = xyz[i]
        height = plane[0] * u + plane[1] * v + plane[2] * w - plane[3]
        below += height < -BELOW_M
        above += height > BELOW_M
        if abs(height) < TOLERANCE_M:
            on, x, y = on + 1, x + u, y + v
            xx, xy, yy = xx + u * u, xy + u * v, yy + v * v
    x, y = x / max(on, 1), y / max(on, 1)
    xx, xy, yy = xx / max(on, 1) - x * x, xy / max(on, 1) - x * y, yy / max(on, 1) - y * y
    narrow = (xx + yy) / 2 - np.sqrt(((xx - yy) / 2) ** 2 + xy * xy)
    n = len(xyz)
    return on / n, below / n, above / n, np.sqrt(max(narrow, 0.0))


@kernel
def _best_plane(xyz, min_upward, num_planes):  # type: ignore[no-untyped-def]
    """Return the unit normal and distance of the best plane; of one far above if there is none.

    Args:
        xyz: (n, 3) float64 points, n > 0.
        min_upward: Cosine of the largest tilt.
        num_planes: Number of planes to try.
    """
    best = np.array([0.0, 0.0, 1.0, 1e30])
    most = -(BELOW_COST + 1) * len(xyz)
    step = 1 + len(xyz) // MAX_COUNTED
    corner = np.empty(3, np.int64)
    state = np.uint64(1)
    for _ in range(num_planes):
        for k in range(3):  # a linear congruential generator: the same numbers on every machine
            state = state * np.uint64(6364136223846793005) + np.uint64(1442695040888963407)
            corner[k] = np.int64((state >> np.uint64(33)) % np.uint64(len(xyz)))
        a, u, v = xyz[corner[0]], xyz[corner[1]] - xyz[corner[0]], xyz[corner[2]] - xyz[corner[0]]
        nx, ny = u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2]
        nz = u[0] * v[1] - u[1] * v[0]
        length = np.sqrt(nx * nx + ny * ny + nz * nz)
        if length < 2 * MIN_TRIANGLE_M2 or abs(nz) < min_upward * length:
            continue
        if nz < 0:
            length = -length
        nx, ny, nz = nx / length, ny / length, nz / length
        distance = nx * a[0] + ny * a[1] + nz * a[2]
        score = 0
        left = (len(xyz) + step - 1) // step
        for i in range(0, len(xyz), step):
            if score + left <= most:
                break
            left -= 1
            height = nx * xyz[i, 0] + ny * xyz[i, 1] + nz * xyz[i, 2] - distance
            score += (abs(height) < TOLERANCE_M) - BELOW_COST * (height < -BELOW_M)
        if score > most:
            most = score
            best[0], best[1], best[2], best[3] = nx, ny, nz, distance
    return best


@kernel
def _fit_plane(xyz, plane):  # type: ignore[no-untyped-def]
    """Fit a plane to the points on it, in place, by least squares of the heights.

    Args:
        xyz: (n, 3) float64 points.
        plane: (4,) float64 unit normal and distance; replaced.

    Returns:
        Whether there are points on the plane, and they are not in a line.
    """
    n, x, y, z = 0, 0.0, 0.0, 0.0
    xx, xy, yy, xz, yz = 0.0, 0.0, 0.0, 0.0, 0.0
    for i in range(len(xyz)):
        u, v, w = xyz[i]
        if abs(plane[0] * u + plane[1] * v + plane[2] * w - plane[3]) < TOLERANCE_M:
            n, x, y, z = n + 1, x + u, y + v, z + w
            xx, xy, yy, xz, yz = xx + u * u, xy + u * v, yy + v * v, xz + u * w, yz + v * w
    if n < 3:
        return False
    x, y, z = x / n, y / n, z / n
    xx, xy, yy, xz, yz = (
        xx / n - x * x,
        xy / n - x * y,
        yy / n - y * y,
        xz / n - x * z,
        yz / n - y * z,
    )
    determinant = xx * yy - xy * xy
    if determinant < 1e-6:
        return False
    a, b = (xz * yy - yz * xy) / determinant, (yz * xx - xz * xy) / determinant
    length = np.sqrt(a * a + b * b + 1)
    plane[0], plane[1], plane[2] = -a / length, -b / length, 1 / length
    plane[3] = (z - a * x - b * y) / length
    return True
