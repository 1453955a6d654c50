"""The pinhole camera of the 3D pictures, and where in its picture the texts of boxes fit."""

from dataclasses import dataclass

import numpy as np

from bev_instseg.visualize.box_corners import Float

EYE_M, TARGET_M = (-15.0, 0.0, 10.5), (11.0, 0.0, -2.0)  # where the first camera is and looks
FIELD_OF_VIEW_RAD = 0.85  # vertical
MIN_TEXT_DEPTH_M = 1.0  # a box with a nearer corner gets no text
MAX_LIFT = 4  # a text may move up to this many text heights to avoid others


@dataclass(frozen=True, eq=False)
class Camera:
    """A pinhole camera: x right, y down, z forward.

    Attributes:
        world_to_camera: (4, 4) rigid transform.
        focal_px: Focal length.
        size_px: Width and height of the picture.
    """

    world_to_camera: Float
    focal_px: float
    size_px: tuple[int, int]

    def to_pixels(self, xyz_m: Float) -> tuple[Float, Float]:
        """Project points into the picture.

        Args:
            xyz_m: (..., 3) points.

        Returns:
            (..., 2) pixels right and down from the upper left corner, NaN where the depth is less
            than `MIN_TEXT_DEPTH_M`; and (...) depth in metres.
        """
        seen = xyz_m @ self.world_to_camera[:3, :3].T + self.world_to_camera[:3, 3]
        depth_m = seen[..., 2]
        ahead_m = np.where(depth_m < MIN_TEXT_DEPTH_M, np.nan, depth_m)
        return self.focal_px * seen[..., :2] / ahead_m[..., None] + self._middle_px, depth_m

    def to_world(self, pixels: Float, depth_m: float) -> Float:
        """Return the (N, 3) points at this depth behind (N, 2) pixels."""
        xy = (pixels - self._middle_px) / self.focal_px * depth_m
        seen = np.column_stack([xy, np.full(len(xy), depth_m)])
        points: Float = (seen - self.world_to_camera[:3, 3]) @ self.world_to_camera[:3, :3]
        return points

    def same_view(self, other: "Camera") -> bool:
        """Return whether both cameras take the same picture."""
        mine, others = (self.focal_px, self.size_px), (other.focal_px, other.size_px)
        return mine == others and np.array_equal(self.world_to_camera, other.world_to_camera)

    @property
    def _middle_px(self) -> Float:
        return np.array(self.size_px) / 2


def start_camera(size_px: tuple[int, int]) -> Camera:
    """Return the camera that every 3D view starts with: behind the sensor, looking forward.

    Args:
        size_px: Width and height of the picture.
    """
    forward = np.subtract(TARGET_M, EYE_M) / np.linalg.norm(np.subtract(TARGET_M, EYE_M))
    right = np.cross(forward, (0, 0, 1))
    right /= np.linalg.norm(right)
    transform = np.eye(4)
    transform[:3, :3] = right, np.cross(forward, right), forward
    transform[:3, 3] = -transform[:3, :3] @ EYE_M
    return Camera(transform, size_px[1] / 2 / np.tan(FIELD_OF_VIEW_RAD / 2), size_px)


def place_above_boxes(corners_m: Float, sizes_px: Float, camera: Camera) -> dict[int, Float]:
    """Place texts above their boxes without overlaps; nearer boxes go first.

    Args:
        corners_m: (K, 8, 3) corners of the boxes.
        sizes_px: (K, 2) width and height of the texts.
        camera: The camera of the picture.

    Returns:
        The upper left corner of each text in pixels by the index of its box, without boxes outside
        the picture and texts that do not fit.
    """
    pixels, depth_m = camera.to_pixels(corners_m)
    middle = pixels.mean(axis=1)  # NaN if a corner is too near
    shown = ((middle > 0) & (middle < camera.size_px)).all(axis=1)
    nearest_first = np.argsort(depth_m.mean(axis=1), kind="stable")
    places: dict[int, Float] = {}
    for k in nearest_first[shown[nearest_first]].tolist():
        width, height = sizes_px[k]
        for lift in range(1, MAX_LIFT + 1):
            spot = middle[k, 0] - width / 2, pixels[k, :, 1].min() - lift * (height + 2)
            place = np.clip(spot, 0, np.subtract(camera.size_px, sizes_px[k]))
            if not any(_overlap(place, sizes_px[k], p, sizes_px[j]) for j, p in places.items()):
                places[k] = place
                break
    return places


def _overlap(a: Float, size_a: Float, b: Float, size_b: Float) -> bool:
    """Return whether two rectangles overlap, given their upper left corners and sizes."""
    return bool(((a < b + size_b) & (b < a + size_a)).all())
