"""A segmented sweep as ROS messages: points with labels, detections and markers."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rosbags.typesys import get_types_from_msg
from rosbags.typesys.store import Typestore

from bev_instseg.colours import colours_of
from bev_instseg.config import GROUND_LABEL, ClassConfig
from bev_instseg.io.recordings.decode import ros2_types
from bev_instseg.io.recordings.point_cloud2 import StampedSweep
from bev_instseg.io.recordings.transforms import to_quaternion
from bev_instseg.structures import Instances
from bev_instseg.tracking.tracked import TrackedInstances

POINTS = "/bev_instseg/points", "sensor_msgs/msg/PointCloud2"
DETECTIONS = "/bev_instseg/detections", "vision_msgs/msg/Detection3DArray"
MARKERS = "/bev_instseg/markers", "visualization_msgs/msg/MarkerArray"
TOPICS = (MARKERS, DETECTIONS, POINTS)  # small ones first; the points complete a sweep
TRACKS = "/bev_instseg/tracks", "std_msgs/msg/String"  # content of a .json; only with tracks

POINT = np.dtype(
    {
        "names": ["x", "y", "z", "intensity", "instance", "score", "class"],
        "formats": ["<f4", "<f4", "<f4", "<f4", "<u4", "<f4", "<u2"],
        "offsets": [0, 4, 8, 12, 16, 20, 24],
        "itemsize": 28,
    }
)
FLOAT32, UINT32, UINT16 = 7, 6, 4  # of PointField
ARROW, CUBE, TEXT, ADD, DELETE_ALL = 0, 1, 9, 0, 3  # of Marker
# An arrow ends where the object will be after ARROW_S. ARROW_M has the diameters of its shaft and
# head, and the length of the head.
ARROW_S, ARROW_M = 1.0, (0.12, 0.3, 0.4)
ALPHA, TEXT_M = 0.4, 0.6
# vision_msgs is not part of ROS's core, so rosbags does not have it.
DETECTION_TYPES = {
    "ObjectHypothesis": "string class_id\nfloat64 score\n",
    "ObjectHypothesisWithPose": "vision_msgs/ObjectHypothesis hypothesis\n"
    "geometry_msgs/PoseWithCovariance pose\n",
    "BoundingBox3D": "geometry_msgs/Pose center\ngeometry_msgs/Vector3 size\n",
    "Detection3D": "std_msgs/Header header\nvision_msgs/ObjectHypothesisWithPose[] results\n"
    "vision_msgs/BoundingBox3D bbox\nstring id\n",
    "Detection3DArray": "std_msgs/Header header\nvision_msgs/Detection3D[] detections\n",
}


def topics_below(name: str) -> list[str]:
    """Return the names of `TOPICS` under a different prefix.

    Args:
        name: The prefix.
    """
    return [f"/{name.strip('/')}/{topic.rpartition('/')[2]}" for topic, _ in TOPICS]


@dataclass(frozen=True, eq=False)
class SegmentedSweep:
    """A sweep to be written.

    Attributes:
        sweep: Its points as recorded.
        objects: The objects among them, with boxes in the frame of the network. With tracks, each
            is numbered by its id.
        rotation: (3, 3) float64 from the sweep's coordinates to that frame.
        origin_m: (3,) float64 origin of that frame in the sweep's coordinates.
    """

    sweep: StampedSweep
    objects: Instances | TrackedInstances
    rotation: NDArray[np.float64]
    origin_m: NDArray[np.float64]

    @property
    def instances(self) -> Instances:
        """The objects without tracks."""
        return self.objects if isinstance(self.objects, Instances) else self.objects.instances

    @property
    def ids(self) -> NDArray[np.uint32]:
        """Number of each object, (K,) uint32: its track, or by descending score from 1."""
        if isinstance(self.objects, Instances):
            return np.arange(1, len(self.objects) + 1, dtype=np.uint32)
        return self.objects.tracks.ids

    @property
    def velocities_mps(self) -> NDArray[np.float64]:
        """Velocity over the ground in the sweep's coordinates, (K, 3); NaN unless known to move."""
        velocities = np.full((len(self.objects), 3), np.nan)
        if isinstance(self.objects, TrackedInstances):
            moving = self.objects.tracks.moving
            along = self.objects.velocity_in_sensor_frame_mps[moving]
            velocities[moving] = along @ self.rotation[:2]
        return velocities


