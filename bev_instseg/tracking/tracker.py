"""The tracker: from the instances of each sweep to objects over time."""

import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bev_instseg.ops.off_grid import off_grid_notice
from bev_instseg.structures import UNKNOWN, Float32, Float64, Instances
from bev_instseg.tracking import evidence
from bev_instseg.tracking.association import associate
from bev_instseg.tracking.continuity import Continuity
from bev_instseg.tracking.kalman import correct, predict
from bev_instseg.tracking.learned_centres import learned_centres
from bev_instseg.tracking.motion import AXIS_KEPT, MIN_SWEEPS_MOVING, heading, is_moving
from bev_instseg.tracking.odometry import Odometry, default_odometry
from bev_instseg.tracking.seen import Seen
from bev_instseg.tracking.state import State, behaviour, empty_state
from bev_instseg.tracking.tracked import TrackedInstances, Tracks

if TYPE_CHECKING:  # torch
    from bev_instseg.segmenter import Segmenter

Index = NDArray[np.intp]

NEW_IDS = "all objects get new ids"  # a notice
WEAK_SCORE = 0.2  # instances with a lower score are not considered
SIZE_KEPT = 0.99  # share of the largest size that remains from one sweep to the next
TENTATIVE_S = 0.35  # how long an unseen object that is not confirmed is kept
MAX_STAMP_S = 1e11  # the year 5138; milliseconds since 1970 are beyond
MIN_MISSES = 1.5  # sweeps without an object before it is dropped, however slow the sensor


