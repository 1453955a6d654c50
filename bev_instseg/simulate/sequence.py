"""Streets in motion: one street, whose traffic, people and sensor move from sweep to sweep.

Traffic in the lanes of the main road, riders along it and people move along their headings, each as
a rigid body; some of them stand. Vehicles on a side road, parked vehicles, vehicles at odd places
and objects placed in groups stay. Halfway through the sequence, every object is at the place where
it was put when the street was built.
"""

import csv
import io
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bev_instseg.datasets.semantickitti import write_frame
from bev_instseg.file_io import write_atomic
from bev_instseg.io.sensor_setup import euler_rotation
from bev_instseg.simulate.kitti_layouts import StreetLayout, read_layouts_once
from bev_instseg.simulate.measure import measure
from bev_instseg.simulate.populate import random_scene
from bev_instseg.simulate.random_sensors import random_sensor
from bev_instseg.simulate.sensor import SensorConfig
from bev_instseg.simulate.sensor_models import HDL64
from bev_instseg.simulate.street_builder import (
    BICYCLIST,
    MOTORCYCLIST,
    PERSON,
    StreetScene,
)
from bev_instseg.simulate.street_kinds import KINDS, StreetKind
from bev_instseg.simulate.street_plan import VIEW_M

SWEEP_S = 0.1  # time between two sweeps
SEQUENCE_FILES = ("poses.txt", "times.txt", "calib.txt", "objects.csv")
OBJECT_COLUMNS = (
    *("frame", "id", "class", "x", "y", "z", "vx", "vy", "heading", "length", "width", "height"),
)
_Float = NDArray[np.float64]

_SEATED_M = 1.3  # shorter people count as seated and do not walk
_LANE_M = 1.0  # traffic is at most this far from the centre of its lane
_ALIGNED_RAD = 0.4  # and turned at most this far from the road
_WALK, _RIDE, _DRIVE, _EGO = (0.7, 1.8), (3.0, 6.5), (4.0, 13.0), (3.0, 10.0)  # metres per second


@dataclass(frozen=True, eq=False)
class Paths:
    """Positions of M bodies over time: straight lines in plan coordinates, at changing speed.

    Attributes:
        uv: (M, 2) plan coordinates at time 0, metres.
        along: (M, 2) unit direction in plan coordinates.
        speed_mps: (M,) speed at time 0.
        acceleration: (M,) metres per second squared; a body that has stopped stays.
    """

    uv: _Float
    along: _Float
    speed_mps: _Float
    acceleration: _Float

    def at(self, time_s: float) -> tuple[_Float, _Float]:
        """Return (M, 2) plan coordinates in metres and (M, 2) their change per second."""
        slowing = np.maximum(-self.acceleration * np.sign(time_s), 1e-9)
        moving_s = np.sign(time_s) * np.minimum(abs(time_s), self.speed_mps / slowing)
        way = self.speed_mps * moving_s + self.acceleration * moving_s**2 / 2
        speed = self.speed_mps + self.acceleration * moving_s
        return self.uv + way[:, None] * self.along, speed[:, None] * self.along