@cache
def message_types() -> Typestore:
    """Return the message types of ROS 2 with those of ``vision_msgs``."""
    store = ros2_types()
    for name, text in DETECTION_TYPES.items():
        store.register(get_types_from_msg(text, f"vision_msgs/msg/{name}"))
    return store


class Encoder:
    """Makes the messages of a sweep."""

    def __init__(self, classes: Sequence[ClassConfig]) -> None:
        """Prepare to encode.

        Args:
            classes: The classes of the instances.
        """
        self._classes = tuple(classes)
        self._store = message_types()
        self._unset = self._unset_marker()

    def encode(self, result: SegmentedSweep) -> tuple[bytes, ...]:
        """Return a serialised message for each of `TOPICS`."""
        header = self._header(result.sweep)
        poses = [self._pose(result, box) for box in result.instances.boxes]
        return (
            self._serialise(self._markers(header, poses, result), MARKERS[1]),
            self._serialise(self._detections(header, poses, result), DETECTIONS[1]),
            self._points(header, result),
        )

    def encode_text(self, text: str) -> bytes:
        """Return a serialised message for `TRACKS`."""
        return self._serialise(self._new("std_msgs/String", text), TRACKS[1])

    def _new(self, name: str, *values: Any) -> Any:
        package, _, kind = name.partition("/")
        return self._store.types[f"{package}/msg/{kind}"](*values)

    def _serialise(self, message: Any, kind: str) -> bytes:
        return bytes(self._store.serialize_cdr(message, kind))

    def _header(self, sweep: StampedSweep) -> Any:
        stamp = self._new("builtin_interfaces/Time", *divmod(sweep.stamp_ns, 10**9))
        return self._new("std_msgs/Header", stamp, sweep.frame_id)

    def _pose(self, result: SegmentedSweep, box: NDArray[np.float32]) -> Any:
        """Return the pose of a box in the sweep's coordinates."""
        yaw = float(box[6])
        about_z = np.array(
            [[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]]
        )
        centre = result.rotation.T @ box[:3].astype(np.float64) + result.origin_m
        turn = to_quaternion(result.rotation.T @ about_z)
        return self._new(
            "geometry_msgs/Pose",
            self._new("geometry_msgs/Point", *centre.tolist()),
            self._new("geometry_msgs/Quaternion", *turn),
        )

    def _size(self, box: NDArray[np.float32]) -> Any:
        return self._new("geometry_msgs/Vector3", *map(float, box[3:6]))

    def _detections(self, header: Any, poses: Sequence[Any], result: SegmentedSweep) -> Any:
        detections = []
        for pose, one, number in zip(poses, result.instances, result.ids.tolist(), strict=True):
            covariance = self._new("geometry_msgs/PoseWithCovariance", pose, np.zeros(36))
            box = self._new("vision_msgs/BoundingBox3D", pose, self._size(one.box))
            hypothesis = self._new("vision_msgs/ObjectHypothesis", one.name, one.score)
            guess = self._new("vision_msgs/ObjectHypothesisWithPose", hypothesis, covariance)
            values = header, [guess], box, str(number)
            detections.append(self._new("vision_msgs/Detection3D", *values))
        return self._new("vision_msgs/Detection3DArray", header, detections)

    def _markers(self, header: Any, poses: Sequence[Any], result: SegmentedSweep) -> Any:
        markers = [self._marker(header, "", 0, DELETE_ALL, CUBE)]
        colours = colours_of(result.instances, result.ids.tolist())
        columns = result.ids.tolist(), colours, result.velocities_mps
        up = result.rotation[2].astype(np.float64)  # in the sweep's coordinates
        for pose, one, number, colour, velocity in zip(
            poses, result.instances, *columns, strict=True
        ):
            opaque = self._new("std_msgs/ColorRGBA", *map(float, colour), 1.0)
            cube = self._marker(header, "boxes", number, ADD, CUBE)
            cube.pose, cube.scale = pose, self._size(one.box)
            cube.color = self._new("std_msgs/ColorRGBA", *map(float, colour), ALPHA)
            text = self._marker(header, "names", number, ADD, TEXT)
            place = _moved(pose.position, (one.box[5] / 2 + TEXT_M) * up)
            text.pose = self._new("geometry_msgs/Pose", place, text.pose.orientation)
            text.scale, text.color = self._new("geometry_msgs/Vector3", 0.0, 0.0, TEXT_M), opaque
            text.text = f"{number} {one.title}"
            markers += [cube, text]
            if np.isfinite(velocity[0]):
                text.text += f" {np.linalg.norm(velocity):.1f} m/s"
                arrow = self._marker(header, "velocities", number, ADD, ARROW)
                arrow.points = [pose.position, _moved(pose.position, ARROW_S * velocity)]
                arrow.scale, arrow.color = self._new("geometry_msgs/Vector3", *ARROW_M), opaque
                markers.append(arrow)
        return self._new("visualization_msgs/MarkerArray", markers)

    def _marker(self, header: Any, group: str, number: int, action: int, kind: int) -> Any:
        """Return a marker without position and size."""
        values = {
            "header": header,
            "ns": group,
            "id": number,
            "type": kind,
            "action": action,
            "points": [],
            "colors": [],
        }
        return self._store.types["visualization_msgs/msg/Marker"](**values, **self._unset)

    def _unset_marker(self) -> dict[str, Any]:
        """Return the fields that most markers leave at their defaults, for all of them to share."""
        zero = self._new("geometry_msgs/Point", 0.0, 0.0, 0.0)
        upright = self._new("geometry_msgs/Quaternion", 0.0, 0.0, 0.0, 1.0)
        stamp = self._new("builtin_interfaces/Time", 0, 0)
        no_data = np.zeros(0, np.uint8)
        nowhere = self._new("std_msgs/Header", stamp, "")
        return {
            "pose": self._new("geometry_msgs/Pose", zero, upright),
            "scale": self._new("geometry_msgs/Vector3", 0.0, 0.0, 0.0),
            "color": self._new("std_msgs/ColorRGBA", 0.0, 0.0, 0.0, 0.0),
            "lifetime": self._new("builtin_interfaces/Duration", 0, 0),
            "frame_locked": False,
            "texture_resource": "",
            "texture": self._new("sensor_msgs/CompressedImage", nowhere, "", no_data),
            "uv_coordinates": [],
            "text": "",
            "mesh_resource": "",
            "mesh_file": self._new("visualization_msgs/MeshFile", "", no_data),
            "mesh_use_embedded_materials": False,
        }

    def _new_cloud(self, header: Any, num_points: int) -> Any:
        """Return a cloud message for this many points, without their data."""
        kinds = {"f4": FLOAT32, "u4": UINT32, "u2": UINT16}
        fields = [
            self._new("sensor_msgs/PointField", name, POINT.fields[name][1], kinds[kind.str[1:]], 1)
            for name, kind in ((name, POINT[name]) for name in POINT.names or ())
            if POINT.fields is not None
        ]
        size = POINT.itemsize
        no_data = np.zeros(0, np.uint8)
        sizes = False, size, size * num_points, no_data, False
        return self._new("sensor_msgs/PointCloud2", header, 1, num_points, fields, *sizes)

    def _points(self, header: Any, result: SegmentedSweep) -> bytes:
        """Serialise the points; their data are put in place without copying them through a list."""
        records = labelled_points(result, self._classes)
        empty = self._serialise(self._new_cloud(header, len(records)), POINTS[1])
        # A message ends with the number of data bytes (4), the data, and is_dense (1).
        size = records.nbytes.to_bytes(4, "little")
        return b"".join((empty[:-5], size, records.data, empty[-1:]))


def labelled_points(result: SegmentedSweep, classes: Sequence[ClassConfig]) -> NDArray[np.void]:
    """Return the recorded points with instance, class and score: (N,) records of `POINT`."""
    points, instances = result.sweep.points, result.instances
    records = np.zeros(len(points), POINT)
    for k, name in enumerate(("x", "y", "z", "intensity")):
        records[name] = points[:, k]
    rows = instances.labels
    records["instance"] = np.append(np.uint32(0), result.ids)[rows]
    records["score"] = np.append(np.float32(0), instances.scores)[rows]
    numbers = np.array([one.label for one in classes], np.uint16)
    records["class"] = np.append(np.uint16(0), numbers[instances.classes])[rows]
    if instances.ground is not None:
        records["class"][instances.ground] = GROUND_LABEL
    return records


def _moved(place: Any, step: NDArray[np.float64]) -> Any:
    """Return a ``Point`` moved by a step."""
    x, y, z = (np.array([place.x, place.y, place.z]) + step).tolist()
    return type(place)(x, y, z)