class Tracker:
    """Gives objects persistent ids, velocities and headings; one tracker per sequence, in order.

    >>> tracker = Tracker(Segmenter.from_pretrained())
    >>> for stamp_s, points in sweeps:
    ...     for one in tracker.update(points, stamp_s).confirmed():
    ...         print(one.id, one.instance.name, one.velocity_mps, one.moving)

    Each result is immediate and depends only on the sweeps so far. Unknown objects, if the
    segmenter finds them, get ids, too, and do not affect the tracks of known objects. After a
    pause, or if the pose jumps, all objects get new ids; see `Continuity`.
    """

    def __init__(
        self, segmenter: "Segmenter | None" = None, odometry: Odometry | None = None
    ) -> None:
        """Begin a sequence.

        Args:
            segmenter: Finds the instances for `update`; not needed for `update_instances`. A score
                threshold above `WEAK_SCORE` has no effect: tracks are confirmed by the scores of
                several sweeps.
            odometry: Finds the poses of sweeps that have none; by default KISS-ICP or, if it is not
                installed, a sensor that stands still, with a warning.
        """
        self.segmenter = None if segmenter is None else with_weak_instances(segmenter)
        self._odometry = odometry
        self._num_ids = 0
        self._begin()

    def _begin(self) -> None:
        self._continuity = Continuity()
        self._stamp_s = -np.inf
        self._poses_given: bool | None = None  # None before the first `update`
        self._class_names: tuple[str, ...] = ()
        self._unknown = -1  # class of unknown objects
        self._state = empty_state(0)
        self._is_hidden = np.zeros(0, bool)

    def begin_again(self, odometry: Odometry | None = None) -> None:
        """Begin a new sequence, with times and poses of its own; ids go on counting.

        Args:
            odometry: As for `__init__`.
        """
        self._odometry = odometry
        self._begin()

    def update(
        self, points: Float32, stamp_s: float, pose: Float64 | None = None
    ) -> TrackedInstances:
        """Segment a sweep and track its instances; the odometry runs at the same time.

        Args:
            points: (N, 4) float32 as for `Segmenter.segment`.
            stamp_s: Time of the sweep in seconds, later than that of the previous sweep.
            pose: (4, 4) from the sensor frame to the world, whose z axis is up; None to find it.

        Raises:
            ValueError: There is no segmenter, or only some sweeps have a pose; for other reasons
                see `update_instances` and `Segmenter.segment`.
        """
        if self.segmenter is None:
            raise ValueError("this tracker has no segmenter: give it one, or call update_instances")
        self._check(stamp_s, pose)
        if self._poses_given not in (None, pose is not None):
            raise ValueError(
                "give a pose for all sweeps of a sequence or for none: given poses and estimated "
                "ones do not fit together"
            )
        self._poses_given = pose is not None
        if pose is None:
            self._odometry = self._odometry or default_odometry()
            with ThreadPoolExecutor(1) as pool:
                found = pool.submit(self._odometry.register, points, stamp_s)
                segmentation = self.segmenter.segment_with_maps(points)
                pose = found.result()
        else:
            segmentation = self.segmenter.segment_with_maps(points)
        if notice := off_grid_notice(points, segmentation.pillars):
            warnings.warn(notice, stacklevel=2)
        centres_m = learned_centres(segmentation)
        return self.update_instances(segmentation.instances, stamp_s, pose, centres_m)

    def update_instances(
        self,
        instances: Instances,
        stamp_s: float,
        pose: Float64 | None = None,
        centres_m: Float64 | None = None,
    ) -> TrackedInstances:
        """Track the instances of a sweep.

        Args:
            instances: The K objects of the sweep, including those with low scores, which later
                sweeps may confirm.
            stamp_s: Time of the sweep in seconds, later than that of the previous sweep.
            pose: (4, 4) from the sensor frame to the world, whose z axis is up; None for a sensor
                that stands still.
            centres_m: (K, 2) x, y of their centres in the sensor frame, see `learned_centres`; by
                default those of the boxes.

        Raises:
            ValueError: The time does not increase, the classes have changed, or the pose is
                invalid.
        """
        self._check(stamp_s, pose)
        pose = np.eye(4) if pose is None else np.asarray(pose, np.float64)
        if not self._class_names:
            self._state = empty_state(len(instances.class_names))
            self._class_names = instances.class_names
            if UNKNOWN in instances.class_names:
                self._unknown = instances.class_names.index(UNKNOWN)
        elif instances.class_names != self._class_names:
            raise ValueError("the classes have changed: start a new sequence with a new tracker")
        seen = Seen(instances, pose, centres_m)
        broken = self._continuity.next(stamp_s, pose)
        if broken:
            self._state.keep(np.zeros(len(self._state), bool))
        self._predict(stamp_s)
        tracks, found = associate(
            self._state, seen.xy_m, seen.noise, seen.size_m, seen.classes, self._unknown
        )
        row = np.full(len(instances), -1)
        row[found] = tracks
        missed = np.ones(len(self._state), bool)
        missed[tracks] = False
        self._renew(tracks, found, seen, stamp_s)
        self._miss(missed, seen)
        born = np.flatnonzero(row < 0)
        row[born] = len(self._state) + np.arange(len(born))
        self._state.append(self._births(born, seen, stamp_s))
        result = self._result(row, seen, stamp_s)
        self._state.keep(self._alive(stamp_s))
        self._stamp_s = stamp_s
        return replace(result, notices=(f"{broken}: {NEW_IDS}",) if broken else ())

    def _check(self, stamp_s: float, pose: Float64 | None) -> None:
        """Raise ValueError for a time or a pose that cannot be used."""
        if not abs(stamp_s) < MAX_STAMP_S:  # NaN, too
            raise ValueError(
                f"stamp_s must be in seconds, got {stamp_s:g}; divide nanoseconds by 1e9"
            )
        if not stamp_s > self._stamp_s:
            raise ValueError(
                f"stamp_s must be later than that of the previous sweep, {self._stamp_s:.6f}, got "
                f"{stamp_s:.6f}; start a new sequence with a new tracker"
            )
        if pose is not None and not is_pose(pose):
            raise ValueError("pose must be (4, 4): a rotation, a translation and the row 0 0 0 1")

    def _predict(self, stamp_s: float) -> None:
        state = self._state
        if len(state):
            duration_s = stamp_s - self._stamp_s
            acceleration = self._behaviour("acceleration_mps2")
            state.mean, state.covariance = predict(
                state.mean, state.covariance, duration_s, acceleration
            )

    def _renew(self, rows: Index, found: Index, seen: Seen, stamp_s: float) -> None:
        """Correct the tracks in these rows by the instances that match them."""
        s = self._state
        s.mean[rows], s.covariance[rows] = correct(
            s.mean[rows], s.covariance[rows], seen.xy_m[found], seen.noise[found]
        )
        s.height_m[rows] = seen.position_m[found, 2]
        s.size_m[rows] = np.maximum(SIZE_KEPT * s.size_m[rows], seen.size_m[found])
        s.class_evidence[rows] = (
            evidence.CLASS_KEPT * s.class_evidence[rows] + seen.class_evidence[found]
        )
        s.belief[rows] = evidence.seen(s.belief[rows], seen.scores[found])
        s.axis[rows] = AXIS_KEPT * s.axis[rows] + seen.axis[found]
        s.seen_s[rows] = stamp_s
        s.num_sweeps[rows] += 1
        self._decide_motion()

    def _decide_motion(self) -> None:
        s = self._state
        velocity = s.mean[:, 2:]
        way = np.hypot(*(s.mean[:, :2] - s.anchor_m).T)
        limit = self._behaviour("moving_mps")
        length = s.size_m[:, 0]
        s.moving = is_moving(velocity, s.covariance[:, 2:, 2:], way, length, limit, s.moving)
        s.moving &= s.num_sweeps >= MIN_SWEEPS_MOVING
        s.front_known |= s.moving
        s.heading_rad = heading(s.axis, velocity, s.moving, s.front_known, s.heading_rad)
        s.anchor_m[s.moving] = s.mean[s.moving, :2]

    def _miss(self, missed: NDArray[np.bool_], seen: Seen) -> None:
        """Lower the belief in tracks that were missed and should have been seen."""
        s = self._state
        self._is_hidden = missed & seen.cannot_show(s.mean[:, :2])
        in_view = missed & ~self._is_hidden
        s.belief[in_view] = evidence.missed(s.belief[in_view])

    def _births(self, rows: Index, seen: Seen, stamp_s: float) -> State:
        """Return new tracks for these instances."""
        k = len(rows)
        ids = (self._num_ids + 1 + np.arange(k)).astype(np.uint32)
        self._num_ids += k
        start = np.array([behaviour(n, "start_mps") for n in seen.instances.class_names])
        covariance = np.zeros((k, 4, 4))
        covariance[:, :2, :2] = seen.noise[rows]
        speed = start[seen.classes[rows]] ** 2 if k else np.zeros(0)
        covariance[:, 2, 2] = covariance[:, 3, 3] = speed
        axis = seen.axis[rows]
        return replace(
            empty_state(len(start)),
            ids=ids,
            mean=np.column_stack([seen.xy_m[rows], np.zeros((k, 2))]),
            covariance=covariance,
            height_m=seen.position_m[rows, 2],
            size_m=seen.size_m[rows],
            class_evidence=seen.class_evidence[rows],
            belief=evidence.log_odds(seen.scores[rows]),
            confirmed=np.zeros(k, bool),
            moving=np.zeros(k, bool),
            axis=axis,
            heading_rad=np.arctan2(axis[:, 1], axis[:, 0]) / 2,
            front_known=np.zeros(k, bool),
            anchor_m=seen.xy_m[rows].copy(),
            born_s=np.full(k, stamp_s),
            seen_s=np.full(k, stamp_s),
            num_sweeps=np.ones(k, np.int32),
        )

    def _result(self, row: Index, seen: Seen, stamp_s: float) -> TrackedInstances:
        s = self._state
        s.confirmed = evidence.confirmed(s.belief, s.confirmed)
        one = seen.instances
        tracks = Tracks(
            ids=s.ids[row],
            position_m=np.column_stack([s.mean[row, :2], s.height_m[row]]),
            velocity_mps=s.mean[row, 2:],
            heading_rad=s.heading_rad[row],
            front_known=s.front_known[row],
            moving=s.moving[row],
            age_s=stamp_s - s.born_s[row],
            num_sweeps=s.num_sweeps[row],
            confirmed=s.confirmed[row],
            seen_numbers=np.arange(1, len(one) + 1, dtype=np.int32),
            seen_classes=one.classes,
            seen_scores=one.scores,
            seen_centres_m=seen.middle_m[:, :2],
        )
        classes, scores = s.classes[row].astype(np.int32), evidence.probability(s.belief[row])
        judged = replace(one, classes=classes, scores=scores)
        result = TrackedInstances(judged, tracks, stamp_s, seen.pose)
        return result.with_doubtful_as_unknown().by_score()

    def _alive(self, stamp_s: float) -> NDArray[np.bool_]:
        """Return which tracks to keep until the next sweep."""
        s = self._state
        behind = np.zeros(len(s), bool)
        behind[: len(self._is_hidden)] = self._is_hidden
        coast_s = self._behaviour("coast_s") * np.where(behind, 2, 1)
        coast_s = np.where(s.confirmed, coast_s, TENTATIVE_S)
        usual_s = stamp_s - self._stamp_s if np.isfinite(self._stamp_s) else 0.0
        return stamp_s - s.seen_s <= np.maximum(coast_s, MIN_MISSES * usual_s)

    def _behaviour(self, name: str) -> Float64:
        """Return (T,) a property of the behaviour of each track's class."""
        s = self._state
        return np.array([behaviour(n, name) for n in self._class_names])[s.classes]


def with_weak_instances(segmenter: "Segmenter") -> "Segmenter":
    """Return a segmenter that also finds instances with low scores, for later sweeps to confirm.

    Args:
        segmenter: The segmenter.
    """
    config = segmenter.config
    threshold = min(config.cluster.score_threshold, WEAK_SCORE)
    cluster = replace(config.cluster, score_threshold=threshold)
    return segmenter.with_config(replace(config, cluster=cluster))


def is_pose(pose: Float64) -> bool:
    """Return whether a matrix is a rigid motion."""
    if np.shape(pose) != (4, 4) or not np.isfinite(pose).all():
        return False
    turn = np.asarray(pose)[:3, :3]
    rigid = np.allclose(turn @ turn.T, np.eye(3), atol=1e-3) and np.linalg.det(turn) > 0
    return bool(rigid and np.allclose(pose[3], (0, 0, 0, 1)))