class MovingStreet:
    """A street whose road users move; body 0 is the sensor with its vehicle."""

    def __init__(self, scene: StreetScene, rng: np.random.Generator) -> None:
        """Decide which objects move, and how.

        Args:
            scene: The street at time 0.
            rng: Draws the speeds.
        """
        self.scene = scene
        self._body_of_vertex = _bodies(scene)
        num_bodies = len(scene.headings_rad) + 1
        label = np.zeros(num_bodies, np.int64)
        label[scene.labels >> 16] = scene.labels & 0xFFFF
        self.classes = label[1:]
        low, high = np.full((num_bodies, 3), np.inf), np.full((num_bodies, 3), -np.inf)
        owned = self._body_of_vertex >= 0
        np.minimum.at(low, self._body_of_vertex[owned], scene.mesh.vertices[owned])
        np.maximum.at(high, self._body_of_vertex[owned], scene.mesh.vertices[owned])
        low[0] = high[0] = scene.origin
        self._centre = (low + high) / 2
        self._height_m = (high - low)[:, 2]
        self._size_m = self._sizes()
        self.paths = self._draw_paths(rng)

    def scene_at(self, time_s: float) -> StreetScene:
        """Return the street at a time, with the sensor where it then is."""
        turn, shift = self._displacement(time_s)
        vertices = self.scene.mesh.vertices.copy()
        owned = self._body_of_vertex >= 0
        body = self._body_of_vertex[owned]
        local = vertices[owned] - self._centre[body]
        cos, sin = np.cos(turn[body]), np.sin(turn[body])
        x = cos * local[:, 0] - sin * local[:, 1]
        local[:, 1] = sin * local[:, 0] + cos * local[:, 1]
        local[:, 0] = x
        vertices[owned] = local + self._centre[body] + shift[body]
        return replace(
            self.scene,
            mesh=replace(self.scene.mesh, vertices=vertices),
            origin=self.scene.origin + shift[0],
            yaw_rad=self.scene.yaw_rad + float(turn[0]),
        )

    def objects_at(self, time_s: float) -> _Float:
        """Return (K, 9): x, y, z of each instance's centre, vx, vy, heading, length, width, height.

        In the world; metres, metres per second and radians.
        """
        turn, shift = self._displacement(time_s)
        uv, change = self.paths.at(time_s)
        slope = self.scene.plan.curvature * uv[:, 0] * change[:, 0]
        velocity = np.column_stack([change[:, 0], change[:, 1] + slope])
        heading = self.scene.headings_rad + turn[1:]
        columns = (self._centre + shift)[1:], velocity[1:], heading[:, None], self._size_m[1:]
        return np.concatenate(columns, axis=1)

    def _displacement(self, time_s: float) -> tuple[_Float, _Float]:
        """Return each body's (M,) turn and (M, 3) shift since time 0."""
        plan = self.scene.plan
        uv, _ = self.paths.at(time_s)
        turn = np.arctan(plan.curvature * uv[:, 0]) - np.arctan(
            plan.curvature * self.paths.uv[:, 0]
        )
        rise = [
            plan.relief(plan.to_world(*at.T)) + plan.kerb_rise(*at.T) + plan.bank_rise(*at.T)
            for at in (uv, self.paths.uv)
        ]
        moved = plan.to_world(*uv.T) - plan.to_world(*self.paths.uv.T)
        return turn, np.column_stack([moved, rise[0] - rise[1]])

    def _sizes(self) -> _Float:
        """Return (M, 3) length, width and height of each body in its own frame."""
        turn = np.concatenate([[0.0], self.scene.headings_rad])[np.maximum(self._body_of_vertex, 0)]
        xy = self.scene.mesh.vertices[:, :2]
        sides = []
        for axis in (0.0, np.pi / 2):
            at = xy[:, 0] * np.cos(turn + axis) + xy[:, 1] * np.sin(turn + axis)
            low, high = np.full(len(self._centre), np.inf), np.full(len(self._centre), -np.inf)
            np.minimum.at(low, np.maximum(self._body_of_vertex, 0), at)
            np.maximum.at(high, np.maximum(self._body_of_vertex, 0), at)
            sides.append(high - low)
        return np.column_stack([*sides, self._height_m])

    def _draw_paths(self, rng: np.random.Generator) -> Paths:
        plan = self.scene.plan
        uv = np.column_stack(plan.to_plan(self._centre[:, :2]))
        heading = np.concatenate([[0.0], self.scene.headings_rad])
        heading = heading - np.arctan(plan.curvature * uv[:, 0])
        ahead = np.cos(heading) > 0
        aligned = np.abs(np.sin(heading)) < np.sin(_ALIGNED_RAD)
        is_person = np.append(False, self.classes == PERSON)
        is_rider = np.append(False, np.isin(self.classes, (BICYCLIST, MOTORCYCLIST)))
        alone = np.append(True, ~self.scene.in_group)
        straight = np.where(ahead, 0.0, np.pi)
        heading = np.where(is_person | ~aligned, heading, straight)

        lanes_v = np.array([kerb.at(0, y)[1] for kerb in plan.kerbs[:2] for y in kerb.lanes_m])
        to_lane = np.abs(uv[:, 1:] - lanes_v)
        lane = to_lane.argmin(axis=1)
        in_lane = (to_lane.min(axis=1) < _LANE_M) & aligned & alone & ~is_person & ~is_rider
        ego_speed = rng.uniform(*_EGO) * (rng.random() > 0.15)
        num_lanes = len(lanes_v)
        lane_speed = rng.uniform(*_DRIVE, num_lanes) * (rng.random(num_lanes) > 0.15)
        lane_change = rng.normal(0, 0.4, num_lanes)
        lane_speed[lane[0]] = ego_speed
        speed, change = np.zeros(len(uv)), np.zeros(len(uv))
        speed[in_lane], change[in_lane] = lane_speed[lane[in_lane]], lane_change[lane[in_lane]]
        speed[0], change[0] = ego_speed, lane_change[lane[0]]
        walking = is_person & alone & (self._height_m > _SEATED_M) & (rng.random(len(uv)) < 0.75)
        speed[walking] = rng.uniform(*_WALK, walking.sum())
        riding = is_rider & aligned & alone & (rng.random(len(uv)) < 0.8)
        speed[riding] = rng.uniform(*_RIDE, riding.sum())
        change[speed == 0] = 0
        return Paths(uv, np.column_stack([np.cos(heading), np.sin(heading)]), speed, change)


def _bodies(scene: StreetScene) -> NDArray[np.int64]:
    """Return the body of each vertex: an instance, 0 for the sensor's vehicle, -1 for the rest."""
    body = (scene.labels >> 16).astype(np.int64)
    is_ego = (scene.labels == 0) & (scene.mesh.surface[:, 2] == 0)  # it returns no pulses
    body[(body == 0) & ~is_ego] = -1
    owner = np.full(len(scene.mesh.vertices), -1)
    owner[scene.mesh.triangles] = body[:, None]
    return owner


@dataclass(frozen=True, eq=False)
class SimulatedSweep:
    """A sweep of a sequence with its ground truth.

    Attributes:
        stamp_s: Time since the first sweep.
        pose: (4, 4) from the sensor frame to the world. The world's origin is the sensor in the
            first sweep; x points ahead of its vehicle, z up, even if the sensor is turned.
        points: (N, 4) float32 x, y, z in metres and intensity 0..1.
        labels: (N,) uint32 class, and instance << 16: the same in all sweeps.
        classes: (K,) SemanticKITTI class of each instance 1..K of the street.
        objects: (K, 9) their states in the world, as `MovingStreet.objects_at` returns them.
    """

    stamp_s: float
    pose: _Float
    points: NDArray[np.float32]
    labels: NDArray[np.uint32]
    classes: NDArray[np.int64]
    objects: _Float


def simulate_sequence(
    seed: int | Sequence[int],
    num_sweeps: int,
    sensor: SensorConfig | None = HDL64,
    layouts: Sequence[StreetLayout] = (),
    kinds: Sequence[StreetKind] = KINDS,
) -> Iterator[SimulatedSweep]:
    """Simulate consecutive sweeps of a moving street; the same seed gives the same bytes.

    Args:
        seed: Seed for `numpy.random.default_rng`.
        num_sweeps: Number of sweeps, `SWEEP_S` apart.
        sensor: The sensor; None for a random one.
        layouts: As for `simulate_sweep`.
        kinds: As for `simulate_sweep`.

    Yields:
        The sweeps in order.

    Raises:
        ValueError: The sensor would drive beyond the street's end, or a sweep has no points.
    """
    rng = np.random.default_rng(seed)
    sensor = random_sensor(rng) if sensor is None else sensor
    street = MovingStreet(random_scene(rng, sensor.height_m, layouts, kinds), rng)
    _check_length(street, num_sweeps)
    start_s = -SWEEP_S * (num_sweeps - 1) / 2
    to_world = np.linalg.inv(_pose(street.scene_at(start_s))).astype(np.float64)
    mount = np.eye(4)  # from the sensor frame to a level one
    mount[:3, :3] = euler_rotation(*sensor.turn_deg)
    for i in range(num_sweeps):
        time_s = start_s + i * SWEEP_S
        scene = street.scene_at(time_s)
        points, labels = measure(scene, sensor, rng)
        objects = _in_frame(street.objects_at(time_s), to_world)
        pose = to_world @ _pose(scene) @ mount
        yield SimulatedSweep(i * SWEEP_S, pose, points, labels, street.classes, objects)


def write_sequence(
    out: Path,
    sequence: str,
    num_sweeps: int,
    seed: int,
    sensor: SensorConfig | None = HDL64,
    layouts: Path | None = None,
    kinds: Sequence[StreetKind] = KINDS,
) -> None:
    """Simulate a sequence and write it in the layout of SemanticKITTI.

    Besides sweeps and labels: ``poses.txt`` (rows of the upper 3 x 4 of each pose), ``times.txt``,
    ``calib.txt``, and ``objects.csv`` with the state in each sweep of every object that a ray hits.

    Args:
        out: Folder that ``sequences/NN`` is created in.
        sequence: Number of the sequence, two digits or more.
        num_sweeps: Number of sweeps.
        seed: Seed of the data set.
        sensor: The sensor; None for a random one.
        layouts: Folder or archive of KITTI label files, see `read_layouts`.
        kinds: Kinds of street to choose from.

    Raises:
        ValueError: See `simulate_sequence`; the message names the folder.
    """
    street_layouts = () if layouts is None else read_layouts_once(layouts)
    folder = out / "sequences" / sequence
    poses, stamps, table = [], [], io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(OBJECT_COLUMNS)
    sweeps = simulate_sequence((seed, int(sequence)), num_sweeps, sensor, street_layouts, kinds)
    try:
        for frame, sweep in enumerate(sweeps):
            write_frame(out, sequence, frame, sweep.points, sweep.labels)
            poses.append(" ".join(f"{value:.9g}" for value in sweep.pose[:3].ravel()))
            stamps.append(f"{sweep.stamp_s:.6f}")
            number = np.unique(sweep.labels >> 16)
            for k in number[(number > 0) & (number <= len(sweep.classes))].tolist():
                state = sweep.objects[k - 1].round(4).tolist()
                writer.writerow([frame, k, sweep.classes[k - 1], *state])
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from error
    calibration = "Tr: 1 0 0 0 0 1 0 0 0 0 1 0\n"  # from the sensor to the poses' frame
    texts = ("\n".join([*poses, ""]), "\n".join([*stamps, ""]), calibration, table.getvalue())
    for name, text in zip(SEQUENCE_FILES, texts, strict=True):
        write_atomic(folder / name, text.encode())


def _check_length(street: MovingStreet, num_sweeps: int) -> None:
    """Raise ValueError if the sensor would drive beyond an end of the street."""

    def leaves(number: int) -> bool:
        end_s = SWEEP_S * (number - 1) / 2
        return any(abs(street.paths.at(time_s)[0][0, 0]) > VIEW_M for time_s in (-end_s, end_s))

    if leaves(num_sweeps):
        most = bisect_left(range(num_sweeps), True, key=leaves) - 1
        raise ValueError(
            f"{num_sweeps} frames take the sensor beyond the end of its street; simulate at most "
            f"{most} (--frames), or another --seed or --sequence"
        )


def _pose(scene: StreetScene) -> _Float:
    """Return the (4, 4) pose of a scene's sensor, without the turn of its mount."""
    pose = np.eye(4)
    c, s = np.cos(scene.yaw_rad), np.sin(scene.yaw_rad)
    pose[:2, :2] = [[c, -s], [s, c]]
    pose[:3, 3] = scene.origin
    return pose


def _in_frame(objects: _Float, transform: _Float) -> _Float:
    """Return object states after a (4, 4) transform that turns about z only."""
    moved = objects.copy()
    moved[:, :3] = objects[:, :3] @ transform[:3, :3].T + transform[:3, 3]
    moved[:, 3:5] = objects[:, 3:5] @ transform[:2, :2].T
    turn = np.arctan2(transform[1, 0], transform[0, 0])
    moved[:, 5] = (objects[:, 5] + turn + np.pi) % (2 * np.pi) - np.pi
    return moved
